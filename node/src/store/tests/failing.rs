//! A disk that fails, or kept only a part of what was written last.

use std::{
    process::{Command, Output},
    time::{Duration, Instant},
};

use super::*;
use crate::store::index::Advance;

/// Set for the process whose files may not grow: where it writes.
const CRAMPED_DIR: &str = "STARLING_TEST_CRAMPED_DIR";

/// A step that changes all there is: it leaves two entries out, and brings a purge, a service and shields.
fn step(number: u64) -> Batch {
    let known = 5 * (number - 1);
    let base = Base { shields: None, services: vec![service_at("base", number)] };
    let shields = Shields(vec![Shield { node: NodeId::from_bytes([1; 32]), weight: number as u16 }]);
    let changes = vec![
        purge_url(&number.to_string()),
        Change::Service(service_at("own", number)),
        Change::Shields(shields),
    ];
    batch_of("us", 7, known + 2, Some(base), changes)
}

/// Whether the store holds `step`s up to some number, and nothing of the next one; answers the number.
async fn steps_in(store: &Store) -> u64 {
    let us = region("us");
    let Some(at) = store.stamp().get(&us) else {
        let nothing = (store.0.purges.floors().is_empty(), store.stats().purge_log_entries);
        assert_eq!((nothing, &**store.catalog().borrow()), ((true, 0), &Catalog::default()));
        return 0;
    };
    let (number, rest) = (at.index / 5, at.index % 5);
    assert_eq!((at.epoch, rest), (7, 0));
    assert_eq!(store.0.purges.floors().get(&us), Some(Version { index: at.index - 3, ..at }));
    let catalog = store.catalog().borrow().clone();
    for name in ["base", "own"] {
        assert_eq!(catalog.service(name).expect("is set").at.ms, number, "{name}");
    }
    let shields: Vec<_> =
        catalog.shields().map(|(_, version, shields)| (version, shields.0[0].weight)).collect();
    assert_eq!(shields, [(at, number as u16)]);
    assert_eq!(store.stats().purge_log_entries, 3 * number);
    for index in [at.index - 2, at.index - 1, at.index, at.index + 3] {
        let id = EntryId { region: us.clone(), version: Version { index, ..at } };
        assert_eq!(store.entry(&id).await.expect("reads").is_some(), index <= at.index, "{index}");
        assert_eq!(store.find(&us, u128::from(index)).is_some(), index <= at.index, "{index}");
    }
    number
}

/// Entries, versions, floors and catalog stand or fall together, wherever a crash cut what was written.
#[tokio::test]
async fn a_step_is_on_disk_as_a_whole_or_not_at_all() {
    const STEPS: u64 = 4;
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    for number in 1..=STEPS {
        assert!(store.apply(step(number)).await.expect("applies"));
        assert_eq!(steps_in(&store).await, number);
    }
    let mut seen = std::collections::BTreeSet::new();
    let is_log = |path: &std::path::PathBuf| path.extension().is_some_and(|extension| extension == "log");
    for cut in (0..).step_by(37) {
        let crashed = tempfile::tempdir().expect("a directory");
        copy(dir.path(), crashed.path());
        let files = std::fs::read_dir(crashed.path().join("index")).expect("reads");
        let log = files.map(|file| file.expect("a file").path()).find(is_log).expect("has a log");
        let file = std::fs::OpenOptions::new().write(true).open(&log).expect("opens");
        let length = file.metadata().expect("has a length").len();
        file.set_len(length.saturating_sub(cut)).expect("cuts");
        let store = open(crashed.path()).await;
        seen.insert(steps_in(&store).await);
        store.close().await;
        if cut >= length {
            break;
        }
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), (0..=STEPS).collect::<Vec<_>>());
}

