//! Nodes of one mesh in this process, whose logs are written by hand: none of them leads a group.

use starling_proto::purge::{Change, Mode, Purge, Selector};
use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::app::{Running, tests::config};

/// Longer than anything takes that will come at all.
const PATIENCE: Duration = Duration::from_secs(60);

struct Node {
    running: Running,
    _dir: TempDir,
}

impl Node {
    async fn start(name: &str, region: &str, pop: &str, peers: &[&Node]) -> Self {
        let peers =
            peers.iter().map(|peer| peer.running.addresses().mesh.expect("it is in a mesh").to_string());
        Self::start_with(name, region, pop, peers.collect::<Vec<_>>().first().map(String::as_str)).await
    }

    async fn start_with(name: &str, region: &str, pop: &str, peer: Option<&str>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut flags = vec![
            ("node.name", name),
            ("node.region", region),
            ("node.pop", pop),
            ("node.mesh", "127.0.0.1:0"),
        ];
        flags.extend(peer.map(|peer| ("node.peers", peer)));
        let running = Running::start(config(dir.path(), &flags)).await.expect("it starts");
        Self { running, _dir: dir }
    }

    fn spread(&self) -> &Spread {
        &self.running.mesh.as_ref().expect("it is in a mesh").spread
    }

    fn id(&self) -> NodeId {
        self.spread().0.me
    }

    async fn write(&self) -> Version {
        let selectors = vec![Selector::Tag("a".to_owned())];
        let purge = Purge { service: "default".to_owned(), selectors, mode: Mode::Hard };
        self.running.store.write(Change::Purge(purge), 1, 1).await.expect("it is written").version
    }

    async fn sees(&self, other: &Node) {
        let mut view = self.spread().0.parts.view.clone();
        let is_there = |view: &Arc<View>| others(view).any(|(id, _)| *id == other.id());
        timeout(PATIENCE, view.wait_for(is_there)).await.expect("it comes").expect("the mesh is there");
    }

    async fn applies(&self, region: &str, entry: Version) {
        let region = Region::new(region);
        let mut stamps = self.running.store.stamps();
        let has_it = |stamp: &Stamp| stamp.get(&region).is_some_and(|at| at >= entry);
        timeout(PATIENCE, stamps.wait_for(has_it)).await.expect("it comes").expect("the store is there");
    }
}

async fn end(nodes: impl IntoIterator<Item = Node>) {
    futures_util::future::join_all(nodes.into_iter().map(|node| node.running.stop())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_pushed_is_found_by_comparing() {
    let eu = Node::start("lon-1", "eu", "lon", &[]).await;
    assert!(eu.spread().is_caught_up(), "nobody was named to it, and it knows of nobody");
    let early = eu.write().await;
    let us = Node::start("nyc-1", "us", "nyc", &[&eu]).await;
    us.applies("eu", early).await;
    let late = eu.write().await;
    us.applies("eu", late).await;
    eu.applies("us", us.write().await).await;
    end([eu, us]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_reaches_a_node_and_those_it_is_to_tell_and_says_so() {
    let eu = Node::start("lon-1", "eu", "lon", &[]).await;
    let relay = Node::start("nyc-1", "us", "nyc", &[&eu]).await;
    let told = Node::start("nyc-2", "us", "nyc", &[&eu]).await;
    let elsewhere = Node::start("bos-1", "us", "bos", &[&eu]).await;
    for (one, other) in [(&eu, &relay), (&eu, &told), (&relay, &told), (&relay, &elsewhere)] {
        one.sees(other).await;
    }
    let region = Region::new("eu");
    // All know the first entry: what follows can be applied by whoever is sent it.
    let first = eu.write().await;
    for node in [&relay, &told, &elsewhere] {
        node.applies("eu", first).await;
    }
    // A slow machine may miss the time that a relay gives the others; then the next entry shows it.
    let mut before = first;
    let entry = loop {
        let entry = eu.write().await;
        let named = vec![told.id(), elsewhere.id()];
        let reached = eu.spread().push(relay.id(), &region, Some(before), named).await.expect("it answers");
        assert!(
            reached.iter().all(|reach| reach.node != elsewhere.id()),
            "it is passed on inside the PoP only"
        );
        let has_it = |id| reached.contains(&Reach { node: id, at: Some(entry) });
        assert!(has_it(relay.id()), "{reached:?}");
        if has_it(told.id()) {
            break entry;
        }
        before = entry;
    };
    let asked = eu.spread().push(relay.id(), &region, None, Vec::new()).await.expect("it answers");
    assert_eq!(asked.first().map(|reach| reach.at), Some(Some(entry)), "who knows nothing of it asks first");
    end([eu, relay, told, elsewhere]).await;
}

/// Its disk may be an old one: until it has met somebody it revalidates what it has (promise P4).
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_reaches_none_of_those_it_was_told_of_has_not_caught_up() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = nobody.local_addr().expect("bound").to_string();
    let node = Node::start_with("lon-1", "eu", "lon", Some(&address)).await;
    assert!(!node.spread().is_caught_up() && !node.spread().0.parts.trust.is_caught_up());
    end([node]).await;
}
