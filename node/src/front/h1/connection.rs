//! The life of an HTTP/1.1 connection: a head, an answer, a head, an answer.
//!
//! ```text
//!            ┌──────────────────────────────────────────────┐
//!            v                                              │ may go on
//!  accept ─> head ──────────> answer ────> respond ────> discard the rest of the body
//!            │  │ cannot be     │ body        │ body or         │ cannot
//!      idle, │  │ read or is    │ broken      │ client cut      v
//!      drain │  └─ too much ──> refuse        v               linger ─> closed
//!            v                  │           reset                ^
//!          closed               └────────────────────────────────┘
//! ```

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::{Buf, Bytes};
use http::{Method, Version};
use tokio::sync::mpsc;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{
    body::Piece,
    head::{self, HTTP2_PREFACE, Head, Length, Scanner},
    incoming::{self, Pump},
    respond::{Asked, DISCARD_BYTES_MAX, Responder, poll_gone},
    wire::Wire,
    write,
};
use crate::{
    edge::door::{ClientHead, ClientRequest, ClientResponse, Handler, Interim, Scheme},
    front::{
        client::{Client, Shared},
        pace::Pace,
        refusal::Refusal,
        respond::Cut,
        timer::Timer,
        transport::Transport,
    },
};

/// Interim responses that may wait for the client; more are dropped.
const INTERIM_QUEUE: usize = 8;
/// Interim responses are not taken from the queue while so much waits for the client.
const INTERIM_BYTES_MAX: usize = 16 << 10;
/// Memory is given back after so long without a request.
const TIDY_AFTER: Duration = Duration::from_secs(2);
/// How long a body that nobody reads is waited for.
const DISCARD_TIME: Duration = Duration::from_secs(5);
/// How long, and for how many bytes, a client that is to read a refusal is kept from a reset
/// (RFC 9112 section 9.6).
const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 512 << 10;

/// How a connection ended.
pub(crate) enum Ended<T> {
    Closed,
    /// The client spoke HTTP/2 from the start; these bytes were read already.
    Http2(T, Bytes),
}

/// Serves a connection to its end.
pub(crate) async fn serve<T: Transport, H: Handler>(io: T, client: Arc<Client>, handler: &H) -> Ended<T> {
    let drain = Box::pin(client.shared.drain.clone().cancelled_owned());
    let mut connection = Connection {
        wire: Wire::new(io),
        timer: Timer::default(),
        client,
        interim: None,
        drain,
        is_drain_watched: false,
        served: 0,
    };
    loop {
        let head = match connection.head().await {
            Next::Head(head) => head,
            Next::Closed => return Ended::Closed,
            Next::Http2 => return Ended::Http2(connection.wire.io, connection.wire.input.freeze()),
            Next::Refused(refusal) => {
                connection.refuse(refusal, false).await;
                connection.linger().await;
                return Ended::Closed;
            }
        };
        match connection.exchange(head, handler).await {
            After::GoOn => {}
            After::Linger => {
                connection.linger().await;
                return Ended::Closed;
            }
            After::Reset => {
                connection.wire.io.reset_on_drop();
                return Ended::Closed;
            }
        }
    }
}

struct Connection<T> {
    wire: Wire<T>,
    timer: Timer,
    client: Arc<Client>,
    /// Used again for the next request if nobody kept the sender of the last.
    interim: Option<(mpsc::Sender<Interim>, mpsc::Receiver<Interim>)>,
    drain: Pin<Box<WaitForCancellationFutureOwned>>,
    is_drain_watched: bool,
    served: u64,
}

enum Next {
    Head(Head),
    Http2,
    Closed,
    Refused(Refusal),
}

enum After {
    GoOn,
    Linger,
    Reset,
}

enum Answer {
    Response(ClientResponse),
    Refused(Refusal),
    Gone,
}

impl<T: Transport> Connection<T> {
    fn shared(&self) -> &Shared {
        &self.client.shared
    }

