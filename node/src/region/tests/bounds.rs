//! What the leader does not commit, and by whose clock it writes.

use std::ops::Range;

use openraft::Config;
use starling_proto::{
    purge::{Catalog, Change, Hlc, ServiceChange},
    wire::{Committed, NotCommitted, Proposal},
};

use super::world::{World, id};
use crate::region::{Group, member::election_timeout_ms};

async fn set(group: Group, key: u128, name: String, bytes: usize) -> Result<Committed, NotCommitted> {
    let at = Hlc { ms: key as u64, count: 0, node: id(1) };
    let definition = Some("x".repeat(bytes));
    let change = Change::Service(ServiceChange { name, at, definition });
    group.propose(Proposal { key, at_ms: 7, change, deadline_ms: 60_000 }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_that_are_set_at_once_stay_within_the_bounds_together() {
    let world = World::formed(&[1, 2, 3]).await;
    world.settled(3).await;
    let sets = (1..=6u128).map(|key| {
        set(world.group(key as u8 % 3 + 1), key, key.to_string(), Catalog::TEXT_BYTES_MAX / 4 - 1)
    });
    let all = futures_util::future::join_all(sets).await;
    let refused =
        |one: &&Result<_, _>| matches!(one, Err(NotCommitted::Refused(why)) if why.contains("1048576"));
    assert_eq!(all.iter().filter(|one| one.is_ok()).count(), 4, "{all:?}");
    assert_eq!(all.iter().filter(refused).count(), 2, "{all:?}");
    // What is no service goes on, and what takes less.
    world.propose(1, 100).await.expect("committed");
    let kept = all.iter().position(Result::is_ok).expect("some") + 1;
    set(world.group(2), 101, kept.to_string(), 0).await.expect("committed");
    set(world.group(2), 102, "new".to_owned(), 9).await.expect("there is room again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proposer_whose_clock_is_behind_has_the_time_of_the_leader() {
    let world = World::formed(&[1, 2, 3]).await;
    let leader = world.settled(3).await;
    let before = world.group(leader).0.clock.now_ms();
    let first = world.propose(leader % 3 + 1, 1).await.expect("committed");
    assert!(first.at_ms >= before, "{}", first.at_ms);
    let again = world.propose(leader, 1).await.expect("known");
    assert_eq!((again.id, again.at_ms), (first.id, first.at_ms), "as its entry says");
}

#[test]
fn a_silent_leader_is_followed_by_another_within_a_fifth_more_than_the_silence() {
    for (heartbeat_ms, silence_ms) in
        [(250, 2_000), (150, 600), (100, 300), (250, 60_000), (250, 750), (1, 3)]
    {
        let Range { start, end } = election_timeout_ms(heartbeat_ms, silence_ms);
        let config = Config {
            heartbeat_interval: heartbeat_ms,
            election_timeout_min: start,
            election_timeout_max: end,
            ..Config::default()
        };
        config.validate().expect("Raft takes it");
        // The lease of the leader is the upper bound.
        assert!(end + start >= silence_ms, "{silence_ms}: {start}..{end}");
        assert!(2 * end <= silence_ms + silence_ms.div_ceil(5) + 2, "{silence_ms}: {start}..{end}");
    }
}
