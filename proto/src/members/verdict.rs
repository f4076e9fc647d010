//! From signs of life and their absence to a verdict.

use super::{Members, Output, Status, far::Listed, path::Path, record::Record};
use crate::{NodeId, UnixMs};

/// Others that are asked about a node.
const VIAS: usize = 3;

/// The longest wait between two rounds of probes, in heartbeats.
const PROBE_HEARTBEATS_MAX: u64 = 8;

/// Between two greetings of a dead node, in heartbeats, at first and at most.
const GREET_HEARTBEATS: (u64, u64) = (4, 30);

impl Members {
    /// A node answered, directly (and then it took so long) or to another that was asked.
    pub(super) fn answered(
        &mut self,
        node: NodeId,
        took_us: Option<u32>,
        now: UnixMs,
        out: &mut Vec<Output>,
    ) {
        let Some(record) = self.record_of(node, out) else { return };
        (record.heard_ms, record.is_gone) = (now, false);
        if let Some(took_us) = took_us {
            record.path.worked(took_us);
        }
        self.settle(node, now, out);
    }

    /// A node was not reached from here.
    pub(super) fn failed(&mut self, node: NodeId, for_certain: bool, now: UnixMs, out: &mut Vec<Output>) {
        let Some(record) = self.record_of(node, out) else { return };
        record.path.failed(for_certain);
        self.settle(node, now, out);
    }

    /// Shuts a node out, or lets it in again.
    pub(super) fn expel(&mut self, node: NodeId, is_expelled: bool, now: UnixMs, out: &mut Vec<Output>) {
        let is_recorded = self.near.contains_key(&node) || self.met.contains_key(&node);
        if !is_recorded && !is_expelled {
            return;
        }
        let Some(record) = self.record_of(node, out) else { return };
        record.is_expelled = is_expelled;
        self.settle(node, now, out);
    }

    /// Judges all, asks about those in doubt, forgets.
    pub(super) fn tick(&mut self, now: UnixMs, out: &mut Vec<Output>) {
        let all: Vec<NodeId> = self.near.keys().chain(self.met.keys()).copied().collect();
        for node in all {
            self.ask_its_pop(node, now);
            self.settle(node, now, out);
            self.greet_or_forget(node, now, out);
        }
        let change = self.far.tick(&self.settings, now);
        self.apply(change, out);
        self.has_changed |= self.hot.tick(self.settings.heartbeat_ms, now);
        self.has_changed |= self.rings.tick(self.settings.previous_ring_ms, now);
        self.has_changed |= std::mem::take(&mut self.is_stale);
        self.notices.is_full &= self.count() >= self.settings.members_max;
    }

    /// Judges one node, and has it probed if there is doubt.
    pub(super) fn settle(&mut self, node: NodeId, now: UnixMs, out: &mut Vec<Output>) {
        let settings = &self.settings;
        let is_near = self.near.contains_key(&node);
        let (suspect_after_ms, dead_after_ms) = match is_near {
            true => (settings.suspect_after_ms, settings.dead_after_ms),
            false => (settings.far_suspect_after_ms(), settings.far_dead_after_ms()),
        };
        let map = if is_near { &mut self.near } else { &mut self.met };
        let Some(record) = map.get_mut(&node) else { return };
        let from = record.shown;
        if record.judge(suspect_after_ms, dead_after_ms, now) {
            out.push(Output::Turned { node, from: Some(from), to: record.shown });
            self.has_changed = true;
            self.is_ring_stale |= is_near;
        }
        // Of a node elsewhere that is merely silent its PoP tells.
        let is_in_doubt = record.needs_probes() && (is_near || record.path.is_bad);
        if !is_in_doubt {
            return;
        }
        let longest_ms = settings.heartbeat_ms.saturating_mul(PROBE_HEARTBEATS_MAX);
        let Some(round) = record.probes.due(now, settings.heartbeat_ms, longest_ms) else { return };
        out.push(Output::Probe { target: node, via: None });
        // While it is heard of, only the path from here is in question.
        if round == 0 || record.status == Status::Suspect {
            let vias = self.vias(node, round);
            out.extend(vias.into_iter().map(|via| Output::Probe { target: node, via: Some(via) }));
        }
    }

