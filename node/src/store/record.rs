//! An object as the index keeps it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use starling_proto::{
    cache::{encoding::Coding, storing::StoredHead},
    purge::Versions,
};

/// The value under `(key, body id)`: all of an object but its bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record<'a> {
    pub key_text: Cow<'a, str>,
    pub service: Cow<'a, str>,
    pub url: Cow<'a, str>,
    pub head: Cow<'a, StoredHead>,
    pub stamp: Cow<'a, Versions>,
    pub coding: Coding,
    pub total: Option<u64>,
    /// Ascending and disjoint.
    pub slices: Vec<SliceRecord>,
}

/// A part of a body and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SliceRecord {
    pub start: u64,
    pub len: u32,
    pub place: Place,
}

/// Where a slice lies on disk, and how it is known again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub segment: u32,
    pub offset: u32,
    /// [`checksum`] of its bytes.
    pub sum: u64,
}

/// XXH3 of a slice, seeded by whose slice it is and where in the body it starts: a slice that lies where
/// another belongs does not pass, be they of one length.
pub(super) fn checksum(body: u64, start: u64, bytes: &[u8]) -> u64 {
    let seed = body.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31) ^ start;
    xxhash_rust::xxh3::xxh3_64_with_seed(bytes, seed)
}

impl Record<'_> {
    /// Whether every byte of the body has a place.
    pub fn is_whole(&self) -> bool {
        self.total == Some(self.slices.iter().map(|slice| u64::from(slice.len)).sum())
    }

    /// Whether the record is worth keeping as it is: whole, or a partial object whose missing ranges can be
    /// joined to it later because a strong validator names the representation (RFC 9110 section 8.8.1).
    pub fn is_worth_keeping(&self) -> bool {
        self.is_whole()
            || (!self.slices.is_empty() && self.total.is_some() && self.head.strong_etag().is_some())
    }
}
