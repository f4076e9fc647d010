//! A change on its way from whoever asks for it to the answer that says what became of it.
//!
//! ```text
//!   admin API, PURGE, services ─▶ commit (own region, else another) ─▶ applied at this node ─▶ wait ─▶ receipt
//! ```
//!
//! Invariants:
//! - Nobody is told of success before the change is applied at this node: who asks it next reads its own purge.
//! - Who is told that a purge failed is told whether it may be committed all the same.
//! - What is asked for twice by the same key is committed once by a region.

mod kept;
mod ways;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt};
use parking_lot::Mutex;
use starling_proto::{
    NodeId, UnixMs,
    members::View,
    purge::{Change, EntryId, Purge, Region, Stamp},
    wire::{Call, Committed, NotCommitted, Proposal, Receipt, Reply},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    kept::{Kept, KeptPurges},
    ways::{Failure, MARGIN, Wanted, Ways},
};
use super::{mesh::nearest_of_each, receipts::Witness, spread::Spread};
use crate::{
    access_log::timestamp,
    admin::{Applied, CommandError, PurgeReceipt, PurgeRequest, Wait},
    clock::Clock,
    edge::Purger,
    link::{AskErrorKind, Link, Peer},
    region::Group,
    store::Store,
};

/// For a purge by the `PURGE` method, and a change of a service.
const TIMEOUT: Duration = Duration::from_secs(5);
/// An accepted purge is tried for at least this long: nobody waits for it.
const ACCEPTED_TIMEOUT: Duration = Duration::from_secs(60);
/// Accepted purges under way.
const ACCEPTED_MAX: usize = 1_024;
/// A committed entry should be here within this by itself; then, and so often, it is fetched.
const COMES_WITHIN: Duration = Duration::from_millis(50);
const FETCH_EVERY: Duration = Duration::from_millis(250);
/// Accepted purges have so long to end when the node ends.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Has purges and service changes committed; a cheap handle.
#[derive(Clone)]
pub struct Purging(Arc<Inner>);

/// What purging needs.
pub struct PurgingParts {
    /// Where changes are applied, and written by a node that stands alone.
    pub store: Store,
    /// The node's clock.
    pub clock: Clock,
    /// This node.
    pub me: NodeId,
    /// Its name.
    pub name: String,
    /// Its part in a mesh.
    pub mesh: Option<InMesh>,
}

/// What purging needs of the mesh.
#[derive(Clone)]
pub struct InMesh {
    /// The own region's group.
    pub group: Group,
    /// How other regions are asked.
    pub link: Link,
    /// Who is in the mesh.
    pub view: watch::Receiver<Arc<View>>,
    /// Who fetches entries.
    pub spread: Spread,
    /// Who tells receipts.
    pub witness: Witness,
}

struct Inner {
    parts: PurgingParts,
    kept: Mutex<KeptPurges>,
    /// One keyed change at a time is written by a node that stands alone, so that none is written twice.
    writing: tokio::sync::Mutex<()>,
    accepted: TaskTracker,
    stop: CancellationToken,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    committed: AtomicU64,
    committed_elsewhere: AtomicU64,
    failed: AtomicU64,
    unknown: AtomicU64,
}

/// What became of changes that were asked of this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PurgingCounts {
    /// Committed by the own region.
    pub committed: u64,
    /// Committed by another region.
    pub committed_elsewhere: u64,
    /// Not committed.
    pub failed: u64,
    /// Not known.
    pub unknown: u64,
}

/// A change that is committed.
struct Done {
    committed: Committed,
    acknowledged: Instant,
    /// After the acknowledgement; none when it is not applied here yet.
    here_after_ms: Option<u64>,
}

impl Done {
    /// No lease lasts longer that was given before the commit: clocks of machines differ by less than a hundredth.
    fn fenced_at(&self) -> Instant {
        let fence_ms = self.committed.fence_ms;
        let ms = fence_ms.saturating_add(fence_ms / 100).saturating_add(10).min(86_400_000);
        self.acknowledged + Duration::from_millis(if fence_ms == 0 { 0 } else { ms })
    }

    fn since_ms(&self) -> u64 {
        millis(self.acknowledged.elapsed())
    }
}

impl Purging {
    /// Ready to purge.
    pub fn new(parts: PurgingParts) -> Self {
        Self(Arc::new(Inner {
            parts,
            kept: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
            accepted: TaskTracker::new(),
            stop: CancellationToken::new(),
            counts: Counts::default(),
        }))
    }

