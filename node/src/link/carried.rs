//! What carries frames: one TLS connection, or one stream of a QUIC connection.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};
use tokio_rustls::TlsStream;
use tokio_util::io::poll_read_buf;

/// A TLS connection. rustls asks the socket for 4 KiB at a time; the buffer makes few system calls of many.
pub(super) type Tls = TlsStream<BufReader<TcpStream>>;

/// Either of the carriers. Dropped, it ends at once: the TCP connection is closed, the QUIC stream stopped.
pub(super) enum Carried {
    Tcp(Box<Tls>),
    Quic(quinn::SendStream, quinn::RecvStream),
}

impl Carried {
    /// Reads what there is, up to `spare` bytes; waits only when there is nothing. Ready with 0 at the end.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
        spare: usize,
    ) -> Poll<io::Result<usize>> {
        buffer.reserve(spare);
        let mut read = 0;
        while read < spare && buffer.capacity() > buffer.len() {
            let polled = match self {
                Self::Tcp(tls) => poll_read_buf(Pin::new(tls.as_mut()), cx, buffer),
                Self::Quic(_, recv) => poll_read_buf(Pin::new(recv), cx, buffer),
            };
            match polled {
                // What was read comes first; the end or the error is met again at the next read.
                Poll::Ready(Ok(0) | Err(_)) | Poll::Pending if read > 0 => break,
                polled => {
                    read += match ready!(polled)? {
                        0 => return Poll::Ready(Ok(0)),
                        bytes => bytes,
                    }
                }
            }
        }
        Poll::Ready(Ok(read))
    }

    /// Sends both, the second without copying it, and flushes.
    pub(super) async fn write(&mut self, front: Bytes, data: Bytes) -> io::Result<()> {
        match self {
            Self::Tcp(tls) => {
                tls.write_all_buf(&mut front.chain(data)).await?;
                tls.flush().await
            }
            Self::Quic(send, _) => Ok(send.write_all_chunks(&mut [front, data]).await?),
        }
    }

    /// Nothing more will be sent. A TCP connection stays open, for the next question.
    pub(super) fn finish(&mut self) {
        if let Self::Quic(send, _) = self {
            // Failing means that the peer has stopped it, which shows when it is read.
            let _ = send.finish();
        }
    }

    /// Returns when all that was sent on a stream has arrived, or will not. A closed connection forgets what has
    /// not; TCP goes on by itself.
    pub(super) async fn delivered(&mut self) {
        if let Self::Quic(send, _) = self {
            let _ = send.stopped().await;
        }
    }

    /// Breaks it off, so that the other side does not take what was sent for all there is.
    pub(super) fn abort(&mut self) {
        if let Self::Quic(send, recv) = self {
            let _ = send.reset(0u8.into());
            let _ = recv.stop(0u8.into());
        }
    }

    /// Returns when the asker has gone, or said something where nothing is to be said. A QUIC stream of a
    /// question ends when the question is complete; there, the asker that goes stops the answer.
    pub(super) async fn gone(&mut self, buffer: &mut BytesMut) {
        match self {
            Self::Tcp(tls) => {
                let mut tls = Pin::new(tls.as_mut());
                // Whatever comes, even an error: it is over.
                let _ = std::future::poll_fn(|cx| poll_read_buf(tls.as_mut(), cx, buffer)).await;
            }
            Self::Quic(send, _) => {
                let _ = send.stopped().await;
            }
        }
    }

    /// Whether an idle connection can be used again: nothing was said on it, not even that it ends.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut byte = [0; 1];
        let mut byte = tokio::io::ReadBuf::new(&mut byte);
        match self {
            Self::Tcp(tls) => Pin::new(tls.as_mut()).poll_read(&mut cx, &mut byte).is_pending(),
            Self::Quic(..) => false,
        }
    }
}
