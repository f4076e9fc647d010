//! Sends each request when it is due, whatever became of those before it.
//!
//! Two threads of their own read ahead and keep the time, since the timers of tasks are a millisecond coarse. A
//! request's latency counts from when it was due: when a server stalls, the requests that would have been sent
//! meanwhile are sent, and tell of it. What cannot be sent, because too many are in flight, is counted.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use bytes::Bytes;
use http::Method;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
};
use tokio_util::sync::CancellationToken;

use super::{
    arrivals::Due,
    source::{Wanted, What},
    tally::{Ended, Failure, How, Tally},
    tiers::Tier,
};
use crate::{
    client::{Answer, Ask, Client, Protocol},
    press::{Object, Verdict},
};

/// Requests that are read ahead.
const AHEAD_MAX: usize = 4_096;
/// How soon the threads see that it is over.
const LOOK: Duration = Duration::from_millis(100);
/// Nobody sleeps for less.
const SLEEP_MIN: Duration = Duration::from_micros(10);
/// How late the thread that keeps the time may be woken.
const TIMER_SLACK_NS: u64 = 1_000;
/// An HTTP/2 connection carries so many requests at a time as its server allows, often about 100; so there are
/// several to each node.
const H2_CONNECTIONS: usize = 4;

/// A node that is asked.
#[derive(Clone, Debug)]
pub struct Node {
    /// For the report.
    pub name: String,
    /// Where it serves.
    pub to: SocketAddr,
}

/// How a request finds its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Spread {
    /// One after the other.
    RoundRobin,
    /// Each client always asks the same one.
    Client,
}

/// How requests are played.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who is asked.
    pub nodes: Vec<Node>,
    /// The names in `Cache-Status` that are nodes; none: all of them.
    pub known: Option<HashSet<String>>,
    /// How a request finds its node.
    pub spread: Spread,
    /// The host that is named for paths that are no objects.
    pub host: String,
    /// How many other nodes a client asks that found nobody, or was left midway.
    pub moves_max: u32,
    /// For a whole answer of one node.
    pub timeout: Duration,
    /// Requests at a time.
    pub in_flight_max: usize,
    /// No longer body is taken.
    pub body_bytes_max: usize,
    /// What is due before this is not counted.
    pub warm: Duration,
    /// What would be due after this is not asked.
    pub end: Option<Duration>,
    /// No more requests than this, those of the warm-up included.
    pub requests_max: Option<u64>,
}

/// How it went.
#[derive(Debug)]
pub struct Played {
    /// When the clock of the arrivals began.
    pub began: Instant,
    /// Why reading ended before the end.
    pub torn: Option<anyhow::Error>,
    /// Whether it was stopped from outside.
    pub is_interrupted: bool,
}

/// What all requests share.
struct Shared {
    settings: Settings,
    h1: Client,
    h2: Vec<Client>,
    tally: Arc<Tally>,
}

/// A request on its way to a task.
struct Turn {
    wanted: Wanted,
    number: u64,
    due: Instant,
    is_warm: bool,
}

/// Plays all of it. `began` is told when the clock of the arrivals begins. `stop` ends it; what is in flight then
/// has a moment left.
///
/// # Errors
///
/// When a thread cannot be started.
pub async fn play(
    settings: Settings,
    arrivals: Box<dyn Iterator<Item = anyhow::Result<Due>> + Send>,
    tally: Arc<Tally>,
    stop: CancellationToken,
    began: oneshot::Sender<Instant>,
) -> anyhow::Result<Played> {
    let places = Arc::new(Semaphore::new(settings.in_flight_max));
    let in_flight_max = settings.in_flight_max;
    let patience = settings.timeout.saturating_mul(settings.moves_max + 1) + Duration::from_secs(1);
    let client = || Client::new(settings.timeout, settings.body_bytes_max);
    let shared = Arc::new(Shared {
        h1: client(),
        h2: (0..H2_CONNECTIONS).map(|_| client()).collect(),
        tally: Arc::clone(&tally),
        settings,
    });
    let (ahead, read) = sync_channel(AHEAD_MAX);
    thread::Builder::new()
        .name("load-read".into())
        .spawn(move || read_ahead(arrivals, &ahead))
        .context("a thread to read")?;
    let (over, is_over) = oneshot::channel();
    let pacer = Pacer { shared, places: Arc::clone(&places), stop: stop.clone(), runtime: Handle::current() };
    thread::Builder::new()
        .name("load-pace".into())
        .spawn(move || {
            // The kernel wakes sleepers up to 50 us late unless it is asked not to; without that it is only later.
            let _ = nix::sys::prctl::set_timerslack(TIMER_SLACK_NS);
            // Whoever waits for it is gone when this fails.
            let _ = over.send(pacer.run(&read, began));
        })
        .context("a thread to keep the time")?;
    let mut played = is_over.await.context("the thread that keeps the time is gone")?;
    let everything = places.acquire_many(u32::try_from(in_flight_max).context("too many in flight")?);
    let patience = if stop.is_cancelled() { patience.min(Duration::from_secs(2)) } else { patience };
    tokio::select! {
        _ = everything => {}
        () = tokio::time::sleep(patience) => {}
        () = async { stop.cancelled().await; tokio::time::sleep(Duration::from_secs(2)).await } => {}
    }
    played.is_interrupted = stop.is_cancelled();
    let unfinished = in_flight_max - places.available_permits();
    tally.left_out(Failure::Unfinished, unfinished as u64, false);
    Ok(played)
}

