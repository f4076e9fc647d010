//! Requests that look odd and are well formed: strictness must not cost a client that follows RFC 9112.

use std::time::Duration;

use starling_tests::{Closed, Node, Received, Reply, Request, TestOrigin};
use tokio::time::timeout;

/// An origin that answers with what it was asked, uncached.
async fn stage() -> (TestOrigin, Node) {
    let origin = TestOrigin::start(|request: &Received| {
        let body =
            format!("{} {} {}", request.method, request.target, String::from_utf8_lossy(&request.body));
        Reply::new(200).header("cache-control", "no-store").body(body)
    })
    .await;
    let node = Node::before(&origin).await;
    (origin, node)
}

/// Sends bytes that end in a request to close, and reads until the connection is closed.
async fn exchange(node: &Node, bytes: impl AsRef<[u8]>) -> Closed {
    let mut connection = node.connect().await;
    connection.write(bytes).await.expect("the node reads");
    timeout(Duration::from_secs(30), connection.read_to_close(4 << 20))
        .await
        .expect("the connection was not closed")
}

/// The request with these fields, then a close.
fn request(line: &str, fields: &[u8]) -> Vec<u8> {
    [line.as_bytes(), b" HTTP/1.1\r\nHost: accepted.test\r\nConnection: close\r\n", fields, b"\r\n"].concat()
}

#[tokio::test]
async fn white_space_around_a_value_is_not_part_of_it() {
    let (origin, node) = stage().await;
    for (index, line) in ["A:b", "A: b", "A:   b", "A:\tb", "A: b \t ", "A: \t b\t"].into_iter().enumerate() {
        let target = format!("/ows/{index}");
        let closed =
            exchange(&node, request(&format!("GET {target}"), format!("{line}\r\n").as_bytes())).await;
        assert_eq!(closed.statuses(), [200], "{line:?}");
        let seen = origin.last(&target).expect("forwarded");
        assert_eq!(seen.header("a"), Some("b"), "{line:?}");
    }
}

#[tokio::test]
async fn values_may_be_empty_and_hold_any_text() {
    let (origin, node) = stage().await;
    let fields = b"Empty:\r\nSpaced:  \r\nTabbed: a\tb\r\nText: \xe9\xff caf\xc3\xa9\r\nMarks: \"(),/:;<=>?@[\\]{}\r\n!#$%&'*+-.^_`|~: token\r\n";
    assert_eq!(exchange(&node, request("GET /values", fields)).await.statuses(), [200]);
    let seen = origin.last("/values").expect("forwarded");
    assert_eq!(seen.header("empty"), Some(""));
    assert_eq!(seen.header("tabbed"), Some("a\tb"));
    assert_eq!(seen.header("marks"), Some("\"(),/:;<=>?@[\\]{}"));
    assert_eq!(seen.header("!#$%&'*+-.^_`|~"), Some("token"));
    let raw = &seen.raw_head[..];
    assert!(raw.windows(5).any(|window| window == b"\xe9\xff ca"), "obs-text is passed on as it is");
}

#[tokio::test]
async fn many_fields_within_the_limits_are_taken() {
    let (origin, node) = stage().await;
    let fields: String = (0..90).map(|at| format!("A{at}: {}\r\n", "x".repeat(200))).collect();
    assert_eq!(exchange(&node, request("GET /many", fields.as_bytes())).await.statuses(), [200]);
    let seen = origin.last("/many").expect("forwarded");
    assert_eq!((0..90).filter(|at| seen.header(&format!("a{at}")).is_some()).count(), 90);
}

#[tokio::test]
async fn repeated_fields_keep_their_order() {
    let (origin, node) = stage().await;
    exchange(&node, request("GET /repeated", b"A: 1\r\nB: x\r\nA: 2\r\na: 3\r\n")).await;
    assert_eq!(origin.last("/repeated").expect("forwarded").joined("a"), "1, 2, 3");
}

#[tokio::test]
async fn a_target_reaches_the_origin_as_it_was_sent() {
    let (origin, node) = stage().await;
    for target in [
        "/%20%2F%2f%41%7e",
        "/a/../b",
        "/a/./b",
        "/a//b",
        "//a",
        "/a%00b",
        "/a%0d%0ab",
        "/a;b=c",
        "/a?b=c?d",
        "/a?",
        "/?a",
        "/a?b=%26&c",
        "/a'b(c)*!$,",
        "/%ff%fe",
        "/a?b=c;d=e&&f",
        "/a%2e%2e/b",
        "/a%25b",
        "/~a/@b:c",
    ] {
        let response = node.get(target).await.expect_status(200);
        let seen = origin.requests().pop().expect("forwarded").target;
        assert_eq!(equivalent(&seen), equivalent(target), "{target}");
        assert!(!response.text().contains('\r'));
    }
}

