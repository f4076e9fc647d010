//! What of a peer's answer is kept, for how long, and what makes it useless.

use http::Method;

use super::{
    origin::Page,
    world::{World, content},
};

#[tokio::test]
async fn what_others_own_leaves_nothing_behind() {
    let world = World::new(2).await;
    for (number, bytes) in [10, 3_000, 100_000].into_iter().enumerate() {
        let path = world.path_of(&format!("page{number}"), 0);
        world.origin.put(&path, Page::new(content(bytes)));
        assert_eq!(world.get(1, &path).await.whole(), &content(bytes));
        assert!(world.is_stored(0, &path) && !world.is_stored(1, &path));
    }
    let asker = &world.stores[1];
    asker.flush().await;
    let stats = asker.stats();
    assert_eq!((stats.disk_bytes, stats.records_written), (0, 0));
    assert_eq!(stats.memory_entries, 0, "slices go with their last reader");
    world.stores[0].flush().await;
    assert!(world.stores[0].stats().disk_bytes > 100_000);
    world.close().await;
}

#[tokio::test]
async fn what_is_asked_for_often_is_kept_everywhere() {
    let world = World::new(2).await;
    let path = world.path_of("page", 0);
    world.origin.put(&path, Page::new(content(20_000)));
    for _ in 0..3 {
        assert_eq!(world.get(1, &path).await.hops().len(), 2);
    }
    assert!(world.is_stored(1, &path));
    let kept = world.get(1, &path).await;
    assert!(kept.field("cache-status").starts_with("lon-1; hit"), "{:?}", kept.hops());
    assert_eq!(world.net.questions(0).len(), 3);
    for _ in 0..20 {
        world.get(1, &path).await;
    }
    assert_eq!(world.edges[1].hottest(4), [super::world::key_of(&path)]);
    assert!(world.edges[0].hottest(4).is_empty(), "what peers ask for is not what clients ask for");
    world.close().await;
}

/// What could not be resumed after memory gave up its beginning is kept, too.
#[tokio::test]
async fn what_could_not_be_resumed_is_kept() {
    let world = World::new(2).await;
    let path = world.path_of("page", 0);
    world.origin.put(&path, Page::new(content(20_000)).with("etag", ""));
    assert_eq!(world.get(1, &path).await.whole(), &content(20_000));
    assert!(world.is_stored(1, &path));
    world.close().await;
}

#[tokio::test]
async fn a_response_is_as_old_on_every_hop() {
    let world = World::new(2).await;
    let path = world.path_of("page", 0);
    world.origin.put(&path, Page::new("hello").with("age", "40").with("cache-control", "max-age=100"));
    let miss = world.get(1, &path).await;
    let hit = world.get(1, &path).await;
    let owner = world.get(0, &path).await;
    for got in [&miss, &hit, &owner] {
        let age: u64 = got.field("age").parse().expect("an age");
        assert!((40..=42).contains(&age), "{age}");
    }
    let ttl = |hop: &str| -> i64 {
        let ttl = hop.split("; ").find_map(|part| part.strip_prefix("ttl="));
        ttl.and_then(|ttl| ttl.parse().ok()).expect("a ttl")
    };
    for hop in miss.hops().into_iter().chain(hit.hops()).chain(owner.hops()) {
        assert!((57..=60).contains(&ttl(hop)), "{hop}");
    }
    world.close().await;
}

/// Promise P1 between two nodes: only the asker knows of the purge.
#[tokio::test]
async fn a_purge_at_the_asker_makes_the_owners_older_copy_useless() {
    let world = World::new(2).await;
    let path = world.path_of("page", 0);
    world.origin.put(&path, Page::new("old"));
    assert_eq!(world.get(1, &path).await.whole(), "old");
    world.origin.put(&path, Page::new("new").with("etag", "\"v2\""));
    world.purge(1, &path).await;
    assert_eq!(world.get(0, &path).await.whole(), "old", "the owner knows of no purge");
    let got = world.get(1, &path).await;
    assert_eq!(got.whole(), "new");
    assert_eq!(world.edges[1].counters().upward.unusable, 1);
    assert!(world.get(1, &path).await.field("cache-status").starts_with("lon-1; hit"), "it is kept");
    world.close().await;
}

/// What the owner fetches because of a fetch has seen the purges of who asked.
#[tokio::test]
async fn a_purge_at_the_asker_does_not_keep_it_from_its_owner_for_ever() {
    let world = World::new(2).await;
    let path = world.path_of("page", 0);
    world.origin.put(&path, Page::new("hello"));
    world.purge(1, &path).await;
    let got = world.get(1, &path).await;
    assert_eq!((got.whole().as_ref(), got.hops().len()), (&b"hello"[..], 2), "{:?}", got.hops());
    assert_eq!(world.origin.count(&path), 1);
    world.close().await;
}

