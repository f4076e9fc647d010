//! The connections of one origin: those that idle, those that HTTP/2 shares, and how a new one is made.
//!
//! An idle HTTP/1.1 connection is the newest first, so that the others can grow old and go. The window of an
//! HTTP/2 connection is the sum of the windows of the streams it is given, so that readers who are slow can
//! never starve the others on their connection.

use super::{
    dial::dial,
    error::{BoxError, FetchErrorKind},
    framing::{FIELDS_MAX, KeepAlive},
    request::DrawnBody,
    settings::PoolSettings,
    stats::{Counters, count},
    stream::Stream,
    target::Place,
};
use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustls_pki_types::ServerName;
use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::AbortHandle,
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;
use tokio_util::task::TaskTracker;

/// Idle HTTP/1.1 connections kept to one origin.
const IDLE_MAX: usize = 256;
/// How long a connection that just gave its response may take to be ready for the next.
const SETTLE: Duration = Duration::from_millis(100);
/// Streams given to one HTTP/2 connection, and the window of each.
const STREAMS_MAX: usize = 32;
const STREAM_WINDOW: u32 = 128 << 10;
/// An HTTP/2 connection in use that is silent this long is asked for a sign of life.
const PING_AFTER: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// The smallest buffer that the HTTP/1.1 codec takes.
const BUFFER_MIN: usize = 8 << 10;

/// Stops a connection's driver, and with it the connection, when its last holder is gone.
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An HTTP/1.1 connection in the hands of one request. Dropped, it is closed.
pub(super) struct Http1 {
    sender: http1::SendRequest<DrawnBody>,
    _driver: Driver,
    /// Bytes received, to tell whether anything of an answer came.
    heard: Arc<AtomicU64>,
    /// What the last response granted; none before the first.
    idle: Option<Idle>,
}

#[derive(Clone, Copy)]
struct Idle {
    since: Instant,
    keep: KeepAlive,
}

/// A stream's place on an HTTP/2 connection.
pub(super) struct Http2 {
    shared: Arc<Shared>,
    sender: http2::SendRequest<DrawnBody>,
    _stream: OwnedSemaphorePermit,
    reused: bool,
}

struct Shared {
    sender: http2::SendRequest<DrawnBody>,
    _driver: Driver,
    streams: Arc<Semaphore>,
    used: Mutex<Instant>,
}

/// A way to send one request.
pub(super) enum Connection {
    /// Alone on its connection.
    Http1(Http1),
    /// As one stream of many.
    Http2(Http2),
}

impl Connection {
    /// Whether a request was sent on it before.
    pub(super) fn is_reused(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.idle.is_some(),
            Self::Http2(stream) => stream.reused,
        }
    }

    /// How long it had idled beyond any promise of the origin to keep it; none when it was promised, or new.
    pub(super) fn idle_unpromised(&self, now: Instant) -> Option<Duration> {
        match self {
            Self::Http1(Http1 { idle: Some(idle), .. }) if !idle.keep.promised => Some(now - idle.since),
            _ => None,
        }
    }

    /// Bytes received; on a shared connection nobody's in particular.
    pub(super) fn heard(&self) -> u64 {
        match self {
            Self::Http1(connection) => connection.heard.load(Relaxed),
            Self::Http2(_) => 0,
        }
    }

    /// Whether requests are HTTP/2.
    pub(super) fn is_http2(&self) -> bool {
        matches!(self, Self::Http2(_))
    }

    /// Sends a request. An error that holds the request means that nothing of it was sent.
    pub(super) async fn send(
        &mut self,
        request: Request<DrawnBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<DrawnBody>>> {
        match self {
            Self::Http1(connection) => connection.sender.try_send_request(request).await,
            Self::Http2(stream) => stream.sender.try_send_request(request).await,
        }
    }
}

/// Where an origin's connections are kept and made.
pub(super) struct Connections {
    place: Place,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    idle: Mutex<VecDeque<Http1>>,
    shared: Mutex<Vec<Arc<Shared>>>,
    /// Held while a connection is made to an origin that may speak HTTP/2: the others will share it.
    making: tokio::sync::Mutex<()>,
    speaks_http1: AtomicBool,
    keep_alive: Duration,
    connect_timeout: Duration,
    head_bytes_max: usize,
    tasks: TaskTracker,
    counters: Arc<Counters>,
}

/// Why there is no connection.
pub(super) type ConnectError = (FetchErrorKind, Option<BoxError>);

impl Connections {
    pub(super) fn new(
        place: Place,
        tls: Option<(TlsConnector, ServerName<'static>)>,
        settings: &PoolSettings,
        tasks: TaskTracker,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            place,
            tls,
            idle: Mutex::default(),
            shared: Mutex::default(),
            making: tokio::sync::Mutex::default(),
            speaks_http1: AtomicBool::new(false),
            keep_alive: settings.keep_alive,
            connect_timeout: settings.connect_timeout,
            head_bytes_max: settings.head_bytes_max,
            tasks,
            counters,
        }
    }

    /// A connection to send one request on; `fresh` when one that was used before will not do.
    pub(super) async fn take(&self, fresh: bool) -> Result<Connection, ConnectError> {
        if !fresh {
            if let Some(connection) = self.take_idle().await {
                count(&self.counters.reuses);
                return Ok(Connection::Http1(connection));
            }
            if let Some(stream) = self.take_shared() {
                return Ok(stream);
            }
        }
        match timeout(self.connect_timeout, self.make(fresh)).await {
            Ok(made) => made,
            Err(_) => Err((FetchErrorKind::ConnectTimeout, None)),
        }
    }