/// The form in which two targets mean the same by RFC 3986 section 6.2.2: the case of escapes, and escapes of
/// unreserved characters. Nothing else may change on the way.
fn equivalent(target: &str) -> String {
    let mut out = String::new();
    let mut rest = target;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let escape = &rest[at + 1..at + 3];
        let byte = u8::from_str_radix(escape, 16).expect("the targets here are well formed");
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        rest = &rest[at + 3..];
    }
    out + rest
}

#[tokio::test]
async fn absolute_form_is_taken_and_its_authority_wins() {
    let (origin, node) = stage().await;
    let same =
        b"GET http://accepted.test/absolute?q HTTP/1.1\r\nHost: accepted.test\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(&node, same).await.statuses(), [200]);
    assert_eq!(origin.last("/absolute?q").expect("forwarded").header("host"), Some("accepted.test"));
    let bare = b"GET http://accepted.test HTTP/1.1\r\nHost: accepted.test\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(&node, bare).await.statuses(), [200]);
    assert_eq!(origin.count("/"), 1);
    // RFC 9112 section 3.2.2: the target's authority replaces Host. To refuse is safe too; to believe Host is not.
    let other = b"GET http://accepted.test/other HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n";
    match exchange(&node, other).await.statuses()[..] {
        [400] => assert_eq!(origin.count("/other"), 0),
        [200] => assert_eq!(origin.last("/other").expect("forwarded").header("host"), Some("accepted.test")),
        ref statuses => panic!("{statuses:?}"),
    }
}

#[tokio::test]
async fn every_valid_host_is_taken() {
    let (_origin, node) = stage().await;
    for host in [
        "a",
        "a.test",
        "A.Test",
        "a.test.",
        "a.test:80",
        "a.test:8080",
        "127.0.0.1",
        "127.0.0.1:81",
        "[::1]",
        "[::1]:80",
        "a-b_c.test",
        "xn--bcher-kva.test",
    ] {
        node.send(Request::get("/host").host(host)).await.expect_status(200);
    }
}

#[tokio::test]
async fn ten_pipelined_requests_are_answered_in_order() {
    let (_origin, node) = stage().await;
    let mut bytes = Vec::new();
    for index in 0..10 {
        let close = if index == 9 { "Connection: close\r\n" } else { "" };
        bytes
            .extend(format!("GET /pipe/{index} HTTP/1.1\r\nHost: accepted.test\r\n{close}\r\n").into_bytes());
    }
    let closed = exchange(&node, bytes).await;
    assert_eq!(closed.statuses(), [200; 10]);
    let text = closed.text();
    let places: Vec<_> =
        (0..10).map(|index| text.find(&format!("GET /pipe/{index} ")).expect("answered")).collect();
    assert!(places.is_sorted(), "{places:?}");
}

#[tokio::test]
async fn pipelined_requests_with_bodies_are_told_apart() {
    let (origin, node) = stage().await;
    let bytes = b"POST /p/1 HTTP/1.1\r\nHost: accepted.test\r\nContent-Length: 5\r\n\r\nhello\
        POST /p/2 HTTP/1.1\r\nHost: accepted.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nGET\r\n0\r\n\r\n\
        GET /p/3 HTTP/1.1\r\nHost: accepted.test\r\nContent-Length: 3\r\n\r\nfat\
        HEAD /p/4 HTTP/1.1\r\nHost: accepted.test\r\n\r\n\
        GET /p/5 HTTP/1.1\r\nHost: accepted.test\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(&node, bytes).await.statuses(), [200; 5]);
    assert_eq!(origin.last("/p/1").expect("forwarded").body, "hello");
    assert_eq!(origin.last("/p/2").expect("forwarded").body, "GET");
    assert_eq!(origin.last("/p/3").expect("forwarded").body, "fat");
    assert_eq!(origin.count("/p/5"), 1);
}

#[tokio::test]
async fn a_chunked_upload_may_be_cut_anywhere() {
    let (origin, node) = stage().await;
    let whole = b"POST /cut HTTP/1.1\r\nHost: accepted.test\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
        5\r\nhello\r\n000A\r\n, edge  at\r\nb;a=b\r\n the corner\r\n0\r\nX-Sum: 1\r\n\r\n";
    for step in [1, 2, 3, 7, 11] {
        let mut connection = node.connect().await;
        for piece in whole.chunks(step) {
            connection.write(piece).await.expect("the node reads");
            tokio::task::yield_now().await;
        }
        let closed =
            timeout(Duration::from_secs(30), connection.read_to_close(1 << 20)).await.expect("closed");
        assert_eq!(closed.statuses(), [200], "in pieces of {step}");
        assert_eq!(origin.last("/cut").expect("forwarded").body, "hello, edge  at the corner");
    }
}

