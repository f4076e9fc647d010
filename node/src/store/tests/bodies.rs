//! Bodies while they arrive: followers, aborts, gaps, budgets.

use super::*;

#[tokio::test]
async fn followers_at_any_position_get_the_body_as_it_arrives() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let body = content(1, 50_000);
    let (object, mut writer) = store.begin(new("a", &store, None));
    store.commit(&object).await;
    let found = find(&store, "a").await.expect("an arriving object is found");
    let tasks = TaskTracker::new();
    let followers: Vec<_> = (0..20_u64)
        .map(|at| {
            let body = found.body.clone();
            tasks.spawn(async move { read(&body, at * 2_000..u64::MAX).await })
        })
        .collect();
    for chunk in body.chunks(777) {
        writer.push(Bytes::copy_from_slice(chunk)).await.expect("pushes");
        tokio::task::yield_now().await;
    }
    writer.finish().await.expect("finishes");
    for (at, follower) in followers.into_iter().enumerate() {
        let got = follower.await.expect("no panic").expect("reads");
        assert_eq!(got, body.slice(at * 2_000..), "follower {at}");
    }
    assert_eq!(read(&object.body, 4_090..4_100).await.expect("reads"), body.slice(4_090..4_100));
    assert_eq!((object.body.total(), object.body.is_whole()), (Some(50_000), true));
}

#[tokio::test]
async fn bytes_are_readable_before_their_slice_is_full() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let (object, mut writer) = store.begin(new("a", &store, None));
    let mut reader = object.body.reader(0..u64::MAX);
    writer.push(Bytes::from_static(b"hel")).await.expect("pushes");
    assert_eq!(reader.next().await, Ok(Some(Bytes::from_static(b"hel"))));
    writer.push(Bytes::from_static(b"lo")).await.expect("pushes");
    assert_eq!(reader.next().await, Ok(Some(Bytes::from_static(b"lo"))));
    writer.finish().await.expect("finishes");
    assert_eq!(reader.next().await, Ok(None));
}

#[tokio::test]
async fn an_aborted_fill_tells_its_followers_where_the_bytes_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let body = content(2, 10_000);
    let (object, mut writer) = store.begin(new("a", &store, Some(20_000)));
    store.commit(&object).await;
    let mut follower = object.body.reader(0..u64::MAX);
    writer.push(body.clone()).await.expect("pushes");
    writer.abort("the origin went away");
    let mut got = Vec::new();
    let end = loop {
        match follower.next().await {
            Ok(Some(chunk)) => got.extend_from_slice(&chunk),
            other => break other,
        }
    };
    assert_eq!(end, Err(ReadError::Aborted { at: 10_000, why: "the origin went away" }));
    assert_eq!(got, body);
    assert!(find(&store, "a").await.is_none(), "an aborted body is not found");
    let store = reopen(store, dir.path()).await;
    assert!(find(&store, "a").await.is_none(), "nor recorded");
}

#[tokio::test]
async fn a_writer_that_is_dropped_aborts_and_wakes_who_waits() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let (object, writer) = store.begin(new("a", &store, None));
    let body = object.body.clone();
    let follower = TaskTracker::new().spawn(async move { read(&body, 0..u64::MAX).await });
    tokio::task::yield_now().await;
    drop(writer);
    assert!(matches!(follower.await.expect("no panic"), Err(ReadError::Aborted { at: 0, .. })));
}

#[tokio::test]
async fn a_reader_that_is_dropped_harms_no_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let body = content(3, 30_000);
    let (object, mut writer) = store.begin(new("a", &store, None));
    let mut gone = object.body.reader(0..u64::MAX);
    let mut waiting = Box::pin(gone.next());
    assert!(futures_util::poll!(&mut waiting).is_pending());
    let mut stays = object.body.reader(0..u64::MAX);
    writer.push(body.slice(..5_000)).await.expect("pushes");
    assert!(stays.next().await.expect("reads").is_some());
    drop(waiting);
    drop(gone);
    writer.push(body.slice(5_000..)).await.expect("pushes");
    writer.finish().await.expect("finishes");
    assert_eq!(read_all(&object).await.expect("reads"), body);
}

