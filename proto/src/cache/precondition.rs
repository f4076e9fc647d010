//! Conditional requests, answered from what is stored (RFC 9110 section 13, RFC 9111 section 4.3.2).
//!
//! Only the client's conditions are judged here; the conditions that the cache itself puts to the origin
//! are made elsewhere, from the stored validators.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{
        CACHE_CONTROL, CONTENT_LOCATION, DATE, ETAG, EXPIRES, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
        IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED, VARY,
    },
};

use super::{StoredHead, fields};
use crate::UnixMs;

/// What the conditions of a request come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Answer as if there were none.
    Proceed,
    /// 304: the client has what is stored.
    NotModified,
    /// 412: what is stored is not what the client insists on. RFC 9111 section 4.3.2 leaves `If-Match` and
    /// `If-Unmodified-Since` to the origin, so a cache that can ask it does; the stored response is no
    /// answer in either case.
    Failed,
}

/// Judges the conditions of a request against the stored response, in the order of RFC 9110 section 13.2.2.
///
/// Conditions count only for GET and HEAD, and only where the answer would otherwise be 200
/// (RFC 9110 section 13.2.1).
pub fn evaluate(method: &Method, request_headers: &HeaderMap, stored: &StoredHead) -> Precondition {
    if !matches!(*method, Method::GET | Method::HEAD) || stored.status != 200 {
        return Precondition::Proceed;
    }
    let etag = stored.headers.get(ETAG).map(HeaderValue::as_bytes);
    if request_headers.contains_key(IF_MATCH) {
        if !lists_tag(request_headers, IF_MATCH, |tag| etag.is_some_and(|etag| strongly_equal(tag, etag))) {
            return Precondition::Failed;
        }
    } else if let Some(limit) = only_date(request_headers, IF_UNMODIFIED_SINCE)
        && only_date(&stored.headers, LAST_MODIFIED).is_some_and(|modified| modified > limit)
    {
        return Precondition::Failed;
    }
    if request_headers.contains_key(IF_NONE_MATCH) {
        if lists_tag(request_headers, IF_NONE_MATCH, |tag| etag.is_some_and(|etag| weakly_equal(tag, etag))) {
            return Precondition::NotModified;
        }
    } else if let Some(since) = only_date(request_headers, IF_MODIFIED_SINCE)
        && modified_at(stored) <= since
    {
        return Precondition::NotModified;
    }
    Precondition::Proceed
}

/// Whether the range of a request may be answered as one (RFC 9110 section 13.1.5): there is no `If-Range`,
/// or its validator is strong and that of the stored response. If not, the whole body is the answer.
pub fn if_range_holds(request_headers: &HeaderMap, stored: &StoredHead) -> bool {
    let mut values = request_headers.get_all(IF_RANGE).iter();
    let Some(value) = values.next() else { return true };
    if values.next().is_some() {
        return false;
    }
    let value = value.as_bytes().trim_ascii();
    if value.starts_with(b"\"") || value.starts_with(b"W/") {
        return stored.headers.get(ETAG).is_some_and(|etag| strongly_equal(value, etag.as_bytes()));
    }
    let (Some(asked), Some(modified)) = (date(value), only_date(&stored.headers, LAST_MODIFIED)) else {
        return false;
    };
    // RFC 9110 section 8.8.2.2: a date is strong when the response was made at least a second after it.
    let made = only_date(&stored.headers, DATE);
    asked == modified && made.is_some_and(|made| made >= modified + 1_000)
}

/// The fields of a 304 made from a stored response: those of RFC 9110 section 15.4.5, and RFC 9213's. The
/// caller adds what it says of itself (`Age`, `Via`, ...).
pub fn not_modified_headers(stored: &HeaderMap) -> HeaderMap {
    let mut headers = picked(stored, |name| {
        matches!(*name, CACHE_CONTROL | CONTENT_LOCATION | DATE | ETAG | EXPIRES | VARY)
            || name.as_str() == "cdn-cache-control"
            || is_for_scripts(name)
    });
    // Without an entity tag, the date is what the client's own stored response is updated by.
    if !headers.contains_key(ETAG)
        && let Some(modified) = stored.get(LAST_MODIFIED)
    {
        headers.insert(LAST_MODIFIED, modified.clone());
    }
    headers
}

