//! The group's own RocksDB: what it must not forget.
//!
//! | column family | key | value |
//! | --- | --- | --- |
//! | `log` | index, big endian | an entry |
//! | `meta` | a name | see [`Name`] |
//!
//! Every call here blocks, but for [`Disk::run`], which takes it to a blocking thread. What cannot be read is an
//! error that names the directory; nothing is skipped.

use std::{
    io,
    ops::{Bound, RangeBounds},
    path::{Path, PathBuf},
    sync::Arc,
};

use rocksdb::{
    ColumnFamily, ColumnFamilyDescriptor, DB, Direction, IteratorMode, Options, WriteBatch, WriteOptions,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    codec,
    types::{Entry, LogId},
};

const LOG: &str = "log";
const META: &str = "meta";

/// What is remembered under a name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Name {
    /// The vote.
    Vote,
    /// The last log id that is known to be committed; may lag.
    Committed,
    /// The last entry that was dropped from the beginning of the log.
    Purged,
    /// What is applied: the last log id, and the last membership; may lag.
    Applied,
    /// The last snapshot.
    Snapshot,
    /// What was promised to who wants to form a group.
    Promise,
    /// The greatest epoch that was ever promised, to whomever: no group is formed with it, or a lower one, any more.
    Promised,
    /// The birth of the last group that this node was of, or let go: an older one is not joined any more.
    Birth,
    /// Whether this node was taken in with an empty disk, and may lack what it acknowledged in an earlier life.
    Newcomer,
}

/// The disk; shared by log, state machine and handle.
pub(super) struct Disk {
    db: DB,
    path: PathBuf,
    closed: CancellationToken,
    /// After the database: dropped when that is closed.
    _closing: DropGuard,
}

/// Changes that are written at once.
#[derive(Default)]
pub(super) struct Writes {
    batch: WriteBatch,
}

