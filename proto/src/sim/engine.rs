//! The loop: the earliest event happens, and what follows from it is put into the queue.

use std::rc::Rc;

use super::{
    Chance, Effect, Input, Machine, Micros, Network, NetworkSettings, Node, Overlay, OverlaySettings, Topic,
    Traffic, World,
    overlay::Control,
    parcels::{ParcelId, Parcels},
    queue::{Queue, Timed},
};

/// What a paused node's sockets hold for it; what comes after is lost.
const HELD_MAX: usize = 20_000;
/// Bytes around a message on the link: its frame, TLS record, TCP and IP.
const LINK_FRAME_BYTES: u32 = 80;

/// How a simulation is set up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The paths.
    pub network: NetworkSettings,
    /// The gossip.
    pub overlay: OverlaySettings,
}

/// A mesh that runs in simulated time.
pub struct Sim<M: Machine> {
    now: Micros,
    nodes: Vec<Slot>,
    machines: Vec<Option<M>>,
    /// What came for paused nodes.
    held: Vec<Vec<Event>>,
    queue: Queue<Event>,
    parcels: Parcels<M::Message>,
    network: Network,
    overlay: Overlay,
    chance: Chance,
    traffic: Traffic,
    trace: u64,
    events: u64,
    effects: Vec<Effect<M::Message>>,
}

/// What every event looks at: kept apart from the machines, and small.
#[derive(Clone, Copy)]
struct Slot {
    /// Since when its power is what it is.
    since: Micros,
    /// Counts its starts; what was meant for an earlier life never reaches a later one.
    life: u16,
    power: Power,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Power {
    Up,
    /// Nothing runs; its kernel takes in what comes.
    Paused,
    /// The process is gone; its host answers that nobody listens.
    Crashed,
    /// The host is gone too, and silent. So is one that never was.
    Dark,
}

#[derive(Clone, Copy)]
struct Event {
    at: Micros,
    from: Node,
    to: Node,
    /// A parcel, a topic or a token, as the kind has it.
    what: u32,
    life: u16,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Start,
    Direct,
    Refused,
    Timer,
    Gossip,
    Want,
    Breath,
    Control(Control),
}

impl Kind {
    fn names_a_parcel(self) -> bool {
        matches!(self, Self::Direct | Self::Gossip | Self::Want)
    }

    fn is_its_own(self) -> bool {
        matches!(self, Self::Start | Self::Timer | Self::Breath)
    }
}

impl Timed for Event {
    fn at(&self) -> Micros {
        self.at
    }
}

impl<M: Machine> Sim<M> {
    /// A world in which nothing runs yet.
    pub fn new(seed: u64, world: World, settings: Settings) -> Self {
        let mut chance = Chance::new(seed);
        let connections = world.connections(settings.overlay.others, &mut chance);
        let nodes = world.sites().len();
        Self {
            now: 0,
            nodes: vec![Slot { since: 0, life: 0, power: Power::Dark }; nodes],
            machines: (0..nodes).map(|_| None).collect(),
            held: vec![Vec::new(); nodes],
            queue: Queue::new(),
            parcels: Parcels::new(),
            traffic: Traffic::new(nodes),
            network: Network::new(world, settings.network),
            overlay: Overlay::new(settings.overlay, connections),
            chance,
            trace: seed,
            events: 0,
            effects: Vec::new(),
        }
    }

    /// A topic with these subscribers, whether they run yet or not.
    pub fn topic(&mut self, subscribers: &[Node]) -> Topic {
        self.overlay.subscribe(subscribers)
    }

    /// Starts a node with this machine; if it ran, as a new life of it. It gets [`Input::Start`] now.
    pub fn start(&mut self, node: Node, machine: M) {
        self.stop(node, Power::Up);
        self.overlay.reset(node);
        for seat in 0..self.overlay.seats(node).len() {
            let topic = self.overlay.seats(node)[seat].topic;
            let number = self.overlay.number(node, topic);
            for parcel in self.overlay.known(topic) {
                number.into_iter().for_each(|number| self.parcels.forget(parcel, number));
            }
        }
        self.machines[node as usize] = Some(machine);
        self.nodes[node as usize].life += 1;
        self.post(Event { at: self.now, from: node, to: node, what: 0, life: 0, kind: Kind::Start });
        let breath = self.now + 1_000 + self.chance.below(200_000);
        self.post(Event { at: breath, from: node, to: node, what: 0, life: 0, kind: Kind::Breath });
    }

