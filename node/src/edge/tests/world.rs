//! Some edges, one origin, and what may go wrong between them.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    future::{BoxFuture, FutureExt},
    stream::{self, StreamExt},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use http_body_util::{BodyExt, Empty};
use parking_lot::Mutex;
use starling_proto::{
    Key, NodeId,
    cache::key,
    members::{Addresses, Member, Profile, Status, View},
    purge::{Catalog, Change, Entry, EntryId, Mode, Purge, Region, Selector, Shield, Shields},
    ring::{Hop, Ring, ShieldRings},
    ticket::{Claim, Ticket},
    wire::{Fetch, HttpRequest, Refusal},
};
use tokio::sync::{Semaphore, mpsc, watch};

use super::{super::*, origin::Origin};
use crate::{
    access_log,
    edge::door::{ClientHead, Scheme},
    link::{AskError, AskErrorKind, Carrier, Peer},
    origin::{OriginSettings, PoolSettings},
    store::Settings,
};

/// Slices are small, so that a few kilobytes are a large body.
pub const SLICE: usize = 4 << 10;

/// How a node fails those who ask it.
#[derive(Clone)]
pub enum Fault {
    /// Nobody listens.
    Gone,
    /// It takes a question on when there is a permit.
    Slow(Arc<Semaphore>),
    /// It takes the question on, and dies.
    DiesBeforeHead,
    /// Its bodies break after so many bytes.
    DiesAfter(usize),
}

/// What was asked of whom.
#[derive(Clone, Debug)]
pub struct Question {
    pub from: usize,
    pub to: usize,
    pub carrier: Carrier,
    pub fetch: Fetch,
}

/// What lies between the edges.
#[derive(Default)]
pub struct Net {
    edges: Mutex<Vec<Edge>>,
    faults: Mutex<HashMap<usize, Fault>>,
    questions: Mutex<Vec<Question>>,
}

impl Net {
    pub fn fail(&self, node: usize, fault: Fault) {
        self.faults.lock().insert(node, fault);
    }

    /// All questions that were asked of `to`.
    pub fn questions(&self, to: usize) -> Vec<Question> {
        self.questions.lock().iter().filter(|question| question.to == to).cloned().collect()
    }
}

/// What leads from one node to the others.
struct Door(Arc<Net>, usize);

impl Peers for Door {
    fn ask(&self, to: Peer, fetch: Fetch) -> BoxFuture<'static, Result<Taken, AskError>> {
        let (net, from, carrier, to) = (Arc::clone(&self.0), self.1, to.carrier, number(to.id));
        async move {
            let failed = move |kind| AskError { peer: Some(id(to)), kind };
            net.questions.lock().push(Question { from, to, carrier, fetch: fetch.clone() });
            let fault = net.faults.lock().get(&to).cloned();
            match &fault {
                Some(Fault::Gone) => return Err(failed(AskErrorKind::Connect)),
                Some(Fault::Slow(gate)) => gate.acquire().await.expect("open").forget(),
                _ => {}
            }
            let edge = net.edges.lock()[to].clone();
            let answer = async move {
                let served = edge.serve_peer(id(from), fetch).await;
                if matches!(fault, Some(Fault::DiesBeforeHead)) {
                    return Err(failed(AskErrorKind::Broken));
                }
                let reply = served.map_err(|refusal| failed(AskErrorKind::Refused(refusal)))?;
                let left = match fault {
                    Some(Fault::DiesAfter(bytes)) => bytes,
                    _ => usize::MAX,
                };
                let body = stream::unfold((Some(reply.body), left), move |(body, left)| async move {
                    let mut body = body?;
                    let broken = Err(failed(AskErrorKind::Broken));
                    match body.next().await? {
                        Ok(chunk) if chunk.len() <= left => {
                            let left = if left == usize::MAX { left } else { left - chunk.len() };
                            Some((Ok(chunk), (Some(body), left)))
                        }
                        Ok(chunk) if left > 0 => Some((Ok(chunk.slice(..left)), (Some(body), 0))),
                        Ok(_) | Err(_) => Some((broken, (None, 0))),
                    }
                });
                Ok(PeerAnswer { head: reply.head, body: body.boxed() })
            };
            Ok(answer.boxed())
        }
        .boxed()
    }

    fn usual_ack(&self, _: NodeId) -> Option<Duration> {
        Some(Duration::from_millis(10))
    }
}

/// A region and a PoP.
pub type Place = (&'static str, &'static str);

