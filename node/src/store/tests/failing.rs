//! A disk that fails, or kept only a part of what was written last.

use std::process::Command;

use super::*;

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
    let exe = std::env::current_exe().expect("has a path");
    // Ignored, the signal becomes an error of the write that would pass the limit (setrlimit(2)).
    let ran = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f \"$1\"; shift; exec \"$@\"", "sh", "160"])
        .arg(exe)
        .args(["store::tests::failing::cramped", "--exact", "--nocapture", "--test-threads=1"])
        .env(CRAMPED_DIR, dir.path())
        .output()
        .expect("starts");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(
        ran.status.success() && said.contains("refused"),
        "{said}{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let acknowledged = said.lines().filter(|line| line.contains("applied")).count() as u64;
    let store = open(dir.path()).await;
    let at = store.stamp().get(&region("us")).expect("was written").index;
    assert!(at == 3 * acknowledged, "{at} of {acknowledged} batches");
    assert_eq!(store.catalog().borrow().service("blog").expect("is set").at.ms, acknowledged);
    store.write(purge_url("object"), 0, NOW).await.expect("there is room again");
}
