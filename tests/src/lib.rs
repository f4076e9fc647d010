//! A small language for tests that run whole nodes.
//!
//! | part | what it is for |
//! | --- | --- |
//! | [`Node`] | one running `starling node`: started, asked, killed, restarted on the same data |
//! | [`Mesh`], [`Cluster`] | several nodes that form one mesh, open or closed |
//! | [`netns`] | a network whose paths can be cut one way |
//! | [`Load`], [`Site`] | clients that go on asking and check every body |
//! | [`TestOrigin`], [`Reply`], [`Gate`] | an origin that answers by script and remembers what it was asked |
//! | [`RawConn`], [`Request`], [`Response`] | a client that shows every byte and never repairs anything |
//! | [`H2Client`] | the same over HTTP/2 |
//! | [`TestCa`] | certificates and a client that trusts them |
//! | [`content`], [`Check`] | bodies that tell where they were cut or mixed up |
//!
//! A test waits for events (a [`Gate`], a request seen by the origin, an answer, a state that [`until`] asks for),
//! never for time to pass.
//! All traffic stays on this machine. What cannot be set up panics with its reason; what a test is about is returned.

mod client;
mod content;
pub mod frames;
mod load;
mod mesh;
mod metrics;
pub mod netns;
mod node;
mod origin;

pub use client::{
    CertFiles, Closed, CutShort, End, H2Client, Head, RawConn, Request, Response, TestCa, get, send, try_send,
};
pub use content::{Check, content};
pub use load::{Choice, Load, Site, Tally};
pub use mesh::{Admission, Cluster, Mesh, MeshBuilder, Peer, Peers, Ring, RingNode, Standing};
pub use metrics::Metrics;
pub use node::{Node, NodeBuilder, Output, binary, starling, workspace};
pub use origin::{Gate, Received, Reply, TestOrigin};

use std::time::{Duration, Instant};

/// How long anything may take before a test gives up on it. It is no measure of speed: it only turns a
/// hang into a failure.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Whether the long variants run (`tests/run --long`): full sizes where the default is a part of them.
pub fn long_mode() -> bool {
    std::env::var_os("STARLING_LONG").is_some_and(|value| value == "1")
}

/// Asks again and again, until the answer is `Ok`; panics with what was last wrong when that takes too long.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    /// Leaves the processor to those who are waited for.
    const BETWEEN: Duration = Duration::from_millis(20);
    let begun = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(wrong) if begun.elapsed() > PATIENCE => panic!("not yet: {what}; at last: {wrong}"),
            Err(_) => tokio::time::sleep(BETWEEN).await,
        }
    }
}
