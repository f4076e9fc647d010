//! What is acknowledged stands once, at one place, at every node.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use starling_proto::wire::NotCommitted;
use tokio::task::JoinSet;

use super::world::{World, eventually, propose};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_while_leaders_died_stands_once() {
    let mut world = World::formed(&[1, 2, 3]).await;
    let leader = world.settled(3).await;
    let asked = if leader == 3 { 2 } else { 3 };
    let group = world.group(asked);
    let mut proposals = JoinSet::new();
    for worker in 0..4u128 {
        let group = group.clone();
        proposals.spawn(async move {
            let mut told = Vec::new();
            for number in 1..=15u128 {
                let key = worker * 100 + number;
                let committed = propose(group.clone(), key, 60_000).await.expect("in the end");
                told.push((key, committed.id.version));
            }
            told
        });
    }
    // Some are committed, most are not.
    eventually(|| (world.logs[&leader].reached().index > 12).then_some(())).await;
    world.kill(leader).await;
    let told: Vec<_> = proposals.join_all().await.into_iter().flatten().collect();
    world.start(leader).await;
    world.settled(3).await;
    world.holds(&told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_written_once_though_it_is_proposed_again_elsewhere() {
    let mut world = World::formed(&[1, 2, 3]).await;
    let leader = world.settled(3).await;
    let all: Vec<_> = (0..8).map(|number| propose(world.group(number % 3 + 1), 5, 60_000)).collect();
    let all = futures_util::future::join_all(all).await;
    let first = all[0].as_ref().expect("committed").id.version;
    assert!(all.iter().all(|one| one.as_ref().is_ok_and(|one| one.id.version == first)), "{all:?}");
    world.kill(leader).await;
    let other = *world.nodes.keys().next().expect("some run");
    assert_eq!(world.propose(other, 5).await.expect("committed").id.version, first);
    world.holds(&[(5, first)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minority_acknowledges_nothing_and_knows_no_head() {
    let world = World::formed(&[1, 2, 3]).await;
    let leader = world.settled(3).await;
    let others: Vec<u8> = [1, 2, 3].into_iter().filter(|number| *number != leader).collect();
    let told = world.propose(leader, 1).await.expect("committed").id.version;
    let head = world.group(others[0]).head(Duration::from_secs(30)).await.expect("a head");
    assert!(head.index >= told.index && head.epoch == told.epoch);
    world.cut(&[leader], &others);
    let refused = propose(world.group(leader), 2, 2_500).await;
    assert!(matches!(refused, Err(NotCommitted::Unknown(_) | NotCommitted::NoQuorum { .. })), "{refused:?}");
    assert_eq!(world.group(leader).head(Duration::from_millis(500)).await, None);
    let there = world.propose(others[1], 3).await.expect("the majority goes on").id.version;
    world.mend();
    let after = world.propose(leader, 2).await.expect("in the end").id.version;
    world.holds(&[(1, told), (3, there), (2, after)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_down_catches_up_by_the_log_or_by_a_snapshot() {
    for keep in [1_000, 2] {
        let mut world = World::new(Some(3));
        (world.tuning.snapshot_every, world.tuning.keep) = (if keep == 2 { 10 } else { 1_000 }, keep);
        for number in [1, 2, 3] {
            world.start(number).await;
        }
        world.settled(3).await;
        world.kill(3).await;
        let mut told = Vec::new();
        for key in 1..=40 {
            told.push((key, world.propose(1, key).await.expect("committed").id.version));
        }
        world.start(3).await;
        world.settled(3).await;
        world.holds(&told).await;
        assert_eq!(*world.logs[&3].floor.lock(), None, "others gave the exact entries");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_all_keeps_what_was_acknowledged() {
    let mut world = World::formed(&[1, 2, 3]).await;
    let mut told = Vec::new();
    for key in 1..=10 {
        told.push((key, world.propose(2, key).await.expect("committed").id.version));
    }
    for number in [1, 2, 3] {
        world.kill(number).await;
        // The store comes back empty: the group has everything.
        world.logs.remove(&number);
    }
    for number in [1, 2, 3] {
        world.start(number).await;
    }
    world.settled(3).await;
    told.push((11, world.propose(3, 11).await.expect("committed").id.version));
    for number in [1, 2, 3] {
        assert_eq!(
            world.logs[&number].places(11).len(),
            usize::from(world.logs[&number].reached() == told[10].1)
        );
    }
    world.applied(told[10].1).await;
    assert_eq!(world.propose(1, 11).await.expect("known").id.version, told[10].1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_over_before_the_leader_leaves() {
    let world = World::formed(&[1, 2, 3]).await;
    let leader = world.settled(3).await;
    world.group(leader).hand_over(Duration::from_secs(20)).await;
    // What nodes publish of how they stand comes a little later.
    let leads = |number: &u8| world.group(*number).0.running().is_some_and(|running| running.leads());
    let leaders: Vec<u8> = world.nodes.keys().copied().filter(leads).collect();
    assert!(leaders.iter().any(|number| *number != leader), "{leaders:?} lead, and {leader} did");
}

/// Not a measurement to hold anybody to: it prints what the machine makes of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_go_on_under_load() {
    for nodes in [1, 3] {
        let numbers: Vec<u8> = (1..=nodes).collect();
        let world = World::formed(&numbers).await;
        let leader = world.settled(numbers.len()).await;
        let done = Arc::new(AtomicBool::new(false));
        let since = Instant::now();
        let mut workers = JoinSet::new();
        for worker in 0..16u128 {
            let group = world.group(leader);
            let done = Arc::clone(&done);
            workers.spawn(async move {
                let mut count = 0;
                while !done.load(Relaxed) {
                    count += 1;
                    propose(group.clone(), worker * 1_000_000 + count, 60_000).await.expect("committed");
                    if count >= 40 {
                        done.store(true, Relaxed);
                    }
                }
                count
            });
        }
        let count: u128 = workers.join_all().await.into_iter().sum();
        println!("{nodes} nodes: {:.0} commits/s", count as f64 / since.elapsed().as_secs_f64());
    }
}
