//! What is counted and written down about requests.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Instant, SystemTime},
};

use http::{HeaderName, StatusCode, Version, header};
use starling_proto::Key;

use super::{
    door::{Account, ClientHead},
    verdict::{Outcome, Verdict},
    ways::{PeerCounts, UpwardCounts},
};
use crate::access_log::{AccessLog, AccessRecord};

/// Upper bounds of the latency histogram's buckets, in milliseconds.
pub const LATENCY_BOUNDS_MS: [u64; 14] =
    [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 60_000];

/// Counts requests, and writes them down.
pub struct Journal {
    tallies: Arc<Tallies>,
    access_log: AccessLog,
}

#[derive(Default)]
struct Tallies {
    in_flight: AtomicU64,
    outcomes: [OutcomeTally; Outcome::ALL.len()],
    /// By first digit of the status; 0 holds what is no status.
    statuses: [AtomicU64; 10],
    aborted: AtomicU64,
    collapsed: AtomicU64,
    latency: [AtomicU64; LATENCY_BOUNDS_MS.len() + 1],
    latency_sum_us: AtomicU64,
}

#[derive(Default)]
struct OutcomeTally {
    requests: AtomicU64,
    body_bytes: AtomicU64,
}

/// What has been counted since the start.
#[derive(Clone, Debug)]
pub struct Counters {
    /// Requests whose response is not over.
    pub in_flight: u64,
    /// Finished requests by outcome.
    pub outcomes: Vec<OutcomeCount>,
    /// Finished requests by first digit of their status.
    pub statuses: [u64; 10],
    /// Responses that the client did not take whole.
    pub aborted: u64,
    /// Requests that were answered from another's fill.
    pub collapsed: u64,
    /// Finished requests by the time from their head's arrival to their response's end: one bucket per
    /// bound of [`LATENCY_BOUNDS_MS`], and one for what took longer.
    pub latency: Vec<u64>,
    /// Sum of these times, in microseconds.
    pub latency_sum_us: u64,
    /// How the ways to other nodes and the origin went.
    pub upward: UpwardCounts,
    /// What peers asked of this node; none of it is among the requests above.
    pub peers: PeerCounts,
}

/// Requests and bytes of one outcome.
#[derive(Clone, Copy, Debug)]
pub struct OutcomeCount {
    /// The outcome's word.
    pub outcome: &'static str,
    /// Finished requests.
    pub requests: u64,
    /// Body bytes handed to clients.
    pub body_bytes: u64,
}

/// A request that has been opened and waits for its verdict. Dropped without one, its client has left.
pub struct Entry(Option<Opened>);

struct Opened {
    tallies: Arc<Tallies>,
    arrived: Instant,
    seen: Option<Box<Seen>>,
}

/// What the access log tells of a request, as far as it is known.
struct Seen {
    log: AccessLog,
    record: AccessRecord,
}

impl Journal {
    /// A journal that writes to `access_log`.
    pub fn new(access_log: AccessLog) -> Self {
        Self { tallies: Arc::default(), access_log }
    }

    /// Opens the entry of a request whose head has just arrived.
    pub fn open(&self, request: &ClientHead) -> Entry {
        self.tallies.in_flight.fetch_add(1, Relaxed);
        let seen = self
            .access_log
            .is_on()
            .then(|| Box::new(Seen { log: self.access_log.clone(), record: self.record(request) }));
        Entry(Some(Opened { tallies: Arc::clone(&self.tallies), arrived: Instant::now(), seen }))
    }

