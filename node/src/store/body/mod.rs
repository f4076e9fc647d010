//! A body: bytes that are here, that are coming, or that are missing.
//!
//! A small body that is whole is one piece of memory and nothing else. Every other body is [`extents`]: slices
//! in memory or on disk, the fills that bring more, and gaps. Readers follow a fill at any distance; neither a
//! reader nor a writer that goes away harms another.

mod extents;
mod reader;
mod writer;

use std::{
    ops::Range,
    sync::{Arc, OnceLock, Weak},
};

use bytes::Bytes;
use parking_lot::Mutex;
use starling_proto::ring::Hop;

pub use reader::BodyReader;
pub use writer::BodyWriter;

pub(super) use extents::{Extents, Look};

use super::{
    object::{ALLOCATION, NewObject, Object},
    record::{Place, SliceRecord},
    tiers::Tiers,
};

/// A cheap handle to the bytes of one representation, shared by all heads it has had.
#[derive(Clone)]
pub struct Body(Arc<Shared>);

struct Shared {
    /// Unique on this node, across restarts: names its slices in memory and on disk.
    id: u64,
    tiers: Weak<Tiers>,
    /// The whole body, when it is small and complete: read without a lock by every hit.
    whole: OnceLock<Bytes>,
    /// Else its extents; gone once `whole` is set.
    extents: Mutex<Option<Box<Extents>>>,
    /// Nothing of it goes to disk; what memory has of it goes with it.
    transient: bool,
}

impl Drop for Shared {
    fn drop(&mut self) {
        let (true, Some(extents), Some(tiers)) =
            (self.transient, self.extents.get_mut(), self.tiers.upgrade())
        else {
            return;
        };
        for start in extents.slice_starts() {
            tiers.memory.remove_slice(self.id, start);
        }
    }
}

impl Body {
    /// A body that is one piece of memory.
    pub(super) fn whole(id: u64, bytes: Bytes, tiers: &Arc<Tiers>) -> Self {
        Self(Arc::new(Shared {
            id,
            tiers: Arc::downgrade(tiers),
            whole: OnceLock::from(bytes),
            extents: Mutex::default(),
            transient: false,
        }))
    }

    /// A body that is about to arrive, and who brings it.
    pub(super) fn arriving(
        id: u64,
        new: &NewObject,
        range: Range<u64>,
        tiers: &Arc<Tiers>,
    ) -> (Self, BodyWriter) {
        let mut extents = Extents::stored(new.total, &[]);
        let fill = extents.begin_fill(range.clone(), new.fed_by);
        let body = Self::sparse(id, extents, tiers, new.transient);
        (body.clone(), BodyWriter::new(body, tiers.clone(), fill, range, true))
    }

    /// A body in extents.
    pub(super) fn sparse(id: u64, extents: Extents, tiers: &Arc<Tiers>, transient: bool) -> Self {
        Self(Arc::new(Shared {
            id,
            tiers: Arc::downgrade(tiers),
            whole: OnceLock::new(),
            extents: Mutex::new(Some(Box::new(extents))),
            transient,
        }))
    }

    /// The length of the whole body, when it is known.
    pub fn total(&self) -> Option<u64> {
        self.on(|bytes| Some(bytes.len() as u64), |extents| extents.total)
    }

    /// Whether every byte is here.
    pub fn is_whole(&self) -> bool {
        self.on(|_| true, |extents| extents.is_whole() && !extents.is_arriving())
    }

    /// The whole body, where it is small and at hand.
    pub fn inline(&self) -> Option<Bytes> {
        self.0.whole.get().cloned()
    }

    /// How many separate pieces of `range` are neither here nor coming.
    pub fn gaps(&self, range: Range<u64>) -> usize {
        self.with_extents(|extents| extents.gaps(range)).unwrap_or_default()
    }

    /// How many bytes must still arrive before the one at `at` does; None when nobody is bringing it.
    pub fn bytes_before(&self, at: u64) -> Option<u64> {
        self.with_extents(|extents| extents.bytes_before(at)).flatten()
    }

    /// Whether all of `range` is here; what lies past the end of the body is not asked for.
    pub fn has(&self, range: Range<u64>) -> bool {
        self.on(|_| true, |extents| extents.has(range))
    }

    /// Reads `range`, following whoever brings it; an end of `u64::MAX` means the end of the body, wherever
    /// that will be.
    pub fn reader(&self, range: Range<u64>) -> BodyReader {
        self.reader_at(range, Hop::Client)
    }

    /// The same for who stands at `hop`, and waits only for bytes that come from above it.
    pub fn reader_at(&self, range: Range<u64>, hop: Hop) -> BodyReader {
        let born = self.with_extents(|extents| extents.failed()).unwrap_or_default();
        BodyReader::new(self.clone(), range, born, hop)
    }

