//! The name under which a response is stored, and the URL that purges know it by.
//!
//! Two requests may share a key only when their origin cannot tell them apart by what it is sent, or when
//! the operator said so by a rule. A key that is too fine costs a miss; one that is too coarse serves one
//! client's answer to another. So only what RFC 3986 section 6.2.2 calls equivalent is made equal, and dot
//! segments, doubled slashes, `+` and reserved characters stay as they came.
//!
//! What is sent to the origin is [`origin_target`], which is normalised the same way: an origin that does
//! tell `%61` from `a` sees only the form that the key saw.

use std::{borrow::Cow, fmt::Write};

use http::{HeaderMap, HeaderName, header::COOKIE};
use percent_encoding::percent_decode_str;

use crate::Key;

/// What makes a key, beyond service, host, path and query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRules {
    /// Which query parameters count.
    pub query: QueryRule,
    /// Whether parameters are put in the order of their names; those of one name keep their order.
    pub sort_query: bool,
    /// Request headers whose values are part of the key.
    pub headers: Vec<HeaderName>,
    /// Cookies whose values are part of the key.
    pub cookies: Vec<String>,
}

/// Which query parameters are part of the key. A name that ends in `*` stands for all that start so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum QueryRule {
    /// All of them.
    #[default]
    All,
    /// None: the query is ignored.
    None,
    /// Only these.
    Allow(Vec<String>),
    /// All but these.
    Deny(Vec<String>),
}

/// The name of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrimaryKey {
    /// Where it lives in the mesh and on disk.
    pub key: Key,
    /// What `key` is the hash of; kept with the object, so that a collision is a miss.
    pub text: String,
    /// `host/path?query`, by which purges name it.
    pub url: String,
}

/// The key of a request. The method is no part of it: a HEAD is answered from a stored GET. The scheme is: an
/// origin that sends `http` clients to `https` must not have that answer given to both.
pub fn primary_key(
    service: &str,
    scheme: &str,
    host: &str,
    path_and_query: &str,
    headers: &HeaderMap,
    rules: &KeyRules,
) -> PrimaryKey {
    let host = normalise_host(host);
    let target = keyed_target(path_and_query, rules);
    let mut text = String::with_capacity(service.len() + host.len() + target.len() + 32);
    push_part(&mut text, 's', service.as_bytes());
    push_part(&mut text, 'p', scheme.as_bytes());
    push_part(&mut text, 'h', host.as_bytes());
    push_part(&mut text, 't', target.as_bytes());
    for name in &rules.headers {
        push_part(&mut text, 'f', name.as_str().as_bytes());
        // An absent field gives no value part; it is not the same as an empty one.
        for value in headers.get_all(name) {
            push_part(&mut text, 'v', value.as_bytes());
        }
    }
    for name in &rules.cookies {
        push_part(&mut text, 'c', name.as_bytes());
        // Origins differ in which of two cookies of one name they believe: all of them count.
        for value in cookie_values(headers, name) {
            push_part(&mut text, 'v', value);
        }
    }
    let url = format!("{host}{target}");
    PrimaryKey { key: Key::of(&text), text, url }
}

/// The URL as purges name it: `host/path?query`, with the parameters that the rules leave out gone.
pub fn normalise_url(host: &str, path_and_query: &str, rules: &KeyRules) -> String {
    format!("{}{}", normalise_host(host), keyed_target(path_and_query, rules))
}

/// The request target to send to the origin: every parameter is there, whatever the rules say, in the
/// normal form of its percent-encoding.
pub fn origin_target(path_and_query: &str) -> Cow<'_, str> {
    // A stray `%` could join with what its neighbours decode to; such a target is left as it came.
    if !path_and_query.contains('%') || !is_well_encoded(path_and_query) {
        return Cow::Borrowed(path_and_query);
    }
    let (path, query) = split_query(path_and_query);
    let mut normal = String::with_capacity(path_and_query.len());
    for (position, segment) in path.split('/').enumerate() {
        if position > 0 {
            normal.push('/');
        }
        push_segment(&mut normal, segment);
    }
    if let Some(query) = query {
        normal.push('?');
        push_normal(&mut normal, query);
    }
    Cow::Owned(normal)
}

/// A host as it stands in keys: lower case, without a trailing dot and without the port of HTTP or HTTPS.
pub fn normalise_host(host: &str) -> String {
    let host = host.strip_suffix(":80").or_else(|| host.strip_suffix(":443")).unwrap_or(host);
    let host = host.strip_suffix(':').unwrap_or(host);
    match host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit())) {
        Some((name, port)) => {
            format!("{}:{port}", name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase())
        }
        None => host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase(),
    }
}

