//! Keeps this node's lease on what it knows of every region's head (promise P5), by [`Fence`].
//!
//! One node of the PoP, its delegate, asks the regions whose leases are half over; the others ask the delegate, which
//! hands on what time is left, and names the regions it has no lease on. Who is left with too little asks the regions
//! itself. A lease counts from *before* its question was sent.
//!
//! Time is [`Clock::up_ms`]: Linux' `CLOCK_MONOTONIC`, which stands still while the machine is suspended. A machine
//! that wakes up takes its leases to be younger than they are, by as long as it slept.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use starling_proto::{
    NodeId,
    fence::{Fence, named},
    members::{Status, View},
    purge::{Region, Stamp, Version},
    wire::{Lease, Reply},
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::mesh::nearest;
use crate::{clock::Clock, trust::Trust};

/// Leases are renewed so often in their time.
const RENEWALS: u32 = 4;
/// While there is no fence, the delegate seeks it this often, at least.
const SEEK_EVERY: Duration = Duration::from_millis(250);
/// Longest and shortest wait for an answer.
const CALL_TIMEOUT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Nodes of one region that are asked, one after the other.
const ASKED_MAX: usize = 3;

/// How heads and leases are asked for.
pub trait Heads: Send + Sync + 'static {
    /// The head of the own region, as a quorum confirms it.
    fn own(&self, timeout: Duration) -> BoxFuture<'static, Option<Version>>;
    /// A lease on the head of that node's region.
    fn of(&self, node: NodeId, timeout: Duration) -> BoxFuture<'static, Option<Lease>>;
    /// That node's leases.
    fn leases(&self, node: NodeId, timeout: Duration) -> BoxFuture<'static, Option<Vec<Lease>>>;
}

/// What a fence needs.
pub struct Parts {
    /// Who is asked.
    pub heads: Arc<dyn Heads>,
    /// The node's clock.
    pub clock: Clock,
    /// Where it is said until when the node may trust its cache.
    pub trust: Trust,
    /// Who is in the mesh.
    pub view: watch::Receiver<Arc<View>>,
    /// What is applied here.
    pub stamps: watch::Receiver<Stamp>,
    /// The own region.
    pub region: Region,
    /// No lease is trusted for longer.
    pub fence: Duration,
}

/// The fence of this node; a cheap handle.
#[derive(Clone)]
pub struct Fencing(Arc<Inner>);

struct Inner {
    parts: Parts,
    fence: Mutex<Fence>,
    /// By region, how far the order is turned in which its nodes are asked: one node on for each that told no head.
    failed: Mutex<BTreeMap<Region, usize>>,
    until_ms: AtomicU64,
    by_delegate: AtomicU64,
    by_regions: AtomicU64,
    unanswered: AtomicU64,
}

/// How leases were come by since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FenceCounts {
    /// Renewals by the delegate of the PoP.
    pub by_delegate: u64,
    /// Heads told by the regions.
    pub by_regions: u64,
    /// Regions that told no head.
    pub unanswered: u64,
}

