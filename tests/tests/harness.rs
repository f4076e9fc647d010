//! The language of the tests is tested itself: its client against its origin, with no node between.

use std::time::Duration;

use starling_tests::{End, Gate, RawConn, Reply, Request, TestOrigin, content, get, send, try_send};

#[tokio::test(flavor = "multi_thread")]
async fn every_framing_carries_the_body() {
    let body = content(1, 300_000);
    let whole = body.clone();
    let origin = TestOrigin::start(move |request| {
        let reply = Reply::cacheable(whole.clone());
        match request.target.as_str() {
            "/chunked" => reply.chunked(),
            "/closed" => reply.close_delimited(),
            "/drip" => reply.drip(100_000, Duration::from_millis(1)),
            _ => reply,
        }
    })
    .await;
    for target in ["/length", "/chunked", "/closed", "/drip"] {
        let response = get(&format!("{}{target}", origin.url()), &[]).await.expect_status(200);
        assert_eq!(response.body, body, "{target}");
    }
    assert_eq!(origin.total(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_carries_many_requests_and_their_bodies() {
    let origin = TestOrigin::start(|request| Reply::new(200).body(request.body.clone())).await;
    let mut conn = RawConn::connect(origin.address()).await.expect("the origin accepts");
    for text in ["one", "two", "three"] {
        let answer = conn.send(&Request::new("POST", "/echo").body(text)).await.expect("an answer comes");
        assert_eq!(answer.text(), text);
    }
    conn.write("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        .await
        .expect("the request is written");
    assert_eq!(conn.read_response("POST").await.expect("an answer comes").text(), "abc");
    let connections: Vec<u64> = origin.requests().iter().map(|request| request.connection).collect();
    assert_eq!(connections, [1, 1, 1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_dies_is_an_error_whatever_its_framing() {
    let origin = TestOrigin::start(|request| match request.target.as_str() {
        "/chunked" => Reply::cacheable(content(1, 1000)).chunked().die_after(500),
        "/head" => Reply::drop_connection(),
        _ => Reply::cacheable(content(1, 1000)).die_after(500),
    })
    .await;
    for target in ["/length", "/chunked", "/head"] {
        assert!(try_send(origin.address(), Request::get(target)).await.is_err(), "{target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_holds_an_answer_until_it_opens() {
    let gate = Gate::new();
    let closed = gate.clone();
    let origin = TestOrigin::start(move |_| Reply::cacheable("abcdef").body_waits_at(3, &closed)).await;
    let mut conn = RawConn::connect(origin.address()).await.expect("the origin accepts");
    let head = conn.begin(&Request::get("/")).await.expect("the head comes before the gate");
    assert_eq!(head.header("content-length"), Some("6"));
    gate.reached(1).await;
    origin.asked("/", 1).await;
    let mut seen = Vec::new();
    conn.read_exactly(3, &mut |piece: &[u8]| seen.extend_from_slice(piece))
        .await
        .expect("three bytes come early");
    gate.open();
    conn.read_exactly(3, &mut |piece: &[u8]| seen.extend_from_slice(piece))
        .await
        .expect("three bytes come late");
    assert_eq!(seen, b"abcdef");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_answers_ranges_and_validators() {
    let body = content(2, 1000);
    let whole = body.clone();
    let origin = TestOrigin::start(move |request| Reply::file(request, whole.clone(), "\"1\"")).await;
    let ask =
        async |name: &str, value: &str| send(origin.address(), Request::get("/").header(name, value)).await;
    assert_eq!(ask("range", "bytes=10-19").await.expect_status(206).body, body.slice(10..20));
    assert_eq!(ask("range", "bytes=-5").await.expect_status(206).body, body.slice(995..));
    assert_eq!(ask("range", "bytes=990-").await.header("content-range"), Some("bytes 990-999/1000"));
    ask("range", "bytes=1000-").await.expect_status(416);
    assert!(ask("if-none-match", "\"1\"").await.expect_status(304).body.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn interim_and_raw_answers_are_seen_as_sent() {
    let origin = TestOrigin::start(|request| match request.target.as_str() {
        "/raw" => Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokTRAILING"),
        _ => Reply::new(204).interim(103, &[("link", "</a>")]),
    })
    .await;
    let response = get(&format!("{}/hints", origin.url()), &[]).await.expect_status(204);
    assert_eq!(response.interim[0].header("link"), Some("</a>"));
    let mut conn = RawConn::connect(origin.address()).await.expect("the origin accepts");
    conn.write("GET /raw HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("the request is written");
    let closed = conn.read_to_close(10_000).await;
    assert_eq!(closed.end, End::Eof);
    assert_eq!(closed.statuses(), [200]);
    assert!(closed.text().ends_with("okTRAILING"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_origin_is_gone_and_another_can_take_its_place() {
    let origin = TestOrigin::start(|_| Reply::new(200)).await;
    let address = origin.address();
    origin.stop().await;
    assert!(RawConn::connect(address).await.is_err());
    let origin = TestOrigin::start_at(address, |_| Reply::cacheable("back")).await;
    assert_eq!(get(&origin.url(), &[]).await.text(), "back");
}
