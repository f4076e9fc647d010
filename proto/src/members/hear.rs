//! What nodes say of themselves, and what others say of them.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    HOT_KEYS_MAX, MET_MAX, Members, NodeState, Notice, Output, PopSummary, RosterEntry, Status, WEIGHTS,
    far::Change, path::Path, record::Record,
};
use crate::{NodeId, UnixMs};

/// Nodes of the own PoP that were only told of, at most: each is in the ring on another's word.
const TOLD_MAX: usize = 256;

/// Names that were found shared, at most: more would not be read.
const SHARED_MAX: usize = 256;

/// What was noticed already, so that it is said once.
#[derive(Clone, Debug, Default)]
pub(super) struct Notices {
    shared: BTreeSet<(NodeId, NodeId)>,
    twin: Option<u64>,
    pub(super) is_full: bool,
}

impl Members {
    /// A node's own word. `is_live` when it came over a connection to that node.
    pub(super) fn hear(&mut self, mut state: NodeState, is_live: bool, now: UnixMs, out: &mut Vec<Output>) {
        let node = state.profile.node();
        if node == self.me() {
            return self.hear_myself(&state, out);
        }
        if state.profile.ticket.has_expired(now) {
            return;
        }
        state.profile.weight = state.profile.weight.clamp(*WEIGHTS.start(), *WEIGHTS.end());
        state.hot.truncate(HOT_KEYS_MAX);
        self.move_to_place(&state);
        let is_near = state.profile.stands_in(&self.place);
        let hot = std::mem::take(&mut state.hot);
        let is_leaving = state.leaving;
        let map = if is_near { &mut self.near } else { &mut self.met };
        let is_news = match map.get_mut(&node) {
            Some(record) if record.is_expelled => return,
            Some(record) => match Word::of(&state, record) {
                Word::Old => false,
                // It may have been written before the last heartbeat was, but it was said now.
                Word::Known => {
                    if is_live {
                        (record.heard_ms, record.is_gone) = (now, false);
                    }
                    false
                }
                Word::New => {
                    let was = &record.state;
                    self.has_changed |=
                        was.profile != state.profile || was.health.draining != state.health.draining;
                    self.is_ring_stale |= is_near && was.profile.weight != state.profile.weight;
                    if was.profile.incarnation != state.profile.incarnation {
                        // Another process: what its predecessor did on the link is no fault of it.
                        record.path = Path::default();
                    }
                    if record.status != Status::Alive {
                        record.probes.begin_again();
                    }
                    record.state = state;
                    (record.is_first_hand, record.heard_ms, record.is_gone) = (true, now, false);
                    true
                }
            },
            None => {
                let record = Record::new(state, true, now);
                if !self.take_in(node, record, out) {
                    return;
                }
                true
            }
        };
        self.is_stale |= is_news;
        if is_near && is_news && !is_leaving {
            self.hot.name(&hot, now);
        }
        self.settle(node, now, out);
    }

    /// What one of a PoP's speakers says of it. Of the own PoP it is hearsay as any other.
    pub(super) fn hear_summary(
        &mut self,
        from: NodeId,
        summary: &Arc<PopSummary>,
        now: UnixMs,
        out: &mut Vec<Output>,
    ) {
        let speaks_for_own = summary.region == self.place.region && summary.pop == self.place.pop;
        if speaks_for_own {
            return self.hear_roster(&summary.roster, now, out);
        }
        let stands_elsewhere = self.near.contains_key(&from)
            || self.met.get(&from).is_some_and(|record| {
                let claim = &record.profile().ticket.claim;
                claim.region != summary.region || claim.pop != summary.pop
            });
        if stands_elsewhere || from == self.me() {
            return;
        }
        let change = self.far.summary(from, summary, self.far_max(), now);
        if change.has_changed && summary.region == self.place.region {
            for entry in &summary.roster {
                self.notice_shared_name(entry.profile.node(), entry.profile.name(), out);
            }
        }
        self.apply(change, out);
    }

    /// What a node says of others.
    pub(super) fn hear_roster(&mut self, entries: &[RosterEntry], now: UnixMs, out: &mut Vec<Output>) {
        let mut told = self.near.values().filter(|record| !record.is_first_hand).count();
        for entry in entries {
            let node = entry.profile.node();
            let is_known = node == self.me() || self.near.contains_key(&node) || self.met.contains_key(&node);
            if is_known || !entry.status.is_in_ring() || entry.profile.ticket.has_expired(now) {
                continue;
            }
            if !entry.profile.stands_in(&self.place) {
                let change = self.far.told(entry, self.far_max(), now);
                self.apply(change, out);
                continue;
            }
            let mut profile = entry.profile.clone();
            profile.weight = profile.weight.clamp(*WEIGHTS.start(), *WEIGHTS.end());
            let address = profile.addresses.mesh;
            let mut record = Record::told(profile, now);
            if entry.status == Status::Suspect {
                record.heard_ms = now.saturating_sub(self.settings.suspect_after_ms + 1);
            }
            if told < TOLD_MAX && self.take_in(node, record, out) {
                told += 1;
                out.push(Output::Greet { node, address });
                self.settle(node, now, out);
            }
        }
    }

    /// Does what a change of the other PoPs asks for.
    pub(super) fn apply(&mut self, change: Change, out: &mut Vec<Output>) {
        self.has_changed |= change.has_changed;
        if change.is_full {
            self.notice_full(out);
        }
        self.forget(change.forgotten, out);
    }

