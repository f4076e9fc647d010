//! What a node keeps over a restart: its logs, what it has applied, and its objects, always in step.

use std::collections::BTreeMap;

use super::{Body, Flaw, Object, truth::Truth, truth::tag, truth::url};
use crate::{
    purge::{Base, Batch, Entry, PurgeTable, Purged, Region, Subject, Version, Versions},
    sim::Node,
};

/// Entries in one batch.
const ENTRIES_MAX: usize = 8;

#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    pub table: PurgeTable,
    /// All purges that were applied, for the table.
    kept: Vec<Entry>,
    /// What others can be sent.
    logs: BTreeMap<Region, Vec<Entry>>,
    pub objects: BTreeMap<Object, Body>,
    /// How far each life of each log was applied or stepped over. Only [`Truth`] looks at it.
    lives: BTreeMap<(Region, u64), u64>,
}

impl Disk {
    pub fn applied(&self) -> &Versions {
        self.table.applied()
    }

    pub fn reached(&self, region: &Region, epoch: u64) -> u64 {
        self.lives.get(&(region.clone(), epoch)).copied().unwrap_or(0)
    }

    /// Whether a log was ever applied up to here, or is in a later life.
    pub fn has(&self, region: &Region, at: Version) -> bool {
        self.reached(region, at.epoch) >= at.index
            || self.applied().get(region).is_some_and(|now| now.epoch > at.epoch)
    }

    /// As it is read after a restart.
    pub fn reopened(mut self, flaw: Option<Flaw>) -> Self {
        if flaw == Some(Flaw::RestartForgetsPurges) {
            self.kept.clear();
        }
        let applied = self.applied().clone();
        self.rebuild(applied, self.table.floors().clone());
        self
    }

    pub fn check(&self, object: Object, stamp: &Versions, flaw: Option<Flaw>) -> Purged {
        let mut stamp = stamp.clone();
        if flaw == Some(Flaw::RebirthIsNotNoticed) {
            let lives: Vec<_> =
                self.applied().iter().map(|(region, at)| (region.clone(), at.epoch)).collect();
            for (region, epoch) in lives {
                if let Some(at) = stamp.get(&region) {
                    stamp.set(region, Version { epoch, ..at });
                }
            }
        }
        self.table.check(Subject { service: "shop", url: &url(object), tags: &[tag(object)] }, &stamp)
    }

    /// Drops entries that others could be sent, but for the last few.
    pub fn compact(&mut self, left: usize) {
        for log in self.logs.values_mut() {
            log.drain(..log.len().saturating_sub(left));
        }
    }

    /// Applies what is new in a batch; answers whether anything was.
    pub fn apply(&mut self, node: Node, batch: &Batch, flaw: Option<Flaw>, truth: &mut Truth) -> bool {
        let Batch { region, after, base, entries, .. } = batch;
        let here = self.applied().get(region);
        let is_older = match flaw {
            Some(Flaw::EpochsAreNotCompared) => {
                here.is_some_and(|here| here.index > after.index + entries.len() as u64)
            }
            _ => here.is_some_and(|here| here.epoch > after.epoch),
        };
        if is_older {
            return false;
        }
        let known = here.filter(|here| here.epoch == after.epoch).map_or(0, |here| here.index);
        let known = if flaw == Some(Flaw::BatchesAreAppliedTwice) { after.index } else { known };
        let last = after.index + entries.len() as u64;
        if last <= known && here.is_some_and(|here| here.epoch == after.epoch) {
            return false;
        }
        if after.index > known {
            match (base, flaw) {
                (_, Some(Flaw::GapsAreAppliedOver)) => {}
                (Some(_), _) => self.step_over(region, *after, flaw),
                (None, _) => return false,
            }
        }
        for entry in entries.iter().filter(|entry| entry.version.index > known) {
            truth.applies(node, self.applied().get(region), entry);
            self.write(entry);
        }
        true
    }

    /// Writes an entry, whatever it follows: that is looked after before.
    pub fn write(&mut self, entry: &Entry) {
        let Entry { region, version, .. } = entry;
        if self.table.apply(entry).is_err() {
            // Only with a planted bug.
            let mut applied = self.applied().clone();
            applied.set(region.clone(), *version);
            self.rebuild(applied, self.table.floors().clone());
            self.table.restore(entry);
        }
        self.kept.push(entry.clone());
        let log = self.logs.entry(region.clone()).or_default();
        if log.last().is_some_and(|last| last.version != Version { index: version.index - 1, ..*version }) {
            log.clear();
        }
        log.push(entry.clone());
        self.live(region, *version);
    }

    fn step_over(&mut self, region: &Region, to: Version, flaw: Option<Flaw>) {
        if flaw == Some(Flaw::FloorIsNotSet) {
            let mut applied = self.applied().clone();
            applied.set(region.clone(), to);
            self.rebuild(applied, self.table.floors().clone());
        } else if self.table.skip(region, to).is_err() {
            return;
        }
        self.logs.remove(region);
        self.live(region, to);
    }

    /// What `there` has not applied of the logs here.
    pub fn missing(&self, there: &Versions) -> Vec<Batch> {
        self.applied().iter().filter_map(|(region, _)| self.after(region, there.get(region))).collect()
    }

    /// What follows `there` in a log, if anything does.
    pub fn after(&self, region: &Region, there: Option<Version>) -> Option<Batch> {
        let here = self.applied().get(region)?;
        if there.is_some_and(|there| there >= here) {
            return None;
        }
        let since = there.filter(|there| there.epoch == here.epoch).map_or(0, |there| there.index);
        let log = self.logs.get(region).map_or(&[][..], Vec::as_slice);
        let first = log.first().map_or(here.index + 1, |entry| entry.version.index);
        let after = since.max(first - 1);
        let entries =
            log.iter().filter(|entry| entry.version.index > after).take(ENTRIES_MAX).cloned().collect();
        let base = (after > since).then(Base::default);
        Some(Batch { region: region.clone(), since, after: Version { index: after, ..here }, base, entries })
    }

    fn live(&mut self, region: &Region, at: Version) {
        let index = self.lives.entry((region.clone(), at.epoch)).or_default();
        *index = at.index.max(*index);
    }

    fn rebuild(&mut self, applied: Versions, floors: Versions) {
        self.table = PurgeTable::new(applied, floors);
        self.kept.iter().for_each(|entry| self.table.restore(entry));
    }
}
