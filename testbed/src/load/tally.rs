//! What is counted while requests are played. Memory is fixed: histograms and counters, whatever the number.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde::Serialize;

use super::tiers::Tier;

/// From a microsecond to ten minutes, to three digits.
const MICROS_MAX: u64 = 600_000_000;
const DIGITS: u8 = 3;

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// There was no connection.
    Connect,
    /// No whole answer came in time.
    Timeout,
    /// The connection broke before the answer was whole.
    Broken,
    /// The answer is one of 4xx.
    Status4xx,
    /// The answer is one of 5xx.
    Status5xx,
    /// The body is not what it should be.
    Damaged,
    /// So many were in flight that this one was not sent at all.
    Overload,
    /// It was in flight when the run was given up.
    Unfinished,
}

impl Failure {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::Status4xx => "4xx",
            Self::Status5xx => "5xx",
            Self::Damaged => "damaged",
            Self::Overload => "overload",
            Self::Unfinished => "unfinished",
        }
    }
}

/// What became of one request, for the tally.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The node that was asked last.
    pub node: usize,
    /// How many nodes were asked before it.
    pub moves: u32,
    /// What came.
    pub how: How,
}

/// What came.
#[derive(Clone, Debug)]
pub enum How {
    /// A whole answer that is what it should be.
    Answered {
        /// Who had it.
        tier: Tier,
        /// How long its body is.
        bytes: u64,
        /// From when it was due to its first byte.
        head_after: Duration,
        /// From when it was due to its last byte.
        whole_after: Duration,
    },
    /// Something else.
    Failed {
        /// Why.
        failure: Failure,
        /// In words.
        what: String,
    },
}

/// Counts; shared by all that play.
pub struct Tally {
    /// What was counted after the warm-up.
    inner: Mutex<Counts>,
    /// What was counted since it was looked at last, the warm-up included.
    recent: Mutex<Recent>,
}

/// All counts.
#[derive(Clone)]
pub struct Counts {
    /// Requests that were left out, because they were due during the warm-up.
    pub warm: u64,
    /// Requests that were due.
    pub due: u64,
    /// When the last of them was, from the beginning on.
    pub last_due: Duration,
    /// When the last answer was whole.
    pub last_answer: Option<Instant>,
    /// Requests whose client had to ask more than one node, with a good answer at last or not.
    pub moved: u64,
    /// How often.
    pub moves: u64,
    /// By the reason.
    pub failures: BTreeMap<Failure, u64>,
    /// The first of each kind, in words.
    pub first_failures: BTreeMap<Failure, String>,
    /// Good answers.
    pub tiers: Vec<TierCounts>,
    /// By node, in the order of the nodes.
    pub nodes: Vec<NodeCounts>,
    /// Of good answers, from due to the first byte.
    pub head: Histogram<u64>,
    /// Of good answers, from due to the last byte.
    pub whole: Histogram<u64>,
    /// By how much requests were sent late, by this program's own fault.
    pub late: Histogram<u64>,
}

/// What one tier gave.
#[derive(Clone)]
pub struct TierCounts {
    /// Answers.
    pub requests: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// From due to the last byte.
    pub whole: Histogram<u64>,
}

/// What one node was asked.
#[derive(Clone, Debug, Default)]
pub struct NodeCounts {
    /// Requests that ended there.
    pub requests: u64,
    /// Those of them that failed.
    pub failures: u64,
    /// Those that it was asked after another node had failed.
    pub moved_here: u64,
}

/// For the line of progress.
#[derive(Clone)]
pub struct Recent {
    /// Requests that were due.
    pub due: u64,
    /// Good answers.
    pub answered: u64,
    /// Those of them that a cache had.
    pub hits: u64,
    /// All others.
    pub failed: u64,
    /// Of good answers, from due to the last byte.
    pub whole: Histogram<u64>,
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MICROS_MAX, DIGITS).expect("these bounds are valid")
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Tally {
    /// A tally of so many nodes.
    pub fn new(nodes: usize) -> Self {
        let tier = || TierCounts { requests: 0, bytes: 0, whole: histogram() };
        let counts = Counts {
            warm: 0,
            due: 0,
            last_due: Duration::ZERO,
            last_answer: None,
            moved: 0,
            moves: 0,
            failures: BTreeMap::new(),
            first_failures: BTreeMap::new(),
            tiers: Tier::ALL.iter().map(|_| tier()).collect(),
            nodes: vec![NodeCounts::default(); nodes],
            head: histogram(),
            whole: histogram(),
            late: histogram(),
        };
        Self { inner: Mutex::new(counts), recent: Mutex::new(Recent::new()) }
    }

    /// A request is due.
    pub fn due(&self, at: Duration, is_warm: bool) {
        self.recent.lock().due += 1;
        let mut counts = self.inner.lock();
        if is_warm {
            counts.warm += 1;
        } else {
            counts.due += 1;
            counts.last_due = counts.last_due.max(at);
        }
    }

    /// A request is sent so long after it was due.
    pub fn sent(&self, late: Duration, is_warm: bool) {
        if !is_warm {
            self.inner.lock().late.saturating_record(micros(late).max(1));
        }
    }

    /// A request that found no place, or that was given up: no node is to blame.
    pub fn left_out(&self, failure: Failure, number: u64, is_warm: bool) {
        self.recent.lock().failed += number;
        if !is_warm && number > 0 {
            *self.inner.lock().failures.entry(failure).or_default() += number;
        }
    }

    /// A request ended.
    pub fn ended(&self, ended: Ended, is_warm: bool) {
        self.recent.lock().ended(&ended.how);
        if !is_warm {
            self.inner.lock().ended(ended);
        }
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.inner.lock().clone()
    }

    /// What was counted since this was called last.
    pub fn recent(&self) -> Recent {
        std::mem::replace(&mut *self.recent.lock(), Recent::new())
    }
}

impl Counts {
    fn ended(&mut self, ended: Ended) {
        self.moved += u64::from(ended.moves > 0);
        self.moves += u64::from(ended.moves);
        let node = &mut self.nodes[ended.node];
        node.requests += 1;
        node.moved_here += u64::from(ended.moves > 0);
        match ended.how {
            How::Answered { tier, bytes, head_after, whole_after } => {
                let whole_us = micros(whole_after).max(1);
                self.head.saturating_record(micros(head_after).max(1));
                self.whole.saturating_record(whole_us);
                let tier = &mut self.tiers[tier as usize];
                tier.requests += 1;
                tier.bytes += bytes;
                tier.whole.saturating_record(whole_us);
                self.last_answer = Some(Instant::now());
            }
            How::Failed { failure, what } => {
                node.failures += 1;
                *self.failures.entry(failure).or_default() += 1;
                self.first_failures.entry(failure).or_insert(what);
            }
        }
    }

    /// Good answers, and the bytes of their bodies.
    pub fn answered(&self) -> (u64, u64) {
        self.tiers.iter().fold((0, 0), |sum, tier| (sum.0 + tier.requests, sum.1 + tier.bytes))
    }

    /// Requests without a good answer.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }
}

impl Recent {
    fn new() -> Self {
        Self { due: 0, answered: 0, hits: 0, failed: 0, whole: histogram() }
    }

    fn ended(&mut self, how: &How) {
        match how {
            How::Answered { tier, whole_after, .. } => {
                self.answered += 1;
                self.hits += u64::from(tier.is_hit());
                self.whole.saturating_record(micros(*whole_after).max(1));
            }
            How::Failed { .. } => self.failed += 1,
        }
    }
}
