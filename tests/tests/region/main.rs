//! The groups of regions as processes: purges that can be proven, and survive whatever happens to their nodes.
//!
//! What needs cut paths needs root, and says so where it is skipped.

mod apart;
mod durable;
mod everything;
mod forming;
mod leader;
mod old_content;
mod old_disk;
mod receipts;
mod services;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use serde_json::{Value, json};
use starling_tests::{Mesh, Node, Received, Reply, Request, TestOrigin, starling};
use tokio::sync::{Semaphore, SemaphorePermit};

/// One mesh at a time: each is as many processes as a small machine carries.
static MACHINE: Semaphore = Semaphore::const_new(1);

async fn alone() -> SemaphorePermit<'static> {
    MACHINE.acquire().await.expect("the semaphore is never closed")
}

/// The host that requests name, so that all nodes mean the same object.
const HOST: &str = "www.example.org";

/// An origin whose content is its edition: every object is of the edition in which it was asked for.
///
/// All of it may be kept for an hour, and carries the tag `news`.
struct Press {
    origin: TestOrigin,
    edition: Arc<AtomicU64>,
}

impl Press {
    async fn start() -> Self {
        Self::start_at(std::net::SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    async fn start_at(address: std::net::SocketAddr) -> Self {
        let edition = Arc::new(AtomicU64::new(1));
        let printed = Arc::clone(&edition);
        let origin = TestOrigin::start_at(address, move |request| print(request, printed.load(SeqCst))).await;
        Self { origin, edition }
    }

    /// From now on the content is another; answers the new edition.
    fn next(&self) -> u64 {
        self.edition.fetch_add(1, SeqCst) + 1
    }
}

/// What an object looks like in an edition.
fn print(request: &Received, edition: u64) -> Reply {
    let etag = format!("\"{edition}\"");
    let is_same = request.header("if-none-match") == Some(etag.as_str());
    let reply = if is_same { Reply::new(304) } else { Reply::new(200).body(format!("edition {edition}")) };
    reply.header("etag", &etag).header("cache-control", "max-age=3600").header("surrogate-key", "news")
}

/// The edition in which a node answers; panics when it does not answer with any.
async fn edition_at(node: &Node, target: &str) -> u64 {
    let response = node.send(Request::get(target).host(HOST)).await.expect_status(200);
    let text = response.text();
    let edition = text.strip_prefix("edition ").and_then(|edition| edition.parse().ok());
    edition.unwrap_or_else(|| panic!("{} answers {text:?}", node.name()))
}

/// All running nodes answer in this edition.
async fn all_answer(mesh: &Mesh, target: &str, edition: u64) {
    for node in mesh.running() {
        assert_eq!(edition_at(node, target).await, edition, "{target} at {}", node.name());
    }
}

/// `starling purge ... --json` at this node; answers its exit code and the receipt.
async fn purge_at(node: &Node, arguments: &[&str]) -> (Option<i32>, Value) {
    let admin = node.admin_url();
    let mut all = vec!["purge"];
    all.extend(arguments);
    all.extend(["--admin", &admin, "--json"]);
    if let Some(token) = node.token() {
        all.extend(["--token", token]);
    }
    let output = starling(&all).await;
    let receipt = serde_json::from_str(&output.stdout).unwrap_or(Value::Null);
    assert!(receipt.is_object() || output.code != Some(0), "{all:?}: {}{}", output.stdout, output.stderr);
    (output.code, receipt)
}

/// Purges all that carries the tag `news`, through the API of this node; answers the receipt.
async fn purge_news(node: &Node, wait: &str) -> Value {
    node.purge(json!({ "tags": ["news"], "wait": wait, "timeout_ms": 30_000 })).await
}

/// The nodes that a receipt says have applied, sorted.
fn applied(receipt: &Value) -> Vec<String> {
    let lines = receipt["applied"].as_array().cloned().unwrap_or_default();
    let mut names: Vec<String> =
        lines.iter().filter_map(|line| Some(line["node"].as_str()?.to_owned())).collect();
    names.sort();
    names
}

/// Waits until the region of three is one mesh again, with a leader, and all nodes have applied the same and trust it.
async fn stands_again(mesh: &Mesh) {
    mesh.settled().await;
    mesh.led("eu", 3).await;
    mesh.level().await;
}

/// All running nodes know the purge of this receipt.
async fn all_know(mesh: &Mesh, receipt: &Value) {
    let id = receipt["id"].as_str().expect("an id");
    for node in mesh.running() {
        node.admin_get(&format!("/v1/purge/{id}")).await.expect_status(200);
    }
}

/// A mesh of one region with three nodes in one PoP, with a leader.
async fn region_of_three(press: &Press) -> Mesh {
    let mesh = Mesh::builder()
        .args(&["--region-expect", "3"])
        .pop("eu", "lon", 3)
        .origin(press.origin.url())
        .start()
        .await;
    mesh.led("eu", 3).await;
    mesh.level().await;
    mesh
}
