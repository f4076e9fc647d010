//! From text to story. Every line is looked at, so that all that is wrong is told at once.

use std::time::Duration;

use crate::{
    chaos::{run::Workload, schedule::Step},
    faults::{Fault, Nodes, Worse},
    press::Host,
};

use super::{Amount, Bound, Counted, Expect, Per, Stage, Story, Trouble, When, words};

/// What the first word of a line may be.
const LINES: &str =
    "story, topology, pop, way, set, network, reads, purges, clients, at, lasts, settles, expect";

/// What may follow `reads RATE/s of N objects`.
const READS: &str = "\"hosts available+strict+stale\", \"up to 64KiB\", \"zipf 0.9\", \"30% over h2\", \
                     \"10% ranges\", \"10% conditional\", \"through NODES\"";

/// What an expectation may be.
const EXPECTS: &str = "\"no WHAT\", \"some WHAT\", \"at most N WHAT\", \"at least N WHAT\", \"WHAT only at NODES\", \
                       \"all nodes level within TIME\", \"origin asked at most N times\", \"coverage\"";

/// When an expectation may be about.
const WHENS: &str = "\"between TIME and TIME\", \"before TIME\", \"after TIME\", \"while ...\"";

/// A purge waits for one of these.
const WAITS: [&str; 3] = ["committed", "applied", "fenced"];

/// A file that is no story.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub struct BadStory {
    /// Which.
    pub file: String,
    /// Number of the line, and what is wrong with it.
    pub lines: Vec<(usize, String)>,
}

impl std::fmt::Display for BadStory {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (count, (line, why)) in self.lines.iter().enumerate() {
            if count > 0 {
                out.write_str("\n")?;
            }
            write!(out, "{}:{line}: {why}", self.file)?;
        }
        Ok(())
    }
}

/// Where in the file the parts of a story stand that can be wrong by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lines {
    /// Of `reads`.
    pub reads: usize,
    /// Of the steps, in the order of the schedule.
    pub steps: Vec<usize>,
    /// Of the expectations.
    pub expects: Vec<usize>,
    /// Of the ways.
    pub ways: Vec<usize>,
}

/// What is asked when a story does not say.
pub(super) fn workload() -> Workload {
    Workload {
        reads_per_s: 0.0,
        purges_per_s: 0.0,
        hosts: Host::ALL.to_vec(),
        groups: 10,
        names: 10,
        bytes_max: 32 << 10,
        zipf: 0.9,
        ranges: 0.05,
        conditionals: 0.05,
        h2: 0.2,
        soft: 0.0,
        through: Nodes("all".to_owned()),
        moves: false,
    }
}

/// Parses a story; what is wrong stands beside the number of its line.
pub(super) fn story(name: &str, text: &str) -> Result<(Story, Lines), Vec<(usize, String)>> {
    let mut parser = Parser::new(name);
    let mut wrong = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = without_comment(line).trim();
        if line.is_empty() {
            continue;
        }
        if let Err(why) = parser.line(number, line) {
            wrong.push((number, why));
        }
    }
    wrong.extend(parser.lacks().into_iter().map(|lack| (text.lines().count().max(1), lack)));
    if wrong.is_empty() { Ok(parser.done()) } else { Err(wrong) }
}

/// Of a line, what stands before its comment.
fn without_comment(line: &str) -> &str {
    let begins = |(at, _): &(usize, &str)| *at == 0 || line[..*at].ends_with(char::is_whitespace);
    line.match_indices('#').find(begins).map_or(line, |(at, _)| &line[..at])
}

struct Parser {
    story: Story,
    lines: Lines,
    /// The steps with their lines, as they stand in the file.
    steps: Vec<(Duration, Step, usize)>,
    seen: Vec<&'static str>,
}

