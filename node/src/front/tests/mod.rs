//! The room as a client sees it: raw bytes in, raw bytes out, a handler that tells what reached it.

mod drain;
mod http1;
mod http2;
mod smuggling;
mod tls;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{Counters, Drained, Front, Settings, settings::Limits};
use crate::edge::door::{BodyError, ClientBody, ClientRequest, ClientResponse, Handler, Interim};

/// What the tests' handler saw.
#[derive(Default)]
pub(super) struct Seen {
    /// Requests that reached it.
    pub(super) requests: AtomicUsize,
    /// Requests that were dropped before they were answered.
    pub(super) cancelled: AtomicUsize,
    /// Told when a request to `/wait` arrived.
    pub(super) waiting: Notify,
    /// Lets a request to `/wait` be answered.
    pub(super) answer: Notify,
}

#[derive(Clone, Default)]
pub(super) struct Teller(pub(super) Arc<Seen>);

/// Notices a request that is dropped before it is answered.
struct Pending(Arc<Seen>, bool);

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.1 {
            self.0.cancelled.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn pieces(pieces: Vec<Result<&'static str, &'static str>>, bytes: Option<u64>) -> ClientBody {
    let pieces = pieces.into_iter().map(|piece| match piece {
        Ok(text) => Ok(Bytes::from(text)),
        Err(why) => Err(BodyError(why.into())),
    });
    ClientBody::stream(stream::iter(pieces).boxed(), bytes)
}

impl Handler for Teller {
    async fn handle(&self, request: ClientRequest) -> ClientResponse {
        let ClientRequest { head: request, body } = request;
        self.0.requests.fetch_add(1, Ordering::SeqCst);
        let mut pending = Pending(self.0.clone(), false);
        let mut status = StatusCode::OK;
        let answer = match request.path_and_query.as_str() {
            "/echo" => match body.collect().await {
                Ok(body) => ClientBody::full(body.to_bytes()),
                Err(error) => ClientBody::full(format!("error: {error}").into()),
            },
            "/pieces" => pieces(vec![Ok("one"), Ok(""), Ok("two"), Ok("three")], None),
            "/sized" => pieces(vec![Ok("one"), Ok("two")], Some(6)),
            "/broken" => pieces(vec![Ok("one"), Err("origin died")], None),
            "/broken-sized" => pieces(vec![Ok("one"), Err("origin died")], Some(6)),
            "/short" => pieces(vec![Ok("one")], Some(6)),
            "/long" => pieces(vec![Ok("one"), Ok("two")], Some(4)),
            "/endless" => {
                let piece = Bytes::from(vec![b'x'; 64 << 10]);
                ClientBody::stream(stream::repeat_with(move || Ok(piece.clone())).boxed(), None)
            }
            "/none" => {
                status = StatusCode::NO_CONTENT;
                ClientBody::empty()
            }
            "/interim" => {
                let mut headers = HeaderMap::new();
                headers.insert("link", HeaderValue::from_static("</a.css>"));
                let _ = request.interim.try_send(Interim { status: StatusCode::EARLY_HINTS, headers });
                tokio::task::yield_now().await;
                ClientBody::full("final".into())
            }
            "/wait" => {
                self.0.waiting.notify_one();
                self.0.answer.notified().await;
                ClientBody::full("waited".into())
            }
            "/close" => {
                let mut body = ClientBody::full("bye".into());
                body.request_close();
                body
            }
            path => {
                let mut text = format!("{} {} {path}\n", request.method, request.authority);
                for (name, value) in &request.headers {
                    text.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
                }
                ClientBody::full(text.into())
            }
        };
        pending.1 = true;
        ClientResponse { status, headers: HeaderMap::new(), body: answer }
    }
}

/// A front that runs.
pub(super) struct Running {
    pub(super) address: SocketAddr,
    pub(super) seen: Arc<Seen>,
    pub(super) counters: Arc<Counters>,
    pub(super) stop: CancellationToken,
    pub(super) ended: JoinHandle<Drained>,
}

pub(super) fn limits() -> Limits {
    Limits { drain_timeout: Duration::from_secs(20), ..Limits::default() }
}

pub(super) async fn run(limits: Limits) -> Running {
    run_with(Settings { http: vec![([127, 0, 0, 1], 0).into()], limits, ..Settings::default() }).await.0
}

/// Runs a front; also gives the handle to its certificates.
pub(super) async fn run_with(settings: Settings) -> (Running, super::Certificates) {
    let teller = Teller::default();
    let front = Front::bind(settings).unwrap();
    let address = front.addresses()[0];
    let (counters, certificates) = (front.counters(), front.certificates());
    let (seen, stop) = (teller.0.clone(), CancellationToken::new());
    let ended = tokio::task::spawn(front.run(teller, stop.clone()));
    (Running { address, seen, counters, stop, ended }, certificates)
}

impl Running {
    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends all of `bytes` and reads until the connection ends.
    pub(super) async fn exchange(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes.as_ref()).await.unwrap();
        let mut answer = Vec::new();
        // A reset ends the connection too; what came before it counts.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub(super) fn requests(&self) -> usize {
        self.seen.requests.load(Ordering::SeqCst)
    }
}

/// Reads until `end` was read.
pub(super) async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.ends_with(end) {
        let bytes = stream.read(&mut buffer).await.unwrap();
        assert!(bytes > 0, "the connection ended after {text:?}");
        text.push_str(std::str::from_utf8(&buffer[..bytes]).unwrap());
    }
    text
}
