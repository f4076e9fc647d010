//! Greetings.

use super::{raw::Acted, *};
use crate::link::frame::Kind;

#[tokio::test]
async fn a_greeting_tells_both_sides_who_the_other_is_and_whom_it_knows() {
    let (mut one, mut other) = (Node::start().await, Node::start().await);
    let (address, _) = other.link.addresses();
    let greeting = soon(one.link.greet(address, None)).await.expect("greeted");
    assert_eq!((greeting.from, greeting.address), (other.identity.id, address));
    assert_eq!(greeting.hello, **other.hello.borrow());
    // The connection alone says that a peer is there; the greeting, whom it knows.
    let first = soon(other.events.greetings.recv()).await.expect("the link runs");
    assert_eq!((first.from, first.hello.roster.len()), (one.identity.id, 0));
    let second = soon(other.events.greetings.recv()).await.expect("the link runs");
    assert_eq!((second.from, second.hello), (one.identity.id, (**one.hello.borrow()).clone()));

    other.serve();
    get(&one, other.peer(Carrier::Tcp), "/1").await.expect("answered");
    let stats = one.stats_of(&other);
    assert_eq!((stats.connects, stats.reuses), (1, 1), "the greeting's connection is used again");
    assert!(other.events.greetings.try_recv().is_err(), "a question is no greeting");
    assert!(one.events.greetings.try_recv().is_err(), "who greets is told by the answer alone");
}

#[tokio::test]
async fn what_is_said_is_what_is_so_by_then() {
    let (one, other) = (Node::start().await, Node::start().await);
    let (address, _) = other.link.addresses();
    for roster in [0, 7, 2_000] {
        other.hello.send_replace(Arc::new(hello(other.identity.ticket.clone(), roster)));
        let greeting = soon(one.link.greet(address, Some(other.identity.id))).await.expect("greeted");
        assert_eq!(greeting.hello.roster.len(), roster);
    }
}

#[tokio::test]
async fn a_roster_too_long_to_be_sent_is_left_out() {
    let (one, other) = (Node::start().await, Node::start().await);
    let (address, _) = other.link.addresses();
    other.hello.send_replace(Arc::new(hello(other.identity.ticket.clone(), 20_000)));
    let greeting = soon(one.link.greet(address, None)).await.expect("greeted");
    assert_eq!(greeting.hello.roster.len(), 0);
}

#[tokio::test]
async fn who_is_not_expected_is_told_nothing() {
    let (one, mut other) = (Node::start().await, Node::start().await);
    let (address, _) = other.link.addresses();
    let error = soon(one.link.greet(address, Some(one.identity.id))).await.map(drop).expect_err("another");
    assert!(matches!(error.kind, AskErrorKind::NotAdmitted(_)), "{:?}", error.kind);
    let (nobody, _) = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .and_then(|listener| listener.local_addr().map(|address| (address, listener)))
        .expect("bound");
    let error = soon(one.link.greet(nobody, None)).await.map(drop).expect_err("nobody");
    assert_eq!((error.peer, error.kind), (None, AskErrorKind::Connect));
    eventually(|| other.link.totals().strangers == 1).await;
    assert!(other.events.greetings.try_recv().is_err());
}

#[tokio::test]
async fn the_roster_is_for_who_has_shown_a_ticket() {
    let (one, impostor) = (Node::start().await, Acted::new().await);
    for ticket in [open(claim(impostor.identity.id)), one.identity.ticket.clone()] {
        let play = async {
            let mut framed = impostor.accept().await;
            framed.put(Kind::Hello, &hello(ticket.clone(), 0)).expect("short");
            framed.flush(SOON).await.expect("sent");
            // Nothing else comes.
            framed.next(crate::link::frame::Expect::Question).await
        };
        let address = impostor.peer().address;
        let (error, next) = soon(async { tokio::join!(one.link.greet(address, None), play) }).await;
        let error = error.map(drop).expect_err("no ticket");
        assert!(matches!(error.kind, AskErrorKind::NotAdmitted(_)), "{:?}", error.kind);
        assert!(!matches!(next, Ok(Some(_))), "{next:?}");
    }
}

#[tokio::test]
async fn greetings_that_nobody_takes_are_dropped_and_counted() {
    let (one, other) = (Node::start().await, Node::start().await);
    let (address, _) = other.link.addresses();
    for _ in 0..70 {
        soon(one.link.greet(address, None)).await.expect("greeted");
    }
    assert!(other.link.totals().greetings_dropped > 0);
}
