//! HTTP/2: requests through the client of the `h2` crate, attacks as raw frames.

use std::{future::poll_fn, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use h2::{Reason, client::SendRequest};
use http::{Method, Request, StatusCode, Version};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Running, limits, run};
use crate::front::settings::Limits;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

async fn client(front: &Running) -> SendRequest<Bytes> {
    let (send, connection) = h2::client::handshake(front.connect().await).await.unwrap();
    tokio::task::spawn(connection);
    send.ready().await.unwrap()
}

fn get(path: &str) -> Request<()> {
    Request::builder().version(Version::HTTP_2).uri(format!("http://a.example{path}")).body(()).unwrap()
}

/// Sends one request without a body and gives status and body, or why the stream was reset.
async fn ask(client: &SendRequest<Bytes>, request: Request<()>) -> Result<(StatusCode, String), Reason> {
    let reason = |error: h2::Error| error.reason().unwrap();
    let mut client = client.clone().ready().await.map_err(reason)?;
    let (response, _) = client.send_request(request, true).map_err(reason)?;
    let response = response.await.map_err(reason)?;
    let status = response.status();
    let mut stream = response.into_body();
    let mut body = Vec::new();
    while let Some(piece) = stream.data().await {
        let piece = piece.map_err(reason)?;
        stream.flow_control().release_capacity(piece.len()).unwrap();
        body.extend_from_slice(&piece);
    }
    Ok((status, String::from_utf8(body).unwrap()))
}

#[tokio::test]
async fn a_request_reaches_the_handler_in_the_form_it_has_in_http1() {
    let front = run(limits()).await;
    let client = client(&front).await;
    let mut request = get("/x?y");
    for crumb in ["a=1", "b=2"] {
        request.headers_mut().append("cookie", crumb.parse().unwrap());
    }
    let (status, body) = ask(&client, request).await.unwrap();
    assert_eq!((status, body.as_str()), (StatusCode::OK, "GET a.example /x?y\ncookie: a=1; b=2\n"));
}

#[tokio::test]
async fn heads_that_contradict_themselves_are_refused() {
    let front = run(limits()).await;
    let client = client(&front).await;
    let with = |name: &'static str, value: &str| {
        let mut request = get("/");
        request.headers_mut().append(name, value.parse().unwrap());
        request
    };
    let mut trace = get("/");
    *trace.method_mut() = Method::TRACE;
    let mut https = get("/");
    *https.uri_mut() = "https://a.example/".parse().unwrap();
    let mut user = get("/");
    *user.uri_mut() = "http://u@a.example/".parse().unwrap();
    for (status, request) in [
        (400, with("host", "b.example")),
        (400, with("x", " padded")),
        (400, get("/%zz")),
        (400, get("/a\\b")),
        (400, https),
        (400, user),
        (405, trace),
        (417, {
            let mut request = with("expect", "wonders");
            *request.method_mut() = Method::POST;
            request
        }),
    ] {
        let text = format!("{request:?}");
        let (answered, _) = ask(&client, request).await.unwrap();
        assert_eq!(answered.as_u16(), status, "{text}");
    }
    assert_eq!(front.requests(), 0);
    assert!(ask(&client, with("host", "a.example")).await.is_ok());
}

#[tokio::test]
async fn a_body_that_ends_early_is_a_reset() {
    let front = run(limits()).await;
    let client = client(&front).await;
    for path in ["/broken", "/broken-sized", "/short", "/long"] {
        assert_eq!(ask(&client, get(path)).await, Err(Reason::INTERNAL_ERROR), "{path}");
    }
    assert_eq!(ask(&client, get("/pieces")).await, Ok((StatusCode::OK, "onetwothree".to_owned())));
    assert_eq!(ask(&client, get("/sized")).await, Ok((StatusCode::OK, "onetwo".to_owned())));
}

