//! A stored response, and the variants under one key.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use starling_proto::{
    Key,
    cache::{encoding::Coding, storing::StoredHead},
    purge::{Stamp, Subject},
    ring::Hop,
};

use super::body::Body;

/// What is known of an object when its body begins to arrive.
#[derive(Clone, Debug)]
pub struct NewObject {
    /// Its name in the mesh.
    pub key: Key,
    /// The text the key is made of; compared on lookup, so that a collision is a miss.
    pub key_text: String,
    /// The service it belongs to.
    pub service: Arc<str>,
    /// `host/path?query`, as purges see it.
    pub url: String,
    /// The stored head.
    pub head: StoredHead,
    /// The versions that were applied before the origin was asked.
    pub stamp: Stamp,
    /// The length of the whole body, when it is known.
    pub total: Option<u64>,
    /// The first byte the writer brings; 0 for a whole body.
    pub from: u64,
    /// The end of what the writer brings, when it is not the end of the body.
    pub until: Option<u64>,
    /// Identity, or which sibling compressed at the edge this is.
    pub coding: Coding,
    /// Who gives its bytes: only readers at a lower hop wait for them.
    pub fed_by: Hop,
    /// It is not to be committed: its slices stay off the disk and leave memory with its last reader.
    pub transient: bool,
}

/// One stored response: head, stamp, body in slices.
#[derive(Debug)]
pub struct Object {
    /// Its name in the mesh.
    pub key: Key,
    /// The text the key is made of; compared on lookup, so that a collision is a miss.
    pub key_text: String,
    /// The service it belongs to.
    pub service: Arc<str>,
    /// `host/path?query`, as purges see it.
    pub url: String,
    /// The stored head.
    pub head: StoredHead,
    /// The versions that were applied before the origin was asked.
    pub stamp: Stamp,
    /// Identity, or which sibling compressed at the edge this is.
    pub coding: Coding,
    /// Its bytes; shared by all heads this representation has had.
    pub body: Body,
    /// The purge table's `seq` at which no purge named this object.
    checked: AtomicU64,
    /// Superseded, removed or aborted: not to be recorded any more.
    dropped: AtomicBool,
    /// On its way to the index: must stay in memory until it is found there.
    unrecorded: AtomicBool,
}

impl Object {
    pub(super) fn new(new: NewObject, body: Body) -> Self {
        let NewObject { key, mut key_text, service, mut url, mut head, stamp, coding, .. } = new;
        key_text.shrink_to_fit();
        url.shrink_to_fit();
        head.headers = compact(&head.headers);
        Self {
            key,
            key_text,
            service,
            url,
            head,
            stamp,
            coding,
            body,
            checked: AtomicU64::new(u64::MAX),
            dropped: AtomicBool::new(false),
            unrecorded: AtomicBool::new(false),
        }
    }

    /// The same representation under a newer head.
    pub(super) fn freshened(&self, mut head: StoredHead, stamp: Stamp) -> Self {
        head.headers = compact(&head.headers);
        Self {
            key: self.key,
            key_text: self.key_text.clone(),
            service: self.service.clone(),
            url: self.url.clone(),
            head,
            stamp,
            coding: self.coding,
            body: self.body.clone(),
            checked: AtomicU64::new(u64::MAX),
            dropped: AtomicBool::new(false),
            unrecorded: AtomicBool::new(false),
        }
    }

    /// What purges see of it.
    pub fn subject(&self) -> Subject<'_> {
        Subject { service: &self.service, url: &self.url, tags: &self.head.tags }
    }

    pub(super) fn checked_at(&self) -> u64 {
        self.checked.load(Ordering::Relaxed)
    }

    pub(super) fn set_checked(&self, seq: u64) {
        self.checked.store(seq, Ordering::Relaxed);
    }

    pub(super) fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::Acquire)
    }

    pub(super) fn set_dropped(&self) {
        self.dropped.store(true, Ordering::Release);
    }

    pub(super) fn set_unrecorded(&self, unrecorded: bool) {
        self.unrecorded.store(unrecorded, Ordering::Release);
    }

    /// Whether memory is the only place it can be found: it arrives still, or is on its way to the index.
    pub(super) fn is_pinned(&self) -> bool {
        !self.is_dropped() && (self.unrecorded.load(Ordering::Acquire) || self.body.is_arriving())
    }

    /// Whether `other` answers the same requests, so that only the newer of the two is kept.
    pub(super) fn is_superseded_by(&self, other: &Object) -> bool {
        self.body.id() == other.body.id()
            || (self.coding == other.coding && self.head.vary == other.head.vary)
    }

    /// The memory this object keeps from others, in bytes.
    pub(super) fn weight(&self) -> u64 {
        let heap = self.key_text.capacity() + self.url.capacity() + self.head.heap_bytes();
        (size_of::<Self>() + ALLOCATION + heap + 4 * ALLOCATION) as u64 + self.body.weight()
    }
}

/// What the allocator and the reference counts add to one allocation.
pub(super) const ALLOCATION: usize = 24;

/// The stored responses of one key, newest first.
#[derive(Debug)]
pub struct Variants {
    /// Newest first; bounded by `variants_max`.
    pub objects: Vec<Arc<Object>>,
    /// As weighed when these were put together: the memory tier needs a weight that stays.
    weight: u64,
}

impl Variants {
    pub(super) fn new(mut objects: Vec<Arc<Object>>) -> Self {
        objects.sort_by_key(|object| std::cmp::Reverse(object.head.response_ms));
        objects.shrink_to_fit();
        let weight = objects.iter().map(|object| object.weight()).sum::<u64>()
            + (size_of::<Self>() + 2 * ALLOCATION) as u64;
        Self { objects, weight }
    }

    pub(super) fn weight(&self) -> u64 {
        self.weight
    }
}

/// A copy whose values share one buffer of exact size: values as they come from a connection each keep its
/// whole read buffer alive.
fn compact(headers: &HeaderMap) -> HeaderMap {
    let mut buffer = BytesMut::with_capacity(headers.values().map(HeaderValue::len).sum());
    headers.values().for_each(|value| buffer.extend_from_slice(value.as_bytes()));
    let mut rest: Bytes = buffer.freeze();
    let mut compact = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let bytes = rest.split_to(value.len());
        let mut copy = HeaderValue::from_maybe_shared(bytes).unwrap_or_else(|_| value.clone());
        copy.set_sensitive(value.is_sensitive());
        compact.append(name, copy);
    }
    compact
}
