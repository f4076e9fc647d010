//! Field values: lists, numbers, dates, and which fields go no further than one hop.
//!
//! Nothing here knows what a field means for caching; it only reads and removes.

use std::time::{Duration, UNIX_EPOCH};

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        AGE, CONNECTION, DATE, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING,
        UPGRADE,
    },
};

pub use super::dates::parse as parse_date;
use crate::UnixMs;

/// Targeted cache control for caches of a content delivery network (RFC 9213).
pub const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");
/// Cache control for surrogates (Edge Architecture Specification section 2.2).
pub const SURROGATE_CONTROL: HeaderName = HeaderName::from_static("surrogate-control");
/// Tags, separated by spaces.
pub const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
/// Tags, separated by commas.
pub const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");
/// Groups that a response belongs to (RFC 9875 section 2).
pub const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");
/// Groups that an unsafe request has changed (RFC 9875 section 3).
pub const CACHE_GROUP_INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");

/// The largest number of seconds a field may say; more reads as this (RFC 9111 section 1.2.2).
pub const DELTA_SECONDS_MAX: u64 = 1 << 31;

/// Fields of one hop that need not be named by `Connection` (RFC 9110 section 7.6.1, RFC 9111 section 3.1).
const HOP_BY_HOP: [HeaderName; 10] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-authentication-info"),
];

/// Removes what the next hop must not see: the fixed hop-by-hop fields and whatever `Connection` names.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if let Some(listed) = joined(headers, &CONNECTION) {
        let names: Vec<_> = list(&listed).filter_map(|name| HeaderName::from_bytes(name).ok()).collect();
        for name in names {
            headers.remove(name);
        }
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Whether the field is one of the fixed hop-by-hop fields.
pub fn is_hop_by_hop(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(name)
}

/// Removes what an origin says to us alone: `Surrogate-Control` and the tags.
///
/// Called on every response on its way to a client. `CDN-Cache-Control` and `Cache-Groups` stay, since
/// caches below may belong to their audience.
pub fn strip_for_client(headers: &mut HeaderMap) {
    for name in [SURROGATE_CONTROL, SURROGATE_KEY, CACHE_TAG] {
        headers.remove(name);
    }
}

/// All lines of a field joined by `, ` (RFC 9110 section 5.3); `None` when there is no such field.
pub fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let mut lines = headers.get_all(name).iter();
    let mut value = lines.next()?.as_bytes().to_vec();
    for line in lines {
        value.extend_from_slice(b", ");
        value.extend_from_slice(line.as_bytes());
    }
    Some(value)
}

/// The non-empty members of a comma-separated list, without the whitespace around them.
///
/// A comma in a quoted string separates nothing. A quote that is never closed is an ordinary character, so
/// that it hides no later member.
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut rest, mut quotes) = (Some(value), true);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = position(text, b',', &mut quotes);
        rest = end.map(|at| &text[at + 1..]);
        Some(trim(&text[..end.unwrap_or(text.len())]))
    })
    .filter(|member| !member.is_empty())
}

/// Where `wanted` first stands outside quoted strings.
pub(super) fn unquoted_position(text: &[u8], wanted: u8) -> Option<usize> {
    position(text, wanted, &mut true)
}

/// As [`unquoted_position`], until an open quote clears `quotes`: looking for its end again from every later
/// quote would cost the square of the length.
fn position(text: &[u8], wanted: u8, quotes: &mut bool) -> Option<usize> {
    let mut at = 0;
    while at < text.len() {
        let byte = text[at];
        if byte == wanted {
            return Some(at);
        }
        let end = if byte == b'"' && *quotes { quoted_end(text, at) } else { Some(at + 1) };
        *quotes &= end.is_some();
        at = end.unwrap_or(at + 1);
    }
    None
}

/// The position after the quoted string that opens at `open`; `None` when it is never closed.
pub(super) fn quoted_end(text: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    while at < text.len() {
        match text[at] {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    None
}

/// The text without spaces and tabs at its ends (OWS, RFC 9110 section 5.6.3).
pub fn trim(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !matches!(byte, b' ' | b'\t')).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !matches!(byte, b' ' | b'\t')).map_or(start, |at| at + 1);
    &text[start..end]
}

/// A non-negative number of seconds, at most [`DELTA_SECONDS_MAX`] (RFC 9111 section 1.2.2).
pub fn delta_seconds(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds =
        text.iter().fold(0_u64, |sum, byte| sum.saturating_mul(10).saturating_add(u64::from(byte - b'0')));
    Some(seconds.min(DELTA_SECONDS_MAX))
}

