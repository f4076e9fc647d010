//! What a node does with what it has stored when it cannot know of every purge.

use std::sync::Arc;

use http::Method;
use starling_proto::wire::Refusal;
use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    super::Freshness,
    origin::Page,
    world::{Setup, World, ask, fetch, refusal, soon},
};

const LONG: &str = "max-age=60, stale-if-error=600, stale-while-revalidate=600";

fn strict(count: usize) -> Setup {
    let places = std::iter::repeat_n(("eu", "lon"), count);
    Setup { service: |shop| shop.freshness = Freshness::Strict, ..Setup::at(places) }
}

fn lose_fence(world: &World, node: usize) {
    world.trusts[node].fence(0);
}

/// Promise P4.
#[tokio::test]
async fn who_has_not_caught_up_revalidates_what_is_fresh() {
    let world = World::new(1).await;
    world.origin.put("/page", Page::new("hello").with("cache-control", LONG));
    world.get(0, "/page").await;
    world.trusts[0].set_caught_up(false);
    for asked in 2..5 {
        let got = world.get(0, "/page").await;
        assert_eq!((got.whole().as_ref(), world.origin.count("/page")), (&b"hello"[..], asked));
        let said = got.field("cache-status");
        assert!(
            said.contains("fwd=stale; fwd-status=304") && said.contains("detail=not-caught-up"),
            "{said}"
        );
    }
    let stored = refusal(world.serve_peer(0, fetch("/page", true)).await);
    assert_eq!(stored, Refusal::NotStored, "nor is it given to who asks for what is stored");
    let only = world.ask(0, Method::GET, "/page", &[("cache-control", "only-if-cached")]).await;
    assert_eq!(only.status, 504);
    world.origin.put("/page", Page::broken());
    let got = world.get(0, "/page").await;
    assert_eq!(got.whole(), "hello", "it may stand in when the origin fails");
    assert!(got.field("cache-status").contains("detail=not-caught-up"), "{:?}", got.hops());
    world.trusts[0].set_caught_up(true);
    assert!(world.get(0, "/page").await.field("cache-status").starts_with("lon-0; hit"));
    world.close().await;
}

/// Promise P5.
#[tokio::test]
async fn a_strict_service_without_a_fence_revalidates_and_fails_closed() {
    let world = World::of(strict(1)).await;
    world.origin.put("/page", Page::new("old").with("cache-control", LONG));
    world.get(0, "/page").await;
    assert!(world.get(0, "/page").await.field("cache-status").starts_with("lon-0; hit"));
    lose_fence(&world, 0);
    let got = world.get(0, "/page").await;
    let said = got.field("cache-status");
    assert!(said.contains("fwd=stale; fwd-status=304") && said.contains("detail=unfenced"), "{said}");
    assert_eq!(refusal(world.serve_peer(0, fetch("/page", true)).await), Refusal::NotStored);
    let only = world.ask(0, Method::GET, "/page", &[("cache-control", "only-if-cached")]).await;
    assert_eq!(only.status, 504);
    world.origin.put("/page", Page::broken());
    for fields in [&[][..], &[("cache-control", "stale-if-error=600, max-stale")]] {
        for method in [Method::GET, Method::HEAD] {
            assert_eq!(world.ask(0, method, "/page", fields).await.status, 502, "never what is old");
        }
    }
    world
        .origin
        .put("/page", Page { status: "503 Service Unavailable", ..Page::new("sorry").with("etag", "") });
    assert_eq!(world.get(0, "/page").await.status, 503);
    world.trusts[0].fence(u64::MAX);
    world.close().await;
}

#[tokio::test]
async fn an_available_service_without_a_fence_is_served_and_says_so() {
    let world = World::new(2).await;
    let path = world.path_of("page", 0);
    world.origin.put(&path, Page::new("hello").with("cache-control", LONG));
    world.get(0, &path).await;
    assert!(!world.get(0, &path).await.field("cache-status").contains("detail"));
    lose_fence(&world, 0);
    for node in [0, 1] {
        let got = world.get(node, &path).await;
        let hit = got.hops()[0].to_owned();
        assert!(hit.starts_with("lon-0; hit") && hit.contains("detail=unfenced"), "{:?}", got.hops());
    }
    assert_eq!(world.origin.count(&path), 1);
    world.close().await;
}

