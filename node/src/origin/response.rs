//! What comes back: the head, and the body as it arrives.

use super::{
    connections::Connection,
    error::{BadResponse, FetchError, FetchErrorKind},
    framing::KeepAlive,
    member::Visit,
    request::Progress,
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::{error::Error, fmt, io, sync::Arc, time::Duration};
use tokio::time::timeout;

/// A response whose head is believed.
#[derive(Debug)]
pub struct Response {
    /// Never 1xx.
    pub status: StatusCode,
    /// As received, hop-by-hop fields included; the framing they tell of has one reading.
    pub headers: HeaderMap,
    /// The content.
    pub body: ResponseBody,
    /// The origin's URL.
    pub origin: Arc<str>,
    /// Whether the body ends when the connection does, so that a cut body looks like a whole one.
    pub complete_by_close: bool,
}

/// A response body. Dropped before its end, the connection (or HTTP/2 stream) is reset and the request's
/// place at the origin is free at once.
pub struct ResponseBody {
    incoming: Incoming,
    idle_timeout: Duration,
    origin: Arc<str>,
    trailers: Option<HeaderMap>,
    state: State,
}

enum State {
    /// The rest is to come.
    Open(Box<Open>),
    /// Everything came.
    Ended,
    /// The rest will not come.
    Failed,
}

/// What is held until the body ends.
pub(super) struct Open {
    /// Dropped first: the next request may then find the connection, not only the place.
    pub(super) connection: Connection,
    pub(super) keep: KeepAlive,
    pub(super) request: Arc<Progress>,
    pub(super) visit: Visit,
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl ResponseBody {
    pub(super) fn new(incoming: Incoming, idle_timeout: Duration, open: Open) -> Self {
        let origin = open.visit.origin().clone();
        let state = State::Open(Box::new(open));
        let mut body = Self { incoming, idle_timeout, origin, trailers: None, state };
        body.end_if_over();
        body
    }

    /// The next bytes; `None` once the body is whole. After an error, `None` too: the body stays incomplete.
    /// May be dropped and called again without loss.
    pub async fn next(&mut self) -> Option<Result<Bytes, FetchError>> {
        while let State::Open(open) = &self.state {
            match timeout(self.idle_timeout, self.incoming.frame()).await {
                Err(_) => return Some(Err(self.fail(FetchErrorKind::BodyIdleTimeout, None))),
                Ok(Some(Err(error))) => return Some(Err(self.fail(kind(&error), Some(error)))),
                Ok(None) => self.end(),
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(bytes) => {
                        open.visit.received(bytes.len());
                        self.end_if_over();
                        if !bytes.is_empty() {
                            return Some(Ok(bytes));
                        }
                    }
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
            }
        }
        None
    }

    /// The trailer fields, once the body has ended.
    pub fn trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }

    /// Bytes to come, when the head told.
    pub fn bytes_left(&self) -> Option<u64> {
        self.incoming.size_hint().exact()
    }

    fn end_if_over(&mut self) {
        if self.incoming.is_end_stream() {
            self.end();
        }
    }

    fn end(&mut self) {
        if let State::Open(open) = std::mem::replace(&mut self.state, State::Ended) {
            let Open { connection, keep, request, visit } = *open;
            // An answer that came before the whole request leaves request bytes on the way.
            if let Connection::Http1(connection) = connection
                && request.whole()
            {
                visit.put_back(connection, keep);
            }
        }
    }

    fn fail(&mut self, kind: FetchErrorKind, error: Option<hyper::Error>) -> FetchError {
        if let State::Open(open) = std::mem::replace(&mut self.state, State::Failed) {
            let Open { connection, visit, .. } = *open;
            drop(connection);
            visit.failed(kind);
        }
        FetchError { kind, origin: self.origin.clone(), source: error.map(Into::into) }
    }
}

/// What an error of the HTTP library means.
pub(super) fn kind(error: &hyper::Error) -> FetchErrorKind {
    if error.is_parse_too_large() {
        return FetchErrorKind::BadResponse(BadResponse::HeadTooLarge);
    }
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        // Malformed chunks come as I/O errors.
        let invalid = [io::ErrorKind::InvalidData, io::ErrorKind::InvalidInput];
        let is_io = error.downcast_ref::<io::Error>().is_some_and(|e| invalid.contains(&e.kind()));
        if is_io || error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
            return FetchErrorKind::BadResponse(BadResponse::Malformed);
        }
        cause = error.source();
    }
    FetchErrorKind::Reset
}
