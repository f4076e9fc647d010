//! Who is in a region's group: who founds it, who is taken in, who votes.
//!
//! One change at a time, each decided anew from what is seen. Invariants:
//! - The number of voters is odd unless fewer are there, and at most `voters_max`.
//! - A voter that is silent is replaced by a learner that has caught up, or kept: a loss never makes the group
//!   smaller, because fewer copies of an acknowledged entry would be left to lose. Only who said good-bye, and is not
//!   back after a while, goes without a replacement: nodes that are started anew one after the other must not leave
//!   the log to a single voter.
//! - Of the new voters a majority is there.

use std::collections::{BTreeMap, BTreeSet};

use crate::NodeId;

/// How a node of the region fares, as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fare {
    /// It is there, or no verdict has been reached.
    There,
    /// It is dead or not known any more, for so long, in milliseconds.
    Silent(u64),
    /// It said good-bye, so long ago, in milliseconds.
    Left(u64),
}

/// A node of the region that may shield, or that is in the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its PoP.
    pub pop: String,
    /// How it fares.
    pub fare: Fare,
    /// Whether it has the log up to its end, or nearly.
    pub caught_up: bool,
}

/// How large a group may be, and how patient it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Voters at most.
    pub voters_max: usize,
    /// Learners at most.
    pub learners_max: usize,
    /// Who is silent for so long is replaced, in milliseconds.
    pub replace_after_ms: u64,
    /// Who said good-bye so long ago goes even without a replacement, in milliseconds.
    pub release_after_ms: u64,
}

/// A change of the membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Take a node in as a learner.
    Learn(NodeId),
    /// Let a learner go.
    Forget(NodeId),
    /// These vote from now on; who voted before is a learner then.
    Vote(BTreeSet<NodeId>),
}

/// The next change that the leader `me` of a group should make, if there is one.
pub fn next_change(
    me: NodeId,
    voters: &BTreeSet<NodeId>,
    learners: &BTreeSet<NodeId>,
    seen: &BTreeMap<NodeId, Seen>,
    bounds: Bounds,
) -> Option<Step> {
    let is_there = |node: &NodeId| seen.get(node).is_some_and(|seen| seen.fare == Fare::There);
    let is_gone = |node: &NodeId| match seen.get(node).map(|seen| seen.fare) {
        Some(Fare::There) => false,
        Some(Fare::Silent(for_ms)) => for_ms >= bounds.replace_after_ms,
        Some(Fare::Left(_)) | None => true,
    };
    let wanted = next_voters(me, voters, learners, seen, bounds);
    if wanted != *voters {
        return Some(Step::Vote(wanted));
    }
    if let Some(gone) = learners.iter().find(|node| is_gone(node)) {
        return Some(Step::Forget(*gone));
    }
    let new = seen.keys().find(|node| is_there(node) && !voters.contains(*node) && !learners.contains(*node));
    new.copied().filter(|_| learners.len() < bounds.learners_max).map(Step::Learn)
}

/// Who should vote.
fn next_voters(
    me: NodeId,
    voters: &BTreeSet<NodeId>,
    learners: &BTreeSet<NodeId>,
    seen: &BTreeMap<NodeId, Seen>,
    bounds: Bounds,
) -> BTreeSet<NodeId> {
    let fare = |node: &NodeId| seen.get(node).map_or(Fare::Left(u64::MAX), |seen| seen.fare);
    let has_left = |node: &NodeId| {
        *node != me && matches!(fare(node), Fare::Left(for_ms) if for_ms >= bounds.release_after_ms)
    };
    let is_lost = |node: &NodeId| {
        *node != me
            && match fare(node) {
                Fare::There => false,
                Fare::Silent(for_ms) => for_ms >= bounds.replace_after_ms,
                Fare::Left(_) => true,
            }
    };
    let sound: Vec<NodeId> = voters.iter().copied().filter(|node| !is_lost(node)).collect();
    let ready = learners
        .iter()
        .copied()
        .filter(|node| seen.get(node).is_some_and(|seen| seen.fare == Fare::There && seen.caught_up));
    let candidates: Vec<NodeId> = sound.iter().copied().chain(ready).collect();
    let stayed = voters.iter().filter(|node| !has_left(node)).count();
    // Voters that are only silent are not given up for nothing.
    let count = odd(candidates.len().min(bounds.voters_max)).max(odd(stayed.min(bounds.voters_max)));
    let pop = |node: &NodeId| seen.get(node).map_or("", |seen| seen.pop.as_str());
    let mut chosen = spread(&candidates, count, |node| (*node != me, !voters.contains(node)), pop);
    for silent in voters.iter().filter(|node| is_lost(node) && !has_left(node)) {
        if chosen.len() < count {
            chosen.insert(*silent);
        }
    }
    let present = chosen.iter().filter(|node| **node == me || fare(node) == Fare::There).count();
    if present * 2 > chosen.len() { chosen } else { voters.clone() }
}