    /// Waits for the head of the next request.
    async fn head(&mut self) -> Next {
        let mut scanner = Scanner::default();
        let mut may_skip_line = true;
        self.timer.clear();
        loop {
            // RFC 9112 section 2.2: one empty line before a request line is ignored.
            if may_skip_line && self.wire.input.starts_with(b"\r\n") {
                self.wire.input.advance(2);
                may_skip_line = false;
                continue;
            }
            let may_be_empty_line = may_skip_line && self.wire.input[..] == *b"\r";
            if !self.wire.input.is_empty() && !may_be_empty_line {
                match self.understand(&mut scanner) {
                    Ok(Some(next)) => return next,
                    Ok(None) => {}
                    Err(refusal) => return Next::Refused(refusal),
                }
            }
            if let Err(end) = self.read_head().await {
                return end;
            }
        }
    }

    /// Reads a head from the input, once it is complete.
    fn understand(&mut self, scanner: &mut Scanner) -> Result<Option<Next>, Refusal> {
        let input = &self.wire.input;
        if self.served == 0 && self.client.scheme == Scheme::Http && input.starts_with(b"PRI ") {
            let length = input.len().min(HTTP2_PREFACE.len());
            return match input[..length] == HTTP2_PREFACE[..length] {
                true if length == HTTP2_PREFACE.len() => Ok(Some(Next::Http2)),
                true => Ok(None),
                false => Err(Refusal::Version),
            };
        }
        // A TLS handshake on the wrong port, and the like, need not be waited for.
        if !input[0].is_ascii_graphic() {
            return Err(if input[0] == b'\r' || input[0] == b'\n' {
                Refusal::LineEnd
            } else {
                Refusal::RequestLine
            });
        }
        let Some(bytes) = scanner.scan(input, &self.client.shared.limits)? else { return Ok(None) };
        let head = self.wire.input.split_to(bytes).freeze();
        head::parse(&head, self.client.scheme).map(|head| Some(Next::Head(head)))
    }

    /// Reads once. The first connection's head must arrive in `head_timeout`; a connection that served a
    /// request may be silent for `idle_timeout` before that time begins.
    async fn read_head(&mut self) -> Result<(), Next> {
        let is_idle = self.wire.input.is_empty() && self.served > 0;
        let mut is_tidy = !is_idle;
        let limits = &self.client.shared.limits;
        let (head_timeout, idle_timeout) = (limits.head_timeout, limits.idle_timeout);
        let read = poll_fn(|cx| {
            if let Poll::Ready(read) = self.wire.poll_read(cx, &self.client.shared) {
                return Poll::Ready(Some(read));
            }
            if self.wire.input.is_empty() {
                // Once asked, the token wakes this task; from then on the flag is cheaper.
                let asks_token = !std::mem::replace(&mut self.is_drain_watched, true);
                if self.client.shared.is_draining() || (asks_token && self.drain.as_mut().poll(cx).is_ready())
                {
                    return Poll::Ready(None);
                }
            }
            match is_idle {
                true if !is_tidy => self.timer.set_if_clear(TIDY_AFTER.min(idle_timeout)),
                true => self.timer.set_if_clear(idle_timeout.saturating_sub(TIDY_AFTER)),
                false => self.timer.set_if_clear(head_timeout),
            }
            while self.timer.poll_expired(cx).is_ready() {
                if is_tidy || idle_timeout <= TIDY_AFTER {
                    return Poll::Ready(Some(Err(std::io::ErrorKind::TimedOut.into())));
                }
                is_tidy = true;
                self.wire.tidy();
                self.interim = None;
                self.timer.set(idle_timeout.saturating_sub(TIDY_AFTER));
            }
            Poll::Pending
        })
        .await;
        let counters = &self.client.shared.counters;
        match read {
            // There is nobody to tell that a head was cut off.
            Some(Ok(0)) => Err(Next::Closed),
            Some(Ok(_)) => {
                if is_idle {
                    self.timer.clear();
                }
                Ok(())
            }
            Some(Err(error)) if error.kind() == std::io::ErrorKind::TimedOut => {
                // A connection opened in advance and never used is idle too: a 408 on it would be taken for
                // the answer to the request that comes at the same moment.
                if self.wire.input.is_empty() {
                    counters.timeout_idle.increment();
                    return Err(Next::Closed);
                }
                Err(Next::Refused(Refusal::HeadTimeout))
            }
            Some(Err(_)) | None => Err(Next::Closed),
        }
    }

