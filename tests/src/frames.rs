//! HTTP/2 spoken by hand, so that a test can say what no library would.
//!
//! Frames are written and read as bytes (RFC 9113 section 4.1). Header blocks are written as literals that are
//! never indexed and not Huffman-coded (RFC 7541 section 6.2.3); of a response's block only the status is read.
//! Nothing here checks what it sends, and nothing is answered behind the test's back.

use std::{io, net::SocketAddr, time::Duration};

use anyhow::{Result, bail};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::RawConn;

/// The client's connection preface (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Longest wait for the other side to say anything. A bound, not an expectation.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Frame types (RFC 9113 section 6).
#[expect(missing_docs, reason = "the names are those of the RFC")]
pub mod kind {
    pub const DATA: u8 = 0x0;
    pub const HEADERS: u8 = 0x1;
    pub const PRIORITY: u8 = 0x2;
    pub const RST_STREAM: u8 = 0x3;
    pub const SETTINGS: u8 = 0x4;
    pub const PUSH_PROMISE: u8 = 0x5;
    pub const PING: u8 = 0x6;
    pub const GOAWAY: u8 = 0x7;
    pub const WINDOW_UPDATE: u8 = 0x8;
    pub const CONTINUATION: u8 = 0x9;
    pub const PRIORITY_UPDATE: u8 = 0x10;
}

/// Frame flags (RFC 9113 section 6).
#[expect(missing_docs, reason = "the names are those of the RFC")]
pub mod flag {
    pub const NONE: u8 = 0x0;
    pub const END_STREAM: u8 = 0x1;
    pub const ACK: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
    pub const PADDED: u8 = 0x8;
    pub const PRIORITY: u8 = 0x20;
    /// `END_STREAM | END_HEADERS`: a request without a body in one frame.
    pub const END_BOTH: u8 = 0x5;
}

/// Error codes (RFC 9113 section 7).
#[expect(missing_docs, reason = "the names are those of the RFC")]
pub mod code {
    pub const NO_ERROR: u32 = 0x0;
    pub const PROTOCOL_ERROR: u32 = 0x1;
    pub const INTERNAL_ERROR: u32 = 0x2;
    pub const FLOW_CONTROL_ERROR: u32 = 0x3;
    pub const SETTINGS_TIMEOUT: u32 = 0x4;
    pub const STREAM_CLOSED: u32 = 0x5;
    pub const FRAME_SIZE_ERROR: u32 = 0x6;
    pub const REFUSED_STREAM: u32 = 0x7;
    pub const CANCEL: u32 = 0x8;
    pub const COMPRESSION_ERROR: u32 = 0x9;
    pub const ENHANCE_YOUR_CALM: u32 = 0xb;
}

/// Settings (RFC 9113 section 6.5.2).
#[expect(missing_docs, reason = "the names are those of the RFC")]
pub mod setting {
    pub const HEADER_TABLE_SIZE: u16 = 0x1;
    pub const ENABLE_PUSH: u16 = 0x2;
    pub const MAX_CONCURRENT_STREAMS: u16 = 0x3;
    pub const INITIAL_WINDOW_SIZE: u16 = 0x4;
    pub const MAX_FRAME_SIZE: u16 = 0x5;
    pub const MAX_HEADER_LIST_SIZE: u16 = 0x6;
}

/// One frame as it is on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// One of [`kind`], or anything.
    pub kind: u8,
    /// Of [`flag`], or anything.
    pub flags: u8,
    /// The stream, with the reserved bit if the test sets it.
    pub stream: u32,
    /// What follows the nine bytes of the frame's head.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Any frame.
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self { kind, flags, stream, payload: payload.into() }
    }

    /// The bytes of the frame, with its true length.
    pub fn bytes(&self) -> Vec<u8> {
        self.bytes_claiming(self.payload.len())
    }

    /// The bytes of the frame with another length in its head than its payload has.
    pub fn bytes_claiming(&self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(9 + self.payload.len());
        bytes.extend_from_slice(&(length as u32).to_be_bytes()[1..]);
        bytes.push(self.kind);
        bytes.push(self.flags);
        bytes.extend_from_slice(&self.stream.to_be_bytes());
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    /// The error code of a `RST_STREAM` or `GOAWAY`.
    pub fn error_code(&self) -> Option<u32> {
        let at = match self.kind {
            kind::RST_STREAM => 0,
            kind::GOAWAY => 4,
            _ => return None,
        };
        Some(u32::from_be_bytes(self.payload.get(at..at + 4)?.try_into().ok()?))
    }

    /// Whether the frame carries this flag.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The status that a response's `HEADERS` begins with.
    pub fn status(&self) -> Option<u16> {
        if self.kind != kind::HEADERS {
            return None;
        }
        let mut block = &self.payload[..];
        if self.has(flag::PADDED) {
            block = block.get(1..)?;
        }
        if self.has(flag::PRIORITY) {
            block = block.get(5..)?;
        }
        status_of(block)
    }
}

