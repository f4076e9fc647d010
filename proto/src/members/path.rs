//! The path from this node to another, and when to try again.

use crate::UnixMs;

/// Failures in a row after which a path is bad.
const FAILURES_MAX: u8 = 2;

/// How the last attempts to reach a node went. It says nothing about whether the node lives.
#[derive(Clone, Debug, Default)]
pub(super) struct Path {
    failures: u8,
    /// Requests go elsewhere until a direct attempt succeeds.
    pub(super) is_bad: bool,
    /// The last time there and back.
    pub(super) rtt_us: Option<u32>,
}

impl Path {
    pub(super) fn worked(&mut self, took_us: u32) {
        *self = Self { failures: 0, is_bad: false, rtt_us: Some(took_us) };
    }

    pub(super) fn failed(&mut self, for_certain: bool) {
        self.failures = self.failures.saturating_add(1);
        self.is_bad |= for_certain || self.failures >= FAILURES_MAX;
    }
}

/// Attempts at growing distances: after `first_ms`, then twice that, and so on up to `longest_ms`.
#[derive(Clone, Debug, Default)]
pub(super) struct Attempts {
    made: u32,
    next_ms: UnixMs,
}

impl Attempts {
    /// The number of the attempt that is to be made now, from 0; none while it is too early.
    pub(super) fn due(&mut self, now: UnixMs, first_ms: u64, longest_ms: u64) -> Option<u32> {
        if now < self.next_ms {
            return None;
        }
        let number = self.made;
        let wait_ms = first_ms.saturating_mul(1 << number.min(16)).min(longest_ms.max(first_ms));
        (self.made, self.next_ms) = (number.saturating_add(1), now.saturating_add(wait_ms));
        Some(number)
    }

    /// The first one is due again, at once.
    pub(super) fn begin_again(&mut self) {
        *self = Self::default();
    }
}