    /// Purges, and answers when what the request waits for has come, or the time is up.
    pub async fn purge(&self, request: PurgeRequest) -> Result<PurgeReceipt, CommandError> {
        let PurgeRequest { service, selectors, mode, wait, timeout, key } = request;
        let change = Change::Purge(Purge { service, selectors, mode });
        let deadline = Instant::now() + timeout;
        let number = self.0.kept.lock().begin();
        if wait == Wait::Accepted {
            return self.accept(number, change, key, timeout);
        }
        let done = match self.commit(change, key, deadline).await {
            Ok(done) => done,
            Err(failure) => {
                self.0.kept.lock().forget(number);
                return Err(failure.into());
            }
        };
        self.keep(number, &done);
        let receipt = self.wait(&done, wait, deadline).await;
        self.0.kept.lock().update(number, |kept| kept.receipt = receipt.clone());
        Ok(receipt)
    }

    /// Has a change committed; it is applied at this node when this returns.
    pub async fn change(&self, change: Change) -> Result<EntryId, CommandError> {
        let done = self.commit(change, None, Instant::now() + TIMEOUT).await?;
        self.only_if_here(&done).map_err(CommandError::Unknown)
    }

    /// Who has applied a purge of any region; none when no such entry is known.
    pub async fn receipt(
        &self,
        id: EntryId,
        wait: Wait,
        timeout: Duration,
    ) -> Result<Option<PurgeReceipt>, CommandError> {
        let store = &self.0.parts.store;
        let entry = store.entry(&id).await.map_err(|error| CommandError::Failed(error.to_string()))?;
        if entry.is_none() && (is_passed(&store.stamp(), &id) || self.0.parts.mesh.is_none()) {
            // It is not kept any more, of a former life of the log, or was never written.
            return Ok(None);
        }
        let kept = self.0.kept.lock().find(&id).cloned();
        let committed =
            Committed { id, at_ms: entry.as_ref().map_or(0, |entry| entry.at_ms), fence_ms: u64::MAX };
        let done = Done {
            // An entry that is here was applied, if in a former life of the log.
            here_after_ms: (entry.is_some() || self.is_applied(&committed.id)).then_some(0),
            acknowledged: kept.as_ref().and_then(|kept| kept.acknowledged).unwrap_or_else(Instant::now),
            committed,
        };
        let wait = if matches!(wait, Wait::Accepted) { Wait::Committed } else { wait };
        let timeout = if wait == Wait::Committed { Duration::ZERO } else { timeout };
        let fenced_at = kept.and_then(|kept| kept.fenced_at);
        let receipt = self.wait_until(&done, wait, Instant::now() + timeout, fenced_at, true).await;
        // Nobody has it: it was never committed, as far as can be seen from here.
        Ok((entry.is_some() || !receipt.applied.is_empty()).then_some(receipt))
    }

    /// The last purges that were sent to this node, the latest first, as far as is known here.
    pub fn receipts(&self) -> Vec<PurgeReceipt> {
        let mut kept = self.0.kept.lock();
        kept.latest_first().map(|kept| self.refresh(kept)).collect()
    }

    /// What was counted.
    pub fn counts(&self) -> PurgingCounts {
        let counts = &self.0.counts;
        PurgingCounts {
            committed: counts.committed.load(Relaxed),
            committed_elsewhere: counts.committed_elsewhere.load(Relaxed),
            failed: counts.failed.load(Relaxed),
            unknown: counts.unknown.load(Relaxed),
        }
    }

    /// Ends accepted purges: what is under way has a moment.
    pub async fn close(&self) {
        self.0.accepted.close();
        if tokio::time::timeout(CLOSE_TIMEOUT, self.0.accepted.wait()).await.is_err() {
            tracing::warn!("accepted purges were given up at the end");
        }
        self.0.stop.cancel();
        self.0.accepted.wait().await;
    }

