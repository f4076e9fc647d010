//! What a client may cost: heads, bodies, time and connections. One client at its limit is no other's trouble.
//!
//! Outcomes are asserted, never how long they took; the limits are set small so that they come soon.

use std::{net::SocketAddr, time::Duration};

use starling_tests::{Closed, End, Node, RawConn, Received, Reply, Request, TestOrigin};
use tokio::{net::TcpSocket, time::timeout};

const LARGE_BYTES: usize = 64 << 20;

async fn stage(limits: &str) -> (TestOrigin, Node) {
    let origin = TestOrigin::start(|request: &Received| {
        let reply = Reply::new(200).header("cache-control", "no-store");
        if request.path() == "/large" { reply.body(vec![b'x'; LARGE_BYTES]) } else { reply.body("small") }
    })
    .await;
    let node = Node::builder().origin(origin.url()).toml(format!("[limits]\n{limits}\n")).start().await;
    (origin, node)
}

/// Reads until the node closes, which it must.
async fn closed(connection: &mut RawConn) -> Closed {
    let closed = connection.read_to_close(1 << 20).await;
    assert!(matches!(closed.end, End::Eof | End::Reset), "the connection is still open: {:?}", closed.end);
    closed
}

/// Sends these bytes and tells the statuses of what came before the connection was closed.
async fn refused(node: &Node, bytes: impl AsRef<[u8]>) -> Vec<u16> {
    let mut connection = node.connect().await;
    let _ = connection.write(bytes).await;
    closed(&mut connection).await.statuses()
}

