//! One fill per object, and many who read it while it arrives.

use futures_util::future::join_all;
use starling_tests::{Check, Gate, RawConn, Reply, content};

use super::{get, get_with, request, site};

#[tokio::test(flavor = "multi_thread")]
async fn followers_read_a_fill_while_it_arrives() {
    let body = content(1, 200_000);
    let gate = Gate::new();
    let (whole, closed) = (body.clone(), gate.clone());
    let (origin, node) = site(move |_| Reply::cacheable(whole.clone()).body_waits_at(100_000, &closed)).await;
    let address = node.http();
    let follow = async || {
        let mut conn = RawConn::connect(address).await.expect("the node accepts");
        let head = conn.begin(&request("/a", &[])).await.expect("the head comes before the body is there");
        assert_eq!(head.status, 200);
        let mut check = Check::against(body.clone());
        conn.read_exactly(100_000, &mut |piece: &[u8]| check.push(piece))
            .await
            .expect("the first half comes early");
        (conn, check)
    };
    let (one, two) = (follow().await, follow().await);
    assert_eq!(origin.count("/a"), 1);
    gate.open();
    for (mut conn, mut check) in [one, two] {
        let rest = conn.read_exactly(100_000, &mut |piece: &[u8]| check.push(piece)).await;
        rest.expect("the second half comes when the origin sends it");
        assert!(check.is_whole(), "{}", check.verdict());
    }
    assert!(get(&node, "/a").await.is_hit());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_misses_at_once_cost_one_fetch() {
    let gate = Gate::new();
    let closed = gate.clone();
    let (origin, node) = site(move |_| Reply::cacheable("hello").head_waits_at(&closed)).await;
    let opens = async {
        gate.reached(1).await;
        gate.open();
    };
    let (answers, ()) = tokio::join!(join_all((0..100).map(|_| get(&node, "/a"))), opens);
    assert!(answers.iter().all(|answer| answer.text() == "hello"));
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn waiters_of_an_uncacheable_answer_do_not_queue() {
    // All hundred must be at the origin at once before it answers any: waiting in line would never end.
    let gate = Gate::new();
    let closed = gate.clone();
    let (origin, node) = site(move |request| {
        let body = request.header("x-who").unwrap_or_default().to_owned();
        let reply = Reply::new(200).header("cache-control", "private").body(body);
        match request.header("x-who") {
            Some("0") => reply,
            _ => reply.head_waits_at(&closed),
        }
    })
    .await;
    get_with(&node, "/a", &[("x-who", "0")]).await;
    let asks = (1..=100).map(|who| {
        let node = &node;
        async move { (who, get_with(node, "/a", &[("x-who", &who.to_string())]).await) }
    });
    let opens = async {
        gate.reached(100).await;
        gate.open();
    };
    let (answers, ()) = tokio::join!(join_all(asks), opens);
    for (who, answer) in answers {
        assert_eq!(answer.text(), who.to_string(), "each client its own answer");
    }
    assert_eq!(origin.count("/a"), 101);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_of_a_slow_fill_does_not_wait_for_it() {
    let body = content(2, 4_000_000);
    let gate = Gate::new();
    let (whole, closed) = (body.clone(), gate.clone());
    let (_origin, node) = site(move |request| match request.header("range") {
        None => Reply::file(request, whole.clone(), "\"1\"").body_waits_at(10_000, &closed),
        Some(_) => Reply::file(request, whole.clone(), "\"1\""),
    })
    .await;
    let ranges_meanwhile = async {
        gate.reached(1).await;
        let part = get_with(&node, "/a", &[("range", "bytes=3000000-3000999")]).await.expect_status(206);
        assert_eq!(part.body, body.slice(3_000_000..3_001_000));
        gate.open();
    };
    let (first, ()) = tokio::join!(get(&node, "/a"), ranges_meanwhile);
    assert_eq!(first.body, body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_on_a_miss_is_answered_as_a_range() {
    let body = content(3, 1_000_000);
    let whole = body.clone();
    let (_origin, node) = site(move |request| Reply::file(request, whole.clone(), "\"1\"")).await;
    for _ in 0..2 {
        let part = get_with(&node, "/a", &[("range", "bytes=1000-1999")]).await.expect_status(206);
        assert_eq!(part.body, body.slice(1000..2000));
        assert_eq!(part.header("content-range"), Some("bytes 1000-1999/1000000"));
    }
    assert_eq!(
        get(&node, "/a").await.expect_status(200).body,
        body,
        "a stored part is never taken for the whole"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_unknown_length_are_kept_whole() {
    let body = content(4, 700_000);
    let whole = body.clone();
    let (origin, node) = site(move |request| match request.target.as_str() {
        "/chunked" => Reply::cacheable(whole.clone()).chunked(),
        _ => Reply::cacheable(whole.clone()).close_delimited(),
    })
    .await;
    for target in ["/chunked", "/closed"] {
        assert_eq!(get(&node, target).await.body, body, "{target}");
        let hit = get(&node, target).await;
        assert!(hit.is_hit(), "{target}: {}", hit.cache_status());
        assert_eq!(hit.body, body, "{target}");
        assert_eq!(origin.count(target), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_body_is_neither_stored_nor_passed_off_as_whole() {
    let body = content(5, 500_000);
    let whole = body.clone();
    let (origin, node) = site(move |request| match request.target.as_str() {
        "/chunked" => Reply::cacheable(whole.clone()).chunked().die_after(300_000),
        _ => Reply::cacheable(whole.clone()).die_after(300_000),
    })
    .await;
    for target in ["/chunked", "/length"] {
        let cut = node.try_send(request(target, &[])).await;
        assert!(cut.is_err(), "{target}: a short body was framed as whole");
    }
    let healed = body.clone();
    origin.answer(move |_| Reply::cacheable(healed.clone()));
    for target in ["/chunked", "/length"] {
        assert_eq!(get(&node, target).await.body, body, "{target}");
    }
}
