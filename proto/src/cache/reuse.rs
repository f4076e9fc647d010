//! May a stored response answer this request (RFC 9111 section 4)?
//!
//! [`decide`] asks, and the first that holds is the answer:
//!
//! | # | what holds | answer |
//! | --- | --- | --- |
//! | 1 | the method is neither `GET` nor `HEAD` | fetch |
//! | 2 | hard purge, or older than any object may be | fetch |
//! | 3 | the response says `no-cache` | revalidate |
//! | 4 | the request says `no-cache`, or asks for younger or longer fresh | revalidate |
//! | 5 | the node does not trust what it has ([`Trust`]) | revalidate |
//! | 6 | it cannot be told whether it was purged | revalidate |
//! | 7 | soft purge | stale while revalidating where granted, else revalidate |
//! | 8 | fresh | serve |
//! | 9 | the request's `max-stale` accepts it, and staleness is not forbidden | serve stale |
//! | 10 | within `stale-while-revalidate` | serve stale, revalidate |
//! | 11 | otherwise | revalidate |
//!
//! The caller has picked the variant with [`super::vary::matches`] and answers the request's own
//! preconditions and range afterwards. [`serve_stale_on`] is asked when the origin failed; what is trusted less
//! stands in for it less often:
//!
//! | trust | revalidated as | fresh, and the origin failed |
//! | --- | --- | --- |
//! | full | `stale`, when it is | stands in: `still-fresh` |
//! | unsure | `not-caught-up` | stands in where a stale one might: `not-caught-up` |
//! | unfenced | `unfenced` | does not stand in: `unfenced`, and whoever asked gets an error |

use http::{HeaderMap, Method, StatusCode};

use super::{
    Policy,
    directives::RequestDirectives,
    storing::{StaleRule, StoredHead},
};
use crate::{UnixMs, purge::Purged};

/// A stored response and the request that it might answer.
#[derive(Clone, Copy, Debug)]
pub struct Reuse<'a> {
    /// The method of the request.
    pub method: &'a Method,
    /// The fields of the request.
    pub request_headers: &'a HeaderMap,
    /// The stored response that the request selects.
    pub stored: &'a StoredHead,
    /// What the purge table says of it.
    pub purged: Purged,
    /// How far the node trusts that it knows of all purges.
    pub trust: Trust,
    /// The policy of the service.
    pub policy: &'a Policy,
    /// The time of the decision.
    pub now: UnixMs,
}

/// How far a node may rely on it that what is stored was not purged without its knowledge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Trust {
    /// It knows of every purge, or may act as if it did.
    #[default]
    Full,
    /// It has not caught up with the mesh since it came (promise P4): what is stored is revalidated before use, and
    /// stands in for a failed origin as a stale response may.
    Unsure,
    /// It cannot prove that it knows every region's purges, and the service is strict (promise P5): what is stored
    /// is revalidated before use, and stands in for nothing.
    Unfenced,
}

/// What is to be done with a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// It is fresh: serve it.
    Serve,
    /// The request accepts it as it is: serve it, and ask nobody.
    ServeStale(StaleReason),
    /// Serve it, and ask the origin meanwhile.
    ServeStaleAndRevalidate(StaleReason),
    /// Ask the origin first, with the stored validators; a plain fetch where there are none.
    Revalidate(FetchReason),
    /// It must not be used, not even to revalidate.
    Fetch(FetchReason),
}

