//! The framing, the same on both carriers: `[kind: u8][length: u32, big-endian][payload]`.
//!
//! | kind | from | payload | what it says |
//! | --- | --- | --- | --- |
//! | `Hello` | both | [`wire::Hello`], no roster | the first frame of a connection: who I am |
//! | `Greet` | both | [`wire::Hello`] | a question and its answer: who I am, and whom I know |
//! | `Fetch` | asker | [`wire::Fetch`] | a question |
//! | `Call` | asker | [`wire::Call`] | a small question |
//! | `Working` | asked | – | it was taken on, and is worked on |
//! | `Answer` | asked | [`wire::Answer`] | the head; `Data`, then `End` or `Fail`, follow |
//! | `Data` | asked | bytes | a piece of the body |
//! | `End` | asked | – | the body is whole |
//! | `Fail` | asked | – | the body broke off |
//! | `Refusal` | asked | [`wire::Refusal`] | no |
//! | `Reply` | asked | [`wire::Reply`] | the answer to a `Call` |
//!
//! A frame's length is held against its kind's limit, and its kind against what may be said at that point, before
//! a byte of its payload is buffered.

use std::{future::poll_fn, io, sync::Arc, task::Context, time::Duration};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use starling_proto::wire::{self, Message, WireError};
use tokio::time::timeout;

use super::{carried::Carried, error::AskErrorKind, peers::PeerEntry};

/// Kind and length.
pub(super) const HEADER_BYTES: usize = 5;
/// Longest payload of one `Data`.
pub(super) const DATA_BYTES_MAX: usize = 256 << 10;
/// Data up to this is copied behind its header, so that small answers leave in one piece.
const COPY_BYTES_MAX: usize = 8 << 10;
/// Room for what is neither data nor a long frame.
const BUFFER_BYTES: usize = 4 << 10;
/// Room for data: pieces of a body are at most this long.
const BUFFER_BYTES_MAX: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Hello = 1,
    Greet = 2,
    Fetch = 3,
    Call = 4,
    Working = 5,
    Answer = 6,
    Data = 7,
    End = 8,
    Fail = 9,
    Refusal = 10,
    Reply = 11,
}

impl Kind {
    const ALL: [Self; 11] = [
        Self::Hello,
        Self::Greet,
        Self::Fetch,
        Self::Call,
        Self::Working,
        Self::Answer,
        Self::Data,
        Self::End,
        Self::Fail,
        Self::Refusal,
        Self::Reply,
    ];

    fn of(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }

    fn bytes_max(self) -> usize {
        match self {
            Self::Hello | Self::Greet => wire::Hello::BYTES_MAX,
            Self::Fetch => wire::Fetch::BYTES_MAX,
            Self::Call => wire::Call::BYTES_MAX,
            Self::Answer => wire::Answer::BYTES_MAX,
            Self::Data => DATA_BYTES_MAX,
            Self::Refusal => wire::Refusal::BYTES_MAX,
            Self::Reply => wire::Reply::BYTES_MAX,
            Self::Working | Self::End | Self::Fail => 0,
        }
    }
}

/// What may come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// The first frame of a connection; a short one, for its sender is not known yet.
    Hello,
    /// A question.
    Question,
    /// Anything that answers one.
    Answer,
}

impl Expect {
    fn allows(self, kind: Kind, bytes: usize) -> bool {
        /// A `Hello` has no roster.
        const HELLO_BYTES_MAX: usize = 32 << 10;
        match self {
            Self::Hello => kind == Kind::Hello && bytes <= HELLO_BYTES_MAX,
            Self::Question => matches!(kind, Kind::Greet | Kind::Fetch | Kind::Call),
            Self::Answer => !matches!(kind, Kind::Hello | Kind::Fetch | Kind::Call),
        }
    }
}

/// A frame that came in.
#[derive(Debug)]
pub(super) enum Frame {
    Hello(Box<wire::Hello>),
    Greet(Box<wire::Hello>),
    Fetch(Box<wire::Fetch>),
    Call(wire::Call),
    Working,
    Answer(Box<wire::Answer>),
    /// A piece of a `Data` frame, never empty; a long one comes in several.
    Data(Bytes),
    End,
    Fail,
    Refusal(wire::Refusal),
    Reply(wire::Reply),
}

/// Why there is no next frame.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The connection ended or broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    /// What came is no frame, or not one for here.
    #[error("{0}")]
    Protocol(String),
    /// Nothing could be sent for too long.
    #[error("it does not read what it is sent")]
    Stalled,
}