    /// Says of nodes that are in no list any more that they are forgotten.
    pub(super) fn forget(&mut self, nodes: Vec<NodeId>, out: &mut Vec<Output>) {
        for node in nodes {
            self.has_changed = true;
            if !self.near.contains_key(&node) && !self.met.contains_key(&node) && node != self.me() {
                out.push(Output::Forgotten(node));
            }
        }
    }

    fn hear_myself(&mut self, state: &NodeState, out: &mut Vec<Output>) {
        let incarnation = state.profile.incarnation;
        let theirs = (incarnation, state.seq) > (self.own.profile.incarnation, self.own.seq);
        if theirs && self.notices.twin != Some(incarnation) {
            self.notices.twin = Some(incarnation);
            out.push(Output::Notice(Notice::Twin { node: self.me(), incarnation }));
        }
    }

    /// A node with a new ticket may stand elsewhere than it did.
    fn move_to_place(&mut self, state: &NodeState) {
        let node = state.profile.node();
        let (from, to) = match state.profile.stands_in(&self.place) {
            true => (&mut self.met, &mut self.near),
            false => (&mut self.near, &mut self.met),
        };
        if from.get(&node).is_some_and(|record| !record.is_expelled && Word::of(state, record) == Word::New) {
            let mut record = from.remove(&node).expect("it was just there");
            (record.came_ms, record.was_here_before) = (self.last_ms, false);
            to.insert(node, record);
            (self.is_ring_stale, self.has_changed) = (true, true);
        }
    }

    /// Begins a record, if there is room.
    fn take_in(&mut self, node: NodeId, mut record: Record, out: &mut Vec<Output>) -> bool {
        let is_near = record.profile().stands_in(&self.place);
        let has_room = match is_near {
            true => self.has_room_near(record.is_first_hand, out),
            false => self.has_room_met(out),
        };
        if !has_room {
            self.notice_full(out);
            return false;
        }
        let is_of_region = record.profile().ticket.claim.region == self.place.region;
        if is_of_region {
            let name = record.profile().name().to_owned();
            self.notice_shared_name(node, &name, out);
        }
        out.push(Output::Turned { node, from: None, to: record.status });
        self.has_changed = true;
        if is_near {
            let now = self.last_ms;
            let until_ms = *self.joining_until_ms.get_or_insert(now + self.settings.suspect_after_ms);
            record.was_here_before =
                now <= until_ms && record.profile().incarnation <= self.own.profile.incarnation;
            self.near.insert(node, record);
            self.is_ring_stale = true;
        } else {
            self.met.insert(node, record);
        }
        true
    }

    /// Room for a node of the own PoP: others give way, the living of the own PoP never.
    fn has_room_near(&mut self, is_first_hand: bool, out: &mut Vec<Output>) -> bool {
        if self.count() < self.settings.members_max {
            return true;
        }
        let far_max = self.far_max().saturating_sub(1);
        let forgotten = self.far.shrink(far_max, &self.place.region);
        self.forget(forgotten, out);
        if self.count() >= self.settings.members_max {
            let silent = self.met.iter().min_by_key(|(_, record)| record.heard_ms).map(|(node, _)| *node);
            let out_or_told = |record: &Record| record.is_out() || (is_first_hand && !record.is_first_hand);
            let gives_way = self.near.iter().find(|(_, record)| out_or_told(record)).map(|(node, _)| *node);
            if let Some(node) = silent.or(gives_way) {
                self.met.remove(&node);
                self.near.remove(&node);
                self.is_ring_stale = true;
                self.forget(vec![node], out);
            }
        }
        self.count() < self.settings.members_max
    }

    /// Room for a node of another PoP: those that are out give way.
    pub(super) fn has_room_met(&mut self, out: &mut Vec<Output>) -> bool {
        let has_room =
            |members: &Self| members.met.len() < MET_MAX && members.count() < members.settings.members_max;
        if !has_room(self) && !self.notices.is_full {
            let gone: Vec<NodeId> =
                self.met.iter().filter(|(_, record)| record.is_out()).map(|(node, _)| *node).collect();
            self.met.retain(|_, record| !record.is_out());
            self.forget(gone, out);
        }
        has_room(self)
    }

    fn notice_full(&mut self, out: &mut Vec<Output>) {
        if !std::mem::replace(&mut self.notices.is_full, true) {
            out.push(Output::Notice(Notice::Full { members_max: self.settings.members_max }));
        }
    }

    /// Names must differ inside a region; each node looks for its own PoP's names among the others.
    fn notice_shared_name(&mut self, node: NodeId, name: &str, out: &mut Vec<Output>) {
        let own = [(self.me(), self.own.profile.name())];
        let near = self.near.iter().filter(|(_, record)| !record.is_out());
        let named = near.map(|(node, record)| (*node, record.profile().name()));
        let mut others = own.into_iter().chain(named);
        let Some((first, _)) = others.find(|(other, others)| *other != node && *others == name) else {
            return;
        };
        let pair = (first.min(node), first.max(node));
        if self.notices.shared.len() < SHARED_MAX && self.notices.shared.insert(pair) {
            let name = name.to_owned();
            out.push(Output::Notice(Notice::SharedName { name, first, second: node }));
        }
    }
}

/// A word beside what is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    /// Of a life of the node that is over.
    Old,
    /// Of its present life, but not new.
    Known,
    /// The latest.
    New,
}

impl Word {
    fn of(state: &NodeState, record: &Record) -> Self {
        let known = &record.state;
        if !record.is_first_hand {
            return Self::New;
        }
        match state.profile.incarnation.cmp(&known.profile.incarnation) {
            core::cmp::Ordering::Less => Self::Old,
            core::cmp::Ordering::Equal if state.seq <= known.seq => Self::Known,
            _ => Self::New,
        }
    }
}
