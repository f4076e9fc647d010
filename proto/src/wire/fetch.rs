//! The fetch of an object from a peer, and its answer.

use core::net::SocketAddr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{FIELDS_MAX, bounded, codec::message};
use crate::{purge::Versions, ring::Hop};

/// A fetch of an object from a peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fetch {
    /// The request, as the client made it but for hop-by-hop fields; conditions and ranges are the asker's.
    pub request: HttpRequest,
    /// The hop at which the one who is asked stands: always above the asker's.
    pub hop: Hop,
    /// Answer from what is stored and whole, or refuse with [`Refusal::NotStored`]; ask nobody.
    pub stored_only: bool,
    /// Send no body byte from this offset of the representation on, where the rest can be had by range: it is
    /// owned by others.
    pub until: Option<u64>,
    /// How far the asker has applied each log.
    pub versions: Versions,
    /// The asker waits no longer than this for the head, in milliseconds.
    pub deadline_ms: u32,
    /// Names the client's request in the logs of all nodes it passes.
    pub trace: u64,
}

/// An HTTP request head, between nodes. [`HttpRequest::into_parts`] checks it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HttpRequest {
    /// `GET` or `HEAD`.
    pub method: String,
    /// Whether the client spoke TLS.
    pub is_https: bool,
    /// `Host` or `:authority`, as the client's front checked it.
    pub authority: String,
    /// Origin-form.
    pub path_and_query: String,
    /// The HTTP version the client spoke: 10, 11, 20 or 30.
    pub version: u8,
    /// Fields in order, names in lower case; at most [`FIELDS_MAX`].
    #[serde(deserialize_with = "bounded::list::<_, _, FIELDS_MAX>")]
    pub headers: Vec<(String, Bytes)>,
    /// The client.
    pub client: SocketAddr,
}

/// The head of an answer to a [`Fetch`]; a body follows. [`Answer::into_parts`] checks it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The fields as the origin sent them, end-to-end ones only: no `Age`, no edits of this hop; at most
    /// [`FIELDS_MAX`].
    #[serde(deserialize_with = "bounded::list::<_, _, FIELDS_MAX>")]
    pub headers: Vec<(String, Bytes)>,
    /// How it was had, where it can be shared; none for an answer that is for this client only.
    pub stored: Option<Provenance>,
    /// Which bytes of the representation follow as the body; `u64::MAX` as the end means: up to the end.
    /// For a 206 as in its `Content-Range`. An answer may stop short of the whole at [`Fetch::until`].
    pub range: (u64, u64),
    /// The members of `Cache-Status` of this hop and those above, ready to be put before the asker's own.
    pub cache_status: String,
    /// The origin or node that it came from, for logs.
    pub source: String,
}

/// How a stored response came into the mesh. Times are told as spans, for clocks of nodes differ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// The versions that were applied where the origin was asked, before it was asked.
    pub stamp: Versions,
    /// Milliseconds since the origin's answer came (RFC 9111 section 4.2.3 `response_time`).
    pub resident_ms: u64,
    /// Milliseconds between asking the origin and its answer.
    pub response_delay_ms: u64,
    /// The origin's `Age` and apparent age when the answer came, beyond the delay: `corrected_initial_age`.
    pub initial_age_ms: u64,
    /// Whether the origin confirmed or sent it because of this fetch.
    pub fetched: bool,
}

/// Why a peer gives no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// `stored_only` was asked, and nothing that may be used is stored.
    #[error("not stored")]
    NotStored,
    /// It has too much to do.
    #[error("too busy")]
    Busy,
    /// It is going away.
    #[error("draining")]
    Draining,
    /// It does not serve such a host, or does not do such a thing.
    #[error("not served there")]
    NotServed,
    /// No way to the content was left there; the text says what failed.
    #[error("failed there: {0}")]
    Failed(String),
}

message!(Fetch, 256 << 10, |fetch| {
    bounded::check("fields", fetch.request.headers.len(), FIELDS_MAX)?;
    bounded::check_versions(&fetch.versions)
});
message!(Answer, 256 << 10, |answer| {
    bounded::check("fields", answer.headers.len(), FIELDS_MAX)?;
    answer.stored.as_ref().map_or(Ok(()), |stored| bounded::check_versions(&stored.stamp))
});
message!(Refusal, 4 << 10, |_| Ok(()));
