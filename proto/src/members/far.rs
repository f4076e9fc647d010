//! The other PoPs, as their speakers tell of them.
//!
//! What a speaker said is kept as it came and shared, not taken apart: ten thousand nodes elsewhere cost what
//! their rosters cost, and silence is judged for the PoP. A PoP's nodes are those that any of its speakers lists;
//! a speaker that fell silent while another goes on is not listened to any more.

use std::{collections::BTreeMap, sync::Arc};

use super::{PopSummary, Profile, ROSTER_MAX, RosterEntry, Settings, Status, profile::Place};
use crate::{NodeId, UnixMs};

/// Speakers of one PoP that are listened to; it should have two, and others while they change.
const SPEAKERS_MAX: usize = 4;

/// All PoPs but the own.
#[derive(Clone, Debug, Default)]
pub(super) struct Far {
    pops: BTreeMap<Place, Pop>,
    /// Nodes of all PoPs, the gone ones included.
    nodes: usize,
}

#[derive(Clone, Debug)]
struct Pop {
    speakers: BTreeMap<NodeId, Word>,
    /// What others told of it, until one of its speakers brings a roster.
    told: Vec<RosterEntry>,
    /// The last word of it.
    heard_ms: UnixMs,
    /// Nodes that are listed no more, and since when.
    gone: BTreeMap<NodeId, (Profile, UnixMs)>,
    /// By its silence.
    status: Status,
    /// How many nodes it has, the gone ones included.
    nodes: usize,
    /// When the next ticket of one of its nodes expires.
    expires_ms: UnixMs,
}

/// A speaker's last word.
#[derive(Clone, Debug)]
struct Word {
    seq: u64,
    heard_ms: UnixMs,
    /// The last that had a roster.
    summary: Option<Arc<PopSummary>>,
}

/// A node of another PoP, as it is listed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed<'a> {
    pub(super) profile: &'a Profile,
    pub(super) status: Status,
    pub(super) heard_ms: UnixMs,
}

/// What an input changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Change {
    pub(super) has_changed: bool,
    pub(super) forgotten: Vec<NodeId>,
    /// There was no room for all of it.
    pub(super) is_full: bool,
}

impl Far {
    /// Takes a speaker's word, if it is newer than its last, as long as no more than `nodes_max` nodes are known.
    pub(super) fn summary(
        &mut self,
        from: NodeId,
        summary: &Arc<PopSummary>,
        nodes_max: usize,
        now: UnixMs,
    ) -> Change {
        let mut change = Change::default();
        let place = Place { region: summary.region.clone(), pop: summary.pop.clone() };
        if !self.pops.contains_key(&place) && self.nodes >= nodes_max {
            change.forgotten = self.forget_gone();
            change.is_full = self.nodes >= nodes_max;
            if change.is_full {
                return change;
            }
        }
        let mut pop = self.pops.get(&place).cloned().unwrap_or_else(|| Pop::new(now));
        let last = pop.speakers.get(&from);
        if last.is_some_and(|word| summary.seq <= word.seq) {
            return change;
        }
        let had = last.and_then(|word| word.summary.clone());
        let roster = pop.roster_of(summary).or_else(|| had.clone());
        let is_same = roster.as_ref().map(|summary| summary.roster_hash)
            == had.as_ref().map(|summary| summary.roster_hash);
        if !is_same {
            let (before, nodes_before) = (pop.profiles(&place), pop.nodes);
            pop.hear(from, Word { seq: summary.seq, heard_ms: now, summary: roster.clone() });
            pop.relist(&place, before, now);
            change.is_full = pop.nodes > nodes_before && self.nodes - nodes_before + pop.nodes > nodes_max;
            if change.is_full {
                // The PoP lives, but stays as it was known.
                let Some(known) = self.pops.get(&place) else { return change };
                pop = known.clone();
            }
            change.has_changed = true;
        }
        if is_same || change.is_full {
            pop.hear(from, Word { seq: summary.seq, heard_ms: now, summary: had });
        }
        change.has_changed |= std::mem::replace(&mut pop.status, Status::Alive) != Status::Alive;
        // One that nobody is listed in is no PoP; there is no end to the names of such.
        if pop.nodes == 0 {
            return Change { has_changed: false, ..change };
        }
        self.nodes = self.nodes - self.pops.get(&place).map_or(0, |pop| pop.nodes) + pop.nodes;
        self.pops.insert(place, pop);
        change
    }

