//! What purges demand of reads.
//!
//! **What a purge covers.** All content that the origin gave out before the purge was committed. It was not committed
//! before the first attempt with its key was sent, whichever attempt brought the acknowledgement: an earlier one, of
//! which nothing is known, may be the one that was written. So every edition whose publication was done by then is
//! covered, of the object itself, of its group or of its host: what is older than the greatest of them may not be used.
//! An edition that was published later may or may not have been there when the purge was committed: it is not demanded.
//!
//! So of several purges of an object the one that was first sent latest demands the most, and one line by scope is
//! enough.
//!
//! **Soft purges** demand nothing: they leave stale copies that may be served while they are revalidated, and of a
//! copy that nobody asked for in between that may be at any time.

use std::collections::HashMap;

use crate::{
    chaos::{
        checker::index::{Committed, scopes_of},
        history::{By, Micros},
    },
    press::{Object, Scope},
};

use super::seconds;

/// What is demanded, by scope.
pub struct Demands<'a, Why> {
    by_scope: HashMap<Scope, Demand<'a, Why>>,
}

/// The purge of a scope that demands the most.
#[derive(Clone, Copy)]
pub struct Demand<'a, Why> {
    /// Which purge.
    pub purge: Committed<'a>,
    /// What proves that it must be heeded.
    pub why: Why,
}

impl<Why> Default for Demands<'_, Why> {
    fn default() -> Self {
        Self { by_scope: HashMap::new() }
    }
}

impl<'a, Why> Demands<'a, Why> {
    /// From now on this purge must be heeded.
    pub fn add(&mut self, purge: Committed<'a>, why: Why) {
        if purge.purge.soft {
            return;
        }
        let demands = self.by_scope.get(&purge.purge.scope);
        if demands.is_none_or(|stands| stands.purge.first_us < purge.first_us) {
            self.by_scope.insert(purge.purge.scope.clone(), Demand { purge, why });
        }
    }

    /// The purge that demands the most for an object, if any does.
    pub fn of(&self, object: &Object) -> Option<&Demand<'a, Why>> {
        let demands = scopes_of(object).into_iter().filter_map(|scope| self.by_scope.get(&scope));
        demands.max_by_key(|demand| demand.purge.first_us)
    }

    /// Nothing is demanded any more.
    pub fn clear(&mut self) {
        self.by_scope.clear();
    }
}

/// A purge, for people: so that its lines are found in the history.
pub fn told(committed: &Committed<'_>) -> String {
    let Committed { id, purge, first_us } = committed;
    let by = match purge.by {
        By::Url => "URL",
        By::Tag => "tag",
        By::Prefix => "prefix",
        By::Host => "host",
        By::All => "all",
    };
    format!(
        "purge {id} of {} by {by} (key {}, first sent at {}, acknowledged by {} at {})",
        scope(&purge.scope),
        purge.key,
        seconds(*first_us),
        purge.node,
        seconds(purge.done_us)
    )
}

/// A scope, for people.
pub fn scope(scope: &Scope) -> String {
    match scope {
        Scope::Object(host, group, name) => format!("{}/o/{group}/{name}", host.name()),
        Scope::Group(host, group) => format!("{}/o/{group}/*", host.name()),
        Scope::All(host) => format!("{}/*", host.name()),
    }
}

/// Since when something must be heeded.
pub type Since = Micros;
