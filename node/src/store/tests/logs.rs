//! The purge logs of other nodes: applied in order, once, from whoever has them.

use starling_proto::purge::{ApplyError, PurgeTable};

use super::*;

pub(super) async fn open_as(dir: &Path, region: &str) -> Store {
    let settings = Settings { region: region.to_owned(), ..settings(dir) };
    Store::open(settings, NOW).await.expect("opens")
}

/// Brings `to` up to date from `from`; answers how many batches that took.
pub(super) async fn catch_up(to: &Store, from: &Store) -> usize {
    let mut rounds = 0;
    loop {
        let batches = from.missing(to.stamp()).await.expect("the log is readable");
        let mut news = false;
        for batch in batches {
            news |= to.apply(batch).await.expect("it follows");
        }
        if !news {
            return rounds;
        }
        rounds += 1;
    }
}

#[tokio::test]
async fn what_one_node_purges_is_purged_at_another_and_stays_so() {
    let (here, there) =
        (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let (lon, fra) = (open_as(here.path(), "eu").await, open_as(there.path(), "fr").await);
    let old = put(&fra, "a", &content(1, 100)).await;
    let other = put(&fra, "b", &content(1, 100)).await;
    lon.write(purge_url("a"), 0, NOW).await.expect("purges");
    assert_eq!(catch_up(&fra, &lon).await, 1);
    assert_eq!((fra.purged(&old), fra.purged(&other)), (Purged::Hard, Purged::No));
    assert!(fra.stamp().covers(&lon.stamp()), "{:?}", fra.stamp());
    let new = put(&fra, "a", &content(2, 100)).await;
    assert_eq!(fra.purged(&new), Purged::No, "asked after the purge");

    fra.close().await;
    drop(fra);
    let fra = open_as(there.path(), "fr").await;
    let found = find(&fra, "a").await.expect("what was fetched after the purge");
    assert_eq!(read_all(&found).await.expect("reads"), content(2, 100));
    assert_eq!(catch_up(&fra, &lon).await, 0, "it knows where it was");
}

#[tokio::test]
async fn any_node_hands_on_what_it_knows() {
    let dirs = [(); 3].map(|()| tempfile::tempdir().expect("a directory"));
    let lon = open_as(dirs[0].path(), "eu").await;
    let fra = open_as(dirs[1].path(), "fr").await;
    let nyc = open_as(dirs[2].path(), "us").await;
    let old = put(&nyc, "a", &content(1, 100)).await;
    lon.write(purge_url("a"), 0, NOW).await.expect("purges");
    catch_up(&fra, &lon).await;
    catch_up(&nyc, &fra).await;
    assert_eq!(nyc.purged(&old), Purged::Hard);
}

#[tokio::test]
async fn a_batch_is_applied_once_and_never_with_a_gap() {
    let (here, there) =
        (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let (lon, fra) = (open_as(here.path(), "eu").await, open_as(there.path(), "fr").await);
    for name in ["a", "b", "c"] {
        lon.write(purge_url(name), 0, NOW).await.expect("purges");
    }
    let batches = lon.missing(fra.stamp()).await.expect("the log is readable");
    let of_lon = batches.into_iter().find(|batch| batch.region == region("eu")).expect("its own log");
    assert!(fra.apply(of_lon.clone()).await.expect("it follows"));
    assert!(!fra.apply(of_lon.clone()).await.expect("it is known"), "twice is once");
    let mut torn = of_lon.clone();
    torn.entries.remove(1);
    assert!(matches!(fra.apply(torn).await, Err(StoreError::Torn { at: 2, .. })));
    let overlapping = Batch {
        after: Version { index: 1, ..of_lon.after },
        entries: of_lon.entries[1..].to_vec(),
        ..of_lon
    };
    assert!(!fra.apply(overlapping).await.expect("it is known"));
    assert_eq!(fra.stamp().get(&region("eu")).map(|at| at.index), Some(3));
    assert_eq!(fra.stats().purge_selectors, 3);
}

#[tokio::test]
async fn swept_entries_are_stepped_over() {
    let (here, there) =
        (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let lon = open_as(here.path(), "eu").await;
    let long_ago = NOW - 2 * Settings::default().object_lifetime_max_ms;
    lon.write(purge_url("a"), 0, long_ago).await.expect("purges");
    lon.write(purge_url("b"), 0, NOW).await.expect("purges");
    lon.close().await;
    drop(lon);
    let lon = open_as(here.path(), "eu").await;
    let fra = open_as(there.path(), "fr").await;
    assert_eq!(catch_up(&fra, &lon).await, 1);
    assert!(fra.stamp().covers(&lon.stamp()));
    assert_eq!(fra.stats().purge_selectors, 1, "the swept one names nothing that may be used");
}

/// Changes of leaders and voters carry no time. Taken for old, they were dropped at each start, and a node that had
/// not heard of them had to step over them: what it had was fetched anew.
#[tokio::test]
async fn entries_without_a_time_are_as_old_as_what_follows_them() {
    let (here, there) =
        (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let long_ago = NOW - 2 * Settings::default().object_lifetime_max_ms;
    let mut log =
        batch_of("eu", 7, 0, None, vec![Change::Nothing, purge_url("a"), Change::Nothing, purge_url("b")]);
    log.entries.push(Entry { version: Version { epoch: 7, index: 5 }, ..log.entries[2].clone() });
    for (entry, at_ms) in log.entries.iter_mut().zip([0, long_ago, 0, NOW, 0]) {
        entry.at_ms = at_ms;
    }
    let lon = open(here.path()).await;
    assert!(lon.apply(log.clone()).await.expect("follows"));
    let lon = reopen(lon, here.path()).await;
    assert_eq!(lon.stats().purge_log_entries, 3, "what is young, and what stands around it");

    let fra = open(there.path()).await;
    let known = Batch { entries: log.entries[..2].to_vec(), ..log };
    assert!(fra.apply(known).await.expect("follows"));
    assert_eq!(catch_up(&fra, &lon).await, 1);
    assert_eq!(fra.stamp(), lon.stamp());
    assert_eq!(fra.0.purges.floors().get(&region("eu")), None, "nothing was stepped over");
}

#[test]
fn a_table_never_steps_back() {
    let mut table = PurgeTable::default();
    let log = region("eu");
    table.skip(&log, Version { epoch: 1, index: 5 }).expect("forward");
    let back = table.skip(&log, Version { epoch: 1, index: 4 });
    assert_eq!(back, Err(ApplyError::Old { region: log, got: 4 }));
}

#[tokio::test]
async fn what_is_left_out_is_refused_unless_the_batch_says_what_it_came_to() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path()).await;
    let old = put(&store, "old", &content(1, 100)).await;
    assert!(store.apply(batch_of("eu", 7, 0, None, vec![purge_url("x")])).await.expect("follows"));
    let before = (store.stamp(), store.stats().purge_selectors);
    let base = Base {
        shields: Some((
            Version { epoch: 7, index: 4 },
            Shields(vec![Shield { node: NodeId::from_bytes([2; 32]), weight: 100 }]),
        )),
        services: vec![service_at("blog", 5)],
    };
    let left_out = |base| batch_of("eu", 7, 5, base, vec![purge_url("y")]);
    let gap = |error| matches!(error, Err(StoreError::Gap { applied: 1, after: 5, .. }));
    assert!(gap(store.apply(left_out(None)).await), "nobody says what is between");
    let unknown = Batch { since: 2, ..left_out(Some(base.clone())) };
    assert!(gap(store.apply(unknown).await), "entry 2 is to be had");
    assert_eq!((store.stamp(), store.stats().purge_selectors), before, "a refusal changes nothing");
    assert!(store.catalog().borrow().service("blog").is_none());
    assert_eq!(store.purged(&old), Purged::No);

    assert!(store.apply(left_out(Some(base.clone()))).await.expect("steps over"));
    let raced = NewObject { stamp: before.0, ..new("raced", &store, None) };
    drop((put_new(&store, raced, &content(1, 100)).await, old));
    put(&store, "new", &content(1, 100)).await;
    for restarted in [false, true] {
        if restarted {
            store = reopen(store, dir.path()).await;
        }
        for text in ["old", "raced"] {
            let found = find(&store, text).await.expect("may be revalidated");
            assert_eq!(store.purged(&found), Purged::Unknown, "{text}, {restarted}");
        }
        let found = find(&store, "new").await.expect("is stored");
        assert_eq!(store.purged(&found), Purged::No, "{restarted}");
        assert_eq!(store.stamp().get(&region("eu")), Some(Version { epoch: 7, index: 6 }));
        assert_eq!(store.catalog().borrow().base(&region("eu")), base, "{restarted}");
    }
}

#[tokio::test]
async fn a_node_that_stepped_over_entries_hands_on_what_it_has() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let lon = open(dirs[0].path()).await;
    let change = || vec![purge_url("a"), purge_url("b")];
    lon.apply(batch_of("eu", 7, 0, None, change())).await.expect("follows");
    lon.apply(batch_of("eu", 7, 9, Some(Base::default()), change())).await.expect("steps over");
    lon.apply(batch_of("eu", 7, 11, None, change())).await.expect("follows");
    let lon = reopen(lon, dirs[0].path()).await;
    let fra = open(dirs[1].path()).await;
    let old = put(&fra, "other", &content(1, 100)).await;
    assert_eq!(catch_up(&fra, &lon).await, 2, "what is before the hole, then what is after it");
    assert_eq!((fra.stamp(), fra.stats().purge_log_entries), (lon.stamp(), 6));
    assert_eq!(fra.purged(&old), Purged::Unknown);
}

#[tokio::test]
async fn the_later_life_of_a_log_takes_the_place_of_the_earlier_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let eu = region("eu");
    let change = |name: &str| vec![purge_url(name), Change::Service(service_at(name, 1))];
    store.apply(batch_of("eu", 7, 0, None, change("a"))).await.expect("follows");
    let object = put(&store, "object", &content(1, 100)).await;
    assert!(!store.apply(batch_of("eu", 6, 0, None, change("b"))).await.expect("is nothing new"));
    assert!(!store.apply(batch_of("eu", 6, 50, None, change("b"))).await.expect("is nothing new"));
    assert_eq!(store.stamp().get(&eu), Some(Version { epoch: 7, index: 2 }));
    let gap = store.apply(batch_of("eu", 8, 3, None, change("c"))).await;
    assert!(
        matches!(gap, Err(StoreError::Gap { applied: 0, after: 3, .. })),
        "a life begins with its first entry"
    );
    assert!(store.apply(batch_of("eu", 8, 0, None, change("c"))).await.expect("is born again"));
    assert_eq!(store.purged(&object), Purged::Unknown, "of the life before");
    drop(object);
    assert_eq!((store.find(&eu, 1), store.find(&eu, 9)), (Some((Version { epoch: 8, index: 1 }, NOW)), None));
    let steps = batch_of("eu", 9, 3, Some(Base::default()), change("d"));
    assert!(store.apply(steps).await.expect("is born again, and steps over its beginning"));
    let store = reopen(store, dir.path()).await;
    assert_eq!(store.stamp().get(&eu), Some(Version { epoch: 9, index: 5 }));
    assert_eq!(store.0.purges.floors().get(&eu), Some(Version { epoch: 9, index: 3 }));
    assert_eq!(store.find(&eu, 1), None, "of a life before");
    assert_eq!(store.find(&eu, 4), Some((Version { epoch: 9, index: 4 }, NOW)));
    let catalog = store.catalog().borrow().clone();
    let services: Vec<_> = catalog.services().map(|change| change.name.as_str()).collect();
    assert_eq!(services, ["a", "c", "d"], "services are of no life");
    let mut behind = Versions::default();
    behind.set(eu.clone(), Version { epoch: 7, index: 2 });
    let batch = store.missing(Arc::new(behind)).await.expect("reads").remove(0);
    assert_eq!((batch.since, batch.after.epoch, batch.after.index, batch.entries.len()), (0, 9, 3, 2));
}

