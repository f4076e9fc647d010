//! The one file that knows every room: it builds them bottom-up, owns their tasks, and drains them top-down.
//!
//! ```text
//! build:  store → listeners → identity → link → gossip → group, spread, fence → edge → front, admin
//! drain:  not ready → accepted purges → group (hand leadership over) → gossip (leave the ring) → front (finish what
//!         is under way) → edge (finish fills, and what peers asked) → group → link → store → admin → logs
//! ```

mod commands;
mod exposition;
mod fence;
mod logs;
mod mesh;
mod purging;
mod receipts;
mod report;
mod services;
mod spread;
#[cfg(test)]
mod tests;
mod vitals;

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::Context;
use http::HeaderMap;
use starling_proto::{Key, cache::key::primary_key};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    commands::Commands,
    mesh::{Joining, Mesh, SayLocal},
    purging::{InMesh, Purging, PurgingParts},
    report::{MeshReporter, Reporter},
    vitals::Vitals,
};
use crate::{
    access_log::AccessLog,
    admin::{Admin, AdminState, TargetUrl},
    clock::Clock,
    config::Config,
    edge::{self, Edge, EdgeParts, MeshParts, PurgeGuard},
    front::{Certificates, Drained, Front},
    metrics::Metrics,
    store::Store,
    tokens::{Scope, Tokens},
    trust::Trust,
};

/// Commands of the admin API that may wait to be taken.
const COMMANDS_MAX: usize = 64;

/// Runs a node until it is told to stop by SIGTERM or SIGINT, and drains it.
///
/// On SIGHUP certificates are loaded again and the access log is opened anew. An error is returned only
/// when the node cannot start; what was opened by then is closed.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be listened for")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be listened for")?;
    let mut hangup = signal(SignalKind::hangup()).context("SIGHUP cannot be listened for")?;

    let node = Running::start(config).await?;
    announce(node.addresses());
    println!("ready");
    tracing::info!("ready");
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => node.reload().await,
        }
    }
    node.stop().await;
    tracing::info!("stopped");
    Ok(())
}

/// Where a node listens, with the ports that the system chose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Cleartext, for clients.
    pub http: Vec<SocketAddr>,
    /// TLS, for clients.
    pub https: Vec<SocketAddr>,
    /// For operators.
    pub admin: Vec<SocketAddr>,
    /// For other nodes; none when it stands alone.
    pub mesh: Option<SocketAddr>,
}

/// A node at work. There may be several in one process: none has anything that is not its own.
///
/// It is to be ended by [`stop`](Self::stop); dropped, it goes on for as long as its runtime.
pub struct Running {
    addresses: Addresses,
    store: Store,
    edge: Edge,
    mesh: Option<Mesh>,
    purging: Purging,
    certificates: Certificates,
    access_log: AccessLog,
    draining: watch::Sender<bool>,
    drain_timeout: Duration,
    front: JoinHandle<Drained>,
    stop_front: CancellationToken,
    admin: JoinHandle<()>,
    stop_admin: CancellationToken,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Running {
    /// Starts a node: when this returns it listens, answers, and is on its way into the mesh. On an error what
    /// was opened is closed.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let clock = Clock::start();
        let access_log = AccessLog::open(&config.log.access)?;
        let store = Store::open(config.store.clone(), clock.now_ms()).await?;
        let node = Self::build(config, clock, access_log, store.clone()).await;
        if node.is_err() {
            store.close().await;
        }
        node
    }

