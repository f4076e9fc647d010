//! Whom to tell of a log, and whom to ask: push at commit, then anti-entropy.
//!
//! The node that leads a region's group pushes its log: to each node of its own PoP directly, and to a few *relays*
//! in every other PoP, each of which tells the rest there, so that a node is told over more than one path. What a
//! push did not reach is pushed directly, at a pace, for ever. Every node compares what it has applied with others,
//! at a pace, and at once when it hears that somebody is ahead.
//!
//! Invariants:
//! - One push to a node of one log is under way at a time; what is applied meanwhile goes with the next.
//! - No more than [`ReplicaSettings::pushes_max`] pushes are under way, and no more than half of them are tries of what
//!   failed before: nodes that cannot be reached never hold up those that can.
//! - What is known to be reached grows, but for a node that was started anew, and for a log that was.
//! - Nothing is kept of a node that is not in the view.

mod compare;
mod push;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use self::{compare::Compared, push::Push};
use super::{Region, Stamp, Version};
use crate::{
    NodeId,
    members::{Member, Status, View},
};

/// Logs of which it is remembered how far nodes have applied them.
const LOGS_MAX: usize = 2_048;

/// How eagerly, in milliseconds where not said otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaSettings {
    /// Between two comparisons with some other node.
    pub compare_ms: u64,
    /// A push that was not answered is tried again, on another path, after this.
    pub retry_ms: u64,
    /// Nodes of another PoP that are told by the pusher, and tell the others there.
    pub relays_per_pop: usize,
    /// Pushes under way at one time.
    pub pushes_max: usize,
}

impl Default for ReplicaSettings {
    fn default() -> Self {
        Self { compare_ms: 1_000, retry_ms: 1_000, relays_per_pop: 2, pushes_max: 256 }
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// The mesh is seen like this now, with what nodes gossip of their versions.
    View(Arc<View>),
    /// This node has applied this much.
    Applied(Stamp),
    /// This node leads the group of this region now, or of none.
    Leads(Option<Region>),
    /// A node said how far it has applied a log.
    Told {
        /// The node.
        node: NodeId,
        /// The log.
        region: Region,
        /// How far; none when it knows nothing of it.
        at: Option<Version>,
    },
    /// An [`Output::Push`] ended; what nodes said came before, by [`Input::Told`].
    Pushed {
        /// To whom it was.
        to: NodeId,
        /// The log.
        region: Region,
        /// Whether it answered.
        answered: bool,
    },
    /// An [`Output::Compare`] ended.
    Compared {
        /// With whom.
        with: NodeId,
        /// Whether it answered, and nothing that it has is missing here any more.
        level: bool,
    },
    /// Time went by; at least ten times a second.
    Tick,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send what follows `after` in the log to this node, and have it tell those in `relay`, which are in its PoP.
    /// [`Input::Pushed`] must come when it ended, however it did.
    Push {
        /// To whom.
        to: NodeId,
        /// The log.
        region: Region,
        /// Up to where it has it, as far as is known; none when nothing is known: then an empty push asks.
        after: Option<Version>,
        /// Whom it is to tell.
        relay: Vec<NodeId>,
    },
    /// Ask this node for what is missing here, until nothing is. [`Input::Compared`] must come when that ended.
    Compare {
        /// Whom to ask.
        with: NodeId,
    },
}

/// Decides whom to tell and whom to ask, at one node.
#[derive(Clone, Debug)]
pub struct Replica {
    me: NodeId,
    settings: ReplicaSettings,
    stamp: Stamp,
    leads: Option<Region>,
    reached: BTreeMap<Region, BTreeMap<NodeId, Version>>,
    peers: BTreeMap<NodeId, Peer>,
    /// The other nodes of each PoP, the own PoP among them; [`Peer::pop`] is a place in it.
    pops: Vec<Vec<NodeId>>,
    /// Pushes under way.
    pushes: BTreeMap<(Region, NodeId), Push>,
    /// The PoP that is served first when not all can be.
    turn: usize,
    /// Comparisons under way.
    comparing: BTreeMap<NodeId, Compared>,
    /// Nodes that were heard to be ahead of this one, and may be still.
    ahead: BTreeSet<NodeId>,
    /// Nodes that came back, to be compared with.
    returned: VecDeque<NodeId>,
    /// When the next comparison is due that nothing but time asks for, and whether it is with a neighbour.
    compare_at_ms: u64,
    asks_neighbour: bool,
    /// Who was asked last in its turn, neighbours and others.
    last_asked: [Option<NodeId>; 2],
    is_level: bool,
}

/// What is kept of another node.
#[derive(Clone, Debug)]
struct Peer {
    pop: usize,
    is_neighbour: bool,
    incarnation: u64,
    /// Neither dead nor gone: it is pushed to.
    is_there: bool,
    /// Alive: it is asked.
    is_usable: bool,
    may_relay: bool,
    rtt_us: Option<u32>,
    /// When it answered a push last.
    answered_ms: Option<u64>,
    /// It did not answer the last push to it, or told nobody of whom it was to tell.
    failed: bool,
    /// It was not reached through others: it is pushed to directly until it is level.
    direct: bool,
    /// It is not pushed to before.
    wait_until_ms: u64,
    /// Pushes under way by which it is to be told by others.
    covering: u32,
    /// They are waited for until then.
    covered_until_ms: u64,
    /// Grows whenever it is heard to have applied more.
    news: u64,
    /// When it was last asked, and what `news` was.
    asked: Option<(u64, u64)>,
}

impl Replica {
    /// At the node `me`, before anything is known.
    pub fn new(me: NodeId, settings: ReplicaSettings) -> Self {
        Self {
            me,
            settings,
            stamp: Stamp::default(),
            leads: None,
            reached: BTreeMap::new(),
            peers: BTreeMap::new(),
            pops: Vec::new(),
            pushes: BTreeMap::new(),
            turn: 0,
            comparing: BTreeMap::new(),
            ahead: BTreeSet::new(),
            returned: VecDeque::new(),
            compare_at_ms: 0,
            asks_neighbour: true,
            last_asked: [None; 2],
            is_level: false,
        }
    }