/// The fields of a 412 made from a stored response: which representation it was that did not meet the
/// condition. No freshness: the refusal is the answer to this request alone.
pub fn failed_headers(stored: &HeaderMap) -> HeaderMap {
    picked(stored, |name| matches!(*name, DATE | ETAG | LAST_MODIFIED | VARY) || is_for_scripts(name))
}

/// CORS and its kin: without them a script may not see the answer to its own condition.
fn is_for_scripts(name: &HeaderName) -> bool {
    name.as_str().starts_with("access-control-") || name.as_str() == "timing-allow-origin"
}

fn picked(stored: &HeaderMap, wanted: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in stored.iter().filter(|(name, _)| wanted(name)) {
        headers.append(name.clone(), value.clone());
    }
    headers
}

/// Whether the field is `*` or lists a tag that `equal` accepts. Several lines are one list.
fn lists_tag(headers: &HeaderMap, name: HeaderName, equal: impl Fn(&[u8]) -> bool) -> bool {
    let mut lines = headers.get_all(name).iter().map(|line| line.as_bytes().trim_ascii());
    lines.any(|line| line == b"*" || Tags(line).any(&equal))
}

/// The members of a list of entity tags. A comma inside the quotes belongs to the tag, and what is not
/// quoted is a member all the same: an origin that sends `ETag: abc` is asked for `abc`.
struct Tags<'a>(&'a [u8]);

impl<'a> Iterator for Tags<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let start = self.0.iter().position(|byte| !matches!(byte, b',' | b' ' | b'\t'))?;
        let rest = &self.0[start..];
        let mut quoted = false;
        let end = rest
            .iter()
            .position(|byte| {
                quoted ^= *byte == b'"';
                *byte == b',' && !quoted
            })
            .unwrap_or(rest.len());
        self.0 = &rest[end..];
        Some(rest[..end].trim_ascii_end())
    }
}

/// RFC 9110 section 8.8.3.2.
fn strongly_equal(one: &[u8], other: &[u8]) -> bool {
    one == other && one.len() >= 2 && one.starts_with(b"\"") && one.ends_with(b"\"")
}

/// RFC 9110 section 8.8.3.2.
fn weakly_equal(one: &[u8], other: &[u8]) -> bool {
    let opaque = |tag: &'_ [u8]| tag.strip_prefix(b"W/").map_or(tag.len(), <[u8]>::len);
    one[one.len() - opaque(one)..] == other[other.len() - opaque(other)..]
}

/// When the stored response was last modified, or else made, or else received (RFC 9111 section 4.3.2).
fn modified_at(stored: &StoredHead) -> UnixMs {
    only_date(&stored.headers, LAST_MODIFIED)
        .or_else(|| only_date(&stored.headers, DATE))
        .unwrap_or(stored.response_ms)
}

/// The date in a field, when it is there once and is one: RFC 9110 sections 13.1.3 and 13.1.4 say to
/// ignore it otherwise.
fn only_date(headers: &HeaderMap, name: HeaderName) -> Option<UnixMs> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    date(value.as_bytes().trim_ascii())
}

