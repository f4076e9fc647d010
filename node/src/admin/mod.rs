//! The operator's door: a JSON API under `/v1`, metrics, health and a dashboard.
//!
//! It knows no other room. What it is asked to do leaves as a [`Command`] with a channel for the reply; what
//! it tells comes from [`AdminState`]. The API is described by `openapi.json`, which it serves and which a
//! test holds against the routes. Who may ask is decided in [`guard`].

mod api;
mod guard;
mod mesh;
mod purge;
mod routes;
mod services;
#[cfg(test)]
mod tests;

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
    sync::Arc,
    time::Duration,
};

use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use starling_proto::{
    Key,
    cache::key::KeyRules,
    members::View,
    purge::{EntryId, Mode, Selector},
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc, oneshot, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

pub use api::{
    ApiError, Applied, CacheStatus, ErrorBody, MeshStatus, OriginStatus, PurgeBody, PurgeReceipt,
    PurgesReport, RegionStatus, StatusReport, StoreStatus, Wait, WarmBody, WarmResult,
};
pub use mesh::{PeerState, PeerStatus, PeersReport, RingNode, RingReport};
pub use services::{CheckService, ServiceSet, ServiceSource, ServiceStatus};

use crate::{clock::Clock, metrics::Metrics, tokens::Token};

/// What an operator may set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen; any address that is not loopback needs tokens.
    pub listen: Vec<SocketAddr>,
    /// Names, beside IP addresses and `localhost`, by which the API may be called without a token.
    pub hosts: Vec<String>,
    /// Who may ask what; with none, whoever reaches the listener may ask everything.
    pub tokens: Vec<Token>,
}

/// What the node is asked to do. Whoever takes a command answers its `reply`; a dropped one is told as a 503.
#[derive(Debug)]
pub enum Command {
    /// Purge, and answer when `wait` is met or `timeout` has passed.
    Purge {
        /// What and how.
        request: PurgeRequest,
        /// Who has it.
        reply: oneshot::Sender<Result<PurgeReceipt, CommandError>>,
    },
    /// Tell who has applied a purge; none when no such entry is known.
    Receipt {
        /// The purge.
        id: EntryId,
        /// Wait for what; `Committed` waits for nothing.
        wait: Wait,
        /// How long at most.
        timeout: Duration,
        /// The receipt of now.
        reply: oneshot::Sender<Result<Option<PurgeReceipt>, CommandError>>,
    },
    /// Tell of the last purges that were sent to this node, the latest first.
    Receipts {
        /// Their receipts as of now.
        reply: oneshot::Sender<Result<Vec<PurgeReceipt>, CommandError>>,
    },
    /// Create, update or delete a service in all of the mesh.
    SetService {
        /// Its name.
        name: String,
        /// It, as TOML; none to delete it. It has been checked.
        definition: Option<String>,
        /// Committed; the entry's id.
        reply: oneshot::Sender<Result<EntryId, CommandError>>,
    },
    /// Fetch URLs as a client would.
    Warm {
        /// What to fetch.
        urls: Vec<TargetUrl>,
        /// One result for each URL, in order.
        reply: oneshot::Sender<Result<Vec<WarmResult>, CommandError>>,
    },
    /// Stop being ready, and go on serving (or be ready again).
    SetDraining {
        /// Which.
        draining: bool,
        /// When it is so.
        reply: oneshot::Sender<Result<(), CommandError>>,
    },
}

/// A purge that has been checked: the service is there, URLs are in the form of cache keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurgeRequest {
    /// Whose objects.
    pub service: String,
    /// Which of them; never empty.
    pub selectors: Vec<Selector>,
    /// Whether the old bytes may still be used.
    pub mode: Mode,
    /// When to answer.
    pub wait: Wait,
    /// When to answer at the latest.
    pub timeout: Duration,
    /// By which it is recognised when it comes again.
    pub key: Option<u128>,
}

/// A URL that was checked: to fetch, or to find in the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetUrl {
    /// As it was asked for.
    pub url: String,
    /// `http` or `https`.
    pub scheme: String,
    /// The host, in lower case, with the port if one was given.
    pub authority: String,
    /// Path and query.
    pub path_and_query: String,
}

