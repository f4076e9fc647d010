//! The purge table: for each selector, the last purge that named it.
//!
//! [`PurgeTable::check`] runs on the way of a hit once after each purge: it borrows what it looks up and
//! allocates nothing.
//!
//! Invariants:
//! - Entries of a region are applied in order, once; a gap or another epoch is an [`ApplyError`].
//! - `seq` grows by one with every applied entry, so an object checked at the present `seq` needs no look.
//! - An entry may be dropped only when every object it could match is older than any object may be.

use std::collections::{BTreeMap, HashMap};

use super::{Entry, Mode, Region, Selector, Version, Versions};
use crate::UnixMs;

/// What the table says of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purged {
    /// No purge after its stamp names it.
    No,
    /// A soft purge does, or its stamp is of another life of a region's log: revalidate before use.
    Soft,
    /// A hard purge does: it is gone.
    Hard,
}

/// Why an entry was not applied. The table is as it was before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Entries before this one have not been applied yet.
    #[error("{region}: entry {got} does not follow {applied}; the entries between are missing")]
    Gap {
        /// The region of the entry.
        region: Region,
        /// The last entry applied.
        applied: u64,
        /// The entry that was given.
        got: u64,
    },
    /// This entry, or a later one, has been applied already.
    #[error("{region}: entry {got} has been applied already")]
    Old {
        /// The region of the entry.
        region: Region,
        /// The entry that was given.
        got: u64,
    },
}

/// The identity of an object, as purges see it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The service it belongs to.
    pub service: &'a str,
    /// `host/path?query`, normalised as in [`Selector::Url`].
    pub url: &'a str,
    /// The tags its origin gave it.
    pub tags: &'a [String],
}

impl<'a> Subject<'a> {
    /// The host and its port, if it has one: what stands before the first `/` of the URL.
    pub fn authority(&self) -> &'a str {
        self.url.split('/').next().unwrap_or(self.url)
    }

    /// The host without its port.
    pub fn host(&self) -> &'a str {
        let authority = self.authority();
        match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => authority,
        }
    }

    /// What prefixes are compared with: the URL without its query.
    fn path(&self) -> &'a str {
        self.url.split('?').next().unwrap_or(self.url)
    }
}

/// The last purge of each selector, of every region.
#[derive(Clone, Debug, Default)]
pub struct PurgeTable {
    services: HashMap<String, ServiceTable>,
    applied: Versions,
    seq: u64,
}

/// The purges of one service, by the kind of their selector.
#[derive(Clone, Debug, Default)]
struct ServiceTable {
    whole: Marks,
    hosts: HashMap<String, Marks>,
    urls: HashMap<String, Marks>,
    tags: HashMap<String, Marks>,
    prefixes: HashMap<String, Marks>,
    /// How many prefix selectors have each length in bytes: a lookup tries only lengths that exist.
    prefix_lengths: BTreeMap<usize, usize>,
}

/// The last purges of one selector: one for each region, life of its log, and mode.
#[derive(Clone, Debug, Default)]
struct Marks(Vec<Mark>);

/// The last purge of one selector in one region, by mode.
#[derive(Clone, Debug)]
struct Mark {
    region: Region,
    mode: Mode,
    version: Version,
    at_ms: UnixMs,
}

impl PurgeTable {
    /// An empty table whose regions stand at `applied`.
    pub fn new(applied: Versions) -> Self {
        Self { applied, ..Self::default() }
    }

    /// How far each region's log is applied.
    pub fn applied(&self) -> &Versions {
        &self.applied
    }

    /// Grows by one with every applied entry; an object checked at this number is not checked again.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The number of selectors in the table.
    pub fn len(&self) -> usize {
        self.services.values().map(ServiceTable::len).sum()
    }

    /// Whether no purge is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Applies the next entry of a region. The first entry of a new epoch starts that region anew.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), ApplyError> {
        let Version { epoch, index: got } = entry.version;
        let applied = self.applied.get(&entry.region).filter(|at| at.epoch == epoch).map_or(0, |at| at.index);
        if got <= applied {
            return Err(ApplyError::Old { region: entry.region.clone(), got });
        }
        if got - applied > 1 {
            return Err(ApplyError::Gap { region: entry.region.clone(), applied, got });
        }
        self.mark(entry);
        self.applied.set(entry.region.clone(), entry.version);
        self.seq += 1;
        Ok(())
    }

    /// Moves a region's log on to `version` without entries: those before it name nothing that may still be used.
    /// Another epoch starts the region anew; a step back in the same one is an error.
    pub fn skip(&mut self, region: &Region, version: Version) -> Result<(), ApplyError> {
        let applied = self.applied.get(region).filter(|at| at.epoch == version.epoch);
        if applied.is_some_and(|at| at.index > version.index) {
            return Err(ApplyError::Old { region: region.clone(), got: version.index });
        }
        self.applied.set(region.clone(), version);
        self.seq += 1;
        Ok(())
    }

    /// Puts back an entry that was applied before a restart, in any order; `applied` is not moved.
    pub fn restore(&mut self, entry: &Entry) {
        self.mark(entry);
        self.seq += 1;
    }

    /// Whether an object with this identity and stamp is purged.
    pub fn check(&self, subject: Subject<'_>, stamp: &Versions) -> Purged {
        let reborn = if self.reborn(stamp) { Purged::Soft } else { Purged::No };
        let Some(service) = self.services.get(subject.service) else { return reborn };
        let named = service.matching(subject).map(|mark| mark.judge(stamp, &self.applied)).max();
        named.map_or(reborn, |named| named.max(reborn))
    }

    /// Drops what no object can match any more: purges committed before `oldest_ms`, the birth of the
    /// oldest object that may still be used. Answers how many selectors went.
    pub fn sweep(&mut self, oldest_ms: UnixMs) -> usize {
        let before = self.len();
        for service in self.services.values_mut() {
            service.sweep(oldest_ms);
        }
        self.services.retain(|_, service| service.len() > 0);
        before - self.len()
    }

    /// Whether some region's log has begun a new life since the stamp was taken (promise P6).
    fn reborn(&self, stamp: &Versions) -> bool {
        stamp.iter().any(|(region, at)| self.applied.get(region).is_some_and(|now| now.epoch != at.epoch))
    }

    fn mark(&mut self, entry: &Entry) {
        let service = self.services.entry(entry.service.clone()).or_default();
        for selector in &entry.selectors {
            service.mark(selector, entry);
        }
    }
}

