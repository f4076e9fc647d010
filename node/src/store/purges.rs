//! The logs of all regions, and the table and the catalog made from them. Entries are applied as they come, from
//! whoever has them, in the order of each log; a node that stands alone writes the log of its region itself.
//!
//! An entry is on disk before it is in the table, and in the table before it is acknowledged. The stamp that
//! fetches take is swapped last, so a stamp never claims a purge that lookups do not know yet.
//!
//! Invariants:
//! - Of a region's log only the latest life is applied and handed out.
//! - An entry that was not applied lies below the floor of its region, on disk and in the table.
//! - An entry that is dropped before its time leaves its [`Remains`] on disk.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::{Mutex, RwLock};
use starling_proto::{
    UnixMs,
    purge::{
        Base, Batch, Catalog, Change, Entry, EntryId, PurgeTable, Purged, Region, Stamp, Subject, Version,
        Versions,
    },
};
use tokio::sync::watch;

use super::{
    errors::{IndexError, StoreError},
    index::{Advance, Index, Known, Life},
    object::Object,
    recent::Recent,
    remains::Remains,
    settings::Settings,
    stats::Counter,
};

/// Entries that are handed over at once, at most.
const BATCH_ENTRIES_MAX: usize = 1024;
/// Text in them after which no more are added; one entry may exceed it.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Clocks of proposers and of nodes may differ by so much, and no purge is forgotten too early for it.
pub(super) const SKEW_MAX_MS: u64 = 24 * 3_600_000;

pub(super) struct Purges {
    region: Region,
    entries_max: u64,
    selectors_max: usize,
    table: RwLock<PurgeTable>,
    /// The table's `seq`, to be read without its lock.
    seq: AtomicU64,
    catalog: watch::Sender<Arc<Catalog>>,
    /// What is applied; who spreads purges waits for its changes.
    stamp: watch::Sender<Stamp>,
    recent: RwLock<Recent>,
    /// One step is written at a time, in the order of the logs. The epoch of the log that this node began itself.
    writing: Mutex<Option<u64>>,
    remains: Mutex<Remains>,
    pub merged: Counter,
    pub dropped: Counter,
}

/// How much is handed over still.
struct Room {
    entries: usize,
    bytes: usize,
}

impl Purges {
    /// What the lives before came to; blocks.
    pub fn restore(settings: &Settings, index: &Index, life: &Life) -> Result<Self, IndexError> {
        let mut table = PurgeTable::new(life.applied.clone(), life.floors.clone());
        let mut recent = Recent::default();
        let merged = Counter::default();
        life.applied.iter().for_each(|(region, at)| recent.live_in(region, at.epoch));
        life.remains.entries().iter().for_each(|entry| table.restore(entry));
        index.each_entry(|entry| {
            table.restore(&entry);
            recent.push(&entry);
            merged.add(table.compact(settings.purge_selectors_max) as u64);
        })?;
        Ok(Self {
            region: Region::new(&settings.region),
            entries_max: settings.purge_log_entries_max,
            selectors_max: settings.purge_selectors_max,
            seq: AtomicU64::new(table.seq()),
            table: RwLock::new(table),
            catalog: watch::Sender::new(Arc::new(life.catalog.clone())),
            stamp: watch::Sender::new(Arc::new(life.applied.clone())),
            recent: RwLock::new(recent),
            writing: Mutex::new(life.own),
            remains: Mutex::new(life.remains.clone()),
            merged,
            dropped: Counter::default(),
        })
    }

    pub fn stamp(&self) -> Stamp {
        self.stamp.borrow().clone()
    }

    pub fn stamps(&self) -> watch::Receiver<Stamp> {
        self.stamp.subscribe()
    }

    pub fn catalog(&self) -> watch::Receiver<Arc<Catalog>> {
        self.catalog.subscribe()
    }

