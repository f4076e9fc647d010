//! What the group is made of, in the words of openraft.

use std::io::Cursor;

use openraft::StoredMembership;
use serde::{Deserialize, Serialize};
use starling_proto::{
    NodeId, UnixMs,
    purge::{Change, Region, Shield, Shields, Version},
};

/// A change on its way into the log, with what its entry will carry beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Proposed {
    pub change: Change,
    pub key: u128,
    pub at_ms: UnixMs,
}

/// A member's place in the group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seat {
    pub name: String,
    pub pop: String,
    pub weight: u16,
    /// Which group this is: the epoch with which it was formed. It never changes while the group lives, and a group
    /// with a greater one takes the place of this.
    pub birth: u64,
    /// The life of the log, the same in all seats of a membership. It is the group's birth until entries that
    /// others know are found to be lost.
    pub epoch: u64,
}

openraft::declare_raft_types!(
    pub(super) Types:
        D = Proposed,
        R = Version,
        NodeId = NodeId,
        Node = Seat,
        Entry = openraft::Entry<Types>,
        SnapshotData = Cursor<Vec<u8>>,
);

pub(super) type Raft = openraft::Raft<Types>;
pub(super) type Entry = openraft::Entry<Types>;
pub(super) type LogId = openraft::LogId<NodeId>;
pub(super) type Vote = openraft::Vote<NodeId>;
pub(super) type Members = StoredMembership<NodeId, Seat>;
pub(super) type Membership = openraft::Membership<NodeId, Seat>;
pub(super) type SnapshotMeta = openraft::SnapshotMeta<NodeId, Seat>;
pub(super) type Metrics = openraft::RaftMetrics<NodeId, Seat>;
pub(super) type StorageError = openraft::StorageError<NodeId>;

/// The group's birth and the life of its log; none before there is a membership.
pub(super) fn life(membership: &Membership) -> Option<(u64, u64)> {
    membership.nodes().next().map(|(_, seat)| (seat.birth, seat.epoch))
}

/// Up to where a node's Raft log goes; none before there is a membership.
pub(super) fn end(metrics: &Metrics) -> Option<Version> {
    let (_, epoch) = life(metrics.membership_config.membership())?;
    Some(Version { epoch, index: metrics.last_log_index.map_or(0, |last| last + 1) })
}

/// The shields that a membership names: its voters, of a joint one those it changes to.
pub(super) fn shields(membership: &Membership) -> Shields {
    let voters = membership.get_joint_config().last();
    let shield = |node: &NodeId| {
        let weight = membership.get_node(node).map_or(0, |seat| seat.weight);
        Shield { node: *node, weight }
    };
    Shields(voters.into_iter().flatten().map(shield).collect())
}

/// Where an entry with this index stands: Raft counts from 0, a region's log from 1.
pub(super) fn version(epoch: u64, index: u64) -> Version {
    Version { epoch, index: index + 1 }
}

/// An entry of the region's log.
pub(super) fn entry(region: &Region, epoch: u64, entry: Entry) -> starling_proto::purge::Entry {
    let version = version(epoch, entry.log_id.index);
    let (change, key, at_ms) = match entry.payload {
        openraft::EntryPayload::Blank => (Change::Nothing, 0, 0),
        openraft::EntryPayload::Normal(Proposed { change, key, at_ms }) => (change, key, at_ms),
        openraft::EntryPayload::Membership(membership) => (Change::Shields(shields(&membership)), 0, 0),
    };
    starling_proto::purge::Entry { region: region.clone(), version, at_ms, key, change }
}
