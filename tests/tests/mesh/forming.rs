//! Nodes find each other, in whatever order they come, and do not need whom they first met.

use starling_tests::{Mesh, Node, Site, starling, until};

use super::{alone, beside_another, get};

const THREE: [&str; 3] = ["lon-1", "lon-2", "lon-3"];

/// `starling peers` for people: it names every node.
async fn peers_command_shows(mesh: &Mesh, node: &str, names: &[&str]) {
    let output = starling(&["peers", "--admin", &mesh.node(node).admin_url()]).await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    for name in names {
        assert!(output.stdout.contains(name), "peers at {node} leaves out {name}:\n{}", output.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_with_one_peer_each_form_one_mesh_in_any_order() {
    let _turn = alone().await;
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        // Each is told of the next, so that in every order some are told of a node that is not there yet.
        let mut mesh = Mesh::builder()
            .pop("eu", "lon", 3)
            .peers_of("lon-1", &["lon-2"])
            .peers_of("lon-2", &["lon-3"])
            .peers_of("lon-3", &["lon-1"])
            .origin("http://127.0.0.1:1")
            .build();
        for number in order {
            mesh.launch(THREE[number]).await;
        }
        let took = mesh.settled().await;
        println!("started as {order:?}: one mesh {took:?} after the last was ready");
        for name in THREE {
            peers_command_shows(&mesh, name, &THREE).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_at_once_is_an_order_too() {
    let _turn = beside_another().await;
    let mesh = Mesh::builder().pop("eu", "lon", 5).origin("http://127.0.0.1:1").start().await;
    assert_eq!(mesh.names().len(), 5);
    for name in mesh.names() {
        let own: Vec<bool> = mesh.peers_at(&name).await.peers.iter().map(|peer| peer.is_self).collect();
        assert_eq!(own.iter().filter(|own| **own).count(), 1, "{name} is itself once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seed_may_go_and_a_newcomer_joins_through_another() {
    let _turn = beside_another().await;
    let site = Site::new(0);
    let origin = site.origin().await;
    let mut mesh = Mesh::builder().pop("eu", "lon", 3).origin(origin.url()).start().await;
    mesh.kill9("lon-1").await;
    for name in ["lon-2", "lon-3"] {
        mesh.sees(name, "lon-1", &["dead"]).await;
    }
    let took = mesh.settled().await;
    println!("without the seed: settled {took:?} after it was seen dead");
    mesh.join("lon-4", "eu", "lon", "lon-3").await;
    mesh.settled().await;
    mesh.restart("lon-1").await;
    let took = mesh.settled().await;
    println!("the seed is taken back {took:?} after its start");
    for name in mesh.names() {
        get(&mesh, &name, "/1k/1").await.expect_status(200);
    }
    assert_eq!(origin.count("/1k/1"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_says_good_bye_is_gone_at_once() {
    let _turn = beside_another().await;
    let mut mesh = Mesh::builder().pop("eu", "lon", 3).origin("http://127.0.0.1:1").start().await;
    assert!(mesh.stop("lon-2").await.success());
    for name in ["lon-1", "lon-3"] {
        let status = until("lon-2 is out of the ring", async || {
            let peers = mesh.peers_at(name).await;
            if peers.in_ring() == ["lon-1", "lon-3"] {
                return Ok(peers.get("lon-2").map(|peer| peer.status.clone()));
            }
            Err(peers.summary())
        })
        .await;
        // Found dead by its silence, it would be "dead"; forgotten, it would not be there.
        assert_eq!(status.as_deref(), Some("left"), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_of_the_nodes_choosing_is_announced_and_serves_as_a_seed() {
    let _turn = beside_another().await;
    let node = |name: &str, peer: Option<String>| {
        let node = Node::builder().name(name).origin("http://127.0.0.1:1").args(&["--mesh", "127.0.0.1:0"]);
        match peer {
            Some(peer) => node.args(&["--peer", &peer]),
            None => node,
        }
    };
    let first = node("first", None).start().await;
    assert_ne!(first.mesh().port(), 0);
    let second = node("second", Some(first.mesh().to_string())).start().await;
    for node in [&first, &second] {
        until("both see both", async || {
            let text = node.admin_get("/v1/peers").await.expect_status(200).text();
            if text.contains("\"first\"") && text.contains("\"second\"") { Ok(()) } else { Err(text) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_alone_in_its_mesh_owns_all_and_serves() {
    let _turn = beside_another().await;
    let site = Site::new(0);
    let origin = site.origin().await;
    let mesh = Mesh::builder().node("lon-1", "eu", "lon").origin(origin.url()).start().await;
    let ring = mesh.ring_at("lon-1", &Site::url("/1k/1")).await;
    assert_eq!((ring.owner.as_deref(), ring.replicas.len()), (Some("lon-1"), 1));
    for expected_hit in [false, true] {
        let response = get(&mesh, "lon-1", "/1k/1").await.expect_status(200);
        assert_eq!(response.is_hit(), expected_hit, "{}", response.cache_status());
    }
    let status = starling(&["status", "--admin", &mesh.node("lon-1").admin_url()]).await;
    assert_eq!(status.code, Some(0), "{}", status.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_weight_is_a_share_of_the_ring() {
    let _turn = beside_another().await;
    let mesh = Mesh::builder().pop("eu", "lon", 3).args_of("lon-1", &["--weight", "300"]);
    let mesh = mesh.origin("http://127.0.0.1:1").start().await;
    for name in mesh.names() {
        let ring = mesh.ring_at(&name, &Site::url("/1k/1")).await;
        let heavy = ring.nodes.iter().find(|node| node.node == "lon-1").expect("it is in the ring");
        // Three fifths, as even as virtual nodes make it.
        assert!((450.0..=750.0).contains(&heavy.share_permille), "at {name}: {}", heavy.share_permille);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_the_same_after_a_restart() {
    let _turn = beside_another().await;
    let mut mesh = Mesh::builder().pop("eu", "lon", 2).origin("http://127.0.0.1:1").start().await;
    let id = async |mesh: &Mesh| {
        let peers = mesh.peers_at("lon-1").await;
        peers.get("lon-2").map(|peer| peer.id.clone())
    };
    let before = id(&mesh).await;
    mesh.restart("lon-2").await;
    mesh.settled().await;
    assert!(before.is_some());
    assert_eq!(id(&mesh).await, before, "its key is in its data directory");
    // One node, not one and its ghost.
    assert_eq!(mesh.peers_at("lon-1").await.peers.len(), 2);
}