/// Why the origin is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FetchReason {
    /// Nothing is stored for the URL.
    UriMiss,
    /// Something is stored for the URL, but no variant that the request selects.
    VaryMiss,
    /// Nothing usable is stored, for a reason that is not told apart.
    Miss,
    /// What is stored lacks a part that the request needs.
    Partial,
    /// What is stored could not be read, or was damaged.
    Damaged,
    /// The service's rules keep this request from the cache.
    Bypass,
    /// The method is not answered from a cache.
    Method,
    /// What is stored is stale.
    Stale,
    /// What is stored says `no-cache`.
    NoCache,
    /// What is stored was softly purged.
    SoftPurged,
    /// What is stored was purged.
    Purged,
    /// It cannot be told whether what is stored was purged.
    MayBePurged,
    /// What is stored is older than any object may be.
    TooOld,
    /// The request says `no-cache`.
    RequestNoCache,
    /// The request's `max-age` is below the age.
    RequestMaxAge,
    /// The request's `min-fresh` is above the freshness left.
    RequestMinFresh,
    /// The node has not caught up with the mesh.
    NotCaughtUp,
    /// The node cannot prove that it knows every purge, and the service is strict.
    Unfenced,
}

impl FetchReason {
    /// The `fwd` token of `Cache-Status` (RFC 9211 section 2.2).
    pub fn as_fwd(self) -> &'static str {
        match self {
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Miss | Self::Damaged | Self::Purged | Self::TooOld => "miss",
            Self::Partial => "partial",
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::Stale
            | Self::NoCache
            | Self::SoftPurged
            | Self::MayBePurged
            | Self::NotCaughtUp
            | Self::Unfenced => "stale",
            Self::RequestNoCache | Self::RequestMaxAge | Self::RequestMinFresh => "request",
        }
    }

    /// The reason as the detail of `Cache-Status`, log and metrics say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Miss => "miss",
            Self::Partial => "partial",
            Self::Damaged => "damaged",
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::Stale => "stale",
            Self::NoCache => "no-cache",
            Self::SoftPurged => "soft-purged",
            Self::Purged => "purged",
            Self::MayBePurged => "may-be-purged",
            Self::TooOld => "too-old",
            Self::RequestNoCache => "request-no-cache",
            Self::RequestMaxAge => "request-max-age",
            Self::RequestMinFresh => "request-min-fresh",
            Self::NotCaughtUp => "not-caught-up",
            Self::Unfenced => "unfenced",
        }
    }
}

/// Why a response is served that the origin was not, or could not be, asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StaleReason {
    /// The request's `max-stale` accepts it.
    RequestMaxStale,
    /// Within `stale-while-revalidate` (RFC 5861 section 3).
    StaleWhileRevalidate,
    /// Softly purged, and `stale-while-revalidate` grants one more use.
    SoftPurged,
    /// The origin failed, within `stale-if-error` (RFC 5861 section 4).
    StaleIfError,
    /// The origin cannot be reached (RFC 9111 section 4.2.4).
    Disconnected,
    /// The origin failed, and the response is still fresh.
    StillFresh,
    /// The origin failed, and the response is fresh for all that is known at a node that has not caught up.
    NotCaughtUp,
}

impl StaleReason {
    /// The reason as `Cache-Status`, log and metrics say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequestMaxStale => "request-max-stale",
            Self::StaleWhileRevalidate => "stale-while-revalidate",
            Self::SoftPurged => "soft-purged",
            Self::StaleIfError => "stale-if-error",
            Self::Disconnected => "disconnected",
            Self::StillFresh => "still-fresh",
            Self::NotCaughtUp => "not-caught-up",
        }
    }
}

/// Why a stored response may not stand in for a failed origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoStaleReason {
    /// The method is not answered from a cache.
    Method,
    /// It was purged.
    Purged,
    /// It is older than any object may be.
    TooOld,
    /// It may have been purged without the node's knowledge, and the service is strict.
    Unfenced,
    /// It says `no-cache`.
    NoCache,
    /// It says `must-revalidate`.
    MustRevalidate,
    /// It says `proxy-revalidate`.
    ProxyRevalidate,
    /// It says `s-maxage`, and grants no window beside it.
    SharedMaxAge,
    /// The request says `no-cache`.
    RequestNoCache,
    /// It has been stale for longer than is granted.
    WindowPassed,
    /// The origin answered, with a status that nothing stands in for.
    Answered,
}

