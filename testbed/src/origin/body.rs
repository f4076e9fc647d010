//! Bodies: whole, from a file, made up, throttled, broken off.

use std::{
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt, stream};
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::{fs::File, io::AsyncReadExt};

use super::{Stats, pattern};

/// Any body that this origin sends.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

const CHUNK_BYTES: u64 = 64 << 10;

/// No body.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// These bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// The next `length` bytes of a file. One that has become shorter breaks the response off.
pub fn file(file: File, length: u64) -> Body {
    streamed(stream::try_unfold((file, length), |(mut file, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let mut chunk = vec![0; CHUNK_BYTES.min(left) as usize];
        let read = file.read(&mut chunk).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        chunk.truncate(read);
        Ok(Some((Bytes::from(chunk), (file, left - read as u64))))
    }))
}

/// A range of the pattern of `seed`, at `bytes_per_s` when that is set.
pub fn patterned(seed: u64, range: Range<u64>, bytes_per_s: Option<u64>) -> Body {
    // Throttled, a chunk is what a twentieth of a second may bring.
    let chunk_bytes = bytes_per_s.map_or(CHUNK_BYTES, |rate| (rate / 20).clamp(1, CHUNK_BYTES));
    streamed(stream::unfold(range, move |mut range| async move {
        let length = chunk_bytes.min(range.end - range.start);
        if length == 0 {
            return None;
        }
        if let Some(rate) = bytes_per_s {
            tokio::time::sleep(Duration::from_secs_f64(length as f64 / rate.max(1) as f64)).await;
        }
        let chunk = pattern(seed, range.start, length as usize);
        range.start += length;
        Some((Ok(Bytes::from(chunk)), range))
    }))
}

/// A range of the pattern of `seed` that breaks off, with the connection, after `after` bytes; a client that
/// reads slowly may get fewer of them.
pub fn broken(seed: u64, range: Range<u64>, after: u64) -> Body {
    let end = range.end.min(range.start.saturating_add(after));
    if end == range.end {
        return patterned(seed, range, None);
    }
    streamed(stream::try_unfold(range.start, move |position| async move {
        let length = CHUNK_BYTES.min(end - position);
        if length == 0 {
            // The error drops what is not sent yet; the transport gets a turn to send it.
            tokio::task::yield_now().await;
            return Err(std::io::Error::other("broken off, as asked"));
        }
        Ok(Some((Bytes::from(pattern(seed, position, length as usize)), position + length)))
    }))
}

/// These pieces, each after a pause.
pub fn dripped(pieces: Vec<Bytes>, pause: Duration) -> Body {
    streamed(stream::unfold(pieces.into_iter(), move |mut pieces| async move {
        let piece = pieces.next()?;
        tokio::time::sleep(pause).await;
        Some((Ok(piece), pieces))
    }))
}

fn streamed(chunks: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static) -> Body {
    StreamBody::new(chunks.map_ok(Frame::data)).boxed_unsync()
}

/// A body whose bytes are counted as they leave.
pub struct Counted {
    body: Body,
    stats: Arc<Stats>,
}

impl Counted {
    pub fn new(body: Body, stats: Arc<Stats>) -> Self {
        Self { body, stats }
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(bytes) = frame.data_ref()
        {
            self.stats.sent(bytes.len() as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
