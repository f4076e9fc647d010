//! What happens in the swarm.

use std::sync::Arc;

use libp2p::{
    allow_block_list::NotAllowed,
    gossipsub::{self, MessageAcceptance, MessageId},
    identify,
    swarm::{ListenError, SwarmEvent},
};
use libp2p_identity::PeerId;
use starling_proto::{NodeId, members::Input};
use tracing::{debug, error, info, warn};

use super::{
    super::{
        hearing::{Fault, Word},
        pace,
        swarm::BehaviourEvent,
    },
    Task,
};

impl Task {
    pub(super) fn on_swarm(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour(event),
            SwarmEvent::ConnectionEstablished { peer_id, .. } => self.on_connected(&peer_id),
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, .. } => self.on_closed(&peer_id),
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), error, .. } => {
                let Ok(node) = NodeId::of_peer(&peer) else { return };
                let now = self.clock.now_ms();
                self.ties.failed(node, now);
                let why = error.to_string();
                if self.said.is_news("dial", &node.to_string(), &why, now) {
                    info!(node = self.gate.name(node), "no swarm connection (UDP): {why}");
                }
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, peer_id, .. } => {
                self.on_refused(&send_back_addr.to_string(), &error, peer_id);
            }
            SwarmEvent::ListenerClosed { reason, .. } => {
                error!(address = %self.listening, ?reason, "the swarm listens no longer");
            }
            SwarmEvent::ListenerError { error, .. } => {
                let (text, now) = (error.to_string(), self.clock.now_ms());
                let is_news = self.said.is_news("listener", "", &text, now);
                if is_news {
                    error!(address = %self.listening, "the swarm's listener: {text}");
                }
            }
            _ => {}
        }
    }

    fn on_connected(&mut self, peer: &PeerId) {
        let Ok(node) = NodeId::of_peer(peer) else { return };
        self.said.over("dial", &node.to_string());
        self.ties.connected(node, self.clock.now_ms());
        self.has_newcomers = true;
        debug!(node = self.gate.name(node), "swarm connection");
    }

    fn on_closed(&mut self, peer: &PeerId) {
        let Ok(node) = NodeId::of_peer(peer) else { return };
        let now = self.clock.now_ms();
        self.is_changed = true;
        if !self.ties.closed(node, now) {
            debug!(node = self.gate.name(node), "swarm connection ended");
        } else if self.said.is_news("refused", &node.to_string(), "", now) {
            info!(node = self.gate.name(node), "ended a swarm connection at once; it is tried again");
        }
    }

    /// A stranger, or one too many, was sent away.
    fn on_refused(&mut self, address: &str, error: &ListenError, peer: Option<PeerId>) {
        self.counts.connections_refused.add(1);
        let ListenError::Denied { cause } = error else {
            return debug!(address, %error, "a connection did not come about");
        };
        let is_stranger = cause.downcast_ref::<NotAllowed>().is_some();
        let why = if is_stranger { "it is not admitted (yet)".to_owned() } else { cause.to_string() };
        let ip = address.split("/udp/").next().unwrap_or(address);
        if self.said.is_news("stranger", ip, &why, self.clock.now_ms()) {
            let peer = peer.map(|peer| peer.to_base58());
            info!(address, peer, "refused a swarm connection: {why}");
        }
    }

    fn on_behaviour(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Gossip(gossipsub::Event::Message { propagation_source, message_id, message }) => {
                self.on_message(propagation_source, &message_id, &message);
            }
            BehaviourEvent::Gossip(gossipsub::Event::GossipsubNotSupported { peer_id }) => {
                self.complain(&peer_id, "does not speak gossipsub");
            }
            BehaviourEvent::Gossip(gossipsub::Event::SlowPeer { peer_id, .. }) => {
                self.complain(&peer_id, "does not take gossip as fast as it comes");
            }
            BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. })
                if info.protocol_version != "/starling/1" =>
            {
                self.complain(&peer_id, &format!("speaks {:?}", info.protocol_version));
            }
            _ => {}
        }
    }

    fn complain(&mut self, peer: &PeerId, what: &str) {
        let name = NodeId::of_peer(peer).map_or_else(|_| peer.to_base58(), |node| self.gate.name(node));
        if self.said.is_news("neighbour", &name, what, self.clock.now_ms()) {
            warn!(node = name, "a neighbour in the swarm {what}");
        }
    }

    fn on_message(&mut self, from: PeerId, id: &MessageId, message: &gossipsub::Message) {
        let now = self.clock.now_ms();
        self.counts.messages_in.add(1);
        self.counts.bytes_in.add(message.data.len() as u64);
        let judged = self.ear.judge(message, &mut self.gate, &mut self.pace, now);
        let acceptance = judged.as_ref().map_or_else(Fault::acceptance, |_| MessageAcceptance::Accept);
        self.swarm.behaviour_mut().gossip.report_message_validation_result(id, &from, acceptance);
        match judged {
            Ok(word) => {
                // Of what is good a neighbour answers only for what it says itself: the rest it passes on.
                if message.source == Some(from) {
                    self.count_against(&from);
                }
                self.believe(word);
            }
            Err(fault) => self.on_fault(&from, message, &fault),
        }
    }

    fn on_fault(&mut self, from: &PeerId, message: &gossipsub::Message, fault: &Fault) {
        let name = |peer: &PeerId| match NodeId::of_peer(peer) {
            Ok(node) => self.gate.name(node),
            Err(_) => peer.to_base58(),
        };
        let author = message.source.as_ref().map(name);
        let neighbour = name(from);
        match fault {
            Fault::TooMany => self.counts.rate_limited.add(1),
            _ => self.counts.invalid.add(1),
        }
        if self.said.is_news("fault", &neighbour, &fault.to_string(), self.clock.now_ms()) {
            warn!(author, neighbour, topic = %message.topic, "gossip is not believed: {fault}");
        }
        self.count_against(from);
    }

    /// A neighbour answers for a message; when these are a flood, it is shut out for a while.
    fn count_against(&mut self, from: &PeerId) {
        let Ok(node) = NodeId::of_peer(from) else { return };
        if self.pace.bars(node, self.clock.now_ms()) {
            let name = self.gate.name(node);
            let minutes = pace::BARRED_MS / 60_000;
            warn!(node = name, id = %node, minutes, "floods this node with gossip: it is shut out for a while");
            self.counts.barred.add(1);
            self.swarm.behaviour_mut().allowed.disallow_peer(*from);
        }
    }

    fn believe(&mut self, word: Word) {
        match word {
            Word::State(state) => {
                let node = state.profile.ticket.claim.node;
                self.renew_when_reborn(node, state.profile.incarnation);
                self.let_in(node);
                self.tell(Input::Heard(state));
            }
            Word::Summary(from, summary) => {
                for entry in &summary.roster {
                    self.let_in(entry.profile.ticket.claim.node);
                }
                self.tell(Input::Summary { from, summary: Arc::new(*summary) });
            }
        }
    }
}
