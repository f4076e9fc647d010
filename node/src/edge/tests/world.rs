//! Some edges, one origin, and what may go wrong between them.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    future::Future,
    sync::Arc,
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
    members::{Addresses, Health, Load, Member, Profile, Status, View},
    purge::{Mode, Selector},
    ring::{Hop, Ring},
    ticket::{Claim, Ticket},
    wire::{Fetch, HttpRequest, Refusal},
};
use tokio::sync::{Semaphore, mpsc, watch};

use super::{super::*, origin::Origin};
use crate::{
    access_log,
    edge::door::{ClientHead, Scheme},
    link::{AskError, AskErrorKind, Peer},
    origin::{OriginSettings, PoolSettings},
    store::{PurgeRequest, Settings},
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
    pub to: usize,
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

struct Door(Arc<Net>);

impl Peers for Door {
    fn ask(&self, to: Peer, fetch: Fetch) -> BoxFuture<'static, Result<Taken, AskError>> {
        let (net, to) = (Arc::clone(&self.0), number(to.id));
        async move {
            let failed = move |kind| AskError { peer: Some(id(to)), kind };
            net.questions.lock().push(Question { to, fetch: fetch.clone() });
            let fault = net.faults.lock().get(&to).cloned();
            match &fault {
                Some(Fault::Gone) => return Err(failed(AskErrorKind::Connect)),
                Some(Fault::Slow(gate)) => gate.acquire().await.expect("open").forget(),
                _ => {}
            }
            let edge = net.edges.lock()[to].clone();
            let answer = async move {
                let served = edge.serve_peer(fetch).await;
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

/// Edges that know each other.
pub struct World {
    pub origin: Origin,
    pub net: Arc<Net>,
    pub edges: Vec<Edge>,
    pub stores: Vec<Store>,
    pub views: Vec<watch::Sender<Arc<View>>>,
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
        let origin = Origin::start().await;
        let net = Arc::new(Net::default());
        let dir = tempfile::tempdir().expect("a directory");
        let (mut stores, mut views) = (Vec::new(), Vec::new());
        for me in 0..count {
            let clock = Clock::start();
            let settings = Settings {
                dir: dir.path().join(me.to_string()),
                memory_bytes_max: 8 << 20,
                disk_bytes_max: 64 << 20,
                slice_bytes: SLICE as u32,
                region: format!("eu:{}", name(me)),
                ..Settings::default()
            };
            let store = Store::open(settings, clock.now_ms()).await.expect("opens");
            let (view, viewed) = watch::channel(Arc::new(view(me, count, &Vec::from_iter(0..count))));
            let mut settings = MeshSettings { shard_bytes: 0, ..MeshSettings::default() };
            change(&mut settings);
            let peers = Arc::new(Door(Arc::clone(&net)));
            let edge = Edge::new(EdgeParts {
                node: name(me),
                store: store.clone(),
                services: services(&origin.url),
                clock,
                access_log: AccessLog::open(&access_log::Settings::default()).expect("it is off"),
                purge_guard: Arc::new(|_, _| true),
                mesh: Some(MeshParts { view: viewed, peers, settings }),
            });
            net.edges.lock().push(edge);
            stores.push(store);
            views.push(view);
        }
        let edges = net.edges.lock().clone();
        Self { origin, net, edges, stores, views, _dir: dir }
    }

    /// Has a node see a ring of these nodes only.
    pub fn show(&self, node: usize, ring: &[usize], previous: Option<&[usize]>) {
        let mut view = view(node, self.edges.len(), ring);
        view.previous = previous.map(|nodes| Arc::new(ring_of(nodes)));
        self.views[node].send_replace(Arc::new(view));
    }

    /// The nodes that come up for a path in the ring of all, the owner first.
    pub fn chain(&self, path: &str) -> Vec<usize> {
        let ring = ring_of(&Vec::from_iter(0..self.edges.len()));
        ring.replicas(&key_of(path), self.edges.len()).into_iter().map(number).collect()
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

    /// The URL is purged at this node, and nowhere else.
    pub async fn purge(&self, node: usize, path: &str) {
        let order = PurgeRequest {
            service: "shop".to_owned(),
            selectors: vec![Selector::Url(format!("shop.test{path}"))],
            mode: Mode::Hard,
        };
        self.stores[node].purge(order, 1).await.expect("purged");
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

pub fn key_of(path: &str) -> Key {
    key::primary_key("shop", "http", "shop.test", path, &HeaderMap::new(), &key::KeyRules::default()).key
}

pub fn name(node: usize) -> String {
    format!("lon-{node}")
}

fn id(node: usize) -> NodeId {
    NodeId::from_bytes([node as u8 + 1; 32])
}

fn number(id: NodeId) -> usize {
    usize::from(id.as_bytes()[0]) - 1
}

fn ring_of(nodes: &[usize]) -> Ring {
    Ring::new(&nodes.iter().map(|node| (id(*node), 100)).collect::<Vec<_>>())
}

fn view(me: usize, count: usize, ring: &[usize]) -> View {
    View {
        me: id(me),
        members: (0..count).map(|node| (id(node), member(node))).collect::<BTreeMap<_, _>>(),
        ring: Arc::new(ring_of(ring)),
        previous: None,
        hot: Arc::new(HashSet::new()),
    }
}

fn member(node: usize) -> Member {
    let address = "127.0.0.1:9".parse().expect("an address");
    let claim = Claim {
        node: id(node),
        name: name(node),
        region: "eu".to_owned(),
        pop: "lon".to_owned(),
        may_shield: true,
        expires_ms: u64::MAX,
    };
    Member {
        profile: Profile {
            ticket: Ticket { claim, signature: None },
            incarnation: 1,
            addresses: Addresses { mesh: address, link_quic: address },
            weight: 100,
        },
        status: Status::Alive,
        passed_over: false,
        heard_ms: 0,
        load: Load::default(),
        health: Health::default(),
        versions: starling_proto::purge::Versions::default(),
        rtt_us: None,
    }
}

fn services(origin: &str) -> Services {
    let pool = PoolSettings {
        origins: vec![OriginSettings { url: origin.to_owned(), priority: 0, weight: 1 }],
        ..PoolSettings::default()
    };
    Services::build(vec![ServiceSettings::catch_all("shop", pool)]).expect("one service")
}
