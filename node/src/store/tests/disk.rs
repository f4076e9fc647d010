//! What is on disk: restarts, damage, the cap, failures.

use super::*;

#[tokio::test]
async fn objects_survive_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let (small, large) = (content(1, 2_000), content(2, 300_000));
    let before = put(&store, "small", &small).await;
    put(&store, "large", &large).await;
    let store = reopen(store, dir.path()).await;
    let after = find(&store, "small").await.expect("is stored");
    assert_eq!((&after.head, &after.stamp, &after.url), (&before.head, &before.stamp, &before.url));
    assert_eq!(after.key_text, "small");
    assert_eq!(read_all(&after).await.expect("reads"), small);
    let after = find(&store, "large").await.expect("is stored");
    assert_eq!(read(&after.body, 100_000..250_000).await.expect("reads"), large.slice(100_000..250_000));
    assert!(store.lookup_memory(&Key::of("small")).is_some(), "a disk hit is in memory afterwards");
}

#[tokio::test]
async fn a_superseded_variant_is_gone_and_others_stay() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    for (number, coding) in [(1, Coding::Identity), (2, Coding::Gzip), (3, Coding::Identity)] {
        let new = NewObject { head: head(NOW + number), coding, ..new("a", &store, None) };
        put_new(&store, new, &content(number, 5_000)).await;
    }
    for _ in 0..2 {
        let variants = store.lookup(&Key::of("a")).await.expect("is stored");
        let found: Vec<_> = variants.objects.iter().map(|o| (o.head.response_ms - NOW, o.coding)).collect();
        assert_eq!(found, [(3, Coding::Identity), (2, Coding::Gzip)], "newest first");
        store.0.tiers.memory.remove_head(&Key::of("a"));
    }
}

#[tokio::test]
async fn variants_are_bounded_in_memory_and_on_disk() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(Settings { variants_max: 3, ..settings(dir.path()) }, NOW).await.expect("opens");
    for number in 0..6 {
        let mut head = head(NOW + number);
        head.vary = vec![("accept-language".to_owned(), Some(number.to_string()))];
        put_new(&store, NewObject { head, ..new("a", &store, None) }, &content(number, 100)).await;
    }
    for _ in 0..2 {
        let variants = store.lookup(&Key::of("a")).await.expect("is stored");
        let found: Vec<_> = variants.objects.iter().map(|o| o.head.response_ms - NOW).collect();
        assert_eq!(found, [5, 4, 3]);
        store.0.tiers.memory.remove_head(&Key::of("a"));
    }
}

#[tokio::test]
async fn a_freshened_head_is_what_is_found_before_and_after_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    for (text, len) in [("small", 1_000), ("large", 50_000)] {
        let old = put(&store, text, &content(3, len)).await;
        store.freshen(&old, head(NOW + 9), store.stamp()).await.expect("it is still there");
        let found = find(&store, text).await.expect("is stored");
        assert_eq!(found.head.response_ms, NOW + 9);
        assert_eq!(read_all(&found).await.expect("reads"), content(3, len));
    }
    store.flush().await;
    let store = reopen(store, dir.path()).await;
    for (text, len) in [("small", 1_000), ("large", 50_000)] {
        let found = store.lookup(&Key::of(text)).await.expect("is stored");
        assert_eq!((found.objects.len(), found.objects[0].head.response_ms), (1, NOW + 9));
        assert_eq!(read_all(&found.objects[0]).await.expect("reads"), content(3, len));
    }
}

#[tokio::test]
async fn a_removed_object_does_not_come_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let object = put(&store, "a", &content(4, 50_000)).await;
    store.remove(&object).await;
    assert!(find(&store, "a").await.is_none());
    let store = reopen(store, dir.path()).await;
    assert!(find(&store, "a").await.is_none());
}

#[tokio::test]
async fn a_damaged_slice_is_a_miss_and_never_a_wrong_body() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    for number in 0..40 {
        put(&store, &number.to_string(), &content(number, 500 + 1_500 * number as usize)).await;
    }
    store.close().await;
    drop(store);
    for path in segment_files(dir.path()) {
        let mut bytes = std::fs::read(&path).expect("reads");
        for at in (0..bytes.len()).step_by(20_011) {
            bytes[at] ^= 0x40;
        }
        std::fs::write(&path, bytes).expect("writes");
    }
    let store = open(dir.path()).await;
    let mut missed = 0;
    for number in 0..40 {
        let Some(object) = find(&store, &number.to_string()).await else {
            missed += 1;
            continue;
        };
        match read_all(&object).await {
            Ok(body) => assert_eq!(body, content(number, 500 + 1_500 * number as usize)),
            Err(error) => {
                assert!(matches!(error, ReadError::Gap { .. }), "{error}");
                missed += 1;
            }
        }
    }
    let damaged = store.stats().slices_damaged;
    assert!(missed > 20 && damaged >= missed, "{missed} missed, {damaged} damaged");
}

