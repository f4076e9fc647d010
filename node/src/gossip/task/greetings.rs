//! How nodes come to know each other: seeds, greetings, rosters, dials.

use std::net::SocketAddr;

use libp2p::swarm::{DialError, dial_opts::DialOpts};
use starling_proto::{
    NodeId, UnixMs,
    members::{Input, RosterEntry, Status},
    wire,
};
use tracing::{debug, info, warn};

use super::{
    super::{errands::Sake, swarm::multiaddr, ties::Step},
    Heard, ROSTER_MAX, Task,
};

impl Task {
    /// Somebody greeted this node over the link.
    pub(super) fn on_greeting(&mut self, heard: Heard) {
        let node = heard.from;
        if self.take_in(heard) {
            self.ties.greeted(node, self.clock.now_ms());
        }
    }

    /// The addresses of a seed were looked up. One is tried at a time, the next after a failure.
    pub(super) fn on_resolved(&mut self, seed: usize, found: Result<Vec<SocketAddr>, String>) {
        match found {
            Ok(found) => {
                let address = self.seeds.pick(seed, &found);
                if !self.errands.greet(Sake::Seed(seed), address) {
                    self.seed_failed(seed, "too much is under way".to_owned());
                }
            }
            Err(why) => self.seed_failed(seed, why),
        }
    }

    /// A greeting of this node was answered, or not.
    pub(super) fn on_greeted(&mut self, sake: Sake, address: SocketAddr, heard: Result<Box<Heard>, String>) {
        let now = self.clock.now_ms();
        match (sake, heard) {
            (Sake::Seed(seed), Ok(heard)) => {
                let node = heard.from;
                if self.seeds.answered(seed, node, now) {
                    info!(peer = self.seeds.name(seed), "this peer is the node itself");
                } else if self.take_in(*heard) {
                    let (peer, name) = (self.seeds.name(seed), self.gate.name(node));
                    info!(peer, node = name, id = %node, "found a node of the mesh");
                    self.ties.greeted(node, now);
                }
            }
            (Sake::Seed(seed), Err(why)) => self.seed_failed(seed, why),
            (Sake::Tie(node), Ok(heard)) if heard.from == node => {
                self.said.over("greet", &node.to_string());
                match self.take_in(*heard) {
                    true => self.ties.greeted(node, now),
                    false => self.ties.failed(node, now),
                }
            }
            (Sake::Tie(node), Ok(heard)) => {
                self.tie_failed(node, address, &format!("another node answers there: {}", heard.from));
            }
            (Sake::Tie(node), Err(why)) => self.tie_failed(node, address, &why),
        }
    }

    fn seed_failed(&mut self, seed: usize, why: String) {
        let now = self.clock.now_ms();
        let is_alone = self.is_alone();
        self.seeds.failed(seed, is_alone, now);
        let peer = self.seeds.name(seed);
        if self.said.is_news("seed", peer, &why, now) {
            warn!(peer, is_alone, "a peer that was named does not answer, and is tried again: {why}");
        }
    }

    fn tie_failed(&mut self, node: NodeId, address: SocketAddr, why: &str) {
        let now = self.clock.now_ms();
        self.ties.failed(node, now);
        if self.said.is_news("greet", &node.to_string(), why, now) {
            info!(node = self.gate.name(node), %address, "a node of the mesh does not answer here: {why}");
        }
    }

    /// Learns from a greeting; whether who greeted is let in.
    fn take_in(&mut self, Heard { from, hello }: Heard) -> bool {
        let now = self.clock.now_ms();
        let wire::Hello { state, mut roster } = hello;
        if from == self.identity.id || self.pace.is_barred(from, now) {
            return false;
        }
        if let Err(error) = self.gate.check(&state.profile, from, now) {
            if self.said.is_news("ticket", &from.to_string(), &error.to_string(), now) {
                warn!(id = %from, address = %state.profile.addresses.mesh, "is not let in: {error}");
            }
            return false;
        }
        self.renew_when_reborn(from, state.profile.incarnation);
        self.let_in(from);
        // Its former ticket may have expired: with this one it counts again.
        self.tell(Input::Admitted(from));
        self.tell(Input::Greeted(Box::new(state)));
        roster.truncate(ROSTER_MAX);
        let roster = self.gate.sift(roster, now).unwrap_or_else(|error| {
            tracing::debug!(%error, node = %from, "a greeting's roster is not believed");
            Vec::new()
        });
        self.learn(roster);
        true
    }

    /// Learns of nodes by what others know of them; each was checked by its ticket.
    pub(super) fn learn(&mut self, roster: Vec<RosterEntry>) {
        for entry in &roster {
            self.let_in(entry.profile.ticket.claim.node);
        }
        if !roster.is_empty() {
            self.tell(Input::Roster(roster));
        }
    }

    /// A connection to a node that has started anew since is a connection to nobody.
    pub(super) fn renew_when_reborn(&mut self, node: NodeId, incarnation: u64) {
        let is_reborn = (self.view.borrow().members.get(&node))
            .is_some_and(|member| member.profile.incarnation < incarnation);
        if is_reborn && self.ties.is_connected(node) {
            debug!(node = self.gate.name(node), "has started anew: its old connections are closed");
            // An error says that there is none.
            let _ = self.swarm.disconnect_peer_id(node.peer_id());
        }
    }

    /// Nobody but this node is known to be alive.
    pub(super) fn is_alone(&self) -> bool {
        let view = self.view.borrow();
        !view.members.iter().any(|(node, member)| *node != view.me && member.status == Status::Alive)
    }

    /// Greets a node that was only told of, or might be back; unless that is being done already.
    pub(super) fn greet(&mut self, node: NodeId, address: SocketAddr) {
        if !self.ties.is_busy(node) && !self.errands.greet(Sake::Tie(node), address) {
            self.counts.errands_dropped.add(1);
        }
    }

    /// Takes the next steps to seeds and wanted neighbours.
    pub(super) fn greet_and_dial(&mut self, now: UnixMs) {
        let is_alone = self.is_alone();
        let view = self.view.borrow().clone();
        let is_there = |node| {
            view.members.get(&node).is_some_and(|m| matches!(m.status, Status::Alive | Status::Suspect))
        };
        for (seed, name) in self.seeds.due(is_alone, is_there, now) {
            self.errands.resolve(seed, name);
        }
        for step in self.ties.due(self.errands.room(), now) {
            match step {
                Step::Greet(node, address) if !self.errands.greet(Sake::Tie(node), address) => {
                    self.counts.errands_dropped.add(1);
                    self.ties.failed(node, now);
                }
                Step::Greet(..) => {}
                Step::Dial(node, address) => self.dial(node, address, now),
            }
        }
    }

    fn dial(&mut self, node: NodeId, address: SocketAddr, now: UnixMs) {
        self.let_in(node);
        let dial = DialOpts::peer_id(node.peer_id()).addresses(vec![multiaddr(address)]).build();
        match self.swarm.dial(dial) {
            Ok(()) => {}
            Err(DialError::DialPeerConditionFalse(_)) => debug!(%address, "a dial is under way already"),
            Err(error) => {
                debug!(%address, %error, "cannot dial");
                self.ties.failed(node, now);
            }
        }
    }
}