/// The target as the key sees it: [`origin_target`] with the query rules applied. What may be stored is asked
/// for by this target, so that a parameter that is not keyed cannot shape what others get.
pub fn keyed_target(path_and_query: &str, rules: &KeyRules) -> String {
    let target = origin_target(path_and_query);
    let (path, query) = split_query(&target);
    // RFC 3986 section 6.2.3: an empty path is `/`.
    let path = if path.is_empty() { "/" } else { path };
    match query.and_then(|query| keyed_query(query, rules)) {
        // `/a?` and `/a` stay apart under `QueryRule::All`: an origin may answer them differently.
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    }
}

fn keyed_query<'a>(query: &'a str, rules: &KeyRules) -> Option<Cow<'a, str>> {
    if rules.query == QueryRule::None {
        return None;
    }
    if rules.query == QueryRule::All && !rules.sort_query {
        return Some(Cow::Borrowed(query));
    }
    let mut kept: Vec<&str> = query.split('&').filter(|parameter| rules.query.keeps(parameter)).collect();
    if kept.is_empty() {
        return None;
    }
    if rules.sort_query {
        kept.sort_by_cached_key(|parameter| decoded_name(parameter).into_owned());
    }
    Some(Cow::Owned(kept.join("&")))
}

impl QueryRule {
    fn keeps(&self, parameter: &str) -> bool {
        // Some origins also split at `;`. A parameter that hides another one behind it (`utm=1;id=2`)
        // counts as soon as any of them does, or the hidden one would be an unkeyed input.
        parameter.split(';').any(|piece| match self {
            Self::All => true,
            Self::None => false,
            Self::Allow(names) => listed(names, piece),
            // An empty piece says nothing to anybody and would make keys differ for no reason.
            Self::Deny(names) => !piece.is_empty() && !listed(names, piece),
        })
    }
}

fn listed(patterns: &[String], parameter: &str) -> bool {
    let name = decoded_name(parameter);
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start.as_bytes()),
        None => *name == *pattern.as_bytes(),
    })
}

fn decoded_name(parameter: &str) -> Cow<'_, [u8]> {
    let name = parameter.split('=').next().unwrap_or(parameter);
    percent_decode_str(name).into()
}

fn split_query(target: &str) -> (&str, Option<&str>) {
    match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    }
}

/// Whether every `%` begins an escape of two hexadecimal digits.
fn is_well_encoded(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| rest.as_bytes().get(..2).is_some_and(|two| hex(two).is_some()))
}

fn push_segment(normal: &mut String, segment: &str) {
    let start = normal.len();
    push_normal(normal, segment);
    // `%2e%2e` is left encoded: made a `..` here, it would be a dot segment that the client did not write.
    if matches!(&normal[start..], "." | "..") && segment.contains('%') {
        normal.truncate(start);
        normal.push_str(&segment.replace("%2e", "%2E"));
    }
}

/// Appends `text` with unreserved characters decoded and the other escapes in upper case
/// (RFC 3986 sections 6.2.2.1 and 6.2.2.2).
fn push_normal(normal: &mut String, text: &str) {
    let mut pieces = text.split('%');
    normal.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let (digits, rest) = piece.split_at(2);
        match hex(digits.as_bytes()) {
            Some(byte) if is_unreserved(byte) => normal.push(char::from(byte)),
            _ => {
                normal.push('%');
                normal.push_str(&digits.to_ascii_uppercase());
            }
        }
        normal.push_str(rest);
    }
}

fn hex(digits: &[u8]) -> Option<u8> {
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    Some(value(*digits.first()?)? << 4 | value(*digits.get(1)?)?)
}

/// RFC 3986 section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn cookie_values<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    headers
        .get_all(COOKIE)
        .into_iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b';'))
        .filter_map(move |pair| {
            let pair = pair.trim_ascii();
            let end = pair.iter().position(|byte| *byte == b'=')?;
            (pair[..end].trim_ascii_end() == name.as_bytes()).then(|| pair[end + 1..].trim_ascii_start())
        })
}

