//! What an operator may set about the store.

use std::path::PathBuf;

/// Settings of the store; the defaults suit a laptop.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the disk tier lives. It holds `index/` (RocksDB) and `segments/`.
    pub dir: PathBuf,
    /// Budget of the memory tier: heads and body slices, in bytes.
    pub memory_bytes_max: u64,
    /// Cap of the disk tier's segments, in bytes; 0, or less than four slices, keeps bodies in
    /// memory only.
    pub disk_bytes_max: u64,
    /// Largest body that is stored at all, in bytes.
    pub object_bytes_max: u64,
    /// Length of a body slice, in bytes: what is read, checked and evicted as one. From 4 KiB to 8 MiB.
    pub slice_bytes: u32,
    /// Bytes that wait to be written to disk, over all fills; a fill that finds no room waits.
    pub dirty_bytes_max: u64,
    /// Variants kept for one key; the oldest goes.
    pub variants_max: usize,
    /// The region whose purge log this node keeps.
    pub region: String,
    /// Nothing older is ever used: purges are dropped when they are older than this and a day, for clocks that differ.
    pub object_lifetime_max_ms: u64,
    /// Entries kept of each region's log; the oldest go. A node that lacks one of those revalidates what it has.
    pub purge_log_entries_max: u64,
    /// Selectors in the purge table; beyond, the oldest become purges of the whole service they are of.
    pub purge_selectors_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("starling-data"),
            memory_bytes_max: 64 << 20,
            disk_bytes_max: 10 << 30,
            object_bytes_max: 16 << 30,
            slice_bytes: 256 << 10,
            dirty_bytes_max: 16 << 20,
            variants_max: 64,
            region: "local".to_owned(),
            object_lifetime_max_ms: 30 * 24 * 3_600_000,
            purge_log_entries_max: 200_000,
            purge_selectors_max: 2_000_000,
        }
    }
}
