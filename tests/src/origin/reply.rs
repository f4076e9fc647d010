//! What the origin answers, and how badly.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

use super::{Gate, Received};

/// One scripted answer: a well-behaved response, changed by what a test needs to go wrong.
#[derive(Clone, Debug)]
pub struct Reply {
    before: Before,
    status: u16,
    headers: Vec<(String, String)>,
    date: bool,
    interim: Vec<(u16, Vec<(String, String)>)>,
    body: Bytes,
    framing: Framing,
    pause: Option<(usize, Gate)>,
    drip: Option<(usize, Duration)>,
    die_after: Option<usize>,
    close: bool,
}

/// What stands before the head.
#[derive(Clone, Debug)]
enum Before {
    Nothing,
    Gate(Gate),
    Delay(Duration),
    /// The connection is closed instead.
    Close,
    /// Nothing is ever answered.
    Hang,
    /// These bytes are sent instead, then the connection is closed.
    Raw(Bytes),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length,
    Chunked,
    Close,
}

impl Reply {
    /// An empty response with this status, a `Date` and a length.
    pub fn new(status: u16) -> Self {
        Self {
            before: Before::Nothing,
            status,
            headers: Vec::new(),
            date: true,
            interim: Vec::new(),
            body: Bytes::new(),
            framing: Framing::Length,
            pause: None,
            drip: None,
            die_after: None,
            close: false,
        }
    }

    /// A 200 that may be kept for an hour.
    pub fn cacheable(body: impl Into<Bytes>) -> Self {
        Self::new(200).header("cache-control", "max-age=3600").body(body)
    }

    /// A file with a strong validator: 206 for a single range, 304 for its own validator, else 200; kept for an hour.
    pub fn file(request: &Received, body: Bytes, etag: &str) -> Self {
        let file = Self::new(200)
            .header("cache-control", "max-age=3600")
            .header("etag", etag)
            .header("accept-ranges", "bytes");
        if request.header("if-none-match") == Some(etag) {
            return Self { status: 304, ..file };
        }
        let total = body.len() as u64;
        let holds = request.header("if-range").is_none_or(|validator| validator == etag);
        match request.range(total).filter(|_| holds) {
            Some((first, last)) if first <= last && last < total => {
                let range = format!("bytes {first}-{last}/{total}");
                let part = body.slice(first as usize..=last as usize);
                Self { status: 206, ..file }.header("content-range", &range).body(part)
            }
            Some(_) => Self { status: 416, ..file }.header("content-range", &format!("bytes */{total}")),
            None => file.body(body),
        }
    }