impl From<FrameError> for AskErrorKind {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Broken(_) | FrameError::Stalled => Self::Broken,
            FrameError::Protocol(why) => Self::Protocol(why),
        }
    }
}

/// Frames over a carrier. Reading may be given up at any await, and taken up again.
pub(super) struct Framed {
    carried: Carried,
    buffer: BytesMut,
    /// Bytes of a `Data` frame that are still to come.
    data_left: usize,
    /// Frames to be sent with the next flush.
    out: BytesMut,
    /// Whose traffic it is; unknown before the greeting.
    peer: Option<Arc<PeerEntry>>,
}

impl Framed {
    pub(super) fn new(carried: Carried) -> Self {
        Self { carried, buffer: BytesMut::new(), data_left: 0, out: BytesMut::new(), peer: None }
    }

    /// From here on, its bytes are counted as this peer's.
    pub(super) fn belongs_to(&mut self, peer: &Arc<PeerEntry>) {
        self.peer = Some(peer.clone());
    }

    /// The next frame, or piece of one; none when the carrier ended between two frames.
    pub(super) async fn next(&mut self, expect: Expect) -> Result<Option<Frame>, FrameError> {
        loop {
            if let Some(frame) = self.next_buffered(expect)? {
                return Ok(Some(frame));
            }
            let spare = match self.data_left {
                0 => BUFFER_BYTES,
                left => (left + HEADER_BYTES).clamp(BUFFER_BYTES, BUFFER_BYTES_MAX),
            };
            let Self { carried, buffer, .. } = self;
            match poll_fn(|cx| carried.poll_read(cx, buffer, spare)).await? {
                0 if self.buffer.is_empty() && self.data_left == 0 => return Ok(None),
                0 => return Err(FrameError::Broken(io::ErrorKind::UnexpectedEof.into())),
                read => {
                    if let Some(peer) = &self.peer {
                        peer.counters.bytes_in.add(read as u64);
                    }
                }
            }
        }
    }

    /// The next frame, or piece of one, if it is here already.
    pub(super) fn next_buffered(&mut self, expect: Expect) -> Result<Option<Frame>, FrameError> {
        loop {
            if self.data_left > 0 {
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                let piece = self.buffer.split_to(self.data_left.min(self.buffer.len()));
                self.data_left -= piece.len();
                return Ok(Some(Frame::Data(piece.freeze())));
            }
            let Some((mut header, payload)) = self.buffer.split_at_checked(HEADER_BYTES) else {
                return Ok(None);
            };
            let byte = header.get_u8();
            let bytes = header.get_u32() as usize;
            let kind = Kind::of(byte).ok_or_else(|| protocol(format!("no frame is of kind {byte}")))?;
            if bytes > kind.bytes_max() {
                return Err(protocol(format!("a {kind:?} of {bytes} bytes is too long")));
            }
            if !expect.allows(kind, bytes) {
                return Err(protocol(format!("a {kind:?} of {bytes} bytes does not belong here")));
            }
            if kind == Kind::Data {
                self.buffer.advance(HEADER_BYTES);
                self.data_left = bytes;
                continue;
            }
            if payload.len() < bytes {
                return Ok(None);
            }
            let frame =
                decode(kind, &payload[..bytes]).map_err(|error| protocol(format!("{kind:?}: {error}")))?;
            self.buffer.advance(HEADER_BYTES + bytes);
            return Ok(Some(frame));
        }
    }

    /// Puts a frame behind those that leave with the next flush. Fails when it is too long; then nothing is put.
    pub(super) fn put<M: Message>(&mut self, kind: Kind, message: &M) -> Result<(), WireError> {
        let payload = wire::encode(message)?;
        self.put_bytes(kind, &payload);
        Ok(())
    }

    /// Puts a frame that says all by its kind.
    pub(super) fn put_bare(&mut self, kind: Kind) {
        self.put_bytes(kind, &[]);
    }

    /// Puts a frame that was made by [`frame`].
    pub(super) fn put_made(&mut self, frame: &[u8]) {
        self.out.put_slice(frame);
    }

