//! What the front needs of a connection to a client, cleartext or TLS.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};
use tokio_rustls::server::TlsStream;

use super::counters::Counters;

/// A connection to a client.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Makes the coming drop a reset, so that the client cannot take what it has for the whole.
    fn reset_on_drop(&self);
}

impl Transport for TcpStream {
    fn reset_on_drop(&self) {
        // Failure means that the socket is closed already.
        let _ = self.set_zero_linger();
    }
}

impl Transport for TlsStream<TcpStream> {
    fn reset_on_drop(&self) {
        self.get_ref().0.reset_on_drop();
    }
}

/// A transport for HTTP/2: gives back bytes that were read to find out that it is HTTP/2, counts, and
/// remembers since when the client takes nothing.
pub(crate) struct Observed<T> {
    io: T,
    unread: Bytes,
    stall: Stall,
    counters: Arc<Counters>,
}

/// Since when a write has been waiting for the client.
#[derive(Clone, Default)]
pub(crate) struct Stall(Arc<Mutex<Option<Instant>>>);

impl Stall {
    /// The start of the wait, if there is one.
    pub(crate) fn since(&self) -> Option<Instant> {
        *self.0.lock()
    }
}

impl<T> Observed<T> {
    pub(crate) fn new(io: T, unread: Bytes, counters: Arc<Counters>) -> (Self, Stall) {
        let stall = Stall::default();
        (Self { io, unread, stall: stall.clone(), counters }, stall)
    }

    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let mut since = self.stall.0.lock();
        match &written {
            Poll::Pending => {
                since.get_or_insert_with(Instant::now);
            }
            Poll::Ready(Ok(bytes)) => {
                *since = None;
                self.counters.bytes_out.add(*bytes as u64);
            }
            Poll::Ready(Err(_)) => {}
        }
        written
    }
}

impl<T: Transport> AsyncRead for Observed<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if self.unread.is_empty() {
            std::task::ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        } else {
            let bytes = self.unread.len().min(buf.remaining());
            buf.put_slice(&self.unread[..bytes]);
            self.unread.advance(bytes);
        }
        self.counters.bytes_in.add((buf.filled().len() - before) as u64);
        Poll::Ready(Ok(()))
    }
}

impl<T: Transport> AsyncWrite for Observed<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
