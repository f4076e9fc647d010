//! Requests that two parsers may read differently: RFC 9112 sections 2 to 7 and 11.

use super::{limits, run};

const HOST: &str = "Host: a.example\r\n";

/// Every vector is sent as the first thing on a connection, with a good request behind it. The answer has
/// to be one refusal, and the connection has to end with it; the handler must see nothing.
async fn refused(vectors: &[(&str, String)]) {
    let front = run(limits()).await;
    for (status, vector) in vectors {
        let answer = front.exchange(format!("{vector}GET /second HTTP/1.1\r\n{HOST}\r\n")).await;
        let line = answer.lines().next().unwrap_or_default();
        assert!(line.starts_with(&format!("HTTP/1.1 {status} ")), "{vector:?} was answered {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{vector:?} was answered {answer:?}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{vector:?} was answered {answer:?}");
        assert_eq!(front.requests(), 0, "{vector:?} reached the handler");
    }
}

fn get(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\n{HOST}{fields}\r\n")
}

fn post(fields: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\n{HOST}{fields}\r\n{body}")
}

#[tokio::test]
async fn a_request_line_is_read_in_one_way_only() {
    let line = |line: &str| format!("{line}\r\n{HOST}\r\n");
    refused(&[
        ("400", line("GET  / HTTP/1.1")),
        ("400", line("GET /  HTTP/1.1")),
        ("400", line("GET\t/ HTTP/1.1")),
        ("400", line("GET /\tHTTP/1.1")),
        ("400", line("GET / HTTP/1.1 ")),
        ("400", line(" GET / HTTP/1.1")),
        ("400", line("GET /a b HTTP/1.1")),
        ("400", line("GET /")),
        ("400", line("GET HTTP/1.1")),
        ("400", line("G(T / HTTP/1.1")),
        ("400", line("/ HTTP/1.1")),
        ("400", line("GET / http/1.1")),
        ("400", line("GET / HTTP/1.1x")),
        ("400", line("GET / HTTP/11")),
        ("400", line("GET / HTTP/ 1.1")),
        ("505", line("GET / HTTP/1.2")),
        ("505", line("GET / HTTP/2.0")),
        ("505", line("GET / HTTP/0.9")),
        ("400", line("GET /a#b HTTP/1.1")),
        ("400", line("GET /\u{e4} HTTP/1.1")),
        ("400", line("GET /%zz HTTP/1.1")),
        ("400", line("GET /\u{0} HTTP/1.1")),
        ("400", line("GET a HTTP/1.1")),
        ("400", line("GET * HTTP/1.1")),
        ("400", line("GET a.example:80 HTTP/1.1")),
        ("400", line("GET ftp://a.example/ HTTP/1.1")),
        ("400", line("GET https://a.example/ HTTP/1.1")),
        ("400", line("GET http://b.example/ HTTP/1.1")),
        ("400", line("GET http://u@a.example/ HTTP/1.1")),
        ("400", line("GET http:///a HTTP/1.1")),
        ("501", line("CONNECT a.example:80 HTTP/1.1")),
        ("405", line("TRACE / HTTP/1.1")),
        ("400", format!("GET / HTTP/1.1\n{HOST}\r\n")),
        ("400", format!("GET / HTTP/1.1\r{HOST}\r\n")),
        ("400", format!("GET / HTTP/1.1\r\r\n{HOST}\r\n")),
        ("400", format!("\r\n\r\nGET / HTTP/1.1\r\n{HOST}\r\n")),
        ("400", format!("\nGET / HTTP/1.1\r\n{HOST}\r\n")),
        ("400", format!(" \r\nGET / HTTP/1.1\r\n{HOST}\r\n")),
    ])
    .await;
}

#[tokio::test]
async fn a_field_is_read_in_one_way_only() {
    refused(&[
        ("400", get("A: b\n")),
        ("400", get("A: b\rc\r\n")),
        ("400", get("A: b\r\r\n")),
        ("400", get("A: b\u{0}c\r\n")),
        ("400", get("A: b\u{b}c\r\n")),
        ("400", get("A: b\u{7f}c\r\n")),
        ("400", get("A : b\r\n")),
        ("400", get("A\t: b\r\n")),
        ("400", get(" A: b\r\n")),
        ("400", get("A: b\r\n c\r\n")),
        ("400", get("A: b\r\n\tc\r\n")),
        ("400", get(": b\r\n")),
        ("400", get("A\r\n")),
        ("400", get("A(b): c\r\n")),
        ("400", get("\u{e4}: c\r\n")),
        ("400", get("A: b\r\n\n")),
        ("400", format!("GET / HTTP/1.1\r\n X: y\r\n{HOST}\r\n")),
        ("417", post("Content-Length: 1\r\nExpect: the-unexpected\r\n", "x")),
    ])
    .await;
}

