//! A request's life at this node: look up, decide, collapse, fill, deliver.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `door` | what passes to and from the front |
//! | `settings`, `service` | what an operator may say, and which service a host belongs to |
//! | `life` | the step table a request walks through |
//! | `fills`, `errand` | one fill per object: who leads, who follows, and the errand upward |
//! | `passage` | requests that go past the cache, and what unsafe methods invalidate |
//! | `forward` | the request as the origin sees it |
//! | `upward`, `ways` | whom to ask next: the owner, the shield, those behind them, the origin; and how that went |
//! | `peer` | what other nodes ask of this one |
//! | `mesh` | who is in the mesh, and what is asked for often |
//! | `deliver`, `stream`, `compress` | a stored object as the client sees it: preconditions, ranges, codings |
//! | `trust` | how far what is stored may be trusted, by service |
//! | `verdict`, `journal` | how it went: `Cache-Status`, counters and the access log |
//! | `purge` | the `PURGE` method |
//!
//! The edge decides nothing about caching itself: `proto::cache` does. It sends no byte to a client
//! itself: the front does. Which node owns what is decided by `proto::ring`; peers are asked over the `link`.
//! A hit, and every request of a node without a mesh, meets none of that.

mod answers;
mod compress;
mod deliver;
pub mod door;
mod errand;
mod fills;
mod forward;
mod journal;
mod life;
mod mesh;
mod passage;
mod peer;
mod purge;
mod service;
mod settings;
mod stream;
#[cfg(test)]
mod tests;
mod trust;
mod upward;
mod verdict;
mod ways;

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::RwLock;
use starling_proto::{Key, NodeId, wire};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    door::{ClientRequest, ClientResponse, Handler},
    fills::Fills,
    forward::Vias,
    journal::Journal,
    mesh::Mesh,
    ways::PeerTallies,
};
pub use self::{
    journal::{Counters, LATENCY_BOUNDS_MS, OutcomeCount},
    mesh::{MeshParts, MeshSettings},
    peer::PeerReply,
    purge::{PurgeGuard, Purger},
    service::{Service, Services, ServicesError},
    settings::{BypassRule, CompressionSettings, Freshness, HeaderEdit, ServiceSettings},
    upward::{PeerAnswer, PeerBody, Peers, Taken},
    ways::{PeerCounts, UpwardCounts, WayCount},
};
use crate::{access_log::AccessLog, clock::Clock, link, store::Store, trust::Trust};

/// The edge of this node; a cheap handle.
#[derive(Clone)]
pub struct Edge(Arc<Shared>);

/// What the edge is built from.
pub struct EdgeParts {
    /// The name this node signs with in `Cache-Status` and `Via`.
    pub node: String,
    /// What it looks objects up in.
    pub store: Store,
    /// The services it answers for at first.
    pub services: Services,
    /// The node's clock.
    pub clock: Clock,
    /// Where finished requests are written down.
    pub access_log: AccessLog,
    /// Who may use the `PURGE` method.
    pub purge_guard: PurgeGuard,
    /// Who writes purges.
    pub purger: Arc<dyn Purger>,
    /// How far it may trust what is stored.
    pub trust: Trust,
    /// The mesh it is part of, if it is.
    pub mesh: Option<MeshParts>,
}

struct Shared {
    node: String,
    /// This node's member of `Via` in responses, by the version the client spoke.
    via: Vias,
    /// How this process marks requests that passed it (RFC 8586); unlike the name, no other node has it.
    loop_mark: String,
    store: Store,
    services: RwLock<Arc<Services>>,
    clock: Clock,
    fills: Fills,
    journal: Journal,
    purge_guard: PurgeGuard,
    purger: Arc<dyn Purger>,
    trust: Trust,
    mesh: Option<Mesh>,
    peers: PeerTallies,
    /// For the work that peers ask for.
    peer_places: Arc<Semaphore>,
    /// Peers are to ask others.
    leaving: AtomicBool,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Shared {
    /// The service of now for an authority. The lock is held for the look alone.
    fn service_for(&self, authority: &str) -> Option<Arc<Service>> {
        self.services.read().for_authority(authority).cloned()
    }

    /// Runs a fill, which outlives the request that caused it but not the node.
    fn spawn(&self, fill: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            // A fill that is dropped aborts its body and frees its followers.
            let _ = stop.run_until_cancelled_owned(fill).await;
        });
    }
}

