//! Finds and reads a request head (RFC 9112 sections 2 to 6), and knows nothing of sockets.
//!
//! A reader that repairs what it gets is half of a smuggling attack; the other half is a server that
//! repairs it differently. So nothing is repaired here. The one leniency is the empty line before a request
//! line that RFC 9112 section 2.2 asks for.
//!
//! Field names are tokens; those with an underscore pass, although CGI-like servers behind an origin may
//! confuse them with the same name written with a hyphen.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING},
};

use crate::{
    edge::door::Scheme,
    front::{authority, refusal::Refusal, settings::Limits, target},
};

/// What a client with prior knowledge of HTTP/2 sends first (RFC 9113 section 3.4).
pub(super) const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Looks for the end of a head that arrives in pieces; no byte is looked at twice.
#[derive(Default)]
pub(super) struct Scanner {
    at: usize,
    line_start: usize,
    lines: usize,
}

impl Scanner {
    /// The length of the head, once `input` holds all of it. `input` may only grow between calls.
    pub(super) fn scan(&mut self, input: &[u8], limits: &Limits) -> Result<Option<usize>, Refusal> {
        while let Some(offset) = input[self.at..].iter().position(|byte| *byte == b'\n') {
            let line_feed = self.at + offset;
            if line_feed == self.line_start || input[line_feed - 1] != b'\r' {
                return Err(Refusal::LineEnd);
            }
            let line_bytes = line_feed - 1 - self.line_start;
            match self.lines {
                0 if line_bytes == 0 => return Err(Refusal::LineEnd),
                0 if line_bytes > limits.request_line_bytes_max => return Err(Refusal::LineTooLong),
                _ if line_feed >= limits.head_bytes_max => return Err(Refusal::HeadTooLarge),
                _ if line_bytes == 0 => return Ok(Some(line_feed + 1)),
                lines if lines > limits.headers_max => return Err(Refusal::HeadTooLarge),
                _ => {}
            }
            self.lines += 1;
            self.line_start = line_feed + 1;
            self.at = self.line_start;
        }
        self.at = input.len();
        if self.lines == 0 && input.len() > limits.request_line_bytes_max {
            return Err(Refusal::LineTooLong);
        }
        if input.len() >= limits.head_bytes_max {
            return Err(Refusal::HeadTooLarge);
        }
        Ok(None)
    }
}

/// How long the body of a request is (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    Known(u64),
    Chunked,
}

/// A request head that can be read in one way only.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) authority: String,
    pub(super) path_and_query: String,
    /// Else it was HTTP/1.0.
    pub(super) is_http11: bool,
    /// Without `Host` and `Expect`.
    pub(super) headers: HeaderMap,
    pub(super) length: Length,
    /// The client waits for `100 Continue` before it sends the body.
    pub(super) expects_continue: bool,
    /// Whether the client is prepared to send another request.
    pub(super) keep_alive: bool,
}

/// Reads a head whose end a [`Scanner`] found.
pub(super) fn parse(head: &Bytes, scheme: Scheme) -> Result<Head, Refusal> {
    let line_end = line_end(head, 0)?;
    let (method, target, is_http11) = request_line(&head[..line_end])?;
    let mut headers = fields(head, line_end + 2)?;

    let host = single(&headers, HOST, Refusal::Host)?.ok_or(Refusal::Host)?;
    let authority = authority::parse(host.as_bytes())?;
    let path_and_query = origin_form(&method, target, &authority, scheme)?;
    headers.remove(HOST);

    let length = length(&headers, is_http11)?;
    let expects_continue = match headers.remove(EXPECT) {
        // RFC 9110 section 10.1.1: a 100-continue expectation in HTTP/1.0 is ignored.
        _ if !is_http11 => false,
        None => false,
        Some(value) if value.as_bytes().eq_ignore_ascii_case(b"100-continue") => length != Length::Known(0),
        Some(_) => return Err(Refusal::Expectation),
    };
    let keep_alive = keep_alive(&headers, is_http11)?;
    Ok(Head { method, authority, path_and_query, is_http11, headers, length, expects_continue, keep_alive })
}

/// The position of the CR that ends the line at `start`.
fn line_end(head: &[u8], start: usize) -> Result<usize, Refusal> {
    let offset = head[start..].iter().position(|byte| *byte == b'\r').ok_or(Refusal::LineEnd)?;
    match head.get(start + offset + 1) {
        Some(b'\n') => Ok(start + offset),
        _ => Err(Refusal::LineEnd),
    }
}

/// RFC 9112 section 3: exactly one space between the parts.
fn request_line(line: &[u8]) -> Result<(Method, &[u8], bool), Refusal> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refusal::RequestLine);
    };
    let is_http11 = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            return Err(Refusal::Version);
        }
        _ => return Err(Refusal::RequestLine),
    };
    match Method::from_bytes(method).map_err(|_| Refusal::RequestLine)? {
        Method::CONNECT => Err(Refusal::Connect),
        Method::TRACE => Err(Refusal::Trace),
        _ if target.is_empty() => Err(Refusal::RequestLine),
        method => Ok((method, target, is_http11)),
    }
}

