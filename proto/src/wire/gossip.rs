//! What is spread to many.

use serde::{Deserialize, Serialize};

use super::{bounded, codec::message};
use crate::members::{NodeState, PopSummary};

/// What is gossiped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Gossip {
    /// Inside a PoP.
    State(Box<NodeState>),
    /// To the world.
    Summary(Box<PopSummary>),
}

message!(Gossip, 256 << 10, |gossip| match gossip {
    Gossip::State(state) => bounded::check_state(state),
    // As many as fit: a PoP has tens of nodes.
    Gossip::Summary(_) => Ok(()),
});
