//! A world of peers, and what can be said of it from outside.

use std::rc::Rc;

use super::{Book, Peer, PeerSettings};
use crate::{
    members::Status,
    sim::{Chance, Micros, Network, Node, Settings, Sim, Spread, World},
};

/// One second of simulated time.
pub const SECOND: Micros = 1_000_000;

/// How large a town is, and how its nodes behave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TownSettings {
    /// Nodes.
    pub nodes: u32,
    /// Nodes of one PoP.
    pub pop_size: u32,
    /// Regions, over which the PoPs are spread.
    pub regions: u8,
    /// The first so many PoPs listen to what others say of themselves; the rest only pass it on.
    ///
    /// Everything is still carried everywhere; this bounds the work of a simulation whose nodes' far views are
    /// alike anyway.
    pub pops_that_listen: u16,
    /// The paths and the gossip.
    pub sim: Settings,
    /// The nodes.
    pub peer: PeerSettings,
}

impl Default for TownSettings {
    fn default() -> Self {
        Self {
            nodes: 200,
            pop_size: 20,
            regions: 5,
            pops_that_listen: u16::MAX,
            sim: Settings::default(),
            peer: PeerSettings::default(),
        }
    }
}

/// What nodes got wrong: they took healthy ones for what they are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Errors {
    /// How often a node declared a healthy one of its PoP dead.
    pub dead: usize,
    /// How often it suspected one, and so passed it over.
    pub suspected: usize,
}

/// A simulated mesh of [`Peer`]s.
pub struct Town {
    /// The simulation; what is done to nodes through it and not through the town counts as the network's fault.
    pub sim: Sim<Peer>,
    book: Rc<Book>,
    listening: Rc<PeerSettings>,
    deaf: Rc<PeerSettings>,
    pops_that_listen: u16,
    /// When nodes were not healthy: from when, until when.
    ill: Vec<(Node, Micros, Micros)>,
    seed: u64,
}

impl Town {
    /// A town in which nobody lives yet.
    pub fn new(seed: u64, settings: &TownSettings) -> Self {
        let world = World::new(settings.nodes, settings.pop_size, settings.regions);
        let mut book = Book::new(world.clone(), &mut Chance::new(!seed));
        let mut sim = Sim::new(seed, world.clone(), settings.sim.clone());
        book.pop_topics = (0..world.pops()).map(|pop| sim.topic(&world.pop(pop))).collect();
        let everybody: Vec<Node> = (0..settings.nodes).collect();
        book.world_topic = sim.topic(&everybody);
        Self {
            sim,
            book: Rc::new(book),
            listening: Rc::new(settings.peer.clone()),
            deaf: Rc::new(PeerSettings { hears_world: false, ..settings.peer.clone() }),
            pops_that_listen: settings.pops_that_listen,
            ill: Vec::new(),
            seed,
        }
    }

    /// A town in which all nodes but these have run for a while and know each other.
    pub fn settled(seed: u64, settings: &TownSettings, but: &[Node]) -> Self {
        let mut town = Self::new(seed, settings);
        let nodes: Vec<Node> = (0..settings.nodes).filter(|node| !but.contains(node)).collect();
        // Spread over a second, as the hands of an operator would.
        let pause = SECOND / Micros::from(settings.nodes.max(1));
        for node in nodes {
            town.start(node);
            town.sim.run_for(pause);
        }
        town.sim.run_for(5 * SECOND);
        town
    }

    /// Starts a node, for the first time or again. It is told of one other that runs, in its own PoP if there is one.
    pub fn start(&mut self, node: Node) {
        let site = self.world().sites()[node as usize];
        let runs = |other: &Node| *other != node && self.sim.is_up(*other);
        let neighbour = self.world().pop(site.pop).into_iter().find(runs);
        let seed = neighbour.or_else(|| (0..self.world().sites().len() as Node).find(runs));
        let settings = if site.pop < self.pops_that_listen { &self.listening } else { &self.deaf };
        let peer = Peer::new(node, self.book.clone(), settings.clone(), seed, self.sim.now());
        self.is_well_again(node);
        self.sim.start(node, peer);
    }

    /// kill -9.
    pub fn kill(&mut self, node: Node) {
        self.falls_ill(node);
        self.sim.crash(node);
    }

    /// The host loses power.
    pub fn unplug(&mut self, node: Node) {
        self.falls_ill(node);
        self.sim.go_dark(node);
    }

    /// SIGSTOP.
    pub fn pause(&mut self, node: Node) {
        self.falls_ill(node);
        self.sim.pause(node);
    }

    /// SIGCONT.
    pub fn resume(&mut self, node: Node) {
        self.is_well_again(node);
        self.sim.resume(node);
    }

    /// SIGTERM: good-bye, and gone 100 ms later.
    pub fn stop(&mut self, node: Node) {
        self.falls_ill(node);
        self.sim.act(node, |peer, _, out| peer.leave(out));
        self.sim.run_for(SECOND / 10);
        self.sim.crash(node);
    }

