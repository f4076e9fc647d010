//! Stories: what stands, what happens, and what must hold, in files that people read (`testbed/scenarios/`).
//!
//! A story is a file of lines. `#` begins a comment, at the start of a line or after a space.
//!
//! | line | what it says |
//! | --- | --- |
//! | `story TITLE` | what happens, in a few words; stands first |
//! | `topology NAME` | who stands where: a file of `cluster-configs/topologies/`; `laptop` when it is not said |
//! | `pop NAME of REGION, N nodes` | one PoP; those that are named so replace the topology's |
//! | `way POP POP delay 40ms loss 1%` | the way between two PoPs, in a network; words as of the fault of that name |
//! | `set KEY = VALUE` | a setting of all nodes, as in their configuration file |
//! | `network` | needs a network of namespaces, and so root; elsewhere the story is skipped |
//! | `reads RATE/s of N objects, ...` | what clients ask for; see below |
//! | `purges RATE/s, P% soft` | what gets a new edition and is purged |
//! | `clients move` | who finds nobody, or is left in the middle, asks another node: what anycast and browsers do |
//! | `at TIME FAULT` | a [fault](crate::faults) |
//! | `at TIME storm of N purges, ...` | as fast as they are taken; `64 at once`, `waiting for WAIT`, `through NODES` |
//! | `at TIME warm NODES` | every object is read once at each of these |
//! | `at TIME reads RATE/s, purges RATE/s` | other rates from then on; one that is not named stays |
//! | `lasts TIME` | how long, without the time to settle |
//! | `settles within TIME` | how long nodes may take after healing to be level and fresh; 30 s when it is not said |
//! | `expect ...` | what must hold; see below |
//!
//! What may follow `reads RATE/s of N objects`, each after a comma: `hosts available+strict+stale`, `up to 64KiB`,
//! `zipf 0.9`, `30% over h2`, `10% ranges`, `10% conditional`, `through NODES`. The objects are those of each host.
//!
//! | expectation | holds when |
//! | --- | --- |
//! | `no WHAT`, `some WHAT` | there is none, or at least one |
//! | `at most N WHAT`, `at least N WHAT` | `N` may be a percentage: of what it is a part of |
//! | `WHAT only at NODES` | there is none at others |
//! | `all nodes level within TIME` | after healing, all say the same about how far they know all regions' logs |
//! | `origin asked at most N times` | for objects, in all |
//! | `origin asked at most N times per object and region` | for each object, by each region |
//! | `origin asked at most N times per object, region and purge` | the same for each purge of it, and once before |
//! | `coverage` | enough has happened for the judge to say "passed": without this, "inconclusive" will do |
//!
//! WHAT is one of `failed requests` (those of clients, after all attempts), `errors` (answers of 4xx or 5xx, each attempt),
//! `answers`, `hits` (of any node on the way), `stale answers`, `purges` (asked for), `acknowledged purges` and
//! `fenced purges`. Behind it may stand `at NODES` (who was asked; names of nodes, PoPs and regions, `all`, `struck`:
//! whom any fault was about, `spared`: all others), and when: `between TIME and TIME`, `before TIME`, `after TIME`
//! or `while ...`: `the origin is dead`, `the origin is slow`, `the origin fails`, `nodes are dead`,
//! `nodes are paused`, `nodes are cut off`, `ways are bad`, `a clock is wrong`, `a disk is bad`, `all is well`.
//!
//! Two things are expected of each story, said or not: the [judge](crate::chaos::checker) finds nothing wrong in
//! its history, and all that was to happen did happen.

mod check;
mod expect;
mod parse;
mod play;
mod print;
mod troubles;
mod words;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;

use crate::{
    chaos::{run::Workload, schedule::Schedule},
    faults::{Nodes, Worse},
    topology::Topology,
};

pub use expect::{Found, Seen, hold};
pub use parse::BadStory;
pub use play::{Played, Player, Verdict};
pub use troubles::Trouble;

/// A story that lasts longer is not played by default.
const DEFAULT_LASTS_MAX: Duration = Duration::from_secs(29);

/// A story as its file tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct Story {
    /// The file's name without its ending.
    pub name: String,
    /// What happens, in a few words.
    pub title: String,
    /// Who stands where.
    pub stage: Stage,
    /// What is asked.
    pub workload: Workload,
    /// What happens.
    pub schedule: Schedule,
    /// How long.
    pub lasts: Duration,
    /// How long nodes may take after healing.
    pub settles: Duration,
    /// What must hold.
    pub expects: Vec<Expect>,
}

