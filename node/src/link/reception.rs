//! Who is let in, and what is said to them first.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use starling_proto::{NodeId, UnixMs, purge::Versions, ticket::TicketError, wire};
use tokio::sync::watch;
use tracing::{debug, warn};

use super::{
    frame::{Frame, FrameError, Framed, Kind},
    stats::Counter,
};
use crate::{clock::Clock, identity::Identity};

/// Checks tickets and says hello.
pub(super) struct Reception {
    pub(super) identity: Arc<Identity>,
    hello: watch::Receiver<Arc<wire::Hello>>,
    clock: Clock,
    /// When strangers were last told of in the log, which they must not fill; 0 never.
    warned_ms: AtomicU64,
    pub(super) strangers: Counter,
}

/// Why a greeting is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unwelcome {
    #[error(transparent)]
    Ticket(#[from] TicketError),
    #[error("no greeting: {0}")]
    NoGreeting(FrameError),
    #[error("it closed the connection instead of greeting: its log may say why")]
    Closed,
    #[error("its certificate: {0}")]
    Certificate(String),
    #[error("no greeting in time")]
    Late,
}

impl Reception {
    pub(super) fn new(identity: Arc<Identity>, hello: watch::Receiver<Arc<wire::Hello>>) -> Self {
        Self {
            identity,
            hello,
            clock: Clock::start(),
            warned_ms: AtomicU64::new(0),
            strangers: Counter::default(),
        }
    }

    /// What a connection begins with: without the roster, the versions and the hot keys, which are for a `Greet`.
    pub(super) fn put_hello(&self, framed: &mut Framed) {
        let mut state = self.hello.borrow().state.clone();
        state.hot.clear();
        state.versions = Versions::default();
        let hello = wire::Hello { state, roster: Vec::new() };
        framed
            .put(Kind::Hello, &hello)
            .expect("a state without hot keys and versions is far below the limit");
    }

    /// All that is to be said of this node and those it knows.
    pub(super) fn put_greet(&self, framed: &mut Framed) {
        let hello = self.hello.borrow().clone();
        if framed.put(Kind::Greet, &*hello).is_err() {
            warn!(entries = hello.roster.len(), "the roster is too long for a greeting: greeting without it");
            let mut state = hello.state.clone();
            state.versions = Versions::default();
            let hello = wire::Hello { state, roster: Vec::new() };
            framed.put(Kind::Greet, &hello).expect("a state without versions is far below the limit");
        }
    }

    /// Whether this greeting lets in who is behind the connection; until when.
    pub(super) fn check(
        &self,
        hello: &wire::Hello,
        shown_by: NodeId,
        address: SocketAddr,
    ) -> Result<UnixMs, TicketError> {
        let ticket = &hello.state.profile.ticket;
        self.identity.admission.check(ticket, shown_by, address.ip(), self.clock.now_ms())?;
        Ok(ticket.claim.expires_ms)
    }

    /// Takes what came instead of, or as, the first frame.
    pub(super) fn welcome(
        &self,
        first: Result<Option<Frame>, FrameError>,
        shown_by: NodeId,
        address: SocketAddr,
    ) -> Result<(Box<wire::Hello>, UnixMs), Unwelcome> {
        match first {
            Ok(Some(Frame::Hello(hello))) => {
                let expires_ms = self.check(&hello, shown_by, address)?;
                Ok((hello, expires_ms))
            }
            Ok(Some(_)) => Err(Unwelcome::NoGreeting(FrameError::Protocol("no Hello".to_owned()))),
            Ok(None) | Err(FrameError::Broken(_)) => Err(Unwelcome::Closed),
            Err(error) => Err(Unwelcome::NoGreeting(error)),
        }
    }

    pub(super) fn is_expired(&self, expires_ms: UnixMs) -> bool {
        self.clock.now_ms() >= expires_ms
    }

    /// Somebody was turned away. The log names one in a second; all are counted.
    pub(super) fn turned_away(&self, address: SocketAddr, id: Option<NodeId>, why: &Unwelcome) {
        self.strangers.add(1);
        let id = id.map_or_else(|| "unknown".to_owned(), |id| id.to_string());
        let now_ms = self.clock.up_ms().max(1);
        let before_ms = self.warned_ms.load(Relaxed);
        let is_quiet = before_ms != 0 && now_ms < before_ms + 1_000;
        if !is_quiet && self.warned_ms.compare_exchange(before_ms, now_ms, Relaxed, Relaxed).is_ok() {
            warn!(%address, node = %id, %why, "a stranger was turned away");
        } else {
            debug!(%address, node = %id, %why, "a stranger was turned away");
        }
    }
}
