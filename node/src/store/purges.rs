//! The purge logs this node knows, and the table made from them. One log it writes itself; entries of the others
//! are applied as they come, in the order of each log.
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
    purge::{Batch, Entry, Mode, PurgeTable, Purged, Region, Selector, Stamp, Version, Versions},
};
use tokio::sync::watch;

use super::{
    errors::{IndexError, StoreError},
    index::{Index, Life},
    object::Object,
};

/// Entries that are handed over at once, at most.
const BATCH_ENTRIES_MAX: usize = 1024;
/// Text in them after which no more are added; one entry may exceed it.
const BATCH_BYTES_MAX: usize = 1 << 20;

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
    /// What is applied; who spreads purges waits for its changes.
    stamp: watch::Sender<Stamp>,
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
            stamp: watch::Sender::new(Arc::new(life.applied.clone())),
            writing: Mutex::new(()),
        }
    }

    pub fn stamp(&self) -> Stamp {
        self.stamp.borrow().clone()
    }

    pub fn stamps(&self) -> watch::Receiver<Stamp> {
        self.stamp.subscribe()
    }

    /// Writes a purge to the own log, then applies it; blocks.
    pub fn purge(&self, index: &Index, request: PurgeRequest, at_ms: UnixMs) -> Result<Entry, StoreError> {
        let PurgeRequest { service, selectors, mode } = request;
        if selectors.is_empty() {
            return Err(StoreError::NoSelectors);
        }
        let _writing = self.writing.lock();
        let after = self.stamp().get(&self.region).unwrap_or_default();
        let version = Version { index: after.index + 1, ..after };
        let entry = Entry { region: self.region.clone(), version, at_ms, service, selectors, mode };
        self.write(index, after, &self.region, std::slice::from_ref(&entry))?;
        Ok(entry)
    }

    /// Writes and applies what is new in a batch; blocks. Answers whether anything was.
    pub fn apply(&self, index: &Index, batch: &Batch) -> Result<bool, StoreError> {
        let Batch { region, since, after, entries } = batch;
        let mut last = after.index;
        for entry in entries {
            last += 1;
            if entry.region != *region || entry.version != (Version { index: last, ..*after }) {
                return Err(StoreError::Torn { region: region.clone(), at: last });
            }
        }
        let _writing = self.writing.lock();
        let here = self.stamp().get(region);
        if *region == self.region && here.is_some_and(|here| here.epoch != after.epoch) {
            return Err(StoreError::OwnLog);
        }
        let known = here.filter(|here| here.epoch == after.epoch).map_or(0, |here| here.index);
        if here.is_some_and(|here| here.epoch == after.epoch && here.index >= last) {
            return Ok(false);
        }
        if known < *since {
            return Err(StoreError::Gap { region: region.clone(), applied: known, since: *since });
        }
        let new = entries.iter().position(|entry| entry.version.index > known).unwrap_or(entries.len());
        let from = Version { index: after.index.max(known), ..*after };
        self.write(index, from, region, &entries[new..])?;
        Ok(true)
    }

    /// What `there` has not applied of the logs known here: as many entries as make a batch.
    pub fn missing(&self, index: &Index, there: &Versions) -> Result<Vec<Batch>, IndexError> {
        let mut batches = Vec::new();
        let mut room = BATCH_ENTRIES_MAX;
        let mut bytes = 0;
        for (region, here) in self.stamp().iter() {
            let known = there.get(region).filter(|known| known.epoch == here.epoch);
            if room == 0 || known.is_some_and(|known| known.index >= here.index) {
                continue;
            }
            let since = known.map_or(0, |known| known.index);
            let next = Version { epoch: here.epoch, index: since + 1 };
            let mut entries = index.purges_from(region, next, room)?;
            let fitting = entries.iter().take_while(|entry| {
                let fits = bytes < BATCH_BYTES_MAX;
                bytes += entry.text_bytes();
                fits
            });
            entries.truncate(fitting.count());
            // What was swept lies before the first entry that is left.
            let after = entries.first().map_or(here.index, |entry| entry.version.index - 1);
            room = if bytes < BATCH_BYTES_MAX { room - entries.len() } else { 0 };
            let after = Version { index: after, ..here };
            batches.push(Batch { region: region.clone(), since, after, entries });
        }
        Ok(batches)
    }

    /// On disk first, then in the table, then in the stamp. To be called under the lock that orders purges.
    fn write(
        &self,
        index: &Index,
        after: Version,
        region: &Region,
        entries: &[Entry],
    ) -> Result<(), StoreError> {
        let mut applied = Versions::clone(&self.stamp());
        let last = entries.last().map_or(after, |entry| entry.version);
        applied.set(region.clone(), last);
        index.append_purges(entries, &applied).map_err(StoreError::NotDurable)?;
        let mut table = self.table.write();
        let stood = table.applied().get(region);
        let step = if stood == Some(after) { Ok(()) } else { table.skip(region, after) };
        if let Err(error) = entries.iter().fold(step, |done, entry| done.and_then(|()| table.apply(entry))) {
            // `after` is not before what is applied, and the entries follow it without a gap.
            tracing::error!(%error, "a purge did not follow its predecessor");
        }
        self.seq.store(table.seq(), Ordering::Release);
        drop(table);
        self.stamp.send_replace(Arc::new(applied));
        Ok(())
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
