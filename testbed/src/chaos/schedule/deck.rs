//! The kinds of trouble a schedule is dealt from, and who may be hit.

use std::time::Duration;

use rand::{Rng, seq::IndexedRandom, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::faults::{DiskHow, Fault, Nodes, OriginHow, Worse};

use super::plan::Place;

/// A kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Kill,
    Stop,
    PowerCut,
    Pause,
    Restart,
    Clock,
    DiskFull,
    DiskFailing,
    OldDisk,
    OriginSlow,
    OriginDead,
    OriginErrors,
    Halves,
    Apart,
    OneWay,
    NonTransitive,
    Way,
    Flap,
    Freeze,
}

/// What a trouble occupies while it lasts: two of the same cannot be told apart, or would end each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Occupies {
    /// These nodes; whether they answer meanwhile.
    Nodes { names: Vec<String>, answer: bool },
    /// The network: `heal` ends all that is wrong with it.
    Network,
    /// The origin.
    Origin,
}

/// One trouble: its faults, each at a part of its time, the last of which ends it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Trouble {
    pub kind: Kind,
    pub occupies: Occupies,
    /// From 0 to 1.
    pub faults: Vec<(f64, Fault)>,
}

impl Kind {
    /// All of them, with how often each is in the deck.
    pub(super) const DECK: [(Self, usize); 19] = [
        (Self::Kill, 4),
        (Self::Stop, 1),
        (Self::PowerCut, 2),
        (Self::Pause, 2),
        (Self::Restart, 2),
        (Self::Clock, 2),
        (Self::DiskFull, 1),
        (Self::DiskFailing, 1),
        (Self::OldDisk, 1),
        (Self::OriginSlow, 1),
        (Self::OriginDead, 1),
        (Self::OriginErrors, 1),
        (Self::Halves, 2),
        (Self::Apart, 2),
        (Self::OneWay, 2),
        (Self::NonTransitive, 2),
        (Self::Way, 3),
        (Self::Flap, 1),
        (Self::Freeze, 1),
    ];

    /// One of this kind; none where nobody could be hit by it.
    pub(super) fn deal(self, nodes: &[Place], rng: &mut ChaCha8Rng) -> Option<Trouble> {
        match self {
            Self::Kill | Self::Stop | Self::PowerCut | Self::Pause | Self::Freeze => self.of_some(nodes, rng),
            Self::Restart | Self::Clock | Self::DiskFull | Self::DiskFailing | Self::OldDisk => {
                self.of_one(nodes, rng)
            }
            Self::OriginSlow | Self::OriginDead | Self::OriginErrors => {
                let how = match self {
                    Self::OriginSlow => OriginHow::Slow(Duration::from_millis(rng.random_range(200..2500))),
                    Self::OriginDead => OriginHow::Dead,
                    _ => OriginHow::Errors,
                };
                let faults = vec![(0.0, Fault::Origin(how)), (1.0, Fault::Origin(OriginHow::Well))];
                Some(Trouble { kind: self, occupies: Occupies::Origin, faults })
            }
            Self::Halves | Self::Apart | Self::OneWay | Self::NonTransitive => self.of_cuts(nodes, rng),
            Self::Way | Self::Flap => self.of_ways(nodes, rng),
        }
    }

    /// Those that nodes do not answer in: of one, of some, of a PoP.
    fn of_some(self, nodes: &[Place], rng: &mut ChaCha8Rng) -> Option<Trouble> {
        let names: Vec<String> = match rng.random_range(0..10) {
            0..6 => vec![nodes.choose(rng)?.name.clone()],
            6..8 => nodes.choose_multiple(rng, 2).map(|node| node.name.clone()).collect(),
            _ => {
                let pop = &nodes.choose(rng)?.pop;
                nodes.iter().filter(|node| node.pop == *pop).map(|node| node.name.clone()).collect()
            }
        };
        let these = joined(&names);
        let (begin, end) = match self {
            Self::Kill => (Fault::Kill(these.clone()), Fault::Start(these)),
            Self::Stop => (Fault::Stop(these.clone()), Fault::Start(these)),
            Self::PowerCut => (Fault::PowerCut(these.clone()), Fault::Start(these)),
            Self::Pause => (Fault::Pause(these.clone()), Fault::Resume(these)),
            _ => (Fault::Freeze(these.clone()), Fault::Thaw(these)),
        };
        let occupies = Occupies::Nodes { names, answer: false };
        Some(Trouble { kind: self, occupies, faults: vec![(0.0, begin), (1.0, end)] })
    }