impl Parser {
    fn new(name: &str) -> Self {
        let story = Story {
            name: name.to_owned(),
            title: String::new(),
            stage: Stage {
                topology: "laptop".to_owned(),
                pops: Vec::new(),
                ways: Vec::new(),
                set: Vec::new(),
                network: false,
            },
            workload: workload(),
            schedule: Vec::new(),
            lasts: Duration::ZERO,
            settles: Duration::from_secs(30),
            expects: Vec::new(),
        };
        Self { story, lines: Lines::default(), steps: Vec::new(), seen: Vec::new() }
    }

    /// Of lines that may stand only once, which this is.
    fn once(&mut self, word: &'static str) -> Result<(), String> {
        if self.seen.contains(&word) {
            return Err(format!("there is a line {word:?} already"));
        }
        self.seen.push(word);
        Ok(())
    }

    fn line(&mut self, number: usize, line: &str) -> Result<(), String> {
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        if self.seen.is_empty() && word != "story" {
            return Err("a story begins with \"story TITLE\"".to_owned()).inspect_err(|_| self.seen.push(""));
        }
        match word {
            "story" => {
                self.once("story")?;
                self.story.title = if rest.is_empty() { Err("what happens?")? } else { rest.to_owned() };
            }
            "topology" => {
                self.once("topology")?;
                self.story.stage.topology = one(rest, "a topology")?.to_owned();
            }
            "pop" => self.pop(rest)?,
            "way" => {
                // The words are those of the fault, and mean the same.
                let fault: Fault = line.parse().map_err(|error| format!("{error}"))?;
                let Fault::Way { from, to, worse } = fault else { return Err("is no way".to_owned()) };
                if worse == Worse::default() {
                    return Err("what is it like? \"way POP POP delay 40ms loss 1%\"".to_owned());
                }
                self.story.stage.ways.push((from, to, worse));
                self.lines.ways.push(number);
            }
            "set" => {
                rest.parse::<toml::Table>().map_err(|error| format!("no TOML: {}", error.message()))?;
                self.story.stage.set.push(rest.to_owned());
            }
            "network" if rest.is_empty() => {
                self.once("network")?;
                self.story.stage.network = true;
            }
            "reads" => {
                self.once("reads")?;
                self.lines.reads = number;
                reads(&mut self.story.workload, rest)?;
            }
            "purges" => {
                self.once("purges")?;
                purges(&mut self.story.workload, rest)?;
            }
            "clients" if rest == "move" => {
                self.once("clients")?;
                self.story.workload.moves = true;
            }
            "at" => {
                let (time, what) = rest.split_once(char::is_whitespace).ok_or("what happens then?")?;
                let step = self.step(what.trim())?;
                self.steps.push((words::time(time)?, step, number));
            }
            "lasts" => {
                self.once("lasts")?;
                self.story.lasts = words::time(rest)?;
            }
            "settles" => {
                self.once("settles")?;
                let time = rest.strip_prefix("within ").ok_or("\"settles within TIME\"")?;
                self.story.settles = words::time(time.trim())?;
            }
            "expect" => {
                self.story.expects.push(expect(rest)?);
                self.lines.expects.push(number);
            }
            _ => return Err(format!("{line:?} is not known; a line begins with one of: {LINES}")),
        }
        Ok(())
    }

    fn pop(&mut self, rest: &str) -> Result<(), String> {
        let words: Vec<&str> = rest.split_whitespace().collect();
        let [name, "of", region, nodes, "nodes" | "node"] = words[..] else {
            return Err("\"pop NAME of REGION, N nodes\"".to_owned());
        };
        let region = region.strip_suffix(',').unwrap_or(region);
        let nodes = words::number(nodes)?;
        if !(1..=30).contains(&nodes) {
            return Err(format!("{nodes} nodes: 1 to 30"));
        }
        if self.story.stage.pops.iter().any(|pop| pop.0 == name) {
            return Err(format!("there is a PoP {name:?} already"));
        }
        self.story.stage.pops.push((name.to_owned(), region.to_owned(), nodes));
        Ok(())
    }

