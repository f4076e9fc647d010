//! A mesh of peers, the writers of the logs, and the faults of a seed.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use super::{
    Flaw, MS, Object,
    disk::Disk,
    peer::{Peer, region_of},
    truth::{Truth, selector},
};
use crate::{
    purge::{Change, Entry, Mode, Purge, Region, Version},
    sim::{Chance, CutId, Micros, NetworkSettings, Node, Settings, Sim, Topic, World, membership::Book},
};

/// Objects, all of one service.
const OBJECTS: u32 = 6;
/// For so long things go wrong; then all is well, and everybody has so long to converge.
const STORMY: Micros = 6_000 * MS;
const CALM: Micros = 6_000 * MS;

/// A simulated mesh of one seed.
pub(super) struct Town {
    sim: Sim<Peer>,
    book: Rc<Book>,
    truth: Rc<RefCell<Truth>>,
    chance: Chance,
    topic: Topic,
    flaw: Option<Flaw>,
    leaders: BTreeMap<Region, Node>,
    copies: BTreeMap<Node, Disk>,
    cuts: Vec<CutId>,
    nodes: u32,
}

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// The first promise that was broken.
    pub broken: Option<String>,
    pub served: u64,
    pub stored_served: u64,
    pub purges: u64,
    pub trace: u64,
}

/// Runs a seed to its end.
pub(super) fn run(seed: u64, flaw: Option<Flaw>) -> Run {
    let mut town = Town::new(seed, flaw);
    town.storm();
    town.calm();
    let truth = town.truth.borrow();
    let purges = truth.logs.values().map(|log| log.len() as u64).sum();
    let (served, stored_served) = (truth.served, truth.stored_served);
    Run { broken: truth.broken.clone(), served, stored_served, purges, trace: town.sim.trace() }
}

impl Town {
    fn new(seed: u64, flaw: Option<Flaw>) -> Self {
        let mut chance = Chance::new(!seed);
        let nodes = 4 + chance.below(4) as u32;
        let world = World::new(nodes, 1 + chance.below(3) as u32, 1 + chance.below(3) as u8);
        let loss_ppm = [0, 10_000, 100_000][chance.below(3) as usize];
        let network = NetworkSettings { loss_ppm, ..NetworkSettings::default() };
        let mut sim = Sim::new(seed, world.clone(), Settings { network, ..Settings::default() });
        let all: Vec<Node> = (0..nodes).collect();
        let topic = sim.topic(&all);
        let book = Rc::new(Book::new(world, &mut chance));
        let mut truth = Truth::default();
        truth.contents = vec![0; OBJECTS as usize];
        let mut town = Self {
            sim,
            book,
            truth: Rc::new(RefCell::new(truth)),
            chance,
            topic,
            flaw,
            leaders: BTreeMap::new(),
            copies: BTreeMap::new(),
            cuts: Vec::new(),
            nodes,
        };
        for node in all {
            let region = region_of(&town.book, node);
            town.truth.borrow_mut().epochs.insert(region, 1);
            town.start(node, Disk::default());
        }
        town.sim.run_for(1_000 * MS);
        town
    }

    fn start(&mut self, node: Node, disk: Disk) {
        let others = (0..self.nodes).filter(|other| *other != node && self.sim.is_up(*other));
        let others = others.filter_map(|other| self.sim.machine(other)).map(|peer| &peer.disk);
        self.truth.borrow_mut().rejoins(node, &disk, others);
        let shared = (self.book.clone(), self.truth.clone());
        let peer = Peer::new(node, shared, self.topic, disk, self.flaw, self.sim.now());
        self.sim.start(node, peer);
    }

    fn storm(&mut self) {
        let ends = self.sim.now() + STORMY;
        while self.sim.now() < ends && self.truth.borrow().broken.is_none() {
            let what = self.chance.below(1_000);
            let node = self.chance.below(u64::from(self.nodes)) as Node;
            match what {
                0..550 => self.read(node),
                550..750 => self.purge(),
                750..800 => self.compact(node),
                800..840 => self.cut(node),
                840..900 => self.heal(),
                900..930 => self.sim.crash(node),
                930..960 => self.restart(node),
                960..980 => self.copy(node),
                980..993 => self.restore(node),
                993..996 => self.reborn(node),
                _ => self.sim.run_for(1_500 * MS),
            }
            let pause = self.chance.below(40 * MS);
            self.sim.run_for(pause);
        }
    }

