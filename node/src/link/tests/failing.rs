//! Peers that die, freeze, or are somebody else.

use super::{raw::Acted, *};
use crate::link::frame::Kind;

fn impatient() -> Settings {
    let short = Duration::from_millis(300);
    Settings { ack_timeout: short, silence_timeout: short, ..settings() }
}

async fn asker(settings: Settings) -> Node {
    Node::start_with(settings, Limits::default(), Keypair::generate_ed25519()).await
}

#[tokio::test]
async fn a_peer_that_dies_in_a_body_breaks_it() {
    for carrier in BOTH {
        let (asker, mut asked) = (asker(impatient()).await, Node::start().await);
        let (to, question) = (asked.peer(carrier), fetch("/"));
        let (held, incoming) =
            soon(async { tokio::join!(asker.link.ask(to, &question), asked.next_fetch()) }).await;
        let mut sender = incoming.answering.answer(head(200)).await.expect("it waits");
        sender.send(pattern(1_000)).await.expect("it waits");
        let mut body = soon(held.expect("taken on").answer()).await.expect("answered").body;
        soon(body.next()).await.expect("a piece").expect("bytes");
        // Its tasks end where they stand.
        asked.running.abort();
        let error = read(&mut body).await.expect_err("it is not whole");
        assert_eq!(error.kind, AskErrorKind::Broken, "{carrier:?}");
    }
}

#[tokio::test]
async fn a_frozen_peer_is_given_up_before_it_takes_the_question_on() {
    let (asker, frozen) = (asker(impatient()).await, Acted::new().await);
    let question = fetch("/");
    let (error, _held) =
        soon(async { tokio::join!(asker.link.ask(frozen.peer(), &question), frozen.accept_question()) })
            .await;
    assert_eq!(error.map(drop).expect_err("silent").kind, AskErrorKind::Silent);
}

#[tokio::test]
async fn a_peer_that_freezes_later_is_given_up_too() {
    let (asker, frozen) = (asker(impatient()).await, Acted::new().await);
    let question = fetch("/");
    // After it took the question on.
    let play = async {
        let mut framed = frozen.accept_question().await;
        framed.put_bare(Kind::Working);
        framed.flush(SOON).await.expect("sent");
        framed
    };
    let (held, _framed) = soon(async { tokio::join!(asker.link.ask(frozen.peer(), &question), play) }).await;
    let error = soon(held.expect("taken on").answer()).await.map(drop).expect_err("silent");
    assert_eq!(error.kind, AskErrorKind::Silent);
    // In the middle of a piece.
    let play = async {
        let mut framed = frozen.accept_question().await;
        framed.put(Kind::Answer, &head(200)).expect("short");
        framed.put_made(&[Kind::Data as u8, 0, 0, 0, 9, b'a']);
        framed.flush(SOON).await.expect("sent");
        framed
    };
    let (held, _framed) = soon(async { tokio::join!(asker.link.ask(frozen.peer(), &question), play) }).await;
    let mut body = soon(held.expect("taken on").answer()).await.expect("answered").body;
    assert_eq!(soon(body.next()).await.expect("a piece").expect("bytes"), b"a".as_slice());
    assert_eq!(read(&mut body).await.expect_err("silent").kind, AskErrorKind::Silent);
}

#[tokio::test]
async fn a_body_that_just_ends_is_broken() {
    let (asker, acted) = (asker(settings()).await, Acted::new().await);
    let question = fetch("/");
    let play = async {
        let mut framed = acted.accept_question().await;
        framed.put(Kind::Answer, &head(200)).expect("short");
        framed.put_made(&[Kind::Data as u8, 0, 0, 0, 1, b'a']);
        framed.flush(SOON).await.expect("sent");
    };
    let (held, ()) = soon(async { tokio::join!(asker.link.ask(acted.peer(), &question), play) }).await;
    let mut body = soon(held.expect("taken on").answer()).await.expect("answered").body;
    assert_eq!(read(&mut body).await.expect_err("no End came").kind, AskErrorKind::Broken);
}

