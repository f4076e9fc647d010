//! The JSON of the API, as `openapi.json` describes it; the CLI reads what the API writes.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};

/// When a purge is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wait {
    /// The node has taken it.
    Accepted,
    /// It survives a crash.
    Committed,
    /// Every node that is not dead has applied it.
    #[default]
    Applied,
    /// Every node has applied it, or has lost its lease and does not trust its cache for services whose freshness is
    /// strict.
    Fenced,
}

impl Wait {
    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Committed => "committed",
            Self::Applied => "applied",
            Self::Fenced => "fenced",
        }
    }
}

/// Body of `POST /v1/purge`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PurgeBody {
    /// Absent: the service whose hosts match the URLs, else the only one, else `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// `https://host/path?query` or `host/path?query`.
    pub urls: Vec<String>,
    /// Tags the origin gave.
    pub tags: Vec<String>,
    /// Hosts, without port.
    pub hosts: Vec<String>,
    /// Beginnings of URLs: `host/path`.
    pub prefixes: Vec<String>,
    /// The whole service.
    pub all: bool,
    /// Stale rather than gone.
    pub soft: bool,
    /// When to answer.
    pub wait: Wait,
    /// When to answer at the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// The same purge with the same key is committed once, however often it is sent. With another service, mode or
    /// selectors it is another purge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

/// Who has applied a purge, when, and who has not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PurgeReceipt {
    /// `region/epoch/index`; absent while it is only accepted.
    pub id: Option<String>,
    /// RFC 3339, UTC; absent while it is not committed, or not known.
    pub committed_at: Option<String>,
    /// Whether what was waited for has come, within the time.
    pub complete: bool,
    /// Whether no node can serve what was purged from a service whose freshness is strict.
    pub fenced: bool,
    /// The nodes that have it.
    pub applied: Vec<Applied>,
    /// The nodes that have not.
    pub missing: Vec<String>,
}

/// One line of a receipt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Applied {
    /// The node's name.
    pub node: String,
    /// Since the purge was committed.
    pub after_ms: u64,
}

/// Answer of `GET /v1/purges`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PurgesReport {
    /// The last purges that were sent to this node, the latest first.
    pub purges: Vec<PurgeReceipt>,
}

/// Body of `POST /v1/warm`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WarmBody {
    /// `https://host/path?query`; without a scheme, `http`.
    pub urls: Vec<String>,
}

/// What became of one URL.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WarmResult {
    /// As it was asked for.
    pub url: String,
    /// The response's status; absent when there was none.
    pub status: Option<u16>,
    /// What the cache did, as in the access log.
    pub cache: String,
    /// The length of the body.
    pub body_bytes: u64,
    /// Why it failed.
    pub error: Option<String>,
}

/// Answer of `GET /v1/status`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StatusReport {
    /// The node's name.
    pub node: String,
    /// Its region.
    pub region: String,
    /// Its PoP.
    pub pop: String,
    /// The program's version.
    pub version: String,
    /// Since the start.
    pub uptime_ms: u64,
    /// Whether `/readyz` says yes: started, listening and not draining. A disk that fails is among the `problems`:
    /// the node still serves.
    pub ready: bool,
    /// Whether it is being emptied of clients.
    pub draining: bool,
    /// How far each region's log is applied: region → `epoch/index`.
    pub versions: std::collections::BTreeMap<String, String>,
    /// Whether the node has caught up with the mesh since it came; until then it revalidates all that it has stored.
    pub caught_up: bool,
    /// Whether the node knows that it knows every purge; else it revalidates hits of services whose freshness is strict.
    pub fence_valid: bool,
    /// For how long it knows that without asking again; 0 while it does not.
    pub fence_remaining_ms: u64,
    /// Requests since the start.
    pub cache: CacheStatus,
    /// What is stored.
    pub store: StoreStatus,
    /// The origins of all services.
    pub origins: Vec<OriginStatus>,
    /// Its place in the mesh; absent when it stands alone.
    pub mesh: Option<MeshStatus>,
    /// What an operator should look at, for people.
    #[serde(default)]
    pub problems: Vec<String>,
    /// Its part in its region's group; absent when it stands alone.
    pub group: Option<RegionStatus>,
}

