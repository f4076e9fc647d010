//! The file in which a testbed is kept: read by every command, changed by one at a time.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

use super::State;

/// What is kept.
const STATE: &str = "cluster.json";
/// Whoever changes it holds this.
const LOCK: &str = "lock";

/// A change takes milliseconds.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// The directory of a testbed.
#[derive(Clone, Debug)]
pub struct Keep {
    dir: PathBuf,
}

/// Which version of the file was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    inode: u64,
    changed_ns: i64,
}

impl Keep {
    /// Whether a testbed can be kept there.
    ///
    /// # Errors
    ///
    /// When one is kept there already, or anything else.
    pub fn check_vacant(dir: &Path) -> anyhow::Result<()> {
        let shown = dir.display();
        ensure!(
            !dir.join(STATE).exists(),
            "there is a testbed in {shown} already: end it with `testbed/down --dir {shown}`, or choose another --dir"
        );
        match fs::read_dir(dir) {
            Ok(mut entries) => {
                let is_empty = entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == LOCK));
                ensure!(
                    is_empty,
                    "{shown} is not empty, and what is in it is no testbed: choose another --dir"
                );
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error).with_context(|| format!("cannot read {shown}")),
        }
    }

    /// Makes the directory of a testbed that is to be; nobody else may look in, since it holds keys.
    ///
    /// # Errors
    ///
    /// When it is not vacant, or cannot be made.
    pub fn make(dir: &Path) -> anyhow::Result<Self> {
        Self::check_vacant(dir)?;
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Self { dir: dir.canonicalize()? })
    }

    /// The directory of a testbed that was started.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        let none = || format!("there is no testbed in {}: start one with `testbed/up`", dir.display());
        let keep = Self { dir: dir.canonicalize().with_context(none)? };
        ensure!(keep.path(STATE).is_file(), none());
        Ok(keep)
    }

    /// It, absolute.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Which version of the file is there.
    pub fn version(&self) -> Option<Version> {
        let metadata = fs::metadata(self.path(STATE)).ok()?;
        let changed_ns = metadata.mtime().wrapping_mul(1_000_000_000).wrapping_add(metadata.mtime_nsec());
        Some(Version { inode: metadata.ino(), changed_ns })
    }

    /// What is kept.
    ///
    /// # Errors
    ///
    /// When there is nothing, or nothing that this version of the testbed understands.
    pub fn read(&self) -> anyhow::Result<State> {
        let path = self.path(STATE);
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} makes no sense", path.display()))
    }

    /// Replaces what is kept: whoever reads sees all of the old or all of the new.
    ///
    /// # Errors
    ///
    /// When it cannot be written; then the old is still there.
    pub fn write(&self, state: &State) -> anyhow::Result<()> {
        let (path, new) = (self.path(STATE), self.path("cluster.json.new"));
        let text = serde_json::to_vec_pretty(state).context("the state becomes JSON")?;
        let written = || -> std::io::Result<()> {
            let mut file = File::options().create(true).write(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(&text)?;
            drop(file);
            fs::rename(&new, &path)
        };
        written().with_context(|| format!("cannot write {}", path.display()))
    }

    /// Changes what is kept, while nobody else does. Nothing is written when `change` fails.
    ///
    /// # Errors
    ///
    /// Those of `change`; and when another command holds the lock for long.
    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let _held = self.lock()?;
        let mut state = self.read()?;
        let answer = change(&mut state)?;
        self.write(&state)?;
        Ok(answer)
    }

    /// Removes the directory and all in it.
    ///
    /// # Errors
    ///
    /// When something in it cannot be removed.
    pub fn remove(&self) -> anyhow::Result<()> {
        match fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed.with_context(|| format!("cannot remove {}", self.dir.display())),
        }
    }

    fn lock(&self) -> anyhow::Result<Flock<File>> {
        let path = self.path(LOCK);
        let mut file = File::options().create(true).append(true).open(&path);
        let begun = Instant::now();
        loop {
            let opened = file.with_context(|| format!("cannot open {}", path.display()))?;
            match Flock::lock(opened, FlockArg::LockExclusiveNonblock) {
                Ok(held) => return Ok(held),
                Err((returned, Errno::EWOULDBLOCK | Errno::EINTR)) => file = Ok(returned),
                Err((_, error)) => {
                    return Err(error).with_context(|| format!("cannot lock {}", path.display()));
                }
            }
            if begun.elapsed() > LOCK_PATIENCE {
                bail!(
                    "another command changes this testbed, for {} s by now: {}",
                    LOCK_PATIENCE.as_secs(),
                    path.display()
                );
            }
            // Who holds it does so for as long as it takes to start a process.
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
