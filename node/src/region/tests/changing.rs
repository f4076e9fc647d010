//! What must not stay half done, or be forgotten.

use std::{collections::BTreeSet, io::Cursor, sync::Arc};

use bytes::Bytes;
use openraft::{ChangeMembers, RaftSnapshotBuilder, storage::RaftStateMachine};
use starling_proto::{
    NodeId,
    purge::Change,
    wire::{Call, Reply},
};

use super::{
    super::{
        Log, codec,
        disk::Disk,
        machine::Machine,
        types::{LogId, Members, Membership, Seat, SnapshotMeta},
        wire::{Ask, Promise, Told},
    },
    world::{Logs, Memory, World, eventually, id, region},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_voters_that_nobody_finished_is_finished_by_the_leader() {
    let world = World::formed(&[1, 2, 3, 4, 5]).await;
    loop {
        let leader = world.settled(5).await;
        let others: Vec<u8> = (1..=5).filter(|number| *number != leader).collect();
        let Some(running) = world.group(leader).0.running() else { continue };
        // The union of old and new voters is what is wanted: nothing else asks for another change.
        let mut fewer: BTreeSet<NodeId> = others.iter().take(2).map(|number| id(*number)).collect();
        fewer.insert(id(leader));
        world.cut(&[leader], &others);
        let raft = running.raft.clone();
        let change = tokio::spawn(async move {
            raft.change_membership(ChangeMembers::ReplaceAllVoters(fewer), true).await
        });
        let joint = eventually(|| {
            let config = running.metrics().membership_config;
            let is_joint = config.membership().get_joint_config().len() == 2;
            if is_joint { config.log_id().map(Some) } else { change.is_finished().then_some(None) }
        })
        .await;
        // Whoever asked for it is gone after the first half.
        change.abort();
        let _ = change.await;
        world.mend();
        let Some(joint) = joint else { continue };
        let log = &world.logs[&leader];
        eventually(|| (log.reached().index > joint.index).then_some(())).await;
        let shields = |change: &Change| match change {
            Change::Shields(shields) => shields.0.len(),
            _ => 0,
        };
        if log.change(joint.index + 1).is_none_or(|change| shields(&change) != 3) {
            // Another leader came before the first half was committed.
            continue;
        }
        eventually(|| {
            let running = world.nodes.keys().filter_map(|number| world.group(*number).0.running());
            let mut configs = running.map(|running| running.metrics().membership_config);
            let is_done = configs.all(|config| {
                config.membership().get_joint_config().len() == 1 && config.log_id().as_ref() > Some(&joint)
            });
            is_done.then_some(())
        })
        .await;
        world.settled(5).await;
        return;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_formed_later_than_all_that_was_ever_promised() {
    let far = 1 << 50;
    let mut world = World::new(Some(3));
    world.start(1).await;
    world.start(2).await;
    let ask = |epoch| {
        let promise = Promise { by: id(1), epoch, set: vec![id(1), id(2)] };
        Call::Group(Bytes::from(codec::encode(&Ask::Promise(promise)).expect("encoded")))
    };
    let two = world.group(2);
    eventually(|| two.0.running().map(drop)).await;
    let told = |reply| match reply {
        Reply::Group(bytes) => codec::decode::<Told>(&bytes).expect("decoded"),
        other => panic!("{other:?}"),
    };
    assert!(matches!(told(two.answer(id(1), ask(far)).await), Told::Yes));
    // The one who asked has given up, as it says.
    let running = two.0.running().expect("it runs");
    loop {
        if running.pledge.lock().await.is_none() {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert!(matches!(told(two.answer(id(1), ask(far)).await), Told::No(_)));
    drop((running, two));
    for number in [1, 2] {
        world.kill(number).await;
    }
    world.expect = Some(2);
    for number in [1, 2] {
        world.start(number).await;
    }
    assert!(world.until(1, |standing| standing.epoch > 0).await.epoch > far);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_reaches_no_peer_forms_no_group_alone_unless_it_is_told_to() {
    let mut world = World::new(None);
    world.start(1).await;
    let waits = world.until(1, |standing| standing.problem.is_some()).await;
    assert!(waits.problem.is_some_and(|why| why.contains("region_expect = 1")));
    world.start(2).await;
    world.settled(1).await;
    assert_eq!(world.standing(1).problem, None);

    let mut alone = World::new(Some(1));
    alone.start(1).await;
    alone.settled(1).await;
}

#[tokio::test]
async fn a_snapshot_that_was_installed_is_not_replaced_by_an_older_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let log: Arc<dyn Log> = Arc::new(Logs(Arc::new(Memory::default())));
    let base = codec::encode(&log.base()).expect("encoded");
    let disk = Arc::new(Disk::open(dir.path()).expect("opened"));
    let mut machine = Machine::open(disk, log, region()).expect("opened");
    let meta = |index| {
        let last = LogId { leader_id: openraft::LeaderId::new(1, id(1)), index };
        let seats = [(id(1), Seat { birth: 1, epoch: 1, ..Seat::default() })];
        let members = Membership::new(vec![BTreeSet::from([id(1)])], std::collections::BTreeMap::from(seats));
        SnapshotMeta {
            last_log_id: Some(last),
            last_membership: Members::new(Some(last), members),
            snapshot_id: index.to_string(),
        }
    };
    let cursor = || Box::new(Cursor::new(base.clone()));
    machine.install_snapshot(&meta(5), cursor()).await.expect("installed");
    let mut builder = machine.get_snapshot_builder().await;
    machine.install_snapshot(&meta(9), cursor()).await.expect("installed");
    let built = builder.build_snapshot().await.expect("built");
    assert_eq!(built.meta, meta(9));
    let kept = machine.get_current_snapshot().await.expect("read").expect("kept");
    assert_eq!(kept.meta, meta(9));
}
