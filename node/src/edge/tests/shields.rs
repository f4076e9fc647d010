//! The shield tier: who speaks to the origin, and who stands in.

use std::sync::Arc;

use http::Method;
use starling_proto::{purge::Region, ring::Hop};
use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    origin::Page,
    world::{Fault, Setup, World, ask, content, order, soon},
};
use crate::link::Carrier;

const LON: [usize; 3] = [0, 1, 2];
const FRA: [usize; 3] = [3, 4, 5];
const EU_SHIELDS: [usize; 3] = [0, 3, 4];

/// Two PoPs of one region and one of another, each region with its shields.
fn two_regions() -> Setup {
    let places = [("eu", "lon"); 3].into_iter().chain([("eu", "fra"); 3]).chain([("us", "nyc"); 2]);
    Setup { shields: vec![("eu", EU_SHIELDS.to_vec()), ("us", vec![6])], ..Setup::at(places) }
}

/// A path that is owned by 1 in London and shielded by 3 in Frankfurt.
fn far_shielded(world: &World, start: &str) -> String {
    world.path_for(start, &[(&LON, 1), (&EU_SHIELDS, 3)])
}

/// All nodes are asked for a cold object at once, some of them twice; answers how often the origin was.
async fn crowd(world: &World, path: &str) -> usize {
    let gate = Arc::new(Semaphore::new(0));
    world.origin.put(path, Page { before_head: Some(gate.clone()), ..Page::new(content(50_000)) });
    let mut clients = JoinSet::new();
    for edge in world.edges.iter().chain(&world.edges) {
        clients.spawn(ask(edge.clone(), Method::GET, path.to_owned(), &[]));
    }
    gate.add_permits(100);
    while let Some(got) = soon(clients.join_next()).await {
        assert_eq!(got.expect("no panic").whole(), &content(50_000));
    }
    world.origin.count(path)
}

#[tokio::test]
async fn a_cold_object_costs_the_origin_one_request_for_each_region() {
    let world = World::of(two_regions()).await;
    for round in 0..10 {
        let path = format!("/viral-{round}");
        assert_eq!(crowd(&world, &path).await, 2);
        let shield = order(&EU_SHIELDS, &path)[0];
        assert!(world.is_stored(shield, &path) && world.is_stored(6, &path), "shields keep it");
        let owners = [order(&LON, &path)[0], order(&FRA, &path)[0]];
        assert!(owners.iter().all(|owner| world.is_stored(*owner, &path)), "and owners do");
    }
    let speakers: Vec<u64> = (0..8).map(|node| world.origin_asked_by(node)).collect();
    assert_eq!(speakers.iter().sum::<u64>(), 20);
    assert_eq!((speakers[6], speakers[1] + speakers[2] + speakers[5] + speakers[7]), (10, 0), "{speakers:?}");
    world.close().await;
}

#[tokio::test]
async fn with_a_shield_region_it_costs_one_in_the_world() {
    let world =
        World::of(Setup { service: |shop| shop.shield_region = Some(Region::new("us")), ..two_regions() })
            .await;
    for round in 0..10 {
        assert_eq!(crowd(&world, &format!("/viral-{round}")).await, 1);
    }
    assert_eq!(world.origin_asked_by(6), 10);
    world.close().await;
}

#[tokio::test]
async fn every_hop_tells_of_itself_and_near_ones_are_asked_over_tcp() {
    let world = World::of(two_regions()).await;
    let path = far_shielded(&world, "page");
    world.origin.put(&path, Page::new("hello"));
    let got = world.ask(2, Method::GET, &path, &[("starling-debug", "1")]).await;
    let hops = got.hops();
    assert_eq!(hops.len(), 3, "{hops:?}");
    assert!(
        hops[0].starts_with("fra-3; fwd=uri-miss; fwd-status=200") && hops[0].contains("stored"),
        "{hops:?}"
    );
    assert!(
        hops[1].starts_with("lon-1; fwd=uri-miss; fwd-status=200") && hops[1].contains("stored"),
        "{hops:?}"
    );
    assert!(hops[2].starts_with("lon-2; fwd=uri-miss") && !hops[2].contains("stored"), "{hops:?}");
    let said = got.field("starling-debug");
    assert!(said.contains("owner=\"lon-1\"; shield=\"fra-3\"; hop=client"), "{said}");
    assert!(said.contains("trust=fenced") && said.contains("ways=\"lon-1"), "{said}");
    let (near, far) = (&world.net.questions(1)[0], &world.net.questions(3)[0]);
    assert_eq!((near.from, near.carrier, near.fetch.hop), (2, Carrier::Tcp, Hop::Owner));
    assert_eq!((far.from, far.carrier, far.fetch.hop), (1, Carrier::Quic, Hop::Shield));
    assert_eq!(near.fetch.trace, far.fetch.trace, "one trace, all the way");
    let counted = world.edges[1].counters().upward.ways;
    let shield = counted.iter().find(|way| way.way == "shield").expect("it is counted");
    assert_eq!((shield.asked, shield.answered), (1, 1));
    let from_shield = world.get(5, &path).await;
    assert!(from_shield.hops()[0].starts_with("fra-3; hit"), "{:?}", from_shield.hops());
    world.close().await;
}

