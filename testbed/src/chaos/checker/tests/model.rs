//! Histories of a small mesh that is right, by a seed: the judge must find nothing in them. Planted faults: it must
//! find each. And histories of numbers at random, judged a second time in the plainest way.

use std::collections::{BTreeMap, BTreeSet};

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

use crate::{
    chaos::{
        checker::{Id, Place, judge, rules::shown},
        history::{By, Ended, Event, Kind, Micros, Outcome, Purge, Read},
    },
    client::Protocol,
    faults::{Fault, Nodes},
    press::{Host, Object, Scope},
};

use super::language::{NODES, run};

const REGIONS: [&str; 2] = ["eu", "us"];

/// A mesh in which each thing happens at one moment, and is seen from somewhat before to somewhat after.
pub struct Mesh {
    random: ChaCha8Rng,
    now_us: Micros,
    wanted: u64,
    keys: u64,
    last_edition: u64,
    /// All editions that objects had, in their order.
    past: BTreeMap<(Host, u32, u32), Vec<u64>>,
    /// By region: what a purge names, whether it is soft, and what each object had when it was committed.
    logs: [Vec<Entry>; 2],
    nodes: Vec<Node>,
    waiting: Vec<Waiting>,
    pub events: Vec<Event>,
}

struct Entry {
    scope: Scope,
    is_soft: bool,
    had: BTreeMap<(Host, u32, u32), u64>,
    applied_once: BTreeSet<usize>,
}

#[derive(Default)]
struct Node {
    has: Disk,
    kept: Option<Disk>,
}

/// What a node has applied, and what of each object is covered by that.
#[derive(Clone, Default)]
struct Disk {
    applied: [usize; 2],
    covered: BTreeMap<(Host, u32, u32), u64>,
}

struct Waiting {
    purge: Purge,
    region: usize,
    index: usize,
}

