//! HTTP/1.1 as it should be.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{limits, read_until, run};
use crate::front::{refusal::Refusal, settings::Limits};

const HOST: &str = "Host: A.example\r\n";
const LAST: &str = "Host: A.example\r\nConnection: close\r\n\r\n";

/// The body of the only response in `answer`.
fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

#[tokio::test]
async fn a_request_reaches_the_handler_in_one_form() {
    let front = run(limits()).await;
    let expected = "GET a.example /x?y\na_b: c\nconnection: close\n";
    for request in [
        format!("GET /x?y HTTP/1.1\r\nA_b: \t c \r\n{LAST}"),
        format!("\r\nGET /x?y HTTP/1.1\r\nA_b: c\r\n{LAST}"),
        format!("GET HTTP://a.EXAMPLE/x?y HTTP/1.1\r\nA_b: c\r\n{LAST}"),
    ] {
        let answer = front.exchange(&request).await;
        assert_eq!(body(&answer), expected, "{request:?} was answered {answer:?}");
    }
    let answer = front.exchange(format!("OPTIONS http://a.example HTTP/1.1\r\n{LAST}")).await;
    assert!(body(&answer).starts_with("OPTIONS a.example *\n"), "{answer:?}");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let front = run(limits()).await;
    let first = format!("POST /echo HTTP/1.1\r\n{HOST}Content-Length: 5\r\n\r\nfirst");
    let second =
        format!("POST /echo HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n6\r\nsecond\r\n0\r\n\r\n");
    let answer = front.exchange(format!("{first}{second}GET /third HTTP/1.1\r\n{LAST}")).await;
    let at = |text: &str| answer.find(text).unwrap_or_else(|| panic!("no {text} in {answer:?}"));
    assert!(at("\r\n\r\nfirst") < at("\r\n\r\nsecond"));
    assert!(at("\r\n\r\nsecond") < at("\r\n\r\nGET a.example /third\n"));
}

#[tokio::test]
async fn a_request_is_the_same_however_it_arrives() {
    let front = run(limits()).await;
    let request = format!(
        "POST /echo HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n"
    );
    let mut stream = front.connect().await;
    stream.set_nodelay(true).unwrap();
    for byte in request.as_bytes() {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let answer = read_until(&mut stream, "hello").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:?}");
}

#[tokio::test]
async fn bodies_are_framed_for_the_version() {
    let front = run(limits()).await;
    let answer = front.exchange(format!("GET /pieces HTTP/1.1\r\n{LAST}")).await;
    assert!(answer.contains("\r\ntransfer-encoding: chunked\r\n"));
    assert_eq!(body(&answer), "3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n");
    let answer =
        front.exchange(format!("GET /pieces HTTP/1.0\r\n{HOST}Connection: keep-alive\r\n\r\n")).await;
    assert!(answer.contains("\r\nconnection: close\r\n") && !answer.contains("transfer-encoding"));
    assert_eq!(body(&answer), "onetwothree");
    let answer = front.exchange(format!("GET /sized HTTP/1.1\r\n{LAST}")).await;
    assert!(answer.contains("\r\ncontent-length: 6\r\n"));
    assert_eq!(body(&answer), "onetwo");
    for request in ["HEAD /pieces", "HEAD /sized", "GET /none"] {
        let answer = front.exchange(format!("{request} HTTP/1.1\r\n{LAST}")).await;
        assert_eq!(body(&answer), "", "{request} was answered {answer:?}");
        assert!(!answer.contains("transfer-encoding"));
    }
}

#[tokio::test]
async fn a_body_that_ends_early_never_looks_complete() {
    let front = run(limits()).await;
    for path in ["/broken", "/broken-sized", "/short", "/long"] {
        let answer = front.exchange(format!("GET {path} HTTP/1.1\r\n{HOST}\r\n")).await;
        assert!(!answer.ends_with("0\r\n\r\n"), "{path} was answered {answer:?}");
        assert!(body(&answer).len() < 6 || path == "/broken", "{path} was answered {answer:?}");
    }
    assert_eq!(front.counters.response_resets.get(), 4);
}

#[tokio::test]
async fn interim_responses_precede_the_final_one() {
    let front = run(limits()).await;
    let answer = front.exchange(format!("GET /interim HTTP/1.1\r\n{LAST}")).await;
    assert!(
        answer.starts_with("HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\n"),
        "{answer:?}"
    );
    let answer = front.exchange(format!("GET /interim HTTP/1.0\r\n{LAST}")).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:?}");
}