    fn step(&self, what: &str) -> Result<Step, String> {
        let (word, rest) = what.split_once(char::is_whitespace).unwrap_or((what, ""));
        match word {
            "storm" => storm(rest.trim()),
            "warm" => Ok(Step::Warm(Nodes(one(rest.trim(), "nodes")?.to_owned()))),
            "reads" | "purges" => {
                // Those that are not named stay as the last step before has left them, in the order of the file.
                let before = self.steps.iter().rev().find_map(|(_, step, _)| match step {
                    Step::Rates { reads_per_s, purges_per_s } => Some((*reads_per_s, *purges_per_s)),
                    _ => None,
                });
                let workload = &self.story.workload;
                let (mut reads_per_s, mut purges_per_s) =
                    before.unwrap_or((workload.reads_per_s, workload.purges_per_s));
                for clause in clauses(what) {
                    match clause.split_once(' ') {
                        Some(("reads", rate)) => reads_per_s = words::rate(rate)?,
                        Some(("purges", rate)) => purges_per_s = words::rate(rate)?,
                        _ => return Err(format!("{clause:?}: \"reads RATE/s, purges RATE/s\"")),
                    }
                }
                Ok(Step::Rates { reads_per_s, purges_per_s })
            }
            _ => what.parse().map(Step::Fault).map_err(|error| {
                format!("{error}; beside faults, \"storm of N purges\", \"warm NODES\" and \"reads RATE/s\" can happen")
            }),
        }
    }

    fn lacks(&self) -> Vec<String> {
        let mut lacks = Vec::new();
        for word in ["story", "reads", "lasts"] {
            if !self.seen.contains(&word) {
                lacks.push(format!("there is no line {word:?}"));
            }
        }
        if self.story.expects.is_empty() {
            lacks.push("nothing is expected".to_owned());
        }
        if self.seen.contains(&"lasts") {
            if self.story.lasts < Duration::from_secs(1) || self.story.lasts > Duration::from_secs(90) {
                lacks.push(format!(
                    "it lasts {}; 1s to 90s, so that it is over in two minutes",
                    words::time_text(self.story.lasts)
                ));
            }
            for (at, _, number) in &self.steps {
                if *at >= self.story.lasts {
                    let at = words::time_text(*at);
                    lacks.push(format!("what happens at {at} (line {number}) comes after the end"));
                }
            }
        }
        lacks
    }

    fn done(mut self) -> (Story, Lines) {
        // Of one time, the order of the file.
        self.steps.sort_by_key(|(at, _, _)| *at);
        for (at, step, number) in self.steps {
            self.story.schedule.push((at, step));
            self.lines.steps.push(number);
        }
        (self.story, self.lines)
    }
}

/// What stands between commas.
fn clauses(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim)
}

/// Exactly one word.
fn one<'a>(text: &'a str, what: &str) -> Result<&'a str, String> {
    if text.is_empty() || text.contains(char::is_whitespace) {
        return Err(format!("{text:?} is not {what}: one word"));
    }
    Ok(text)
}

fn reads(workload: &mut Workload, text: &str) -> Result<(), String> {
    let mut clauses = clauses(text);
    let first: Vec<&str> = clauses.next().unwrap_or_default().split_whitespace().collect();
    let [rate, "of", objects, "objects" | "object"] = first[..] else {
        return Err("\"reads RATE/s of N objects\", then clauses after commas".to_owned());
    };
    workload.reads_per_s = words::rate(rate)?;
    let objects = words::number(objects)?;
    if !(1..=100_000).contains(&objects) {
        return Err(format!("{objects} objects: 1 to 100000"));
    }
    (workload.groups, workload.names) = words::groups(objects);
    for clause in clauses {
        let words: Vec<&str> = clause.split_whitespace().collect();
        match words[..] {
            ["hosts", hosts] => workload.hosts = hosts.split('+').map(host).collect::<Result<_, _>>()?,
            ["up", "to", size] => workload.bytes_max = words::size(size)?,
            ["zipf", exponent] => {
                let exponent = words::plain(exponent).filter(|exponent| *exponent <= 5.0);
                workload.zipf = exponent.ok_or("the exponent of Zipf's law is from 0 to 5")?;
            }
            [part, "over", "h2"] => workload.h2 = words::percent(part)? / 100.0,
            [part, "ranges"] => workload.ranges = words::percent(part)? / 100.0,
            [part, "conditional"] => workload.conditionals = words::percent(part)? / 100.0,
            ["through", nodes] => workload.through = Nodes(nodes.to_owned()),
            _ => return Err(format!("{clause:?} is not known; there are {READS}")),
        }
    }
    if workload.ranges + workload.conditionals > 1.0 {
        return Err("ranges and conditionals together are more than all".to_owned());
    }
    Ok(())
}

