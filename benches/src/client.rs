//! Asks one thing over HTTP/1.1, in clear or over TLS, and looks at the whole answer.
//!
//! It shares no parser with any server under test, and understands only what they need to say here: a head,
//! and a body whose length the head gives.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, pki_types::CertificateDer};

/// The host that every request names, and that the certificate is for.
pub const HOST: &str = "localhost";

/// A server that is silent for longer is broken.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The longest head that is read.
const HEAD_BYTES_MAX: u64 = 64 << 10;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
}

/// Asks over a connection of its own.
pub fn get(addr: SocketAddr, path: &str) -> Result<Answer> {
    let mut stream = connect(addr)?;
    stream.write_all(request(path).as_bytes())?;
    read_answer(&mut BufReader::new(stream))
}

/// Asks over TLS 1.3; also answers which cipher suite was agreed on.
pub fn get_tls(
    addr: SocketAddr,
    path: &str,
    certificate: &CertificateDer<'static>,
) -> Result<(Answer, String)> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = HOST.try_into().context("the host is no server name")?;
    let mut stream = StreamOwned::new(ClientConnection::new(Arc::new(config), name)?, connect(addr)?);
    stream.write_all(request(path).as_bytes())?;
    let mut reader = BufReader::new(stream);
    let answer = read_answer(&mut reader)?;
    let suite = reader.get_ref().conn.negotiated_cipher_suite().context("no cipher suite")?;
    Ok((answer, format!("{:?}", suite.suite())))
}

/// A connection that does not wait for ever.
pub fn connect(addr: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(addr).with_context(|| format!("cannot connect to {addr}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// The bytes of a GET on a connection that stays open.
pub fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
}

/// Reads one answer; the reader stands behind it afterwards.
pub fn read_answer(reader: &mut impl BufRead) -> Result<Answer> {
    let mut status = None;
    let mut length = None;
    let mut head = reader.take(HEAD_BYTES_MAX);
    let mut line = Vec::new();
    loop {
        line.clear();
        head.read_until(b'\n', &mut line).context("the head broke off")?;
        ensure!(line.ends_with(b"\n"), "the head broke off or is too long");
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if text.is_empty() {
            break;
        }
        match text.split_once(':') {
            _ if status.is_none() => {
                let code = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse::<u16>().ok());
                status = Some(code.with_context(|| format!("not a status line: {text:?}"))?);
            }
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = Some(value.trim().parse::<usize>().context("Content-Length is no number")?);
            }
            _ => {}
        }
    }
    let (Some(status), Some(length)) = (status, length) else {
        bail!("the answer has no Content-Length");
    };
    let mut body = vec![0; length];
    reader.read_exact(&mut body).context("the body broke off")?;
    Ok(Answer { status, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_on_one_connection_are_told_apart() {
        let mut wire: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 3\r\n\r\nabcHTTP/1.1 404 Not Found\r\n\
            Content-Length: 0\r\n\r\n";
        let first = read_answer(&mut wire).expect("an answer");
        assert_eq!((first.status, first.body.as_slice()), (200, &b"abc"[..]));
        assert_eq!(read_answer(&mut wire).expect("another").status, 404);
        assert!(read_answer(&mut wire).is_err());
    }
}
