//! Carries a request body from the connection to whoever reads it.
//!
//! The reader may sit in another task, such as that of a connection to an origin. Nothing is read from the
//! client before the reader asks, and then one piece at a time: a reader that is slow slows the client
//! down, a body that nobody wants is not taken in, and `100 Continue` is sent when the body is first asked
//! for (RFC 9110 section 10.1.1).

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::{BufMut, Bytes};
use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty};
use tokio::sync::mpsc;

use super::{
    body::{Decoder, Piece},
    head::{Head, Length},
    wire::Wire,
};
use crate::{
    edge::door::{BoxError, RequestBody},
    front::{client::Shared, refusal::Refusal, timer::Timer, transport::Transport},
};

/// The connection's end of a request body.
pub(super) struct Pump {
    decoder: Decoder,
    /// Gone when the body is complete, failed, or nobody reads it.
    sender: Option<mpsc::Sender<Result<Bytes, Refusal>>>,
    demand: Arc<Demand>,
    timer: Timer,
    bytes: u64,
    is_complete: bool,
    owes_continue: bool,
}

/// What the reader asks for.
#[derive(Default)]
struct Demand {
    wanted: AtomicBool,
    complete: AtomicBool,
    waker: AtomicWaker,
}

/// The reader's end of a request body.
struct Reader {
    receiver: mpsc::Receiver<Result<Bytes, Refusal>>,
    demand: Arc<Demand>,
    bytes_left: Option<u64>,
    is_over: bool,
}

/// Both ends of the body of a request.
pub(super) fn of(head: &Head) -> (Pump, RequestBody) {
    let demand = Arc::new(Demand::default());
    let decoder = Decoder::new(head.length);
    let mut pump = Pump {
        decoder,
        sender: None,
        demand,
        timer: Timer::default(),
        bytes: 0,
        is_complete: head.length == Length::Known(0),
        owes_continue: head.expects_continue,
    };
    if pump.is_complete {
        return (pump, Empty::new().map_err(|never| match never {}).boxed_unsync());
    }
    let (sender, receiver) = mpsc::channel(1);
    let bytes_left = pump.decoder.bytes_left();
    pump.sender = Some(sender);
    let reader = Reader { receiver, demand: pump.demand.clone(), bytes_left, is_over: false };
    (pump, reader.boxed_unsync())
}

impl Pump {
    /// Whether the whole body was taken from the connection.
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Whether the client still waits to be told to send the body.
    pub(super) fn owes_continue(&self) -> bool {
        self.owes_continue && !self.is_complete
    }

    /// Bytes still to come, when that is known.
    pub(super) fn bytes_left(&self) -> Option<u64> {
        self.decoder.bytes_left()
    }

    /// Moves what the reader asked for. `may_continue` until the head of the final response is written.
    /// Only a failure is ready; the reader has been told of it then.
    pub(super) fn poll<T: Transport>(
        &mut self,
        cx: &mut Context<'_>,
        wire: &mut Wire<T>,
        shared: &Shared,
        may_continue: bool,
    ) -> Poll<Refusal> {
        if self.sender.is_none() {
            return Poll::Pending;
        }
        self.demand.waker.register(cx.waker());
        if !self.demand.wanted.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        if std::mem::take(&mut self.owes_continue) && may_continue {
            wire.output.put_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        loop {
            match self.decode(wire, shared) {
                Ok(Piece::Data(bytes)) => {
                    self.timer.clear();
                    self.demand.wanted.store(false, Ordering::Release);
                    // The channel is empty, because the reader asked; a reader that left wants nothing.
                    if self.sender.as_ref().is_none_or(|sender| sender.try_send(Ok(bytes)).is_err()) {
                        self.sender = None;
                    }
                    return Poll::Pending;
                }
                Ok(Piece::End) => {
                    self.demand.complete.store(true, Ordering::Release);
                    self.sender = None;
                    return Poll::Pending;
                }
                Ok(Piece::More) => match wire.poll_read(cx, shared) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(self.fail(Refusal::BodyCut)),
                    Poll::Ready(Ok(_)) => self.timer.clear(),
                    Poll::Pending => {
                        self.timer.set_if_clear(shared.limits.body_idle_timeout);
                        return match self.timer.poll_expired(cx) {
                            Poll::Ready(()) => Poll::Ready(self.fail(Refusal::BodyTimeout)),
                            Poll::Pending => Poll::Pending,
                        };
                    }
                },
                Err(refusal) => return Poll::Ready(self.fail(refusal)),
            }
        }
    }

    /// Takes a piece of the body that nobody wants from what was read.
    pub(super) fn discard<T: Transport>(
        &mut self,
        wire: &mut Wire<T>,
        shared: &Shared,
    ) -> Result<Piece, Refusal> {
        self.sender = None;
        self.decode(wire, shared)
    }

    fn decode<T: Transport>(&mut self, wire: &mut Wire<T>, shared: &Shared) -> Result<Piece, Refusal> {
        let piece = self.decoder.decode(&mut wire.input)?;
        match &piece {
            Piece::Data(bytes) => self.bytes += bytes.len() as u64,
            Piece::End => self.is_complete = true,
            Piece::More => {}
        }
        // What a chunk promises is refused before it comes.
        if self.bytes.saturating_add(self.decoder.bytes_promised()) > shared.limits.body_bytes_max {
            return Err(Refusal::BodyTooLarge);
        }
        Ok(piece)
    }

    fn fail(&mut self, refusal: Refusal) -> Refusal {
        if let Some(sender) = self.sender.take() {
            // A full channel means that the reader is behind; the closed channel will tell it.
            let _ = sender.try_send(Err(refusal));
        }
        refusal
    }
}

impl Body for Reader {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let reader = self.get_mut();
        if reader.is_end_stream() {
            return Poll::Ready(None);
        }
        let piece = match reader.receiver.poll_recv(cx) {
            Poll::Pending => {
                if !reader.demand.wanted.swap(true, Ordering::AcqRel) {
                    reader.demand.waker.wake();
                }
                return Poll::Pending;
            }
            Poll::Ready(Some(piece)) => piece,
            Poll::Ready(None) if reader.demand.complete.load(Ordering::Acquire) => {
                reader.is_over = true;
                return Poll::Ready(None);
            }
            Poll::Ready(None) => Err(Refusal::BodyCut),
        };
        reader.is_over = piece.is_err();
        if let (Ok(bytes), Some(left)) = (&piece, &mut reader.bytes_left) {
            *left = left.saturating_sub(bytes.len() as u64);
        }
        Poll::Ready(Some(piece.map(Frame::data).map_err(BoxError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.bytes_left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.bytes_left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
