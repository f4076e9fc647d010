//! What the caller hands in, and its body as it is drawn to the origin.

use super::error::BoxError;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, combinators::UnsyncBoxBody};
use parking_lot::Mutex;
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
};
use tokio::{sync::mpsc, time::Instant};

/// A request body, streamed.
pub type RequestBody = UnsyncBoxBody<Bytes, BoxError>;

/// A request to the origins of a service.
pub struct Request {
    /// Any method but CONNECT.
    pub method: Method,
    /// Origin-form, sent as these bytes; `*` for OPTIONS.
    pub path_and_query: String,
    /// The client's Host; sent unless the pool sets `host_header`.
    pub host: String,
    /// End-to-end fields. `Host` and the framing fields are set here.
    pub headers: HeaderMap,
    /// The content.
    pub body: RequestBody,
    /// Its length: `Some(0)` is no content, `None` is unknown.
    pub body_bytes: Option<u64>,
    /// Where interim responses go; one that does not fit is dropped, as RFC 9110 section 15.2 allows.
    pub interim: Option<mpsc::Sender<Interim>>,
}

/// An interim response other than 100 and 101.
#[derive(Clone, Debug)]
pub struct Interim {
    /// 102 to 199.
    pub status: StatusCode,
    /// As received.
    pub headers: HeaderMap,
}

/// A body without bytes.
pub(super) fn empty() -> RequestBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// How far a request body has come; written by the connection that draws it, read by who waits for the head.
#[derive(Debug)]
pub(super) struct Progress {
    moved: Mutex<Instant>,
    waits_for_client: AtomicBool,
    whole: AtomicBool,
    failed: AtomicBool,
}

impl Progress {
    /// When the origin last took something of the request: the head timeout counts from here.
    pub(super) fn moved(&self) -> Instant {
        *self.moved.lock()
    }

    /// Whether the next bytes are owed by the client.
    pub(super) fn waits_for_client(&self) -> bool {
        self.waits_for_client.load(Relaxed)
    }

    /// Whether the connection has drawn the whole request. Before that it must not be used again.
    pub(super) fn whole(&self) -> bool {
        self.whole.load(Relaxed)
    }

    /// Whether the client's side of the body failed.
    pub(super) fn failed(&self) -> bool {
        self.failed.load(Relaxed)
    }
}

/// A request body that keeps its word about its length and reports its progress.
pub(super) struct DrawnBody {
    inner: RequestBody,
    left: Option<u64>,
    progress: Arc<Progress>,
}

/// The client's body had another length than announced.
#[derive(Debug, thiserror::Error)]
#[error("the request body is {0} than announced")]
struct WrongLength(&'static str);

impl DrawnBody {
    pub(super) fn new(inner: RequestBody, bytes: Option<u64>) -> Self {
        let progress = Progress {
            moved: Mutex::new(Instant::now()),
            waits_for_client: AtomicBool::new(false),
            whole: AtomicBool::new(bytes == Some(0)),
            failed: AtomicBool::new(false),
        };
        Self { inner, left: bytes, progress: Arc::new(progress) }
    }

    pub(super) fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// The body itself, when nothing was drawn from it.
    pub(super) fn into_inner(self) -> RequestBody {
        self.inner
    }

    fn fail(&self, error: impl Into<BoxError>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.progress.failed.store(true, Relaxed);
        Poll::Ready(Some(Err(error.into())))
    }
}

impl Body for DrawnBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        self.progress.waits_for_client.store(polled.is_pending(), Relaxed);
        let Poll::Ready(frame) = polled else { return Poll::Pending };
        *self.progress.moved.lock() = Instant::now();
        match frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                if let Some(left) = self.left {
                    let Some(left) = left.checked_sub(bytes) else { return self.fail(WrongLength("longer")) };
                    self.left = Some(left);
                    self.progress.whole.store(left == 0, Relaxed);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => self.fail(error),
            None if self.left.unwrap_or(0) > 0 => self.fail(WrongLength("shorter")),
            None => {
                self.progress.whole.store(true, Relaxed);
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        // A body of unknown length is asked for its end, so that its end is seen here.
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