impl Edge {
    /// An edge made of these parts.
    pub fn new(parts: EdgeParts) -> Self {
        let peer_requests_max = parts.mesh.as_ref().map_or(0, |mesh| mesh.settings.peer_requests_max);
        let loop_mark = format!("{:016x}.starling", rand::random::<u64>());
        Self(Arc::new(Shared {
            via: Vias::of(&parts.node),
            node: parts.node,
            loop_mark,
            store: parts.store,
            services: RwLock::new(Arc::new(parts.services)),
            clock: parts.clock,
            fills: Fills::default(),
            journal: Journal::new(parts.access_log),
            purge_guard: parts.purge_guard,
            purger: parts.purger,
            trust: parts.trust,
            mesh: parts.mesh.map(Mesh::new),
            peers: PeerTallies::default(),
            peer_places: Arc::new(Semaphore::new(peer_requests_max)),
            leaving: AtomicBool::new(false),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }))
    }

    /// What has been counted since the start.
    pub fn counters(&self) -> Counters {
        let upward = self.0.mesh.as_ref().map(|mesh| mesh.tallies.counts()).unwrap_or_default();
        self.0.journal.counters(upward, self.0.peers.counts())
    }

    /// Fills that wait for a response head now.
    pub fn fills_waiting(&self) -> usize {
        self.0.fills.len()
    }

    /// The services this edge answers for now.
    pub fn services(&self) -> Arc<Services> {
        Arc::clone(&self.0.services.read())
    }

    /// Answers for these services from now on. Requests under way end with the service they began with.
    pub fn set_services(&self, services: Services) {
        let services = Arc::new(services);
        let previous = std::mem::replace(&mut *self.0.services.write(), services);
        // No request waits until the last pools of the old table are closed.
        drop(previous);
    }

    /// Answers the fetches that come over the link, until `stop` or until the link has ended.
    pub async fn serve_peers(&self, mut fetches: mpsc::Receiver<link::Incoming>, stop: CancellationToken) {
        let answers = async {
            while let Some(incoming) = fetches.recv().await {
                self.0.spawn(peer::answer(Arc::clone(&self.0), incoming));
            }
        };
        stop.run_until_cancelled(answers).await;
    }

    /// Answers one fetch of the peer `from`.
    pub async fn serve_peer(&self, from: NodeId, fetch: wire::Fetch) -> Result<PeerReply, wire::Refusal> {
        peer::serve(&self.0, from, fetch).await
    }

    /// From now on peers are told to ask others; what they have asked is answered.
    pub fn refuse_peers(&self) {
        self.0.leaving.store(true, Relaxed);
    }

    /// What clients of this node ask for most, hottest first, at most `count`.
    pub fn hottest(&self, count: usize) -> Vec<Key> {
        let now = self.0.clock.now_ms();
        self.0.mesh.as_ref().map(|mesh| mesh.hottest(count, now)).unwrap_or_default()
    }

    /// Gives the fills under way `limit` to end, and ends those that have not. To be called when no request
    /// comes any more.
    pub async fn drain(&self, limit: Duration) {
        self.refuse_peers();
        self.0.tasks.close();
        if tokio::time::timeout(limit, self.0.tasks.wait()).await.is_err() {
            tracing::warn!(fills = self.0.tasks.len(), "fills were cut off at the end");
            self.0.stop.cancel();
            self.0.tasks.wait().await;
        }
    }
}

impl Handler for Edge {
    fn handle(&self, request: ClientRequest) -> impl Future<Output = ClientResponse> + Send {
        life::live(Arc::clone(&self.0), request)
    }
}
