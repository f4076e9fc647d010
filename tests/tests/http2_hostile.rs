//! Floods and bombs over HTTP/2 cost their sender, not the node: its memory stays bounded, other clients are
//! served, and the origin hears of little or nothing.
//!
//! Where the node can tell abuse from use it also ends the connection, and the test asks for that; a flood that
//! the node answers frame by frame, reading no faster than its answers leave, is contained without.

use std::time::Duration;

use starling_tests::{
    Gate, Node, Received, Reply, TestOrigin,
    frames::{
        Frame, Heard, Peer, block, code, continuation, data, flag, get, headers, integer, kind, literal,
        literal_indexed, ping, post, priority, request, reset, setting, settings, window_update,
    },
};

/// What an attack may add to the most memory the node ever held.
const MEMORY_BYTES_MAX: u64 = 96 << 20;

/// A node whose origin answers `/held/...` only when the test is over.
struct Stage {
    origin: TestOrigin,
    node: Node,
    memory_before: u64,
    gate: Gate,
}

impl Stage {
    async fn new(limits: &str) -> Self {
        let gate = Gate::new();
        let held = gate.clone();
        let origin = TestOrigin::start(move |request: &Received| match request.path() {
            "/alive" => Reply::cacheable("alive"),
            "/large" => Reply::new(200).header("cache-control", "no-store").body(vec![b'x'; 8 << 20]),
            _ => Reply::new(200).header("cache-control", "no-store").head_waits_at(&held),
        })
        .await;
        let node = Node::builder().origin(origin.url()).toml(format!("[limits]\n{limits}\n")).start().await;
        node.get("/alive").await.expect_status(200);
        let memory_before = node.rss_peak_bytes();
        Self { origin, node, memory_before, gate }
    }

    async fn attacker(&self, values: &[(u16, u32)]) -> Peer {
        Peer::greeted(self.node.http(), values).await.expect("greeted")
    }

    /// Others are served, the node's memory is bounded, and the origin was asked at most so often.
    async fn is_contained(&self, origin_requests_max: usize) {
        self.node.get("/alive").await.expect_status(200);
        let mut other = Peer::greeted(self.node.http(), &[]).await.expect("another client is greeted");
        other.send(&get(1, "/alive")).await;
        assert_eq!(other.response(1).await.expect("another client is answered").0, 200);
        let grown = self.node.rss_peak_bytes().saturating_sub(self.memory_before);
        assert!(grown <= MEMORY_BYTES_MAX, "the node grew by {} MiB", grown >> 20);
        let asked = self.origin.total() - self.origin.count("/alive");
        assert!(asked <= origin_requests_max, "the origin was asked {asked} times");
        self.gate.open();
    }
}

/// How a flood went.
#[derive(Debug, PartialEq, Eq)]
enum Flood {
    /// The node ended the connection; the code of its GOAWAY if one was heard.
    Ended(Option<u32>),
    /// All of it was taken, or the node stopped reading.
    Taken,
}

/// Sends batch after batch, listening in between so that the node is never blocked by our silence.
async fn flood(peer: &mut Peer, batches: u32, mut batch: impl FnMut(u32) -> Vec<u8>) -> Flood {
    let mut goaway = None;
    for index in 0..batches {
        let sent = peer.send(&batch(index)).await;
        loop {
            match peer.next_within(Duration::from_millis(1)).await {
                Heard::Frame(frame) if frame.kind == kind::GOAWAY => goaway = frame.error_code(),
                Heard::Frame(_) => {}
                Heard::Closed => return Flood::Ended(goaway),
                Heard::Silence => break,
            }
        }
        if !sent {
            break;
        }
    }
    match peer.until_closed().await {
        Ok(code) => Flood::Ended(code.or(goaway)),
        Err(_) if goaway.is_some_and(|code| code != code::NO_ERROR) => Flood::Ended(goaway),
        Err(_) => Flood::Taken,
    }
}

/// The streams of a client, `per_batch` in each batch.
fn streams(batch: u32, per_batch: u32) -> impl Iterator<Item = u32> {
    (0..per_batch).map(move |index| (batch * per_batch + index) * 2 + 1)
}

/// CVE-2023-44487.
#[tokio::test]
async fn rapid_reset_ends_the_connection() {
    let stage = Stage::new("").await;
    let mut attacker = stage.attacker(&[]).await;
    let flood = flood(&mut attacker, 200, |batch| {
        streams(batch, 250)
            .flat_map(|stream| {
                [get(stream, &format!("/held/{stream}")), reset(stream, code::CANCEL)].concat()
            })
            .collect()
    })
    .await;
    assert!(matches!(flood, Flood::Ended(_)), "50,000 streams were opened and reset");
    stage.is_contained(5_000).await;
}

