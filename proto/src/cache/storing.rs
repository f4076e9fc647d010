//! May an answer be stored, and as what (RFC 9111 section 3)?
//!
//! The order of the questions is the order of [`judge`]; the first "no" is the reason given. What passes
//! becomes a [`StoredHead`] in which everything about using it again is worked out.

use http::{
    HeaderMap, Method, StatusCode,
    header::{
        AGE, AUTHORIZATION, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_RANGE, ETAG, LAST_MODIFIED, SET_COOKIE,
    },
};

pub use super::head::{Lifetime, LifetimeSource, ReuseRules, StaleRule, StoredHead, strong_etag};
use super::{
    Policy,
    directives::{Directives, RequestDirectives},
    fields, freshness, locations,
    policy::SetCookie,
    range::ContentRange,
    tags, vary,
};
use crate::UnixMs;

/// An answer of the origin, and the request that it answers.
#[derive(Clone, Copy, Debug)]
pub struct Fetched<'a> {
    /// The method of the request.
    pub method: &'a Method,
    /// The fields of the client's request that brought it.
    pub request_headers: &'a HeaderMap,
    /// Path and query of the request.
    pub path: &'a str,
    /// When the request was sent.
    pub request_ms: UnixMs,
    /// When the head of the answer came.
    pub response_ms: UnixMs,
    /// Its status.
    pub status: StatusCode,
    /// Its fields, as received.
    pub headers: &'a HeaderMap,
    /// How old it was when it came, where another node of this mesh worked that out: it stands for what
    /// `Age` and `Date` would say, which that node has counted already.
    pub initial_age_ms: Option<u64>,
}

/// Why an answer is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoStoreReason {
    /// The method is not `GET`.
    Method,
    /// The status is not final, or tells of this one request (412, 416, ...).
    Status,
    /// 206: to be stored by pieces, with [`admit_partial`].
    Partial,
    /// A 206 that no body can be put together from: no strong validator, no known length, several ranges.
    PartialUnusable,
    /// The response says `no-store`.
    NoStore,
    /// The request says `no-store`.
    RequestNoStore,
    /// The response is `private`.
    Private,
    /// `must-understand` with a status that this cache does not know.
    NotUnderstood,
    /// The request had `Authorization` and the response does not permit sharing.
    Authorization,
    /// It sets a cookie, and policy or missing freshness forbids to share that.
    SetCookie,
    /// `Vary` has `*`, or a member that is no field name.
    VaryAny,
    /// `Vary` names more fields than are worth telling apart.
    VaryTooMany,
    /// Nothing says that this status may be stored.
    StatusUnsaid,
    /// It says nothing of freshness and has nothing to validate it by.
    FreshnessUnsaid,
    /// It is stale at once and has nothing to validate it by.
    NoUse,
    /// Its body is larger than any the store takes.
    TooLarge,
    /// A `POST` whose answer is not said to be that of a `GET` (RFC 9110 section 9.3.3).
    PostUnsaid,
}

impl NoStoreReason {
    /// Whether the reason lies in this one request: another client's answer may well be stored.
    pub fn is_of_request(self) -> bool {
        matches!(self, Self::RequestNoStore | Self::Authorization)
    }

    /// The reason as `Cache-Status`, log and metrics say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Status => "status",
            Self::Partial => "partial",
            Self::PartialUnusable => "partial-unusable",
            Self::NoStore => "no-store",
            Self::RequestNoStore => "request-no-store",
            Self::Private => "private",
            Self::NotUnderstood => "not-understood",
            Self::Authorization => "authorization",
            Self::SetCookie => "set-cookie",
            Self::VaryAny => "vary-any",
            Self::VaryTooMany => "vary-too-many",
            Self::StatusUnsaid => "status-unsaid",
            Self::FreshnessUnsaid => "freshness-unsaid",
            Self::NoUse => "no-use",
            Self::TooLarge => "too-large",
            Self::PostUnsaid => "post-unsaid",
        }
    }
}

/// Whether the answer to a `GET` may be stored, and as what.
pub fn admit(fetched: &Fetched<'_>, policy: &Policy) -> Result<StoredHead, NoStoreReason> {
    if fetched.method != Method::GET {
        return Err(NoStoreReason::Method);
    }
    if fetched.status == StatusCode::PARTIAL_CONTENT {
        return Err(NoStoreReason::Partial);
    }
    judge(fetched, end_to_end(fetched), policy)
}

