//! The node in its mesh: identity, link, gossip and the region's group, the wires between them, and their end.
//!
//! ```text
//!             greetings, reports                 view
//!   link ───────────────────────────▶ gossip ──────────▶ edge, admin, group, spread, fence
//!     ▲ ◀───────────────────────────── errands (greet, probe)
//!     │ calls ─▶ group (Raft, proposals, heads), spread (pushes, comparisons), fence (leases), witness (receipts)
//!     └ fetches ─▶ spread (until this node knows what the asker knows) ─▶ edge
//! ```
//!
//! Link, gossip and the group do not know each other; what crosses between them is translated in [`adapters`].

mod adapters;

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use futures_util::future::{BoxFuture, FutureExt};
use starling_proto::{
    NodeId, UnixMs,
    members::{Addresses, Member, NodeState, Profile, Status, View},
    purge::{Region, Version},
    ring::{Ring, ShieldRings},
    ticket::Claim,
    wire::{Call, Hello, Lease, Reply},
};
use tokio::sync::{mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::adapters::Adapters;
use super::{
    fence::{self, Fencing, Heads},
    logs::Logs,
    receipts::{Receipts, Witness, WitnessParts},
    spread::{self, Spread, others},
};
use crate::{
    clock::Clock,
    config::{MeshSettings, NodeSettings},
    edge::Edge,
    gossip::{self, Gossip, GossipError, Local},
    identity::Identity,
    link::{Incoming, Link, Peer},
    region::{self, Group},
    store::Store,
    trust::Trust,
};

/// Greetings, reports and errands that wait on their way between link and gossip.
const WAITING_MAX: usize = 256;
/// Time for the good-bye to be sent.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for another voter to take leadership over.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(2);
/// Attempts to find a number that is free for TCP and UDP both, when any will do.
const PORT_ATTEMPTS: usize = 16;

/// How the node says of itself what changes.
pub type SayLocal = Arc<dyn Fn() -> Local + Send + Sync>;

/// What a node joins with.
pub struct Joining<'a> {
    /// How it takes part.
    pub settings: &'a MeshSettings,
    /// Who it is, for people.
    pub node: &'a NodeSettings,
    /// Who it is, by its key.
    pub identity: &'a Arc<Identity>,
    /// Where the logs are applied.
    pub store: &'a Store,
    /// The node's clock.
    pub clock: Clock,
    /// Where it is said how far the store may be trusted.
    pub trust: &'a Trust,
    /// Which life of the node begins.
    pub incarnation: u64,
    /// How it says of itself what changes.
    pub local: &'a SayLocal,
}

/// The node's part in a mesh, at work.
pub struct Mesh {
    /// The data plane.
    pub link: Link,
    /// The control plane.
    pub gossip: Gossip,
    /// The group of the own region.
    pub group: Group,
    /// What brings the logs to the other nodes.
    pub spread: Spread,
    /// What keeps the lease on the regions' heads.
    pub fence: Fencing,
    /// What tells who has applied an entry.
    pub witness: Witness,
    /// Who shields each region.
    pub shields: watch::Receiver<Arc<ShieldRings>>,
    /// Where other nodes are told to come.
    pub addresses: Addresses,
    /// Where it listens; `addresses` may differ behind a translator.
    pub listen: SocketAddr,
    fetches: Option<mpsc::Receiver<Incoming>>,
    stop_serving: CancellationToken,
    gossip_tasks: TaskTracker,
    stop_gossip: CancellationToken,
    group_tasks: TaskTracker,
    stop_group: CancellationToken,
    link_tasks: TaskTracker,
    stop_link: CancellationToken,
}

