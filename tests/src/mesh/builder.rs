//! How a mesh is to be started.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::id,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
};

use futures_util::future::join_all;
use tempfile::TempDir;

use super::{Admission, Cluster, Mesh};
use crate::{
    Node,
    netns::{Net, Place},
};

/// What a test shows to the admin API of nodes that do not stand on loopback.
const TOKEN: &str = "the token of a test";

/// How a mesh is to be started.
#[derive(Clone, Default)]
pub struct MeshBuilder {
    pub(super) seats: Vec<Seat>,
    origins: Vec<String>,
    toml: String,
    arguments: Vec<String>,
    cluster: Option<Arc<Cluster>>,
    net: Option<Arc<Net>>,
    token: Option<String>,
    shim: Option<PathBuf>,
}

/// One node of the mesh, running or not. Its addresses stay as they are for all its lives.
#[derive(Clone)]
pub(super) struct Seat {
    pub name: String,
    pub region: String,
    pub pop: String,
    /// The nodes that it is told of.
    peers: Vec<String>,
    arguments: Vec<String>,
    pub http: SocketAddr,
    admin: SocketAddr,
    pub mesh: SocketAddr,
    place: Option<Place>,
}

impl MeshBuilder {
    /// A node. It is told of the first one, and the first of the second: each has one `--peer`.
    pub fn node(mut self, name: &str, region: &str, pop: &str) -> Self {
        let peer = match &mut self.seats[..] {
            [] => None,
            [first, ..] => {
                if first.peers.is_empty() {
                    first.peers.push(name.to_owned());
                }
                Some(first.name.clone())
            }
        };
        self.seat(name, region, pop, peer.as_deref());
        self
    }

    /// `count` nodes of one PoP: `POP-1`, `POP-2` and so on.
    pub fn pop(self, region: &str, pop: &str, count: usize) -> Self {
        (1..=count).fold(self, |builder, number| builder.node(&format!("{pop}-{number}"), region, pop))
    }

    /// `--origin URL` of every node.
    pub fn origin(mut self, url: impl Into<String>) -> Self {
        self.origins.push(url.into());
        self
    }

    /// More of the configuration file of every node.
    pub fn toml(mut self, text: &str) -> Self {
        self.toml.push_str(text);
        self
    }

