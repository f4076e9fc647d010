//! Several nodes in one process, each in a runtime of its own, joined by a link of channels.
//!
//! Nothing here asserts how long something takes: what must come is waited for with patience, and what must not
//! come is looked for after something that comes later has come.

mod joining;
mod mesh;
mod outsider;
mod refusing;

use std::{
    collections::HashMap,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use libp2p_identity::Keypair;
use parking_lot::Mutex;
use starling_proto::{
    NodeId,
    members::{self, Addresses, Health, Load, NodeState, Profile, Status, View},
    ticket::{Admission, Claim, Ticket},
    wire::Hello,
};
use tokio::{
    runtime::Runtime,
    sync::{mpsc, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Errand, Gossip, GossipError, Heard, Local, Settings, Wires};
use crate::{clock::Clock, identity::Identity};

/// So long is waited for what must come; it fails a test, and is no measure.
const PATIENCE: Duration = Duration::from_secs(60);

const FOREVER: u64 = u64::MAX;

/// A cluster with its key, and the network its nodes stand in.
#[derive(Clone)]
struct Cluster {
    key: Arc<Keypair>,
    link: Link,
}

/// Carries greetings and probes between the nodes that run.
#[derive(Clone, Default)]
struct Link {
    ports: Arc<Mutex<HashMap<SocketAddr, Port>>>,
    /// Greetings of addresses where nobody was.
    missed: Arc<AtomicU64>,
}

#[derive(Clone)]
struct Port {
    identity: Arc<Identity>,
    hello: watch::Receiver<Arc<Hello>>,
    greetings: mpsc::Sender<Heard>,
}

/// A node that may be started, stopped, killed and started again.
struct Node {
    cluster: Cluster,
    identity: Arc<Identity>,
    settings: Settings,
    /// The incarnation in what it says by hand.
    born_ms: u64,
    running: Option<Running>,
}

struct Running {
    runtime: Runtime,
    gossip: Gossip,
    tasks: TaskTracker,
    stop: CancellationToken,
    greetings: mpsc::Sender<Heard>,
}

impl Cluster {
    fn new() -> Self {
        Self { key: Arc::new(Keypair::generate_ed25519()), link: Link::default() }
    }

    fn id(&self) -> NodeId {
        NodeId::of(&self.key.public()).expect("an ed25519 key")
    }

    fn ticket(&self, name: &str, region: &str, pop: &str, key: &Keypair, expires_ms: u64) -> Ticket {
        Ticket::issue(claim(name, region, pop, key, expires_ms), &self.key).expect("its names are names")
    }

    fn identity(&self, name: &str, region: &str, pop: &str, expires_ms: u64) -> Identity {
        let keypair = Keypair::generate_ed25519();
        let ticket = self.ticket(name, region, pop, &keypair, expires_ms);
        let id = ticket.claim.node;
        Identity { keypair, id, ticket, admission: Admission::Cluster(self.id()) }
    }

    /// A node that does not run yet, with an address of its own.
    fn node(&self, name: &str, region: &str, pop: &str) -> Node {
        self.node_with(self.identity(name, region, pop, FOREVER))
    }

    fn node_with(&self, identity: Identity) -> Node {
        let identity = Arc::new(identity);
        Node {
            cluster: self.clone(),
            identity,
            settings: settings(free_address()),
            born_ms: Clock::start().now_ms(),
            running: None,
        }
    }
}

fn claim(name: &str, region: &str, pop: &str, key: &Keypair, expires_ms: u64) -> Claim {
    Claim {
        node: NodeId::of(&key.public()).expect("an ed25519 key"),
        name: name.to_owned(),
        region: region.to_owned(),
        pop: pop.to_owned(),
        may_shield: true,
        expires_ms,
    }
}

/// A loopback address that no other node of these tests has.
fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, Relaxed).to_be_bytes();
    let free =
        UdpSocket::bind(SocketAddr::from(([127, 77, high, low], 0))).and_then(|socket| socket.local_addr());
    free.expect("loopback has free ports")
}

