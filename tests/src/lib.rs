//! A small language for tests that run whole nodes.
//!
//! | part | what it is for |
//! | --- | --- |
//! | [`Node`] | one running `starling node`: started, asked, killed, restarted on the same data |
//! | [`TestOrigin`], [`Reply`], [`Gate`] | an origin that answers by script and remembers what it was asked |
//! | [`RawConn`], [`Request`], [`Response`] | a client that shows every byte and never repairs anything |
//! | [`H2Client`] | the same over HTTP/2 |
//! | [`TestCa`] | certificates and a client that trusts them |
//! | [`content`], [`Check`] | bodies that tell where they were cut or mixed up |
//!
//! A test waits for events (a [`Gate`], a request seen by the origin, an answer), never for time to pass.
//! All traffic stays on loopback. What cannot be set up panics with its reason; what a test is about is returned.

mod client;
mod content;
pub mod frames;
mod metrics;
mod node;
mod origin;

pub use client::{
    CertFiles, Closed, CutShort, End, H2Client, Head, RawConn, Request, Response, TestCa, get, send, try_send,
};
pub use content::{Check, content};
pub use metrics::Metrics;
pub use node::{Node, NodeBuilder, Output, binary, starling, workspace};
pub use origin::{Gate, Received, Reply, TestOrigin};

use std::time::Duration;

/// How long anything may take before a test gives up on it. It is no measure of speed: it only turns a
/// hang into a failure.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Whether the long variants run (`tests/run --long`): full sizes where the default is a part of them.
pub fn long_mode() -> bool {
    std::env::var_os("STARLING_LONG").is_some_and(|value| value == "1")
}
