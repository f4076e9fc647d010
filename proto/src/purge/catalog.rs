//! What the logs came to beside purges: who shields each region, and the services that were set at run time.
//!
//! Changes of one region's log come in its order. Services are changed in any region: what was said last by a
//! hybrid logical clock holds, so that all nodes come to the same, in whatever order the logs reach them
//! (last-writer-wins register; Kulkarni et al., "Logical Physical Clocks", 2014).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Change, Entry, Region, Version};
use crate::{NodeId, UnixMs};

/// A time of a hybrid logical clock. Times are ordered; no two are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hlc {
    /// The greatest wall-clock time seen, in milliseconds since the Unix epoch.
    pub ms: UnixMs,
    /// Tells apart what happened within it.
    pub count: u32,
    /// Whose clock it is.
    pub node: NodeId,
}

/// A service as it is set from some time on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceChange {
    /// The service.
    pub name: String,
    /// When that was said.
    pub at: Hlc,
    /// The service as TOML, the table of a `[[services]]` entry; none when it is deleted.
    pub definition: Option<String>,
}

/// A node that may speak to the origins for its region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shield {
    /// The node.
    pub node: NodeId,
    /// Its share of the shield ring; 100 is usual.
    pub weight: u16,
}

/// The shields of a region: the voters of its group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shields(pub Vec<Shield>);

/// What the entries of a log up to some place came to, beside purges.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// The shields of the region, and the entry that named them.
    pub shields: Option<(Version, Shields)>,
    /// The services of all regions, deleted ones among them.
    pub services: Vec<ServiceChange>,
}

/// What all logs came to at one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalog {
    shields: BTreeMap<Region, (Version, Shields)>,
    services: BTreeMap<String, ServiceChange>,
}

impl Hlc {
    /// A time of `node` that is after this one, and not before its wall clock.
    pub fn next(self, node: NodeId, now: UnixMs) -> Self {
        match self.count.checked_add(1) {
            _ if now > self.ms => Self { ms: now, count: 0, node },
            Some(count) => Self { ms: self.ms, count, node },
            None => Self { ms: self.ms.saturating_add(1), count: 0, node },
        }
    }
}

impl Base {
    /// The length of the texts in it, in bytes.
    pub fn text_bytes(&self) -> usize {
        self.services.iter().map(ServiceChange::text_bytes).sum()
    }

    /// As [`Catalog::room_for`].
    pub fn room_for(&self, name: &str, definition: Option<&str>) -> Result<(), String> {
        room_for(self.services.iter(), name, definition)
    }
}

impl ServiceChange {
    fn text_bytes(&self) -> usize {
        text_bytes(&self.name, self.definition.as_deref())
    }
}

impl Catalog {
    /// Names of services, deleted ones among them, beyond which no other is set. What was deleted stays known: a log
    /// that comes late may still say that it is there.
    pub const NAMES_MAX: usize = 4_096;

    /// Names and definitions, in bytes, beyond which nothing is set that takes more. A [`Base`] goes into one message
    /// and one snapshot. Regions that do not hear of each other may each come as far.
    pub const TEXT_BYTES_MAX: usize = 1 << 20;

    /// Whether a service may still be set like this. What takes no more than before always may, so that a catalog
    /// that is too large can be made smaller. The error is for people, and names the bound.
    pub fn room_for(&self, name: &str, definition: Option<&str>) -> Result<(), String> {
        room_for(self.services(), name, definition)
    }

    /// Takes in an entry that has just been applied; answers whether anything is other than before.
    pub fn apply(&mut self, entry: &Entry) -> bool {
        match &entry.change {
            Change::Nothing | Change::Purge(_) => false,
            Change::Service(change) => self.set(change),
            Change::Shields(shields) => self.shield(&entry.region, entry.version, shields),
        }
    }

    /// Takes in what the entries of `region` that were stepped over came to.
    pub fn adopt(&mut self, region: &Region, base: &Base) -> bool {
        let mut is_new = false;
        if let Some((version, shields)) = &base.shields {
            is_new |= self.shield(region, *version, shields);
        }
        for change in &base.services {
            is_new |= self.set(change);
        }
        is_new
    }

    /// What somebody needs to know who steps over entries of `region`.
    pub fn base(&self, region: &Region) -> Base {
        Base {
            shields: self.shields.get(region).cloned(),
            services: self.services.values().cloned().collect(),
        }
    }

    /// The shields of each region, and the entry that named them: their epoch.
    pub fn shields(&self) -> impl Iterator<Item = (&Region, Version, &Shields)> {
        self.shields.iter().map(|(region, (version, shields))| (region, *version, shields))
    }

    /// The services that were set, deleted ones among them, by name.
    pub fn services(&self) -> impl Iterator<Item = &ServiceChange> {
        self.services.values()
    }

    /// The last word on a service.
    pub fn service(&self, name: &str) -> Option<&ServiceChange> {
        self.services.get(name)
    }

    /// The latest time any change carries; the next one is to be after it.
    pub fn latest(&self) -> Hlc {
        self.services.values().map(|change| change.at).max().unwrap_or_default()
    }

    fn set(&mut self, change: &ServiceChange) -> bool {
        let known = self.services.get(&change.name);
        let is_new = known.is_none_or(|known| known.at < change.at);
        if is_new {
            self.services.insert(change.name.clone(), change.clone());
        }
        is_new
    }

    fn shield(&mut self, region: &Region, version: Version, shields: &Shields) -> bool {
        let is_new = self.shields.get(region).is_none_or(|(known, _)| *known < version);
        if is_new {
            self.shields.insert(region.clone(), (version, shields.clone()));
        }
        is_new
    }
}

fn room_for<'a>(
    services: impl Iterator<Item = &'a ServiceChange>,
    name: &str,
    definition: Option<&str>,
) -> Result<(), String> {
    let (mut names, mut bytes, mut before) = (0, 0, None);
    for change in services {
        names += 1;
        bytes += change.text_bytes();
        if change.name == name {
            before = Some(change.text_bytes());
        }
    }
    if before.is_none() && names >= Catalog::NAMES_MAX {
        return Err(format!(
            "the mesh knows {names} names of services, deleted ones among them, and takes {} at most",
            Catalog::NAMES_MAX
        ));
    }
    let (before, after) = (before.unwrap_or(0), text_bytes(name, definition));
    let whole = bytes - before + after;
    if after > before && whole > Catalog::TEXT_BYTES_MAX {
        return Err(format!(
            "with it the services of the mesh would be {whole} bytes of names and definitions, and {} are the most",
            Catalog::TEXT_BYTES_MAX
        ));
    }
    Ok(())
}

fn text_bytes(name: &str, definition: Option<&str>) -> usize {
    name.len() + definition.map_or(0, str::len)
}

#[cfg(test)]
#[path = "catalog_tests.rs"]
mod tests;