    /// Answers one request.
    async fn exchange<H: Handler>(&mut self, head: Head, handler: &H) -> After {
        self.served += 1;
        // The head is here: how long its answer takes is the edge's affair.
        self.timer.clear();
        if let Err(refusal) = self.check(&head) {
            self.refuse(refusal, head.method == Method::HEAD).await;
            return After::Linger;
        }
        let limits = &self.client.shared.limits;
        let asked = Asked {
            is_head: head.method == Method::HEAD,
            is_http11: head.is_http11,
            keep_alive: head.keep_alive && self.served < limits.requests_per_connection_max,
        };
        let (mut pump, body) = incoming::of(&head);
        let (interim_sender, mut interim) = match self.interim.take() {
            Some(pair) => pair,
            None => mpsc::channel(INTERIM_QUEUE),
        };
        let counters = &self.client.shared.counters;
        let version = match head.is_http11 {
            true => {
                counters.requests_http11.increment();
                Version::HTTP_11
            }
            false => {
                counters.requests_http10.increment();
                Version::HTTP_10
            }
        };
        let head = ClientHead {
            method: head.method,
            scheme: self.client.scheme,
            authority: head.authority,
            path_and_query: head.path_and_query,
            version,
            headers: head.headers,
            body_bytes: match head.length {
                Length::Known(bytes) => Some(bytes),
                Length::Chunked => None,
            },
            peer: self.client.peer,
            interim: interim_sender.clone(),
        };
        let request = ClientRequest { head, body };
        let answer = self.answer(handler.handle(request), &mut pump, &mut interim, &asked).await;
        let response = match answer {
            Answer::Response(response) => response,
            Answer::Refused(refusal) => {
                self.refuse(refusal, asked.is_head).await;
                return After::Linger;
            }
            Answer::Gone => {
                self.shared().counters.client_aborts.increment();
                return After::Reset;
            }
        };
        if interim.sender_strong_count() == 1 && interim.is_empty() {
            self.interim = Some((interim_sender, interim));
        }
        let responder = Responder {
            wire: &mut self.wire,
            timer: &mut self.timer,
            pump: &mut pump,
            shared: &self.client.shared,
            pace: Pace::default(),
            is_input_broken: false,
        };
        let responded = responder.run(&asked, response).await;
        let counters = &self.client.shared.counters;
        match responded {
            Ok(may_go_on) => {
                let goes_on = may_go_on && self.discard(&mut pump).await;
                return if goes_on { After::GoOn } else { After::Linger };
            }
            Err(Cut::ClientGone) => counters.client_aborts.increment(),
            Err(Cut::WriteIdle) => counters.timeout_write.increment(),
            Err(Cut::WriteRate) => counters.timeout_write_rate.increment(),
            Err(Cut::Source) => counters.response_resets.increment(),
        }
        After::Reset
    }

    fn check(&self, head: &Head) -> Result<(), Refusal> {
        match head.length {
            Length::Known(bytes) if bytes > self.shared().limits.body_bytes_max => Err(Refusal::BodyTooLarge),
            _ => self.client.check_directed(&head.authority),
        }
    }