#[tokio::test]
async fn a_body_of_another_length_than_announced_is_an_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let (_, mut writer) = store.begin(new("a", &store, Some(10)));
    let long = writer.push(content(4, 11)).await;
    assert_eq!(long, Err(WriteError::TooLong { announced: 10 }));
    assert_eq!(writer.push(content(4, 1)).await, Err(WriteError::Broken));
    let (object, mut writer) = store.begin(new("a", &store, Some(10)));
    writer.push(content(4, 9)).await.expect("pushes");
    assert_eq!(writer.finish().await, Err(WriteError::TooShort { at: 9, announced: 10 }));
    assert!(matches!(read_all(&object).await, Err(ReadError::Gap { at: 9 })), "born after the failure");
}

#[tokio::test]
async fn the_smallest_bodies_are_bodies() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    for (text, total) in [("empty", Some(0)), ("empty-unknown", None)] {
        put_new(&store, new(text, &store, total), &Bytes::new()).await;
    }
    put(&store, "one", &content(5, 1)).await;
    put(&store, "exact", &content(6, SLICE as usize)).await;
    put_new(&store, new("exact-unknown", &store, None), &content(6, SLICE as usize)).await;
    let store = reopen(store, dir.path()).await;
    let expected = [
        ("empty", 0, 0),
        ("empty-unknown", 0, 0),
        ("one", 5, 1),
        ("exact", 6, SLICE),
        ("exact-unknown", 6, SLICE),
    ];
    for (text, seed, len) in expected {
        let object = find(&store, text).await.expect("is stored");
        assert_eq!(read_all(&object).await.expect("reads"), content(seed, len as usize), "{text}");
        assert!(object.body.is_whole());
    }
}

#[tokio::test]
async fn gaps_are_filled_by_those_who_ask_first_and_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let body = content(7, 100_000);
    let first = NewObject { from: 20_000, until: Some(30_000), ..new("a", &store, Some(100_000)) };
    let (object, mut writer) = store.begin(first);
    store.commit(&object).await;
    writer.push(body.slice(20_000..30_000)).await.expect("pushes");
    writer.finish().await.expect("finishes");
    assert_eq!(read(&object.body, 20_000..30_000).await.expect("reads"), body.slice(20_000..30_000));
    assert_eq!(read(&object.body, 0..10).await, Err(ReadError::Gap { at: 0 }));
    assert_eq!(read(&object.body, 29_999..30_001).await, Err(ReadError::Gap { at: 30_000 }));
    assert!(object.body.writer(20_000..30_000, Hop::Origin).is_none(), "it is here");
    store.flush().await;

    let store = reopen(store, dir.path()).await;
    let object = find(&store, "a").await.expect("a partial object with a strong validator is recorded");
    assert!(object.body.has(20_000..30_000) && !object.body.has(19_999..20_001));
    let mut before = object.body.writer(0..u64::MAX, Hop::Origin).expect("a gap");
    assert_eq!(before.range(), 0..20_000, "up to what is here");
    assert!(object.body.writer(10..20, Hop::Origin).is_none(), "somebody brings it");
    let mut after = object.body.writer(30_000..u64::MAX, Hop::Origin).expect("a gap");
    before.push(body.slice(..20_000)).await.expect("pushes");
    after.push(body.slice(30_000..)).await.expect("pushes");
    before.finish().await.expect("finishes");
    after.finish().await.expect("finishes");
    assert_eq!(read_all(&object).await.expect("reads"), body);
    store.flush().await;
    let store = reopen(store, dir.path()).await;
    let object = find(&store, "a").await.expect("is stored");
    assert!(object.body.is_whole());
    assert_eq!(read_all(&object).await.expect("reads"), body);
}

#[tokio::test]
async fn memory_stays_within_its_budget_and_large_bodies_come_from_disk() {
    let dir = tempfile::tempdir().expect("a directory");
    let settings = Settings { memory_bytes_max: 1 << 20, ..settings(dir.path()) };
    let store = Store::open(settings, NOW).await.expect("opens");
    let body = content(8, 3 << 20);
    let object = put(&store, "large", &body).await;
    for number in 0..300 {
        put(&store, &format!("small-{number}"), &content(number, 3_000)).await;
        assert!(store.stats().memory_bytes <= 1 << 20);
    }
    assert_eq!(read_all(&object).await.expect("reads"), body);
    let stats = store.stats();
    assert!(stats.slices_from_disk > 500 && stats.memory_evictions > 500, "{stats:?}");
    assert_eq!((stats.dirty_bytes, stats.fills, stats.slices_damaged), (0, 0, 0));
}

