//! Large objects are owned by ranges, so that one video does not live on one node.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use serde_json::json;
use starling_tests::{Mesh, Site, TestOrigin, long_mode};

use super::{Download, beside_another, get};

const SHARD_BYTES: usize = 1 << 20;
const SHARDS: usize = 10;
const BYTES: usize = SHARDS * SHARD_BYTES;

/// Four nodes that share large objects by the mebibyte. The origin is slow enough that what is asked for and then
/// not wanted is not sent.
async fn four() -> (Site, TestOrigin, Mesh) {
    let site = Site::new(BYTES);
    let served = site.clone();
    let origin =
        TestOrigin::start(move |request| served.reply(request).drip(64 << 10, Duration::from_millis(1)))
            .await;
    let mesh = Mesh::builder().pop("eu", "lon", 4).origin(origin.url());
    let mesh = mesh.args(&["--set", "mesh.shard_bytes=1MiB"]).start().await;
    (site, origin, mesh)
}

/// Which node asked the origin for the part that begins at each offset, by `Via`.
fn askers(origin: &TestOrigin, target: &str) -> BTreeMap<u64, String> {
    let asked = origin.requests().into_iter().filter(|request| request.target == target);
    asked
        .map(|request| {
            let from = request.range(BYTES as u64).map_or(0, |(first, _)| first);
            let node = request.joined("via").rsplit(' ').next().unwrap_or_default().to_owned();
            (from, node)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn several_nodes_own_parts_and_each_byte_is_fetched_about_once() {
    let _turn = beside_another().await;
    let (site, origin, mesh) = four().await;
    for name in mesh.names() {
        let response = get(&mesh, &name, "/big/1").await.expect_status(200);
        assert!(Some(response.body) == site.body("/big/1"), "{name}");
    }
    let askers = askers(&origin, "/big/1");
    println!("{} bytes of {BYTES} were sent by the origin, asked by {askers:?}", origin.body_bytes());
    let nodes: std::collections::BTreeSet<&String> = askers.values().collect();
    assert!(nodes.len() >= 2, "all of it was fetched by {nodes:?}");
    let sent = origin.body_bytes() as f64 / BYTES as f64;
    assert!(sent < 1.5, "the origin sent the object {sent:.2} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_in_the_middle_costs_its_part_and_no_more() {
    let _turn = beside_another().await;
    let (site, origin, mesh) = four().await;
    let whole = site.body("/big/2").expect("the site has it");
    let (first, last) = (5 * SHARD_BYTES + 1000, 6 * SHARD_BYTES + 999);
    let range = format!("bytes={first}-{last}");
    for name in mesh.names() {
        let request = Site::get("/big/2").header("range", &range);
        let part = mesh.node(&name).send(request).await.expect_status(206);
        assert!(part.body == whole[first..=last], "{name}: {} bytes", part.body.len());
    }
    println!("a range of {SHARD_BYTES} bytes: {} were sent by the origin", origin.body_bytes());
    // It lies in two parts; all four nodes want it.
    let most = (3 * SHARD_BYTES) as u64;
    assert!(origin.body_bytes() <= most, "the origin sent {} bytes", origin.body_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_of_a_middle_part_may_die_under_a_download() {
    let _turn = beside_another().await;
    let (site, origin, mut mesh) = four().await;
    get(&mesh, "lon-1", "/big/3").await.expect_status(200);
    let askers = askers(&origin, "/big/3");
    let mut middle =
        askers.iter().filter(|(from, node)| **from > 2 << 20 && *node != "lon-1").map(|(_, node)| node);
    let victim = middle.next_back().unwrap_or_else(|| panic!("lon-1 fetched all of it: {askers:?}")).clone();
    for round in ["stored by its owners", "cold"] {
        if round == "cold" {
            for node in mesh.running() {
                node.purge(json!({"all": true, "wait": "committed"})).await;
            }
        }
        let download = Download::begin(&mesh, "lon-1", &site, "/big/3", SHARD_BYTES / 2).await;
        mesh.kill9(&victim).await;
        download.finish().await;
        mesh.restart(&victim).await;
        mesh.settled().await;
        println!("{round}: whole, although {victim} died");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_object_without_a_validator_stays_whole_with_one_owner() {
    let _turn = beside_another().await;
    let site = Site::new(BYTES);
    let body = site.body("/big/4").expect("the site has it");
    let sent = body.clone();
    let origin = TestOrigin::start(move |_| starling_tests::Reply::cacheable(sent.clone())).await;
    let mesh = Mesh::builder().pop("eu", "lon", 4).origin(origin.url());
    let mesh = mesh.args(&["--set", "mesh.shard_bytes=1MiB"]).start().await;
    for name in mesh.names() {
        let response = get(&mesh, &name, "/big/4").await.expect_status(200);
        assert!(response.body == body, "{name}");
    }
    assert_eq!(origin.total(), 1);
}

/// What passes through a node that keeps no copy of it may be more than its memory holds, and its clients slower
/// than the owner: the body waits for them; it is not thrown away before they have read it.
#[tokio::test(flavor = "multi_thread")]
async fn slow_readers_at_a_node_with_little_memory_get_all_of_it() {
    let _turn = beside_another().await;
    const OBJECTS: usize = 8;
    const LONG_BYTES: usize = 30_000_000;
    let site = Site::new(LONG_BYTES);
    let origin = site.origin().await;
    let mesh = Mesh::builder().pop("eu", "lon", 2).origin(origin.url()).args(&["--memory", "16MiB"]);
    let mesh = mesh.start().await;
    let mut downloads = Vec::new();
    for number in 0..OBJECTS {
        let target = mesh.target_owned_by("lon-2", Site::HOST, &format!("/big/{number}")).await;
        // The owner has it from the origin, and would send it as fast as it is taken.
        get(&mesh, "lon-2", &target).await.expect_status(200);
        downloads.push(Download::begin(&mesh, "lon-1", &site, &target, 1_000_000).await);
    }
    assert_eq!(origin.total(), OBJECTS);
    // All at once, so that each waits for the others.
    join_all(downloads.into_iter().map(Download::finish)).await;
    println!("{} requests to the origin for {OBJECTS} objects", origin.total());
    assert_eq!(origin.total(), OBJECTS, "what the owner has was asked of the origin");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_object_larger_than_memory_is_whole_through_every_node() {
    let _turn = beside_another().await;
    const LONG_BYTES: usize = 200_000_000;
    let site = Site::new(LONG_BYTES);
    let origin = site.origin().await;
    let mesh = Mesh::builder().pop("eu", "lon", 3).origin(origin.url()).start().await;
    for number in 0..if long_mode() { 20 } else { 3 } {
        let (target, before) = (format!("/big/{number}"), origin.body_bytes());
        let names = mesh.names();
        let downloads = names.iter().map(|name| Download::begin(&mesh, name, &site, &target, 20_000_000));
        join_all(join_all(downloads).await.into_iter().map(Download::finish)).await;
        let sent = (origin.body_bytes() - before) as f64 / LONG_BYTES as f64;
        println!("{target}: {} requests to the origin, which sent it {sent:.2} times", origin.count(&target));
        assert!(sent < 1.5, "the origin sent the object {sent:.2} times");
    }
}