#[tokio::test]
async fn an_empty_line_before_a_request_is_skipped() {
    let (_origin, node) = stage().await;
    // RFC 9112 section 2.2: at least one empty line before the request line SHOULD be ignored.
    let bytes = b"\r\nGET /blank HTTP/1.1\r\nHost: accepted.test\r\n\r\n\r\nGET /again HTTP/1.1\r\nHost: accepted.test\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(&node, bytes).await.statuses(), [200, 200]);
}

#[tokio::test]
async fn http_1_0_is_kept_alive_only_when_it_asks() {
    let (_origin, node) = stage().await;
    let closing = exchange(&node, b"GET /old HTTP/1.0\r\nHost: accepted.test\r\n\r\n").await;
    assert_eq!(closing.statuses(), [200]);
    let kept = b"GET /old/1 HTTP/1.0\r\nHost: accepted.test\r\nConnection: keep-alive\r\n\r\nGET /old/2 HTTP/1.0\r\nHost: accepted.test\r\n\r\n";
    let kept = exchange(&node, kept).await;
    assert_eq!(kept.statuses(), [200, 200]);
    assert!(!kept.text().to_ascii_lowercase().contains("transfer-encoding"), "HTTP/1.0 knows no chunks");
}

#[tokio::test]
async fn unknown_methods_reach_the_origin() {
    let (origin, node) = stage().await;
    for method in ["M-SEARCH", "PROPFIND", "get", "X", "OPTIONS", "DELETE", "PATCH", "QUERY"] {
        node.send(Request::new(method, &format!("/method/{method}"))).await.expect_status(200);
        assert_eq!(origin.last(&format!("/method/{method}")).expect("forwarded").method, method);
    }
}

#[tokio::test]
async fn options_of_the_server_as_a_whole_is_answered() {
    let (_origin, node) = stage().await;
    let closed = exchange(&node, request("OPTIONS *", b"")).await;
    assert!(matches!(closed.statuses()[..], [200 | 204]), "{}", closed.text());
}

#[tokio::test]
async fn a_head_has_the_fields_of_a_get_and_no_body() {
    let (_origin, node) = stage().await;
    let text = exchange(&node, request("HEAD /head", b"")).await.text();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert!(text.ends_with("\r\n\r\n"), "{text}");
}

#[tokio::test]
async fn a_client_that_expects_100_continue_is_told_to_go_on() {
    let (origin, node) = stage().await;
    let mut connection = node.connect().await;
    let head =
        "POST /expect HTTP/1.1\r\nHost: accepted.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    connection.write(head).await.expect("the node reads");
    assert_eq!(connection.read_head().await.expect("an interim response").status, 100);
    connection.write("hello").await.expect("the node reads");
    let response = connection.read_response("POST").await.expect("a response");
    assert_eq!(response.status, 200);
    assert_eq!(origin.last("/expect").expect("forwarded").body, "hello");
}

#[tokio::test]
async fn an_expectation_nobody_knows_is_refused_or_ignored() {
    let (_origin, node) = stage().await;
    // RFC 9110 section 10.1.1.
    let closed = exchange(&node, request("GET /unknown", b"Expect: 200-ok\r\n")).await;
    assert!(matches!(closed.statuses()[..], [417 | 200]), "{}", closed.text());
    // A client that speaks HTTP/1.0 must not be sent a 100.
    let old = b"POST /old HTTP/1.0\r\nHost: accepted.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(exchange(&node, old).await.statuses(), [200]);
}

#[tokio::test]
async fn an_upgrade_is_not_passed_on() {
    let (origin, node) = stage().await;
    // h2c smuggling: an origin that upgrades would be spoken to past the node.
    let fields = b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nConnection: Upgrade, HTTP2-Settings\r\n";
    let bytes = [
        b"GET /upgrade HTTP/1.1\r\nHost: accepted.test\r\n".as_slice(),
        fields,
        b"\r\nGET /after HTTP/1.1\r\nHost: accepted.test\r\nConnection: close\r\n\r\n",
    ]
    .concat();
    assert_eq!(exchange(&node, bytes).await.statuses(), [200, 200]);
    let seen = origin.last("/upgrade").expect("forwarded");
    for field in ["upgrade", "http2-settings"] {
        assert_eq!(seen.header(field), None, "{field}");
    }
    assert!(!seen.joined("connection").to_ascii_lowercase().contains("upgrade"));
}