    fn of_one(self, nodes: &[Place], rng: &mut ChaCha8Rng) -> Option<Trouble> {
        let names = vec![nodes.choose(rng)?.name.clone()];
        let this = joined(&names);
        let (answer, faults) = match self {
            Self::Restart => (false, vec![(0.0, Fault::Restart(this))]),
            Self::Clock => {
                let off_ms = [3_600_000, 300_000, 20_000, 2000].choose(rng).copied()?;
                let off_ms = if rng.random_bool(0.5) { off_ms } else { -off_ms };
                (true, vec![(0.0, Fault::Clock(this.clone(), off_ms)), (1.0, Fault::Clock(this, 0))])
            }
            Self::OldDisk => {
                let kept = (0.0, Fault::KeepDisk(this.clone()));
                (false, vec![kept, (0.7, Fault::OldDisk(this.clone())), (1.0, Fault::Start(this))])
            }
            _ => {
                let how = if self == Self::DiskFull { DiskHow::Full } else { DiskHow::Failing };
                let bad = (0.0, Fault::Disk(this.clone(), how));
                (true, vec![bad, (1.0, Fault::Disk(this, DiskHow::Well))])
            }
        };
        Some(Trouble { kind: self, occupies: Occupies::Nodes { names, answer }, faults })
    }

    fn of_cuts(self, nodes: &[Place], rng: &mut ChaCha8Rng) -> Option<Trouble> {
        let mut names: Vec<String> = nodes.iter().map(|node| node.name.clone()).collect();
        names.shuffle(rng);
        let (one, other) = match self {
            // Halves of nodes, whatever their PoPs; or one node that sees nobody's answers.
            Self::Halves => names.split_at(names.len() / 2),
            Self::OneWay => names.split_at(1),
            // The others see both.
            Self::NonTransitive => {
                let (one, rest) = names.split_at(1);
                (one, &rest[..rest.len().min(1)])
            }
            _ => {
                // A PoP, or a whole region, apart from the rest.
                let place = nodes.choose(rng)?;
                let is_region = rng.random_bool(0.3);
                let is_with = |node: &Place| {
                    if is_region { node.region == place.region } else { node.pop == place.pop }
                };
                let is_there = |name: &String| nodes.iter().any(|node| node.name == *name && is_with(node));
                names.sort_by_key(|name| !is_there(name));
                names.split_at(names.iter().filter(|name| is_there(name)).count())
            }
        };
        if one.is_empty() || other.is_empty() {
            return None;
        }
        let one_way = self == Self::OneWay;
        let (mut from, mut to) = (joined(one), joined(other));
        if one_way && rng.random_bool(0.5) {
            std::mem::swap(&mut from, &mut to);
        }
        let cut = Fault::Cut { from, to, one_way };
        let faults = vec![(0.0, cut), (1.0, Fault::Heal)];
        Some(Trouble { kind: self, occupies: Occupies::Network, faults })
    }

    fn of_ways(self, nodes: &[Place], rng: &mut ChaCha8Rng) -> Option<Trouble> {
        let mut pops: Vec<&str> = nodes.iter().map(|node| node.pop.as_str()).collect();
        pops.sort_unstable();
        pops.dedup();
        let two: Vec<String> = pops.choose_multiple(rng, 2).map(|pop| (*pop).to_owned()).collect();
        let [from, to] = <[String; 2]>::try_from(two).ok()?;
        let fault = if self == Self::Flap {
            Fault::Flap { from, to }
        } else {
            let ms = |ms| Some(Duration::from_millis(ms));
            let worse = match rng.random_range(0..4) {
                0 => Worse { delay: ms(rng.random_range(100..600)), jitter: ms(20), ..Worse::default() },
                1 => Worse { loss_percent: Some(f64::from(rng.random_range(2..30))), ..Worse::default() },
                2 => Worse { rate_mbit: Some(f64::from(rng.random_range(1..4))), ..Worse::default() },
                _ => Worse {
                    reorder_percent: Some(f64::from(rng.random_range(5..30))),
                    delay: ms(20),
                    jitter: ms(10),
                    ..Worse::default()
                },
            };
            Fault::Way { from, to, worse }
        };
        let faults = vec![(0.0, fault), (1.0, Fault::Heal)];
        Some(Trouble { kind: self, occupies: Occupies::Network, faults })
    }
}

fn joined(names: &[String]) -> Nodes {
    Nodes(names.join("+"))
}