/// `Age` in seconds: the first member counts, one that is not a number is ignored (RFC 9111 section 5.1).
pub fn age_seconds(headers: &HeaderMap) -> Option<u64> {
    let value = joined(headers, &AGE)?;
    delta_seconds(list(&value).next()?)
}

/// The instant a date field names; `None` when it is absent, malformed, or there are several that differ.
pub fn date(headers: &HeaderMap, name: &HeaderName, now: UnixMs) -> Option<UnixMs> {
    let value = sole(headers, name)?;
    parse_date(value.as_bytes(), now)
}

/// A date in one of the three forms of RFC 9110 section 5.6.7, to the letter.
pub fn strict_date(text: &str) -> Option<UnixMs> {
    let since_epoch = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since_epoch.as_millis()).ok()
}

/// The value of a field that may stand once; `None` when it is absent or its lines differ.
pub fn sole<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?;
    lines.all(|line| line == first).then_some(first)
}

/// `at` as an HTTP date, to the second.
pub fn format_date(at: UnixMs) -> HeaderValue {
    // The last second of the year 9999, which is as far as the format goes.
    let seconds = (at / 1000).min(253_402_300_799);
    let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
    HeaderValue::try_from(text).expect("an HTTP date is visible ASCII")
}

/// Gives a response that came without `Date` the time it came (RFC 9110 section 6.6.1). A malformed one stays.
pub(super) fn ensure_date(headers: &mut HeaderMap, response_ms: UnixMs) {
    headers.entry(DATE).or_insert_with(|| format_date(response_ms));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cache::testing::headers;

    #[test]
    fn connection_takes_the_fields_it_names_with_it() {
        let mut map = headers(&[
            ("connection", "a, B"),
            ("connection", "close"),
            ("a", "1"),
            ("b", "2"),
            ("c", "3"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("proxy-authenticate", "x"),
            ("proxy-authentication-info", "x"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("upgrade", "h2c"),
            ("proxy-connection", "x"),
        ]);
        strip_hop_by_hop(&mut map);
        assert_eq!(map, headers(&[("c", "3")]));
    }

    #[test]
    fn a_comma_in_quotes_separates_nothing() {
        let members: Vec<_> = list(br#"a="b, \"c", , d"#).collect();
        assert_eq!(members, [br#"a="b, \"c""#.as_slice(), b"d"]);
    }

    #[test]
    fn an_open_quote_hides_no_later_member() {
        assert_eq!(list(br#"a="b, no-store"#).last(), Some(b"no-store".as_slice()));
    }

    #[test]
    fn seconds_overflow_to_the_maximum_and_reject_what_is_no_number() {
        assert_eq!(delta_seconds(b"003600"), Some(3600));
        assert_eq!(delta_seconds(b"99999999999999999999999"), Some(DELTA_SECONDS_MAX));
        for text in [&b""[..], b"-1", b"1.0", b"1a", b"'1'", b" 1"] {
            assert_eq!(delta_seconds(text), None);
        }
    }

    #[test]
    fn the_first_age_counts_and_an_invalid_one_does_not() {
        assert_eq!(age_seconds(&headers(&[("age", "7200, 0")])), Some(7200));
        assert_eq!(age_seconds(&headers(&[("age", "0"), ("age", "7200")])), Some(0));
        for invalid in ["abc", "-7200", "7200.0", "7200;foo=bar", ""] {
            assert_eq!(age_seconds(&headers(&[("age", invalid)])), None, "{invalid}");
        }
    }

    #[test]
    fn the_client_does_not_see_what_was_meant_for_us() {
        let mut map = headers(&[
            ("surrogate-control", "max-age=1"),
            ("surrogate-key", "a"),
            ("cache-tag", "a"),
            ("cdn-cache-control", "max-age=1"),
            ("cache-groups", "\"a\""),
        ]);
        strip_for_client(&mut map);
        assert_eq!(map, headers(&[("cdn-cache-control", "max-age=1"), ("cache-groups", "\"a\"")]));
    }

    proptest! {
        #[test]
        fn a_list_loses_no_byte_but_separators(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let kept: usize = list(&bytes).map(<[u8]>::len).sum();
            prop_assert!(kept <= bytes.len());
            let _ = delta_seconds(&bytes);
        }
    }
}
