//! Disks that fail, are rolled back, or are lost.

use starling_proto::wire::NotCommitted;

use super::{
    faults::{break_disk, heal_disk},
    world::{World, propose},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_disk_fails_acknowledges_nothing_and_others_go_on() {
    let world = World::formed(&[1, 2, 3]).await;
    let leader = world.settled(3).await;
    let other = if leader == 1 { 2 } else { 1 };
    let before = world.propose(leader, 1).await.expect("committed").id.version;
    break_disk(&world.path(leader));
    let after = world.propose(leader, 2).await.expect("by way of the others").id.version;
    let failed = world.until(leader, |standing| standing.role == "failed").await;
    assert!(failed.problem.is_some_and(|why| why.contains("no space left")));
    let more = world.propose(other, 3).await.expect("the majority goes on").id.version;
    heal_disk(&world.path(leader));
    world.until(leader, |standing| standing.role == "follower").await;
    world.holds(&[(1, before), (2, after), (3, more)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_of_one_node_says_that_its_disk_failed() {
    let world = World::formed(&[1]).await;
    let before = world.propose(1, 1).await.expect("committed").id.version;
    break_disk(&world.path(1));
    // Its entry may be in the log: only what comes when the failure is known is certainly not.
    let unknown = propose(world.group(1), 2, 1_500).await;
    let path = world.path(1).display().to_string();
    let Err(NotCommitted::Unknown(why)) = unknown else { panic!("{unknown:?}") };
    assert!(why.contains("node-1") && why.contains(&path), "{why}");
    world.until(1, |standing| standing.role == "failed").await;
    let failed = propose(world.group(1), 4, 1_500).await;
    assert!(matches!(failed, Err(NotCommitted::NotDurable { .. })), "{failed:?}");
    heal_disk(&world.path(1));
    let after = world.propose(1, 3).await.expect("healed").id.version;
    world.holds(&[(1, before), (3, after)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_refuses_entries_stops_its_node_only() {
    let world = World::formed(&[1, 2, 3]).await;
    let leader = world.settled(3).await;
    *world.logs[&leader].fails.lock() = true;
    let told = world.propose(leader, 1).await.expect("by way of the others").id.version;
    world.until(leader, |standing| standing.role == "failed").await;
    *world.logs[&leader].fails.lock() = false;
    world.until(leader, |standing| standing.role == "follower").await;
    world.holds(&[(1, told)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_with_an_older_disk_elects_nobody_who_lacks_what_it_acknowledged() {
    let mut world = World::formed(&[1, 2, 3]).await;
    world.kill(2).await;
    let kept = world.keep_disk(2);
    world.start(2).await;
    world.settled(3).await;
    // Only 1 and 2 have the entry.
    world.cut(&[3], &[1, 2]);
    let told = world.propose(2, 1).await.expect("committed by two").id.version;
    let two = [1, 2].map(|number| world.logs[&number].clone());
    super::world::eventually(|| two.iter().all(|log| log.reached() == told).then_some(())).await;
    world.kill(1).await;
    world.kill(2).await;
    world.restore_disk(2, &kept);
    world.mend();
    world.start(2).await;
    let refused = propose(world.group(3), 2, 6_000).await;
    assert!(refused.is_err(), "2 and 3 lack an entry that was acknowledged: {refused:?}");
    world.start(1).await;
    let after = world.propose(3, 2).await.expect("1 has it").id.version;
    assert_eq!(after.epoch, told.epoch);
    world.holds(&[(1, told), (2, after)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_was_rolled_back_begins_another_life() {
    // One lost entry has the place that the next leader's first entry takes.
    for (nodes, lost) in [(3, 20), (3, 1), (1, 5)] {
        rolled_back(&(1..=nodes).collect::<Vec<u8>>(), lost).await;
    }
}

async fn rolled_back(numbers: &[u8], lost: u128) {
    let mut world = World::formed(numbers).await;
    let mut kept = Vec::new();
    for number in numbers.iter().copied() {
        world.kill(number).await;
        kept.push((number, world.keep_disk(number)));
    }
    for number in numbers.iter().copied() {
        world.start(number).await;
    }
    let mut told = Vec::new();
    for key in 1..=lost {
        told.push((key, world.propose(1, key).await.expect("committed").id.version));
    }
    world.holds(&told).await;
    for (number, kept) in &kept {
        world.kill(*number).await;
        world.restore_disk(*number, kept);
    }
    for number in numbers.iter().copied() {
        world.start(number).await;
    }
    let after = world.propose(1, 100).await.expect("committed").id.version;
    assert!(after.epoch > told[0].1.epoch, "{after:?}");
    told.push((100, after));
    world.holds(&told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_that_lost_its_disk_is_filled_again() {
    let mut world = World::formed(&[1, 2, 3]).await;
    let leader = world.settled(3).await;
    let lost = if leader == 1 { 2 } else { 1 };
    let told = world.propose(leader, 1).await.expect("committed").id.version;
    world.kill(lost).await;
    world.lose_disk(lost);
    world.logs.remove(&lost);
    world.start(lost).await;
    world.settled(3).await;
    world.holds(&[(1, told)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_cannot_be_read_is_named() {
    let mut world = World::formed(&[1]).await;
    world.kill(1).await;
    let path = world.path(1);
    std::fs::write(path.join("CURRENT"), "nonsense").expect("written");
    let error = super::super::disk::Disk::open(&path).err().expect("an error").to_string();
    assert!(error.contains(path.to_str().expect("text")), "{error}");
}