impl NoStaleReason {
    /// The reason as log and metrics say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Purged => "purged",
            Self::TooOld => "too-old",
            Self::Unfenced => "unfenced",
            Self::NoCache => "no-cache",
            Self::MustRevalidate => "must-revalidate",
            Self::ProxyRevalidate => "proxy-revalidate",
            Self::SharedMaxAge => "s-maxage",
            Self::RequestNoCache => "request-no-cache",
            Self::WindowPassed => "window-passed",
            Self::Answered => "answered",
        }
    }
}

/// How an origin failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No connection, or it broke before a response head.
    Disconnected,
    /// No response head in time.
    TimedOut,
    /// It answered with this status.
    Status(StatusCode),
}

/// What is to be done with the stored response; see the table above.
pub fn decide(reuse: &Reuse<'_>) -> Decision {
    let Reuse { stored, purged, policy, now, .. } = *reuse;
    if !is_method_cached(reuse.method) {
        return Decision::Fetch(FetchReason::Method);
    }
    if purged == Purged::Hard {
        return Decision::Fetch(FetchReason::Purged);
    }
    if is_too_old(reuse) {
        return Decision::Fetch(FetchReason::TooOld);
    }
    if stored.rules.no_cache {
        return Decision::Revalidate(FetchReason::NoCache);
    }
    let request = obeyed(reuse);
    if let Some(reason) = refused_by(&request, stored, now) {
        return Decision::Revalidate(reason);
    }
    match reuse.trust {
        Trust::Full => {}
        Trust::Unsure => return Decision::Revalidate(FetchReason::NotCaughtUp),
        Trust::Unfenced => return Decision::Revalidate(FetchReason::Unfenced),
    }
    if purged == Purged::Unknown {
        return Decision::Revalidate(FetchReason::MayBePurged);
    }
    let within_window = stored.staleness_ms(now) < revalidate_window_ms(stored, policy);
    if purged == Purged::Soft {
        return match within_window {
            true => Decision::ServeStaleAndRevalidate(StaleReason::SoftPurged),
            false => Decision::Revalidate(FetchReason::SoftPurged),
        };
    }
    if stored.is_fresh(now) {
        return Decision::Serve;
    }
    let is_accepted =
        request.max_stale.is_some_and(|seconds| stored.staleness_ms(now) <= seconds.saturating_mul(1000));
    if is_accepted && stored.rules.stale == StaleRule::Allowed {
        return Decision::ServeStale(StaleReason::RequestMaxStale);
    }
    match within_window {
        true => Decision::ServeStaleAndRevalidate(StaleReason::StaleWhileRevalidate),
        false => Decision::Revalidate(FetchReason::Stale),
    }
}

/// Whether the request wants a stored response or 504 (RFC 9111 section 5.2.1.7).
pub fn only_if_cached(request_headers: &HeaderMap) -> bool {
    RequestDirectives::of(request_headers).only_if_cached
}

