//! What is remembered of each peer: idle connections, counters, how fast it answers. Bounded by forgetting.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use starling_proto::NodeId;
use tokio::sync::Semaphore;

use super::{
    ack::AckTimes,
    frame::Framed,
    pace::Pace,
    quic::Shared,
    settings::Limits,
    stats::{Counters, PeerStats},
};

/// Calls under way to one peer.
pub(super) const CALLS_MAX: usize = 64;

/// An idle connection to a peer.
struct Idle {
    framed: Framed,
    address: SocketAddr,
    since: Instant,
}

/// One peer.
pub(super) struct PeerEntry {
    pub(super) id: NodeId,
    /// Places for fetches to it.
    pub(super) asking: Arc<Semaphore>,
    /// Places for calls to it: who is asked much is still asked whether it is there.
    pub(super) calling: Arc<Semaphore>,
    /// Places for fetches from it.
    pub(super) answering: Arc<Semaphore>,
    pub(super) counters: Counters,
    pub(super) acks: Mutex<AckTimes>,
    pub(super) pace: Mutex<Pace>,
    /// The QUIC connection to it, shared by all questions.
    pub(super) quic: Shared,
    /// TCP connections to it; the one used last is used first, so that the others grow old and are closed.
    idle: Mutex<Vec<Idle>>,
    idle_max: usize,
    /// Milliseconds of the link's life.
    seen_ms: AtomicU64,
}

impl PeerEntry {
    /// A connection that can be used at once; those that grew too old or were closed are dropped on the way.
    pub(super) fn take_idle(&self, address: SocketAddr, idle_timeout: Duration) -> Option<Framed> {
        loop {
            let mut idle = self.idle.lock().pop()?;
            let is_good =
                idle.address == address && idle.since.elapsed() < idle_timeout && idle.framed.is_reusable();
            if is_good {
                return Some(idle.framed);
            }
        }
    }

    /// Keeps a connection for the next question.
    pub(super) fn keep_idle(&self, mut framed: Framed, address: SocketAddr) {
        framed.rest();
        let mut idle = self.idle.lock();
        if idle.len() < self.idle_max {
            idle.push(Idle { framed, address, since: Instant::now() });
        }
    }

    /// The peer has gone, and its connections with it.
    pub(super) fn drop_idle(&self) {
        let dropped = std::mem::take(&mut *self.idle.lock());
        drop(dropped);
    }

    fn close_old(&self, idle_timeout: Duration, questions_max: usize) {
        let mut old = Vec::new();
        let mut idle = self.idle.lock();
        let young = idle.iter().position(|idle| idle.since.elapsed() < idle_timeout).unwrap_or(idle.len());
        old.extend(idle.drain(..young));
        // Closing is a system call each: not under the lock.
        drop(idle);
        drop(old);
        let is_asked =
            self.asking.available_permits() < questions_max || self.calling.available_permits() < CALLS_MAX;
        if !is_asked {
            self.quic.close_if_idle(idle_timeout);
        }
    }
}

/// All peers that were heard of lately.
pub(super) struct Peers {
    entries: Mutex<HashMap<NodeId, Arc<PeerEntry>>>,
    limits: Limits,
    questions_max: usize,
    started: Instant,
}

impl Peers {
    pub(super) fn new(limits: Limits, questions_max: usize) -> Self {
        Self { entries: Mutex::default(), limits, questions_max, started: Instant::now() }
    }

    /// What is remembered of this peer, from now on if nothing is.
    pub(super) fn of(&self, id: NodeId) -> Arc<PeerEntry> {
        let now_ms = self.now_ms();
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.get(&id) {
            entry.seen_ms.store(now_ms, Relaxed);
            return entry.clone();
        }
        if entries.len() >= self.limits.peers_max {
            forget_oldest(&mut entries);
        }
        let entry = Arc::new(PeerEntry {
            id,
            asking: Arc::new(Semaphore::new(self.questions_max)),
            calling: Arc::new(Semaphore::new(CALLS_MAX)),
            answering: Arc::new(Semaphore::new(self.questions_max)),
            counters: Counters::default(),
            acks: Mutex::default(),
            pace: Mutex::new(Pace::new(self.limits.questions_per_s_max, Instant::now())),
            quic: Shared::default(),
            idle: Mutex::default(),
            idle_max: self.questions_max,
            seen_ms: AtomicU64::new(now_ms),
        });
        entries.insert(id, entry.clone());
        entry
    }

    /// What is remembered of this peer.
    pub(super) fn get(&self, id: NodeId) -> Option<Arc<PeerEntry>> {
        self.entries.lock().get(&id).cloned()
    }

    /// Closes what idled too long, and forgets who was not heard of for long.
    pub(super) fn prune(&self, idle_timeout: Duration) {
        for entry in self.all() {
            entry.close_old(idle_timeout, self.questions_max);
        }
        let oldest_ms = self.now_ms().saturating_sub(millis(self.limits.forget_after));
        // Who has a connection or a question holds the entry.
        self.entries
            .lock()
            .retain(|_, entry| Arc::strong_count(entry) > 1 || entry.seen_ms.load(Relaxed) >= oldest_ms);
    }

    /// Closes the idle TCP connections.
    pub(super) fn close(&self) {
        for entry in self.all() {
            entry.drop_idle();
        }
    }

    pub(super) fn stats(&self) -> Vec<PeerStats> {
        let stats = |entry: &Arc<PeerEntry>| {
            let under_way = |places: &Semaphore| self.questions_max - places.available_permits();
            PeerStats {
                idle_connections: entry.idle.lock().len(),
                asking: under_way(&entry.asking),
                answering: under_way(&entry.answering),
                ack: entry.acks.lock().mean(),
                rtt: entry.quic.rtt(),
                ..entry.counters.read(entry.id)
            }
        };
        let mut all: Vec<_> = self.all().iter().map(stats).collect();
        all.sort_by_key(|stats| stats.id);
        all
    }

    fn all(&self) -> Vec<Arc<PeerEntry>> {
        self.entries.lock().values().cloned().collect()
    }

    fn now_ms(&self) -> u64 {
        millis(self.started.elapsed())
    }
}

/// Makes a place among those who have nothing under way; if all have, there is one more.
fn forget_oldest(entries: &mut HashMap<NodeId, Arc<PeerEntry>>) {
    let unused = entries.values().filter(|entry| Arc::strong_count(entry) == 1);
    if let Some(oldest) = unused.min_by_key(|entry| entry.seen_ms.load(Relaxed)).map(|entry| entry.id) {
        entries.remove(&oldest);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
