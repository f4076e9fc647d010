//! One key with nearly all of the requests: it is soon on every node of the PoP, and its owner is not melted.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use starling_tests::{Load, Mesh, Site, Tally, long_mode, until};

use super::{alone, get};

const NODES: usize = 8;

/// Nine of ten requests are for one object, the rest for many.
fn viral(random: u64) -> String {
    match random % 10 {
        0 => format!("/1k/{}", (random >> 8) % 10_000),
        _ => "/1k/424242".to_owned(),
    }
}

const HOT: &str = "/1k/424242";

async fn loaded(mesh: &Mesh, site: &Site, per_second: u64, requests: usize) -> BTreeMap<String, Tally> {
    let names = mesh.names();
    let loads: Vec<Load> =
        names.iter().map(|name| Load::begin_with(site, mesh.node(name).http(), per_second, viral)).collect();
    join_all(loads.iter().map(|load| load.goes_on(requests))).await;
    names.into_iter().zip(join_all(loads.into_iter().map(Load::finish)).await).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viral_object_is_soon_served_by_every_node_itself() {
    let _turn = alone().await;
    let site = Site::new(0);
    let origin = site.origin().await;
    let mesh = Mesh::builder().pop("eu", "lon", NODES).origin(origin.url()).args(&["--memory", "16MiB"]);
    let mesh = mesh.args(&["--disk", "256MiB"]).start().await;
    let owner = mesh.owner_of("lon-1", &Site::url(HOT)).await;
    for tally in loaded(&mesh, &site, 40, 60).await.into_values() {
        tally.expect_whole();
    }
    for name in mesh.names() {
        until("the node has a copy of what is hot", async || {
            let response = get(&mesh, &name, HOT).await;
            if response.is_hit() {
                Ok(())
            } else {
                Err(format!("{name}: {}", response.joined("cache-status")))
            }
        })
        .await;
    }

    // From here on the owner hears of the hot key from its own clients alone.
    let cpu = |mesh: &Mesh| -> BTreeMap<String, Duration> {
        mesh.running().map(|node| (node.name().to_owned(), node.cpu_time())).collect()
    };
    let before = cpu(&mesh);
    let begun = std::time::Instant::now();
    let requests = if long_mode() { 5_000 } else { 300 };
    let tallies = loaded(&mesh, &site, 500, requests).await;
    let (took, after) = (begun.elapsed(), cpu(&mesh));
    let all: usize = tallies.values().map(|tally| tally.whole).sum();
    println!("{NODES} nodes answered {all} requests in {took:?}; the hot key is owned by {owner}");
    for (name, tally) in &tallies {
        let cpu = after[name] - before[name];
        println!("{name}: {} requests, {} from its own store, {cpu:?} of processor", tally.whole, tally.hits);
        tally.expect_whole();
        let hot = tally.asked[HOT];
        // A copy may have to be made anew now and then; the rest of the key's requests are hits.
        assert!(
            tally.hits * 20 >= hot * 19,
            "{name}: {} hits, though {hot} requests were for the hot key",
            tally.hits
        );
    }
    assert_eq!(origin.count(HOT), 1);
}
