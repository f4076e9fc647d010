//! The purge logs of other nodes: applied in order, once, from whoever has them.

use starling_proto::purge::{ApplyError, Batch, Mode, PurgeTable, Selector, Version};

use super::*;

fn purge_of(text: &str) -> PurgeRequest {
    let selectors = vec![Selector::Url(format!("example.org/{text}"))];
    PurgeRequest { service: "default".to_owned(), selectors, mode: Mode::Hard }
}

async fn open_as(dir: &Path, region: &str) -> Store {
    let settings = Settings { region: region.to_owned(), ..settings(dir) };
    Store::open(settings, NOW).await.expect("opens")
}

/// Brings `to` up to date from `from`; answers how many batches that took.
async fn catch_up(to: &Store, from: &Store) -> usize {
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
    let (lon, fra) = (open_as(here.path(), "eu:lon").await, open_as(there.path(), "eu:fra").await);
    let old = put(&fra, "a", &content(1, 100)).await;
    let other = put(&fra, "b", &content(1, 100)).await;
    lon.purge(purge_of("a"), NOW).await.expect("purges");
    assert_eq!(catch_up(&fra, &lon).await, 1);
    assert_eq!((fra.purged(&old), fra.purged(&other)), (Purged::Hard, Purged::No));
    assert!(fra.stamp().covers(&lon.stamp()), "{:?}", fra.stamp());
    let new = put(&fra, "a", &content(2, 100)).await;
    assert_eq!(fra.purged(&new), Purged::No, "asked after the purge");

    fra.close().await;
    drop(fra);
    let fra = open_as(there.path(), "eu:fra").await;
    let found = find(&fra, "a").await.expect("what was fetched after the purge");
    assert_eq!(read_all(&found).await.expect("reads"), content(2, 100));
    assert_eq!(catch_up(&fra, &lon).await, 0, "it knows where it was");
}

#[tokio::test]
async fn any_node_hands_on_what_it_knows() {
    let dirs = [(); 3].map(|()| tempfile::tempdir().expect("a directory"));
    let lon = open_as(dirs[0].path(), "eu:lon").await;
    let fra = open_as(dirs[1].path(), "eu:fra").await;
    let nyc = open_as(dirs[2].path(), "us:nyc").await;
    let old = put(&nyc, "a", &content(1, 100)).await;
    lon.purge(purge_of("a"), NOW).await.expect("purges");
    catch_up(&fra, &lon).await;
    catch_up(&nyc, &fra).await;
    assert_eq!(nyc.purged(&old), Purged::Hard);
}

#[tokio::test]
async fn a_batch_is_applied_once_and_never_with_a_gap() {
    let (here, there) =
        (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let (lon, fra) = (open_as(here.path(), "eu:lon").await, open_as(there.path(), "eu:fra").await);
    for name in ["a", "b", "c"] {
        lon.purge(purge_of(name), NOW).await.expect("purges");
    }
    let batches = lon.missing(fra.stamp()).await.expect("the log is readable");
    let of_lon =
        batches.into_iter().find(|batch| batch.region == Region::new("eu:lon")).expect("its own log");
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
    assert_eq!(fra.stamp().get(&Region::new("eu:lon")).map(|at| at.index), Some(3));
    assert_eq!(fra.stats().purge_selectors, 3);
}

#[tokio::test]
async fn nobody_else_writes_the_own_log() {
    let dir = tempfile::tempdir().expect("a directory");
    let lon = open_as(dir.path(), "eu:lon").await;
    lon.purge(purge_of("a"), NOW).await.expect("purges");
    let mine = lon.stamp().get(&Region::new("eu:lon")).expect("its own log");
    let foreign = Version { epoch: mine.epoch + 1, index: 0 };
    let batch = Batch { region: Region::new("eu:lon"), since: 0, after: foreign, entries: Vec::new() };
    assert!(matches!(lon.apply(batch).await, Err(StoreError::OwnLog)));
    assert_eq!(lon.stamp().get(&Region::new("eu:lon")), Some(mine));
}

#[tokio::test]
async fn swept_entries_are_stepped_over() {
    let (here, there) =
        (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let lon = open_as(here.path(), "eu:lon").await;
    let long_ago = NOW - 2 * Settings::default().object_lifetime_max_ms;
    lon.purge(purge_of("a"), long_ago).await.expect("purges");
    lon.purge(purge_of("b"), NOW).await.expect("purges");
    lon.close().await;
    drop(lon);
    let lon = open_as(here.path(), "eu:lon").await;
    let fra = open_as(there.path(), "eu:fra").await;
    assert_eq!(catch_up(&fra, &lon).await, 1);
    assert!(fra.stamp().covers(&lon.stamp()));
    assert_eq!(fra.stats().purge_selectors, 1, "the swept one names nothing that may be used");
}

#[test]
fn a_table_never_steps_back() {
    let mut table = PurgeTable::default();
    let log = Region::new("eu:lon");
    table.skip(&log, Version { epoch: 1, index: 5 }).expect("forward");
    let back = table.skip(&log, Version { epoch: 1, index: 4 });
    assert_eq!(back, Err(ApplyError::Old { region: log, got: 4 }));
}