/// Ends when nobody takes what is read.
fn read_ahead(
    arrivals: Box<dyn Iterator<Item = anyhow::Result<Due>> + Send>,
    ahead: &SyncSender<anyhow::Result<Due>>,
) {
    for item in arrivals {
        let is_torn = item.is_err();
        if ahead.send(item).is_err() || is_torn {
            return;
        }
    }
}

/// Keeps the time.
struct Pacer {
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
    stop: CancellationToken,
    runtime: Handle,
}

impl Pacer {
    fn run(&self, read: &Receiver<anyhow::Result<Due>>, began: oneshot::Sender<Instant>) -> Played {
        // The clock begins when there is something to ask, not while a file is being opened.
        let mut next = self.next(read);
        let start = Instant::now() + LOOK;
        // Who waits for it may have gone.
        let _ = began.send(start);
        let mut torn = None;
        let settings = &self.shared.settings;
        let mut number = 0;
        while let Some(item) = next {
            let (at, wanted) = match item {
                Ok(due) => due,
                Err(error) => {
                    torn = Some(error);
                    break;
                }
            };
            let is_enough = settings.requests_max.is_some_and(|most| number >= most)
                || settings.end.is_some_and(|end| at > end);
            let Some(due) = start.checked_add(at).filter(|_| !is_enough) else { break };
            if !self.sleep_until(due) {
                break;
            }
            let is_warm = at < settings.warm;
            self.shared.tally.due(at, is_warm);
            match Arc::clone(&self.places).try_acquire_owned() {
                Ok(place) => {
                    let turn = Turn { wanted, number, due, is_warm };
                    self.runtime.spawn(Arc::clone(&self.shared).take(turn, place));
                }
                Err(_) => self.shared.tally.left_out(Failure::Overload, 1, is_warm),
            }
            number += 1;
            next = self.next(read);
        }
        Played { began: start, torn, is_interrupted: false }
    }

