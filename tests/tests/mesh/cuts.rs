//! A path is cut one way: what one node sends no longer arrives at another, and nobody is told. Needs root.

use std::{net::SocketAddr, sync::Arc};

use starling_tests::{Cluster, Mesh, Site, TestOrigin, netns::Net};

use super::{MB, alone, deaths::Scene, rounds};

const BIG_BYTES: usize = 200 * MB;
const READ_BYTES: usize = 20 * MB;

/// Three nodes of a PoP, each in a namespace of its own, and the origin on the test's side; `None` without root.
async fn mesh_with_paths(test: &str) -> Option<(Arc<Net>, Site, TestOrigin, Mesh)> {
    let net = match Net::new() {
        Ok(net) => Arc::new(net),
        Err(why) => {
            println!("{test}: {why}");
            return None;
        }
    };
    let site = Site::new(BIG_BYTES);
    let served = site.clone();
    let origin =
        TestOrigin::start_at(SocketAddr::new(net.host(), 0), move |request| served.reply(request)).await;
    let cluster = Arc::new(Cluster::init().await);
    let mesh = Mesh::builder().net(&net).cluster(&cluster).pop("eu", "lon", 3).origin(origin.url());
    Some((net, site, origin, mesh.start().await))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_client_notices_that_nothing_of_the_owner_arrives_any_more() {
    let _turn = alone().await;
    let Some((net, site, _origin, mesh)) = mesh_with_paths("one-way cut").await else { return };
    for round in 0..rounds(2, 20) {
        let mut scene = Scene::begin(&mesh, &site, &format!("/big/{round}"), READ_BYTES).await;
        // Odd rounds cut the other way: the owner hears nothing, and still speaks.
        let ip = |name: &str| mesh.http_address(name).ip();
        for name in &scene.others {
            match round % 2 {
                0 => net.cut(ip(&scene.owner), ip(name)),
                _ => net.cut(ip(name), ip(&scene.owner)),
            }
        }
        scene.downloads_end().await;
        scene.goes_on().await;
        net.heal();
        let took = mesh.settled().await;
        scene.goes_on().await;
        println!("round {round}: {} is taken back {took:?} after the cut is healed", scene.owner);
        scene.ends(&format!("round {round}, cut off one way")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_lossy_path_kills_nobody() {
    let _turn = alone().await;
    let Some((net, site, _origin, mesh)) = mesh_with_paths("one lossy path").await else { return };
    let mut scene = Scene::begin(&mesh, &site, "/big/0", READ_BYTES).await;
    // Both ways, between the owner and one other; the third hears both.
    let ip = |name: &str| mesh.http_address(name).ip();
    let (cut_off, between) = (scene.others[0].clone(), scene.others[1].clone());
    net.cut(ip(&scene.owner), ip(&cut_off));
    net.cut(ip(&cut_off), ip(&scene.owner));
    scene.downloads_end().await;
    // As long as it takes to find somebody dead, twice over: by requests, of which each node answers sixty a second.
    for _ in 0..8 {
        scene.goes_on().await;
        for (watcher, watched) in [(&scene.owner, &cut_off), (&cut_off, &scene.owner)] {
            let peers = mesh.peers_at(watcher).await;
            let status = peers.get(watched).map(|peer| peer.status.as_str());
            assert!(matches!(status, Some("alive" | "suspect")), "{}", peers.summary());
            assert!(peers.in_ring().contains(watched), "{}", peers.summary());
        }
        for watched in [&scene.owner, &cut_off] {
            let peers = mesh.peers_at(&between).await;
            let peer = peers.get(watched).expect("it is known");
            assert!(peer.status == "alive" && !peer.passed_over, "{}", peers.summary());
        }
    }
    net.heal();
    mesh.settled().await;
    scene.ends("one path cut").await;
}
