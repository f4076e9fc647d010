//! What is asked of the link, and waited for without ever holding up the task.

use std::{net::SocketAddr, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use starling_proto::{NodeId, members::Addresses};
use tokio::sync::{mpsc, oneshot};

use super::{Errand, Heard, seeds};

/// Errands under way at most. Beyond, new ones are refused; who wants them tries again later.
const UNDER_WAY_MAX: usize = 128;

/// An errand that takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(5);

/// For whose sake an address is greeted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sake {
    /// The peer that the operator named; its place in the list.
    Seed(usize),
    /// A node that is wanted as a neighbour.
    Tie(NodeId),
}

/// An errand that was carried out.
pub(super) enum Done {
    Resolved {
        seed: usize,
        found: Result<Vec<SocketAddr>, String>,
    },
    Greeted {
        sake: Sake,
        address: SocketAddr,
        heard: Result<Box<Heard>, String>,
    },
    Probed {
        target: NodeId,
        via: Option<NodeId>,
        took: Option<Duration>,
    },
    /// Nobody was asked: that says nothing of the target.
    Unsent,
}

/// The errands under way.
pub(super) struct Errands {
    to_link: mpsc::Sender<Errand>,
    under_way: FuturesUnordered<BoxFuture<'static, Done>>,
}

impl Errands {
    pub fn new(to_link: mpsc::Sender<Errand>) -> Self {
        Self { to_link, under_way: FuturesUnordered::new() }
    }

    /// How many more can be begun now.
    pub fn room(&self) -> usize {
        UNDER_WAY_MAX.saturating_sub(self.under_way.len()).min(self.to_link.capacity())
    }

    /// Looks up the addresses of a seed.
    pub fn resolve(&mut self, seed: usize, name: String) {
        let found = async move {
            let found = tokio::time::timeout(TIMEOUT, seeds::resolve(&name)).await;
            let found = found.unwrap_or_else(|_| Err("its name is not resolved in time".to_owned()));
            Done::Resolved { seed, found }
        };
        self.under_way.push(found.boxed());
    }

    /// Has an address greeted; whether that could be begun.
    pub fn greet(&mut self, sake: Sake, address: SocketAddr) -> bool {
        let expected = match sake {
            Sake::Tie(node) => Some(node),
            Sake::Seed(_) => None,
        };
        let (reply, replied) = oneshot::channel::<Result<Heard, String>>();
        let done = async move {
            let heard = match tokio::time::timeout(TIMEOUT, replied).await {
                Ok(Ok(heard)) => heard.map(Box::new),
                Ok(Err(_)) => Err("the link is closed".to_owned()),
                Err(_) => Err("no answer in time".to_owned()),
            };
            Done::Greeted { sake, address, heard }
        };
        self.begin(Errand::Greet { address, expected, reply }, done.boxed())
    }

    /// Has a node probed; whether that could be begun.
    pub fn probe(&mut self, target: NodeId, addresses: Addresses, via: Option<(NodeId, Addresses)>) -> bool {
        let (reply, replied) = oneshot::channel();
        let through = via.map(|(node, _)| node);
        let done = async move {
            match tokio::time::timeout(TIMEOUT, replied).await {
                Ok(Ok(took)) => Done::Probed { target, via: through, took },
                Ok(Err(_)) => Done::Unsent,
                Err(_) => Done::Probed { target, via: through, took: None },
            }
        };
        self.begin(Errand::Probe { target, via, addresses, reply }, done.boxed())
    }

    fn begin(&mut self, errand: Errand, done: BoxFuture<'static, Done>) -> bool {
        let begun = self.room() > 0 && self.to_link.try_send(errand).is_ok();
        if begun {
            self.under_way.push(done);
        }
        begun
    }

    /// The next errand that was carried out; waits forever while none is under way.
    pub async fn next(&mut self) -> Done {
        match self.under_way.next().await {
            Some(done) => done,
            None => std::future::pending().await,
        }
    }
}
