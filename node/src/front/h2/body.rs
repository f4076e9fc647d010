//! A request body that comes by HTTP/2. The client may send more as it is read, not before.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    edge::door::BoxError,
    front::{client::Shared, refusal::Refusal, timer::Timer},
};

/// What the reader of a body has to tell the stream it belongs to.
#[derive(Default)]
pub(super) struct News {
    pub(super) changed: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    is_asked_for: bool,
    fault: Option<Refusal>,
}

impl News {
    /// Whether the body was asked for.
    pub(super) fn is_asked_for(&self) -> bool {
        self.state.lock().is_asked_for
    }

    /// Why the body cannot be read to its end.
    pub(super) fn fault(&self) -> Option<Refusal> {
        self.state.lock().fault
    }

    fn set(&self, set: impl FnOnce(&mut State)) {
        set(&mut self.state.lock());
        self.changed.notify_one();
    }
}

/// The body of one request.
pub(super) struct StreamBody {
    stream: RecvStream,
    news: Arc<News>,
    shared: Arc<Shared>,
    timer: Timer,
    bytes_left: Option<u64>,
    taken: u64,
    was_asked_for: bool,
    is_over: bool,
}

impl StreamBody {
    pub(super) fn new(stream: RecvStream, bytes: Option<u64>, news: Arc<News>, shared: Arc<Shared>) -> Self {
        Self {
            stream,
            news,
            shared,
            timer: Timer::default(),
            bytes_left: bytes,
            taken: 0,
            was_asked_for: false,
            is_over: false,
        }
    }

    fn fail(&mut self, refusal: Refusal) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.is_over = true;
        self.news.set(|state| state.fault = Some(refusal));
        Poll::Ready(Some(Err(refusal.into())))
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let body = self.get_mut();
        if body.is_over {
            return Poll::Ready(None);
        }
        if !std::mem::replace(&mut body.was_asked_for, true) {
            body.news.set(|state| state.is_asked_for = true);
        }
        loop {
            match body.stream.poll_data(cx) {
                Poll::Ready(Some(Ok(bytes))) => {
                    body.timer.clear();
                    body.taken += bytes.len() as u64;
                    // Failing means that the stream is over, which its next piece will say.
                    let _ = body.stream.flow_control().release_capacity(bytes.len());
                    if body.taken > body.shared.limits.body_bytes_max {
                        return body.fail(Refusal::BodyTooLarge);
                    }
                    if bytes.is_empty() {
                        continue;
                    }
                    if let Some(left) = &mut body.bytes_left {
                        *left = left.saturating_sub(bytes.len() as u64);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Poll::Ready(Some(Err(_))) => return body.fail(Refusal::BodyCut),
                // Trailers go no further, but malformed ones make the whole request malformed.
                Poll::Ready(None) => match ready!(body.stream.poll_trailers(cx)) {
                    Ok(_) => {
                        body.is_over = true;
                        return Poll::Ready(None);
                    }
                    Err(_) => return body.fail(Refusal::BodyCut),
                },
                Poll::Pending => {
                    body.timer.set_if_clear(body.shared.limits.body_idle_timeout);
                    ready!(body.timer.poll_expired(cx));
                    return body.fail(Refusal::BodyTimeout);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.bytes_left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
