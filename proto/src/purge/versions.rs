//! How far a node has applied each region's log.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// The name of a region: the PoPs that share one log.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Region(Arc<str>);

impl Region {
    /// The region called `name`.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// Its name, as its operator wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A place in one region's log, told as `epoch/index`.
///
/// The epoch changes when the log is lost and re-created; the greater one is the later life. So places are in the
/// order of epochs, and within one in that of indexes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version {
    /// Which life of the region's log this is.
    pub epoch: u64,
    /// The last entry applied in that life; 0 before the first.
    pub index: u64,
}

impl Version {
    /// Whether who stands here has applied the entry that stands there: in another life of the log another entry may
    /// have its index, and one of a former life is not applied any more once a later one has begun.
    pub fn reaches(self, entry: Self) -> bool {
        self.epoch == entry.epoch && self.index >= entry.index
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}/{}", self.epoch, self.index)
    }
}

/// The versions of all regions a node knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Versions(BTreeMap<Region, Version>);

/// The versions that were applied at the node that asked the origin, taken before it asked.
///
/// It travels with the bytes for the rest of their life; shared, because all objects that were fetched
/// between two purges carry the same.
pub type Stamp = Arc<Versions>;

impl Versions {
    /// The place reached in `region`, if any entry or epoch of it is known.
    pub fn get(&self, region: &Region) -> Option<Version> {
        self.0.get(region).copied()
    }

    /// Records that `region` is applied up to `version`.
    pub fn set(&mut self, region: Region, version: Version) {
        self.0.insert(region, version);
    }

    /// Forgets a region; answers where it stood.
    pub fn take(&mut self, region: &Region) -> Option<Version> {
        self.0.remove(region)
    }

    /// How many regions are known.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether everything that `other` has applied is applied here, as far as that can be told: a log in another
    /// epoch, or one that is not known here, is not.
    pub fn covers(&self, other: &Self) -> bool {
        other.iter().all(|(region, there)| self.get(region).is_some_and(|here| here.reaches(there)))
    }

    /// What is applied both here and there: the lower place of each region that both know.
    ///
    /// It is the stamp of an old body that a peer's 304 has validated. The body was looked up in the purges that
    /// are applied here, and the peer may know more: with the peer's stamp alone, a hard purge that it had applied
    /// and this node had not would never find the body.
    pub fn meet(&self, other: &Self) -> Self {
        let both = |(region, here): (&Region, Version)| Some((region.clone(), here.min(other.get(region)?)));
        Self(self.iter().filter_map(both).collect())
    }

    /// All regions in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&Region, Version)> {
        self.0.iter().map(|(region, version)| (region, *version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_stands_where_it_was_last_set() {
        let mut versions = Versions::default();
        assert_eq!(versions.get(&Region::new("eu")), None);
        versions.set(Region::new("us"), Version { epoch: 1, index: 9 });
        versions.set(Region::new("eu"), Version { epoch: 1, index: 2 });
        versions.set(Region::new("eu"), Version { epoch: 2, index: 0 });
        let mut behind = Versions::default();
        assert!(versions.covers(&behind) && !behind.covers(&versions));
        behind.set(Region::new("eu"), Version { epoch: 1, index: 7 });
        assert!(!versions.covers(&behind), "another epoch cannot be compared");
        behind.set(Region::new("eu"), Version { epoch: 2, index: 0 });
        assert!(versions.covers(&behind));
        let mut there = Versions::default();
        there.set(Region::new("eu"), Version { epoch: 1, index: 5 });
        there.set(Region::new("us"), Version { epoch: 1, index: 12 });
        there.set(Region::new("asia"), Version { epoch: 1, index: 1 });
        let mut both = Versions::default();
        both.set(Region::new("eu"), Version { epoch: 1, index: 5 });
        both.set(Region::new("us"), Version { epoch: 1, index: 9 });
        assert_eq!((versions.meet(&there), there.meet(&versions)), (both.clone(), both));
        let at = |epoch, index| Version { epoch, index };
        assert!(at(2, 7).reaches(at(2, 7)) && !at(2, 7).reaches(at(2, 8)));
        assert!(!at(2, 7).reaches(at(1, 3)), "an entry counts in its own life only");
        let all: Vec<_> = versions.iter().map(|(region, at)| (region.as_str(), at.epoch, at.index)).collect();
        assert_eq!(all, [("eu", 2, 0), ("us", 1, 9)]);
    }
}