impl Mesh {
    pub fn lived(seed: u64, steps: usize) -> Self {
        let mut mesh = Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            now_us: 1000,
            wanted: 0,
            keys: 0,
            last_edition: 1,
            past: BTreeMap::new(),
            logs: Default::default(),
            nodes: NODES.iter().map(|_| Node::default()).collect(),
            waiting: Vec::new(),
            events: vec![run(0)],
        };
        for _ in 0..steps {
            mesh.step();
        }
        mesh.settle();
        mesh
    }

    fn step(&mut self) {
        self.now_us += self.random.random_range(0..20);
        match self.random.random_range(0..100) {
            0..8 => self.publish(),
            8..18 => self.purge(),
            18..28 => self.acknowledge(),
            28..45 => self.apply(),
            45..55 => self.tell(),
            55..57 => self.disk(),
            _ => self.read(false),
        }
    }

    fn span(&mut self) -> (Micros, Micros) {
        let before = self.random.random_range(0..60);
        (self.now_us.saturating_sub(before), self.now_us + self.random.random_range(0..60))
    }

    fn scope(&mut self) -> Scope {
        let host = *Host::ALL.choose(&mut self.random).expect("there are hosts");
        let (group, name) = (self.random.random_range(0..2), self.random.random_range(0..3));
        match self.random.random_range(0..10) {
            0 => Scope::All(host),
            1..4 => Scope::Group(host, group),
            _ => Scope::Object(host, group, name),
        }
    }

    fn publish(&mut self) {
        let (at_us, done_us) = self.span();
        let scope = self.scope();
        self.last_edition += 1;
        let edition = self.last_edition;
        for host in Host::ALL {
            for (group, name) in (0..2).flat_map(|group| (0..3).map(move |name| (group, name))) {
                if (Object { host, group, name, bytes: 9 }).is_in(&scope) {
                    self.past.entry((host, group, name)).or_insert_with(|| vec![1]).push(edition);
                }
            }
        }
        self.events.push(Event::Published { at_us, done_us, scope, edition });
    }

    /// Sends one. It is committed at once, or at its second attempt, and acknowledged at some time.
    fn purge(&mut self) {
        let (at_us, done_us) = self.span();
        let (scope, is_soft) = (self.scope(), self.random.random_bool(0.1));
        let region = self.random.random_range(0..2);
        self.keys += 1;
        let key = format!("k{}", self.keys);
        let ended = Ended::Unknown { why: "no answer".to_owned() };
        let node = NODES[self.random.random_range(0..NODES.len())].0.to_owned();
        let wait = "applied".to_owned();
        let by = By::Tag;
        let first = Purge {
            key,
            attempt: 1,
            node,
            scope: scope.clone(),
            by,
            soft: is_soft,
            wait,
            at_us,
            done_us,
            ended,
        };
        let is_lost = self.random.random_bool(0.3);
        if is_lost {
            self.events.push(Event::Purge(first.clone()));
        }
        if is_lost && self.random.random_bool(0.3) {
            return;
        }
        let had = self.past.iter().map(|(object, past)| (*object, past[past.len() - 1])).collect();
        self.logs[region].push(Entry { scope, is_soft, had, applied_once: BTreeSet::new() });
        let index = self.logs[region].len();
        let attempt = if is_lost { 2 } else { 1 };
        self.waiting.push(Waiting { purge: Purge { attempt, ..first }, region, index });
    }

    fn acknowledge(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let at = self.random.random_range(0..self.waiting.len());
        let Waiting { mut purge, region, index } = self.waiting.swap_remove(at);
        let (at_us, done_us) = self.span();
        if purge.attempt > 1 {
            purge.at_us = at_us.max(purge.done_us);
        }
        purge.done_us = done_us.max(purge.at_us);
        let once = &self.logs[region][index - 1].applied_once;
        let applied = once.iter().map(|node| NODES[*node].0.to_owned()).collect();
        let id = format!("{}/00000000000000aa/{index}", REGIONS[region]);
        // All who lack something ask the origin for what is strict, so this is always true.
        purge.ended = Ended::Acknowledged { id, complete: true, fenced: true, applied };
        self.events.push(Event::Purge(purge));
    }

    fn apply(&mut self) {
        let node = self.random.random_range(0..NODES.len());
        let region = self.random.random_range(0..2);
        self.apply_at(node, region);
    }

    fn apply_at(&mut self, node: usize, region: usize) {
        let disk = &mut self.nodes[node].has;
        let Some(entry) = self.logs[region].get_mut(disk.applied[region]) else { return };
        disk.applied[region] += 1;
        entry.applied_once.insert(node);
        for ((host, group, name), had) in &entry.had {
            let object = Object { host: *host, group: *group, name: *name, bytes: 9 };
            if !entry.is_soft && object.is_in(&entry.scope) {
                let covered = disk.covered.entry((*host, *group, *name)).or_insert(1);
                *covered = (*covered).max(*had);
            }
        }
    }

    fn tell(&mut self) {
        let node = self.random.random_range(0..NODES.len());
        self.tell_of(node);
    }

    fn tell_of(&mut self, node: usize) {
        let (at_us, done_us) = self.span();
        let place = |region: usize| {
            let index = self.nodes[node].has.applied[region];
            (REGIONS[region].to_owned(), format!("00000000000000aa/{index}"))
        };
        let versions = (0..2).map(place).collect();
        let node = NODES[node].0.to_owned();
        self.events.push(Event::Knows { node, at_us, done_us, versions, caught_up: true });
    }

    fn disk(&mut self) {
        let node = self.random.random_range(0..NODES.len());
        let (at_us, done_us) = self.span();
        let nodes = Nodes(NODES[node].0.to_owned());
        let fault = match self.nodes[node].kept.take() {
            None => {
                self.nodes[node].kept = Some(self.nodes[node].has.clone());
                Fault::KeepDisk(nodes)
            }
            Some(kept) => {
                self.nodes[node].has = kept;
                Fault::OldDisk(nodes)
            }
        };
        self.events.push(Event::Fault {
            at_us,
            done_us,
            fault,
            nodes: vec![NODES[node].0.to_owned()],
            error: None,
        });
    }

    fn read(&mut self, is_last: bool) {
        let node = self.random.random_range(0..NODES.len());
        let host = *Host::ALL.choose(&mut self.random).expect("there are hosts");
        let (group, name) = (self.random.random_range(0..2), self.random.random_range(0..3));
        let object = Object { host, group, name, bytes: 9 };
        let first = vec![1];
        let past = self.past.get(&(host, group, name)).unwrap_or(&first);
        let disk = &self.nodes[node].has;
        let behind = (0..2).any(|region| disk.applied[region] < self.logs[region].len());
        let covered = disk.covered.get(&(host, group, name)).copied().unwrap_or(1);
        let least = if host == Host::Strict && behind { past[past.len() - 1] } else { covered };
        let allowed = &past[past.partition_point(|edition| *edition < least)..];
        let edition = *allowed.choose(&mut self.random).expect("the newest is allowed");
        let (kind, status) = match self.random.random_range(0..10) {
            0 => (Kind::Range(0, 5), 206),
            1 => (Kind::Unless(edition), 304),
            2 => (Kind::Unless(1), if edition == 1 { 304 } else { 200 }),
            _ => (Kind::Whole, 200),
        };
        let outcome = match self.random.random_range(0..20) {
            0 if !is_last => Outcome::Failed { why: "reset".to_owned(), is_unanswered: true },
            _ => Outcome::Answered { status, edition: Some(edition), damaged: None, cache: String::new() },
        };
        let (at_us, done_us) = self.span();
        self.wanted += 1;
        let (wanted, node, protocol) = (self.wanted, NODES[node].0.to_owned(), Protocol::H2);
        let read =
            Read { wanted, attempt: 1, node, object, protocol, kind, at_us, done_us, is_last, outcome };
        self.events.push(Event::Read(read));
    }

    fn settle(&mut self) {
        self.now_us += 1000;
        self.events.push(Event::Healed { at_us: self.now_us });
        while !self.waiting.is_empty() {
            self.acknowledge();
        }
        self.now_us += 1000;
        for node in 0..NODES.len() {
            for region in 0..2 {
                (0..self.logs[region].len()).for_each(|_| self.apply_at(node, region));
            }
            self.tell_of(node);
        }
        self.now_us += 1000;
        (0..NODES.len()).for_each(|node| self.tell_of(node));
        let acknowledged = |event: &Event| match event {
            Event::Purge(Purge { ended: Ended::Acknowledged { id, .. }, .. }) => Some(id.clone()),
            _ => None,
        };
        let ids: Vec<String> = self.events.iter().filter_map(acknowledged).collect();
        for id in ids {
            for (node, _) in NODES {
                let (node, id) = (node.to_owned(), id.clone());
                let selectors = vec![format!("tag:{id}")];
                self.events.push(Event::Logged { node, id, status: 200, selectors });
            }
        }
        self.now_us += 1000;
        (0..40).for_each(|_| self.read(true));
        self.now_us += 1000;
        self.events.push(Event::End { at_us: self.now_us });
    }
}