/// How a world is laid out.
pub struct Setup {
    /// Where each node is.
    pub places: Vec<Place>,
    /// Who shields each region.
    pub shields: Vec<(&'static str, Vec<usize>)>,
    pub mesh: MeshSettings,
    /// What the operator says of the service beside the usual.
    pub service: fn(&mut ServiceSettings),
}

impl Setup {
    /// Nodes at these places, in regions without shields.
    pub fn at(places: impl IntoIterator<Item = Place>) -> Self {
        let mesh = MeshSettings { shard_bytes: 0, ..MeshSettings::default() };
        Self { places: places.into_iter().collect(), shields: Vec::new(), mesh, service: |_| {} }
    }
}

/// Edges that know each other.
pub struct World {
    pub origin: Origin,
    pub net: Arc<Net>,
    pub edges: Vec<Edge>,
    pub stores: Vec<Store>,
    pub views: Vec<watch::Sender<Arc<View>>>,
    pub shields: Vec<watch::Sender<Arc<ShieldRings>>>,
    pub trusts: Vec<Trust>,
    /// Nobody commits purges.
    pub is_without_quorum: Arc<AtomicBool>,
    places: Vec<Place>,
    _dir: tempfile::TempDir,
}

/// What a client got.
pub struct Got {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// None: it was cut off.
    pub body: Option<Bytes>,
}

impl Got {
    pub fn field(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().expect("ASCII")).unwrap_or_default()
    }

    /// The members of `Cache-Status`, those nearer to the origin first.
    pub fn hops(&self) -> Vec<&str> {
        self.field("cache-status").split(", ").collect()
    }

    pub fn whole(&self) -> &Bytes {
        self.body.as_ref().expect("the body came whole")
    }
}

impl World {
    /// `count` nodes in one ring.
    pub async fn new(count: usize) -> Self {
        Self::with(count, |_| {}).await
    }

    pub async fn with(count: usize, change: impl Fn(&mut MeshSettings)) -> Self {
        let mut setup = Setup::at(std::iter::repeat_n(("eu", "lon"), count));
        change(&mut setup.mesh);
        Self::of(setup).await
    }

    pub async fn of(setup: Setup) -> Self {
        let Setup { places, shields, mesh, service } = setup;
        let mut world = Self {
            origin: Origin::start().await,
            net: Arc::new(Net::default()),
            edges: Vec::new(),
            stores: Vec::new(),
            views: Vec::new(),
            shields: Vec::new(),
            trusts: Vec::new(),
            is_without_quorum: Arc::default(),
            places,
            _dir: tempfile::tempdir().expect("a directory"),
        };
        for me in 0..world.places.len() {
            let clock = Clock::start();
            let settings = Settings {
                dir: world._dir.path().join(me.to_string()),
                memory_bytes_max: 8 << 20,
                disk_bytes_max: 64 << 20,
                slice_bytes: SLICE as u32,
                region: format!("eu:{}", world.name(me)),
                ..Settings::default()
            };
            let store = Store::open(settings, clock.now_ms()).await.expect("opens");
            let (view, viewed) = watch::channel(Arc::new(world.view(me, &world.pop(me))));
            let (rings, shielded) = watch::channel(Arc::new(rings(world.places[me].0, &shields)));
            let trust = Trust::alone();
            let scribe = Scribe { store: store.clone(), fails: Arc::clone(&world.is_without_quorum) };
            let peers = Arc::new(Door(Arc::clone(&world.net), me));
            let edge = Edge::new(EdgeParts {
                node: world.name(me),
                store: store.clone(),
                services: services(&world.origin.url, service),
                clock,
                access_log: AccessLog::open(&access_log::Settings::default()).expect("it is off"),
                purge_guard: Arc::new(|_, _| true),
                purger: Arc::new(scribe),
                trust: trust.clone(),
                mesh: Some(MeshParts { view: viewed, shields: shielded, peers, settings: mesh.clone() }),
            });
            world.net.edges.lock().push(edge.clone());
            world.edges.push(edge);
            world.stores.push(store);
            world.views.push(view);
            world.shields.push(rings);
            world.trusts.push(trust);
        }
        world
    }

    /// The nodes of a node's PoP.
    pub fn pop(&self, node: usize) -> Vec<usize> {
        (0..self.places.len()).filter(|other| self.places[*other] == self.places[node]).collect()
    }

    pub fn name(&self, node: usize) -> String {
        format!("{}-{node}", self.places[node].1)
    }

    fn view(&self, me: usize, ring: &[usize]) -> View {
        View {
            me: id(me),
            members: (0..self.places.len())
                .map(|node| (id(node), member(node, self.name(node), self.places[node])))
                .collect::<BTreeMap<_, _>>(),
            ring: Arc::new(ring_of(ring)),
            previous: None,
            hot: Arc::new(HashSet::new()),
        }
    }