    /// Fills a gap from `range.start` on with what `fed_by` gives, up to the next byte that is here or coming:
    /// see [`BodyWriter::range`]. None when that first byte is here or coming already.
    pub fn writer(&self, range: Range<u64>, fed_by: Hop) -> Option<BodyWriter> {
        let tiers = self.0.tiers.upgrade()?;
        let (fill, range) = self.with_extents(|extents| {
            let gap = extents.gap_in(range).filter(|_| extents.slice_count() < tiers.slices_max)?;
            Some((extents.begin_fill(gap.clone(), fed_by), gap))
        })??;
        Some(BodyWriter::new(self.clone(), tiers, fill, range, false))
    }

    pub(super) fn id(&self) -> u64 {
        self.0.id
    }

    /// Whether somebody is bringing bytes of it.
    pub fn is_arriving(&self) -> bool {
        self.with_extents(|extents| extents.is_arriving()).unwrap_or_default()
    }

    /// Whether somebody is bringing bytes of it for whom one at `hop` may wait.
    pub fn is_arriving_at(&self, hop: Hop) -> bool {
        self.with_extents(|extents| extents.is_arriving_at(hop)).unwrap_or_default()
    }

    /// Whether nothing of it goes to disk.
    pub(super) fn is_transient(&self) -> bool {
        self.0.transient
    }

    /// Remembers under which object lookup finds this body. Answers whether fills are still at work: the
    /// last of them records the object then.
    pub(super) fn commit(&self, object: &Arc<Object>) -> bool {
        let arriving = self.with_extents(|extents| {
            extents.committed = Arc::downgrade(object);
            extents.is_arriving()
        });
        arriving.unwrap_or_default()
    }

    /// Turns a small body that is complete into one piece of memory, and forgets how it came.
    /// Answers whether it did.
    pub(super) fn settle(&self) -> bool {
        let mut extents = self.0.extents.lock();
        let Some(bytes) = extents.as_ref().and_then(|extents| extents.as_one_piece()) else { return false };
        // Whoever finds no extents behind the lock finds the whole.
        self.0.whole.get_or_init(|| bytes);
        if let Some(extents) = extents.take() {
            extents.changed.notify_waiters();
        }
        true
    }

    pub(super) fn placed(&self) -> Option<Vec<SliceRecord>> {
        self.with_extents(|extents| extents.placed())
    }

    pub(super) fn place(&self, start: u64, place: Place) {
        self.with_extents(|extents| extents.place(start, place));
    }

    pub(super) fn release(&self, start: u64) {
        self.with_extents(|extents| extents.release(start));
    }

    pub(super) fn lose(&self, start: u64, place: Option<Place>) {
        self.with_extents(|extents| extents.lose(start, place));
    }

    /// The starts of slices that may be entries of the memory tier.
    pub(super) fn slice_starts(&self) -> Vec<u64> {
        self.with_extents(|extents| extents.slice_starts().collect()).unwrap_or_default()
    }

    /// The memory it takes beside its slices of the memory tier.
    pub(super) fn weight(&self) -> u64 {
        // A shared handle, once cloned, has a count of its own.
        let bytes = |bytes: &Bytes| bytes.len() as u64 + 2 * ALLOCATION as u64;
        self.on(bytes, |extents| extents.weight()) + (size_of::<Shared>() + ALLOCATION) as u64
    }

    /// Asks the one state or the other.
    fn on<T>(&self, whole: impl FnOnce(&Bytes) -> T, sparse: impl FnOnce(&mut Extents) -> T) -> T {
        if let Some(bytes) = self.0.whole.get() {
            return whole(bytes);
        }
        match self.0.extents.lock().as_deref_mut() {
            Some(extents) => sparse(extents),
            None => whole(self.0.whole.get().expect("extents go only when the whole is set")),
        }
    }

    fn with_extents<T>(&self, act: impl FnOnce(&mut Extents) -> T) -> Option<T> {
        self.on(|_| None, |extents| Some(act(extents)))
    }

    fn look(&self, position: u64, end: u64, (born, hop): (u64, Hop)) -> Look {
        let whole = |bytes: &Bytes| {
            let end = end.min(bytes.len() as u64);
            if position >= end {
                return Look::End;
            }
            Look::Bytes(bytes.slice(position as usize..end as usize))
        };
        self.on(whole, |extents| extents.look(position, end, (born, hop)))
    }
}

/// Its name and length: bodies are no matter for logs.
impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body").field("id", &self.id()).field("total", &self.total()).finish_non_exhaustive()
    }
}