/// Whether the stored response may stand in for an origin that failed.
///
/// A grant by `stale-if-error` covers every failure; without one, only an origin that cannot be reached is
/// stood in for, and only where no directive forbids it (RFC 9111 section 4.2.4).
pub fn serve_stale_on(trouble: Trouble, reuse: &Reuse<'_>) -> Result<StaleReason, NoStaleReason> {
    let Reuse { stored, purged, policy, now, .. } = *reuse;
    if !is_method_cached(reuse.method) {
        return Err(NoStaleReason::Method);
    }
    if purged == Purged::Hard {
        return Err(NoStaleReason::Purged);
    }
    if is_too_old(reuse) {
        return Err(NoStaleReason::TooOld);
    }
    if reuse.trust == Trust::Unfenced {
        return Err(NoStaleReason::Unfenced);
    }
    if stored.rules.no_cache {
        return Err(NoStaleReason::NoCache);
    }
    if let Trouble::Status(status) = trouble
        && !matches!(status.as_u16(), 500 | 502..=504)
    {
        return Err(NoStaleReason::Answered);
    }
    let request = obeyed(reuse);
    if request.no_cache {
        return Err(NoStaleReason::RequestNoCache);
    }
    let is_fresh = purged == Purged::No && stored.is_fresh(now);
    if is_fresh && reuse.trust == Trust::Full {
        return Ok(StaleReason::StillFresh);
    }
    match stored.rules.stale {
        StaleRule::MustRevalidate => return Err(NoStaleReason::MustRevalidate),
        StaleRule::ProxyRevalidate => return Err(NoStaleReason::ProxyRevalidate),
        StaleRule::Allowed | StaleRule::OnlyAsGranted => {}
    }
    let standing_in = |reason| if is_fresh { StaleReason::NotCaughtUp } else { reason };
    let staleness_ms = stored.staleness_ms(now);
    if staleness_ms < error_window_ms(stored, &request, policy) {
        return Ok(standing_in(StaleReason::StaleIfError));
    }
    match trouble {
        Trouble::Status(_) => Err(NoStaleReason::WindowPassed),
        _ if stored.rules.stale == StaleRule::OnlyAsGranted => Err(NoStaleReason::SharedMaxAge),
        _ if staleness_ms < policy.stale_when_disconnected_ms => Ok(standing_in(StaleReason::Disconnected)),
        _ => Err(NoStaleReason::WindowPassed),
    }
}

fn is_method_cached(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

fn is_too_old(reuse: &Reuse<'_>) -> bool {
    reuse.stored.resident_ms(reuse.now) > reuse.policy.object_lifetime_max_ms
}

/// The directives of the request that this service obeys.
fn obeyed(reuse: &Reuse<'_>) -> RequestDirectives {
    match reuse.policy.honour_request_directives {
        true => RequestDirectives::of(reuse.request_headers),
        false => RequestDirectives::default(),
    }
}

/// Why the request does not want the stored response as it is (RFC 9111 section 5.2.1).
fn refused_by(request: &RequestDirectives, stored: &StoredHead, now: UnixMs) -> Option<FetchReason> {
    if request.no_cache {
        return Some(FetchReason::RequestNoCache);
    }
    // RFC 8246 section 2: what is immutable while fresh has nothing newer to offer to a reload.
    let is_settled = stored.rules.immutable && stored.is_fresh(now);
    if request.max_age.is_some_and(|seconds| stored.age_ms(now) > seconds * 1000) && !is_settled {
        return Some(FetchReason::RequestMaxAge);
    }
    let ttl_ms = u64::try_from(stored.ttl_ms(now)).unwrap_or(0);
    request.min_fresh.filter(|seconds| ttl_ms < seconds * 1000).map(|_| FetchReason::RequestMinFresh)
}

/// How long after its lifetime a response may be served while it is revalidated.
fn revalidate_window_ms(stored: &StoredHead, policy: &Policy) -> u64 {
    let said = stored.rules.stale_while_revalidate_ms;
    match stored.rules.stale {
        StaleRule::Allowed => said.unwrap_or(policy.stale_while_revalidate_ms),
        StaleRule::OnlyAsGranted => said.unwrap_or(0),
        StaleRule::ProxyRevalidate | StaleRule::MustRevalidate => 0,
    }
}

/// How long after its lifetime a response may be served when the origin fails. The request can widen what is
/// the operator's or the client's to grant, not what the origin forbids.
fn error_window_ms(stored: &StoredHead, request: &RequestDirectives, policy: &Policy) -> u64 {
    let said = stored.rules.stale_if_error_ms;
    match stored.rules.stale {
        StaleRule::Allowed => {
            let asked = request.stale_if_error.map_or(0, |seconds| seconds * 1000);
            said.unwrap_or(policy.stale_if_error_ms).max(asked)
        }
        StaleRule::OnlyAsGranted => said.unwrap_or(0),
        StaleRule::ProxyRevalidate | StaleRule::MustRevalidate => 0,
    }
}

#[cfg(test)]
#[path = "reuse_tests.rs"]
mod tests;
