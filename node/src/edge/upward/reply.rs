//! What came of a question, whichever way it came.

use std::{collections::VecDeque, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use starling_proto::{
    UnixMs,
    cache::{fields, freshness, storing::strong_etag},
    purge::Stamp,
    ring::Hop,
};

use super::{PeerAnswer, PeerBody, word};
use crate::{
    link::AskError,
    origin::{Response, ResponseBody},
};

/// The members of `Cache-Status` of the nodes above, if there were any.
pub type Upper = Option<Arc<str>>;

/// An answer of the origin, or of a peer.
pub struct Reply {
    /// Never 1xx.
    pub status: StatusCode,
    /// As the origin sent them.
    pub headers: HeaderMap,
    /// The content.
    pub body: ReplyBody,
    /// Who gave it: the URL of an origin, the name of a node.
    pub source: Arc<str>,
    /// What the nodes above say of themselves.
    pub upper: Upper,
    /// The purges that were applied before the origin was asked.
    pub stamp: Stamp,
    /// When the origin was asked, by this node's clock; for what a peer gives, not later than that.
    pub request_ms: UnixMs,
    /// When the origin's answer came, in the same way.
    pub response_ms: UnixMs,
    /// Who gives the bytes.
    pub fed_by: Hop,
    given: Given,
}

enum Given {
    ByOrigin,
    /// By a peer, which says whether it may be shared.
    ByPeer(Option<Shared>),
}

/// What a peer says of an answer that may be shared.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Its age when it came from the origin.
    pub initial_age_ms: u64,
    /// Whether the origin was asked because of this question.
    pub fetched: bool,
    /// Which bytes follow.
    pub range: Range<u64>,
}

/// Why a body ended early.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct Cut {
    /// In a word.
    pub why: &'static str,
    text: String,
}

/// A body as it arrives. Dropped before its end, who sends it is told to stop.
pub enum ReplyBody {
    /// From the origin.
    Origin(ResponseBody),
    /// From a peer: what was held back, then the rest. Nobody locks it; it may be looked at while it is held.
    Peer(VecDeque<Bytes>, Mutex<PeerBody>),
}

impl Reply {
    /// An answer of the origin.
    pub fn of_origin(response: Response, stamp: Stamp, request_ms: UnixMs, response_ms: UnixMs) -> Self {
        Self {
            status: response.status,
            headers: response.headers,
            body: ReplyBody::Origin(response.body),
            source: response.origin,
            upper: None,
            stamp,
            request_ms,
            response_ms,
            fed_by: Hop::Origin,
            given: Given::ByOrigin,
        }
    }

    /// An answer of the peer called `name`, to a question that was sent and answered at these times.
    ///
    /// Clocks of nodes differ, so the peer tells spans. The answer of the origin is put at the earliest time at
    /// which it can have come: it is never taken for younger than it is.
    pub fn of_peer(
        answer: PeerAnswer,
        name: Arc<str>,
        fed_by: Hop,
        (sent_ms, received_ms): (UnixMs, UnixMs),
    ) -> Result<Self, &'static str> {
        let PeerAnswer { head, body } = answer;
        let status = StatusCode::from_u16(head.status).map_err(|_| "no status")?;
        if status.is_informational() || head.range.0 > head.range.1 {
            return Err("no final status, or no range");
        }
        let mut headers = HeaderMap::with_capacity(head.headers.len());
        for (name, value) in head.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "no field name")?;
            headers.append(name, HeaderValue::from_maybe_shared(value).map_err(|_| "no field value")?);
        }
        fields::strip_hop_by_hop(&mut headers);
        let (mut stamp, mut response_ms, mut delay_ms, mut shared) = (Stamp::default(), received_ms, 0, None);
        if let Some(provenance) = head.stored {
            delay_ms = provenance.response_delay_ms;
            response_ms = match provenance.fetched {
                // The origin was asked after the question was sent.
                true => sent_ms.saturating_add(delay_ms).min(received_ms),
                false => sent_ms.saturating_sub(provenance.resident_ms),
            };
            stamp = Arc::new(provenance.stamp);
            shared = Some(Shared {
                initial_age_ms: provenance.initial_age_ms,
                fetched: provenance.fetched,
                range: head.range.0..head.range.1,
            });
        }
        Ok(Self {
            status,
            headers,
            body: ReplyBody::Peer(VecDeque::new(), Mutex::new(body)),
            source: name,
            upper: Some(head.cache_status.into()),
            stamp,
            request_ms: response_ms.saturating_sub(delay_ms),
            response_ms,
            fed_by,
            given: Given::ByPeer(shared),
        })
    }

    /// Whether a peer gave it.
    pub fn is_of_peer(&self) -> bool {
        matches!(self.given, Given::ByPeer(_))
    }

    /// Whether a peer gave it, and says that it is for this client only.
    pub fn is_private(&self) -> bool {
        matches!(self.given, Given::ByPeer(None))
    }

    /// What a peer says of it, if it may be shared.
    pub fn shared(&self) -> Option<&Shared> {
        match &self.given {
            Given::ByPeer(shared) => shared.as_ref(),
            Given::ByOrigin => None,
        }
    }

    /// How old it was when it came from the origin.
    pub fn initial_age_ms(&self) -> u64 {
        match self.shared() {
            Some(shared) => shared.initial_age_ms,
            None => freshness::initial_age_ms(&self.headers, self.request_ms, self.response_ms),
        }
    }

    /// How old it is.
    pub fn age_ms(&self, now: UnixMs) -> u64 {
        self.initial_age_ms().saturating_add(now.saturating_sub(self.response_ms))
    }

    /// Whether the rest of its body can be had from somebody else: it is shared, of a known length, and its
    /// validator is strong.
    pub fn is_resumable(&self) -> bool {
        let has_length = self.headers.contains_key(header::CONTENT_LENGTH);
        !self.is_private() && has_length && strong_etag(&self.headers).is_some()
    }
}

impl ReplyBody {
    /// The next bytes; `None` once the body is whole. After an error, `None` too.
    pub async fn next(&mut self) -> Option<Result<Bytes, Cut>> {
        match self {
            Self::Origin(body) => {
                let chunk = body.next().await?;
                Some(chunk.map_err(|error| Cut { why: error.as_str(), text: error.to_string() }))
            }
            Self::Peer(held, rest) => {
                if let Some(chunk) = held.pop_front() {
                    return Some(Ok(chunk));
                }
                let chunk = rest.get_mut().next().await?;
                Some(chunk.map_err(|error| Cut { why: word(&error.kind), text: error.to_string() }))
            }
        }
    }

    /// Holds what comes of a peer's body until it is whole, much, or late: if the peer fails by then, nothing
    /// was handed on, and another can be asked.
    pub async fn hold_back(&mut self, bytes_max: usize, time: Duration) -> Result<(), AskError> {
        let Self::Peer(held, rest) = self else { return Ok(()) };
        let until = tokio::time::Instant::now() + time;
        let mut bytes = 0;
        while bytes < bytes_max {
            match tokio::time::timeout_at(until, rest.get_mut().next()).await {
                Ok(Some(chunk)) => {
                    let chunk = chunk?;
                    bytes += chunk.len();
                    held.push_back(chunk);
                }
                Ok(None) => {
                    *rest.get_mut() = stream::empty().boxed();
                    break;
                }
                Err(_) => break,
            }
        }
        Ok(())
    }
}
