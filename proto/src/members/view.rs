//! The mesh as one node sees it.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{Health, Load, Profile};
use crate::{Key, NodeId, UnixMs, purge::Versions, ring::Ring};

/// How a node stands with this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Status {
    /// It was heard of lately.
    Alive,
    /// It is silent, or cannot be reached from here: passed over, but still in the ring.
    Suspect,
    /// The verdict: out of the ring.
    Dead,
    /// It said good-bye.
    Left,
}

/// A node as this one knows it.
#[derive(Clone, Debug)]
pub struct Member {
    /// Who it is.
    pub profile: Profile,
    /// How it stands.
    pub status: Status,
    /// Whether requests go elsewhere now: it is not alive, draining, or the path from here to it is bad.
    pub passed_over: bool,
    /// When it, or word of it, was heard last.
    pub heard_ms: UnixMs,
    /// Its load; of nodes outside the PoP unknown.
    pub load: Load,
    /// Its health; of nodes outside the PoP unknown.
    pub health: Health,
    /// How far it has applied each log, as far as it is known.
    pub versions: Versions,
    /// The last measured time there and back over the link, in microseconds.
    pub rtt_us: Option<u32>,
}

/// The mesh as this node sees it now; published whenever it changes.
#[derive(Clone, Debug)]
pub struct View {
    /// This node.
    pub me: NodeId,
    /// Every node known, this one included, by id. The dead are among them until they are forgotten.
    pub members: BTreeMap<NodeId, Member>,
    /// The ring of this PoP.
    pub ring: Arc<Ring>,
    /// The ring before the last change, for as long as who owns now may still fill from who owned then.
    pub previous: Option<Arc<Ring>>,
    /// Keys that some node of the PoP counts among its hottest.
    pub hot: Arc<HashSet<Key>>,
}

impl Status {
    /// Whether a node of the own PoP with this status is in the ring.
    pub fn is_in_ring(self) -> bool {
        matches!(self, Self::Alive | Self::Suspect)
    }
}

impl Member {
    /// A node of which only this is known.
    pub fn new(profile: Profile, status: Status) -> Self {
        Self {
            profile,
            status,
            passed_over: status != Status::Alive,
            heard_ms: 0,
            load: Load::default(),
            health: Health::default(),
            versions: Versions::default(),
            rtt_us: None,
        }
    }
}

impl View {
    /// How an operator calls a node; its id when it is not known any more.
    pub fn name_of(&self, node: &NodeId) -> String {
        self.members.get(node).map_or_else(|| node.to_string(), |member| member.profile.name().to_owned())
    }

    /// Whether this node is in the ring of this PoP.
    pub fn is_in_ring(&self, node: &NodeId) -> bool {
        let Some(me) = self.members.get(&self.me) else { return false };
        self.members
            .get(node)
            .is_some_and(|member| member.status.is_in_ring() && member.profile.stands_in(&me.profile.place()))
    }
}
