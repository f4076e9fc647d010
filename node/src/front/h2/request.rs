//! Checks a request head that came by HTTP/2 (RFC 9113 section 8.3), and brings it into the same form as
//! one that came by HTTP/1.1.
//!
//! The `h2` crate resets streams with upper-case names, unknown or misplaced pseudo-fields, fields of a
//! connection, `TE` other than `trailers`, and lengths that do not fit the body. It cuts a fragment off
//! the path before anybody sees it, so such a request is one for the path alone, here and at the origin.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{CONTENT_LENGTH, COOKIE, EXPECT, HOST, TRANSFER_ENCODING},
    request::Parts,
};

use crate::front::{authority, client::Client, refusal::Refusal, target};

/// A request head that can be read in one way only.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) authority: String,
    pub(super) path_and_query: String,
    pub(super) headers: HeaderMap,
    pub(super) body_bytes: Option<u64>,
    pub(super) expects_continue: bool,
}

pub(super) fn read(parts: Parts, has_body: bool, client: &Client) -> Result<Head, Refusal> {
    let limits = &client.shared.limits;
    let Parts { method, uri, mut headers, .. } = parts;
    match method {
        Method::CONNECT => return Err(Refusal::Connect),
        Method::TRACE => return Err(Refusal::Trace),
        _ => {}
    }
    if uri.scheme_str().is_some_and(|scheme| scheme != client.scheme.as_str()) {
        return Err(Refusal::Target);
    }
    if headers.len() > limits.headers_max {
        return Err(Refusal::HeadTooLarge);
    }
    // RFC 9113 section 8.2.1: no whitespace around a value.
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let is_padded =
        |value: &HeaderValue| is_blank(value.as_bytes().first()) || is_blank(value.as_bytes().last());
    // The `http` crate takes a quote for a character of a token; RFC 9110 section 5.6.2 does not.
    let is_quoted = |name: &HeaderName| name.as_str().contains('"');
    if headers.keys().any(is_quoted)
        || headers.values().any(is_padded)
        || headers.contains_key(TRANSFER_ENCODING)
    {
        return Err(Refusal::Field);
    }

    let authority = authority_of(uri.authority().map(|authority| authority.as_str()), &headers)?;
    client.check_directed(&authority)?;
    headers.remove(HOST);
    let path_and_query = match uri.path_and_query().map_or("", |path| path.as_str()) {
        "*" if method == Method::OPTIONS => "*",
        path if path.len() > limits.request_line_bytes_max => return Err(Refusal::LineTooLong),
        path => {
            target::check(path.as_bytes())?;
            path
        }
    }
    .to_owned();

    let body_bytes = match length(&headers)? {
        _ if !has_body => Some(0),
        Some(bytes) if bytes > limits.body_bytes_max => return Err(Refusal::BodyTooLarge),
        known => known,
    };
    let expects_continue = match headers.remove(EXPECT) {
        None => false,
        Some(value) if value.as_bytes().eq_ignore_ascii_case(b"100-continue") => has_body,
        Some(_) => return Err(Refusal::Expectation),
    };
    join_cookies(&mut headers);
    Ok(Head { method, authority, path_and_query, headers, body_bytes, expects_continue })
}

/// RFC 9113 section 8.3.1: `:authority`, or `Host` in its place; if both, the same.
fn authority_of(pseudo: Option<&str>, headers: &HeaderMap) -> Result<String, Refusal> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (host, None) => host.map(|host| authority::parse(host.as_bytes())).transpose()?,
        _ => return Err(Refusal::Host),
    };
    let pseudo = pseudo.map(|pseudo| authority::parse(pseudo.as_bytes())).transpose()?;
    match (pseudo, host) {
        (Some(pseudo), Some(host)) if pseudo != host => Err(Refusal::Host),
        (Some(authority), _) | (None, Some(authority)) => Ok(authority),
        (None, None) => Err(Refusal::Host),
    }
}

fn length(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) if value.as_bytes().iter().all(u8::is_ascii_digit) => {
            let digits = value.to_str().map_err(|_| Refusal::ContentLength)?;
            digits.parse().map(Some).map_err(|_| Refusal::ContentLength)
        }
        _ => Err(Refusal::ContentLength),
    }
}

/// RFC 9113 section 8.2.3: crumbs are one field again before they leave HTTP/2.
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(COOKIE, cookie);
    }
}