#[tokio::test]
async fn a_few_resets_are_use_and_no_abuse() {
    let stage = Stage::new("").await;
    let mut client = stage.attacker(&[]).await;
    for stream in streams(0, 20) {
        client.send(&[get(stream, &format!("/held/{stream}")), reset(stream, code::CANCEL)].concat()).await;
    }
    client.send(&get(101, "/alive")).await;
    assert_eq!(client.response(101).await.expect("answered").0, 200);
    stage.is_contained(20).await;
}

/// CVE-2025-8671: the client makes the server reset its own streams, which no count of client resets sees.
#[tokio::test]
async fn provoked_resets_end_the_connection() {
    type Provocation = fn(u32) -> Vec<u8>;
    let provocations: [(&str, Provocation); 5] = [
        ("WINDOW_UPDATE of zero", |stream| window_update(stream, 0)),
        ("WINDOW_UPDATE that overflows", |stream| window_update(stream, (1 << 31) - 1)),
        ("DATA after the end", |stream| data(stream, flag::END_STREAM, *b"x")),
        ("HEADERS after the end", |stream| get(stream, "/held/again")),
        ("PRIORITY of four octets", |stream| Frame::new(kind::PRIORITY, 0, stream, [0; 4]).bytes()),
    ];
    for (name, provoke) in provocations {
        let stage = Stage::new("").await;
        let mut attacker = stage.attacker(&[]).await;
        let flood = flood(&mut attacker, 100, |batch| {
            streams(batch, 250)
                .flat_map(|stream| [get(stream, &format!("/held/{stream}")), provoke(stream)].concat())
                .collect()
        })
        .await;
        assert!(matches!(flood, Flood::Ended(_)), "{name}: 25,000 times");
        stage.is_contained(5_000).await;
    }
}

#[tokio::test]
async fn malformed_requests_without_end_end_the_connection_or_cost_nothing() {
    let stage = Stage::new("").await;
    let mut attacker = stage.attacker(&[]).await;
    flood(&mut attacker, 100, |batch| {
        streams(batch, 250)
            .flat_map(|stream| {
                headers(
                    stream,
                    flag::END_BOTH,
                    &[&request("GET", "/held/x")[..], &[("connection", "x")]].concat(),
                )
            })
            .collect()
    })
    .await;
    stage.is_contained(0).await;
}

/// CVE-2024-27316 and its kin.
#[tokio::test]
async fn a_continuation_flood_ends_the_connection() {
    let mut fields = Vec::new();
    for index in 0..100 {
        literal(&mut fields, format!("x-{index}").as_bytes(), &[b'x'; 140]);
    }
    for (name, piece) in [("full", fields), ("empty", Vec::new()), ("tiny", block(&[("a", "b")]))] {
        let stage = Stage::new("").await;
        let mut attacker = stage.attacker(&[]).await;
        attacker.send(&headers(1, flag::END_STREAM, &request("GET", "/held/1"))).await;
        let frames = if piece.len() > 1000 { 32 } else { 1000 };
        let frame = continuation(1, flag::NONE, piece);
        let flood = flood(&mut attacker, 200, |_| frame.repeat(frames)).await;
        assert!(matches!(flood, Flood::Ended(_)), "{name} CONTINUATION frames without end");
        stage.is_contained(0).await;
    }
}

/// CVE-2019-9515, CVE-2019-9512: the attacker also never reads, so that the answers pile up.
#[tokio::test]
async fn frames_that_want_an_answer_do_not_pile_up() {
    for (name, frame) in [
        ("SETTINGS", settings(&[])),
        ("SETTINGS with values", settings(&[(setting::INITIAL_WINDOW_SIZE, 65_535)])),
        ("PING", ping(*b"flooding")),
    ] {
        let stage = Stage::new("").await;
        let mut deaf = stage.attacker(&[]).await;
        let batch = frame.repeat(10_000);
        for _ in 0..100 {
            // Fails when the node stops reading or closes; either will do.
            let sent = tokio::time::timeout(Duration::from_secs(2), deaf.send(&batch)).await;
            if sent != Ok(true) {
                break;
            }
        }
        stage.is_contained(0).await;
        let mut listening = stage.attacker(&[]).await;
        flood(&mut listening, 100, |_| frame.repeat(1_000)).await;
        println!("{name}: contained");
        stage.is_contained(0).await;
    }
}