/// `HEADERS` with a block made of these fields.
pub fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    Frame::new(kind::HEADERS, flags, stream, block(fields)).bytes()
}

/// A whole `GET` in one frame.
pub fn get(stream: u32, path: &str) -> Vec<u8> {
    headers(stream, flag::END_BOTH, &request("GET", path))
}

/// The head of a `POST` whose body follows.
pub fn post(stream: u32, path: &str) -> Vec<u8> {
    headers(stream, flag::END_HEADERS, &request("POST", path))
}

/// The four pseudo-fields of a request.
pub fn request<'a>(method: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [(":method", method), (":scheme", "http"), (":path", path), (":authority", "hostile.test")]
}

/// `DATA`.
pub fn data(stream: u32, flags: u8, payload: impl Into<Vec<u8>>) -> Vec<u8> {
    Frame::new(kind::DATA, flags, stream, payload).bytes()
}

/// `SETTINGS` with these values.
pub fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(values.len() * 6);
    for (name, value) in values {
        payload.extend_from_slice(&name.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    Frame::new(kind::SETTINGS, flag::NONE, 0, payload).bytes()
}

/// The acknowledgement of the other side's `SETTINGS`.
pub fn settings_ack() -> Vec<u8> {
    Frame::new(kind::SETTINGS, flag::ACK, 0, []).bytes()
}

/// `RST_STREAM`.
pub fn reset(stream: u32, error: u32) -> Vec<u8> {
    Frame::new(kind::RST_STREAM, flag::NONE, stream, error.to_be_bytes()).bytes()
}

/// `WINDOW_UPDATE`.
pub fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    Frame::new(kind::WINDOW_UPDATE, flag::NONE, stream, increment.to_be_bytes()).bytes()
}

/// `PING`.
pub fn ping(payload: [u8; 8]) -> Vec<u8> {
    Frame::new(kind::PING, flag::NONE, 0, payload).bytes()
}

/// `PRIORITY`: depends on `parent`, weight 16.
pub fn priority(stream: u32, parent: u32) -> Vec<u8> {
    let mut payload = parent.to_be_bytes().to_vec();
    payload.push(15);
    Frame::new(kind::PRIORITY, flag::NONE, stream, payload).bytes()
}

/// `CONTINUATION` with a piece of a block.
pub fn continuation(stream: u32, flags: u8, piece: impl Into<Vec<u8>>) -> Vec<u8> {
    Frame::new(kind::CONTINUATION, flags, stream, piece).bytes()
}

/// A header block of literals.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        literal(&mut out, name.as_bytes(), value.as_bytes());
    }
    out
}

/// One literal field, never indexed (RFC 7541 section 6.2.3).
pub fn literal(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.push(0x10);
    string(out, name);
    string(out, value);
}

/// One literal field that enters the dynamic table (RFC 7541 section 6.2.1).
pub fn literal_indexed(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.push(0x40);
    string(out, name);
    string(out, value);
}

/// A string without Huffman coding (RFC 7541 section 5.2).
fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    integer(out, 0x00, 7, bytes.len());
    out.extend_from_slice(bytes);
}

