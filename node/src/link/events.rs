//! What the link hands over to the rest of the node, and where.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use starling_proto::{NodeId, wire};
use tokio::sync::{mpsc, oneshot};

use super::{answering::Answering, error::AskErrorKind};

/// Fetches that wait to be taken by the edge.
const FETCHES_MAX: usize = 1024;
/// Calls that wait.
const CALLS_MAX: usize = 256;
/// Greetings that wait.
const GREETINGS_MAX: usize = 64;
/// Reports that wait.
const REPORTS_MAX: usize = 1024;

/// A fetch that a peer asks of this node.
pub struct Incoming {
    /// Who asks.
    pub from: NodeId,
    /// What.
    pub fetch: wire::Fetch,
    /// How it is answered. Dropped, the fetch is refused.
    pub answering: Answering,
}

/// What the link learnt about a peer, for who watches its health.
#[derive(Clone, Debug)]
pub struct Report {
    /// The peer.
    pub peer: NodeId,
    /// How it went: the time until it took the question on, or what went wrong. A refusal is a sign of life and
    /// reported as the former.
    pub outcome: Result<Duration, AskErrorKind>,
}

/// A small question that a peer asks of this node.
pub struct IncomingCall {
    /// Who asks.
    pub from: NodeId,
    /// What.
    pub call: wire::Call,
    /// Where the answer goes. Dropped, the call is refused.
    pub reply: oneshot::Sender<wire::Reply>,
}

/// A greeting that was checked: somebody with a valid ticket stands behind it.
#[derive(Clone, Debug)]
pub struct Greeting {
    /// Who it is: the key behind the connection, and the ticket's.
    pub from: NodeId,
    /// Where the connection came from or went to.
    pub address: SocketAddr,
    /// What it said.
    pub hello: wire::Hello,
}

/// Where the link hands over what comes in; bounded, all of them.
pub struct Events {
    /// Fetches; when nobody takes them, peers are refused as busy.
    pub fetches: mpsc::Receiver<Incoming>,
    /// Calls.
    pub calls: mpsc::Receiver<IncomingCall>,
    /// Greetings of peers that connected.
    pub greetings: mpsc::Receiver<Greeting>,
    /// What was learnt about peers; lossy.
    pub reports: mpsc::Receiver<Report>,
}

/// The other ends of [`Events`]. None of them ever waits: what finds no place is refused or dropped.
pub(super) struct Doors {
    pub(super) fetches: mpsc::Sender<Incoming>,
    pub(super) calls: mpsc::Sender<IncomingCall>,
    greetings: mpsc::Sender<Greeting>,
    reports: mpsc::Sender<Report>,
    pub(super) greetings_dropped: AtomicU64,
}

impl Doors {
    pub(super) fn new() -> (Self, Events) {
        let (fetches, fetches_out) = mpsc::channel(FETCHES_MAX);
        let (calls, calls_out) = mpsc::channel(CALLS_MAX);
        let (greetings, greetings_out) = mpsc::channel(GREETINGS_MAX);
        let (reports, reports_out) = mpsc::channel(REPORTS_MAX);
        let doors = Self { fetches, calls, greetings, reports, greetings_dropped: AtomicU64::new(0) };
        let events =
            Events { fetches: fetches_out, calls: calls_out, greetings: greetings_out, reports: reports_out };
        (doors, events)
    }

    pub(super) fn greeted(&self, greeting: Greeting) {
        if self.greetings.try_send(greeting).is_err() {
            self.greetings_dropped.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn report(&self, peer: NodeId, outcome: Result<Duration, AskErrorKind>) {
        // Lossy by contract: the next report says the same.
        let _ = self.reports.try_send(Report { peer, outcome });
    }
}
