//! What the admin API asks the node to do.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, Method, Version};
use http_body_util::{BodyExt, Empty};
use std::net::{Ipv4Addr, SocketAddr};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    access_log::timestamp,
    admin::{Applied, Command, CommandError, PurgeReceipt, PurgeRequest, WarmResult, WarmUrl},
    clock::Clock,
    edge::{
        Edge,
        door::{ClientHead, ClientRequest, Handler, Scheme},
    },
    store::{self, Store},
};

/// URLs that one `warm` fetches at a time.
const WARM_AT_A_TIME: usize = 8;

/// Takes commands, one after the other; what takes long runs beside.
pub struct Commands {
    /// Where they come from.
    pub receiver: mpsc::Receiver<Command>,
    /// The node's name, for receipts.
    pub node: String,
    /// The region in whose log purges are written.
    pub region: String,
    /// The node's clock.
    pub clock: Clock,
    /// Where purges are written and applied.
    pub store: Store,
    /// What warms.
    pub edge: Edge,
    /// Whether the node says that it is ready.
    pub draining: watch::Sender<bool>,
}

impl Commands {
    /// Takes commands until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut warming = tokio::task::JoinSet::new();
        loop {
            let command = tokio::select! {
                () = stop.cancelled() => return,
                Some(_) = warming.join_next() => continue,
                command = self.receiver.recv() => command,
            };
            let Some(command) = command else { return };
            match command {
                Command::Purge { request, reply } => {
                    // Who asked may be gone; the purge stands all the same.
                    let _ = reply.send(self.purge(request).await);
                }
                Command::SetDraining { draining, reply } => {
                    self.draining.send_replace(draining);
                    let _ = reply.send(Ok(()));
                }
                Command::Warm { urls, reply } => {
                    warming.spawn(warm(self.edge.clone(), urls, reply));
                }
            }
        }
    }

    /// A purge is durable and applied here when this returns, whatever less was asked to be waited for.
    async fn purge(&self, request: PurgeRequest) -> Result<PurgeReceipt, CommandError> {
        let started_ms = self.clock.up_ms();
        let committed_ms = self.clock.now_ms();
        let order = store::PurgeRequest {
            service: request.service,
            selectors: request.selectors,
            mode: request.mode,
        };
        let version = self.store.purge(order, committed_ms).await.map_err(|error| {
            tracing::error!(%error, "a purge was not written");
            CommandError::Failed(format!("nothing was purged: {error}"))
        })?;
        Ok(PurgeReceipt {
            id: format!("{}/{:016x}/{}", self.region, version.epoch, version.index),
            committed_at: Some(timestamp(committed_ms)),
            applied: vec![Applied {
                node: self.node.clone(),
                after_ms: self.clock.up_ms().saturating_sub(started_ms),
            }],
            missing: Vec::new(),
        })
    }
}

async fn warm(edge: Edge, urls: Vec<WarmUrl>, reply: oneshot::Sender<Result<Vec<WarmResult>, CommandError>>) {
    let results = stream::iter(urls).map(|url| warm_one(&edge, url)).buffered(WARM_AT_A_TIME).collect().await;
    let _ = reply.send(Ok(results));
}

/// Asks the edge as a client would, and reads the answer to its end.
async fn warm_one(edge: &Edge, url: WarmUrl) -> WarmResult {
    let (interim, _) = mpsc::channel(1);
    let head = ClientHead {
        method: Method::GET,
        scheme: if url.scheme == "https" { Scheme::Https } else { Scheme::Http },
        authority: url.authority,
        path_and_query: url.path_and_query,
        version: Version::HTTP_11,
        headers: HeaderMap::new(),
        body_bytes: Some(0),
        peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        interim,
    };
    let body = Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync();
    let mut response = edge.handle(ClientRequest { head, body }).await;
    let mut body_bytes = 0;
    let mut failure = None;
    while let Some(chunk) = response.body.next().await {
        match chunk {
            Ok(chunk) => {
                response.body.sent(chunk.len());
                body_bytes += chunk.len() as u64;
            }
            Err(error) => failure = Some(error.to_string()),
        }
    }
    if failure.is_none() {
        response.body.finish();
    }
    let cache = response.headers.get("cache-status").and_then(|value| value.to_str().ok());
    WarmResult {
        url: url.url,
        status: Some(response.status.as_u16()),
        cache: cache.unwrap_or_default().to_owned(),
        body_bytes,
        error: failure,
    }
}