#[tokio::test]
async fn a_client_is_told_to_continue_when_its_body_is_wanted() {
    let front = run(limits()).await;
    let fields = format!("{HOST}Content-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    let mut stream = front.connect().await;
    stream.write_all(format!("POST /echo HTTP/1.1\r\n{fields}").as_bytes()).await.unwrap();
    assert_eq!(read_until(&mut stream, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").await.unwrap();
    assert!(read_until(&mut stream, "hello").await.starts_with("HTTP/1.1 200 OK\r\n"));

    let mut stream = front.connect().await;
    stream.write_all(format!("POST /unread HTTP/1.1\r\n{fields}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("\r\nconnection: close\r\n"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn an_unread_body_is_skipped_when_it_is_small() {
    let front = run(limits()).await;
    let post = |length: usize| format!("POST /unread HTTP/1.1\r\n{HOST}Content-Length: {length}\r\n\r\n");
    let small = format!("{}{}GET /next HTTP/1.1\r\n{LAST}", post(1000), "x".repeat(1000));
    let answer = front.exchange(small).await;
    assert!(answer.contains("GET a.example /next\n"), "{answer:?}");
    let large = format!("{}{}GET /next HTTP/1.1\r\n{LAST}", post(100_000), "x".repeat(100_000));
    let answer = front.exchange(large).await;
    assert!(answer.contains("\r\nconnection: close\r\n") && !answer.contains("/next"), "{answer:?}");
}

#[tokio::test]
async fn a_body_too_large_is_refused_and_the_client_can_read_why() {
    let front = run(Limits { body_bytes_max: 1000, ..limits() }).await;
    let known = format!("POST /echo HTTP/1.1\r\n{HOST}Content-Length: 200000\r\n\r\n{}", "x".repeat(200_000));
    let unknown = format!(
        "POST /echo HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n30d40\r\n{}",
        "x".repeat(200_000)
    );
    for request in [known, unknown] {
        let answer = front.exchange(request).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer:?}");
    }
    assert_eq!(front.counters.refusals(Refusal::BodyTooLarge), 2);
}

#[tokio::test]
async fn a_connection_ends_when_it_should() {
    let front = run(Limits { requests_per_connection_max: 2, ..limits() }).await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\n{HOST}\r\n");
    let answer = front.exchange(format!("{}{}{}", get("/1"), get("/2"), get("/3"))).await;
    assert!(answer.contains("/2\n") && !answer.contains("/3\n"), "{answer:?}");
    let answer = front.exchange(format!("{}{}", get("/close"), get("/2"))).await;
    assert!(answer.ends_with("bye"), "{answer:?}");
    let answer = front.exchange(format!("GET /1 HTTP/1.0\r\n{HOST}\r\n{}", get("/2"))).await;
    assert!(answer.contains("/1\n") && !answer.contains("/2\n"), "{answer:?}");
}

#[tokio::test]
async fn a_client_that_is_slow_with_its_request_is_told_so() {
    let short = Duration::from_millis(50);
    let front =
        run(Limits { head_timeout: short, body_idle_timeout: short, idle_timeout: short, ..limits() }).await;
    let answer = front.exchange("GET / HTTP/1.1\r\nHost").await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer:?}");
    let answer = front.exchange(format!("POST /echo HTTP/1.1\r\n{HOST}Content-Length: 5\r\n\r\nhel")).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer:?}");
    assert_eq!(front.exchange("").await, "");
    let answer = front.exchange(format!("GET /idle HTTP/1.1\r\n{HOST}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
    assert_eq!(front.counters.timeout_idle.get(), 2);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut() {
    let front = run(Limits { write_idle_timeout: Duration::from_millis(100), ..limits() }).await;
    let mut stream = front.connect().await;
    stream.write_all(format!("GET /endless HTTP/1.1\r\n{HOST}\r\n").as_bytes()).await.unwrap();
    while front.counters.connections_open.get() > 0 || front.counters.connections_accepted.get() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(front.counters.timeout_write.get(), 1);
}

/// The deadline of a head that came in two pieces once stayed on, and cut the answer when the origin was slow.
#[tokio::test]
async fn the_deadline_of_a_head_ends_with_the_head() {
    let head_timeout = Duration::from_millis(200);
    let front = run(Limits { head_timeout, ..limits() }).await;
    let mut stream = front.connect().await;
    stream.write_all(b"GET /wait HTTP/1.1\r\n").await.unwrap();
    while front.counters.bytes_in.get() == 0 {
        tokio::task::yield_now().await;
    }
    stream.write_all(format!("{HOST}\r\n").as_bytes()).await.unwrap();
    front.seen.waiting.notified().await;
    tokio::time::sleep(head_timeout * 2).await;
    assert_eq!(front.seen.cancelled.load(std::sync::atomic::Ordering::SeqCst), 0);
    front.seen.answer.notify_one();
    assert!(read_until(&mut stream, "waited").await.ends_with("waited"));
}

#[tokio::test]
async fn a_client_that_resets_its_connection_is_not_worked_for() {
    let front = run(limits()).await;
    let mut stream = front.connect().await;
    stream.write_all(format!("GET /wait HTTP/1.1\r\n{HOST}\r\n").as_bytes()).await.unwrap();
    front.seen.waiting.notified().await;
    stream.set_zero_linger().unwrap();
    drop(stream);
    while front.counters.client_aborts.get() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(front.seen.cancelled.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_at_once() {
    let front = run(Limits { connections_per_address_max: 1, ..limits() }).await;
    let mut first = front.connect().await;
    first.write_all(format!("GET /1 HTTP/1.1\r\n{HOST}\r\n").as_bytes()).await.unwrap();
    read_until(&mut first, "/1\n").await;
    let mut second = front.connect().await;
    let _ = second.write_all(b"GET").await;
    assert!(matches!(second.read(&mut [0; 1]).await, Ok(0) | Err(_)));
    assert_eq!(front.counters.refused_address.get(), 1);
}