/// Whether a 206 may be stored as a piece of the 200 it is part of, and which piece it is.
///
/// Only with a strong validator and a known length: pieces that might be of different bodies are never put
/// together (RFC 9111 section 3.4).
pub fn admit_partial(
    fetched: &Fetched<'_>,
    policy: &Policy,
) -> Result<(StoredHead, ContentRange), NoStoreReason> {
    if fetched.method != Method::GET {
        return Err(NoStoreReason::Method);
    }
    let piece = fields::sole(fetched.headers, &CONTENT_RANGE)
        .filter(|_| fetched.status == StatusCode::PARTIAL_CONTENT)
        .and_then(ContentRange::parse)
        .filter(|piece| piece.total.is_some() && !piece.range.is_empty())
        // A part that claims to be all of it would be taken for the whole by the word of one answer.
        .filter(|piece| piece.total != Some(piece.range.end - piece.range.start))
        .ok_or(NoStoreReason::PartialUnusable)?;
    let mut headers = end_to_end(fetched);
    headers.remove(CONTENT_RANGE);
    headers.remove(CONTENT_LENGTH);
    let head = judge(&Fetched { status: StatusCode::OK, ..*fetched }, headers, policy)?;
    if head.strong_etag().is_none() {
        return Err(NoStoreReason::PartialUnusable);
    }
    Ok((head, piece))
}

/// Whether the answer to a `POST` may be stored for later `GET`s of the same URL: a 200 whose
/// `Content-Location` is that URL, with explicit freshness (RFC 9110 section 9.3.3).
///
/// Call it after [`super::invalidate::targets`] has been carried out.
pub fn post_stores_for_get(
    fetched: &Fetched<'_>,
    host: &str,
    policy: &Policy,
) -> Result<StoredHead, NoStoreReason> {
    let is_of_get = fields::sole(fetched.headers, &CONTENT_LOCATION)
        .and_then(|value| locations::resolve(host, fetched.path, value.as_bytes()))
        .is_some_and(|path| path == fetched.path);
    if fetched.method != Method::POST || fetched.status != StatusCode::OK || !is_of_get {
        return Err(NoStoreReason::PostUnsaid);
    }
    let head = judge(fetched, end_to_end(fetched), policy)?;
    if head.lifetime.source.is_of_origin() { Ok(head) } else { Err(NoStoreReason::PostUnsaid) }
}

/// The fields of the answer that may be stored at all, with a `Date`.
pub(super) fn end_to_end(fetched: &Fetched<'_>) -> HeaderMap {
    let mut headers = fetched.headers.clone();
    fields::strip_hop_by_hop(&mut headers);
    fields::ensure_date(&mut headers, fetched.response_ms);
    headers
}

/// Asks all questions of RFC 9111 section 3 but that of the method, of `headers` in place of the fetched ones.
pub(super) fn judge(
    fetched: &Fetched<'_>,
    mut headers: HeaderMap,
    policy: &Policy,
) -> Result<StoredHead, NoStoreReason> {
    let status = fetched.status;
    if !may_be_stored(status) {
        return Err(NoStoreReason::Status);
    }
    if policy.honour_request_directives && RequestDirectives::of(fetched.request_headers).no_store {
        return Err(NoStoreReason::RequestNoStore);
    }
    let (directives, source) = Directives::governing(&headers, policy.read_surrogate_control);
    // `must-understand` outdoes `no-store` where the status is understood (RFC 9111 section 5.2.2.3).
    match (directives.must_understand, is_understood(status)) {
        (true, false) => return Err(NoStoreReason::NotUnderstood),
        (false, _) if directives.no_store => return Err(NoStoreReason::NoStore),
        _ => {}
    }
    if directives.private.is_whole() {
        return Err(NoStoreReason::Private);
    }
    if fetched.request_headers.contains_key(AUTHORIZATION) && !permits_sharing(&directives) {
        return Err(NoStoreReason::Authorization);
    }
    let vary = vary::selecting(&headers, fetched.request_headers)?;

    let unvalidated = || directives.no_cache.fields().iter().chain(directives.private.fields());
    let sets_cookie = headers.contains_key(SET_COOKIE) && !unvalidated().any(|name| name == SET_COOKIE);
    let initial_age_ms = fetched
        .initial_age_ms
        .unwrap_or_else(|| freshness::initial_age_ms(&headers, fetched.request_ms, fetched.response_ms));
    let overridden = if sets_cookie { None } else { freshness::overridden(status, fetched.path, policy) };
    let lifetime = overridden.unwrap_or_else(|| {
        freshness::lifetime(status, &headers, (&directives, source), fetched.response_ms, policy)
    });
    if sets_cookie && (policy.store_set_cookie == SetCookie::Never || !is_explicit(lifetime, &directives)) {
        return Err(NoStoreReason::SetCookie);
    }
    // Fields that must not be used again unvalidated are not kept (RFC 9111 sections 5.2.2.4 and 5.2.2.7).
    for name in unvalidated() {
        headers.remove(name);
    }
    headers.remove(AGE);

    let rules = reuse_rules(&directives);
    check_use(status, &headers, lifetime, &directives, &rules)?;
    let tags = tags::tags(&headers);
    Ok(StoredHead {
        status: status.as_u16(),
        headers,
        request_ms: fetched.request_ms,
        response_ms: fetched.response_ms,
        initial_age_ms,
        lifetime,
        rules,
        vary,
        tags,
    })
}

