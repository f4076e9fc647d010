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
    #[error("the node at {base} did not answer within {timeout:?}")]
    TimedOut { base: String, timeout: Duration },
    #[error("{message}{}", field.as_ref().map(|f| format!(" (in {f})")).unwrap_or_default())]
    Refused { status: StatusCode, message: String, field: Option<String> },
    #[error("{base} does not answer as a node does: {reason}")]
    Garbled { base: String, reason: String },
    #[error("the runtime cannot start: {0}")]
    Runtime(std::io::Error),
}

impl ClientError {
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
        self.ask(Method::POST, path, Some(body), timeout).await
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        timeout: Duration,
    ) -> Result<Value, ClientError> {
        let garbled = |reason: String| ClientError::Garbled { base: self.base.clone(), reason };
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let bytes = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let request = request.body(Full::new(bytes)).map_err(|error| garbled(error.to_string()))?;
        let exchange = async {
            let response = self.http.request(request).await.map_err(|error| {
                let reason =
                    std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
                ClientError::Unreachable { base: self.base.clone(), reason }
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
                Err(ClientError::Refused { status, message: error.message, field: error.field })
            }
            Err(_) => Err(garbled(format!("status {status}"))),
        }
    }
}