    /// Writes a change to the log of the own region, then applies it; blocks. What was written with this key before
    /// is not written again.
    pub fn write(
        &self,
        index: &Index,
        change: Change,
        key: u128,
        at_ms: UnixMs,
    ) -> Result<Entry, StoreError> {
        if matches!(&change, Change::Purge(purge) if purge.selectors.is_empty()) {
            return Err(StoreError::NoSelectors);
        }
        let region = &self.region;
        let mut own = self.writing.lock();
        let here = self.stamp().get(region);
        let goes_on = here.filter(|here| *own == Some(here.epoch));
        let asked_before = if key == 0 { None } else { self.find(region, key) };
        if let (Some(_), Some((version, at_ms))) = (goes_on, asked_before) {
            let id = EntryId { region: region.clone(), version };
            let kept = self.entry(index, &id).map_err(StoreError::Unreadable)?;
            // One key, one change: where the entry is not kept any more, it said the same.
            return Ok(kept.unwrap_or(Entry { region: region.clone(), version, at_ms, key, change }));
        }
        // A log that came from elsewhere is not gone on with: who wrote it may have written more.
        let after = goes_on.unwrap_or_else(|| {
            let epoch = here.map_or(at_ms, |here| at_ms.max(here.epoch.saturating_add(1)));
            Version { epoch, index: 0 }
        });
        let version = Version { index: after.index + 1, ..after };
        // Purges are forgotten by this time: a clock that stepped back must not have one forgotten early.
        let at_ms = at_ms.max(self.recent.read().latest_ms(region));
        let entry = Entry { region: region.clone(), version, at_ms, key, change };
        let entries = std::slice::from_ref(&entry);
        let begins = goes_on.is_none();
        self.advance(index, &Advance { region, after, base: None, entries, begins })?;
        *own = Some(after.epoch);
        Ok(entry)
    }

    /// Writes and applies what is new in a batch; blocks. Answers whether anything was.
    pub fn apply(&self, index: &Index, batch: &Batch) -> Result<bool, StoreError> {
        let Batch { region, since, after, base, entries } = batch;
        let mut last = after.index;
        for entry in entries {
            last = last.saturating_add(1);
            if entry.region != *region || entry.version != (Version { index: last, ..*after }) {
                return Err(StoreError::Torn { region: region.clone(), at: last });
            }
        }
        let _writing = self.writing.lock();
        let here = self.stamp().get(region);
        if here.is_some_and(|here| here >= Version { index: last, ..*after }) {
            return Ok(false);
        }
        let known = here.filter(|here| here.epoch == after.epoch).map_or(0, |here| here.index);
        let steps_over = known < after.index;
        let base = base.as_ref().filter(|_| steps_over);
        if steps_over && (base.is_none() || known < *since) {
            return Err(StoreError::Gap { region: region.clone(), applied: known, after: after.index });
        }
        let new = entries.iter().position(|entry| entry.version.index > known).unwrap_or(entries.len());
        let after = Version { index: after.index.max(known), ..*after };
        self.advance(index, &Advance { region, after, base, entries: &entries[new..], begins: false })?;
        Ok(true)
    }

    /// What `there` has not applied of the logs known here: as many entries as make a batch, and at most one base.
    pub fn missing(&self, index: &Index, there: &Versions) -> Result<Vec<Batch>, IndexError> {
        let mut batches = Vec::new();
        let mut room = Room::new();
        for (region, here) in self.stamp().iter() {
            if room.is_empty() {
                break;
            }
            let Some(since) = since(here, there.get(region)) else { continue };
            let entries = match self.recent_after(region, since, &room) {
                Some(entries) => entries,
                None => index.entries_from(region, next(since), room.entries, room.bytes)?,
            };
            let batch = self.batch(region, since, here, entries);
            let is_full = batch.base.is_some();
            room.take(&batch);
            batches.push(batch);
            if is_full {
                // Each base holds all services, whatever its region: one is enough for one reply.
                break;
            }
        }
        Ok(batches)
    }

    /// The same of one log, when memory has it: no IO. None when it has not.
    pub fn missing_in_memory(&self, region: &Region, there: Option<Version>) -> Option<Option<Batch>> {
        let Some(here) = self.stamp().get(region) else { return Some(None) };
        let Some(since) = since(here, there) else { return Some(None) };
        let entries = self.recent_after(region, since, &Room::new())?;
        Some(Some(self.batch(region, since, here, entries)))
    }

