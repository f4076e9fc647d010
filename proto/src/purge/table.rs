//! The purge table: for each selector, the last purge that named it.
//!
//! [`PurgeTable::check`] runs on the way of a hit once after each purge: it borrows what it looks up and
//! allocates nothing.
//!
//! Invariants:
//! - Entries of a region are applied in order, once; a gap or another epoch is an [`ApplyError`].
//! - `seq` grows by one with every applied entry, so an object checked at the present `seq` needs no look.
//! - A mark is dropped only when every object it could match is older than any object may be, or when one of the
//!   whole service takes its place: what is purged stays purged.

use std::collections::{BTreeMap, HashMap};

use super::{Entry, Mode, Purge, Region, Selector, Version, Versions};
use crate::UnixMs;

/// What the table says of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purged {
    /// No purge after its stamp names it.
    No,
    /// A soft purge does: revalidate before use, or serve stale where staleness is allowed.
    Soft,
    /// It cannot be told: its stamp is of another life of a region's log, or entries that this node stepped over came
    /// after it. Revalidate before use.
    Unknown,
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
    /// Entries of a region up to here are not all in the table: what was fetched before them is revalidated. A log
    /// that began anew has one at its beginning, for the end of its former life may never have come here.
    floors: Versions,
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
    /// An empty table whose regions stand at `applied`, of which entries up to `floors` are left out.
    pub fn new(applied: Versions, floors: Versions) -> Self {
        Self { applied, floors, ..Self::default() }
    }

    /// Up to where entries of each region were stepped over, if any were.
    pub fn floors(&self) -> &Versions {
        &self.floors
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

    /// Applies the next entry of a region. The first entry of a later epoch starts that region anew.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), ApplyError> {
        let Version { epoch, index: got } = entry.version;
        let old = || ApplyError::Old { region: entry.region.clone(), got };
        let stood = self.applied.get(&entry.region);
        let applied = match stood {
            Some(at) if at.epoch > epoch => return Err(old()),
            Some(at) if at.epoch == epoch => at.index,
            Some(_) | None => 0,
        };
        if got <= applied {
            return Err(old());
        }
        if got - applied > 1 {
            return Err(ApplyError::Gap { region: entry.region.clone(), applied, got });
        }
        if stood.is_some_and(|at| at.epoch < epoch) {
            self.floors.set(entry.region.clone(), Version { epoch, index: 0 });
        }
        self.mark(entry);
        self.applied.set(entry.region.clone(), entry.version);
        self.seq += 1;
        Ok(())
    }

    /// Moves a region's log on to `version` without its entries: what was fetched before them is revalidated. A
    /// later epoch starts the region anew; a step back is an error.
    pub fn skip(&mut self, region: &Region, version: Version) -> Result<(), ApplyError> {
        let stood = self.applied.get(region);
        let applied = stood.unwrap_or_default();
        if applied > version {
            return Err(ApplyError::Old { region: region.clone(), got: version.index });
        }
        let is_reborn = stood.is_some_and(|at| at.epoch < version.epoch);
        let known = if applied.epoch == version.epoch { applied.index } else { 0 };
        if is_reborn || version.index > known {
            self.floors.set(region.clone(), version);
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
        let unknown =
            if self.is_reborn(stamp) || self.is_below_floor(stamp) { Purged::Unknown } else { Purged::No };
        let Some(service) = self.services.get(subject.service) else { return unknown };
        let named = service.matching(subject).map(|mark| mark.judge(stamp)).max();
        named.map_or(unknown, |named| named.max(unknown))
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

    /// While there are more than `selectors_max` selectors: of the region that has the most marks, the older half
    /// become purges of the whole services they are of. More is purged by that, and nothing less. Answers how many
    /// selectors went; a table of as many services keeps one for each.
    pub fn compact(&mut self, selectors_max: usize) -> usize {
        let before = self.len();
        while self.len() > selectors_max {
            let Some((region, upto)) = self.older_half() else { break };
            for service in self.services.values_mut() {
                service.widen(&region, upto);
            }
        }
        before - self.len()
    }

    /// The region with the most marks, those of whole services aside, and the place of the middle one.
    fn older_half(&self) -> Option<(Region, Version)> {
        let mut regions: BTreeMap<&Region, Vec<Version>> = BTreeMap::new();
        for mark in self.services.values().flat_map(ServiceTable::narrow) {
            regions.entry(&mark.region).or_default().push(mark.version);
        }
        let (region, mut places) = regions.into_iter().max_by_key(|(_, places)| places.len())?;
        let middle = (places.len() - 1) / 2;
        let (_, middle, _) = places.select_nth_unstable(middle);
        Some((region.clone(), *middle))
    }

    /// Whether some region's log has begun a new life since the stamp was taken (promise P6).
    fn is_reborn(&self, stamp: &Versions) -> bool {
        stamp.iter().any(|(region, at)| self.applied.get(region).is_some_and(|now| now.epoch != at.epoch))
    }

    /// Whether entries that are not in the table came after the stamp.
    fn is_below_floor(&self, stamp: &Versions) -> bool {
        self.floors.iter().any(|(region, floor)| {
            stamp.get(region).is_none_or(|at| at.epoch == floor.epoch && at.index < floor.index)
        })
    }

    fn mark(&mut self, entry: &Entry) {
        let Some(Purge { service, selectors, mode }) = entry.purge() else { return };
        let service = self.services.entry(service.clone()).or_default();
        let Entry { region, version, at_ms, .. } = entry;
        let mark = Mark { region: region.clone(), mode: *mode, version: *version, at_ms: *at_ms };
        for selector in selectors {
            service.mark(selector, &mark);
        }
    }
}

impl ServiceTable {
    fn len(&self) -> usize {
        let named = self.hosts.len() + self.urls.len() + self.tags.len() + self.prefixes.len();
        named + usize::from(!self.whole.0.is_empty())
    }

    fn mark(&mut self, selector: &Selector, mark: &Mark) {
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
        marks.add(mark);
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

    /// All marks but those of the whole service.
    fn narrow(&self) -> impl Iterator<Item = &Mark> {
        let kinds = [&self.hosts, &self.urls, &self.tags, &self.prefixes];
        kinds.into_iter().flat_map(HashMap::values).flat_map(|marks| &marks.0)
    }

    /// Makes the marks of a region up to a place those of the whole service.
    fn widen(&mut self, region: &Region, upto: Version) {
        let mut widened = Marks::default();
        self.retain_narrow(|mark| {
            let keeps = mark.region != *region || mark.version > upto;
            if !keeps {
                widened.add(mark);
            }
            keeps
        });
        widened.0.iter().for_each(|mark| self.whole.add(mark));
    }

    fn sweep(&mut self, oldest_ms: UnixMs) {
        self.whole.0.retain(|mark| mark.at_ms >= oldest_ms);
        self.retain_narrow(|mark| mark.at_ms >= oldest_ms);
    }

    /// Drops marks, those of the whole service aside, and the selectors that have none left.
    fn retain_narrow(&mut self, mut keeps: impl FnMut(&Mark) -> bool) {
        for kind in [&mut self.hosts, &mut self.urls, &mut self.tags] {
            kind.retain(|_, marks| marks.retain(&mut keeps));
        }
        let lengths = &mut self.prefix_lengths;
        self.prefixes.retain(|prefix, marks| {
            let stays = marks.retain(&mut keeps);
            if !stays && let Some(count) = lengths.get_mut(&prefix.len()) {
                *count -= 1;
                if *count == 0 {
                    lengths.remove(&prefix.len());
                }
            }
            stays
        });
    }
}

impl Marks {
    fn add(&mut self, new: &Mark) {
        // A mark of another life stays: restored entries come in any order, and objects of both may exist.
        let same = |old: &&mut Mark| {
            old.region == new.region && old.mode == new.mode && old.version.epoch == new.version.epoch
        };
        match self.0.iter_mut().find(same) {
            Some(old) => {
                old.version.index = old.version.index.max(new.version.index);
                // The proposer's clock may have stepped back between the two; the sweep must not come early.
                old.at_ms = old.at_ms.max(new.at_ms);
            }
            None => self.0.push(new.clone()),
        }
    }

    /// Answers whether any is left.
    fn retain(&mut self, keeps: impl FnMut(&Mark) -> bool) -> bool {
        self.0.retain(keeps);
        !self.0.is_empty()
    }
}

impl Mark {
    fn judge(&self, stamp: &Versions) -> Purged {
        // A stamp of a former life is before the purges of all lives after it, and one that does not know the
        // region before all of them.
        let purged = stamp.get(&self.region).is_none_or(|at| at < self.version);
        match (purged, self.mode) {
            (false, _) => Purged::No,
            (true, Mode::Soft) => Purged::Soft,
            (true, Mode::Hard) => Purged::Hard,
        }
    }
}

#[cfg(test)]
mod tests;
