//! One connection, byte by byte.

use std::{io, net::SocketAddr};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{Head, Request, Response};
use crate::PATIENCE;

const READ_BYTES: usize = 64 << 10;
const HEAD_BYTES_MAX: usize = 1 << 20;

pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection to a node (or anything else on loopback).
pub struct RawConn {
    io: Box<dyn Io>,
    buffer: BytesMut,
    default_host: String,
}

/// What came until a connection ended, and how it ended.
#[derive(Debug)]
pub struct Closed {
    /// All bytes.
    pub bytes: Vec<u8>,
    /// How it ended.
    pub end: End,
}

impl Closed {
    /// The bytes as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The statuses of all responses in it, found by their status lines.
    pub fn statuses(&self) -> Vec<u16> {
        let text = self.text();
        text.match_indices("HTTP/1.1 ")
            .filter_map(|(at, _)| text.get(at + 9..at + 12)?.parse().ok())
            .collect()
    }
}

/// How reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The other side closed in order.
    Eof,
    /// The other side reset the connection.
    Reset,
    /// More came than was asked for.
    Full,
    /// Nothing came for as long as a test waits.
    Silence,
}

/// A body that ended before its framing said so.
#[derive(Clone, Debug)]
pub struct CutShort {
    /// The bytes that came.
    pub bytes: u64,
    /// How it ended.
    pub why: String,
}

impl RawConn {
    /// Opens a TCP connection.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = patient(TcpStream::connect(address)).await?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream, &address.to_string()))
    }

    /// Speaks over a stream that is already open; `default_host` is sent as `Host` when a request sets none.
    pub fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, default_host: &str) -> Self {
        Self {
            io: Box::new(stream),
            buffer: BytesMut::with_capacity(READ_BYTES),
            default_host: default_host.to_owned(),
        }
    }

    pub(crate) fn into_io(self) -> Box<dyn Io> {
        self.io
    }

    /// Writes these bytes.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        patient(async {
            self.io.write_all(bytes.as_ref()).await?;
            self.io.flush().await
        })
        .await
    }

    /// Says that nothing more will be written; reading goes on.
    pub async fn finish_writing(&mut self) -> io::Result<()> {
        patient(self.io.shutdown()).await
    }

    /// Writes a request and reads its response whole.
    pub async fn send(&mut self, request: &Request) -> io::Result<Response> {
        self.write(request.encode(&self.default_host)).await?;
        self.read_response(&request.method).await
    }

    /// Writes a request and reads the head of its response; the body is for [`Self::read_body`].
    pub async fn begin(&mut self, request: &Request) -> io::Result<Head> {
        self.write(request.encode(&self.default_host)).await?;
        self.read_final_head().await.map(|(head, _)| head)
    }

    /// Reads one response to its end; `method` is that of its request, which frames it.
    pub async fn read_response(&mut self, method: &str) -> io::Result<Response> {
        let (head, interim) = self.read_final_head().await?;
        let mut body = Vec::new();
        let read = self.read_body(method, &head, |piece| body.extend_from_slice(piece)).await;
        read.map_err(|cut| io::Error::other(format!("body cut after {} bytes: {}", cut.bytes, cut.why)))?;
        Ok(Response::new(head, Bytes::from(body), interim))
    }

    /// Reads one head, interim or final.
    pub async fn read_head(&mut self) -> io::Result<Head> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let bytes = self.buffer.split_to(end + 4);
                let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
                return Head::parse(&text)
                    .ok_or_else(|| io::Error::other(format!("not a response head: {text:?}")));
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(io::Error::other("a response head without an end"));
            }
            if self.fill().await? == 0 {
                let why = format!("closed before a response head; had {} bytes of it", self.buffer.len());
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
            }
        }
    }

    async fn read_final_head(&mut self) -> io::Result<(Head, Vec<Head>)> {
        let mut interim = Vec::new();
        loop {
            let head = self.read_head().await?;
            if (100..200).contains(&head.status) && head.status != 101 {
                interim.push(head);
                continue;
            }
            return Ok((head, interim));
        }
    }

    /// Reads the body that follows `head` and hands on its pieces; `Ok` only when its framing says it is whole.
    pub async fn read_body(
        &mut self,
        method: &str,
        head: &Head,
        mut piece: impl FnMut(&[u8]),
    ) -> Result<u64, CutShort> {
        let mut bytes = 0;
        let mut count = |chunk: &[u8]| {
            bytes += chunk.len() as u64;
            piece(chunk);
        };
        let read = if method == "HEAD" || matches!(head.status, 204 | 304) {
            Ok(())
        } else if head.is_chunked() {
            self.read_chunked(&mut count).await
        } else if let Some(length) = head.header("content-length") {
            match length.parse() {
                Ok(length) => self.read_exactly(length, &mut count).await,
                Err(_) => Err(io::Error::other(format!("Content-Length: {length}"))),
            }
        } else {
            self.read_to_eof(&mut count).await
        };
        read.map(|()| bytes).map_err(|error| CutShort { bytes, why: error.to_string() })
    }

    /// Reads the next `length` bytes and hands them on as they come.
    pub async fn read_exactly(&mut self, length: u64, piece: &mut impl FnMut(&[u8])) -> io::Result<()> {
        let mut left = length;
        while left > 0 {
            if self.buffer.is_empty() && self.fill().await? == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    format!("closed with {left} bytes to come"),
                ));
            }
            let take = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            piece(&self.buffer[..take]);
            self.buffer.advance(take);
            left -= take as u64;
        }
        Ok(())
    }

    async fn read_to_eof(&mut self, piece: &mut impl FnMut(&[u8])) -> io::Result<()> {
        loop {
            piece(&self.buffer);
            self.buffer.clear();
            if self.fill().await? == 0 {
                return Ok(());
            }
        }
    }

    /// RFC 9112 section 7.1; trailers are read and dropped.
    async fn read_chunked(&mut self, piece: &mut impl FnMut(&[u8])) -> io::Result<()> {
        loop {
            let line = self.read_line().await?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16)
                .map_err(|_| io::Error::other(format!("not a chunk size: {line:?}")))?;
            if size == 0 {
                while !self.read_line().await?.is_empty() {}
                return Ok(());
            }
            self.read_exactly(size, piece).await?;
            if !self.read_line().await?.is_empty() {
                return Err(io::Error::other("a chunk longer than it said"));
            }
        }
    }

    async fn read_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line = self.buffer.split_to(end + 2);
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if self.fill().await? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed inside chunked framing"));
            }
        }
    }

    /// Reads until the connection ends, or `bytes_max` came, or nothing comes any more.
    pub async fn read_to_close(&mut self, bytes_max: usize) -> Closed {
        let end = loop {
            if self.buffer.len() > bytes_max {
                break End::Full;
            }
            match self.fill().await {
                Ok(0) => break End::Eof,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => break End::Silence,
                Err(_) => break End::Reset,
            }
        };
        Closed { bytes: std::mem::take(&mut self.buffer).to_vec(), end }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.buffer.reserve(READ_BYTES);
        patient(self.io.read_buf(&mut self.buffer)).await
    }
}

async fn patient<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