/// Whether a response with this status can ever answer another request.
///
/// Refused: interim ones, 206 and 304, which are parts; those that tell of one request's conditions, range,
/// credentials, connection or size of head; and those that RFC 6585 forbids to store.
fn may_be_stored(status: StatusCode) -> bool {
    !status.is_informational()
        && !matches!(
            status.as_u16(),
            206 | 304 | 407 | 408 | 412 | 416 | 417 | 421 | 425 | 426 | 428 | 429 | 431 | 511
        )
}

/// Whether this cache knows what the status asks of caches.
fn is_understood(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200..=205 | 300..=303 | 305 | 307 | 308 | 400..=406 | 409..=411 | 413..=415 | 422 | 451 | 500..=505)
}

/// Whether a response to a request with `Authorization` may be shared (RFC 9111 section 3.5).
fn permits_sharing(directives: &Directives) -> bool {
    directives.public || directives.must_revalidate || directives.s_maxage.is_some()
}

fn reuse_rules(directives: &Directives) -> ReuseRules {
    let stale = match directives {
        Directives { must_revalidate: true, .. } => StaleRule::MustRevalidate,
        Directives { proxy_revalidate: true, .. } => StaleRule::ProxyRevalidate,
        Directives { s_maxage: Some(_), .. } => StaleRule::OnlyAsGranted,
        _ => StaleRule::Allowed,
    };
    ReuseRules {
        no_cache: directives.no_cache.is_whole(),
        stale,
        stale_while_revalidate_ms: directives.stale_while_revalidate.map(|seconds| seconds * 1000),
        stale_if_error_ms: directives.stale_if_error.map(|seconds| seconds * 1000),
        immutable: directives.immutable,
    }
}

/// Whether the origin itself said that sharing is fine, or for how long.
fn is_explicit(lifetime: Lifetime, directives: &Directives) -> bool {
    directives.public || lifetime.source.is_of_origin()
}

/// Refuses what nothing allows to store, and what no later request could use.
fn check_use(
    status: StatusCode,
    headers: &HeaderMap,
    lifetime: Lifetime,
    directives: &Directives,
    rules: &ReuseRules,
) -> Result<(), NoStoreReason> {
    let is_unsaid = lifetime.source == LifetimeSource::Unsaid;
    if is_unsaid && !directives.public && !freshness::is_heuristically_cacheable(status) {
        return Err(NoStoreReason::StatusUnsaid);
    }
    if headers.contains_key(ETAG) || headers.contains_key(LAST_MODIFIED) {
        return Ok(());
    }
    let granted =
        [rules.stale_while_revalidate_ms, rules.stale_if_error_ms].into_iter().flatten().any(|ms| ms > 0);
    match lifetime.ms {
        _ if rules.no_cache => Err(NoStoreReason::NoUse),
        0 if granted => Ok(()),
        0 if is_unsaid => Err(NoStoreReason::FreshnessUnsaid),
        0 => Err(NoStoreReason::NoUse),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "storing_tests.rs"]
mod tests;
