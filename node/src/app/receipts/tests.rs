//! The book, told page by page.

use std::{net::SocketAddr, time::Duration};

use starling_proto::{
    members::{Addresses, Member, Profile},
    ring::Ring,
    ticket::{Claim, Ticket},
};

use super::*;

pub(super) fn node(seed: u8) -> NodeId {
    NodeId::from_bytes([seed; 32])
}

fn at(index: u64) -> Version {
    Version { epoch: 7, index }
}

fn member(id: NodeId, status: Status) -> Member {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let claim = Claim {
        node: id,
        name: "n".to_owned(),
        region: "eu".to_owned(),
        pop: "lon".to_owned(),
        may_shield: true,
        expires_ms: u64::MAX,
    };
    let profile = Profile {
        ticket: Ticket { claim, signature: None },
        incarnation: 1,
        addresses: Addresses { mesh: nowhere, link_quic: nowhere },
        weight: 100,
    };
    Member::new(profile, status)
}

/// Node 1 of `eu`, among these.
pub fn view(members: &[(u8, Status)]) -> Arc<View> {
    let members = members.iter().map(|(seed, status)| (node(*seed), member(node(*seed), *status)));
    Arc::new(View {
        me: node(1),
        members: members.collect(),
        ring: Arc::new(Ring::new(&[])),
        previous: None,
        hot: Arc::default(),
    })
}

#[test]
fn each_node_has_its_own_time_for_each_entry() {
    let view = view(&[(1, Status::Alive), (2, Status::Alive), (3, Status::Suspect)]);
    let mut book = Book::default();
    book.commit(at(1), 100);
    assert!(book.reach(node(1), at(1), 101));
    book.commit(at(3), 200);
    assert!(book.reach(node(1), at(3), 205) && book.reach(node(2), at(2), 150));
    assert!(!book.reach(node(2), at(2), 900), "it was known before");
    assert!(book.reach(node(2), at(5), 300));
    let of = |index| book.receipt(at(index), &view).expect("it is this life of the log");
    assert_eq!(of(1).applied, [(node(1), 1), (node(2), 50)].map(|it| it));
    assert_eq!(of(3).applied, [(node(1), 5), (node(2), 100)]);
    assert_eq!(of(4).applied, [(node(2), 0)], "no commit is known: no time is made up");
    assert_eq!(of(4).missing, [node(1), node(3)]);
    assert!(book.receipt(Version { epoch: 6, index: 1 }, &view).is_none(), "a former life");
}

#[test]
fn the_dead_are_not_waited_for_and_what_they_had_is_told() {
    let view = view(&[(1, Status::Alive), (2, Status::Dead), (3, Status::Dead), (4, Status::Left)]);
    let mut book = Book::default();
    for seed in [1, 2] {
        book.reach(node(seed), at(1), 10);
    }
    let receipt = book.receipt(at(1), &view).expect("known");
    assert_eq!(receipt.applied.len(), 2);
    assert!(receipt.missing.is_empty(), "{receipt:?}");
}

#[test]
fn a_node_whose_disk_is_older_than_its_word_has_not_applied_what_it_lost() {
    let view = view(&[(1, Status::Alive)]);
    let mut book = Book::default();
    book.commit(at(9), 50);
    book.reach(node(1), at(4), 60);
    book.reach(node(1), at(9), 70);
    book.reach(node(1), at(6), 80);
    let missing = |book: &Book, index| book.receipt(at(index), &view).expect("known").missing.len();
    assert_eq!((missing(&book, 6), missing(&book, 7), missing(&book, 9)), (0, 1, 1));
    book.reach(node(1), at(9), 90);
    assert_eq!(book.receipt(at(9), &view).expect("known").applied, [(node(1), 40)]);
}

#[test]
fn a_later_life_of_the_log_begins_a_new_book_and_a_former_one_changes_nothing() {
    let view = view(&[(1, Status::Alive)]);
    let mut book = Book::default();
    book.reach(node(1), at(9), 10);
    book.reach(node(1), Version { epoch: 8, index: 1 }, 20);
    assert!(!book.reach(node(1), at(50), 30));
    let now = |index| book.receipt(Version { epoch: 8, index }, &view).expect("known");
    assert_eq!((now(1).missing.len(), now(2).missing.len()), (0, 1));
}

#[test]
fn the_book_stays_small() {
    let mut book = Book::default();
    for index in 1..=3 * ENTRIES_MAX {
        book.commit(at(index), index);
        book.reach(node(1), at(index), index);
    }
    assert!(book.committed.0.len() <= MOVES_MAX && book.nodes[&node(1)].0.len() <= MOVES_MAX);
    let last = 3 * ENTRIES_MAX;
    assert_eq!(book.nodes[&node(1)].when(last), Some(last));
    assert!(book.nodes[&node(1)].when(1).is_some(), "what is older is applied all the same");
}

#[tokio::test]
async fn who_waits_is_answered_when_the_last_node_has_it_or_is_dead() {
    let (seen, is_seen) = watch::channel(view(&[(1, Status::Alive), (2, Status::Alive), (3, Status::Alive)]));
    let receipts = Receipts::new(is_seen);
    receipts.applied_here(at(1), 10);
    let far = Instant::now() + Duration::from_secs(3_600);
    let waiting = tokio::join!(receipts.when_complete(at(1), far), async {
        receipts.reached([(node(2), at(1))], 30);
        tokio::task::yield_now().await;
        seen.send_replace(view(&[(1, Status::Alive), (2, Status::Alive), (3, Status::Dead)]));
    });
    let receipt = waiting.0.expect("known");
    assert_eq!((receipt.applied, receipt.missing), (vec![(node(1), 0), (node(2), 20)], vec![]));
    let at_once = receipts.when_complete(at(2), Instant::now()).await.expect("known");
    assert_eq!(at_once.missing, [node(1), node(2)], "the time is up");
}
