//! What one peer may cost.

use tokio::io::AsyncReadExt as _;

use super::{
    raw::{all_of, configs, dial, endpoint, send},
    *,
};
use crate::link::frame::{Kind, frame};

fn greeting(keypair: &Keypair) -> Vec<u8> {
    frame(Kind::Hello, &hello(identity(keypair.clone()).ticket, 0)).expect("short").to_vec()
}

#[tokio::test]
async fn more_fetches_than_places_are_refused_as_busy() {
    for carrier in BOTH {
        let tight = Settings { questions_max: 2, ..settings() };
        let mut asked = Node::start_with(tight, Limits::default(), Keypair::generate_ed25519()).await;
        let asker = Node::start().await;
        let to = asked.peer(carrier);
        let question = fetch("/");
        let mut held = Vec::new();
        for _ in 0..2 {
            let both = async { tokio::join!(asker.link.ask(to, &question), asked.next_fetch()) };
            let (taken, incoming) = soon(both).await;
            held.push((taken.expect("taken on"), incoming));
        }
        let error = soon(asker.link.ask(to, &question)).await.map(drop).expect_err("busy");
        assert_eq!(error.kind, AskErrorKind::Refused(wire::Refusal::Busy));
        assert_eq!(asked.link.totals().busy, 1);
        held.clear();
        eventually(|| asked.stats_of(&asker).answering == 0).await;
        asked.serve();
        get(&asker, to, "/1").await.expect("there is room again");
    }
}

#[tokio::test]
async fn when_nobody_takes_fetches_peers_are_refused_at_once() {
    let (asker, mut asked) = (Node::start().await, Node::start().await);
    let to = asked.peer(Carrier::Tcp);
    asked.events.fetches.close();
    let error = get(&asker, to, "/1").await.expect_err("nobody answers");
    assert_eq!(error.kind, AskErrorKind::Refused(wire::Refusal::Draining));
}

#[tokio::test]
async fn more_connections_than_places_are_closed() {
    let tight = Settings { connections_max: 1, ..settings() };
    let asked = Node::start_with(tight, Limits::default(), Keypair::generate_ed25519()).await;
    let (tcp, _) = asked.link.addresses();
    let keypair = Keypair::generate_ed25519();
    let mut first = dial(tcp, configs(&keypair).client).await.expect("there is room");
    send(&mut first, &greeting(&keypair)).await;
    eventually(|| asked.link.stats().len() == 1).await;
    // A seat is for who was let in, so a peer without one hears nothing after its greeting.
    let mut second = dial(tcp, configs(&keypair).client).await.expect("the lobby has room");
    send(&mut second, &greeting(&keypair)).await;
    assert!(all_of(&mut second).await.is_empty());
    assert_eq!(asked.link.totals().connections_refused, 1);
    let other = Node::start().await;
    let error =
        get(&other, asked.peer(Carrier::Quic), "/1").await.expect_err("no seat by the other carrier either");
    assert!(!matches!(error.kind, AskErrorKind::Refused(_)), "{error}");
    drop(first);
    let is_greeted = async || {
        let mut again = dial(tcp, configs(&keypair).client).await.expect("the lobby has room");
        send(&mut again, &greeting(&keypair)).await;
        again.read(&mut [0; 1]).await.is_ok_and(|bytes| bytes == 1)
    };
    // The seat is free when the other side has noticed that the first has gone.
    soon(async { while !is_greeted().await {} }).await;
}

#[tokio::test]
async fn a_peer_that_asks_too_fast_is_cut_off() {
    for carrier in BOTH {
        let limits = Limits { questions_per_s_max: 20, ..Limits::default() };
        let mut asked = Node::start_with(settings(), limits, Keypair::generate_ed25519()).await;
        asked.serve();
        let asker = Node::start().await;
        let to = asked.peer(carrier);
        let cut_off = async {
            while asked.link.totals().cut_off == 0 {
                let _ = get(&asker, to, "/1").await;
            }
        };
        soon(cut_off).await;
        assert!(asked.stats_of(&asker).answered >= 20, "{carrier:?}");
    }
}