    /// The same, from disk where it has to be.
    pub fn missing_of(
        &self,
        index: &Index,
        region: &Region,
        there: Option<Version>,
    ) -> Result<Option<Batch>, IndexError> {
        let Some(here) = self.stamp().get(region) else { return Ok(None) };
        let Some(since) = since(here, there) else { return Ok(None) };
        let room = Room::new();
        let entries = index.entries_from(region, next(since), room.entries, room.bytes)?;
        Ok(Some(self.batch(region, since, here, entries)))
    }

    /// The entry of the region's present life that carries this key, while it is remembered.
    pub fn find(&self, region: &Region, key: u128) -> Option<(Version, UnixMs)> {
        self.recent.read().find(region, key)
    }

    /// The entry of this name, if it is kept; may read from disk.
    pub fn entry(&self, index: &Index, id: &EntryId) -> Result<Option<Entry>, IndexError> {
        // No lock is held while the disk is read.
        let recent = self.recent.read().entry(&id.region, id.version);
        match recent {
            Some(entry) => Ok(Some(entry)),
            None => index.entry(&id.region, id.version),
        }
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
    pub fn check_subject(&self, subject: Subject<'_>, stamp: &Versions) -> Purged {
        self.table.read().check(subject, stamp)
    }

    /// Drops purges that no object can be older than, and of a log that is too long its beginning; blocks.
    /// `oldest_ms` is the birth of the oldest object that may still be used.
    pub fn sweep(&self, index: &Index, oldest_ms: UnixMs) -> Result<usize, IndexError> {
        let oldest_ms = oldest_ms.saturating_sub(SKEW_MAX_MS);
        let gone = self.table.write().sweep(oldest_ms);
        let mut remains = self.remains.lock();
        remains.sweep(oldest_ms);
        let kept: Vec<_> = self.recent.read().kept().map(|(region, kept)| (region.clone(), kept)).collect();
        for (region, kept) in kept {
            let excess = kept.saturating_sub(self.entries_max);
            let dropped = index.drop_entries(&region, oldest_ms, excess, &mut remains)?;
            if let Some(last) = dropped.last {
                self.recent.write().dropped(&region, dropped.entries, last);
                self.dropped.add(dropped.early);
            }
        }
        Ok(gone)
    }

    /// Opens an index anew that could not be written, and has it say what is applied here; blocks. Nothing is
    /// applied, swept or read meanwhile. On an error nothing is applied until it is called again and succeeds.
    pub fn reopen(&self, index: &Index) -> Result<(), IndexError> {
        let own = self.writing.lock();
        let remains = self.remains.lock();
        let floors = self.table.read().floors().clone();
        let (applied, catalog) = (self.stamp(), self.catalog.borrow().clone());
        let known =
            Known { applied: &applied, floors: &floors, own: *own, catalog: &catalog, remains: &remains };
        index.reopen(&known)
    }

    #[cfg(test)]
    pub fn floors(&self) -> Versions {
        self.table.read().floors().clone()
    }

    pub fn seq(&self) -> u64 {
        self.seq.load(Ordering::Acquire)
    }

    /// Selectors in the table.
    pub fn selectors(&self) -> u64 {
        self.table.read().len() as u64
    }

    /// Entries that are kept of all logs.
    pub fn entries(&self) -> u64 {
        self.recent.read().kept().map(|(_, kept)| kept).sum()
    }

    fn recent_after(&self, region: &Region, since: Version, room: &Room) -> Option<Vec<Entry>> {
        self.recent.read().following(region, since, room.entries, room.bytes)
    }

    /// What follows `since`, and is the beginning of what is kept, up to `here`.
    fn batch(&self, region: &Region, since: Version, here: Version, mut entries: Vec<Entry>) -> Batch {
        // What was dropped, or stepped over here, lies before the first entry that is left.
        let after = entries.first().map_or(here.index, |entry| entry.version.index - 1);
        let is_left_out = after > since.index;
        // Read after `here`, so it is not older.
        let base = is_left_out.then(|| self.catalog.borrow().base(region));
        if let Some(base) = &base {
            shorten(&mut entries, BATCH_BYTES_MAX.saturating_sub(base.text_bytes()));
        }
        Batch {
            region: region.clone(),
            since: since.index,
            after: Version { index: after, ..here },
            base,
            entries,
        }
    }

    /// On disk first, then in the table and the catalog, then in the stamp. To be called under the lock that orders
    /// steps.
    fn advance(&self, index: &Index, advance: &Advance<'_>) -> Result<(), StoreError> {
        let Advance { region, after, base, entries, .. } = *advance;
        let mut applied = Versions::clone(&self.stamp());
        applied.set(region.clone(), advance.last());
        // As the table does: a later life of the log, too, is a floor.
        let is_reborn = self.stamp().get(region).is_some_and(|here| here.epoch < after.epoch);
        let floors = (base.is_some() || is_reborn).then(|| {
            let mut floors = self.table.read().floors().clone();
            floors.set(region.clone(), after);
            floors
        });
        let catalog = self.catalog_after(advance);
        index
            .advance(advance, &applied, floors.as_ref(), catalog.as_ref())
            .map_err(StoreError::NotDurable)?;
        self.take_in(advance);
        if let Some(catalog) = catalog {
            self.catalog.send_replace(Arc::new(catalog));
        }
        let mut recent = self.recent.write();
        recent.live_in(region, after.epoch);
        entries.iter().for_each(|entry| recent.push(entry));
        drop(recent);
        self.stamp.send_replace(Arc::new(applied));
        Ok(())
    }

    /// The catalog after a step, if it is another one.
    fn catalog_after(&self, advance: &Advance<'_>) -> Option<Catalog> {
        let says_nothing = |entry: &Entry| matches!(entry.change, Change::Nothing | Change::Purge(_));
        if advance.base.is_none() && advance.entries.iter().all(says_nothing) {
            return None;
        }
        let mut catalog = Catalog::clone(&self.catalog.borrow());
        let mut is_new = advance.base.is_some_and(|base| catalog.adopt(advance.region, base));
        for entry in advance.entries {
            is_new |= catalog.apply(entry);
        }
        is_new.then_some(catalog)
    }

    fn take_in(&self, advance: &Advance<'_>) {
        let mut table = self.table.write();
        let stood = table.applied().get(advance.region);
        let step = match stood == Some(advance.after) {
            true => Ok(()),
            false => table.skip(advance.region, advance.after),
        };
        let done = advance.entries.iter().fold(step, |done, entry| done.and_then(|()| table.apply(entry)));
        if let Err(error) = done {
            // `after` is not before what is applied, and the entries follow it without a gap.
            tracing::error!(%error, "a purge did not follow its predecessor");
        }
        self.merged.add(table.compact(self.selectors_max) as u64);
        self.seq.store(table.seq(), Ordering::Release);
    }
}

impl Room {
    fn new() -> Self {
        Self { entries: BATCH_ENTRIES_MAX, bytes: BATCH_BYTES_MAX }
    }

