//! What is counted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use starling_proto::NodeId;

use super::{error::AskErrorKind, peers::PeerEntry};

/// A number that is written often and read seldom.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Counters of one peer.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) connections_in: Counter,
    pub(super) connects: Counter,
    pub(super) reuses: Counter,
    pub(super) asked: Counter,
    pub(super) answered: Counter,
    pub(super) bytes_in: Counter,
    pub(super) bytes_out: Counter,
    failed: [Counter; AskErrorKind::NAMES.len()],
}

impl Counters {
    pub(super) fn failed(&self, kind: &AskErrorKind) {
        self.failed[kind.index()].add(1);
    }

    /// What was counted; the rest is not known here.
    pub(super) fn read(&self, id: NodeId) -> PeerStats {
        let failed = AskErrorKind::NAMES.iter().zip(&self.failed);
        PeerStats {
            id,
            connections_in: self.connections_in.get(),
            idle_connections: 0,
            connects: self.connects.get(),
            reuses: self.reuses.get(),
            asking: 0,
            answering: 0,
            asked: self.asked.get(),
            answered: self.answered.get(),
            failed: failed.map(|(name, count)| (*name, count.get())).collect(),
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out.get(),
            ack: None,
            rtt: None,
        }
    }
}

/// One more connection from a peer, for as long as it is held.
pub(super) struct ConnectionIn(Arc<PeerEntry>);

impl ConnectionIn {
    pub(super) fn new(peer: &Arc<PeerEntry>) -> Self {
        peer.counters.connections_in.add(1);
        Self(peer.clone())
    }
}

impl Drop for ConnectionIn {
    fn drop(&mut self) {
        self.0.counters.connections_in.0.fetch_sub(1, Relaxed);
    }
}

/// A reading of what was counted of one peer since it was heard of.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PeerStats {
    /// The peer.
    #[serde(serialize_with = "as_text")]
    pub id: NodeId,
    /// Connections that it has open to this node.
    pub connections_in: u64,
    /// TCP connections to it that idle.
    pub idle_connections: usize,
    /// Connections made to it.
    pub connects: u64,
    /// Questions sent on a connection that had been used before.
    pub reuses: u64,
    /// Fetches under way to it.
    pub asking: usize,
    /// Fetches under way from it.
    pub answering: usize,
    /// Questions to it.
    pub asked: u64,
    /// Questions from it.
    pub answered: u64,
    /// Questions to it that failed, by [`AskErrorKind::as_str`].
    pub failed: Vec<(&'static str, u64)>,
    /// Bytes of frames that came from it.
    pub bytes_in: u64,
    /// Bytes of frames sent to it.
    pub bytes_out: u64,
    /// The time it takes to take a question on, smoothed.
    pub ack: Option<Duration>,
    /// There and back, where QUIC measures it.
    pub rtt: Option<Duration>,
}

fn as_text<S: serde::Serializer>(id: &NodeId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

/// What was counted of the link as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct LinkStats {
    /// Connections that were closed before anything was said, for who stood behind them was not let in.
    pub strangers: u64,
    /// Connections that were refused because there were too many.
    pub connections_refused: u64,
    /// Peers that were cut off: they broke the protocol, asked too fast, or their ticket expired.
    pub cut_off: u64,
    /// Fetches from peers that were refused because there was too much to do.
    pub busy: u64,
    /// Greetings that nobody took in time.
    pub greetings_dropped: u64,
}

/// Counters of the link as a whole.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) connections_refused: Counter,
    pub(super) cut_off: Counter,
    pub(super) busy: Counter,
}
