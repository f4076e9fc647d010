//! One entry of a region's log: a purge, or another change that every node learns.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Base, Region, ServiceChange, Shields, Version};
use crate::UnixMs;

/// A change in its place in a region's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Whose log it stands in.
    pub region: Region,
    /// Where it stands there.
    pub version: Version,
    /// When it was committed, by the later of the clocks of proposer and leader: for people and for the bound of the
    /// table, never for a decision.
    pub at_ms: UnixMs,
    /// By which whoever asked for it recognises it when it is asked for again; 0 when nobody will.
    pub key: u128,
    /// What changes.
    pub change: Change,
}

/// What an entry changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Nothing: the log's group needed the place for itself.
    Nothing,
    /// Objects are purged.
    Purge(Purge),
    /// A service is created, updated or deleted.
    Service(ServiceChange),
    /// The region's shields are these from now on.
    Shields(Shields),
}

/// What is purged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purge {
    /// The service whose objects it names.
    pub service: String,
    /// Objects that match any of these are purged.
    pub selectors: Vec<Selector>,
    /// Whether the old bytes may still be used.
    pub mode: Mode,
}

/// The name of an entry, as people are told it: `region/epoch/index`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EntryId {
    /// Whose log it stands in.
    pub region: Region,
    /// Where it stands there.
    pub version: Version,
}

/// Why a text names no entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no purge: an id is `region/epoch/index`, such as `eu/0000019a3f5c2b10/42`")]
pub struct EntryIdError(String);

impl Entry {
    /// Its name.
    pub fn id(&self) -> EntryId {
        EntryId { region: self.region.clone(), version: self.version }
    }

    /// The purge, if it is one.
    pub fn purge(&self) -> Option<&Purge> {
        match &self.change {
            Change::Purge(purge) => Some(purge),
            _ => None,
        }
    }

    /// The length of the texts in it, in bytes.
    pub fn text_bytes(&self) -> usize {
        self.change.text_bytes()
    }
}

impl Change {
    /// The length of the texts in it, in bytes.
    pub fn text_bytes(&self) -> usize {
        match self {
            Self::Nothing | Self::Shields(_) => 0,
            Self::Purge(purge) => {
                purge.service.len() + purge.selectors.iter().map(Selector::text_bytes).sum::<usize>()
            }
            Self::Service(change) => change.name.len() + change.definition.as_ref().map_or(0, String::len),
        }
    }
}

impl Selector {
    fn text_bytes(&self) -> usize {
        match self {
            Self::Url(text) | Self::Tag(text) | Self::Host(text) | Self::Prefix(text) => text.len(),
            Self::Service => 0,
        }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.region, self.version)
    }
}

impl std::str::FromStr for EntryId {
    type Err = EntryIdError;

    fn from_str(text: &str) -> Result<Self, EntryIdError> {
        let parse = || {
            let (rest, index) = text.rsplit_once('/')?;
            let (region, epoch) = rest.rsplit_once('/')?;
            let epoch = u64::from_str_radix(epoch, 16).ok()?;
            let version = Version { epoch, index: index.parse().ok()? };
            (!region.is_empty()).then(|| Self { region: Region::new(region), version })
        };
        parse().ok_or_else(|| EntryIdError(text.to_owned()))
    }
}

/// Entries of one log that follow each other, on their way to a node that has not applied them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The log.
    pub region: Region,
    /// Who has applied the log up to here may step to `after` at once.
    pub since: u64,
    /// The place the entries follow.
    pub after: Version,
    /// What the entries up to `after` came to, where some of them are left out: what was fetched before them is
    /// revalidated by who steps over them.
    pub base: Option<Base>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purge_is_told_and_understood_by_the_same_name() {
        let id = EntryId { region: Region::new("eu"), version: Version { epoch: 0x19a, index: 42 } };
        assert_eq!(id.to_string(), "eu/000000000000019a/42");
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in ["", "eu", "eu/1", "/1/2", "eu/x/2", "eu/1/-2"] {
            assert!(wrong.parse::<EntryId>().is_err(), "{wrong}");
        }
    }
}
