//! The node in its mesh: identity, link and gossip, the wires between them, and their end.
//!
//! ```text
//!             greetings, reports                 view
//!   link ───────────────────────────▶ gossip ──────────▶ edge, admin, adapters
//!     ▲ ◀───────────────────────────── errands (greet, probe)
//!     │ calls: answered here
//!     └ fetches ─────────────────────────────────────────▶ edge
//! ```
//!
//! Link and gossip do not know each other; what crosses between them is translated in [`adapters`].

mod adapters;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use starling_proto::{
    NodeId, UnixMs,
    members::{Addresses, Member, NodeState, Profile, Status, View},
    ring::Ring,
    wire::Hello,
};
use tokio::sync::{mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::adapters::Adapters;
use super::spread::Spread;
use crate::{
    config::{MeshSettings, NodeSettings},
    edge::Edge,
    gossip::{self, Gossip, GossipError, Local},
    identity::Identity,
    link::{Incoming, Link, Peer},
    store::Store,
};

/// Greetings, reports and errands that wait on their way between link and gossip.
const WAITING_MAX: usize = 256;
/// Time for the good-bye to be sent.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// Attempts to find a number that is free for TCP and UDP both, when any will do.
const PORT_ATTEMPTS: usize = 16;

/// How the node says of itself what changes.
pub type SayLocal = Arc<dyn Fn() -> Local + Send + Sync>;

/// The node's part in a mesh, at work.
pub struct Mesh {
    /// The data plane.
    pub link: Link,
    /// The control plane.
    pub gossip: Gossip,
    /// What brings purges to the other nodes.
    pub spread: Spread,
    /// Where other nodes are told to come.
    pub addresses: Addresses,
    /// Where it listens; `addresses` may differ behind a translator.
    pub listen: SocketAddr,
    fetches: Option<mpsc::Receiver<Incoming>>,
    stop_serving: CancellationToken,
    gossip_tasks: TaskTracker,
    stop_gossip: CancellationToken,
    link_tasks: TaskTracker,
    stop_link: CancellationToken,
}

impl Mesh {
    /// Listens and joins. Until [`serve`](Self::serve) is called, fetches of peers wait.
    pub async fn join(
        settings: &MeshSettings,
        identity: &Arc<Identity>,
        store: &Store,
        incarnation: u64,
        local: &SayLocal,
    ) -> anyhow::Result<Self> {
        if settings.is_open() {
            tracing::warn!(
                "the mesh is open: any process of this machine may join it; see `starling cluster`"
            );
        }
        let attempts = if settings.link.listen.port() == 0 { PORT_ATTEMPTS } else { 1 };
        let mut attempt = 1;
        loop {
            match Self::try_join(settings, identity, store, incarnation, local).await? {
                Ok(mesh) => return Ok(mesh),
                // The system gave a TCP port whose number is taken for UDP.
                Err(GossipError::Listen { .. }) if attempt < attempts => attempt += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn try_join(
        settings: &MeshSettings,
        identity: &Arc<Identity>,
        store: &Store,
        incarnation: u64,
        local: &SayLocal,
    ) -> anyhow::Result<Result<Self, GossipError>> {
        let me = |addresses| Profile {
            ticket: identity.ticket.clone(),
            incarnation,
            addresses,
            weight: settings.weight,
        };
        // Nobody is greeted before the listeners, whose ports may be the system's choice, are known.
        let unbound = Addresses { mesh: settings.link.listen, link_quic: settings.link.listen_quic };
        let (hello, is_hello) = watch::channel(Arc::new(greeting(me(unbound))));
        let (link, events) = Link::bind(settings.link.clone(), Arc::clone(identity), is_hello).await?;
        let (listen, listen_quic) = link.addresses();
        let addresses = settings.addresses(listen, listen_quic);
        hello.send_replace(Arc::new(greeting(me(addresses))));

        let (heard_sender, greetings) = mpsc::channel(WAITING_MAX);
        let (news_sender, link_news) = mpsc::channel(WAITING_MAX);
        let (errand_sender, errands) = mpsc::channel(WAITING_MAX);
        let wires =
            gossip::Wires { greetings, link_news, errands: errand_sender, hello, local: Arc::clone(local) };
        let (gossip_tasks, stop_gossip) = (TaskTracker::new(), CancellationToken::new());
        let to_gossip = gossip::Settings {
            listen,
            peers: settings.peers.clone(),
            members: settings.members.clone(),
            connections_target: settings.connections_target,
            connections_max: settings.link.connections_max,
            messages_per_s_max: settings.messages_per_s_max,
            weight: settings.weight,
            incarnation,
            addresses,
        };
        let started =
            Gossip::start(to_gossip, Arc::clone(identity), wires, &gossip_tasks, stop_gossip.clone());
        let gossip = match started {
            Ok(gossip) => gossip,
            Err(error) => return Ok(Err(error)),
        };

        let (link_tasks, stop_link) = (TaskTracker::new(), CancellationToken::new());
        let spread = Spread::new(store.clone(), link.clone(), gossip.view());
        link_tasks.spawn(spread.clone().run(stop_link.clone()));
        let adapters = Adapters {
            link: link.clone(),
            spread: spread.clone(),
            view: gossip.view(),
            ping_timeout: settings.link.ack_timeout,
            stop: stop_link.clone(),
        };
        adapters.spawn_on(
            &link_tasks,
            adapters::Ends {
                greetings: events.greetings,
                heard: heard_sender,
                reports: events.reports,
                news: news_sender,
                calls: events.calls,
                errands,
            },
        );
        link_tasks.spawn({
            let (link, stop) = (link.clone(), stop_link.clone());
            async move { link.run(stop).await }
        });
        Ok(Ok(Self {
            link,
            gossip,
            spread,
            addresses,
            listen,
            fetches: Some(events.fetches),
            stop_serving: CancellationToken::new(),
            gossip_tasks,
            stop_gossip,
            link_tasks,
            stop_link,
        }))
    }

    /// Has `edge` answer the fetches of peers, from now on.
    pub fn serve(&mut self, edge: &Edge) {
        if let Some(fetches) = self.fetches.take() {
            let (level, to_edge) = mpsc::channel(WAITING_MAX);
            let (edge, stop) = (edge.clone(), self.stop_serving.clone());
            let levelling = self.spread.clone().level(fetches, level);
            self.link_tasks.spawn(stop.clone().run_until_cancelled_owned(levelling));
            self.link_tasks.spawn(async move { edge.serve_peers(to_edge, stop).await });
        }
    }

    /// Says good-bye: the neighbours take this node out of the ring. What they ask meanwhile is answered.
    pub async fn leave(&self) {
        self.stop_gossip.cancel();
        self.gossip_tasks.close();
        if tokio::time::timeout(LEAVE_TIMEOUT, self.gossip_tasks.wait()).await.is_err() {
            tracing::warn!("the mesh was left without a good-bye");
        }
    }

    /// Takes no more fetches of peers: those that come are refused, so that their askers go elsewhere at once.
    /// Those under way are the edge's, and end when it is drained.
    pub fn refuse(&self) {
        self.stop_serving.cancel();
    }

    /// Closes all connections to peers.
    pub async fn close(self) {
        self.stop_link.cancel();
        self.link_tasks.close();
        self.link_tasks.wait().await;
    }
}

/// What a node says before it has heard of anybody.
fn greeting(profile: Profile) -> Hello {
    let local = Local::default();
    let state = NodeState {
        profile,
        seq: 0,
        load: local.load,
        health: local.health,
        versions: local.versions,
        hot: local.hot,
        leaving: false,
    };
    Hello { state, roster: Vec::new() }
}

/// Which life of this node begins now: the time of its start, or more where the clock was set back since a life
/// before. Other nodes take the greater one for the later.
pub fn incarnation(node: &NodeSettings, now: UnixMs) -> anyhow::Result<u64> {
    let path = node.data.join("incarnation");
    let before: u64 = match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().with_context(|| format!("{} holds no number", path.display()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
    };
    let incarnation = now.max(before.saturating_add(1));
    let beside = path.with_extension("new");
    std::fs::write(&beside, incarnation.to_string())
        .and_then(|()| std::fs::rename(&beside, &path))
        .with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(incarnation)
}

/// Who this node is, from its key, and its ticket where the mesh wants one. The key is made at the first start.
pub fn identity(node: &NodeSettings, mesh: Option<&MeshSettings>) -> anyhow::Result<Arc<Identity>> {
    let admission = mesh.map_or(starling_proto::ticket::Admission::Open, |mesh| mesh.admission);
    let ticket = mesh.and_then(|mesh| mesh.ticket.as_deref());
    let identity = Identity::load(&node.data, &node.name, &node.region, &node.pop, ticket, admission);
    let identity = identity.context("the node has no identity")?;
    tracing::info!(id = %identity.id, name = node.name, "the key is there");
    Ok(Arc::new(identity))
}

/// How a node of the view is reached.
pub fn peer(view: &View, id: NodeId) -> Option<Peer> {
    let member = view.members.get(&id)?;
    Some(adapters::peer(view, id, member.profile.addresses))
}

/// The view of a node that stands alone: itself.
pub fn alone(identity: &Identity, local: Local, now: UnixMs) -> Arc<View> {
    const WEIGHT: u16 = 100;
    let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let profile = Profile {
        ticket: identity.ticket.clone(),
        incarnation: 0,
        addresses: Addresses { mesh: nowhere, link_quic: nowhere },
        weight: WEIGHT,
    };
    let me = Member {
        profile,
        status: Status::Alive,
        passed_over: false,
        heard_ms: now,
        load: local.load,
        health: local.health,
        versions: local.versions,
        rtt_us: None,
    };
    Arc::new(View {
        me: identity.id,
        members: [(identity.id, me)].into(),
        ring: Arc::new(Ring::new(&[(identity.id, WEIGHT)])),
        previous: None,
        hot: Arc::default(),
    })
}