impl ServiceTable {
    fn len(&self) -> usize {
        let named = self.hosts.len() + self.urls.len() + self.tags.len() + self.prefixes.len();
        named + usize::from(!self.whole.0.is_empty())
    }

    fn mark(&mut self, selector: &Selector, entry: &Entry) {
        let marks = match selector {
            Selector::Service => &mut self.whole,
            Selector::Host(host) => self.hosts.entry(host.clone()).or_default(),
            Selector::Url(url) => self.urls.entry(url.clone()).or_default(),
            Selector::Tag(tag) => self.tags.entry(tag.clone()).or_default(),
            Selector::Prefix(prefix) => {
                if !self.prefixes.contains_key(prefix) {
                    *self.prefix_lengths.entry(prefix.len()).or_default() += 1;
                }
                self.prefixes.entry(prefix.clone()).or_default()
            }
        };
        marks.add(entry);
    }

    /// The marks of all selectors that name the subject.
    fn matching<'a>(&'a self, subject: Subject<'a>) -> impl Iterator<Item = &'a Mark> {
        let (authority, host, path) = (subject.authority(), subject.host(), subject.path());
        let authority = self.hosts.get(authority).filter(|_| authority != host);
        let host = self.hosts.get(host);
        let url = self.urls.get(subject.url);
        let tags = subject.tags.iter().filter_map(|tag| self.tags.get(tag));
        let prefixes = self
            .prefix_lengths
            .range(..=path.len())
            .filter_map(|(length, _)| self.prefixes.get(path.get(..*length)?));
        let whole = std::iter::once(&self.whole);
        whole.chain(authority).chain(host).chain(url).chain(tags).chain(prefixes).flat_map(|marks| &marks.0)
    }

    fn sweep(&mut self, oldest_ms: UnixMs) {
        self.whole.sweep(oldest_ms);
        for kind in [&mut self.hosts, &mut self.urls, &mut self.tags] {
            kind.retain(|_, marks| marks.sweep(oldest_ms));
        }
        let lengths = &mut self.prefix_lengths;
        self.prefixes.retain(|prefix, marks| {
            let keep = marks.sweep(oldest_ms);
            if !keep && let Some(count) = lengths.get_mut(&prefix.len()) {
                *count -= 1;
                if *count == 0 {
                    lengths.remove(&prefix.len());
                }
            }
            keep
        });
    }
}

impl Marks {
    fn add(&mut self, entry: &Entry) {
        let Entry { region, version, at_ms, mode, .. } = entry;
        // A mark of another life stays: restored entries come in any order, and objects of both may exist.
        let same = |old: &&mut Mark| {
            old.region == *region && old.mode == *mode && old.version.epoch == version.epoch
        };
        match self.0.iter_mut().find(same) {
            Some(old) => {
                old.version.index = old.version.index.max(version.index);
                // The committer's clock may have stepped back between the two; the sweep must not come early.
                old.at_ms = old.at_ms.max(*at_ms);
            }
            None => {
                self.0.push(Mark { region: region.clone(), mode: *mode, version: *version, at_ms: *at_ms });
            }
        }
    }

    /// Drops marks older than `oldest_ms`; answers whether any is left.
    fn sweep(&mut self, oldest_ms: UnixMs) -> bool {
        self.0.retain(|mark| mark.at_ms >= oldest_ms);
        !self.0.is_empty()
    }
}

impl Mark {
    fn judge(&self, stamp: &Versions, applied: &Versions) -> Purged {
        let epoch = self.version.epoch;
        let purged = match stamp.get(&self.region) {
            None => true,
            Some(at) if at.epoch == epoch => at.index < self.version.index,
            // The stamp is of another life of the log. A purge of the present life came after objects of the
            // lives before it; one of a past life came before the objects of the present.
            Some(_) => applied.get(&self.region).is_some_and(|now| now.epoch == epoch),
        };
        match (purged, self.mode) {
            (false, _) => Purged::No,
            (true, Mode::Soft) => Purged::Soft,
            (true, Mode::Hard) => Purged::Hard,
        }
    }
}

#[cfg(test)]
mod tests;
