//! What the admin API asks the node to do.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, Method, Version};
use http_body_util::{BodyExt, Empty};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{purging::Purging, services::Setter};
use crate::{
    admin::{Command, CommandError, TargetUrl, WarmResult},
    edge::{
        Edge,
        door::{ClientHead, ClientRequest, Handler, Scheme},
    },
};

/// URLs that one `warm` fetches at a time.
const WARM_AT_A_TIME: usize = 8;

/// Commands under way; more wait in their channel, and what finds no place there is refused.
const COMMANDS_MAX: usize = 1_024;

/// Takes commands; what takes long runs beside.
pub struct Commands {
    /// Where they come from.
    pub receiver: mpsc::Receiver<Command>,
    /// What purges.
    pub purging: Purging,
    /// What sets services.
    pub services: Arc<Setter>,
    /// What warms.
    pub edge: Edge,
    /// Whether the node says that it is ready.
    pub draining: watch::Sender<bool>,
}

impl Commands {
    /// Takes commands until `stop`. Who asked may be gone when the answer comes; what was done stands all the same.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut beside = JoinSet::new();
        loop {
            let command = tokio::select! {
                () = stop.cancelled() => return,
                Some(_) = beside.join_next() => continue,
                command = self.receiver.recv(), if beside.len() < COMMANDS_MAX => command,
            };
            let Some(command) = command else { return };
            let purging = self.purging.clone();
            match command {
                Command::SetDraining { draining, reply } => {
                    self.draining.send_replace(draining);
                    let _ = reply.send(Ok(()));
                }
                Command::Receipts { reply } => drop(reply.send(Ok(purging.receipts()))),
                Command::Purge { request, reply } => {
                    beside.spawn(async move { drop(reply.send(purging.purge(request).await)) });
                }
                Command::Receipt { id, wait, timeout, reply } => {
                    beside.spawn(async move { drop(reply.send(purging.receipt(id, wait, timeout).await)) });
                }
                Command::SetService { name, definition, reply } => {
                    let services = Arc::clone(&self.services);
                    beside.spawn(async move { drop(reply.send(services.set(name, definition).await)) });
                }
                Command::Warm { urls, reply } => {
                    beside.spawn(warm(self.edge.clone(), urls, reply));
                }
            }
        }
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
