//! How gossip spreads: a model of gossipsub v1.1, one mesh of neighbours per topic.
//!
//! A subscriber keeps `degree` neighbours (at most `degree_max`) among the nodes it is connected to. What it sees
//! for the first time it passes on to all of them but the one it came from. At each heartbeat it *breathes*: it
//! gives up neighbours it has not heard for `idle`, takes others in their place (GRAFT; the other may refuse
//! with PRUNE), tells its neighbours that it is there, and tells some non-neighbours what it has (IHAVE), who ask for
//! what they miss (IWANT). Everything goes through the same network as all else, and is lost as all else.
//!
//! Not modelled: peer scores, IDONTWANT (so copies of messages above 1 kB are counted high), and the back-off
//! after a PRUNE (a random other node is asked instead).

use std::collections::VecDeque;

use super::{Chance, Micros, Node, Topic, parcels::ParcelId};

/// How the meshes are kept; the defaults are those of gossipsub, as the node sets it up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverlaySettings {
    /// Neighbours a node wants in each topic.
    pub degree: usize,
    /// Below this many it looks for more.
    pub degree_min: usize,
    /// At this many it refuses more.
    pub degree_max: usize,
    /// Non-neighbours that are told at each breath what a node has.
    pub lazy: usize,
    /// Between two breaths.
    pub breath: Micros,
    /// A neighbour that is silent for so long is given up: QUIC's idle timeout in libp2p.
    pub idle: Micros,
    /// For so long what was seen is told to others, and remembered.
    pub history: Micros,
    /// Connections of each node outside its PoP.
    pub others: usize,
    /// What a node says itself goes to all its connections that subscribe, not to its neighbours only.
    pub flood: bool,
    /// Bytes around a message: author, sequence number, topic, signature and key in protobuf, QUIC, UDP, IP.
    pub frame_bytes: u32,
    /// Bytes of a control message (GRAFT, PRUNE, a sign of life) with what is around it.
    pub control_bytes: u32,
    /// Bytes of a message's name in IHAVE and IWANT.
    pub name_bytes: u32,
}

impl Default for OverlaySettings {
    fn default() -> Self {
        Self {
            degree: 6,
            degree_min: 5,
            degree_max: 12,
            lazy: 6,
            breath: 500_000,
            idle: 6_000_000,
            history: 1_500_000,
            others: 16,
            flood: true,
            frame_bytes: 240,
            control_bytes: 80,
            name_bytes: 50,
        }
    }
}

/// A word between neighbours, without content of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Control {
    Here,
    Graft,
    Prune,
    Have,
}

/// The meshes of all topics.
pub struct Overlay {
    settings: OverlaySettings,
    connections: Vec<Vec<Node>>,
    topics: Vec<Subscribers>,
    seats: Vec<Vec<Seat>>,
}

struct Subscribers {
    count: usize,
    /// The number of each subscriber, from node `first` on; [`NONE`] where a node is none.
    numbers: Vec<u32>,
    first: Node,
    /// What was published lately, oldest first.
    recent: VecDeque<ParcelId>,
    /// What is no longer told of, but still under way.
    lingering: Vec<ParcelId>,
}

/// The number of a node that is no subscriber.
const NONE: u32 = u32::MAX;

/// A node in the mesh of one topic.
pub(super) struct Seat {
    pub topic: Topic,
    mesh: Neighbours,
    /// Whom it gave up, and until when it does not try them again.
    silent: Vec<(Node, Micros)>,
}

/// Up to [`DEGREE_MAX`] nodes, side by side: passing on is what a simulation does most.
#[derive(Clone, Copy, Default)]
struct Neighbours {
    count: usize,
    nodes: [Node; DEGREE_MAX],
    heard: [Micros; DEGREE_MAX],
}

/// The most neighbours a node may have in one topic, whatever the settings say.
const DEGREE_MAX: usize = 16;

impl Overlay {
    pub(super) fn new(settings: OverlaySettings, connections: Vec<Vec<Node>>) -> Self {
        let seats = connections.iter().map(|_| Vec::new()).collect();
        Self { settings, connections, topics: Vec::new(), seats }
    }

    pub(super) fn subscribe(&mut self, nodes: &[Node]) -> Topic {
        let topic = self.topics.len() as Topic;
        for node in nodes {
            let seat = Seat { topic, mesh: Neighbours::default(), silent: Vec::new() };
            self.seats[*node as usize].push(seat);
        }
        let (first, last) = (nodes.iter().min().copied(), nodes.iter().max().copied());
        let (first, last) = (first.unwrap_or_default(), last.unwrap_or_default());
        let mut numbers = vec![NONE; (last - first) as usize + 1];
        for (number, node) in nodes.iter().enumerate() {
            numbers[(node - first) as usize] = number as u32;
        }
        self.topics.push(Subscribers {
            count: nodes.len(),
            numbers,
            first,
            recent: VecDeque::new(),
            lingering: Vec::new(),
        });
        topic
    }

    /// The settings it keeps to.
    pub fn settings(&self) -> &OverlaySettings {
        &self.settings
    }

    /// The neighbours of a node in a topic.
    pub fn neighbours(&self, node: Node, topic: Topic) -> &[Node] {
        self.seat(node, topic).map_or(&[], |seat| seat.mesh.nodes())
    }

    /// The number of a node among the subscribers of a topic, if it is one.
    pub(super) fn number(&self, node: Node, topic: Topic) -> Option<u32> {
        let topic = &self.topics[topic as usize];
        let number = topic.numbers.get(node.checked_sub(topic.first)? as usize)?;
        (*number != NONE).then_some(*number)
    }

