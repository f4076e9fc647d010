//! The transport of a connection with what was read ahead and what is to be written.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::ReadBuf;

use crate::front::{client::Shared, transport::Transport};

/// How much is asked of the transport in one read.
const READ_BYTES: usize = 16 << 10;

thread_local! {
    /// All connections of a thread read into this; what they keep has the size of what arrived. So a
    /// connection that waits holds no read buffer.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

pub(super) struct Wire<T> {
    pub(super) io: T,
    /// Read and not yet understood.
    pub(super) input: BytesMut,
    /// Heads and chunk sizes to be written before anything else.
    pub(super) output: BytesMut,
    /// The client will send nothing more.
    pub(super) is_read_closed: bool,
}

impl<T: Transport> Wire<T> {
    pub(super) fn new(io: T) -> Self {
        Self { io, input: BytesMut::new(), output: BytesMut::new(), is_read_closed: false }
    }

    /// Reads more input, at most [`READ_BYTES`]; 0 is the end.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, shared: &Shared) -> Poll<io::Result<usize>> {
        if self.is_read_closed {
            return Poll::Ready(Ok(0));
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buf = ReadBuf::new(scratch);
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf)) {
                // A TLS client that closes without saying so has closed.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(()) => {}
            }
            let bytes = buf.filled();
            self.is_read_closed = bytes.is_empty();
            self.input.extend_from_slice(bytes);
            shared.counters.bytes_in.add(bytes.len() as u64);
            Poll::Ready(Ok(bytes.len()))
        })
    }

    /// Writes the output, then `piece`, then `tail`, and flushes. `taken` grows by what the client took.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        piece: &mut Bytes,
        tail: &mut &'static [u8],
        taken: &mut usize,
    ) -> Poll<io::Result<()>> {
        while !(self.output.is_empty() && piece.is_empty() && tail.is_empty()) {
            let slices = [IoSlice::new(&self.output), IoSlice::new(piece), IoSlice::new(tail)];
            let mut bytes = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, &slices))?;
            if bytes == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *taken += bytes;
            let mut advance = |buf: &mut dyn Buf| {
                let step = bytes.min(buf.remaining());
                buf.advance(step);
                bytes -= step;
            };
            advance(&mut self.output);
            advance(piece);
            advance(tail);
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Gives back memory while nothing happens.
    pub(super) fn tidy(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        if self.output.is_empty() {
            self.output = BytesMut::new();
        }
    }
}
