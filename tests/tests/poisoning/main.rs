//! One client's request must not change what another client gets: poisoning, deception and denial by cache.
//!
//! Each test plays an attacker, then a victim who asks for the same thing innocently. The origins here are as
//! careless as real ones: they reflect, they honour odd fields, they answer errors.

mod control;
mod denial;
mod methods;
mod paths;
mod private;
mod ranges;
mod responses;
mod unkeyed;
mod variants;

use starling_tests::{Node, Received, Reply, TestOrigin};

/// A node before an origin that answers like this.
async fn stage(handler: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> (TestOrigin, Node) {
    let origin = TestOrigin::start(handler).await;
    let node = Node::before(&origin).await;
    (origin, node)
}

/// Everything the origin was told, as a page that may be cached.
fn reflect(request: &Received) -> Reply {
    let fields: String = request
        .headers
        .iter()
        .map(|(name, value)| format!("{}: {value}\n", name.to_ascii_lowercase()))
        .collect();
    let body = format!(
        "{} {}\n{fields}\n{}",
        request.method,
        request.target,
        String::from_utf8_lossy(&request.body)
    );
    Reply::cacheable(body)
}
