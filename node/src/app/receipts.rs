//! Who has applied which entry of the own region's log, and since when.
//!
//! Every node keeps the [`Book`]; that of the region's leader is full, because it pushes the log and is answered.
//! Times are of the monotonic clock of the node that keeps the book, in milliseconds: the time at which it was
//! *known* that a node had applied an entry, so never too early.

mod witness;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;
use starling_proto::{
    NodeId,
    members::{Status, View},
    purge::Version,
    wire::Receipt,
};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

#[cfg(test)]
pub use tests::view as view_of;
pub use witness::{Witness, WitnessCounts, WitnessParts};

/// Entries whose times are kept: the last ones.
const ENTRIES_MAX: u64 = 4_096;
/// Times kept of one node.
const MOVES_MAX: usize = 1_024;

/// The book of one node; a cheap handle.
#[derive(Clone)]
pub struct Receipts(Arc<Inner>);

struct Inner {
    book: Mutex<Book>,
    /// Grows when somebody has applied more.
    pages: watch::Sender<u64>,
    view: watch::Receiver<Arc<View>>,
}

/// Who has applied the log, and when.
#[derive(Debug, Default)]
struct Book {
    epoch: u64,
    committed: Moves,
    nodes: BTreeMap<NodeId, Moves>,
}

/// The times at which a place in the log was first known to be reached; both grow.
#[derive(Debug, Default)]
struct Moves(VecDeque<(u64, u64)>);

impl Receipts {
    /// An empty book about the nodes of `view`.
    pub fn new(view: watch::Receiver<Arc<View>>) -> Self {
        Self(Arc::new(Inner { book: Mutex::default(), pages: watch::Sender::new(0), view }))
    }

    /// The log is committed up to here.
    pub fn committed(&self, at: Version, now_ms: u64) {
        self.0.book.lock().commit(at, now_ms);
    }

    /// This node has applied the log up to here; what is applied is committed.
    pub fn applied_here(&self, at: Version, now_ms: u64) {
        let me = self.0.view.borrow().me;
        let mut book = self.0.book.lock();
        book.commit(at, now_ms);
        book.reach(me, at, now_ms);
        drop(book);
        self.turn();
    }

    /// These nodes have applied the log up to there.
    pub fn reached(&self, nodes: impl IntoIterator<Item = (NodeId, Version)>, now_ms: u64) {
        let mut book = self.0.book.lock();
        // Every node's word is to be taken in: no short cut.
        let news = nodes.into_iter().fold(false, |news, (node, at)| book.reach(node, at, now_ms) | news);
        let is_crowded = book.nodes.len() > self.0.view.borrow().members.len();
        if is_crowded {
            let view = self.0.view.borrow();
            book.nodes.retain(|node, _| view.members.contains_key(node));
        }
        drop(book);
        if news {
            self.turn();
        }
    }

    /// Who has applied an entry of the own region's log, as is known here; none when the log lives another life.
    pub fn receipt(&self, of: Version) -> Option<Receipt> {
        let view = Arc::clone(&self.0.view.borrow());
        self.0.book.lock().receipt(of, &view)
    }

    /// As [`receipt`](Self::receipt), once nobody who is not dead is missing, or when the time is up.
    pub async fn when_complete(&self, of: Version, deadline: Instant) -> Option<Receipt> {
        let (mut pages, mut view) = (self.0.pages.subscribe(), self.0.view.clone());
        loop {
            pages.borrow_and_update();
            view.borrow_and_update();
            let receipt = self.receipt(of)?;
            if receipt.missing.is_empty() {
                return Some(receipt);
            }
            let news = async {
                tokio::select! {
                    turned = pages.changed() => turned.is_ok(),
                    changed = view.changed() => changed.is_ok(),
                }
            };
            if timeout_at(deadline, news).await != Ok(true) {
                return Some(receipt);
            }
        }
    }

    fn turn(&self) {
        self.0.pages.send_modify(|page| *page += 1);
    }
}

impl Book {
    fn commit(&mut self, at: Version, now_ms: u64) {
        if self.opens(at.epoch) && at.index > self.committed.last() {
            self.committed.add(at.index, now_ms);
        }
    }

    /// Whether this is news.
    fn reach(&mut self, node: NodeId, at: Version, now_ms: u64) -> bool {
        if !self.opens(at.epoch) {
            return false;
        }
        let moves = self.nodes.entry(node).or_default();
        match at.index.cmp(&moves.last()) {
            std::cmp::Ordering::Equal => false,
            std::cmp::Ordering::Less => {
                // Its disk is older than what it once said: what it lost it has not applied.
                moves.take_back(at.index);
                false
            }
            std::cmp::Ordering::Greater => {
                moves.add(at.index, now_ms);
                true
            }
        }
    }

    /// Whether a life of the log is the book's; a later one begins a new book.
    fn opens(&mut self, epoch: u64) -> bool {
        if epoch > self.epoch {
            *self = Self { epoch, ..Self::default() };
        }
        epoch == self.epoch
    }

    fn receipt(&self, of: Version, view: &View) -> Option<Receipt> {
        if of.epoch != self.epoch {
            return None;
        }
        let committed_ms = self.committed.when(of.index);
        let mut receipt = Receipt::default();
        for (node, member) in &view.members {
            let when_ms = self.nodes.get(node).and_then(|moves| moves.when(of.index));
            match (when_ms, member.status) {
                (Some(when_ms), _) => {
                    let after_ms =
                        committed_ms.map_or(0, |committed_ms| when_ms.saturating_sub(committed_ms));
                    receipt.applied.push((*node, after_ms));
                }
                (None, Status::Alive | Status::Suspect) => receipt.missing.push(*node),
                (None, Status::Dead | Status::Left) => {}
            }
        }
        Some(receipt)
    }
}

impl Moves {
    fn last(&self) -> u64 {
        self.0.back().map_or(0, |(index, _)| *index)
    }

    fn add(&mut self, index: u64, now_ms: u64) {
        self.0.push_back((index, now_ms));
        let oldest = index.saturating_sub(ENTRIES_MAX);
        while self.0.len() > MOVES_MAX || self.0.front().is_some_and(|(index, _)| *index < oldest) {
            self.0.pop_front();
        }
    }

    fn take_back(&mut self, to: u64) {
        // It was known to be at this place by the time of the first move past it.
        let mut when_ms = None;
        while self.last() > to {
            when_ms = self.0.pop_back().map(|(_, at_ms)| at_ms);
        }
        if let Some(when_ms) = when_ms.filter(|_| self.last() < to) {
            self.0.push_back((to, when_ms));
        }
    }

    /// When this place was first known to be reached, as far as times are kept; none when it is not reached.
    fn when(&self, index: u64) -> Option<u64> {
        let first = self.0.partition_point(|(reached, _)| *reached < index);
        self.0.get(first).map(|(_, at_ms)| *at_ms)
    }
}

#[cfg(test)]
mod tests;
