//! What simulated nodes say to each other about themselves: the real messages, and what they weigh.

use std::sync::Arc;

use crate::{
    NodeId,
    members::{NodeState, PopSummary},
    wire::{self, Call, Gossip, Hello, Reply},
};

/// A message of [`super::Peer`].
#[derive(Debug)]
pub enum Said {
    /// A heartbeat, in the PoP's topic.
    State(Box<NodeState>),
    /// A word to the world, by one of a PoP's speakers.
    Summary(NodeId, Arc<PopSummary>),
    /// A greeting.
    Hello(Box<Hello>, Greeting),
    /// A question; the answer comes with the same number.
    Call(u32, Call),
    /// The answer.
    Reply(u32, Reply),
}

/// What a greeting is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// A newcomer asks who is there.
    Joining,
    /// One who has heard of the other, and knows the mesh already.
    Meeting,
    /// The answer to either.
    Answer,
}

/// The encoded length of a message. What cannot be encoded cannot be sent, so it weighs nothing.
pub(super) fn bytes_of<M: wire::Message>(message: &M) -> u32 {
    wire::encode(message).map_or(0, |bytes| bytes.len() as u32)
}

/// The encoded length of a heartbeat.
pub(super) fn state_bytes(state: &NodeState) -> u32 {
    bytes_of(&Gossip::State(Box::new(state.clone())))
}

/// The encoded length of a summary.
pub(super) fn summary_bytes(summary: &PopSummary) -> u32 {
    bytes_of(&Gossip::Summary(Box::new(summary.clone())))
}