fn settings(address: SocketAddr) -> Settings {
    Settings {
        listen: address,
        peers: Vec::new(),
        members: members::Settings {
            heartbeat_ms: 50,
            suspect_after_ms: 400,
            dead_after_ms: 1_200,
            forget_after_ms: 60_000,
            summary_ms: 100,
            ..members::Settings::default()
        },
        connections_target: 6,
        connections_max: 100,
        messages_per_s_max: 200,
        weight: 100,
        incarnation: 0,
        addresses: Addresses { mesh: address, link_quic: address },
    }
}

impl Node {
    /// Names another node as a peer.
    fn knowing(mut self, seed: &Node) -> Self {
        self.settings.peers.push(seed.address().to_string());
        self
    }

    fn started(mut self) -> Self {
        self.start();
        self
    }

    fn address(&self) -> SocketAddr {
        self.settings.listen
    }

    fn id(&self) -> NodeId {
        self.identity.id
    }

    fn start(&mut self) {
        self.try_start().expect("the node starts");
    }

    fn try_start(&mut self) -> Result<(), GossipError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let _inside = runtime.enter();
        let (greetings, greetings_in) = mpsc::channel(64);
        let (_, link_news) = mpsc::channel(1);
        let (errands, errands_in) = mpsc::channel(64);
        let (hello, hello_out) = watch::channel(Arc::new(self.hello()));
        let health = Health { ready: true, draining: false, origins_ok: true, disk_ok: true };
        let local = Arc::new(move || Local {
            load: Load { in_flight: 7, ..Load::default() },
            health,
            ..Local::default()
        });
        let wires = Wires { greetings: greetings_in, link_news, errands, hello, local };
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let settings = Settings { incarnation: Clock::start().now_ms(), ..self.settings.clone() };
        let gossip = Gossip::start(settings, self.identity.clone(), wires, &tasks, stop.clone())?;
        let port = Port { identity: self.identity.clone(), hello: hello_out, greetings: greetings.clone() };
        self.cluster.link.ports.lock().insert(gossip.listening(), port.clone());
        tasks.spawn(self.cluster.link.clone().serve(port, errands_in));
        drop(_inside);
        self.running = Some(Running { runtime, gossip, tasks, stop, greetings });
        Ok(())
    }

    /// What it would say if it greeted by hand.
    fn hello(&self) -> Hello {
        let state = NodeState {
            profile: Profile {
                ticket: self.identity.ticket.clone(),
                incarnation: self.born_ms,
                addresses: self.settings.addresses,
                weight: 100,
            },
            seq: 0,
            load: Load::default(),
            health: Health::default(),
            versions: starling_proto::purge::Versions::default(),
            hot: Vec::new(),
            leaving: false,
        };
        Hello { state, roster: Vec::new() }
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs")
    }

    /// Has the link hand it a greeting.
    fn is_greeted_with(&self, from: NodeId, hello: Hello) {
        let greetings = &self.running().greetings;
        greetings.blocking_send(Heard { from, hello }).expect("gossip takes greetings");
    }

    fn stats(&self) -> super::Stats {
        self.running().gossip.stats()
    }

    /// Waits until its view is so.
    fn waits_until(&self, what: &str, is_so: impl Fn(&View) -> bool) {
        let mut view = self.running().gossip.view();
        let name = &self.identity.ticket.claim.name;
        let came = self.running().runtime.block_on(async {
            tokio::time::timeout(PATIENCE, view.wait_for(|view| is_so(view))).await.map(|_| ())
        });
        assert!(came.is_ok(), "{name} waited in vain for: {what}; it sees {:?}", self.sees());
    }

    /// Waits until its counts are so; they have no watch of their own.
    fn waits_until_counted(&self, what: &str, is_so: impl Fn(super::Stats) -> bool) {
        let came = self.running().runtime.block_on(async {
            let often = async {
                while !is_so(self.stats()) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(PATIENCE, often).await
        });
        assert!(came.is_ok(), "{what}: {:?}", self.stats());
    }

    /// Waits until so many greetings of the cluster's nodes found nobody.
    fn waits_until_missed(&self, count: u64) {
        let missed = self.cluster.link.missed.clone();
        self.waits_until_counted("greetings in vain", |_| missed.load(Relaxed) >= count);
    }

    fn waits_until_it_sees(&self, node: &Node, status: Status) {
        let what = format!("{} {status:?}", node.identity.ticket.claim.name);
        self.waits_until(&what, |view| view.members.get(&node.id()).is_some_and(|m| m.status == status));
    }

    /// Waits until another's heartbeats come in, one after the other.
    fn waits_until_it_hears(&self, node: &Node) {
        let name = &node.identity.ticket.claim.name;
        let heard = |view: &View| view.members.get(&node.id()).map(|member| member.heard_ms);
        for _ in 0..5 {
            let before = heard(&self.running().gossip.view().borrow());
            self.waits_until(&format!("a heartbeat of {name}"), |view| heard(view) > before);
        }
    }

    /// Everybody it knows, with how they stand.
    fn sees(&self) -> Vec<(String, Status)> {
        let view = self.running().gossip.view();
        let view = view.borrow();
        view.members.values().map(|m| (m.profile.ticket.claim.name.clone(), m.status)).collect()
    }

    fn knows(&self, node: NodeId) -> bool {
        self.running().gossip.view().borrow().members.contains_key(&node)
    }

    /// Ends as a process does that is told to.
    fn stop(&mut self) {
        let running = self.running.take().expect("it runs");
        running.stop.cancel();
        self.cluster.link.ports.lock().remove(&self.address());
        running.tasks.close();
        running.runtime.block_on(running.tasks.wait());
        running.runtime.shutdown_background();
    }

    /// Ends as a process does that is killed.
    fn kill(&mut self) {
        let running = self.running.take().expect("it runs");
        self.cluster.link.ports.lock().remove(&self.address());
        running.runtime.shutdown_timeout(PATIENCE);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop.cancel();
            running.runtime.shutdown_background();
        }
    }
}

