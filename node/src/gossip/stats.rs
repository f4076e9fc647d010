//! What gossip counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A count that is read while it grows.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    pub fn set(&self, n: usize) {
        self.0.store(n as u64, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The counts of a running swarm.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub connections: Count,
    pub connections_refused: Count,
    pub messages_in: Count,
    pub bytes_in: Count,
    pub messages_out: Count,
    pub bytes_out: Count,
    pub invalid: Count,
    pub rate_limited: Count,
    pub barred: Count,
    pub errands_dropped: Count,
}

/// What gossip did since it started, and how it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Swarm connections now.
    pub connections: u64,
    /// Connections of strangers, or beyond the limits, that were refused.
    pub connections_refused: u64,
    /// Messages heard, those of all authors, each once.
    pub messages_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Messages of this node.
    pub messages_out: u64,
    /// Their bytes, counted once however many neighbours they go to.
    pub bytes_out: u64,
    /// Messages that were rejected: malformed, forged, or of somebody who is not admitted.
    pub invalid: u64,
    /// Messages that were ignored because their author sends too many.
    pub rate_limited: u64,
    /// How often a neighbour was shut out because it flooded.
    pub barred: u64,
    /// Greetings and probes that were not made because too many were under way.
    pub errands_dropped: u64,
    /// Members that are alive, this node among them.
    pub alive: u64,
    /// Members that are suspected.
    pub suspect: u64,
    /// Members that are dead and not forgotten yet.
    pub dead: u64,
    /// Members that left and are not forgotten yet.
    pub left: u64,
}