    /// Takes a third one's word for a node, where no speaker has told of its PoP; whether it was news.
    pub(super) fn told(&mut self, entry: &RosterEntry, nodes_max: usize, now: UnixMs) -> Change {
        let place = entry.profile.place();
        let is_new = match self.pops.get(&place) {
            Some(pop) => {
                pop.speakers.is_empty()
                    && pop.told.len() < ROSTER_MAX
                    && !pop.told.iter().any(|told| told.profile.node() == entry.profile.node())
            }
            None => true,
        };
        if !is_new || !entry.status.is_in_ring() {
            return Change::default();
        }
        if self.nodes >= nodes_max {
            return Change { is_full: true, ..Change::default() };
        }
        let pop = self.pops.entry(place).or_insert_with(|| Pop::new(now));
        pop.told.push(entry.clone());
        pop.expires_ms = pop.expires_ms.min(entry.profile.ticket.claim.expires_ms);
        pop.nodes += 1;
        self.nodes += 1;
        Change { has_changed: true, ..Change::default() }
    }

    /// Judges silence, stops listening to speakers that fell silent, and forgets.
    pub(super) fn tick(&mut self, settings: &Settings, now: UnixMs) -> Change {
        let mut change = Change::default();
        let forget_after_ms = settings.far_dead_after_ms().saturating_add(settings.forget_after_ms);
        self.pops.retain(|place, pop| {
            if now.saturating_sub(pop.heard_ms) > forget_after_ms {
                change.forgotten.extend(pop.profiles(place).into_keys().chain(pop.gone.keys().copied()));
                return false;
            }
            change.has_changed |= pop.tick(place, settings, now);
            pop.gone.retain(|node, (_, since_ms)| {
                let is_kept = now.saturating_sub(*since_ms) <= settings.forget_after_ms;
                if !is_kept {
                    pop.nodes -= 1;
                    change.forgotten.push(*node);
                }
                is_kept
            });
            true
        });
        change.has_changed |= !change.forgotten.is_empty();
        self.nodes = self.pops.values().map(|pop| pop.nodes).sum();
        change
    }

    /// Makes room: forgets the gone, then whole PoPs, the greatest first, those of `region` last.
    pub(super) fn shrink(&mut self, nodes_max: usize, region: &str) -> Vec<NodeId> {
        if self.nodes <= nodes_max {
            return Vec::new();
        }
        let mut forgotten = self.forget_gone();
        while self.nodes > nodes_max {
            let greatest = self.pops.iter().max_by_key(|(place, pop)| (place.region != region, pop.nodes));
            let place = greatest.expect("there are nodes, so there are PoPs").0.clone();
            let pop = self.pops.remove(&place).expect("it was just found");
            self.nodes -= pop.nodes;
            forgotten.extend(pop.profiles(&place).into_keys());
        }
        forgotten
    }

    /// This node did not run for so long: its silence is not theirs.
    pub(super) fn slept(&mut self, slept_ms: u64, now: UnixMs) {
        let later = |at: &mut UnixMs| *at = at.saturating_add(slept_ms).min(now);
        for pop in self.pops.values_mut() {
            later(&mut pop.heard_ms);
            pop.speakers.values_mut().for_each(|word| later(&mut word.heard_ms));
        }
    }

