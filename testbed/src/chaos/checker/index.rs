//! A history, sorted for the questions that rules ask: by node, by scope, by id.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::{
    chaos::history::{Ended, Event, Micros, Purge, Read, Run},
    faults::Fault,
    press::{Object, Scope},
};

use super::knowledge::{Evidence, FirstKnown, Id, Lives, Place, Source, Span, Spread};

/// Everything of a history by what it is about.
#[derive(Default)]
pub struct Index<'a> {
    /// What the run was to be.
    pub run: Option<&'a Run>,
    /// By name.
    pub nodes: BTreeMap<&'a str, Node<'a>>,
    /// What the origin had.
    pub editions: Editions,
    /// Attempts at purges, as they were recorded.
    pub attempts: Vec<&'a Purge>,
    /// When each key was first sent.
    pub first_us: HashMap<&'a str, Micros>,
    /// What is committed, by id; under an id that belongs to several keys, the first of them.
    pub committed: BTreeMap<Id<'a>, Committed<'a>>,
    /// What nodes said of purges after healing: by id and node, the last word.
    pub logged: HashMap<(&'a str, &'a str), (u16, &'a [String])>,
    /// When all was well again.
    pub healed_us: Option<Micros>,
    /// When it ended.
    pub ended_us: Option<Micros>,
    /// Why nodes were not level after healing.
    pub unlevel: Vec<(Micros, &'a str)>,
    /// Ids and versions that cannot be read.
    pub unreadable: Vec<(Micros, String)>,
}

/// One node.
#[derive(Default)]
pub struct Node<'a> {
    /// What it was asked for, in the order in which it was sent.
    pub reads: Vec<&'a Read>,
    /// Its own words, in the order in which it was asked.
    pub told: Vec<Told<'a>>,
    /// What is known of it, in the order in which it was known.
    pub evidence: Vec<Evidence<'a>>,
    /// Between old disks.
    pub lives: Lives,
    /// When it lost what was not synced.
    pub power_cuts: Vec<Span>,
}

/// What a node said of its versions.
pub struct Told<'a> {
    /// From the question to the answer.
    pub span: Span,
    /// Those that can be read.
    pub versions: Vec<(&'a str, Place)>,
}

/// A purge that is known to stand in a log.
#[derive(Clone, Copy)]
pub struct Committed<'a> {
    /// Where.
    pub id: Id<'a>,
    /// The attempt that was acknowledged first.
    pub purge: &'a Purge,
    /// When the first attempt of its key was sent: it was not committed before.
    pub first_us: Micros,
}

/// What the origin had, and when.
#[derive(Default)]
pub struct Editions {
    /// By scope: when the origin had said so, and the greatest edition until then.
    done: HashMap<Scope, Vec<(Micros, u64)>>,
    /// By scope: when it was asked for, and the greatest edition until then.
    asked: HashMap<Scope, Vec<(Micros, u64)>>,
    given: HashSet<(Scope, u64)>,
}

impl<'a> Index<'a> {
    /// Reads the whole history, twice: acknowledgements need the first attempts.
    pub fn new(events: &'a [Event]) -> Self {
        let mut index = Self::default();
        let mut disks: HashMap<&str, Vec<Span>> = HashMap::new();
        let mut disks_of_all = Vec::new();
        for event in events {
            match event {
                Event::Run(run) => {
                    index.run = index.run.or(Some(run));
                    for node in run.nodes.keys() {
                        index.nodes.entry(node).or_default();
                    }
                }
                Event::Published { at_us, done_us, scope, edition } => {
                    index.editions.publish(*at_us, *done_us, scope, *edition);
                }
                Event::Read(read) => index.nodes.entry(&read.node).or_default().reads.push(read),
                Event::Purge(purge) => {
                    index.attempts.push(purge);
                    let first_us = index.first_us.entry(&purge.key).or_insert(purge.at_us);
                    *first_us = purge.at_us.min(*first_us);
                }
                Event::Knows { node, at_us, done_us, versions, .. } => {
                    let span = Span { from_us: *at_us, to_us: *done_us };
                    index.told(node, span, versions);
                }
                Event::Fault { done_us, fault: Fault::Heal, error: Some(why), .. }
                    if index.healed_us.is_some() =>
                {
                    index.unlevel.push((*done_us, why));
                }
                Event::Fault { at_us, done_us, fault, nodes, .. } => {
                    // Also one that failed: it may have done half of it.
                    let span = Span { from_us: *at_us, to_us: *done_us };
                    match fault {
                        Fault::OldDisk(_) if nodes.is_empty() => disks_of_all.push(span),
                        Fault::OldDisk(_) => {
                            nodes.iter().for_each(|node| disks.entry(node).or_default().push(span));
                        }
                        Fault::PowerCut(_) => {
                            for node in nodes {
                                index.nodes.entry(node).or_default().power_cuts.push(span);
                            }
                        }
                        _ => {}
                    }
                }
                Event::Healed { at_us } => index.healed_us = Some(*at_us),
                Event::Logged { node, id, status, selectors } => {
                    index.logged.insert((id, node), (*status, selectors));
                }
                Event::End { at_us } => index.ended_us = Some(*at_us),
            }
        }
        index.editions.sort();
        index.commit();
        for (name, node) in &mut index.nodes {
            let mut changes = disks.remove(name).unwrap_or_default();
            changes.extend(&disks_of_all);
            node.lives = Lives::new(&changes);
            node.reads.sort_by_key(|read| (read.at_us, read.wanted, read.attempt));
            node.told.sort_by_key(|told| told.span.from_us);
            node.evidence.sort_by_key(|evidence| evidence.span.to_us);
            node.power_cuts.sort_by_key(|span| span.from_us);
        }
        index
    }

