//! The server keeps to the windows and frame sizes that the client grants (RFC 9113 sections 5.2, 6.5.2, 6.9).

use starling_tests::{
    Node, Received, Reply, TestOrigin,
    frames::{Frame, Heard, Peer, flag, get, kind, ping, setting, settings, window_update},
};

const BODY_BYTES: usize = 200_000;

async fn stage() -> (TestOrigin, Node) {
    let origin = TestOrigin::start(|_: &Received| {
        Reply::new(200).header("cache-control", "no-store").body(vec![b'x'; BODY_BYTES])
    })
    .await;
    let node = Node::before(&origin).await;
    (origin, node)
}

/// The next `DATA` of any stream.
async fn next_data(peer: &mut Peer) -> Frame {
    loop {
        match peer.next().await {
            Heard::Frame(frame) if frame.kind == kind::DATA => return frame,
            Heard::Frame(frame) if matches!(frame.kind, kind::RST_STREAM | kind::GOAWAY) => {
                panic!("{frame:?}")
            }
            Heard::Frame(_) => {}
            other => panic!("waiting for DATA: {other:?}"),
        }
    }
}

/// How many bytes of `DATA` come before the answer to a `PING`. What the windows do not allow never comes.
async fn data_before_pong(peer: &mut Peer, mark: &[u8; 8]) -> usize {
    peer.send(&ping(*mark)).await;
    let mut bytes = 0;
    loop {
        match peer.next().await {
            Heard::Frame(frame) if frame.kind == kind::DATA => bytes += frame.payload.len(),
            Heard::Frame(frame) if frame.kind == kind::PING && frame.payload == mark => return bytes,
            Heard::Frame(frame) if matches!(frame.kind, kind::RST_STREAM | kind::GOAWAY) => {
                panic!("{frame:?}")
            }
            Heard::Frame(_) => {}
            other => panic!("waiting for the answer to PING: {other:?}"),
        }
    }
}

/// Reads `DATA` until so many bytes have come, exactly.
async fn data_of(peer: &mut Peer, count: usize) {
    let mut bytes = 0;
    while bytes < count {
        bytes += next_data(peer).await.payload.len();
    }
    assert_eq!(bytes, count);
}

#[tokio::test]
async fn a_window_of_one_byte_is_kept() {
    let (_origin, node) = stage().await;
    let mut peer = Peer::greeted(node.http(), &[(setting::INITIAL_WINDOW_SIZE, 1)]).await.expect("greeted");
    peer.send(&get(1, "/")).await;
    assert_eq!(next_data(&mut peer).await.payload.len(), 1);
    assert_eq!(data_before_pong(&mut peer, b"one more").await, 0);
    peer.send(&window_update(1, 5)).await;
    data_of(&mut peer, 5).await;
    assert_eq!(data_before_pong(&mut peer, b"no more!").await, 0);
}

#[tokio::test]
async fn a_setting_opens_the_windows_of_streams_under_way() {
    let (_origin, node) = stage().await;
    let mut peer = Peer::greeted(node.http(), &[(setting::INITIAL_WINDOW_SIZE, 0)]).await.expect("greeted");
    peer.send(&get(1, "/")).await;
    peer.send(&settings(&[(setting::INITIAL_WINDOW_SIZE, 1)])).await;
    assert_eq!(next_data(&mut peer).await.payload.len(), 1);
}

#[tokio::test]
async fn a_window_may_become_negative() {
    let (_origin, node) = stage().await;
    let mut peer = Peer::greeted(node.http(), &[(setting::INITIAL_WINDOW_SIZE, 3)]).await.expect("greeted");
    peer.send(&get(1, "/")).await;
    data_of(&mut peer, 3).await;
    // The window is 2 - 3 = -1, then 1.
    peer.send(&settings(&[(setting::INITIAL_WINDOW_SIZE, 2)])).await;
    assert_eq!(data_before_pong(&mut peer, b"negative").await, 0);
    peer.send(&window_update(1, 2)).await;
    assert_eq!(next_data(&mut peer).await.payload.len(), 1);
}

#[tokio::test]
async fn of_two_values_of_a_setting_the_last_counts() {
    let (_origin, node) = stage().await;
    let mut peer =
        Peer::greeted(node.http(), &[(setting::INITIAL_WINDOW_SIZE, 100), (setting::INITIAL_WINDOW_SIZE, 1)])
            .await
            .expect("greeted");
    peer.send(&get(1, "/")).await;
    assert_eq!(next_data(&mut peer).await.payload.len(), 1);
}

#[tokio::test]
async fn the_window_of_the_connection_is_shared_by_its_streams() {
    let (_origin, node) = stage().await;
    let mut peer =
        Peer::greeted(node.http(), &[(setting::INITIAL_WINDOW_SIZE, 1 << 20)]).await.expect("greeted");
    peer.send(&[get(1, "/"), get(3, "/")].concat()).await;
    data_of(&mut peer, 65_535).await;
    assert_eq!(data_before_pong(&mut peer, b"is full!").await, 0);
    peer.send(&window_update(0, (2 * BODY_BYTES) as u32)).await;
    data_of(&mut peer, 2 * BODY_BYTES - 65_535).await;
}

#[tokio::test]
async fn no_frame_is_larger_than_the_client_takes() {
    let (_origin, node) = stage().await;
    let mut peer =
        Peer::greeted(node.http(), &[(setting::INITIAL_WINDOW_SIZE, 1 << 20)]).await.expect("greeted");
    peer.send(&[window_update(0, 1 << 20), get(1, "/")].concat()).await;
    let mut bytes = 0;
    loop {
        let frame = next_data(&mut peer).await;
        assert!(frame.payload.len() <= 1 << 14, "{} bytes in one frame", frame.payload.len());
        bytes += frame.payload.len();
        if frame.has(flag::END_STREAM) {
            break;
        }
    }
    assert_eq!(bytes, BODY_BYTES);
}