    fn calm(&mut self) {
        while !self.cuts.is_empty() {
            self.heal();
        }
        self.sim.network_mut().lose(0);
        for node in 0..self.nodes {
            if !self.sim.is_up(node) {
                self.restart(node);
            }
        }
        // What changed at the origin and was not purged is purged now.
        self.sim.run_for(CALM / 2);
        for object in 0..OBJECTS {
            self.change_and_purge(Some(object), None);
        }
        self.sim.run_for(CALM / 2);
        let heads = self.truth.borrow().heads();
        for node in 0..self.nodes {
            let Some(peer) = self.sim.machine(node) else { continue };
            let applied = peer.disk.applied();
            let is_level =
                heads.iter().all(|(region, head)| head.index == 0 || applied.get(region) == Some(head));
            if !is_level || (self.nodes > 1 && !peer.replica.is_caught_up()) {
                let what = format!("convergence: {node} is at {applied:?} and not at {heads:?}");
                self.truth.borrow_mut().broke(what);
            }
        }
        let before = self.truth.borrow().served;
        for node in 0..self.nodes {
            for object in 0..OBJECTS {
                self.sim.act(node, |peer, _, out| peer.read(object, out));
            }
        }
        self.sim.run_for(4_000 * MS);
        let mut truth = self.truth.borrow_mut();
        if truth.served < before + u64::from(self.nodes * OBJECTS) {
            truth.broke("convergence: a read was not answered".to_owned());
        }
        for node in 0..self.nodes {
            for (object, body) in self.sim.machine(node).into_iter().flat_map(|peer| &peer.disk.objects) {
                if body.content != truth.contents[*object as usize] {
                    truth.broke(format!("convergence: {node} has old bytes of {object}"));
                }
            }
        }
    }

    fn read(&mut self, node: Node) {
        let object = self.chance.below(u64::from(OBJECTS)) as Object;
        self.sim.act(node, |peer, _, out| peer.read(object, out));
    }

    fn purge(&mut self) {
        let object = (self.chance.below(12) > 0).then(|| self.chance.below(u64::from(OBJECTS)) as Object);
        let regions: Vec<Region> = self.truth.borrow().epochs.keys().cloned().collect();
        let region = regions[self.chance.below(regions.len() as u64) as usize].clone();
        self.change_and_purge(object, Some(region));
    }

    /// The origin has something new, then it is purged: in this region, or in the first that takes it.
    fn change_and_purge(&mut self, object: Option<Object>, region: Option<Region>) {
        let objects = object.map_or(0..OBJECTS, |object| object..object + 1);
        objects.for_each(|object| self.truth.borrow_mut().contents[object as usize] += 1);
        let soft = self.chance.below(4) == 0;
        let change = Change::Purge(Purge {
            service: "shop".to_owned(),
            selectors: vec![selector(object, self.chance.below(2) == 0)],
            mode: if soft { Mode::Soft } else { Mode::Hard },
        });
        let regions: Vec<Region> = match region {
            Some(region) => vec![region],
            None => self.truth.borrow().epochs.keys().cloned().collect(),
        };
        regions.into_iter().find(|region| self.commit(region, change.clone(), object));
    }

