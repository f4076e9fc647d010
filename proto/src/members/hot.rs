//! The keys that some node of the PoP counts among its hottest.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use super::HOT_KEYS_MAX;
use crate::{Key, UnixMs};

/// Keys in the set at most.
pub const HOT_SET_MAX: usize = 2_048;

/// A key stays for this many heartbeats after a node named it last, so that one on the edge does not flicker.
const HEARTBEATS_KEPT: u64 = 10;

/// The union of what nodes name, each key for a while.
#[derive(Clone, Debug, Default)]
pub(super) struct Hot {
    named_ms: BTreeMap<Key, UnixMs>,
    published: Arc<HashSet<Key>>,
    has_new: bool,
}

impl Hot {
    pub(super) fn name(&mut self, keys: &[Key], now: UnixMs) {
        for key in keys.iter().take(HOT_KEYS_MAX) {
            if let Some(named_ms) = self.named_ms.get_mut(key) {
                *named_ms = now;
            } else if self.named_ms.len() < 2 * HOT_SET_MAX {
                // Between two ticks it may grow to twice the bound, so that the latest can win there.
                self.named_ms.insert(*key, now);
                self.has_new = true;
            }
        }
    }

    /// Drops what was not named for long; whether the set is another than it was.
    pub(super) fn tick(&mut self, heartbeat_ms: u64, now: UnixMs) -> bool {
        let before = self.named_ms.len();
        let kept_ms = heartbeat_ms.saturating_mul(HEARTBEATS_KEPT);
        self.named_ms.retain(|_, named_ms| now.saturating_sub(*named_ms) <= kept_ms);
        if self.named_ms.len() > HOT_SET_MAX {
            let mut latest: Vec<(UnixMs, Key)> = self.named_ms.iter().map(|(key, at)| (*at, *key)).collect();
            latest.sort_unstable_by(|a, b| b.cmp(a));
            latest.truncate(HOT_SET_MAX);
            self.named_ms = latest.into_iter().map(|(at, key)| (key, at)).collect();
        }
        let has_changed = std::mem::take(&mut self.has_new) || before != self.named_ms.len();
        if has_changed {
            self.published = Arc::new(self.named_ms.keys().copied().collect());
        }
        has_changed
    }

    pub(super) fn set(&self) -> Arc<HashSet<Key>> {
        self.published.clone()
    }
}
