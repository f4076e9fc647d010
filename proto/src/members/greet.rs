//! Which nodes to be connected to.

use core::net::SocketAddr;
use std::collections::{BTreeMap, BTreeSet};

use super::{Members, Profile, Status, profile::Place, verdict::mix};
use crate::{NodeId, UnixMs};

/// Nodes of the own PoP that this one connects to: all of a PoP of usual size.
const NEAR_MAX: usize = 64;

impl Members {
    /// The nodes that should be connected to and are not, most wanted first: all of the own PoP (64 of a greater
    /// one), and of others so many that `target` of them are connected, spread over PoPs, the own region first.
    ///
    /// Dead nodes are not among them; those of the own PoP come as [`Output::Greet`](super::Output::Greet).
    pub fn greet_candidates(
        &self,
        connected: &BTreeSet<NodeId>,
        target: usize,
        now: UnixMs,
    ) -> Vec<(NodeId, SocketAddr)> {
        let mut near: Vec<(&NodeId, &Profile)> = self
            .near
            .iter()
            .filter(|(_, record)| !record.is_out())
            .map(|(node, record)| (node, record.profile()))
            .collect();
        near.sort_unstable_by_key(|(node, _)| mix(self.me(), **node));
        let wanted = near.into_iter().take(NEAR_MAX).filter(|(node, _)| !connected.contains(*node));
        let mut candidates: Vec<(NodeId, SocketAddr)> =
            wanted.map(|(node, profile)| (*node, profile.addresses.mesh)).collect();
        candidates.extend(self.far_candidates(connected, target, now));
        candidates
    }

    /// In rounds: each takes one more node of every PoP, until there are enough.
    fn far_candidates(
        &self,
        connected: &BTreeSet<NodeId>,
        target: usize,
        now: UnixMs,
    ) -> Vec<(NodeId, SocketAddr)> {
        let mut wanted: Vec<(Rank, NodeId, SocketAddr)> = Vec::new();
        let mut connections = 0;
        for (place, nodes) in self.far_by_pop(now) {
            let is_elsewhere = place.region != self.place.region;
            let (here, mut missing): (Vec<_>, Vec<_>) =
                nodes.into_iter().partition(|(node, _)| connected.contains(node));
            connections += here.len();
            missing.sort_unstable_by_key(|(node, _)| mix(self.me(), *node));
            for (round, (node, address)) in (here.len()..).zip(missing) {
                wanted.push((Rank { round, is_elsewhere, spread: mix(self.me(), node) }, node, address));
            }
        }
        wanted.sort_unstable_by_key(|(rank, ..)| *rank);
        let missing = target.saturating_sub(connections);
        wanted.into_iter().take(missing).map(|(_, node, address)| (node, address)).collect()
    }

    /// The nodes of other PoPs that live, as far as is known.
    fn far_by_pop(&self, now: UnixMs) -> BTreeMap<Place, BTreeMap<NodeId, SocketAddr>> {
        let mut pops: BTreeMap<Place, BTreeMap<NodeId, SocketAddr>> = BTreeMap::new();
        let mut add = |node: NodeId, profile: &Profile| {
            pops.entry(profile.place()).or_default().insert(node, profile.addresses.mesh);
        };
        self.far.each(&self.settings, now, |node, listed| {
            let is_met = self.met.contains_key(&node) || self.near.contains_key(&node) || node == self.me();
            if !is_met && listed.status.is_in_ring() {
                add(node, listed.profile);
            }
        });
        for (node, record) in self.met.iter().filter(|(_, record)| record.status <= Status::Suspect) {
            add(*node, record.profile());
        }
        pops
    }
}

/// The order in which nodes of other PoPs are wanted: the least comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// How many of its PoP come before it.
    round: usize,
    is_elsewhere: bool,
    /// Different nodes choose different ones.
    spread: u64,
}