    /// These bytes as they are, then the connection is closed.
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self { before: Before::Raw(bytes.into()), ..Self::new(200) }
    }

    /// The connection is closed without an answer.
    pub fn drop_connection() -> Self {
        Self { before: Before::Close, ..Self::new(200) }
    }

    /// No answer, for as long as the other side keeps the connection.
    pub fn hang() -> Self {
        Self { before: Before::Hang, ..Self::new(200) }
    }

    /// One more field.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The content.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// No `Date` field.
    pub fn without_date(mut self) -> Self {
        self.date = false;
        self
    }

    /// An interim response before the final one.
    pub fn interim(mut self, status: u16, headers: &[(&str, &str)]) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.interim.push((status, headers));
        self
    }

    /// The head waits at this gate.
    pub fn head_waits_at(mut self, gate: &Gate) -> Self {
        self.before = Before::Gate(gate.clone());
        self
    }

    /// The head comes this much later.
    pub fn head_after(mut self, delay: Duration) -> Self {
        self.before = Before::Delay(delay);
        self
    }

    /// The body waits at this gate after its first `bytes` bytes.
    pub fn body_waits_at(mut self, bytes: usize, gate: &Gate) -> Self {
        self.pause = Some((bytes, gate.clone()));
        self
    }

    /// The body comes in pieces of `bytes` with this pause between them.
    pub fn drip(mut self, bytes: usize, pause: Duration) -> Self {
        self.drip = Some((bytes, pause));
        self
    }

    /// The connection is cut after `bytes` bytes of the body (after the gate of [`Self::body_waits_at`], if that stands before).
    pub fn die_after(mut self, bytes: usize) -> Self {
        self.die_after = Some(bytes);
        self
    }

    /// The body is sent chunked, its length unknown beforehand.
    pub fn chunked(mut self) -> Self {
        self.framing = Framing::Chunked;
        self
    }

    /// The body ends with the connection, its length unknown beforehand.
    pub fn close_delimited(mut self) -> Self {
        self.framing = Framing::Close;
        self
    }

    /// The connection is closed after the response.
    pub fn close(mut self) -> Self {
        self.close = true;
        self
    }

    /// Plays the answer and counts the bytes of its body; `true` when the connection may carry another request.
    pub(super) async fn play(
        self,
        request: &Received,
        stream: &mut TcpStream,
        body_bytes: &AtomicU64,
    ) -> io::Result<bool> {
        match &self.before {
            Before::Nothing => {}
            Before::Gate(gate) => gate.pass().await,
            Before::Delay(delay) => sleep(*delay).await,
            Before::Close => return Ok(false),
            Before::Hang => {
                while stream.read(&mut [0; 1024]).await? > 0 {}
                return Ok(false);
            }
            Before::Raw(bytes) => {
                stream.write_all(bytes).await?;
                stream.shutdown().await?;
                return Ok(false);
            }
        }
        for (status, headers) in &self.interim {
            stream.write_all(head(*status, headers).as_bytes()).await?;
        }
        stream.write_all(self.final_head().as_bytes()).await?;
        let bodiless = request.method == "HEAD" || matches!(self.status, 204 | 304);
        if !bodiless && !self.write_body(stream, body_bytes).await? {
            // What was sent is to arrive before the end of the connection does.
            stream.flush().await?;
            return Ok(false);
        }
        Ok(!self.close && self.framing != Framing::Close)
    }

    fn final_head(&self) -> String {
        let mut headers = self.headers.clone();
        let mut add = |name: &str, value: String| headers.push((name.to_owned(), value));
        if self.date && !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("date")) {
            add("Date", httpdate::fmt_http_date(SystemTime::now()));
        }
        let says_length = self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        match self.framing {
            Framing::Length if says_length || matches!(self.status, 204 | 304) => {}
            Framing::Length => add("Content-Length", self.body.len().to_string()),
            Framing::Chunked => add("Transfer-Encoding", "chunked".to_owned()),
            Framing::Close => add("Connection", "close".to_owned()),
        }
        if self.close {
            headers.push(("Connection".to_owned(), "close".to_owned()));
        }
        head(self.status, &headers)
    }

    /// Writes the body; `false` when the script lets it die.
    async fn write_body(&self, stream: &mut TcpStream, body_bytes: &AtomicU64) -> io::Result<bool> {
        let end = self.die_after.unwrap_or(self.body.len()).min(self.body.len());
        let step = self.drip.map_or(256 << 10, |(bytes, _)| bytes.max(1));
        let mut gate = self.pause.clone();
        let mut at = 0;
        loop {
            if let Some((_, gate)) = gate.take_if(|(bytes, _)| *bytes <= at) {
                gate.pass().await;
            }
            if at >= end {
                break;
            }
            let pause_at = gate.as_ref().map_or(end, |(bytes, _)| (*bytes).min(end));
            let next = (at + step).min(pause_at);
            self.write_piece(stream, &self.body[at..next]).await?;
            body_bytes.fetch_add((next - at) as u64, Ordering::Relaxed);
            at = next;
            if let Some((_, pause)) = self.drip {
                sleep(pause).await;
            }
        }
        if self.die_after.is_some() {
            return Ok(false);
        }
        if self.framing == Framing::Chunked {
            stream.write_all(b"0\r\n\r\n").await?;
        }
        Ok(true)
    }

    async fn write_piece(&self, stream: &mut TcpStream, piece: &[u8]) -> io::Result<()> {
        if self.framing != Framing::Chunked {
            return stream.write_all(piece).await;
        }
        stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await?;
        stream.write_all(piece).await?;
        stream.write_all(b"\r\n").await
    }
}

fn head(status: u16, headers: &[(String, String)]) -> String {
    let mut text = format!("HTTP/1.1 {status} Scripted\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text
}
