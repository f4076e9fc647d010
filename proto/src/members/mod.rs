//! Who is in the mesh, who is alive, and how loaded they are: a state machine without clock, socket or chance.
//!
//! [`Members`] is told what was heard, what the link met and that time went by, and says what to do. It is the
//! one place where silence becomes suspicion and suspicion a verdict.
//!
//! ```text
//!              silent > suspect_after            silent > dead_after, on every path
//!   ┌───────┐ ─────────────────────────► ┌─────────┐ ─────────────► ┌──────┐  forget_after
//!   │ Alive │   or the path is bad       │ Suspect │                │ Dead │ ──────────────► forgotten
//!   └───────┘ ◄───────────────────────── └─────────┘                └──────┘
//!     │   ▲     a sign of life, and a direct answer where the path was bad  │
//!     │   └─────────────────────────────────────────────────────────────────┘ a sign of life
//!     └──── it says good-bye ──► Left ──────────────────────────────────────► forgotten
//! ```
//!
//! A sign of life is a new word of the node itself by gossip over any number of hops, a greeting, an answer on the
//! link, or an answer to a probe through another node. A failing link is none, and no sign of death either: it
//! makes the path bad, so that requests go elsewhere at once, and others are asked. While any path brings signs
//! of life the node stays in the ring.
//!
//! Nodes of the own PoP have a record each. Of other PoPs their speakers tell; a record is kept only of those
//! nodes that this one met.
//!
//! Invariants:
//! - A node is dead only when it was silent on every path for `dead_after_ms` while this node ran, when its ticket
//!   has expired, or when it was expelled. What third ones say neither kills a node of the own PoP nor keeps it.
//! - No more than `members_max` nodes are known; nobody's word for others displaces a living node of the own PoP.
//! - Equal inputs at equal times make equal machines: whom to ask for a probe follows from the node ids.

mod event;
mod far;
mod greet;
mod hear;
mod hot;
mod path;
mod profile;
mod record;
mod rings;
mod settings;
mod speak;
mod summary;
mod verdict;
mod view;

pub use event::{Input, Notice, Output};
pub use hot::HOT_SET_MAX;
pub use profile::{Addresses, HOT_KEYS_MAX, Health, Load, NodeState, Own, Profile, WEIGHTS};
pub use settings::Settings;
pub use summary::{PopSummary, ROSTER_MAX, RosterEntry};
pub use view::{Member, Status, View};

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    NodeId, UnixMs,
    members::{far::Far, hot::Hot, profile::Place, record::Record, rings::Rings},
    ticket::Ticket,
};

/// Nodes of other PoPs with a record of their own, at most: those that this node met.
const MET_MAX: usize = 1_024;

/// The mesh as one node knows it.
#[derive(Clone, Debug)]
pub struct Members {
    settings: Settings,
    /// What this node says of itself.
    own: NodeState,
    place: Place,
    started_ms: UnixMs,
    /// The time of the last input.
    last_ms: UnixMs,
    /// Until then the ring is only getting known; set by the first neighbour.
    joining_until_ms: Option<UnixMs>,
    /// The nodes of the own PoP, without this one.
    near: BTreeMap<NodeId, Record>,
    /// Nodes of other PoPs that were met.
    met: BTreeMap<NodeId, Record>,
    far: Far,
    rings: Rings,
    hot: Hot,
    said: speak::Said,
    notices: hear::Notices,
    /// The view is another, and this is to be said at once.
    has_changed: bool,
    /// Loads or versions are other, which can wait for the next tick.
    is_stale: bool,
    /// The ring may be another.
    is_ring_stale: bool,
}

