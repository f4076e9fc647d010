//! How far the log is committed.
//!
//! A leader asks a quorum whether it still leads, once for all who asked before that began (Ongaro 2014, section
//! 6.4): one round is under way at most, however many ask.

use std::{
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    time::Duration,
};

use starling_proto::{
    NodeId,
    purge::Version,
    wire::{Call, Reply},
};
use tokio::{sync::Mutex, time::timeout};

use super::{
    member::{Member, Running},
    types::{LogId, life, version},
};

/// Rounds of questions to a quorum.
#[derive(Default)]
pub(super) struct Reads {
    begun: AtomicU64,
    /// The last round that ended, and its answer; held while one is under way.
    last: Mutex<(u64, Option<LogId>)>,
}

impl Reads {
    /// The answer of a round that begins after this is called.
    async fn read(&self, ask: impl Future<Output = Option<LogId>>) -> Option<LogId> {
        let before = self.begun.load(SeqCst);
        let mut last = self.last.lock().await;
        if last.0 <= before {
            // One that nobody waited for to its end has a number, too, and no answer.
            let number = self.begun.fetch_add(1, SeqCst) + 1;
            *last = (number, ask.await);
        }
        last.1
    }
}

impl Member {
    /// How far the log is committed, as a quorum says.
    pub async fn head(&self, limit: Duration, may_forward: bool) -> Option<Version> {
        let running = self.running();
        if let Some(running) = running.as_ref().filter(|running| running.leads()) {
            return timeout(limit, self.head_here(running)).await.ok()?;
        }
        if !may_forward {
            return None;
        }
        let leader = running.and_then(|running| running.metrics().current_leader);
        let to =
            leader.filter(|leader: &NodeId| *leader != self.settings.me).or_else(|| self.another(0, 0))?;
        match self.wire.call(to, Call::Head, limit).await {
            Ok(Reply::Head(Some(lease))) if lease.region == self.settings.region => Some(lease.head),
            _ => None,
        }
    }

    async fn head_here(&self, running: &Running) -> Option<Version> {
        // What is heard of before a quorum confirms the leader is in its log, or is lost.
        let known = self.heard();
        let read = running.reads.read(async { running.raft.ensure_linearizable().await.ok()? }).await?;
        let metrics = running.metrics();
        if self.is_lost.load(SeqCst) || self.lacks(known, &metrics) {
            return None;
        }
        let (_, epoch) = life(metrics.membership_config.membership())?;
        Some(version(epoch, read.index))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::{FutureExt, future::join_all};
    use tokio::sync::Semaphore;

    use super::*;

    fn at(index: u64) -> LogId {
        LogId { leader_id: openraft::LeaderId::new(1, NodeId::from_bytes([1; 32])), index }
    }

    #[tokio::test]
    async fn who_asks_while_a_round_is_under_way_shares_the_next_one() {
        let (reads, rounds, gate) = (Reads::default(), AtomicU64::new(0), Semaphore::new(0));
        let read = || {
            reads.read(async {
                let number = rounds.fetch_add(1, SeqCst) + 1;
                gate.acquire().await.expect("open").forget();
                Some(at(number))
            })
        };
        let mut first = Box::pin(read());
        assert!(first.as_mut().now_or_never().is_none());
        let mut others: Vec<_> = (0..50).map(|_| Box::pin(read())).collect();
        assert!(others.iter_mut().all(|other| other.as_mut().now_or_never().is_none()));
        assert_eq!(rounds.load(SeqCst), 1, "one at a time");
        gate.add_permits(10);
        assert_eq!(first.await, Some(at(1)));
        assert_eq!(join_all(others).await, vec![Some(at(2)); 50]);
        assert_eq!(read().await, Some(at(3)), "an answer is not given twice");
    }

    #[tokio::test]
    async fn a_round_that_is_given_up_answers_nobody() {
        let reads = Arc::new(Reads::default());
        let mut first = Box::pin(reads.read(std::future::pending()));
        assert!(first.as_mut().now_or_never().is_none());
        let mut second = Box::pin(reads.read(async { Some(at(2)) }));
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        assert_eq!(second.await, Some(at(2)));
    }
}