/// Who votes first in a group that `founders` form.
pub fn first_voters(me: NodeId, founders: &BTreeMap<NodeId, String>, voters_max: usize) -> BTreeSet<NodeId> {
    let all: Vec<NodeId> = founders.keys().copied().collect();
    let pop = |node: &NodeId| founders.get(node).map_or("", String::as_str);
    spread(&all, odd(all.len().min(voters_max)), |node| (*node != me, false), pop)
}

/// `count` of `candidates`: always one of a PoP that has the fewest so far, by preference, then by id.
fn spread<'a>(
    candidates: &[NodeId],
    count: usize,
    preference: impl Fn(&NodeId) -> (bool, bool),
    pop: impl Fn(&NodeId) -> &'a str,
) -> BTreeSet<NodeId> {
    let (mut chosen, mut of_pop) = (BTreeSet::new(), BTreeMap::<&str, usize>::new());
    while chosen.len() < count {
        let best = candidates.iter().filter(|node| !chosen.contains(*node)).min_by_key(|node| {
            let (is_other, is_new) = preference(node);
            (is_other, of_pop.get(pop(node)).copied().unwrap_or_default(), is_new, **node)
        });
        let Some(best) = best.copied() else { break };
        *of_pop.entry(pop(&best)).or_default() += 1;
        chosen.insert(best);
    }
    chosen
}

