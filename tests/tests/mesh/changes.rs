//! Nodes join, leave and restart under load: the origin is not stormed, and no client notices.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use starling_tests::{Load, Mesh, Site, Tally, TestOrigin, starling, until};

use super::{alone, beside_another, get, hops};

const PER_SECOND: u64 = 50;
const REQUESTS: usize = 80;

/// Clients at every running node but those that are let go.
struct Loads {
    site: Site,
    loads: BTreeMap<String, Load>,
    tally: Tally,
}

impl Loads {
    fn begin(mesh: &Mesh, site: &Site) -> Self {
        let mut loads = Self { site: site.clone(), loads: BTreeMap::new(), tally: Tally::default() };
        for name in mesh.names() {
            loads.come(mesh, &name);
        }
        loads
    }

    /// Clients come to this node.
    fn come(&mut self, mesh: &Mesh, name: &str) {
        self.loads.insert(name.to_owned(), Load::begin(&self.site, mesh.node(name).http(), PER_SECOND));
    }

    /// The clients of this node go elsewhere, as they do when it is drained.
    async fn go(&mut self, name: &str) {
        let load = self.loads.remove(name).unwrap_or_else(|| panic!("{name} has no clients"));
        self.tally += load.finish().await;
    }

    async fn goes_on(&self) {
        join_all(self.loads.values().map(|load| load.goes_on(REQUESTS))).await;
    }

    async fn ends(mut self) -> Tally {
        for load in std::mem::take(&mut self.loads).into_values() {
            self.tally += load.finish().await;
        }
        self.tally
    }
}

