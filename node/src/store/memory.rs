//! The memory tier: heads and body slices under one byte budget.
//!
//! The policy is that of `quick_cache` (Clock-PRO, of the scan-resistant class of S3-FIFO): what is read once
//! passes through a small cold queue and does not push out what is read often. Small bodies live inside the
//! entry of their head; slices of large ones are entries of their own.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use bytes::Bytes;
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter, sync::Cache};
use starling_proto::Key;

use super::{object::Variants, settings::Settings};

/// What an entry costs beside its value: its slot, its place in the table, its share of the ghost entries.
const ENTRY_BYTES: u64 = 112;

/// The bytes of one slice. Readers, the memory tier and the disk writer share one allocation.
#[derive(Debug)]
pub(super) struct SliceBuf(Box<[u8]>);

impl SliceBuf {
    pub fn new(bytes: Vec<u8>) -> Arc<Self> {
        Arc::new(Self(bytes.into_boxed_slice()))
    }

    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, as a handle that keeps the slice alive.
    pub fn bytes(self: &Arc<Self>) -> Bytes {
        Bytes::from_owner(Shared(self.clone()))
    }
}

struct Shared(Arc<SliceBuf>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0.0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum MemKey {
    Head(Key),
    /// Body id and start.
    Slice(u64, u64),
}

#[derive(Clone, Debug)]
enum Entry {
    Head(Arc<Variants>),
    Slice(Arc<SliceBuf>),
}

#[derive(Clone)]
struct ByWeight;

impl Weighter<MemKey, Entry> for ByWeight {
    fn weight(&self, _: &MemKey, entry: &Entry) -> u64 {
        ENTRY_BYTES
            + match entry {
                Entry::Head(variants) => variants.weight(),
                Entry::Slice(slice) => slice.0.len() as u64 + 64,
            }
    }
}

/// Counts evictions, and keeps what can be found nowhere else.
#[derive(Clone)]
struct Keep {
    evicted: Arc<AtomicU64>,
}

impl Lifecycle<MemKey, Entry> for Keep {
    /// What was evicted, so that it is freed after the shard's lock is released.
    type RequestState = Vec<Entry>;

    fn is_pinned(&self, _: &MemKey, entry: &Entry) -> bool {
        match entry {
            Entry::Head(variants) => variants.objects.iter().any(|object| object.is_pinned()),
            Entry::Slice(_) => false,
        }
    }

    fn on_evict(&self, state: &mut Vec<Entry>, _: MemKey, entry: Entry) {
        self.evicted.fetch_add(1, Relaxed);
        state.push(entry);
    }
}

/// The memory tier.
pub(super) struct Memory {
    cache: Cache<MemKey, Entry, ByWeight, DefaultHashBuilder, Keep>,
    evicted: Arc<AtomicU64>,
}

impl Memory {
    pub fn new(settings: &Settings) -> Self {
        let budget = settings.memory_bytes_max;
        // A shard that holds but a few slices would evict by chance.
        let shards = (budget / (16 * u64::from(settings.slice_bytes))).clamp(1, 16) as usize;
        let items = (budget / (8 << 10)).clamp(1 << 10, 1 << 20) as usize;
        let options = OptionsBuilder::new()
            .weight_capacity(budget)
            .estimated_items_capacity(items)
            .shards(1 << shards.ilog2())
            .hot_allocation(0.9)
            .build()
            .expect("weight and items are given");
        let evicted = Arc::new(AtomicU64::new(0));
        let keep = Keep { evicted: evicted.clone() };
        Self { cache: Cache::with_options(options, ByWeight, DefaultHashBuilder::default(), keep), evicted }
    }

    /// The variants of `key`; counts as a use.
    pub fn head(&self, key: &Key) -> Option<Arc<Variants>> {
        self.cache.get(&MemKey::Head(*key)).and_then(Entry::into_head)
    }

    /// The variants of `key`; does not count as a use.
    pub fn peek_head(&self, key: &Key) -> Option<Arc<Variants>> {
        self.cache.peek(&MemKey::Head(*key)).and_then(Entry::into_head)
    }

    pub fn put_head(&self, key: Key, variants: Arc<Variants>) {
        self.cache.insert(MemKey::Head(key), Entry::Head(variants));
    }

    pub fn remove_head(&self, key: &Key) {
        self.cache.remove(&MemKey::Head(*key));
    }

    pub fn put_slice(&self, body: u64, start: u64, slice: Arc<SliceBuf>) {
        self.cache.insert(MemKey::Slice(body, start), Entry::Slice(slice));
    }

    pub fn remove_slice(&self, body: u64, start: u64) {
        self.cache.remove(&MemKey::Slice(body, start));
    }

    /// A slice; counts as a use.
    pub fn slice(&self, body: u64, start: u64) -> Option<Arc<SliceBuf>> {
        self.cache.get(&MemKey::Slice(body, start)).and_then(Entry::into_slice)
    }

    /// Whether a slice is here; does not count as a use.
    pub fn has_slice(&self, body: u64, start: u64) -> bool {
        self.cache.contains_key(&MemKey::Slice(body, start))
    }

    /// A slice; loaded by `load` if it is not here. Of those who ask for one slice, one loads.
    pub async fn slice_or<E>(
        &self,
        body: u64,
        start: u64,
        load: impl Future<Output = Result<Arc<SliceBuf>, E>>,
    ) -> Result<Option<Arc<SliceBuf>>, E> {
        let load = async { load.await.map(Entry::Slice) };
        self.cache.get_or_insert_async(&MemKey::Slice(body, start), load).await.map(Entry::into_slice)
    }

    /// The heaviest entry that is sure to be admitted.
    pub fn entry_bytes_max(&self) -> u64 {
        self.cache.shard_capacity() / 2
    }

    pub fn bytes(&self) -> u64 {
        self.cache.weight()
    }

    pub fn entries(&self) -> u64 {
        self.cache.len() as u64
    }

    pub fn evictions(&self) -> u64 {
        self.evicted.load(Relaxed)
    }
}

impl Entry {
    fn into_head(self) -> Option<Arc<Variants>> {
        match self {
            Self::Head(variants) => Some(variants),
            Self::Slice(_) => None,
        }
    }

    fn into_slice(self) -> Option<Arc<SliceBuf>> {
        match self {
            Self::Slice(slice) => Some(slice),
            Self::Head(_) => None,
        }
    }
}
