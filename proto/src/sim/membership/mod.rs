//! Membership in the simulated mesh: the real [`Members`](crate::members::Members), thousands of times.
//!
//! [`Peer`] is the driver that a node has around its `Members`: it sends heartbeats and summaries, greets,
//! carries out probes, and stands in for the requests of clients with small questions to the nodes of its PoP.
//! [`Town`] is a world of them, and knows what nobody in it knows: who really lives.

mod book;
mod peer;
mod said;
mod town;

pub use book::Book;
pub use peer::{Peer, PeerSettings, Turn};
pub use said::{Greeting, Said};
pub use town::{Errors, SECOND, Town, TownSettings, spread_ms};
