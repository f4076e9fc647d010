//! Histories that nobody lived through, and what the judge must say of them.

pub mod language;
mod model;
mod much;
mod rules;

use super::{Judged, judge};

/// Judges a history in the [language] of these tests.
pub fn judged(text: &str) -> Judged {
    judge(&language::history(text))
}

/// The rules that are broken in a history, each once, in their alphabet.
pub fn broken(text: &str) -> Vec<String> {
    let mut rules: Vec<String> =
        judged(text).violations.into_iter().map(|violation| violation.rule).collect();
    rules.sort();
    rules.dedup();
    rules
}
