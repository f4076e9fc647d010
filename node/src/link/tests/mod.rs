//! Links in one process, on loopback, and raw peers that do what no link does.

mod body;
mod failing;
mod greeting;
mod limits;
mod raw;
mod round_trips;
mod strangers;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use libp2p_identity::Keypair;
use starling_proto::{
    NodeId,
    members::{Addresses, Health, Load, NodeState, Profile, RosterEntry, Status},
    ring::Hop,
    ticket::{Admission, Claim, Ticket},
    wire,
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{settings::Limits, *};

/// For what must happen, and would otherwise hang the test.
const SOON: Duration = Duration::from_secs(20);
const BOTH: [Carrier; 2] = [Carrier::Tcp, Carrier::Quic];

fn settings() -> Settings {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    Settings {
        listen: any,
        listen_quic: any,
        connect_timeout: Duration::from_secs(5),
        ack_timeout: Duration::from_secs(5),
        silence_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(60),
        connections_max: 64,
        questions_max: 32,
    }
}

/// The key of the cluster that all nodes of these tests are of.
fn cluster() -> Keypair {
    Keypair::ed25519_from_bytes([9; 32]).expect("any 32 bytes will do")
}

fn admission() -> Admission {
    Admission::Cluster(NodeId::of(&cluster().public()).expect("ed25519"))
}

fn claim(node: NodeId) -> Claim {
    let [name, region, pop] = ["lon-1", "eu", "lon"].map(str::to_owned);
    Claim { node, name, region, pop, may_shield: true, expires_ms: u64::MAX }
}

fn identity(keypair: Keypair) -> Identity {
    let id = NodeId::of(&keypair.public()).expect("ed25519");
    let ticket = issued(claim(id), &cluster());
    Identity { keypair, id, ticket, admission: admission() }
}

fn issued(claim: Claim, by: &Keypair) -> Ticket {
    Ticket::issue(claim, by).expect("its names are names")
}

fn open(claim: Claim) -> Ticket {
    Ticket::open(claim).expect("its names are names")
}

fn hello(ticket: Ticket, roster: usize) -> wire::Hello {
    let any = SocketAddr::from(([127, 0, 0, 1], 1));
    let addresses = Addresses { mesh: any, link_quic: any };
    let profile = Profile { ticket, incarnation: 1, addresses, weight: 100 };
    let entry = RosterEntry { profile: profile.clone(), status: Status::Alive };
    let state = NodeState {
        profile,
        seq: 1,
        load: Load::default(),
        health: Health::default(),
        versions: Default::default(),
        hot: Vec::new(),
        leaving: false,
    };
    wire::Hello { state, roster: vec![entry; roster] }
}

fn fetch(path: &str) -> wire::Fetch {
    wire::Fetch {
        request: wire::HttpRequest {
            method: "GET".to_owned(),
            is_https: true,
            authority: "www.example.org".to_owned(),
            path_and_query: path.to_owned(),
            version: 11,
            headers: vec![("accept".to_owned(), Bytes::from_static(b"*/*"))],
            client: SocketAddr::from(([192, 0, 2, 1], 1)),
        },
        hop: Hop::Owner,
        stored_only: false,
        until: None,
        versions: Default::default(),
        deadline_ms: 1_000,
        trace: 7,
    }
}

fn head(status: u16) -> wire::Answer {
    wire::Answer {
        status,
        headers: vec![("content-type".to_owned(), Bytes::from_static(b"text/plain"))],
        stored: None,
        range: (0, u64::MAX),
        cache_status: "lon-1; hit".to_owned(),
        source: "test".to_owned(),
    }
}

/// A link that runs until it is dropped.
struct Node {
    link: Link,
    events: Events,
    identity: Arc<Identity>,
    hello: watch::Sender<Arc<wire::Hello>>,
    running: tokio::task::JoinHandle<()>,
    _stop: DropGuard,
}

impl Node {
    async fn start() -> Self {
        Self::start_with(settings(), Limits::default(), Keypair::generate_ed25519()).await
    }

    async fn start_with(settings: Settings, limits: Limits, keypair: Keypair) -> Self {
        let identity = Arc::new(identity(keypair));
        let (hello, heard) = watch::channel(Arc::new(hello(identity.ticket.clone(), 3)));
        let (link, events) = Link::bind_limited(settings, limits, identity.clone(), heard).expect("bound");
        let stop = CancellationToken::new();
        let running = {
            let (link, stop) = (link.clone(), stop.clone());
            tokio::spawn(async move { link.run(stop).await })
        };
        Self { link, events, identity, hello, running, _stop: stop.drop_guard() }
    }

    fn peer(&self, carrier: Carrier) -> Peer {
        let (tcp, quic) = self.link.addresses();
        let address = if carrier == Carrier::Tcp { tcp } else { quic };
        Peer { id: self.identity.id, address, carrier }
    }

    fn stats_of(&self, other: &Node) -> PeerStats {
        let all = self.link.stats();
        all.into_iter().find(|stats| stats.id == other.identity.id).expect("it was heard of")
    }

    fn failed(&self, other: &Node, kind: &str) -> u64 {
        let failed = self.stats_of(other).failed;
        failed.into_iter().find(|(name, _)| *name == kind).expect("a kind").1
    }

    async fn next_fetch(&mut self) -> Incoming {
        soon(self.events.fetches.recv()).await.expect("the link runs")
    }

    /// Answers all fetches from now on: `/BYTES` with as many bytes of [`pattern`].
    fn serve(&mut self) {
        let (_, nobody) = mpsc::channel(1);
        let mut fetches = std::mem::replace(&mut self.events.fetches, nobody);
        tokio::spawn(async move {
            while let Some(Incoming { fetch, answering, .. }) = fetches.recv().await {
                tokio::spawn(async move {
                    let bytes = fetch.request.path_and_query[1..].parse().expect("a length");
                    let mut body = answering.answer(head(200)).await?;
                    let whole = pattern(bytes);
                    for piece in whole.chunks(100_000) {
                        body.send(whole.slice_ref(piece)).await?;
                    }
                    body.finish().await
                });
            }
        });
    }
}

/// Bytes that tell where they belong.
fn pattern(bytes: usize) -> Bytes {
    (0..bytes).map(|at| (at % 251) as u8 ^ (at >> 12) as u8).collect()
}

async fn read(body: &mut Body) -> Result<Vec<u8>, AskError> {
    let mut whole = Vec::new();
    while let Some(piece) = soon(body.next()).await {
        whole.extend_from_slice(&piece?);
    }
    Ok(whole)
}

async fn get(from: &Node, to: Peer, path: &str) -> Result<Vec<u8>, AskError> {
    let mut answered = soon(soon(from.link.ask(to, &fetch(path))).await?.answer()).await?;
    read(&mut answered.body).await
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("it happens")
}

/// Waits for something that no event tells of.
async fn eventually(mut holds: impl FnMut() -> bool) {
    soon(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}