#[tokio::test]
async fn an_unsafe_request_through_a_node_is_seen_through_it() {
    let world = World::new(2).await;
    let path = world.path_of("page", 0);
    world.origin.put(&path, Page::new("old"));
    assert_eq!(world.get(1, &path).await.whole(), "old");
    world.origin.put(&path, Page::new("new").with("etag", "\"v2\""));
    assert_eq!(world.ask(1, Method::POST, &path, &[]).await.status, 200);
    assert_eq!(world.get(1, &path).await.whole(), "new");
    world.close().await;
}

#[tokio::test]
async fn a_kept_copy_is_validated_through_the_owner() {
    let world = World::new(2).await;
    let path = world.path_of("page", 0);
    world.origin.put(&path, Page::new(content(20_000)).with("cache-control", "no-cache"));
    for _ in 0..4 {
        assert_eq!(world.get(1, &path).await.whole(), &content(20_000));
    }
    assert!(world.is_stored(1, &path), "it is asked for often");
    let sent = world.edges[0].counters().peers.body_bytes;
    let got = world.get(1, &path).await;
    assert_eq!(got.whole(), &content(20_000));
    assert!(got.hops()[1].contains("fwd-status=304"), "{:?}", got.hops());
    assert_eq!(world.edges[0].counters().peers.body_bytes, sent, "no body went over");
    let asked = world.origin.asked(&path);
    assert!(asked.last().expect("asked").fields.contains_key("if-none-match"));
    world.close().await;
}

#[tokio::test]
async fn variants_are_told_apart_on_every_node() {
    let world = World::new(3).await;
    let path = world.path_of("page", 0);
    world.origin.put(&path, Page::new("hallo").with("vary", "accept-language"));
    world.ask(1, Method::GET, &path, &[("accept-language", "de")]).await;
    world.origin.put(&path, Page::new("hello").with("vary", "accept-language"));
    for node in [0, 1, 2] {
        let german = world.ask(node, Method::GET, &path, &[("accept-language", "de")]).await;
        let english = world.ask(node, Method::GET, &path, &[("accept-language", "en")]).await;
        assert_eq!((german.whole().as_ref(), english.whole().as_ref()), (&b"hallo"[..], &b"hello"[..]));
    }
    assert_eq!(world.origin.count(&path), 2);
    world.close().await;
}

#[tokio::test]
async fn what_is_for_one_client_is_for_one_client() {
    let world = World::new(2).await;
    let path = world.path_of("page", 0);
    world.origin.put(&path, Page::new("one").with("cache-control", "private"));
    assert_eq!(world.get(1, &path).await.whole(), "one");
    world.origin.put(&path, Page::new("two").with("cache-control", "private"));
    let got = world.get(1, &path).await;
    assert_eq!((got.whole().as_ref(), got.hops().len()), (&b"two"[..], 1), "the origin is asked at once");
    assert!(!world.is_stored(0, &path) && !world.is_stored(1, &path));
    assert_eq!(world.net.questions(0).len(), 1);
    world.close().await;
}

#[tokio::test]
async fn a_head_request_is_answered_by_the_owner() {
    let world = World::new(2).await;
    let path = world.path_of("page", 0);
    world.origin.put(&path, Page::new(content(20_000)).with("age", "10"));
    world.get(0, &path).await;
    let got = world.ask(1, Method::HEAD, &path, &[]).await;
    assert_eq!((got.status.as_u16(), got.field("content-length")), (200, "20000"));
    assert!(got.field("age").parse::<u64>().is_ok_and(|age| age >= 10), "{:?}", got.headers);
    assert!(got.hops()[0].starts_with("lon-0; hit"), "{:?}", got.hops());
    let unchanged = world.ask(1, Method::HEAD, &path, &[("if-none-match", "\"v1\"")]).await;
    assert_eq!(unchanged.status, 304);
    assert_eq!(world.origin.count(&path), 1);
    world.close().await;
}

#[tokio::test]
async fn other_methods_go_to_the_origin() {
    let world = World::new(2).await;
    let path = world.path_of("page", 0);
    world.origin.put(&path, Page::new("hello"));
    assert_eq!(world.ask(1, Method::POST, &path, &[]).await.whole(), "hello");
    assert!(world.net.questions(0).is_empty());
    world.close().await;
}
