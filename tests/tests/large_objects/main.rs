//! Large objects and many clients: one fetch, bounded memory, and no client hurt by another.
//!
//! The default sizes keep a run short; the long mode uses those of the promise: 1,000 clients for 100 MB.

mod crowd;

use std::sync::Arc;

use starling_tests::{Gate, Node, Reply, Request, TestOrigin, content, long_mode};
use tokio::sync::{Mutex, MutexGuard};

use crowd::{Crowd, Seen};

const MB: usize = 1_000_000;

/// What a node may hold at its peak while it serves a crowd.
const NODE_BYTES_MAX: u64 = 200 << 20;

/// One crowd at a time: each is as much as a small machine carries.
static TURN: Mutex<()> = Mutex::const_new(());

async fn turn() -> MutexGuard<'static, ()> {
    crowd::need_open_files(4096);
    TURN.lock().await
}

const CLIENTS: usize = 1000;

fn object_bytes() -> usize {
    if long_mode() { 100 * MB } else { 20 * MB }
}

fn assert_bounded(node: &Node) {
    let peak = node.rss_peak_bytes();
    println!("the node's peak memory: {} MiB", peak >> 20);
    assert!(peak < NODE_BYTES_MAX, "the node's peak memory was {} MiB", peak >> 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_clients_share_one_fetch() {
    let _turn = turn().await;
    let body = content(1, object_bytes());
    let (whole, gate) = (body.clone(), Gate::new());
    let closed = gate.clone();
    let origin = TestOrigin::start(move |_| Reply::cacheable(whole.clone()).body_waits_at(MB, &closed)).await;
    let node = Node::before(&origin).await;
    let crowd = Crowd::begin(&node, "/big", CLIENTS, body).await;
    gate.open();
    let seen = crowd.finish().await;
    assert_eq!(seen, Seen { whole: CLIENTS, ..Seen::default() });
    assert_eq!(origin.count("/big"), 1);
    assert_bounded(&node);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_clients_share_one_fetch_of_unknown_length() {
    let _turn = turn().await;
    let body = content(2, object_bytes() / 4);
    let (whole, gate) = (body.clone(), Gate::new());
    let closed = gate.clone();
    let origin =
        TestOrigin::start(move |_| Reply::cacheable(whole.clone()).chunked().body_waits_at(MB, &closed))
            .await;
    let node = Node::before(&origin).await;
    let crowd = Crowd::begin(&node, "/big", CLIENTS, body).await;
    gate.open();
    assert_eq!(crowd.finish().await, Seen { whole: CLIENTS, ..Seen::default() });
    assert_eq!(origin.count("/big"), 1);
    assert_bounded(&node);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_hangs_up_takes_nobody_with_it() {
    let _turn = turn().await;
    let body = content(3, object_bytes());
    let (whole, gate) = (body.clone(), Gate::new());
    let closed = gate.clone();
    let origin = TestOrigin::start(move |_| Reply::cacheable(whole.clone()).body_waits_at(MB, &closed)).await;
    let node = Node::before(&origin).await;
    let leader = Crowd::begin(&node, "/big", 1, body.clone()).await;
    let followers = Crowd::begin(&node, "/big", 300, body).await;
    drop(leader);
    gate.open();
    assert_eq!(followers.finish().await, Seen { whole: 300, ..Seen::default() });
    assert_eq!(origin.count("/big"), 1);
    assert_bounded(&node);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_hang_up_take_nobody_with_them() {
    let _turn = turn().await;
    let body = content(4, object_bytes());
    let (whole, gate) = (body.clone(), Gate::new());
    let closed = gate.clone();
    let origin = TestOrigin::start(move |_| Reply::cacheable(whole.clone()).body_waits_at(MB, &closed)).await;
    let node = Node::before(&origin).await;
    let staying = Crowd::begin(&node, "/big", 100, body.clone()).await;
    let leaving = Crowd::begin(&node, "/big", 200, body).await;
    gate.open();
    drop(leaving);
    assert_eq!(staying.finish().await, Seen { whole: 100, ..Seen::default() });
    assert_eq!(origin.count("/big"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_holds_up_nobody() {
    let _turn = turn().await;
    let body = content(9, 50 * MB);
    let whole = body.clone();
    let origin = TestOrigin::start(move |_| Reply::cacheable(whole.clone())).await;
    let node = Node::before(&origin).await;
    let leader = Crowd::begin(&node, "/big", 1, body.clone()).await;
    let others = Crowd::begin(&node, "/big", 20, body.clone()).await;
    assert_eq!(others.finish().await, Seen { whole: 20, ..Seen::default() });
    assert_eq!(leader.finish().await, Seen { whole: 1, ..Seen::default() });
    assert_eq!(origin.count("/big"), 1);
    assert_bounded(&node);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_dies_midway_is_never_passed_off_as_the_end() {
    let _turn = turn().await;
    for chunked in [false, true] {
        let body = content(5, object_bytes());
        let (whole, gate) = (body.clone(), Gate::new());
        let closed = gate.clone();
        let half = body.len() / 2;
        let origin = TestOrigin::start(move |_| {
            let reply = Reply::cacheable(whole.clone()).body_waits_at(MB, &closed).die_after(half);
            if chunked { reply.chunked() } else { reply }
        })
        .await;
        let node = Node::before(&origin).await;
        let crowd = Crowd::begin(&node, "/big", 300, body.clone()).await;
        gate.open();
        let seen = crowd.finish().await;
        assert_eq!(seen, Seen { cut: 300, ..Seen::default() }, "chunked: {chunked}");
        let healed = body.clone();
        origin.answer(move |_| Reply::cacheable(healed.clone()));
        let after = Crowd::begin(&node, "/big", 10, body).await.finish().await;
        assert_eq!(after, Seen { whole: 10, ..Seen::default() }, "half a body must not be found later");
        assert_bounded(&node);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uncacheable_answer_is_each_clients_own() {
    let _turn = turn().await;
    let (clients, length) = if long_mode() { (100, 100 * MB) } else { (CLIENTS, MB) };
    // Every client's body begins at another place of the same bytes, so that a mix-up shows.
    let base = content(6, length + 8 * clients);
    let gate = Gate::new();
    let (source, closed) = (base.clone(), gate.clone());
    let origin = TestOrigin::start(move |request| {
        let who: usize = request.header("x-who").and_then(|who| who.parse().ok()).unwrap_or(0);
        let body = source.slice(8 * who..8 * who + length);
        Reply::new(200).header("cache-control", "no-store").body(body).body_waits_at(1000, &closed)
    })
    .await;
    let node = Node::before(&origin).await;
    let own = |who: usize| {
        let request = Request::get("/own").header("x-who", &who.to_string());
        (request, base.slice(8 * who..8 * who + length))
    };
    // All have their heads while no body can end: nobody waits in line behind another.
    let crowd = Crowd::begin_each(&node, (0..clients).map(own)).await;
    gate.open();
    assert_eq!(crowd.finish().await, Seen { whole: clients, ..Seen::default() });
    assert_eq!(origin.count("/own"), clients);
    assert_bounded(&node);
}

#[tokio::test(flavor = "multi_thread")]
async fn late_followers_and_ranges_are_served_while_a_large_object_arrives() {
    let _turn = turn().await;
    let body = content(7, 50 * MB);
    let (whole, gate) = (body.clone(), Gate::new());
    let closed = gate.clone();
    let origin = TestOrigin::start(move |request| {
        let file = Reply::file(request, whole.clone(), "\"1\"");
        if request.header("range").is_some() { file } else { file.body_waits_at(30 * MB, &closed) }
    })
    .await;
    let node = Node::before(&origin).await;
    let first = tokio::spawn(Crowd::begin(&node, "/big", 1, body.clone()).await.finish());
    gate.reached(1).await;
    let late = Crowd::begin(&node, "/big", 20, body.clone()).await;
    for (range, expected) in [
        ("bytes=1000000-1999999", MB..2 * MB),
        ("bytes=40000000-40999999", 40 * MB..41 * MB),
        ("bytes=-1000", 50 * MB - 1000..50 * MB),
    ] {
        let part = node.get_with("/big", &[("range", range)]).await.expect_status(206);
        assert!(part.body == body[expected], "{range}");
    }
    gate.open();
    assert_eq!(first.await.expect("the client's task ends").whole, 1);
    assert_eq!(late.finish().await.whole, 20);
    let fetches = origin.requests().iter().filter(|request| request.header("range").is_none()).count();
    assert_eq!(fetches, 1, "one fill, whatever ranges were asked meanwhile");
    assert_bounded(&node);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_larger_than_memory_comes_back_from_disk() {
    let _turn = turn().await;
    let body = content(8, 150 * MB);
    let whole = Arc::new(body.clone());
    let origin =
        TestOrigin::start(move |request| Reply::file(request, whole.as_ref().clone(), "\"1\"")).await;
    let node = Node::before(&origin).await;
    for _ in 0..2 {
        let seen = Crowd::begin(&node, "/big", 4, body.clone()).await.finish().await;
        assert_eq!(seen, Seen { whole: 4, ..Seen::default() });
    }
    let part = node.get_with("/big", &[("range", "bytes=140000000-140000999")]).await.expect_status(206);
    assert!(part.body == body[140 * MB..140 * MB + 1000]);
    assert_eq!(origin.total(), 1);
    assert_bounded(&node);
}