/// One of the three forms of RFC 9110 section 5.6.7. A condition is judged by the letter: what a lenient
/// reader of `Expires` would guess at is no date here.
fn date(value: &[u8]) -> Option<UnixMs> {
    fields::strict_date(std::str::from_utf8(value).ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cache::{Policy, testing::stored_as};

    const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const MADE: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn fields(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    fn stored(status: u16, headers: &[(&'static str, &str)]) -> StoredHead {
        let stored = stored_as(200, &[], &[("cache-control", "max-age=60")], &Policy::default());
        let stored = stored.expect("explicit freshness is stored");
        StoredHead { status, headers: fields(headers), response_ms: 0, ..stored }
    }

    /// What comes of one condition on a stored 200.
    fn on(response: &[(&'static str, &str)], request: &[(&'static str, &str)]) -> Precondition {
        evaluate(&Method::GET, &fields(request), &stored(200, response))
    }

    #[test]
    fn if_none_match_compares_weakly() {
        for (etag, asked) in [
            ("\"a\"", "\"a\""),
            ("\"a\"", "W/\"a\""),
            ("W/\"a\"", "\"a\""),
            ("\"a\"", "\"b\", \"a\""),
            ("\"a,b\"", "\"x\",\"a,b\""),
            ("\"a\"", ", ,\"a\","),
            ("\"a\"", "*"),
            ("abc", "abc"),
            ("\"\u{e9}\"", "\"\u{e9}\""),
        ] {
            assert_eq!(
                on(&[("etag", etag)], &[("if-none-match", asked)]),
                Precondition::NotModified,
                "{asked}"
            );
        }
        for (etag, asked) in [
            ("\"a\"", "\"b\""),
            ("\"b\"", "\"a,b\""),
            ("\"a\"", "\"A\""),
            ("\"a\"", ""),
            ("\"a\"", "\"*\""),
            ("\"a\"", "a"),
        ] {
            assert_eq!(on(&[("etag", etag)], &[("if-none-match", asked)]), Precondition::Proceed, "{asked}");
        }
    }

    #[test]
    fn a_tag_list_may_span_lines() {
        let request = [("if-none-match", "\"b\""), ("if-none-match", "\"a\"")];
        assert_eq!(on(&[("etag", "\"a\"")], &request), Precondition::NotModified);
    }

    #[test]
    fn if_none_match_beats_if_modified_since() {
        let response = [("etag", "\"a\""), ("last-modified", MODIFIED)];
        let later = ("if-modified-since", MADE);
        assert_eq!(on(&response, &[("if-none-match", "\"b\""), later]), Precondition::Proceed);
        assert_eq!(
            on(&response, &[("if-none-match", "\"a\""), ("if-modified-since", EARLIER)]),
            Precondition::NotModified
        );
    }

    #[test]
    fn if_modified_since_takes_all_three_date_forms() {
        let response = [("last-modified", MODIFIED)];
        for since in [MODIFIED, MADE, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(on(&response, &[("if-modified-since", since)]), Precondition::NotModified, "{since}");
        }
        for since in [EARLIER, "yesterday", "", "0"] {
            assert_eq!(on(&response, &[("if-modified-since", since)]), Precondition::Proceed, "{since}");
        }
        let twice = [("if-modified-since", MADE), ("if-modified-since", MADE)];
        assert_eq!(on(&response, &twice), Precondition::Proceed);
    }

    #[test]
    fn without_last_modified_the_date_of_the_response_counts() {
        assert_eq!(on(&[("date", MADE)], &[("if-modified-since", MADE)]), Precondition::NotModified);
        assert_eq!(on(&[("date", MADE)], &[("if-modified-since", MODIFIED)]), Precondition::Proceed);
        let received = StoredHead { response_ms: 784_111_777_000, ..stored(200, &[]) };
        let asked = |since| evaluate(&Method::GET, &fields(&[("if-modified-since", since)]), &received);
        assert_eq!(asked(MODIFIED), Precondition::NotModified);
        assert_eq!(asked(EARLIER), Precondition::Proceed);
    }

    #[test]
    fn if_match_compares_strongly() {
        let meets = |etag, asked| on(&[("etag", etag)], &[("if-match", asked)]) == Precondition::Proceed;
        assert!(meets("\"a\"", "\"b\", \"a\""));
        assert!(meets("\"a\"", "*"));
        assert!(!meets("W/\"a\"", "W/\"a\""));
        assert!(!meets("\"a\"", "W/\"a\""));
        assert!(!meets("\"a\"", "\"b\""));
        assert_eq!(on(&[], &[("if-match", "\"a\"")]), Precondition::Failed);
    }

    #[test]
    fn if_match_beats_the_others() {
        let response = [("etag", "\"a\""), ("last-modified", MODIFIED)];
        let stale = ("if-unmodified-since", EARLIER);
        assert_eq!(on(&response, &[stale]), Precondition::Failed);
        assert_eq!(on(&response, &[("if-match", "\"a\""), stale]), Precondition::Proceed);
        assert_eq!(on(&response, &[("if-match", "\"b\""), ("if-none-match", "\"a\"")]), Precondition::Failed);
        assert_eq!(
            on(&response, &[("if-match", "\"a\""), ("if-none-match", "\"a\"")]),
            Precondition::NotModified
        );
    }

    #[test]
    fn if_unmodified_since_needs_two_dates() {
        let response = [("last-modified", MODIFIED)];
        assert_eq!(on(&response, &[("if-unmodified-since", MODIFIED)]), Precondition::Proceed);
        assert_eq!(on(&response, &[("if-unmodified-since", "soon")]), Precondition::Proceed);
        assert_eq!(on(&[("date", MADE)], &[("if-unmodified-since", EARLIER)]), Precondition::Proceed);
    }

    #[test]
    fn only_a_get_or_head_of_a_200_is_conditional() {
        let request = fields(&[("if-none-match", "*"), ("if-match", "\"x\"")]);
        let etag = [("etag", "\"a\"")];
        assert_eq!(evaluate(&Method::HEAD, &request, &stored(200, &etag)), Precondition::Failed);
        assert_eq!(evaluate(&Method::POST, &request, &stored(200, &etag)), Precondition::Proceed);
        assert_eq!(evaluate(&Method::GET, &request, &stored(404, &etag)), Precondition::Proceed);
        assert_eq!(evaluate(&Method::GET, &request, &stored(301, &etag)), Precondition::Proceed);
    }

    #[test]
    fn if_range_needs_a_strong_validator() {
        let holds = |response: &[(&'static str, &str)], value| {
            if_range_holds(&fields(&[("if-range", value)]), &stored(200, response))
        };
        assert!(if_range_holds(&HeaderMap::new(), &stored(200, &[])));
        assert!(holds(&[("etag", "\"a\"")], "\"a\""));
        assert!(!holds(&[("etag", "W/\"a\"")], "W/\"a\""));
        assert!(!holds(&[("etag", "\"a\"")], "\"b\""));
        assert!(!holds(&[("etag", "\"a\"")], "\"a\", \"b\""));
        assert!(!holds(&[("etag", "\"a\"")], "*"));
        assert!(holds(&[("last-modified", MODIFIED), ("date", MADE)], MODIFIED));
        assert!(!holds(&[("last-modified", MODIFIED), ("date", MODIFIED)], MODIFIED));
        assert!(!holds(&[("last-modified", MODIFIED)], MODIFIED));
        assert!(!holds(&[("last-modified", MODIFIED), ("date", MADE)], MADE));
    }

    #[test]
    fn a_304_describes_no_body() {
        let response = [
            ("date", MADE),
            ("etag", "\"a\""),
            ("vary", "x"),
            ("cache-control", "max-age=1"),
            ("cdn-cache-control", "max-age=2"),
            ("access-control-allow-origin", "*"),
            ("last-modified", MODIFIED),
            ("content-type", "text/html"),
            ("content-length", "3"),
            ("content-encoding", "gzip"),
        ];
        assert_eq!(not_modified_headers(&fields(&response)), fields(&response[..6]));
        let untagged = fields(&[("last-modified", MODIFIED), ("content-type", "a/b")]);
        assert_eq!(not_modified_headers(&untagged), fields(&[("last-modified", MODIFIED)]));
    }

    #[test]
    fn a_412_has_no_freshness() {
        let response =
            fields(&[("date", MADE), ("etag", "\"a\""), ("cache-control", "max-age=1"), ("expires", MADE)]);
        assert_eq!(failed_headers(&response), fields(&[("date", MADE), ("etag", "\"a\"")]));
    }

    proptest! {
        #[test]
        fn any_listed_tag_is_found(tags in proptest::collection::vec("(W/)?\"[a-c, ]{0,4}\"", 1..5), pick in 0usize..5) {
            let picked = &tags[pick % tags.len()];
            let list = tags.join(", ");
            prop_assert_eq!(on(&[("etag", picked)], &[("if-none-match", &list)]), Precondition::NotModified);
            let expected = if picked.starts_with("W/") || !tags.contains(picked) { Precondition::Failed } else { Precondition::Proceed };
            prop_assert_eq!(on(&[("etag", picked)], &[("if-match", &list)]), expected);
        }

        #[test]
        fn no_field_value_breaks_it(value in "[ -~]{0,20}") {
            let response = [("etag", "\"a\""), ("last-modified", MODIFIED)];
            for name in ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range"] {
                on(&response, &[(name, &value)]);
                if_range_holds(&fields(&[(name, &value)]), &stored(200, &response));
            }
        }
    }
}
