//! What a node's disk and clock do wrong, and what a power cut leaves of a disk.
//!
//! Nodes that may have such faults are started with a [library](library) between them and the system, and with the
//! name of a file that tells it what is wrong. It keeps a record of what was synced, too.

use std::{
    collections::HashMap,
    fs::{self, File, Metadata},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail, ensure};

use super::DiskHow;

/// The library looks at its file every 100 ms, by a clock that advances every few milliseconds.
pub const TAKES_EFFECT: Duration = Duration::from_millis(150);

const SOURCE: &str = include_str!("../../faulty.c");
const DATA: &str = "data";
const KEPT: &str = "kept";

/// Builds the library that makes disks and clocks of nodes fail on demand, as `dir/faulty.so`.
///
/// # Errors
///
/// When there is no C compiler, or it fails; the error has what it said.
pub fn library(dir: &Path) -> anyhow::Result<PathBuf> {
    let (source, target) = (dir.join("faulty.c"), dir.join("faulty.so"));
    fs::write(&source, SOURCE).with_context(|| format!("cannot write {}", source.display()))?;
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&target, &source])
        .arg("-ldl")
        .output()
        .context("cannot run the C compiler `cc`, which faulty nodes need")?;
    ensure!(built.status.success(), "cc {}: {}", source.display(), String::from_utf8_lossy(&built.stderr));
    Ok(target)
}

/// What the file of faults of a node says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// What its disk does.
    pub disk: DiskHow,
    /// How far its clock is off.
    pub clock_ms: i64,
}

impl Wrong {
    /// As the file in a node's directory says it; what is not there is well.
    pub fn read(node_dir: &Path) -> anyhow::Result<Self> {
        let path = node_dir.join("fault");
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let mut wrong = Self { disk: DiskHow::Well, clock_ms: 0 };
        for line in text.lines() {
            match line.split_once(' ') {
                Some(("disk", "full")) => wrong.disk = DiskHow::Full,
                Some(("disk", "failing")) => wrong.disk = DiskHow::Failing,
                Some(("clock", ms)) => wrong.clock_ms = ms.parse().with_context(|| line.to_owned())?,
                _ => bail!("{}: {line:?} is not understood", path.display()),
            }
        }
        Ok(wrong)
    }

    /// Replaces the file as a whole: its reader sees the old one or the new one.
    pub fn write(self, node_dir: &Path) -> anyhow::Result<()> {
        let mut text = String::new();
        if self.disk != DiskHow::Well {
            text += &format!("disk {}\n", self.disk);
        }
        if self.clock_ms != 0 {
            text += &format!("clock {}\n", self.clock_ms);
        }
        let (path, beside) = (node_dir.join("fault"), node_dir.join("fault.new"));
        fs::write(&beside, text)
            .and_then(|()| fs::rename(&beside, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Whether nothing is wrong.
    pub fn is_well(self) -> bool {
        self.disk == DiskHow::Well && self.clock_ms == 0
    }
}

/// What a power cut took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Files that were cut shorter.
    pub cut: usize,
    /// Files that are gone.
    pub removed: usize,
    /// Bytes that are gone, of both.
    pub bytes: u64,
}

/// Takes from a dead node's disk all that was never synced: every file ends where its last sync left it, and those
/// never synced are gone. That is what a disk may do, at worst, to files that only grow; names are not taken back.
pub fn cut_power(node_dir: &Path) -> anyhow::Result<Lost> {
    let record = Record::open(node_dir)?;
    let mut lost = Lost::default();
    let mut left = Vec::new();
    for (path, about) in files(&node_dir.join(DATA))? {
        let Some(safe) = record.safe(&about) else {
            lost.removed += 1;
            lost.bytes += about.len();
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            continue;
        };
        if safe < about.len() {
            lost.cut += 1;
            lost.bytes += about.len() - safe;
            let file = File::options().write(true).open(&path);
            file.and_then(|file| file.set_len(safe))
                .with_context(|| format!("cannot cut {}", path.display()))?;
        }
        left.push((Identity::of(&about), safe.min(about.len())));
    }
    record.replace(&left)?;
    Ok(lost)
}

/// Copies a node's data aside, in the place of an earlier copy; answers how many bytes. The node must stand still.
pub fn keep(node_dir: &Path) -> anyhow::Result<u64> {
    let (kept, beside) = (node_dir.join(KEPT), node_dir.join("kept.new"));
    remove_all(&beside)?;
    let copied = copy_all(&node_dir.join(DATA), &beside)?;
    remove_all(&kept)?;
    fs::rename(&beside, &kept).with_context(|| format!("cannot make {}", kept.display()))?;
    Ok(copied.iter().map(|(_, bytes)| bytes).sum())
}

/// Whether a copy of a node's data was put aside.
pub fn is_kept(node_dir: &Path) -> bool {
    node_dir.join(KEPT).is_dir()
}

/// Puts the copy in the place of a dead node's data. All of it counts as synced.
pub fn put_back(node_dir: &Path) -> anyhow::Result<()> {
    let data = node_dir.join(DATA);
    remove_all(&data)?;
    let copied = copy_all(&node_dir.join(KEPT), &data)?;
    match synced_path(node_dir).exists() {
        true => Record::open(node_dir)?.replace(&copied),
        false => Ok(()),
    }
}

/// Which file a line of the record is about: an inode may be given to another file later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Identity {
    inode: u64,
    /// 0 where the file system does not tell.
    born_ns: i64,
}

impl Identity {
    fn of(about: &Metadata) -> Self {
        let born = about.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        let born_ns = born.and_then(|since| i64::try_from(since.as_nanos()).ok()).unwrap_or(0);
        Self { inode: about.ino(), born_ns }
    }
}

/// What the library wrote down: of each file, how much of it is safe.
struct Record {
    path: PathBuf,
    /// When the first process with the library began; what is no younger was there before.
    begun: SystemTime,
    safe: HashMap<Identity, u64>,
}

impl Record {
    fn open(node_dir: &Path) -> anyhow::Result<Self> {
        let path = synced_path(node_dir);
        let named = || format!("cannot read {}", path.display());
        let text = fs::read_to_string(&path).with_context(named)?;
        let mut safe = HashMap::new();
        // Whoever wrote a line without an end was killed at it, so that sync never returned.
        for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            let (identity, bytes) = entry(line).with_context(|| format!("{}: {line:?}", path.display()))?;
            // The longest: of syncs at the same time, the shorter one may be written down last.
            let longest: &mut u64 = safe.entry(identity).or_default();
            *longest = (*longest).max(bytes);
        }
        let begun = born(&fs::metadata(&path).with_context(named)?).with_context(named)?;
        Ok(Self { path, begun, safe })
    }

