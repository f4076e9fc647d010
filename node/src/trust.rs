//! How far this node trusts what it has stored; set by who follows the region logs, read on every hit.

use std::sync::{
    Arc,
    atomic::{
        AtomicBool, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

/// A cheap handle to the trust of one node.
#[derive(Clone, Default)]
pub struct Trust(Arc<Inner>);

#[derive(Default)]
struct Inner {
    caught_up: AtomicBool,
    fenced_until_ms: AtomicU64,
}

impl Trust {
    /// Of a node that stands alone: no purge comes from elsewhere, so it cannot miss one.
    pub fn alone() -> Self {
        let trust = Self::default();
        trust.set_caught_up(true);
        trust.fence(u64::MAX);
        trust
    }

    /// Whether the node has caught up with the mesh since it came (promise P4).
    pub fn is_caught_up(&self) -> bool {
        self.0.caught_up.load(Relaxed)
    }

    /// Says whether it has.
    pub fn set_caught_up(&self, caught_up: bool) {
        self.0.caught_up.store(caught_up, Relaxed);
    }

    /// Whether the node knows every region's head at `up_ms`, by [`crate::clock::Clock::up_ms`] (promise P5).
    pub fn is_fenced(&self, up_ms: u64) -> bool {
        up_ms < self.0.fenced_until_ms.load(Acquire)
    }

    /// Trusts until then; 0 ends it.
    pub fn fence(&self, until_up_ms: u64) {
        self.0.fenced_until_ms.store(until_up_ms, Release);
    }
}
