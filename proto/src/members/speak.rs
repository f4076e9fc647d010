//! What this node says: its heartbeat, its PoP's summary, and whom it knows.

use super::{Load, Members, NodeState, Own, PopSummary, ROSTER_MAX, RosterEntry, Status};
use crate::{NodeId, UnixMs};

/// The nodes of a PoP that speak for it: those with the lowest ids among the living.
const SPEAKERS: usize = 2;

/// Every so many summaries bring the roster even if it is the same.
const ROSTER_EVERY: u64 = 10;

/// What was said last.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    summaries: u64,
    roster_hash: Option<u64>,
}

impl Members {
    /// The next heartbeat.
    pub fn heartbeat(&mut self, own: Own, now: UnixMs) -> NodeState {
        let Own { load, health, versions, hot } = own;
        self.has_changed |= self.own.health.draining != health.draining;
        self.is_stale = true;
        self.own = NodeState { load, health, versions, hot, ..self.own.clone() };
        self.own.hot.truncate(super::HOT_KEYS_MAX);
        self.hot.name(&self.own.hot, now);
        self.next_state()
    }

    /// The last heartbeat: it says good-bye. This node leaves its own ring with the next input.
    pub fn leave(&mut self) -> NodeState {
        self.own.leaving = true;
        (self.is_ring_stale, self.has_changed) = (true, true);
        self.next_state()
    }

    /// What the last heartbeat said, for a greeting.
    pub fn state(&self) -> &NodeState {
        &self.own
    }

    /// Whether this node speaks for its PoP.
    pub fn is_speaker(&self) -> bool {
        self.living().iter().take(SPEAKERS).any(|node| *node == self.me())
    }

    /// The summary of the PoP. The roster is in it if it is another than the last time, every tenth time, and
    /// when `to_newcomers` know nothing yet.
    pub fn summary(&mut self, to_newcomers: bool) -> PopSummary {
        let roster = self.own_roster();
        let roster_hash = RosterEntry::hash_of(&roster);
        let is_new = self.said.roster_hash.replace(roster_hash) != Some(roster_hash);
        let is_due = self.said.summaries.is_multiple_of(ROSTER_EVERY);
        self.said.summaries += 1;
        let near = self.near.values().filter(|record| record.status == Status::Alive);
        PopSummary {
            region: self.place.region.clone(),
            pop: self.place.pop.clone(),
            // Starts are milliseconds apart and summaries more than that: it grows over restarts, too.
            seq: self.own.profile.incarnation.saturating_add(self.said.summaries),
            load: Load::sum(near.map(|record| &record.state.load).chain([&self.own.load])),
            roster: if is_new || is_due || to_newcomers { roster } else { Vec::new() },
            roster_hash,
        }
    }

    /// At most `count` of the nodes that this one knows and that are not dead: its own PoP, its region, the rest.
    /// For a greeting. What was only told by third ones is not told on.
    pub fn roster(&self, count: usize, now: UnixMs) -> Vec<RosterEntry> {
        let mut roster = self.own_roster();
        roster.retain(|entry| entry.profile.node() != self.me());
        let mut far = self.far_entries(now);
        far.sort_by_key(|entry| entry.profile.ticket.claim.region != self.place.region);
        roster.extend(far);
        roster.truncate(count);
        roster
    }

    /// The nodes of the own PoP that spoke for themselves and are not dead, by id, as the others see them too:
    /// that the path from here to one is bad is nobody else's business.
    fn own_roster(&self) -> Vec<RosterEntry> {
        let near = self.near.iter().filter(|(_, record)| record.is_first_hand && !record.is_out());
        let near = near.map(|(node, record)| (*node, record.profile(), record.status));
        let own = (!self.own.leaving).then(|| (self.me(), &self.own.profile, Status::Alive));
        let mut all: Vec<(NodeId, _, Status)> = near.chain(own).collect();
        all.sort_unstable_by_key(|(node, ..)| *node);
        all.truncate(ROSTER_MAX);
        all.into_iter().map(|(_, profile, status)| RosterEntry { profile: profile.clone(), status }).collect()
    }

    fn far_entries(&self, now: UnixMs) -> Vec<RosterEntry> {
        let mut entries = std::collections::BTreeMap::new();
        self.far.each_spoken(&self.settings, now, |node, listed| {
            if listed.status.is_in_ring() {
                entries.insert(node, RosterEntry { profile: listed.profile.clone(), status: listed.status });
            }
        });
        for (node, record) in self.met.iter().filter(|(_, record)| record.is_first_hand && !record.is_out()) {
            let entry = RosterEntry { profile: record.profile().clone(), status: record.status };
            entries.insert(*node, entry);
        }
        entries.into_values().collect()
    }

    fn next_state(&mut self) -> NodeState {
        self.own.seq += 1;
        self.own.clone()
    }
}
