//! The simulated mesh, put through what meshes suffer: one phase after another on one town, a table line each.

use std::time::Instant;

use starling_proto::{
    members::Status,
    sim::{
        Micros, Node, Spread,
        membership::{Errors, SECOND, Town, TownSettings, spread_ms},
    },
};

/// What to simulate.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The town.
    pub town: TownSettings,
    /// Of all chance in it.
    pub seed: u64,
    /// How long each phase without deaths lasts, in simulated seconds.
    pub seconds: u64,
    /// The phases, by name; all of them if none are named.
    pub phases: Vec<String>,
}

/// Names of the phases, in the order they come.
pub const PHASES: [&str; 10] =
    ["quiet", "kill", "power-off", "stop", "join", "loss", "lossy-node", "cut", "restart", "part"];

/// After this many seconds a death is known to all who ever know it.
const DEATH_SECONDS: u64 = 9;

/// A phase: what is done, and what came of it.
type Phase = fn(&mut Town, &Plan);

/// Runs the plan and prints what came of it, as Markdown.
pub fn run(plan: &Plan) {
    let began = Instant::now();
    let TownSettings { nodes, pop_size, regions, pops_that_listen, .. } = plan.town;
    let pops = nodes.div_ceil(pop_size);
    let listening = pops.min(u32::from(pops_that_listen));
    println!("# {nodes} nodes, {pops} PoPs, {regions} regions, seed {}\n", plan.seed);
    if listening < pops {
        println!(
            "What PoPs say of themselves goes to all nodes, and is kept by those of {listening} PoPs.\n"
        );
    }
    let joiner = nodes - 1;
    let mut town = Town::settled(plan.seed, &plan.town, &[joiner]);
    let phases: [Phase; 10] = [quiet, kill, power_off, stop, join, loss, lossy_node, cut, restart, part];
    for (name, phase) in PHASES.iter().zip(phases) {
        if plan.phases.is_empty() || plan.phases.iter().any(|wanted| wanted == name) {
            phase(&mut town, plan);
        }
    }
    println!(
        "\n{} simulated seconds, {} events, trace {:016x}, in {:.0} s",
        town.sim.now() / SECOND,
        town.sim.events(),
        town.sim.trace(),
        began.elapsed().as_secs_f64()
    );
}

fn quiet(town: &mut Town, plan: &Plan) {
    town.sim.traffic_mut().clear();
    let since = town.sim.now();
    town.run(plan.seconds);
    println!("| per node and second | mean | p50 | p99 | max |\n| --- | --- | --- | --- | --- |");
    let traffic = town.sim.traffic();
    let line = |what: &str, Spread { mean, p50, p99, max, .. }: Spread| {
        println!("| {what} | {mean:.0} | {p50} | {p99} | {max} |");
    };
    line("messages in", traffic.spread(|of| of.messages_in));
    line("messages out", traffic.spread(|of| of.messages_out));
    line("bytes in", traffic.spread(|of| of.bytes_in));
    line("bytes out", traffic.spread(|of| of.bytes_out));
    println!("\nGossip comes {:.1} times to each node.", traffic.copies());
    errors(town, "quiet", since, plan.seconds);
}

fn kill(town: &mut Town, _: &Plan) {
    deaths(town, "kill -9", Town::kill);
}

fn power_off(town: &mut Town, _: &Plan) {
    deaths(town, "power off", Town::unplug);
}

fn stop(town: &mut Town, _: &Plan) {
    deaths(town, "SIGSTOP", Town::pause);
}

/// One node each of many PoPs dies, and comes back.
fn deaths(town: &mut Town, what: &str, how: fn(&mut Town, Node)) {
    let victims = victims(town);
    let since = town.sim.now();
    victims.iter().for_each(|node| how(town, *node));
    town.run(DEATH_SECONDS);
    let passed: Vec<_> = victims.iter().flat_map(|of| town.times_to(Status::Suspect, *of, since)).collect();
    let last = |of: &Node| {
        let times = town.times_to(Status::Dead, *of, since);
        times.into_iter().collect::<Option<Vec<Micros>>>().and_then(|all| all.into_iter().max())
    };
    let dead: Vec<_> = victims.iter().map(last).collect();
    times_line(&format!("{what}: passed over, by each neighbour"), &passed);
    times_line(&format!("{what}: dead in the whole PoP"), &dead);
    for node in victims.iter().copied() {
        town.resume(node);
        if !town.sim.is_up(node) {
            town.start(node);
        }
    }
    let back = town.time_until(SECOND / 10, 20, |town| {
        victims.iter().all(|node| town.neighbours(*node).into_iter().all(|by| town.sees_its_pop(by)))
    });
    times_line(&format!("{what}: back in all views of the PoP"), &[back]);
}

