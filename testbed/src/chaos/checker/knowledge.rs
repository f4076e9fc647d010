//! What is known of nodes: how far each had applied each region's log, since when, and when that was forgotten.

use std::{collections::HashMap, fmt};

use crate::chaos::history::{Micros, Purge};

/// A place in one life of a region's log. Places of different epochs can be put in order, but the index of one says
/// nothing of that of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Which life of the log.
    pub epoch: u64,
    /// Which entry.
    pub index: u64,
}

/// The name of an entry: `REGION/EPOCH/INDEX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id<'a> {
    /// Whose log.
    pub region: &'a str,
    /// Where in it.
    pub place: Place,
}

/// A time between two moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// It did not begin before.
    pub from_us: Micros,
    /// It was over by then.
    pub to_us: Micros,
}

/// Why a node is known to have applied a log so far.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// It said so.
    Told,
    /// The acknowledgement of a purge names it.
    Listed(&'a Purge),
}

/// A node has applied a region's log up to `place`, at the end of `span` at the latest.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// It became true, or was still true, within this time.
    pub span: Span,
    /// Whose log.
    pub region: &'a str,
    /// So far.
    pub place: Place,
    /// Who says so.
    pub source: Source<'a>,
}

/// The lives of a node: an old disk begins a new one, in which nothing is known of it.
#[derive(Clone, Debug, Default)]
pub struct Lives {
    begun_us: Vec<Micros>,
    over_us: Vec<Micros>,
}

/// How a purge came to be known.
#[derive(Clone, Debug)]
pub struct Spread<'a> {
    /// Which.
    pub id: Id<'a>,
    /// The attempt that was acknowledged first.
    pub purge: &'a Purge,
    /// When it was first sent, in whatever attempt.
    pub first_us: Micros,
    /// When it was known of all nodes that they have it; none when that never came to be known.
    pub everywhere_us: Option<Micros>,
}

impl Place {
    /// Reads `EPOCH/INDEX`, the epoch in hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, index) = text.split_once('/')?;
        let is_number = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
        let is_epoch = !epoch.is_empty() && epoch.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_number || !is_epoch {
            return None;
        }
        Some(Self { epoch: u64::from_str_radix(epoch, 16).ok()?, index: index.parse().ok()? })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}/{}", self.epoch, self.index)
    }
}

impl<'a> Id<'a> {
    /// Reads `REGION/EPOCH/INDEX`.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (region, place) = text.split_once('/')?;
        if region.is_empty() {
            return None;
        }
        Some(Self { region, place: Place::parse(place)? })
    }
}

impl fmt::Display for Id<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.region, self.place)
    }
}

impl Span {
    /// Whether the two have a moment in common.
    pub fn meets(self, other: Self) -> bool {
        self.from_us <= other.to_us && other.from_us <= self.to_us
    }
}

impl Lives {
    /// The lives between these changes, in whatever order they are.
    pub fn new(changes: &[Span]) -> Self {
        let mut lives = Self {
            begun_us: changes.iter().map(|span| span.from_us).collect(),
            over_us: changes.iter().map(|span| span.to_us).collect(),
        };
        lives.begun_us.sort_unstable();
        lives.over_us.sort_unstable();
        lives
    }

    /// The life in which something happened, if it is in one with certainty: no change was under way meanwhile.
    pub fn of(&self, span: Span) -> Option<usize> {
        let over = self.over_us.partition_point(|over_us| *over_us <= span.from_us);
        let begun = self.begun_us.partition_point(|begun_us| *begun_us <= span.to_us);
        (over == begun).then_some(over)
    }
}

/// For each place of each log, when one node was first known to have it.
#[derive(Default)]
pub struct FirstKnown<'a> {
    /// By region and epoch: the index, and since when; both only grow.
    steps: HashMap<(&'a str, u64), Vec<(u64, Micros)>>,
}

impl<'a> FirstKnown<'a> {
    /// Of evidence in the order of `to_us`.
    pub fn new<'e>(evidence: impl IntoIterator<Item = &'e Evidence<'a>>) -> Self
    where
        'a: 'e,
    {
        let mut known = Self::default();
        for at in evidence {
            let steps = known.steps.entry((at.region, at.place.epoch)).or_default();
            if steps.last().is_none_or(|(index, _)| *index < at.place.index) {
                steps.push((at.place.index, at.span.to_us));
            }
        }
        known
    }

    /// When this entry was known to be there; nothing if it never was.
    pub fn of(&self, id: Id<'_>) -> Option<Micros> {
        let steps = self.steps.get(&(id.region, id.place.epoch))?;
        let at = steps.partition_point(|(index, _)| *index < id.place.index);
        steps.get(at).map(|(_, known_us)| *known_us)
    }
}