    /// Commits in a region's log, at most of its nodes at once; false when so many cannot be had.
    fn commit(&mut self, region: &Region, change: Change, object: Option<Object>) -> bool {
        let head = self.truth.borrow().heads().get(region).unwrap_or_default();
        let version = Version { index: head.index + 1, ..head };
        let entry = Entry { region: region.clone(), version, at_ms: 0, key: 0, change };
        let nodes: Vec<Node> = self.nodes_of(region);
        let has_all = |node: &Node| {
            let applied = self.sim.machine(*node).and_then(|peer| peer.disk.applied().get(region));
            self.sim.is_up(*node) && (applied == Some(head) || (applied.is_none() && head.index == 0))
        };
        let electable: Vec<Node> = nodes.iter().filter(|node| has_all(node)).copied().collect();
        let quorum = nodes.len() / 2 + 1;
        if electable.is_empty() || nodes.iter().filter(|node| self.sim.is_up(**node)).count() < quorum {
            return false;
        }
        let before = self.leaders.get(region).copied();
        let stays = before.filter(|node| electable.contains(node)).filter(|_| self.chance.below(8) > 0);
        let leader = stays.unwrap_or_else(|| electable[self.chance.below(electable.len() as u64) as usize]);
        self.truth.borrow_mut().commit(&entry, object);
        let voters: Vec<Node> =
            electable.iter().copied().filter(|node| *node != leader).take(quorum - 1).collect();
        for old in nodes.iter().filter(|node| **node != leader) {
            self.sim.act(*old, |peer, now, out| peer.lead(false, now, out));
        }
        self.leaders.insert(region.clone(), leader);
        self.sim.act(leader, |peer, now, out| peer.lead(true, now, out));
        for node in [leader].into_iter().chain(voters) {
            self.sim.act(node, |peer, now, out| peer.commit(&entry, now, out));
        }
        true
    }

    fn nodes_of(&self, region: &Region) -> Vec<Node> {
        (0..self.nodes).filter(|node| region_of(&self.book, *node) == *region).collect()
    }

    fn compact(&mut self, node: Node) {
        let left = self.chance.below(3) as usize;
        self.sim.act(node, |peer, _, _| peer.disk.compact(left));
    }

    fn cut(&mut self, node: Node) {
        let other = self.chance.below(u64::from(self.nodes)) as Node;
        let site = self.book.world().sites()[node as usize];
        let network = self.sim.network_mut();
        match self.chance.below(4) {
            0 => self.cuts.push(network.cut_one_way(&[node], &[other])),
            1 => self.cuts.extend(network.cut(&[node], &[other])),
            2 => self.cuts.extend(network.part(&[node])),
            _ => {
                let pop = network.world().pop(site.pop);
                self.cuts.extend(network.part(&pop));
            }
        }
    }

    fn heal(&mut self) {
        if !self.cuts.is_empty() {
            let cut = self.cuts.swap_remove(self.chance.below(self.cuts.len() as u64) as usize);
            self.sim.network_mut().heal(cut);
        }
    }

    /// kill -9, and a start with the disk as it was then.
    fn restart(&mut self, node: Node) {
        let disk = self.sim.machine(node).map(|peer| peer.disk.clone());
        self.start(node, disk.unwrap_or_default());
    }

    fn copy(&mut self, node: Node) {
        let disk = self.sim.machine(node).map(|peer| peer.disk.clone());
        self.copies.insert(node, disk.unwrap_or_default());
    }

    /// A start with a disk of some time ago, where others still have what was committed since.
    fn restore(&mut self, node: Node) {
        let region = region_of(&self.book, node);
        let head = self.truth.borrow().heads().get(&region);
        let has_all = |other: &Node| {
            let applied = self.sim.machine(*other).and_then(|peer| peer.disk.applied().get(&region));
            *other != node && applied == head
        };
        if self.nodes_of(&region).iter().any(has_all) {
            self.start(node, self.copies.get(&node).cloned().unwrap_or_default());
        }
    }

    /// A region's log is lost, and begins a new life at one of its nodes.
    fn reborn(&mut self, node: Node) {
        let region = region_of(&self.book, node);
        if self.sim.is_up(node) {
            *self.truth.borrow_mut().epochs.entry(region.clone()).or_default() += 1;
            let head = self.truth.borrow().heads().get(&region).unwrap_or_default();
            let version = Version { index: 1, ..head };
            let entry = Entry { region: region.clone(), version, at_ms: 0, key: 0, change: Change::Nothing };
            for old in self.nodes_of(&region) {
                self.sim.act(old, |peer, now, out| peer.lead(old == node, now, out));
            }
            self.truth.borrow_mut().commit(&entry, None);
            self.leaders.insert(region, node);
            self.sim.act(node, |peer, now, out| peer.commit(&entry, now, out));
        }
    }
}