#[tokio::test]
async fn slices_that_lie_in_each_others_place_are_damaged_slices() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    put(&store, "a", &content(5, 2 * SLICE as usize)).await;
    store.close().await;
    drop(store);
    let path = segment_files(dir.path()).remove(0);
    let bytes = std::fs::read(&path).expect("reads");
    let (first, second) = bytes.split_at(SLICE as usize);
    std::fs::write(&path, [second, first].concat()).expect("writes");
    let store = open(dir.path()).await;
    let object = find(&store, "a").await.expect("its record is right");
    assert_eq!(read_all(&object).await, Err(ReadError::Gap { at: 0 }));
    // The same bytes at another start, or of another body, have another sum.
    let sums = [(1, 0), (1, 4096), (2, 0)].map(|(body, start)| record::checksum(body, start, b"same"));
    assert!(sums[0] != sums[1] && sums[0] != sums[2]);
}

#[tokio::test]
async fn a_shortened_or_missing_segment_is_a_miss() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    put(&store, "a", &content(6, 1_000)).await;
    put(&store, "b", &content(7, 50_000)).await;
    store.close().await;
    drop(store);
    let path = segment_files(dir.path()).remove(0);
    std::fs::OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(30_000)).expect("cuts");
    let store = open(dir.path()).await;
    assert_eq!(read_all(&find(&store, "a").await.expect("lies before the cut")).await, Ok(content(6, 1_000)));
    let cut = find(&store, "b").await.expect("has a record");
    assert!(matches!(read_all(&cut).await, Err(ReadError::Gap { .. })));
    store.close().await;
    drop((store, cut));
    std::fs::remove_file(path).expect("removes");
    let store = open(dir.path()).await;
    assert!(find(&store, "a").await.is_none());
}

#[tokio::test]
async fn the_cap_holds_under_churn_and_what_is_hot_stays() {
    let dir = tempfile::tempdir().expect("a directory");
    let cap = 2 << 20;
    let settings = Settings { disk_bytes_max: cap, memory_bytes_max: 64 << 10, ..settings(dir.path()) };
    let store = Store::open(settings, NOW).await.expect("opens");
    put(&store, "hot", &content(999, 20_000)).await;
    for number in 0..600 {
        put(&store, &number.to_string(), &content(number, 20_000)).await;
        forget_in_memory(&store, "hot");
        let hot = find(&store, "hot").await.expect("what is hot stays");
        assert_eq!(read_all(&hot).await.expect("what is hot stays"), content(999, 20_000), "{number}");
        if number % 50 == 0 {
            let files = segment_files(dir.path());
            let bytes: u64 = files.iter().map(|path| path.metadata().expect("is there").len()).sum();
            assert!(bytes <= cap, "{bytes} bytes on disk");
        }
    }
    let stats = store.stats();
    assert!(stats.segments_evicted > 5 && stats.slices_reinserted > 0, "{stats:?}");
    assert!(find(&store, "0").await.is_none(), "what is cold went with its segment");
    let mut left = 0;
    for number in 0..600 {
        if let Some(object) = find(&store, &number.to_string()).await
            && let Ok(body) = read_all(&object).await
        {
            assert_eq!(body, content(number, 20_000));
            left += 1;
        }
    }
    assert!((40..110).contains(&left), "{left} of the cold objects fit beside the hot one");
}

/// So that the next read goes to disk.
fn forget_in_memory(store: &Store, text: &str) {
    let memory = &store.0.tiers.memory;
    for object in memory.peek_head(&Key::of(text)).iter().flat_map(|variants| &variants.objects) {
        object.body.slice_starts().into_iter().for_each(|start| memory.remove_slice(object.body.id(), start));
    }
    memory.remove_head(&Key::of(text));
}

#[tokio::test]
async fn a_disk_that_cannot_be_written_does_not_stop_the_cache() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    // Segments cannot be made where a file is.
    std::fs::remove_dir_all(dir.path().join("segments")).expect("removes");
    std::fs::write(dir.path().join("segments"), "in the way").expect("writes");
    for number in 0..20 {
        let body = content(number, 9_000);
        let object = put(&store, &number.to_string(), &body).await;
        assert_eq!(read_all(&object).await.expect("reads"), body);
        let found = find(&store, &number.to_string()).await.expect("memory has it");
        assert_eq!(read_all(&found).await.expect("reads"), body);
    }
    let stats = store.stats();
    assert!(stats.disk_write_errors > 0, "{stats:?}");
    assert_eq!((stats.records_written, stats.dirty_bytes), (0, 0), "no record names what was not written");
}

#[tokio::test]
async fn an_index_that_is_in_use_or_damaged_says_what_to_do() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let error = Store::open(settings(dir.path()), NOW).await.err().expect("is in use");
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    store.close().await;
    drop(store);
    std::fs::write(dir.path().join("index/CURRENT"), "nonsense").expect("writes");
    let error = Store::open(settings(dir.path()), NOW).await.err().expect("is damaged");
    let text = error.to_string();
    assert!(matches!(error, OpenError::Damaged { .. }), "{text}");
    assert!(text.contains("index") && text.contains("move"), "{text}");
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_a_miss_and_is_deleted() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let object = put(&store, "a", &content(8, 100)).await;
    store.0.tiers.index.put_raw(&object.key, object.body.id(), b"\x01nonsense");
    store.0.tiers.memory.remove_head(&object.key);
    assert!(find(&store, "a").await.is_none());
    assert_eq!(store.stats().records_damaged, 1);
    assert!(find(&store, "a").await.is_none());
    assert_eq!(store.stats().records_damaged, 1, "it was deleted");
}
