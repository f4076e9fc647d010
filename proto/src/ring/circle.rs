//! The ring itself: points on a circle, sorted, and whose they are.
//!
//! Every node stands at many points (virtual nodes), as many as its weight earns. A key belongs to the node
//! whose point is the first at or after its own hash, going round; the replicas are the next *other* nodes that
//! come up. A node that joins takes only what now meets its points first, and one that leaves gives up only
//! what met its own: between two nodes that stay, nothing ever moves.
//!
//! `hashring` places the points. Its `get_with_replicas` copies the whole ring for each question and counts
//! points, not nodes, so that is asked once, for all points, and the sorted array of them is walked here. A
//! lookup is one hash and one binary search. A test holds that both name the same owners.

use std::{cmp::Reverse, fmt, hash::BuildHasher, ops::RangeInclusive};

use hashring::HashRing;

use super::hash::{RingHash, Spot, VNode};
use crate::{Key, NodeId};

/// Points of a node of weight 100. With these, the shares of equal nodes differ by about 9 percent (one
/// standard deviation, `1/sqrt(points)`).
const VNODES_PER_100: u32 = 128;
/// Points of the lightest node; fewer would make its share a matter of luck.
const VNODES_MIN: u32 = 8;
/// Weights outside are taken for the nearest inside: what a node says of itself must not win it the ring.
const WEIGHTS: RangeInclusive<u16> = 1..=1000;

/// A consistent-hash ring, weighted, the same on every node and platform. Its lookups take well under a
/// microsecond; building it sorts all points and is done when the PoP changes.
#[derive(Clone, Default)]
pub struct Ring {
    /// By id, each once, with its weight as it was taken.
    nodes: Vec<(NodeId, u16)>,
    /// What each of `nodes` owns of the circle, in thousandths.
    shares: Vec<u16>,
    /// Where the points stand, ascending, no two at the same place.
    hashes: Vec<u64>,
    /// Whose they are: indexes into `nodes`.
    owners: Vec<u32>,
}

impl Ring {
    /// The ring of these nodes with their weights (100 is usual, 1..=1000); their order does not matter. Of a
    /// node named twice the greater weight counts.
    pub fn new(nodes: &[(NodeId, u16)]) -> Self {
        let mut nodes: Vec<(NodeId, u16)> = nodes
            .iter()
            .map(|(id, weight)| (*id, (*weight).clamp(*WEIGHTS.start(), *WEIGHTS.end())))
            .collect();
        nodes.sort_unstable_by_key(|(id, weight)| (*id, Reverse(*weight)));
        nodes.dedup_by_key(|(id, _)| *id);
        // With a hasher of one's own there is one way to see all points: as the replicas of some key, all round.
        let around = placed(&nodes).get_with_replicas(&0_u8, usize::MAX).unwrap_or_default();
        let mut points: Vec<(u64, u32)> =
            around.into_iter().map(|vnode| (RingHash.hash_one(vnode), vnode.node)).collect();
        // Two points at one place: it is the lower id's, on every node of the mesh.
        points.sort_unstable();
        points.dedup_by_key(|(hash, _)| *hash);
        let (hashes, owners): (Vec<u64>, Vec<u32>) = points.into_iter().unzip();
        let shares = shares(nodes.len(), &hashes, &owners);
        Self { nodes, shares, hashes, owners }
    }

    /// Its nodes by id, with their weights.
    pub fn nodes(&self) -> &[(NodeId, u16)] {
        &self.nodes
    }

    /// Whether nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Whether the node is in it.
    pub fn contains(&self, node: NodeId) -> bool {
        self.index(node).is_some()
    }

    /// How much of all keys the node owns, in thousandths; 0 of one that is not in the ring.
    pub fn share_permille(&self, node: NodeId) -> u16 {
        self.index(node).map_or(0, |index| self.shares[index])
    }

    /// The node that owns the key; none in an empty ring.
    pub fn owner(&self, key: &Key) -> Option<NodeId> {
        self.walk(key).next()
    }

    /// The distinct nodes that come up for a key, the owner first, at most `count`.
    pub fn replicas(&self, key: &Key, count: usize) -> Vec<NodeId> {
        self.walk(key).take(count).collect()
    }

    /// All nodes in the order in which they come up for a key, each once.
    pub fn walk(&self, key: &Key) -> Walk<'_> {
        let hash = RingHash.hash_one(Spot(key));
        Walk { ring: self, next: self.hashes.partition_point(|point| *point < hash), seen: Vec::new() }
    }

    fn index(&self, node: NodeId) -> Option<usize> {
        self.nodes.binary_search_by_key(&node, |(id, _)| *id).ok()
    }
}

/// Two rings are equal when the same nodes with the same weights are in them: the rest follows.
impl PartialEq for Ring {
    fn eq(&self, other: &Self) -> bool {
        self.nodes == other.nodes
    }
}

impl Eq for Ring {}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.nodes.iter().copied()).finish()
    }
}

/// The nodes of a ring in the order in which they come up for a key: [`Ring::walk`].
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    ring: &'a Ring,
    next: usize,
    /// Who came up already. Nearly always one to three are asked for, so a list beats a set.
    seen: Vec<u32>,
}

impl Iterator for Walk<'_> {
    type Item = NodeId;

    fn next(&mut self) -> Option<NodeId> {
        // Every node stands at one point at least, or at places that are all others': the points end the walk
        // even then, for they are gone over once.
        let ring = self.ring;
        while self.seen.len() < ring.nodes.len() && self.next < 2 * ring.owners.len() {
            let owner = ring.owners[self.next % ring.owners.len()];
            self.next += 1;
            if !self.seen.contains(&owner) {
                self.seen.push(owner);
                return Some(ring.nodes[owner as usize].0);
            }
        }
        None
    }
}

/// How many points a node of this weight has.
pub fn vnodes(weight: u16) -> u32 {
    let weight = u32::from(weight.clamp(*WEIGHTS.start(), *WEIGHTS.end()));
    ((weight * VNODES_PER_100 + 50) / 100).max(VNODES_MIN)
}

/// The points of the nodes as `hashring` sorts them.
fn placed(nodes: &[(NodeId, u16)]) -> HashRing<VNode, RingHash> {
    let mut ring = HashRing::with_hasher(RingHash);
    let numbered = (0_u32..).zip(nodes);
    ring.batch_add(
        numbered
            .flat_map(|(node, (id, weight))| {
                (0..vnodes(*weight)).map(move |number| VNode { node, id: *id, number })
            })
            .collect(),
    );
    ring
}

/// What each of the nodes owns: the arcs that end at its points.
fn shares(nodes: usize, hashes: &[u64], owners: &[u32]) -> Vec<u16> {
    let mut arcs = vec![0_u128; nodes];
    let mut before = hashes.last().copied().unwrap_or(0);
    for (hash, owner) in hashes.iter().zip(owners) {
        // A lone point owns the whole circle, which the subtraction makes zero.
        let arc = if hashes.len() == 1 { 1 << 64 } else { u128::from(hash.wrapping_sub(before)) };
        arcs[*owner as usize] += arc;
        before = *hash;
    }
    let permille = |arc: u128| u16::try_from((arc * 1000 + (1 << 63)) >> 64).expect("no more than 1000");
    arcs.into_iter().map(permille).collect()
}

#[cfg(test)]
#[path = "circle_tests.rs"]
mod tests;
