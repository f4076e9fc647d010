//! One representation, and the answer to a request for it: 200, 206, 304, 412 or 416.

use std::{
    ops::Range,
    time::{Duration, SystemTime},
};

use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{
        ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_MATCH,
        IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE,
    },
};

use super::body::{self, Body};

/// A representation without its bytes.
pub struct Entity {
    /// Its strong tag, with quotes.
    pub etag: String,
    /// When it was last changed, if that is known.
    pub modified: Option<SystemTime>,
    /// Its length.
    pub bytes: u64,
    /// Its media type.
    pub content_type: &'static str,
    /// What else its head says.
    pub fields: HeaderMap,
}

/// What is to be sent.
pub enum Plan {
    /// A response that is complete.
    Done(Response<Body>),
    /// This head, with these bytes.
    Send(http::response::Builder, Range<u64>),
}

impl Entity {
    /// The head of the answer, and which bytes follow it.
    pub fn plan(&self, request: &HeaderMap) -> Plan {
        if let Some(status) = self.judge(request) {
            return Plan::Done(respond(self.head(status), body::empty()));
        }
        match self.range(request) {
            Wanted::Whole => {
                let head = self.head(StatusCode::OK).header(CONTENT_LENGTH, self.bytes);
                Plan::Send(head, 0..self.bytes)
            }
            Wanted::Part(range) => {
                let content_range = format!("bytes {}-{}/{}", range.start, range.end - 1, self.bytes);
                let head = self.head(StatusCode::PARTIAL_CONTENT).header(CONTENT_RANGE, content_range);
                Plan::Send(head.header(CONTENT_LENGTH, range.end - range.start), range)
            }
            Wanted::Nothing => {
                let head = Response::builder().status(StatusCode::RANGE_NOT_SATISFIABLE);
                let head =
                    head.header(CONTENT_RANGE, format!("bytes */{}", self.bytes)).header(CONTENT_LENGTH, 0);
                Plan::Done(respond(head, body::empty()))
            }
        }
    }

    fn head(&self, status: StatusCode) -> http::response::Builder {
        let mut head =
            Response::builder().status(status).header(ETAG, &self.etag).header(ACCEPT_RANGES, "bytes");
        if let Some(modified) = self.modified {
            head = head.header(LAST_MODIFIED, httpdate::fmt_http_date(modified));
        }
        if status != StatusCode::NOT_MODIFIED {
            head = head.header(CONTENT_TYPE, self.content_type);
        }
        for (name, value) in &self.fields {
            head = head.header(name, value);
        }
        head
    }

    /// The status that the conditions of the request lead to, in the order of RFC 9110 section 13.2.2.
    fn judge(&self, request: &HeaderMap) -> Option<StatusCode> {
        if let Some(tags) = text(request, IF_MATCH) {
            if !self.is_listed(tags, false) {
                return Some(StatusCode::PRECONDITION_FAILED);
            }
        } else if self.changed_since(request, IF_UNMODIFIED_SINCE) == Some(true) {
            return Some(StatusCode::PRECONDITION_FAILED);
        }
        let unchanged = match text(request, IF_NONE_MATCH) {
            Some(tags) => self.is_listed(tags, true),
            None => self.changed_since(request, IF_MODIFIED_SINCE) == Some(false),
        };
        unchanged.then_some(StatusCode::NOT_MODIFIED)
    }

    /// Tags of this origin have no comma in them, so a list is split at commas.
    fn is_listed(&self, tags: &str, weakly: bool) -> bool {
        tags.split(',').map(str::trim).any(|tag| {
            let tag = if weakly { tag.strip_prefix("W/").unwrap_or(tag) } else { tag };
            tag == "*" || tag == self.etag
        })
    }

    fn changed_since(&self, request: &HeaderMap, name: HeaderName) -> Option<bool> {
        let since = httpdate::parse_http_date(text(request, name)?).ok()?;
        Some(to_the_second(self.modified?) > since)
    }

    fn range(&self, request: &HeaderMap) -> Wanted {
        let asked = text(request, RANGE)
            .and_then(|range| range.strip_prefix("bytes="))
            .and_then(|one| one.split_once('-'));
        let (Some((first, last)), true) = (asked, self.if_range_holds(request)) else { return Wanted::Whole };
        let range = match (first.parse::<u64>(), last.parse::<u64>()) {
            (Ok(first), Ok(last)) if first <= last => first..last.saturating_add(1).min(self.bytes),
            (Ok(first), Err(_)) if last.is_empty() => first..self.bytes,
            (Err(_), Ok(length)) if first.is_empty() => self.bytes.saturating_sub(length)..self.bytes,
            _ => return Wanted::Whole,
        };
        if range.start < range.end { Wanted::Part(range) } else { Wanted::Nothing }
    }

    fn if_range_holds(&self, request: &HeaderMap) -> bool {
        match text(request, IF_RANGE) {
            None => !request.contains_key(IF_RANGE),
            Some(tag) if tag.contains('"') => tag == self.etag,
            Some(date) => self.modified.is_some_and(|modified| httpdate::fmt_http_date(modified) == date),
        }
    }
}

enum Wanted {
    Whole,
    Part(Range<u64>),
    Nothing,
}

/// A short plain text that is not to be stored.
pub fn message(status: StatusCode, text: &'static str) -> Response<Body> {
    let head = Response::builder().status(status).header(CACHE_CONTROL, "no-store");
    respond(head.header(CONTENT_TYPE, "text/plain").header(CONTENT_LENGTH, text.len()), body::full(text))
}

/// Puts head and body together; a head that cannot be sent is this origin's mistake, and is said so.
pub fn respond(head: http::response::Builder, body: Body) -> Response<Body> {
    head.body(body).unwrap_or_else(|_| {
        let mut response = Response::new(body::full("the head of this response was malformed\n"));
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    })
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// HTTP dates know no part of a second.
fn to_the_second(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}