    /// More arguments of every node.
    pub fn args(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// More arguments of one node, which was named before.
    pub fn args_of(mut self, name: &str, arguments: &[&str]) -> Self {
        let seat = self.seats.iter_mut().find(|seat| seat.name == name);
        let seat = seat.unwrap_or_else(|| panic!("there is no node {name}"));
        seat.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// A node, named before, is told of these nodes instead.
    pub fn peers_of(mut self, name: &str, peers: &[&str]) -> Self {
        let seat = self.seats.iter_mut().find(|seat| seat.name == name);
        let seat = seat.unwrap_or_else(|| panic!("there is no node {name}"));
        seat.peers = peers.iter().map(|peer| (*peer).to_owned()).collect();
        self
    }

    /// The mesh is closed: each node has a ticket of this cluster.
    pub fn cluster(mut self, cluster: &Arc<Cluster>) -> Self {
        self.cluster = Some(cluster.clone());
        self
    }

    /// The bearer token that the test shows to the admin API of each node; the configuration must name it.
    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// Every node loads this library, which has its disk fail while the file `fault` in its directory says so.
    pub fn faulty(mut self, shim: &Path) -> Self {
        self.shim = Some(shim.to_owned());
        self
    }

    /// The nodes that are named after this stand in this network, each in a namespace of its own. Such a mesh
    /// must be closed.
    pub fn net(mut self, net: &Arc<Net>) -> Self {
        self.net = Some(net.clone());
        self.toml.push_str(&format!(
            "[[admin.tokens]]\nname = \"test\"\ntoken = \"{TOKEN}\"\nscopes = [\"admin\", \"read\", \"purge\"]\n"
        ));
        self
    }

    /// The mesh before any of its nodes is started.
    pub fn build(self) -> Mesh {
        Mesh { nodes: Default::default(), builder: self }
    }

    /// Starts all nodes at once, and waits until each sees all alive.
    pub async fn start(self) -> Mesh {
        let mut mesh = self.build();
        let starting = mesh.builder.seats.iter().map(|seat| mesh.builder.launch(seat));
        mesh.nodes =
            join_all(starting).await.into_iter().map(|node| (node.name().to_owned(), node)).collect();
        mesh.settled().await;
        mesh
    }

    pub(super) fn seat(&mut self, name: &str, region: &str, pop: &str, peer: Option<&str>) {
        let place = self.net.as_ref().map(|net| net.place(name));
        let ip = place.as_ref().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |place| place.address);
        self.seats.push(Seat {
            name: name.to_owned(),
            region: region.to_owned(),
            pop: pop.to_owned(),
            peers: peer.map(str::to_owned).into_iter().collect(),
            arguments: Vec::new(),
            http: SocketAddr::new(ip, free_port()),
            admin: SocketAddr::new(ip, free_port()),
            mesh: SocketAddr::new(ip, free_port()),
            place,
        });
    }

    pub(super) fn seat_of(&self, name: &str) -> &Seat {
        self.seats.iter().find(|seat| seat.name == name).unwrap_or_else(|| panic!("there is no node {name}"))
    }

    /// Starts a node for the first time; with a ticket first, if the mesh is closed.
    pub(super) async fn launch(&self, seat: &Seat) -> Node {
        let dir = tempfile::Builder::new().prefix("starling-test-").tempdir();
        let dir: TempDir = dir.expect("a temporary directory can be made");
        let mut node = Node::builder().name(&seat.name).http(seat.http).admin(seat.admin);
        let mesh = seat.mesh.to_string();
        node = node.args(&["--region", &seat.region, "--pop", &seat.pop, "--mesh", &mesh]);
        for peer in &seat.peers {
            node = node.args(&["--peer", &self.seat_of(peer).mesh.to_string()]);
        }
        if let Some(cluster) = &self.cluster {
            let (key, ticket) = (cluster.public_key(), dir.path().join("node.ticket"));
            let admission =
                Admission { name: &seat.name, region: &seat.region, pop: &seat.pop, expires: "365d" };
            cluster.admit(admission, &dir.path().join("data"), &ticket).await;
            node = node.args(&["--cluster-key-pub", &key.display().to_string()]);
            node = node.args(&["--ticket", &ticket.display().to_string()]);
        }
        if let Some(place) = &seat.place {
            node = node.inside(&place.namespace).token(TOKEN);
        }
        if let Some(token) = &self.token {
            node = node.token(token);
        }
        if let Some(shim) = &self.shim {
            let fault = dir.path().join("fault").display().to_string();
            node = node.env("LD_PRELOAD", &shim.display().to_string()).env("STARLING_FAULT", &fault);
        }
        if !self.toml.is_empty() {
            node = node.toml(self.toml.clone());
        }
        for argument in self.arguments.iter().chain(&seat.arguments) {
            node = node.args(&[argument]);
        }
        self.origins.iter().fold(node, |node, url| node.origin(url.clone())).start_in(dir).await
    }
}

/// A port that is free for TCP and UDP. Ports that the kernel hands out for connections are above these, so that
/// a node finds its own again when it is started anew.
fn free_port() -> u16 {
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test processes that run at the same time begin at different places.
    let offset = (id() as u16).wrapping_mul(97) % COUNT;
    let mut ports =
        (0..COUNT).map(|_| FIRST + (offset + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT);
    let free = |port: &u16| {
        let address = (Ipv4Addr::LOCALHOST, *port);
        TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
    };
    ports.find(free).expect("some port of twenty thousand is free")
}
