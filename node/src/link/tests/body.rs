//! Bodies: back-pressure, ends of all kinds.

use super::*;

/// What may be on its way at most while nobody reads: windows, kernel buffers, queues.
const ON_ITS_WAY_MAX: usize = 24 << 20;

async fn ask_and_take(asker: &Node, asked: &mut Node, carrier: Carrier) -> (Asked, Answering) {
    let (to, question) = (asked.peer(carrier), fetch("/"));
    let (held, incoming) =
        soon(async { tokio::join!(asker.link.ask(to, &question), asked.next_fetch()) }).await;
    (held.expect("taken on"), incoming.answering)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_stops_who_sends() {
    for carrier in BOTH {
        let (asker, mut asked) = (Node::start().await, Node::start().await);
        let (held, answering) = ask_and_take(&asker, &mut asked, carrier).await;
        let (sent, mut progress) = watch::channel(0);
        let sending = tokio::spawn(async move {
            let mut body = answering.answer(head(200)).await?;
            let piece = Bytes::from(vec![7; 64 << 10]);
            for nth in 1..=2 * ON_ITS_WAY_MAX / piece.len() {
                body.send(piece.clone()).await?;
                sent.send_replace(nth * piece.len());
            }
            body.finish().await
        });
        let mut body = soon(held.answer()).await.expect("answered").body;
        // It has stopped when nothing moves any more.
        while tokio::time::timeout(Duration::from_millis(300), progress.changed()).await.is_ok() {}
        let stopped_at = *progress.borrow();
        assert!(stopped_at < ON_ITS_WAY_MAX, "{stopped_at} bytes went nowhere over {carrier:?}");
        assert!(!sending.is_finished());
        let whole = read(&mut body).await.expect("it goes on when it is read");
        assert_eq!(whole.len(), 2 * ON_ITS_WAY_MAX);
        soon(sending).await.expect("no panic").expect("the asker waits");
    }
}

#[tokio::test]
async fn giving_up_reaches_who_answers() {
    for carrier in BOTH {
        let (asker, mut asked) = (Node::start().await, Node::start().await);
        // Before the head.
        let (held, mut answering) = ask_and_take(&asker, &mut asked, carrier).await;
        drop(held);
        soon(answering.cancelled()).await;
        assert_eq!(answering.answer(head(200)).await.map(drop), Err(Gone));
        // In the middle of a body, while it is idle and while it is sent.
        for is_idle in [true, false] {
            let (held, answering) = ask_and_take(&asker, &mut asked, carrier).await;
            let mut sender = answering.answer(head(200)).await.expect("it waits");
            sender.send(pattern(100_000)).await.expect("it waits");
            let mut body = soon(held.answer()).await.expect("answered").body;
            soon(body.next()).await.expect("a piece").expect("bytes");
            drop(body);
            if is_idle {
                soon(sender.cancelled()).await;
            }
            soon(async { while sender.send(pattern(100_000)).await.is_ok() {} }).await;
            assert_eq!(sender.finish().await, Err(Gone));
        }
        eventually(|| asked.stats_of(&asker).answering == 0).await;
        assert_eq!(asker.stats_of(&asked).asking, 0);
    }
}

#[tokio::test]
async fn a_question_given_up_before_it_is_taken_on_is_cancelled_too() {
    for carrier in BOTH {
        let (asker, mut asked) = (Node::start().await, Node::start().await);
        let (to, question) = (asked.peer(carrier), fetch("/"));
        let mut incoming = tokio::select! {
            biased;
            incoming = asked.next_fetch() => incoming,
            _ = async { let _held = asker.link.ask(to, &question).await; std::future::pending::<()>().await } => unreachable!(),
        };
        soon(incoming.answering.cancelled()).await;
    }
}

#[tokio::test]
async fn a_body_that_is_given_up_by_its_sender_is_broken_and_never_short() {
    for carrier in BOTH {
        let (asker, mut asked) = (Node::start().await, Node::start().await);
        let (held, answering) = ask_and_take(&asker, &mut asked, carrier).await;
        let mut sender = answering.answer(head(200)).await.expect("it waits");
        sender.send(pattern(1_000)).await.expect("it waits");
        drop(sender);
        let mut body = soon(held.answer()).await.expect("answered").body;
        let error = read(&mut body).await.expect_err("it is not whole");
        assert_eq!(error.kind, AskErrorKind::Broken);
        assert!(body.next().await.is_none(), "nothing after an error");
    }
}

#[tokio::test]
async fn a_body_dropped_at_its_end_costs_no_connection() {
    let (asker, mut asked) = (Node::start().await, Node::start().await);
    for _ in 0..3 {
        let (held, answering) = ask_and_take(&asker, &mut asked, Carrier::Tcp).await;
        let mut sender = answering.answer(head(200)).await.expect("it waits");
        sender.send(pattern(1_000)).await.expect("it waits");
        sender.finish().await.expect("it waits");
        let mut body = soon(held.answer()).await.expect("answered").body;
        assert_eq!(soon(body.next()).await.expect("a piece").expect("bytes"), pattern(1_000));
        // The end is on its way, or here; that it is not read is no reason to connect anew.
        eventually(|| asked.stats_of(&asker).answering == 0).await;
        drop(body);
    }
    assert_eq!(asker.stats_of(&asked).connects, 1);
}

#[tokio::test]
async fn who_works_long_is_waited_for_before_the_head_and_in_the_body() {
    for carrier in BOTH {
        let impatient = Settings { silence_timeout: Duration::from_millis(400), ..settings() };
        let start = || Node::start_with(impatient.clone(), Limits::default(), Keypair::generate_ed25519());
        let (asker, mut asked) = (start().await, start().await);
        let (held, answering) = ask_and_take(&asker, &mut asked, carrier).await;
        let long = impatient.silence_timeout * 3;
        let answer = async {
            // What is timed is the point here.
            tokio::time::sleep(long).await;
            let mut sender = answering.answer(head(200)).await?;
            sender.send(pattern(10)).await?;
            tokio::time::sleep(long).await;
            sender.send(pattern(10)).await?;
            sender.finish().await
        };
        let ask = async { read(&mut held.answer().await?.body).await };
        let (whole, sent) = soon(async { tokio::join!(ask, answer) }).await;
        assert_eq!(whole.expect("it was waited for").len(), 20, "{carrier:?}");
        sent.expect("the asker waits");
    }
}
