//! What is said by the clock: heartbeats, summaries, and the housekeeping of once in a while.

use std::sync::Arc;

use libp2p::gossipsub::{IdentTopic, PublishError};
use starling_proto::{
    UnixMs,
    members::{self, Input, Own},
    wire,
};
use tracing::{error, info, warn};

use super::{Local, Task};

/// Tickets and bars are looked through this often.
const CHORES_MS: u64 = 1_000;

/// How often the node says that its own ticket will expire.
const OWN_TICKET_MS: u64 = 24 * 3_600_000;

/// It says so when less than this is left.
const OWN_TICKET_LEFT_MS: u64 = 30 * OWN_TICKET_MS;

/// When what is due next.
#[derive(Default)]
pub(super) struct Beats {
    members_ms: UnixMs,
    heartbeat_ms: UnixMs,
    summary_ms: UnixMs,
    chores_ms: UnixMs,
    own_ticket_ms: UnixMs,
}

fn is_due(at: &mut UnixMs, every_ms: u64, now: UnixMs) -> bool {
    let is_due = now >= *at;
    if is_due {
        // From the due time, so that lateness does not add up; unless it is very late.
        *at = (*at + every_ms).max(now + every_ms / 2);
    }
    is_due
}

impl Task {
    /// Says and does what is due.
    pub(super) fn beat(&mut self, now: UnixMs) {
        let members::Settings { heartbeat_ms, summary_ms, .. } = self.settings.members;
        // Twice in a heartbeat, so that silence is noticed in time.
        if is_due(&mut self.beats.members_ms, heartbeat_ms / 2, now) {
            self.tell(Input::Tick);
        }
        if is_due(&mut self.beats.heartbeat_ms, heartbeat_ms, now) {
            let own = self.own();
            let state = self.members.heartbeat(own, now);
            self.publish(self.topics.pop.clone(), &wire::Gossip::State(Box::new(state)));
            self.publish_hello();
        }
        if self.members.is_speaker() && is_due(&mut self.beats.summary_ms, summary_ms, now) {
            let to_newcomers = std::mem::take(&mut self.has_newcomers);
            let summary = self.members.summary(to_newcomers);
            self.publish(self.topics.world.clone(), &wire::Gossip::Summary(Box::new(summary)));
        }
        if is_due(&mut self.beats.chores_ms, CHORES_MS, now) {
            self.chores(now);
        }
        if is_due(&mut self.beats.own_ticket_ms, OWN_TICKET_MS, now) {
            self.look_at_own_ticket(now);
        }
    }

    fn own(&self) -> Own {
        let Local { load, health, versions, hot } = (self.local)();
        Own { load, health, versions, hot }
    }

    /// Says good-bye to the PoP.
    pub(super) fn good_bye(&mut self) {
        let state = self.members.leave();
        self.publish(self.topics.pop.clone(), &wire::Gossip::State(Box::new(state)));
    }

    /// What this node says when it greets.
    pub(super) fn publish_hello(&mut self) {
        let hello = wire::Hello { state: self.members.state().clone(), roster: self.roster.clone() };
        self.hello.send_replace(Arc::new(hello));
    }

    fn publish(&mut self, topic: IdentTopic, message: &wire::Gossip) {
        let bytes = match wire::encode(message) {
            Ok(bytes) => bytes,
            Err(error) => return error!(%error, %topic, "gossip of this node cannot be sent"),
        };
        let length = bytes.len() as u64;
        match self.swarm.behaviour_mut().gossip.publish(topic.hash(), bytes) {
            Ok(_) => {
                self.counts.messages_out.add(1);
                self.counts.bytes_out.add(length);
            }
            // Alone, or the first of a PoP: nobody to tell.
            Err(PublishError::NoPeersSubscribedToTopic) => {}
            Err(error) => {
                let (text, now) = (error.to_string(), self.clock.now_ms());
                if self.said.is_news("publish", topic.hash().as_str(), &text, now) {
                    warn!(%topic, "gossip of this node was not sent: {text}");
                }
            }
        }
    }

    fn chores(&mut self, now: UnixMs) {
        for (node, name) in self.gate.expired(now) {
            if node == self.identity.id {
                continue;
            }
            warn!(node = name, id = %node, "its ticket has expired: it is expelled");
            self.shut_out(node);
            self.tell(Input::Expelled(node));
        }
        for node in self.pace.pardoned(now) {
            info!(node = self.gate.name(node), "is let in again after its flood");
            if self.gate.claim(node).is_some() {
                self.let_in(node);
            }
        }
        self.counts
            .connections
            .set(self.swarm.network_info().connection_counters().num_established() as usize);
    }

    fn look_at_own_ticket(&self, now: UnixMs) {
        let expires = self.identity.ticket.claim.expires_ms;
        match expires.checked_sub(now) {
            None | Some(0) => error!("this node's ticket has expired: no other node lets it in"),
            Some(left) if left < OWN_TICKET_LEFT_MS => {
                let days = left / OWN_TICKET_MS;
                warn!(days, "this node's ticket expires soon: issue a new one with `starling cluster admit`");
            }
            Some(_) => {}
        }
    }
}
