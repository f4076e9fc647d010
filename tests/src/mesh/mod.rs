//! Several nodes that form one mesh.
//!
//! | part | what it is for |
//! | --- | --- |
//! | [`MeshBuilder`] | which nodes, in which PoPs, told of whom; open on loopback, or closed by a [`Cluster`] |
//! | [`Mesh`] | the running nodes: asked what they see, killed, frozen, restarted |
//! | [`Cluster`] | a cluster key and the tickets it signs |
//! | [`Standing`] | the group of a region as one node sees it |
//! | [`Peers`], [`Ring`] | the mesh as one node sees it |

mod builder;
mod cluster;
mod region;
mod seen;

pub use builder::MeshBuilder;
pub use cluster::{Admission, Cluster};
pub use region::Standing;
pub use seen::{Peer, Peers, Ring, RingNode};

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    process::ExitStatus,
    time::{Duration, Instant},
};

use serde::de::DeserializeOwned;

use crate::{Node, until};

/// Nodes that form one mesh. When dropped, all are killed.
pub struct Mesh {
    nodes: BTreeMap<String, Node>,
    builder: MeshBuilder,
}

impl Mesh {
    /// A mesh without nodes.
    pub fn builder() -> MeshBuilder {
        MeshBuilder::default()
    }

    /// The node of this name.
    #[track_caller]
    pub fn node(&self, name: &str) -> &Node {
        self.nodes.get(name).unwrap_or_else(|| panic!("{name} was not started"))
    }

    /// The names of the running nodes, sorted.
    pub fn names(&self) -> Vec<String> {
        self.running().map(|node| node.name().to_owned()).collect()
    }

    /// The running nodes, by name.
    pub fn running(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values().filter(|node| node.is_running())
    }

    /// The running nodes of the PoP in which this node stands, without it.
    pub fn others_of_pop(&self, name: &str) -> Vec<String> {
        let mut names = self.names_of_pop(name);
        names.retain(|other| other != name);
        names
    }

    /// Where this node listens for other nodes, running or not.
    pub fn mesh_address(&self, name: &str) -> SocketAddr {
        self.builder.seat_of(name).mesh
    }

    /// Where this node listens for clients, running or not.
    pub fn http_address(&self, name: &str) -> SocketAddr {
        self.builder.seat_of(name).http
    }

    /// Starts a node that was named to the builder, for the first time.
    pub async fn launch(&mut self, name: &str) {
        let node = self.builder.launch(self.builder.seat_of(name)).await;
        self.nodes.insert(name.to_owned(), node);
    }

    /// Starts one more node, which is told of `peer` alone.
    pub async fn join(&mut self, name: &str, region: &str, pop: &str, peer: &str) {
        self.builder.seat(name, region, pop, Some(peer));
        self.launch(name).await;
    }

    /// `kill -9`; returns when the process is gone.
    pub async fn kill9(&mut self, name: &str) {
        self.node_mut(name).kill9().await;
    }

    /// `SIGTERM`; returns when the process has drained and is gone.
    pub async fn stop(&mut self, name: &str) -> ExitStatus {
        self.node_mut(name).stop().await
    }

    /// `SIGSTOP`: the process is there, and does nothing.
    pub async fn freeze(&self, name: &str) {
        self.node(name).signal("STOP").await;
    }

    /// `SIGCONT`.
    pub async fn thaw(&self, name: &str) {
        self.node(name).signal("CONT").await;
    }

    /// Starts a node again on the same data and addresses; it is stopped first if it runs.
    pub async fn restart(&mut self, name: &str) {
        self.node_mut(name).restart().await;
    }

    /// Waits until each running node sees just the running nodes alive, and just those of its PoP in its ring.
    /// Answers how long that took.
    pub async fn settled(&self) -> Duration {
        let begun = Instant::now();
        let names = self.names();
        for node in self.running() {
            let pop = self.names_of_pop(node.name());
            until("a node sees the mesh as it is", async || {
                let peers = self.peers_at(node.name()).await;
                if peers.alive() == names && peers.in_ring() == pop { Ok(()) } else { Err(peers.summary()) }
            })
            .await;
        }
        begun.elapsed()
    }

    /// Waits until this node sees that one in this status.
    pub async fn sees(&self, watcher: &str, watched: &str, status: &[&str]) {
        until(&format!("{watcher} sees {watched} {status:?}"), async || {
            let peers = self.peers_at(watcher).await;
            let held = peers.get(watched).map(|peer| peer.status.clone());
            match held {
                Some(held) if status.contains(&held.as_str()) => Ok(()),
                _ => Err(peers.summary()),
            }
        })
        .await;
    }

    /// What `starling peers` shows at this node.
    pub async fn peers_at(&self, name: &str) -> Peers {
        self.ask(name, "/v1/peers").await
    }

    /// The ring as this node has it, and who in it owns this URL.
    pub async fn ring_at(&self, name: &str, url: &str) -> Ring {
        self.ask(name, &format!("/v1/ring?url={}", seen::query_value(url))).await
    }

    /// The ring as this node has it, and who in it owns this key.
    pub async fn ring_of_key(&self, name: &str, key: &str) -> Ring {
        self.ask(name, &format!("/v1/ring?key={key}")).await
    }

    /// Who owns a URL in the PoP of this node.
    pub async fn owner_of(&self, name: &str, url: &str) -> String {
        self.ring_at(name, url).await.owner.unwrap_or_else(|| panic!("{name} names no owner of {url}"))
    }

    /// The first of `http://HOST` and `PATH0`, `PATH1` and so on that this node owns in its PoP; answers its
    /// path and query.
    pub async fn target_owned_by(&self, name: &str, host: &str, path: &str) -> String {
        for number in 0..10_000 {
            let target = format!("{path}{number}");
            if self.owner_of(name, &format!("http://{host}{target}")).await == name {
                return target;
            }
        }
        panic!("{name} owns none of ten thousand URLs");
    }

    async fn ask<T: DeserializeOwned>(&self, name: &str, target: &str) -> T {
        let response = self.node(name).admin_get(target).await.expect_status(200);
        serde_json::from_slice(&response.body)
            .unwrap_or_else(|error| panic!("{target} of {name}: {error}: {}", response.text()))
    }

    fn names_of_pop(&self, name: &str) -> Vec<String> {
        let own = self.builder.seat_of(name);
        let same = |other: &&Node| {
            let other = self.builder.seat_of(other.name());
            other.region == own.region && other.pop == own.pop
        };
        self.running().filter(same).map(|node| node.name().to_owned()).collect()
    }

    #[track_caller]
    fn node_mut(&mut self, name: &str) -> &mut Node {
        self.nodes.get_mut(name).unwrap_or_else(|| panic!("{name} was not started"))
    }
}
