//! Stale responses: when they may stand in, and when never (RFC 5861, RFC 9111 section 4.2.4).
//!
//! A stored response is stale from the start when the origin sends it with an `Age` above its lifetime, so no
//! test waits for time to pass.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use starling_tests::{Gate, Reply, Request};

use super::{HOST, get, site};

fn stale(directives: &str) -> Reply {
    Reply::new(200)
        .header("cache-control", directives)
        .header("age", "2000")
        .header("etag", "\"1\"")
        .body("old")
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_while_revalidate_answers_before_the_origin_does() {
    let (origin, node) = site(|_| stale("max-age=1000, stale-while-revalidate=100000")).await;
    get(&node, "/a").await;
    let gate = Gate::new();
    let closed = gate.clone();
    origin.answer(move |_| Reply::cacheable("new").head_waits_at(&closed));
    for _ in 0..3 {
        let response = get(&node, "/a").await.expect_status(200);
        assert_eq!(response.text(), "old", "served while the origin is silent");
    }
    origin.asked("/a", 2).await;
    assert_eq!(origin.count("/a"), 2, "one revalidation, however many stale hits there are");
    gate.open();
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_if_error_hides_a_failing_origin() {
    let (origin, node) = site(|_| stale("max-age=1000, stale-if-error=100000")).await;
    get(&node, "/a").await;
    origin.answer(|_| Reply::new(503).body("sorry"));
    let response = get(&node, "/a").await.expect_status(200);
    assert_eq!(response.text(), "old");
    assert_eq!(origin.count("/a"), 2, "the origin was asked before it was hidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_passed_on_when_nothing_allows_stale() {
    let (origin, node) = site(|_| stale("max-age=1000")).await;
    get(&node, "/a").await;
    origin.answer(|_| Reply::new(503).body("sorry"));
    let response = get(&node, "/a").await.expect_status(503);
    assert_eq!(response.text(), "sorry");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_origin_is_hidden_unless_the_response_forbids_it() {
    let (origin, node) = site(|request| match request.target.as_str() {
        "/plain" => stale("max-age=1000"),
        "/must" => stale("max-age=1000, must-revalidate"),
        "/proxy" => stale("max-age=1000, proxy-revalidate"),
        "/shared" => stale("s-maxage=1000"),
        _ => stale("max-age=1000, no-cache"),
    })
    .await;
    let targets = ["/plain", "/must", "/proxy", "/shared", "/nocache"];
    for target in targets {
        get(&node, target).await;
    }
    origin.answer(|_| Reply::drop_connection());
    for target in targets {
        let response = get(&node, target).await;
        match target {
            "/plain" => assert_eq!((response.status, response.text().as_str()), (200, "old")),
            _ => assert!(matches!(response.status, 502 | 504), "{target}: {}", response.status),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waiters_of_a_revalidation_share_its_answer() {
    let (origin, node) = site(|_| stale("max-age=1000")).await;
    get(&node, "/a").await;
    let gate = Gate::new();
    let closed = gate.clone();
    origin.answer(move |_| Reply::cacheable("new").head_waits_at(&closed));
    let asks = (0..20).map(|_| get(&node, "/a"));
    let opens = async {
        gate.reached(1).await;
        gate.open();
    };
    let (answers, ()) = tokio::join!(join_all(asks), opens);
    assert!(answers.iter().all(|answer| answer.text() == "new"));
    assert_eq!(origin.count("/a"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_changes_something_is_never_sent_twice() {
    let (origin, node) = site(|_| Reply::cacheable("x")).await;
    // A connection that is kept, and closed under the next request: the moment at which retries happen.
    get(&node, "/warm").await;
    static POSTS: AtomicUsize = AtomicUsize::new(0);
    origin.answer(|_| {
        POSTS.fetch_add(1, Ordering::SeqCst);
        Reply::drop_connection()
    });
    let post = Request::new("POST", "/buy").host(HOST).body("one");
    let response = node.send(post).await;
    assert!(matches!(response.status, 502 | 504), "{}", response.status);
    assert_eq!(POSTS.load(Ordering::SeqCst), 1);
}
