//! The fence: for how long a node may trust that it knows every region's head (promise P5).
//!
//! A region answers the question for its head with a [`Lease`]: whatever it commits later, it acknowledges as
//! fenced only when the lease has run out. It is counted from the moment the *asker sent* its question, so
//! it ends at the asker before it ends at who gave it (Gray and Cheriton, "Leases", 1989). It is handed on as time
//! remaining, which the next asker counts from when it sent its own question; so no clock is ever compared.
//!
//! Invariants:
//! - A lease is of use only to who has applied its head.
//! - What is handed on ends, in true time, before what is held, though either clock runs [`RATE_PER_MILLE`] fast
//!   or slow.
//! - A lease on a later life of a log voids those on the lives before it.
//! - A region that was heard of is not forgotten: its leases running out ends the fence, and does not mend it.
//! - A region whose head is not known is handed on by its name: who asks is not fenced without it either.

use std::collections::BTreeMap;

use crate::{
    purge::{Region, Version, Versions},
    wire::Lease,
};

/// Regions that are followed; a node that hears of more is not fenced.
const REGIONS_MAX: usize = 1_024;
/// Leases kept of one region: the one that holds, and those whose head has not been applied yet.
const LEASES_MAX: usize = 4;
/// By how much the rate of a monotonic clock may be wrong, in parts of a thousand.
const RATE_PER_MILLE: u64 = 1;

/// A node's leases; times are of its own monotonic clock, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fence {
    /// Of one life of each log; heads and ends fall from the first to the last.
    held: BTreeMap<Region, Vec<Held>>,
    /// Whether there are regions that there was no room for.
    is_overrun: bool,
}

/// A lease on what is known of one region's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Held {
    head: Version,
    until_ms: u64,
}

impl Fence {
    /// Takes in leases whose question was sent at `asked_ms`. One without any time left only [names](named) its
    /// region: it grants nothing and voids nothing.
    pub fn granted(&mut self, asked_ms: u64, leases: &[Lease]) {
        for held in self.held.values_mut() {
            held.retain(|held| held.until_ms > asked_ms);
        }
        for lease in leases {
            if self.held.len() >= REGIONS_MAX && !self.held.contains_key(&lease.region) {
                self.is_overrun = true;
                continue;
            }
            let until_ms = asked_ms.saturating_add(lease.remaining_ms);
            let held = self.held.entry(lease.region.clone()).or_default();
            if lease.remaining_ms > 0 {
                take_in(held, Held { head: lease.head, until_ms });
            }
        }
    }

    /// Until when the node may trust its cache, with these applied, if all of `regions` are known; none when some
    /// region's head is not known or not applied, or when there is no region. It may be in the past.
    pub fn until_ms<'a>(&self, applied: &Versions, regions: impl Iterator<Item = &'a Region>) -> Option<u64> {
        let mut until_ms = None;
        for region in regions {
            let best_ms = self.best(region, applied)?.until_ms;
            until_ms = Some(until_ms.map_or(best_ms, |until_ms: u64| until_ms.min(best_ms)));
        }
        until_ms.filter(|_| !self.is_overrun)
    }

    /// What can be handed on to who asks now.
    pub fn hand_on(&self, applied: &Versions, now_ms: u64) -> Vec<Lease> {
        let best = |region: &Region| {
            let held = self.best(region, applied)?;
            let remaining_ms = surely_left(held.until_ms.saturating_sub(now_ms));
            (remaining_ms > 0).then(|| Lease { region: region.clone(), head: held.head, remaining_ms })
        };
        self.held.keys().filter_map(best).collect()
    }

    /// When the last lease on a region ends that holds, or will hold once its head is applied; none when there is
    /// none. It may be in the past.
    pub fn ends_ms(&self, region: &Region, applied: &Versions) -> Option<u64> {
        // The life that is applied may be a later one than that of the leases: they will never hold.
        let epoch = applied.get(region).map_or(0, |at| at.epoch);
        let last = self.held.get(region)?.iter().find(|held| held.head.epoch >= epoch);
        last.map(|held| held.until_ms)
    }

    /// The regions that were heard of by leases, also of those that have run out.
    pub fn regions(&self) -> impl Iterator<Item = &Region> {
        self.held.keys()
    }

    /// The lease on a region that lasts longest among those whose head is applied.
    fn best(&self, region: &Region, applied: &Versions) -> Option<Held> {
        let at = applied.get(region)?;
        let is_applied = |held: &&Held| held.head.epoch == at.epoch && held.head.index <= at.index;
        self.held.get(region)?.iter().find(is_applied).copied()
    }
}

/// Says that there is this region, and nothing of its head.
pub fn named(region: Region) -> Lease {
    Lease { region, head: Version::default(), remaining_ms: 0 }
}

/// Keeps what may still be of use: of the last life that was heard of, the leases that no other one outdoes.
fn take_in(all: &mut Vec<Held>, new: Held) {
    if all.iter().any(|held| held.head.epoch > new.head.epoch) {
        return;
    }
    all.retain(|held| held.head.epoch == new.head.epoch);
    let outdoes =
        |one: &Held, other: &Held| one.head.index <= other.head.index && one.until_ms >= other.until_ms;
    if all.iter().any(|held| outdoes(held, &new)) {
        return;
    }
    all.retain(|held| !outdoes(&new, held));
    let at = all.partition_point(|held| held.until_ms > new.until_ms);
    all.insert(at, new);
    if all.len() > LEASES_MAX {
        // The first lasts longest and the last is applied soonest; one between them can be spared.
        all.remove(LEASES_MAX / 2);
    }
}

/// What of this is sure to be left: less than a millisecond of it was gone when the clock was read, this clock may
/// be fast, and the one that will count it slow.
fn surely_left(remaining_ms: u64) -> u64 {
    // (1 - r) / (1 + r) > 1 - 2r
    let for_rates_ms = remaining_ms.saturating_mul(2 * RATE_PER_MILLE).div_ceil(1_000);
    remaining_ms.saturating_sub(for_rates_ms).saturating_sub(1)
}

#[cfg(test)]
mod tests;
