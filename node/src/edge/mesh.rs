//! What the edge knows of the mesh: who is in it, how peers are asked, and what is kept of their answers.

use std::{
    sync::{
        Arc,
        atomic::{
            AtomicU64,
            Ordering::{AcqRel, Relaxed},
        },
    },
    time::Duration,
};

use quick_cache::sync::Cache;
use starling_proto::{
    Key, UnixMs,
    heat::Heat,
    members::View,
    ring::{self, Hop, Plan, ShieldRings, Way, shard_key},
};
use tokio::sync::watch;

use super::{service::Service, upward::Peers, ways::WayTallies};

/// Changed keys that are remembered.
const CHANGED_KEYS_MAX: usize = 65_536;

/// Shards of one object whose owners are looked at; a longer one has some on most nodes.
const SHARDS_LOOKED_AT: u64 = 64;

/// How often a key must have been asked for lately for a node that does not own it to keep a copy.
const KEPT_FROM_REQUESTS: u8 = 3;

/// From so many requests on a key may be named to others as hot.
const HOTTEST_FROM_REQUESTS: u32 = 16;

/// After so long what was asked for counts half.
const WINDOW_MS: u64 = 10_000;

/// What an edge needs to be part of a mesh.
pub struct MeshParts {
    /// The mesh as it is seen from here.
    pub view: watch::Receiver<Arc<View>>,
    /// Who shields each region.
    pub shields: watch::Receiver<Arc<ShieldRings>>,
    /// How peers are asked: the link.
    pub peers: Arc<dyn Peers>,
    /// How it goes about it.
    pub settings: MeshSettings,
}

/// How the edge asks peers, and answers them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshSettings {
    /// Objects longer than this are owned by ranges of this length; 0 keeps every object with one owner.
    pub shard_bytes: u64,
    /// A peer that has not taken a question on within three times its usual time is hedged, but not before
    /// this.
    pub hedge_min: Duration,
    /// Nor after this.
    pub hedge_max: Duration,
    /// Longest wait for the head of a peer's answer, however often it says that it works on it.
    pub answer_timeout: Duration,
    /// A body that could not be resumed is held back until so much of it came,
    pub held_back_bytes: usize,
    /// or for this long.
    pub held_back_for: Duration,
    /// Requests of peers that are worked on at one time; more are refused.
    pub peer_requests_max: usize,
}

impl Default for MeshSettings {
    fn default() -> Self {
        Self {
            shard_bytes: 64 << 20,
            hedge_min: Duration::from_millis(20),
            hedge_max: Duration::from_millis(250),
            answer_timeout: Duration::from_secs(120),
            held_back_bytes: 1 << 20,
            held_back_for: Duration::from_millis(250),
            peer_requests_max: 4_096,
        }
    }
}

/// The mesh, as the edge sees it.
pub struct Mesh {
    /// Who is in it.
    pub view: watch::Receiver<Arc<View>>,
    /// Who shields each region.
    shields: watch::Receiver<Arc<ShieldRings>>,
    /// How peers are asked.
    pub peers: Arc<dyn Peers>,
    /// How the edge goes about it.
    pub settings: MeshSettings,
    /// What clients of this node ask for, and how often.
    heat: Heat,
    aged_ms: AtomicU64,
    /// How the ways upward went.
    pub tallies: WayTallies,
    /// When unsafe requests through this node changed what is behind a key: what peers had before is of no use.
    changed: Cache<Key, UnixMs>,
}

impl Mesh {
    /// The mesh made of these parts.
    pub fn new(parts: MeshParts) -> Self {
        let MeshParts { view, shields, peers, settings } = parts;
        let changed = Cache::new(CHANGED_KEYS_MAX);
        Self {
            view,
            shields,
            peers,
            settings,
            heat: Heat::default(),
            aged_ms: AtomicU64::new(0),
            tallies: WayTallies::default(),
            changed,
        }
    }

    /// The mesh of now.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    /// Who shields each region now.
    pub fn shields(&self) -> Arc<ShieldRings> {
        Arc::clone(&self.shields.borrow())
    }

    /// Whom to ask for a key of a service, in the mesh as `view` has it.
    pub fn plan(&self, view: &View, service: &Service, key: Key, hop: Hop) -> Plan {
        ring::plan(view, &self.shields(), service.settings.shield_region.as_ref(), key, hop)
    }

    /// Counts a client's request.
    pub fn count_request(&self, key: &Key, now: UnixMs) {
        self.age(now);
        self.heat.touch(key);
    }

    /// What clients ask for most lately, the hottest first.
    pub fn hottest(&self, count: usize, now: UnixMs) -> Vec<Key> {
        self.age(now);
        self.heat.hottest(count, HOTTEST_FROM_REQUESTS).into_iter().map(|hot| hot.key).collect()
    }

    fn age(&self, now: UnixMs) {
        let aged_ms = self.aged_ms.load(Relaxed);
        let is_due = now >= aged_ms.saturating_add(WINDOW_MS);
        if is_due && self.aged_ms.compare_exchange(aged_ms, now, AcqRel, Relaxed).is_ok() {
            self.heat.age();
        }
    }

    /// Whether a node that does not own this key keeps a copy: the viral object is served from everywhere.
    pub fn is_hot(&self, key: &Key) -> bool {
        self.heat.estimate(key) >= KEPT_FROM_REQUESTS || self.view.borrow().hot.contains(key)
    }

    /// Whether this node owns or shields a shard of an object of this length: what it brings of it must be found by
    /// those who ask for it here.
    pub fn owns_part(&self, service: &Service, key: Key, total: u64) -> bool {
        let shard_bytes = self.settings.shard_bytes;
        if shard_bytes == 0 || total <= shard_bytes {
            return false;
        }
        let view = self.view();
        let shards = total.div_ceil(shard_bytes).min(SHARDS_LOOKED_AT);
        (0..shards)
            .any(|shard| self.plan(&view, service, shard_key(key, shard), Hop::Client).hop >= Hop::Owner)
    }

    /// Remembers that what is behind a key was changed now.
    pub fn note_change(&self, key: Key, now: UnixMs) {
        self.changed.insert(key, now);
    }

    /// Whether what was asked of the origin at `asked_ms` is older than a change made through this node.
    pub fn is_outdated(&self, key: &Key, asked_ms: UnixMs) -> bool {
        self.changed.get(key).is_some_and(|changed_ms| asked_ms <= changed_ms)
    }

    /// A way, as `Starling-Debug` says it.
    pub fn describe(view: &View, way: Way) -> String {
        match way {
            Way::Owner(node) => view.name_of(&node),
            Way::Previous(node) => format!("previous:{}", view.name_of(&node)),
            Way::Shield(node) => format!("shield:{}", view.name_of(&node)),
            Way::Origin => "origin".to_owned(),
        }
    }
}
