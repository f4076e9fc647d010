//! Owners that fail at the worst moment: whoever asked gets all of it from elsewhere.

use std::sync::Arc;

use http::Method;
use tokio::sync::Semaphore;

use super::{
    origin::Page,
    world::{Fault, World, begin, content, read, soon},
};

#[tokio::test]
async fn an_owner_that_is_gone_or_dies_before_its_head_is_passed_over() {
    let world = World::new(3).await;
    for (number, fault) in [Fault::Gone, Fault::DiesBeforeHead].into_iter().enumerate() {
        let path = world.path_of(&format!("page{number}"), 0);
        world.origin.put(&path, Page::new(content(50_000)));
        world.net.fail(0, fault);
        let asker = world.chain(&path)[2];
        let got = soon(world.get(asker, &path)).await;
        assert_eq!(got.whole(), &content(50_000));
        assert_eq!(got.hops().len(), 2, "the next in the ring stood in: {:?}", got.hops());
    }
    world.close().await;
}

#[tokio::test]
async fn when_all_peers_are_gone_the_origin_is_asked() {
    let world = World::new(3).await;
    let path = world.path_of("page", 0);
    world.origin.put(&path, Page::new("hello"));
    (0..3).for_each(|node| world.net.fail(node, Fault::Gone));
    let got = world.get(world.chain(&path)[2], &path).await;
    assert_eq!((got.whole().as_ref(), got.hops().len()), (&b"hello"[..], 1));
    world.close().await;
}

/// The body breaks after the client has half of it: the rest comes by range.
#[tokio::test]
async fn a_body_that_breaks_is_carried_on_by_range() {
    let world = World::new(2).await;
    for bytes in [0, 1, 4_096, 30_001] {
        let path = world.path_of(&format!("page{bytes}"), 0);
        world.origin.put(&path, Page::new(content(100_000)));
        world.net.fail(0, Fault::DiesAfter(bytes));
        let got = soon(world.get(1, &path)).await;
        assert_eq!(got.whole(), &content(100_000), "after {bytes}");
    }
    world.close().await;
}

/// Without a validator nothing can be carried on, so nothing is handed on before it is safe.
#[tokio::test]
async fn a_body_without_a_validator_is_held_back_and_asked_for_elsewhere() {
    let world = World::new(2).await;
    let path = world.path_of("page", 0);
    world.origin.put(&path, Page::new(content(100_000)).with("etag", ""));
    world.net.fail(0, Fault::DiesAfter(50_000));
    let got = soon(world.get(1, &path)).await;
    assert_eq!(got.whole(), &content(100_000));
    assert_eq!(world.origin.count(&path), 2, "the origin gave it to both");
    assert_eq!(world.edges[1].counters().upward.held_back, 1);
    world.close().await;
}

/// Too late to ask elsewhere: the client is told, by a body that does not end.
#[tokio::test]
async fn what_cannot_be_carried_on_is_cut_off_and_never_short() {
    let world = World::with(2, |settings| settings.held_back_bytes = 10_000).await;
    let path = world.path_of("page", 0);
    world.origin.put(&path, Page::new(content(100_000)).with("etag", ""));
    world.net.fail(0, Fault::DiesAfter(50_000));
    assert!(soon(world.get(1, &path)).await.body.is_none());
    world.close().await;
}

/// What the owner has now is another version, as long as the one that half arrived.
#[tokio::test]
async fn pieces_of_two_versions_are_never_put_together() {
    let world = World::new(2).await;
    let path = world.path_of("page", 0);
    let gate = Arc::new(Semaphore::new(0));
    let first = Page { within_body: Some((40_000, gate.clone())), ..Page::new(content(100_000)) };
    world.origin.put(&path, first);
    world.net.fail(0, Fault::DiesAfter(50_000));
    let response = begin(world.edges[1].clone(), Method::GET, path.clone(), &[]).await;
    world.origin.put(&path, Page::new(vec![7; 100_000]).with("etag", "\"v2\""));
    world.purge(0, &path).await;
    assert_eq!(world.get(0, &path).await.whole(), &vec![7; 100_000]);
    gate.add_permits(1);
    let got = soon(read(response)).await;
    assert!(got.body.is_none(), "nobody has the rest of the first version");
    let asked = world.origin.asked(&path);
    assert_eq!(asked[2].fields["if-range"], "\"v1\"", "the origin was asked for it at last");
    world.close().await;
}

#[tokio::test]
async fn an_owner_without_an_origin_serves_what_is_stale_as_long_as_it_may() {
    let world = World::new(2).await;
    let path = world.path_of("page", 0);
    let page = Page::new("hello").with("cache-control", "max-age=0, stale-if-error=60");
    world.origin.put(&path, page);
    assert_eq!(world.get(0, &path).await.whole(), "hello");
    world.origin.put(&path, Page { status: "503 Service Unavailable", ..Page::new("sorry") });
    let got = world.get(1, &path).await;
    assert_eq!((got.status.as_u16(), got.whole().as_ref()), (200, &b"hello"[..]), "{:?}", got.hops());
    world.close().await;
}
