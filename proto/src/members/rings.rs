//! The ring of the PoP, and the one before its last change.
//!
//! Who owns a key since the last change may fill from who owned it before. What a ring change moves, it moves to
//! the nodes that came, and those saw nothing of the ring before: so nodes that came lately (this one too, after
//! its start) are left out of the previous ring, and nodes that were in their places when this one came are in it
//! from the beginning.

use std::sync::{Arc, OnceLock};

use crate::{NodeId, UnixMs, ring::Ring};

/// A node's part in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) node: NodeId,
    pub(super) weight: u16,
    /// It was here before this node, or is here for longer than the previous ring is asked.
    pub(super) is_settled: bool,
    /// This node is only getting to know the ring, and this one was in it before.
    pub(super) was_unknown: bool,
}

/// Both rings.
#[derive(Clone, Debug, Default)]
pub(super) struct Rings {
    now: Lazy,
    previous: Option<Lazy>,
    changed_ms: UnixMs,
}

/// A ring that is built when it is first looked at.
#[derive(Clone, Debug, Default)]
struct Lazy {
    nodes: Vec<(NodeId, u16)>,
    ring: OnceLock<Arc<Ring>>,
}

impl Rings {
    /// Sets who is in the ring, by id; whether that changes it.
    pub(super) fn set(&mut self, places: &[Place], now: UnixMs) -> bool {
        let nodes: Vec<(NodeId, u16)> = places.iter().map(|place| (place.node, place.weight)).collect();
        if nodes == self.now.nodes {
            return false;
        }
        let came_lately = |node: &NodeId| places.iter().any(|place| place.node == *node && !place.is_settled);
        let mut before: Vec<(NodeId, u16)> =
            self.now.nodes.iter().copied().filter(|(node, _)| !came_lately(node)).collect();
        for place in places.iter().filter(|place| place.was_unknown) {
            if !before.iter().any(|(node, _)| *node == place.node) {
                before.push((place.node, place.weight));
            }
        }
        before.sort_unstable();
        self.previous = (!before.is_empty() && before != nodes).then(|| Lazy::new(before));
        self.now = Lazy::new(nodes);
        self.changed_ms = now;
        true
    }

    /// Lets the previous ring go when its time is over; whether it did.
    pub(super) fn tick(&mut self, previous_ring_ms: u64, now: UnixMs) -> bool {
        let is_over = now.saturating_sub(self.changed_ms) > previous_ring_ms;
        is_over && self.previous.take().is_some()
    }

    pub(super) fn ring(&self) -> Arc<Ring> {
        self.now.ring()
    }

    pub(super) fn previous(&self) -> Option<Arc<Ring>> {
        self.previous.as_ref().map(Lazy::ring)
    }

    pub(super) fn nodes(&self) -> &[(NodeId, u16)] {
        &self.now.nodes
    }

    pub(super) fn previous_nodes(&self) -> Option<&[(NodeId, u16)]> {
        self.previous.as_ref().map(|lazy| lazy.nodes.as_slice())
    }
}

impl Lazy {
    fn new(nodes: Vec<(NodeId, u16)>) -> Self {
        Self { nodes, ring: OnceLock::new() }
    }

    fn ring(&self) -> Arc<Ring> {
        self.ring.get_or_init(|| Arc::new(Ring::new(&self.nodes))).clone()
    }
}