    /// All connections of a node that subscribe to a topic.
    pub(super) fn audience(&self, node: Node, topic: Topic) -> Vec<Node> {
        let connections = self.connections[node as usize].iter().copied();
        connections.filter(|other| self.number(*other, topic).is_some()).collect()
    }

    pub(super) fn subscribers(&self, topic: Topic) -> usize {
        self.topics[topic as usize].count
    }

    pub(super) fn recent(&self, topic: Topic) -> &VecDeque<ParcelId> {
        &self.topics[topic as usize].recent
    }

    /// Every message of a topic that is still kept.
    pub(super) fn known(&self, topic: Topic) -> impl Iterator<Item = ParcelId> {
        let topic = &self.topics[topic as usize];
        topic.recent.iter().chain(&topic.lingering).copied()
    }

    /// What was published lately, and what is older but still under way.
    pub(super) fn parcels_of(&mut self, topic: Topic) -> (&mut VecDeque<ParcelId>, &mut Vec<ParcelId>) {
        let topic = &mut self.topics[topic as usize];
        (&mut topic.recent, &mut topic.lingering)
    }

    pub(super) fn topics(&self) -> Topic {
        self.topics.len() as Topic
    }

    pub(super) fn seats(&self, node: Node) -> &[Seat] {
        &self.seats[node as usize]
    }

    fn seat(&self, node: Node, topic: Topic) -> Option<&Seat> {
        self.seats[node as usize].iter().find(|seat| seat.topic == topic)
    }

    /// A node begins anew, without neighbours.
    pub(super) fn reset(&mut self, node: Node) {
        for seat in &mut self.seats[node as usize] {
            seat.mesh.count = 0;
            seat.silent.clear();
        }
    }

    /// What a node says to others at each breath. Others are asked only while they seem `connected`.
    pub(super) fn breathe(
        &mut self,
        node: Node,
        now: Micros,
        chance: &mut Chance,
        connected: impl Fn(Node) -> bool,
    ) -> Vec<(Node, Topic, Control)> {
        let mut said = Vec::new();
        for at in 0..self.seats[node as usize].len() {
            let topic = self.seats[node as usize][at].topic;
            let seat = &mut self.seats[node as usize][at];
            let idle = self.settings.idle;
            seat.silent.retain(|(_, until)| *until > now);
            for gone in seat.mesh.take_silent(now.saturating_sub(idle)) {
                seat.silent.push((gone, now + 3 * idle));
                said.push((gone, topic, Control::Prune));
            }

            let seat = &self.seats[node as usize][at];
            let candidates: Vec<Node> = self.connections[node as usize]
                .iter()
                .copied()
                .filter(|other| connected(*other) && self.number(*other, topic).is_some())
                .filter(|other| !seat.mesh.nodes().contains(other))
                .filter(|other| seat.silent.iter().all(|(one, _)| one != other))
                .collect();
            let missing = match seat.mesh.count {
                few if few < self.settings.degree_min => self.settings.degree.min(DEGREE_MAX) - few,
                _ => 0,
            };
            let chosen = chance.choose(&candidates, missing + self.settings.lazy);
            let (grafted, told) = chosen.split_at(missing.min(chosen.len()));
            said.extend(seat.mesh.nodes().iter().map(|one| (*one, topic, Control::Here)));
            said.extend(grafted.iter().map(|other| (*other, topic, Control::Graft)));
            said.extend(told.iter().map(|other| (*other, topic, Control::Have)));
            let mesh = &mut self.seats[node as usize][at].mesh;
            grafted.iter().for_each(|other| mesh.add(*other, now));
        }
        said
    }

    /// A node hears a control message; the answer, if there is one.
    pub(super) fn hear(
        &mut self,
        to: Node,
        from: Node,
        topic: Topic,
        word: Control,
        now: Micros,
    ) -> Option<Control> {
        let degree_max = self.settings.degree_max.min(DEGREE_MAX);
        let seat = self.seats[to as usize].iter_mut().find(|seat| seat.topic == topic)?;
        let known = seat.mesh.nodes().iter().position(|one| *one == from);
        if let Some(known) = known {
            seat.mesh.heard[known] = now;
        }
        match (word, known) {
            (Control::Graft, None) if seat.mesh.count < degree_max => {
                seat.silent.retain(|(one, _)| *one != from);
                seat.mesh.add(from, now);
                None
            }
            (Control::Graft | Control::Here, None) => Some(Control::Prune),
            (Control::Prune, Some(known)) => {
                seat.mesh.remove(known);
                None
            }
            _ => None,
        }
    }
}

impl Neighbours {
    fn nodes(&self) -> &[Node] {
        &self.nodes[..self.count]
    }

    fn add(&mut self, node: Node, now: Micros) {
        (self.nodes[self.count], self.heard[self.count]) = (node, now);
        self.count += 1;
    }

    fn remove(&mut self, at: usize) {
        self.count -= 1;
        (self.nodes[at], self.heard[at]) = (self.nodes[self.count], self.heard[self.count]);
    }

    /// Takes out those that were not heard since then.
    fn take_silent(&mut self, since: Micros) -> Vec<Node> {
        let mut silent = Vec::new();
        for at in (0..self.count).rev() {
            if self.heard[at] <= since && since > 0 {
                silent.push(self.nodes[at]);
                self.remove(at);
            }
        }
        silent
    }
}
