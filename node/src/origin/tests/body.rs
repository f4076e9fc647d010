//! What is believed of an origin's answer.

use super::{
    super::error::{BadResponse, FetchErrorKind},
    script::{Say, Scripted, get, last, pool_of, request, say, text},
};
use http::Method;
use std::time::Duration;

async fn asked(answer: Say) -> Result<String, FetchErrorKind> {
    let origin = Scripted::start(vec![answer]).await;
    let pool = pool_of(&[&origin.url], |_| ());
    let response = pool.fetch(get("/")).await.map_err(|e| e.kind)?;
    let body = text(response).await.map_err(|e| e.kind);
    assert_eq!(origin.count(), 1);
    assert_eq!(pool.health()[0].in_flight, 0);
    body
}

#[tokio::test]
async fn a_cut_body_is_an_error_not_a_short_body() {
    for cut in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n123",
        "HTTP/1.1 200 OK\r\nContent-Le",
    ] {
        assert_eq!(asked(last(cut)).await, Err(FetchErrorKind::Reset), "{cut}");
    }
}

#[tokio::test]
async fn framing_that_might_be_read_in_two_ways_is_refused() {
    use BadResponse::{ContentLength, Malformed, TransferCoding, TwoFramings, Upgrade};
    for (head, why) in [
        ("Transfer-Encoding: gzip", &[TransferCoding][..]),
        ("Transfer-Encoding: gzip, chunked", &[TransferCoding]),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", &[TransferCoding]),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", &[TwoFramings]),
        ("Content-Length: 5\r\nContent-Length: 6", &[ContentLength, Malformed]),
        ("Content-Length: +5", &[ContentLength, Malformed]),
        ("Bad Name: 5", &[Malformed]),
    ] {
        let got = asked(last(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n0\r\n\r\n"))).await;
        assert!(matches!(got, Err(FetchErrorKind::BadResponse(w)) if why.contains(&w)), "{head}: {got:?}");
    }
    let switched = asked(say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")).await;
    assert_eq!(switched, Err(FetchErrorKind::BadResponse(Upgrade)));
    let garbled = asked(last("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")).await;
    assert_eq!(garbled, Err(FetchErrorKind::BadResponse(Malformed)));
}

#[tokio::test]
async fn a_head_is_bounded_in_bytes_and_in_fields() {
    let large = Err(FetchErrorKind::BadResponse(BadResponse::HeadTooLarge));
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 0\r\n\r\n", "a".repeat(70 << 10));
    assert_eq!(asked(last(long)).await, large);
    let many = format!("HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n", "X: y\r\n".repeat(256));
    assert_eq!(asked(last(many)).await, large);
    let fits = format!("HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n", "X: y\r\n".repeat(255));
    assert_eq!(asked(last(fits)).await, Ok(String::new()));
}

#[tokio::test]
async fn a_body_that_ends_with_the_connection_says_so() {
    let origin = Scripted::start(vec![last("HTTP/1.0 200 OK\r\nX: a\r\n b\r\n\r\n12345")]).await;
    let pool = pool_of(&[&origin.url], |_| ());
    let response = pool.fetch(get("/")).await.expect("answered");
    assert!(response.complete_by_close);
    assert_eq!(response.headers["x"], "a b", "an obsolete line fold is one line");
    assert_eq!(text(response).await.expect("whole"), "12345");
}

#[tokio::test]
async fn chunks_trailers_and_bodiless_answers_are_read() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n";
    let not_modified = "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n";
    let headed = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n";
    let origin = Scripted::start(vec![say(chunked), say(not_modified), say(headed)]).await;
    let pool = pool_of(&[&origin.url], |_| ());
    let mut response = pool.fetch(get("/")).await.expect("answered");
    assert_eq!(response.body.next().await.expect("a chunk").expect("whole"), "abc");
    assert!(response.body.next().await.is_none());
    assert_eq!(response.body.trailers().expect("trailers")["x-sum"], "1");
    assert_eq!(pool.fetch(get("/")).await.expect("answered").status, 304);
    let head = pool.fetch(request(Method::HEAD, "/")).await.expect("answered");
    assert_eq!(text(head).await.expect("whole"), "");
    assert_eq!(pool.stats()[0].1.connects, 1, "one connection carried all three");
}

#[tokio::test]
async fn a_body_that_falls_silent_is_given_up() {
    let mut origin = Scripted::start(vec![say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")]).await;
    let pool = pool_of(&[&origin.url], |s| s.body_idle_timeout = Duration::from_millis(20));
    let mut response = pool.fetch(get("/")).await.expect("answered");
    assert_eq!(response.body.next().await.expect("a chunk").expect("abc"), "abc");
    let error = response.body.next().await.expect("an error").expect_err("silent");
    assert_eq!(error.kind, FetchErrorKind::BodyIdleTimeout);
    assert!(response.body.next().await.is_none());
    assert_eq!(pool.health()[0].in_flight, 0);
    origin.ended.recv().await.expect("the connection is closed");
}

#[tokio::test]
async fn a_body_left_in_the_middle_frees_the_place_and_the_connection() {
    let mut origin = Scripted::start(vec![say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")]).await;
    let pool = pool_of(&[&origin.url], |_| ());
    let response = pool.fetch(get("/")).await.expect("answered");
    assert_eq!(pool.health()[0].in_flight, 1);
    drop(response);
    assert_eq!((pool.health()[0].in_flight, pool.health()[0].idle_connections), (0, 0));
    origin.ended.recv().await.expect("the connection is closed");
}