    /// The process dies; its host still refuses connections to it.
    pub fn crash(&mut self, node: Node) {
        self.stop(node, Power::Crashed);
    }

    /// The node and its host are gone, without a sign.
    pub fn go_dark(&mut self, node: Node) {
        self.stop(node, Power::Dark);
    }

    /// SIGSTOP: nothing happens in the node until [`Sim::resume`]; what comes is held for it.
    pub fn pause(&mut self, node: Node) {
        if self.nodes[node as usize].power == Power::Up {
            self.set_power(node, Power::Paused);
        }
    }

    /// SIGCONT: what was held reaches the node now, in the order it came.
    pub fn resume(&mut self, node: Node) {
        if self.nodes[node as usize].power == Power::Paused {
            self.set_power(node, Power::Up);
            for event in std::mem::take(&mut self.held[node as usize]) {
                self.queue.push(Event { at: self.now, ..event });
            }
        }
    }

    /// Whether the node runs, and is not paused.
    pub fn is_up(&self, node: Node) -> bool {
        self.nodes[node as usize].power == Power::Up
    }

    /// Lets all happen that happens before this time, and sets the clock to it.
    pub fn run_until(&mut self, end: Micros) {
        while let Some(event) = self.queue.pop_before(end) {
            self.now = event.at;
            self.traffic.at(event.at);
            self.happen(event);
        }
        self.now = self.now.max(end);
        self.traffic.at(self.now);
    }

    /// Lets so much time pass.
    pub fn run_for(&mut self, span: Micros) {
        self.run_until(self.now + span);
    }

    /// Does something in a running node from outside, as an operator would.
    pub fn act(&mut self, node: Node, act: impl FnOnce(&mut M, Micros, &mut Vec<Effect<M::Message>>)) {
        if self.is_up(node) {
            self.with_machine(node, act);
        }
    }

    /// Publishes in a running node's name, as [`Effect::Publish`] does.
    pub fn publish(&mut self, node: Node, topic: Topic, message: Rc<M::Message>, bytes: u32) {
        self.act(node, |_, _, out| out.push(Effect::Publish { topic, message, bytes }));
    }

    /// The time.
    pub fn now(&self) -> Micros {
        self.now
    }

    /// The machine of a node that was started once, as it is now or was when it stopped.
    pub fn machine(&self, node: Node) -> Option<&M> {
        self.machines[node as usize].as_ref()
    }

    /// The paths, to make them worse or better.
    pub fn network_mut(&mut self) -> &mut Network {
        &mut self.network
    }

    /// The paths.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The gossip.
    pub fn overlay(&self) -> &Overlay {
        &self.overlay
    }

    /// The account.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// The account, to begin it anew.
    pub fn traffic_mut(&mut self) -> &mut Traffic {
        &mut self.traffic
    }

    /// One number for all that has happened, in order: two runs with the same one were the same run.
    pub fn trace(&self) -> u64 {
        self.trace
    }

    /// How many events have happened.
    pub fn events(&self) -> u64 {
        self.events
    }

    fn stop(&mut self, node: Node, power: Power) {
        self.set_power(node, power);
        for event in std::mem::take(&mut self.held[node as usize]) {
            self.drop_parcel(event);
        }
    }

    fn set_power(&mut self, node: Node, power: Power) {
        let slot = &mut self.nodes[node as usize];
        (slot.power, slot.since) = (power, self.now);
    }

    /// Whether a connection to it still stands, as far as those at the other end know.
    fn seems_connected(nodes: &[Slot], node: Node, now: Micros, idle: Micros) -> bool {
        let slot = &nodes[node as usize];
        slot.life > 0 && (slot.power == Power::Up || now < slot.since + idle)
    }

    fn happen(&mut self, event: Event) {
        self.events += 1;
        let what = u64::from(event.what) << 32 | u64::from(event.to);
        let of = u64::from(event.from) << 16 | u64::from(event.life);
        self.trace = (self.trace.rotate_left(7) ^ event.at ^ what.rotate_left(17) ^ of.rotate_left(41))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);

