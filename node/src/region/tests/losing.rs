//! Disks that fail, are rolled back, or are lost.

use std::time::Duration;

use starling_proto::{purge::Version, wire::NotCommitted};

use super::{
    faults::{break_disk, heal_disk},
    world::{World, eventually, propose},
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
    eventually(|| two.iter().all(|log| log.reached() == told).then_some(())).await;
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

/// The entry is on two disks. One is replaced by an older copy while the node with the other is away, and the third
/// node could write nothing down: it knows of the entry by gossip, from nodes of which one is dead by now and the other
/// has forgotten it. Once these two elected a leader, and wrote something else in its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_heard_of_an_entry_while_its_disk_was_full_elects_nobody_who_lost_it() {
    let mut world = World::formed(&[1, 2, 3]).await;
    let leader = world.settled(3).await;
    let (full, away) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    let kept = world.copy_disk(leader);
    break_disk(&world.path(full));
    *world.logs[&full].fails.lock() = true;
    let told = world.propose(leader, 1).await.expect("committed by two").id.version;
    world.until(full, |standing| standing.role == "failed").await;
    let two = [leader, away].map(|number| world.logs[&number].clone());
    eventually(|| two.iter().all(|log| log.reached() == told).then_some(())).await;
    world.say(&[leader, away], told);
    let listener = world.group(full);
    eventually(|| (*listener.0.known.lock() == Some(told)).then_some(())).await;

    world.kill(away).await;
    world.kill(leader).await;
    world.say(&[], told);
    world.restore_disk(leader, &kept);
    world.logs.remove(&leader);
    heal_disk(&world.path(full));
    *world.logs[&full].fails.lock() = false;
    world.start(leader).await;
    let refused = propose(world.group(leader), 2, 6_000).await;
    assert!(refused.is_err(), "both lack an entry that was acknowledged: {refused:?}");
    world.start(away).await;
    let after = world.propose(leader, 2).await.expect("the third has it").id.version;
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
    // The old disks again: they know nothing of that life either.
    for (number, kept) in &kept {
        world.kill(*number).await;
        world.restore_disk(*number, kept);
    }
    for number in numbers.iter().copied() {
        world.start(number).await;
    }
    let last = world.propose(1, 101).await.expect("committed").id.version;
    assert!(last.epoch > after.epoch, "{last:?}");
    told.push((101, last));
    world.holds(&told).await;
}

/// The disk has the leader's own vote of this term, and not what it wrote since. Once it led on by that vote, and
/// wrote other entries under log ids that its followers had: their logs differed, and nobody could tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_with_an_older_disk_does_not_lead_the_same_term_again() {
    for keeps_store in [true, false] {
        let mut world = World::new(Some(3));
        // It is back before anybody else stands for election.
        world.election = Duration::from_secs(4);
        for number in [1, 2, 3] {
            world.start(number).await;
        }
        let leader = world.settled(3).await;
        let other = leader % 3 + 1;
        let kept = world.copy_disk(leader);
        let mut told = Vec::new();
        for key in 1..=5 {
            told.push((key, world.propose(leader, key).await.expect("committed").id.version));
        }
        world.holds(&told).await;
        let term = world.standing(other).term;
        world.kill(leader).await;
        world.restore_disk(leader, &kept);
        if !keeps_store {
            world.logs.remove(&leader);
        }
        world.start(leader).await;
        let after = world.propose(other, 100).await.expect("committed").id.version;
        assert_eq!(after.epoch, told[0].1.epoch, "the others lack nothing");
        told.push((100, after));
        world.holds(&told).await;
        assert!(world.standing(world.settled(3).await).term > term, "somebody was elected");
    }
}

/// A node that led goes on leading alone as soon as it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_of_one_node_leads_again_in_a_later_term_without_a_pause() {
    let mut world = World::new(Some(1));
    // Longer than the test: nothing of it is waited for.
    world.election = Duration::from_secs(600);
    world.start(1).await;
    world.settled(1).await;
    let term = world.standing(1).term;
    let told = world.propose(1, 1).await.expect("committed").id.version;
    world.kill(1).await;
    world.start(1).await;
    world.settled(1).await;
    assert!(world.standing(1).term > term);
    world.holds(&[(1, told)]).await;
}

/// What such a group commits nobody applies, for every node has gone on to the later life: so it commits nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_older_than_its_log_acknowledges_nothing_until_it_began_another_life() {
    let mut world = World::new(Some(3));
    world.tuning.lost_after = Duration::from_secs(600);
    for number in [1, 2, 3] {
        world.start(number).await;
    }
    let leader = world.settled(3).await;
    let told = world.propose(leader, 1).await.expect("committed").id.version;
    world.holds(&[(1, told)]).await;
    let away = leader % 3 + 1;
    let others: Vec<u8> = [1, 2, 3].into_iter().filter(|number| *number != away).collect();
    // It may be of a later group, for all that can be known.
    world.cut(&[away], &others);
    let later = Version { epoch: told.epoch + (1 << 40), index: 3 };
    for log in world.logs.values() {
        log.live_later(later);
    }
    assert_eq!(world.group(leader).head(Duration::from_millis(500)).await, None);
    let refused = propose(world.group(leader), 2, 2_500).await;
    assert!(matches!(refused, Err(NotCommitted::NoQuorum { .. })), "{refused:?}");
    world.mend();
    let after = world.propose(leader, 2).await.expect("in another life").id.version;
    assert!(after.epoch > later.epoch, "{after:?}");
    world.holds(&[(2, after)]).await;
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
