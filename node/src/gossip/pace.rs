//! How fast others may speak.
//!
//! Each author has a bucket that fills with `messages_per_s_max` and holds one second's worth; what comes
//! beyond is ignored, whoever passes it on. A neighbour that sends more than [`FLOOD_FACTOR`] times that much
//! of its own, or of what no honest node passes on, is barred for [`BARRED_MS`].

use std::collections::HashMap;

use starling_proto::{NodeId, UnixMs};

/// So many times the allowed rate is no accident.
pub(super) const FLOOD_FACTOR: u32 = 20;

/// How long a neighbour that floods is shut out.
pub(super) const BARRED_MS: u64 = 60_000;

/// Who spoke how much lately.
pub(super) struct Pace {
    per_s: u32,
    /// Authors remembered at most.
    authors_max: usize,
    authors: HashMap<NodeId, Bucket>,
    floods: HashMap<NodeId, Second>,
    barred: HashMap<NodeId, UnixMs>,
}

struct Bucket {
    /// Thousandths of messages.
    left: u64,
    filled_ms: UnixMs,
}

#[derive(Default)]
struct Second {
    since_ms: UnixMs,
    messages: u32,
}

impl Pace {
    pub fn new(per_s: u32, authors_max: usize) -> Self {
        Self {
            per_s: per_s.max(1),
            authors_max,
            authors: HashMap::new(),
            floods: HashMap::new(),
            barred: HashMap::new(),
        }
    }

    /// Whether the next message of `author` is within its rate.
    pub fn admits(&mut self, author: NodeId, now: UnixMs) -> bool {
        let per_s = u64::from(self.per_s);
        let full = per_s * 1_000;
        if self.authors.len() >= self.authors_max && !self.authors.contains_key(&author) {
            // Who was silent for a second has a full bucket, as one who is not remembered.
            self.authors.retain(|_, bucket| now.saturating_sub(bucket.filled_ms) < 1_000);
            if self.authors.len() >= self.authors_max {
                return false;
            }
        }
        let bucket = self.authors.entry(author).or_insert(Bucket { left: full, filled_ms: now });
        let since = now.saturating_sub(bucket.filled_ms);
        bucket.left = full.min(bucket.left.saturating_add(since.saturating_mul(per_s)));
        bucket.filled_ms = now;
        let admits = bucket.left >= 1_000;
        bucket.left -= if admits { 1_000 } else { 0 };
        admits
    }

    /// Counts a message that a neighbour answers for; whether it floods, and is barred from now on.
    pub fn bars(&mut self, neighbour: NodeId, now: UnixMs) -> bool {
        let second = self.floods.entry(neighbour).or_default();
        if now.saturating_sub(second.since_ms) >= 1_000 {
            *second = Second { since_ms: now, messages: 0 };
        }
        second.messages += 1;
        if second.messages <= self.per_s.saturating_mul(FLOOD_FACTOR) {
            return false;
        }
        self.floods.remove(&neighbour);
        self.barred.insert(neighbour, now + BARRED_MS).is_none()
    }

    /// Whether `neighbour` is shut out now.
    pub fn is_barred(&self, neighbour: NodeId, now: UnixMs) -> bool {
        self.barred.get(&neighbour).is_some_and(|until| now < *until)
    }

    /// Ends what has lasted long enough; those who may come back.
    pub fn pardoned(&mut self, now: UnixMs) -> Vec<NodeId> {
        self.floods.retain(|_, second| now.saturating_sub(second.since_ms) < 1_000);
        self.barred.extract_if(|_, until| now >= *until).map(|(neighbour, _)| neighbour).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: fn() -> NodeId = || NodeId::from_bytes([1; 32]);
    const B: fn() -> NodeId = || NodeId::from_bytes([2; 32]);

    #[test]
    fn an_author_has_its_rate_and_no_more() {
        let mut pace = Pace::new(10, 100);
        assert_eq!((0..100).filter(|_| pace.admits(A(), 1_000)).count(), 10);
        assert!(pace.admits(B(), 1_000), "another author has its own");
        assert_eq!((0..100).filter(|_| pace.admits(A(), 1_500)).count(), 5);
        assert_eq!((0..100).filter(|_| pace.admits(A(), 99_500)).count(), 10);
    }

    #[test]
    fn authors_without_number_take_no_more_memory() {
        let mut pace = Pace::new(10, 2);
        assert!(pace.admits(A(), 0) && pace.admits(B(), 0));
        assert!(!pace.admits(NodeId::from_bytes([3; 32]), 10));
        assert!(pace.admits(NodeId::from_bytes([3; 32]), 2_000));
        assert!(pace.authors.len() <= 2);
    }

    #[test]
    fn a_flood_is_barred_for_a_minute_and_then_pardoned() {
        let mut pace = Pace::new(10, 100);
        for _ in 0..200 {
            assert!(!pace.bars(A(), 5_000));
        }
        assert!(pace.bars(A(), 5_000));
        assert!(pace.is_barred(A(), 64_999) && !pace.is_barred(B(), 64_999));
        assert_eq!(pace.pardoned(64_999), []);
        assert_eq!(pace.pardoned(65_000), [A()]);
        assert!(!pace.is_barred(A(), 65_000));
        let slowly = (0..1_000).any(|n| pace.bars(B(), 70_000 + n * 10));
        assert!(!slowly, "100 in a second are no flood");
    }
}
