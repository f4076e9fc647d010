//! Which edition is whose.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Object, SCOPES_MAX, Scope};

/// What nobody gave an edition is of this one.
const FIRST: u64 = 1;

/// The editions of all scopes that ever got one; what has none is of edition 1.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Editions {
    /// The last that was given.
    pub last: u64,
    /// By scope, as JSON text.
    pub of: BTreeMap<String, u64>,
}

impl Editions {
    /// The edition of an object: the greatest of the scopes that name it.
    pub fn of(&self, object: &Object) -> u64 {
        let given = object.scopes().into_iter().filter_map(|scope| self.of.get(&key(&scope)));
        given.copied().max().unwrap_or(FIRST)
    }

    /// The edition that a scope gets next; none when there are too many scopes.
    pub(super) fn coming(&self, scope: &Scope) -> Option<u64> {
        let has_room = self.of.len() < SCOPES_MAX || self.of.contains_key(&key(scope));
        has_room.then(|| self.last.max(FIRST) + 1)
    }

    /// Gives a scope an edition.
    pub(super) fn give(&mut self, scope: &Scope, edition: u64) {
        self.last = self.last.max(edition);
        self.of.insert(key(scope), edition);
    }

    /// What is wrong with editions that somebody sent; nothing when they can be used.
    pub(super) fn wrong(&self) -> Option<String> {
        if self.of.len() > SCOPES_MAX {
            return Some(format!("{} scopes; at most {SCOPES_MAX}", self.of.len()));
        }
        // Keys are compared as text, so only the text that is written here will do.
        let strange = self.of.iter().find(|(text, edition)| {
            let scope = serde_json::from_str::<Scope>(text);
            !scope.is_ok_and(|scope| key(&scope) == **text) || **edition > self.last
        });
        strange.map(|(text, edition)| format!("{text}: {edition}: no such scope, or later than `last`"))
    }
}

fn key(scope: &Scope) -> String {
    serde_json::to_string(scope).expect("names and numbers are JSON")
}
