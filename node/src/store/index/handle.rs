//! RocksDB behind its handle: closed for writes by the first one that fails, and opened anew when the disk is well.
//!
//! RocksDB itself keeps the error of a sync for as long as it is open, and nobody could say what is on disk by
//! then: the kernel may have dropped pages and hold what it has of them for clean, so a second sync that succeeds
//! proves nothing. So:
//!
//! 1. From a failed write or sync on nothing is written, and nothing acknowledged, be it that RocksDB would take
//!    it. What is there can still be read: a write that failed is in no memtable.
//! 2. It is opened anew when a file beside it could be written and synced.
//! 3. Opening replays RocksDB's logs from what the kernel has of them, and writes what it found into new tables and
//!    a new manifest, each synced, before it is done (`avoid_flush_during_recovery` must stay off). What is read
//!    afterwards is from those: the unsynced end of an old log counts for nothing once they are there.
//! 4. Before anybody may use it, what was acknowledged is looked for, what was refused is taken back, and what is
//!    applied is written once more, synced. If any of that fails it is closed again.

use std::{
    fs::File,
    io::{self, Write},
    ops::Deref,
    path::{Path, PathBuf},
};

use parking_lot::{MappedRwLockReadGuard, RwLock, RwLockReadGuard};
use rocksdb::{Cache, ColumnFamily, ColumnFamilyDescriptor, DB, WriteBatch, WriteOptions};
use tokio::sync::watch;

use super::{
    super::{
        errors::{IndexError, OpenError},
        stats::Counter,
    },
    FAMILIES, db_options, family_options,
};

/// What is written beside the index to see whether the disk takes it.
const PROBE: [u8; 4096] = [0; 4096];

/// The database of an index, for one use of it.
pub(super) type Reading<'a> = MappedRwLockReadGuard<'a, Opened>;

/// RocksDB with all families of the index.
pub(super) struct Opened(DB);

/// What stays when RocksDB is opened anew.
pub(super) struct Handle {
    pub path: PathBuf,
    /// None: it was closed, and could not be opened again yet.
    db: RwLock<Option<Opened>>,
    /// The write that failed, since which none is tried.
    failure: watch::Sender<Option<Failure>>,
    pub reopened: Counter,
}

/// Why nothing is written.
#[derive(Clone, Debug)]
pub(in super::super) struct Failure {
    /// What the first write was told.
    pub error: String,
    /// Why it could not be opened anew, the last time that was tried.
    pub reopening: Option<String>,
}

impl Deref for Opened {
    type Target = DB;

    fn deref(&self) -> &DB {
        &self.0
    }
}

impl Opened {
    fn open(path: &Path) -> Result<Self, rocksdb::Error> {
        let cache = Cache::new_lru_cache(16 << 20);
        let families = FAMILIES.map(|name| ColumnFamilyDescriptor::new(name, family_options(name, &cache)));
        DB::open_cf_descriptors(&db_options(), path, families).map(Self)
    }

    pub fn family(&self, name: &str) -> &ColumnFamily {
        self.0.cf_handle(name).expect("every family is opened with the index")
    }
}

impl Handle {
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let db = Opened::open(path).map_err(|error| {
            let (path, detail) = (path.to_owned(), error.to_string());
            if detail.contains("lock") && detail.contains("LOCK") {
                OpenError::Locked { path, detail }
            } else {
                OpenError::Damaged { path, detail }
            }
        })?;
        Ok(Self {
            path: path.to_owned(),
            db: RwLock::new(Some(db)),
            failure: watch::Sender::new(None),
            reopened: Counter::default(),
        })
    }

    /// The database. Not to be asked for again while it is held: who waits to open it anew would wait for ever.
    pub fn db(&self) -> Result<Reading<'_>, IndexError> {
        RwLockReadGuard::try_map(self.db.read(), Option::as_ref).map_err(|_| self.failing())
    }

    /// The same, if that needs no waiting.
    pub fn db_now(&self) -> Option<Reading<'_>> {
        RwLockReadGuard::try_map(self.db.try_read()?, Option::as_ref).ok()
    }

    /// Writes, unless a write failed before. What is `synced` is on disk when this returns.
    pub fn write(&self, db: &Opened, batch: WriteBatch, synced: bool) -> Result<(), IndexError> {
        self.change(|| write(db, batch, synced))
    }

    /// Makes a change, unless one failed before.
    pub fn change(&self, change: impl FnOnce() -> Result<(), rocksdb::Error>) -> Result<(), IndexError> {
        if self.failure.borrow().is_some() {
            return Err(self.failing());
        }
        change().map_err(|error| {
            self.failed(error.to_string());
            error.into()
        })
    }

    /// Why nothing is written, whenever that changes.
    pub fn failure(&self) -> watch::Receiver<Option<Failure>> {
        self.failure.subscribe()
    }

    /// Closes RocksDB and opens it anew, if the disk takes writes; then `settle` puts it right before anybody else
    /// may use it. Waits for those who read. Does nothing when no write failed.
    pub fn reopen(&self, settle: impl FnOnce(&Opened) -> Result<(), IndexError>) -> Result<(), IndexError> {
        let reopened = probe(&self.path).and_then(|()| {
            let mut place = self.db.write();
            // Closed first: a directory is opened once at a time.
            *place = None;
            let db = Opened::open(&self.path)?;
            settle(&db)?;
            *place = Some(db);
            Ok(())
        });
        match &reopened {
            Ok(()) => {
                self.reopened.add(1);
                tracing::warn!(path = %self.path.display(), "the index was opened anew; it is written again");
                self.failure.send_replace(None);
            }
            Err(error) => {
                let why = error.to_string();
                self.failure.send_if_modified(|failure| {
                    let Some(failure) = failure else { return false };
                    if failure.reopening.as_ref() != Some(&why) {
                        let path = self.path.display();
                        tracing::warn!(%path, %error, "the index cannot be opened anew; it is tried again");
                        failure.reopening = Some(why);
                    }
                    false
                });
            }
        }
        reopened
    }

    fn failed(&self, error: String) {
        self.failure.send_if_modified(|failure| {
            if failure.is_some() {
                return false;
            }
            let path = self.path.display();
            tracing::error!(%path, %error, "the index cannot be written; it is opened anew when the disk is well");
            *failure = Some(Failure { error, reopening: None });
            true
        });
    }

    fn failing(&self) -> IndexError {
        let failure = self.failure.borrow();
        IndexError::Failing(failure.as_ref().map_or_else(String::new, |failure| failure.error.clone()))
    }

    /// As if a write had failed.
    #[cfg(test)]
    pub fn fail(&self) {
        self.failed("a test has it fail".to_owned());
    }
}

/// Writes to an index that is only being opened, or that the handle lets write.
pub(super) fn write(db: &Opened, batch: WriteBatch, synced: bool) -> Result<(), rocksdb::Error> {
    let mut options = WriteOptions::default();
    options.set_sync(synced);
    db.write_opt(batch, &options)
}

/// Whether the disk keeps what is written, seen by a file beside the index: what is open can still be read then.
fn probe(index: &Path) -> Result<(), IndexError> {
    let path = index.with_extension("probe");
    let write = || -> io::Result<()> {
        let mut file = File::create(&path)?;
        file.write_all(&PROBE)?;
        file.sync_all()
    };
    let written = write();
    let removed = std::fs::remove_file(&path);
    written.and(removed).map_err(|source| IndexError::Disk { path, source })
}
