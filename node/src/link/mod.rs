//! The data plane between nodes: object fetches and small calls, streamed, authenticated, bounded.
//!
//! Two carriers behind one door, with one framing: pooled TCP with TLS 1.3, one question at a time on a
//! connection, and QUIC, one connection to a peer and one stream for each question. Both sides prove by TLS which
//! node they are, and show a ticket before anything else is said; to a stranger nothing is said at all.
//!
//! The edges of the room: it knows nothing of objects, rings or caches. What peers ask leaves it as [`Events`];
//! whom to ask, and where they are, comes with each question.
//!
//! | file | what it does |
//! | --- | --- |
//! | [`settings`] | whom to ask, how to behave |
//! | [`asking`] | the side that asks: questions, answers, bodies |
//! | [`answering`] | the side that answers: tells that work goes on, carries the answer back |
//! | [`accept`] | connections that peers make, and their end |
//! | [`dial`], [`quic`] | connections to peers |
//! | [`reception`] | greetings: who is let in |
//! | [`tls`] | who is behind a connection |
//! | [`frame`], [`carried`] | frames, and what carries them |
//! | [`peers`], [`ack`], [`pace`], [`stats`] | what is remembered and counted of each peer |
//! | [`events`], [`error`] | what comes in; what can go wrong |

mod accept;
mod ack;
mod answering;
mod asking;
mod carried;
mod dial;
mod error;
mod events;
mod frame;
mod lobby;
mod pace;
mod peers;
mod quic;
mod reception;
mod settings;
mod stats;
#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test's tasks end with its runtime")]
mod tests;
mod tls;

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use parking_lot::Mutex;
use starling_proto::{NodeId, wire};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};
use tokio_util::sync::CancellationToken;

pub use answering::{Answering, BodySender};
pub use asking::{Answered, Asked, Body};
pub use error::{AskError, AskErrorKind, Gone};
pub use events::{Events, Greeting, Incoming, IncomingCall, Report};
pub use settings::{Carrier, LinkError, Peer, Settings};
pub use stats::{LinkStats, PeerStats};

use self::{
    events::Doors, lobby::Lobby, peers::Peers, reception::Reception, settings::Limits, stats::Totals,
};
use crate::{identity::Identity, listen};

/// Connections that the system holds until they are accepted.
const BACKLOG: i32 = 1024;

/// The link; a cheap handle.
#[derive(Clone)]
pub struct Link(Arc<Inner>);

struct Inner {
    settings: Settings,
    limits: Limits,
    reception: Reception,
    doors: Doors,
    peers: Peers,
    tls: tls::Configs,
    endpoint: quinn::Endpoint,
    /// Until it runs.
    listener: Mutex<Option<TcpListener>>,
    addresses: (SocketAddr, SocketAddr),
    /// Places for connections that peers make.
    /// For connections whose greeting has not come yet.
    lobby: Lobby,
    seats: Arc<Semaphore>,
    /// No more questions are taken.
    stopping: CancellationToken,
    totals: Totals,
}

impl Link {
    /// Binds the listeners. `hello` is what this node says when it greets; its ticket must be the identity's.
    pub async fn bind(
        settings: Settings,
        identity: Arc<Identity>,
        hello: watch::Receiver<Arc<wire::Hello>>,
    ) -> Result<(Self, Events), LinkError> {
        Self::bind_limited(settings, Limits::default(), identity, hello)
    }

    fn bind_limited(
        settings: Settings,
        limits: Limits,
        identity: Arc<Identity>,
        hello: watch::Receiver<Arc<wire::Hello>>,
    ) -> Result<(Self, Events), LinkError> {
        let tls = tls::Configs::new(&identity.keypair).map_err(LinkError::Tls)?;
        let refused = |source| LinkError::Listen { address: settings.listen, source };
        let listener = listen::tcp(settings.listen, BACKLOG).map_err(refused)?;
        let endpoint = quic::bind(&settings, &tls)?;
        let quic_address = endpoint.local_addr();
        let quic_address =
            quic_address.map_err(|source| LinkError::Listen { address: settings.listen_quic, source })?;
        let addresses = (listener.local_addr().map_err(refused)?, quic_address);
        let (doors, events) = Doors::new();
        let inner = Inner {
            limits,
            reception: Reception::new(identity, hello),
            doors,
            peers: Peers::new(limits, settings.questions_max),
            tls,
            endpoint,
            listener: Mutex::new(Some(listener)),
            addresses,
            lobby: Lobby::default(),
            seats: Arc::new(Semaphore::new(settings.connections_max)),
            stopping: CancellationToken::new(),
            totals: Totals::default(),
            settings,
        };
        Ok((Self(Arc::new(inner)), events))
    }

    /// Where it listens: TCP, and QUIC.
    pub fn addresses(&self) -> (SocketAddr, SocketAddr) {
        self.0.addresses
    }

    /// Accepts peers until `stop`, then ends all connections: those on which a question is being answered have
    /// `silence_timeout` to finish. To be called once, and awaited at drain.
    pub async fn run(&self, stop: CancellationToken) {
        let listener = self.0.listener.lock().take();
        if let Some(listener) = listener {
            self.0.accept(listener, stop).await;
        }
    }

    /// Asks a peer for an object: returns when the peer has taken the question on, within `ack_timeout` after it
    /// was connected to. A refusal is an error. Dropped, the question is given up.
    pub async fn ask(&self, to: Peer, fetch: &wire::Fetch) -> Result<Asked, AskError> {
        self.0.ask(to, fetch).await
    }

    /// The time within which this peer usually takes a question on (a high percentile of the last ones), if it
    /// was asked before.
    pub fn usual_ack(&self, peer: NodeId) -> Option<Duration> {
        let entry = self.0.peers.get(peer)?;
        entry.acks.lock().usual()
    }

    /// Asks a small question; answered within `timeout`, connecting included.
    pub async fn call(&self, to: Peer, call: wire::Call, timeout: Duration) -> Result<wire::Reply, AskError> {
        self.0.call(to, &call, timeout).await
    }

    /// Greets whoever is at this address over TCP: learns who it is, and what it knows. A node that is expected
    /// there can be named. What this node knows is told only to who has shown a valid ticket.
    pub async fn greet(&self, address: SocketAddr, expected: Option<NodeId>) -> Result<Greeting, AskError> {
        self.0.greet(address, expected).await
    }

    /// What was counted of each peer, by id; of those that were not heard of for ten minutes nothing is known.
    pub fn stats(&self) -> Vec<PeerStats> {
        self.0.peers.stats()
    }

    /// What was counted of the link as a whole.
    pub fn totals(&self) -> LinkStats {
        let Inner { totals, reception, doors, .. } = &*self.0;
        LinkStats {
            strangers: reception.strangers.get(),
            connections_refused: totals.connections_refused.get(),
            cut_off: totals.cut_off.get(),
            busy: totals.busy.get(),
            greetings_dropped: doors.greetings_dropped.load(Relaxed),
        }
    }
}
