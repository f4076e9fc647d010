//! Responses that the node writes by itself.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{door::ClientBody, verdict::Verdict};
use crate::origin::{FetchError, FetchErrorKind};

/// A response of the node's own, and why it gives it.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// Fields beside the usual.
    pub headers: HeaderMap,
    /// One line for the person who reads it.
    pub text: String,
    /// How it is accounted.
    pub verdict: Verdict,
}

impl Answer {
    /// An answer with a reason that logs and `Cache-Status` repeat.
    pub fn new(status: StatusCode, reason: &'static str, text: impl Into<String>) -> Self {
        let mut verdict = Verdict::new(super::verdict::Outcome::Answered);
        verdict.detail = Some(reason);
        Self { status, headers: HeaderMap::new(), text: text.into(), verdict }
    }

    /// No origin could give the content (RFC 9110 sections 15.6.3 to 15.6.5).
    pub fn of_failure(error: &FetchError) -> Self {
        let status = if error.is_timeout() {
            StatusCode::GATEWAY_TIMEOUT
        } else if matches!(error.kind, FetchErrorKind::QueueFull | FetchErrorKind::CircuitOpen) {
            StatusCode::SERVICE_UNAVAILABLE
        } else if error.is_clients_fault() {
            StatusCode::BAD_REQUEST
        } else {
            StatusCode::BAD_GATEWAY
        };
        let mut answer = Self::new(status, error.as_str(), format!("origin: {}", error.as_str()));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            answer.headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        answer
    }

    /// The head's fields and the body, for any method.
    pub fn into_parts(mut self) -> (StatusCode, HeaderMap, ClientBody, Verdict) {
        let text = Bytes::from(format!("{} {}\n", self.status.as_u16(), self.text));
        self.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        self.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        self.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
        (self.status, self.headers, ClientBody::full(text), self.verdict)
    }
}