/// An integer behind `prefix_bits` of `first` (RFC 7541 section 5.1).
pub fn integer(out: &mut Vec<u8>, first: u8, prefix_bits: u32, value: usize) {
    let full = (1usize << prefix_bits) - 1;
    if value < full {
        out.push(first | value as u8);
        return;
    }
    out.push(first | full as u8);
    let mut rest = value - full;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Reads `:status` from the start of a block: a static index, or a literal with the indexed name.
fn status_of(mut block: &[u8]) -> Option<u16> {
    // Size updates of the dynamic table may come first (RFC 7541 section 4.2).
    while let [first, rest @ ..] = block
        && first & 0xe0 == 0x20
    {
        block = rest;
        if first & 0x1f == 0x1f {
            let end = block.iter().position(|byte| byte & 0x80 == 0)?;
            block = &block[end + 1..];
        }
    }
    let first = *block.first()?;
    const STATIC: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    if first & 0x80 != 0 {
        return STATIC.get(usize::from(first & 0x7f).checked_sub(8)?).copied();
    }
    let index = if first & 0x40 != 0 { first & 0x3f } else { first & 0x0f };
    if !(8..=14).contains(&index) {
        return None;
    }
    let length = *block.get(1)?;
    let value = block.get(2..2 + usize::from(length & 0x7f))?;
    let digits =
        if length & 0x80 != 0 { huffman_digits(value)? } else { String::from_utf8(value.to_vec()).ok()? };
    digits.parse().ok()
}

/// The three digits of a Huffman-coded status (RFC 7541 appendix B: 0-2 have five bits, 3-9 have six).
fn huffman_digits(bytes: &[u8]) -> Option<String> {
    let bit = |at: usize| Some(bytes.get(at / 8)? >> (7 - at % 8) & 1);
    let mut digits = String::new();
    let mut at = 0;
    while digits.len() < 3 {
        let mut word = 0u8;
        for offset in 0..5 {
            word = word << 1 | bit(at + offset)?;
        }
        if word <= 2 {
            digits.push(char::from(b'0' + word));
            at += 5;
            continue;
        }
        word = word << 1 | bit(at + 5)?;
        digits.push(char::from(b'3' + word.checked_sub(0x19).filter(|over| *over <= 6)?));
        at += 6;
    }
    Some(digits)
}

/// What was heard from the other side.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// A frame.
    Frame(Frame),
    /// The connection ended, in whatever way.
    Closed,
    /// Nothing for as long as was waited.
    Silence,
}

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// A client's end of one HTTP/2 connection.
pub struct Peer {
    wire: Box<dyn Wire>,
    received: Vec<u8>,
}

impl Peer {
    /// Connects in cleartext and says nothing yet.
    pub async fn connect(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }

    /// Speaks over a stream that is already there, for example TLS.
    pub fn over(wire: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self { wire: Box::new(wire), received: Vec::new() }
    }

    /// Speaks over a connection of this crate, for example one over TLS that chose `h2`.
    pub fn over_connection(connection: RawConn) -> Self {
        Self::over(connection.into_io())
    }

    /// Connects and greets: preface, our settings; waits for the node's settings and for its acknowledgement.
    pub async fn greeted(to: SocketAddr, values: &[(u16, u32)]) -> Result<Self> {
        let mut peer = Self::connect(to).await?;
        peer.greet(values).await?;
        Ok(peer)
    }

    /// The opening of [`Peer::greeted`] on a connection that is there.
    pub async fn greet(&mut self, values: &[(u16, u32)]) -> Result<()> {
        self.send(PREFACE).await;
        // No dynamic table: each response block begins with a status that can be read by itself.
        let values: Vec<_> = [(setting::HEADER_TABLE_SIZE, 0)].iter().chain(values).copied().collect();
        self.send(&settings(&values)).await;
        let (mut theirs, mut acknowledged) = (false, false);
        while !(theirs && acknowledged) {
            match self.next().await {
                Heard::Frame(frame) if frame.kind == kind::SETTINGS => {
                    if frame.has(flag::ACK) {
                        acknowledged = true;
                    } else {
                        theirs = true;
                        self.send(&settings_ack()).await;
                    }
                }
                Heard::Frame(frame) if frame.kind == kind::WINDOW_UPDATE => {}
                other => bail!("expected SETTINGS and its acknowledgement, heard {other:?}"),
            }
        }
        Ok(())
    }