    /// Takes back a connection whose response has ended.
    pub(super) fn put_back(&self, mut connection: Http1, keep: KeepAlive) {
        if keep.idle_max.is_zero() || connection.sender.is_closed() {
            return;
        }
        connection.idle = Some(Idle { since: Instant::now(), keep });
        let mut idle = self.idle.lock();
        idle.push_back(connection);
        if idle.len() > IDLE_MAX {
            idle.pop_front();
        }
    }

    /// Closes what has idled too long or was closed by the origin. Called now and then.
    pub(super) fn prune(&self, now: Instant) {
        self.idle.lock().retain(|c| !c.sender.is_closed() && !is_over(c, now));
        let over = |shared: &Shared| now - *shared.used.lock() >= self.keep_alive;
        self.shared.lock().retain(|shared| {
            let in_use = shared.streams.available_permits() < STREAMS_MAX;
            !shared.sender.is_closed() && (in_use || !over(shared))
        });
    }

    /// HTTP/1.1 connections that idle.
    pub(super) fn idle(&self) -> usize {
        self.idle.lock().len()
    }

    async fn take_idle(&self) -> Option<Http1> {
        loop {
            let mut connection = self.idle.lock().pop_back()?;
            if connection.sender.is_closed() || is_over(&connection, Instant::now()) {
                continue;
            }
            let ready = timeout(SETTLE, poll_fn(|cx| connection.sender.poll_ready(cx))).await;
            if matches!(ready, Ok(Ok(()))) {
                return Some(connection);
            }
        }
    }

    fn take_shared(&self) -> Option<Connection> {
        let mut all = self.shared.lock();
        all.retain(|shared| !shared.sender.is_closed());
        let stream = all.iter().find_map(|shared| shared.stream(true))?;
        count(&self.counters.reuses);
        Some(Connection::Http2(stream))
    }

    async fn make(&self, fresh: bool) -> Result<Connection, ConnectError> {
        if self.tls.is_none() || self.speaks_http1.load(Relaxed) {
            return self.connect().await;
        }
        let _making = self.making.lock().await;
        if !fresh && let Some(stream) = self.take_shared() {
            return Ok(stream);
        }
        self.connect().await
    }

    async fn connect(&self) -> Result<Connection, ConnectError> {
        let dialed = dial(&self.place.host, self.place.port).await;
        let tcp = dialed.map_err(|e| (FetchErrorKind::Connect, Some(e.into())))?;
        let stream = match &self.tls {
            None => Stream::plain(tcp),
            Some((connector, name)) => match connector.connect(name.clone(), tcp).await {
                Ok(stream) => Stream::tls(stream),
                Err(error) => return Err((FetchErrorKind::Tls, Some(error.into()))),
            },
        };
        count(&self.counters.connects);
        let failed = |error: hyper::Error| (FetchErrorKind::Connect, Some(error.into()));
        if stream.is_http2() {
            self.speaks_http1.store(false, Relaxed);
            self.share(stream).await.map_err(failed)
        } else {
            self.speaks_http1.store(true, Relaxed);
            self.single(stream).await.map_err(failed)
        }
    }

    async fn single(&self, stream: Stream) -> hyper::Result<Connection> {
        let heard = stream.heard();
        let io = TokioIo::new(stream);
        let mut builder = http1::Builder::new();
        builder
            .max_headers(FIELDS_MAX)
            .max_header_size(self.head_bytes_max)
            .max_buf_size(self.head_bytes_max.max(BUFFER_MIN))
            .allow_obsolete_multiline_headers_in_responses(true);
        let (sender, connection) = builder.handshake(io).await?;
        let driver = self.drive(connection);
        Ok(Connection::Http1(Http1 { sender, _driver: driver, heard, idle: None }))
    }

    async fn share(&self, stream: Stream) -> hyper::Result<Connection> {
        let mut builder = http2::Builder::new(Spawner(self.tasks.clone()));
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(STREAM_WINDOW * STREAMS_MAX as u32)
            .max_header_list_size(u32::try_from(self.head_bytes_max).unwrap_or(u32::MAX))
            .keep_alive_interval(PING_AFTER)
            .keep_alive_timeout(PING_TIMEOUT);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        let shared = Arc::new(Shared {
            sender,
            _driver: self.drive(connection),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            used: Mutex::new(Instant::now()),
        });
        let stream = shared.stream(false).expect("a new connection has a free stream");
        self.shared.lock().push(shared);
        Ok(Connection::Http2(stream))
    }

    /// A connection makes progress in its own task; how it ends is told to who uses it.
    fn drive(&self, connection: impl Future<Output = hyper::Result<()>> + Send + 'static) -> Driver {
        let task = self.tasks.spawn(async move { drop(connection.await) });
        Driver(task.abort_handle())
    }
}

impl Shared {
    fn stream(self: &Arc<Self>, reused: bool) -> Option<Http2> {
        let stream = self.streams.clone().try_acquire_owned().ok()?;
        *self.used.lock() = Instant::now();
        Some(Http2 { shared: self.clone(), sender: self.sender.clone(), _stream: stream, reused })
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        *self.shared.used.lock() = Instant::now();
    }
}

fn is_over(connection: &Http1, now: Instant) -> bool {
    connection.idle.is_some_and(|idle| now - idle.since >= idle.keep.idle_max)
}

/// Runs what an HTTP/2 connection spawns.
#[derive(Clone)]
struct Spawner(TaskTracker);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Spawner {
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}
