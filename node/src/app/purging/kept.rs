//! The last purges that were sent to this node.

use std::collections::VecDeque;

use starling_proto::purge::EntryId;
use tokio::time::Instant;

use crate::admin::PurgeReceipt;

/// Purges that are remembered.
const KEPT_MAX: usize = 1_000;

/// What is remembered of one.
#[derive(Clone, Debug)]
pub struct Kept {
    number: u64,
    /// Its entry; none while it is not committed, or when it never was.
    pub id: Option<EntryId>,
    /// When it was known to be committed.
    pub acknowledged: Option<Instant>,
    /// When no lease is left that was given before.
    pub fenced_at: Option<Instant>,
    /// As it was told last.
    pub receipt: PurgeReceipt,
}

/// The last ones, the latest at the end.
#[derive(Debug, Default)]
pub struct KeptPurges {
    number: u64,
    purges: VecDeque<Kept>,
}

impl KeptPurges {
    /// A purge was sent; answers by which number it is told on.
    pub fn begin(&mut self) -> u64 {
        self.number += 1;
        let receipt = PurgeReceipt {
            id: None,
            committed_at: None,
            complete: false,
            fenced: false,
            applied: Vec::new(),
            missing: Vec::new(),
        };
        let number = self.number;
        self.purges.push_back(Kept { number, id: None, acknowledged: None, fenced_at: None, receipt });
        if self.purges.len() > KEPT_MAX {
            self.purges.pop_front();
        }
        number
    }

    /// More is known of it, if it is still remembered.
    pub fn update(&mut self, number: u64, update: impl FnOnce(&mut Kept)) {
        if let Some(kept) = self.purges.iter_mut().rev().find(|kept| kept.number == number) {
            update(kept);
        }
    }

    /// It was not sent after all, or it failed, and whoever sent it was told.
    pub fn forget(&mut self, number: u64) {
        self.purges.retain(|kept| kept.number != number);
    }

    /// The purge with this entry.
    pub fn find(&self, id: &EntryId) -> Option<&Kept> {
        self.purges.iter().rev().find(|kept| kept.id.as_ref() == Some(id))
    }

    /// All, the latest first.
    pub fn latest_first(&mut self) -> impl Iterator<Item = &mut Kept> {
        self.purges.iter_mut().rev()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use starling_proto::purge::{Region, Version};

    #[test]
    fn the_last_thousand_are_remembered_the_latest_first() {
        let mut kept = KeptPurges::default();
        let id = |index| EntryId { region: Region::new("eu"), version: Version { epoch: 1, index } };
        for index in 1..=1_200 {
            let number = kept.begin();
            kept.update(number, |kept| kept.id = Some(id(index)));
        }
        let refused = kept.begin();
        kept.forget(refused);
        let told: Vec<_> = kept.latest_first().filter_map(|kept| kept.id.clone()).collect();
        assert_eq!((told.len(), &told[0]), (999, &id(1_200)));
        assert!(kept.find(&id(1_200)).is_some() && kept.find(&id(1)).is_none());
    }
}