#[test]
fn a_right_mesh_breaks_no_rule() {
    let (mut known, mut fenced) = (0, 0);
    for seed in 0..400 {
        let judged = judge(&Mesh::lived(seed, 400).events);
        assert!(judged.violations.is_empty(), "seed {seed}: {:#?}", judged.violations);
        known += judged.coverage.counts["reads_after_known"];
        fenced += judged.coverage.counts["reads_after_fenced"];
    }
    assert!(
        known > 10_000 && fenced > 2_000,
        "too little was judged: {known} reads, {fenced} of them fenced"
    );
}

/// Changes one of the events that fit, by chance; answers whether there was one.
fn plant(events: &mut [Event], random: &mut ChaCha8Rng, mut change: impl FnMut(&mut Event) -> bool) -> bool {
    let from = random.random_range(0..events.len());
    let (before, after) = events.split_at_mut(from);
    after.iter_mut().chain(before).any(&mut change)
}

#[test]
fn a_planted_fault_is_found_in_whatever_mesh() {
    let mut planted = BTreeMap::<&str, u64>::new();
    for seed in 0..400 {
        let mut events = Mesh::lived(seed, 300).events;
        let random = &mut ChaCha8Rng::seed_from_u64(seed);
        let rules = ["P1", "P5", "future", "damaged", "one-purge", "order", "logged", "fresh"];
        let rule = rules[usize::try_from(seed).expect("small") % rules.len()];
        let demanded = Plain::new(&events);
        let healed_us = events.iter().find_map(|event| match event {
            Event::Healed { at_us } => Some(*at_us),
            _ => None,
        });
        // Those who are asked then have told their versions before.
        let settled_us = healed_us.expect("it was healed") + 1500;
        let is_missing = random.random_bool(0.5);
        let is_planted = plant(&mut events, random, |event| match (rule, event) {
            ("P1", Event::Read(read)) => age(read, demanded.at_the_node(read)),
            ("P5", Event::Read(read)) => age(read, demanded.fenced(read)),
            ("fresh", Event::Read(read)) if read.is_last => age(read, demanded.at_last(read)),
            ("future", Event::Read(read)) => become_edition(read, 1_000_000),
            ("damaged", Event::Read(Read { outcome: Outcome::Answered { damaged, .. }, .. })) => {
                *damaged = Some("byte 0".to_owned());
                true
            }
            ("one-purge", Event::Purge(Purge { attempt: 2, ended: Ended::Acknowledged { id, .. }, .. })) => {
                // That of somebody else, or, if it is its own, none is planted here.
                id.ends_with("/2") && {
                    *id = id.replace("/2", "/1");
                    true
                }
            }
            ("order", Event::Knows { versions, at_us, .. }) if *at_us > settled_us => {
                versions.insert("eu".to_owned(), "00000000000000a9/999".to_owned());
                true
            }
            ("logged", Event::Logged { status, selectors, .. }) => {
                if is_missing {
                    *status = 404;
                } else {
                    selectors.push("tag:more".to_owned());
                }
                true
            }
            _ => false,
        });
        if is_planted {
            let judged = judge(&events);
            assert!(judged.violations.iter().any(|violation| violation.rule == rule), "seed {seed}: {rule}");
            *planted.entry(rule).or_default() += 1;
        }
    }
    assert!(planted.len() == 8 && planted.values().all(|count| *count >= 5), "{planted:?}");
}

