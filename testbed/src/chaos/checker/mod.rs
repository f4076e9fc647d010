//! The judge: reads a history and nothing else, and says what is wrong with it.
//!
//! | rule | what it holds |
//! | --- | --- |
//! | `P1` | a node that is known to have applied a hard purge answers nothing older than what that purge covers |
//! | `P5` | after a purge was acknowledged as fenced, no node answers anything older of a strict service |
//! | `future` | no answer is of an edition that the origin did not have by then |
//! | `damaged` | no answer has wrong bytes, or is of a kind that was not asked for; a 304 is for the edition that was named |
//! | `one-purge` | a key is committed once in a log, an id belongs to one key |
//! | `order` | the versions that a node tells never step back |
//! | `level` | after healing all nodes become level in the time they are given |
//! | `logged` | after healing each node has each acknowledged purge, and all of them the same one |
//! | `fresh` | after healing each read brings what the last acknowledged purges demand |
//! | `recorded` | ids and versions can be read at all |
//!
//! Reads that fail break no rule: they are counted, and stories judge them. What each rule demands, and why no right
//! mesh can break it, stands beside it in [`rules`].
//!
//! **Time.** All times of a history are of one monotonic clock in one process, which takes `at_us` before it sends
//! and `done_us` after it has received. So what is said of a node held at some moment between the two; it may be
//! demanded of what begins at `done_us` or later, and of nothing that begins before. Equal times count as later: a
//! word has to travel from the node to the recorder and back to a node, which takes more than the microsecond that
//! is cut off.
//!
//! **Cost.** Everything is looked up by node, object, scope or id in sorted lists or tables: `n log n` in the lines,
//! and memory in proportion to them; each old disk has the purges learnt once more for that node. A million lines take
//! a few seconds. Violations beyond a thousand are counted only.

mod coverage;
mod findings;
mod index;
mod knowledge;
pub mod rules;

use super::history::Event;

pub use index::Index;
pub use knowledge::{Id, Place, Spread};

/// So many violations are told; those beyond are counted.
pub const VIOLATIONS_MAX: usize = 1000;

/// What is wrong with a history.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Violation {
    /// The rule that is broken, such as `P1`.
    pub rule: String,
    /// What was seen, with times and names, so that it can be found in the history.
    pub what: String,
    /// When, in microseconds of the run.
    pub at_us: u64,
}

/// How much has happened.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Coverage {
    /// Name → count, such as `reads`, `reads_h2`, `ranges`, `purges_by_tag`, `faults_kill`. Violations are among
    /// them: `violations`, `violations_P1` and so on, also those that are not told.
    pub counts: std::collections::BTreeMap<String, u64>,
    /// What was too little, in words; anything here makes a history without violations inconclusive.
    pub lacks: Vec<String>,
}

/// What a history comes to.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// Nothing is wrong, and enough has happened.
    Passed,
    /// Something is wrong.
    Failed,
    /// Nothing is wrong, but too little has happened.
    Inconclusive,
}

/// The whole judgement.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Judged {
    /// In one word.
    pub judgement: Judgement,
    /// What is wrong, in the order of time; at most a thousand.
    pub violations: Vec<Violation>,
    /// How much has happened.
    pub coverage: Coverage,
}

/// Judges a history.
pub fn judge(events: &[Event]) -> Judged {
    let index = Index::new(events);
    let mut findings = findings::Findings::default();
    let mut coverage = coverage::count(events, &index);
    rules::recorded(&index, &mut findings);
    rules::purged_at_the_node(&index, &mut findings, &mut coverage);
    rules::fenced_everywhere(&index, &mut findings, &mut coverage);
    rules::of_its_time(&index, &mut findings);
    rules::undamaged(&index, &mut findings);
    rules::one_purge(&index, &mut findings, &mut coverage);
    rules::in_order(&index, &mut findings);
    rules::level(&index, &mut findings);
    rules::logged(&index, &mut findings, &mut coverage);
    rules::fresh_at_last(&index, &mut findings);
    coverage::lacks(&index, &mut coverage);
    let violations = findings.into_sorted(&mut coverage.counts);
    let judgement = match (violations.is_empty(), coverage.lacks.is_empty()) {
        (false, _) => Judgement::Failed,
        (true, false) => Judgement::Inconclusive,
        (true, true) => Judgement::Passed,
    };
    Judged { judgement, violations, coverage }
}

#[cfg(test)]
mod tests;
