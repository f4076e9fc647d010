//! Purges on their way through the mesh.
//!
//! Each node writes a log of its own. What it writes is pushed to every node at once; what a push did not reach is
//! found by comparing versions, with one node after another, and fetched from whoever has it. A log is applied in
//! its order, so a node's versions say all that it knows.
//!
//! Invariants:
//! - Only the author pushes a log, and only the author can begin a new epoch of it: which of two epochs is the
//!   later one cannot be told from the outside.
//! - One push to a node is under way at a time; what is written meanwhile goes with the next.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use starling_proto::{
    NodeId,
    members::{Member, Status, View},
    purge::{Batch, Region, Stamp, Version, Versions},
    wire::{Call, Refusal, Reply},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::mesh::peer;
use crate::{
    config,
    link::{Incoming, Link, Peer},
    store::Store,
};

/// Longest wait for a node to apply what it is sent, or to tell what it knows.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// A node is compared with another one this often.
const COMPARE_EVERY: Duration = Duration::from_millis(1_000);
/// Logs that are taken up from others, at most.
const LOGS_MAX: usize = 2_048;
/// Fetches that wait until this node has caught up with who asks.
const WAITING_MAX: usize = 1_024;
/// Batches that one push or one comparison brings at most; the next one goes on.
const ROUNDS_MAX: usize = 64;
/// Pushes under way.
const PUSHES_MAX: usize = 128;

/// Spreads purges; a cheap handle.
#[derive(Clone)]
pub struct Spread {
    store: Store,
    link: Link,
    view: watch::Receiver<Arc<View>>,
    /// How far each node has applied this node's log, as it said itself.
    reached: Arc<watch::Sender<BTreeMap<NodeId, Version>>>,
}

/// How a push went.
struct Pushed {
    to: NodeId,
    reached: Option<Version>,
}

impl Spread {
    /// Spreads what `store` writes, among the nodes of `view`.
    pub fn new(store: Store, link: Link, view: watch::Receiver<Arc<View>>) -> Self {
        Self { store, link, view, reached: Arc::default() }
    }

