//! Whom to ask for an object, in order.
//!
//! ```text
//!              Client                  Owner                    Shield
//! ┌─────────┐  ask the owner  ┌───────┐  ask the shield  ┌────────┐     ┌────────┐
//! │ a node  │ ──────────────► │ owner │ ───────────────► │ shield │ ──► │ origin │
//! └─────────┘                 └───────┘                  └────────┘     └────────┘
//!   │  │ no owner answers         │  │ no shield is known      ▲              ▲
//!   │  └──────────────────────────┼──┼─────────────────────────┘              │
//!   │ nobody to ask               │  └────────────────────────────────────────┤
//!   └─────────────────────────────┼───────────────────────────────────────────┘
//!                                 │ what have you stored?
//!                                 └────► previous owner
//! ```
//!
//! **One speaker.** Who shields a region is written in its log, so nodes that have read it as far agree on the
//! ring of its shields, and on the one shield that comes up first for a key. As long as that one can be reached,
//! nobody else asks the origin for the object; that is why an overloaded shield is not passed over, as an
//! overloaded owner is. Where a region has no shields its owners speak to the origin.
//!
//! **No loop, no waiting cycle.** A node that stands at [`Hop::Client`] asks others only at [`Hop::Owner`] or
//! [`Hop::Shield`], one that stands at [`Hop::Owner`] only at [`Hop::Shield`], and one that stands there nobody
//! but the origin; or they ask for what the other *has*, which asks nobody. So what a flight waits for has a
//! higher hop than itself, or waits for nobody; a circle of waits would need a hop above itself. It needs no
//! agreement on any ring: each node may have a view of its own.
//!
//! That holds as long as a request joins only flights of its own hop or a higher one, and so a plan tells at
//! which hop its flight stands ([`Plan::hop`]): a client's request stands at [`Hop::Owner`] when this node is
//! the owner, or nobody can be asked, and at [`Hop::Shield`] when this node is the shield. Then requests of peers
//! may join its flight. If it kept the hop it came with, a peer's request for the same object would have to ask
//! a second time.

use serde::{Deserialize, Serialize};

use super::{Ring, ShieldRings};
use crate::{
    Key, NodeId,
    members::{Load, Status, View},
    purge::Region,
};

/// The first usable nodes of the ring among which an overloaded owner finds who stands in for it.
pub const REPLICAS: usize = 3;
/// Nodes that are asked as owners before the next hop is.
pub const OWNERS_ASKED: usize = 2;
/// Nodes that are asked as shields before the origin is.
pub const SHIELDS_ASKED: usize = 2;
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
    /// A shield: asked at [`Hop::Shield`].
    Shield(NodeId),
    /// The origin.
    Origin,
}

/// Whom to ask, in order, and at which hop the asker stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The hop the asker has reached, and so the hop of its flight: [`Hop::Owner`] when this node owns the
    /// object itself, or has no owner to ask; [`Hop::Shield`] when it shields it.
    pub hop: Hop,
    /// Ends with [`Way::Origin`]; names no node twice.
    pub ways: Vec<Way>,
}

/// Whom to ask for `key` when the request stands at `hop`. The service is shielded by the shields of
/// `shield_region`, or, where it names none, by those of this node's region.
///
/// Who is passed over is left out, and those behind him move up: the more nodes of a PoP are gone, the more it
/// matters that the others still meet at one.
pub fn plan(view: &View, shields: &ShieldRings, shield_region: Option<&Region>, key: Key, hop: Hop) -> Plan {
    if hop >= Hop::Shield {
        return Plan { hop, ways: vec![Way::Origin] };
    }
    let owners = if hop == Hop::Client { owners(view, &key) } else { Vec::new() };
    let previous = || previous_owner(view, &key);
    let mut ways: Vec<Way> = owners.iter().copied().map(Way::Owner).collect();
    let hop = match shielding(view, shields, shield_region, &key) {
        Shielding::Me => {
            // What it brings comes from the origin in any case: not by way of the owner, and back.
            ways = previous().filter(|_| owners.is_empty()).map(Way::Previous).into_iter().collect();
            Hop::Shield
        }
        Shielding::Others(shields) => {
            let others: Vec<NodeId> = shields.into_iter().filter(|node| !owners.contains(node)).collect();
            let previous = previous().filter(|node| owners.is_empty() && !others.contains(node));
            ways.extend(previous.map(Way::Previous));
            ways.extend(others.into_iter().map(Way::Shield));
            if owners.is_empty() { Hop::Owner } else { hop }
        }
    };
    ways.push(Way::Origin);
    Plan { hop, ways }
}

/// Who shields a key, as far as anybody can be asked.
enum Shielding {
    /// This node.
    Me,
    /// These, the best first; nobody, where the region has no shields, or none can be reached.
    Others(Vec<NodeId>),
}

/// The shields of the service's region; where none is usable, those of this region. Where its own are gone, too,
/// the nearest other region still collapses what nodes ask for.
fn shielding(view: &View, rings: &ShieldRings, shield_region: Option<&Region>, key: &Key) -> Shielding {
    let mine = rings.mine();
    let wanted = shield_region.unwrap_or(mine);
    let by_region = |region: &Region| shields_of(view, &rings.get(region)?.ring, key);
    by_region(wanted)
        .or_else(|| by_region(mine))
        .or_else(|| {
            let is_formed = rings.get(mine).is_some_and(|shields| !shields.ring.is_empty());
            let nearest = nearest(view, rings).filter(|_| wanted == mine && is_formed);
            nearest.and_then(by_region)
        })
        .unwrap_or_else(|| Shielding::Others(Vec::new()))
}

/// The usable shields of a ring; none when there is none. Those behind this node in the ring are not asked: after
/// itself it would ask the origin.
fn shields_of(view: &View, ring: &Ring, key: &Key) -> Option<Shielding> {
    let usable = ring.walk(key).filter(|node| *node == view.me || is_usable(view, *node));
    let mut chain: Vec<NodeId> = usable.take(SHIELDS_ASKED).collect();
    match chain.iter().position(|node| *node == view.me) {
        Some(0) => return Some(Shielding::Me),
        Some(mine) => chain.truncate(mine),
        None if chain.is_empty() => return None,
        None => {}
    }
    Some(Shielding::Others(chain))
}

/// The other region with the nearest usable shield; among equals, the first by name.
fn nearest<'a>(view: &View, rings: &'a ShieldRings) -> Option<&'a Region> {
    let others = rings.iter().filter(|(region, _)| *region != rings.mine());
    let reached = others.filter_map(|(region, shields)| {
        let usable = shields.ring.nodes().iter().filter(|(node, _)| is_usable(view, *node));
        let rtts = usable.map(|(node, _)| view.members[node].rtt_us.unwrap_or(u32::MAX));
        Some((rtts.min()?, region))
    });
    reached.min().map(|(_, region)| region)
}

/// The nodes to ask as owners, the best first; none when this node comes up first, or none can be asked.
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