/// Appends one part as kind, length and value: no value can imitate the parts after it.
fn push_part(text: &mut String, kind: char, value: &[u8]) {
    // Bytes that are not text are escaped, and so is what escapes them; the length is that of the escape.
    let value = match std::str::from_utf8(value) {
        Ok(value) if !value.contains('\\') => Cow::Borrowed(value),
        _ => Cow::Owned(value.escape_ascii().to_string()),
    };
    // Writing into a string cannot fail.
    let _ = write!(text, "{kind}{}:{value}", value.len());
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header::ACCEPT_LANGUAGE};
    use proptest::prelude::*;

    use super::*;

    fn url(path_and_query: &str) -> String {
        normalise_url("example.org", path_and_query, &KeyRules::default())
    }

    fn query(rule: QueryRule, path_and_query: &str) -> String {
        normalise_url("h", path_and_query, &KeyRules { query: rule, ..KeyRules::default() })
    }

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    fn text(host: &str, target: &str, headers: &HeaderMap, rules: &KeyRules) -> String {
        primary_key("s", "http", host, target, headers, rules).text
    }

    #[test]
    fn equivalent_encodings_are_one_url() {
        assert_eq!(url("/%61%7E%2d?q=%7a%5f"), "example.org/a~-?q=z_");
        assert_eq!(url("/a%c3%a9%2f"), "example.org/a%C3%A9%2F");
    }

    #[test]
    fn what_may_mean_something_stays() {
        for target in [
            "/a%2Fb",
            "/a%3Fb",
            "/a%23",
            "/a%2561",
            "//a//b",
            "/a/./b/../c",
            "/a+b?c+d",
            "/a?",
            "/a;b",
            "/%20",
        ] {
            assert_eq!(url(target), format!("example.org{target}"));
        }
    }

    #[test]
    fn a_hidden_dot_segment_stays_hidden() {
        assert_eq!(url("/a/%2e%2e/b"), "example.org/a/%2E%2E/b");
        assert_eq!(url("/a/.%2e/b"), "example.org/a/.%2E/b");
        assert_eq!(url("/a/%2e"), "example.org/a/%2E");
        assert_eq!(url("/a%2ehtml"), "example.org/a.html");
    }

    /// `%%361` is not an escape; decoding its second half alone would make the escape `%61`.
    #[test]
    fn a_stray_percent_leaves_the_target_alone() {
        for target in ["/%%361", "/%zz%61", "/100%", "/%6", "/%é61"] {
            assert_eq!(origin_target(target), target);
        }
    }

    #[test]
    fn hosts_are_lower_case_without_default_port_or_last_dot() {
        for host in ["Example.ORG", "example.org.", "example.org:80", "example.org.:443", "example.org:"] {
            assert_eq!(normalise_host(host), "example.org");
        }
        assert_eq!(normalise_host("A.:8080"), "a:8080");
        assert_eq!(normalise_host("[::1]:80"), "[::1]");
        assert_eq!(normalise_host("[FE80::80]"), "[fe80::80]");
        assert_eq!(normalise_host("example.org:8443"), "example.org:8443");
    }

    #[test]
    fn an_empty_path_is_the_root() {
        assert_eq!(url(""), "example.org/");
        assert_eq!(url("?a"), "example.org/?a");
    }

    #[test]
    fn an_empty_query_counts_unless_a_rule_empties_it() {
        assert_ne!(url("/a?"), url("/a"));
        assert_eq!(query(QueryRule::None, "/a?"), "h/a");
        assert_eq!(query(QueryRule::Deny(names(&["x"])), "/a?x=1"), "h/a");
        assert_eq!(query(QueryRule::Allow(names(&["y"])), "/a?x=1"), "h/a");
    }

    #[test]
    fn rules_compare_decoded_names() {
        let deny = QueryRule::Deny(names(&["utm_*", "a b"]));
        assert_eq!(query(deny, "/?utm%5Fsource=1&id=2&%75tm_x&a%20b=1"), "h/?id=2");
        let allow = QueryRule::Allow(names(&["id", "p*"]));
        assert_eq!(query(allow, "/?i%64=2&page=1&x=3&ID=4"), "h/?id=2&page=1");
    }

    /// Parameter cloaking: a proxy that splits at `&` alone drops `utm=1;cb=evil`, an origin that also
    /// splits at `;` obeys `cb`.
    #[test]
    fn a_parameter_behind_a_semicolon_is_keyed() {
        assert_eq!(query(QueryRule::Deny(names(&["utm"])), "/?utm=1;cb=evil"), "h/?utm=1;cb=evil");
        assert_eq!(query(QueryRule::Deny(names(&["utm"])), "/?utm=1;utm=2"), "h/");
        assert_eq!(query(QueryRule::Allow(names(&["id"])), "/?x=1;id=2"), "h/?x=1;id=2");
    }

    #[test]
    fn sorting_keeps_the_order_of_equal_names() {
        let rules = KeyRules { sort_query: true, ..KeyRules::default() };
        assert_eq!(normalise_url("h", "/?b=1&a=2&b=0&a=1", &rules), "h/?a=2&a=1&b=1&b=0");
        assert_eq!(normalise_url("h", "/?a[]=2&a[]=1", &rules), "h/?a[]=2&a[]=1");
    }

    #[test]
    fn a_query_is_what_follows_the_first_question_mark() {
        assert_eq!(query(QueryRule::None, "/a?b?c"), "h/a");
        assert_eq!(query(QueryRule::Allow(names(&["b?c"])), "/a?b?c=1"), "h/a?b?c=1");
    }

    #[test]
    fn an_absent_header_is_not_an_empty_one() {
        let rules = KeyRules { headers: vec![ACCEPT_LANGUAGE], ..KeyRules::default() };
        let mut headers = HeaderMap::new();
        let absent = text("h", "/", &headers, &rules);
        headers.insert(ACCEPT_LANGUAGE, HeaderValue::from_static(""));
        assert_ne!(text("h", "/", &headers, &rules), absent);
    }

    #[test]
    fn only_the_named_cookies_count() {
        let rules = KeyRules { cookies: names(&["cur"]), ..KeyRules::default() };
        let with = |cookie: &'static str| {
            let headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_static(cookie))]);
            text("h", "/", &headers, &rules)
        };
        assert_eq!(with("sid=1; cur=eur"), with("cur=eur; sid=2"));
        assert_ne!(with("cur=eur"), with("cur=usd"));
        assert_ne!(with("cur=eur; cur=usd"), with("cur=eur"));
        assert_ne!(with("cur="), with("x=1"));
        assert_eq!(with("cura=1"), with("x=1"));
    }

    #[test]
    fn a_value_cannot_imitate_a_part() {
        let rules = KeyRules { headers: vec![ACCEPT_LANGUAGE], ..KeyRules::default() };
        let with = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(ACCEPT_LANGUAGE, HeaderValue::from_bytes(value).unwrap());
            }
            text("h", "/", &headers, &rules)
        };
        assert_ne!(with(&[b"a", b"b"]), with(&[b"av1:b"]));
        assert_ne!(with(&[b"\xff"]), with(&[b"\\xff"]));
        assert_ne!(with(&[b"\\\\"]), with(&[b"\\"]));
        assert_ne!(
            primary_key("a", "http", "b", "/", &HeaderMap::new(), &KeyRules::default()).text,
            primary_key("a1:b", "http", "", "/", &HeaderMap::new(), &KeyRules::default()).text
        );
    }

    fn target() -> impl Strategy<Value = String> {
        "/([a-c./?&=;+%]|%[0-9a-fA-F]{2}|%2[eEfF]|é){0,24}"
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(target in target()) {
            let once = origin_target(&target).into_owned();
            prop_assert_eq!(origin_target(&once), once.as_str());
        }

        #[test]
        fn normalising_keeps_the_meaning(target in target()) {
            let normal = origin_target(&target).into_owned();
            prop_assert_eq!(
                percent_decode_str(&normal).collect::<Vec<u8>>(),
                percent_decode_str(&target).collect::<Vec<u8>>()
            );
            for delimiter in ['/', '?', '&', '=', ';', '+', '#'] {
                prop_assert_eq!(normal.matches(delimiter).count(), target.matches(delimiter).count());
            }
        }

        #[test]
        fn the_key_and_the_purged_url_agree(target in target(), sort_query: bool) {
            let rules = KeyRules { sort_query, query: QueryRule::Deny(names(&["a"])), ..KeyRules::default() };
            let key = primary_key("s", "http", "H.:80", &target, &HeaderMap::new(), &rules);
            prop_assert_eq!(&key.url, &normalise_url("h", &target, &rules));
            let again = primary_key("s", "http", "h", &key.url[1..], &HeaderMap::new(), &rules);
            prop_assert_eq!(again, key);
        }

        #[test]
        fn different_values_have_different_texts(a in "[a-c:0-9\\\\]{0,6}", b in "[a-c:0-9\\\\]{0,6}") {
            let text = |service: &str, host: &str| {
                primary_key(service, "http", host, "/", &HeaderMap::new(), &KeyRules::default()).text
            };
            prop_assert_eq!(text(&a, "x") == text(&b, "x"), a == b);
        }
    }
}