    /// Sends data; what is small waits for the flush.
    pub(super) async fn send_data(&mut self, mut bytes: Bytes, within: Duration) -> Result<(), FrameError> {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(DATA_BYTES_MAX));
            if piece.len() <= COPY_BYTES_MAX {
                self.put_bytes(Kind::Data, &piece);
                continue;
            }
            self.put_header(Kind::Data, piece.len());
            self.write(piece, within).await?;
        }
        match self.out.len() > COPY_BYTES_MAX {
            true => self.flush(within).await,
            false => Ok(()),
        }
    }

    /// Sends what was put.
    pub(super) async fn flush(&mut self, within: Duration) -> Result<(), FrameError> {
        match self.out.is_empty() {
            true => Ok(()),
            false => self.write(Bytes::new(), within).await,
        }
    }

    /// Whether frames wait for the flush.
    pub(super) fn has_unsent(&self) -> bool {
        !self.out.is_empty()
    }

    /// Whether nothing was said since the last frame.
    pub(super) fn is_clean(&self) -> bool {
        self.buffer.is_empty() && self.data_left == 0
    }

    /// See [`Carried::gone`].
    pub(super) async fn gone(&mut self) {
        if self.is_clean() {
            self.carried.gone(&mut self.buffer).await;
        }
    }

    /// Whether the answer's last frame is here already, so that the rest is cheaper read than cut off.
    pub(super) fn ends_here(&mut self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        // What is not there, or broken, ends nothing.
        let _ = self.carried.poll_read(&mut cx, &mut self.buffer, BUFFER_BYTES_MAX);
        loop {
            match self.next_buffered(Expect::Answer) {
                Ok(Some(Frame::End | Frame::Fail | Frame::Refusal(_) | Frame::Reply(_))) => {
                    return self.is_clean();
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return false,
            }
        }
    }

    /// Nothing more will be sent on a stream of a QUIC connection.
    pub(super) fn finish(&mut self) {
        self.carried.finish();
    }

    /// See [`Carried::delivered`].
    pub(super) async fn delivered(&mut self) {
        self.carried.delivered().await;
    }

    /// See [`Carried::abort`].
    pub(super) fn abort(&mut self) {
        self.carried.abort();
    }

    /// Whether it can carry another question.
    pub(super) fn is_reusable(&mut self) -> bool {
        self.is_clean() && self.carried.is_quiet()
    }

    /// Whether it is a connection, and no stream of one.
    pub(super) fn is_connection(&self) -> bool {
        matches!(self.carried, Carried::Tcp(_))
    }

    /// An idle connection holds no buffers, and belongs to nobody until it is used again.
    pub(super) fn rest(&mut self) {
        self.buffer = BytesMut::new();
        self.out = BytesMut::new();
        self.peer = None;
    }

    async fn write(&mut self, data: Bytes, within: Duration) -> Result<(), FrameError> {
        let bytes = self.out.len() + data.len();
        let written = timeout(within, self.carried.write(self.out.split().freeze(), data)).await;
        written.map_err(|_| FrameError::Stalled)??;
        if let Some(peer) = &self.peer {
            peer.counters.bytes_out.add(bytes as u64);
        }
        Ok(())
    }

    fn put_bytes(&mut self, kind: Kind, payload: &[u8]) {
        self.put_header(kind, payload.len());
        self.out.put_slice(payload);
    }

    fn put_header(&mut self, kind: Kind, bytes: usize) {
        self.out.put_u8(kind as u8);
        self.out.put_u32(u32::try_from(bytes).expect("all limits are below 4 GiB"));
    }
}

/// A frame, made once to be sent more than once.
pub(super) fn frame<M: Message>(kind: Kind, message: &M) -> Result<Bytes, WireError> {
    let payload = wire::encode(message)?;
    let mut bytes = BytesMut::with_capacity(HEADER_BYTES + payload.len());
    bytes.put_u8(kind as u8);
    bytes.put_u32(u32::try_from(payload.len()).expect("all limits are below 4 GiB"));
    bytes.put_slice(&payload);
    Ok(bytes.freeze())
}

fn protocol(why: String) -> FrameError {
    FrameError::Protocol(why)
}

fn decode(kind: Kind, payload: &[u8]) -> Result<Frame, WireError> {
    Ok(match kind {
        Kind::Hello => Frame::Hello(Box::new(wire::decode(payload)?)),
        Kind::Greet => Frame::Greet(Box::new(wire::decode(payload)?)),
        Kind::Fetch => Frame::Fetch(Box::new(wire::decode(payload)?)),
        Kind::Call => Frame::Call(wire::decode(payload)?),
        Kind::Working => Frame::Working,
        Kind::Answer => Frame::Answer(Box::new(wire::decode(payload)?)),
        Kind::Data => Frame::Data(Bytes::copy_from_slice(payload)),
        Kind::End => Frame::End,
        Kind::Fail => Frame::Fail,
        Kind::Refusal => Frame::Refusal(wire::decode(payload)?),
        Kind::Reply => Frame::Reply(wire::decode(payload)?),
    })
}
