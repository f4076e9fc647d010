//! What the store counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use starling_proto::purge::Versions;

/// A number that anybody may move.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Relaxed);
    }

    pub fn sub(&self, by: u64) {
        self.0.fetch_sub(by, Relaxed);
    }

    pub fn set(&self, to: u64) {
        self.0.store(to, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The counters behind [`Stats`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub fills: Counter,
    pub memory_hits: Counter,
    pub memory_misses: Counter,
    pub disk_hits: Counter,
    pub disk_misses: Counter,
    pub slices_from_memory: Counter,
    pub slices_from_disk: Counter,
    pub slices_damaged: Counter,
    pub slices_reinserted: Counter,
    pub slices_evicted: Counter,
    pub records_written: Counter,
    pub records_dropped: Counter,
    pub disk_write_errors: Counter,
    pub disk_bytes: Counter,
    pub segments: Counter,
    pub segments_evicted: Counter,
}

/// What the store holds and has done since it was opened. Bytes and counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// What the memory tier holds, with its overhead.
    pub memory_bytes: u64,
    /// Its entries: heads (with small bodies inside) and slices.
    pub memory_entries: u64,
    /// Entries it gave up for others.
    pub memory_evictions: u64,
    /// Lookups answered from memory.
    pub memory_hits: u64,
    /// Lookups it did not answer.
    pub memory_misses: u64,
    /// Lookups answered from the index.
    pub disk_hits: u64,
    /// Lookups the index did not answer.
    pub disk_misses: u64,
    /// Slices of large bodies read from memory.
    pub slices_from_memory: u64,
    /// Slices read from disk, and found right.
    pub slices_from_disk: u64,
    /// Slices whose bytes were not what was written, or could not be read: dropped.
    pub slices_damaged: u64,
    /// Slices that were kept, being hot, when their segment went.
    pub slices_reinserted: u64,
    /// Slices that went with their segment.
    pub slices_evicted: u64,
    /// Records written to the index.
    pub records_written: u64,
    /// Records removed: superseded, purged, too old, or their slices went.
    pub records_dropped: u64,
    /// Records that could not be read: dropped.
    pub records_damaged: u64,
    /// Objects in the index, as RocksDB estimates.
    pub disk_objects: u64,
    /// What the segments hold.
    pub disk_bytes: u64,
    /// How many segments there are.
    pub segments: u64,
    /// Segments that were given up for new ones.
    pub segments_evicted: u64,
    /// Writes to disk that failed.
    pub disk_write_errors: u64,
    /// Why the index cannot be written, for people; none when it can.
    pub index_problem: Option<String>,
    /// How often the index was opened anew, after a write that failed.
    pub index_reopened: u64,
    /// Bytes that wait to be written to disk.
    pub dirty_bytes: u64,
    /// Fills at work.
    pub fills: u64,
    /// Selectors in the purge table.
    pub purge_selectors: u64,
    /// Selectors that became purges of their whole service, because the table was full.
    pub purge_selectors_merged: u64,
    /// Entries kept of all regions' logs.
    pub purge_log_entries: u64,
    /// Entries that were given up before their time, because a log was full.
    pub purge_log_entries_dropped: u64,
    /// How far each region's purge log is applied.
    pub versions: Versions,
}
