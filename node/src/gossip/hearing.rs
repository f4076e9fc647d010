//! Which gossip is believed.
//!
//! The swarm has checked that a message is signed by its author. Here it is checked that the author belongs to
//! the mesh, and speaks of what is its own: a node of itself, a PoP's node of that PoP.

use libp2p::gossipsub::{self, MessageAcceptance, TopicHash};
use starling_proto::{
    NodeId, UnixMs,
    members::{self, NodeState, PopSummary, RosterEntry},
    ticket::{Claim, TicketError},
    wire::{self, WireError},
};

use super::{gate::Gate, pace::Pace};

/// Why a message is not believed, or not passed on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// Its author is no node.
    #[error("its author is no node")]
    NoNode,
    /// Its author sends more than it may.
    #[error("its author sends too many")]
    TooMany,
    /// It cannot be read.
    #[error("{0}")]
    Wire(#[from] WireError),
    /// It is on the topic of another kind of message.
    #[error("it is on the wrong topic")]
    WrongTopic,
    /// A heartbeat or summary from outside of the PoP it is about.
    #[error("its author is not of that PoP")]
    OtherPop,
    /// Its author does not belong here.
    #[error("its author is not admitted: {0}")]
    Ticket(#[from] TicketError),
    /// More nodes than a PoP may tell of.
    #[error("its roster is too long")]
    Roster,
    /// A summary by a node that is not known yet.
    #[error("its author is not known yet")]
    Unknown,
}

impl Fault {
    /// What becomes of the message. Only what every honest node refuses counts against the one who passed it
    /// on: clocks, versions and knowledge differ between nodes.
    pub fn acceptance(&self) -> MessageAcceptance {
        match self {
            Self::TooMany | Self::Unknown | Self::Wire(WireError::Version { .. }) => {
                MessageAcceptance::Ignore
            }
            Self::Ticket(TicketError::Expired { .. }) => MessageAcceptance::Ignore,
            _ => MessageAcceptance::Reject,
        }
    }
}

/// What is believed.
pub(super) enum Word {
    /// A heartbeat of a node of this PoP.
    State(Box<NodeState>),
    /// A summary by a node of the PoP it is about.
    Summary(NodeId, Box<PopSummary>),
}

/// Checks a message.
pub(super) struct Ear {
    pub home: Claim,
    pub pop: TopicHash,
    pub world: TopicHash,
}

impl Ear {
    /// Whether `message` is believed. Its author's rate is looked at before anything is read.
    pub fn judge(
        &self,
        message: &gossipsub::Message,
        gate: &mut Gate,
        pace: &mut Pace,
        now: UnixMs,
    ) -> Result<Word, Fault> {
        let author = message.source.as_ref().and_then(|author| NodeId::of_peer(author).ok());
        let author = author.ok_or(Fault::NoNode)?;
        if !pace.admits(author, now) {
            return Err(Fault::TooMany);
        }
        match wire::decode::<wire::Gossip>(&message.data)? {
            wire::Gossip::State(state) if message.topic == self.pop => {
                self.state(&state, author, gate, now)?;
                Ok(Word::State(state))
            }
            wire::Gossip::Summary(mut summary) if message.topic == self.world => {
                if summary.roster.len() > members::ROSTER_MAX {
                    return Err(Fault::Roster);
                }
                // The author first: what a stranger lists is not looked at.
                let is_of_author = |entry: &&RosterEntry| entry.profile.ticket.claim.node == author;
                if gate.claim(author).is_none()
                    && let Some(own) = summary.roster.iter().find(is_of_author)
                {
                    gate.check(&own.profile, author, now)?;
                }
                let speaker = gate.claim(author).ok_or(Fault::Unknown)?;
                if !is_of(speaker, &summary.region, &summary.pop) {
                    return Err(Fault::OtherPop);
                }
                summary
                    .roster
                    .retain(|entry| is_of(&entry.profile.ticket.claim, &summary.region, &summary.pop));
                summary.roster = gate.sift(summary.roster, now)?;
                Ok(Word::Summary(author, summary))
            }
            _ => Err(Fault::WrongTopic),
        }
    }

    fn state(&self, state: &NodeState, author: NodeId, gate: &mut Gate, now: UnixMs) -> Result<(), Fault> {
        let claim = &state.profile.ticket.claim;
        if !is_of(claim, &self.home.region, &self.home.pop) {
            return Err(Fault::OtherPop);
        }
        // The ticket must be the author's own, so nobody speaks for another.
        Ok(gate.check(&state.profile, author, now)?)
    }
}

fn is_of(claim: &Claim, region: &str, pop: &str) -> bool {
    claim.region == region && claim.pop == pop
}