    fn next(&self, read: &Receiver<anyhow::Result<Due>>) -> Option<anyhow::Result<Due>> {
        loop {
            match read.recv_timeout(LOOK) {
                Ok(item) => return Some(item),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) if self.stop.is_cancelled() => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Whether it is that time; not when it was stopped before.
    fn sleep_until(&self, due: Instant) -> bool {
        loop {
            if self.stop.is_cancelled() {
                return false;
            }
            let left = due.saturating_duration_since(Instant::now());
            if left < SLEEP_MIN {
                return true;
            }
            thread::sleep(left.min(LOOK));
        }
    }
}

impl Shared {
    /// One request, until it has its answer or there is nobody left to ask.
    async fn take(self: Arc<Self>, turn: Turn, place: OwnedSemaphorePermit) {
        let Turn { wanted, number, due, is_warm } = turn;
        let nodes = &self.settings.nodes;
        let first = match self.settings.spread {
            Spread::RoundRobin => number,
            Spread::Client => wanted.client,
        };
        let first = (first % nodes.len() as u64) as usize;
        let moves_max = self.settings.moves_max.min(nodes.len() as u32 - 1);
        let mut ask = self.ask(&wanted);
        let client = match wanted.protocol {
            Protocol::H1 => &self.h1,
            Protocol::H2 => &self.h2[(number % self.h2.len() as u64) as usize],
        };
        let mut moves = 0;
        let (node, how) = loop {
            let node = (first + moves as usize) % nodes.len();
            ask.to = nodes[node].to;
            let sent = Instant::now();
            if moves == 0 {
                self.tally.sent(sent.saturating_duration_since(due), is_warm);
            }
            match client.ask(&ask).await {
                Ok(answer) => {
                    break (node, self.judge(&wanted, &answer, sent.saturating_duration_since(due)));
                }
                Err(failed) => {
                    let is_repeatable = wanted.method.is_idempotent() || failed.is_unsent;
                    if moves < moves_max && is_repeatable {
                        moves += 1;
                        continue;
                    }
                    let failure = if failed.is_unsent {
                        Failure::Connect
                    } else if sent.elapsed() >= self.settings.timeout {
                        Failure::Timeout
                    } else {
                        Failure::Broken
                    };
                    break (node, How::Failed { failure, what: failed.to_string() });
                }
            }
        };
        self.tally.ended(Ended { node, moves, how }, is_warm);
        drop(place);
    }

    fn ask(&self, wanted: &Wanted) -> Ask {
        let (host, target) = match &wanted.what {
            What::Object(object) => (object.host.name().to_owned(), object.target()),
            What::Path(path) => (self.settings.host.clone(), path.clone()),
        };
        let mut fields = Vec::new();
        if let Some((from, to)) = wanted.range {
            fields.push(("range".to_owned(), format!("bytes={from}-{}", to - 1)));
        }
        let to = self.settings.nodes[0].to;
        let (method, protocol) = (wanted.method.clone(), wanted.protocol);
        Ask { method, to, host, target, fields, body: Bytes::new(), protocol }
    }

    fn judge(&self, wanted: &Wanted, answer: &Answer, waited: Duration) -> How {
        let failed = |failure, what: String| {
            let cache = answer.field("cache-status").unwrap_or_default();
            How::Failed { failure, what: format!("{what} ({cache})") }
        };
        let what = || match &wanted.what {
            What::Object(object) => object.url(),
            What::Path(path) => format!("http://{}{path}", self.settings.host),
        };
        match answer.status.as_u16() {
            status @ 400..=499 => return failed(Failure::Status4xx, format!("{status}: {}", what())),
            status @ 500.. => return failed(Failure::Status5xx, format!("{status}: {}", what())),
            _ => {}
        }
        if let What::Object(object) = &wanted.what
            && wanted.method == Method::GET
            && let Err(wrong) = check(object, wanted.range, answer)
        {
            return failed(Failure::Damaged, format!("{}: {wrong}", what()));
        }
        let lines = answer.headers.get_all("cache-status").iter().filter_map(|line| line.to_str().ok());
        let is_node = |name: &str| self.settings.known.as_ref().is_none_or(|known| known.contains(name));
        How::Answered {
            tier: Tier::of(lines, is_node),
            bytes: answer.body.len() as u64,
            head_after: waited + answer.head_after,
            whole_after: waited + answer.whole_after,
        }
    }
}

/// Whether an answer with a body holds the bytes that were asked for.
fn check(object: &Object, range: Option<(u64, u64)>, answer: &Answer) -> Result<(), String> {
    let (from, to) = match (answer.status.as_u16(), range) {
        (200, _) => (0, object.bytes),
        (206, Some((from, to))) => {
            let expected = format!("bytes {from}-{}/{}", to - 1, object.bytes);
            match answer.field("content-range") {
                Some(told) if told == expected => (from, to),
                told => return Err(format!("a part that is said to be {told:?} and not {expected:?}")),
            }
        }
        (status, _) => return Err(format!("nobody asked for a {status}")),
    };
    let length = answer.body.len() as u64;
    if length != to - from {
        return Err(format!("{length} bytes and not {}", to - from));
    }
    let edition = answer.field("x-edition").and_then(|edition| edition.parse().ok());
    match object.check(edition.ok_or("no edition in its head")?, from, &answer.body) {
        Verdict::Good => Ok(()),
        Verdict::Damaged(wrong) => Err(wrong),
    }
}

#[cfg(test)]
mod tests;
