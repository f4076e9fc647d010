//! Starling: a CDN in one binary. What the mesh decides is in `starling_proto`; here it is done.
//!
//! Each room has one job and knows few others; `ARCHITECTURE.md` has the table, and a test holds it against
//! the imports. [`app`] is the one file that knows every room.

pub mod access_log;
pub mod admin;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod edge;
pub mod front;
pub mod gossip;
pub mod identity;
pub mod link;
pub mod listen;
pub mod metrics;
pub mod origin;
pub mod region;
pub mod store;
pub mod tokens;
pub mod trust;
