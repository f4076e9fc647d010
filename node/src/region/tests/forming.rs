//! How groups come to be, grow and end.

use starling_proto::members::Status;

use super::world::{World, eventually, id};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_form_one_group_in_whatever_order_they_come() {
    for order in [[1, 2, 3], [2, 3, 1], [3, 2, 1]] {
        let mut world = World::new(Some(3));
        for number in order {
            world.start(number).await;
        }
        world.settled(3).await;
        let epochs: Vec<_> = order.iter().map(|number| world.standing(*number).epoch).collect();
        assert!(epochs.iter().all(|epoch| *epoch == epochs[0]), "{epochs:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_grows_from_one_node_and_replaces_who_leaves() {
    let mut world = World::new(None);
    world.has_peers = false;
    world.start(1).await;
    world.settled(1).await;
    world.has_peers = true;
    for number in 2..=5 {
        world.start(number).await;
    }
    world.settled(5).await;
    world.start(6).await;
    world.until(1, |standing| standing.learners.contains(&id(6))).await;
    world.kill(5).await;
    world.set_status(5, Status::Left);
    for number in [1, 6] {
        let replaced = [1, 2, 3, 4, 6].map(id);
        world.until(number, |standing| standing.voters == replaced && standing.learners.is_empty()).await;
    }
    assert_eq!(world.voters(6).len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_was_outlived_gives_way() {
    let mut world = World::new(Some(1));
    world.start(3).await;
    world.settled(1).await;
    world.kill(3).await;
    world.set_status(3, Status::Dead);
    world.expect = Some(2);
    // Nobody knows of it.
    world.start(1).await;
    world.start(2).await;
    let first = world.until(1, |standing| standing.epoch > 0).await.epoch;
    world.start(3).await;
    world.until(3, |standing| standing.epoch == first && standing.role != "none").await;
    world.settled(3).await;
    let told = world.propose(3, 1).await.expect("committed").id.version;
    assert_eq!(told.epoch, first);
    world.holds(&[(1, told)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_whose_disks_are_all_lost_is_reborn_later() {
    let mut world = World::formed(&[1, 2, 3]).await;
    let before = world.propose(1, 1).await.expect("committed").id.version;
    world.applied(before).await;
    for number in [1, 2, 3] {
        world.kill(number).await;
        world.lose_disk(number);
    }
    for number in [1, 2, 3] {
        world.start(number).await;
    }
    let after = world.propose(2, 2).await.expect("committed").id.version;
    assert!(after.epoch > before.epoch);
    world.applied(after).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_nodes_than_are_expected_form_one_group() {
    let mut world = World::new(Some(3));
    for number in [1, 2, 3, 4] {
        world.start(number).await;
    }
    let epoch = world.until(4, |standing| standing.epoch > 0).await.epoch;
    for number in [1, 2, 3] {
        eventually(|| (world.standing(number).epoch == epoch).then_some(())).await;
    }
}
