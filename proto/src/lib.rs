//! Everything the mesh decides, and nothing it does.
//!
//! No tokio, sockets, files, clocks or ambient randomness live in this crate: a decision takes its inputs
//! and `now` as arguments and gives back what is to be done. `clippy.toml` bans the clocks, and the test
//! `tests/tests/doors.rs` holds the list of crates this one may use.
//!
//! | module | what it decides |
//! | --- | --- |
//! | [`cache`] | RFC 9111 and its kin: may it be stored, may it be reused, what must be asked |
//! | [`purge`] | entries, versions, stamps and the purge table |

pub mod cache;
mod key;
pub mod purge;

pub use key::Key;

/// Milliseconds since the Unix epoch, as read by the caller's clock.
pub type UnixMs = u64;