#[tokio::test]
async fn bodies_larger_than_every_window_pass() {
    let front = run(limits()).await;
    let client = client(&front).await;
    let mut request = get("/echo");
    *request.method_mut() = Method::POST;
    let (response, mut body) = client.clone().send_request(request, false).unwrap();
    let sent = Bytes::from(vec![b'x'; 3 << 20]);
    body.send_data(sent.clone(), true).unwrap();
    let mut stream = response.await.unwrap().into_body();
    let mut received = 0;
    while let Some(piece) = stream.data().await {
        let piece = piece.unwrap();
        stream.flow_control().release_capacity(piece.len()).unwrap();
        received += piece.len();
    }
    assert_eq!(received, sent.len());
}

#[tokio::test]
async fn a_body_too_large_is_refused() {
    let front = run(Limits { body_bytes_max: 1000, ..limits() }).await;
    let client = client(&front).await;
    let mut request = get("/echo");
    *request.method_mut() = Method::POST;
    let (response, mut body) = client.clone().send_request(request, false).unwrap();
    body.send_data(vec![b'x'; 2000].into(), true).unwrap();
    assert_eq!(response.await.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn interim_responses_precede_the_final_one() {
    let front = run(limits()).await;
    let client = client(&front).await;
    let (mut response, _) = client.clone().send_request(get("/interim"), true).unwrap();
    let interim = poll_fn(|cx| response.poll_informational(cx)).await.unwrap().unwrap();
    assert_eq!(interim.status(), StatusCode::EARLY_HINTS);
    assert_eq!(interim.headers()["link"], "</a.css>");
    assert_eq!(response.await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_stream_that_the_client_resets_is_not_worked_for() {
    let front = run(limits()).await;
    let client = client(&front).await;
    let (response, mut body) = client.clone().send_request(get("/wait"), false).unwrap();
    front.seen.waiting.notified().await;
    body.send_reset(Reason::CANCEL);
    drop(response);
    while front.seen.cancelled.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_client_that_opens_no_window_is_cut() {
    let front = run(Limits { write_idle_timeout: Duration::from_millis(50), ..limits() }).await;
    let client = client(&front).await;
    let (response, _) = client.clone().send_request(get("/endless"), true).unwrap();
    let mut stream = response.await.unwrap().into_body();
    let mut ended = None;
    while let Some(piece) = stream.data().await {
        if let Err(error) = piece {
            ended = error.reason();
            break;
        }
    }
    assert_eq!(ended, Some(Reason::CANCEL));
    assert_eq!(front.counters.timeout_write.get(), 1);
}

#[tokio::test]
async fn a_drain_finishes_streams() {
    let front = run(limits()).await;
    let client = client(&front).await;
    let (response, _) = client.clone().send_request(get("/wait"), true).unwrap();
    front.seen.waiting.notified().await;
    front.stop.cancel();
    front.seen.answer.notify_one();
    assert_eq!(response.await.unwrap().status(), StatusCode::OK);
    drop(client);
    assert_eq!(front.ended.await.unwrap().aborted, 0);
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `GET http://a/wait`, without the dynamic table.
fn head_block() -> Vec<u8> {
    [&[0x82, 0x86, 0x01, 1, b'a', 0x04, 5][..], b"/wait"].concat()
}

async fn greet(front: &Running) -> TcpStream {
    let mut stream = front.connect().await;
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, b"")].concat()).await.unwrap();
    stream
}

/// Sends what `more` gives until the front ends the connection. Gives the error code of its GOAWAY.
async fn attack(mut stream: TcpStream, mut more: impl FnMut(u32) -> Vec<u8>) -> Option<u32> {
    let (mut reader, mut writer) = stream.split();
    let write = async {
        for round in 0..100_000 {
            if writer.write_all(&more(round)).await.is_err() {
                return;
            }
        }
        panic!("the front put up with all of it");
    };
    let read = async {
        let mut received = Vec::new();
        let mut code = None;
        let mut buffer = [0; 4096];
        while let Ok(bytes @ 1..) = reader.read(&mut buffer).await {
            received.extend_from_slice(&buffer[..bytes]);
            while let [a, b, c, kind, ..] = received[..] {
                let length = 9 + u32::from_be_bytes([0, a, b, c]) as usize;
                if received.len() < length {
                    break;
                }
                if kind == GOAWAY {
                    code = received[13..17].try_into().ok().map(u32::from_be_bytes);
                }
                received.drain(..length);
            }
        }
        code
    };
    tokio::join!(write, read).1
}

#[tokio::test]
async fn a_rapid_reset_costs_the_attacker_its_connection() {
    let front = run(limits()).await;
    let stream = greet(&front).await;
    let code = attack(stream, |round| {
        let id = round * 2 + 1;
        let reset = frame(RST_STREAM, 0, id, &8_u32.to_be_bytes());
        [frame(HEADERS, END_STREAM | END_HEADERS, id, &head_block()), reset].concat()
    })
    .await;
    // The code may be lost when the attacker still writes: the connection is reset then.
    assert!(matches!(code, None | Some(11)), "{code:?}");
    assert!(front.requests() < 2000, "{} requests reached the handler", front.requests());
    assert!(front.counters.http2_errors.get() > 0);
}

#[tokio::test]
async fn a_reset_of_every_request_costs_the_attacker_its_connection() {
    let front = run(limits()).await;
    let mut client = client(&front).await;
    let mut cancelled = 0;
    while let Ok(ready) = client.clone().ready().await {
        client = ready;
        let Ok((response, mut body)) = client.send_request(get("/wait"), false) else { break };
        front.seen.waiting.notified().await;
        body.send_reset(Reason::CANCEL);
        drop(response);
        cancelled += 1;
        assert!(cancelled < 5000, "the front put up with all of it");
        if front.counters.http2_errors.get() > 0 {
            return;
        }
    }
}

#[tokio::test]
async fn a_flood_of_continuations_costs_the_attacker_its_connection() {
    let front = run(limits()).await;
    let mut stream = greet(&front).await;
    stream.write_all(&frame(HEADERS, END_STREAM, 1, &head_block())).await.unwrap();
    attack(stream, |_| frame(CONTINUATION, 0, 1, b"")).await;
    let mut stream = greet(&front).await;
    stream.write_all(&frame(HEADERS, END_STREAM, 1, &head_block())).await.unwrap();
    let field = [&[0x00, 1, b'x', 0x7f, 0x81, 0x7e][..], &[b'y'; 16_000]].concat();
    attack(stream, |_| frame(CONTINUATION, 0, 1, &field)).await;
    assert_eq!(front.requests(), 0);
    assert_eq!(front.counters.http2_errors.get(), 2);
}

#[tokio::test]
async fn malformed_heads_reach_nobody() {
    let front = run(limits()).await;
    let literal = |name: &[u8], value: &[u8]| {
        let lengths = |text: &[u8]| u8::try_from(text.len()).unwrap();
        [&[0x00, lengths(name)][..], name, &[lengths(value)], value].concat()
    };
    for (name, value) in [
        (&b"X"[..], &b"y"[..]),
        (b"connection", b"close"),
        (b"transfer-encoding", b"chunked"),
        (b"te", b"gzip"),
        (b"upgrade", b"h2c"),
        (b"x", b"a\r\nb: c"),
        (b"x", b"a\0b"),
        (b":path", b"/second"),
        (b"x y", b"z"),
        (b"content-length", b"5"),
    ] {
        let mut stream = greet(&front).await;
        let block = [head_block(), literal(name, value)].concat();
        stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)).await.unwrap();
        let mut received = Vec::new();
        while !received.windows(9).any(|bytes| bytes[3] == RST_STREAM && bytes[5..] == [0, 0, 0, 1])
            && !received.windows(9).any(|bytes| bytes[3] == GOAWAY && bytes[5..] == [0, 0, 0, 0])
        {
            assert!(stream.read_buf(&mut received).await.unwrap() > 0);
        }
        assert_eq!(front.requests(), 0, "{name:?}: {value:?}");
    }
}
