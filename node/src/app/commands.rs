//! What the admin API asks the node to do.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, Method, Version};
use http_body_util::{BodyExt, Empty};
use starling_proto::purge;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::spread::Spread;
use crate::{
    access_log::timestamp,
    admin::{Applied, Command, CommandError, PurgeReceipt, PurgeRequest, TargetUrl, Wait, WarmResult},
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
    /// The node's clock.
    pub clock: Clock,
    /// Where purges are written and applied.
    pub store: Store,
    /// Who brings them to the other nodes of a mesh.
    pub spread: Option<Spread>,
    /// What warms.
    pub edge: Edge,
    /// Whether the node says that it is ready.
    pub draining: watch::Sender<bool>,
}

impl Commands {
    /// Takes commands until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut beside = tokio::task::JoinSet::new();
        loop {
            let command = tokio::select! {
                () = stop.cancelled() => return,
                Some(_) = beside.join_next() => continue,
                command = self.receiver.recv() => command,
            };
            let Some(command) = command else { return };
            match command {
                Command::Purge { request, reply } => match self.purge(request).await {
                    // Who asked may be gone; the purge stands all the same.
                    Err(error) => drop(reply.send(Err(error))),
                    Ok(written) => {
                        let spread = self.spread.clone();
                        beside.spawn(async move {
                            let _ = reply.send(Ok(written.receipt(spread).await));
                        });
                    }
                },
                Command::SetDraining { draining, reply } => {
                    self.draining.send_replace(draining);
                    let _ = reply.send(Ok(()));
                }
                Command::Warm { urls, reply } => {
                    beside.spawn(warm(self.edge.clone(), urls, reply));
                }
            }
        }
    }

    /// A purge is durable and applied here when this returns, whatever less was asked to be waited for.
    async fn purge(&self, request: PurgeRequest) -> Result<Written, CommandError> {
        let started_ms = self.clock.up_ms();
        let committed_ms = self.clock.now_ms();
        let (wait, deadline) = (request.wait, Instant::now() + request.timeout);
        let order = store::PurgeRequest {
            service: request.service,
            selectors: request.selectors,
            mode: request.mode,
        };
        let entry = self.store.purge(order, committed_ms).await.map_err(|error| {
            tracing::error!(%error, "a purge was not written");
            CommandError::Failed(format!("nothing was purged: {error}"))
        })?;
        let applied =
            Applied { node: self.node.clone(), after_ms: self.clock.up_ms().saturating_sub(started_ms) };
        let receipt = PurgeReceipt {
            id: entry.id(),
            committed_at: Some(timestamp(committed_ms)),
            applied: vec![applied],
            missing: Vec::new(),
        };
        Ok(Written { version: entry.version, wait, deadline, receipt })
    }
}

/// A purge that is applied here, and may be waited for elsewhere.
struct Written {
    version: purge::Version,
    wait: Wait,
    deadline: Instant,
    receipt: PurgeReceipt,
}

impl Written {
    /// Who has applied it, and who has not, when that is waited for.
    async fn receipt(self, spread: Option<Spread>) -> PurgeReceipt {
        let mut receipt = self.receipt;
        if let (Some(spread), Wait::Applied) = (spread, self.wait) {
            let (applied, missing) = spread.applied(self.version, self.deadline).await;
            receipt.applied.extend(
                applied.into_iter().map(|(node, after)| Applied { node, after_ms: after.as_millis() as u64 }),
            );
            receipt.missing = missing;
        }
        receipt
    }
}

async fn warm(
    edge: Edge,
    urls: Vec<TargetUrl>,
    reply: oneshot::Sender<Result<Vec<WarmResult>, CommandError>>,
) {
    let results = stream::iter(urls).map(|url| warm_one(&edge, url)).buffered(WARM_AT_A_TIME).collect().await;
    let _ = reply.send(Ok(results));
}

/// Asks the edge as a client would, and reads the answer to its end.
async fn warm_one(edge: &Edge, url: TargetUrl) -> WarmResult {
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