impl Link {
    /// Carries out what one node asks for, until its gossip ends.
    async fn serve(self, from: Port, mut errands: mpsc::Receiver<Errand>) {
        while let Some(errand) = errands.recv().await {
            // An error says that nobody waits any more.
            match errand {
                Errand::Greet { address, expected, reply } => {
                    let _ = reply.send(self.greet(&from, address, expected));
                }
                Errand::Probe { target, addresses, reply, .. } => {
                    let port = self.ports.lock().get(&addresses.mesh).cloned();
                    let answers = port.is_some_and(|port| port.identity.id == target);
                    let _ = reply.send(answers.then_some(Duration::from_millis(1)));
                }
            }
        }
    }

    /// As the link does: the one who is greeted looks at the ticket before it says anything.
    fn greet(&self, from: &Port, address: SocketAddr, expected: Option<NodeId>) -> Result<Heard, String> {
        let Some(to) = self.ports.lock().get(&address).cloned() else {
            self.missed.fetch_add(1, Relaxed);
            return Err("nobody is there".to_owned());
        };
        let now = Clock::start().now_ms();
        let lets_in = |host: &Port, guest: &Port| {
            let checked =
                host.identity.admission.check(&guest.identity.ticket, guest.identity.id, address.ip(), now);
            checked.map_err(|error| error.to_string())
        };
        if expected.is_some_and(|expected| expected != to.identity.id) {
            return Err("another node is there".to_owned());
        }
        lets_in(&to, from)?;
        lets_in(from, &to)?;
        let heard = |port: &Port| Heard { from: port.identity.id, hello: (**port.hello.borrow()).clone() };
        to.greetings.try_send(heard(from)).map_err(|_| "too busy".to_owned())?;
        Ok(heard(&to))
    }
}
