//! The purge log of this node and the table made from it.
//!
//! A purge is on disk before it is in the table, and in the table before it is acknowledged. The stamp that
//! fetches take is swapped last, so a stamp never claims a purge that lookups do not know yet.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::{Mutex, RwLock};
use starling_proto::{
    UnixMs,
    purge::{Entry, Mode, PurgeTable, Purged, Region, Selector, Stamp, Version, Versions},
};

use super::{
    errors::{IndexError, StoreError},
    index::{Index, Life},
    object::Object,
};

/// What is to be purged.
#[derive(Clone, Debug)]
pub struct PurgeRequest {
    /// The service whose objects it names.
    pub service: String,
    /// Objects that match any of these are purged.
    pub selectors: Vec<Selector>,
    /// Whether the old bytes may still be used.
    pub mode: Mode,
}

pub(super) struct Purges {
    region: Region,
    table: RwLock<PurgeTable>,
    /// The table's `seq`, to be read without its lock.
    seq: AtomicU64,
    stamp: RwLock<Stamp>,
    /// One purge is written at a time, in the order of the log.
    writing: Mutex<()>,
}

impl Purges {
    pub fn restore(region: Region, life: &Life) -> Self {
        let mut table = PurgeTable::new(life.applied.clone());
        life.entries.iter().for_each(|entry| table.restore(entry));
        Self {
            region,
            seq: AtomicU64::new(table.seq()),
            table: RwLock::new(table),
            stamp: RwLock::new(Arc::new(life.applied.clone())),
            writing: Mutex::new(()),
        }
    }

    pub fn stamp(&self) -> Stamp {
        self.stamp.read().clone()
    }

    /// Writes a purge to the log, then applies it; blocks.
    pub fn purge(&self, index: &Index, request: PurgeRequest, at_ms: UnixMs) -> Result<Version, StoreError> {
        let PurgeRequest { service, selectors, mode } = request;
        if selectors.is_empty() {
            return Err(StoreError::NoSelectors);
        }
        let _writing = self.writing.lock();
        let mut applied = Versions::clone(&self.stamp());
        let last = applied.get(&self.region).unwrap_or_default();
        let version = Version { index: last.index + 1, ..last };
        applied.set(self.region.clone(), version);
        let entry = Entry { region: self.region.clone(), version, at_ms, service, selectors, mode };
        index.append_purge(&entry, &applied).map_err(StoreError::NotDurable)?;
        let mut table = self.table.write();
        if let Err(error) = table.apply(&entry) {
            // The version is the successor of the last, under the lock that orders purges.
            tracing::error!(%error, "a purge did not follow its predecessor");
        }
        self.seq.store(table.seq(), Ordering::Release);
        drop(table);
        *self.stamp.write() = Arc::new(applied);
        Ok(version)
    }

    /// Whether a purge names the object. One comparison when none came since it was last asked.
    pub fn check(&self, object: &Object) -> Purged {
        if object.checked_at() == self.seq.load(Ordering::Acquire) {
            return Purged::No;
        }
        let table = self.table.read();
        let purged = table.check(object.subject(), &object.stamp);
        if purged == Purged::No {
            object.set_checked(table.seq());
        }
        purged
    }

    /// As [`check`](Self::check), for what is not an object yet.
    pub fn check_subject(&self, subject: starling_proto::purge::Subject<'_>, stamp: &Versions) -> Purged {
        self.table.read().check(subject, stamp)
    }

    /// Drops purges that no object can be older than.
    pub fn sweep(&self, index: &Index, oldest_ms: UnixMs) -> Result<usize, IndexError> {
        let dropped = self.table.write().sweep(oldest_ms);
        index.drop_purges_before(oldest_ms)?;
        Ok(dropped)
    }

    pub fn seq(&self) -> u64 {
        self.seq.load(Ordering::Acquire)
    }

    pub fn len(&self) -> u64 {
        self.table.read().len() as u64
    }
}
