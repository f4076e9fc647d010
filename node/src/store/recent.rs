//! The last entries of each region's log, in memory: what is pushed at commit, and what is asked for again.

use std::collections::{BTreeMap, HashMap, VecDeque, hash_map::Entry as Slot};

use starling_proto::{
    UnixMs,
    purge::{Entry, Region, Version},
};

/// Entries of one log that are kept in memory.
const ENTRIES_MAX: usize = 256;

/// Text in them, after which the oldest go.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// Keys of one log that are remembered.
pub(super) const KEYS_MAX: usize = 65_536;

/// Of all regions.
#[derive(Default)]
pub(super) struct Recent(BTreeMap<Region, Log>);

/// The end of one region's log, in its present life.
#[derive(Default)]
struct Log {
    epoch: u64,
    /// Without a gap, up to what is applied.
    last: VecDeque<Entry>,
    text_bytes: usize,
    keys: HashMap<u128, (Version, UnixMs)>,
    /// The keys in the order of their entries.
    keyed: VecDeque<u128>,
    /// Entries that the index keeps, of all lives.
    kept: u64,
    /// The latest time that an entry carries, of all lives.
    latest_ms: UnixMs,
}

impl Recent {
    /// An entry has been applied, or was before the restart; those of one region come in their order.
    pub fn push(&mut self, entry: &Entry) {
        let log = self.0.entry(entry.region.clone()).or_default();
        log.kept += 1;
        log.latest_ms = log.latest_ms.max(entry.at_ms);
        if entry.version.epoch < log.epoch {
            return;
        }
        log.live_in(entry.version.epoch);
        log.push(entry);
    }

    /// The region's log is in this life now, if it is the later one.
    pub fn live_in(&mut self, region: &Region, epoch: u64) {
        self.0.entry(region.clone()).or_default().live_in(epoch);
    }

    /// The entries that follow `after`: at most `count`, and none after `text_bytes` of text. None when they are not
    /// all here.
    pub fn following(
        &self,
        region: &Region,
        after: Version,
        count: usize,
        text_bytes: usize,
    ) -> Option<Vec<Entry>> {
        let log = self.0.get(region).filter(|log| log.epoch == after.epoch)?;
        let first = log.last.front()?.version.index;
        let skip = usize::try_from((after.index + 1).checked_sub(first)?).ok()?;
        let mut bytes = 0;
        let fitting = log.last.iter().skip(skip).take(count).take_while(|entry| {
            let fits = bytes < text_bytes;
            bytes += entry.text_bytes();
            fits
        });
        Some(fitting.cloned().collect()).filter(|entries: &Vec<_>| !entries.is_empty())
    }

    pub fn entry(&self, region: &Region, version: Version) -> Option<Entry> {
        let log = self.0.get(region).filter(|log| log.epoch == version.epoch)?;
        let first = log.last.front()?.version.index;
        log.last.get(usize::try_from(version.index.checked_sub(first)?).ok()?).cloned()
    }

    /// The entry of the region's present life that carries this key, and when it was proposed.
    pub fn find(&self, region: &Region, key: u128) -> Option<(Version, UnixMs)> {
        self.0.get(region)?.keys.get(&key).copied()
    }

    /// The latest time that an entry of the region carries.
    pub fn latest_ms(&self, region: &Region) -> UnixMs {
        self.0.get(region).map_or(0, |log| log.latest_ms)
    }

    /// Entries that the index keeps of each region.
    pub fn kept(&self) -> impl Iterator<Item = (&Region, u64)> {
        self.0.iter().map(|(region, log)| (region, log.kept))
    }

    /// So many entries were dropped from the index, the beginning of the log up to `last`.
    pub fn dropped(&mut self, region: &Region, entries: u64, last: Version) {
        let Some(log) = self.0.get_mut(region) else { return };
        log.kept = log.kept.saturating_sub(entries);
        let is_dropped =
            |entry: &Entry| last.epoch == entry.version.epoch && entry.version.index <= last.index;
        while log.last.front().is_some_and(is_dropped) {
            log.pop();
        }
    }
}

impl Log {
    fn live_in(&mut self, epoch: u64) {
        if epoch > self.epoch {
            *self = Self { epoch, kept: self.kept, latest_ms: self.latest_ms, ..Self::default() };
        }
    }

    fn push(&mut self, entry: &Entry) {
        if self.last.back().is_some_and(|last| last.version.index + 1 != entry.version.index) {
            // What is between was stepped over.
            self.last.clear();
            self.text_bytes = 0;
        }
        self.text_bytes += entry.text_bytes();
        self.last.push_back(entry.clone());
        while self.last.len() > ENTRIES_MAX || (self.text_bytes > TEXT_BYTES_MAX && self.last.len() > 1) {
            self.pop();
        }
        if entry.key != 0 {
            self.remember(entry);
        }
    }

    fn pop(&mut self) {
        self.text_bytes -= self.last.pop_front().map_or(0, |entry| entry.text_bytes());
    }

    fn remember(&mut self, entry: &Entry) {
        // Said twice, the first holds: it is what was answered.
        if let Slot::Vacant(slot) = self.keys.entry(entry.key) {
            slot.insert((entry.version, entry.at_ms));
            self.keyed.push_back(entry.key);
        }
        if self.keyed.len() > KEYS_MAX
            && let Some(oldest) = self.keyed.pop_front()
        {
            self.keys.remove(&oldest);
        }
    }
}
