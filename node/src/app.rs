//! The one file that knows every room: it builds them bottom-up, owns their tasks, and drains them top-down.
//!
//! ```text
//! build:  store → services (origin) → edge → front, admin → announce
//! drain:  not ready → front (finish what is under way) → edge (finish fills) → store → admin → logs
//! ```

mod commands;
mod exposition;
mod report;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{commands::Commands, report::Reporter};
use crate::{
    access_log::AccessLog,
    admin::{Admin, AdminState, ServiceView},
    clock::Clock,
    config::Config,
    edge::{Edge, EdgeParts, PurgeGuard, ServiceSettings, Services},
    front::{Certificates, Front},
    metrics::Metrics,
    store::Store,
    tokens::{Scope, Tokens},
};

/// Commands of the admin API that may wait to be taken.
const COMMANDS_MAX: usize = 64;

/// Runs a node until it is told to stop by SIGTERM or SIGINT, and drains it.
///
/// On SIGHUP certificates are loaded again and the access log is opened anew. An error is returned only
/// when the node cannot start; what was opened by then is closed.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let clock = Clock::start();
    let access_log = AccessLog::open(&config.log.access)?;
    let store = Store::open(config.store.clone(), clock.now_ms()).await?;
    let node = build(config, clock, access_log, store.clone()).await;
    match node {
        Ok(node) => node.serve().await,
        Err(error) => {
            store.close().await;
            Err(error)
        }
    }
}

/// All rooms of a node, wired and listening.
struct Node {
    store: Store,
    edge: Edge,
    front: Front,
    certificates: Certificates,
    admin: Admin,
    admin_state: AdminState,
    commands: Commands,
    access_log: AccessLog,
    draining: watch::Sender<bool>,
    drain_timeout: Duration,
    tasks: TaskTracker,
    stop: CancellationToken,
}

async fn build(config: Config, clock: Clock, access_log: AccessLog, store: Store) -> anyhow::Result<Node> {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let drain_timeout = config.front.limits.drain_timeout;
    let views: Vec<ServiceView> = config.services.iter().map(view).collect();
    let services = Services::build(config.services)?;
    for service in services.iter() {
        service.pool.spawn_health_checks(&tasks, stop.child_token());
    }
    let edge = Edge::new(EdgeParts {
        node: config.node.name.clone(),
        store: store.clone(),
        services,
        clock,
        access_log: access_log.clone(),
        purge_guard: guard(Tokens::new(config.admin.tokens.clone())),
    });
    let front = Front::bind(config.front.clone())?;
    let admin = Admin::bind(config.admin)?;
    announce(&config.front, &front.addresses(), &admin.addresses());

    let (draining, is_draining) = watch::channel(false);
    let reporter = Reporter {
        identity: config.node,
        clock,
        store: store.clone(),
        store_limits: (config.store.memory_bytes_max, config.store.disk_bytes_max),
        edge: edge.clone(),
        draining: is_draining,
    };
    let mut metrics = Metrics::new();
    exposition::register(&mut metrics, &edge, &store, front.counters(), access_log.clone());
    let (command_sender, command_receiver) = mpsc::channel(COMMANDS_MAX);
    let commands = Commands {
        receiver: command_receiver,
        node: reporter.identity.name.clone(),
        region: reporter.identity.region.clone(),
        clock,
        store: store.clone(),
        edge: edge.clone(),
        draining: draining.clone(),
    };
    let admin_state = AdminState {
        commands: command_sender,
        status: Arc::new(move || reporter.report()),
        services: watch::channel(Arc::new(views)).1,
        metrics: Arc::new(metrics),
    };
    let certificates = front.certificates();
    Ok(Node {
        store,
        edge,
        front,
        certificates,
        admin,
        admin_state,
        commands,
        access_log,
        draining,
        drain_timeout,
        tasks,
        stop,
    })
}

impl Node {
    async fn serve(self) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be listened for")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be listened for")?;
        let mut hangup = signal(SignalKind::hangup()).context("SIGHUP cannot be listened for")?;

        let stop_front = CancellationToken::new();
        let stop_admin = CancellationToken::new();
        let front = self.tasks.spawn(self.front.run(self.edge.clone(), stop_front.clone()));
        let admin = self.tasks.spawn(self.admin.run(self.admin_state, stop_admin.clone()));
        self.tasks.spawn(self.commands.run(self.stop.child_token()));
        println!("ready");
        tracing::info!("ready");

        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => reload(&self.certificates, &self.access_log).await,
            }
        }

        tracing::info!("draining");
        self.draining.send_replace(true);
        stop_front.cancel();
        match front.await {
            Ok(drained) => tracing::info!(?drained, "clients are gone"),
            Err(error) => tracing::error!(%error, "the front was lost"),
        }
        self.stop.cancel();
        self.edge.drain(self.drain_timeout).await;
        self.store.close().await;
        stop_admin.cancel();
        // The admin API only tells of the node: what it lost cannot matter any more.
        let _ = admin.await;
        self.tasks.close();
        self.tasks.wait().await;
        let access_log = self.access_log;
        // A log that cannot be flushed has said so itself.
        let _ = tokio::task::spawn_blocking(move || access_log.close()).await;
        tracing::info!("stopped");
        Ok(())
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
fn announce(settings: &crate::front::Settings, front: &[SocketAddr], admin: &[SocketAddr]) {
    let (http, https) = front.split_at(settings.http.len().min(front.len()));
    for (kind, addresses) in [("http", http), ("https", https), ("admin", admin)] {
        for address in addresses {
            println!("listening {kind}={address}");
            tracing::info!(%address, "listening for {kind}");
        }
    }
}

fn view(service: &ServiceSettings) -> ServiceView {
    ServiceView {
        name: service.name.clone(),
        hosts: service.hosts.clone(),
        origins: service.pool.origins.iter().map(|origin| origin.url.clone()).collect(),
        key: service.key.clone(),
    }
}

/// Without tokens nobody may use `PURGE` on the client's listener: who comes from loopback may be a proxy
/// that passes on a stranger's request.
fn guard(tokens: Tokens) -> PurgeGuard {
    Arc::new(move |headers, service| {
        tokens.authorise(headers, Scope::Purge).is_ok_and(|token| token.covers(service))
    })
}