/// CVE-2019-9518, CVE-2019-9513 and frames that mean nothing.
#[tokio::test]
async fn frames_that_say_nothing_cost_nothing() {
    let padding = [vec![255], vec![0; 255]].concat();
    let floods: [(&str, Vec<u8>); 6] = [
        ("empty DATA", data(1, flag::NONE, [])),
        ("DATA of padding", Frame::new(kind::DATA, flag::PADDED, 1, padding).bytes()),
        ("PRIORITY of one stream", priority(3, 1)),
        ("WINDOW_UPDATE of the connection", window_update(0, 1)),
        ("unknown frames", Frame::new(0xee, 0, 0, *b"whatever").bytes()),
        ("PRIORITY_UPDATE", Frame::new(kind::PRIORITY_UPDATE, 0, 0, *b"\0\0\0\x01u=1").bytes()),
    ];
    for (name, frame) in floods {
        let stage = Stage::new("").await;
        let mut attacker = stage.attacker(&[]).await;
        attacker.send(&post(1, "/held/1")).await;
        flood(&mut attacker, 300, |_| frame.repeat(1_000)).await;
        println!("{name}: contained");
        stage.is_contained(1).await;
    }
}

#[tokio::test]
async fn priority_churn_over_many_streams_costs_nothing() {
    let stage = Stage::new("").await;
    let mut attacker = stage.attacker(&[]).await;
    flood(&mut attacker, 300, |batch| {
        streams(batch, 1_000).flat_map(|stream| priority(stream, stream + 2)).collect()
    })
    .await;
    stage.is_contained(0).await;
}

/// CVE-2019-9517: many responses asked for, no window to send them in.
#[tokio::test]
async fn a_client_without_a_window_is_cut_off() {
    let stage = Stage::new("write_idle_timeout_ms = 1000").await;
    let mut attacker = stage.attacker(&[(setting::INITIAL_WINDOW_SIZE, 0)]).await;
    attacker.send(&streams(0, 100).flat_map(|stream| get(stream, "/large")).collect::<Vec<_>>()).await;
    let mut open: Vec<u32> = streams(0, 100).collect();
    // Each stream is reset, or the connection ends.
    while !open.is_empty() {
        match attacker.next_within(starling_tests::PATIENCE).await {
            Heard::Frame(frame) if frame.kind == kind::RST_STREAM => {
                open.retain(|stream| *stream != frame.stream)
            }
            Heard::Frame(frame) => assert_ne!(frame.kind, kind::DATA, "there was no window"),
            Heard::Closed => break,
            Heard::Silence => panic!("{} streams are still waiting", open.len()),
        }
    }
    stage.is_contained(100).await;
}

#[tokio::test]
async fn a_window_opened_byte_by_byte_does_not_hold_memory() {
    let stage = Stage::new("write_idle_timeout_ms = 1000\nwrite_rate_min_bytes = 100000").await;
    let mut attacker = stage.attacker(&[(setting::INITIAL_WINDOW_SIZE, 1)]).await;
    attacker.send(&streams(0, 50).flat_map(|stream| get(stream, "/large")).collect::<Vec<_>>()).await;
    let mut open: Vec<u32> = streams(0, 50).collect();
    while !open.is_empty() {
        match attacker.next_within(Duration::from_millis(20)).await {
            Heard::Frame(frame) if frame.kind == kind::RST_STREAM => {
                open.retain(|stream| *stream != frame.stream)
            }
            Heard::Frame(frame) => assert!(
                frame.kind != kind::DATA || !frame.has(flag::END_STREAM),
                "8 MiB came in single bytes"
            ),
            Heard::Closed => break,
            Heard::Silence => {
                attacker
                    .send(&open.iter().flat_map(|stream| window_update(*stream, 1)).collect::<Vec<_>>())
                    .await;
            }
        }
    }
    stage.is_contained(50).await;
}

/// CVE-2016-6581: small on the wire, large in memory.
#[tokio::test]
async fn an_hpack_bomb_is_refused() {
    let stage = Stage::new("").await;
    let mut attacker = stage.attacker(&[]).await;
    let flood = flood(&mut attacker, 200, |batch| {
        let mut fields = block(&request("GET", "/held/bomb"));
        literal_indexed(&mut fields, b"x-bomb", &[b'x'; 4000]);
        // 62 is the newest entry of the dynamic table.
        fields.extend([0x80 | 62; 12_000]);
        Frame::new(kind::HEADERS, flag::END_BOTH, batch * 2 + 1, fields).bytes()
    })
    .await;
    println!("{flood:?}");
    stage.is_contained(0).await;
}