/// Who stands where.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// The topology's name.
    pub topology: String,
    /// PoPs instead of the topology's: name, region, number of nodes.
    pub pops: Vec<(String, String, usize)>,
    /// What ways between PoPs are like.
    pub ways: Vec<(String, String, Worse)>,
    /// Settings of all nodes: a line of TOML each.
    pub set: Vec<String>,
    /// Whether it needs a network of namespaces.
    pub network: bool,
}

/// What must hold.
#[derive(Clone, Debug, PartialEq)]
pub enum Expect {
    /// So many of these.
    Count {
        /// How many.
        bound: Bound,
        /// Of what.
        of: Counted,
        /// Where; anywhere when it is not said.
        at: Option<Nodes>,
        /// When.
        when: When,
    },
    /// None of these at others.
    Only {
        /// Of what.
        of: Counted,
        /// Where they may be.
        at: Nodes,
        /// When.
        when: When,
    },
    /// All nodes know all logs equally, so long after healing at the latest.
    Level(Duration),
    /// The origin is asked so often at most.
    Origin {
        /// How often.
        most: u64,
        /// For what.
        per: Per,
    },
    /// Enough has happened for the judge.
    Coverage,
}

/// How many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// So many or fewer.
    AtMost(Amount),
    /// So many or more.
    AtLeast(Amount),
}

/// A number, or a part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// So many.
    Number(u64),
    /// So many of a hundred.
    Percent(f64),
}

/// What can be counted in a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Requests that brought nothing good, whoever was asked; part of all requests.
    FailedRequests,
    /// Answers of 4xx and 5xx; part of all attempts.
    Errors,
    /// Good answers; part of all attempts.
    Answers,
    /// Good answers that some node had; part of all good answers.
    Hits,
    /// Good answers that were not fresh any more; part of all good answers.
    StaleAnswers,
    /// Purges that were asked for, each once, however often it was tried.
    Purges,
    /// Purges that were acknowledged; part of all purges.
    AcknowledgedPurges,
    /// Purges that were acknowledged as fenced; part of all purges.
    FencedPurges,
}

/// When something is counted; times since the run began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// All the time.
    Always,
    /// From the first time on, before the second.
    Between(Duration, Duration),
    /// Before that.
    Before(Duration),
    /// From then on.
    After(Duration),
    /// As long as something is wrong.
    While(Trouble),
}

/// For what the origin's requests are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// All together.
    Run,
    /// Each object, by each region.
    ObjectRegion,
    /// Each object, by each region, once and then after each purge of it.
    ObjectRegionPurge,
}

impl Story {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// When it cannot be read, does not parse, or asks for what its topology does not have; the error names file
    /// and line.
    pub fn load(file: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = file.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        let (story, lines) = parse::story(name, &text)
            .map_err(|lines| BadStory { file: file.display().to_string(), lines })?;
        let topology = story.topology().with_context(|| file.display().to_string())?;
        let wrong = check::check(&story, &lines, &topology);
        if !wrong.is_empty() {
            return Err(BadStory { file: file.display().to_string(), lines: wrong }.into());
        }
        Ok(story)
    }

    /// All stories of a directory, by name.
    ///
    /// # Errors
    ///
    /// When one cannot be loaded.
    pub fn load_all(dir: &Path) -> anyhow::Result<Vec<Self>> {
        let entries = std::fs::read_dir(dir)
            .with_context(|| format!("cannot read the stories in {}", dir.display()))?;
        let mut files: Vec<PathBuf> =
            entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
        files.retain(|file| file.extension().is_some_and(|ending| ending == "story"));
        files.sort();
        files.iter().map(|file| Self::load(file)).collect()
    }

    /// Whether it is one of those that are played by default.
    pub fn is_default(&self) -> bool {
        !self.stage.network && self.lasts <= DEFAULT_LASTS_MAX
    }

    /// Who stands where, with this story's own changes.
    ///
    /// # Errors
    ///
    /// When there is no such topology, or a setting is no TOML.
    pub fn topology(&self) -> anyhow::Result<Topology> {
        self.stage.build()
    }
}

#[cfg(test)]
mod tests;
