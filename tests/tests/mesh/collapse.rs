//! One cold object asked of every node of a PoP at once: the origin sees one request.

use bytes::Bytes;
use futures_util::future::join_all;
use starling_tests::{Gate, Mesh, Reply, Site, TestOrigin, content, until};

use super::alone;

const NODES: usize = 4;
const CLIENTS: usize = 100;

/// Has [`CLIENTS`] clients ask each of [`NODES`] nodes for an object that comes only when all of them wait.
async fn all_ask_at_once(what: &str, body: Bytes, reply: impl Fn(Bytes) -> Reply + Send + Sync + 'static) {
    let _turn = alone().await;
    let gate = Gate::new();
    let (closed, sent) = (gate.clone(), body.clone());
    let origin = TestOrigin::start(move |_| reply(sent.clone()).head_waits_at(&closed)).await;
    let mesh = Mesh::builder().pop("eu", "lon", NODES).origin(origin.url()).start().await;
    let asking = mesh.running().flat_map(|node| (0..CLIENTS).map(|_| node.try_send(Site::get("/cold"))));
    let opens = async {
        for node in mesh.running() {
            until("all clients wait", async || {
                let under_way = node.metrics().await.get("starling_requests_in_flight", &[]);
                if under_way >= Some(CLIENTS as f64) {
                    Ok(())
                } else {
                    Err(format!("{under_way:?} under way"))
                }
            })
            .await;
        }
        gate.open();
    };
    let (answers, ()) = tokio::join!(join_all(asking), opens);
    for answer in answers {
        let answer = answer.unwrap_or_else(|error| panic!("{what}: {error}")).expect_status(200);
        assert!(answer.body == body, "{what}: {} bytes of {}", answer.body.len(), body.len());
    }
    assert_eq!(origin.count("/cold"), 1, "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_object_is_fetched_once() {
    all_ask_at_once("1 KiB", content(1, 1 << 10), |body| Reply::cacheable(body).header("etag", "\"1\""))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mebibyte_is_fetched_once() {
    all_ask_at_once("1 MiB", content(2, 1 << 20), |body| {
        Reply::cacheable(body).header("etag", "\"1\"").header("accept-ranges", "bytes")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_a_validator_is_fetched_once() {
    all_ask_at_once("300 kB without an ETag", content(3, 300_000), Reply::cacheable).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_unknown_length_is_fetched_once() {
    all_ask_at_once("2 MB of unknown length", content(4, 2_000_000), |body| Reply::cacheable(body).chunked())
        .await;
}
