//! The bounds of silence.

/// When silence becomes suspicion, and suspicion a verdict. All in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Between two heartbeats.
    pub heartbeat_ms: u64,
    /// Silence after which a node is suspected and passed over.
    pub suspect_after_ms: u64,
    /// Silence, on every path, after which it is dead.
    pub dead_after_ms: u64,
    /// The dead and those that left are forgotten after this.
    pub forget_after_ms: u64,
    /// Between two summaries of a PoP.
    pub summary_ms: u64,
    /// The previous ring is asked for this long after a change.
    pub previous_ring_ms: u64,
    /// Nodes known at most.
    pub members_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            heartbeat_ms: 500,
            suspect_after_ms: 2_000,
            dead_after_ms: 6_000,
            forget_after_ms: 120_000,
            summary_ms: 2_000,
            previous_ring_ms: 300_000,
            members_max: 20_000,
        }
    }
}

impl Settings {
    /// Silence of a node or PoP elsewhere, after which it is suspected.
    pub fn far_suspect_after_ms(&self) -> u64 {
        self.summary_ms.saturating_mul(5)
    }

    /// Silence of a node or PoP elsewhere, after which it is dead.
    pub fn far_dead_after_ms(&self) -> u64 {
        self.summary_ms.saturating_mul(15)
    }
}
