//! HTTP/2 by the letter: what RFC 9113 and RFC 7541 say of each frame, state and field, spoken frame by frame.
//!
//! The cases follow the sections of the RFC, as h2spec does. A connection error may show as GOAWAY or as the end of
//! the connection, a stream error also as a connection error; those are h2spec's rules. A malformed request may also be
//! answered with a 4xx, and must not have reached the origin.

mod case;
mod definitions;
mod flow;
mod framing;
mod messages;
mod session;

use std::{sync::Arc, time::Duration};

use case::Case;
use starling_tests::{Node, Received, Reply, TestOrigin, frames::Peer};
use tokio::task::JoinSet;

/// Cases under way at a time.
const TOGETHER: usize = 8;

/// An origin with `/slow`, so that a stream can still be open when the next frame comes.
async fn origin() -> TestOrigin {
    TestOrigin::start(|request: &Received| {
        let reply = Reply::new(200).header("cache-control", "no-store").body(vec![b'x'; 100]);
        if request.path() == "/slow" { reply.head_after(Duration::from_millis(300)) } else { reply }
    })
    .await
}

/// Plays all cases, each on a connection of its own, against one node.
async fn play(cases: Vec<Case>) {
    let origin = origin().await;
    let node = Arc::new(Node::before(&origin).await);
    let count = cases.len();
    let (mut faults, mut running) = (Vec::new(), JoinSet::new());
    for case in cases {
        if running.len() >= TOGETHER {
            faults
                .extend(running.join_next().await.expect("some are running").expect("a case does not panic"));
        }
        running.spawn(play_one(node.clone(), case));
    }
    while let Some(fault) = running.join_next().await {
        faults.extend(fault.expect("a case does not panic"));
    }
    for request in origin.requests() {
        if !matches!(request.target.as_str(), "/ok" | "/slow" | "/?q" | "*") {
            faults.push(format!("  the origin was asked: {:?}", request.raw_head));
        }
    }
    assert!(faults.is_empty(), "{} of {count} cases:\n{}", faults.len(), faults.join("\n"));
    node.get("/ok").await.expect_status(200);
}

async fn play_one(node: Arc<Node>, case: Case) -> Option<String> {
    let played = async {
        let mut peer = Peer::greeted(node.http(), &[]).await?;
        case.play(&mut peer).await
    };
    let fault = played.await.err()?;
    Some(format!("  {} | {}: {fault:#}", case.clause, case.name))
}

#[tokio::test]
async fn frames_have_a_form_and_a_size() {
    play(framing::format()).await;
}

#[tokio::test]
async fn streams_have_states() {
    play(framing::states()).await;
}

#[tokio::test]
async fn header_blocks_are_decoded_strictly() {
    play(framing::hpack()).await;
}

#[tokio::test]
async fn frames_of_streams_are_checked() {
    play(definitions::of_streams()).await;
}

#[tokio::test]
async fn frames_of_connections_are_checked() {
    play(definitions::of_connections()).await;
}

#[tokio::test]
async fn fields_are_checked() {
    play(messages::fields()).await;
}

#[tokio::test]
async fn pseudo_fields_are_checked() {
    play(messages::pseudo()).await;
}

#[tokio::test]
async fn bodies_match_their_lengths() {
    play(messages::bodies()).await;
}
