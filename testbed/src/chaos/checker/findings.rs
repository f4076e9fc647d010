//! The violations that are found: the earliest are kept, the others counted.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BinaryHeap},
};

use crate::chaos::history::Micros;

use super::{VIOLATIONS_MAX, Violation};

/// Where rules put what they find.
#[derive(Default)]
pub struct Findings {
    /// The latest on top: it goes first when there are too many.
    kept: BinaryHeap<Latest>,
    found: BTreeMap<&'static str, u64>,
}

struct Latest(Violation);

impl Findings {
    /// Adds one. Its text is only made if it is kept.
    pub fn add(&mut self, rule: &'static str, at_us: Micros, what: impl FnOnce() -> String) {
        *self.found.entry(rule).or_default() += 1;
        if self.kept.len() >= VIOLATIONS_MAX {
            if self.kept.peek().is_some_and(|latest| latest.0.at_us <= at_us) {
                return;
            }
            self.kept.pop();
        }
        self.kept.push(Latest(Violation { rule: rule.to_owned(), what: what(), at_us }));
    }

    /// Those that are kept, in the order of time; how many there were goes to the counts.
    pub fn into_sorted(self, counts: &mut BTreeMap<String, u64>) -> Vec<Violation> {
        counts.insert("violations".to_owned(), self.found.values().sum());
        counts.extend(self.found.iter().map(|(rule, count)| (format!("violations_{rule}"), *count)));
        self.kept.into_sorted_vec().into_iter().map(|latest| latest.0).collect()
    }
}

impl Latest {
    fn key(&self) -> (Micros, &str, &str) {
        (self.0.at_us, &self.0.rule, &self.0.what)
    }
}

impl Ord for Latest {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Latest {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Latest {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Latest {}
