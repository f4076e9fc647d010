//! The owner dies, or freezes, while clients of the other nodes read through it: no client notices.

use std::time::Duration;

use futures_util::future::join_all;
use starling_tests::{Load, Mesh, Site, TestOrigin};

use super::{Download, MB, alone, rounds};

/// Length of the download that is under way when the owner dies.
const BIG_BYTES: usize = 200 * MB;

/// How much of it has come by then.
const READ_BYTES: usize = 20 * MB;

/// Requests in a second at each node that stays.
const PER_SECOND: u64 = 60;

/// Requests at each node before and after what happens to the owner.
const REQUESTS: usize = 100;

/// A site whose large objects take a while to come, and its origin.
async fn slow_site() -> (Site, TestOrigin) {
    let site = Site::new(BIG_BYTES);
    let served = site.clone();
    let origin = TestOrigin::start(move |request| {
        let reply = served.reply(request);
        if request.path().starts_with("/big/") {
            reply.drip(256 << 10, Duration::from_millis(1))
        } else {
            reply
        }
    })
    .await;
    (site, origin)
}

/// What the nodes beside the owner do when it dies: each has clients, and sends a large body that the owner owns.
pub struct Scene {
    /// The owner of the large object.
    pub owner: String,
    /// The others of its PoP.
    pub others: Vec<String>,
    loads: Vec<Load>,
    downloads: Vec<Download>,
}

impl Scene {
    /// Begins with the download of `target` and the small requests at all nodes of the PoP but its owner; returns
    /// when all are well under way.
    pub async fn begin(mesh: &Mesh, site: &Site, target: &str, read: usize) -> Self {
        let names = mesh.names();
        let owner = mesh.owner_of(&names[0], &Site::url(target)).await;
        let others = mesh.others_of_pop(&owner);
        let loads: Vec<Load> =
            others.iter().map(|name| Load::begin(site, mesh.node(name).http(), PER_SECOND)).collect();
        join_all(loads.iter().map(|load| load.goes_on(REQUESTS))).await;
        let downloads = others.iter().map(|name| Download::begin(mesh, name, site, target, read));
        let downloads = join_all(downloads).await;
        Self { owner, others, loads, downloads }
    }

    /// Reads the downloads to their ends while the small requests go on; panics unless the downloads are whole.
    pub async fn downloads_end(&mut self) {
        let downloads = join_all(self.downloads.drain(..).map(Download::finish));
        let (_, ()) = tokio::join!(downloads, self.goes_on());
    }

    /// Returns after [`REQUESTS`] more at each node.
    pub async fn goes_on(&self) {
        join_all(self.loads.iter().map(|load| load.goes_on(REQUESTS))).await;
    }

    /// Ends the small requests; panics unless all were answered as they should be.
    pub async fn ends(self, what: &str) {
        for (name, load) in self.others.iter().zip(self.loads) {
            let tally = load.finish().await;
            println!(
                "{what}, {}: {name} answered {} requests, {} from its own store, the slowest in {:?}",
                self.owner, tally.whole, tally.hits, tally.slowest
            );
            tally.expect_whole();
        }
    }
}

async fn mesh_of_three(origin: &TestOrigin) -> Mesh {
    Mesh::builder().pop("eu", "lon", 3).origin(origin.url()).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_client_notices_that_the_owner_was_killed() {
    let _turn = alone().await;
    let (site, origin) = slow_site().await;
    let mut mesh = mesh_of_three(&origin).await;
    for round in 0..rounds(3, 20) {
        let mut scene = Scene::begin(&mesh, &site, &format!("/big/{round}"), READ_BYTES).await;
        mesh.kill9(&scene.owner).await;
        scene.downloads_end().await;
        mesh.restart(&scene.owner).await;
        let took = mesh.settled().await;
        scene.goes_on().await;
        println!("round {round}: {} is taken back {took:?} after its start", scene.owner);
        scene.ends(&format!("round {round}, killed")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_client_notices_that_the_owner_froze_and_it_is_taken_back() {
    let _turn = alone().await;
    let (site, origin) = slow_site().await;
    let mesh = mesh_of_three(&origin).await;
    for round in 0..rounds(3, 20) {
        let mut scene = Scene::begin(&mesh, &site, &format!("/big/{round}"), READ_BYTES).await;
        mesh.freeze(&scene.owner).await;
        scene.downloads_end().await;
        // The first time the verdict is waited for; the others it comes back before, or as it comes.
        if round == 0 {
            for name in &scene.others {
                mesh.sees(name, &scene.owner, &["dead"]).await;
                let peers = mesh.peers_at(name).await;
                assert_eq!(
                    peers.in_ring(),
                    scene.others,
                    "the dead are not in the ring: {}",
                    peers.summary()
                );
            }
        }
        scene.goes_on().await;
        mesh.thaw(&scene.owner).await;
        let took = mesh.settled().await;
        scene.goes_on().await;
        println!("round {round}: {} is taken back {took:?} after it goes on", scene.owner);
        scene.ends(&format!("round {round}, frozen")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_but_one_die_and_it_serves_alone() {
    let _turn = alone().await;
    let site = Site::new(0);
    let origin = site.origin().await;
    let mut mesh = mesh_of_three(&origin).await;
    let load = Load::begin(&site, mesh.node("lon-2").http(), PER_SECOND);
    load.goes_on(REQUESTS).await;
    mesh.kill9("lon-1").await;
    mesh.kill9("lon-3").await;
    load.goes_on(REQUESTS).await;
    for name in ["lon-1", "lon-3"] {
        mesh.sees("lon-2", name, &["dead"]).await;
    }
    mesh.settled().await;
    load.goes_on(REQUESTS).await;
    load.finish().await.expect_whole();
}
