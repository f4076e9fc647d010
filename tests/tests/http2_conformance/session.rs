//! The beginning and the end of a connection, and what crosses from HTTP/2 to the origin
//! (RFC 9113 sections 3.3, 3.4, 5.1.2, 5.4.1, 6.5.3, 6.7, 8).

use starling_tests::{
    Gate, H2Client, Node, Received, Reply, Request, TestCa, TestOrigin,
    frames::{
        Frame, Heard, PREFACE, Peer, code, data, flag, get, headers, kind, ping, post, request, setting,
        settings,
    },
};

use crate::origin;

#[tokio::test]
async fn the_server_begins_with_settings() {
    let origin = origin().await;
    let node = Node::before(&origin).await;
    let mut peer = Peer::connect(node.http()).await.expect("the node listens");
    peer.send(&[PREFACE, &settings(&[])].concat()).await;
    let Heard::Frame(first) = peer.next().await else { panic!("RFC 9113 section 3.4: no server preface") };
    assert_eq!((first.kind, first.stream, first.has(flag::ACK)), (kind::SETTINGS, 0, false));
}

#[tokio::test]
async fn a_preface_may_come_byte_by_byte() {
    let origin = origin().await;
    let node = Node::before(&origin).await;
    let mut peer = Peer::connect(node.http()).await.expect("the node listens");
    for byte in [PREFACE, &settings(&[]), &get(1, "/ok")].concat() {
        peer.send(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(peer.response(1).await.expect("answered").0, 200);
}

#[tokio::test]
async fn requests_may_follow_the_preface_at_once() {
    let origin = origin().await;
    let node = Node::before(&origin).await;
    let mut peer = Peer::connect(node.http()).await.expect("the node listens");
    peer.send(&[PREFACE, &settings(&[]), &get(1, "/ok"), &get(3, "/ok")].concat()).await;
    assert_eq!(peer.response(1).await.expect("answered").0, 200);
}

#[tokio::test]
async fn what_follows_the_preface_must_be_frames_of_a_beginning() {
    let origin = origin().await;
    let node = Node::before(&origin).await;
    for first in [data(1, 0, *b"x"), PREFACE.to_vec(), b"GET / HTTP/1.1\r\n\r\n".to_vec()] {
        let mut peer = Peer::connect(node.http()).await.expect("the node listens");
        peer.send(&[PREFACE, &first].concat()).await;
        let goaway = peer.until_closed().await.expect("closed");
        assert!(matches!(goaway, None | Some(code::PROTOCOL_ERROR | code::FRAME_SIZE_ERROR)), "{goaway:?}");
    }
    assert_eq!(origin.total(), 0);
}

#[tokio::test]
async fn a_connection_error_ends_the_connection() {
    let origin = origin().await;
    let node = Node::before(&origin).await;
    let mut peer = Peer::greeted(node.http(), &[]).await.expect("greeted");
    peer.send(&[get(1, "/ok"), Frame::new(kind::PING, 0, 0, [0; 6]).bytes()].concat()).await;
    let goaway = peer.until_closed().await.expect("RFC 9113 section 5.4.1: closed after GOAWAY");
    assert!(matches!(goaway, None | Some(code::FRAME_SIZE_ERROR | code::PROTOCOL_ERROR)), "{goaway:?}");
}

#[tokio::test]
async fn settings_and_pings_are_acknowledged() {
    let origin = origin().await;
    let node = Node::before(&origin).await;
    let mut peer = Peer::greeted(node.http(), &[]).await.expect("greeted");
    peer.send(&[settings(&[(setting::ENABLE_PUSH, 0)]), ping(*b"12345678")].concat()).await;
    let (mut settled, mut answered) = (false, false);
    while !(settled && answered) {
        match peer.next().await {
            Heard::Frame(frame) if frame.kind == kind::SETTINGS && frame.has(flag::ACK) => {
                assert!(frame.payload.is_empty());
                settled = true;
            }
            Heard::Frame(frame) if frame.kind == kind::PING && frame.has(flag::ACK) => {
                assert_eq!(frame.payload, *b"12345678");
                answered = true;
            }
            Heard::Frame(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_gets_what_it_asked_for() {
    let origin = origin().await;
    let node = Node::before(&origin).await;
    let mut peer = Peer::greeted(node.http(), &[]).await.expect("greeted");
    peer.send(&[get(1, "/slow"), Frame::new(kind::GOAWAY, 0, 0, [0; 8]).bytes()].concat()).await;
    assert_eq!(peer.response(1).await.expect("answered").0, 200);
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_and_the_others_answered() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = TestOrigin::start(move |_: &Received| {
        Reply::new(200).header("cache-control", "no-store").head_waits_at(&held)
    })
    .await;
    let node = Node::builder().origin(origin.url()).toml("[limits]\nstreams_max = 8\n").start().await;
    let mut peer = Peer::greeted(node.http(), &[]).await.expect("greeted");
    let streams: Vec<u32> = (0..9).map(|index| index * 2 + 1).collect();
    for stream in &streams {
        peer.send(&get(*stream, &format!("/held/{stream}"))).await;
    }
    // RFC 9113 section 5.1.2: PROTOCOL_ERROR or REFUSED_STREAM.
    let refused = loop {
        match peer.next().await {
            Heard::Frame(frame) if matches!(frame.kind, kind::RST_STREAM | kind::GOAWAY) => break frame,
            Heard::Frame(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(refused.error_code(), Some(code::REFUSED_STREAM | code::PROTOCOL_ERROR)), "{refused:?}");
    gate.open();
    if refused.kind == kind::RST_STREAM {
        assert_eq!(refused.stream, 17);
        for _ in 0..8 {
            loop {
                match peer.next().await {
                    Heard::Frame(frame) if frame.kind == kind::HEADERS => {
                        break assert_eq!(frame.status(), Some(200));
                    }
                    Heard::Frame(_) => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    }
    assert!(origin.total() <= 8);
}

#[tokio::test]
async fn a_request_crosses_to_the_origin_whole() {
    let origin = origin().await;
    let node = Node::before(&origin).await;
    let mut peer = Peer::greeted(node.http(), &[]).await.expect("greeted");
    let more = [("cookie", "a=b"), ("cookie", "c=d"), ("te", "trailers"), ("x-test", "kept")];
    let fields = [&request("POST", "/ok")[..], &more].concat();
    let body =
        [headers(1, flag::END_HEADERS, &fields), data(1, 0, *b"hel"), data(1, flag::END_STREAM, *b"lo")]
            .concat();
    peer.send(&body).await;
    assert_eq!(peer.response(1).await.expect("answered").0, 200);
    let seen = origin.last("/ok").expect("forwarded");
    assert_eq!(seen.method, "POST");
    assert_eq!(seen.header("host"), Some("hostile.test"));
    assert_eq!(seen.body, "hello");
    // RFC 9113 section 8.2.3: crumbs are joined before they leave HTTP/2.
    let cookies: Vec<_> =
        seen.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("cookie")).collect();
    assert_eq!(cookies.len(), 1);
    assert_eq!(seen.header("cookie"), Some("a=b; c=d"));
    assert_eq!(seen.header("x-test"), Some("kept"));
    assert!(seen.headers.iter().all(|(name, _)| !name.starts_with(':')));
}

#[tokio::test]
async fn a_response_carries_no_field_of_the_connection() {
    let origin = TestOrigin::start(|_: &Received| {
        let hop = [
            ("connection", "x-hop, keep-alive"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("x-hop", "1"),
            ("upgrade", "h2c"),
        ];
        let reply =
            Reply::new(200).header("cache-control", "no-store").header("X-Kept", "1").body("x").chunked();
        hop.into_iter().fold(reply, |reply, (name, value)| reply.header(name, value))
    })
    .await;
    let node = Node::before(&origin).await;
    let client = H2Client::connect(node.http()).await;
    let response = client.send(&Request::get("/hop")).await.expect("RFC 9113 section 8.2.2");
    for field in ["connection", "keep-alive", "proxy-connection", "x-hop", "upgrade", "transfer-encoding"] {
        assert_eq!(response.header(field), None, "{field}");
    }
    assert_eq!(response.header("x-kept"), Some("1"));
    assert_eq!(response.text(), "x");
}

#[tokio::test]
async fn an_upload_that_is_reset_never_arrives_whole() {
    let origin = origin().await;
    let node = Node::before(&origin).await;
    let mut peer = Peer::greeted(node.http(), &[]).await.expect("greeted");
    peer.send(
        &[post(1, "/malformed"), data(1, 0, *b"half"), starling_tests::frames::reset(1, code::CANCEL)]
            .concat(),
    )
    .await;
    peer.send(&get(3, "/ok")).await;
    assert_eq!(peer.response(3).await.expect("answered").0, 200);
    assert_eq!(origin.count("/malformed"), 0);
}

#[tokio::test]
async fn tls_speaks_what_alpn_chose() {
    let origin = origin().await;
    let ca = TestCa::new();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let files = ca.issue(dir.path(), "node", &["hostile.test"]);
    let node = Node::builder().origin(origin.url()).certificate(&files).start().await;
    let (connection, chosen, _) =
        ca.connect(node.https(), "hostile.test", &["h2", "http/1.1"]).await.expect("TLS");
    assert_eq!(chosen.as_deref(), Some("h2"));
    let mut peer = Peer::over_connection(connection);
    peer.greet(&[]).await.expect("greeted");
    let fields = [(":method", "GET"), (":scheme", "https"), (":path", "/ok"), (":authority", "hostile.test")];
    peer.send(&headers(1, flag::END_BOTH, &fields)).await;
    assert_eq!(peer.response(1).await.expect("answered").0, 200);

    for (alpn, expected) in [(&["http/1.1"][..], Some("http/1.1")), (&[][..], None)] {
        let (mut connection, chosen, _) = ca.connect(node.https(), "hostile.test", alpn).await.expect("TLS");
        assert_eq!(chosen.as_deref(), expected);
        let response = connection.send(&Request::get("/ok")).await.expect("answered");
        assert_eq!(response.status, 200);
    }
}

#[tokio::test]
async fn errors_over_tls_are_errors() {
    let origin = origin().await;
    let ca = TestCa::new();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let files = ca.issue(dir.path(), "node", &["hostile.test"]);
    let node = Node::builder().origin(origin.url()).certificate(&files).start().await;
    let wrong = [
        Frame::new(kind::SETTINGS, 0, 1, []).bytes(),
        Frame::new(kind::PING, 0, 0, [0; 6]).bytes(),
        data(1, 0, *b"idle"),
        starling_tests::frames::window_update(0, 0),
        Frame::new(kind::HEADERS, flag::END_BOTH, 1, [0x80]).bytes(),
    ];
    for bytes in wrong {
        let (connection, _, _) = ca.connect(node.https(), "hostile.test", &["h2"]).await.expect("TLS");
        let mut peer = Peer::over_connection(connection);
        peer.greet(&[]).await.expect("greeted");
        peer.send(&bytes).await;
        let goaway = peer.until_closed().await.expect("closed");
        assert_ne!(goaway, Some(code::NO_ERROR), "{bytes:x?}");
    }
    assert_eq!(origin.total(), 0);
}
