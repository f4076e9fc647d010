//! A client that shows every byte: it writes what it is told and repairs nothing it reads.

mod conn;
mod h2;
mod message;
mod tls;

pub use conn::{Closed, CutShort, End, RawConn};
pub use h2::H2Client;
pub use message::{Head, Request, Response};
pub use tls::{CertFiles, TestCa};

use std::{io, net::SocketAddr};

/// Asks for `url` (`http://127.0.0.1:PORT/path`) on a connection of its own.
pub async fn get(url: &str, headers: &[(&str, &str)]) -> Response {
    let rest = url.strip_prefix("http://").unwrap_or_else(|| panic!("{url} does not begin with http://"));
    let (authority, _) = rest.split_once('/').unwrap_or((rest, ""));
    let address = authority.parse().unwrap_or_else(|_| panic!("{authority} in {url} is no address and port"));
    let target = &rest[authority.len()..];
    let request = Request::get(if target.is_empty() { "/" } else { target });
    let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
    send(address, request).await
}

/// Sends one request on a connection of its own; panics when no whole answer comes.
pub async fn send(address: SocketAddr, request: Request) -> Response {
    let line = request.line();
    try_send(address, request).await.unwrap_or_else(|error| panic!("{line} to {address}: {error}"))
}

/// Sends one request on a connection of its own; a cut body is an error.
pub async fn try_send(address: SocketAddr, request: Request) -> io::Result<Response> {
    let mut conn = RawConn::connect(address).await?;
    conn.send(&request).await
}
