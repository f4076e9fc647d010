//! Who the simulated nodes are: what would be in their tickets, and which topics they share.

use core::net::{Ipv4Addr, SocketAddr};

use super::super::{Chance, Micros, Node, REGIONS, Topic, World};
use crate::{
    NodeId, UnixMs,
    members::{Addresses, Profile},
    ticket::{Claim, Ticket},
};

/// The clock of every node when the simulation begins.
const BEGINNING_MS: UnixMs = 1_750_000_000_000;

/// What all nodes of a simulation agree on from outside: their names.
#[derive(Debug)]
pub struct Book {
    ids: Vec<NodeId>,
    pops: Vec<String>,
    world: World,
    /// The topic of each PoP.
    pub(super) pop_topics: Vec<Topic>,
    /// The topic of the world.
    pub(super) world_topic: Topic,
}

impl Book {
    /// Names for the nodes of this world. Ids are in no order, as keys are not.
    pub(in crate::sim) fn new(world: World, chance: &mut Chance) -> Self {
        let id = |node: usize| {
            let mut bytes = [0; 32];
            for piece in bytes[..24].chunks_mut(8) {
                piece.copy_from_slice(&chance.bits().to_le_bytes());
            }
            bytes[28..].copy_from_slice(&(node as u32).to_le_bytes());
            NodeId::from_bytes(bytes)
        };
        let ids = (0..world.sites().len()).map(id).collect();
        let pops = (0..world.pops()).map(|pop| format!("pop-{pop}")).collect();
        Self { ids, pops, world, pop_topics: Vec::new(), world_topic: 0 }
    }

    /// The id of a node.
    pub fn id(&self, node: Node) -> NodeId {
        self.ids[node as usize]
    }

    /// The node with this id; its number is the end of it.
    pub fn node(&self, id: &NodeId) -> Option<Node> {
        let mut end = [0; 4];
        end.copy_from_slice(&id.as_bytes()[28..]);
        let node = u32::from_le_bytes(end);
        (self.ids.get(node as usize) == Some(id)).then_some(node)
    }

    /// Where they stand.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The topic of a node's PoP.
    pub(super) fn pop_topic(&self, node: Node) -> Topic {
        self.pop_topics[self.world.sites()[node as usize].pop as usize]
    }

    /// Whether two nodes stand in one PoP.
    pub fn are_neighbours(&self, one: Node, other: Node) -> bool {
        self.world.sites()[one as usize] == self.world.sites()[other as usize]
    }

    /// What time it is by the clocks of the nodes.
    pub fn unix_ms(now: Micros) -> UnixMs {
        BEGINNING_MS + now / 1_000
    }

    /// What a node that starts now says of itself.
    pub(in crate::sim) fn profile(&self, node: Node, now: Micros) -> Profile {
        let site = self.world.sites()[node as usize];
        let region = REGIONS[site.region as usize];
        let claim = Claim {
            node: self.id(node),
            name: format!("{region}-{node}"),
            region: region.to_owned(),
            pop: self.pops[site.pop as usize].clone(),
            may_shield: true,
            expires_ms: UnixMs::MAX,
        };
        let host = Ipv4Addr::from_bits(0x0a00_0000 | node);
        let at = |port| SocketAddr::from((host, port));
        Profile {
            ticket: Ticket { claim, signature: Some(vec![7; 64]) },
            incarnation: Self::unix_ms(now),
            addresses: Addresses { mesh: at(7_000), link_quic: at(7_001) },
            weight: 100,
        }
    }
}