/// The greatest odd number that is not more; 1 at least.
fn odd(number: usize) -> usize {
    number.saturating_sub(1) / 2 * 2 + 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds =
        Bounds { voters_max: 5, learners_max: 16, replace_after_ms: 5_000, release_after_ms: 60_000 };

    fn id(number: u8) -> NodeId {
        NodeId::from_bytes([number; 32])
    }

    fn ids(numbers: &[u8]) -> BTreeSet<NodeId> {
        numbers.iter().copied().map(id).collect()
    }

    fn there(pop: &str) -> Seen {
        Seen { pop: pop.to_owned(), fare: Fare::There, caught_up: true }
    }

    fn region(nodes: &[(u8, &str)]) -> BTreeMap<NodeId, Seen> {
        nodes.iter().map(|(number, pop)| (id(*number), there(pop))).collect()
    }

    /// Carries out steps until there is none.
    fn settle(
        voters: &mut BTreeSet<NodeId>,
        learners: &mut BTreeSet<NodeId>,
        seen: &BTreeMap<NodeId, Seen>,
        me: NodeId,
    ) -> usize {
        for steps in 0..100 {
            match next_change(me, voters, learners, seen, BOUNDS) {
                None => return steps,
                Some(Step::Learn(node)) => assert!(learners.insert(node) && !voters.contains(&node)),
                Some(Step::Forget(node)) => assert!(learners.remove(&node)),
                Some(Step::Vote(new)) => {
                    learners.extend(voters.difference(&new));
                    learners.retain(|node| !new.contains(node));
                    *voters = new;
                }
            }
        }
        panic!("it does not settle: {voters:?} {learners:?} {seen:?}");
    }

    #[test]
    fn a_region_grows_to_odd_numbers_of_voters_spread_over_pops() {
        let all = [(1, "a"), (2, "a"), (3, "a"), (4, "b"), (5, "c"), (6, "c"), (7, "d")];
        for (nodes, expected) in [(1, 1), (2, 1), (3, 3), (4, 3), (5, 5), (6, 5), (7, 5)] {
            let seen = region(&all[..nodes]);
            let (mut voters, mut learners) = (ids(&[1]), BTreeSet::new());
            settle(&mut voters, &mut learners, &seen, id(1));
            assert_eq!((voters.len(), voters.len() + learners.len()), (expected, nodes));
        }
        let (mut voters, mut learners) = (ids(&[1]), BTreeSet::new());
        settle(&mut voters, &mut learners, &region(&all), id(1));
        let pops: BTreeSet<_> =
            all.iter().filter(|(n, _)| voters.contains(&id(*n))).map(|(_, p)| p).collect();
        assert_eq!(pops.len(), 4, "{voters:?}");
    }

    #[test]
    fn a_dead_voter_is_replaced_after_a_while_or_kept() {
        let mut seen = region(&[(1, "a"), (2, "a"), (3, "a")]);
        let (mut voters, mut learners) = (ids(&[1, 2, 3]), BTreeSet::new());
        seen.get_mut(&id(3)).unwrap().fare = Fare::Silent(60_000);
        assert_eq!(settle(&mut voters, &mut learners, &seen, id(1)), 0, "nobody is there instead");
        seen.insert(id(4), there("a"));
        seen.get_mut(&id(3)).unwrap().fare = Fare::Silent(4_999);
        settle(&mut voters, &mut learners, &seen, id(1));
        assert_eq!(voters, ids(&[1, 2, 3]), "it may come back");
        seen.get_mut(&id(3)).unwrap().fare = Fare::Silent(5_000);
        settle(&mut voters, &mut learners, &seen, id(1));
        assert_eq!((voters, learners), (ids(&[1, 2, 4]), ids(&[])));
    }

    #[test]
    fn who_says_good_bye_is_replaced_at_once_and_who_lags_does_not_vote() {
        let mut seen = region(&[(1, "a"), (2, "a"), (3, "a"), (4, "b"), (5, "c")]);
        let (mut voters, mut learners) = (ids(&[1, 2, 3]), ids(&[4, 5]));
        seen.get_mut(&id(2)).unwrap().fare = Fare::Left(0);
        seen.get_mut(&id(4)).unwrap().caught_up = false;
        settle(&mut voters, &mut learners, &seen, id(1));
        assert_eq!((voters, learners), (ids(&[1, 3, 5]), ids(&[4])));
    }

    /// A rolling restart once left a region of three with one voter, and then with none.
    #[test]
    fn who_said_good_bye_is_not_given_up_before_a_while() {
        let mut seen = region(&[(1, "a"), (2, "a"), (3, "a")]);
        let (mut voters, mut learners) = (ids(&[1, 2, 3]), BTreeSet::new());
        seen.get_mut(&id(3)).unwrap().fare = Fare::Left(59_999);
        assert_eq!(settle(&mut voters, &mut learners, &seen, id(1)), 0, "it may only be started anew");
        seen.get_mut(&id(3)).unwrap().fare = Fare::Left(60_000);
        settle(&mut voters, &mut learners, &seen, id(1));
        assert_eq!((voters, learners), (ids(&[1]), ids(&[2])));
    }

    fn fare() -> impl Strategy<Value = Fare> {
        prop_oneof![
            4 => Just(Fare::There),
            2 => (0..10_000u64).prop_map(Fare::Silent),
            1 => (0..100_000u64).prop_map(Fare::Left),
        ]
    }

    proptest! {
        /// Whatever is seen, changes come to an end, keep the leader, a living majority and an odd number.
        #[test]
        fn it_settles_with_a_living_majority(
            nodes in prop::collection::vec((fare(), any::<bool>(), 0..4u8, 0..3u8), 1..12),
        ) {
            let (mut voters, mut learners, mut seen) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
            for (number, (fare, caught_up, pop, place)) in nodes.into_iter().enumerate() {
                let node = id(number as u8);
                seen.insert(node, Seen { pop: pop.to_string(), fare, caught_up });
                match place {
                    0 => drop(voters.insert(node)),
                    1 => drop(learners.insert(node)),
                    _ => {}
                }
            }
            let me = id(0);
            learners.remove(&me);
            voters.insert(me);
            seen.get_mut(&me).unwrap().fare = Fare::There;
            let before = voters.clone();
            settle(&mut voters, &mut learners, &seen, me);
            prop_assert!(voters.contains(&me));
            let lives = |set: &BTreeSet<NodeId>| {
                set.iter().filter(|node| seen[node].fare == Fare::There).count() * 2 > set.len()
            };
            prop_assert!(lives(&voters) || voters == before);
            prop_assert!(voters == before || (voters.len() % 2 == 1 && voters.len() <= 5) || voters.len() < before.len(),
                "{:?} {:?}", before, voters);
        }
    }
}
