//! How old a response is, and how long it is fresh (RFC 9111 section 4.2).

use http::{
    HeaderMap, StatusCode,
    header::{CACHE_CONTROL, DATE, EXPIRES, LAST_MODIFIED},
};

use super::{
    Policy,
    directives::{Directives, Source, pragma_no_cache},
    fields,
    head::{Lifetime, LifetimeSource},
};
use crate::UnixMs;

/// Statuses that an override without a list of statuses covers.
const OVERRIDE_STATUSES: [u16; 8] = [200, 203, 206, 300, 301, 308, 404, 410];

/// `corrected_initial_age` of RFC 9111 section 4.2.3, in milliseconds.
///
/// Both estimates count: the apparent age, by `Date` and our clock, and what `Age` says plus the whole time
/// the answer took. An invalid `Age` says nothing, a missing or malformed `Date` makes no apparent age.
pub fn initial_age_ms(headers: &HeaderMap, request_ms: UnixMs, response_ms: UnixMs) -> u64 {
    let apparent_age_ms =
        fields::date(headers, &DATE, response_ms).map_or(0, |date| response_ms.saturating_sub(date));
    let age_value_ms = fields::age_seconds(headers).unwrap_or(0) * 1000;
    let response_delay_ms = response_ms.saturating_sub(request_ms);
    apparent_age_ms.max(age_value_ms.saturating_add(response_delay_ms))
}

/// How long a response is fresh, by the first of: the governing field's `s-maxage`, its `max-age`,
/// `Expires`, a heuristic, the operator's default.
pub fn lifetime(
    status: StatusCode,
    headers: &HeaderMap,
    governing: (&Directives, Source),
    response_ms: UnixMs,
    policy: &Policy,
) -> Lifetime {
    explicit(headers, governing, response_ms)
        .or_else(|| implicit(status, headers, governing, response_ms, policy))
        .unwrap_or(Lifetime { ms: 0, source: LifetimeSource::Unsaid })
}

/// The lifetime that the operator gives the response, whatever the origin says of it.
pub fn overridden(status: StatusCode, path: &str, policy: &Policy) -> Option<Lifetime> {
    let line = policy.ttl_override.iter().find(|line| {
        let statuses = if line.statuses.is_empty() { &OVERRIDE_STATUSES[..] } else { &line.statuses };
        statuses.contains(&status.as_u16()) && path.starts_with(&line.path_prefix)
    })?;
    Some(Lifetime { ms: line.ttl_ms, source: LifetimeSource::Override })
}

/// What the origin says (RFC 9111 section 4.2.1). An `Expires` that is no date is in the past (section 5.3).
fn explicit(
    headers: &HeaderMap,
    (directives, source): (&Directives, Source),
    response_ms: UnixMs,
) -> Option<Lifetime> {
    let (seconds, of_cache_control) = match (directives.s_maxage, directives.max_age) {
        (Some(seconds), _) => (Some(seconds), LifetimeSource::SharedMaxAge),
        (None, seconds) => (seconds, LifetimeSource::MaxAge),
    };
    if let Some(seconds) = seconds {
        let source = match source {
            Source::Targeted => LifetimeSource::Targeted,
            Source::Surrogate => LifetimeSource::Surrogate,
            Source::CacheControl => of_cache_control,
        };
        return Some(Lifetime { ms: seconds * 1000, source });
    }
    if source != Source::CacheControl || !headers.contains_key(EXPIRES) {
        return None;
    }
    let date = fields::date(headers, &DATE, response_ms).unwrap_or(response_ms);
    let expires = fields::date(headers, &EXPIRES, response_ms).unwrap_or(0);
    Some(Lifetime { ms: expires.saturating_sub(date), source: LifetimeSource::Expires })
}

/// What may be assumed when the origin says nothing (RFC 9111 section 4.2.2).
fn implicit(
    status: StatusCode,
    headers: &HeaderMap,
    (directives, source): (&Directives, Source),
    response_ms: UnixMs,
    policy: &Policy,
) -> Option<Lifetime> {
    if !is_heuristically_cacheable(status) && !directives.public {
        return None;
    }
    let said_by_pragma =
        source == Source::CacheControl && !headers.contains_key(CACHE_CONTROL) && pragma_no_cache(headers);
    if said_by_pragma {
        return None;
    }
    let date = fields::date(headers, &DATE, response_ms).unwrap_or(response_ms);
    if let Some(modified) = fields::date(headers, &LAST_MODIFIED, response_ms) {
        let ms = (u128::from(date.saturating_sub(modified)) * u128::from(policy.heuristic_percent) / 100)
            .min(u128::from(policy.heuristic_max_ms));
        let ms = u64::try_from(ms).unwrap_or(policy.heuristic_max_ms);
        return Some(Lifetime { ms, source: LifetimeSource::Heuristic });
    }
    (policy.default_ttl_ms > 0)
        .then_some(Lifetime { ms: policy.default_ttl_ms, source: LifetimeSource::Default })
}

/// Whether the status lets a lifetime be assumed (RFC 9110 section 15.1; 206 is judged as the 200 it is part of).
pub fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

#[cfg(test)]
#[path = "freshness_tests.rs"]
mod tests;