    /// Has all nodes pass over this one.
    pub fn pass_over(&self, node: usize) {
        for view in &self.views {
            view.send_modify(|view| {
                let member = Arc::make_mut(view).members.get_mut(&id(node));
                member.expect("all know all").passed_over = true;
            });
        }
    }

    /// Has a node believe that these shield its region, and nobody any other.
    pub fn show_shields(&self, node: usize, shields: &[usize]) {
        let region = self.places[node].0;
        self.shields[node].send_replace(Arc::new(rings(region, &[(region, shields.to_vec())])));
    }

    /// A path that begins so, and for which these nodes come up first in the ring of each list.
    pub fn path_for(&self, start: &str, wanted: &[(&[usize], usize)]) -> String {
        let paths = (0..).map(|number| format!("/{start}-{number}"));
        let comes_first = |path: &String| wanted.iter().all(|(nodes, first)| order(nodes, path)[0] == *first);
        paths.into_iter().find(comes_first).expect("every node comes up first for something")
    }

    /// How often a node asked the origin for what could be answered from a cache.
    pub fn origin_asked_by(&self, node: usize) -> u64 {
        let ways = self.edges[node].counters().upward.ways;
        ways.iter().find(|way| way.way == "origin").expect("it is counted").asked
    }

    /// Has a node see a ring of these nodes only.
    pub fn show(&self, node: usize, ring: &[usize], previous: Option<&[usize]>) {
        let mut view = self.view(node, ring);
        view.previous = previous.map(|nodes| Arc::new(ring_of(nodes)));
        self.views[node].send_replace(Arc::new(view));
    }

    /// The nodes that come up for a path in the ring of all, the owner first.
    pub fn chain(&self, path: &str) -> Vec<usize> {
        order(&Vec::from_iter(0..self.edges.len()), path)
    }

    /// A path that begins so and is owned by this node.
    pub fn path_of(&self, start: &str, owner: usize) -> String {
        let paths = (0..).map(|number| format!("/{start}-{number}"));
        paths.into_iter().find(|path| self.chain(path)[0] == owner).expect("every node owns something")
    }

    pub async fn get(&self, node: usize, path: &str) -> Got {
        self.ask(node, Method::GET, path, &[]).await
    }

    pub async fn ask(&self, node: usize, method: Method, path: &str, fields: &[(&str, &str)]) -> Got {
        ask(self.edges[node].clone(), method, path.to_owned(), fields).await
    }

    /// Asks as a peer does that is none of the nodes.
    pub async fn serve_peer(&self, node: usize, fetch: Fetch) -> Result<PeerReply, Refusal> {
        self.edges[node].serve_peer(id(200), fetch).await
    }

    /// The URL is purged at this node, and nowhere else.
    pub async fn purge(&self, node: usize, path: &str) {
        self.purge_by(node, Selector::Url(format!("shop.test{path}"))).await;
    }

    pub async fn purge_by(&self, node: usize, selector: Selector) {
        let purge = Purge { service: "shop".to_owned(), selectors: vec![selector], mode: Mode::Hard };
        self.stores[node].write(Change::Purge(purge), 0, 1).await.expect("purged");
    }

    /// Has these nodes apply what `from` has applied.
    pub async fn tell(&self, from: usize, nodes: impl IntoIterator<Item = usize>) {
        for node in nodes.into_iter().filter(|node| *node != from) {
            let there = self.stores[node].stamp();
            for batch in self.stores[from].missing(there).await.expect("it is known") {
                self.stores[node].apply(batch).await.expect("applied");
            }
        }
    }

    /// Waits until the origin was asked so often for a path.
    pub async fn until_asked(&self, path: &str, count: usize) {
        while self.origin.count(path) < count {
            tokio::task::yield_now().await;
        }
    }

    pub fn is_stored(&self, node: usize, path: &str) -> bool {
        self.stores[node].peek(&key_of(path)).is_some()
    }

    /// Closes all, so that no store outlives its directory.
    pub async fn close(self) {
        for edge in &self.edges {
            edge.drain(Duration::from_secs(5)).await;
        }
        for store in &self.stores {
            store.close().await;
        }
    }
}

pub async fn ask(edge: Edge, method: Method, path: String, fields: &[(&str, &str)]) -> Got {
    read(begin(edge, method, path, fields).await).await
}

/// Asks, and gets the head.
pub async fn begin(edge: Edge, method: Method, path: String, fields: &[(&str, &str)]) -> ClientResponse {
    let headers = fields.iter().map(|(name, value)| {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        (name, HeaderValue::from_str(value).expect("a value"))
    });
    let head = ClientHead {
        method,
        scheme: Scheme::Http,
        authority: "shop.test".to_owned(),
        path_and_query: path,
        version: Version::HTTP_11,
        headers: headers.collect(),
        body_bytes: Some(0),
        peer: "127.0.0.1:9".parse().expect("an address"),
        interim: mpsc::channel(1).0,
    };
    let body = Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync();
    edge.handle(ClientRequest { head, body }).await
}