    fn accept(
        &self,
        number: u64,
        change: Change,
        key: Option<u128>,
        timeout: Duration,
    ) -> Result<PurgeReceipt, CommandError> {
        let accepted = &self.0.accepted;
        if accepted.is_closed() || accepted.len() >= ACCEPTED_MAX {
            self.0.kept.lock().forget(number);
            return Err(CommandError::Unavailable("too many accepted purges are under way".to_owned()));
        }
        let (this, stop) = (self.clone(), self.0.stop.clone());
        let deadline = Instant::now() + timeout.max(ACCEPTED_TIMEOUT);
        let carry_out = async move {
            match this.propose(change, key, deadline).await {
                // Who asks for its receipt learns who has applied it: nobody waits for that here.
                Ok((done, _)) => {
                    tracing::info!(id = %done.committed.id, "an accepted purge is committed");
                    this.keep(number, &done);
                    let receipt = this.wait(&done, Wait::Committed, deadline).await;
                    this.0.kept.lock().update(number, |kept| kept.receipt = receipt);
                }
                Err(error) => tracing::error!(%error, "an accepted purge was not carried out"),
            }
        };
        accepted.spawn(stop.run_until_cancelled_owned(carry_out));
        Ok(PurgeReceipt {
            id: None,
            committed_at: None,
            complete: true,
            fenced: false,
            applied: Vec::new(),
            missing: Vec::new(),
        })
    }

    /// Has a change committed, and waits until it is applied here.
    async fn commit(&self, change: Change, key: Option<u128>, deadline: Instant) -> Result<Done, Failure> {
        let (mut done, by) = self.propose(change, key, deadline).await?;
        if done.here_after_ms.is_none() && self.comes_here(&done.committed.id, by, deadline).await {
            done.here_after_ms = Some(done.since_ms());
        }
        Ok(done)
    }

    /// Has a change committed; answers by which node of another region, if one did it.
    async fn propose(
        &self,
        change: Change,
        key: Option<u128>,
        deadline: Instant,
    ) -> Result<(Done, Option<NodeId>), Failure> {
        let PurgingParts { clock, mesh, .. } = &self.0.parts;
        let key = key.filter(|key| *key != 0).unwrap_or_else(|| rand::random::<u128>().max(1));
        let at_ms = clock.now_ms();
        let outcome = match mesh {
            Some(mesh) => ways::commit(mesh, &Wanted { key, at_ms, change, deadline }).await,
            None => self.write(change, key, at_ms).await.map(|committed| (committed, None)),
        };
        let counts = &self.0.counts;
        let count = match &outcome {
            Ok((_, None)) => &counts.committed,
            Ok((_, Some(_))) => &counts.committed_elsewhere,
            Err(Failure::Unknown(_)) => &counts.unknown,
            Err(_) => &counts.failed,
        };
        count.fetch_add(1, Relaxed);
        let (committed, by) =
            outcome.inspect_err(|error| tracing::error!(%error, "a change was not committed"))?;
        let here_after_ms = self.is_applied(&committed.id).then_some(0);
        Ok((Done { committed, acknowledged: Instant::now(), here_after_ms }, by))
    }

    /// Writes a change to the log of a node that stands alone.
    async fn write(&self, change: Change, key: u128, at_ms: UnixMs) -> Result<Committed, Failure> {
        let store = &self.0.parts.store;
        let region = Region::new(store.region());
        let _one_at_a_time = self.0.writing.lock().await;
        if let Some((version, at_ms)) = store.find(&region, key) {
            return Ok(Committed { id: EntryId { region, version }, at_ms, fence_ms: 0 });
        }
        let written = store.write(change, key, at_ms).await;
        let entry = written.map_err(|error| {
            Failure::NotDurable(format!("{} could not write it down: {error}", self.0.parts.name))
        })?;
        Ok(Committed { id: entry.id(), at_ms: entry.at_ms, fence_ms: 0 })
    }

    /// Waits until an entry is applied here; what does not come by itself is fetched from who committed it. One of a
    /// former life of the log never comes.
    async fn comes_here(&self, id: &EntryId, by: Option<NodeId>, deadline: Instant) -> bool {
        let mut stamps = self.0.parts.store.stamps();
        let is_decided = |stamp: &Stamp| is_passed(stamp, id);
        let mut patience = COMES_WITHIN;
        loop {
            let until = deadline.min(Instant::now() + patience);
            if let Ok(waited) = timeout_at(until, stamps.wait_for(is_decided)).await {
                return waited.is_ok() && self.is_applied(id);
            }
            if until == deadline {
                return false;
            }
            patience = FETCH_EVERY;
            let Some(InMesh { group, spread, .. }) = &self.0.parts.mesh else { continue };
            let leader = group.standing().borrow().leader.filter(|leader| *leader != self.0.parts.me);
            if let Some(node) = by.or(leader) {
                tokio::select! {
                    _ = timeout_at(deadline, spread.pull(node)) => {}
                    _ = stamps.wait_for(is_decided) => return self.is_applied(id),
                }
            }
        }
    }