    /// Calls `each` for every node, those that are gone included.
    pub(super) fn each(&self, settings: &Settings, now: UnixMs, mut each: impl FnMut(NodeId, Listed<'_>)) {
        for (place, pop) in &self.pops {
            for (node, (profile, since_ms)) in &pop.gone {
                each(*node, Listed { profile, status: Status::Dead, heard_ms: *since_ms });
            }
            pop.each_listed(place, settings, now, &mut each);
        }
    }

    /// As [`Self::each`], but only nodes that are listed by a speaker of their PoP.
    pub(super) fn each_spoken(
        &self,
        settings: &Settings,
        now: UnixMs,
        mut each: impl FnMut(NodeId, Listed<'_>),
    ) {
        for (place, pop) in self.pops.iter().filter(|(_, pop)| pop.told.is_empty()) {
            pop.each_listed(place, settings, now, &mut each);
        }
    }

    /// The profile that is listed for a node, looked for in its PoP if that is known.
    pub(super) fn profile(&self, node: &NodeId, place: Option<&Place>) -> Option<&Profile> {
        match place {
            Some(place) => self.pops.get(place)?.profile(place, node),
            None => self.pops.iter().find_map(|(place, pop)| pop.profile(place, node)),
        }
    }

    /// What its PoP last said of a node; [`Status::Dead`] since it lists it no more.
    pub(super) fn standing(&self, node: &NodeId, place: &Place) -> Option<Listed<'_>> {
        let pop = self.pops.get(place)?;
        match pop.gone.get(node) {
            Some((profile, since_ms)) => Some(Listed { profile, status: Status::Dead, heard_ms: *since_ms }),
            None => pop.listed_one(place, node),
        }
    }

    /// How many nodes are known.
    pub(super) fn len(&self) -> usize {
        self.nodes
    }

    fn forget_gone(&mut self) -> Vec<NodeId> {
        let mut forgotten = Vec::new();
        for pop in self.pops.values_mut() {
            pop.nodes -= pop.gone.len();
            forgotten.extend(std::mem::take(&mut pop.gone).into_keys());
        }
        self.nodes -= forgotten.len();
        forgotten
    }
}

impl<'a> Listed<'a> {
    fn of(entry: &'a RosterEntry, heard_ms: UnixMs) -> Self {
        Self { profile: &entry.profile, status: entry.status, heard_ms }
    }

    /// The better of two words for one node.
    fn or(self, other: Self) -> Self {
        let other_is_newer = other.profile.incarnation > self.profile.incarnation;
        Self {
            profile: if other_is_newer { other.profile } else { self.profile },
            status: self.status.min(other.status),
            heard_ms: self.heard_ms.max(other.heard_ms),
        }
    }
}

impl Pop {
    fn new(now: UnixMs) -> Self {
        Self {
            speakers: BTreeMap::new(),
            told: Vec::new(),
            heard_ms: now,
            gone: BTreeMap::new(),
            status: Status::Alive,
            nodes: 0,
            expires_ms: UnixMs::MAX,
        }
    }

    /// The summary with the roster that this one means: itself, or one by any speaker with the same hash.
    fn roster_of(&self, summary: &Arc<PopSummary>) -> Option<Arc<PopSummary>> {
        if !summary.roster.is_empty() {
            return Some(summary.clone());
        }
        let known = self.speakers.values().filter_map(|word| word.summary.as_ref());
        known.into_iter().find(|known| known.roster_hash == summary.roster_hash).cloned()
    }

    fn hear(&mut self, from: NodeId, word: Word) {
        self.heard_ms = word.heard_ms;
        self.speakers.insert(from, word);
        while self.speakers.len() > SPEAKERS_MAX {
            let oldest = self.speakers.iter().min_by_key(|(_, word)| word.heard_ms).map(|(node, _)| *node);
            self.speakers.remove(&oldest.expect("there are more than none"));
        }
    }