#[tokio::test]
async fn one_log_is_handed_on_as_all_are() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path()).await;
    let eu = region("eu");
    for batch in 0..5 {
        let changes = (0..80).map(|number| purge_url(&number.to_string())).collect();
        store.apply(batch_of("eu", 7, 80 * batch, None, changes)).await.expect("follows");
    }
    let long = "long".repeat(1 << 16);
    let changes = (0..6).map(|number| purge_url(&format!("{long}{number}"))).collect();
    store.apply(batch_of("us", 7, 0, None, changes)).await.expect("follows");
    let places = [
        None,
        Some((6, 9)),
        Some((7, 0)),
        Some((7, 100)),
        Some((7, 144)),
        Some((7, 399)),
        Some((7, 400)),
        Some((8, 1)),
    ];
    for restarted in [false, true] {
        if restarted {
            store = reopen(store, dir.path()).await;
        }
        for there in places.map(|there| there.map(|(epoch, index)| Version { epoch, index })) {
            let mut versions = Versions::clone(&store.stamp());
            versions.take(&eu);
            there.into_iter().for_each(|there| versions.set(eu.clone(), there));
            let all = store.missing(Arc::new(versions)).await.expect("reads");
            let one = store.missing_of(&eu, there).await.expect("reads");
            assert_eq!(all, one.clone().into_iter().collect::<Vec<_>>(), "{there:?}");
            assert!(one.is_none_or(
                |batch| batch.base.is_none() && batch.entries.last().expect("some").version.index == 400
            ));
        }
        let of_us = store.missing_of(&region("us"), None).await.expect("reads").expect("lacks it");
        assert_eq!(of_us.entries.len(), 4, "a mebibyte of text, and the entry that passes it");
        assert_eq!(store.missing_of(&region("none"), None).await.expect("reads"), None);
    }
}

