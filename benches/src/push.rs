//! Push to all: how long a purge takes from its region's leader to every node of a world, simulated.
//!
//! The real [`Replica`] of the leader decides whom to push to; what it decides is carried out here over modelled
//! paths. A path between two cities is the great circle between them at two thirds of the speed of light, as in
//! fibre, times 1.4, since fibre does not follow great circles, and 1 ms for the ends. Inside a city it is 0.2 ms.
//! Each message is late by up to a tenth of its path. What is lost is sent again after two and a half one-way times,
//! at least 10 ms and at most 1 s, then after twice that, and so on: the probe timeout of QUIC once it has measured
//! the path (RFC 9002 section 6.2).

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashSet},
    net::SocketAddr,
    sync::Arc,
};

use starling_proto::{
    NodeId,
    members::{Addresses, Member, Profile, Status, View},
    purge::{Input, Output, Region, Replica, ReplicaSettings, Version, Versions},
    ring::Ring,
    sim::{Chance, Spread},
    ticket::{Claim, Ticket},
};

/// Cities, with their region, latitude and longitude in degrees.
const CITIES: [(&str, &str, f64, f64); 20] = [
    ("lon", "eu", 51.5, -0.1),
    ("iad", "us", 39.0, -77.5),
    ("nrt", "asia", 35.7, 139.7),
    ("gru", "sa", -23.5, -46.6),
    ("syd", "oc", -33.9, 151.2),
    ("jnb", "af", -26.2, 28.0),
    ("fra", "eu", 50.1, 8.7),
    ("sjc", "us", 37.3, -121.9),
    ("sin", "asia", 1.35, 103.8),
    ("ams", "eu", 52.4, 4.9),
    ("ord", "us", 41.9, -87.6),
    ("bom", "asia", 19.1, 72.9),
    ("mad", "eu", 40.4, -3.7),
    ("dfw", "us", 32.8, -96.8),
    ("hkg", "asia", 22.3, 114.2),
    ("scl", "sa", -33.4, -70.7),
    ("akl", "oc", -36.8, 174.8),
    ("waw", "eu", 52.2, 21.0),
    ("yul", "us", 45.5, -73.6),
    ("los", "af", 6.5, 3.4),
];

/// What a node does with a push before it answers or passes it on: a synced write of its disk, in microseconds.
const APPLY_US: u64 = 1_000;
/// A call that is not answered in this time has failed.
const CALL_US: u64 = 2_000_000;
/// A relay tells what it knows after this.
const RELAYED_US: u64 = 500_000;

/// What to simulate.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Nodes.
    pub nodes: u16,
    /// Nodes of one PoP.
    pub pop_size: u16,
    /// Purges, each from another leader in turn.
    pub purges: u32,
    /// Of all chance in it.
    pub seed: u64,
}

/// What is wrong in the world.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Messages lost, per million.
    pub loss_ppm: u32,
    /// One node of each PoP, one of those that relay, is dead, and nobody knows it yet.
    pub dead_relays: bool,
}

/// What came of it; times in microseconds.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Until a node had applied the purge, for each node and purge.
    pub each: Vec<u64>,
    /// Until all nodes had, for each purge.
    pub all: Vec<u64>,
    /// One way to the farthest node, for each purge.
    pub farthest: Vec<u64>,
    /// Messages that carried the purge.
    pub messages: u64,
}

