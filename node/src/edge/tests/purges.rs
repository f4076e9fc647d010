//! Promise P1 on the way down from the origin: shield, owner, asker. And the `PURGE` method.
//!
//! Each world has its shield in Frankfurt, and owner and asker in London.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use http::Method;
use starling_proto::purge::{EntryId, Selector};
use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    origin::Page,
    world::{SLICE, Setup, World, ask, begin, content, read, soon},
};

const ASKER: usize = 0;
const OWNER: usize = 1;
const SHIELD: usize = 2;
const ALL: [usize; 3] = [ASKER, OWNER, SHIELD];

async fn three_tiers() -> World {
    let shields = vec![("eu", vec![SHIELD])];
    World::of(Setup { shields, ..Setup::at([("eu", "lon"), ("eu", "lon"), ("eu", "fra")]) }).await
}

fn path_of(world: &World, start: &str) -> String {
    world.path_for(start, &[(&world.pop(ASKER), OWNER)])
}

fn old() -> Page {
    Page::new("old")
}

fn new() -> Page {
    Page::new("new").with("etag", "\"v2\"")
}

/// Whoever is asked gives what is new, from wherever it has it.
async fn all_give_new(world: &World, path: &str) {
    for node in ALL {
        let got = soon(world.get(node, path)).await;
        assert_eq!(got.whole(), "new", "{}: {:?}", world.name(node), got.hops());
    }
}

/// The purge is known at every subset of the nodes, among them the asker, when the fill comes back.
#[tokio::test]
async fn a_slow_fill_at_the_shield_does_not_outlive_a_purge_that_came_meanwhile() {
    for (number, knowing) in [&[ASKER][..], &[ASKER, OWNER], &[ASKER, SHIELD], &ALL].into_iter().enumerate() {
        let world = three_tiers().await;
        let path = path_of(&world, &format!("page{number}"));
        let gate = Arc::new(Semaphore::new(0));
        world.origin.put(&path, Page { before_head: Some(gate.clone()), ..old() });
        let mut client = JoinSet::new();
        client.spawn(ask(world.edges[ASKER].clone(), Method::GET, path.clone(), &[]));
        soon(world.until_asked(&path, 1)).await;
        world.origin.put(&path, new());
        world.purge(ASKER, &path).await;
        world.tell(ASKER, knowing.iter().copied()).await;
        gate.add_permits(1);
        let got = soon(client.join_next()).await.expect("one client").expect("no panic");
        assert_eq!(got.whole(), "new", "{knowing:?}: {:?}", got.hops());
        assert_eq!(world.get(ASKER, &path).await.whole(), "new");
        world.tell(ASKER, ALL).await;
        all_give_new(&world, &path).await;
        world.close().await;
    }
}

#[tokio::test]
async fn neither_a_stale_shield_nor_a_stale_owner_brings_purged_content_back() {
    for (number, knowing) in [&[ASKER][..], &[ASKER, OWNER], &[ASKER, SHIELD]].into_iter().enumerate() {
        let world = three_tiers().await;
        let path = path_of(&world, &format!("page{number}"));
        world.origin.put(&path, old());
        for node in ALL {
            assert_eq!(world.get(node, &path).await.whole(), "old");
        }
        world.origin.put(&path, new());
        world.purge(ASKER, &path).await;
        world.tell(ASKER, knowing.iter().copied()).await;
        for node in knowing {
            let got = soon(world.get(*node, &path)).await;
            assert_eq!(got.whole(), "new", "{knowing:?}: {:?}", got.hops());
        }
        world.tell(ASKER, ALL).await;
        all_give_new(&world, &path).await;
        world.close().await;
    }
}

/// The asker's purge is told all the way up, so what the shield fetches for it is good for it, and fetched once.
#[tokio::test]
async fn a_purge_at_the_asker_is_heard_through_the_owner_by_the_shield() {
    let world = three_tiers().await;
    let path = path_of(&world, "page");
    world.origin.put(&path, new());
    world.purge(ASKER, &path).await;
    let got = world.get(ASKER, &path).await;
    assert_eq!((got.whole().as_ref(), got.hops().len()), (&b"new"[..], 3), "{:?}", got.hops());
    assert_eq!(world.origin.count(&path), 1);
    assert_eq!(world.edges[ASKER].counters().upward.unusable, 0);
    world.close().await;
}

#[tokio::test]
async fn who_follows_a_streaming_fill_is_not_led_back_before_a_purge() {
    let world = three_tiers().await;
    let path = path_of(&world, "page");
    let gate = Arc::new(Semaphore::new(0));
    let page = Page { within_body: Some((2 * SLICE, gate.clone())), ..Page::new(content(8 * SLICE)) };
    world.origin.put(&path, page);
    // The first client reads what was there when it asked.
    let first = begin(world.edges[ASKER].clone(), Method::GET, path.clone(), &[]).await;
    world.origin.put(&path, new());
    world.purge(SHIELD, &path).await;
    world.tell(SHIELD, ALL).await;
    all_give_new(&world, &path).await;
    gate.add_permits(1);
    assert_eq!(soon(read(first)).await.whole(), &content(8 * SLICE), "it ends whole");
    all_give_new(&world, &path).await;
    world.close().await;
}

