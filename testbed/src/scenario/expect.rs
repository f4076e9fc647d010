//! Whether what was expected of a story holds, by its history and by what the origin was asked.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    chaos::{
        checker::{Judged, Judgement},
        history::{By, Ended, Event, Micros, Outcome, Purge, Read, Run},
        schedule::Step,
    },
    faults::Nodes,
    press::{Object, Scope, Stats},
};

use super::{Amount, Bound, Counted, Expect, Per, Story, When};

/// So many examples are shown of what should not be.
const EXAMPLES_MAX: usize = 3;

/// What was seen of a story.
pub struct Seen<'a> {
    /// The history.
    pub events: &'a [Event],
    /// Of the origin, since the run began.
    pub stats: &'a Stats,
    /// What the judge says of the history.
    pub judged: &'a Judged,
}

/// What came of one expectation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What was expected.
    pub expected: String,
    /// Whether it holds.
    pub holds: bool,
    /// What was seen, in numbers.
    pub seen: String,
    /// Where to look in the history, when it does not hold.
    pub examples: Vec<String>,
}

/// Holds a story's expectations, said or not, against what was seen.
pub fn hold(story: &Story, seen: &Seen) -> Vec<Found> {
    let book = Book::of(seen, story.workload.moves);
    let mut found: Vec<Found> = story.expects.iter().map(|expect| book.find(expect)).collect();
    found.push(book.judged(story.expects.contains(&Expect::Coverage)));
    found.push(book.happened(story));
    found
}

/// A history, looked through once.
struct Book<'a> {
    seen: &'a Seen<'a>,
    /// Whether clients move.
    moves: bool,
    run: Option<&'a Run>,
    reads: Vec<&'a Read>,
    purges: Vec<&'a Purge>,
    /// Whom faults were about.
    struck: BTreeSet<&'a str>,
}

/// So many of so many, and the first of them.
#[derive(Default)]
struct Count {
    count: u64,
    of: u64,
    examples: Vec<String>,
}

impl Count {
    fn take(&mut self, is_one: bool, example: impl FnOnce() -> String) {
        self.of += 1;
        if is_one {
            self.count += 1;
            if self.examples.len() < EXAMPLES_MAX {
                self.examples.push(example());
            }
        }
    }

    fn percent(&self) -> f64 {
        if self.of == 0 { 0.0 } else { self.count as f64 * 100.0 / self.of as f64 }
    }
}

impl<'a> Book<'a> {
    fn of(seen: &'a Seen<'a>, moves: bool) -> Self {
        let (reads, purges) = (Vec::new(), Vec::new());
        let mut book = Self { seen, moves, run: None, reads, purges, struck: BTreeSet::new() };
        for event in seen.events {
            match event {
                Event::Run(run) => book.run = Some(run),
                // Those after healing are the judge's.
                Event::Read(read) if !read.is_last => book.reads.push(read),
                Event::Purge(purge) => book.purges.push(purge),
                Event::Fault { nodes, .. } => book.struck.extend(nodes.iter().map(String::as_str)),
                _ => {}
            }
        }
        book
    }

    fn find(&self, expect: &Expect) -> Found {
        let (holds, seen, examples) = match expect {
            Expect::Count { bound, of, at, when } => self.counted(*bound, *of, at.as_ref(), *when),
            Expect::Only { of, at, when } => {
                let inside = |node: &str| self.is_at(node, at);
                let outside = self.count(*of, &|node| !inside(node), *when);
                let within = self.count(*of, &inside, *when);
                let seen = format!("{} at others, {} there", outside.count, within.count);
                (outside.count == 0, seen, outside.examples)
            }
            Expect::Level(time) => self.level(*time),
            Expect::Origin { most, per } => self.origin(*most, *per),
            Expect::Coverage => {
                let judged = self.seen.judged;
                let seen = format!(
                    "{} counts, {} too small",
                    judged.coverage.counts.len(),
                    judged.coverage.lacks.len()
                );
                (judged.coverage.lacks.is_empty(), seen, judged.coverage.lacks.clone())
            }
        };
        Found { expected: expect.to_string(), holds, seen, examples }
    }

