//! Who is at the other end of a connection, and what holds for all connections.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio_util::sync::CancellationToken;

use super::{
    authority, counters::Counters, refusal::Refusal, settings::Limits, tls::certificates::Certificate,
};
use crate::edge::door::Scheme;

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    pub(crate) counters: Arc<Counters>,
    /// Wakes connections when the drain begins.
    pub(crate) drain: CancellationToken,
    /// The same as a flag: asking the token takes a lock that all connections share.
    draining: AtomicBool,
}

impl Shared {
    pub(crate) fn new(limits: Limits, counters: Arc<Counters>) -> Self {
        Self { limits, counters, drain: CancellationToken::new(), draining: AtomicBool::new(false) }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub(crate) fn start_drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.drain.cancel();
    }
}

/// One client.
pub(crate) struct Client {
    pub(crate) shared: Arc<Shared>,
    pub(crate) peer: SocketAddr,
    pub(crate) scheme: Scheme,
    /// The name asked for in the TLS handshake, and the certificate shown for it.
    pub(crate) shown: Option<(String, Arc<Certificate>)>,
}

impl Client {
    /// A client that asked for one name and then requests another that the certificate does not cover has
    /// reused its connection for a host it may not (RFC 9110 section 7.4).
    pub(crate) fn check_directed(&self, authority: &str) -> Result<(), Refusal> {
        let Some((name, certificate)) = &self.shown else { return Ok(()) };
        let host = authority::host(authority);
        let host = host.strip_suffix('.').unwrap_or(host);
        if host == name || certificate.covers(host) { Ok(()) } else { Err(Refusal::Misdirected) }
    }
}
