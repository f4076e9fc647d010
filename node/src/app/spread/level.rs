//! Fetches of peers that know more than this node wait until it has caught up (promise P2).

use std::collections::HashMap;

use starling_proto::{
    NodeId,
    purge::{Stamp, Versions},
};
use tokio::{sync::mpsc, task::JoinSet, time::timeout};

use super::{CALL_TIMEOUT, Spread};
use crate::link::Incoming;

/// Fetches that wait for one peer's entries.
const WAITING_MAX: usize = 1_024;

impl Spread {
    /// Passes fetches of peers on to `level`, once this node has applied what the asker has, as far as that can be
    /// had in the time a call may take. One peer is asked once at a time, for all that wait for it.
    pub async fn level(self, mut fetches: mpsc::Receiver<Incoming>, level: mpsc::Sender<Incoming>) {
        let store = &self.0.parts.store;
        let mut pulls = JoinSet::new();
        let mut waiting: HashMap<NodeId, Vec<Incoming>> = HashMap::new();
        // What a peer told, and what was known here after it had been asked: asking again brings no more.
        let mut fruitless: HashMap<NodeId, (Versions, Stamp)> = HashMap::new();
        loop {
            let passed_on = tokio::select! {
                Some(Ok(from)) = pulls.join_next() => {
                    let caught_up = waiting.remove(&from).unwrap_or_default();
                    let stamp = store.stamp();
                    let behind = caught_up.last().filter(|last| !stamp.covers(&last.fetch.versions));
                    match behind {
                        Some(last) => drop(fruitless.insert(from, (last.fetch.versions.clone(), stamp))),
                        None => drop(fruitless.remove(&from)),
                    }
                    caught_up
                }
                incoming = fetches.recv() => {
                    let Some(incoming) = incoming else { return };
                    let (from, versions) = (incoming.from, &incoming.fetch.versions);
                    let stamp = store.stamp();
                    let is_known = || fruitless.get(&from).is_some_and(|known| known.0 == *versions && known.1 == stamp);
                    if stamp.covers(versions) || is_known() {
                        vec![incoming]
                    } else {
                        let behind = waiting.entry(from).or_default();
                        if behind.is_empty() {
                            let this = self.clone();
                            pulls.spawn(async move {
                                // What it did not bring in time, the next fetch or comparison will.
                                let _ = timeout(CALL_TIMEOUT, this.pull(from)).await;
                                from
                            });
                        }
                        if behind.len() < WAITING_MAX {
                            behind.push(incoming);
                        }
                        // Dropped, a fetch is refused.
                        continue;
                    }
                }
            };
            for incoming in passed_on {
                if level.send(incoming).await.is_err() {
                    return;
                }
            }
        }
    }
}
