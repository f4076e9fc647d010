//! Logs and table have bounds, and nothing that was purged comes back for them.

use super::{
    purges::SKEW_MAX_MS,
    recent::{KEYS_MAX, Recent},
    *,
};

#[tokio::test]
async fn a_log_that_is_too_long_loses_its_beginning_and_what_it_purged_stays_purged() {
    let dir = tempfile::tempdir().expect("a directory");
    let bounded = || Settings { purge_log_entries_max: 10, ..settings(dir.path()) };
    let store = Store::open(bounded(), NOW).await.expect("opens");
    put(&store, "0", &content(1, 100)).await;
    put(&store, "unnamed", &content(1, 100)).await;
    let other = NewObject { service: "other".into(), ..new("other", &store, None) };
    put_new(&store, other, &content(1, 100)).await;
    for number in 0..25 {
        store.write(purge_url(&number.to_string()), 0, NOW).await.expect("purges");
    }
    put(&store, "new", &content(1, 100)).await;
    store.0.purges.sweep(&store.0.tiers.index, 0).expect("sweeps");
    let stats = store.stats();
    assert_eq!(
        (stats.purge_log_entries, stats.purge_log_entries_dropped, stats.purge_selectors),
        (10, 15, 25)
    );
    assert!(find(&store, "0").await.is_none() && find(&store, "unnamed").await.is_some());
    assert_the_first_15_are_left_out(&store).await;

    store.close().await;
    drop(store);
    let store = Store::open(bounded(), NOW).await.expect("opens");
    assert_eq!((store.stats().purge_log_entries, store.stats().purge_selectors), (10, 11));
    assert!(find(&store, "0").await.is_none(), "its purge is not kept, and holds");
    for text in ["other", "new"] {
        let found = find(&store, text).await.expect("no purge names it");
        assert_eq!(store.purged(&found), Purged::No, "{text}");
    }
    assert_the_first_15_are_left_out(&store).await;

    let kept_for = Settings::default().object_lifetime_max_ms + SKEW_MAX_MS;
    store.0.purges.sweep(&store.0.tiers.index, NOW + SKEW_MAX_MS + 1).expect("sweeps");
    store.close().await;
    drop(store);
    let store = Store::open(bounded(), NOW + kept_for + 1).await.expect("opens");
    assert_eq!(store.stats().purge_selectors, 0, "no object is so old");
}

async fn assert_the_first_15_are_left_out(store: &Store) {
    let missing = store.missing(Stamp::default()).await.expect("reads").remove(0);
    assert_eq!((missing.since, missing.after.index, missing.entries.len()), (0, 15, 10));
    assert_eq!(missing.base, Some(Base::default()), "what was dropped is not passed over in silence");
}

/// Each base holds all services: as many as there are logs were too much for one message.
#[tokio::test]
async fn a_reply_has_one_base_and_no_more_text_beside_it_than_fits() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let (lon, fra) = (open(dirs[0].path()).await, open(dirs[1].path()).await);
    let base = || {
        let mut service = service_at("large", 1);
        service.definition = Some("x".repeat(Catalog::TEXT_BYTES_MAX - 5));
        Some(Base { shields: None, services: vec![service] })
    };
    let long = "long".repeat(1 << 15);
    let changes = || (0..6).map(|number| purge_url(&format!("{long}{number}"))).collect();
    for region in ["eu", "fr", "us"] {
        lon.apply(batch_of(region, 7, 5, base(), changes())).await.expect("steps over");
    }
    let mut replies = 0;
    while !fra.stamp().covers(&lon.stamp()) {
        let batches = lon.missing(fra.stamp()).await.expect("reads");
        let bases = batches.iter().filter_map(|batch| batch.base.as_ref()).map(Base::text_bytes);
        let entries = batches.iter().flat_map(|batch| &batch.entries).map(Entry::text_bytes);
        let (bases, entries): (Vec<_>, usize) = (bases.collect(), entries.sum());
        assert!(bases.len() <= 1, "{bases:?}");
        assert!(bases.iter().sum::<usize>() + entries < 3 << 20, "{bases:?}, {entries}");
        for batch in batches {
            assert!(batch.base.is_none() || batch.entries.len() == 1, "{}", batch.entries.len());
            assert!(fra.apply(batch).await.expect("follows"));
        }
        replies += 1;
    }
    assert!(replies > 3);
    assert_eq!(fra.catalog().borrow().service("large"), lon.catalog().borrow().service("large"));
    assert_eq!((fra.stats().purge_log_entries, lon.stats().purge_log_entries), (18, 18));
}

#[tokio::test]
async fn a_table_that_is_full_purges_more_and_not_less() {
    let dir = tempfile::tempdir().expect("a directory");
    let bounded = || Settings { purge_selectors_max: 100, ..settings(dir.path()) };
    let store = Store::open(bounded(), NOW).await.expect("opens");
    let before = store.stamp();
    for number in 0..300 {
        store.write(purge_url(&number.to_string()), 0, NOW).await.expect("purges");
        assert!(store.stats().purge_selectors <= 100);
    }
    let after = store.stamp();
    store.close().await;
    let merged = store.stats().purge_selectors_merged;
    drop(store);
    let store = Store::open(bounded(), NOW).await.expect("opens");
    let stats = store.stats();
    assert!(
        merged >= 200 && stats.purge_selectors_merged >= 200 && stats.purge_selectors <= 100,
        "{stats:?}"
    );
    for number in 0..300 {
        let url = format!("example.org/{number}");
        let subject = Subject { service: "default", url: &url, tags: &[] };
        assert_eq!(store.purged_subject(subject, &before), Purged::Hard, "{number}");
        assert_eq!(store.purged_subject(subject, &after), Purged::No, "{number}");
    }
}

#[test]
fn the_last_keys_of_a_log_are_remembered_and_no_more() {
    let mut recent = Recent::default();
    let eu = region("eu");
    let all = KEYS_MAX as u64 + 3;
    (1..=all).for_each(|index| recent.push(&entry_of(&eu, 7, index, Change::Nothing)));
    for (key, is_known) in [(3, false), (4, true), (all, true)] {
        assert_eq!(recent.find(&eu, u128::from(key)).is_some(), is_known, "{key}");
    }
}