    async fn build(
        config: Config,
        clock: Clock,
        access_log: AccessLog,
        store: Store,
    ) -> anyhow::Result<Self> {
        let drain_timeout = config.front.limits.drain_timeout;
        let lifetime_max_ms = config.store.object_lifetime_max_ms;
        let (services, live) = services::begin(config.services, lifetime_max_ms, store.catalog())?;
        let listeners_http = config.front.http.len();
        let front = Front::bind(config.front)?;
        let admin = Admin::bind(config.admin.clone())?;

        let identity = mesh::identity(&config.node, config.mesh.as_ref())?;
        let vitals: Arc<OnceLock<Vitals>> = Arc::default();
        let local: SayLocal = Arc::new({
            let vitals = Arc::clone(&vitals);
            // Before the edge is there the node says that it is not ready.
            move || vitals.get().map(Vitals::local).unwrap_or_default()
        });
        // The last step that can fail: all that is begun below has somebody who ends it.
        let (trust, mut mesh) = match &config.mesh {
            Some(settings) => {
                let trust = Trust::default();
                let joining = Joining {
                    settings,
                    node: &config.node,
                    identity: &identity,
                    store: &store,
                    clock,
                    trust: &trust,
                    incarnation: mesh::incarnation(&config.node, clock.now_ms())?,
                    local: &local,
                };
                let mesh = Mesh::join(joining).await?;
                (trust, Some(mesh))
            }
            None => (Trust::alone(), None),
        };
        let purging = Purging::new(PurgingParts {
            store: store.clone(),
            clock,
            me: identity.id,
            name: config.node.name.clone(),
            mesh: mesh.as_ref().map(|mesh| InMesh {
                group: mesh.group.clone(),
                link: mesh.link.clone(),
                view: mesh.gossip.view(),
                spread: mesh.spread.clone(),
                witness: mesh.witness.clone(),
            }),
        });

        let parts_of_mesh = mesh.as_ref().zip(config.mesh.as_ref()).map(|(mesh, settings)| MeshParts {
            view: mesh.gossip.view(),
            shields: mesh.shields.clone(),
            peers: Arc::new(mesh.link.clone()),
            settings: edge::MeshSettings { shard_bytes: settings.shard_bytes, ..Default::default() },
        });
        let edge = Edge::new(EdgeParts {
            node: config.node.name.clone(),
            store: store.clone(),
            services,
            clock,
            access_log: access_log.clone(),
            purge_guard: guard(Tokens::new(config.admin.tokens)),
            purger: Arc::new(purging.clone()),
            trust: trust.clone(),
            mesh: parts_of_mesh,
        });
        let (draining, is_draining) = watch::channel(false);
        let signs = Vitals {
            edge: edge.clone(),
            store: store.clone(),
            memory_bytes_max: config.store.memory_bytes_max,
            draining: is_draining.clone(),
            sampled: Default::default(),
        };
        // It was empty until now, and nobody else fills it.
        let _ = vitals.set(signs);
        if let Some(mesh) = &mut mesh {
            mesh.serve(&edge);
        }

        let reporter = Reporter {
            identity: config.node,
            clock,
            store: store.clone(),
            store_limits: (config.store.memory_bytes_max, config.store.disk_bytes_max),
            edge: edge.clone(),
            services: live.views(),
            draining: is_draining,
            trust: trust.clone(),
            mesh: mesh.as_ref().zip(config.mesh.as_ref()).map(|(mesh, settings)| MeshReporter {
                address: mesh.addresses.mesh,
                is_open: settings.is_open(),
                view: mesh.gossip.view(),
                standing: mesh.group.standing(),
                fence: mesh.fence.clone(),
            }),
        };
        let mut metrics = Metrics::new();
        exposition::register(&mut metrics, &edge, &store, front.counters(), access_log.clone());
        exposition::register_purging(&mut metrics, &purging);
        if let Some(mesh) = &mesh {
            exposition::register_mesh(&mut metrics, &edge, mesh, trust);
        }
        let (command_sender, command_receiver) = mpsc::channel(COMMANDS_MAX);
        let commands = Commands {
            receiver: command_receiver,
            purging: purging.clone(),
            services: Arc::new(live.setter(identity.id, clock, propose(purging.clone()))),
            edge: edge.clone(),
            draining: draining.clone(),
        };
        let view = mesh.as_ref().map(|mesh| mesh.gossip.view());
        let admin_state = AdminState {
            commands: command_sender,
            status: Arc::new(move || reporter.report()),
            services: live.views(),
            check: live.check(),
            view: Arc::new(move || match &view {
                Some(view) => Arc::clone(&view.borrow()),
                None => mesh::alone(&identity, local(), clock.now_ms()),
            }),
            key_of: Arc::new({
                let edge = edge.clone();
                move |url| key_of(&edge, url)
            }),
            clock,
            metrics: Arc::new(metrics),
        };

        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(live.run(edge.clone(), tasks.clone(), stop.child_token()));
        let all = front.addresses();
        let (http, https) = all.split_at(listeners_http.min(all.len()));
        let addresses = Addresses {
            http: http.to_vec(),
            https: https.to_vec(),
            admin: admin.addresses(),
            mesh: mesh.as_ref().map(|mesh| mesh.listen),
        };
        let certificates = front.certificates();
        let (stop_front, stop_admin) = (CancellationToken::new(), CancellationToken::new());
        tasks.spawn(commands.run(stop.child_token()));
        Ok(Self {
            addresses,
            front: tasks.spawn(front.run(edge.clone(), stop_front.clone())),
            admin: tasks.spawn(admin.run(admin_state, stop_admin.clone())),
            store,
            edge,
            mesh,
            purging,
            certificates,
            access_log,
            draining,
            drain_timeout,
            stop_front,
            stop_admin,
            tasks,
            stop,
        })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Loads the certificates again and opens the access log anew.
    pub async fn reload(&self) {
        reload(&self.certificates, &self.access_log).await;
    }

    /// Drains the node and ends it: what is under way is finished within the drain timeout, and nothing of it
    /// is left when this returns.
    pub async fn stop(self) {
        tracing::info!("draining");
        self.draining.send_replace(true);
        self.purging.close().await;
        if let Some(mesh) = &self.mesh {
            mesh.leave().await;
        }
        self.stop_front.cancel();
        match self.front.await {
            Ok(drained) => tracing::info!(?drained, "clients are gone"),
            Err(error) => tracing::error!(%error, "the front was lost"),
        }
        self.stop.cancel();
        if let Some(mesh) = &self.mesh {
            mesh.refuse();
        }
        self.edge.drain(self.drain_timeout).await;
        if let Some(mesh) = self.mesh {
            mesh.close().await;
        }
        self.store.close().await;
        self.stop_admin.cancel();
        // The admin API only tells of the node: what it lost cannot matter any more.
        let _ = self.admin.await;
        self.tasks.close();
        self.tasks.wait().await;
        let access_log = self.access_log;
        // A log that cannot be flushed has said so itself.
        let _ = tokio::task::spawn_blocking(move || access_log.close()).await;
    }
}

async fn reload(certificates: &Certificates, access_log: &AccessLog) {
    let (certificates, access_log) = (certificates.clone(), access_log.clone());
    let reloaded = tokio::task::spawn_blocking(move || {
        access_log.reopen();
        certificates.reload()
    });
    match reloaded.await {
        Ok(Ok(())) => tracing::info!("certificates loaded again, access log opened anew"),
        Ok(Err(error)) => tracing::error!(%error, "the old certificates stay in use"),
        Err(error) => tracing::error!(%error, "the reload was lost"),
    }
}

/// One line for each listener on standard output, so that whoever started the node on port 0 learns where
/// it listens.
fn announce(addresses: &Addresses) {
    let mesh: Vec<SocketAddr> = addresses.mesh.into_iter().collect();
    let all = [
        ("http", &addresses.http),
        ("https", &addresses.https),
        ("admin", &addresses.admin),
        ("mesh", &mesh),
    ];
    for (kind, addresses) in all {
        for address in addresses {
            println!("listening {kind}={address}");
            tracing::info!(%address, "listening for {kind}");
        }
    }
}

/// The key under which a GET without any fields is stored.
fn key_of(edge: &Edge, url: &TargetUrl) -> Option<Key> {
    let services = edge.services();
    let service = services.for_authority(&url.authority)?;
    let rules = &service.settings.key;
    let (scheme, target) = (&url.scheme, &url.path_and_query);
    Some(primary_key(&service.name, scheme, &url.authority, target, &HeaderMap::new(), rules).key)
}

/// Has changes of services written in the log of the region.
fn propose(purging: Purging) -> services::Propose {
    Arc::new(move |change| {
        let purging = purging.clone();
        Box::pin(async move { purging.change(change).await })
    })
}

/// Without tokens nobody may use `PURGE` on the client's listener: who comes from loopback may be a proxy
/// that passes on a stranger's request.
fn guard(tokens: Tokens) -> PurgeGuard {
    Arc::new(move |headers, service| {
        tokens.authorise(headers, Scope::Purge).is_ok_and(|token| token.covers(service))
    })
}
