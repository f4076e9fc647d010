//! What the origin was asked: how a test or a person sees what a cache kept from it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::{Value, json};

/// More different paths than this are counted together, as `*`.
const PATHS_MAX: usize = 10_000;

/// The counters of a running origin.
#[derive(Debug, Default)]
pub struct Stats(Mutex<Snapshot>);

/// The counters as they stood at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// All requests.
    pub requests: u64,
    /// Requests by path, without the query.
    pub paths: BTreeMap<String, u64>,
    /// Connections accepted.
    pub connections: u64,
    /// Body bytes sent.
    pub body_bytes: u64,
}

impl Snapshot {
    /// How often `path` was asked for.
    pub fn of(&self, path: &str) -> u64 {
        self.paths.get(path).copied().unwrap_or(0)
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "requests": self.requests,
            "paths": self.paths,
            "connections": self.connections,
            "body_bytes": self.body_bytes,
        })
    }
}

impl Stats {
    /// The counters now.
    pub fn snapshot(&self) -> Snapshot {
        self.counters().clone()
    }

    /// Starts all counters at nothing.
    pub fn reset(&self) {
        *self.counters() = Snapshot::default();
    }

    /// Counts a request; answers how many there were for its path, this one included.
    pub(super) fn asked(&self, path: &str) -> u64 {
        let mut counters = self.counters();
        counters.requests += 1;
        let known = counters.paths.len() < PATHS_MAX || counters.paths.contains_key(path);
        let count = counters.paths.entry(if known { path } else { "*" }.to_owned()).or_default();
        *count += 1;
        *count
    }

    pub(super) fn connected(&self) {
        self.counters().connections += 1;
    }

    pub(super) fn sent(&self, bytes: u64) {
        self.counters().body_bytes += bytes;
    }

    fn counters(&self) -> MutexGuard<'_, Snapshot> {
        // Counters are whole after every statement, so a panic elsewhere does not spoil them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