    fn told(&mut self, name: &'a str, span: Span, versions: &'a BTreeMap<String, String>) {
        let node = self.nodes.entry(name).or_default();
        let mut read = Vec::with_capacity(versions.len());
        for (region, version) in versions {
            let Some(place) = Place::parse(version) else {
                let what = format!("{name} told its version of {region} as {version:?}");
                self.unreadable.push((span.to_us, what));
                continue;
            };
            read.push((region.as_str(), place));
            node.evidence.push(Evidence { span, region, place, source: Source::Told });
        }
        node.told.push(Told { span, versions: read });
    }

    fn commit(&mut self) {
        for purge in &self.attempts {
            let Ended::Acknowledged { id, applied, .. } = &purge.ended else { continue };
            let Some(read) = Id::parse(id) else {
                let what = format!("{} acknowledged purge {} as {id:?}", purge.node, purge.key);
                self.unreadable.push((purge.done_us, what));
                continue;
            };
            let first_us = self.first_us[purge.key.as_str()];
            let stands = self.committed.entry(read).or_insert(Committed { id: read, purge, first_us });
            if stands.purge.key == purge.key && purge.done_us < stands.purge.done_us {
                stands.purge = purge;
            }
            for name in applied {
                let node = self.nodes.entry(name).or_default();
                // A receipt remembers: the node may have said so at any time since the purge was first sent.
                let span = Span { from_us: first_us, to_us: purge.done_us };
                let source = Source::Listed(purge);
                node.evidence.push(Evidence { span, region: read.region, place: read.place, source });
            }
        }
    }

    /// All reads, node by node.
    pub fn reads(&self) -> impl Iterator<Item = &'a Read> {
        self.nodes.values().flat_map(|node| node.reads.iter().copied())
    }

    /// The nodes of the run; those of the history if it does not tell.
    pub fn names(&self) -> Vec<&'a str> {
        match self.run {
            Some(run) if !run.nodes.is_empty() => run.nodes.keys().map(String::as_str).collect(),
            _ => self.nodes.keys().copied().collect(),
        }
    }

    /// When what the history tells was over.
    pub fn over_us(&self) -> Micros {
        let reads = self.nodes.values().filter_map(|node| node.reads.last()).map(|read| read.done_us);
        let told = self.nodes.values().filter_map(|node| node.told.last()).map(|told| told.span.to_us);
        reads.chain(told).chain(self.ended_us).chain(self.healed_us).max().unwrap_or(0)
    }

    /// How each committed purge came to be known, in the order of ids.
    pub fn spreads(&self) -> Vec<Spread<'a>> {
        let names = self.names();
        let known: Vec<_> = names
            .iter()
            .map(|name| self.nodes.get(name).map(|node| FirstKnown::new(&node.evidence)).unwrap_or_default())
            .collect();
        let spread = |committed: &Committed<'a>| {
            let times: Option<Vec<Micros>> = known.iter().map(|node| node.of(committed.id)).collect();
            Spread {
                id: committed.id,
                purge: committed.purge,
                first_us: committed.first_us,
                everywhere_us: times.and_then(|times| times.into_iter().max()),
            }
        };
        self.committed.values().map(spread).collect()
    }
}

/// The scopes that name an object.
pub fn scopes_of(object: &Object) -> [Scope; 3] {
    let Object { host, group, name, .. } = *object;
    [Scope::Object(host, group, name), Scope::Group(host, group), Scope::All(host)]
}

impl Editions {
    fn publish(&mut self, at_us: Micros, done_us: Micros, scope: &Scope, edition: u64) {
        self.done.entry(scope.clone()).or_default().push((done_us, edition));
        self.asked.entry(scope.clone()).or_default().push((at_us, edition));
        self.given.insert((scope.clone(), edition));
    }

    fn sort(&mut self) {
        for steps in self.done.values_mut().chain(self.asked.values_mut()) {
            steps.sort_unstable();
            let mut greatest = 0;
            for (_, edition) in steps {
                greatest = greatest.max(*edition);
                *edition = greatest;
            }
        }
    }

    /// The edition that an object had at this time at the least: the origin had said so.
    pub fn had(&self, object: &Object, at_us: Micros) -> u64 {
        greatest(&self.done, object, at_us)
    }

    /// The edition that an object had at this time at the most: somebody had asked for it.
    pub fn may_have(&self, object: &Object, at_us: Micros) -> u64 {
        greatest(&self.asked, object, at_us)
    }

    /// Whether an object ever had this edition.
    pub fn was(&self, object: &Object, edition: u64) -> bool {
        edition == 1 || scopes_of(object).into_iter().any(|scope| self.given.contains(&(scope, edition)))
    }
}

/// What has no edition yet is of edition 1.
fn greatest(steps: &HashMap<Scope, Vec<(Micros, u64)>>, object: &Object, at_us: Micros) -> u64 {
    let of = |scope: Scope| {
        let steps = steps.get(&scope)?;
        let until = steps.partition_point(|(step_us, _)| *step_us <= at_us);
        until.checked_sub(1).map(|last| steps[last].1)
    };
    scopes_of(object).into_iter().filter_map(of).max().unwrap_or(1).max(1)
}
