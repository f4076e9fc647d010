//! What all parts of a run share: who is asked, what was seen, and where lines go.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::Context;
use parking_lot::Mutex;
use tokio::sync::{RwLock, Semaphore};
use tokio_util::task::TaskTracker;

use crate::{
    chaos::{
        clients::{Clock, Reader, Wanted},
        history::{Event, Kind, Outcome},
    },
    client::{Client, Protocol},
    cluster::{Admin, Cluster},
    press::{Host, Object, Press, Scope},
};

use super::{
    recorder::Recorder,
    requests::{Objects, Request, Wish},
};

/// A client waits so long for a whole answer.
const READ_TIMEOUT: Duration = Duration::from_secs(8);
/// Beside the longest object.
const BODY_BYTES_MORE: usize = 64 << 10;
/// Requests of clients that wait for their answers at a time; what would be more is counted, and not asked.
const READS_MAX: usize = 1024;
/// The same of those that look at what nodes say they know.
const LOOKS_MAX: usize = 256;
/// Purges that are under way at a time.
const PURGES_MAX: usize = 256;
/// A client that was left asks so many others.
const MOVES_MAX: u32 = 2;

/// A node that is asked.
pub(super) struct Asked {
    pub name: String,
    pub http: SocketAddr,
    pub admin: Admin,
}

/// A purge that is acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Acknowledged {
    pub id: String,
    pub scope: Scope,
}

/// What was counted, for who watches.
#[derive(Default)]
pub(super) struct Counts {
    pub reads: AtomicU64,
    pub reads_failed: AtomicU64,
    pub reads_left_out: AtomicU64,
    pub looks: AtomicU64,
    pub purges: AtomicU64,
    pub purges_acknowledged: AtomicU64,
    pub purges_left_out: AtomicU64,
    pub without_edition: AtomicU64,
}

/// What all parts of a run share.
pub(super) struct Mesh {
    pub clock: Clock,
    pub recorder: Recorder,
    pub nodes: Vec<Asked>,
    /// Those that clients ask, by their place in `nodes`.
    pub through: Vec<usize>,
    pub moves: bool,
    pub press: Press,
    /// Held for writing while the origin is ended or started: an edition that it gave and could not tell would be
    /// one that nobody published.
    pub gate: RwLock<bool>,
    pub objects: Objects,
    pub counts: Counts,
    /// What goes on beside: it ends by itself.
    pub tasks: TaskTracker,
    pub reads: Arc<Semaphore>,
    pub looks: Arc<Semaphore>,
    pub purges: Arc<Semaphore>,
    reader: Reader,
    wanted: AtomicU64,
    seen: Mutex<BTreeMap<(Host, u32, u32), Seen>>,
    acknowledged: Mutex<Vec<Acknowledged>>,
}

/// The editions of an object that were seen last.
#[derive(Clone, Copy, Default)]
struct Seen {
    last: Option<u64>,
    before: Option<u64>,
}

impl Mesh {
    pub fn new(
        cluster: &Cluster,
        clock: Clock,
        recorder: Recorder,
        objects: Objects,
        through: &[String],
        moves: bool,
    ) -> anyhow::Result<Self> {
        let state = cluster.state();
        let mut nodes = Vec::with_capacity(state.nodes.len());
        for node in &state.nodes {
            let admin = cluster.admin(&node.name)?;
            nodes.push(Asked { name: node.name.clone(), http: node.http, admin });
        }
        let place = |name: &String| {
            let place = nodes.iter().position(|node| node.name == *name);
            place.with_context(|| format!("there is no node {name}"))
        };
        let through = through.iter().map(place).collect::<anyhow::Result<Vec<usize>>>()?;
        anyhow::ensure!(!through.is_empty(), "there is nobody to ask");
        let longest = objects.all().iter().map(|object| object.bytes).max().unwrap_or_default();
        let body_bytes_max = usize::try_from(longest)? + BODY_BYTES_MORE;
        Ok(Self {
            clock,
            recorder,
            nodes,
            through,
            moves,
            press: Press::at(state.origin.address),
            gate: RwLock::new(true),
            objects,
            counts: Counts::default(),
            tasks: TaskTracker::new(),
            reads: Arc::new(Semaphore::new(READS_MAX)),
            looks: Arc::new(Semaphore::new(LOOKS_MAX)),
            purges: Arc::new(Semaphore::new(PURGES_MAX)),
            reader: Reader { clock, client: Client::new(READ_TIMEOUT, body_bytes_max) },
            wanted: AtomicU64::new(0),
            seen: Mutex::default(),
            acknowledged: Mutex::default(),
        })
    }

