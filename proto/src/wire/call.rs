//! Small questions and their answers.

use serde::{Deserialize, Serialize};

use super::{Refusal, WireError, bounded, codec::message};
use crate::{
    NodeId,
    purge::{Batch, Versions},
};

/// Logs that one message may tell of.
const BATCHES_MAX: usize = 20_000;
/// Entries of one log in one message, and selectors of one entry.
const ENTRIES_MAX: usize = 4_096;

/// A small question to a peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Call {
    /// Are you there?
    Ping,
    /// Is this node there, as far as you can see? The one asked pings it.
    PingFor(NodeId),
    /// Apply these entries of the log of the one who asks.
    Apply(Vec<Batch>),
    /// What do you know that is not applied here, at these versions?
    Missing(Versions),
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
    /// How far logs are applied now.
    Applied(Versions),
    /// A bounded part of what was asked for, empty at the end.
    Batches(Vec<Batch>),
}

message!(Call, 4 << 20, |call| match call {
    Call::Apply(batches) => check(batches),
    _ => Ok(()),
});
message!(Reply, 4 << 20, |reply| match reply {
    Reply::Batches(batches) => check(batches),
    _ => Ok(()),
});

fn check(batches: &[Batch]) -> Result<(), WireError> {
    bounded::check("batches", batches.len(), BATCHES_MAX)?;
    batches.iter().try_for_each(|batch| {
        bounded::check("entries", batch.entries.len(), ENTRIES_MAX)?;
        batch
            .entries
            .iter()
            .try_for_each(|entry| bounded::check("selectors", entry.selectors.len(), ENTRIES_MAX))
    })
}