fn host(name: &str) -> Result<Host, String> {
    let found = Host::ALL.into_iter().find(|host| host.service() == name);
    found.ok_or_else(|| format!("{name:?} is no host; there are available, strict and stale"))
}

fn purges(workload: &mut Workload, text: &str) -> Result<(), String> {
    let mut clauses = clauses(text);
    workload.purges_per_s = words::rate(clauses.next().unwrap_or_default())?;
    for clause in clauses {
        let part = clause.strip_suffix(" soft").ok_or_else(|| format!("{clause:?}: \"20% soft\""))?;
        workload.soft = words::percent(part)? / 100.0;
    }
    Ok(())
}

fn storm(text: &str) -> Result<Step, String> {
    let mut clauses = clauses(text);
    let first: Vec<&str> = clauses.next().unwrap_or_default().split_whitespace().collect();
    let ["of", purges, "purges"] = first[..] else {
        return Err("\"storm of N purges\", then clauses after commas".to_owned());
    };
    let purges = words::number(purges)?;
    if !(1..=100_000).contains(&purges) {
        return Err(format!("{purges} purges: 1 to 100000"));
    }
    let (mut at_once, mut wait, mut through) = (64, "committed", "all");
    for clause in clauses {
        let words: Vec<&str> = clause.split_whitespace().collect();
        match words[..] {
            [number, "at", "once"] => at_once = words::number(number)?,
            ["waiting", "for", what] if WAITS.contains(&what) => wait = what,
            ["through", nodes] => through = nodes,
            _ => {
                return Err(format!(
                    "{clause:?} is not known; there are \"64 at once\", \"waiting for {}\", \"through NODES\"",
                    WAITS.join("|")
                ));
            }
        }
    }
    if !(1..=1024).contains(&at_once) {
        return Err(format!("{at_once} at once: 1 to 1024"));
    }
    Ok(Step::Storm { purges, at_once, wait: wait.to_owned(), through: Nodes(through.to_owned()) })
}

impl Counted {
    /// All of them, as stories name several and one.
    pub(super) const ALL: [(Self, &'static str, &'static str); 8] = [
        (Self::FailedRequests, "failed requests", "failed request"),
        (Self::Errors, "errors", "error"),
        (Self::Answers, "answers", "answer"),
        (Self::Hits, "hits", "hit"),
        (Self::StaleAnswers, "stale answers", "stale answer"),
        (Self::Purges, "purges", "purge"),
        (Self::AcknowledgedPurges, "acknowledged purges", "acknowledged purge"),
        (Self::FencedPurges, "fenced purges", "fenced purge"),
    ];

    /// As stories name it, and what follows.
    fn cut(text: &str) -> Result<(Self, &str), String> {
        for (counted, many, single) in Self::ALL {
            for name in [many, single] {
                if let Some(rest) = after(text, name) {
                    return Ok((counted, rest));
                }
            }
        }
        let names: Vec<&str> = Self::ALL.iter().map(|(_, many, _)| *many).collect();
        Err(format!("{text:?} is nothing that is counted; there are {}", names.join(", ")))
    }
}

/// What follows these words, if the text begins with them.
fn after<'a>(text: &'a str, words: &str) -> Option<&'a str> {
    let rest = text.strip_prefix(words)?;
    (rest.is_empty() || rest.starts_with(' ')).then(|| rest.trim_start())
}