    fn counted(
        &self,
        bound: Bound,
        of: Counted,
        at: Option<&Nodes>,
        when: When,
    ) -> (bool, String, Vec<String>) {
        let spans = self.spans(when);
        let count = self.count(of, &|node| at.is_none_or(|at| self.is_at(node, at)), when);
        let exceeds = |amount: Amount| match amount {
            Amount::Number(number) => (count.count > number, count.count >= number),
            Amount::Percent(percent) => (count.percent() > percent, count.percent() >= percent),
        };
        // What never was, or had nothing in it, shows nothing: neither few nor many.
        let is_empty = spans.is_empty() || count.of == 0;
        let holds = match bound {
            Bound::AtMost(amount) => !exceeds(amount).0,
            Bound::AtLeast(amount) => exceeds(amount).1,
        };
        let mut seen = format!("{} of {} ({:.1} %)", count.count, count.of, count.percent_text());
        if spans.is_empty() {
            seen = format!("it never was that{when}");
        } else if count.of == 0 {
            seen.push_str(": nothing was asked, so nothing is shown");
        }
        let examples = if matches!(bound, Bound::AtMost(_)) { count.examples } else { Vec::new() };
        (holds && !is_empty, seen, examples)
    }

    /// How many of these there are, of how many.
    fn count(&self, of: Counted, at: &dyn Fn(&str) -> bool, when: When) -> Count {
        let spans = self.spans(when);
        let within = |time: Micros| spans.iter().any(|(from, to)| (*from..*to).contains(&time));
        let mut count = Count::default();
        match of {
            Counted::FailedRequests => {
                for (begun, last) in self.requests() {
                    if within(begun) && at(&last.node) && !self.is_look(last) {
                        count.take(!is_good(last), || read_text(last));
                    }
                }
            }
            Counted::Errors | Counted::Answers => {
                for read in self.reads.iter().filter(|read| within(read.at_us) && at(&read.node)) {
                    let is_one = match of {
                        Counted::Answers => is_good(read),
                        _ => matches!(&read.outcome, Outcome::Answered { status, .. } if *status >= 400),
                    };
                    count.take(is_one, || read_text(read));
                }
            }
            Counted::Hits | Counted::StaleAnswers => {
                let good =
                    self.reads.iter().filter(|read| within(read.at_us) && at(&read.node) && is_good(read));
                for read in good {
                    let is_one = if of == Counted::Hits { is_hit(read) } else { is_stale(read) };
                    count.take(is_one, || read_text(read));
                }
            }
            Counted::Purges | Counted::AcknowledgedPurges | Counted::FencedPurges => {
                for attempts in self.keys().values() {
                    let is_asked = |purge: &&&Purge| within(purge.at_us) && at(&purge.node);
                    let counts = |purge: &&&Purge| {
                        let Ended::Acknowledged { fenced, .. } = &purge.ended else { return false };
                        within(purge.done_us) && at(&purge.node) && (of != Counted::FencedPurges || *fenced)
                    };
                    let asked = attempts.iter().find(is_asked);
                    let found = if of == Counted::Purges { asked } else { attempts.iter().find(counts) };
                    if let Some(purge) = found.or(asked) {
                        count.take(found.is_some(), || purge_text(purge));
                    }
                }
            }
        }
        count
    }

    /// All requests: when each began, and its last attempt.
    fn requests(&self) -> impl Iterator<Item = (Micros, &'a Read)> {
        let mut requests: BTreeMap<u64, (Micros, &Read)> = BTreeMap::new();
        for read in &self.reads {
            let (begun, last) = requests.entry(read.wanted).or_insert((read.at_us, read));
            *begun = (*begun).min(read.at_us);
            if read.attempt > last.attempt {
                *last = read;
            }
        }
        requests.into_values()
    }

    /// Whether this is no client's request, but one of those by which the run looks what a certain node serves
    /// after a purge, dead or not. A client that moves and is left has asked others before it gives up.
    fn is_look(&self, last: &Read) -> bool {
        self.moves && last.attempt == 1 && matches!(last.outcome, Outcome::Failed { .. })
    }

    /// All purges: the attempts at each.
    fn keys(&self) -> BTreeMap<&'a str, Vec<&'a Purge>> {
        let mut keys: BTreeMap<&str, Vec<&Purge>> = BTreeMap::new();
        for purge in &self.purges {
            keys.entry(&purge.key).or_default().push(purge);
        }
        keys
    }

    fn spans(&self, when: When) -> Vec<(Micros, Micros)> {
        match when {
            When::Always => vec![(0, Micros::MAX)],
            When::Between(from, to) => vec![(micros(from), micros(to))],
            When::Before(to) => vec![(0, micros(to))],
            When::After(from) => vec![(micros(from), Micros::MAX)],
            When::While(trouble) => trouble.spans(self.seen.events),
        }
    }

    fn is_at(&self, node: &str, at: &Nodes) -> bool {
        let pop = node.rsplit_once('-').map_or(node, |(pop, _)| pop);
        let region = self.run.and_then(|run| run.nodes.get(node)).map(String::as_str);
        at.0.split('+').any(|name| match name {
            "all" => true,
            "struck" => self.struck.contains(node),
            "spared" => !self.struck.contains(node),
            name => name == node || name == pop || Some(name) == region,
        })
    }

