//! Purges in the simulated mesh: the real [`Replica`](crate::purge::Replica) and
//! [`PurgeTable`](crate::purge::PurgeTable) at every node, with clients that read, an origin that changes, and every
//! fault that a mesh suffers.
//!
//! | file | what lives there |
//! | --- | --- |
//! | `truth` | what nobody in the mesh knows: the committed logs, the origin, and the promises |
//! | `disk` | what a node keeps over a restart, and how batches change it |
//! | `peer` | a node: its replica, and what it does for it |
//! | `fills` | a node: its cache, its fills, and what it answers |
//! | `town` | a mesh of them, the writers of the logs, and the faults of a seed |
//!
//! A [`Flaw`] is a bug that can be planted: the tests see that each is caught.

mod disk;
mod fills;
mod peer;
mod tests;
mod town;
mod truth;

use crate::{
    purge::{Batch, Stamp, Version, Versions},
    sim::{Micros, Node},
};

/// An object, by number.
type Object = u32;

/// A bug in every node of a town.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    StampTakenAfterAsking,
    FollowersAreNotChecked,
    GapsAreAppliedOver,
    FloorIsNotSet,
    RestartForgetsPurges,
    PeersAnswerWithoutCatchingUp,
    EpochsAreNotCompared,
    BatchesAreAppliedTwice,
    StampedByWhoStores,
    ServesBeforeItCaughtUp,
    RebirthIsNotNoticed,
    BodiesOfPeersAreNotChecked,
    NobodyCompares,
}

/// The bytes of an object, on their way or stored.
#[derive(Clone, Debug)]
struct Body {
    content: u64,
    stamp: Stamp,
    /// When the origin gave it, in the order of all that happens. No node looks at it.
    given: u64,
}

/// What nodes say to each other; numbers are the asker's.
#[derive(Debug)]
enum Said {
    State { node: Node, incarnation: u64, versions: Versions },
    Push { number: u32, batch: Batch, relay: Vec<Node> },
    Reached { number: u32, nodes: Vec<(Node, Option<Version>)> },
    Missing { number: u32, versions: Versions },
    Batches { number: u32, batches: Vec<Batch> },
    Fetch { number: u32, object: Object, hop: u8, versions: Versions },
    Fetched { number: u32, body: Body },
}

const MS: Micros = 1_000;
