//! Counts results as the suite's own site does: a test that depends on a failed one does not pass.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
};

use serde_json::{Map, Value};

/// One test of the suite.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Test {
    id: String,
    suite: String,
    kind: Kind,
    depends_on: Vec<String>,
    browser_only: bool,
}

/// What a test asks: something the RFC requires, something a good cache does, or merely how it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A failure breaks the specification.
    Required,
    /// A failure costs efficiency.
    Optimal,
    /// Neither answer is wrong.
    Check,
}

/// How one test went.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed(String),
    /// A test it depends on did not pass.
    Dependency(String),
    NotRun,
}

/// All tests with their outcomes, in the suite's order.
pub struct Score {
    tests: Vec<(Test, Outcome)>,
}

impl Score {
    /// Judges the results. Tests for browsers alone are left out: the command line never runs them.
    pub fn of(tests: Vec<Test>, results: &Map<String, Value>) -> Self {
        let by_id: HashMap<&str, &Test> = tests.iter().map(|test| (test.id.as_str(), test)).collect();
        let judged = tests
            .iter()
            .filter(|test| !test.browser_only)
            .map(|test| (test.clone(), judge(test, &by_id, results)))
            .collect();
        Self { tests: judged }
    }

    /// How many tests of this kind passed.
    pub fn passed(&self, kind: Kind) -> usize {
        self.of_kind(kind).filter(|(_, outcome)| *outcome == Outcome::Passed).count()
    }

    /// The tests of this kind that did not pass and are not refused on purpose.
    pub fn failed(&self, kind: Kind, refusals: &BTreeMap<String, String>) -> Vec<String> {
        self.of_kind(kind)
            .filter(|(test, outcome)| *outcome != Outcome::Passed && !refusals.contains_key(&test.id))
            .map(|(test, outcome)| format!("{}: {}", test.id, outcome.text()))
            .collect()
    }

    /// The counts by kind, and every required and optimal test that did not pass.
    pub fn table(&self, refusals: &BTreeMap<String, String>) -> String {
        let mut text = format!("{:<10} {:>6} {:>6}\n", "kind", "passed", "of");
        for kind in [Kind::Required, Kind::Optimal, Kind::Check] {
            let name = format!("{kind:?}").to_lowercase();
            let _ = writeln!(text, "{name:<10} {:>6} {:>6}", self.passed(kind), self.of_kind(kind).count());
        }
        for kind in [Kind::Required, Kind::Optimal] {
            for (test, outcome) in self.of_kind(kind).filter(|(_, outcome)| *outcome != Outcome::Passed) {
                let refused = refusals.get(&test.id).map(|reason| format!(" (refused: {reason})"));
                let why = outcome.text();
                let refused = refused.unwrap_or_default();
                let _ = writeln!(text, "{kind:?} {}/{}: {why}{refused}", test.suite, test.id);
            }
        }
        text
    }

    fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &(Test, Outcome)> {
        self.tests.iter().filter(move |(test, _)| test.kind == kind)
    }
}

impl Outcome {
    fn text(&self) -> String {
        match self {
            Self::Passed => "passed".to_owned(),
            Self::Failed(why) => why.clone(),
            Self::Dependency(id) => format!("depends on {id}"),
            Self::NotRun => "not run".to_owned(),
        }
    }
}

fn judge(test: &Test, tests: &HashMap<&str, &Test>, results: &Map<String, Value>) -> Outcome {
    let Some(result) = results.get(&test.id) else { return Outcome::NotRun };
    for id in &test.depends_on {
        let met =
            tests.get(id.as_str()).is_some_and(|needed| judge(needed, tests, results) == Outcome::Passed);
        if !met {
            return Outcome::Dependency(id.clone());
        }
    }
    match result {
        Value::Bool(true) => Outcome::Passed,
        Value::Array(why) => {
            let words: Vec<&str> = why.iter().filter_map(Value::as_str).collect();
            Outcome::Failed(words.join(": "))
        }
        other => Outcome::Failed(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(id: &str, kind: Kind, depends_on: &[&str]) -> Test {
        let depends_on = depends_on.iter().map(|id| (*id).to_owned()).collect();
        Test { id: id.to_owned(), suite: "s".to_owned(), kind, depends_on, browser_only: false }
    }

    #[test]
    fn a_test_passes_only_with_what_it_depends_on() {
        let tests = vec![
            test("a", Kind::Required, &[]),
            test("b", Kind::Required, &["a"]),
            test("c", Kind::Optimal, &["b"]),
            test("d", Kind::Optimal, &[]),
            test("e", Kind::Check, &[]),
        ];
        let results = serde_json::json!({
            "a": ["Assertion", "no"], "b": true, "c": true, "d": true, "e": ["Setup", "retry"]
        });
        let score = Score::of(tests, results.as_object().expect("an object was written"));
        assert_eq!(score.passed(Kind::Required), 0);
        assert_eq!(score.passed(Kind::Optimal), 1);
        assert_eq!(score.passed(Kind::Check), 0);
        let refusals = BTreeMap::from([("a".to_owned(), "on purpose".to_owned())]);
        assert_eq!(score.failed(Kind::Required, &refusals), ["b: depends on a"]);
    }
}