#[tokio::test]
async fn a_head_that_drips_is_cut_off() {
    let (origin, node) = stage("head_timeout_ms = 500").await;
    let mut slow = node.connect().await;
    slow.write("GET /slow HTTP/1.1\r\nHost: limits.test\r\n").await.expect("the node reads");
    // Each byte is progress; only the whole head counts.
    let dripping = async {
        while slow.write("A").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(starling_tests::PATIENCE, dripping).await.expect("the node takes bytes of one head for ever");
    assert_eq!(origin.count("/slow"), 0);
    node.get("/other").await.expect_status(200);
}

#[tokio::test]
async fn a_head_that_stops_is_answered_408() {
    let (_origin, node) = stage("head_timeout_ms = 300").await;
    let statuses = refused(&node, "GET /slow HTTP/1.1\r\nHost: limits.test\r\n").await;
    assert!(matches!(statuses[..], [] | [408]), "{statuses:?}");
}

#[tokio::test]
async fn a_hundred_slow_heads_do_not_hold_up_another_client() {
    let (_origin, node) = stage("head_timeout_ms = 30000").await;
    let mut slow = Vec::new();
    for _ in 0..100 {
        let mut connection = node.connect().await;
        connection.write("GET /slow HTTP/1.1\r\n").await.expect("the node reads");
        slow.push(connection);
    }
    for _ in 0..20 {
        node.get("/other").await.expect_status(200);
    }
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let (_origin, node) = stage("head_timeout_ms = 300\nidle_timeout_ms = 300").await;
    let statuses = refused(&node, "").await;
    assert!(matches!(statuses[..], [] | [408]), "{statuses:?}");
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_answer() {
    let (_origin, node) = stage("idle_timeout_ms = 300").await;
    let statuses = refused(&node, "GET /once HTTP/1.1\r\nHost: limits.test\r\n\r\n").await;
    assert_eq!(statuses.first(), Some(&200), "{statuses:?}");
}

#[tokio::test]
async fn an_upload_that_stops_is_cut_off() {
    let (origin, node) = stage("body_idle_timeout_ms = 300").await;
    for head in [
        "Content-Length: 100\r\n\r\nx",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let statuses = refused(&node, format!("POST /upload HTTP/1.1\r\nHost: limits.test\r\n{head}")).await;
        assert!(matches!(statuses[..], [] | [400 | 408]), "{head:?}: {statuses:?}");
    }
    assert_eq!(origin.count("/upload"), 0);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let (_origin, node) = stage("write_idle_timeout_ms = 500").await;
    let mut deaf = node.connect().await;
    deaf.write("GET /large HTTP/1.1\r\nHost: limits.test\r\n\r\n").await.expect("the node reads");
    // A closed connection refuses what is written to it; an empty line is none of a request's business.
    let cut = async {
        while deaf.write("\r\n").await.is_ok() {
            node.get("/other").await.expect_status(200);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(starling_tests::PATIENCE, cut).await.expect("the node keeps a client that reads nothing");
}

#[tokio::test]
async fn a_client_that_reads_slowly_is_cut_off() {
    let (_origin, node) = stage("write_idle_timeout_ms = 500\nwrite_rate_min_bytes = 1000000").await;
    let mut slow = node.connect().await;
    let head = slow.begin(&Request::get("/large")).await.expect("a head");
    assert_eq!(head.status, 200);
    let mut read = 0;
    let cut = async {
        loop {
            if slow.read_exactly(64, &mut |_| {}).await.is_err() {
                return;
            }
            read += 64;
            assert!(read < LARGE_BYTES, "the whole body came, 64 bytes at a time");
            // Once the node has given up, what the kernel still holds is read without pause.
            if slow.write("\r\n").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    timeout(starling_tests::PATIENCE, cut).await.expect("the node feeds a client that reads 3 KB per second");
}

#[tokio::test]
async fn a_client_that_reads_is_not_cut_off() {
    let (_origin, node) =
        stage("write_idle_timeout_ms = 500\nidle_timeout_ms = 500\nhead_timeout_ms = 500").await;
    let response = node.get("/large").await.expect_status(200);
    assert_eq!(response.body.len(), LARGE_BYTES);
}

#[tokio::test]
async fn heads_are_limited_in_bytes_and_in_fields() {
    let (origin, node) = stage("head_bytes_max = 2000\nrequest_line_bytes_max = 500\nheaders_max = 10").await;
    let close = "Connection: close\r\n\r\n";
    let fields = |count: usize| -> String { (0..count).map(|at| format!("A{at}: b\r\n")).collect() };
    let head =
        |path: &str, fields: String| format!("GET {path} HTTP/1.1\r\nHost: limits.test\r\n{fields}{close}");
    assert_eq!(refused(&node, head("/fits", fields(8))).await, [200]);
    assert_eq!(refused(&node, head("/many", fields(9))).await, [431]);
    assert_eq!(refused(&node, head("/large-field", format!("A: {}\r\n", "x".repeat(3000)))).await, [431]);
    assert_eq!(refused(&node, head("/fits", format!("A: {}\r\n", "x".repeat(1500)))).await, [200]);
    assert_eq!(refused(&node, head(&format!("/{}", "x".repeat(600)), String::new())).await, [414]);
    assert_eq!(refused(&node, head(&format!("/fits?{}", "x".repeat(400)), String::new())).await, [200]);
    assert!(origin.requests().iter().all(|request| request.path() == "/fits"));
}

#[tokio::test]
async fn bodies_are_limited() {
    let (origin, node) = stage("body_bytes_max = 1000").await;
    let body = |length: usize| "x".repeat(length);
    let sized = |path: &str, length: usize| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: limits.test\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{}",
            body(length)
        )
    };
    let chunked = |path: &str, chunks: usize| {
        let chunks = format!("64\r\n{}\r\n", body(100)).repeat(chunks);
        format!(
            "POST {path} HTTP/1.1\r\nHost: limits.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"
        )
    };
    assert_eq!(refused(&node, sized("/fits", 1000)).await, [200]);
    assert_eq!(refused(&node, sized("/large", 1001)).await, [413]);
    assert_eq!(refused(&node, chunked("/fits", 10)).await, [200]);
    let statuses = refused(&node, chunked("/large", 11)).await;
    assert!(matches!(statuses[..], [] | [413]), "{statuses:?}");
    // Not a byte need come for a length to be too much.
    assert_eq!(
        refused(&node, "POST /large HTTP/1.1\r\nHost: limits.test\r\nContent-Length: 1001\r\n\r\n").await,
        [413]
    );
    let expecting =
        "POST /large HTTP/1.1\r\nHost: limits.test\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n";
    assert_eq!(refused(&node, expecting).await, [413]);
    assert_eq!(origin.count("/large"), 0);
    assert_eq!(origin.count("/fits"), 2);
}

#[tokio::test]
async fn requests_on_one_connection_are_limited() {
    let (_origin, node) = stage("requests_per_connection_max = 3").await;
    let request = "GET /again HTTP/1.1\r\nHost: limits.test\r\n\r\n";
    let mut connection = node.connect().await;
    connection.write(request.repeat(5)).await.expect("the node reads");
    let closed = closed(&mut connection).await;
    assert_eq!(closed.statuses(), [200; 3]);
    assert!(closed.text().to_ascii_lowercase().contains("connection: close"));
}

#[tokio::test]
async fn connections_are_limited() {
    let (_origin, node) = stage("connections_max = 8").await;
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut connection = node.connect().await;
        assert_eq!(connection.send(&Request::get("/held")).await.expect("answered").status, 200);
        held.push(connection);
    }
    let statuses =
        refused(&node, "GET /ninth HTTP/1.1\r\nHost: limits.test\r\nConnection: close\r\n\r\n").await;
    assert!(matches!(statuses[..], [] | [503]), "{statuses:?}");
    for connection in &mut held {
        assert_eq!(connection.send(&Request::get("/held")).await.expect("still served").status, 200);
    }
    drop(held);
    room_again(&node).await;
}

#[tokio::test]
async fn connections_of_one_address_are_limited() {
    let (_origin, node) = stage("connections_per_address_max = 4").await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut connection = node.connect().await;
        assert_eq!(connection.send(&Request::get("/held")).await.expect("answered").status, 200);
        held.push(connection);
    }
    let statuses =
        refused(&node, "GET /fifth HTTP/1.1\r\nHost: limits.test\r\nConnection: close\r\n\r\n").await;
    assert!(matches!(statuses[..], [] | [429 | 503]), "{statuses:?}");
    // Another address of loopback is another client.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from(([127, 0, 0, 2], 0))).expect("loopback is a whole network");
    let stream = socket.connect(node.http()).await.expect("the node listens");
    let mut other = RawConn::over(stream, "limits.test");
    assert_eq!(other.send(&Request::get("/other")).await.expect("answered").status, 200);
    drop(held);
    room_again(&node).await;
}

/// The node hears of closed connections in its own time; then there is room.
async fn room_again(node: &Node) {
    let served = async {
        while !node.try_send(Request::get("/room")).await.is_ok_and(|response| response.status == 200) {
            tokio::task::yield_now().await;
        }
    };
    timeout(starling_tests::PATIENCE, served).await.expect("there is no room for a new client");
}
