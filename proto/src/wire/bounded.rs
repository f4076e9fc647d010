//! Lists that may only be so long: held while they are read, so that nothing is built that will not be used.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};

use super::WireError;
use crate::{
    members::{HOT_KEYS_MAX, NodeState},
    purge::Versions,
};

/// Logs that a message may tell of. In a mesh each region has one, and each node that takes purges without a
/// region's quorum.
const VERSIONS_MAX: usize = 4096;

/// Reads a list of at most `MAX` items; for `#[serde(deserialize_with)]`.
pub(super) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>, const MAX: usize>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_seq(ListVisitor::<T, MAX>(PhantomData))
}

struct ListVisitor<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for ListVisitor<T, MAX> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MAX}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
        // Nothing is reserved for what is only claimed to follow.
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            if list.len() == MAX {
                return Err(A::Error::invalid_length(MAX + 1, &self));
            }
            list.push(item);
        }
        Ok(list)
    }
}

/// Whether so many may be named in one message.
pub(super) fn check(what: &'static str, count: usize, limit: usize) -> Result<(), WireError> {
    if count > limit { Err(WireError::TooMany { what, count, limit }) } else { Ok(()) }
}

pub(super) fn check_versions(versions: &Versions) -> Result<(), WireError> {
    check("versions", versions.iter().count(), VERSIONS_MAX)
}

pub(super) fn check_state(state: &NodeState) -> Result<(), WireError> {
    check("hot keys", state.hot.len(), HOT_KEYS_MAX)?;
    check_versions(&state.versions)
}