impl Mesh {
    /// Listens and joins. Until [`serve`](Self::serve) is called, fetches of peers wait.
    pub async fn join(joining: Joining<'_>) -> anyhow::Result<Self> {
        if joining.settings.is_open() {
            tracing::warn!(
                "the mesh is open: any process of this machine may join it; see `starling cluster`"
            );
        }
        let attempts = if joining.settings.link.listen.port() == 0 { PORT_ATTEMPTS } else { 1 };
        let mut attempt = 1;
        loop {
            match Self::try_join(&joining).await? {
                Ok(mesh) => return Ok(mesh),
                // The system gave a TCP port whose number is taken for UDP.
                Err(GossipError::Listen { .. }) if attempt < attempts => attempt += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn try_join(joining: &Joining<'_>) -> anyhow::Result<Result<Self, GossipError>> {
        let Joining { settings, identity, incarnation, local, .. } = joining;
        let me = |addresses| Profile {
            ticket: identity.ticket.clone(),
            incarnation: *incarnation,
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
            incarnation: *incarnation,
            addresses,
        };
        let started =
            Gossip::start(to_gossip, Arc::clone(identity), wires, &gossip_tasks, stop_gossip.clone());
        let gossip = match started {
            Ok(gossip) => gossip,
            Err(error) => return Ok(Err(error)),
        };
        let logs = match InRegion::open(joining, &link, &gossip).await {
            Ok(logs) => logs,
            Err(error) => {
                stop_gossip.cancel();
                gossip_tasks.close();
                gossip_tasks.wait().await;
                return Err(error);
            }
        };

        let (link_tasks, stop_link) = (TaskTracker::new(), CancellationToken::new());
        let (group_tasks, stop_group) = (TaskTracker::new(), CancellationToken::new());
        let InRegion { group, spread, fence, witness } = logs;
        link_tasks.spawn(spread.clone().run(group.standing(), stop_link.clone()));
        let adapters = Adapters {
            link: link.clone(),
            spread: spread.clone(),
            group: group.clone(),
            fence: fence.clone(),
            witness: witness.clone(),
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
        group_tasks.spawn({
            let (group, stop) = (group.clone(), stop_group.clone());
            async move { group.run(stop).await }
        });
        link_tasks.spawn(fence.clone().run(stop_link.clone()));
        let (shields, following) = shields(Region::new(&joining.node.region), joining.store);
        link_tasks.spawn(stop_link.clone().run_until_cancelled_owned(following));
        Ok(Ok(Self {
            link,
            gossip,
            group,
            spread,
            fence,
            witness,
            shields,
            addresses,
            listen,
            fetches: Some(events.fetches),
            stop_serving: CancellationToken::new(),
            gossip_tasks,
            stop_gossip,
            group_tasks,
            stop_group,
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

    /// Hands leadership of the region over, then says good-bye: the neighbours take this node out of the ring. What
    /// they ask meanwhile is answered.
    pub async fn leave(&self) {
        self.group.hand_over(HAND_OVER_TIMEOUT).await;
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

    /// Closes the group, which still speaks to its others meanwhile, then all connections to peers.
    pub async fn close(self) {
        self.stop_group.cancel();
        self.group_tasks.close();
        self.group_tasks.wait().await;
        self.stop_link.cancel();
        self.link_tasks.close();
        self.link_tasks.wait().await;
    }
}

/// The node's part in the logs of the regions, before it is at work.
struct InRegion {
    group: Group,
    spread: Spread,
    fence: Fencing,
    witness: Witness,
}

impl InRegion {
    async fn open(joining: &Joining<'_>, link: &Link, gossip: &Gossip) -> anyhow::Result<Self> {
        let Joining { settings, node, store, clock, trust, .. } = *joining;
        let region = Region::new(&node.region);
        let receipts = Receipts::new(gossip.view());
        let has_peers = !settings.peers.is_empty();
        let spread = Spread::new(spread::Parts {
            store: store.clone(),
            link: link.clone(),
            view: gossip.view(),
            clock,
            receipts: receipts.clone(),
            trust: trust.clone(),
            has_peers,
        });
        let log = Logs {
            store: store.clone(),
            spread: spread.clone(),
            view: gossip.view(),
            region: region.clone(),
        };
        let to_group = region::Settings {
            dir: node.data.join("region"),
            region: region.clone(),
            name: node.name.clone(),
            me: gossip.view().borrow().me,
            expect: settings.region.expect,
            has_peers,
            voters_max: settings.region.voters_max,
            heartbeat: settings.region.heartbeat,
            election: settings.region.election,
            fence: settings.region.fence,
        };
        let parts = region::Parts { link: link.clone(), view: gossip.view(), log: Arc::new(log) };
        let group = Group::open(to_group, parts).await?;
        let witness = Witness::new(WitnessParts {
            receipts,
            spread: spread.clone(),
            link: link.clone(),
            view: gossip.view(),
            standing: group.standing(),
            region: region.clone(),
        });
        let fence = Fencing::new(fence::Parts {
            heads: Arc::new(ByLink { group: group.clone(), link: link.clone(), view: gossip.view() }),
            clock,
            trust: trust.clone(),
            view: gossip.view(),
            stamps: store.stamps(),
            region,
            fence: settings.region.fence,
        });
        spread.warn(fence.clone());
        Ok(Self { group, spread, fence, witness })
    }
}

/// Asks the own group, and other nodes over the link, for heads and leases.
struct ByLink {
    group: Group,
    link: Link,
    view: watch::Receiver<Arc<View>>,
}

impl ByLink {
    fn ask(&self, node: NodeId, call: Call, timeout: Duration) -> BoxFuture<'static, Option<Reply>> {
        let (link, peer) = (self.link.clone(), Peer::of(&self.view.borrow(), node));
        async move { link.call(peer?, call, timeout).await.ok() }.boxed()
    }
}

impl Heads for ByLink {
    fn own(&self, timeout: Duration) -> BoxFuture<'static, Option<Version>> {
        let group = self.group.clone();
        async move { group.head(timeout).await }.boxed()
    }

    fn of(&self, node: NodeId, timeout: Duration) -> BoxFuture<'static, Option<Lease>> {
        let asked = self.ask(node, Call::Head, timeout);
        async move { if let Some(Reply::Head(lease)) = asked.await { lease } else { None } }.boxed()
    }

    fn leases(&self, node: NodeId, timeout: Duration) -> BoxFuture<'static, Option<Vec<Lease>>> {
        let asked = self.ask(node, Call::Leases, timeout);
        async move { if let Some(Reply::Leases(leases)) = asked.await { Some(leases) } else { None } }.boxed()
    }
}

/// The shield rings that the logs come to, and what keeps them so.
fn shields(
    mine: Region,
    store: &Store,
) -> (watch::Receiver<Arc<ShieldRings>>, impl Future<Output = ()> + Send + 'static) {
    let mut catalog = store.catalog();
    let first = Arc::new(ShieldRings::of(mine.clone(), &catalog.borrow_and_update()));
    let (sender, shields) = watch::channel(first);
    let following = async move {
        while catalog.changed().await.is_ok() {
            let rings = ShieldRings::of(mine.clone(), &catalog.borrow_and_update());
            sender.send_replace(Arc::new(rings));
        }
    };
    (shields, following)
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
/// before. Other nodes take the greater one for the later. Durable when this returns: a life is not begun twice.
pub fn incarnation(node: &NodeSettings, now: UnixMs) -> anyhow::Result<u64> {
    let path = node.data.join("incarnation");
    let before = match std::fs::read(&path) {
        Ok(bytes) => number(&bytes).unwrap_or_else(|| {
            // A crash of the machine may have left it so; the clock has gone on since then.
            tracing::warn!(path = %path.display(), "it holds no number: this life is told apart by the clock alone");
            0
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
    };
    let incarnation = now.max(before.saturating_add(1));
    write_durably(&node.data, &path, &incarnation.to_string())
        .with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(incarnation)
}

fn number(bytes: &[u8]) -> Option<u64> {
    std::str::from_utf8(bytes).ok()?.trim().parse().ok()
}

/// The old content or the new one is there after a crash, and the new one once this has returned.
fn write_durably(dir: &Path, path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = std::fs::File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    std::fs::File::open(dir)?.sync_all()
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

/// The other nodes that may be reached and whose claim is wanted, in the order in which they are asked: those that
/// requests pass over last, else the nearest first.
pub fn nearest(view: &View, is_wanted: impl Fn(&Claim) -> bool) -> Vec<NodeId> {
    let mut nodes: Vec<_> = others(view)
        .filter(|(_, member)| is_wanted(&member.profile.ticket.claim))
        .map(|(id, member)| (member.status, member.passed_over, member.rtt_us.unwrap_or(u32::MAX), *id))
        .collect();
    nodes.sort_unstable();
    nodes.into_iter().map(|(.., id)| id).collect()
}

/// Nodes of other regions: of each region the one that is asked first, by nearness; then the second ones.
pub fn nearest_of_each(view: &View) -> Vec<NodeId> {
    let region = |id: &NodeId| view.members.get(id).map(|member| member.profile.ticket.claim.region.as_str());
    let mine = region(&view.me);
    let mut seen: std::collections::BTreeMap<&str, usize> = Default::default();
    let mut ranked: Vec<(usize, NodeId)> = nearest(view, |claim| mine != Some(claim.region.as_str()))
        .into_iter()
        .map(|id| {
            let place = seen.entry(region(&id).unwrap_or_default()).or_default();
            *place += 1;
            (*place, id)
        })
        .collect();
    // Stable: nodes of one rank stay by nearness.
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, id)| id).collect()
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
        heard_ms: now,
        load: local.load,
        health: local.health,
        versions: local.versions,
        ..Member::new(profile, Status::Alive)
    };
    Arc::new(View {
        me: identity.id,
        members: [(identity.id, me)].into(),
        ring: Arc::new(Ring::new(&[(identity.id, WEIGHT)])),
        previous: None,
        hot: Arc::default(),
    })
}

#[cfg(test)]
mod tests;
