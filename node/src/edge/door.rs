//! What passes the door of the edge: a client's request in, a response with a streaming body out.

use std::{future::Future, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt, stream::BoxStream};
use http::{HeaderMap, Method, StatusCode, Version};
use tokio::sync::mpsc;

pub use crate::origin::{BoxError, Interim, RequestBody};

/// Answers requests. [`super::Edge`] does; tests of the front bring their own.
pub trait Handler: Clone + Send + Sync + 'static {
    /// Answers one request. It never fails: a failure is a response.
    fn handle(&self, request: ClientRequest) -> impl Future<Output = ClientResponse> + Send;
}

/// A request that was parsed and checked by the front.
pub struct ClientRequest {
    /// All but the body.
    pub head: ClientHead,
    /// The body, if any.
    pub body: RequestBody,
}

/// The head of a request, and whose it is.
pub struct ClientHead {
    /// Any method token but `CONNECT`.
    pub method: Method,
    /// What the client spoke.
    pub scheme: Scheme,
    /// `Host` or `:authority`, checked and in lower case, with the port if one was sent.
    pub authority: String,
    /// Origin-form, checked; `*` for `OPTIONS *`.
    pub path_and_query: String,
    /// The version the client spoke.
    pub version: Version,
    /// All fields but `Host`; crumbs of `Cookie` are joined.
    pub headers: HeaderMap,
    /// The length of the body: `Some(0)` when there is none, `None` when it is not known beforehand.
    pub body_bytes: Option<u64>,
    /// Whose request it is.
    pub peer: SocketAddr,
    /// Where 1xx responses of the origin go; a full channel drops them.
    pub interim: mpsc::Sender<Interim>,
}

/// The scheme a client spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Cleartext.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// As in a URI.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// A response on its way to the client.
///
/// The head is complete but for `Connection`, `Transfer-Encoding` and a missing `Date`, which are the
/// front's. `Content-Length` is there whenever the length is known.
pub struct ClientResponse {
    /// The status.
    pub status: StatusCode,
    /// The fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: ClientBody,
}

/// Why a body ended before its end. The front must make that visible: reset the stream or close the connection.
#[derive(Debug, thiserror::Error)]
#[error("the body ended early: {0}")]
pub struct BodyError(pub Arc<str>);

/// What the edge wants to hear of a response when it is over.
pub trait Account: Send {
    /// The response ended: `whole` if all of it was handed to the transport; `body_bytes` were.
    fn close(&mut self, whole: bool, body_bytes: u64);
}

/// The body of a response, and its account.
pub struct ClientBody {
    source: Source,
    bytes: Option<u64>,
    sent: u64,
    account: Option<Box<dyn Account>>,
    close_connection: bool,
}

enum Source {
    Empty,
    Full(Bytes),
    Stream(BoxStream<'static, Result<Bytes, BodyError>>),
}

impl ClientBody {
    /// No body at all.
    pub fn empty() -> Self {
        Self::of(Source::Empty, Some(0))
    }

    /// A body that is at hand.
    pub fn full(bytes: Bytes) -> Self {
        let length = bytes.len() as u64;
        Self::of(Source::Full(bytes), Some(length))
    }

    /// A body that arrives; `bytes` is its exact length when that is known.
    pub fn stream(stream: BoxStream<'static, Result<Bytes, BodyError>>, bytes: Option<u64>) -> Self {
        Self::of(Source::Stream(stream), bytes)
    }

    fn of(source: Source, bytes: Option<u64>) -> Self {
        Self { source, bytes, sent: 0, account: None, close_connection: false }
    }

    /// Has `account` told when the response is over.
    pub fn with_account(mut self, account: Box<dyn Account>) -> Self {
        self.account = Some(account);
        self
    }

    /// The exact length of the body, when it is known.
    pub fn bytes(&self) -> Option<u64> {
        self.bytes
    }

    /// The next piece; `None` at the end. After an error nothing more comes.
    pub async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        match &mut self.source {
            Source::Empty => None,
            Source::Full(bytes) if bytes.is_empty() => None,
            Source::Full(bytes) => Some(Ok(std::mem::take(bytes))),
            Source::Stream(stream) => stream.next().await,
        }
    }

    /// The whole body when it is at hand, so that head and body can leave in one write.
    pub fn take_full(&mut self) -> Option<Bytes> {
        match &mut self.source {
            Source::Empty => Some(Bytes::new()),
            Source::Full(bytes) => Some(std::mem::take(bytes)),
            Source::Stream(_) => None,
        }
    }

    /// The front says how many body bytes it handed to the transport.
    pub fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    /// The front says that the whole response was handed to the transport. A body dropped without this
    /// counts as aborted by the client.
    pub fn finish(mut self) {
        if let Some(mut account) = self.account.take() {
            account.close(true, self.sent);
        }
    }

    /// Asks the front to close the connection after this response.
    pub fn request_close(&mut self) {
        self.close_connection = true;
    }

    /// Whether the connection is to be closed after this response.
    pub fn wants_close(&self) -> bool {
        self.close_connection
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        if let Some(mut account) = self.account.take() {
            account.close(false, self.sent);
        }
    }
}
