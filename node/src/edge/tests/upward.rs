//! Whom a miss goes to, and who waits for whom.

use std::sync::Arc;

use http::Method;
use starling_proto::wire::Refusal;
use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    origin::Page,
    world::{World, ask, content, fetch, name, refusal, soon},
};

#[tokio::test]
async fn a_crowd_on_every_node_costs_the_origin_one_request() {
    let world = World::new(4).await;
    let gate = Arc::new(Semaphore::new(0));
    world.origin.put("/viral", Page { before_head: Some(gate.clone()), ..Page::new(content(100_000)) });
    let mut clients = JoinSet::new();
    for edge in world.edges.iter().flat_map(|edge| std::iter::repeat_n(edge, 50)) {
        clients.spawn(ask(edge.clone(), Method::GET, "/viral".to_owned(), &[]));
    }
    gate.add_permits(1);
    while let Some(got) = soon(clients.join_next()).await {
        assert_eq!(got.expect("no panic").whole(), &content(100_000));
    }
    assert_eq!(world.origin.count("/viral"), 1);
    world.close().await;
}

#[tokio::test]
async fn every_hop_tells_of_itself() {
    let world = World::new(3).await;
    let path = world.path_of("page", 0);
    world.origin.put(&path, Page::new("hello"));
    let first = world.get(1, &path).await;
    let hops = first.hops();
    assert_eq!(hops.len(), 2, "{hops:?}");
    assert!(
        hops[0].starts_with("lon-0; fwd=uri-miss; fwd-status=200") && hops[0].contains("stored"),
        "{hops:?}"
    );
    assert!(hops[1].starts_with("lon-1; fwd=uri-miss; fwd-status=200"), "{hops:?}");
    assert!(!hops[1].contains("stored"), "it is the owner's to keep: {hops:?}");
    let second = world.get(2, &path).await;
    assert!(second.hops()[0].starts_with("lon-0; hit"), "{:?}", second.hops());
    assert_eq!(world.get(0, &path).await.hops().len(), 1, "what the owner says is not stored");
    let debug = world.ask(1, Method::GET, &path, &[("starling-debug", "1")]).await;
    let said = debug.field("starling-debug");
    assert!(said.contains("owner=\"lon-0\"") && said.contains("hop=client"), "{said}");
    assert!(said.contains("ways=\"lon-0") && said.contains("origin\""), "{said}");
    assert_eq!(world.origin.count(&path), 1);
    world.close().await;
}

/// Each of the two believes that the other owns the page.
#[tokio::test]
async fn nodes_whose_rings_disagree_do_not_wait_for_each_other() {
    let world = World::new(2).await;
    world.show(0, &[1], None);
    world.show(1, &[0], None);
    for round in 0..20 {
        let (path, gate) = (format!("/page-{round}"), Arc::new(Semaphore::new(0)));
        let page = Page { before_head: Some(gate.clone()), ..Page::new(content(3 * super::world::SLICE)) };
        world.origin.put(&path, page);
        let mut clients = JoinSet::new();
        for node in [0, 1, 0, 1] {
            clients.spawn(ask(world.edges[node].clone(), Method::GET, path.clone(), &[]));
        }
        gate.add_permits(10);
        while let Some(got) = soon(clients.join_next()).await {
            assert_eq!(got.expect("no panic").whole(), &content(3 * super::world::SLICE));
        }
        assert!(world.origin.count(&path) <= 2);
    }
    world.close().await;
}

#[tokio::test]
async fn what_is_asked_for_as_stored_waits_for_nobody() {
    let world = World::new(2).await;
    let path = world.path_of("page", 0);
    let gate = Arc::new(Semaphore::new(0));
    let page = Page { within_body: Some((5_000, gate.clone())), ..Page::new(content(20_000)) };
    world.origin.put(&path, page);
    let nothing = soon(world.serve_peer(0, fetch(&path, true))).await;
    assert_eq!(refusal(nothing), Refusal::NotStored);
    let mut client = JoinSet::new();
    client.spawn(ask(world.edges[0].clone(), Method::GET, path.clone(), &[]));
    while !world.is_stored(0, &path) {
        tokio::task::yield_now().await;
    }
    let arriving = soon(world.serve_peer(0, fetch(&path, true))).await;
    assert_eq!(refusal(arriving), Refusal::NotStored);
    assert_eq!(world.origin.count(&path), 1, "nobody was asked");
    gate.add_permits(1);
    let got = client.join_next().await.expect("one client").expect("no panic");
    assert_eq!(got.whole(), &content(20_000));
    let whole = soon(world.serve_peer(0, fetch(&path, true))).await;
    assert_eq!(whole.expect("it is here").head.status, 200);
    world.close().await;
}