#[tokio::test]
async fn a_header_list_over_the_limit_is_refused() {
    let stage = Stage::new("").await;
    let long = "x".repeat(2_000);
    let many: Vec<(String, &str)> = (0..20).map(|index| (format!("x-{index}"), long.as_str())).collect();
    let small: Vec<(String, &str)> = (0..120).map(|index| (format!("x-{index}"), "y")).collect();
    let path = format!("/held/{}", "x".repeat(9 << 10));
    let cookies: Vec<(String, &str)> = (0..40).map(|_| ("cookie".to_owned(), &long[..1_000])).collect();
    for (name, path, fields) in [
        ("40 KB", "/held/1", many),
        ("120 fields", "/held/2", small),
        ("a long path", path.as_str(), vec![]),
        ("crumbs", "/held/3", cookies),
    ] {
        let mut client = stage.attacker(&[]).await;
        let mut payload = block(&request("GET", path));
        for (field, value) in &fields {
            literal(&mut payload, field.as_bytes(), value.as_bytes());
        }
        let mut pieces = payload.chunks(16_000);
        let mut bytes =
            Frame::new(kind::HEADERS, flag::END_STREAM, 1, pieces.next().expect("not empty")).bytes();
        for piece in pieces {
            bytes.extend(continuation(1, flag::NONE, piece));
        }
        bytes.extend(continuation(1, flag::END_HEADERS, []));
        client.send(&bytes).await;
        loop {
            match client.next().await {
                Heard::Frame(frame) if frame.kind == kind::HEADERS => {
                    assert!(matches!(frame.status(), Some(400 | 414 | 431)), "{name}: {:?}", frame.status());
                    break;
                }
                Heard::Frame(frame) if matches!(frame.kind, kind::RST_STREAM | kind::GOAWAY) => break,
                Heard::Frame(_) => {}
                Heard::Closed => break,
                Heard::Silence => panic!("{name}: no answer"),
            }
        }
    }
    stage.is_contained(0).await;
}

#[tokio::test]
async fn integers_and_strings_that_claim_too_much_are_not_believed() {
    let stage = Stage::new("").await;
    for _ in 0..20 {
        let mut attacker = stage.attacker(&[]).await;
        let mut fields = block(&request("GET", "/held/claim"));
        fields.push(0x10);
        integer(&mut fields, 0x00, 7, 1 << 31);
        attacker.send(&Frame::new(kind::HEADERS, flag::END_STREAM, 1, fields).bytes()).await;
        attacker.send(&continuation(1, flag::END_HEADERS, [])).await;
        attacker.until_closed().await.expect("closed");
    }
    stage.is_contained(0).await;
}

#[tokio::test]
async fn streams_beyond_the_limit_do_not_reach_the_origin() {
    let stage = Stage::new("streams_max = 16").await;
    let mut attacker = stage.attacker(&[]).await;
    flood(&mut attacker, 100, |batch| {
        streams(batch, 100).flat_map(|stream| get(stream, &format!("/held/{stream}"))).collect()
    })
    .await;
    stage.is_contained(16).await;
}

#[tokio::test]
async fn uploads_that_never_go_on_are_cut_off() {
    let stage = Stage::new("body_idle_timeout_ms = 500\nidle_timeout_ms = 1000").await;
    let mut attacker = stage.attacker(&[]).await;
    attacker
        .send(
            &streams(0, 50)
                .flat_map(|stream| [post(stream, "/held/upload"), data(stream, 0, *b"x")].concat())
                .collect::<Vec<_>>(),
        )
        .await;
    let mut open: Vec<u32> = streams(0, 50).collect();
    while !open.is_empty() {
        match attacker.next_within(starling_tests::PATIENCE).await {
            Heard::Frame(frame) if frame.kind == kind::RST_STREAM => {
                open.retain(|stream| *stream != frame.stream)
            }
            Heard::Frame(frame) if frame.kind == kind::HEADERS => {
                assert!(
                    frame.status().is_some_and(|status| (400..600).contains(&status)),
                    "{:?}",
                    frame.status()
                );
                open.retain(|stream| *stream != frame.stream);
            }
            Heard::Frame(_) => {}
            Heard::Closed => break,
            Heard::Silence => panic!("{} uploads are still open", open.len()),
        }
    }
    stage.is_contained(0).await;
}