impl Members {
    /// A mesh of one: the node with this profile.
    pub fn new(profile: Profile, settings: Settings, now: UnixMs) -> Self {
        let place = profile.place();
        let own = Record::state_of(profile);
        let mut members = Self {
            settings,
            own,
            place,
            started_ms: now,
            last_ms: now,
            joining_until_ms: None,
            near: BTreeMap::new(),
            met: BTreeMap::new(),
            far: Far::default(),
            rings: Rings::default(),
            hot: Hot::default(),
            said: speak::Said::default(),
            notices: hear::Notices::default(),
            has_changed: false,
            is_stale: false,
            is_ring_stale: true,
        };
        members.update_ring(now);
        members.has_changed = false;
        members
    }

    /// Takes in what happened at `now` and says what to do.
    ///
    /// `now` never goes back (if it does, it stands still here). When more than three heartbeats pass without an
    /// input, this node did not run: what it did not hear meanwhile is held against nobody.
    pub fn handle(&mut self, input: Input, now: UnixMs) -> Vec<Output> {
        let now = self.clock(now);
        let mut outputs = Vec::new();
        match input {
            Input::Heard(state) => self.hear(*state, false, now, &mut outputs),
            Input::Greeted(state) => self.hear(*state, true, now, &mut outputs),
            Input::Summary { from, summary } => self.hear_summary(from, &summary, now, &mut outputs),
            Input::Roster(entries) => self.hear_roster(&entries, now, &mut outputs),
            Input::LinkOk { node, took_us } => self.answered(node, Some(took_us), now, &mut outputs),
            Input::LinkFailed { node, refused } => self.failed(node, refused, now, &mut outputs),
            Input::Probed { target, via: None, took_us: None } => {
                self.failed(target, true, now, &mut outputs)
            }
            Input::Probed { target, via: None, took_us } => self.answered(target, took_us, now, &mut outputs),
            Input::Probed { target, via: Some(_), took_us: Some(_) } => {
                self.answered(target, None, now, &mut outputs);
            }
            Input::Probed { via: Some(_), took_us: None, .. } => {}
            Input::Admitted(node) => self.expel(node, false, now, &mut outputs),
            Input::Expelled(node) => self.expel(node, true, now, &mut outputs),
            Input::Tick => self.tick(now, &mut outputs),
        }
        self.update_ring(now);
        if std::mem::take(&mut self.has_changed) {
            self.is_stale = false;
            outputs.push(Output::Changed);
        }
        outputs
    }

    /// This node.
    pub fn me(&self) -> NodeId {
        self.own.profile.node()
    }

    /// What this node says of its profile.
    pub fn profile(&self) -> &Profile {
        &self.own.profile
    }

    /// Others reach this node here from now on. They learn of it with the next heartbeat.
    pub fn set_addresses(&mut self, addresses: Addresses) {
        self.own.profile.addresses = addresses;
        self.has_changed = true;
    }

    /// This node's share of the ring from now on; the ring changes with the next input.
    pub fn set_weight(&mut self, weight: u16) {
        self.own.profile.weight = weight.clamp(*WEIGHTS.start(), *WEIGHTS.end());
        self.is_ring_stale = true;
        self.has_changed = true;
    }

    /// Shows this ticket from now on, in place of one that is about to expire; it names the same node and place.
    pub fn renew_ticket(&mut self, ticket: Ticket) {
        let new = Profile { ticket, ..self.own.profile.clone() };
        if new.node() == self.me() && new.stands_in(&self.place) {
            self.own.profile = new;
            self.has_changed = true;
        }
    }

    /// Whether exactly this ticket was shown before, so that its signature need not be checked again.
    pub fn knows_ticket(&self, ticket: &Ticket) -> bool {
        let claim = &ticket.claim;
        let record = self.near.get(&claim.node).or_else(|| self.met.get(&claim.node));
        if let Some(record) = record {
            return record.profile().ticket == *ticket;
        }
        let place = Place { region: claim.region.clone(), pop: claim.pop.clone() };
        self.far.profile(&claim.node, Some(&place)).is_some_and(|profile| profile.ticket == *ticket)
    }

