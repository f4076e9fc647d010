//! Asking: with whom this node compares what it has applied, and when it has caught up.

use std::{collections::BTreeMap, ops::Bound};

use super::{Output, Peer, Replica, is_behind};
use crate::NodeId;

/// Comparisons under way at one time.
pub(super) const COMPARISONS_MAX: usize = 4;
/// Nodes that came back at once and are asked for it; the others come in their turn, or when they are ahead.
pub(super) const RETURNED_MAX: usize = 4;

/// A comparison under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Compared {
    /// Whether it says something of now: this node was not cut off since it began.
    counts: bool,
}

impl Replica {
    /// Begins the comparisons that something asks for.
    pub(super) fn compare(&mut self, now_ms: u64, out: &mut Vec<Output>) {
        self.compare_with_ahead(now_ms, out);
        while let Some(id) = self.returned.front().copied().filter(|_| self.has_room()) {
            self.returned.pop_front();
            if self.may_ask(&id, now_ms) {
                self.ask(id, now_ms, out);
            }
        }
        if !self.is_level && self.has_room() {
            let elsewhere = !self.has_usable(false);
            let is_asked =
                |id: &NodeId| self.peers.get(id).is_some_and(|peer| peer.is_neighbour == elsewhere);
            if !self.comparing.iter().any(|(id, compared)| compared.counts && is_asked(id)) {
                let next = self.next(elsewhere, |this, id| this.may_ask(id, now_ms));
                if let Some(id) = next {
                    self.ask(id, now_ms, out);
                    self.compare_at_ms = now_ms + self.settings.compare_ms;
                }
            }
        }
        if now_ms >= self.compare_at_ms && self.has_room() {
            let turn =
                if self.has_usable(self.asks_neighbour) { self.asks_neighbour } else { !self.asks_neighbour };
            if let Some(id) = self.next(turn, |this, id| !this.comparing.contains_key(id)) {
                self.asks_neighbour = !turn;
                self.ask(id, now_ms, out);
                self.compare_at_ms = now_ms + self.settings.compare_ms;
            }
        }
    }

    /// A comparison ended.
    pub(super) fn compared(&mut self, with: NodeId, level: bool) {
        let Some(compared) = self.comparing.remove(&with) else { return };
        let speaks = self.peers.get(&with).is_some_and(|peer| !peer.is_neighbour) || !self.has_usable(false);
        self.is_level |= level && compared.counts && speaks;
    }

    /// This node was cut off: what it knows counts for nothing until it has been level with somebody again.
    pub(super) fn doubt(&mut self) {
        self.is_level = false;
        self.comparing.values_mut().for_each(|compared| compared.counts = false);
    }

    fn compare_with_ahead(&mut self, now_ms: u64, out: &mut Vec<Output>) {
        let mut next = self.ahead.first().copied();
        while let Some(id) = next {
            next = self.ahead.range((Bound::Excluded(id), Bound::Unbounded)).next().copied();
            if !self.is_ahead(&id) {
                self.ahead.remove(&id);
            } else if !self.has_room() {
                return;
            } else if self.may_ask(&id, now_ms) {
                self.ask(id, now_ms, out);
            }
        }
    }

    fn is_ahead(&self, id: &NodeId) -> bool {
        let at = |(region, nodes): (&_, &BTreeMap<NodeId, _>)| {
            nodes.get(id).is_some_and(|at| is_behind(self.stamp.get(region), *at))
        };
        self.reached.iter().any(at)
    }

    fn has_room(&self) -> bool {
        self.comparing.len() < COMPARISONS_MAX
    }

    /// Whether it may be asked out of its turn: not again before there is news of it, or time has passed.
    fn may_ask(&self, id: &NodeId, now_ms: u64) -> bool {
        let Some(peer) = self.peers.get(id) else { return false };
        let is_due = peer
            .asked
            .is_none_or(|(at_ms, news)| news != peer.news || now_ms >= at_ms + self.settings.retry_ms);
        peer.is_usable && is_due && !self.comparing.contains_key(id)
    }

    /// The next neighbour, or the next node elsewhere, that may be asked, in the order of ids.
    fn next(&mut self, neighbour: bool, may: impl Fn(&Self, &NodeId) -> bool) -> Option<NodeId> {
        let last = self.last_asked[usize::from(neighbour)];
        let after = last.map_or(Bound::Unbounded, Bound::Excluded);
        let later = self.peers.range((after, Bound::Unbounded));
        let mut round = later.chain(&self.peers);
        let fits =
            |(id, peer): &(&NodeId, &Peer)| peer.is_usable && peer.is_neighbour == neighbour && may(self, id);
        let next = round.find(fits).map(|(id, _)| *id);
        if next.is_some() {
            self.last_asked[usize::from(neighbour)] = next;
        }
        next
    }

    fn ask(&mut self, with: NodeId, now_ms: u64, out: &mut Vec<Output>) {
        let Some(peer) = self.peers.get_mut(&with) else { return };
        peer.asked = Some((now_ms, peer.news));
        self.comparing.insert(with, Compared { counts: true });
        out.push(Output::Compare { with });
    }
}