/// Panics when the origin was asked more often for anything than `per_target`.
fn not_stormed(origin: &TestOrigin, tally: &Tally, per_target: usize) {
    let mut counts = BTreeMap::<String, usize>::new();
    for request in origin.requests() {
        *counts.entry(request.target).or_default() += 1;
    }
    let most = counts.iter().max_by_key(|(_, count)| **count);
    println!(
        "{} requests of clients for {} targets, {} from the store of who was asked; {} requests to the origin, at most {most:?} for one",
        tally.whole,
        tally.asked.len(),
        tally.hits,
        origin.total(),
    );
    let stormed: Vec<_> = counts.iter().filter(|(_, count)| **count > per_target).collect();
    assert!(stormed.is_empty(), "asked more than {per_target} times of the origin: {stormed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joining_owner_fills_from_the_previous_owner() {
    let _turn = beside_another().await;
    const OBJECTS: usize = 150;
    let site = Site::new(0);
    let origin = site.origin().await;
    let mut mesh = Mesh::builder().pop("eu", "lon", 2).origin(origin.url()).start().await;
    let targets: Vec<String> = (0..OBJECTS)
        .map(|number| if number % 10 == 0 { format!("/1m/{number}") } else { format!("/1k/{number}") })
        .collect();
    for target in &targets {
        get(&mesh, "lon-1", target).await.expect_status(200);
    }
    assert_eq!(origin.total(), OBJECTS);
    mesh.join("lon-3", "eu", "lon", "lon-2").await;
    mesh.settled().await;
    let mut moved = 0;
    for target in &targets {
        moved += usize::from(mesh.owner_of("lon-3", &Site::url(target)).await == "lon-3");
        for name in ["lon-3", "lon-1", "lon-2"] {
            let response = get(&mesh, name, target).await.expect_status(200);
            assert_eq!(Some(response.body), site.body(target), "{target} at {name}");
        }
    }
    println!("{moved} of {OBJECTS} objects have a new owner");
    assert!((OBJECTS / 6..=OBJECTS / 2).contains(&moved), "about a third moves, not {moved}");
    assert_eq!(origin.total(), OBJECTS, "what the previous owners had was fetched again");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_was_restarted_has_what_it_had() {
    let _turn = beside_another().await;
    let site = Site::new(0);
    let origin = site.origin().await;
    let mut mesh = Mesh::builder().pop("eu", "lon", 2).origin(origin.url()).start().await;
    let mut targets = Vec::new();
    for number in 0..40 {
        targets.push(mesh.target_owned_by("lon-2", Site::HOST, &format!("/1k/{number}0")).await);
    }
    for target in &targets {
        get(&mesh, "lon-1", target).await.expect_status(200);
    }
    let before = origin.total();
    mesh.restart("lon-2").await;
    mesh.settled().await;
    for target in &targets {
        get(&mesh, "lon-1", target).await.expect_status(200);
    }
    assert_eq!(origin.total(), before, "fetched again although the owner's disk had it");
}

#[tokio::test(flavor = "multi_thread")]
async fn joins_leaves_and_deaths_do_not_storm_the_origin() {
    let _turn = alone().await;
    let site = Site::new(0);
    let origin = site.origin().await;
    let mut mesh = Mesh::builder().pop("eu", "lon", 3).origin(origin.url()).start().await;
    let mut loads = Loads::begin(&mesh, &site);
    loads.goes_on().await;

    mesh.join("lon-4", "eu", "lon", "lon-2").await;
    loads.come(&mesh, "lon-4");
    loads.goes_on().await;

    loads.go("lon-2").await;
    assert!(mesh.stop("lon-2").await.success());
    loads.goes_on().await;
    mesh.restart("lon-2").await;
    loads.come(&mesh, "lon-2");
    loads.goes_on().await;

    loads.go("lon-3").await;
    mesh.kill9("lon-3").await;
    loads.goes_on().await;
    mesh.restart("lon-3").await;
    loads.come(&mesh, "lon-3");
    loads.goes_on().await;
    mesh.settled().await;

    let tally = loads.ends().await;
    tally.expect_whole();
    // At first, and after each of five changes.
    not_stormed(&origin, &tally, 1 + 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_client_notices_a_rolling_restart() {
    let _turn = alone().await;
    let site = Site::new(0);
    let origin = site.origin().await;
    let mut mesh = Mesh::builder().pop("eu", "lon", 3).origin(origin.url()).start().await;
    let mut loads = Loads::begin(&mesh, &site);
    loads.goes_on().await;
    for name in mesh.names() {
        loads.go(&name).await;
        assert!(mesh.stop(&name).await.success(), "{name} ends in order");
        loads.goes_on().await;
        mesh.restart(&name).await;
        mesh.settled().await;
        loads.come(&mesh, &name);
        loads.goes_on().await;
    }
    let tally = loads.ends().await;
    tally.expect_whole();
    not_stormed(&origin, &tally, 1 + 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_node_is_passed_over_until_it_is_ready_again() {
    let _turn = beside_another().await;
    let site = Site::new(0);
    let origin = site.origin().await;
    let mesh = Mesh::builder().pop("eu", "lon", 2).origin(origin.url()).start().await;
    let admin = mesh.node("lon-2").admin_url();
    let passed_over = async |wanted: bool| {
        until("lon-1 knows whether lon-2 drains", async || {
            let peers = mesh.peers_at("lon-1").await;
            let peer = peers.get("lon-2").filter(|peer| peer.status == "alive" && peer.passed_over == wanted);
            peer.map(|_| ()).ok_or_else(|| peers.summary())
        })
        .await;
    };
    for (command, wanted) in [("drain", true), ("undrain", false)] {
        assert_eq!(starling(&[command, "--admin", &admin]).await.code, Some(0), "{command}");
        passed_over(wanted).await;
        for number in 0..20 {
            let target = format!("/1k/{number}{}", u8::from(wanted));
            let response = get(&mesh, "lon-1", &target).await.expect_status(200);
            let through_it = hops(&response).contains(&"lon-2".to_owned());
            assert!(
                !(wanted && through_it),
                "a draining node was asked: {}",
                response.joined("cache-status")
            );
        }
    }
}
