//! Purges: durable, before they are acknowledged, and no way back.

use std::time::Duration;

use starling_proto::purge::{Mode, Purge, Selector};

use super::{purges::SKEW_MAX_MS, *};

fn purge_of(selector: Selector, mode: Mode) -> Purge {
    Purge { service: "default".to_owned(), selectors: vec![selector], mode }
}

fn url(text: &str) -> Selector {
    Selector::Url(format!("example.org/{text}"))
}

#[tokio::test]
async fn a_purge_beats_the_fetch_it_races_and_survives_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    // The origin was asked before the purge, and answers after it.
    let raced = new("a", &store, None);
    let version =
        store.write(Change::Purge(purge_of(url("a"), Mode::Hard)), 0, NOW).await.expect("purges").version;
    assert_eq!(version.index, 1);
    let object = put_new(&store, raced, &content(1, 9_000)).await;
    assert_eq!(store.purged(&object), Purged::Hard);
    assert!(find(&store, "a").await.is_none());

    let store = reopen(store, dir.path()).await;
    assert!(find(&store, "a").await.is_none());
    assert_eq!(store.stamp().get(&Region::new("local")), Some(version), "the log goes on where it was");
    let object = put(&store, "a", &content(2, 9_000)).await;
    assert_eq!(store.purged(&object), Purged::No, "asked after the purge");
    let next =
        store.write(Change::Purge(purge_of(url("b"), Mode::Hard)), 0, NOW).await.expect("purges").version;
    assert_eq!((next.epoch, next.index), (version.epoch, 2));
}

#[tokio::test]
async fn a_purge_is_seen_by_those_who_were_checked_before_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let object = put(&store, "a", &content(1, 100)).await;
    let other = put(&store, "b", &content(1, 100)).await;
    assert_eq!((store.purged(&object), store.purged(&other)), (Purged::No, Purged::No));
    store.write(Change::Purge(purge_of(url("a"), Mode::Soft)), 0, NOW).await.expect("purges");
    assert_eq!((store.purged(&object), store.purged(&other)), (Purged::Soft, Purged::No));
    assert!(find(&store, "a").await.is_some(), "soft: it may be revalidated");
    let fresh = store.freshen(&object, head(NOW + 1), store.stamp()).await.expect("it is still there");
    assert_eq!(store.purged(&fresh), Purged::No, "revalidated after the purge");
    store
        .write(Change::Purge(purge_of(Selector::Tag("news".to_owned()), Mode::Hard)), 0, NOW)
        .await
        .expect("purges");
    assert_eq!((store.purged(&fresh), store.purged(&other)), (Purged::Hard, Purged::Hard));
    assert!(store.lookup_memory(&Key::of("a")).is_none() && find(&store, "b").await.is_none());
}

#[tokio::test]
async fn a_clock_that_steps_back_has_no_purge_forgotten_early() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path()).await;
    store.write(purge_url("a"), 0, NOW).await.expect("purges");
    for restarted in [false, true] {
        if restarted {
            store = reopen(store, dir.path()).await;
        }
        assert_eq!(store.write(purge_url("b"), 0, 1).await.expect("purges").at_ms, NOW, "{restarted}");
    }
    assert_eq!(store.write(purge_url("c"), 0, NOW + 1).await.expect("purges").at_ms, NOW + 1);
    let store = reopen(store, dir.path()).await;
    assert_eq!(store.stats().purge_selectors, 3);
}

#[tokio::test]
async fn a_purge_that_names_nothing_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let nothing = Purge { service: "default".to_owned(), selectors: Vec::new(), mode: Mode::Hard };
    assert!(matches!(store.write(Change::Purge(nothing), 0, NOW).await, Err(StoreError::NoSelectors)));
    assert!(store.stamp().is_empty(), "no log is begun for nothing");
}

#[tokio::test]
async fn a_purge_whose_asker_went_away_is_whole_or_absent() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let object = put(&store, "a", &content(1, 100)).await;
    let mut asked = Box::pin(store.write(Change::Purge(purge_of(url("a"), Mode::Hard)), 0, NOW));
    assert!(futures_util::poll!(&mut asked).is_pending());
    drop(asked);
    let next =
        store.write(Change::Purge(purge_of(url("b"), Mode::Hard)), 0, NOW).await.expect("purges").version;
    assert_eq!((next.index, store.purged(&object)), (2, Purged::Hard));
    let store = reopen(store, dir.path()).await;
    assert!(find(&store, "a").await.is_none());
    assert_eq!(store.stats().purge_selectors, 2);
}

#[tokio::test]
async fn concurrent_purges_stand_one_after_another() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let tasks = TaskTracker::new();
    let asked: Vec<_> = (0..20)
        .map(|number| {
            let store = store.clone();
            tasks.spawn(async move {
                store.write(Change::Purge(purge_of(url(&number.to_string()), Mode::Hard)), 0, NOW).await
            })
        })
        .collect();
    let mut indexes = Vec::new();
    for purge in asked {
        indexes.push(purge.await.expect("no panic").expect("purges").version.index);
    }
    indexes.sort_unstable();
    assert_eq!(indexes, (1..=20).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_sweeper_frees_what_is_purged_or_too_old_and_then_the_purges() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    for text in ["purged", "kept"] {
        put(&store, text, &content(1, 500)).await;
    }
    let old = NewObject { head: head(NOW - 1_000), ..new("old", &store, None) };
    put_new(&store, old, &content(1, 500)).await;
    store.write(Change::Purge(purge_of(url("purged"), Mode::Hard)), 0, NOW).await.expect("purges");
    let sweeper = Sweeper { tiers: store.0.tiers.clone(), purges: store.0.purges.clone() };
    let lifetime = store.0.tiers.settings.object_lifetime_max_ms;
    sweeper.walk(NOW + lifetime - 500, Duration::ZERO).await.expect("sweeps");
    let recorded = |text: &str| store.0.tiers.index.variants(&Key::of(text)).expect("reads").len();
    assert_eq!((recorded("purged"), recorded("old"), recorded("kept")), (0, 0, 1));
    assert_eq!(store.stats().purge_selectors, 1, "an object as old as the purge may still be used");
    sweeper.walk(NOW + lifetime + SKEW_MAX_MS, Duration::ZERO).await.expect("sweeps");
    assert_eq!(
        (recorded("kept"), store.stats().purge_selectors),
        (0, 1),
        "the proposer's clock may be behind"
    );
    sweeper.walk(NOW + lifetime + SKEW_MAX_MS + 1, Duration::ZERO).await.expect("sweeps");
    assert_eq!(store.stats().purge_selectors, 0);
    drop(sweeper);
    let store = reopen(store, dir.path()).await;
    assert_eq!(store.stats().purge_selectors, 0);
    assert_eq!(store.stamp().get(&Region::new("local")).map(|version| version.index), Some(1));
}
