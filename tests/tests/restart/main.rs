//! What survives a restart, a `kill -9` and a damaged disk: right bodies, or none.

mod damage;
mod shelf;

use std::{sync::Arc, time::Instant};

use serde_json::json;
use starling_tests::{Node, NodeBuilder, TestOrigin, content, long_mode};
use tokio::{
    sync::{Mutex, watch},
    task::JoinSet,
};

use shelf::{Shelf, Verdict};

const MB: usize = 1_000_000;

/// One at a time: each writes as fast as the disk takes it.
static TURN: Mutex<()> = Mutex::const_new(());

fn node(origin: &TestOrigin, memory: &str) -> NodeBuilder {
    let store = format!("[store]\nmemory_bytes_max = \"{memory}\"\ndisk_bytes_max = \"20GiB\"\n");
    let service =
        format!("[[services]]\nname = \"site\"\nhosts = [\"*\"]\norigins = [\"{}\"]\n", origin.url());
    Node::builder().toml(store + &service)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_served_after_a_restart() {
    let _turn = TURN.lock().await;
    let objects = if long_mode() { 1250 } else { 125 };
    let shelf = Arc::new(Shelf::new(objects, 8 * MB));
    let origin = shelf.origin().await;
    let mut node = node(&origin, "64MiB").start().await;
    assert_eq!(shelf.read_all(&node, 4).await, Verdict { misses: objects, ..Verdict::default() });

    let stopped = Instant::now();
    assert!(node.stop().await.success(), "an orderly stop succeeds");
    let started = Instant::now();
    node.restart().await;
    let ready = started.elapsed();
    let first = shelf.read(&node, objects / 2).await;
    println!(
        "{} MB on disk: stopped in {:?}, ready in {ready:?}, first hit after {:?}",
        objects * 8,
        started - stopped,
        started.elapsed(),
    );
    assert_eq!(first, Verdict { hits: 1, ..Verdict::default() });
    assert_eq!(shelf.read_all(&node, 4).await, Verdict { hits: objects, ..Verdict::default() });
    assert_eq!(origin.total(), objects, "nothing was fetched twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_during_writes_leaves_no_wrong_and_no_purged_body() {
    let _turn = TURN.lock().await;
    const ROUNDS: usize = 15;
    const OBJECTS: usize = 48;
    let shelf = Arc::new(Shelf::new(OBJECTS, MB));
    let origin = shelf.origin().await;
    let mut node = node(&origin, "4MiB").start().await;
    let mut found = 0;
    for round in 0..ROUNDS {
        // Every round begins with a purge of everything and has new bodies: what is older is wrong from here on.
        shelf.turn_to(round as u64);
        node.purge(json!({"all": true})).await;
        shelf.nothing_before(round as u64);
        let (answered, mut answers) = watch::channel(0);
        let mut writers = JoinSet::new();
        let address = node.http();
        for writer in 0..4 {
            let (shelf, answered) = (shelf.clone(), answered.clone());
            writers.spawn(async move {
                let mut wrong = 0;
                for object in (writer..OBJECTS).step_by(4) {
                    wrong += shelf.read_at(address, object).await.wrong;
                    answered.send_modify(|count| *count += 1);
                }
                wrong
            });
        }
        // The kill comes at another place of the writing in each round.
        let until = 1 + (round * 7) % (OBJECTS - 4);
        answers.wait_for(|count| *count >= until).await.expect("the writers hold the channel");
        node.kill9().await;
        let wrong: usize = writers.join_all().await.into_iter().sum();
        assert_eq!(wrong, 0, "round {round}: a wrong body while the node died");
        node.restart().await;
        let after = shelf.read_all(&node, 4).await;
        assert_eq!(after.wrong + after.failed, 0, "round {round}: {after:?}");
        found += after.hits;
    }
    println!("{found} objects were found on disk after {ROUNDS} kills");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_slice_is_a_miss_and_never_a_wrong_body() {
    let _turn = TURN.lock().await;
    for seed in 1..=3 {
        println!("seed {seed}");
        let objects = 40;
        let shelf = Arc::new(Shelf::new(objects, MB));
        let origin = shelf.origin().await;
        let mut node = node(&origin, "1MiB").start().await;
        shelf.read_all(&node, 4).await;
        node.stop().await;
        let flipped = damage::flip_bytes(&node.data().join("segments"), seed, 400_000);
        assert!(flipped > 50, "only {flipped} bytes of the segments could be damaged");
        node.restart().await;
        let after = shelf.read_all(&node, 4).await;
        assert_eq!(after.wrong + after.failed, 0, "seed {seed}: {after:?}");
        assert!(origin.total() > objects, "seed {seed}: the damage must have cost fetches");
        let metrics = node.metrics().await;
        let damaged = metrics.sum_where("damaged");
        assert!(damaged > 0.0, "seed {seed}: no metric tells of the damage: {:?}", metrics.names());
        assert_eq!(shelf.read_all(&node, 4).await.wrong, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_under_a_running_node_is_found_too() {
    let _turn = TURN.lock().await;
    let objects = 40;
    let shelf = Arc::new(Shelf::new(objects, MB));
    let origin = shelf.origin().await;
    // The memory tier holds one object at most, so that reads go to the disk.
    let mut node = node(&origin, "1MiB").start().await;
    shelf.read_all(&node, 4).await;
    node.restart().await;
    shelf.read_all(&node, 4).await;
    let flipped = damage::flip_bytes(&node.data().join("segments"), 9, 400_000);
    assert!(flipped > 50, "only {flipped} bytes of the segments could be damaged");
    let after = shelf.read_all(&node, 4).await;
    assert_eq!(after.wrong + after.failed, 0, "{after:?}");
    assert!(node.metrics().await.sum_where("damaged") > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_gone_costs_the_objects_and_nothing_else() {
    let _turn = TURN.lock().await;
    let shelf = Arc::new(Shelf::new(10, MB));
    let origin = shelf.origin().await;
    let mut node = node(&origin, "64MiB").start().await;
    shelf.read_all(&node, 4).await;
    node.stop().await;
    std::fs::remove_dir_all(node.data().join("segments")).expect("the segments are where the docs say");
    node.restart().await;
    let after = shelf.read_all(&node, 4).await;
    assert_eq!(after.wrong + after.failed, 0, "{after:?}");
}

#[test]
fn a_shelf_tells_a_wrong_body() {
    let shelf = Shelf::new(4, 1000);
    assert_eq!(shelf.body(1, 2), shelf.body(1, 2));
    assert_ne!(shelf.body(1, 2), shelf.body(1, 3));
    assert_ne!(shelf.body(1, 2), shelf.body(2, 2));
    assert_ne!(content(1, 10), content(2, 10));
}
