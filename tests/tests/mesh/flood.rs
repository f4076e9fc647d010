//! Who floods the mesh's ports gets nowhere, and the node stays healthy.

use std::time::Duration;

use starling_tests::{Load, Mesh, RawConn, Site, content};
use tokio::{net::UdpSocket, task::JoinSet, time::timeout};

use super::alone;

/// What nodes may hold while they are flooded: far more than they need, far less than what is thrown at them.
const NODE_BYTES_MAX: u64 = 300 << 20;

/// The mesh is as it was, and its clients did not notice.
async fn is_healthy(mesh: &Mesh, load: Load, what: &str) {
    load.goes_on(50).await;
    mesh.settled().await;
    let tally = load.finish().await;
    println!("{what}: {} requests were answered meanwhile, the slowest in {:?}", tally.whole, tally.slowest);
    tally.expect_whole();
    for node in mesh.running() {
        let peak = node.rss_peak_bytes();
        assert!(peak < NODE_BYTES_MAX, "{what}: {} held {} MiB", node.name(), peak >> 20);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_mesh_ports_harms_nobody() {
    let _turn = alone().await;
    let site = Site::new(0);
    let origin = site.origin().await;
    let mesh = Mesh::builder().pop("eu", "lon", 2).origin(origin.url()).start().await;
    let target = mesh.node("lon-1").mesh();

    let load = Load::begin(&site, mesh.node("lon-2").http(), 60);
    load.goes_on(20).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket can be had");
    for number in 0..20_000 {
        let length = 1 + number % 1_200;
        // What the kernel drops it drops: the port is flooded all the same.
        let _ = socket.send_to(&content(number as u64, length), target).await;
    }
    is_healthy(&mesh, load, "datagrams").await;

    let load = Load::begin(&site, mesh.node("lon-2").http(), 60);
    load.goes_on(20).await;
    let mut throwing = JoinSet::new();
    for number in 0..500 {
        throwing.spawn(async move {
            let Ok(mut conn) = RawConn::connect(target).await else { return };
            let _ = conn.write(content(number, 100_000)).await;
        });
    }
    throwing.join_all().await;
    is_healthy(&mesh, load, "bytes").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_that_hold_connections_keep_nobody_out() {
    let _turn = alone().await;
    let site = Site::new(0);
    let origin = site.origin().await;
    let mut mesh = Mesh::builder().pop("eu", "lon", 2).origin(origin.url()).start().await;
    let target = mesh.node("lon-1").mesh();
    let load = Load::begin(&site, mesh.node("lon-2").http(), 60);
    let mut held = Vec::new();
    while held.len() < 1_000 {
        // What is open is held and stays silent. When no more are let in, these are enough.
        let connecting = timeout(Duration::from_secs(5), RawConn::connect(target)).await;
        let Ok(Ok(conn)) = connecting else { break };
        held.push(conn);
    }
    println!("{} silent connections are held", held.len());
    mesh.join("lon-3", "eu", "lon", "lon-1").await;
    is_healthy(&mesh, load, "silent connections").await;
    drop(held);
}
