//! Segment files: bodies, slice after slice, and nothing else.
//!
//! A segment is written once, from its start to its end, by one writer, and deleted as a whole. It carries
//! nothing that is needed to open the store: where slices lie is in the index, so opening reads no body. After
//! a restart writing begins in a new segment; what an unrecorded slice left behind goes with its segment.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use quick_cache::sync::Cache;

use super::super::record::{Place, checksum};

/// Segment files that are kept open for reading.
const OPEN_FILES_MAX: usize = 256;

/// Why a slice could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SliceError {
    /// The file is not there, is too short, or the system failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The bytes are not those that were written.
    #[error("checksum differs")]
    Damaged,
}

/// The files, as readers see them.
pub(in super::super) struct Segments {
    dir: PathBuf,
    open: Cache<u32, Arc<File>>,
    /// The length of each segment, the one being written included.
    lengths: Mutex<BTreeMap<u32, u64>>,
}

impl Segments {
    /// Takes stock of `dir`. Segments before `oldest` were given up before the last stop: they are deleted.
    pub fn open(dir: &Path, oldest: u32) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let mut lengths = BTreeMap::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let Some(id) = entry.file_name().to_str().and_then(id_of) else { continue };
            if id < oldest {
                std::fs::remove_file(entry.path())?;
            } else {
                lengths.insert(id, entry.metadata()?.len());
            }
        }
        Ok(Self { dir: dir.to_owned(), open: Cache::new(OPEN_FILES_MAX), lengths: Mutex::new(lengths) })
    }

    /// Reads a slice and proves it.
    pub fn read(&self, body: u64, start: u64, len: u32, place: Place) -> Result<Vec<u8>, SliceError> {
        let file = self
            .open
            .get_or_insert_with(&place.segment, || File::open(self.path(place.segment)).map(Arc::new))?;
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, u64::from(place.offset))?;
        if checksum(body, start, &bytes) != place.sum {
            return Err(SliceError::Damaged);
        }
        Ok(bytes)
    }

    /// A new segment after all others.
    pub fn create(&self, oldest: u32) -> io::Result<(u32, Arc<File>)> {
        let mut lengths = self.lengths.lock();
        let id = lengths.last_key_value().map_or(oldest, |(last, _)| last + 1).max(oldest);
        let options = OpenOptions::new().read(true).write(true).create_new(true).clone();
        let file = Arc::new(options.open(self.path(id))?);
        lengths.insert(id, 0);
        self.open.insert(id, file.clone());
        Ok((id, file))
    }

    pub fn set_length(&self, id: u32, length: u64) {
        self.lengths.lock().insert(id, length);
    }

    /// The oldest segment but the newest, which may be the one being written.
    pub fn oldest(&self) -> Option<u32> {
        let lengths = self.lengths.lock();
        (lengths.len() > 1).then(|| lengths.first_key_value().map(|(id, _)| *id)).flatten()
    }

    /// Deletes a segment. Who has it open reads on.
    pub fn delete(&self, id: u32) -> io::Result<()> {
        self.open.remove(&id);
        match std::fs::remove_file(self.path(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => self.lengths.lock().remove(&id),
        };
        Ok(())
    }

    pub fn bytes(&self) -> u64 {
        self.lengths.lock().values().sum()
    }

    pub fn count(&self) -> u64 {
        self.lengths.lock().len() as u64
    }

    fn path(&self, id: u32) -> PathBuf {
        self.dir.join(format!("{id:08}.seg"))
    }
}

fn id_of(name: &str) -> Option<u32> {
    name.strip_suffix(".seg")?.parse().ok()
}