    /// Sends bytes. A failure is not reported: whoever listens next hears that the connection is closed.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        matches!(timeout(PATIENCE, self.wire.write_all(bytes)).await, Ok(Ok(())))
            && matches!(timeout(PATIENCE, self.wire.flush()).await, Ok(Ok(())))
    }

    /// The next frame, within [`PATIENCE`].
    pub async fn next(&mut self) -> Heard {
        self.next_within(PATIENCE).await
    }

    /// The next frame, within this time.
    pub async fn next_within(&mut self, patience: Duration) -> Heard {
        match timeout(patience, self.read_frame()).await {
            Ok(Ok(frame)) => Heard::Frame(frame),
            Ok(Err(_)) => Heard::Closed,
            Err(_) => Heard::Silence,
        }
    }

    /// Reads one frame; what was read of it survives if the caller stops waiting.
    async fn read_frame(&mut self) -> io::Result<Frame> {
        loop {
            if let [l0, l1, l2, kind, flags, s0, s1, s2, s3, ..] = self.received[..] {
                let end = 9 + u32::from_be_bytes([0, l0, l1, l2]) as usize;
                if self.received.len() >= end {
                    let rest = self.received.split_off(end);
                    let payload = std::mem::replace(&mut self.received, rest).split_off(9);
                    return Ok(Frame { kind, flags, stream: u32::from_be_bytes([s0, s1, s2, s3]), payload });
                }
            }
            let mut chunk = [0; 16 << 10];
            let count = self.wire.read(&mut chunk).await?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.received.extend_from_slice(&chunk[..count]);
        }
    }

    /// Listens until the connection ends; the code of the last `GOAWAY`, if there was one.
    ///
    /// `Err` when it has not ended after [`PATIENCE`] of silence.
    pub async fn until_closed(&mut self) -> Result<Option<u32>> {
        let mut goaway = None;
        loop {
            match self.next().await {
                Heard::Frame(frame) if frame.kind == kind::GOAWAY => goaway = frame.error_code(),
                Heard::Frame(_) => {}
                Heard::Closed => return Ok(goaway),
                Heard::Silence => bail!("the connection is still open (GOAWAY: {goaway:?})"),
            }
        }
    }

    /// Reads the whole response on a stream: status and body. Windows are replenished.
    pub async fn response(&mut self, stream: u32) -> Result<(u16, Vec<u8>)> {
        let (mut status, mut body) = (None, Vec::new());
        loop {
            let frame = match self.next().await {
                Heard::Frame(frame) => frame,
                other => bail!("waiting for the response on stream {stream}: {other:?}"),
            };
            match frame.kind {
                kind::HEADERS if frame.stream == stream => {
                    status = frame.status().filter(|status| *status >= 200).or(status);
                }
                kind::DATA if frame.stream == stream => {
                    body.extend_from_slice(&frame.payload);
                    if !frame.payload.is_empty() {
                        let count = frame.payload.len() as u32;
                        self.send(&[window_update(0, count), window_update(stream, count)].concat()).await;
                    }
                }
                kind::RST_STREAM if frame.stream == stream => bail!("reset: {:?}", frame.error_code()),
                kind::GOAWAY if frame.error_code() != Some(code::NO_ERROR) => {
                    bail!("GOAWAY: {:?}", frame.error_code())
                }
                _ => continue,
            }
            if frame.stream == stream && frame.has(flag::END_STREAM) {
                let Some(status) = status else { bail!("a response without a status") };
                return Ok((status, body));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_in_every_form_an_encoder_may_choose() {
        assert_eq!(status_of(&[0x88]), Some(200));
        assert_eq!(status_of(&[0x20, 0x8c]), Some(400));
        assert_eq!(status_of(&[0x08, 0x03, b'4', b'3', b'1']), Some(431));
        // RFC 7541 appendix C.6.1: 302 is 6402 in Huffman code.
        assert_eq!(status_of(&[0x48, 0x82, 0x64, 0x02]), Some(302));
        // RFC 7541 appendix C.6.2: 307 is 640e ff.
        assert_eq!(status_of(&[0x48, 0x83, 0x64, 0x0e, 0xff]), Some(307));
    }

    #[test]
    fn integers_follow_the_examples_of_the_rfc() {
        // RFC 7541 appendix C.1.
        let coded = |prefix_bits, value| {
            let mut out = Vec::new();
            integer(&mut out, 0, prefix_bits, value);
            out
        };
        assert_eq!(coded(5, 10), [0x0a]);
        assert_eq!(coded(5, 1337), [0x1f, 0x9a, 0x0a]);
        assert_eq!(coded(8, 42), [0x2a]);
    }
}