#[tokio::test]
async fn a_node_that_joins_fills_from_who_owned_before() {
    let world = World::new(2).await;
    let path = world.path_of("page", 1);
    world.origin.put(&path, Page::new(content(20_000)));
    world.show(0, &[0], None);
    world.show(1, &[0], None);
    assert_eq!(world.get(0, &path).await.whole().len(), 20_000);
    // Node 1 joins, and now owns the page.
    world.show(1, &[0, 1], Some(&[0]));
    let got = world.get(1, &path).await;
    assert_eq!(got.whole(), &content(20_000));
    assert!(world.net.questions(0).iter().all(|question| question.fetch.stored_only));
    assert_eq!(world.origin.count(&path), 1, "{:?}", got.hops());
    assert!(world.is_stored(1, &path), "it keeps what it owns now");
    world.close().await;
}

#[tokio::test]
async fn who_is_slow_is_hedged_with_what_another_has() {
    let world = World::new(3).await;
    let path = world.path_of("page", 0);
    let chain = world.chain(&path);
    let (second, asker) = (chain[1], chain[2]);
    world.origin.put(&path, Page::new("hello"));
    // The second replica has it, because the owner was away.
    world.net.fail(0, super::world::Fault::Gone);
    assert_eq!(world.get(asker, &path).await.whole(), "hello");
    assert!(world.is_stored(second, &path));
    world.net.fail(0, super::world::Fault::Slow(Arc::new(Semaphore::new(0))));
    let got = soon(world.get(asker, &path)).await;
    assert_eq!(got.whole(), "hello");
    assert!(got.hops()[0].starts_with(&format!("{}; hit", name(second))), "{:?}", got.hops());
    assert_eq!(world.origin.count(&path), 1);
    let counted = world.edges[asker].counters().upward;
    let hedges = counted.ways.iter().find(|way| way.way == "hedge").expect("it is counted");
    assert_eq!((hedges.asked, hedges.answered, counted.failed_over), (1, 1, 1));
    world.close().await;
}

#[tokio::test]
async fn a_node_that_leaves_sends_its_askers_elsewhere() {
    let world = World::new(2).await;
    let path = world.path_of("page", 0);
    world.origin.put(&path, Page::new("hello"));
    world.edges[0].refuse_peers();
    assert_eq!(refusal(world.serve_peer(0, fetch(&path, false)).await), Refusal::Draining);
    assert_eq!(world.get(1, &path).await.whole(), "hello");
    world.close().await;
}

#[tokio::test]
async fn peers_get_no_more_places_than_there_are() {
    let world = World::with(1, |settings| settings.peer_requests_max = 1).await;
    world.origin.put("/page", Page::new(content(20_000)));
    let held = world.serve_peer(0, fetch("/page", false)).await.expect("there is a place");
    assert_eq!(refusal(world.serve_peer(0, fetch("/page", false)).await), Refusal::Busy);
    drop(held);
    assert!(world.serve_peer(0, fetch("/page", false)).await.is_ok());
    let peers = world.edges[0].counters().peers;
    assert_eq!((peers.hits + peers.misses, peers.refused), (2, 1));
    assert_eq!(world.edges[0].counters().outcomes.iter().map(|outcome| outcome.requests).sum::<u64>(), 0);
    world.close().await;
}

#[tokio::test]
async fn peers_may_read_and_no_more() {
    let world = World::new(1).await;
    world.origin.put("/page", Page::new("hello"));
    for method in ["POST", "PURGE", "DELETE"] {
        let mut fetch = fetch("/page", false);
        fetch.request.method = method.to_owned();
        assert_eq!(refusal(world.serve_peer(0, fetch).await), Refusal::NotServed, "{method}");
    }
    let mut below = fetch("/page", false);
    below.hop = starling_proto::ring::Hop::Client;
    assert_eq!(refusal(world.serve_peer(0, below).await), Refusal::NotServed);
    assert_eq!(world.origin.count("/page"), 0);
    world.close().await;
}

/// The owner's origin sends the request back to the node it came from.
#[tokio::test]
async fn a_request_that_comes_back_is_refused() {
    let world = World::new(2).await;
    let path = world.path_of("page", 0);
    world.origin.put(&path, Page::new("hello"));
    world.get(1, &path).await;
    let marks = world.origin.asked(&path)[0].fields["cdn-loop"].clone();
    let back = world.ask(1, Method::GET, &path, &[("cdn-loop", &marks)]).await;
    assert_eq!(back.status, 508);
    assert_eq!(world.ask(0, Method::GET, &path, &[("cdn-loop", &marks)]).await.status, 508);
    world.close().await;
}