impl Fencing {
    /// A fence that is down until it [runs](Self::run).
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Inner {
            parts,
            fence: Mutex::default(),
            failed: Mutex::default(),
            until_ms: AtomicU64::default(),
            by_delegate: AtomicU64::default(),
            by_regions: AtomicU64::default(),
            unanswered: AtomicU64::default(),
        }))
    }

    /// Keeps the leases until `stop`; then the node trusts no longer than they last.
    pub async fn run(self, stop: CancellationToken) {
        let Parts { view, stamps, fence, .. } = &self.0.parts;
        let (mut view, mut stamps) = (view.clone(), stamps.clone());
        let mut renewing = JoinSet::new();
        let mut known = self.regions(&self.0.fence.lock());
        let (mut next, mut began) = (Instant::now(), Instant::now());
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = stamps.changed() => {
                    stamps.borrow_and_update();
                    self.publish();
                }
                Ok(()) = view.changed() => {
                    view.borrow_and_update();
                    let now_known = self.regions(&self.0.fence.lock());
                    if now_known != known {
                        known = now_known;
                        self.publish();
                        next = Instant::now();
                    }
                }
                Some(_) = renewing.join_next() => {
                    // One that took long is not followed by the next at once.
                    next = (began + self.pause()).max(Instant::now() + SEEK_EVERY.min(*fence / RENEWALS));
                }
                () = sleep_until(next), if renewing.is_empty() => {
                    began = Instant::now();
                    let this = self.clone();
                    renewing.spawn(async move { this.renew().await });
                }
            }
        }
    }

    /// Answers [`Call::Leases`](starling_proto::wire::Call::Leases).
    pub fn answer(&self) -> Reply {
        let applied = self.0.parts.stamps.borrow().clone();
        let fence = self.0.fence.lock();
        let mut leases = fence.hand_on(&applied, self.0.parts.clock.up_ms());
        let mut without = self.regions(&fence);
        without.retain(|region| leases.iter().all(|lease| lease.region != *region));
        // A node that has just come may not know them: it is not fenced without them.
        leases.extend(without.into_iter().map(named));
        Reply::Leases(leases)
    }

    /// For how long the node may trust its cache without asking again, in milliseconds; 0 when it may not.
    pub fn remaining_ms(&self) -> u64 {
        self.0.until_ms.load(Relaxed).saturating_sub(self.0.parts.clock.up_ms())
    }

    /// What was counted.
    pub fn counts(&self) -> FenceCounts {
        FenceCounts {
            by_delegate: self.0.by_delegate.load(Relaxed),
            by_regions: self.0.by_regions.load(Relaxed),
            unanswered: self.0.unanswered.load(Relaxed),
        }
    }

    /// Has the node know that there is a region, though nothing is known of its head: the fence ends.
    pub fn know(&self, region: &Region) {
        if self.0.fence.lock().regions().all(|known| known != region) {
            self.granted(self.0.parts.clock.up_ms(), vec![named(region.clone())]);
        }
    }

    /// From the beginning of one renewal to that of the next.
    fn pause(&self) -> Duration {
        let every = self.0.parts.fence / RENEWALS;
        // Others leave it to the delegate to look for a region that does not answer.
        let is_delegate = self.delegate().is_none();
        let soonest = if is_delegate { SEEK_EVERY.min(every) } else { every / 2 };
        match Duration::from_millis(self.remaining_ms()) {
            Duration::ZERO if is_delegate => soonest,
            Duration::ZERO => every,
            remaining => (remaining / 2).clamp(soonest, every),
        }
    }

    async fn renew(&self) {
        let Parts { heads, clock, fence, .. } = &self.0.parts;
        // A region has time for two nodes that do not answer, and the whole is over well before a lease that is not
        // renewed by it ends.
        let timeout = (*fence / (2 * RENEWALS)).clamp(CALL_TIMEOUT.0, CALL_TIMEOUT.1);
        let mut ends_within = *fence / 2;
        let mut by_delegate = false;
        if let Some(delegate) = self.delegate() {
            let asked_ms = clock.up_ms();
            if let Some(leases) = heads.leases(delegate, timeout).await {
                self.granted(asked_ms, leases);
                by_delegate = true;
            }
            // The delegate renews at one half, or a renewal later.
            ends_within = *fence / RENEWALS;
        }
        let due = self.due(ends_within);
        if due.is_empty() && by_delegate {
            self.0.by_delegate.fetch_add(1, Relaxed);
        }
        join_all(due.into_iter().map(|region| async move {
            let asked = self.renew_one(region, timeout);
            if !tokio::time::timeout(2 * timeout, asked).await.unwrap_or(false) {
                self.0.unanswered.fetch_add(1, Relaxed);
            }
        }))
        .await;
    }

    /// The regions on which there is no lease, or one that ends within this time.
    fn due(&self, ends_within: Duration) -> Vec<Region> {
        let Parts { clock, stamps, .. } = &self.0.parts;
        let until_ms = clock.up_ms().saturating_add(millis(ends_within));
        let applied = stamps.borrow().clone();
        let fence = self.0.fence.lock();
        let ends_in_time =
            |region: &Region| fence.ends_ms(region, &applied).is_none_or(|ends| ends <= until_ms);
        self.regions(&fence).into_iter().filter(ends_in_time).collect()
    }

    /// Asks one region for its head; answers whether it told it.
    async fn renew_one(&self, region: Region, timeout: Duration) -> bool {
        let Parts { heads, clock, view, region: own, fence, .. } = &self.0.parts;
        if region == *own {
            let asked_ms = clock.up_ms();
            if let Some(head) = heads.own(timeout).await {
                self.0.by_regions.fetch_add(1, Relaxed);
                self.granted(asked_ms, vec![Lease { region, head, remaining_ms: millis(*fence) }]);
                return true;
            }
        }
        let mut nodes = nearest(&view.borrow(), |claim| claim.region == region.as_str());
        if nodes.is_empty() {
            return false;
        }
        // The nearest may all be cut off from the others of their region: who did not answer is asked last.
        let failed = self.0.failed.lock().get(&region).copied().unwrap_or_default();
        let count = nodes.len();
        nodes.rotate_left(failed % count);
        for node in nodes.into_iter().take(ASKED_MAX) {
            let asked_ms = clock.up_ms();
            // A node speaks for its own region only.
            if let Some(lease) = heads.of(node, timeout).await.filter(|lease| lease.region == region) {
                self.0.by_regions.fetch_add(1, Relaxed);
                self.granted(asked_ms, vec![lease]);
                return true;
            }
            let mut failed = self.0.failed.lock();
            let failed = failed.entry(region.clone()).or_default();
            *failed = (*failed + 1) % count;
        }
        false
    }

    fn granted(&self, asked_ms: u64, mut leases: Vec<Lease>) {
        let fence_ms = millis(self.0.parts.fence);
        for lease in &mut leases {
            // The region waits no longer than it says, and this node trusts no longer than it is told to.
            lease.remaining_ms = lease.remaining_ms.min(fence_ms);
        }
        self.0.fence.lock().granted(asked_ms, &leases);
        self.publish();
    }

    /// Says until when the node may trust its cache, from what is known now.
    fn publish(&self) {
        let Parts { trust, stamps, .. } = &self.0.parts;
        // Under the lock: what was known earlier is not said later.
        let fence = self.0.fence.lock();
        let regions = self.regions(&fence);
        let until_ms = fence.until_ms(&stamps.borrow(), regions.iter()).unwrap_or_default();
        self.0.until_ms.store(until_ms, Relaxed);
        trust.fence(until_ms);
    }

    /// Every region that is known, from whatever source: of each the head must be known.
    fn regions(&self, fence: &Fence) -> BTreeSet<Region> {
        let Parts { view, stamps, region, .. } = &self.0.parts;
        let mut regions: BTreeSet<Region> = fence.regions().cloned().collect();
        regions.insert(region.clone());
        regions.extend(stamps.borrow().iter().map(|(region, _)| region.clone()));
        for member in view.borrow().members.values() {
            let claimed = &member.profile.ticket.claim.region;
            if !regions.iter().any(|region| region.as_str() == claimed) {
                regions.insert(Region::new(claimed));
            }
        }
        regions
    }

    /// The node that asks for all of the PoP: the living one with the lowest id. None when it is this one.
    fn delegate(&self) -> Option<NodeId> {
        let view = self.0.parts.view.borrow();
        let me = &view.members.get(&view.me)?.profile.ticket.claim;
        let first = view.members.iter().find(|(id, member)| {
            let claim = &member.profile.ticket.claim;
            let is_near = claim.shares_pop(me);
            is_near && (**id == view.me || (member.status == Status::Alive && !member.passed_over))
        });
        first.map(|(id, _)| *id).filter(|id| *id != view.me)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
