//! Listeners, and the life and end of connections.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    census::{Census, Full, Seat},
    client::{Client, Shared},
    h1, h2,
    tls::Tls,
};
use crate::{
    edge::door::{Handler, Scheme},
    listen,
};

/// Connections that the system holds until they are accepted.
const BACKLOG: i32 = 4096;
/// How long accepting pauses when the system has no more files or memory for connections.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The kernel asks for more to send when less than half of this is unsent. It bounds what a slow client
/// holds in the kernel, and makes its progress visible while it drains a large buffer.
const UNSENT_BYTES_MAX: u32 = 512 << 10;

/// One bound address.
pub(super) struct Listener {
    inner: TcpListener,
    address: SocketAddr,
    is_tls: bool,
}

impl Listener {
    pub(super) fn bind(address: SocketAddr, is_tls: bool) -> io::Result<Self> {
        let inner = listen::tcp(address, BACKLOG)?;
        let address = inner.local_addr()?;
        Ok(Self { inner, address, is_tls })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// How a drain went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Connections that there were when the drain began and that ended in time.
    pub finished: usize,
    /// Connections that were cut when the time was over.
    pub aborted: usize,
}

/// Accepts connections and serves them.
pub(super) struct Acceptor<H> {
    handler: H,
    tls: Option<Tls>,
    shared: Arc<Shared>,
    census: Census,
}

impl<H: Handler> Acceptor<H> {
    pub(super) fn new(handler: H, tls: Option<Tls>, shared: Arc<Shared>) -> Arc<Self> {
        let census = Census::new(&shared.limits, shared.counters.clone());
        Arc::new(Self { handler, tls, shared, census })
    }

    pub(super) async fn run(
        self: Arc<Self>,
        listeners: Vec<Listener>,
        shutdown: CancellationToken,
    ) -> Drained {
        let mut loops = JoinSet::new();
        for listener in listeners {
            loops.spawn(self.clone().accept(listener));
        }
        shutdown.cancelled().await;
        self.shared.start_drain();
        let mut drained = Drained::default();
        for ended in loops.join_all().await {
            drained.finished += ended.finished;
            drained.aborted += ended.aborted;
        }
        drained
    }

    async fn accept(self: Arc<Self>, listener: Listener) -> Drained {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = self.shared.drain.cancelled() => break,
                Some(ended) = connections.join_next() => log_panic(ended),
                accepted = listener.inner.accept() => match accepted {
                    Ok((stream, peer)) => {
                        if let Some(seat) = self.admit(peer) {
                            connections.spawn(self.clone().serve(stream, peer, listener.is_tls, seat));
                        }
                    }
                    Err(error) => self.pause(listener.address, &error).await,
                },
            }
        }
        drop(listener);
        let before = connections.len();
        let ended = async {
            while let Some(ended) = connections.join_next().await {
                log_panic(ended);
            }
        };
        // Running out of time shows in who is left.
        let _ = timeout(self.shared.limits.drain_timeout, ended).await;
        let aborted = connections.len();
        connections.shutdown().await;
        Drained { finished: before - aborted, aborted }
    }

    fn admit(&self, peer: SocketAddr) -> Option<Seat> {
        let counters = &self.shared.counters;
        counters.connections_accepted.increment();
        match self.census.admit(peer.ip()) {
            Ok(seat) => return Some(seat),
            Err(Full::Total) => counters.refused_total.increment(),
            Err(Full::Address) => counters.refused_address.increment(),
        }
        None
    }

    /// A client that left before it was accepted is no trouble; everything else is the system's, and would
    /// fail again at once.
    async fn pause(&self, address: SocketAddr, error: &io::Error) {
        if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
            return;
        }
        self.shared.counters.accept_errors.increment();
        tracing::warn!(%address, %error, "cannot accept connections for a moment");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }

    async fn serve(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, is_tls: bool, _seat: Seat) {
        // Failing means that the client is gone, which shows at once.
        let _ = stream.set_nodelay(true);
        let _ = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
        match &self.tls {
            Some(tls) if is_tls => self.serve_tls(tls, stream, peer).await,
            _ => {
                let client = self.client(peer, Scheme::Http, None);
                if let h1::Ended::Http2(io, unread) = h1::serve(stream, client.clone(), &self.handler).await {
                    // On the heap, so that HTTP/1.1 connections do not pay for its size.
                    Box::pin(h2::serve(io, unread, client, &self.handler)).await;
                }
            }
        }
    }

    async fn serve_tls(&self, tls: &Tls, stream: TcpStream, peer: SocketAddr) {
        let Some(accepted) = Box::pin(tls.accept(stream, &self.shared)).await else { return };
        let client = self.client(peer, Scheme::Https, accepted.shown);
        if accepted.is_http2 {
            Box::pin(h2::serve(accepted.stream, Bytes::new(), client, &self.handler)).await;
        } else {
            // A client that agreed on HTTP/1.1 by ALPN never ends as HTTP/2.
            Box::pin(h1::serve(accepted.stream, client, &self.handler)).await;
        }
    }

    fn client(&self, peer: SocketAddr, scheme: Scheme, shown: Option<super::tls::Shown>) -> Arc<Client> {
        Arc::new(Client { shared: self.shared.clone(), peer, scheme, shown })
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection ended by a panic");
    }
}
