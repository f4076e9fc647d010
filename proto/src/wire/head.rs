//! Heads of requests and answers, to and from the types of `http`.
//!
//! On the wire a head is plain text and bytes, because the types of `http` have no format of their own. What
//! comes from a peer is parsed here, once; behind it there are only parsed heads.

use core::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

use super::{Answer, HttpRequest, Provenance};
use crate::cache::fields;

/// Fields that a head between nodes may have.
pub const FIELDS_MAX: usize = 256;

/// Why a head between nodes is none. Of a head that was received: the peer's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Peers are asked by GET and HEAD alone.
    #[error("{0:?} is no method that a peer is asked by")]
    Method(String),
    /// No version of HTTP that clients speak.
    #[error("{0} is no version of HTTP")]
    Version(u8),
    /// No host, with or without a port.
    #[error("{0:?} is no authority")]
    Authority(String),
    /// Not in origin-form.
    #[error("{0:?} is no path and query")]
    PathAndQuery(String),
    /// Outside 200..=599: an interim response is no answer.
    #[error("{0} is no final status")]
    Status(u16),
    /// No field, or one that must not be sent between nodes.
    #[error("the field {0:?} cannot be sent between nodes")]
    Field(String),
    /// More than [`FIELDS_MAX`].
    #[error("{0} fields, but at most {FIELDS_MAX} are allowed")]
    TooManyFields(usize),
    /// It ends before it begins.
    #[error("there are no bytes {0}..{1}")]
    Range(u64, u64),
    /// It would break the field it is put into.
    #[error("{0:?} is no Cache-Status")]
    CacheStatus(String),
}

/// A request head in types of `http`; see [`HttpRequest`].
#[derive(Clone, Debug, PartialEq)]
pub struct RequestParts {
    /// `GET` or `HEAD`.
    pub method: Method,
    /// Whether the client spoke TLS.
    pub is_https: bool,
    /// `Host` or `:authority`, in lower case, with the port if one was sent.
    pub authority: String,
    /// Origin-form.
    pub path_and_query: String,
    /// The version the client spoke.
    pub version: Version,
    /// All fields but `Host`.
    pub headers: HeaderMap,
    /// The client.
    pub client: SocketAddr,
}

impl HttpRequest {
    /// The head as it is sent, without hop-by-hop fields. Fails where no peer could take it.
    pub fn of(parts: RequestParts) -> Result<Self, HeadError> {
        let RequestParts { method, is_https, authority, path_and_query, version, headers, client } = parts;
        check_method(method.as_str())?;
        check_authority(&authority)?;
        check_path(&path_and_query)?;
        let version = match version {
            Version::HTTP_09 | Version::HTTP_10 => 10,
            Version::HTTP_2 => 20,
            Version::HTTP_3 => 30,
            _ => 11,
        };
        let headers = sent(headers)?;
        Ok(Self { method: method.to_string(), is_https, authority, path_and_query, version, headers, client })
    }

    /// The head, checked.
    pub fn into_parts(self) -> Result<RequestParts, HeadError> {
        let Self { method, is_https, authority, path_and_query, version, headers, client } = self;
        let method = check_method(&method)?;
        check_authority(&authority)?;
        check_path(&path_and_query)?;
        let version = match version {
            10 => Version::HTTP_10,
            11 => Version::HTTP_11,
            20 => Version::HTTP_2,
            30 => Version::HTTP_3,
            _ => return Err(HeadError::Version(version)),
        };
        let headers = received(headers)?;
        Ok(RequestParts { method, is_https, authority, path_and_query, version, headers, client })
    }
}

/// The head of an answer in types of `http`; see [`Answer`].
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerParts {
    /// The status, a final one.
    pub status: StatusCode,
    /// The fields as the origin sent them.
    pub headers: HeaderMap,
    /// How it was had, where it can be shared.
    pub stored: Option<Provenance>,
    /// Which bytes of the representation follow.
    pub range: (u64, u64),
    /// The members of `Cache-Status` so far.
    pub cache_status: String,
    /// The origin or node that it came from, for logs.
    pub source: String,
}

impl Answer {
    /// The head as it is sent, without hop-by-hop fields. Fails where no peer could take it.
    pub fn of(parts: AnswerParts) -> Result<Self, HeadError> {
        let AnswerParts { status, headers, stored, range, cache_status, source } = parts;
        check_status(status.as_u16())?;
        check_range(range)?;
        check_cache_status(&cache_status)?;
        Ok(Self { status: status.as_u16(), headers: sent(headers)?, stored, range, cache_status, source })
    }

    /// The head, checked.
    pub fn into_parts(self) -> Result<AnswerParts, HeadError> {
        let Self { status, headers, stored, range, cache_status, source } = self;
        let status = check_status(status)?;
        check_range(range)?;
        check_cache_status(&cache_status)?;
        Ok(AnswerParts { status, headers: received(headers)?, stored, range, cache_status, source })
    }
}

fn check_method(method: &str) -> Result<Method, HeadError> {
    match method {
        "GET" => Ok(Method::GET),
        "HEAD" => Ok(Method::HEAD),
        _ => Err(HeadError::Method(method.to_owned())),
    }
}

/// The front has parsed it; what matters here is that it cannot become anything else.
fn check_authority(authority: &str) -> Result<(), HeadError> {
    let fits = |byte: u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase() && !b"/?#@\\".contains(&byte);
    if !authority.is_empty() && authority.bytes().all(fits) {
        Ok(())
    } else {
        Err(HeadError::Authority(authority.to_owned()))
    }
}

fn check_path(path: &str) -> Result<(), HeadError> {
    if path.starts_with('/') && !path.bytes().any(|byte| byte <= b' ' || byte == b'#' || byte == 0x7f) {
        Ok(())
    } else {
        Err(HeadError::PathAndQuery(path.to_owned()))
    }
}

fn check_status(status: u16) -> Result<StatusCode, HeadError> {
    let code = StatusCode::from_u16(status).ok();
    code.filter(|_| (200..600).contains(&status)).ok_or(HeadError::Status(status))
}

fn check_range((from, to): (u64, u64)) -> Result<(), HeadError> {
    if from <= to { Ok(()) } else { Err(HeadError::Range(from, to)) }
}

fn check_cache_status(members: &str) -> Result<(), HeadError> {
    match HeaderValue::from_str(members) {
        Ok(_) => Ok(()),
        Err(_) => Err(HeadError::CacheStatus(members.to_owned())),
    }
}

fn check_count(fields: usize) -> Result<(), HeadError> {
    if fields <= FIELDS_MAX { Ok(()) } else { Err(HeadError::TooManyFields(fields)) }
}

/// Fields that speak of one connection alone (RFC 9110 section 7.6.1) stay here.
fn sent(mut headers: HeaderMap) -> Result<Vec<(String, Bytes)>, HeadError> {
    fields::strip_hop_by_hop(&mut headers);
    check_count(headers.len())?;
    let field = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.as_str().to_owned(), Bytes::copy_from_slice(value.as_bytes()))
    };
    Ok(headers.iter().map(field).collect())
}

fn received(fields: Vec<(String, Bytes)>) -> Result<HeaderMap, HeadError> {
    check_count(fields.len())?;
    let mut headers = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields {
        let parsed =
            HeaderName::from_lowercase(name.as_bytes()).ok().filter(|name| !fields::is_hop_by_hop(name));
        match (parsed, HeaderValue::from_maybe_shared(value)) {
            (Some(name), Ok(value)) => headers.append(name, value),
            _ => return Err(HeadError::Field(name)),
        };
    }
    Ok(headers)
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