#[tokio::test]
async fn who_breaks_the_protocol_is_cut_off() {
    let asked = Node::start().await;
    let (tcp, udp) = asked.link.addresses();
    let question = frame(Kind::Fetch, &fetch("/")).expect("short");
    let mut too_long = vec![Kind::Fetch as u8];
    too_long.extend((1_u32 << 20).to_be_bytes());
    let twice = [&question[..], &question[..]].concat();
    let bad: [&[u8]; 4] = [b"hello?", &[Kind::Answer as u8, 0, 0, 0, 0], &too_long, &twice];
    for (nth, bytes) in bad.into_iter().enumerate() {
        let keypair = Keypair::generate_ed25519();
        let mut tls = dial(tcp, configs(&keypair).client).await.expect("its key is fine");
        send(&mut tls, &[&greeting(&keypair), bytes].concat()).await;
        let said = all_of(&mut tls).await;
        assert!(said.first().is_none_or(|kind| *kind == Kind::Hello as u8));
        eventually(|| asked.link.totals().cut_off == nth as u64 + 1).await;
    }
    for (nth, bytes) in bad[..3].iter().enumerate() {
        let keypair = Keypair::generate_ed25519();
        let connection = endpoint(&configs(&keypair)).connect(udp, "node").expect("an address").await;
        let connection = connection.expect("its key is fine");
        for bytes in [&greeting(&keypair)[..], bytes] {
            let (mut send, mut recv) = soon(connection.open_bi()).await.expect("a stream");
            send.write_all(bytes).await.expect("sent");
            send.finish().expect("once");
            let _ = soon(recv.read_to_end(1 << 20)).await;
        }
        soon(connection.closed()).await;
        eventually(|| asked.link.totals().cut_off == nth as u64 + 5).await;
    }
}

#[tokio::test]
async fn an_asker_that_never_reads_is_cut_in_the_end() {
    for carrier in BOTH {
        let limits = Limits { stall_timeout: Duration::from_millis(300), ..Limits::default() };
        let mut asked = Node::start_with(settings(), limits, Keypair::generate_ed25519()).await;
        asked.serve();
        let asker = Node::start().await;
        let held = asker.link.ask(asked.peer(carrier), &fetch("/60000000")).await.expect("taken on");
        let mut body = soon(held.answer()).await.expect("answered").body;
        eventually(|| asked.stats_of(&asker).answering == 0).await;
        assert_eq!(read(&mut body).await.expect_err("cut").kind, AskErrorKind::Broken);
    }
}

#[tokio::test]
async fn idle_connections_close_and_old_peers_are_forgotten() {
    for carrier in BOTH {
        let hasty = Settings { idle_timeout: Duration::from_millis(50), ..settings() };
        let limits = Limits { forget_after: Duration::from_millis(500), ..Limits::default() };
        let asker = Node::start_with(hasty, limits, Keypair::generate_ed25519()).await;
        let mut asked = Node::start_with(settings(), limits, Keypair::generate_ed25519()).await;
        asked.serve();
        get(&asker, asked.peer(carrier), "/1").await.expect("answered");
        assert_eq!(asked.stats_of(&asker).connections_in, 1);
        eventually(|| asker.link.stats().is_empty() && asked.link.stats().is_empty()).await;
    }
}

#[tokio::test]
async fn at_the_end_questions_under_way_are_answered_and_new_ones_are_not() {
    for carrier in BOTH {
        let (asker, mut asked) = (Node::start().await, Node::start().await);
        let (to, question) = (asked.peer(carrier), fetch("/"));
        let (held, incoming) =
            soon(async { tokio::join!(asker.link.ask(to, &question), asked.next_fetch()) }).await;
        let Node { _stop, running, link, .. } = asked;
        drop(_stop);
        soon(link.0.stopping.cancelled()).await;
        let mut sender = incoming.answering.answer(head(200)).await.expect("it waits");
        sender.send(pattern(70_000)).await.expect("it waits");
        sender.finish().await.expect("it waits");
        let mut body = soon(held.expect("taken on").answer()).await.expect("answered").body;
        let whole = read(&mut body).await.map(|whole| whole.len());
        assert_eq!(whole, Ok(70_000), "{carrier:?}");
        soon(running).await.expect("it ends");
        get(&asker, to, "/1").await.expect_err("nobody is there");
    }
}
