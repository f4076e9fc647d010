//! A purge of everything under load: the origin is asked once per object and region.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use starling_tests::{Load, Site};

use super::*;

const OBJECTS: u64 = 1_000;
const PER_SECOND: u64 = 60;

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_of_everything_costs_one_request_per_object_and_region() {
    let _turn = alone().await;
    let site = Site::new(0);
    let origin = site.origin().await;
    let mesh = Mesh::builder()
        .args(&["--region-expect", "6"])
        .pop("eu", "lon", 3)
        .pop("eu", "par", 3)
        .pop("us", "nyc", 3)
        .pop("us", "sfo", 3)
        .origin(origin.url())
        .start()
        .await;
    mesh.led("eu", 5).await;
    mesh.led("us", 5).await;
    mesh.level().await;
    let targets: Vec<String> = (0..OBJECTS).map(|number| format!("/1k/{number}")).collect();
    every_node_gets(&mesh, &targets).await;
    assert_per_region(&origin, 0, 2);

    let loads: Vec<Load> = mesh
        .running()
        .map(|node| {
            Load::begin_with(&site, node.http(), PER_SECOND, |number| {
                format!("/1k/{}", (number * 7) % OBJECTS)
            })
        })
        .collect();
    join_all(loads.iter().map(|load| load.goes_on(60))).await;
    let before = origin.total();
    let receipt =
        mesh.node("par-2").purge(json!({ "all": true, "wait": "applied", "timeout_ms": 30_000 })).await;
    assert_eq!(receipt["complete"], json!(true), "{receipt}");
    every_node_gets(&mesh, &targets).await;
    join_all(loads.iter().map(|load| load.goes_on(60))).await;
    for load in loads {
        load.finish().await.expect_whole();
    }
    println!("{} requests to the origin for {OBJECTS} objects in two regions", origin.total() - before);
    assert!((origin.total() - before) as u64 >= OBJECTS * 2, "all were purged, in both regions");
    assert_per_region(&origin, before, 2);
}

/// Each node is asked for each object, all nodes at once.
async fn every_node_gets(mesh: &Mesh, targets: &[String]) {
    join_all(mesh.running().map(async |node| {
        let mut conn = node.connect().await;
        for target in targets {
            let response = conn.send(&Site::get(target)).await.expect("an answer");
            assert_eq!(response.status, 200, "{target} at {}", node.name());
        }
    }))
    .await;
}

/// Of the requests after the first `from`, none is the third for its object.
fn assert_per_region(origin: &TestOrigin, from: usize, regions: usize) {
    let mut counts = BTreeMap::<String, usize>::new();
    for request in origin.requests().into_iter().skip(from) {
        *counts.entry(request.target).or_default() += 1;
    }
    let more: Vec<_> = counts.iter().filter(|(_, count)| **count > regions).collect();
    assert!(more.is_empty(), "asked more than once per region: {more:?}");
}