/// Gives a read an edition that is one too old.
fn age(read: &mut Read, least: u64) -> bool {
    least > 1 && shown(read).is_some() && become_edition(read, least - 1)
}

fn become_edition(read: &mut Read, to: u64) -> bool {
    let Outcome::Answered { edition: Some(edition), .. } = &mut read.outcome else { return false };
    *edition = to;
    if let Kind::Unless(named) = &mut read.kind {
        *named = to;
    }
    true
}

/// The rules about old content as they are written in words, with nothing sorted: for each read all purges, for each of
/// them all that is known.
struct Plain {
    events: Vec<Event>,
}

impl Plain {
    fn new(events: &[Event]) -> Self {
        Self { events: events.to_vec() }
    }

    fn purges(&self) -> impl Iterator<Item = &Purge> {
        self.events.iter().filter_map(|event| match event {
            Event::Purge(purge) => Some(purge),
            _ => None,
        })
    }

    /// What a purge covers of an object: 1 if it does not name it, or is not known to be committed.
    fn covered(&self, purge: &Purge, object: &Object) -> u64 {
        if purge.soft || !object.is_in(&purge.scope) {
            return 1;
        }
        let first_us = self.purges().filter(|other| other.key == purge.key).map(|other| other.at_us).min();
        let published = self.events.iter().filter_map(|event| match event {
            Event::Published { done_us, scope, edition, .. } => {
                (Some(*done_us) <= first_us && object.is_in(scope)).then_some(*edition)
            }
            _ => None,
        });
        published.max().unwrap_or(1)
    }

