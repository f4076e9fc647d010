//! Who is asked for a receipt: the leader of the entry's region, whose book is full; else what is known here.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use starling_proto::{
    NodeId,
    members::View,
    purge::{EntryId, Region},
    wire::{Call, Receipt, Reply},
};
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, sleep_until},
};

use super::Receipts;
use crate::{
    app::{
        mesh::nearest,
        spread::{Spread, others},
    },
    link::{Link, Peer},
    region::Standing,
};

/// One question waits no longer than this for an entry to be applied by all; then it is asked again.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// Time on the way, beyond that.
const CALL_TIMEOUT: Duration = Duration::from_millis(500);
/// An answer that says that somebody is missing is asked for again after this, at the earliest.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Questions of this node under way: each keeps one of the places for calls to the leader.
const QUESTIONS_MAX: usize = 16;
/// Nodes of another region that are asked before what is known here has to do.
const ASKED_MAX: usize = 2;

/// Tells who has applied an entry of any region; a cheap handle.
#[derive(Clone)]
pub struct Witness(Arc<Inner>);

/// What a witness needs.
pub struct WitnessParts {
    /// The book of this node.
    pub receipts: Receipts,
    /// What is known of other regions' entries.
    pub spread: Spread,
    /// How others are asked.
    pub link: Link,
    /// Who is in the mesh.
    pub view: watch::Receiver<Arc<View>>,
    /// Who leads the region.
    pub standing: watch::Receiver<Standing>,
    /// The region.
    pub region: Region,
}

struct Inner {
    parts: WitnessParts,
    places: Semaphore,
    from_leader: AtomicU64,
    from_here: AtomicU64,
    answered: AtomicU64,
}

/// How receipts were come by since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WitnessCounts {
    /// Told by the leader of the entry's region.
    pub from_leader: u64,
    /// Put together from what is known here: no leader could be asked.
    pub from_here: u64,
    /// Told to others.
    pub answered: u64,
}

impl Witness {
    /// A witness at this node.
    pub fn new(parts: WitnessParts) -> Self {
        Self(Arc::new(Inner {
            parts,
            places: Semaphore::new(QUESTIONS_MAX),
            from_leader: AtomicU64::default(),
            from_here: AtomicU64::default(),
            answered: AtomicU64::default(),
        }))
    }

    /// What was counted.
    pub fn counts(&self) -> WitnessCounts {
        WitnessCounts {
            from_leader: self.0.from_leader.load(Relaxed),
            from_here: self.0.from_here.load(Relaxed),
            answered: self.0.answered.load(Relaxed),
        }
    }

    /// Who has applied an entry, once nobody who is not dead is missing, or at the deadline. Times that nobody wrote
    /// down are taken to be `at_most_ms()`.
    pub async fn receipt(&self, id: &EntryId, deadline: Instant, at_most_ms: impl Fn() -> u64) -> Receipt {
        loop {
            let started = Instant::now();
            let wait = deadline.saturating_duration_since(started).min(WAIT_MAX);
            let mut receipt = match self.by_leader(id, wait).await {
                Some(receipt) => receipt,
                None => self.known(id, at_most_ms()),
            };
            self.add_unnamed(id, &mut receipt, at_most_ms());
            self.add_me(id, &mut receipt, at_most_ms());
            if receipt.missing.is_empty() || Instant::now() >= deadline {
                return receipt;
            }
            sleep_until((started + AGAIN_AFTER).min(deadline)).await;
        }
    }

    /// The same, as far as it is known here, at once.
    pub fn known(&self, id: &EntryId, at_most_ms: u64) -> Receipt {
        let WitnessParts { receipts, spread, view, region, .. } = &self.0.parts;
        if let Some(receipt) = (id.region == *region).then(|| receipts.receipt(id.version)).flatten() {
            return receipt;
        }
        let mut receipt = Receipt::default();
        let view = Arc::clone(&view.borrow());
        for (node, _) in others(&view) {
            if spread.reached(node, &id.region).is_some_and(|at| at.reaches(id.version)) {
                receipt.applied.push((*node, at_most_ms));
            } else {
                receipt.missing.push(*node);
            }
        }
        receipt.missing.push(view.me);
        self.add_me(id, &mut receipt, at_most_ms);
        receipt
    }

