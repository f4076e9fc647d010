//! Which node of a PoP owns an object, who shields it, and whom to ask next.
//!
//! | file | what is in it |
//! | --- | --- |
//! | [`circle`](Ring) | the ring: points on a circle of 64-bit hashes, and whose they are |
//! | [`hash`](shard_key) | where nodes and keys come to stand on it; the same on every platform, for ever |
//! | [`shields`](ShieldRings) | the rings of those who speak to the origins |
//! | [`plan`](plan()) | the way of a request upward: owner, previous owner, shield, origin |
//!
//! Edges: who is *in* the ring of a PoP is decided by [`crate::members`], which publishes it in its [`View`]; who
//! shields a region is written in the region's log; asking is done by the edge of the node. Nothing here keeps state: a plan is a function of a view, a key and a hop.
//!
//! [`View`]: crate::members::View

mod circle;
mod hash;
mod plan;
mod shields;

pub use circle::{Ring, Walk, vnodes};
pub use hash::shard_key;
pub use plan::{BUSY_REQUESTS, Hop, OWNERS_ASKED, Plan, REPLICAS, SHIELDS_ASKED, Way, plan};
pub use shields::{ShieldRing, ShieldRings};