impl Disk {
    /// Opens the directory, making it where it is missing, and looks whether all that is in it can be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let named = |error: String| io::Error::other(format!("{}: {error}", path.display()));
        std::fs::create_dir_all(path)?;
        #[cfg(test)]
        super::tests::faults::check(path)?;
        let families = [LOG, META].map(|name| ColumnFamilyDescriptor::new(name, family_options()));
        let db = DB::open_cf_descriptors(&db_options(), path, families)
            .map_err(|error| named(error.to_string()))?;
        let closed = CancellationToken::new();
        let disk = Self { db, path: path.to_owned(), _closing: closed.clone().drop_guard(), closed };
        let mut next = None;
        for item in disk.db.iterator_cf(disk.family(LOG), IteratorMode::Start) {
            let (key, value) = item.map_err(|error| named(error.to_string()))?;
            let entry = disk.decode_entry(&key, &value)?;
            if next.is_some_and(|next| next != entry.log_id.index) {
                return Err(disk.wrong(format!("entries before {} are missing", entry.log_id.index)));
            }
            next = Some(entry.log_id.index + 1);
        }
        Ok(disk)
    }

    /// Cancelled when the database is closed, and its directory free.
    pub fn closed(&self) -> CancellationToken {
        self.closed.clone()
    }

    /// Does blocking work with the disk.
    pub async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let disk = Arc::clone(self);
        match tokio::task::spawn_blocking(move || work(&disk)).await {
            Ok(done) => done,
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// What is remembered under a name.
    pub fn get<T: DeserializeOwned>(&self, name: Name) -> io::Result<Option<T>> {
        let found = self.db.get_pinned_cf(self.family(META), name.key());
        let found = found.map_err(|error| self.wrong(error))?;
        let decoded = found.map(|bytes| codec::decode(&bytes)).transpose();
        decoded.map_err(|error| self.wrong(format!("{name:?} cannot be read: {error}")))
    }

    /// Remembers one thing, durably.
    pub fn put<T: Serialize>(&self, name: Name, value: &T) -> io::Result<()> {
        let mut writes = Writes::default();
        self.set(&mut writes, name, value)?;
        self.write(writes, true)
    }

    /// Adds a thing that is to be remembered.
    pub fn set<T: Serialize>(&self, writes: &mut Writes, name: Name, value: &T) -> io::Result<()> {
        let bytes = codec::encode(value).map_err(|error| self.wrong(error))?;
        writes.batch.put_cf(self.family(META), name.key(), bytes);
        Ok(())
    }

    /// Adds an entry.
    pub fn add(&self, writes: &mut Writes, entry: &Entry) -> io::Result<()> {
        let bytes = codec::encode(entry).map_err(|error| self.wrong(error))?;
        writes.batch.put_cf(self.family(LOG), entry.log_id.index.to_be_bytes(), bytes);
        Ok(())
    }

    /// Adds the end of the entries from `from` up to, and without, `to`.
    pub fn drop_entries(&self, writes: &mut Writes, from: u64, to: u64) {
        writes.batch.delete_range_cf(self.family(LOG), from.to_be_bytes(), to.to_be_bytes());
    }

    /// Forgets everything but `kept`.
    pub fn wipe(&self, kept: Writes) -> io::Result<()> {
        let mut writes = Writes::default();
        self.drop_entries(&mut writes, 0, u64::MAX);
        for name in Name::ALL {
            writes.batch.delete_cf(self.family(META), name.key());
        }
        self.write(writes, true)?;
        self.write(kept, true)
    }

    /// Writes; what is `synced` is on disk when this returns, with all that was written before it.
    pub fn write(&self, writes: Writes, synced: bool) -> io::Result<()> {
        #[cfg(test)]
        super::tests::faults::check(&self.path)?;
        let mut options = WriteOptions::default();
        options.set_sync(synced);
        self.db.write_opt(writes.batch, &options).map_err(|error| self.wrong(error))
    }

    /// The entries of a range, until they have `bytes_max` together; one at least.
    pub fn entries(&self, range: impl RangeBounds<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let (mut found, mut bytes) = (Vec::new(), 0);
        let mode = IteratorMode::From(&from.to_be_bytes(), Direction::Forward);
        for item in self.db.iterator_cf(self.family(LOG), mode) {
            let (key, value) = item.map_err(|error| self.wrong(error))?;
            let entry = self.decode_entry(&key, &value)?;
            bytes += value.len();
            if !range.contains(&entry.log_id.index) || (bytes > bytes_max && !found.is_empty()) {
                break;
            }
            found.push(entry);
        }
        Ok(found)
    }

    /// The last entry.
    pub fn last(&self) -> io::Result<Option<LogId>> {
        let last = self.db.iterator_cf(self.family(LOG), IteratorMode::End).next();
        let last = last.transpose().map_err(|error| self.wrong(error))?;
        last.map(|(key, value)| Ok(self.decode_entry(&key, &value)?.log_id)).transpose()
    }

    /// Copies what is on it now, while it is used.
    #[cfg(test)]
    pub fn copy_to(&self, path: &Path) {
        let checkpoint = rocksdb::checkpoint::Checkpoint::new(&self.db).expect("begun");
        checkpoint.create_checkpoint(path).expect("copied");
    }

    fn decode_entry(&self, key: &[u8], value: &[u8]) -> io::Result<Entry> {
        let entry: Entry = codec::decode(value)
            .map_err(|error| self.wrong(format!("the entry {key:?} cannot be read: {error}")))?;
        match key == entry.log_id.index.to_be_bytes() {
            true => Ok(entry),
            false => Err(self.wrong(format!("the entry {key:?} is {}", entry.log_id.index))),
        }
    }

    fn wrong(&self, error: impl std::fmt::Display) -> io::Error {
        io::Error::other(format!("{}: {error}", self.path.display()))
    }

    fn family(&self, name: &str) -> &ColumnFamily {
        self.db.cf_handle(name).expect("every family is opened with the database")
    }
}

impl Name {
    const ALL: [Self; 9] = [
        Self::Vote,
        Self::Committed,
        Self::Purged,
        Self::Applied,
        Self::Snapshot,
        Self::Promise,
        Self::Promised,
        Self::Birth,
        Self::Newcomer,
    ];

    fn key(self) -> &'static [u8] {
        match self {
            Self::Vote => b"vote",
            Self::Committed => b"committed",
            Self::Purged => b"purged",
            Self::Applied => b"applied",
            Self::Snapshot => b"snapshot",
            Self::Promise => b"promise",
            Self::Promised => b"promised",
            Self::Birth => b"birth",
            Self::Newcomer => b"newcomer",
        }
    }
}

fn db_options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_db_write_buffer_size(8 << 20);
    options.set_max_total_wal_size(16 << 20);
    options.set_max_open_files(64);
    options.set_max_background_jobs(2);
    options.set_max_log_file_size(1 << 20);
    options.set_keep_log_file_num(2);
    options.set_skip_stats_update_on_db_open(true);
    options
}

fn family_options() -> Options {
    let mut options = Options::default();
    options.set_write_buffer_size(4 << 20);
    options.set_max_write_buffer_number(2);
    options
}