/// The group of a region, as one of its nodes sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionStatus {
    /// `none` (not in the group), `learner`, `follower`, `candidate`, `leader`, or `failed`.
    pub role: String,
    /// The name of the leader, if one is known.
    pub leader: Option<String>,
    /// Raft's term.
    pub term: u64,
    /// The life of the region's log, as 16 hexadecimal digits.
    pub epoch: String,
    /// The names of the voters, which are the region's shields.
    pub voters: Vec<String>,
    /// The names of those that follow the log without a vote.
    pub learners: Vec<String>,
    /// The last entry that is known to be committed, as `epoch/index`.
    pub committed: Option<String>,
    /// What keeps the group from its work here, for people.
    pub problem: Option<String>,
}

/// A node's place in the mesh.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct MeshStatus {
    /// The node's id.
    pub id: String,
    /// Where it listens for other nodes.
    pub address: String,
    /// Whether it lets in whoever reaches it, on this machine; else who shows a ticket of its cluster.
    pub open: bool,
    /// Nodes that are alive, itself included.
    pub alive: usize,
    /// Nodes that are suspected.
    pub suspect: usize,
    /// Nodes that are dead and not yet forgotten.
    pub dead: usize,
    /// Nodes that left and are not yet forgotten.
    pub left: usize,
    /// Nodes in the ring of its PoP.
    pub ring_nodes: usize,
}

/// Requests since the start.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct CacheStatus {
    /// All.
    pub requests: u64,
    /// Answered from the store.
    pub hits: u64,
    /// Of these, stale.
    pub stale: u64,
    /// Sent to an origin.
    pub misses: u64,
    /// Answered with a 5xx.
    pub errors: u64,
    /// Body bytes sent.
    pub sent_bytes: u64,
}

/// What is stored.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct StoreStatus {
    /// Objects in memory.
    pub memory_objects: u64,
    /// Bytes in memory.
    pub memory_bytes: u64,
    /// The budget of memory.
    pub memory_bytes_max: u64,
    /// Objects on disk.
    pub disk_objects: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// The cap of the disk.
    pub disk_bytes_max: u64,
    /// Objects and slices that had to go.
    pub evictions: u64,
    /// Slices whose checksum was wrong.
    pub damaged_slices: u64,
    /// Selectors in the purge table.
    pub purge_selectors: u64,
}

/// One origin.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct OriginStatus {
    /// Whose it is.
    pub service: String,
    /// Where it is.
    pub url: String,
    /// Whether it is asked.
    pub healthy: bool,
    /// Why not.
    pub reason: Option<String>,
    /// Requests under way.
    pub in_flight: u64,
}

/// A refusal: its status, and what it says.
#[derive(Clone, Debug)]
pub struct ApiError {
    /// The status.
    pub status: StatusCode,
    /// A word for programs.
    pub code: &'static str,
    /// A sentence for people.
    pub message: String,
    /// The field of the body that is wrong.
    pub field: Option<String>,
}

/// The JSON of an [`ApiError`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ErrorBody {
    /// Its content.
    pub error: ErrorDetail,
}

/// The content of an [`ErrorBody`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// A word for programs.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// The field of the body that is wrong.
    pub field: Option<String>,
}

impl ApiError {
    /// An error that names no field.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), field: None }
    }

    /// A field of the body is understood and wrong.
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        let field = Some(field.into());
        Self { field, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message) }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let error = ErrorDetail { code: self.code.to_owned(), message: self.message, field: self.field };
        let mut response = (self.status, Json(ErrorBody { error })).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 9110 section 15.5.2: a 401 says what is wanted.
            let challenge = http::HeaderValue::from_static("Bearer realm=\"starling\"");
            response.headers_mut().insert(http::header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
