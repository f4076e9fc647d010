//! An HTTP client as a measuring tool: it keeps connections, follows nothing, retries nothing, and tells when a
//! request was sent and when its answer was whole.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::Arc,
    task::{Context as Polled, Poll},
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri, Version};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client as Pooled, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use parking_lot::Mutex;
use tower_service::Service;

/// A server that does not take a connection for so long is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How a request is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1.
    H1,
    /// HTTP/2 in clear, with prior knowledge.
    H2,
}

/// A cheap handle; its connections are shared by all copies.
#[derive(Clone)]
pub struct Client {
    pools: Arc<Mutex<HashMap<(SocketAddr, Protocol), Pool>>>,
    timeout: Duration,
    body_bytes_max: usize,
}

/// The connections to one server.
type Pool = Pooled<Fixed, Full<Bytes>>;

/// Connects to one address, whatever host is named.
#[derive(Clone)]
struct Fixed {
    to: Uri,
    inner: HttpConnector,
}

impl Service<Uri> for Fixed {
    type Response = <HttpConnector as Service<Uri>>::Response;
    type Error = <HttpConnector as Service<Uri>>::Error;
    type Future = <HttpConnector as Service<Uri>>::Future;

    fn poll_ready(&mut self, context: &mut Polled<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, _named: Uri) -> Self::Future {
        self.inner.call(self.to.clone())
    }
}

/// A request to one server, by address.
#[derive(Clone, Debug)]
pub struct Ask {
    /// GET, PURGE and so on.
    pub method: Method,
    /// Who is asked.
    pub to: SocketAddr,
    /// The host that is named; the address when it is empty.
    pub host: String,
    /// Path and query.
    pub target: String,
    /// More header fields.
    pub fields: Vec<(String, String)>,
    /// What is sent along.
    pub body: Bytes,
    /// How.
    pub protocol: Protocol,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// All header fields.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// From the request's first byte to the answer's head.
    pub head_after: Duration,
    /// From the request's first byte to the answer's last.
    pub whole_after: Duration,
}

/// Why there is no whole answer.
#[derive(Debug, thiserror::Error)]
#[error("{to}: {what}")]
pub struct AskFailed {
    /// Who was asked.
    pub to: SocketAddr,
    /// What happened.
    pub what: String,
    /// Whether nothing of an answer had come: the request may be sent elsewhere, if it may be repeated.
    pub is_unanswered: bool,
    /// Whether there was no connection at all: nothing was sent.
    pub is_unsent: bool,
}

impl Ask {
    /// A GET over HTTP/1.1.
    pub fn get(to: SocketAddr, host: &str, target: &str) -> Self {
        Self {
            method: Method::GET,
            to,
            host: host.to_owned(),
            target: target.to_owned(),
            fields: Vec::new(),
            body: Bytes::new(),
            protocol: Protocol::H1,
        }
    }

    /// With one more field.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl Into<String>) -> Self {
        self.fields.push((name.to_owned(), value.into()));
        self
    }
}

impl Answer {
    /// A field as text; nothing when it is not there or no text.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as JSON.
    ///
    /// # Errors
    ///
    /// When the status is not 2xx, or the body is no such JSON; the error tells what came.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> anyhow::Result<T> {
        let text = || String::from_utf8_lossy(&self.body[..self.body.len().min(500)]).into_owned();
        if !self.status.is_success() {
            return Err(anyhow!("{}: {}", self.status, text()));
        }
        serde_json::from_slice(&self.body).with_context(text)
    }
}

impl Client {
    /// A client that waits so long for a whole answer, and takes bodies up to so many bytes.
    pub fn new(timeout: Duration, body_bytes_max: usize) -> Self {
        Self { pools: Arc::default(), timeout, body_bytes_max }
    }

    /// Forgets all connections: who is asked next is connected to anew.
    pub fn forget(&self) {
        self.pools.lock().clear();
    }

    fn pool(&self, to: SocketAddr, protocol: Protocol) -> Pool {
        let mut pools = self.pools.lock();
        let pool = pools.entry((to, protocol)).or_insert_with(|| {
            let mut inner = HttpConnector::new();
            inner.set_nodelay(true);
            inner.set_connect_timeout(Some(self.timeout.min(CONNECT_TIMEOUT)));
            let to = format!("http://{to}/").parse().expect("an address makes a URI");
            Pooled::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .timer(TokioTimer::new())
                .retry_canceled_requests(false)
                .http2_only(protocol == Protocol::H2)
                .build(Fixed { to, inner })
        });
        pool.clone()
    }

    /// Asks once.
    ///
    /// # Errors
    ///
    /// When no whole answer comes in time.
    pub async fn ask(&self, ask: &Ask) -> Result<Answer, AskFailed> {
        let failed =
            |what: String, is_unanswered, is_unsent| AskFailed { to: ask.to, what, is_unanswered, is_unsent };
        let host = if ask.host.is_empty() { ask.to.to_string() } else { ask.host.clone() };
        let uri = format!("http://{host}{}", ask.target);
        let mut request = Request::builder().method(ask.method.clone()).uri(uri);
        for (name, value) in &ask.fields {
            request = request.header(name, value);
        }
        let request = request.version(match ask.protocol {
            Protocol::H1 => Version::HTTP_11,
            Protocol::H2 => Version::HTTP_2,
        });
        let request = request
            .body(Full::new(ask.body.clone()))
            .map_err(|error| failed(error.to_string(), true, true))?;
        let pool = self.pool(ask.to, ask.protocol);
        let begun = Instant::now();
        let answered = tokio::time::timeout(self.timeout, pool.request(request)).await;
        let answer = match answered {
            Err(_) => return Err(failed(format!("no answer within {:?}", self.timeout), true, false)),
            Ok(Err(error)) => {
                let is_unsent = error.is_connect();
                return Err(failed(format!("{:#}", anyhow::Error::from(error)), true, is_unsent));
            }
            Ok(Ok(answer)) => answer,
        };
        let head_after = begun.elapsed();
        let (head, body) = answer.into_parts();
        let limited = http_body_util::Limited::new(body, self.body_bytes_max);
        let left = self.timeout.saturating_sub(head_after);
        let body = match tokio::time::timeout(left, limited.collect()).await {
            Err(_) => return Err(failed(format!("no whole body within {:?}", self.timeout), false, false)),
            Ok(Err(error)) => return Err(failed(format!("the body broke: {error}"), false, false)),
            Ok(Ok(body)) => body.to_bytes(),
        };
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
            head_after,
            whole_after: begun.elapsed(),
        })
    }
}