    /// How much of a file is safe, if it is known to the disk at all.
    fn safe(&self, about: &Metadata) -> Option<u64> {
        let was_before = || born(about).is_ok_and(|born| born <= self.begun).then_some(about.len());
        self.safe.get(&Identity::of(about)).copied().or_else(was_before)
    }

    /// Begins a new record in the same file, whose birth still says when it all began.
    fn replace(&self, safe: &[(Identity, u64)]) -> anyhow::Result<()> {
        let line =
            |(Identity { inode, born_ns }, bytes): &(Identity, u64)| format!("{inode} {born_ns} {bytes}\n");
        let text: String = safe.iter().map(line).collect();
        let file = File::options().write(true).truncate(true).open(&self.path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// A line of the record.
fn entry(line: &str) -> Option<(Identity, u64)> {
    let mut words = line.split(' ');
    let identity = Identity { inode: words.next()?.parse().ok()?, born_ns: words.next()?.parse().ok()? };
    Some((identity, words.next()?.parse().ok()?))
}

fn synced_path(node_dir: &Path) -> PathBuf {
    node_dir.join("fault.synced")
}

fn born(about: &Metadata) -> io::Result<SystemTime> {
    about.created().or_else(|_| about.modified())
}

/// All regular files below a directory.
fn files(dir: &Path) -> anyhow::Result<Vec<(PathBuf, Metadata)>> {
    let named = || format!("cannot read {}", dir.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(named)? {
        let path = entry.with_context(named)?.path();
        let about = fs::symlink_metadata(&path).with_context(|| format!("cannot read {}", path.display()))?;
        if about.is_dir() {
            found.extend(files(&path)?);
        } else if about.is_file() {
            found.push((path, about));
        }
    }
    Ok(found)
}

fn copy_all(from: &Path, to: &Path) -> anyhow::Result<Vec<(Identity, u64)>> {
    let copy = |path: &Path, target: &Path| {
        fs::create_dir_all(target.parent().unwrap_or(to))?;
        fs::copy(path, target)?;
        fs::metadata(target)
    };
    let mut copied = Vec::new();
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for (path, _) in files(from)? {
        let target = to.join(path.strip_prefix(from)?);
        let about = copy(&path, &target).with_context(|| format!("cannot copy to {}", target.display()))?;
        copied.push((Identity::of(&about), about.len()));
    }
    Ok(copied)
}

fn remove_all(dir: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}
