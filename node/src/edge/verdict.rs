//! How a request went, in the words of RFC 9211.

use std::sync::Arc;

use starling_proto::cache::status::HopStatus;

use super::upward::Upper;

/// What became of a request; one word each, the same in logs, metrics and docs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A fresh stored response was served.
    Hit,
    /// A stale stored response was served.
    Stale,
    /// A stored response was served after the origin said that it still holds.
    Revalidated,
    /// The origin was asked, and its answer was stored.
    Miss,
    /// The origin was asked, and its answer may not be stored.
    Uncacheable,
    /// The request went past the cache.
    Pass,
    /// The node answered by itself: an error, a refusal, a purge.
    Answered,
}

impl Outcome {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 7] = [
        Self::Hit,
        Self::Stale,
        Self::Revalidated,
        Self::Miss,
        Self::Uncacheable,
        Self::Pass,
        Self::Answered,
    ];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Revalidated => "revalidated",
            Self::Miss => "miss",
            Self::Uncacheable => "uncacheable",
            Self::Pass => "pass",
            Self::Answered => "answered",
        }
    }
}

/// How a request went, so far.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What became of it.
    pub outcome: Outcome,
    /// Why it went forward, as an RFC 9211 token; `None` for a hit.
    pub fwd: Option<&'static str>,
    /// What the origin answered.
    pub fwd_status: Option<u16>,
    /// Whether the answer was stored.
    pub stored: bool,
    /// Whether another request's fill brought it.
    pub collapsed: bool,
    /// Our own, finer reason.
    pub detail: Option<&'static str>,
    /// Which origin answered, or which node.
    pub origin: Option<Arc<str>>,
    /// What the nodes above say of themselves.
    pub upper: Upper,
}

impl Verdict {
    /// A verdict with nothing but its outcome.
    pub fn new(outcome: Outcome) -> Self {
        Self {
            outcome,
            fwd: None,
            fwd_status: None,
            stored: false,
            collapsed: false,
            detail: None,
            origin: None,
            upper: None,
        }
    }

    /// This node's member of `Cache-Status`.
    pub fn hop<'a>(&'a self, node: &'a str, ttl_s: Option<i64>) -> HopStatus<'a> {
        HopStatus {
            cache: node,
            hit: self.fwd.is_none() && matches!(self.outcome, Outcome::Hit | Outcome::Stale),
            fwd: self.fwd,
            fwd_status: self.fwd_status,
            stored: self.stored,
            collapsed: self.collapsed,
            ttl_s,
            detail: self.detail,
        }
    }
}