/// Parses what follows `expect`.
pub(super) fn expect(text: &str) -> Result<Expect, String> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = text.as_str();
    if text == "coverage" {
        return Ok(Expect::Coverage);
    }
    if let Some(time) = after(text, "all nodes level within") {
        return Ok(Expect::Level(words::time(time)?));
    }
    if let Some(rest) = after(text, "origin asked at most") {
        return origin(rest);
    }
    let (bound, rest) = match text.split_once(' ') {
        Some(("no", rest)) => (Some(Bound::AtMost(Amount::Number(0))), rest),
        Some(("some", rest)) => (Some(Bound::AtLeast(Amount::Number(1))), rest),
        _ => match (after(text, "at most"), after(text, "at least")) {
            (Some(rest), _) => amount(rest).map(|(amount, rest)| (Some(Bound::AtMost(amount)), rest))?,
            (_, Some(rest)) => amount(rest).map(|(amount, rest)| (Some(Bound::AtLeast(amount)), rest))?,
            _ => (None, text),
        },
    };
    let counted = Counted::cut(rest);
    let Some(bound) = bound else {
        let nothing = |_| format!("{text:?} is nothing that is expected; there are {EXPECTS}");
        let (of, rest) = counted.map_err(nothing)?;
        let rest = after(rest, "only at").ok_or_else(|| format!("how many? There are {EXPECTS}"))?;
        let (nodes, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        return Ok(Expect::Only { of, at: Nodes(one(nodes, "nodes")?.to_owned()), when: when(rest)? });
    };
    let (of, rest) = counted?;
    let (at, rest) = match after(rest, "at") {
        Some(rest) => {
            let (nodes, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            (Some(Nodes(one(nodes, "nodes")?.to_owned())), rest)
        }
        None => (None, rest),
    };
    Ok(Expect::Count { bound, of, at, when: when(rest)? })
}

fn amount(text: &str) -> Result<(Amount, &str), String> {
    let (amount, rest) = text.split_once(' ').ok_or("how many of what?")?;
    let amount = match amount.ends_with('%') {
        true => Amount::Percent(words::percent(amount)?),
        false => Amount::Number(words::number(amount)?),
    };
    Ok((amount, rest))
}

fn origin(text: &str) -> Result<Expect, String> {
    let (most, rest) = text.split_once(' ').unwrap_or((text, ""));
    let per = match rest {
        "times" | "time" => Per::Run,
        "times per object and region" | "time per object and region" => Per::ObjectRegion,
        "times per object, region and purge" | "time per object, region and purge" => Per::ObjectRegionPurge,
        _ => {
            return Err("\"origin asked at most N times\", and then nothing, \"per object and region\" or \
                        \"per object, region and purge\""
                .to_owned());
        }
    };
    Ok(Expect::Origin { most: words::number(most)?, per })
}

fn when(text: &str) -> Result<When, String> {
    if text.is_empty() {
        return Ok(When::Always);
    }
    if let Some(what) = after(text, "while") {
        let found = Trouble::ALL.iter().find(|(_, name)| *name == what);
        return found.map(|(trouble, _)| When::While(*trouble)).ok_or_else(|| {
            let names: Vec<&str> = Trouble::ALL.iter().map(|(_, name)| *name).collect();
            format!("{what:?} is nothing that is known to last; there are {}", names.join(", "))
        });
    }
    match text.split(' ').collect::<Vec<_>>()[..] {
        ["between", from, "and", to] => {
            let (from, to) = (words::time(from)?, words::time(to)?);
            if from >= to { Err("ends before it begins".to_owned()) } else { Ok(When::Between(from, to)) }
        }
        ["before", time] => Ok(When::Before(words::time(time)?)),
        ["after", time] => Ok(When::After(words::time(time)?)),
        _ => Err(format!("{text:?} is no time to expect something; there are {WHENS}")),
    }
}
