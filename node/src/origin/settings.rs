//! What an operator may set about the way to a service's origins.

use std::{path::PathBuf, time::Duration};

/// The origins of one service and how they are treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSettings {
    /// The origins; those of the lowest `priority` that are healthy share the load.
    pub origins: Vec<OriginSettings>,
    /// Time to open a connection, TLS included.
    pub connect_timeout: Duration,
    /// Time from the end of the request to the response head.
    pub head_timeout: Duration,
    /// Longest silence inside a response body.
    pub body_idle_timeout: Duration,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// Requests under way to one origin at a time; more wait.
    pub concurrency_max: usize,
    /// Requests that may wait for a place; more are refused.
    pub queue_max: usize,
    /// How long a request may wait for a place.
    pub queue_timeout: Duration,
    /// Share of requests that may be retries, in percent (a token bucket over the last requests).
    pub retry_percent: u32,
    /// Failures in a row that open an origin's circuit.
    pub breaker_failures: u32,
    /// How long an open circuit refuses before one request may probe it.
    pub breaker_open: Duration,
    /// Active health checks; none when absent.
    pub health: Option<HealthSettings>,
    /// Certificates to trust beside the system's, as PEM.
    pub ca_file: Option<PathBuf>,
    /// Whether the origin's certificate is verified. Off is for tests and says so in the log.
    pub tls_verify: bool,
    /// Sent as `Host` (and SNI) instead of the client's.
    pub host_header: Option<String>,
    /// Largest response head accepted, in bytes.
    pub head_bytes_max: usize,
}

/// One origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginSettings {
    /// `http://host:port` or `https://host:port`, without a path.
    pub url: String,
    /// Lower is asked first.
    pub priority: u32,
    /// Share among origins of the same priority.
    pub weight: u32,
}

/// Active health checks of every origin of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthSettings {
    /// What is asked.
    pub path: String,
    /// Time between checks of one origin.
    pub interval: Duration,
    /// Time a check may take.
    pub timeout: Duration,
    /// Statuses from `.0` to `.1` inclusive are healthy.
    pub status_range: (u16, u16),
    /// Good checks in a row that make an origin healthy.
    pub healthy_after: u32,
    /// Bad checks in a row that make it unhealthy.
    pub unhealthy_after: u32,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            origins: Vec::new(),
            connect_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(60),
            body_idle_timeout: Duration::from_secs(60),
            keep_alive: Duration::from_secs(50),
            concurrency_max: 1024,
            queue_max: 4096,
            queue_timeout: Duration::from_secs(30),
            retry_percent: 20,
            breaker_failures: 10,
            breaker_open: Duration::from_secs(2),
            health: None,
            ca_file: None,
            tls_verify: true,
            host_header: None,
            head_bytes_max: 64 << 10,
        }
    }
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            path: "/".to_owned(),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            status_range: (200, 399),
            healthy_after: 2,
            unhealthy_after: 3,
        }
    }
}