#[tokio::test]
async fn without_a_disk_a_slow_reader_finds_a_gap_and_slows_nobody() {
    let dir = tempfile::tempdir().expect("a directory");
    let settings = Settings { memory_bytes_max: 1 << 20, disk_bytes_max: 0, ..settings(dir.path()) };
    let store = Store::open(settings, NOW).await.expect("opens");
    let body = content(9, 8 << 20);
    let (object, mut writer) = store.begin(new("a", &store, None));
    store.commit(&object).await;
    let mut near = object.body.reader(0..u64::MAX);
    for chunk in body.chunks(64 << 10) {
        writer.push(Bytes::copy_from_slice(chunk)).await.expect("pushes");
        let mut got = 0;
        while got < chunk.len() {
            got += near.next().await.expect("a near reader follows").map_or(0, |bytes| bytes.len());
        }
    }
    writer.finish().await.expect("finishes");
    assert_eq!(near.next().await, Ok(None));
    assert!(matches!(read_all(&object).await, Err(ReadError::Gap { .. })));
    assert!(store.stats().memory_bytes <= 1 << 20);
    let small = content(10, 2_000);
    put(&store, "small", &small).await;
    let found = find(&store, "small").await.expect("is stored");
    assert_eq!(read_all(&found).await.expect("reads"), small);
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_of_one_slice_share_one_read_and_one_allocation() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    put(&store, "a", &content(11, 40_000)).await;
    let store = reopen(store, dir.path()).await;
    let object = find(&store, "a").await.expect("is stored");
    let tasks = TaskTracker::new();
    let readers: Vec<_> = (0..200)
        .map(|_| {
            let body = object.body.clone();
            tasks.spawn(async move { body.reader(0..u64::MAX).next().await })
        })
        .collect();
    let mut chunks = Vec::new();
    for reader in readers {
        chunks.push(reader.await.expect("no panic").expect("reads").expect("has bytes"));
    }
    assert_eq!(store.stats().slices_from_disk, 1);
    assert!(chunks.iter().all(|chunk| chunk.as_ptr() == chunks[0].as_ptr()));
}

/// Who has it can read it; nobody else finds it, and nothing of it stays.
#[tokio::test]
async fn a_transient_body_leaves_nothing_behind() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let body = content(1, 100_000);
    let transient = NewObject { transient: true, ..new("a", &store, Some(100_000)) };
    let (object, mut writer) = store.begin(transient);
    writer.push(body.clone()).await.expect("pushes");
    writer.finish().await.expect("finishes");
    assert_eq!(read_all(&object).await.expect("it is in memory"), body);
    assert!(store.stats().memory_entries > 0 && find(&store, "a").await.is_none());
    drop(object);
    store.flush().await;
    assert_eq!((store.stats().memory_entries, store.stats().disk_bytes), (0, 0));
    store.close().await;
}

/// Two nodes that feed each other must not wait for each other.
#[tokio::test]
async fn a_reader_waits_only_for_what_comes_from_above() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let (object, mut writer) = store.begin(NewObject { fed_by: Hop::Owner, ..new("a", &store, Some(10)) });
    writer.push(Bytes::from_static(b"hello")).await.expect("pushes");
    let mut beside = object.body.reader_at(0..10, Hop::Owner);
    assert_eq!(beside.next().await, Ok(Some(Bytes::from_static(b"hello"))), "what is here is here");
    assert_eq!(beside.next().await, Err(ReadError::Below { at: 5 }));
    assert!(object.body.is_arriving_at(Hop::Client) && !object.body.is_arriving_at(Hop::Owner));
    let mut below = object.body.reader_at(5..10, Hop::Client);
    writer.push(Bytes::from_static(b"world")).await.expect("pushes");
    assert_eq!(below.next().await, Ok(Some(Bytes::from_static(b"world"))));
    drop(writer);
    store.close().await;
}