    fn greatest(&self, object: &Object, is_it: impl Fn(&Purge, Id<'_>) -> bool) -> u64 {
        let acknowledged = self.purges().filter(|purge| match &purge.ended {
            Ended::Acknowledged { id, .. } => Id::parse(id).is_some_and(|id| is_it(purge, id)),
            _ => false,
        });
        acknowledged.map(|purge| self.covered(purge, object)).max().unwrap_or(1)
    }

    fn at_the_node(&self, read: &Read) -> u64 {
        self.greatest(&read.object, |_, id| self.knew(read, id))
    }

    fn fenced(&self, read: &Read) -> u64 {
        if read.object.host != Host::Strict {
            return 1;
        }
        self.greatest(&read.object, |purge, _| {
            purge.done_us <= read.at_us && matches!(purge.ended, Ended::Acknowledged { fenced: true, .. })
        })
    }

    fn at_last(&self, read: &Read) -> u64 {
        self.greatest(&read.object, |purge, _| read.is_last && purge.done_us <= read.at_us)
    }

    /// Whether the node of a read knew an entry when it began, and had no other disk since.
    fn knew(&self, read: &Read, id: Id<'_>) -> bool {
        let is_enough = |region: &str, place: Place| {
            region == id.region && place.epoch == id.place.epoch && place.index >= id.place.index
        };
        self.events.iter().any(|event| {
            let (from_us, known_us) = match event {
                Event::Knows { node, at_us, done_us, versions, .. } => {
                    let tells = versions.iter().any(|(region, version)| {
                        Place::parse(version).is_some_and(|place| is_enough(region, place))
                    });
                    if *node != read.node || !tells {
                        return false;
                    }
                    (*at_us, *done_us)
                }
                Event::Purge(purge) => {
                    let Ended::Acknowledged { id, applied, .. } = &purge.ended else { return false };
                    let is_told = Id::parse(id).is_some_and(|id| is_enough(id.region, id.place));
                    if !applied.contains(&read.node) || !is_told {
                        return false;
                    }
                    let attempts = self.purges().filter(|other| other.key == purge.key);
                    (attempts.map(|other| other.at_us).min().unwrap_or(0), purge.done_us)
                }
                _ => return false,
            };
            // An end that meets a beginning is before it.
            let changes = |from: Micros, to: Micros| {
                self.events.iter().any(|event| match event {
                    Event::Fault { at_us, done_us, fault: Fault::OldDisk(_), nodes, .. } => {
                        nodes.contains(&read.node) && *at_us <= to && from < *done_us
                    }
                    _ => false,
                })
            };
            known_us <= read.at_us && !changes(from_us, read.done_us)
        })
    }
}

#[test]
fn numbers_at_random_are_judged_as_the_words_of_the_rules_say() {
    let mut found = BTreeMap::<&str, usize>::new();
    for seed in 0..300 {
        let random = &mut ChaCha8Rng::seed_from_u64(seed);
        let mut events = Mesh::lived(seed, 120).events;
        for event in &mut events {
            match event {
                Event::Read(read) if random.random_bool(0.5) => {
                    let edition = random.random_range(1..8);
                    become_edition(read, edition);
                    read.at_us = read.at_us.saturating_sub(random.random_range(0..900));
                }
                Event::Knows { versions, .. } if random.random_bool(0.3) => {
                    let epoch = random.random_range(0xa9..0xac_u64);
                    versions.insert("us".to_owned(), format!("{epoch:x}/{}", random.random_range(0..9)));
                }
                Event::Purge(Purge { ended: Ended::Acknowledged { applied, .. }, .. })
                    if random.random_bool(0.3) =>
                {
                    applied.push("b".to_owned());
                }
                Event::Fault { at_us, .. } => *at_us = at_us.saturating_sub(random.random_range(0..300)),
                _ => {}
            }
        }
        let plain = Plain::new(&events);
        let judged = judge(&events);
        for rule in ["P1", "P5", "fresh"] {
            let reads = events.iter().filter_map(|event| match event {
                Event::Read(read) => Some(read),
                _ => None,
            });
            let old = reads.filter(|read| {
                let least = match rule {
                    "P1" => plain.at_the_node(read),
                    "P5" => plain.fenced(read),
                    _ if !read.is_last => 1,
                    _ => plain.at_last(read),
                };
                shown(read).is_some_and(|edition| edition < least)
            });
            let expected: Vec<Micros> = {
                let mut times: Vec<Micros> = old.map(|read| read.at_us).collect();
                times.sort_unstable();
                times
            };
            let times = judged.violations.iter().filter(|violation| violation.rule == rule);
            let times: Vec<Micros> = times.map(|violation| violation.at_us).collect();
            assert_eq!(times, expected, "seed {seed}: {rule}");
            *found.entry(rule).or_default() += times.len();
        }
    }
    assert!(found.values().all(|count| *count > 300), "{found:?}");
}