    /// When all nodes were level for the first time after healing: when all had said the same about what they know,
    /// or when the run, which asks them that and more, began with the last reads.
    fn level(&self, time: Duration) -> (bool, String, Vec<String>) {
        let nodes = self.run.map_or(0, |run| run.nodes.len());
        let (mut healed, mut known) = (None, BTreeMap::new());
        let level = |after_us: Micros, at_last: &str| {
            let after = Duration::from_micros(after_us);
            let seen = format!("{nodes} nodes after {:.1} s{at_last}", after.as_secs_f64());
            (after <= time, seen, Vec::new())
        };
        for event in self.seen.events {
            match (event, healed) {
                (Event::Healed { at_us }, _) => healed = Some(*at_us),
                (Event::Knows { node, at_us, done_us, versions, .. }, Some(healed)) if *at_us >= healed => {
                    known.insert(node.as_str(), versions);
                    if known.len() == nodes && known.values().all(|other| *other == versions) {
                        return level(done_us - healed, &format!(", {node} at last"));
                    }
                }
                (Event::Read(Read { is_last: true, at_us, .. }), Some(healed)) => {
                    return level(at_us.saturating_sub(healed), "");
                }
                _ => {}
            }
        }
        if healed.is_none() {
            return (false, "the mesh was never healed".to_owned(), Vec::new());
        }
        let names = self.run.into_iter().flat_map(|run| run.nodes.keys());
        let told = |node: &String| match known.get(node.as_str()) {
            Some(versions) => format!("{node}: {versions:?}"),
            None => format!("{node}: silent"),
        };
        (false, "they never were".to_owned(), names.map(told).collect())
    }

    /// What the origin was asked, for whom most beside what it may be.
    fn origin(&self, most: u64, per: Per) -> (bool, String, Vec<String>) {
        let stats = self.seen.stats;
        if per == Per::Run {
            let seen = format!("{} times for {} objects", stats.requests, stats.by_object.len());
            return (stats.requests <= most, seen, Vec::new());
        }
        let regions =
            self.run.map_or(1, |run| run.nodes.values().collect::<BTreeSet<_>>().len()).max(1) as u64;
        let times = |object: &Object| match per {
            Per::ObjectRegionPurge => 1 + self.purges_of(object),
            _ => 1,
        };
        let objects: BTreeSet<&Object> = self.reads.iter().map(|read| &read.object).collect();
        let (mut asked_most, mut examples, mut asked_for) = ((0.0, String::new()), Vec::new(), 0);
        for object in &objects {
            let name = format!("{}/{}/{}", object.host.name(), object.group, object.name);
            let asked = stats.by_object.get(&name).copied().unwrap_or(0);
            let times = times(object);
            asked_for += u64::from(asked > 0);
            let text = || format!("{name}: {asked} times, by {regions} regions, for {times} lives");
            let each = asked as f64 / (regions * times) as f64;
            if each > asked_most.0 {
                asked_most = (each, text());
            }
            if asked > most * regions * times && examples.len() < EXAMPLES_MAX {
                examples.push(text());
            }
        }
        let seen = format!("{} times for {asked_for} objects; most {}", stats.requests, asked_most.1);
        (examples.is_empty() && asked_for > 0, seen, examples)
    }

    /// How often an object may have been purged: a purge whose answer was lost may have been committed in each
    /// region where it was tried.
    fn purges_of(&self, object: &Object) -> u64 {
        let mut purges = 0;
        for attempts in self.keys().values().filter(|attempts| attempts.iter().any(|it| is_about(it, object)))
        {
            let region = |node: &str| self.run.and_then(|run| run.nodes.get(node));
            let sent = attempts.iter().filter(|purge| !matches!(purge.ended, Ended::Refused { .. }));
            purges += sent.map(|purge| region(&purge.node)).collect::<BTreeSet<_>>().len() as u64;
        }
        purges
    }

    fn judged(&self, needs_coverage: bool) -> Found {
        let judged = self.seen.judged;
        let holds = match judged.judgement {
            Judgement::Passed => true,
            Judgement::Inconclusive => !needs_coverage,
            Judgement::Failed => false,
        };
        let reads = self.reads.len();
        let mut seen = format!(
            "{:?}, {} violations in {reads} reads and {} purges",
            judged.judgement,
            judged.violations.len(),
            self.keys().len()
        );
        if !judged.coverage.lacks.is_empty() {
            seen.push_str(&format!("; too little: {}", judged.coverage.lacks.join(", ")));
        }
        let violations = judged.violations.iter().take(EXAMPLES_MAX);
        Found {
            expected: "the judge finds nothing wrong".to_owned(),
            holds: holds && judged.violations.is_empty(),
            seen,
            examples: violations.map(|it| format!("{} at {}: {}", it.rule, at(it.at_us), it.what)).collect(),
        }
    }