/// Why the node did not do it. The texts are for people, and name the region or the node at fault.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It cannot be done, or the node failed at it: nothing was acknowledged.
    #[error("{0}")]
    Failed(String),
    /// Nothing was committed: no region has a leader that a quorum follows. Asking again may help.
    #[error("{0}")]
    NoQuorum(String),
    /// Nothing was acknowledged: a disk failed. Asking again may help, once there is room.
    #[error("{0}")]
    NotDurable(String),
    /// It may be committed, or may be later, or never. Asking again with the same idempotency key finds out.
    #[error("{0}")]
    Unknown(String),
    /// The node is busy or going away; asking again may help.
    #[error("the node cannot take it now: {0}")]
    Unavailable(String),
}

/// What the API knows of a service, to tell it and to normalise URLs as its cache keys are.
#[derive(Clone, Debug, Default)]
pub struct ServiceView {
    /// Its name.
    pub name: String,
    /// The hosts it answers for; none when it is not served.
    pub hosts: Vec<String>,
    /// Its origins' URLs.
    pub origins: Vec<String>,
    /// How its keys are made.
    pub key: KeyRules,
    /// Who said last what it is.
    pub source: ServiceSource,
    /// It as TOML, if it is of the mesh.
    pub definition: Option<String>,
    /// Why it is not served, or not as it was set last; for people.
    pub problem: Option<String>,
}

/// Finds the key of a URL's object.
pub type KeyOf = Arc<dyn Fn(&TargetUrl) -> Option<Key> + Send + Sync>;

/// How the API reaches the rest of the node.
#[derive(Clone)]
pub struct AdminState {
    /// Where commands go.
    pub commands: mpsc::Sender<Command>,
    /// The status of now; cheap, never blocks.
    pub status: Arc<dyn Fn() -> StatusReport + Send + Sync>,
    /// The services of now.
    pub services: watch::Receiver<Arc<Vec<ServiceView>>>,
    /// Says whether a service may be set.
    pub check: CheckService,
    /// The mesh as the node sees it now; a node that stands alone sees itself.
    pub view: Arc<dyn Fn() -> Arc<View> + Send + Sync>,
    /// The key under which a plain GET of a URL is stored; none when no service has its host.
    pub key_of: KeyOf,
    /// The node's clock.
    pub clock: Clock,
    /// What `/metrics` tells.
    pub metrics: Arc<Metrics>,
}

/// A listener could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("the admin API cannot listen on {address}: {source}")]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

/// The API, listening but not yet answering.
pub struct Admin {
    listeners: Vec<TcpListener>,
    settings: Settings,
}

/// Connections at a time, over all listeners; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 256;
/// Time to a complete request head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Time given to requests under way when the node stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

impl Admin {
    /// Opens all listeners; called within a runtime.
    pub fn bind(settings: Settings) -> Result<Self, BindError> {
        let bind = |address: &SocketAddr| {
            let listener = StdListener::bind(address)?;
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        let listeners = settings
            .listen
            .iter()
            .map(|address| bind(address).map_err(|source| BindError { address: *address, source }))
            .collect::<Result<_, _>>()?;
        Ok(Self { listeners, settings })
    }

    /// Where it listens, with the ports that the system chose.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Answers until `stop`, then finishes what is under way, within bounds.
    pub async fn run(self, state: AdminState, stop: CancellationToken) {
        let router = routes::router(state, &self.settings);
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut listeners = JoinSet::new();
        for listener in self.listeners {
            listeners.spawn(serve(listener, router.clone(), Arc::clone(&places), stop.clone()));
        }
        while listeners.join_next().await.is_some() {}
    }
}

async fn serve(listener: TcpListener, router: axum::Router, places: Arc<Semaphore>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        let place = tokio::select! {
            () = stop.cancelled() => break,
            place = Arc::clone(&places).acquire_owned() => place.expect("the semaphore is never closed"),
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_TIMEOUT)
                    .max_buf_size(32 << 10)
                    .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
                let stop = stop.clone();
                connections.spawn(async move {
                    let mut connection = std::pin::pin!(connection);
                    let ended = tokio::select! {
                        ended = connection.as_mut() => ended,
                        () = stop.cancelled() => {
                            connection.as_mut().graceful_shutdown();
                            connection.await
                        }
                    };
                    if let Err(error) = ended {
                        tracing::debug!(%error, "an admin connection ended early");
                    }
                    drop(place);
                });
            }
            // Out of file descriptors, or the client is gone already: the listener itself is fine.
            Err(error) => {
                tracing::warn!(%error, "an admin connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    let finish = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_TIMEOUT, finish).await.is_err() {
        tracing::warn!("admin requests were cut off at the end");
    }
}
