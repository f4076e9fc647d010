//! What is counted of the ways upward, and of what peers ask of this node.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use starling_proto::ring::Hop;

/// Whom a question went to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WayKind {
    /// The owner of the key, or who stands in for it.
    Owner,
    /// The next in the ring, for what it has, because the owner or the shield was slow to take the question on.
    Hedge,
    /// The previous owner, for what it has.
    Previous,
    /// A shield of the key.
    Shield,
    /// The origin, by a request that may be answered from a cache.
    Origin,
}

impl WayKind {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 5] = [Self::Owner, Self::Hedge, Self::Previous, Self::Shield, Self::Origin];

    /// The hop at which who is asked stands. Who is asked for what it has waits for nobody, as if it were the
    /// origin.
    pub fn hop(self) -> Hop {
        match self {
            Self::Owner => Hop::Owner,
            Self::Shield => Hop::Shield,
            Self::Hedge | Self::Previous | Self::Origin => Hop::Origin,
        }
    }

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Hedge => "hedge",
            Self::Previous => "previous",
            Self::Shield => "shield",
            Self::Origin => "origin",
        }
    }
}

/// Questions of one kind.
#[derive(Default)]
struct WayTally {
    asked: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
}

/// Counts the ways upward.
#[derive(Default)]
pub struct WayTallies {
    ways: [WayTally; WayKind::ALL.len()],
    failed_over: AtomicU64,
    held_back: AtomicU64,
    unusable: AtomicU64,
}

impl WayTallies {
    /// A question goes out.
    pub fn asked(&self, way: WayKind) {
        self.ways[way as usize].asked.fetch_add(1, Relaxed);
    }

    /// It was answered.
    pub fn answered(&self, way: WayKind) {
        self.ways[way as usize].answered.fetch_add(1, Relaxed);
    }

    /// It was not.
    pub fn failed(&self, way: WayKind) {
        self.ways[way as usize].failed.fetch_add(1, Relaxed);
    }

    /// The next way is taken in the place of one that failed.
    pub fn failed_over(&self) {
        self.failed_over.fetch_add(1, Relaxed);
    }

    /// A body was held back until it was safe to hand on.
    pub fn held_back(&self) {
        self.held_back.fetch_add(1, Relaxed);
    }

    /// A peer's answer is older than a purge or a change that this node knows of.
    pub fn unusable(&self) {
        self.unusable.fetch_add(1, Relaxed);
    }

    /// What has been counted.
    pub fn counts(&self) -> UpwardCounts {
        UpwardCounts {
            ways: WayKind::ALL
                .iter()
                .zip(&self.ways)
                .map(|(way, tally)| WayCount {
                    way: way.as_str(),
                    asked: tally.asked.load(Relaxed),
                    answered: tally.answered.load(Relaxed),
                    failed: tally.failed.load(Relaxed),
                })
                .collect(),
            failed_over: self.failed_over.load(Relaxed),
            held_back: self.held_back.load(Relaxed),
            unusable: self.unusable.load(Relaxed),
        }
    }
}

/// How the ways upward went since the start.
#[derive(Clone, Debug, Default)]
pub struct UpwardCounts {
    /// By whom was asked; empty without a mesh.
    pub ways: Vec<WayCount>,
    /// Ways taken in the place of one that failed.
    pub failed_over: u64,
    /// Bodies of peers that were held back, because they could not be resumed.
    pub held_back: u64,
    /// Answers of peers that were older than a purge or a change known here.
    pub unusable: u64,
}

/// Questions of one kind since the start.
#[derive(Clone, Copy, Debug)]
pub struct WayCount {
    /// Whom they went to.
    pub way: &'static str,
    /// How many.
    pub asked: u64,
    /// Those that were answered, usefully or not.
    pub answered: u64,
    /// Those that were refused, or failed.
    pub failed: u64,
}

/// Counts what peers ask of this node.
#[derive(Default)]
pub struct PeerTallies {
    /// Requests under way.
    pub in_flight: AtomicU64,
    /// Answered from what was stored.
    pub hits: AtomicU64,
    /// Answered after somebody was asked.
    pub misses: AtomicU64,
    /// Refused.
    pub refused: AtomicU64,
    /// Body bytes sent.
    pub body_bytes: AtomicU64,
}

impl PeerTallies {
    /// What has been counted.
    pub fn counts(&self) -> PeerCounts {
        PeerCounts {
            in_flight: self.in_flight.load(Relaxed),
            hits: self.hits.load(Relaxed),
            misses: self.misses.load(Relaxed),
            refused: self.refused.load(Relaxed),
            body_bytes: self.body_bytes.load(Relaxed),
        }
    }
}

/// What peers have asked of this node since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct PeerCounts {
    /// Requests whose answer is not over.
    pub in_flight: u64,
    /// Requests answered from what was stored.
    pub hits: u64,
    /// Requests answered after somebody else was asked.
    pub misses: u64,
    /// Requests refused: busy, draining, not stored, not served here, or failed.
    pub refused: u64,
    /// Body bytes handed to peers.
    pub body_bytes: u64,
}
