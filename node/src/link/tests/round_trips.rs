//! What goes well.

use super::*;

#[tokio::test]
async fn what_is_asked_arrives_and_so_does_the_answer() {
    for carrier in BOTH {
        let (asker, mut asked) = (Node::start().await, Node::start().await);
        let (question, to) = (fetch("/a?b=c"), asked.peer(carrier));
        let answer = async {
            let Incoming { from, fetch, answering } = asked.next_fetch().await;
            assert_eq!((from, &fetch), (asker.identity.id, &question));
            let mut body = answering.answer(head(206)).await?;
            body.send(Bytes::from_static(b"hello ")).await?;
            body.send(Bytes::from_static(b"world")).await?;
            body.finish().await
        };
        let ask = async { asker.link.ask(to, &question).await?.answer().await };
        let (answered, sent) = soon(async { tokio::join!(ask, answer) }).await;
        sent.expect("the asker waits");
        let mut answered = answered.expect("answered");
        assert_eq!(answered.head, head(206));
        assert_eq!(read(&mut answered.body).await.expect("whole"), b"hello world");
        assert!(answered.body.next().await.is_none(), "it stays at its end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_all_sizes_arrive_whole_on_both_carriers() {
    for carrier in BOTH {
        let (asker, mut asked) = (Node::start().await, Node::start().await);
        asked.serve();
        for bytes in [0, 1, 1 << 10, 8 << 10, (8 << 10) + 1, 256 << 10, 5 << 20] {
            let whole = get(&asker, asked.peer(carrier), &format!("/{bytes}")).await.expect("answered");
            assert!(whole == pattern(bytes), "{bytes} over {carrier:?}");
        }
        let stats = asker.stats_of(&asked);
        assert_eq!((stats.connects, stats.reuses, stats.asked, stats.asking), (1, 6, 7, 0), "{carrier:?}");
        assert!(stats.bytes_in > 5 << 20, "{carrier:?}");
        assert!(stats.ack.is_some() && asker.link.usual_ack(asked.identity.id) >= stats.ack);
        let stats = asked.stats_of(&asker);
        assert_eq!((stats.answered, stats.connections_in), (7, 1), "{carrier:?}");
        assert!(stats.bytes_out > 5 << 20, "{carrier:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_questions_at_once_do_not_mix() {
    for carrier in BOTH {
        let (asker, mut asked) = (Node::start().await, Node::start().await);
        asked.serve();
        let mut askers = tokio::task::JoinSet::new();
        let to = asked.peer(carrier);
        for bytes in (0..24).map(|nth| 50_000 + nth * 7_001) {
            let link = asker.link.clone();
            askers.spawn(async move {
                let asked = link.ask(to, &fetch(&format!("/{bytes}"))).await.expect("taken on");
                let mut body = asked.answer().await.expect("answered").body;
                assert!(read(&mut body).await.expect("whole") == pattern(bytes));
            });
        }
        soon(askers.join_all()).await;
        let stats = asker.stats_of(&asked);
        assert_eq!(stats.connects + stats.reuses, 24);
        assert!(carrier == Carrier::Tcp || stats.connects == 1, "one QUIC connection carries all");
    }
}

#[tokio::test]
async fn a_refusal_names_its_reason_and_the_connection_goes_on() {
    for carrier in BOTH {
        let (asker, mut asked) = (Node::start().await, Node::start().await);
        let to = asked.peer(carrier);
        for dropped in [false, true] {
            let refuse = async {
                let answering = asked.next_fetch().await.answering;
                match dropped {
                    false => answering.refuse(wire::Refusal::NotStored).await,
                    true => drop(answering),
                }
            };
            let question = fetch("/");
            let ask = async { asker.link.ask(to, &question).await?.answer().await.map(drop) };
            let (error, ()) = soon(async { tokio::join!(ask, refuse) }).await;
            let error = error.expect_err("refused");
            assert_eq!(error.peer, Some(asked.identity.id));
            match (dropped, error.kind) {
                (false, AskErrorKind::Refused(wire::Refusal::NotStored)) => {}
                (true, AskErrorKind::Refused(wire::Refusal::Failed(_))) => {}
                (_, kind) => panic!("{kind:?}"),
            }
        }
        asked.serve();
        assert_eq!(get(&asker, to, "/3").await.expect("answered"), pattern(3));
        assert_eq!(asker.stats_of(&asked).connects, 1, "{carrier:?}");
        assert_eq!(asker.failed(&asked, "refused"), 2);
    }
}

#[tokio::test]
async fn calls_are_answered_also_while_all_places_for_fetches_are_taken() {
    for carrier in BOTH {
        let tight = Settings { questions_max: 1, ..settings() };
        let asker = Node::start_with(tight, Limits::default(), Keypair::generate_ed25519()).await;
        let mut asked = Node::start().await;
        let to = asked.peer(carrier);
        let question = fetch("/");
        let (held, incoming) =
            soon(async { tokio::join!(asker.link.ask(to, &question), asked.next_fetch()) }).await;
        let held = held.expect("taken on");
        let full = asker.link.ask(to, &question).await.map(drop).expect_err("one at a time");
        assert_eq!(full.kind, AskErrorKind::Full);
        let answer = async {
            let IncomingCall { from, call, reply } = asked.events.calls.recv().await.expect("a call");
            assert_eq!((from, call), (asker.identity.id, wire::Call::Ping));
            reply.send(wire::Reply::Pong).expect("it waits");
        };
        let (reply, ()) =
            soon(async { tokio::join!(asker.link.call(to, wire::Call::Ping, SOON), answer) }).await;
        assert_eq!(reply, Ok(wire::Reply::Pong));
        drop((held, incoming));
        assert_eq!(asker.stats_of(&asked).asking, 0);
    }
}

#[tokio::test]
async fn what_is_learnt_of_a_peer_is_reported() {
    let (mut asker, mut asked) = (Node::start().await, Node::start().await);
    asked.serve();
    get(&asker, asked.peer(Carrier::Tcp), "/1").await.expect("answered");
    let report = soon(asker.events.reports.recv()).await.expect("the link runs");
    assert_eq!(report.peer, asked.identity.id);
    assert!(report.outcome.expect("it took it on") < SOON);
    let nobody = Peer { address: asker.link.addresses().1, ..asked.peer(Carrier::Tcp) };
    let error = get(&asker, nobody, "/1").await.expect_err("nobody is there");
    assert_eq!(error.kind, AskErrorKind::Connect);
    let report = soon(asker.events.reports.recv()).await.expect("the link runs");
    assert_eq!(report.outcome, Err(AskErrorKind::Connect));
}