        let slot = self.nodes[event.to as usize];
        let is_past = slot.life != event.life;
        if slot.power == Power::Paused && !is_past {
            let held = &mut self.held[event.to as usize];
            if held.len() < HELD_MAX || event.kind.is_its_own() {
                held.push(event);
            } else {
                self.drop_parcel(event);
            }
            return;
        }
        if slot.power != Power::Up || is_past {
            self.drop_parcel(event);
            if event.kind == Kind::Direct && slot.power != Power::Dark {
                self.refuse(event.to, event.from);
            }
            return;
        }
        match event.kind {
            Kind::Start => self.input(event.to, Input::Start),
            Kind::Timer => self.input(event.to, Input::Timer { token: event.what }),
            Kind::Refused => self.input(event.to, Input::Refused { by: event.from }),
            Kind::Direct => {
                let parcel = self.parcels.get(event.what);
                self.traffic.received(event.to, parcel.bytes + LINK_FRAME_BYTES);
                let message = parcel.body();
                self.parcels.arrived(event.what);
                self.input(event.to, Input::Direct { from: event.from, message });
            }
            Kind::Gossip => self.gossip(event),
            Kind::Want => {
                self.traffic.received(event.to, self.overlay.settings().control_bytes);
                let number = self.overlay.number(event.to, self.parcels.get(event.what).topic());
                if number.is_some_and(|number| self.parcels.has_seen(event.what, number)) {
                    self.packet(event.to, event.from, event.what, Kind::Gossip);
                }
                self.parcels.arrived(event.what);
            }
            Kind::Breath => self.breathe(event.to),
            Kind::Control(word) => self.control(event, word),
        }
    }

    /// A copy of a message arrives: the first one is passed on and handed to the machine.
    fn gossip(&mut self, event: Event) {
        let parcel = self.parcels.get(event.what);
        let topic = parcel.topic();
        self.traffic.received(event.to, parcel.bytes + self.overlay.settings().frame_bytes);
        self.traffic.gossip_all += 1;
        let number = self.overlay.number(event.to, topic).expect("gossip goes to subscribers only");
        if self.parcels.see(event.what, number) {
            self.traffic.gossip_first += 1;
            let message = self.parcels.get(event.what).body();
            self.spread(event.to, Some(event.from), topic, event.what);
            self.input(event.to, Input::Gossip { topic, message });
        }
        self.parcels.arrived(event.what);
    }

    fn spread(&mut self, node: Node, came_from: Option<Node>, topic: Topic, parcel: ParcelId) {
        for at in 0..self.overlay.neighbours(node, topic).len() {
            let neighbour = self.overlay.neighbours(node, topic)[at];
            if Some(neighbour) != came_from {
                self.packet(node, neighbour, parcel, Kind::Gossip);
            }
        }
    }

    fn flood(&mut self, node: Node, topic: Topic, parcel: ParcelId) {
        let idle = self.overlay.settings().idle;
        for other in self.overlay.audience(node, topic) {
            if Self::seems_connected(&self.nodes, other, self.now, idle) {
                self.packet(node, other, parcel, Kind::Gossip);
            }
        }
    }

    fn breathe(&mut self, node: Node) {
        let OverlaySettings { breath, idle, .. } = *self.overlay.settings();
        let (nodes, now) = (&self.nodes, self.now);
        let connected = |other| Self::seems_connected(nodes, other, now, idle);
        let said = self.overlay.breathe(node, now, &mut self.chance, connected);
        for (to, topic, word) in said {
            self.packet(node, to, u32::from(topic), Kind::Control(word));
        }
        if node.is_multiple_of(64) {
            self.forget_old();
        }
        self.post(Event {
            at: self.now + breath,
            from: node,
            to: node,
            what: 0,
            life: 0,
            kind: Kind::Breath,
        });
    }

    /// Lets go of what is too old to be told of, and of what was so before and is now under way no more.
    fn forget_old(&mut self) {
        let before = self.now.saturating_sub(self.overlay.settings().history);
        for topic in 0..self.overlay.topics() {
            let (recent, lingering) = self.overlay.parcels_of(topic);
            while recent.front().is_some_and(|oldest| self.parcels.get(*oldest).at <= before) {
                lingering.extend(recent.pop_front());
            }
            lingering.retain(|parcel| !self.parcels.let_go(*parcel));
        }
    }

