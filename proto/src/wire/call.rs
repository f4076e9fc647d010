//! Small questions and their answers.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Refusal, WireError, bounded, codec::message};
use crate::{
    NodeId, UnixMs,
    purge::{Batch, Change, EntryId, Region, Shields, Version, Versions},
};

/// Logs that one message may tell of.
const BATCHES_MAX: usize = 20_000;
/// Entries of one log in one message, and selectors of one entry.
const ENTRIES_MAX: usize = 4_096;
/// Shields of one region.
const SHIELDS_MAX: usize = 4_096;
/// Nodes that one message may name.
const NODES_MAX: usize = 20_000;
/// Services that one message may tell of.
const SERVICES_MAX: usize = 20_000;

/// A small question to a peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Call {
    /// Are you there?
    Ping,
    /// Is this node there, as far as you can see? The one asked pings it.
    PingFor(NodeId),
    /// Apply these entries, and push them on to these nodes of your PoP.
    Push {
        /// Of one log.
        batch: Batch,
        /// Who of the one asked's PoP is to be told by it.
        relay: Vec<NodeId>,
    },
    /// What do you know that is not applied here, at these versions?
    Missing(Versions),
    /// A message of the region's group to a member of it: Raft, in the encoding of `region`.
    Group(Bytes),
    /// Have this committed in your region's log.
    Propose(Proposal),
    /// How far has your region's log been committed, by now?
    Head,
    /// How long may I trust that I know every region's head, after your own leases?
    Leases,
    /// Who has applied this entry? Answered when all have, or after so long.
    Receipt {
        /// The entry.
        id: EntryId,
        /// In milliseconds.
        wait_ms: u32,
    },
}

/// Its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// Here.
    Pong,
    /// Whether the node answered to the one who was asked.
    PongOf(NodeId, bool),
    /// No.
    Refused(Refusal),
    /// How far nodes have applied the log that was pushed: the one asked, and those it told.
    Reached(Vec<Reach>),
    /// A bounded part of what was asked for, empty at the end.
    Batches(Vec<Batch>),
    /// The group's answer, in the encoding of `region`.
    Group(Bytes),
    /// It is committed, or why not.
    Proposed(Result<Committed, NotCommitted>),
    /// What was committed when the question was answered; none when no quorum said so.
    Head(Option<Lease>),
    /// The leases of the one asked.
    Leases(Vec<Lease>),
    /// Who has applied the entry, and who has not.
    Receipt(Option<Receipt>),
}

/// How far a node has applied a log, as it said itself; none when it knows nothing of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// The node.
    pub node: NodeId,
    /// How far.
    pub at: Option<Version>,
}

/// A change that is to be committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// By which it is recognised when it is proposed again: then it is committed once. Never 0.
    pub key: u128,
    /// When it was proposed, by the proposer's clock.
    pub at_ms: UnixMs,
    /// The change.
    pub change: Change,
    /// The proposer waits no longer than this, in milliseconds.
    pub deadline_ms: u32,
}

/// A change that was committed: it survives any restart, and the loss of any minority of the region's voters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// Where it stands.
    pub id: EntryId,
    /// The time its entry carries.
    pub at_ms: UnixMs,
    /// In the region that committed it no lease lasts longer than this, in milliseconds.
    pub fence_ms: u64,
}

/// Why a change is not known to be committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum NotCommitted {
    /// Nothing was written: the region has no leader that a quorum follows.
    #[error("the region {region} has no quorum: {why}")]
    NoQuorum {
        /// The region.
        region: Region,
        /// What is missing.
        why: String,
    },
    /// Nothing was written, or what was written is not acknowledged: the disk failed.
    #[error("{node} could not write it down: {why}")]
    NotDurable {
        /// The name of the node at fault.
        node: String,
        /// What failed.
        why: String,
    },
    /// It may be committed, or may be later, or never.
    #[error("it is not known whether it was committed: {0}")]
    Unknown(String),
    /// It can never be committed as it is.
    #[error("it cannot be committed: {0}")]
    Refused(String),
}

/// What is known of a region's head, and for how long it may be trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The region.
    pub region: Region,
    /// What was committed when the question behind the lease was answered.
    pub head: Version,
    /// From the moment *this* question was sent, by the asker's monotonic clock, in milliseconds.
    pub remaining_ms: u64,
}

/// Who has applied an entry, and who has not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Nodes that said that they have it, and how long after the commit that was known, in milliseconds.
    pub applied: Vec<(NodeId, u64)>,
    /// Nodes that are not dead and have not said so.
    pub missing: Vec<NodeId>,
}

message!(Call, 4 << 20, |call| match call {
    Call::Push { batch, relay } => {
        bounded::check("nodes", relay.len(), NODES_MAX)?;
        check(std::slice::from_ref(batch))
    }
    Call::Missing(versions) => bounded::check_versions(versions),
    Call::Propose(proposal) => check_change(&proposal.change),
    _ => Ok(()),
});
message!(Reply, 4 << 20, |reply| match reply {
    Reply::Batches(batches) => check(batches),
    Reply::Reached(nodes) => bounded::check("nodes", nodes.len(), NODES_MAX),
    Reply::Leases(leases) => bounded::check("leases", leases.len(), BATCHES_MAX),
    Reply::Receipt(Some(receipt)) =>
        bounded::check("nodes", receipt.applied.len() + receipt.missing.len(), NODES_MAX),
    _ => Ok(()),
});

fn check(batches: &[Batch]) -> Result<(), WireError> {
    bounded::check("batches", batches.len(), BATCHES_MAX)?;
    batches.iter().try_for_each(|batch| {
        bounded::check("entries", batch.entries.len(), ENTRIES_MAX)?;
        if let Some(base) = &batch.base {
            bounded::check("services", base.services.len(), SERVICES_MAX)?;
            base.shields.as_ref().map_or(Ok(()), |(_, shields)| check_shields(shields))?;
        }
        batch.entries.iter().try_for_each(|entry| check_change(&entry.change))
    })
}

fn check_change(change: &Change) -> Result<(), WireError> {
    match change {
        Change::Purge(purge) => bounded::check("selectors", purge.selectors.len(), ENTRIES_MAX),
        Change::Shields(shields) => check_shields(shields),
        Change::Nothing | Change::Service(_) => Ok(()),
    }
}

fn check_shields(shields: &Shields) -> Result<(), WireError> {
    bounded::check("shields", shields.0.len(), SHIELDS_MAX)
}