    /// Waits for the handler, carrying the request's body to it and interim responses from it.
    async fn answer(
        &mut self,
        handling: impl Future<Output = ClientResponse>,
        pump: &mut Pump,
        interim: &mut mpsc::Receiver<Interim>,
        asked: &Asked,
    ) -> Answer {
        let mut handling = pin!(handling);
        let shared = &self.client.shared;
        let wire = &mut self.wire;
        let timer = &mut self.timer;
        let answer = poll_fn(|cx| {
            let answered = handling.as_mut().poll(cx);
            while wire.output.len() < INTERIM_BYTES_MAX {
                // Asking also has us woken by the next one.
                let Poll::Ready(Some(Interim { status, headers })) = interim.poll_recv(cx) else { break };
                if asked.is_http11 {
                    write::interim(&mut wire.output, status, &headers);
                }
            }
            if let Poll::Ready(response) = answered {
                return Poll::Ready(Answer::Response(response));
            }
            if let Poll::Ready(refusal) = pump.poll(cx, wire, shared, true) {
                return Poll::Ready(Answer::Refused(refusal));
            }
            if poll_gone(cx, wire, pump, shared).is_ready() {
                return Poll::Ready(Answer::Gone);
            }
            if !wire.output.is_empty() {
                let mut taken = 0;
                let sent = wire.poll_send(cx, &mut Bytes::new(), &mut &b""[..], &mut taken);
                shared.counters.bytes_out.add(taken as u64);
                match sent {
                    Poll::Ready(Ok(())) => timer.clear(),
                    Poll::Ready(Err(_)) => return Poll::Ready(Answer::Gone),
                    Poll::Pending => timer.set_if_clear(shared.limits.write_idle_timeout),
                }
            }
            timer.poll_expired(cx).map(|()| Answer::Gone)
        })
        .await;
        timer.clear();
        answer
    }

    /// Takes what is left of a request's body, within bounds, so that the next head can be read.
    async fn discard(&mut self, pump: &mut Pump) -> bool {
        if pump.is_complete() {
            return true;
        }
        let mut discarded = 0;
        self.timer.set(DISCARD_TIME);
        loop {
            match pump.discard(&mut self.wire, &self.client.shared) {
                Ok(Piece::End) => return true,
                Ok(Piece::Data(bytes)) => discarded += bytes.len() as u64,
                Ok(Piece::More) => {
                    let read = poll_fn(|cx| match self.wire.poll_read(cx, &self.client.shared) {
                        Poll::Ready(read) => Poll::Ready(read.unwrap_or_default()),
                        Poll::Pending => self.timer.poll_expired(cx).map(|()| 0),
                    });
                    if read.await == 0 {
                        return false;
                    }
                }
                Err(refusal) => {
                    self.shared().counters.refuse(refusal);
                    return false;
                }
            }
            if discarded > DISCARD_BYTES_MAX {
                return false;
            }
        }
    }

    /// Answers in place of the edge; the connection is to be closed.
    async fn refuse(&mut self, refusal: Refusal, is_head: bool) {
        self.shared().counters.refuse(refusal);
        write::refusal(&mut self.wire.output, refusal, is_head);
        self.timer.set(LINGER_TIME);
        let mut taken = 0;
        poll_fn(|cx| match self.wire.poll_send(cx, &mut Bytes::new(), &mut &b""[..], &mut taken) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => self.timer.poll_expired(cx),
        })
        .await;
        self.shared().counters.bytes_out.add(taken as u64);
    }

    /// Says that nothing more comes and waits for the client to say so too: a socket that is closed with
    /// unread input is reset, and a reset overtakes what the client has not read yet.
    async fn linger(&mut self) {
        self.timer.set(LINGER_TIME);
        let mut read_bytes = 0;
        let is_shut = poll_fn(|cx| match Pin::new(&mut self.wire.io).poll_shutdown(cx) {
            Poll::Ready(shut) => Poll::Ready(shut.is_ok()),
            Poll::Pending => self.timer.poll_expired(cx).map(|()| false),
        });
        if !is_shut.await {
            return;
        }
        while read_bytes < LINGER_BYTES_MAX {
            let read = poll_fn(|cx| match self.wire.poll_read(cx, &self.client.shared) {
                Poll::Ready(read) => Poll::Ready(read.unwrap_or_default()),
                Poll::Pending => self.timer.poll_expired(cx).map(|()| 0),
            });
            match read.await {
                0 => return,
                bytes => read_bytes += bytes,
            }
            self.wire.input.clear();
        }
    }
}