/// An origin whose validator says nothing: what is purged is not brought back by its 304, whoever knows of the purge.
#[tokio::test]
async fn a_304_does_not_bring_a_purged_body_back() {
    for (number, knowing) in [&[ASKER][..], &[ASKER, OWNER], &[ASKER, SHIELD], &ALL].into_iter().enumerate() {
        let world = three_tiers().await;
        let path = path_of(&world, &format!("page{number}"));
        world.origin.put(&path, old());
        for node in ALL {
            world.get(node, &path).await;
        }
        world.origin.put(&path, Page::new("new"));
        world.purge(ASKER, &path).await;
        world.tell(ASKER, knowing.iter().copied()).await;
        let reload = [("cache-control", "no-cache")];
        let got = soon(world.ask(ASKER, Method::GET, &path, &reload)).await;
        assert_eq!(got.whole(), "new", "{knowing:?}: {:?}", got.hops());
        // A HEAD is answered by way of what is stored, and tells nothing of its body.
        world.ask(ASKER, Method::HEAD, &path, &reload).await;
        world.tell(ASKER, ALL).await;
        all_give_new(&world, &path).await;
        world.close().await;
    }
}

/// The HEAD of a node that knows of a purge updates nothing at one that does not.
#[tokio::test]
async fn a_head_does_not_bring_a_purged_body_back() {
    let world = three_tiers().await;
    let path = path_of(&world, "page");
    world.origin.put(&path, old());
    for node in ALL {
        world.get(node, &path).await;
    }
    world.origin.put(&path, Page::new("new"));
    world.purge(ASKER, &path).await;
    world.ask(ASKER, Method::HEAD, &path, &[("cache-control", "no-cache")]).await;
    world.tell(ASKER, ALL).await;
    all_give_new(&world, &path).await;
    world.close().await;
}

/// The pieces carry the same validator before and after the purge.
#[tokio::test]
async fn pieces_from_before_a_purge_are_not_put_together_with_those_after() {
    let world = three_tiers().await;
    let path = path_of(&world, "film");
    world.origin.put(&path, Page::new(content(8 * SLICE)));
    let piece = |slice: usize| format!("bytes={}-{}", slice * SLICE, (slice + 1) * SLICE - 1);
    for slice in [0, 2] {
        let got = soon(world.ask(ASKER, Method::GET, &path, &[("range", &piece(slice))])).await;
        assert_eq!(got.whole(), &content(8 * SLICE).slice(slice * SLICE..(slice + 1) * SLICE));
    }
    world.origin.put(&path, Page::new(vec![7; 8 * SLICE]));
    world.purge(OWNER, &path).await;
    world.tell(OWNER, ALL).await;
    for slice in [1, 2, 3] {
        let got = soon(world.ask(ASKER, Method::GET, &path, &[("range", &piece(slice))])).await;
        assert_eq!(got.whole(), &vec![7; SLICE], "{slice}: {:?}", got.hops());
    }
    for node in ALL {
        assert_eq!(soon(world.get(node, &path)).await.whole(), &vec![7; 8 * SLICE]);
    }
    world.close().await;
}

/// A piece that was asked for before the purge once came into the object that was asked for after it.
#[tokio::test]
async fn a_piece_on_its_way_since_before_a_purge_does_not_join_what_was_fetched_after_it() {
    for node in [SHIELD, OWNER, ASKER] {
        let world = three_tiers().await;
        let path = path_of(&world, "film");
        let gate = Arc::new(Semaphore::new(0));
        let page = Page::new(content(8 * SLICE));
        world.origin.put(&path, Page { before_head: Some(gate.clone()), ..page });
        let piece = |slice: usize| format!("bytes={}-{}", slice * SLICE, (slice + 1) * SLICE - 1);
        let mut client = JoinSet::new();
        let (edge, target, second) = (world.edges[node].clone(), path.clone(), piece(1));
        client.spawn(async move { ask(edge, Method::GET, target, &[("range", &second)]).await });
        soon(world.until_asked(&path, 1)).await;
        world.origin.put(&path, Page::new(vec![7; 8 * SLICE]));
        world.purge(node, &path).await;
        world.tell(node, ALL).await;
        let first = soon(world.ask(node, Method::GET, &path, &[("range", &piece(0))])).await;
        assert_eq!(first.whole(), &vec![7; SLICE]);
        gate.add_permits(1);
        soon(client.join_next()).await.expect("one client").expect("no panic");
        for slice in [1, 0, 2] {
            let got = soon(world.ask(node, Method::GET, &path, &[("range", &piece(slice))])).await;
            assert_eq!(got.whole(), &vec![7; SLICE], "{slice} at {}: {:?}", world.name(node), got.hops());
        }
        assert_eq!(soon(world.get(node, &path)).await.whole(), &vec![7; 8 * SLICE]);
        world.close().await;
    }
}

