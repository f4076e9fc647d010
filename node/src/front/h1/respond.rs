//! Writes one response, while the rest of the request's body may still arrive.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    incoming::Pump,
    wire::Wire,
    write::{self, Framing, Persistence},
};
use crate::{
    edge::door::{BodyError, ClientBody, ClientResponse},
    front::{
        client::Shared,
        pace::Pace,
        respond::{Cut, body_bytes},
        timer::Timer,
        transport::Transport,
    },
};

/// How much of the next requests is read while one is answered. It is read only to notice a client that
/// resets its connection; one that closes its sending side may still wait for the answer and gets it.
const READ_AHEAD_BYTES: usize = 4 << 10;
/// A body of a refused or early answered request is read to its end if no more than this is left, so that
/// the connection can go on.
pub(super) const DISCARD_BYTES_MAX: u64 = 64 << 10;

/// What of the request matters for the response.
pub(super) struct Asked {
    pub(super) is_head: bool,
    pub(super) is_http11: bool,
    /// Whether the connection may go on as far as the client and the limits are concerned.
    pub(super) keep_alive: bool,
}

/// One exchange on its way out.
pub(super) struct Responder<'a, T> {
    pub(super) wire: &'a mut Wire<T>,
    pub(super) timer: &'a mut Timer,
    pub(super) pump: &'a mut Pump,
    pub(super) shared: &'a Shared,
    pub(super) pace: Pace,
    /// Reading the request's body failed; the connection ends after this response.
    pub(super) is_input_broken: bool,
}

impl<T: Transport> Responder<'_, T> {
    /// Writes the response. Tells whether the connection may go on.
    pub(super) async fn run(mut self, asked: &Asked, mut response: ClientResponse) -> Result<bool, Cut> {
        let bytes = body_bytes(&response);
        let status = response.status;
        let framing = Framing::of(asked.is_head, asked.is_http11, status, bytes);
        let keep_alive = asked.keep_alive
            && framing != Framing::UntilClose
            && !response.body.wants_close()
            && !self.shared.is_draining()
            && self.can_discard();
        let persistence = match keep_alive {
            false => Persistence::Close,
            true if asked.is_http11 => Persistence::Default,
            true => Persistence::KeepAlive,
        };
        write::head(&mut self.wire.output, status, &response.headers, framing, persistence);
        self.body(framing, &mut response.body).await?;
        response.body.finish();
        Ok(keep_alive && !self.is_input_broken)
    }

    /// Whether what the client has not sent yet of its body can be waited for. A client that was not told
    /// to go on may or may not send its body (RFC 9110 section 10.1.1): nothing can follow that.
    fn can_discard(&self) -> bool {
        !self.pump.owes_continue() && self.pump.bytes_left().is_none_or(|left| left <= DISCARD_BYTES_MAX)
    }

    async fn body(&mut self, framing: Framing, body: &mut ClientBody) -> Result<(), Cut> {
        if framing == Framing::Bodyless {
            return self.send(Bytes::new(), b"").await;
        }
        let mut left = if let Framing::Length(bytes) = framing { Some(bytes) } else { None };
        if let (Some(bytes), Some(whole)) = (left, body.take_full()) {
            if whole.len() as u64 != bytes {
                return Err(Cut::Source);
            }
            let length = whole.len();
            self.send(whole, b"").await?;
            body.sent(length);
            return Ok(());
        }
        while let Some(piece) = self.next(body).await? {
            let piece = piece.map_err(|_| Cut::Source)?;
            let length = piece.len();
            if length == 0 {
                continue;
            }
            if let Some(left) = &mut left {
                *left = left.checked_sub(length as u64).ok_or(Cut::Source)?;
            }
            if framing == Framing::Chunked {
                write::chunk_size(&mut self.wire.output, length);
                self.send(piece, b"\r\n").await?;
            } else {
                self.send(piece, b"").await?;
            }
            body.sent(length);
        }
        if left.is_some_and(|left| left > 0) {
            return Err(Cut::Source);
        }
        let end: &'static [u8] = if framing == Framing::Chunked { b"0\r\n\r\n" } else { b"" };
        self.send(Bytes::new(), end).await
    }

    /// The next piece of the body. What is written already does not wait for it.
    async fn next(&mut self, body: &mut ClientBody) -> Result<Option<Result<Bytes, BodyError>>, Cut> {
        let mut next = pin!(body.next());
        std::future::poll_fn(|cx| {
            if let Poll::Ready(piece) = next.as_mut().poll(cx) {
                return Poll::Ready(Ok(piece));
            }
            if !self.wire.output.is_empty() {
                let mut taken = 0;
                match self.wire.poll_send(cx, &mut Bytes::new(), &mut &b""[..], &mut taken) {
                    Poll::Ready(Ok(())) => self.timer.clear(),
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Cut::ClientGone)),
                    Poll::Pending => {
                        self.timer.set_if_clear(self.shared.limits.write_idle_timeout);
                        if self.timer.poll_expired(cx).is_ready() {
                            return Poll::Ready(Err(Cut::WriteIdle));
                        }
                    }
                }
                self.shared.counters.bytes_out.add(taken as u64);
            }
            self.poll_input(cx)
        })
        .await
    }

    /// Writes what is to be written, all of it.
    async fn send(&mut self, mut piece: Bytes, mut tail: &'static [u8]) -> Result<(), Cut> {
        let mut taken = 0;
        let mut waiting_since: Option<Instant> = None;
        let sent = std::future::poll_fn(|cx| {
            let before = taken;
            let sent = self.wire.poll_send(cx, &mut piece, &mut tail, &mut taken);
            self.pace.took(taken - before);
            if let Some(since) = waiting_since.take() {
                self.pace.waited(since.elapsed());
            }
            match sent {
                Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Cut::ClientGone)),
                Poll::Pending => waiting_since = Some(Instant::now()),
            }
            if self.pace.is_too_slow(&self.shared.limits) {
                return Poll::Ready(Err(Cut::WriteRate));
            }
            if taken > before {
                self.timer.clear();
            }
            self.timer.set_if_clear(self.shared.limits.write_idle_timeout);
            if self.timer.poll_expired(cx).is_ready() {
                return Poll::Ready(Err(Cut::WriteIdle));
            }
            self.poll_input(cx)
        })
        .await;
        self.timer.clear();
        self.shared.counters.bytes_out.add(taken as u64);
        sent
    }

    /// Moves the request's body, and notices a client that is gone. Never ready with `Ok`.
    fn poll_input<R>(&mut self, cx: &mut Context<'_>) -> Poll<Result<R, Cut>> {
        if let Poll::Ready(refusal) = self.pump.poll(cx, self.wire, self.shared, false) {
            self.shared.counters.refuse(refusal);
            self.is_input_broken = true;
        }
        match poll_gone(cx, self.wire, self.pump, self.shared) {
            Poll::Ready(()) => Poll::Ready(Err(Cut::ClientGone)),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Ready when the client has reset the connection.
pub(super) fn poll_gone<T: Transport>(
    cx: &mut Context<'_>,
    wire: &mut Wire<T>,
    pump: &Pump,
    shared: &Shared,
) -> Poll<()> {
    // What belongs to the body is read when its reader asks for it.
    let may_read = pump.bytes_left() == Some(0);
    while may_read && !wire.is_read_closed && wire.input.len() < READ_AHEAD_BYTES {
        match wire.poll_read(cx, shared) {
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(_)) => return Poll::Ready(()),
            Poll::Pending => break,
        }
    }
    Poll::Pending
}
