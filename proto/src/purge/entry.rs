//! One purge, as it stands in a region's log.

use serde::{Deserialize, Serialize};

use super::{Region, Version};
use crate::UnixMs;

/// A purge in its place in a region's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Whose log it stands in.
    pub region: Region,
    /// Where it stands there.
    pub version: Version,
    /// When it was committed, by the committer's clock: for people and for the bound of the table, never for a decision.
    pub at_ms: UnixMs,
    /// The service whose objects it names.
    pub service: String,
    /// Objects that match any of these are purged.
    pub selectors: Vec<Selector>,
    /// Whether the old bytes may still be used.
    pub mode: Mode,
}

impl Entry {
    /// How it is told to people: `log/epoch/index`.
    pub fn id(&self) -> String {
        format!("{}/{:016x}/{}", self.region, self.version.epoch, self.version.index)
    }

    /// The length of the texts in it, in bytes.
    pub fn text_bytes(&self) -> usize {
        let text = |selector: &Selector| match selector {
            Selector::Url(text) | Selector::Tag(text) | Selector::Host(text) | Selector::Prefix(text) => {
                text.len()
            }
            Selector::Service => 0,
        };
        self.service.len() + self.selectors.iter().map(text).sum::<usize>()
    }
}

/// Entries of one log that follow each other, on their way to a node that has not applied them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The log.
    pub region: Region,
    /// Who has applied the log up to here may step to `after` at once: what lies between names nothing that may
    /// still be used.
    pub since: u64,
    /// The place the entries follow.
    pub after: Version,
    /// In their order, without a gap.
    pub entries: Vec<Entry>,
}

/// Whether purged bytes may still be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Mode {
    /// The object is gone: it is neither served nor revalidated.
    Hard,
    /// The object is stale: it may be revalidated, and served stale where staleness is allowed.
    Soft,
}

/// What a purge names, within one service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Selector {
    /// All variants of one URL: `host/path?query`, as normalised for the cache key.
    Url(String),
    /// Objects that the origin tagged with this.
    Tag(String),
    /// Objects of one host, lower case: without a port, those of all its ports; with one, those of that port.
    Host(String),
    /// Objects whose `host/path` starts with this; the query is not looked at.
    Prefix(String),
    /// All objects of the service.
    Service,
}