/// Runs the plan under each set of faults, and prints what came of it as Markdown.
pub fn run(plan: &Plan) {
    println!("# A purge to {} nodes in PoPs of {}, seed {}\n", plan.nodes, plan.pop_size, plan.seed);
    println!(
        "Milliseconds from the leader's commit. Aim: p99 at most 1.5 times one way to the farthest, plus 20.\n"
    );
    println!(
        "| faults | one way to the farthest | aim | node p50 | node p99 | node max | all p50 | all p99 | all max | copies |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    let dead = Faults { dead_relays: true, ..Faults::default() };
    let lossy = Faults { loss_ppm: 10_000, ..Faults::default() };
    let both = Faults { dead_relays: true, ..lossy };
    let cases = [
        ("none", Faults::default()),
        ("1 % loss", lossy),
        ("a relay dead in each PoP", dead),
        ("both", both),
    ];
    for (name, faults) in cases {
        let Figures { each, all, farthest, messages } = simulate(plan, faults);
        let copies = messages as f64 / each.len().max(1) as f64;
        let farthest = Spread::of(farthest).max;
        let (each, all) = (Spread::of(each), Spread::of(all));
        let ms = |us: u64| format!("{:.1}", us as f64 / 1_000.0);
        let line =
            [farthest, farthest * 3 / 2 + 20_000, each.p50, each.p99, each.max, all.p50, all.p99, all.max];
        println!("| {name} | {} | {copies:.2} |", line.map(ms).join(" | "));
    }
}

/// Runs the plan: one purge at a time, until all have it that live.
pub fn simulate(plan: &Plan, faults: Faults) -> Figures {
    let world = World::new(plan);
    let leaders: Vec<u16> = (0..plan.nodes).step_by(usize::from(plan.pop_size)).take(6).collect();
    let mut figures = Figures::default();
    let mut chance = Chance::new(plan.seed);
    for purge in 0..plan.purges {
        let leader = leaders[purge as usize % leaders.len()];
        // One that has learned nothing of the purges before, such as that a relay is dead.
        let done = Leader::new(leader, &world).purge(&world, faults, &mut chance);
        let lives = |node: &u16| *node != leader && !(faults.dead_relays && world.is_doomed(*node));
        let times: Vec<u64> = (0..plan.nodes).filter(lives).map(|node| done.applied[&node]).collect();
        figures.all.extend(times.iter().max());
        figures.each.extend(times);
        figures.farthest.extend((0..plan.nodes).map(|node| world.one_way(leader, node)).max());
        figures.messages += done.messages;
    }
    figures
}

struct World {
    nodes: u16,
    pop_size: u16,
    view: View,
    ways: Vec<Vec<u64>>,
}

impl World {
    fn new(plan: &Plan) -> Self {
        let Plan { nodes, pop_size, .. } = *plan;
        let way = |a: usize, b: usize| {
            let ((_, _, lat_a, lon_a), (_, _, lat_b, lon_b)) = (CITIES[a], CITIES[b]);
            if a == b {
                200
            } else {
                (great_circle_km(lat_a, lon_a, lat_b, lon_b) / 200.0 * 1.4 * 1_000.0) as u64 + 1_000
            }
        };
        let ways = (0..CITIES.len()).map(|a| (0..CITIES.len()).map(|b| way(a, b)).collect()).collect();
        let members = (0..nodes).map(|node| (id(node), member(node, pop_size))).collect();
        let view = View {
            me: id(0),
            members,
            ring: Arc::new(Ring::new(&[])),
            previous: None,
            hot: Arc::new(HashSet::new()),
        };
        Self { nodes, pop_size, view, ways }
    }

    fn city(&self, node: u16) -> usize {
        usize::from(node / self.pop_size) % CITIES.len()
    }

    fn one_way(&self, from: u16, to: u16) -> u64 {
        self.ways[self.city(from)][self.city(to)]
    }

    /// The second node of each PoP: it relays for leaders that know no better.
    fn is_doomed(&self, node: u16) -> bool {
        node % self.pop_size == 1
    }

    fn delay(&self, from: u16, to: u16, faults: Faults, chance: &mut Chance) -> u64 {
        let usual = self.one_way(from, to);
        let mut late = chance.below(usual / 10 + 1);
        let mut again = (usual * 5 / 2).clamp(10_000, 1_000_000);
        while chance.happens(faults.loss_ppm) {
            late += again;
            again *= 2;
        }
        usual + late
    }
}

/// The leader of a group, and its view of all others.
struct Leader {
    node: u16,
    region: Region,
    replica: Replica,
}

/// How one purge went.
struct Done {
    applied: BTreeMap<u16, u64>,
    messages: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A push arrives, to be passed on to these.
    Arrives {
        to: u16,
        relay: Vec<u16>,
    },
    /// A node's answer: it, and those it told, have it.
    Answers {
        from: u16,
        reached: Vec<u16>,
    },
    /// No answer comes.
    Fails {
        to: u16,
    },
    Tick,
}

impl Leader {
    fn new(node: u16, world: &World) -> Self {
        let mut replica = Replica::new(id(node), ReplicaSettings::default());
        let region = Region::new(CITIES[world.city(node)].1);
        let mut view = world.view.clone();
        view.me = id(node);
        replica.handle(Input::Leads(Some(region.clone())), 0);
        replica.handle(Input::View(Arc::new(view)), 0);
        // Everybody has what was before.
        for other in 0..world.nodes {
            let at = Some(Version { epoch: 1, index: 1 });
            replica.handle(Input::Told { node: id(other), region: region.clone(), at }, 0);
        }
        Self { node, region, replica }
    }

    fn purge(mut self, world: &World, faults: Faults, chance: &mut Chance) -> Done {
        let mut queue: BinaryHeap<Reverse<(u64, u64, Event)>> = BinaryHeap::new();
        let mut done = Done { applied: BTreeMap::new(), messages: 0 };
        let mut waits: BTreeMap<u16, u64> = BTreeMap::new();
        let mut order = 0;
        let mut post = |queue: &mut BinaryHeap<_>, at: u64, event| {
            order += 1;
            queue.push(Reverse((at, order, event)));
        };
        let is_dead = |node: u16| faults.dead_relays && world.is_doomed(node);
        let mut stamp = Versions::default();
        stamp.set(self.region.clone(), Version { epoch: 1, index: 2 });
        let mut outputs = self.replica.handle(Input::Applied(Arc::new(stamp)), 0);
        post(&mut queue, 0, Event::Tick);
        let mut now = 0;
        loop {
            for output in std::mem::take(&mut outputs) {
                match output {
                    Output::Push { to, relay, .. } => {
                        let (to, relay) = (number(&to), relay.iter().map(number).collect());
                        done.messages += 1;
                        waits.insert(to, now);
                        post(&mut queue, now + CALL_US, Event::Fails { to });
                        let at = now + world.delay(self.node, to, faults, chance);
                        post(&mut queue, at, Event::Arrives { to, relay });
                    }
                    Output::Compare { .. } => {}
                }
            }
            let Some(Reverse((at, _, event))) = queue.pop() else { break };
            now = at;
            match event {
                Event::Arrives { to, .. } if is_dead(to) => {}
                Event::Arrives { to, relay } => {
                    done.applied.entry(to).or_insert(now + APPLY_US);
                    // It is passed on while it is written.
                    let mut told = now + APPLY_US;
                    let mut reached = vec![to];
                    for other in relay {
                        done.messages += 1;
                        let arrives = now + world.delay(to, other, faults, chance);
                        post(&mut queue, arrives, Event::Arrives { to: other, relay: Vec::new() });
                        let answers = arrives + APPLY_US + world.delay(other, to, faults, chance);
                        if is_dead(other) || answers > now + RELAYED_US {
                            told = now + RELAYED_US;
                        } else {
                            told = told.max(answers);
                            reached.push(other);
                        }
                    }
                    if waits.contains_key(&to) {
                        let at = told + world.delay(to, self.node, faults, chance);
                        post(&mut queue, at, Event::Answers { from: to, reached });
                    }
                }
                Event::Answers { from, reached } => {
                    if waits.remove(&from).is_some() {
                        let version = Version { epoch: 1, index: 2 };
                        for node in reached {
                            let (node, region) = (id(node), self.region.clone());
                            let told = Input::Told { node, region, at: Some(version) };
                            outputs.extend(self.replica.handle(told, now / 1_000));
                        }
                        outputs.extend(self.pushed(from, true, now));
                    }
                }
                Event::Fails { to } => {
                    if waits.get(&to).is_some_and(|since| since + CALL_US <= now) {
                        waits.remove(&to);
                        outputs.extend(self.pushed(to, false, now));
                    }
                }
                Event::Tick => {
                    outputs.extend(self.replica.handle(Input::Tick, now / 1_000));
                    let has_it =
                        |node: &u16| *node == self.node || is_dead(*node) || done.applied.contains_key(node);
                    if !(0..world.nodes).all(|node| has_it(&node)) {
                        post(&mut queue, now + 100_000, Event::Tick);
                    }
                }
            }
        }
        done
    }

    fn pushed(&mut self, to: u16, answered: bool, now: u64) -> Vec<Output> {
        let ended = Input::Pushed { to: id(to), region: self.region.clone(), answered };
        self.replica.handle(ended, now / 1_000)
    }
}

/// Ids are in the order of nodes.
fn id(node: u16) -> NodeId {
    let mut bytes = [0; 32];
    bytes[..2].copy_from_slice(&node.to_be_bytes());
    NodeId::from_bytes(bytes)
}

fn number(id: &NodeId) -> u16 {
    u16::from_be_bytes([id.as_bytes()[0], id.as_bytes()[1]])
}

fn member(node: u16, pop_size: u16) -> Member {
    let pop = node / pop_size;
    let (city, region, ..) = CITIES[usize::from(pop) % CITIES.len()];
    let claim = Claim {
        node: id(node),
        name: format!("{city}-{node}"),
        region: region.to_owned(),
        pop: format!("{city}-{pop}"),
        may_shield: true,
        expires_ms: u64::MAX,
    };
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let profile = Profile {
        ticket: Ticket { claim, signature: None },
        incarnation: 1,
        addresses: Addresses { mesh: nowhere, link_quic: nowhere },
        weight: 100,
    };
    Member::new(profile, Status::Alive)
}

/// By the haversine formula, on a sphere of 6371 km.
fn great_circle_km(lat_a: f64, lon_a: f64, lat_b: f64, lon_b: f64) -> f64 {
    let half = |one: f64, other: f64| ((other - one).to_radians() / 2.0).sin().powi(2);
    let across = lat_a.to_radians().cos() * lat_b.to_radians().cos() * half(lon_a, lon_b);
    2.0 * 6_371.0 * (half(lat_a, lat_b) + across).sqrt().asin()
}
