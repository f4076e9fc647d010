//! How peers are asked: what the edge needs of the link, so that a test can put edges of one process in its place.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{
    future::{BoxFuture, FutureExt},
    stream::{self, BoxStream, StreamExt},
};
use starling_proto::{NodeId, wire};

use crate::link::{AskError, Link, Peer};

/// Asks peers for objects.
pub trait Peers: Send + Sync + 'static {
    /// Asks; ready when the peer has taken the question on. Dropped, the question is withdrawn.
    fn ask(&self, to: Peer, fetch: wire::Fetch) -> BoxFuture<'static, Result<Taken, AskError>>;

    /// The time within which this peer usually takes a question on, if it was asked before.
    fn usual_ack(&self, peer: NodeId) -> Option<Duration>;
}

/// A question that was taken on: ready when its answer begins.
pub type Taken = BoxFuture<'static, Result<PeerAnswer, AskError>>;

/// A body that ends after its last bytes when it is whole, and after an error when it is not.
pub type PeerBody = BoxStream<'static, Result<Bytes, AskError>>;

/// The answer of a peer.
pub struct PeerAnswer {
    /// Its head.
    pub head: wire::Answer,
    /// Its body, as it arrives.
    pub body: PeerBody,
}

impl Peers for Link {
    fn ask(&self, to: Peer, fetch: wire::Fetch) -> BoxFuture<'static, Result<Taken, AskError>> {
        let link = self.clone();
        async move {
            let asked = link.ask(to, &fetch).await?;
            let answer = async move {
                let answered = asked.answer().await?;
                let body = stream::unfold(answered.body, |mut body| async move {
                    body.next().await.map(|chunk| (chunk, body))
                });
                Ok(PeerAnswer { head: answered.head, body: body.boxed() })
            };
            Ok(answer.boxed())
        }
        .boxed()
    }

    fn usual_ack(&self, peer: NodeId) -> Option<Duration> {
        Self::usual_ack(self, peer)
    }
}