/// Whatever may be answered from a cache: misses, validations, ranges, HEAD.
#[tokio::test]
async fn the_origin_hears_of_what_is_cacheable_from_the_shield_alone() {
    let world = World::of(two_regions()).await;
    let path = far_shielded(&world, "page");
    for cache_control in ["max-age=60", "no-cache", "max-age=0, stale-while-revalidate=60"] {
        world.origin.put(&path, Page::new(content(20_000)).with("cache-control", cache_control));
        for fields in [&[][..], &[("range", "bytes=5000-5999")], &[("cache-control", "no-cache")]] {
            for node in [2, 5, 1, 0] {
                assert!(world.ask(node, Method::GET, &path, fields).await.status.is_success());
                assert!(world.ask(node, Method::HEAD, &path, fields).await.status.is_success());
            }
        }
    }
    let late = far_shielded(&world, "late");
    world.origin.put(&late, Page::new(content(20_000)));
    let part = world.ask(2, Method::GET, &late, &[("range", "bytes=5000-5999")]).await;
    assert_eq!((part.status.as_u16(), part.whole()), (206, &content(20_000).slice(5_000..6_000)));
    assert_eq!(world.get(2, &late).await.whole(), &content(20_000));
    let asked = world.origin.count(&path) + world.origin.count(&late);
    assert_eq!(world.origin_asked_by(3), asked as u64, "nobody but the shield asked");
    world.close().await;
}

#[tokio::test]
async fn a_validation_goes_through_owner_and_shield_without_a_body() {
    let world = World::of(two_regions()).await;
    let path = far_shielded(&world, "page");
    world.origin.put(&path, Page::new(content(20_000)).with("cache-control", "no-cache"));
    assert_eq!(world.get(2, &path).await.whole(), &content(20_000));
    let sent = world.edges[3].counters().peers.body_bytes;
    assert_eq!(world.get(2, &path).await.whole(), &content(20_000));
    assert_eq!(world.edges[3].counters().peers.body_bytes, sent, "the shield sent no body again");
    let asked = world.origin.asked(&path);
    assert_eq!(asked.len(), 2);
    assert!(asked[1].fields.contains_key("if-none-match"));
    world.close().await;
}

#[tokio::test]
async fn when_the_shield_is_gone_the_next_stands_in() {
    let world = World::of(two_regions()).await;
    for (number, fault) in [Fault::Gone, Fault::DiesBeforeHead].into_iter().enumerate() {
        let path = far_shielded(&world, &format!("page{number}"));
        let next = order(&EU_SHIELDS, &path)[1];
        world.origin.put(&path, Page::new(content(50_000)));
        world.net.fail(3, fault);
        let got = soon(world.get(2, &path)).await;
        assert_eq!((got.whole(), got.hops().len()), (&content(50_000), 3), "{:?}", got.hops());
        assert!(got.hops()[0].starts_with(&world.name(next)), "{:?}", got.hops());
    }
    // The verdict is there: nobody tries it, and all still meet at one.
    world.pass_over(3);
    let path = far_shielded(&world, "later");
    world.origin.put(&path, Page::new("hello"));
    for node in [0, 1, 2, 4, 5] {
        assert_eq!(world.get(node, &path).await.whole(), "hello");
    }
    assert_eq!(world.origin.count(&path), 1);
    world.close().await;
}

#[tokio::test]
async fn when_all_shields_of_the_region_are_gone_another_regions_stands_in() {
    let world = World::of(two_regions()).await;
    let path = world.path_for("page", &[(&LON, 1)]);
    world.origin.put(&path, Page::new("hello"));
    for shield in EU_SHIELDS {
        world.net.fail(shield, Fault::Gone);
        world.pass_over(shield);
    }
    let got = soon(world.get(2, &path)).await;
    assert!(got.hops()[0].starts_with("nyc-6"), "{:?}", got.hops());
    world.net.fail(6, Fault::Gone);
    let path = world.path_for("other", &[(&LON, 1)]);
    world.origin.put(&path, Page::new("hello"));
    let got = soon(world.get(2, &path)).await;
    assert_eq!((got.whole().as_ref(), got.hops().len()), (&b"hello"[..], 2), "the owner asked the origin");
    assert_eq!((world.origin.count(&path), world.origin_asked_by(1)), (1, 1));
    world.close().await;
}

