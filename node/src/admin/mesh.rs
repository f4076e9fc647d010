//! What the API tells of the mesh: the nodes there are, and the ring of this node's PoP.

use std::{collections::BTreeMap, net::SocketAddr};

use serde::{Deserialize, Serialize};
use starling_proto::{
    Key, NodeId, UnixMs,
    members::{Addresses, Health, Load, Member, Status, View},
    ticket::Claim,
};

/// Nodes named for a key: its owner, and those that stand in for it.
const REPLICAS: usize = 3;

/// Answer of `GET /v1/peers`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PeersReport {
    /// The name of the node that was asked.
    pub node: String,
    /// Its id.
    pub id: String,
    /// Every node it knows, itself included; its own PoP and region first.
    pub peers: Vec<PeerStatus>,
}

/// A node as another sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Its name.
    pub node: String,
    /// Its id.
    pub id: String,
    /// Its region.
    pub region: String,
    /// Its PoP.
    pub pop: String,
    /// How it stands.
    pub status: PeerState,
    /// Whether requests go elsewhere now.
    pub passed_over: bool,
    /// Whether it is the node that was asked.
    #[serde(rename = "self")]
    pub is_self: bool,
    /// Where it listens for other nodes; absent when it stands alone.
    pub address: Option<SocketAddr>,
    /// Where it listens for nodes of other PoPs.
    pub link_quic: Option<SocketAddr>,
    /// Since it, or word of it, was heard.
    pub heard_ms_ago: u64,
    /// There and back over the link, as measured last.
    pub rtt_us: Option<u32>,
    /// Its share of its ring beside its neighbours'.
    pub weight: u16,
    /// Whether it is in the ring of the PoP of the node that was asked.
    pub in_ring: bool,
    /// How busy it is; known inside a PoP only.
    pub load: Option<Load>,
    /// What it says of its health; known inside a PoP only.
    pub health: Option<Health>,
    /// How far it has applied each log: `epoch/index`.
    pub versions: BTreeMap<String, String>,
}

/// How a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerState {
    /// It was heard of lately.
    Alive,
    /// It is silent, or cannot be reached: passed over, still in the ring.
    Suspect,
    /// Out of the ring.
    Dead,
    /// It said good-bye.
    Left,
}

impl PeerState {
    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Dead => "dead",
            Self::Left => "left",
        }
    }
}

impl From<Status> for PeerState {
    fn from(status: Status) -> Self {
        match status {
            Status::Alive => Self::Alive,
            Status::Suspect => Self::Suspect,
            Status::Dead => Self::Dead,
            Status::Left => Self::Left,
        }
    }
}

/// Answer of `GET /v1/ring`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RingReport {
    /// The name of the node that was asked.
    pub node: String,
    /// Its PoP, whose ring it is.
    pub pop: String,
    /// The nodes in the ring.
    pub nodes: Vec<RingNode>,
    /// Whether the ring changed lately, so that owners still fill from those before them.
    pub previous: bool,
    /// The key that was asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The node that owns it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The owner and those that stand in for it, in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<Vec<String>>,
}

/// A node in the ring.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RingNode {
    /// Its name.
    pub node: String,
    /// Its id.
    pub id: String,
    /// Its weight.
    pub weight: u16,
    /// The share of all keys that it owns, in thousandths.
    pub share_permille: u16,
}

/// What is known of every node.
pub(super) fn peers(view: &View, now: UnixMs) -> PeersReport {
    let mine = claim_of(view, &view.me);
    let is_mine = |claim: &Claim| mine.is_some_and(|mine| mine.shares_pop(claim));
    let status = |(id, member): (&NodeId, &Member)| {
        let claim = &member.profile.ticket.claim;
        let Addresses { mesh, link_quic } = member.profile.addresses;
        PeerStatus {
            node: claim.name.clone(),
            id: id.to_string(),
            region: claim.region.clone(),
            pop: claim.pop.clone(),
            status: member.status.into(),
            passed_over: member.passed_over,
            is_self: *id == view.me,
            address: reached(mesh),
            link_quic: reached(link_quic),
            heard_ms_ago: if *id == view.me { 0 } else { now.saturating_sub(member.heard_ms) },
            rtt_us: member.rtt_us,
            weight: member.profile.weight,
            in_ring: view.ring.contains(*id),
            load: is_mine(claim).then_some(member.load),
            health: is_mine(claim).then_some(member.health),
            versions: member
                .versions
                .iter()
                .map(|(region, at)| (region.to_string(), at.to_string()))
                .collect(),
        }
    };
    let mut peers: Vec<PeerStatus> = view.members.iter().map(status).collect();
    let is_far = |peer: &PeerStatus| {
        mine.map_or((false, false), |mine| (peer.region != mine.region, peer.pop != mine.pop))
    };
    peers.sort_by_cached_key(|peer| {
        (is_far(peer), peer.region.clone(), peer.pop.clone(), peer.node.clone(), peer.id.clone())
    });
    PeersReport { node: view.name_of(&view.me), id: view.me.to_string(), peers }
}

/// The ring, and who comes up for `key` in it.
pub(super) fn ring(view: &View, key: Option<Key>) -> RingReport {
    let node = |(id, weight): &(NodeId, u16)| RingNode {
        node: view.name_of(id),
        id: id.to_string(),
        weight: *weight,
        share_permille: view.ring.share_permille(*id),
    };
    let mut nodes: Vec<RingNode> = view.ring.nodes().iter().map(node).collect();
    nodes.sort_by(|a, b| (&a.node, &a.id).cmp(&(&b.node, &b.id)));
    let replicas: Option<Vec<String>> =
        key.map(|key| view.ring.replicas(&key, REPLICAS).iter().map(|id| view.name_of(id)).collect());
    RingReport {
        node: view.name_of(&view.me),
        pop: claim_of(view, &view.me).map(|claim| claim.pop.clone()).unwrap_or_default(),
        nodes,
        previous: view.previous.is_some(),
        key: key.map(|key| key.to_string()),
        owner: replicas.as_ref().and_then(|replicas| replicas.first().cloned()),
        replicas,
    }
}

/// A key as it is written: 32 hexadecimal digits.
pub(super) fn key(text: &str) -> Option<Key> {
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(text, 16).ok().map(|number| Key::from_bytes(number.to_be_bytes()))
}

fn claim_of<'a>(view: &'a View, id: &NodeId) -> Option<&'a Claim> {
    view.members.get(id).map(|member| &member.profile.ticket.claim)
}

/// A node that stands alone is reached nowhere.
fn reached(address: SocketAddr) -> Option<SocketAddr> {
    (address.port() != 0).then_some(address)
}
