//! A connection, its streams, and what a client may do to it.
//!
//! The `h2` crate bounds CONTINUATION frames by the head size, header tables, PING and SETTINGS answers,
//! streams that are reset before they were seen here, and resets that the client provokes. What it cannot
//! see is counted here: a client that has requests started only to reset them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use h2::Reason;
use tokio::{task::JoinSet, time::Instant};

use super::stream::{self, End};
use crate::{
    edge::door::Handler,
    front::{
        client::Client,
        timer::Timer,
        transport::{Observed, Stall, Transport},
    },
};

/// What a client may send of one body before it is read, in bytes.
const STREAM_WINDOW: u32 = 256 << 10;
/// What a client may send of all bodies before they are read, in bytes: what a connection can hold of memory.
const CONNECTION_WINDOW: u32 = 1 << 20;
/// What of one response may wait in the connection, in bytes.
const SEND_BUFFER_BYTES_MAX: usize = 64 << 10;
/// Streams whose reset is remembered; frames for them may still be on their way.
const RESET_STREAMS_MAX: usize = 64;
/// Streams that were reset before they were accepted, at a time; more is an attack (CVE-2023-44487).
const UNSEEN_RESETS_MAX: usize = 32;
/// Errors of a client that make us reset a stream; more is an attack.
const PROVOKED_RESETS_MAX: usize = 256;
/// By how many the requests that a client cancels may outnumber those it waits for.
const CANCELLED_MAX: u32 = 256;
/// How often idleness and stalls are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long a client may take to acknowledge that the connection is to end.
const GOODBYE_TIME: Duration = Duration::from_secs(5);

/// Serves a connection to its end. `unread` was read of it already.
pub(crate) async fn serve<T: Transport, H: Handler>(io: T, unread: Bytes, client: Arc<Client>, handler: &H) {
    let limits = &client.shared.limits;
    let counters = &client.shared.counters;
    let (io, stall) = Observed::new(io, unread, counters.clone());
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(limits.streams_max)
        .max_header_list_size(u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER_BYTES_MAX)
        .max_concurrent_reset_streams(RESET_STREAMS_MAX)
        .max_pending_accept_reset_streams(UNSEEN_RESETS_MAX)
        .max_local_error_reset_streams(Some(PROVOKED_RESETS_MAX));
    let inner = match tokio::time::timeout(limits.head_timeout, builder.handshake(io)).await {
        Ok(Ok(inner)) => inner,
        Ok(Err(_)) => return counters.http2_errors.increment(),
        Err(_) => return counters.timeout_idle.increment(),
    };
    let connection = Connection {
        inner,
        stall,
        client,
        timer: Timer::default(),
        idle_since: Instant::now(),
        goodbye: None,
        served: 0,
        cancelled: 0,
    };
    connection.run(handler).await;
}

struct Connection<T> {
    inner: h2::server::Connection<Observed<T>, Bytes>,
    stall: Stall,
    client: Arc<Client>,
    timer: Timer,
    idle_since: Instant,
    /// When the end of the connection was announced.
    goodbye: Option<Instant>,
    served: u64,
    cancelled: u32,
}

impl<T: Transport> Connection<T> {
    async fn run<H: Handler>(mut self, handler: &H) {
        let shared = self.client.shared.clone();
        let mut streams = JoinSet::new();
        let mut drain = std::pin::pin!(shared.drain.cancelled());
        self.timer.set(LOOK_EVERY);
        // Streams that are still there when this returns end with the set.
        loop {
            tokio::select! {
                accepted = self.inner.accept() => match accepted {
                    Some(Ok((request, respond))) => {
                        self.served += 1;
                        streams.spawn(stream::serve(request, respond, self.client.clone(), handler.clone()));
                        if self.served >= shared.limits.requests_per_connection_max {
                            self.say_goodbye();
                        }
                    }
                    Some(Err(error)) => {
                        if !error.is_io() && error.reason() != Some(Reason::NO_ERROR) {
                            tracing::debug!(%error, peer = %self.client.peer, "an HTTP/2 connection failed");
                            shared.counters.http2_errors.increment();
                        }
                        return;
                    }
                    None => return,
                },
                Some(ended) = streams.join_next() => {
                    self.note(ended.unwrap_or(End::Answered));
                    self.idle_since = Instant::now();
                }
                () = &mut drain, if self.goodbye.is_none() => self.say_goodbye(),
                () = std::future::poll_fn(|cx| self.timer.poll_expired(cx)) => {
                    if self.is_over(streams.is_empty()) {
                        return;
                    }
                    self.timer.set(LOOK_EVERY);
                }
            }
        }
    }

    fn say_goodbye(&mut self) {
        if self.goodbye.is_none() {
            self.goodbye = Some(Instant::now());
            self.inner.graceful_shutdown();
        }
    }

    /// Cancelling is a client's right; doing little else is an attack.
    fn note(&mut self, end: End) {
        match end {
            End::Answered => self.cancelled = self.cancelled.saturating_sub(1),
            End::Cancelled => self.cancelled += 1,
        }
        if self.cancelled == CANCELLED_MAX {
            self.client.shared.counters.http2_errors.increment();
            self.inner.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        }
    }

    /// Whether nothing more is to be expected of the client.
    fn is_over(&mut self, has_no_streams: bool) -> bool {
        let limits = &self.client.shared.limits;
        let counters = &self.client.shared.counters;
        if self.stall.since().is_some_and(|since| since.elapsed() >= limits.write_idle_timeout) {
            counters.timeout_write.increment();
            return true;
        }
        if !has_no_streams {
            return false;
        }
        match self.goodbye {
            Some(since) => since.max(self.idle_since).elapsed() >= GOODBYE_TIME,
            None if self.idle_since.elapsed() >= limits.idle_timeout => {
                counters.timeout_idle.increment();
                self.say_goodbye();
                false
            }
            None => false,
        }
    }
}
