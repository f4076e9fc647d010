//! Whom to ask for an object, in order.
//!
//! ```text
//!              Client                      Owner                    Shield
//! ┌─────────┐  ask the owner  ┌─────────┐         ┌────────┐
//! │ a node  │ ──────────────► │ owner   │ ──────► │ origin │
//! └─────────┘                 └─────────┘         └────────┘
//!      │ nobody to ask             │ what have you stored?
//!      └──────► origin             └────► previous owner
//! ```
//!
//! **No loop, no waiting cycle.** A node that stands at [`Hop::Client`] asks others only at [`Hop::Owner`]. At
//! [`Hop::Owner`] it asks the origin, or a previous owner for what that one *has*, which asks nobody. So what a
//! flight waits for has a higher hop than itself, or waits for nobody; a circle of waits would need a hop above
//! itself. It needs no agreement on the ring: each node may have a view of its own.
//!
//! That holds as long as a request joins only flights of its own hop or a higher one, and so a plan tells at
//! which hop its flight stands ([`Plan::hop`]): a client's request stands at [`Hop::Owner`] when this node is
//! the owner, and also when there is nobody to ask. In both cases the flight waits for no other flight, and
//! requests of peers may join it. If it kept the hop it came with, a peer's request for the same object would
//! have to ask the origin a second time.

use serde::{Deserialize, Serialize};

use crate::{
    Key, NodeId,
    members::{Load, Status, View},
};

/// The first usable nodes of the ring among which an overloaded owner finds who stands in for it.
pub const REPLICAS: usize = 3;
/// Nodes that are asked before the origin is.
pub const OWNERS_ASKED: usize = 2;
/// An owner with no more requests under way than this is never too busy.
pub const BUSY_REQUESTS: u64 = 64;
/// An owner is too busy when it has more than this many times the requests of the PoP's mean node.
const BUSY_TIMES_MEAN: u64 = 2;

/// Where a request stands. It is only ever sent upward, so a loop cannot be written, and two nodes whose rings
/// disagree cannot wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Hop {
    /// At the node the client asked.
    Client,
    /// At the owner in the PoP.
    Owner,
    /// At the region's shield.
    Shield,
    /// At the origin.
    Origin,
}

/// One who can be asked for an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The node that owns it, or stands in for who does: asked at [`Hop::Owner`].
    Owner(NodeId),
    /// The node that owned it before the ring changed: asked only for what it has stored.
    Previous(NodeId),
    /// The origin.
    Origin,
}

/// Whom to ask, in order, and at which hop the asker stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The hop the asker has reached, and so the hop of its flight: [`Hop::Owner`] when this node owns the
    /// object itself, or has nobody to ask.
    pub hop: Hop,
    /// Ends with [`Way::Origin`].
    pub ways: Vec<Way>,
}

/// Whom to ask for `key` when the request stands at `hop`.
///
/// Who is passed over is left out, and those behind him move up: the more nodes of a PoP are gone, the more it
/// matters that the others still meet at one.
pub fn plan(view: &View, key: Key, hop: Hop) -> Plan {
    match hop {
        Hop::Client => match owners(view, &key) {
            owners if owners.is_empty() => as_owner(view, &key),
            owners => Plan { hop, ways: owners.into_iter().map(Way::Owner).chain([Way::Origin]).collect() },
        },
        Hop::Owner => as_owner(view, &key),
        Hop::Shield | Hop::Origin => Plan { hop, ways: vec![Way::Origin] },
    }
}

/// The owner fills from who owned the key before, as long as that is remembered, and else from the origin.
fn as_owner(view: &View, key: &Key) -> Plan {
    let previous = previous_owner(view, key).map(Way::Previous);
    Plan { hop: Hop::Owner, ways: previous.into_iter().chain([Way::Origin]).collect() }
}

/// The nodes to ask as owners, the best first; none when this node comes up first, or nobody can be asked.
fn owners(view: &View, key: &Key) -> Vec<NodeId> {
    // Those behind this node in the ring are not asked: after itself it would ask the origin.
    let usable = view.ring.walk(key).filter(|node| *node == view.me || is_usable(view, *node));
    let chain: Vec<NodeId> = usable.take(REPLICAS).collect();
    let mine = chain.iter().position(|node| *node == view.me);
    let before_me = &chain[..mine.unwrap_or(chain.len())];
    let (mut calm, busy): (Vec<NodeId>, Vec<NodeId>) =
        before_me.iter().partition(|node| !is_too_busy(view, **node));
    if calm.is_empty() && mine.is_some() {
        return calm;
    }
    calm.extend(busy);
    calm.truncate(OWNERS_ASKED);
    calm
}

fn previous_owner(view: &View, key: &Key) -> Option<NodeId> {
    let previous = view.previous.as_ref()?.owner(key)?;
    let is_other = previous != view.me && view.ring.owner(key) != Some(previous);
    (is_other && is_usable(view, previous)).then_some(previous)
}

fn is_usable(view: &View, node: NodeId) -> bool {
    view.members.get(&node).is_some_and(|member| !member.passed_over && member.status == Status::Alive)
}

/// Bounded load: a key that everybody wants must not melt its owner while others idle. The mean is worked out
/// only when there is reason to.
fn is_too_busy(view: &View, node: NodeId) -> bool {
    let requests = |node: &NodeId| view.members.get(node).map_or(0, |member| under_way(&member.load));
    let of_node = requests(&node);
    if of_node <= BUSY_REQUESTS {
        return false;
    }
    let nodes = view.ring.nodes();
    let of_all: u64 = nodes.iter().map(|(node, _)| requests(node)).sum();
    of_node * nodes.len() as u64 > BUSY_TIMES_MEAN * of_all
}

fn under_way(load: &Load) -> u64 {
    u64::from(load.in_flight) + u64::from(load.peer_in_flight)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
