//! A client that speaks HTTP/2, over cleartext with prior knowledge or over TLS.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use tokio::{task::JoinHandle, time::timeout};

use super::{Head, RawConn, Request, Response};
use crate::PATIENCE;

/// One HTTP/2 connection; it closes when dropped.
pub struct H2Client {
    send: SendRequest<Bytes>,
    scheme: &'static str,
    default_host: String,
    connection: JoinHandle<Result<(), h2::Error>>,
}

impl H2Client {
    /// Opens a cleartext connection with prior knowledge (RFC 9113 section 3.3).
    pub async fn connect(address: SocketAddr) -> Self {
        let conn =
            RawConn::connect(address).await.unwrap_or_else(|error| panic!("connect to {address}: {error}"));
        Self::over(conn, "http", &address.to_string()).await
    }

    /// Speaks HTTP/2 over a connection that is already open, such as a TLS one that chose `h2`.
    pub async fn over(conn: RawConn, scheme: &'static str, default_host: &str) -> Self {
        let handshake = timeout(PATIENCE, h2::client::handshake(conn.into_io())).await;
        let (send, connection) =
            handshake.expect("the HTTP/2 handshake came to no end").expect("the HTTP/2 handshake failed");
        Self { send, scheme, default_host: default_host.to_owned(), connection: tokio::spawn(connection) }
    }

    /// Sends a request and reads its response whole.
    pub async fn send(&self, request: &Request) -> Result<Response, h2::Error> {
        let work = self.exchange(request);
        timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("{}: no answer over HTTP/2", request.line()))
    }

    async fn exchange(&self, request: &Request) -> Result<Response, h2::Error> {
        let authority = request.host.as_deref().unwrap_or(&self.default_host);
        let uri = format!("{}://{authority}{}", self.scheme, request.target);
        let mut head = http::Request::builder().method(request.method.as_str()).uri(uri);
        for (name, value) in &request.headers {
            head = head.header(name, value);
        }
        let head = head.body(()).expect("a test sends a well-formed request over HTTP/2");
        let mut send = self.send.clone().ready().await?;
        let (response, mut stream) = send.send_request(head, request.body.is_empty())?;
        if !request.body.is_empty() {
            stream.send_data(request.body.clone(), true)?;
        }
        let (parts, mut stream) = response.await?.into_parts();
        let mut body = BytesMut::new();
        while let Some(piece) = stream.data().await {
            let piece = piece?;
            stream.flow_control().release_capacity(piece.len())?;
            body.extend_from_slice(&piece);
        }
        let field = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let head = Head { status: parts.status.as_u16(), headers: parts.headers.iter().map(field).collect() };
        Ok(Response::new(head, body.freeze(), Vec::new()))
    }
}

impl Drop for H2Client {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
