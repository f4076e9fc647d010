//! The log that a node standing alone writes, and directories that others left.

use super::*;

#[tokio::test]
async fn what_is_asked_for_again_by_its_key_is_written_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let local = region("local");
    let first = store.write(purge_url("a"), 77, NOW).await.expect("purges");
    let other = store.write(purge_url("b"), 78, NOW + 1).await.expect("purges");
    assert_eq!((first.version.index, other.version.index), (1, 2));
    assert_eq!(store.write(purge_url("a"), 77, NOW + 2).await.expect("is known"), first);
    assert_eq!(store.find(&local, 78), Some((other.version, NOW + 1)));
    assert_eq!(store.find(&local, 79), None);
    let store = reopen(store, dir.path()).await;
    assert_eq!(store.write(purge_url("a"), 77, NOW + 3).await.expect("is known"), first);
    for index in [3, 4] {
        let without_key = store.write(purge_url("a"), 0, NOW).await.expect("purges");
        assert_eq!(without_key.version.index, index, "nobody will ask for it again");
    }
    assert_eq!(store.find(&local, 0), None);
    assert_eq!(store.stats().purge_log_entries, 4);
}

#[tokio::test]
async fn a_log_is_begun_once_and_after_all_lives_that_are_known() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    assert!(store.stamp().is_empty(), "a group may write it, in an epoch of its own");
    let from_elsewhere = batch_of("local", NOW + 500, 0, None, vec![purge_url("a")]);
    store.apply(from_elsewhere.clone()).await.expect("follows");
    let own = store.write(purge_url("b"), 1, NOW).await.expect("purges");
    let expected = Version { epoch: NOW + 501, index: 1 };
    assert_eq!(own.version, expected, "who wrote the other one may have written more");
    assert!(!store.apply(from_elsewhere).await.expect("is of an earlier life"));
    let store = reopen(store, dir.path()).await;
    let next = store.write(purge_url("c"), 0, NOW + 900).await.expect("purges");
    assert_eq!(next.version, Version { index: 2, ..expected }, "it is its own");
    store.apply(batch_of("local", NOW + 700, 0, None, vec![purge_url("a")])).await.expect("is born again");
    let third = store.write(purge_url("d"), 1, NOW + 900).await.expect("purges");
    assert_eq!(third.version, Version { epoch: NOW + 900, index: 1 }, "nor is a key of another life known");
}

#[tokio::test]
async fn what_a_lone_node_sets_is_in_the_catalog_and_stays_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let catalog = store.catalog();
    let later = service_at("blog", 9);
    store.write(Change::Service(later.clone()), 0, NOW).await.expect("writes");
    assert!(catalog.has_changed().expect("is open"));
    store.write(Change::Service(service_at("blog", 5)), 0, NOW).await.expect("writes");
    store.write(Change::Service(service_at("shop", 5)), 0, NOW).await.expect("writes");
    let store = reopen(store, dir.path()).await;
    let services: Vec<_> = store.catalog().borrow().services().cloned().collect();
    assert_eq!(services, [later, service_at("shop", 5)]);
}

/// Its entries have another layout, so they are not read; objects without the purges that name them would be purged
/// content that came back.
#[tokio::test]
async fn a_directory_of_the_former_layout_begins_empty() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    put(&store, "a", &content(1, 50_000)).await;
    store.write(purge_url("b"), 0, NOW).await.expect("purges");
    let last_id = put(&store, "c", &content(1, 100)).await.body.id();
    store.0.tiers.index.put_meta_raw("life", &[1, 5]);
    store.0.tiers.index.put_meta_raw("oldest_segment", &[1, 0]);
    store.0.tiers.index.put_meta_raw("applied", b"\x01nonsense");
    let store = reopen(store, dir.path()).await;
    assert!(find(&store, "a").await.is_none() && find(&store, "c").await.is_none());
    assert!(store.stamp().is_empty());
    assert_eq!((store.stats().purge_selectors, store.stats().purge_log_entries), (0, 0));
    let object = put(&store, "a", &content(2, 50_000)).await;
    assert!(object.body.id() > last_id, "no two starts name a body alike");
    drop(object);
    store.write(purge_url("b"), 0, NOW + 1).await.expect("purges");
    let store = reopen(store, dir.path()).await;
    let found = find(&store, "a").await.expect("is stored");
    assert_eq!(read_all(&found).await.expect("reads"), content(2, 50_000));
    assert_eq!(store.stamp().get(&region("local")), Some(Version { epoch: NOW + 1, index: 1 }));
}

#[tokio::test]
async fn what_cannot_be_read_of_the_logs_is_said_and_not_passed_over() {
    for name in ["applied", "floors", "own", "remains", "shields/eu", "service/blog", "life"] {
        let dir = tempfile::tempdir().expect("a directory");
        let store = open(dir.path()).await;
        store.0.tiers.index.put_meta_raw(name, b"\x02\xff\xff\xff\xff\xff");
        store.close().await;
        drop(store);
        let error = Store::open(settings(dir.path()), NOW).await.err();
        assert!(matches!(error, Some(OpenError::Damaged { .. })), "{name}: {error:?}");
    }
}