    /// Whom to ask about a node: three of the PoP that can be reached, others in each round, and not the same
    /// from every node.
    fn vias(&self, target: NodeId, round: u32) -> Vec<NodeId> {
        let is_of_use = |(node, record): &(&NodeId, &Record)| {
            record.shown == Status::Alive && record.is_first_hand && **node != target
        };
        let others: Vec<NodeId> = self.near.iter().filter(is_of_use).map(|(node, _)| *node).collect();
        if others.is_empty() {
            return others;
        }
        let first = mix(self.me(), target) as usize % others.len() + round as usize * VIAS;
        let count = VIAS.min(others.len());
        (first..first + count).map(|at| others[at % others.len()]).collect()
    }

    /// Of a node elsewhere that was not heard lately its PoP may know more.
    fn ask_its_pop(&mut self, node: NodeId, now: UnixMs) {
        let Some(record) = self.met.get_mut(&node) else { return };
        let silent_ms = now.saturating_sub(record.heard_ms);
        if silent_ms < self.settings.summary_ms && !record.path.is_bad {
            return;
        }
        match self.far.standing(&node, &record.profile().place()) {
            Some(Listed { status: Status::Dead, heard_ms, .. }) => {
                record.is_gone = heard_ms >= record.heard_ms
            }
            Some(listed) => {
                if listed.profile.incarnation > record.profile().incarnation {
                    (record.state, record.path) = (Record::state_of(listed.profile.clone()), Path::default());
                    // Hearsay: its own next word counts, whatever was told of it.
                    record.is_first_hand = false;
                }
                if listed.status == Status::Alive {
                    record.heard_ms = record.heard_ms.max(listed.heard_ms);
                    record.is_gone = false;
                }
            }
            None => {}
        }
    }

    fn greet_or_forget(&mut self, node: NodeId, now: UnixMs, out: &mut Vec<Output>) {
        let settings = &self.settings;
        let is_near = self.near.contains_key(&node);
        let map = if is_near { &mut self.near } else { &mut self.met };
        let Some(record) = map.get_mut(&node) else { return };
        if record.is_forgettable(settings, now) {
            map.remove(&node);
            return self.forget(vec![node], out);
        }
        // It may be cut off and come back without knowing that it was given up.
        let may_return =
            record.status == Status::Dead && !record.is_expelled && !record.profile().ticket.has_expired(now);
        if is_near && may_return {
            let (first, longest) = GREET_HEARTBEATS;
            let heartbeats = |count: u64| settings.heartbeat_ms.saturating_mul(count);
            if record.greetings.due(now, heartbeats(first), heartbeats(longest)).is_some() {
                out.push(Output::Greet { node, address: record.profile().addresses.mesh });
            }
        }
    }

    /// The record of a known node; begun for one of another PoP that is met only now.
    fn record_of(&mut self, node: NodeId, out: &mut Vec<Output>) -> Option<&mut Record> {
        if node == self.me() {
            return None;
        }
        if self.near.contains_key(&node) {
            return self.near.get_mut(&node);
        }
        if !self.met.contains_key(&node) {
            let profile = self.far.profile(&node, None)?.clone();
            if !self.has_room_met(out) {
                return None;
            }
            // Nothing was heard of it yet; what its PoP says of it counts until it is.
            self.met.insert(node, Record::told(profile, self.last_ms));
        }
        self.met.get_mut(&node)
    }
}

/// A number that follows from two ids and is spread evenly.
pub(super) fn mix(one: NodeId, other: NodeId) -> u64 {
    let word = |id: NodeId| u64::from_le_bytes(*id.as_bytes().first_chunk().expect("an id has 32 bytes"));
    // The finaliser of splitmix64.
    let mut mixed = word(one).rotate_left(32) ^ word(other);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
