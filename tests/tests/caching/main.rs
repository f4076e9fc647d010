//! One node before one origin, end to end: what is kept, what is asked again, what a purge takes away.

mod conditional;
mod encoding;
mod purge;
mod repair;
mod reuse;
mod services;
mod sharing;
mod stale;
mod streaming;

use starling_tests::{Node, PATIENCE, Received, Reply, Request, Response, TestOrigin};
use tokio::{task::yield_now, time::timeout};

/// The host that all requests of these tests name, so that purges can name it too.
const HOST: &str = "www.example.org";

/// An origin with this script and a node before it.
async fn site(handler: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> (TestOrigin, Node) {
    let origin = TestOrigin::start(handler).await;
    let node = Node::before(&origin).await;
    (origin, node)
}

/// `GET target` of [`HOST`].
async fn get(node: &Node, target: &str) -> Response {
    get_with(node, target, &[]).await
}

/// `GET target` of [`HOST`] with more fields.
async fn get_with(node: &Node, target: &str, headers: &[(&str, &str)]) -> Response {
    node.send(request(target, headers)).await
}

fn request(target: &str, headers: &[(&str, &str)]) -> Request {
    headers.iter().fold(Request::get(target).host(HOST), |request, (name, value)| request.header(name, value))
}

/// Waits until just this many requests are under way in the node.
async fn under_way(node: &Node, requests: u32) {
    let counted = async || node.metrics().await.get("starling_requests_in_flight", &[]);
    let waited = async {
        while counted().await != Some(f64::from(requests)) {
            yield_now().await;
        }
    };
    if timeout(PATIENCE, waited).await.is_err() {
        panic!("{:?} requests are under way, not {requests}", counted().await);
    }
}
