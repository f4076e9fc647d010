//! The greeting.

use serde::{Deserialize, Serialize};

use super::{bounded, codec::message};
use crate::members::{NodeState, RosterEntry};

/// Nodes that a greeting may tell of.
pub const ROSTER_MAX: usize = 4096;

/// The first thing on every connection, in both directions: who I am, what I know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// The sender, with its ticket in its profile.
    pub state: NodeState,
    /// Nodes it knows, at most [`ROSTER_MAX`]; its own PoP and region first. Empty on connections after the
    /// first.
    #[serde(deserialize_with = "bounded::list::<_, _, ROSTER_MAX>")]
    pub roster: Vec<RosterEntry>,
}

message!(Hello, 1 << 20, |hello| {
    bounded::check("nodes", hello.roster.len(), ROSTER_MAX)?;
    bounded::check_state(&hello.state)
});