    /// Whether the history has each fault of the schedule, and its end.
    fn happened(&self, story: &Story) -> Found {
        let mut due: Vec<String> = story
            .schedule
            .iter()
            .filter_map(
                |(_, step)| if let Step::Fault(fault) = step { Some(fault.to_string()) } else { None },
            )
            .collect();
        let (all, mut examples, mut ended) = (due.len(), Vec::new(), false);
        for event in self.seen.events {
            match event {
                Event::Fault { at_us, fault, error, .. } => {
                    let text = fault.to_string();
                    if let Some(error) = error {
                        examples.push(format!("{} {text}: {error}", at(*at_us)));
                    } else if let Some(place) = due.iter().position(|fault| *fault == text) {
                        due.remove(place);
                    }
                }
                Event::End { .. } => ended = true,
                _ => {}
            }
        }
        let holds = due.is_empty() && examples.is_empty() && ended;
        let mut seen = format!("{} of {all} faults", all - due.len());
        if !ended {
            seen.push_str("; the history has no end");
        }
        examples.extend(due.into_iter().map(|fault| format!("never: {fault}")));
        Found { expected: "all that was to happen did".to_owned(), holds, seen, examples }
    }
}

impl Count {
    /// Rounded so that something is never told as nothing, and not all never as all.
    fn percent_text(&self) -> f64 {
        let percent = self.percent();
        if self.count == 0 || self.count == self.of { percent } else { percent.clamp(0.1, 99.9) }
    }
}

/// Whether a purge may take this object away; tags and prefixes reach further than their scope.
fn is_about(purge: &Purge, object: &Object) -> bool {
    match (&purge.scope, purge.by) {
        (Scope::Object(host, _, name), By::Tag) => (*host, *name) == (object.host, object.name),
        (Scope::Object(host, group, name), By::Prefix) => {
            (*host, *group) == (object.host, object.group)
                && object.name.to_string().starts_with(&name.to_string())
        }
        (scope, _) => object.is_in(scope),
    }
}

fn micros(time: Duration) -> Micros {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn is_good(read: &Read) -> bool {
    matches!(&read.outcome, Outcome::Answered { status: 200 | 206 | 304, damaged: None, .. })
}

/// The members of `Cache-Status` with their parameters.
fn hops(read: &Read) -> impl Iterator<Item = impl Iterator<Item = &str>> {
    let cache = match &read.outcome {
        Outcome::Answered { cache, .. } => cache.as_str(),
        Outcome::Failed { .. } => "",
    };
    cache.split(',').map(|hop| hop.split(';').map(str::trim))
}

fn is_hit(read: &Read) -> bool {
    hops(read).any(|mut hop| hop.any(|parameter| parameter == "hit"))
}

/// A node says itself how old an answer is beyond its time, or why it gives it all the same.
fn is_stale(read: &Read) -> bool {
    let is_stale = |parameter: &str| parameter.starts_with("ttl=-") || parameter.starts_with("detail=stale-");
    hops(read).any(|mut hop| hop.any(is_stale))
}

/// A time of the history, as people read it.
fn at(at_us: Micros) -> String {
    format!("{:.3}s", at_us as f64 / 1e6)
}

fn read_text(read: &Read) -> String {
    let came = match &read.outcome {
        Outcome::Answered { status, edition, damaged, cache } => format!(
            "{status}{}{} [{cache}]",
            edition.map(|edition| format!(", edition {edition}")).unwrap_or_default(),
            damaged.as_ref().map(|what| format!(", damaged: {what}")).unwrap_or_default()
        ),
        Outcome::Failed { why, .. } => why.clone(),
    };
    format!("{} {} at {}, attempt {}: {came}", at(read.at_us), read.object.url(), read.node, read.attempt)
}

fn purge_text(purge: &Purge) -> String {
    format!("{} {:?} at {}: {:?}", at(purge.at_us), purge.scope, purge.node, purge.ended)
}

/// What stands in a line of results.
impl std::fmt::Display for Found {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mark = if self.holds { "ok   " } else { "FAILS" };
        write!(out, "{mark} {}: {}", self.expected, self.seen)?;
        if !self.holds {
            for example in &self.examples {
                write!(out, "\n        {example}")?;
            }
        }
        Ok(())
    }
}
