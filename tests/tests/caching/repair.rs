//! Objects of which something is missing: parts, gaps, encoded siblings that lost their bytes, clients that left.

use std::time::Duration;

use starling_tests::{
    Gate, Node, RawConn, Received, Reply, Request, Response, TestOrigin, content, try_send,
};
use tokio::net::TcpSocket;

use super::{HOST, encoding::decoded, get, get_with, request, site, under_way};

/// Text of twice `bytes` letters that no coding makes smaller than `bytes`.
fn hexadecimal(seed: u64, bytes: usize) -> String {
    content(seed, bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encoded_body_that_lost_its_bytes_is_made_again() {
    let text = hexadecimal(1, 300_000);
    let page = text.clone();
    let (_origin, mut node) = site(move |request| {
        Reply::file(request, page.clone().into(), "\"1\"").header("content-type", "text/plain")
    })
    .await;
    for coding in ["gzip", "br", "zstd"] {
        let first = get_with(&node, "/page", &[("accept-encoding", coding)]).await.expect_status(200);
        assert!(first.body.len() > 256 << 10, "{} bytes of {coding} are one slice", first.body.len());
    }
    node.stop().await;
    for segment in std::fs::read_dir(node.data().join("segments")).expect("bodies are on disk") {
        let path = segment.expect("an entry").path();
        let length = std::fs::metadata(&path).expect("a segment").len();
        std::fs::write(&path, vec![0; length as usize]).expect("a segment can be written");
    }
    node.restart().await;
    for coding in ["gzip", "br", "zstd"] {
        let again = get_with(&node, "/page", &[("accept-encoding", coding)]).await.expect_status(200);
        assert_eq!(again.header("content-encoding"), Some(coding));
        assert!(decoded(&again).await == text, "{coding}: {} bytes", again.body.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fill_that_nobody_waits_for_does_not_keep_the_node_from_ending() {
    let origin = TestOrigin::start(|_| {
        // Never silent, and not over for hours.
        Reply::cacheable(content(3, 10_000_000)).drip(100, Duration::from_millis(20))
    })
    .await;
    let mut node =
        Node::builder().origin(origin.url()).args(&["--set", "node.drain_timeout_ms=500ms"]).start().await;
    let mut client = resetting(&node).await;
    client.begin(&request("/trickle", &[])).await.expect("the head comes at once");
    drop(client);
    under_way(&node, 0).await;
    let status = node.stop().await;
    assert_eq!(status.code(), Some(0), "{status}");
}

/// A file whose wholes and parts each wait at a gate: the body of a whole after a third, the head of a part.
struct Crossing {
    origin: TestOrigin,
    node: Node,
    body: bytes::Bytes,
    whole: Gate,
    part: Gate,
}

const PART: std::ops::Range<usize> = 2_500_000..2_501_000;

impl Crossing {
    async fn new() -> Self {
        let (whole, part) = (Gate::new(), Gate::new());
        let body = content(4, 3_000_000);
        let (file, whole_closed, part_closed) = (body.clone(), whole.clone(), part.clone());
        let (origin, node) = site(move |request: &Received| {
            let reply = Reply::file(request, file.clone(), "\"1\"");
            match request.header("range") {
                None => reply.body_waits_at(1_000_000, &whole_closed),
                Some(_) => reply.head_waits_at(&part_closed),
            }
        })
        .await;
        Self { origin, node, body, whole, part }
    }

    /// Asks for a part in the middle; it is at the origin when this returns.
    async fn ask_for_part(&self) -> tokio::task::JoinHandle<std::io::Result<Response>> {
        let range = format!("bytes={}-{}", PART.start, PART.end - 1);
        let asking = tokio::spawn(try_send(self.node.http(), request("/a", &[("range", &range)])));
        self.part.reached(1).await;
        asking
    }

    async fn part_lands(&self, asking: tokio::task::JoinHandle<std::io::Result<Response>>) {
        self.part.open();
        let part = asking.await.expect("it did not panic").expect("a whole answer").expect_status(206);
        assert!(part.body == self.body.slice(PART), "{} bytes", part.body.len());
    }

    /// Asks for the whole; its head and a third of its body are there when this returns.
    async fn ask_for_whole(&self) -> RawConn {
        let mut asking = self.node.connect().await;
        let head = asking.begin(&request("/a", &[])).await.expect("the head comes before the body is there");
        assert_eq!(head.status, 200);
        self.whole.reached(1).await;
        asking
    }

    async fn whole_lands(&self, mut asking: RawConn) {
        self.whole.open();
        let mut check = starling_tests::Check::against(self.body.clone());
        let read = asking.read_exactly(3_000_000, &mut |piece: &[u8]| check.push(piece)).await;
        read.expect("the rest comes when the origin sends it");
        assert!(check.is_whole(), "{}", check.verdict());
    }

    async fn the_whole_is_stored(&self) {
        let after = get(&self.node, "/a").await.expect_status(200);
        assert!(after.is_hit(), "the part took the place of the whole: {}", after.cache_status());
        assert!(after.body == self.body);
        let wholes = self.origin.requests().iter().filter(|asked| asked.header("range").is_none()).count();
        assert_eq!(wholes, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_comes_while_the_whole_arrives_does_not_replace_it() {
    let crossing = Crossing::new().await;
    let whole = crossing.ask_for_whole().await;
    let part = crossing.ask_for_part().await;
    crossing.part_lands(part).await;
    crossing.whole_lands(whole).await;
    crossing.the_whole_is_stored().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_asked_for_before_the_whole_does_not_replace_it_in_mid_body() {
    let crossing = Crossing::new().await;
    let part = crossing.ask_for_part().await;
    let whole = crossing.ask_for_whole().await;
    crossing.part_lands(part).await;
    crossing.whole_lands(whole).await;
    crossing.the_whole_is_stored().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_comes_after_the_whole_does_not_replace_it() {
    let crossing = Crossing::new().await;
    let part = crossing.ask_for_part().await;
    let whole = crossing.ask_for_whole().await;
    crossing.whole_lands(whole).await;
    crossing.part_lands(part).await;
    crossing.the_whole_is_stored().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_came_first_gives_way_to_the_whole() {
    let crossing = Crossing::new().await;
    let part = crossing.ask_for_part().await;
    crossing.part_lands(part).await;
    let whole = crossing.ask_for_whole().await;
    crossing.whole_lands(whole).await;
    crossing.the_whole_is_stored().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_full_of_holes_is_filled_in_few_questions() {
    let body = content(5, 100_000);
    let file = body.clone();
    let (origin, node) = site(move |request| Reply::file(request, file.clone(), "\"1\"")).await;
    for at in (0..80).step_by(2) {
        let part = get_with(&node, "/a", &[("range", &format!("bytes={at}-{at}"))]).await.expect_status(206);
        assert_eq!(part.body, body.slice(at..at + 1));
    }
    let before = origin.count("/a");
    let across = get_with(&node, "/a", &[("range", "bytes=0-79")]).await.expect_status(206);
    assert_eq!(across.body, body.slice(..80));
    let asked = origin.count("/a") - before;
    assert!(asked <= 20, "{asked} questions for 80 bytes");
}

/// A file of a megabyte of which the node holds the first hundred bytes.
async fn partial() -> (TestOrigin, Node) {
    let body = content(6, 1_000_000);
    let (origin, node) = site(move |request| Reply::file(request, body.clone(), "\"1\"")).await;
    get_with(&node, "/a", &[("range", "bytes=0-99")]).await.expect_status(206);
    (origin, node)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_of_a_partial_object_brings_no_body() {
    let (origin, node) = partial().await;
    for _ in 0..2 {
        let head = node.send(Request::new("HEAD", "/a").host(HOST)).await.expect_status(200);
        assert!(head.header("content-length").is_none_or(|length| length == "1000000"), "{head:?}");
        assert_eq!(head.header("content-range"), None);
        assert!(head.body.is_empty());
    }
    let asked = origin.requests().split_off(1);
    assert!(asked.iter().all(|request| request.method == "HEAD"), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_if_cached_does_not_fill_a_partial_object() {
    let (origin, node) = partial().await;
    let only = ("cache-control", "only-if-cached");
    for range in ["bytes=500000-500099", "bytes=50-149", "bytes=-1", "bytes=100-"] {
        get_with(&node, "/a", &[only, ("range", range)]).await.expect_status(504);
        assert_eq!(origin.total(), 1, "{range}");
    }
    get_with(&node, "/a", &[only]).await.expect_status(504);
    let held = get_with(&node, "/a", &[only, ("range", "bytes=10-19")]).await.expect_status(206);
    assert_eq!(held.body, content(6, 1_000_000).slice(10..20));
    assert_eq!(origin.total(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_ignores_ranges_is_no_trouble() {
    let body = content(7, 8_000_000);
    let file = body.clone();
    let (origin, node) = site(move |_| Reply::cacheable(file.clone()).header("etag", "\"1\"")).await;
    for _ in 0..2 {
        for first in [7_999_999, 7_000_000, 4_000_000, 1] {
            let range = format!("bytes={first}-");
            let answer = get_with(&node, "/a", &[("range", &range)]).await;
            let expected = match answer.status {
                206 => body.slice(first..),
                200 => body.clone(),
                status => panic!("{range}: {status}"),
            };
            assert!(answer.body == expected, "{range}: {} {}", answer.status, answer.body.len());
        }
    }
    assert!(get(&node, "/a").await.body == body);
    assert!(origin.count("/a") <= 4, "{}", origin.count("/a"));
}

/// A connection that is reset when it is dropped: one that is only closed may still wait for its answer.
async fn resetting(node: &Node) -> RawConn {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_zero_linger().expect("a new socket can be told");
    let stream = socket.connect(node.http()).await.expect("the node listens");
    RawConn::over(stream, HOST)
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_left_are_not_counted_as_under_way() {
    let gate = Gate::new();
    let closed = gate.clone();
    let (_origin, node) = site(move |request| {
        let reply = Reply::cacheable(content(8, 100_000));
        if request.target == "/head" {
            reply.head_waits_at(&closed)
        } else {
            reply.body_waits_at(50_000, &closed)
        }
    })
    .await;
    // Followers and leaders, before the head and in mid body.
    let mut clients = Vec::new();
    for target in ["/head", "/head", "/body", "/body"] {
        let mut client = resetting(&node).await;
        client.write(request(target, &[]).encode(HOST)).await.expect("the node reads");
        clients.push(client);
    }
    under_way(&node, 4).await;
    drop(clients);
    under_way(&node, 0).await;
    gate.open();
    assert_eq!(get(&node, "/head").await.expect_status(200).body.len(), 100_000);
    under_way(&node, 0).await;
}