/// Purges until its files may not grow any more.
#[tokio::test]
async fn cramped() {
    let Ok(dir) = std::env::var(CRAMPED_DIR) else { return };
    let store = open(Path::new(&dir)).await;
    put(&store, "object", &content(1, 100)).await;
    let object = find(&store, "object").await.expect("is stored");
    let (long, too_long) = ("long".repeat(1 << 10), "long".repeat(1 << 18));
    for number in 1..=5 {
        let before = (store.stamp(), store.stats().purge_log_entries, store.catalog().borrow().clone());
        let changes = vec![
            purge_url(&format!("{}{number}", if number < 5 { &long[..] } else { &too_long[..] })),
            Change::Service(service_at("blog", number)),
            purge_url(if number < 5 { "another" } else { "object" }),
        ];
        let applied = store.apply(batch_of("us", 7, 3 * (number - 1), None, changes)).await;
        if number < 5 {
            assert!(applied.expect("there is room"));
            println!("applied {}", 3 * number);
            continue;
        }
        assert!(matches!(applied, Err(StoreError::NotDurable(_))), "{applied:?}");
        assert_eq!(
            (store.stamp(), store.stats().purge_log_entries, store.catalog().borrow().clone()),
            before
        );
        assert_eq!(store.purged(&object), Purged::No, "what is not durable is not applied");
        assert!(store.write(purge_url("object"), 0, NOW).await.is_err(), "nor is the next");
        assert!(!store.stamp().iter().any(|(log, _)| log.as_str() == "local"), "no log is begun");
        println!("refused");
        std::process::exit(0);
    }
}

#[tokio::test]
async fn what_could_not_be_written_is_refused_and_not_applied() {
    let dir = tempfile::tempdir().expect("a directory");
    let said = run_cramped("cramped", dir.path());
    assert!(said.contains("refused"), "{said}");
    let acknowledged = said.lines().filter(|line| line.contains("applied")).count() as u64;
    let store = open(dir.path()).await;
    let at = store.stamp().get(&region("us")).expect("was written").index;
    assert!(at == 3 * acknowledged, "{at} of {acknowledged} batches");
    assert_eq!(store.catalog().borrow().service("blog").expect("is set").at.ms, acknowledged);
    store.write(purge_url("object"), 0, NOW).await.expect("there is room again");
}

/// Runs a test of this file as a process whose files may not grow beyond some length; answers what it says.
fn run_cramped(test: &str, dir: &Path) -> String {
    let exe = std::env::current_exe().expect("has a path");
    // Ignored, the signal becomes an error of the write that would pass the limit (setrlimit(2)). The process may
    // raise it again.
    let Output { status, stdout, stderr } = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -S -f \"$1\"; shift; exec \"$@\"", "sh", "160"])
        .arg(exe)
        .args([&format!("store::tests::failing::{test}"), "--exact", "--nocapture", "--test-threads=1"])
        .env(CRAMPED_DIR, dir)
        .output()
        .expect("starts");
    let said = String::from_utf8_lossy(&stdout).into_owned();
    assert!(status.success(), "{said}{}", String::from_utf8_lossy(&stderr));
    said
}

/// Asks until it is so.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "not yet: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Purges until its files may not grow any more, and goes on when they may again.
#[tokio::test(flavor = "multi_thread")]
async fn cramped_for_a_while() {
    let Ok(dir) = std::env::var(CRAMPED_DIR) else { return };
    let store = open(Path::new(&dir)).await;
    let long = "long".repeat(1 << 12);
    let batch = |number: u64| batch_of("us", 7, number, None, vec![purge_url(&format!("{long}{number}"))]);
    let mut number = 0;
    let refused = loop {
        assert!(number < 1_000, "no write ever failed");
        match store.apply(batch(number)).await {
            Ok(_) => number += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, StoreError::NotDurable(_)), "{refused}");
    let problem = store.stats().index_problem.expect("is told");
    assert!(problem.contains(&format!("{dir}/index")) && problem.contains("File too large"), "{problem}");
    let object = put(&store, "object", &content(1, 9_000)).await;
    assert_eq!(read_all(&object).await.expect("memory has it"), content(1, 9_000));
    assert!(store.stats().records_written == 0 && store.stats().disk_write_errors > 0);
    assert_eq!(store.stamp().get(&region("us")).expect("some were applied").index, number);

    let raised = Command::new("prlimit")
        .args(["--pid", &std::process::id().to_string(), "--fsize=unlimited"])
        .status()
        .expect("util-linux has it");
    assert!(raised.success());
    until("the index is written again", async || store.apply(batch(number)).await.is_ok()).await;
    assert_eq!(store.stats().index_problem, None);
    assert_eq!(store.stats().index_reopened, 1);
    until("objects are written to disk again", async || {
        put(&store, "object", &content(2, 9_000)).await;
        store.stats().records_written > 0
    })
    .await;
    println!("applied {}", number + 1);
    // No end that is clean: what counts is on disk.
    std::process::exit(0);
}

