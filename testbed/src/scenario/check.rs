//! Whether a story asks only for what its topology has: before anything is started.

use std::collections::BTreeSet;

use anyhow::Context;

use crate::{
    chaos::schedule::Step,
    faults::{Fault, Nodes, OriginHow, Worse},
    topology::{Pop, Quality, Topology, Way},
};

use super::{Expect, Stage, Story, parse::Lines, words};

impl Stage {
    /// The topology that is named, with what is said otherwise.
    pub(super) fn build(&self) -> anyhow::Result<Topology> {
        let mut topology = Topology::load(&self.topology)?;
        if !self.pops.is_empty() {
            let pops = self.pops.iter();
            topology.pops = pops
                .map(|(name, region, nodes)| Pop {
                    name: name.clone(),
                    region: region.clone(),
                    nodes: *nodes,
                })
                .collect();
            let stands = |name: &String| topology.pops.iter().any(|pop| pop.name == *name);
            topology.paths.retain(|way| way.between.iter().all(stands));
            topology.origin.pop = topology.origin.pop.filter(stands);
        }
        for (from, to, worse) in &self.ways {
            let quality = replaced(topology.quality(from, to), *worse);
            let between = [from.clone(), to.clone()];
            let back = [to.clone(), from.clone()];
            topology.paths.retain(|way| way.between != between && way.between != back);
            topology.paths.push(Way { between, quality });
        }
        for set in &self.set {
            let table: toml::Table = set.parse().with_context(|| format!("set {set}"))?;
            merge(&mut topology.node, table);
        }
        // What is made up here is held to the same rules as a file.
        let name = std::mem::take(&mut topology.name);
        let text = toml::to_string(&topology).context("the story's topology cannot be written as TOML")?;
        Ok(Topology { name, ..Topology::parse(&text).context("the story's topology")? })
    }
}

/// A quality, with what `worse` says otherwise.
fn replaced(quality: Quality, worse: Worse) -> Quality {
    let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
    Quality {
        delay_ms: worse.delay.map_or(quality.delay_ms, ms),
        jitter_ms: worse.jitter.map_or(quality.jitter_ms, ms),
        loss_percent: worse.loss_percent.unwrap_or(quality.loss_percent),
        reorder_percent: worse.reorder_percent.unwrap_or(quality.reorder_percent),
        rate_mbit: worse.rate_mbit.unwrap_or(quality.rate_mbit),
        ..quality
    }
}

/// Tables are merged, everything else is replaced.
fn merge(into: &mut toml::Table, from: toml::Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(toml::Value::Table(into)), toml::Value::Table(from)) => merge(into, from),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// What is wrong, beside the number of its line.
pub(super) fn check(story: &Story, lines: &Lines, topology: &Topology) -> Vec<(usize, String)> {
    let names = Names::of(topology);
    let mut wrong = Vec::new();
    let mut look = |line: &usize, found: Result<(), String>| {
        if let Err(why) = found {
            wrong.push((*line, why));
        }
    };
    look(&lines.reads, names.know(&story.workload.through, WhoAsks::Step));
    for (line, (from, to, _)) in lines.ways.iter().zip(&story.stage.ways) {
        look(line, names.pop(from).and_then(|()| names.pop(to)));
        if !story.stage.network {
            look(line, Err("ways need \"network\"".to_owned()));
        }
    }
    for (line, (_, step)) in lines.steps.iter().zip(&story.schedule) {
        look(line, names.step(step, story.stage.network));
    }
    for (line, expect) in lines.expects.iter().zip(&story.expects) {
        look(
            line,
            match expect {
                Expect::Count { at: Some(at), .. } | Expect::Only { at, .. } => {
                    names.know(at, WhoAsks::Expect)
                }
                // Counters die with the process.
                Expect::Origin { .. } if kills_origin(story) => {
                    Err("an origin that was killed does not know what it was asked before".to_owned())
                }
                Expect::Level(time) if *time > story.settles => Err(format!(
                    "nobody looks so long: it settles within {}",
                    words::time_text(story.settles)
                )),
                _ => Ok(()),
            },
        );
    }
    wrong
}

fn kills_origin(story: &Story) -> bool {
    story.schedule.iter().any(|(_, step)| *step == Step::Fault(Fault::Origin(OriginHow::Dead)))
}

/// Where names of nodes stand.
#[derive(Clone, Copy, PartialEq)]
enum WhoAsks {
    /// In what happens: resolved when it does.
    Step,
    /// In what must hold: known from the history.
    Expect,
}

/// The names that a topology knows.
struct Names {
    nodes: BTreeSet<String>,
    pops: BTreeSet<String>,
    regions: BTreeSet<String>,
}

impl Names {
    fn of(topology: &Topology) -> Self {
        Self {
            nodes: topology.nodes().map(|(name, _)| name).collect(),
            pops: topology.pops.iter().map(|pop| pop.name.clone()).collect(),
            regions: topology.pops.iter().map(|pop| pop.region.clone()).collect(),
        }
    }

    fn pop(&self, name: &str) -> Result<(), String> {
        if self.pops.contains(name) {
            return Ok(());
        }
        Err(format!("there is no PoP {name:?}; there are {}", list(&self.pops)))
    }

    fn region(&self, name: &str) -> Result<(), String> {
        if self.regions.contains(name) {
            return Ok(());
        }
        Err(format!("there is no region {name:?}; there are {}", list(&self.regions)))
    }

    fn know(&self, nodes: &Nodes, who: WhoAsks) -> Result<(), String> {
        // An URL may hold a plus: nothing is joined to one.
        if let (Some(url), WhoAsks::Step) = (nodes.0.strip_prefix("owner:"), who) {
            let is_url = url.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
            return if is_url { Ok(()) } else { Err(format!("{url:?} is no URL")) };
        }
        nodes.0.split('+').try_for_each(|name| {
            let is_known = [&self.nodes, &self.pops, &self.regions].iter().any(|names| names.contains(name));
            match name.split_once(':') {
                _ if is_known || name == "all" => Ok(()),
                Some(("leader" | "shields", region)) if who == WhoAsks::Step => self.region(region),
                Some(("owner", _)) if who == WhoAsks::Step => self.know(&Nodes(name.to_owned()), who),
                None if who == WhoAsks::Step && ["random", "killed"].contains(&name) => Ok(()),
                None if who == WhoAsks::Expect && ["struck", "spared"].contains(&name) => Ok(()),
                _ => Err(format!(
                    "there is no node, PoP or region {name:?}; there are {}, {}, {}, and {}",
                    list(&self.nodes),
                    list(&self.pops),
                    list(&self.regions),
                    match who {
                        WhoAsks::Step => "all, leader:REGION, shields:REGION, owner:URL, random, killed",
                        WhoAsks::Expect => "all, struck, spared",
                    }
                )),
            }
        })
    }

    fn step(&self, step: &Step, network: bool) -> Result<(), String> {
        let fault = match step {
            Step::Fault(fault) => fault,
            Step::Rates { .. } => return Ok(()),
            Step::Storm { through: nodes, .. } | Step::Warm(nodes) => return self.know(nodes, WhoAsks::Step),
        };
        if fault.needs_network() && !network {
            return Err(format!("\"{fault}\" needs \"network\""));
        }
        fault.nodes().into_iter().try_for_each(|nodes| self.know(nodes, WhoAsks::Step))?;
        fault.pops().into_iter().try_for_each(|pop| self.pop(pop))
    }
}

fn list(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}