    /// Answers [`Call::Receipt`]: the leader by its book. Others pass a question of another region on to the leader;
    /// who is asked by its own region is taken for the leader, and says when it is not.
    pub async fn answer(&self, from: NodeId, id: EntryId, wait_ms: u32) -> Reply {
        self.0.answered.fetch_add(1, Relaxed);
        let WitnessParts { receipts, view, standing, region, .. } = &self.0.parts;
        if id.region != *region {
            return Reply::Receipt(None);
        }
        let wait = Duration::from_millis(wait_ms.into()).min(WAIT_MAX);
        let (me, leader) = (view.borrow().me, standing.borrow().leader);
        if leader == Some(me) {
            return Reply::Receipt(receipts.when_complete(id.version, Instant::now() + wait).await);
        }
        let is_of_region = view
            .borrow()
            .members
            .get(&from)
            .is_some_and(|member| member.profile.ticket.claim.region == region.as_str());
        match leader.filter(|_| !is_of_region) {
            Some(leader) => Reply::Receipt(self.ask(leader, &id, wait).await),
            None => Reply::Receipt(None),
        }
    }

    async fn by_leader(&self, id: &EntryId, wait: Duration) -> Option<Receipt> {
        let WitnessParts { receipts, view, standing, region, .. } = &self.0.parts;
        let (me, leader) = (view.borrow().me, standing.borrow().leader);
        let told = if id.region != *region {
            let nodes = nearest(&view.borrow(), |claim| claim.region == id.region.as_str());
            let mut told = None;
            for node in nodes.into_iter().take(ASKED_MAX) {
                told = self.ask(node, id, wait).await;
                if told.is_some() {
                    break;
                }
            }
            told
        } else if leader == Some(me) {
            receipts.when_complete(id.version, Instant::now() + wait).await
        } else {
            self.ask(leader?, id, wait).await
        };
        let count = if told.is_some() { &self.0.from_leader } else { &self.0.from_here };
        count.fetch_add(1, Relaxed);
        told
    }

    async fn ask(&self, node: NodeId, id: &EntryId, wait: Duration) -> Option<Receipt> {
        let peer = Peer::of(&self.0.parts.view.borrow(), node)?;
        let call =
            Call::Receipt { id: id.clone(), wait_ms: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX) };
        let timeout = wait + CALL_TIMEOUT;
        let place = tokio::time::timeout(timeout, self.0.places.acquire()).await.ok()?;
        let reply = self.0.parts.link.call(peer, call, timeout).await;
        drop(place);
        match reply {
            Ok(Reply::Receipt(receipt)) => receipt,
            Ok(_) => None,
            Err(error) => {
                tracing::debug!(%error, %node, "a receipt was not told");
                None
            }
        }
    }

    /// The leader leaves out whom it holds for dead, and whom it has not heard of. Who is alive by what is known here
    /// is waited for, unless it has said that it has it.
    fn add_unnamed(&self, id: &EntryId, receipt: &mut Receipt, at_most_ms: u64) {
        let WitnessParts { spread, view, .. } = &self.0.parts;
        let has_said =
            |node: &NodeId| spread.reached(node, &id.region).is_some_and(|at| at.reaches(id.version));
        let view = Arc::clone(&view.borrow());
        for node in unnamed(&view, receipt) {
            if node != view.me && has_said(&node) {
                receipt.applied.push((node, at_most_ms));
            } else {
                receipt.missing.push(node);
            }
        }
    }

    /// This node knows best whether it has it, at its own time.
    fn add_me(&self, id: &EntryId, receipt: &mut Receipt, at_most_ms: u64) {
        let me = self.0.parts.view.borrow().me;
        let has_it = self.0.parts.spread.applied(&id.region).is_some_and(|at| at.reaches(id.version));
        let is_missing = receipt.missing.contains(&me);
        if has_it && is_missing {
            receipt.missing.retain(|node| *node != me);
            receipt.applied.push((me, at_most_ms));
        }
    }
}

/// The nodes that are neither dead nor gone by this view, and of which the receipt says nothing.
fn unnamed(view: &View, receipt: &Receipt) -> Vec<NodeId> {
    let named: BTreeSet<NodeId> =
        receipt.applied.iter().map(|(node, _)| *node).chain(receipt.missing.iter().copied()).collect();
    let me = view.members.contains_key(&view.me).then_some(view.me);
    let alive = others(view).map(|(node, _)| *node).chain(me);
    alive.filter(|node| !named.contains(node)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::receipts::tests::{node, view};
    use starling_proto::members::Status;

    #[test]
    fn who_is_alive_here_is_waited_for_though_the_leader_holds_it_for_dead() {
        let view = view(&[
            (1, Status::Alive),
            (2, Status::Alive),
            (3, Status::Suspect),
            (4, Status::Dead),
            (5, Status::Left),
            (6, Status::Alive),
            (7, Status::Alive),
        ]);
        let by_leader = Receipt { applied: vec![(node(2), 3)], missing: vec![node(6)] };
        let mut named = unnamed(&view, &by_leader);
        named.sort();
        assert_eq!(named, [node(1), node(3), node(7)]);
    }
}
