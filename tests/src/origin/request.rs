//! A request as the origin received it.

use std::io;

use bytes::Bytes;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::TcpStream,
};

/// A request as the origin received it.
#[derive(Clone, Debug)]
pub struct Received {
    /// The method.
    pub method: String,
    /// Path and query, as they stood in the request line.
    pub target: String,
    /// The fields as received: names not touched, in order.
    pub headers: Vec<(String, String)>,
    /// The content, without its framing.
    pub body: Bytes,
    /// The head, byte by byte.
    pub raw_head: Bytes,
    /// Which connection it came on; requests of one connection carry the same number.
    pub connection: u64,
}

impl Received {
    /// The value of a field; of the first, if there are more.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(held, _)| held.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The values of all fields of this name, joined by `, `; empty when there is none.
    pub fn joined(&self, name: &str) -> String {
        let held = self.headers.iter().filter(|(held, _)| held.eq_ignore_ascii_case(name));
        held.map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The first and last byte asked for by a single range with both ends, or from a byte to the end of `total`.
    pub fn range(&self, total: u64) -> Option<(u64, u64)> {
        let (first, last) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        let end = total.checked_sub(1)?;
        match (first.parse::<u64>(), last.parse::<u64>()) {
            (Ok(first), Ok(last)) => Some((first, last.min(end))),
            (Ok(first), Err(_)) if last.is_empty() => Some((first, end)),
            (Err(_), Ok(suffix)) if first.is_empty() => Some((total.saturating_sub(suffix), end)),
            _ => None,
        }
    }

    /// Reads the next request; `None` when the connection is closed between requests.
    pub(super) async fn read(stream: &mut BufReader<TcpStream>, connection: u64) -> io::Result<Option<Self>> {
        let mut raw = Vec::new();
        loop {
            let from = raw.len();
            if stream.read_until(b'\n', &mut raw).await? == 0 {
                return if raw.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            if raw[from..] == *b"\r\n" && from > 0 {
                break;
            }
        }
        let text = String::from_utf8_lossy(&raw).into_owned();
        let mut lines = text.split("\r\n");
        let mut line = lines.next().unwrap_or_default().split(' ');
        let method = line.next().unwrap_or_default().to_owned();
        let target = line.next().unwrap_or_default().to_owned();
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        let mut request =
            Self { method, target, headers, body: Bytes::new(), raw_head: Bytes::from(raw), connection };
        request.body = request.read_body(stream).await?;
        Ok(Some(request))
    }

    async fn read_body(&self, stream: &mut BufReader<TcpStream>) -> io::Result<Bytes> {
        let mut body = Vec::new();
        if self.joined("transfer-encoding").eq_ignore_ascii_case("chunked") {
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).await?;
                let size = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
                let from = body.len();
                body.resize(from + size, 0);
                stream.read_exact(&mut body[from..]).await?;
                stream.read_exact(&mut [0; 2]).await?;
                if size == 0 {
                    return Ok(body.into());
                }
            }
        }
        let length = self.header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
        body.resize(length, 0);
        stream.read_exact(&mut body).await?;
        Ok(body.into())
    }
}