fn join(town: &mut Town, plan: &Plan) {
    let joiner = plan.town.nodes - 1;
    let since = town.sim.now();
    town.start(joiner);
    let neighbours = town.neighbours(joiner);
    let pop = town.time_until(SECOND / 100, 20, |town| {
        neighbours.iter().all(|by| town.status(*by, joiner) == Some(Status::Alive))
    });
    let listens = |node: &Node| town.world().sites()[*node as usize].pop < plan.town.pops_that_listen;
    let listeners: Vec<Node> = town.up().into_iter().filter(listens).filter(|node| *node != joiner).collect();
    let world = town.time_until(SECOND / 10, 30, |town| listeners.iter().all(|by| town.knows(*by, joiner)));
    let world = world.map(|_| town.sim.now() - since);
    times_line("joiner: known to its PoP", &[pop]);
    times_line("joiner: known to the world", &[world]);
}

fn loss(town: &mut Town, plan: &Plan) {
    for (name, loss_ppm) in [("1 % loss", 10_000), ("5 % loss", 50_000)] {
        town.network().lose(loss_ppm);
        phase(town, name, plan.seconds);
    }
    town.network().lose(0);
}

fn lossy_node(town: &mut Town, plan: &Plan) {
    town.network().lose_at(2, 300_000);
    phase(town, "one node loses 30 %", plan.seconds);
    town.network().lose_at(2, 0);
}

fn cut(town: &mut Town, plan: &Plan) {
    let two_ways = town.network().cut(&[0], &[1]);
    let one_way = town.network().cut_one_way(&[2], &[3]);
    phase(town, "0 and 1, and 2 to 3, cut off from each other only", plan.seconds);
    two_ways.into_iter().chain([one_way]).for_each(|cut| town.network().heal(cut));
    town.run(5);
}

fn restart(town: &mut Town, _: &Plan) {
    let pop = town.world().pop(0);
    pop.iter().for_each(|node| town.kill(*node));
    town.run(1);
    pop.iter().for_each(|node| town.start(*node));
    let back = town.time_until(SECOND / 10, 30, |town| {
        town.up().into_iter().take(pop.len()).all(|node| town.sees_its_pop(node))
    });
    times_line("a PoP restarts at once: all see each other", &[back]);
}

fn part(town: &mut Town, plan: &Plan) {
    let region = town.world().region(1);
    let since = town.sim.now();
    let cuts = town.network().part(&region);
    town.run(35);
    cuts.into_iter().for_each(|cut| town.network().heal(cut));
    errors(town, "a region parted for 35 s (inside PoPs)", since, 35);
    let sample: Vec<Node> = town.up().into_iter().step_by(1 + plan.town.nodes as usize / 20).collect();
    let listens = |node: &Node| town.world().sites()[*node as usize].pop < plan.town.pops_that_listen;
    let sample: Vec<Node> = sample.into_iter().filter(listens).collect();
    let healed = town.time_until(SECOND, 90, |town| sample.iter().all(|node| town.sees_the_truth(*node)));
    times_line("a region healed: all see all", &[healed]);
}

/// One node of every PoP, at most 20.
fn victims(town: &Town) -> Vec<Node> {
    let pops = town.world().pops().min(20);
    (0..pops).filter_map(|pop| town.world().pop(pop).get(3).copied()).collect()
}

fn phase(town: &mut Town, name: &str, seconds: u64) {
    let since = town.sim.now();
    town.run(seconds);
    errors(town, name, since, seconds);
}

fn errors(town: &Town, name: &str, since: Micros, seconds: u64) {
    let Errors { dead, suspected } = town.errors(since);
    let node_hours = town.up().len() as f64 * seconds as f64 / 3_600.0;
    let rate = suspected as f64 / node_hours;
    println!(
        "- {name}: healthy nodes declared dead {dead}, suspected {suspected} ({rate:.2} per node-hour) in {seconds} s"
    );
}

fn times_line(name: &str, times: &[Option<Micros>]) {
    let (Spread { count, p50, p99, max, .. }, missing) = spread_ms(times);
    let never = if missing > 0 { format!(", {missing} never") } else { String::new() };
    match count {
        1 => println!("- {name}: {max} ms{never}"),
        _ => println!("- {name}: p50 {p50}, p99 {p99}, max {max} ms of {count}{never}"),
    }
}
