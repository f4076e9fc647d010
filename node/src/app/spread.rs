//! The logs of all regions on their way through the mesh: push at commit, then anti-entropy.
//!
//! [`Replica`] decides whom to tell and whom to ask; here it is done. One task hears what happened and carries the
//! decisions out; what peers push and ask is answered beside it.
//!
//! ```text
//!   store (applied) ─┐                          ┌─▶ push: what follows, to a node and those it tells
//!   view, leadership ┼─▶ Replica ─▶ decisions ──┤
//!   what nodes said ─┘                          └─▶ compare: ask for what is missing here
//! ```
//!
//! Invariants:
//! - Entries are applied by the store alone, which takes each log in its order; a push that leaves a gap changes
//!   nothing, and who sent it learns where to begin.
//! - A log that is not known here is taken up only if some node of the mesh is of its region.
//! - A push is passed on once, inside the PoP: it cannot circle.

mod compare;
mod level;
mod push;

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use parking_lot::Mutex;
use starling_proto::{
    NodeId,
    members::{Member, Status, View},
    purge::{Input, Output, Region, Replica, ReplicaSettings, Stamp, Version},
    wire::{Call, Reach, Refusal, Reply},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Duration, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{fence::Fencing, receipts::Receipts};
use crate::{clock::Clock, link::Link, region::Standing, store::Store, trust::Trust};

/// Between two ticks of the decisions.
const TICK: Duration = Duration::from_millis(100);
/// Longest wait for a node to apply what it is sent, or to tell what it knows.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// Messages that one push or one comparison exchanges at most; the next one goes on.
const ROUNDS_MAX: usize = 64;
/// Logs that are taken up from others, at most.
const LOGS_MAX: usize = 2_048;
/// What nodes said of themselves and is not heard yet; what finds no place is said again.
const TOLD_MAX: usize = 4_096;

/// Said in [`Call::Missing`] of a log that is not taken up: it is later than any life, so nothing of it is sent. It
/// is no word of what is applied.
const PASSED_OVER: Version = Version { epoch: u64::MAX, index: u64::MAX };

/// What spreading needs of the node.
pub struct Parts {
    /// Where the logs are.
    pub store: Store,
    /// How other nodes are reached.
    pub link: Link,
    /// Who is in the mesh.
    pub view: watch::Receiver<Arc<View>>,
    /// The node's clock.
    pub clock: Clock,
    /// Where it is written down who has applied what.
    pub receipts: Receipts,
    /// Where it is said whether the node has caught up.
    pub trust: Trust,
    /// Whether addresses of other nodes were given: then somebody is there to catch up with.
    pub has_peers: bool,
}

/// Spreads the logs; a cheap handle.
#[derive(Clone)]
pub struct Spread(Arc<Inner>);

struct Inner {
    parts: Parts,
    me: NodeId,
    own: Region,
    replica: Mutex<Replica>,
    told: mpsc::Sender<Input>,
    hears: Mutex<Option<mpsc::Receiver<Input>>>,
    fence: OnceLock<Fencing>,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    pushes: AtomicU64,
    pushes_failed: AtomicU64,
    comparisons: AtomicU64,
    comparisons_failed: AtomicU64,
    entries_pushed: AtomicU64,
    batches_applied: AtomicU64,
    batches_refused: AtomicU64,
}

/// What was spread since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpreadCounts {
    /// Pushes that were answered.
    pub pushes: u64,
    /// Pushes that were not.
    pub pushes_failed: u64,
    /// Comparisons at whose end nothing was missing here.
    pub comparisons: u64,
    /// Comparisons that were not answered, or not to their end.
    pub comparisons_failed: u64,
    /// Entries sent by pushes, those that were passed on among them.
    pub entries_pushed: u64,
    /// Batches of others that were taken.
    pub batches_applied: u64,
    /// Batches of others that could not be applied.
    pub batches_refused: u64,
}

/// What became of a decision.
enum Ended {
    Push { to: NodeId, region: Region, reached: Option<Vec<Reach>> },
    Compare { with: NodeId, level: bool },
}