    /// Pushes and compares until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut stamps = self.store.stamps();
        let mut view = self.view.clone();
        let mut pushes: JoinSet<Pushed> = JoinSet::new();
        let mut under_way: HashMap<NodeId, bool> = HashMap::new();
        let mut compare = interval(COMPARE_EVERY);
        compare.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut compared = None;
        let mut comparisons = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = stamps.changed() => {}
                Ok(()) = view.changed() => self.forget_the_gone(),
                Some(Ok(pushed)) = pushes.join_next() => {
                    let again = under_way.remove(&pushed.to).unwrap_or_default();
                    let before = self.reached.borrow().get(&pushed.to).copied();
                    if let Some(version) = pushed.reached {
                        self.reached.send_modify(|reached| { reached.insert(pushed.to, version); });
                    }
                    if (pushed.reached.is_none() || pushed.reached == before) && !again {
                        // It did not answer, or could not apply it: it is tried again with the next comparison.
                        continue;
                    }
                }
                Some(_) = comparisons.join_next() => continue,
                _ = compare.tick() => {
                    if comparisons.is_empty() && let Some(next) = self.after(compared) {
                        compared = Some(next);
                        let this = self.clone();
                        comparisons.spawn(async move { this.pull(next).await });
                    }
                    // Nodes that did not answer a push are tried again at this pace, too.
                }
            }
            for to in self.behind() {
                if let Some(again) = under_way.get_mut(&to) {
                    *again = true;
                } else if pushes.len() < PUSHES_MAX {
                    under_way.insert(to, false);
                    let this = self.clone();
                    pushes.spawn(async move { Pushed { to, reached: this.push(to).await } });
                }
            }
        }
    }

    /// Answers a peer that pushes or compares.
    pub async fn answer(&self, from: NodeId, call: Call) -> Reply {
        match call {
            Call::Apply(batches) => {
                let author = self.view.borrow().members.get(&from).map(log_of_member);
                if batches.iter().any(|batch| Some(&batch.region) != author.as_ref()) {
                    return Reply::Refused(Refusal::NotServed);
                }
                for batch in batches {
                    if let Err(error) = self.store.apply(batch).await {
                        tracing::warn!(%error, node = %from, "a push could not be applied");
                    }
                }
                Reply::Applied(Versions::clone(&self.store.stamp()))
            }
            Call::Missing(there) => match self.store.missing(Arc::new(there)).await {
                Ok(batches) => Reply::Batches(batches),
                Err(error) => {
                    tracing::error!(%error, "what a peer misses could not be read");
                    Reply::Refused(Refusal::Failed(error.to_string()))
                }
            },
            _ => Reply::Refused(Refusal::NotServed),
        }
    }

    /// Passes fetches of peers on to `level`, once this node has applied what the asker has, as far as that can be
    /// had in the time a call may take (promise P2). One peer is asked once at a time, for all that wait for it.
    pub async fn level(self, mut fetches: mpsc::Receiver<Incoming>, level: mpsc::Sender<Incoming>) {
        let mut pulls = JoinSet::new();
        let mut waiting: HashMap<NodeId, Vec<Incoming>> = HashMap::new();
        // What a peer told, and what was known here after it had been asked: asking again brings no more.
        let mut fruitless: HashMap<NodeId, (Versions, Stamp)> = HashMap::new();
        loop {
            let passed_on = tokio::select! {
                Some(Ok(from)) = pulls.join_next() => {
                    let caught_up = waiting.remove(&from).unwrap_or_default();
                    let stamp = self.store.stamp();
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
                    let stamp = self.store.stamp();
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

    /// Waits until every node that is not dead has applied this node's log up to `version`, or until `deadline`.
    /// Answers who has, by name, with the time it took from now, and who has not.
    pub async fn applied(
        &self,
        version: Version,
        deadline: Instant,
    ) -> (Vec<(String, Duration)>, Vec<String>) {
        let started = Instant::now();
        let mut reached = self.reached.subscribe();
        let mut done: BTreeMap<NodeId, Duration> = BTreeMap::new();
        loop {
            for (node, at) in reached.borrow_and_update().iter() {
                if at.epoch == version.epoch && at.index >= version.index {
                    done.entry(*node).or_insert_with(|| started.elapsed());
                }
            }
            let view = self.view.borrow().clone();
            let (has, has_not): (Vec<_>, Vec<_>) = others(&view).partition(|(id, _)| done.contains_key(id));
            if has_not.is_empty() || !matches!(timeout_at(deadline, reached.changed()).await, Ok(Ok(()))) {
                let name = |member: &Member| member.profile.ticket.claim.name.clone();
                let has = has.iter().map(|(id, member)| (name(member), done[*id])).collect();
                return (has, has_not.iter().map(|(_, member)| name(member)).collect());
            }
        }
    }

    /// The version of this node's own log.
    fn written(&self) -> Option<Version> {
        self.store.stamp().get(&Region::new(self.store.region()))
    }

    /// The nodes that have not said that they have all of this node's log.
    fn behind(&self) -> Vec<NodeId> {
        let Some(written) = self.written().filter(|written| written.index > 0) else { return Vec::new() };
        let view = self.view.borrow().clone();
        let reached = self.reached.borrow();
        let is_behind = |id: &&NodeId| reached.get(*id) != Some(&written);
        others(&view).map(|(id, _)| id).filter(is_behind).copied().collect()
    }

    fn forget_the_gone(&self) {
        let view = self.view.borrow().clone();
        self.reached
            .send_modify(|reached| reached.retain(|id, _| others(&view).any(|(other, _)| other == id)));
    }

    /// The node to compare with after the last one, in the order of ids.
    fn after(&self, last: Option<NodeId>) -> Option<NodeId> {
        let view = self.view.borrow().clone();
        let next = others(&view).map(|(id, _)| *id).find(|id| last.is_none_or(|last| *id > last));
        next.or_else(|| others(&view).map(|(id, _)| *id).next())
    }

    /// Brings a node up to date with this node's log; answers how far it says it is.
    async fn push(&self, to: NodeId) -> Option<Version> {
        let own = Region::new(self.store.region());
        let mut there = self.reached.borrow().get(&to).copied();
        for _ in 0..ROUNDS_MAX {
            let batches = match there {
                Some(version) => self.after_version(&own, version).await?,
                // What it knows is asked first.
                None => Vec::new(),
            };
            if batches.is_empty() && there.is_some() {
                return there;
            }
            let peer = peer(&self.view.borrow(), to)?;
            match self.link.call(peer, Call::Apply(batches), CALL_TIMEOUT).await {
                Ok(Reply::Applied(versions)) => {
                    let unknown = Version { epoch: self.written()?.epoch, index: 0 };
                    let now = versions.get(&own).unwrap_or(unknown);
                    if there == Some(now) {
                        return there;
                    }
                    there = Some(now);
                }
                Ok(other) => {
                    tracing::debug!(?other, node = %to, "a push was not taken");
                    return None;
                }
                Err(error) => {
                    tracing::debug!(%error, node = %to, "a push did not arrive");
                    return None;
                }
            }
        }
        there
    }

    /// What of the own log follows `version`.
    async fn after_version(&self, own: &Region, version: Version) -> Option<Vec<Batch>> {
        let mut there = Versions::clone(&self.store.stamp());
        there.set(own.clone(), version);
        match self.store.missing(Stamp::new(there)).await {
            Ok(batches) => Some(batches),
            Err(error) => {
                tracing::error!(%error, "the purge log cannot be read");
                None
            }
        }
    }

    /// Applies what a node knows and this one does not.
    async fn pull(&self, from: NodeId) {
        for _ in 0..ROUNDS_MAX {
            let Some((peer, author)) = self.whom(from) else { return };
            let here = self.store.stamp();
            let reply = self.link.call(peer, Call::Missing(Versions::clone(&here)), CALL_TIMEOUT).await;
            let Ok(Reply::Batches(batches)) = reply else { return };
            let mut news = false;
            for batch in batches {
                let known = here.get(&batch.region);
                let is_reborn = known.is_some_and(|at| at.epoch != batch.after.epoch);
                let is_made_up =
                    known.is_none() && (here.len() >= LOGS_MAX || !self.is_of_member(&batch.region));
                if (is_reborn && batch.region != author) || is_made_up {
                    continue;
                }
                match self.store.apply(batch).await {
                    Ok(new) => news |= new,
                    Err(error) => tracing::debug!(%error, node = %from, "a batch could not be applied"),
                }
            }
            if !news {
                return;
            }
        }
    }

    /// Whether some node of the mesh writes this log.
    fn is_of_member(&self, log: &Region) -> bool {
        self.view.borrow().members.values().any(|member| log_of_member(member) == *log)
    }

    fn whom(&self, id: NodeId) -> Option<(Peer, Region)> {
        let view = self.view.borrow();
        Some((peer(&view, id)?, log_of_member(view.members.get(&id)?)))
    }
}

fn log_of_member(member: &Member) -> Region {
    let claim = &member.profile.ticket.claim;
    Region::new(&config::purge_log(&claim.region, &claim.name))
}

/// The other nodes that may be reached.
fn others(view: &View) -> impl Iterator<Item = (&NodeId, &Member)> {
    let here = |member: &Member| matches!(member.status, Status::Alive | Status::Suspect);
    view.members.iter().filter(move |(id, member)| **id != view.me && here(member))
}