    /// A client's request, and where it goes on when it is left.
    pub async fn request(&self, request: Request) {
        self.counts.reads.fetch_add(1, Relaxed);
        let seen = self.seen.lock().get(&key(&request.object)).copied().unwrap_or_default();
        let kind = match request.wish {
            Wish::Whole => Kind::Whole,
            Wish::Range(from, to) => Kind::Range(from, to),
            Wish::Conditional { is_older } => {
                let edition = if is_older { seen.before.or(seen.last) } else { seen.last };
                edition.map_or(Kind::Whole, Kind::Unless)
            }
        };
        let mut wanted = Wanted { kind, protocol: request.protocol, ..self.wanted(request.object) };
        let attempts = if self.moves { 1 + MOVES_MAX } else { 1 };
        for attempt in 1..=attempts {
            wanted.attempt = attempt;
            let node = self.through_nth(request.pick.wrapping_add(u64::from(attempt)));
            if self.ask(node, &wanted).await {
                return;
            }
        }
        self.counts.reads_failed.fetch_add(1, Relaxed);
    }

    /// Reads all of an object at one node, whoever that is.
    pub async fn look(&self, node: usize, object: &Object, protocol: Protocol, is_last: bool) {
        self.counts.looks.fetch_add(1, Relaxed);
        let wanted = Wanted { protocol, is_last, ..self.wanted(object.clone()) };
        self.ask(node, &wanted).await;
    }

    /// Looks, beside what else goes on; left out when too many look already.
    pub fn look_beside(self: &Arc<Self>, node: usize, object: &Object) {
        let Ok(permit) = Arc::clone(&self.looks).try_acquire_owned() else { return };
        let (mesh, object) = (Arc::clone(self), object.clone());
        self.tasks.spawn(async move {
            let protocol =
                if mesh.wanted.load(Relaxed).is_multiple_of(4) { Protocol::H2 } else { Protocol::H1 };
            mesh.look(node, &object, protocol, false).await;
            drop(permit);
        });
    }

    /// The node at this place of those that are asked, going round.
    pub fn through_nth(&self, number: u64) -> usize {
        let count = self.through.len() as u64;
        self.through[usize::try_from(number % count).unwrap_or_default()]
    }

    /// Whether there was a whole answer.
    async fn ask(&self, node: usize, wanted: &Wanted) -> bool {
        let node = &self.nodes[node];
        let read = self.reader.read(&node.name, node.http, wanted).await;
        let is_answered = match &read.outcome {
            Outcome::Answered { edition, .. } => {
                let mut seen = self.seen.lock();
                let seen = seen.entry(key(&read.object)).or_default();
                if let Some(edition) = *edition
                    && seen.last != Some(edition)
                {
                    seen.before = seen.last.replace(edition);
                }
                true
            }
            Outcome::Failed { .. } => false,
        };
        self.recorder.record(Event::Read(read)).await;
        is_answered
    }

    pub fn client(&self) -> &Client {
        &self.reader.client
    }

    fn wanted(&self, object: Object) -> Wanted {
        let wanted = self.wanted.fetch_add(1, Relaxed) + 1;
        Wanted { wanted, attempt: 1, object, kind: Kind::Whole, protocol: Protocol::H1, is_last: false }
    }

    /// Objects that were answered at least once, by anybody.
    pub fn were_read(&self) -> Vec<Object> {
        let seen = self.seen.lock();
        self.objects.all().iter().filter(|object| seen.contains_key(&key(object))).cloned().collect()
    }

    pub fn acknowledge(&self, purge: Acknowledged) {
        let mut acknowledged = self.acknowledged.lock();
        if !acknowledged.iter().rev().take(1000).any(|old| old.id == purge.id) {
            acknowledged.push(purge);
        }
    }

    /// Those acknowledged from this place on.
    pub fn acknowledged_since(&self, place: usize) -> Vec<Acknowledged> {
        self.acknowledged.lock().get(place..).unwrap_or_default().to_vec()
    }
}

fn key(object: &Object) -> (Host, u32, u32) {
    (object.host, object.group, object.name)
}