#[tokio::test]
async fn a_purge_takes_all_variants_on_all_tiers() {
    let world = three_tiers().await;
    let path = path_of(&world, "page");
    let languages = ["de", "en", "fr"];
    world.origin.put(&path, old().with("vary", "accept-language"));
    for language in languages {
        assert_eq!(
            world.ask(ASKER, Method::GET, &path, &[("accept-language", language)]).await.whole(),
            "old"
        );
    }
    assert_eq!(world.origin.count(&path), 3);
    world.origin.put(&path, new().with("vary", "accept-language"));
    world.purge(SHIELD, &path).await;
    world.tell(SHIELD, ALL).await;
    for node in ALL {
        for language in languages {
            let got = world.ask(node, Method::GET, &path, &[("accept-language", language)]).await;
            assert_eq!(got.whole(), "new", "{}: {:?}", world.name(node), got.hops());
        }
    }
    assert_eq!(world.origin.count(&path), 6);
    world.close().await;
}

/// Nobody knows the tags of an object before its head is there; the purge comes before the head, or after it.
#[tokio::test]
async fn a_purge_by_tag_takes_what_is_being_stored() {
    for is_before_head in [true, false] {
        let world = three_tiers().await;
        let path = path_of(&world, "page");
        let gate = Arc::new(Semaphore::new(0));
        let page = Page::new(content(8 * SLICE)).with("surrogate-key", "news");
        world.origin.put(
            &path,
            match is_before_head {
                true => Page { before_head: Some(gate.clone()), ..page },
                false => Page { within_body: Some((2 * SLICE, gate.clone())), ..page },
            },
        );
        let mut client = JoinSet::new();
        client.spawn(ask(world.edges[ASKER].clone(), Method::GET, path.clone(), &[]));
        soon(world.until_asked(&path, 1)).await;
        while !is_before_head && !world.is_stored(SHIELD, &path) {
            tokio::task::yield_now().await;
        }
        world.origin.put(&path, new().with("surrogate-key", "news"));
        world.purge_by(SHIELD, Selector::Tag("news".to_owned())).await;
        world.tell(SHIELD, ALL).await;
        gate.add_permits(1);
        let got = soon(client.join_next()).await.expect("one client").expect("no panic");
        if is_before_head {
            assert_eq!(got.whole(), "new", "nothing had come when the purge did");
        }
        all_give_new(&world, &path).await;
        world.close().await;
    }
}

#[tokio::test]
async fn a_purge_by_its_method_names_its_entry() {
    let world = three_tiers().await;
    let path = path_of(&world, "page");
    world.origin.put(&path, old());
    assert_eq!(world.get(OWNER, &path).await.whole(), "old");
    let purge = Method::from_bytes(b"PURGE").expect("a method");
    let got = world.ask(OWNER, purge.clone(), &path, &[]).await;
    assert_eq!(got.status, 200);
    let text = String::from_utf8_lossy(got.whole()).into_owned();
    let id: EntryId = text.trim().rsplit(' ').next().expect("a word").parse().expect(&text);
    assert_eq!((id.region.as_str(), id.version.index), ("eu:lon-1", 1), "{text}");
    world.tell(OWNER, ALL).await;
    world.origin.put(&path, new());
    all_give_new(&world, &path).await;
    world.is_without_quorum.store(true, Relaxed);
    let got = world.ask(OWNER, purge, &path, &[]).await;
    let text = String::from_utf8_lossy(got.whole()).into_owned();
    assert_eq!(got.status, 503);
    assert!(text.contains("the region has no quorum"), "{text}");
    assert!(got.field("cache-status").contains("purge-failed"), "{:?}", got.hops());
    assert_eq!(world.get(OWNER, &path).await.whole(), "new");
    world.close().await;
}

/// RFC 9875: the answer to an unsafe method names groups; that is a purge by tag.
#[tokio::test]
async fn groups_that_the_origin_invalidates_are_purged_for_all() {
    let world = three_tiers().await;
    let path = path_of(&world, "page");
    world.origin.put(&path, old().with("cache-groups", "\"news\""));
    for node in ALL {
        assert_eq!(world.get(node, &path).await.whole(), "old");
    }
    world.origin.put("/post", Page::new("done").with("cache-group-invalidation", "\"news\""));
    world.origin.put(&path, new());
    assert_eq!(world.ask(OWNER, Method::POST, "/post", &[]).await.status, 200);
    world.tell(OWNER, ALL).await;
    all_give_new(&world, &path).await;
    world.close().await;
}
