//! Stories of one node and what it makes of the others.
//!
//! The node under test is number 50 of `eu/lon`; its neighbours have other numbers, and time begins at [`START`].

mod elsewhere;
mod floods;
mod neighbours;
mod properties;
mod rings;

use std::{collections::BTreeSet, sync::Arc};

use super::*;
use crate::{Key, ticket::Claim};

/// When the node under test starts.
const START: UnixMs = 1_800_000_000_000;

/// Its number.
const ME: u16 = 50;

fn id(number: u16) -> NodeId {
    let mut bytes = [0; 32];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    NodeId::from_bytes(bytes)
}

fn profile_in(number: u16, region: &str, pop: &str) -> Profile {
    let claim = Claim {
        node: id(number),
        name: format!("{pop}-{number}"),
        region: region.into(),
        pop: pop.into(),
        may_shield: true,
        expires_ms: u64::MAX,
    };
    let addresses = Addresses {
        mesh: ([127, 0, 0, 1], 10_000 + number).into(),
        link_quic: ([127, 0, 0, 1], 40_000).into(),
    };
    let ticket = Ticket { claim, signature: None };
    Profile { ticket, incarnation: START - 1_000, addresses, weight: 100 }
}

fn profile(number: u16) -> Profile {
    profile_in(number, "eu", "lon")
}

fn state(profile: Profile, seq: u64) -> NodeState {
    NodeState { seq, ..record::Record::state_of(profile) }
}

fn entry(profile: Profile, status: Status) -> RosterEntry {
    RosterEntry { profile, status }
}

/// A summary of `eu/par` by `from`, with these nodes in its roster.
fn summary_of_par(seq: u64, roster: &[RosterEntry]) -> PopSummary {
    PopSummary {
        region: "eu".into(),
        pop: "par".into(),
        seq,
        load: Load::default(),
        roster: roster.to_vec(),
        roster_hash: RosterEntry::hash_of(roster),
    }
}

fn par(number: u16) -> Profile {
    profile_in(number, "eu", "par")
}

/// The node under test and its time.
struct Story {
    members: Members,
    now: UnixMs,
    seq: u64,
    /// What was asked for since [`Story::asked`] was called last.
    outputs: Vec<Output>,
}

impl Story {
    fn begins() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        let mine = Profile { incarnation: START, ..profile(ME) };
        Self { members: Members::new(mine, settings, START), now: START, seq: 0, outputs: Vec::new() }
    }

    /// In a PoP with these neighbours, which it has all heard.
    fn among(numbers: &[u16]) -> Self {
        let mut story = Self::begins();
        numbers.iter().for_each(|number| story.hears(*number));
        story.outputs.clear();
        story
    }

    fn tell(&mut self, input: Input) {
        let outputs = self.members.handle(input, self.now);
        let said = outputs.iter().filter(|output| **output == Output::Changed).count();
        assert!(said <= 1, "a change is said once");
        self.outputs.extend(outputs);
    }

    fn hears_state(&mut self, state: NodeState) {
        self.tell(Input::Heard(Box::new(state)));
    }

    /// The next heartbeat of a neighbour.
    fn hears(&mut self, number: u16) {
        self.seq += 1;
        self.hears_state(state(profile(number), self.seq));
    }

    fn link_fails(&mut self, number: u16) {
        self.tell(Input::LinkFailed { node: id(number), refused: false });
    }

    fn link_works(&mut self, number: u16) {
        self.tell(Input::LinkOk { node: id(number), took_us: 300 });
    }

    fn par_says(&mut self, from: u16, seq: u64, roster: &[RosterEntry]) {
        let summary = Arc::new(summary_of_par(seq, roster));
        self.tell(Input::Summary { from: id(from), summary });
    }

    /// Time passes, a tick each half second, while these neighbours go on with their heartbeats.
    fn passes(&mut self, ms: u64, heartbeats_of: &[u16]) {
        let until = self.now + ms;
        while self.now < until {
            self.now = until.min(self.now + 500);
            heartbeats_of.iter().for_each(|number| self.hears(*number));
            self.tell(Input::Tick);
        }
    }

    /// What was asked for since the last time.
    fn asked(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// Whom it had probed since the last time: the target, and through whom.
    fn probes(&mut self) -> Vec<(NodeId, Option<NodeId>)> {
        let probe = |output| match output {
            Output::Probe { target, via } => Some((target, via)),
            _ => None,
        };
        self.asked().into_iter().filter_map(probe).collect()
    }

    fn view(&self) -> View {
        self.members.view(self.now)
    }

    fn status(&self, number: u16) -> Option<Status> {
        self.view().members.get(&id(number)).map(|member| member.status)
    }

    fn is_passed_over(&self, number: u16) -> bool {
        self.view().members[&id(number)].passed_over
    }

    fn ring(&self) -> Vec<NodeId> {
        self.members.ring_nodes().iter().map(|(node, _)| *node).collect()
    }

    fn previous(&self) -> Option<Vec<NodeId>> {
        let nodes = self.members.previous_ring_nodes()?;
        Some(nodes.iter().map(|(node, _)| *node).collect())
    }
}

fn ids(numbers: &[u16]) -> Vec<NodeId> {
    numbers.iter().map(|number| id(*number)).collect()
}
