//! Why a fetch failed, and whose fault it was.

use std::sync::Arc;

/// An error of a body, of whatever type.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why no response, or only part of one, came from an origin.
#[derive(Debug, thiserror::Error)]
#[error("origin {origin}: {kind}")]
pub struct FetchError {
    /// What happened.
    pub kind: FetchErrorKind,
    /// The origin that was asked last; empty when none was.
    pub origin: Arc<str>,
    /// What the layer below said.
    #[source]
    pub source: Option<BoxError>,
}

/// What happened to a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum FetchErrorKind {
    /// The pool has no origins.
    #[error("no origin to ask")]
    NoHealthyOrigin,
    /// The circuit of every origin is open.
    #[error("circuit open")]
    CircuitOpen,
    /// Too many requests wait for this origin.
    #[error("too many requests are waiting")]
    QueueFull,
    /// No place became free in time.
    #[error("no place became free in time")]
    QueueTimeout,
    /// The name was not resolved, or no address accepted the connection.
    #[error("could not connect")]
    Connect,
    /// The TLS handshake failed, or the certificate is not valid for the origin.
    #[error("TLS failed")]
    Tls,
    /// No connection in time.
    #[error("no connection in time")]
    ConnectTimeout,
    /// No response head in time.
    #[error("no response head in time")]
    HeadTimeout,
    /// The response body was silent too long.
    #[error("the response body was silent too long")]
    BodyIdleTimeout,
    /// The connection ended before the response did.
    #[error("the connection ended early")]
    Reset,
    /// The response is malformed, or might be read in two ways.
    #[error("bad response: {0}")]
    BadResponse(BadResponse),
    /// The client's request body failed, stalled, or did not have the length it announced.
    #[error("the request body failed")]
    RequestBody,
    /// The request cannot be sent as it is.
    #[error("the request cannot be sent as it is")]
    BadRequest,
}

/// What is wrong with a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BadResponse {
    /// The message does not parse.
    #[error("malformed message")]
    Malformed,
    /// More fields or bytes than are accepted.
    #[error("head too large")]
    HeadTooLarge,
    /// A transfer coding other than exactly `chunked`.
    #[error("transfer coding not understood")]
    TransferCoding,
    /// A Content-Length that is malformed or disagrees with itself.
    #[error("invalid Content-Length")]
    ContentLength,
    /// Both Transfer-Encoding and Content-Length.
    #[error("both Transfer-Encoding and Content-Length")]
    TwoFramings,
    /// A 304 to a request that set no condition.
    #[error("304 to an unconditional request")]
    NotModified,
    /// A protocol switch that nobody asked for.
    #[error("unexpected protocol switch")]
    Upgrade,
}

impl FetchErrorKind {
    /// Every name that [`FetchErrorKind::as_str`] gives, in the order of [`FetchErrorKind::index`].
    pub const NAMES: [&'static str; 13] = [
        "no-origin",
        "circuit-open",
        "queue-full",
        "queue-timeout",
        "connect",
        "tls",
        "connect-timeout",
        "head-timeout",
        "body-idle-timeout",
        "reset",
        "bad-response",
        "request-body",
        "bad-request",
    ];

    /// The name used in logs and metrics.
    pub fn as_str(self) -> &'static str {
        Self::NAMES[self.index()]
    }

    /// The place of this kind in a table of counters.
    pub fn index(self) -> usize {
        match self {
            Self::NoHealthyOrigin => 0,
            Self::CircuitOpen => 1,
            Self::QueueFull => 2,
            Self::QueueTimeout => 3,
            Self::Connect => 4,
            Self::Tls => 5,
            Self::ConnectTimeout => 6,
            Self::HeadTimeout => 7,
            Self::BodyIdleTimeout => 8,
            Self::Reset => 9,
            Self::BadResponse(_) => 10,
            Self::RequestBody => 11,
            Self::BadRequest => 12,
        }
    }

    /// Whether this speaks against the origin's ability to serve. A bad response does not: a URL that always
    /// gets one must not close the way to all others.
    pub(super) fn is_failing_origin(self) -> bool {
        use FetchErrorKind::{BodyIdleTimeout, Connect, ConnectTimeout, HeadTimeout, Reset, Tls};
        matches!(self, Connect | Tls | ConnectTimeout | HeadTimeout | BodyIdleTimeout | Reset)
    }
}

impl FetchError {
    pub(super) fn new(kind: FetchErrorKind, origin: &Arc<str>) -> Self {
        Self { kind, origin: origin.clone(), source: None }
    }

    /// The name used in logs and metrics.
    pub fn as_str(&self) -> &'static str {
        self.kind.as_str()
    }

    /// Whether the cache is disconnected from the origin in the sense of RFC 9111 section 4.2.4.
    pub fn is_disconnected(&self) -> bool {
        use FetchErrorKind::{CircuitOpen, Connect, NoHealthyOrigin, QueueFull, Reset, Tls};
        matches!(self.kind, NoHealthyOrigin | CircuitOpen | QueueFull | Connect | Tls | Reset)
    }

    /// Whether time ran out.
    pub fn is_timeout(&self) -> bool {
        use FetchErrorKind::{BodyIdleTimeout, ConnectTimeout, HeadTimeout, QueueTimeout};
        matches!(self.kind, QueueTimeout | ConnectTimeout | HeadTimeout | BodyIdleTimeout)
    }

    /// Whether the client, not the origin, is at fault.
    pub fn is_clients_fault(&self) -> bool {
        matches!(self.kind, FetchErrorKind::RequestBody | FetchErrorKind::BadRequest)
    }

    /// Whether the origin answered something that cannot be passed on.
    pub fn is_bad_response(&self) -> bool {
        matches!(self.kind, FetchErrorKind::BadResponse(_))
    }
}

/// Why a pool could not be built from its settings.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// An origin's URL is not `http://host[:port]` or `https://host[:port]`.
    #[error("origin `{0}` is not http://host[:port] or https://host[:port]")]
    Url(String),
    /// The Host to send is not a host.
    #[error("host_header `{0}` is not a host")]
    HostHeader(String),
    /// The path of the health checks cannot be sent.
    #[error("health check path `{0}` is not a path")]
    HealthPath(String),
    /// The file of certificates to trust cannot be used.
    #[error("ca_file {path}: {why}")]
    CaFile {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// TLS cannot be set up.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}