impl Spread {
    /// Spreads the logs of `parts.store` once it [runs](Self::run).
    pub fn new(parts: Parts) -> Self {
        let me = parts.view.borrow().me;
        let own = Region::new(parts.store.region());
        let (told, hears) = mpsc::channel(TOLD_MAX);
        let replica = Mutex::new(Replica::new(me, ReplicaSettings::default()));
        let hears = Mutex::new(Some(hears));
        let fence = OnceLock::new();
        Self(Arc::new(Inner { parts, me, own, replica, told, hears, fence, counts: Counts::default() }))
    }

    /// Has the fence learn of regions whose logs are passed over: to be called once, before this [runs](Self::run).
    /// There is such a region, and its head is not known here.
    pub fn warn(&self, fence: Fencing) {
        let _ = self.0.fence.set(fence);
    }

    /// Pushes and compares until `stop`; `standing` says when this node leads its region's group. To be called once.
    pub async fn run(self, mut standing: watch::Receiver<Standing>, stop: CancellationToken) {
        let Some(mut hears) = self.0.hears.lock().take() else { return };
        let parts = &self.0.parts;
        let (mut stamps, mut view) = (parts.store.stamps(), parts.view.clone());
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut under_way: JoinSet<Ended> = JoinSet::new();
        // What was there before the first change.
        let mut inputs = vec![
            Input::View(view.borrow_and_update().clone()),
            Input::Applied(stamps.borrow_and_update().clone()),
            self.leads(&standing.borrow_and_update()),
        ];
        loop {
            for input in inputs.drain(..) {
                for decision in self.decide(input) {
                    under_way.spawn(self.clone().carry_out(decision));
                }
            }
            parts.trust.set_caught_up(self.is_caught_up());
            tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = stamps.changed() => inputs.push(Input::Applied(stamps.borrow_and_update().clone())),
                Ok(()) = view.changed() => inputs.push(Input::View(view.borrow_and_update().clone())),
                Ok(()) = standing.changed() => inputs.push(self.leads(&standing.borrow_and_update())),
                Some(Ok(ended)) = under_way.join_next() => inputs.extend(self.heard_of(ended)),
                Some(told) = hears.recv() => inputs.push(told),
                _ = ticks.tick() => inputs.push(Input::Tick),
            }
        }
    }

    /// Answers [`Call::Push`] and [`Call::Missing`].
    pub async fn answer(&self, from: NodeId, call: Call) -> Reply {
        match call {
            Call::Push { batch, relay } => self.take(from, batch, relay).await,
            Call::Missing(there) => {
                // It says, too, how far the asker is.
                let has = there.iter().filter(|(_, at)| *at != PASSED_OVER);
                has.for_each(|(region, at)| self.tell(from, region, Some(at)));
                match self.0.parts.store.missing(Stamp::new(there)).await {
                    Ok(batches) => Reply::Batches(batches),
                    Err(error) => {
                        tracing::error!(%error, "what a peer misses could not be read");
                        Reply::Refused(Refusal::Failed(error.to_string()))
                    }
                }
            }
            _ => Reply::Refused(Refusal::NotServed),
        }
    }

    /// How far a node is known to have applied a log: by its own word or by gossip.
    pub fn reached(&self, node: &NodeId, region: &Region) -> Option<Version> {
        let said = self.0.replica.lock().reached(region).and_then(|nodes| nodes.get(node).copied());
        said.or_else(|| self.0.parts.view.borrow().members.get(node)?.versions.get(region))
    }

    /// How far a log is applied here.
    pub fn applied(&self, region: &Region) -> Option<Version> {
        self.0.parts.store.stamp().get(region)
    }

    /// What was counted.
    pub fn counts(&self) -> SpreadCounts {
        let counts = &self.0.counts;
        SpreadCounts {
            pushes: counts.pushes.load(Relaxed),
            pushes_failed: counts.pushes_failed.load(Relaxed),
            comparisons: counts.comparisons.load(Relaxed),
            comparisons_failed: counts.comparisons_failed.load(Relaxed),
            entries_pushed: counts.entries_pushed.load(Relaxed),
            batches_applied: counts.batches_applied.load(Relaxed),
            batches_refused: counts.batches_refused.load(Relaxed),
        }
    }

    fn leads(&self, standing: &Standing) -> Input {
        if let Some(at) = standing.committed {
            self.0.parts.receipts.committed(at, self.0.parts.clock.up_ms());
        }
        Input::Leads((standing.leader == Some(self.0.me)).then(|| self.0.own.clone()))
    }

    /// Has the decisions made, and writes down what the input said of who has applied what.
    fn decide(&self, input: Input) -> Vec<Output> {
        let Parts { clock, receipts, .. } = &self.0.parts;
        let now_ms = clock.up_ms();
        let news = match &input {
            Input::Applied(stamp) => {
                if let Some(at) = stamp.get(&self.0.own) {
                    receipts.applied_here(at, now_ms);
                }
                None
            }
            Input::Told { node, region, .. } if *region == self.0.own => Some(Some(*node)),
            Input::View(_) => Some(None),
            _ => None,
        };
        let mut replica = self.0.replica.lock();
        let decisions = replica.handle(input, now_ms);
        if let (Some(of), Some(reached)) = (news, replica.reached(&self.0.own)) {
            match of {
                Some(node) => receipts.reached(reached.get(&node).map(|at| (node, *at)), now_ms),
                None => receipts.reached(reached.iter().map(|(node, at)| (*node, *at)), now_ms),
            }
        }
        decisions
    }

    async fn carry_out(self, decision: Output) -> Ended {
        match decision {
            Output::Push { to, region, after, relay } => {
                let reached = self.push(to, &region, after, relay).await;
                Ended::Push { to, region, reached }
            }
            Output::Compare { with } => {
                let level = self.pull(with).await;
                Ended::Compare { with, level }
            }
        }
    }

    fn heard_of(&self, ended: Ended) -> Vec<Input> {
        let counts = &self.0.counts;
        match ended {
            Ended::Push { to, region, reached } => {
                let count = if reached.is_some() { &counts.pushes } else { &counts.pushes_failed };
                count.fetch_add(1, Relaxed);
                let answered = reached.is_some();
                let told = |Reach { node, at }| Input::Told { node, region: region.clone(), at };
                let mut inputs: Vec<Input> = reached.into_iter().flatten().map(told).collect();
                inputs.push(Input::Pushed { to, region, answered });
                inputs
            }
            Ended::Compare { with, level } => {
                let count = if level { &counts.comparisons } else { &counts.comparisons_failed };
                count.fetch_add(1, Relaxed);
                vec![Input::Compared { with, level }]
            }
        }
    }

    /// Notes what a node said of itself. One that finds no place is lost: gossip and the next push say it again.
    fn tell(&self, node: NodeId, region: &Region, at: Option<Version>) {
        let _ = self.0.told.try_send(Input::Told { node, region: region.clone(), at });
    }

    /// Promise P4. A node that nobody told of others, and that never knew any, has nobody to catch up with. One that
    /// was given addresses, or whose logs tell of others, waits for them.
    fn is_caught_up(&self) -> bool {
        let Parts { store, view, has_peers, .. } = &self.0.parts;
        self.0.replica.lock().is_caught_up()
            || (!has_peers
                && view.borrow().members.keys().all(|id| *id == self.0.me)
                && store.stamp().iter().all(|(region, _)| *region == self.0.own)
                && store
                    .catalog()
                    .borrow()
                    .shields()
                    .all(|(_, _, shields)| shields.0.iter().all(|shield| shield.node == self.0.me)))
    }

    /// A log was heard of that is not taken up. The fence knows before the comparison ends by which the node may
    /// hold itself for caught up.
    fn pass_over(&self, region: &Region) {
        if let Some(fence) = self.0.fence.get() {
            fence.know(region);
        }
    }

    /// Whether entries of this log are taken: it is known here, or it is of a region of the mesh.
    fn takes(&self, region: &Region) -> bool {
        let stamp = self.0.parts.store.stamp();
        let is_of_mesh = || {
            let view = self.0.parts.view.borrow();
            view.members.values().any(|member| member.profile.ticket.claim.region == region.as_str())
        };
        stamp.get(region).is_some() || (stamp.len() < LOGS_MAX && is_of_mesh())
    }
}

/// The other nodes that may be reached.
pub(super) fn others(view: &View) -> impl Iterator<Item = (&NodeId, &Member)> {
    let here = |member: &Member| matches!(member.status, Status::Alive | Status::Suspect);
    view.members.iter().filter(move |(id, member)| **id != view.me && here(member))
}

#[cfg(test)]
mod tests;
