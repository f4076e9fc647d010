//! What has to be remembered of entries that were dropped from a log before their time.
//!
//! Their purges are remembered as purges of the whole service they are of: that names more objects than they did,
//! and none less, so nothing that was purged comes back. It costs one entry for each region, life of its log,
//! service and mode, however many went.

use serde::{Deserialize, Serialize};
use starling_proto::{
    UnixMs,
    purge::{Change, Entry, Purge, Selector},
};

/// Entries that stand for those that were dropped.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Remains(Vec<Entry>);

impl Remains {
    /// An entry is about to be dropped.
    pub fn remember(&mut self, entry: &Entry) {
        let Some(Purge { service, mode, .. }) = entry.purge() else { return };
        let stands_for = |other: &&mut Entry| {
            other.region == entry.region
                && other.version.epoch == entry.version.epoch
                && other.purge().is_some_and(|purge| purge.service == *service && purge.mode == *mode)
        };
        match self.0.iter_mut().find(stands_for) {
            Some(other) => {
                other.version.index = other.version.index.max(entry.version.index);
                other.at_ms = other.at_ms.max(entry.at_ms);
            }
            None => {
                let whole =
                    Purge { service: service.clone(), selectors: vec![Selector::Service], mode: *mode };
                self.0.push(Entry { key: 0, change: Change::Purge(whole), ..entry.clone() });
            }
        }
    }

    /// Forgets those that no object can be older than.
    pub fn sweep(&mut self, oldest_ms: UnixMs) {
        self.0.retain(|entry| entry.at_ms >= oldest_ms);
    }

    pub fn entries(&self) -> &[Entry] {
        &self.0
    }
}