/// RocksDB keeps the error of a write until it is opened anew.
#[tokio::test]
async fn the_index_is_written_again_when_the_disk_is_well_without_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let said = run_cramped("cramped_for_a_while", dir.path());
    let applied = said.lines().find_map(|line| line.split_once("applied ")?.1.parse::<u64>().ok());
    let store = open(dir.path()).await;
    let us = region("us");
    assert_eq!(store.stamp().get(&us).map(|at| at.index), applied, "{said}");
    for index in 1..=applied.expect("is told") {
        let id = EntryId { region: us.clone(), version: Version { epoch: 7, index } };
        assert!(store.entry(&id).await.expect("reads").is_some(), "{index}");
    }
    let object = find(&store, "object").await.expect("is on disk");
    assert_eq!(read_all(&object).await.expect("reads"), content(2, 9_000));
}

fn versions(region: &Region, at: Version) -> Versions {
    let mut versions = Versions::default();
    versions.set(region.clone(), at);
    versions
}

/// The write whose sync failed may lie in the log that is read when the index is opened anew.
#[tokio::test]
async fn what_was_refused_is_taken_back_when_the_index_is_opened_anew() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let index = &store.0.tiers.index;
    store.apply(step(1)).await.expect("applies");
    put(&store, "object", &content(1, 9_000)).await;

    // As a step is written, and nothing else of it.
    let Batch { region: us, after, base, entries, .. } = step(2);
    let last = entries.last().expect("has some").version;
    let (applied, mut catalog) = (versions(&us, last), Catalog::default());
    catalog.adopt(&us, base.as_ref().expect("has one"));
    catalog.adopt(&us, &Base { shields: None, services: vec![service_at("unheard of", 2)] });
    for entry in &entries {
        catalog.apply(entry);
    }
    let floors = versions(&us, after);
    let advance = Advance { region: &us, after, base: base.as_ref(), entries: &entries, begins: true };
    index.advance(&advance, &applied, Some(&floors), Some(&catalog)).expect("writes");
    index.fail();

    let refused = store.apply(step(2)).await;
    assert!(matches!(refused, Err(StoreError::NotDurable(IndexError::Failing(_)))), "{refused:?}");
    assert!(store.stats().index_problem.is_some());
    store.0.purges.reopen(index).expect("the disk is well");
    assert_eq!((store.stats().index_problem, store.stats().index_reopened), (None, 1));
    assert_eq!(steps_in(&store).await, 1);
    let store = reopen(store, dir.path()).await;
    assert_eq!(steps_in(&store).await, 1, "nor is it on disk");
    assert!(find(&store, "object").await.is_some(), "what was stored before is still there");
    assert!(store.apply(step(2)).await.expect("applies"), "it is new");
    assert_eq!(steps_in(&store).await, 2);
}

/// Nothing may be built on a log whose end is gone.
#[tokio::test]
async fn an_index_that_lost_what_was_acknowledged_is_not_used_until_the_next_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    store.apply(step(1)).await.expect("applies");
    let before = codec::encode(&Versions::default()).expect("encodes");
    store.0.tiers.index.put_meta_raw("applied", &before);
    store.0.tiers.index.fail();
    let lost = store.0.purges.reopen(&store.0.tiers.index);
    assert!(matches!(lost, Err(IndexError::Lost { .. })), "{lost:?}");
    let problem = store.stats().index_problem.expect("is told");
    assert!(problem.contains("restart the node"), "{problem}");
    assert!(store.apply(step(2)).await.is_err() && find(&store, "object").await.is_none());
    let store = reopen(store, dir.path()).await;
    assert_eq!(store.stamp().get(&region("us")), None, "it is asked of others again");
}