/// RFC 9112 section 5: `name ":" OWS value OWS`, nothing folded.
fn fields(head: &Bytes, mut start: usize) -> Result<HeaderMap, Refusal> {
    let mut headers = HeaderMap::with_capacity(16);
    loop {
        let end = line_end(head, start)?;
        if end == start {
            return Ok(headers);
        }
        let line = &head[start..end];
        let colon = line.iter().position(|byte| *byte == b':').ok_or(Refusal::Field)?;
        let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| Refusal::Field)?;
        let value = trim(&line[colon + 1..]);
        let value = HeaderValue::from_maybe_shared(head.slice_ref(value)).map_err(|_| Refusal::Field)?;
        headers.try_append(name, value).map_err(|_| Refusal::HeadTooLarge)?;
        start = end + 2;
    }
}

/// Removes optional whitespace, which is space and tab and nothing else that a library may call whitespace.
fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// The value of a field that may stand only once.
fn single(
    headers: &HeaderMap,
    name: HeaderName,
    otherwise: Refusal,
) -> Result<Option<&HeaderValue>, Refusal> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(otherwise),
    }
}

/// Brings a target into origin-form (RFC 9112 section 3.2).
fn origin_form(method: &Method, target: &[u8], host: &str, scheme: Scheme) -> Result<String, Refusal> {
    let path = match target {
        [b'/', ..] => target,
        b"*" if method == Method::OPTIONS => return Ok("*".to_owned()),
        _ => {
            let prefix_bytes = scheme.as_str().len() + "://".len();
            let (prefix, rest) = target.split_at_checked(prefix_bytes).ok_or(Refusal::Target)?;
            let (name, slashes) = prefix.split_at(scheme.as_str().len());
            if !name.eq_ignore_ascii_case(scheme.as_str().as_bytes()) || slashes != b"://" {
                return Err(Refusal::Target);
            }
            let ends = |byte: &u8| matches!(byte, b'/' | b'?');
            let (named, path) = rest.split_at(rest.iter().position(ends).unwrap_or(rest.len()));
            // RFC 9112 section 3.2.2 lets the target win over Host; another server may let Host win.
            if authority::parse(named)? != host {
                return Err(Refusal::Host);
            }
            path
        }
    };
    let path = match path {
        [] if method == Method::OPTIONS => return Ok("*".to_owned()),
        [b'/', ..] => std::str::from_utf8(path).map_err(|_| Refusal::Target)?.to_owned(),
        _ => format!("/{}", std::str::from_utf8(path).map_err(|_| Refusal::Target)?),
    };
    target::check(path.as_bytes())?;
    Ok(path)
}

/// RFC 9112 section 6.3, without the cases it allows to be settled.
fn length(headers: &HeaderMap, is_http11: bool) -> Result<Length, Refusal> {
    let content_length = single(headers, CONTENT_LENGTH, Refusal::ContentLength)?;
    let Some(coding) = single(headers, TRANSFER_ENCODING, Refusal::TransferEncoding)? else {
        return match content_length {
            None => Ok(Length::Known(0)),
            Some(value) => decimal(value.as_bytes()).map(Length::Known).ok_or(Refusal::ContentLength),
        };
    };
    if content_length.is_some() || !is_http11 {
        return Err(Refusal::TransferEncoding);
    }
    if coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Ok(Length::Chunked);
    }
    // A coding we do not know is only that if `chunked` ends the body after all.
    let mut codings = coding.as_bytes().split(|byte| *byte == b',').map(trim);
    let ends_chunked = codings.next_back().is_some_and(|last| last.eq_ignore_ascii_case(b"chunked"));
    let is_other =
        |name: &[u8]| HeaderName::from_bytes(name).is_ok() && !name.eq_ignore_ascii_case(b"chunked");
    let mut others = codings.peekable();
    match ends_chunked && others.peek().is_some() && others.all(is_other) {
        true => Err(Refusal::UnknownCoding),
        false => Err(Refusal::TransferEncoding),
    }
}

/// Digits and nothing else, within 64 bits.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// RFC 9112 section 9.3. A client that names the framing or the host as something of this hop alone asks for
/// two readings of one request (RFC 9110 section 7.6.1).
fn keep_alive(headers: &HeaderMap, is_http11: bool) -> Result<bool, Refusal> {
    let (mut keep_alive, mut close) = (is_http11, false);
    for value in headers.get_all(CONNECTION) {
        for option in value.as_bytes().split(|byte| *byte == b',') {
            let option = trim(option);
            let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
            if is("content-length") || is("transfer-encoding") || is("host") {
                return Err(Refusal::Field);
            }
            close |= is("close");
            keep_alive |= is("keep-alive");
        }
    }
    Ok(keep_alive && !close)
}