/// Gets the body.
pub async fn read(response: ClientResponse) -> Got {
    let ClientResponse { status, headers, mut body } = response;
    let (mut bytes, mut whole) = (Vec::new(), true);
    while let Some(chunk) = body.next().await {
        match chunk {
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            Err(_) => whole = false,
        }
    }
    body.finish();
    Got { status, headers, body: whole.then(|| bytes.into()) }
}

/// A fetch as a peer would send it.
pub fn fetch(path: &str, stored_only: bool) -> Fetch {
    Fetch {
        request: HttpRequest {
            method: "GET".to_owned(),
            is_https: false,
            authority: "shop.test".to_owned(),
            path_and_query: path.to_owned(),
            version: 11,
            headers: Vec::new(),
            client: "192.0.2.1:9".parse().expect("an address"),
        },
        hop: Hop::Owner,
        stored_only,
        until: None,
        versions: starling_proto::purge::Versions::default(),
        deadline_ms: 10_000,
        trace: 7,
    }
}

/// What a refused fetch was refused for.
pub fn refusal(served: Result<PeerReply, Refusal>) -> Refusal {
    served.expect_err("it is refused")
}

/// Fails a test that waits for ever.
pub async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("nobody waits for ever")
}

/// Bytes that tell where they belong.
pub fn content(bytes: usize) -> Bytes {
    (0..bytes.div_ceil(4) as u32)
        .flat_map(|word| word.wrapping_mul(2_654_435_761).to_le_bytes())
        .take(bytes)
        .collect()
}

/// Writes purges in the log of its own node.
struct Scribe {
    store: Store,
    fails: Arc<AtomicBool>,
}

impl Purger for Scribe {
    fn purge(&self, purge: Purge) -> BoxFuture<'static, Result<EntryId, String>> {
        let (store, fails) = (self.store.clone(), self.fails.load(Relaxed));
        Box::pin(async move {
            if fails {
                return Err("the region has no quorum".to_owned());
            }
            let written = store.write(Change::Purge(purge), 0, 1).await;
            written.map(|entry| entry.id()).map_err(|error| error.to_string())
        })
    }
}

pub fn key_of(path: &str) -> Key {
    key::primary_key("shop", "http", "shop.test", path, &HeaderMap::new(), &key::KeyRules::default()).key
}

pub fn name(node: usize) -> String {
    format!("lon-{node}")
}

/// The order in which these nodes come up for a path.
pub fn order(nodes: &[usize], path: &str) -> Vec<usize> {
    ring_of(nodes).replicas(&key_of(path), nodes.len()).into_iter().map(number).collect()
}

fn rings(mine: &str, shields: &[(&str, Vec<usize>)]) -> ShieldRings {
    let mut catalog = Catalog::default();
    for (region, nodes) in shields {
        let shields = nodes.iter().map(|node| Shield { node: id(*node), weight: 100 }).collect();
        catalog.apply(&Entry {
            region: Region::new(region),
            version: starling_proto::purge::Version { epoch: 1, index: 1 },
            at_ms: 0,
            key: 0,
            change: Change::Shields(Shields(shields)),
        });
    }
    ShieldRings::of(Region::new(mine), &catalog)
}

pub fn id(node: usize) -> NodeId {
    NodeId::from_bytes([node as u8 + 1; 32])
}

fn number(id: NodeId) -> usize {
    usize::from(id.as_bytes()[0]) - 1
}

fn ring_of(nodes: &[usize]) -> Ring {
    Ring::new(&nodes.iter().map(|node| (id(*node), 100)).collect::<Vec<_>>())
}

fn member(node: usize, name: String, (region, pop): Place) -> Member {
    let address = "127.0.0.1:9".parse().expect("an address");
    let claim = Claim {
        node: id(node),
        name,
        region: region.to_owned(),
        pop: pop.to_owned(),
        may_shield: true,
        expires_ms: u64::MAX,
    };
    let profile = Profile {
        ticket: Ticket { claim, signature: None },
        incarnation: 1,
        addresses: Addresses { mesh: address, link_quic: address },
        weight: 100,
    };
    Member::new(profile, Status::Alive)
}

fn services(origin: &str, change: fn(&mut ServiceSettings)) -> Services {
    let pool = PoolSettings {
        origins: vec![OriginSettings { url: origin.to_owned(), priority: 0, weight: 1 }],
        ..PoolSettings::default()
    };
    let mut settings = ServiceSettings::catch_all("shop", pool);
    change(&mut settings);
    Services::build(vec![settings]).expect("one service")
}