#[tokio::test]
async fn somebody_else_at_the_address_is_asked_nothing() {
    for carrier in BOTH {
        let (asker, mut asked, other) = (Node::start().await, Node::start().await, Node::start().await);
        let wrong = Peer { id: other.identity.id, ..asked.peer(carrier) };
        let error = get(&asker, wrong, "/").await.expect_err("it is somebody else");
        assert!(matches!(error.kind, AskErrorKind::NotAdmitted(_)), "{:?}", error.kind);
        assert!(error.to_string().contains(&asked.identity.id.to_string()), "{error}");
        assert!(asked.link.stats().is_empty(), "it was told nothing, so it let nobody in");
        asked.serve();
        get(&asker, asked.peer(carrier), "/1").await.expect("the right one is asked");
        let myself = asker.peer(carrier);
        let error = get(&asker, myself, "/").await.expect_err("nobody asks itself");
        assert!(matches!(error.kind, AskErrorKind::NotAdmitted(_)), "{:?}", error.kind);
    }
}

#[tokio::test]
async fn a_connection_closed_while_it_idled_costs_no_question() {
    let (asker, acted) = (asker(settings()).await, Acted::new().await);
    let question = fetch("/");
    let ask = || async { asker.link.ask(acted.peer(), &question).await?.answer().await.map(|a| a.head) };
    // The peer answers once, then closes at the next question: as if it had closed just before.
    let play = async {
        let mut framed = acted.accept_question().await;
        framed.put(Kind::Answer, &head(201)).expect("short");
        framed.put_bare(Kind::End);
        framed.flush(SOON).await.expect("sent");
        framed
    };
    let (first, mut framed) = soon(async { tokio::join!(ask(), play) }).await;
    assert_eq!(first.expect("answered"), head(201));
    let play = async {
        let question = framed.next(crate::link::frame::Expect::Question).await.expect("a frame");
        assert!(question.is_some(), "it is asked on the same connection");
        drop(framed);
        let mut framed = acted.accept_question().await;
        framed.put(Kind::Answer, &head(202)).expect("short");
        framed.put_bare(Kind::End);
        framed.flush(SOON).await.expect("sent");
        framed
    };
    let (second, _framed) = soon(async { tokio::join!(ask(), play) }).await;
    assert_eq!(second.expect("asked again on a fresh one"), head(202));
}

#[tokio::test]
async fn a_peer_that_came_back_is_asked_at_once() {
    for carrier in BOTH {
        let asker = asker(settings()).await;
        let mut asked = Node::start().await;
        asked.serve();
        let to = asked.peer(carrier);
        get(&asker, to, "/1").await.expect("answered");
        let keypair = asked.identity.keypair.clone();
        let (listen, listen_quic) = asked.link.addresses();
        asked.running.abort();
        asked.link.0.endpoint.close(0u8.into(), b"");
        soon(asked.link.0.endpoint.wait_idle()).await;
        drop(asked);
        let again = Settings { listen, listen_quic, ..settings() };
        let mut asked = loop {
            // Its sockets close when its last task has ended.
            tokio::time::sleep(Duration::from_millis(5)).await;
            let free =
                std::net::UdpSocket::bind(listen_quic).is_ok() && std::net::TcpListener::bind(listen).is_ok();
            if free {
                break Node::start_with(again, Limits::default(), keypair).await;
            }
        };
        asked.serve();
        assert_eq!(get(&asker, to, "/2").await.expect("answered"), pattern(2), "{carrier:?}");
    }
}

#[tokio::test]
async fn garbage_for_an_answer_is_named() {
    let (asker, acted) = (asker(settings()).await, Acted::new().await);
    let question = fetch("/");
    let too_long = (256 << 10) + 1_u32;
    let mut long_data = vec![Kind::Data as u8];
    long_data.extend(too_long.to_be_bytes());
    let bad: [&[u8]; 4] =
        [b"HTTP/1.1 200", &[Kind::Fetch as u8, 0, 0, 0, 0], &[Kind::Answer as u8, 0, 0, 0, 1, 9], &long_data];
    for bytes in bad {
        let play = async {
            let mut framed = acted.accept_question().await;
            framed.put_made(bytes);
            framed.flush(SOON).await.expect("sent");
            framed
        };
        let (error, _framed) =
            soon(async { tokio::join!(asker.link.ask(acted.peer(), &question), play) }).await;
        let error = error.map(drop).expect_err("garbage");
        assert!(matches!(error.kind, AskErrorKind::Protocol(_)), "{:?}", error.kind);
    }
}