#[tokio::test]
async fn a_request_names_one_host() {
    let with = |fields: &str| format!("GET / HTTP/1.1\r\n{fields}\r\n");
    refused(&[
        ("400", with("")),
        ("400", "GET / HTTP/1.0\r\n\r\n".to_owned()),
        ("400", with("Host:\r\n")),
        ("400", with("Host: a.example\r\nHost: a.example\r\n")),
        ("400", with("Host: a.example\r\nhost: b.example\r\n")),
        ("400", with("Host: a.example, b.example\r\n")),
        ("400", with("Host: u@a.example\r\n")),
        ("400", with("Host: a.example/b\r\n")),
        ("400", with("Host: a.example:port\r\n")),
        ("400", with("Host: http://a.example\r\n")),
    ])
    .await;
}

#[tokio::test]
async fn a_body_has_one_length() {
    let chunks = "0\r\n\r\n";
    let chunked = |field: &str| post(field, chunks);
    refused(&[
        ("400", post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", chunks)),
        ("400", post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", chunks)),
        ("400", post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello")),
        ("400", post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello")),
        ("400", post("Content-Length: 5, 5\r\n", "hello")),
        ("400", post("Content-Length: +5\r\n", "hello")),
        ("400", post("Content-Length: -5\r\n", "hello")),
        ("400", post("Content-Length: 0x5\r\n", "hello")),
        ("400", post("Content-Length: 5 5\r\n", "hello")),
        ("400", post("Content-Length: \r\n", "hello")),
        ("400", post("Content-Length: \"5\"\r\n", "hello")),
        ("400", post("Content-Length: 18446744073709551621\r\n", "hello")),
        ("400", post("Content-Length : 5\r\n", "hello")),
        ("413", post("Content-Length: 18446744073709551615\r\n", "hello")),
        ("400", chunked("Transfer-Encoding : chunked\r\n")),
        ("400", chunked("Transfer-Encoding: \u{b}chunked\r\n")),
        ("400", chunked("Transfer-Encoding: xchunked\r\n")),
        ("400", chunked("Transfer-Encoding: chunked, chunked\r\n")),
        ("400", chunked("Transfer-Encoding: chunked, identity\r\n")),
        ("400", chunked("Transfer-Encoding: , chunked\r\n")),
        ("400", chunked("Transfer-Encoding: chunked;q=1\r\n")),
        ("400", chunked("Transfer-Encoding: \"chunked\"\r\n")),
        ("400", chunked("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")),
        ("400", chunked("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n")),
        ("400", chunked("Transfer-Encoding: identity\r\n")),
        ("400", chunked("Transfer-Encoding:\r\n")),
        ("400", chunked("Transfer-Encoding:\r\n chunked\r\n")),
        ("501", chunked("Transfer-Encoding: gzip, chunked\r\n")),
        ("400", format!("POST / HTTP/1.0\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n{chunks}")),
    ])
    .await;
}

#[tokio::test]
async fn a_broken_chunk_ends_the_connection() {
    let front = run(limits()).await;
    for chunks in [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "0\r\n\n",
        "5 \r\n",
    ] {
        let request = format!("POST /echo HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n{chunks}");
        let answer = front.exchange(format!("{request}GET /second HTTP/1.1\r\n{HOST}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{chunks:?} was answered {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{chunks:?} was answered {answer:?}");
    }
}

#[tokio::test]
async fn limits_of_a_head_hold() {
    let long = "a".repeat(9 << 10);
    let many = "A: b\r\n".repeat(101);
    let large = format!("A: {long}\r\nB: {long}\r\nC: {long}\r\nD: {long}\r\n");
    refused(&[
        ("414", format!("GET /{long} HTTP/1.1\r\n{HOST}\r\n")),
        ("414", format!("GET /{long}{long}")),
        ("431", get(&many)),
        ("431", get(&large)),
    ])
    .await;
}
