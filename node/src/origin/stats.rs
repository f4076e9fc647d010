//! What is counted of one origin.

use super::error::FetchErrorKind;
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Upper bounds of the latency buckets, in milliseconds; one more bucket holds the rest.
pub const LATENCY_BUCKETS_MS: [u64; 10] = [1, 5, 10, 25, 50, 100, 250, 500, 1000, 5000];

/// Counters of one origin.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) requests: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) connects: AtomicU64,
    pub(super) reuses: AtomicU64,
    pub(super) body_bytes: AtomicU64,
    failures: [AtomicU64; FetchErrorKind::NAMES.len()],
    latency: [AtomicU64; LATENCY_BUCKETS_MS.len() + 1],
    latency_us: AtomicU64,
}

/// A reading of one origin's counters.
#[derive(Clone, Debug, serde::Serialize)]
pub struct OriginStats {
    /// Requests sent, or tried to send.
    pub requests: u64,
    /// Of these, requests sent after another had failed.
    pub retries: u64,
    /// Connections opened.
    pub connects: u64,
    /// Requests sent on a connection that had been used before.
    pub reuses: u64,
    /// Body bytes received.
    pub body_bytes: u64,
    /// Failures, by [`FetchErrorKind::as_str`].
    pub failures: Vec<(&'static str, u64)>,
    /// Responses whose head took at most [`LATENCY_BUCKETS_MS`] (not cumulative), and the rest.
    pub latency_buckets: Vec<u64>,
    /// Sum of the time to the response head, in microseconds.
    pub latency_us: u64,
}

/// Adds one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

impl Counters {
    /// A request ended so.
    pub(super) fn failed(&self, kind: FetchErrorKind) {
        count(&self.failures[kind.index()]);
    }

    /// A response head came after so long.
    pub(super) fn answered(&self, after: Duration) {
        let ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BUCKETS_MS.iter().position(|max| ms <= *max);
        count(&self.latency[bucket.unwrap_or(LATENCY_BUCKETS_MS.len())]);
        self.latency_us.fetch_add(u64::try_from(after.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// What was counted until now.
    pub(super) fn read(&self) -> OriginStats {
        let failures = FetchErrorKind::NAMES.iter().zip(&self.failures);
        OriginStats {
            requests: self.requests.load(Relaxed),
            retries: self.retries.load(Relaxed),
            connects: self.connects.load(Relaxed),
            reuses: self.reuses.load(Relaxed),
            body_bytes: self.body_bytes.load(Relaxed),
            failures: failures.map(|(name, counter)| (*name, counter.load(Relaxed))).collect(),
            latency_buckets: self.latency.iter().map(|counter| counter.load(Relaxed)).collect(),
            latency_us: self.latency_us.load(Relaxed),
        }
    }
}
