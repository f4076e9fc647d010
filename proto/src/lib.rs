//! Everything the mesh decides, and nothing it does.
//!
//! No tokio, sockets, files, clocks or ambient randomness live in this crate: a decision takes its inputs
//! and `now` as arguments and gives back what is to be done. `clippy.toml` bans the clocks, and the test
//! `tests/tests/doors.rs` holds the list of crates this one may use.
//!
//! | module | what it decides |
//! | --- | --- |
//! | [`cache`] | RFC 9111 and its kin: may it be stored, may it be reused, what must be asked |
//! | [`purge`] | entries, versions, stamps, the purge table, and whom to tell |
//! | [`fence`] | for how long a node may trust its cache |
//! | [`group`] | who is in a region's group, who votes in it |
//! | [`heat`] | what is asked for most, in fixed memory |
//! | [`members`] | who is in the mesh, who is alive, how loaded they are |
//! | [`ring`] | which node owns an object, and whom to ask next |
//! | [`sim`] | a mesh in one thread of one process: thousands of nodes, faults, a seed |
//! | [`ticket`] | who may join a mesh |
//! | [`wire`] | what nodes say to each other, and how it is written |

pub mod cache;
pub mod fence;
pub mod group;
pub mod heat;
mod key;
pub mod members;
mod node;
pub mod purge;
pub mod ring;
pub mod sim;
pub mod ticket;
pub mod wire;

pub use key::Key;
pub use node::{NodeId, NodeIdError};

/// Milliseconds since the Unix epoch, as read by the caller's clock.
pub type UnixMs = u64;
