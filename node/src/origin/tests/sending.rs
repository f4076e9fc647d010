//! What goes to an origin, and how often.

use super::{
    super::{error::FetchErrorKind, request::Request},
    script::{Say, Scripted, get, last, ok, pool_of, post, request, say, text},
};
use http::{HeaderValue, Method};
use std::time::Duration;
use tokio::sync::mpsc;

#[tokio::test]
async fn the_request_goes_out_as_it_came() {
    let mut origin = Scripted::start(vec![ok("hi")]).await;
    let pool = pool_of(&[&origin.url], |_| ());
    let mut asked = get("/a//b/../c?x=%2f&y");
    asked.headers.insert("x-one", HeaderValue::from_static("1"));
    asked.headers.insert("transfer-encoding", HeaderValue::from_static("chunked"));
    assert_eq!(text(pool.fetch(asked).await.expect("answered")).await.expect("whole"), "hi");
    let head = origin.heads.recv().await.expect("asked");
    assert_eq!(head, "GET /a//b/../c?x=%2f&y HTTP/1.1\r\nhost: client.example\r\nx-one: 1\r\n\r\n");
}

#[tokio::test]
async fn a_body_has_its_length_or_chunks_and_none_is_said_where_one_is_expected() {
    for (asked, expected) in [
        (post("abc", Some(3)), "content-length: 3"),
        (post("abc", None), "transfer-encoding: chunked"),
        (post("", Some(0)), "content-length: 0"),
        (Request { body_bytes: None, ..get("/") }, "transfer-encoding: chunked"),
    ] {
        let mut origin = Scripted::start(vec![ok("")]).await;
        let pool = pool_of(&[&origin.url], |s| s.host_header = Some("site.example".to_owned()));
        drop(pool.fetch(asked).await.expect("answered"));
        let head = origin.heads.recv().await.expect("asked");
        assert!(head.contains(expected), "{head}");
        assert!(head.contains("host: site.example"), "{head}");
    }
}

#[tokio::test]
async fn what_cannot_be_sent_as_it_is_is_not_sent() {
    let origin = Scripted::start(vec![ok("")]).await;
    let pool = pool_of(&[&origin.url], |_| ());
    for (path, host) in [("/a b", "h"), ("/a#b", "h"), ("a", "h"), ("/", "a b"), ("/", "u@h"), ("/", "")] {
        let asked = Request { host: host.to_owned(), ..get(path) };
        let error = pool.fetch(asked).await.expect_err("refused");
        assert_eq!(error.kind, FetchErrorKind::BadRequest, "{path} {host}");
    }
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let origin = Scripted::start(vec![ok("one"), ok("two")]).await;
    let pool = pool_of(&[&origin.url], |_| ());
    for expected in ["one", "two"] {
        assert_eq!(text(pool.fetch(get("/")).await.expect("answered")).await.expect("whole"), expected);
    }
    let (_, stats) = pool.stats().remove(0);
    assert_eq!((stats.requests, stats.connects, stats.reuses), (2, 1, 1));
}

#[tokio::test]
async fn a_connection_that_the_origin_closed_is_not_used_again() {
    let end = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let origin = Scripted::start(vec![last(end)]).await;
    let pool = pool_of(&[&origin.url], |_| ());
    for _ in 0..3 {
        text(pool.fetch(post("x", Some(1))).await.expect("answered")).await.expect("whole");
    }
    assert_eq!(origin.count(), 3);
}

#[tokio::test]
async fn an_origin_that_closes_on_a_request_is_asked_once() {
    // On a new connection, and on one that the origin had promised to keep or that had hardly idled.
    let kept = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nKeep-Alive: timeout=5\r\n\r\n";
    for (script, asked) in [(vec![last("")], 1), (vec![say(kept), last("")], 2), (vec![ok(""), last("")], 2)]
    {
        for method in [Method::GET, Method::POST] {
            let origin = Scripted::start(script.clone()).await;
            let pool = pool_of(&[&origin.url], |_| ());
            if asked == 2 {
                text(pool.fetch(get("/")).await.expect("answered")).await.expect("whole");
            }
            let error = pool.fetch(request(method, "/")).await.expect_err("closed");
            assert_eq!(error.kind, FetchErrorKind::Reset);
            assert!(error.is_disconnected());
            assert_eq!(origin.count(), asked);
        }
    }
}

#[tokio::test]
async fn a_connection_that_its_grant_says_is_over_is_not_used() {
    let granted = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nKeep-Alive: timeout=0\r\n\r\n";
    let origin = Scripted::start(vec![say(granted)]).await;
    let pool = pool_of(&[&origin.url], |_| ());
    for _ in 0..2 {
        text(pool.fetch(get("/")).await.expect("answered")).await.expect("whole");
    }
    assert_eq!(pool.stats()[0].1.connects, 2);
}

#[tokio::test]
async fn interim_responses_are_handed_on_except_100() {
    let answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
                  HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let origin = Scripted::start(vec![say(answer)]).await;
    let pool = pool_of(&[&origin.url], |_| ());
    let (interim, mut interims) = mpsc::channel(4);
    let asked = Request { interim: Some(interim), ..get("/") };
    assert_eq!(pool.fetch(asked).await.expect("answered").status, 200);
    let hints = interims.recv().await.expect("103");
    assert_eq!((hints.status.as_u16(), &hints.headers["link"]), (103, &HeaderValue::from_static("</a>")));
    assert_eq!(interims.recv().await.expect("102").status.as_u16(), 102);
    assert!(interims.recv().await.is_none());
}

#[tokio::test]
async fn a_body_that_breaks_its_word_is_the_clients_fault() {
    let origin = Scripted::start(vec![Say::Silence]).await;
    let pool = pool_of(&[&origin.url], |_| ());
    for bytes in [2, 9] {
        let error = pool.fetch(post("abc", Some(bytes))).await.expect_err("wrong length");
        assert_eq!(error.kind, FetchErrorKind::RequestBody);
    }
    assert_eq!(pool.health()[0].in_flight, 0);
}

#[tokio::test]
async fn a_silent_origin_is_left_after_the_head_timeout_and_not_asked_again() {
    let mut origin = Scripted::start(vec![Say::Silence]).await;
    let pool = pool_of(&[&origin.url], |s| s.head_timeout = Duration::from_millis(20));
    let error = pool.fetch(get("/")).await.expect_err("silent");
    assert_eq!(error.kind, FetchErrorKind::HeadTimeout);
    assert!(error.is_timeout() && !error.is_disconnected());
    origin.ended.recv().await.expect("the connection is closed");
    assert_eq!((origin.count(), pool.health()[0].in_flight), (1, 0));
}

#[tokio::test]
async fn who_leaves_before_the_head_frees_the_place_and_the_connection() {
    let mut origin = Scripted::start(vec![Say::Silence]).await;
    let pool = pool_of(&[&origin.url], |s| s.concurrency_max = 1);
    let mut tasks = tokio::task::JoinSet::new();
    let asking = pool.clone();
    tasks.spawn(async move { asking.fetch(get("/")).await.map(drop) });
    origin.heads.recv().await.expect("asked");
    assert_eq!(pool.health()[0].in_flight, 1);
    tasks.shutdown().await;
    assert_eq!(pool.health()[0].in_flight, 0);
    origin.ended.recv().await.expect("the connection is closed");
}
