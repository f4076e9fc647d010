//! Deals a schedule from the deck, such that something always runs, and the last fifth is without trouble.

use std::time::Duration;

use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::faults::Fault;

use super::{
    Schedule, Step,
    deck::{Kind, Occupies, Trouble},
};

/// In a minute there are so many troubles.
const TROUBLES_PER_MIN: std::ops::RangeInclusive<u32> = 8..=15;
const TROUBLES_MAX: usize = 500;
/// Troubles begin after this part of the time: first there is something in the caches.
const BEGIN: f64 = 0.07;
/// And are over by this part of it.
const END: f64 = 0.78;
/// Places that are tried for one trouble before it is left out.
const TRIES: usize = 40;
/// Commands one after the other: each has this moment before the next.
const GAP: f64 = 0.2;

/// A node, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub name: String,
    pub pop: String,
    pub region: String,
}

/// What a schedule is made from.
pub(super) struct Plan<F> {
    nodes: Vec<Place>,
    is_possible: F,
}

/// A trouble that has its time.
struct Placed {
    from: f64,
    to: f64,
    trouble: Trouble,
}

impl<F: Fn(&Fault) -> bool> Plan<F> {
    pub(super) fn new(nodes: Vec<Place>, is_possible: F) -> Self {
        Self { nodes, is_possible }
    }

    pub(super) fn by_seed(&self, seed: u64, time: Duration) -> Schedule {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(3);
        let seconds = time.as_secs_f64();
        let per_min = f64::from(rng.random_range(TROUBLES_PER_MIN));
        let count = ((per_min * seconds / 60.0).round() as usize).clamp(1, TROUBLES_MAX);
        let mut placed: Vec<Placed> = Vec::new();
        let mut deck: Vec<Kind> = Vec::new();
        // Cards that nobody can be dealt would be drawn again and again.
        for _ in 0..count * 4 {
            if placed.len() == count {
                break;
            }
            if deck.is_empty() {
                deck = Kind::DECK
                    .iter()
                    .flat_map(|(kind, times)| std::iter::repeat_n(*kind, *times))
                    .filter(|kind| self.can_have(*kind))
                    .collect();
                deck.shuffle(&mut rng);
            }
            let Some(kind) = deck.pop() else { break };
            placed.extend(self.place(kind, seconds, &placed, &mut rng));
        }
        let mut steps: Schedule = Vec::new();
        for Placed { from, to, trouble } in placed {
            for (part, fault) in trouble.faults {
                let at = from + part * (to - from);
                // Milliseconds, so that a schedule that was told is the schedule.
                steps.push((Duration::from_millis((at * 1000.0) as u64), Step::Fault(fault)));
            }
        }
        steps.sort_by_key(|(when, _)| *when);
        steps
    }

    fn can_have(&self, kind: Kind) -> bool {
        // Any one of the kind will do: what is possible does not depend on who is hit.
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let dealt = (0..8).find_map(|_| kind.deal(&self.nodes, &mut rng));
        dealt.is_some_and(|trouble| trouble.faults.iter().all(|(_, fault)| (self.is_possible)(fault)))
    }

    fn place(&self, kind: Kind, seconds: f64, placed: &[Placed], rng: &mut ChaCha8Rng) -> Option<Placed> {
        for _ in 0..TRIES {
            let trouble = kind.deal(&self.nodes, rng)?;
            let longest = (0.22 * seconds).clamp(1.0, 20.0);
            let mut lasts = rng.random_range(0.2 * longest..longest);
            if kind == Kind::OldDisk {
                // Something has to happen between the copy and its return.
                lasts = longest;
            }
            let last = END * seconds - lasts;
            let first = BEGIN * seconds;
            if last <= first {
                return None;
            }
            let from = rng.random_range(first..last);
            let new = Placed { from, to: from + lasts, trouble };
            if self.fits(&new, placed) {
                return Some(new);
            }
        }
        None
    }

    fn fits(&self, new: &Placed, placed: &[Placed]) -> bool {
        let at_once: Vec<&Placed> =
            placed.iter().filter(|old| old.from < new.to + GAP && new.from < old.to + GAP).collect();
        let collides = |old: &&Placed| match (&old.trouble.occupies, &new.trouble.occupies) {
            (Occupies::Nodes { names: one, .. }, Occupies::Nodes { names: other, .. }) => {
                one.iter().any(|name| other.contains(name))
            }
            (Occupies::Network, Occupies::Network) | (Occupies::Origin, Occupies::Origin) => true,
            _ => false,
        };
        if at_once.iter().any(collides) {
            return false;
        }
        // As if all of them were at one moment: that is never less than what is.
        let silent = at_once.iter().copied().chain([new]).map(|placed| match &placed.trouble.occupies {
            Occupies::Nodes { names, answer: false } => names.len(),
            _ => 0,
        });
        silent.sum::<usize>() <= self.silent_max()
    }

    /// How many nodes may be silent at once: half of them, and never all.
    pub(super) fn silent_max(&self) -> usize {
        self.nodes.len().div_ceil(2).min(self.nodes.len().saturating_sub(1))
    }
}
