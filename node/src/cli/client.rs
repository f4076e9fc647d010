//! Speaks JSON with a node's admin API, over cleartext HTTP/1.1.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;

use super::{ClientOptions, FAILED, TIMED_OUT};
use crate::admin::ErrorBody;

const ANSWER_BYTES_MAX: usize = 64 << 20;

/// One node's API.
pub(super) struct Client {
    base: String,
    token: Option<String>,
    http: HttpClient<HttpConnector, Full<Bytes>>,
}

/// What is sent, and its media type.
pub(super) struct Body {
    pub kind: &'static str,
    pub bytes: Bytes,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error("--admin {0:?} is not a URL such as http://127.0.0.1:9000")]
    Url(String),
    #[error(
        "--admin {0:?}: the admin API is spoken over http only; reach a far node through an SSH tunnel or a TLS proxy on this machine"
    )]
    Https(String),
    #[error("no node answers at {base}: {reason} (is it running, and is --admin right?)")]
    Unreachable { base: String, reason: String },
    #[error("the node at {base} was asked, and was lost before it answered: {reason}")]
    Lost { base: String, reason: String },
    #[error("the node at {base} did not answer within {timeout:?}")]
    TimedOut { base: String, timeout: Duration },
    #[error("{message}{}", field.as_ref().map(|f| format!(" (in {f})")).unwrap_or_default())]
    Refused { status: StatusCode, code: String, message: String, field: Option<String> },
    #[error("{base} is no node of Starling: it answers {status}")]
    NoNode { base: String, status: StatusCode },
    #[error("{base} does not answer as a node does: {reason}")]
    Garbled { base: String, reason: String },
    #[error("{path} cannot be read: {source}")]
    File { path: String, source: std::io::Error },
    #[error("the runtime cannot start: {0}")]
    Runtime(std::io::Error),
}

impl ClientError {
    /// Whether the node may have done, or may yet do, what it was asked.
    pub fn leaves_open(&self) -> bool {
        match self {
            Self::Lost { .. } | Self::TimedOut { .. } | Self::Garbled { .. } => true,
            Self::Refused { status, code, .. } => *status == StatusCode::GATEWAY_TIMEOUT || code == "unknown",
            Self::Url(_)
            | Self::Https(_)
            | Self::Unreachable { .. }
            | Self::NoNode { .. }
            | Self::File { .. }
            | Self::Runtime(_) => false,
        }
    }

    pub fn exit_code(&self) -> u8 {
        match self {
            Self::TimedOut { .. } => TIMED_OUT,
            Self::Refused { status, .. } if *status == StatusCode::GATEWAY_TIMEOUT => TIMED_OUT,
            Self::Url(_) | Self::Https(_) => 2,
            _ => FAILED,
        }
    }
}

impl Client {
    pub fn new(options: &ClientOptions) -> Result<Self, ClientError> {
        let given = options.admin.trim_end_matches('/');
        let base = if given.contains("://") { given.to_owned() } else { format!("http://{given}") };
        let uri: Uri = base.parse().map_err(|_| ClientError::Url(options.admin.clone()))?;
        match uri.scheme_str() {
            Some("http") if uri.authority().is_some() => {}
            Some("https") => return Err(ClientError::Https(options.admin.clone())),
            _ => return Err(ClientError::Url(options.admin.clone())),
        }
        let http = HttpClient::builder(TokioExecutor::new()).build_http();
        Ok(Self { base, token: options.token.clone(), http })
    }

    pub async fn get(&self, path: &str, timeout: Duration) -> Result<Value, ClientError> {
        self.ask(Method::GET, path, None, timeout).await
    }

    pub async fn post(&self, path: &str, body: &Value, timeout: Duration) -> Result<Value, ClientError> {
        let body = Body { kind: "application/json", bytes: body.to_string().into() };
        self.ask(Method::POST, path, Some(body), timeout).await
    }

    pub async fn put(&self, path: &str, body: Body, timeout: Duration) -> Result<Value, ClientError> {
        self.ask(Method::PUT, path, Some(body), timeout).await
    }

    pub async fn delete(&self, path: &str, timeout: Duration) -> Result<Value, ClientError> {
        self.ask(Method::DELETE, path, None, timeout).await
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Body>,
        timeout: Duration,
    ) -> Result<Value, ClientError> {
        let garbled = |reason: String| ClientError::Garbled { base: self.base.clone(), reason };
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(body) = &body {
            request = request.header(header::CONTENT_TYPE, body.kind);
        }
        let bytes = body.map(|body| body.bytes).unwrap_or_default();
        let request = request.body(Full::new(bytes)).map_err(|error| garbled(error.to_string()))?;
        let exchange = async {
            let response = self.http.request(request).await.map_err(|error| {
                let reason =
                    std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
                let base = self.base.clone();
                if error.is_connect() {
                    ClientError::Unreachable { base, reason }
                } else {
                    ClientError::Lost { base, reason }
                }
            })?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            Ok((status, body.map_err(|error| garbled(error.to_string()))?.to_bytes()))
        };
        let (status, bytes) = tokio::time::timeout(timeout, exchange)
            .await
            .map_err(|_| ClientError::TimedOut { base: self.base.clone(), timeout })??;
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|error| garbled(error.to_string()));
        }
        match serde_json::from_slice::<ErrorBody>(&bytes) {
            Ok(ErrorBody { error }) => {
                let (code, message, field) = (error.code, error.message, error.field);
                Err(ClientError::Refused { status, code, message, field })
            }
            // Whoever it is refused it; a proxy's 5xx says nothing of what the node behind it did.
            Err(_) if status.is_client_error() => {
                Err(ClientError::NoNode { base: self.base.clone(), status })
            }
            Err(_) => Err(garbled(format!("status {status}"))),
        }
    }
}