    fn is_applied(&self, id: &EntryId) -> bool {
        self.0.parts.store.stamp().get(&id.region).is_some_and(|at| at.reaches(id.version))
    }

    fn only_if_here(&self, done: &Done) -> Result<EntryId, String> {
        let (id, name) = (&done.committed.id, &self.0.parts.name);
        match done.here_after_ms {
            Some(_) => Ok(id.clone()),
            None => Err(format!("{id} is committed, but {name} has not applied it yet")),
        }
    }

    async fn wait(&self, done: &Done, wait: Wait, deadline: Instant) -> PurgeReceipt {
        self.wait_until(done, wait, deadline, Some(done.fenced_at()), false).await
    }

    /// Waits for what is to be waited for, and tells who has applied it by then.
    async fn wait_until(
        &self,
        done: &Done,
        wait: Wait,
        deadline: Instant,
        fenced_at: Option<Instant>,
        asks_leader: bool,
    ) -> PurgeReceipt {
        let id = &done.committed.id;
        let Some(InMesh { witness, view, .. }) = &self.0.parts.mesh else {
            return self.receipt_alone(done);
        };
        let until = match (wait, fenced_at) {
            (Wait::Fenced, Some(fenced_at)) => deadline.min(fenced_at),
            _ => deadline,
        };
        let since = || done.since_ms();
        let mut receipt = match wait {
            Wait::Accepted | Wait::Committed if !asks_leader => witness.known(id, since()),
            _ => witness.receipt(id, until, since).await,
        };
        let all_have = |receipt: &Receipt| all_have(&view.borrow(), receipt);
        if wait == Wait::Fenced && !all_have(&receipt) && Instant::now() < until {
            // Those that are held for dead, or to have left, may be alive, with a lease.
            sleep_until(until).await;
            receipt = witness.known(id, since());
        }
        let is_fenced = all_have(&receipt) || fenced_at.is_some_and(|at| at <= Instant::now());
        let is_here = done.here_after_ms.is_some() || self.is_applied(id);
        let complete = is_here
            && match wait {
                Wait::Accepted | Wait::Committed => true,
                Wait::Applied => receipt.missing.is_empty(),
                Wait::Fenced => is_fenced,
            };
        self.tell(done, receipt, complete, is_fenced)
    }

    fn receipt_alone(&self, done: &Done) -> PurgeReceipt {
        let me = self.0.parts.me;
        let receipt = match done.here_after_ms {
            Some(after_ms) => Receipt { applied: vec![(me, after_ms)], missing: Vec::new() },
            None => Receipt { applied: Vec::new(), missing: vec![me] },
        };
        let is_here = done.here_after_ms.is_some();
        self.tell(done, receipt, is_here, is_here)
    }

    /// A receipt for people: with names, the fastest first.
    fn tell(&self, done: &Done, receipt: Receipt, complete: bool, fenced: bool) -> PurgeReceipt {
        let PurgingParts { me, name, mesh, .. } = &self.0.parts;
        let view = mesh.as_ref().map(|mesh| Arc::clone(&mesh.view.borrow()));
        let name = |node: &NodeId| match &view {
            _ if node == me => name.clone(),
            Some(view) => view.name_of(node),
            None => node.to_string(),
        };
        let mut applied: Vec<Applied> = receipt
            .applied
            .iter()
            .map(|(node, after_ms)| {
                // Of its own time this node knows best.
                let own_ms = done.here_after_ms.filter(|after_ms| node == me && *after_ms > 0);
                Applied { node: name(node), after_ms: own_ms.unwrap_or(*after_ms) }
            })
            .collect();
        applied.sort_by(|a, b| (a.after_ms, &a.node).cmp(&(b.after_ms, &b.node)));
        let mut missing: Vec<String> = receipt.missing.iter().map(name).collect();
        missing.sort();
        let Committed { id, at_ms, .. } = &done.committed;
        let committed_at = (*at_ms > 0).then(|| timestamp(*at_ms));
        PurgeReceipt { id: Some(id.to_string()), committed_at, complete, fenced, applied, missing }
    }

    fn keep(&self, number: u64, done: &Done) {
        let receipt = self.tell(done, Receipt::default(), false, false);
        self.0.kept.lock().update(number, |kept| {
            kept.id = Some(done.committed.id.clone());
            kept.acknowledged = Some(done.acknowledged);
            kept.fenced_at = Some(done.fenced_at());
            kept.receipt = receipt;
        });
    }