    fn is_empty(&self) -> bool {
        self.entries == 0 || self.bytes == 0
    }

    fn take(&mut self, batch: &Batch) {
        let Batch { base, entries, .. } = batch;
        let of_entries: usize = entries.iter().map(Entry::text_bytes).sum();
        let of_base = base.as_ref().map_or(0, Base::text_bytes);
        self.entries = self.entries.saturating_sub(entries.len());
        self.bytes = self.bytes.saturating_sub(of_entries + of_base);
    }
}

/// Leaves the first entry, and those after it that begin within `text_bytes` of text.
fn shorten(entries: &mut Vec<Entry>, text_bytes: usize) {
    let mut bytes = 0;
    let fitting = entries.iter().take_while(|entry| {
        let fits = bytes < text_bytes;
        bytes += entry.text_bytes();
        fits
    });
    let fitting = fitting.count().max(1);
    entries.truncate(fitting);
}

/// From where on a node at `there` lacks entries of a log that stands at `here`; none when it lacks none.
fn since(here: Version, there: Option<Version>) -> Option<Version> {
    match there {
        Some(there) if there.epoch > here.epoch => None,
        Some(there) if there.epoch == here.epoch => (there.index < here.index).then_some(there),
        Some(_) | None => Some(Version { index: 0, ..here }),
    }
}

fn next(version: Version) -> Version {
    Version { index: version.index + 1, ..version }
}