/// Whoever holds a fence knows every complete purge, so its word is good for who holds none.
#[tokio::test]
async fn without_a_fence_the_word_of_a_node_that_has_one_is_good() {
    let world = World::of(strict(2)).await;
    let path = world.path_of("page", 0);
    world.origin.put(&path, Page::new("hello").with("cache-control", LONG));
    for _ in 0..4 {
        world.get(1, &path).await;
    }
    assert!(world.is_stored(1, &path), "it is asked for often");
    lose_fence(&world, 1);
    let got = world.get(1, &path).await;
    assert!(
        got.hops()[0].starts_with("lon-0; hit") && got.hops()[1].contains("unfenced"),
        "{:?}",
        got.hops()
    );
    assert_eq!(world.origin.count(&path), 1, "the owner knows");
    lose_fence(&world, 0);
    let got = world.get(1, &path).await;
    assert!(
        got.hops()[0].contains("fwd-status=304") && got.hops()[0].contains("unfenced"),
        "{:?}",
        got.hops()
    );
    assert_eq!(world.origin.count(&path), 2, "nobody knows");
    world.origin.put(&path, Page::broken());
    assert_eq!(world.get(1, &path).await.status, 502);
    world.trusts[0].fence(u64::MAX);
    assert_eq!(world.get(1, &path).await.whole(), "hello");
    world.close().await;
}

/// What a flight brings that began before a request came may be older than a purge that was complete when it came.
#[tokio::test]
async fn without_a_fence_nobody_shares_a_flight_that_began_before_it_came() {
    let world = World::of(strict(1)).await;
    let gate = Arc::new(Semaphore::new(0));
    world.origin.put("/page", Page { before_head: Some(gate.clone()), ..Page::new("old") });
    lose_fence(&world, 0);
    let mut early = JoinSet::new();
    early.spawn(ask(world.edges[0].clone(), Method::GET, "/page".to_owned(), &[]));
    soon(world.until_asked("/page", 1)).await;
    let page = Page { before_head: Some(gate.clone()), ..Page::new("new") };
    world.origin.put("/page", page.with("etag", "\"v2\""));
    let mut late = JoinSet::new();
    for _ in 0..5 {
        late.spawn(ask(world.edges[0].clone(), Method::GET, "/page".to_owned(), &[]));
    }
    let all_wait = async |count| {
        while world.edges[0].0.fills.waiting() < count {
            tokio::task::yield_now().await;
        }
    };
    soon(all_wait(6)).await;
    gate.add_permits(1);
    assert_eq!(soon(early.join_next()).await.expect("one").expect("no panic").whole(), "old");
    // Who comes to the second flight when it has landed is told no lie, but asks once more.
    soon(all_wait(5)).await;
    gate.add_permits(10);
    while let Some(got) = soon(late.join_next()).await {
        assert_eq!(got.expect("no panic").whole(), "new");
    }
    assert_eq!(world.origin.count("/page"), 2, "those who waited have it brought together");
    world.close().await;
}

#[tokio::test]
async fn with_a_fence_a_flight_is_shared_as_ever() {
    let world = World::of(strict(1)).await;
    let gate = Arc::new(Semaphore::new(0));
    world.origin.put("/page", Page { before_head: Some(gate.clone()), ..Page::new("hello") });
    let mut clients = JoinSet::new();
    for _ in 0..5 {
        clients.spawn(ask(world.edges[0].clone(), Method::GET, "/page".to_owned(), &[]));
    }
    gate.add_permits(10);
    while let Some(got) = soon(clients.join_next()).await {
        assert_eq!(got.expect("no panic").whole(), "hello");
    }
    assert_eq!(world.origin.count("/page"), 1);
    world.close().await;
}
