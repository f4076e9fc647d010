//! What a node says of itself: who it is, and how it fares.

use core::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{Key, NodeId, purge::Versions, ticket::Ticket};

/// The weights that a node may have in the ring; what lies outside is taken for the nearer end.
pub const WEIGHTS: core::ops::RangeInclusive<u16> = 1..=1_000;

/// Where a node is reached by other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// TCP: the link inside a PoP, and greetings. UDP of the same number: the swarm (libp2p over QUIC).
    pub mesh: SocketAddr,
    /// UDP: the link between PoPs (quinn).
    pub link_quic: SocketAddr,
}

/// What changes seldom about a node, in its own words, with the ticket that proves its names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Its ticket: id, name, region, PoP, may-shield.
    pub ticket: Ticket,
    /// Grows with every start of the node (milliseconds since the Unix epoch at its start).
    pub incarnation: u64,
    /// Where it is reached.
    pub addresses: Addresses,
    /// Its share of the ring beside its neighbours; 100 is usual, 1..=1000.
    pub weight: u16,
}

impl Profile {
    /// Which node this is.
    pub fn node(&self) -> NodeId {
        self.ticket.claim.node
    }

    /// How its operator calls it.
    pub fn name(&self) -> &str {
        &self.ticket.claim.name
    }

    pub(super) fn place(&self) -> Place {
        Place { region: self.ticket.claim.region.clone(), pop: self.ticket.claim.pop.clone() }
    }

    pub(super) fn stands_in(&self, place: &Place) -> bool {
        self.ticket.claim.region == place.region && self.ticket.claim.pop == place.pop
    }
}

/// A PoP: the same name in two regions is two PoPs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) region: String,
    pub(super) pop: String,
}

/// How busy a node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Of all its cores together, in thousandths.
    pub cpu_permille: u16,
    /// Client requests under way.
    pub in_flight: u32,
    /// Requests of peers under way.
    pub peer_in_flight: u32,
    /// Client and peer requests in the last second.
    pub requests_per_s: u32,
    /// Body bytes sent in the last second.
    pub bytes_per_s: u64,
    /// How full the memory tier is, in thousandths.
    pub memory_permille: u16,
}

/// What a node says of its own health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// It serves clients.
    pub ready: bool,
    /// It is being emptied of clients.
    pub draining: bool,
    /// Some origin of each service can be reached.
    pub origins_ok: bool,
    /// Its disk takes writes.
    pub disk_ok: bool,
}

/// A heartbeat: what a node says of itself inside its PoP, a few times a second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeState {
    /// Who it is.
    pub profile: Profile,
    /// Grows with every heartbeat of one incarnation.
    pub seq: u64,
    /// Its load.
    pub load: Load,
    /// Its health.
    pub health: Health,
    /// How far it has applied each log.
    pub versions: Versions,
    /// What its clients ask for most, hottest first; bounded by [`HOT_KEYS_MAX`].
    pub hot: Vec<Key>,
    /// It says good-bye: take it out of the ring at once.
    pub leaving: bool,
}

/// Hot keys that one heartbeat may name.
pub const HOT_KEYS_MAX: usize = 32;

/// What this node puts in its next heartbeat.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// Its load.
    pub load: Load,
    /// Its health.
    pub health: Health,
    /// How far it has applied each log.
    pub versions: Versions,
    /// What its clients ask for most, hottest first; what exceeds [`HOT_KEYS_MAX`] is left out.
    pub hot: Vec<Key>,
}
