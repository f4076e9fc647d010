//! An origin server: a real tree of files; below `/demo/` resources that are large, slow, tagged,
//! private, or that break; and the [press](crate::press) at `/o/` and `/press/`.
//!
//! It is written apart from the cache that it is put behind: it shares no parser with it, so that a mistake
//! in one does not hide in the other. It speaks HTTP/1.1 in clear and is meant for loopback.

pub(crate) mod body;
mod demo;
pub(crate) mod entity;
mod pattern;
mod site;
mod stats;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{Method, Request, Response, StatusCode};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use pattern::pattern;
pub use stats::{Snapshot, Stats};

use crate::press;

use body::{Body, Counted};
use site::Site;

/// A client that keeps a connection longer than this without sending a head is gone.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

/// No connection lives longer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(3600);

/// How long requests may take to end after a stop was asked for.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// How an origin is started.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens; port 0 takes any free one.
    pub listen: SocketAddr,
    /// What it serves.
    pub root: PathBuf,
    /// Whether each request is written to standard error.
    pub log: bool,
    /// More connections than this wait to be accepted.
    pub connections_max: usize,
    /// Where the press keeps its editions, so that they outlive this process; in memory only when it is not set.
    pub editions: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            root: PathBuf::from("/usr/share/doc"),
            log: false,
            connections_max: 4096,
            editions: None,
        }
    }
}

/// Why an origin did not start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The tree cannot be served.
    #[error("cannot serve {}: {source}", root.display())]
    Root {
        /// What was to be served.
        root: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The address cannot be had.
    #[error("cannot listen on {listen}: {source}")]
    Listen {
        /// Where it was to listen.
        listen: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The press has no editions.
    #[error(transparent)]
    Press(#[from] press::BookError),
}

/// A running origin. Dropped, it stops by itself; [`Origin::stop`] also waits.
pub struct Origin {
    addr: SocketAddr,
    stats: Arc<Stats>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Origin {
    /// Starts to listen and serve.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let root = settings.root;
        let site = Site::new(&root).map_err(|source| StartError::Root { root, source })?;
        let unavailable = |source| StartError::Listen { listen: settings.listen, source };
        let listener = TcpListener::bind(settings.listen).await.map_err(unavailable)?;
        let addr = listener.local_addr().map_err(unavailable)?;
        let press = press::Server::new(settings.editions.as_deref())?;
        let stats = Arc::new(Stats::default());
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let server = Arc::new(Server { site, press, stats: Arc::clone(&stats), log: settings.log });
        let accepting = Accepting {
            listener,
            server,
            slots: Arc::new(Semaphore::new(settings.connections_max)),
            stop: stop.clone(),
            tasks: tasks.clone(),
        };
        tasks.spawn(accepting.run());
        tasks.close();
        Ok(Self { addr, stats, stop, tasks })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What it was asked so far.
    pub fn stats(&self) -> Snapshot {
        self.stats.snapshot()
    }

    /// Accepts no more, lets requests end for a few seconds, and answers when all connections are closed.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The task that takes connections.
struct Accepting {
    listener: TcpListener,
    server: Arc<Server>,
    slots: Arc<Semaphore>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Accepting {
    async fn run(self) {
        loop {
            let accept = async {
                let slot = Arc::clone(&self.slots).acquire_owned().await;
                (slot, self.listener.accept().await)
            };
            let (slot, accepted) = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = accept => accepted,
            };
            let Ok((stream, _)) = accepted else {
                // Out of descriptors: those that are open must end first.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let (server, stop) = (Arc::clone(&self.server), self.stop.clone());
            self.tasks.spawn(async move {
                let _slot = slot;
                server.serve(stream, stop).await;
            });
        }
    }
}

/// What all connections share.
struct Server {
    site: Site,
    press: press::Server,
    stats: Arc<Stats>,
    log: bool,
}

impl Server {
    async fn serve(self: Arc<Self>, stream: TcpStream, stop: CancellationToken) {
        self.stats.connected();
        // A segment held back would make every small answer late; failing to say so harms nobody.
        let _ = stream.set_nodelay(true);
        let asker = stream.peer_addr().ok().map(|peer| peer.ip());
        let service = service_fn(|request| {
            let server = Arc::clone(&self);
            async move { Ok::<_, std::convert::Infallible>(server.answer(request, asker).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            // A broken connection is its client's affair, or was asked for (`/demo/die`).
            _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection.as_mut()) => return,
            () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        let _ = tokio::time::timeout(STOP_TIMEOUT, connection).await;
    }

    async fn answer(&self, request: Request<Incoming>, asker: Option<IpAddr>) -> Response<Counted> {
        let began = Instant::now();
        let (method, target) = (request.method().clone(), request.uri().clone());
        let count = self.stats.asked(target.path());
        let response = if target.path() == "/demo" || target.path().starts_with("/demo/") {
            demo::answer(request, count, &self.stats).await
        } else if press::Server::has(target.path()) {
            self.press.answer(request, asker).await
        } else if matches!(method, Method::GET | Method::HEAD) {
            self.site.answer(&request).await
        } else {
            entity::message(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD here\n")
        };
        if self.log {
            eprintln!(
                "{method} {target} {} head after {} ms",
                response.status().as_u16(),
                began.elapsed().as_millis()
            );
        }
        let response = if method == Method::HEAD { response.map(|_| body::empty()) } else { response };
        response.map(|body: Body| Counted::new(body, Arc::clone(&self.stats)))
    }
}

#[cfg(test)]
mod tests;