#[tokio::test]
async fn an_entry_is_found_by_its_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let changes = (0..300).map(|number| purge_url(&number.to_string())).collect();
    store.apply(batch_of("eu", 7, 0, None, changes)).await.expect("follows");
    for index in [1, 44, 45, 300] {
        let expected = entry_of(&region("eu"), 7, index, purge_url(&(index - 1).to_string()));
        assert_eq!(store.entry(&expected.id()).await.expect("reads"), Some(expected));
    }
    for (epoch, index) in [(7, 301), (7, 0), (6, 1)] {
        let id = EntryId { region: region("eu"), version: Version { epoch, index } };
        assert_eq!(store.entry(&id).await.expect("reads"), None);
    }
}

/// A node whose disk was put back to what it was some time ago.
#[tokio::test]
async fn purges_come_again_to_a_directory_that_was_restored() {
    let dirs = [(); 3].map(|()| tempfile::tempdir().expect("a directory"));
    let lon = open_as(dirs[0].path(), "eu").await;
    let fra = open(dirs[1].path()).await;
    lon.write(purge_url("before"), 0, NOW).await.expect("purges");
    catch_up(&fra, &lon).await;
    put(&fra, "a", &content(1, 100)).await;
    fra.close().await;
    copy(dirs[1].path(), dirs[2].path());
    drop(fra);
    let fra = open(dirs[1].path()).await;
    lon.write(purge_url("a"), 0, NOW).await.expect("purges");
    catch_up(&fra, &lon).await;
    assert!(find(&fra, "a").await.is_none());
    let restored = open(dirs[2].path()).await;
    assert!(!restored.stamp().covers(&lon.stamp()), "it can be seen that it is behind");
    assert!(find(&restored, "a").await.is_some());
    catch_up(&restored, &fra).await;
    assert!(find(&restored, "a").await.is_none() && restored.stamp().covers(&lon.stamp()));
    let restored = reopen(restored, dirs[2].path()).await;
    assert!(find(&restored, "a").await.is_none());
}