    /// Lets so many seconds pass.
    pub fn run(&mut self, seconds: u64) {
        self.sim.run_for(seconds * SECOND);
    }

    /// Where all nodes stand.
    pub fn world(&self) -> &World {
        self.book.world()
    }

    /// Who all nodes are.
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// The paths.
    pub fn network(&mut self) -> &mut Network {
        self.sim.network_mut()
    }

    /// Nodes that run.
    pub fn up(&self) -> Vec<Node> {
        self.world().nodes(|_| true).into_iter().filter(|node| self.sim.is_up(*node)).collect()
    }

    /// The running nodes of a node's PoP, but for itself.
    pub fn neighbours(&self, node: Node) -> Vec<Node> {
        let pop = self.world().pop(self.world().sites()[node as usize].pop);
        pop.into_iter().filter(|other| *other != node && self.sim.is_up(*other)).collect()
    }

    /// How one node sees another of its PoP.
    pub fn status(&self, by: Node, of: Node) -> Option<Status> {
        self.sim.machine(by)?.members().status(&self.book.id(of))
    }

    /// How long after `since` each running neighbour first saw the node so or worse; none for who never did.
    pub fn times_to(&self, status: Status, of: Node, since: Micros) -> Vec<Option<Micros>> {
        let first = |by: &Node| {
            let turns = self.sim.machine(*by)?.turns();
            let turn = turns.iter().find(|turn| turn.at >= since && turn.about == of && turn.to >= status)?;
            Some(turn.at - since)
        };
        self.neighbours(of).iter().map(first).collect()
    }

    /// Wrong turns since then: about nodes that were healthy, by nodes that were.
    pub fn errors(&self, since: Micros) -> Errors {
        let mut errors = Errors::default();
        for by in self.up() {
            let turns = self.sim.machine(by).map_or(&[][..], Peer::turns);
            for turn in turns.iter().filter(|turn| turn.at >= since) {
                if self.was_well(turn.about, turn.at) && self.was_well(by, turn.at) {
                    errors.dead += usize::from(turn.to == Status::Dead);
                    errors.suspected += usize::from(turn.to == Status::Suspect);
                }
            }
        }
        errors
    }

    /// Whether this node's view is the truth: everybody who runs is alive, and nobody else is.
    pub fn sees_the_truth(&self, by: Node) -> bool {
        let Some(peer) = self.sim.machine(by) else { return false };
        let view = peer.members().view(Book::unix_ms(self.sim.now()));
        (0..self.world().sites().len() as Node).all(|node| {
            let member = view.members.get(&self.book.id(node));
            let is_alive = member.is_some_and(|member| member.status == Status::Alive);
            is_alive == self.sim.is_up(node)
        })
    }

    /// Whether this node's view of its PoP is the truth.
    pub fn sees_its_pop(&self, by: Node) -> bool {
        let others = self.world().pop(self.world().sites()[by as usize].pop);
        let mut others = others.into_iter().filter(|other| *other != by);
        others.all(|of| (self.status(by, of) == Some(Status::Alive)) == self.sim.is_up(of))
    }

    /// Whether this node has heard of another, wherever it stands.
    pub fn knows(&self, by: Node, of: Node) -> bool {
        let ticket = &self.book.profile(of, 0).ticket;
        self.sim.machine(by).is_some_and(|peer| peer.members().knows_ticket(ticket))
    }

    /// Runs in steps until it holds; how long that took, or none if it did not within so many seconds.
    pub fn time_until(
        &mut self,
        step: Micros,
        seconds: u64,
        holds: impl Fn(&Self) -> bool,
    ) -> Option<Micros> {
        let begin = self.sim.now();
        while !holds(self) {
            if self.sim.now() - begin >= seconds * SECOND {
                return None;
            }
            self.sim.run_for(step);
        }
        Some(self.sim.now() - begin)
    }

    /// How a test that failed is run again.
    pub fn repro(&self) -> String {
        format!("STARLING_SEED={}", self.seed)
    }

    fn falls_ill(&mut self, node: Node) {
        self.ill.push((node, self.sim.now(), Micros::MAX));
    }

    fn is_well_again(&mut self, node: Node) {
        let now = self.sim.now();
        let open = self.ill.iter_mut().filter(|(one, _, until)| *one == node && *until == Micros::MAX);
        open.for_each(|(_, _, until)| *until = now + GRACE);
    }

    fn was_well(&self, node: Node, at: Micros) -> bool {
        !self.ill.iter().any(|(one, from, until)| *one == node && (*from..*until).contains(&at))
    }
}

/// What is thought of a node so shortly after it came back may still be about before.
const GRACE: Micros = 3 * SECOND;

/// The spread of times that may not have come; those that did not are left out, and their number is given too.
pub fn spread_ms(times: &[Option<Micros>]) -> (Spread, usize) {
    let came: Vec<u64> = times.iter().flatten().map(|time| time / 1_000).collect();
    let missing = times.len() - came.len();
    (Spread::of(came), missing)
}

impl std::fmt::Debug for Town {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Town").field("seed", &self.seed).field("now", &self.sim.now()).finish_non_exhaustive()
    }
}