    /// What was told of a purge last, and who has been heard of since.
    fn refresh(&self, kept: &mut Kept) -> PurgeReceipt {
        if let (Some(id), Some(acknowledged), Some(mesh)) = (&kept.id, kept.acknowledged, &self.0.parts.mesh)
        {
            let known = mesh.witness.known(id, millis(acknowledged.elapsed()));
            let view = mesh.view.borrow();
            let before = std::mem::take(&mut kept.receipt.applied);
            let is_told = |name: &String| before.iter().any(|told| told.node == *name);
            let new = known.applied.iter().map(|(node, after_ms)| (view.name_of(node), *after_ms));
            let new: Vec<_> = new.filter(|(name, _)| !is_told(name)).collect();
            kept.receipt.applied = before;
            kept.receipt.applied.extend(new.into_iter().map(|(node, after_ms)| Applied { node, after_ms }));
            let has_it = |name: &String| kept.receipt.applied.iter().any(|told| told.node == *name);
            let missing = known.missing.iter().map(|node| view.name_of(node));
            kept.receipt.missing = missing.filter(|name| !has_it(name)).collect();
            kept.receipt.complete = kept.receipt.missing.is_empty();
            kept.receipt.fenced |=
                all_have(&view, &known) || kept.fenced_at.is_some_and(|at| at <= Instant::now());
        }
        kept.receipt.clone()
    }
}

impl Purger for Purging {
    fn purge(&self, purge: Purge) -> BoxFuture<'static, Result<EntryId, String>> {
        let this = self.clone();
        async move {
            let number = this.0.kept.lock().begin();
            match this.commit(Change::Purge(purge), None, Instant::now() + TIMEOUT).await {
                Ok(done) => {
                    this.keep(number, &done);
                    this.only_if_here(&done)
                }
                Err(failure) => {
                    this.0.kept.lock().forget(number);
                    Err(failure.to_string())
                }
            }
        }
        .boxed()
    }
}

impl Ways for InMesh {
    fn name(&self) -> String {
        let view = self.view.borrow();
        view.name_of(&view.me)
    }

    fn here(&self, proposal: Proposal) -> BoxFuture<'_, Result<Committed, NotCommitted>> {
        self.group.propose(proposal).boxed()
    }

    fn others(&self) -> Vec<NodeId> {
        nearest_of_each(&self.view.borrow())
    }

    fn there(&self, node: NodeId, proposal: Proposal) -> BoxFuture<'_, Result<Committed, NotCommitted>> {
        async move {
            let (peer, name, region) = {
                let view = self.view.borrow();
                let claim = view.members.get(&node).map(|member| &member.profile.ticket.claim);
                let region = claim.map_or("", |claim| claim.region.as_str());
                (Peer::of(&view, node), view.name_of(&node), Region::new(region))
            };
            let unreached = |why: String| NotCommitted::NoQuorum { region: region.clone(), why };
            let Some(peer) = peer else { return Err(unreached(format!("{name} is gone"))) };
            let within = Duration::from_millis(proposal.deadline_ms.into()) + MARGIN;
            match self.link.call(peer, Call::Propose(proposal), within).await {
                Ok(Reply::Proposed(outcome)) => outcome,
                Ok(Reply::Refused(why)) => Err(unreached(format!("{name} says: {why}"))),
                Ok(_) => Err(NotCommitted::Unknown(format!("{name} gave an answer to something else"))),
                Err(error) => Err(match error.kind {
                    AskErrorKind::Connect | AskErrorKind::NotAdmitted(_) | AskErrorKind::Full => {
                        unreached(format!("{name} was not reached: {error}"))
                    }
                    _ => NotCommitted::Unknown(format!("{name} of {region} was asked, and then: {error}")),
                }),
            }
        }
        .boxed()
    }
}

/// Whether the log has gone as far as this entry, or has begun a later life than it is of.
fn is_passed(stamp: &Stamp, id: &EntryId) -> bool {
    stamp.get(&id.region).is_some_and(|at| at >= id.version)
}

/// Whether nobody is left who might serve without it: every node that is known here or to who told the receipt has
/// it. Who is dead or has left is so by somebody's verdict, and may be alive with a lease.
fn all_have(view: &View, receipt: &Receipt) -> bool {
    let has_it: BTreeSet<&NodeId> = receipt.applied.iter().map(|(node, _)| node).collect();
    receipt.missing.is_empty() && view.members.keys().all(|id| has_it.contains(id))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
