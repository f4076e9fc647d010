//! What the state machine is told, and what it wants done.

use core::net::SocketAddr;
use std::sync::Arc;

use super::{NodeState, PopSummary, RosterEntry, Status};
use crate::NodeId;

/// Something that happened. Tickets in it have been checked, and authors are who they claim to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A node's own word of itself came by gossip.
    Heard(Box<NodeState>),
    /// A node's own word of itself came over a connection to it, so it lives now, even if the word is not new.
    Greeted(Box<NodeState>),
    /// One of a PoP's speakers told of it.
    Summary {
        /// The author.
        from: NodeId,
        /// What it said.
        summary: Arc<PopSummary>,
    },
    /// A node told of others it knows. Believed until better is known: of nodes and PoPs not known yet.
    Roster(Vec<RosterEntry>),
    /// A node took a question on.
    LinkOk {
        /// The node.
        node: NodeId,
        /// The time there and back, in microseconds.
        took_us: u32,
    },
    /// A node could not be reached, or gave no answer in time.
    LinkFailed {
        /// The node.
        node: NodeId,
        /// It refused the connection, which needs no second failure to be believed.
        refused: bool,
    },
    /// How an [`Output::Probe`] ended.
    Probed {
        /// The node in question.
        target: NodeId,
        /// Through whom it was asked; none when directly.
        via: Option<NodeId>,
        /// The time there and back in microseconds; none when it did not answer.
        took_us: Option<u32>,
    },
    /// A node that was expelled may be heard again.
    Admitted(NodeId),
    /// A node must not be in the mesh: it is dead, and not heard until it is admitted again.
    Expelled(NodeId),
    /// Time went by. At least once in every heartbeat.
    Tick,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Ask this node whether it is there, and report by [`Input::Probed`].
    Probe {
        /// The node in question.
        target: NodeId,
        /// Through whom to ask; directly when none.
        via: Option<NodeId>,
    },
    /// The view is another; take it and publish it. At most one in the answer to one input.
    Changed,
    /// Greet this node: it was only told of, or might be back.
    Greet {
        /// Who should be there.
        node: NodeId,
        /// Where.
        address: SocketAddr,
    },
    /// A node stands differently with this one; for logs, metrics and the allow list.
    Turned {
        /// The node.
        node: NodeId,
        /// How it stood; none when it was not known.
        from: Option<Status>,
        /// How it stands.
        to: Status,
    },
    /// Nothing is known of this node any more.
    Forgotten(NodeId),
    /// Something an operator should read.
    Notice(Notice),
}

/// What is wrong with the mesh, though the mesh goes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Notice {
    /// Two nodes of a region have one name. Both are kept.
    #[error("{first} and {second} are both called {name}")]
    SharedName {
        /// The name.
        name: String,
        /// Who had it.
        first: NodeId,
        /// Who has it too.
        second: NodeId,
    },
    /// Another process has this node's key.
    #[error("another node runs with the key of this one, {node}, started as {incarnation}")]
    Twin {
        /// This node's id.
        node: NodeId,
        /// The other's incarnation.
        incarnation: u64,
    },
    /// No more nodes are taken in.
    #[error("{members_max} nodes are known, and no more are taken in")]
    Full {
        /// The bound.
        members_max: usize,
    },
}