    /// Takes in what happened, by a monotonic clock; answers what is to be done.
    pub fn handle(&mut self, input: Input, now_ms: u64) -> Vec<Output> {
        let mut out = Vec::new();
        match input {
            Input::View(view) => {
                self.see(&view);
                self.push(now_ms, &mut out);
                self.compare(now_ms, &mut out);
            }
            Input::Applied(stamp) => {
                self.stamp = stamp;
                self.push(now_ms, &mut out);
            }
            Input::Leads(region) => {
                self.leads = region;
                self.push(now_ms, &mut out);
            }
            Input::Told { node, region, at } => {
                // Who knows nothing of a log is sent all of it.
                let begin = || self.stamp.get(&region).map(|here| Version { index: 0, ..here });
                if let Some(at) = at.or_else(begin) {
                    self.hear(node, &region, at);
                }
                self.compare(now_ms, &mut out);
            }
            Input::Pushed { to, region, answered } => {
                self.pushed(to, region, answered, now_ms);
                self.push(now_ms, &mut out);
            }
            Input::Compared { with, level } => {
                self.compared(with, level);
                self.compare(now_ms, &mut out);
            }
            Input::Tick => {
                self.push(now_ms, &mut out);
                self.compare(now_ms, &mut out);
            }
        }
        out
    }

    /// How far nodes have applied a log, as they said to this node, or as is gossiped of them.
    pub fn reached(&self, region: &Region) -> Option<&BTreeMap<NodeId, Version>> {
        self.reached.get(region)
    }

    /// Whether this node has been level with some other node since it started, or since it was last cut off from
    /// all (promise P4); a node that is alone in its mesh is not.
    ///
    /// While there is a usable node in another PoP, it must be one of those: the nodes of a PoP are started together,
    /// and cut off together, and then are level with each other and behind everybody else.
    pub fn is_caught_up(&self) -> bool {
        self.is_level
    }

