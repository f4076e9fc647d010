//! What an operator may set about listeners and the limits of a client.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// Listeners and limits.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Cleartext listeners: HTTP/1.1, and HTTP/2 with prior knowledge.
    pub http: Vec<SocketAddr>,
    /// TLS listeners: HTTP/1.1 and HTTP/2 by ALPN.
    pub https: Vec<SocketAddr>,
    /// Certificates by SNI; the first is used for a client that sends no known name.
    pub certificates: Vec<CertificateSettings>,
    /// What a client may cost.
    pub limits: Limits,
}

/// A certificate chain and its key, both PEM; names are read from the certificate.
#[derive(Clone, Debug)]
pub struct CertificateSettings {
    /// The chain, leaf first.
    pub cert_file: PathBuf,
    /// The private key.
    pub key_file: PathBuf,
}

/// What a client may cost before it is refused.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Request line and fields together, in bytes (431 beyond).
    pub head_bytes_max: usize,
    /// Request line, in bytes (414 beyond).
    pub request_line_bytes_max: usize,
    /// Header fields in a request (431 beyond).
    pub headers_max: usize,
    /// Connections at a time; more are closed at once.
    pub connections_max: usize,
    /// Connections at a time from one address (IPv6: one /64).
    pub connections_per_address_max: usize,
    /// Streams at a time on one HTTP/2 connection.
    pub streams_max: u32,
    /// Requests on one connection before it is closed gracefully.
    pub requests_per_connection_max: u64,
    /// Time from the first byte (or the accept) to a complete head (408, close), TLS handshake apart.
    pub head_timeout: Duration,
    /// Time for the TLS handshake.
    pub handshake_timeout: Duration,
    /// Silence between requests before the connection is closed.
    pub idle_timeout: Duration,
    /// Longest silence inside a request body.
    pub body_idle_timeout: Duration,
    /// Longest time without any progress while a response is written.
    pub write_idle_timeout: Duration,
    /// Slowest average rate at which a client may read once it has been behind for `write_idle_timeout`, in bytes per second.
    pub write_rate_min: u64,
    /// Largest request body, in bytes (413 beyond).
    pub body_bytes_max: u64,
    /// Time given to requests under way when the node drains.
    pub drain_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            http: vec![SocketAddr::from(([127, 0, 0, 1], 8080))],
            https: Vec::new(),
            certificates: Vec::new(),
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes_max: 32 << 10,
            request_line_bytes_max: 8 << 10,
            headers_max: 100,
            connections_max: 20_000,
            connections_per_address_max: 10_000,
            streams_max: 128,
            requests_per_connection_max: 1_000_000,
            head_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            body_idle_timeout: Duration::from_secs(30),
            write_idle_timeout: Duration::from_secs(30),
            write_rate_min: 1024,
            body_bytes_max: 1 << 30,
            drain_timeout: Duration::from_secs(30),
        }
    }
}