    fn control(&mut self, event: Event, word: Control) {
        let topic = event.what as Topic;
        let bytes = self.control_bytes(topic, word);
        self.traffic.received(event.to, bytes);
        if word == Control::Have {
            let numbers = (self.overlay.number(event.to, topic), self.overlay.number(event.from, topic));
            let (Some(mine), Some(its)) = numbers else { return };
            let missing =
                |id: &&ParcelId| !self.parcels.has_seen(**id, mine) && self.parcels.has_seen(**id, its);
            let missing: Vec<ParcelId> = self.overlay.recent(topic).iter().filter(missing).copied().collect();
            for parcel in missing {
                self.packet(event.to, event.from, parcel, Kind::Want);
            }
        } else if let Some(answer) = self.overlay.hear(event.to, event.from, topic, word, self.now) {
            self.packet(event.to, event.from, event.what, Kind::Control(answer));
        }
    }

    fn control_bytes(&self, topic: Topic, word: Control) -> u32 {
        let overlay = self.overlay.settings();
        let named = if word == Control::Have { self.overlay.recent(topic).len() as u32 } else { 0 };
        overlay.control_bytes + named * overlay.name_bytes
    }

    fn input(&mut self, node: Node, input: Input<M::Message>) {
        self.with_machine(node, |machine, now, out| machine.handle(input, now, out));
    }

    fn with_machine(&mut self, node: Node, act: impl FnOnce(&mut M, Micros, &mut Vec<Effect<M::Message>>)) {
        let mut effects = std::mem::take(&mut self.effects);
        if let Some(machine) = &mut self.machines[node as usize] {
            act(machine, self.now, &mut effects);
        }
        for effect in effects.drain(..) {
            self.carry_out(node, effect);
        }
        self.effects = effects;
    }

    fn carry_out(&mut self, node: Node, effect: Effect<M::Message>) {
        match effect {
            Effect::Send { to, message, bytes } => {
                let parcel = self.parcels.put(message, bytes, self.now, None);
                self.traffic.sent(node, bytes + LINK_FRAME_BYTES);
                if let Some(delay) = self.network.stream(node, to, &mut self.chance) {
                    self.parcels.sent(parcel);
                    let at = self.now + delay;
                    self.post(Event { at, from: node, to, what: parcel, life: 0, kind: Kind::Direct });
                }
                self.parcels.free_if_unused(parcel);
            }
            Effect::Publish { topic, message, bytes } => {
                let number =
                    self.overlay.number(node, topic).expect("a machine publishes to its own topics only");
                let subscribers = self.overlay.subscribers(topic);
                let parcel = self.parcels.put(message, bytes, self.now, Some((topic, subscribers)));
                self.parcels.see(parcel, number);
                self.overlay.parcels_of(topic).0.push_back(parcel);
                if self.overlay.settings().flood {
                    self.flood(node, topic, parcel);
                } else {
                    self.spread(node, None, topic, parcel);
                }
            }
            Effect::Timer { after, token } => {
                let at = self.now + after;
                self.post(Event { at, from: node, to: node, what: token, life: 0, kind: Kind::Timer });
            }
        }
    }

    fn packet(&mut self, from: Node, to: Node, what: u32, kind: Kind) {
        let bytes = match kind {
            Kind::Gossip => self.parcels.get(what).bytes + self.overlay.settings().frame_bytes,
            Kind::Control(word) => self.control_bytes(what as Topic, word),
            _ => self.overlay.settings().control_bytes,
        };
        self.traffic.sent(from, bytes);
        for delay in self.network.packet(from, to, &mut self.chance).into_iter().flatten() {
            if kind.names_a_parcel() {
                self.parcels.sent(what);
            }
            self.post(Event { at: self.now + delay, from, to, what, life: 0, kind });
        }
    }

    /// The answer of a host on which nobody listens.
    fn refuse(&mut self, by: Node, asker: Node) {
        if let Some(delay) = self.network.stream(by, asker, &mut self.chance) {
            let at = self.now + delay;
            self.post(Event { at, from: by, to: asker, what: 0, life: 0, kind: Kind::Refused });
        }
    }

    /// Every event is meant for the life its receiver has when it is posted.
    fn post(&mut self, event: Event) {
        let life = self.nodes[event.to as usize].life;
        self.queue.push(Event { life, ..event });
    }

    fn drop_parcel(&mut self, event: Event) {
        if event.kind.names_a_parcel() {
            self.parcels.arrived(event.what);
        }
    }
}