    fn see(&mut self, view: &View) {
        let home = view.members.get(&self.me).map(place);
        let was_elsewhere = self.has_usable(false);
        let mut places: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        self.pops.clear();
        let mut peers = BTreeMap::new();
        for (id, member) in view.members.iter().filter(|(id, _)| **id != self.me) {
            let place = place(member);
            let pop = *places.entry(place).or_insert(self.pops.len());
            if pop == self.pops.len() {
                self.pops.push(Vec::new());
            }
            self.pops[pop].push(*id);
            let is_usable = member.status == Status::Alive;
            let known = self.peers.remove(id);
            let is_back = known.as_ref().is_some_and(|known| !known.is_usable) && is_usable;
            let incarnation = member.profile.incarnation;
            if known.as_ref().is_some_and(|known| known.incarnation < incarnation) {
                // It was started anew, and its disk may be an old one, or none.
                for nodes in self.reached.values_mut() {
                    nodes.remove(id);
                }
            }
            let mut peer = known.unwrap_or_else(Peer::unknown);
            if is_back || peer.incarnation < incarnation {
                (peer.wait_until_ms, peer.covered_until_ms, peer.failed) = (0, 0, false);
            }
            if is_back && self.returned.len() < compare::RETURNED_MAX && !self.returned.contains(id) {
                self.returned.push_back(*id);
            }
            peer.pop = pop;
            peer.is_neighbour = home == Some(place);
            peer.incarnation = peer.incarnation.max(incarnation);
            peer.is_there = matches!(member.status, Status::Alive | Status::Suspect);
            peer.is_usable = is_usable;
            peer.may_relay = is_usable && !member.passed_over;
            peer.rtt_us = member.rtt_us;
            peers.insert(*id, peer);
        }
        self.peers = peers;
        let known = &self.peers;
        self.ahead.retain(|id| known.contains_key(id));
        self.returned.retain(|id| known.contains_key(id));
        self.reached.values_mut().for_each(|nodes| nodes.retain(|id, _| known.contains_key(id)));
        for (id, member) in &view.members {
            for (region, at) in member.versions.iter() {
                self.hear(*id, region, at);
            }
        }
        self.reached.retain(|_, nodes| !nodes.is_empty());
        let is_cut_off = !self.peers.values().any(|peer| peer.is_usable);
        if is_cut_off || (!was_elsewhere && self.has_usable(false)) {
            self.doubt();
        }
    }

    /// Takes in how far a node of the view has applied a log.
    fn hear(&mut self, node: NodeId, region: &Region, at: Version) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        if !self.reached.contains_key(region) && self.reached.len() >= LOGS_MAX {
            return;
        }
        let nodes = self.reached.entry(region.clone()).or_default();
        if nodes.get(&node).is_none_or(|known| *known < at) {
            nodes.insert(node, at);
            peer.news += 1;
            if is_behind(self.stamp.get(region), at) {
                self.ahead.insert(node);
            }
        }
    }

    fn reach(&self, region: &Region, node: &NodeId) -> Option<Version> {
        self.reached.get(region)?.get(node).copied()
    }

    /// Whether some neighbour, or some node elsewhere, may be asked.
    fn has_usable(&self, neighbour: bool) -> bool {
        self.peers.values().any(|peer| peer.is_usable && peer.is_neighbour == neighbour)
    }
}

impl Peer {
    fn unknown() -> Self {
        Self {
            pop: 0,
            is_neighbour: false,
            incarnation: 0,
            is_there: false,
            is_usable: false,
            may_relay: false,
            rtt_us: None,
            answered_ms: None,
            failed: false,
            direct: false,
            wait_until_ms: 0,
            covering: 0,
            covered_until_ms: 0,
            news: 0,
            asked: None,
        }
    }
}

/// The PoP of a node: the same name in two regions is two PoPs.
fn place(member: &Member) -> (&str, &str) {
    let claim = &member.profile.ticket.claim;
    (&claim.region, &claim.pop)
}

/// Whether who stands here misses something that stands there. Of a log that has nothing nobody misses anything.
fn is_behind(here: Option<Version>, there: Version) -> bool {
    here.map_or(there.index > 0, |here| here < there)
}
