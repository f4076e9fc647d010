//! One node before one origin, end to end: what is kept, what is asked again, what a purge takes away.

mod conditional;
mod encoding;
mod purge;
mod reuse;
mod services;
mod stale;
mod streaming;

use starling_tests::{Node, Received, Reply, Request, Response, TestOrigin};

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
