//! The bytes of a connection, plain or in TLS, read in bounded portions.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

/// Most bytes taken by one read. The HTTP/1.1 codec grows its buffer to what a read may bring, for each
/// connection; this, not the limit on response heads, is what a thousand bodies under way cost in memory.
const READ_BYTES_MAX: usize = 16 << 10;

/// A connection to an origin, which counts what it brings.
pub(super) struct Stream {
    carrier: Carrier,
    heard: Arc<AtomicU64>,
}

enum Carrier {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub(super) fn plain(stream: TcpStream) -> Self {
        Self { carrier: Carrier::Plain(stream), heard: Arc::default() }
    }

    pub(super) fn tls(stream: TlsStream<TcpStream>) -> Self {
        Self { carrier: Carrier::Tls(Box::new(stream)), heard: Arc::default() }
    }

    /// Whether HTTP/2 was negotiated.
    pub(super) fn is_http2(&self) -> bool {
        match &self.carrier {
            Carrier::Plain(_) => false,
            Carrier::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }

    /// The count of bytes received (without those of TLS itself).
    pub(super) fn heard(&self) -> Arc<AtomicU64> {
        self.heard.clone()
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let portion = buf.remaining().min(READ_BYTES_MAX);
        let mut bounded = ReadBuf::new(buf.initialize_unfilled_to(portion));
        ready!(match &mut this.carrier {
            Carrier::Plain(stream) => Pin::new(stream).poll_read(cx, &mut bounded),
            Carrier::Tls(stream) => Pin::new(stream).poll_read(cx, &mut bounded),
        })?;
        let bytes = bounded.filled().len();
        buf.advance(bytes);
        this.heard.fetch_add(bytes as u64, Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().carrier {
            Carrier::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Carrier::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().carrier {
            Carrier::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Carrier::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.carrier {
            Carrier::Plain(stream) => stream.is_write_vectored(),
            Carrier::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().carrier {
            Carrier::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Carrier::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().carrier {
            Carrier::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Carrier::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