/// No owner answers: the next tier does, not the origin.
#[tokio::test]
async fn when_the_owners_are_gone_the_shield_is_asked() {
    let world = World::of(two_regions()).await;
    let path = world.path_for("page", &[(&LON, 1), (&LON[..2], 1), (&EU_SHIELDS, 3)]);
    world.origin.put(&path, Page::new("hello"));
    let asker = order(&LON, &path)[2];
    order(&LON, &path)[..2].iter().for_each(|owner| world.net.fail(*owner, Fault::Gone));
    let got = soon(world.get(asker, &path)).await;
    assert_eq!(got.whole(), "hello");
    assert!(got.hops()[0].starts_with("fra-3; fwd"), "{:?}", got.hops());
    world.close().await;
}

/// The shield's own clients do not go by way of the owner, whose question they would wait for.
#[tokio::test]
async fn a_shield_whose_client_asks_for_what_another_owns_asks_the_origin_once() {
    let world = World::of(two_regions()).await;
    for round in 0..20 {
        let path = world.path_for(&format!("page{round}"), &[(&FRA, 5), (&EU_SHIELDS, 3)]);
        let gate = Arc::new(Semaphore::new(0));
        let page = Page { within_body: Some((5_000, gate.clone())), ..Page::new(content(30_000)) };
        world.origin.put(&path, page);
        let mut clients = JoinSet::new();
        for node in [3, 5, 4, 3, 1] {
            clients.spawn(ask(world.edges[node].clone(), Method::GET, path.clone(), &[]));
        }
        gate.add_permits(10);
        while let Some(got) = soon(clients.join_next()).await {
            assert_eq!(got.expect("no panic").whole(), &content(30_000));
        }
        assert_eq!(world.origin.count(&path), 1);
    }
    world.close().await;
}

/// Each believes that the other is the shield, and that the other is the owner.
#[tokio::test]
async fn nodes_whose_shield_rings_disagree_do_not_wait_for_each_other() {
    let world = World::of(Setup::at([("eu", "lon"); 2])).await;
    for round in 0..20 {
        let (path, gate) = (format!("/page-{round}"), Arc::new(Semaphore::new(0)));
        for node in [0, 1] {
            world.show_shields(node, &[1 - node]);
            world.show(node, if round % 2 == 0 { [1 - node] } else { [node] }.as_slice(), None);
        }
        let page = Page { before_head: Some(gate.clone()), ..Page::new(content(12_000)) };
        world.origin.put(&path, page);
        let mut clients = JoinSet::new();
        for node in [0, 1, 0, 1] {
            clients.spawn(ask(world.edges[node].clone(), Method::GET, path.clone(), &[]));
        }
        gate.add_permits(10);
        while let Some(got) = soon(clients.join_next()).await {
            assert_eq!(got.expect("no panic").whole(), &content(12_000));
        }
        assert!(world.origin.count(&path) <= 2);
    }
    world.close().await;
}

#[tokio::test]
async fn a_slow_shield_is_hedged_with_what_the_next_has() {
    let world = World::of(two_regions()).await;
    let path = far_shielded(&world, "page");
    let next = order(&EU_SHIELDS, &path)[1];
    world.origin.put(&path, Page::new("hello"));
    world.net.fail(3, Fault::Gone);
    assert_eq!(world.get(5, &path).await.whole(), "hello");
    assert!(world.is_stored(next, &path));
    world.net.fail(3, Fault::Slow(Arc::new(Semaphore::new(0))));
    let got = soon(world.get(1, &path)).await;
    assert!(got.hops()[0].starts_with(&format!("{}; hit", world.name(next))), "{:?}", got.hops());
    let hedge = world.net.questions(next).pop().expect("it was asked");
    assert!(hedge.from == 1 && hedge.fetch.stored_only);
    assert_eq!(world.origin.count(&path), 1);
    world.close().await;
}

/// The owner before the change asks the owner after it, which need not ask back what the other has.
#[tokio::test]
async fn who_asks_is_not_asked_for_what_it_has() {
    let world = World::new(2).await;
    let path = world.path_of("page", 1);
    world.origin.put(&path, Page::new("hello"));
    world.show(1, &[0, 1], Some(&[0]));
    assert_eq!(world.get(0, &path).await.whole(), "hello");
    assert_eq!((world.net.questions(1).len(), world.net.questions(0).len()), (1, 0));
    world.close().await;
}

#[tokio::test]
async fn a_large_object_is_shielded_by_ranges() {
    const SHARD: u64 = 64 << 10;
    let mut setup = two_regions();
    setup.mesh.shard_bytes = SHARD;
    let world = World::of(setup).await;
    world.origin.put("/film", Page::new(content(5 * SHARD as usize + 1_000)));
    for node in [1, 5, 2, 3, 0, 4] {
        let got = soon(world.get(node, "/film")).await;
        assert_eq!(got.whole(), &content(5 * SHARD as usize + 1_000));
    }
    assert_eq!(world.origin.count("/film"), 6, "once for each shard");
    let speakers: Vec<u64> = (0..8).map(|node| world.origin_asked_by(node)).collect();
    assert_eq!(
        speakers.iter().sum::<u64>(),
        EU_SHIELDS.map(|shield| speakers[shield]).iter().sum::<u64>(),
        "{speakers:?}"
    );
    world.close().await;
}