    /// Counts its nodes anew, after their lists have changed: those listed `before` and not now are gone.
    fn relist(&mut self, place: &Place, before: BTreeMap<NodeId, Profile>, now: UnixMs) {
        if self.speakers.values().any(|word| word.summary.is_some()) {
            self.told = Vec::new();
        }
        let after = self.profiles(place);
        for (node, profile) in before {
            if !after.contains_key(&node) && self.gone.len() < ROSTER_MAX {
                self.gone.insert(node, (profile, now));
            }
        }
        self.gone.retain(|node, _| !after.contains_key(node));
        self.nodes = after.len() + self.gone.len();
        let expiries = after.values().map(|profile| profile.ticket.claim.expires_ms);
        self.expires_ms = expiries.filter(|at| *at > now).min().unwrap_or(UnixMs::MAX);
    }

    fn tick(&mut self, place: &Place, settings: &Settings, now: UnixMs) -> bool {
        let status = status_of(now.saturating_sub(self.heard_ms), settings);
        let mut has_changed = std::mem::replace(&mut self.status, status) != status;
        let last_ms = self.heard_ms;
        let is_heard = |word: &Word| last_ms.saturating_sub(word.heard_ms) <= settings.far_suspect_after_ms();
        let has_expired = self.expires_ms <= now;
        if has_expired || !self.speakers.values().all(is_heard) {
            let before = self.profiles(place);
            self.speakers.retain(|_, word| is_heard(word));
            self.relist(place, before, now);
            has_changed = true;
        }
        has_changed
    }

    /// Its nodes, by the best that any of its speakers says of them.
    fn listed(&self, place: &Place) -> BTreeMap<NodeId, Listed<'_>> {
        let mut all: BTreeMap<NodeId, Listed<'_>> = BTreeMap::new();
        for (entry, heard_ms) in self.entries(place) {
            let new = Listed::of(entry, heard_ms);
            all.entry(entry.profile.node()).and_modify(|listed| *listed = listed.or(new)).or_insert(new);
        }
        all
    }

    fn listed_one(&self, place: &Place, node: &NodeId) -> Option<Listed<'_>> {
        let entries = self.entries(place).filter(|(entry, _)| entry.profile.node() == *node);
        entries.map(|(entry, heard_ms)| Listed::of(entry, heard_ms)).reduce(Listed::or)
    }

    fn each_listed(
        &self,
        place: &Place,
        settings: &Settings,
        now: UnixMs,
        each: &mut impl FnMut(NodeId, Listed<'_>),
    ) {
        for (node, listed) in self.listed(place) {
            let by_silence = status_of(now.saturating_sub(listed.heard_ms), settings);
            let status = match listed.profile.ticket.has_expired(now) {
                true => Status::Dead,
                false => listed.status.max(by_silence),
            };
            each(node, Listed { status, ..listed });
        }
    }

    fn profiles(&self, place: &Place) -> BTreeMap<NodeId, Profile> {
        self.entries(place).map(|(entry, _)| (entry.profile.node(), entry.profile.clone())).collect()
    }

    fn profile(&self, place: &Place, node: &NodeId) -> Option<&Profile> {
        let entries = self.entries(place).map(|(entry, _)| &entry.profile);
        entries.filter(|profile| profile.node() == *node).max_by_key(|profile| profile.incarnation)
    }

    /// All entries with the time of the word they stand in; those that name another PoP are left out.
    fn entries(&self, place: &Place) -> impl Iterator<Item = (&RosterEntry, UnixMs)> {
        let spoken = self.speakers.values().filter_map(|word| Some((word.summary.as_ref()?, word.heard_ms)));
        let spoken = spoken.flat_map(|(summary, heard_ms)| {
            summary.roster.iter().take(ROSTER_MAX).map(move |entry| (entry, heard_ms))
        });
        let told = self.told.iter().map(|entry| (entry, self.heard_ms));
        let place = place.clone();
        spoken.chain(told).filter(move |(entry, _)| entry.profile.stands_in(&place))
    }
}

fn status_of(silent_ms: u64, settings: &Settings) -> Status {
    match silent_ms {
        _ if silent_ms > settings.far_dead_after_ms() => Status::Dead,
        _ if silent_ms > settings.far_suspect_after_ms() => Status::Suspect,
        _ => Status::Alive,
    }
}