    /// The mesh at `now`. Every node is cloned, so take it when [`Output::Changed`] says so and share it.
    pub fn view(&self, now: UnixMs) -> View {
        let mut members: BTreeMap<NodeId, Member> = BTreeMap::new();
        self.far.each(&self.settings, now, |node, listed| {
            let mut record = Record::told(listed.profile.clone(), listed.heard_ms);
            record.shown = listed.status;
            members.insert(node, record.member());
        });
        let records = self.met.iter().chain(&self.near);
        members.extend(records.map(|(node, record)| (*node, record.member())));
        members.insert(self.me(), self.own_member(now));
        View {
            me: self.me(),
            members,
            ring: self.rings.ring(),
            previous: self.rings.previous(),
            hot: self.hot.set(),
        }
    }

    /// The nodes of the ring with their weights, by id.
    pub fn ring_nodes(&self) -> &[(NodeId, u16)] {
        self.rings.nodes()
    }

    /// Those of the previous ring, while there is one.
    pub fn previous_ring_nodes(&self) -> Option<&[(NodeId, u16)]> {
        self.rings.previous_nodes()
    }

    /// How a node of the own PoP, or one that was met, stands; cheaper than a view.
    pub fn status(&self, node: &NodeId) -> Option<Status> {
        let record = self.near.get(node).or_else(|| self.met.get(node));
        record.map(|record| record.shown).or_else(|| (*node == self.me()).then(|| self.own_status()))
    }

    fn own_status(&self) -> Status {
        if self.own.leaving { Status::Left } else { Status::Alive }
    }

    fn own_member(&self, now: UnixMs) -> Member {
        let mut record = Record::new(self.own.clone(), true, now);
        record.shown = self.own_status();
        record.member()
    }

    /// Nodes known, this one included; some may count twice.
    fn count(&self) -> usize {
        1 + self.near.len() + self.met.len() + self.far.len()
    }

    /// How many nodes of other PoPs may be known beside the rest.
    fn far_max(&self) -> usize {
        self.settings.members_max.saturating_sub(1 + self.near.len() + self.met.len())
    }

    fn clock(&mut self, now: UnixMs) -> UnixMs {
        let now = now.max(self.last_ms);
        let passed_ms = now - std::mem::replace(&mut self.last_ms, now);
        if passed_ms > self.settings.heartbeat_ms.saturating_mul(3) {
            let slept_ms = passed_ms - self.settings.heartbeat_ms;
            for record in self.near.values_mut().chain(self.met.values_mut()) {
                record.heard_ms = record.heard_ms.saturating_add(slept_ms).min(now);
            }
            self.far.slept(slept_ms, now);
        }
        now
    }

    fn update_ring(&mut self, now: UnixMs) {
        if !std::mem::take(&mut self.is_ring_stale) {
            return;
        }
        let is_joining = self.joining_until_ms.is_none_or(|until_ms| now <= until_ms);
        let is_old = |since_ms: UnixMs| now.saturating_sub(since_ms) > self.settings.previous_ring_ms;
        let mut places: Vec<rings::Place> = self
            .near
            .iter()
            .filter(|(_, record)| record.status.is_in_ring())
            .map(|(node, record)| rings::Place {
                node: *node,
                weight: record.profile().weight,
                is_settled: record.was_here_before || is_old(record.came_ms),
                was_unknown: record.was_here_before && is_joining,
            })
            .collect();
        if !self.own.leaving {
            places.push(rings::Place {
                node: self.me(),
                weight: self.own.profile.weight,
                is_settled: is_old(self.started_ms),
                was_unknown: false,
            });
        }
        places.sort_unstable_by_key(|place| place.node);
        self.has_changed |= self.rings.set(&places, now);
    }

    /// The living of the own PoP, this one included.
    fn living(&self) -> BTreeSet<NodeId> {
        let living = self.near.iter().filter(|(_, record)| record.status == Status::Alive);
        let me = (!self.own.leaving).then(|| self.me());
        living.map(|(node, _)| *node).chain(me).collect()
    }
}

#[cfg(test)]
mod tests;