    fn record(&self, request: &ClientHead) -> AccessRecord {
        let text = |name: HeaderName| {
            request.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        AccessRecord {
            time: SystemTime::now(),
            request_id: rand::random(),
            peer: request.peer,
            method: request.method.as_str().to_owned(),
            host: request.authority.clone(),
            path: request.path_and_query.clone(),
            protocol: match request.version {
                Version::HTTP_10 => "HTTP/1.0",
                Version::HTTP_2 => "HTTP/2.0",
                _ => "HTTP/1.1",
            },
            status: 0,
            sent_bytes: 0,
            duration_ms: 0.0,
            first_byte_ms: 0.0,
            cache: "",
            reason: "",
            service: None,
            key: None,
            origin: None,
            whole: false,
            user_agent: text(header::USER_AGENT),
            referer: text(header::REFERER),
        }
    }

    /// What has been counted since the start, beside what was counted elsewhere.
    pub fn counters(&self, upward: UpwardCounts, peers: PeerCounts) -> Counters {
        let tallies = &self.tallies;
        Counters {
            in_flight: tallies.in_flight.load(Relaxed),
            outcomes: Outcome::ALL
                .iter()
                .zip(&tallies.outcomes)
                .map(|(outcome, tally)| OutcomeCount {
                    outcome: outcome.as_str(),
                    requests: tally.requests.load(Relaxed),
                    body_bytes: tally.body_bytes.load(Relaxed),
                })
                .collect(),
            statuses: std::array::from_fn(|digit| tallies.statuses[digit].load(Relaxed)),
            aborted: tallies.aborted.load(Relaxed),
            collapsed: tallies.collapsed.load(Relaxed),
            latency: tallies.latency.iter().map(|bucket| bucket.load(Relaxed)).collect(),
            latency_sum_us: tallies.latency_sum_us.load(Relaxed),
            upward,
            peers,
        }
    }
}

impl Entry {
    /// Writes the verdict down; the account is closed by the front when the response is over.
    pub fn decided(mut self, status: StatusCode, verdict: &Verdict, whose: Whose<'_>) -> Box<dyn Account> {
        let opened = self.0.take().expect("an entry is opened until it is decided, and decided once");
        Box::new(opened.decided(status, verdict, whose))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(opened) = self.0.take() {
            let mut verdict = Verdict::new(Outcome::Answered);
            verdict.detail = Some("client-left");
            // What nginx logs for a client that closed before it was answered; it is never sent.
            let status = StatusCode::from_u16(499).expect("three digits are a status");
            opened.decided(status, &verdict, Whose::default()).close(false, 0);
        }
    }
}

impl Opened {
    fn decided(self, status: StatusCode, verdict: &Verdict, whose: Whose<'_>) -> OpenAccount {
        let mut seen = self.seen;
        if let Some(seen) = &mut seen {
            let record = &mut seen.record;
            record.status = status.as_u16();
            record.cache = verdict.outcome.as_str();
            record.reason = verdict.detail.or(verdict.fwd).unwrap_or_default();
            record.service = whose.service.cloned();
            record.key = whose.key.map(|key| key.to_string());
            record.origin = verdict.origin.clone();
            record.first_byte_ms = millis(self.arrived);
        }
        let outcome = Outcome::ALL.iter().position(|outcome| *outcome == verdict.outcome);
        OpenAccount {
            tallies: self.tallies,
            arrived: self.arrived,
            outcome: outcome.expect("every outcome is in the list of all"),
            status: status.as_u16(),
            collapsed: verdict.collapsed,
            seen,
        }
    }
}

/// Whose request it was, as far as that was found out.
#[derive(Clone, Copy, Default)]
pub struct Whose<'a> {
    /// The name of the service.
    pub service: Option<&'a Arc<str>>,
    /// The object.
    pub key: Option<&'a Key>,
}

struct OpenAccount {
    tallies: Arc<Tallies>,
    arrived: Instant,
    outcome: usize,
    status: u16,
    collapsed: bool,
    seen: Option<Box<Seen>>,
}

impl Account for OpenAccount {
    fn close(&mut self, whole: bool, body_bytes: u64) {
        let took_ms = millis(self.arrived);
        let tallies = &self.tallies;
        tallies.in_flight.fetch_sub(1, Relaxed);
        tallies.outcomes[self.outcome].requests.fetch_add(1, Relaxed);
        tallies.outcomes[self.outcome].body_bytes.fetch_add(body_bytes, Relaxed);
        tallies.statuses[usize::from(self.status / 100).min(9)].fetch_add(1, Relaxed);
        tallies.aborted.fetch_add(u64::from(!whole), Relaxed);
        tallies.collapsed.fetch_add(u64::from(self.collapsed), Relaxed);
        let bucket = LATENCY_BOUNDS_MS.partition_point(|bound| (*bound as f64) < took_ms);
        tallies.latency[bucket].fetch_add(1, Relaxed);
        tallies.latency_sum_us.fetch_add((took_ms * 1_000.0) as u64, Relaxed);
        if let Some(seen) = self.seen.take().filter(|seen| seen.log.wants(self.status, whole)) {
            let Seen { log, mut record } = *seen;
            record.sent_bytes = body_bytes;
            record.duration_ms = took_ms;
            record.whole = whole;
            log.record(record);
        }
    }
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1_000.0
}
