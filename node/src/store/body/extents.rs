//! The state of a body that is not whole in one piece of memory: sealed slices, fills at work, gaps.
//!
//! Invariants:
//! - Slices are ascending and disjoint; no fill's range overlaps a slice or another fill.
//! - A fill's bytes are contiguous from its start: sealed slices up to `sealed`, open chunks up to `at`.
//! - A byte is present iff a slice or the open part of a fill has it; else it is *coming* when a fill's range
//!   covers it, and a *gap* when none does.
//!
//! Nothing here waits or does IO.

use std::{
    ops::Range,
    sync::{Arc, Weak},
};

use bytes::{Bytes, BytesMut};
use starling_proto::ring::Hop;
use tokio::sync::Notify;

use super::super::{
    memory::SliceBuf,
    object::Object,
    record::{Place, SliceRecord},
};

/// Chunks below this are joined to their neighbour, so that a body that trickles in costs no handle per byte.
const CHUNK_BYTES_MIN: usize = 1 << 10;

/// Failures remembered for those who followed them.
const FAILURES_MAX: usize = 4;

#[derive(Debug, Default)]
pub(in super::super) struct Extents {
    pub total: Option<u64>,
    slices: Vec<Slice>,
    fills: Vec<Fill>,
    failures: Vec<Failure>,
    failed: u64,
    next_fill: u64,
    /// The object that lookup finds this body under, if it was committed.
    pub committed: Weak<Object>,
    pub changed: Arc<Notify>,
}

#[derive(Debug)]
struct Slice {
    start: u64,
    len: u32,
    /// Kept here until it is on disk.
    held: Option<Arc<SliceBuf>>,
    /// Whoever has it in memory; shared with those who come later.
    live: Weak<SliceBuf>,
    place: Option<Place>,
}

#[derive(Debug)]
struct Fill {
    id: u64,
    sealed: u64,
    at: u64,
    until: u64,
    /// Who gives the bytes.
    fed_by: Hop,
    /// What arrived after `sealed`, with the offset each chunk starts at.
    open: Vec<(u64, Bytes)>,
}

#[derive(Debug)]
struct Failure {
    seq: u64,
    at: u64,
    until: u64,
    why: &'static str,
}

/// What a reader finds at its position.
#[derive(Debug)]
pub(in super::super) enum Look {
    /// These bytes.
    Bytes(Bytes),
    /// A slice that is not held here: ask the memory tier, then `live`, then the disk.
    Stored { start: u64, len: u32, live: Weak<SliceBuf>, place: Option<Place> },
    /// They are coming: look again when notified.
    Coming(Arc<Notify>),
    /// They are coming, but not from above who looks.
    Below,
    /// The body ends here.
    End,
    /// Nobody has them, nobody brings them.
    Gap,
    /// The fill that was bringing them failed.
    Aborted(&'static str),
}

impl Extents {
    /// A body as the index knows it.
    pub fn stored(total: Option<u64>, slices: &[SliceRecord]) -> Self {
        let slices = slices
            .iter()
            .map(|s| Slice {
                start: s.start,
                len: s.len,
                held: None,
                live: Weak::new(),
                place: Some(s.place),
            })
            .collect();
        Self { total, slices, ..Self::default() }
    }

    /// Counts failed fills: a reader born at this number is told of later failures only.
    pub fn failed(&self) -> u64 {
        self.failed
    }

    pub fn is_arriving(&self) -> bool {
        !self.fills.is_empty()
    }

    pub fn is_arriving_at(&self, hop: Hop) -> bool {
        self.fills.iter().any(|fill| fill.fed_by > hop)
    }

    pub fn slice_count(&self) -> usize {
        self.slices.len()
    }

    pub fn slice_starts(&self) -> impl Iterator<Item = u64> {
        self.slices.iter().map(|slice| slice.start)
    }

    pub fn bytes_before(&self, at: u64) -> Option<u64> {
        let fill = self.fills.iter().find(|fill| fill.at <= at && at < fill.until)?;
        Some(at - fill.at)
    }

    /// How many separate pieces of `range` are neither here nor coming.
    pub fn gaps(&self, range: Range<u64>) -> usize {
        let end = range.end.min(self.total.unwrap_or(u64::MAX));
        let mut ours: Vec<Range<u64>> = self.slices.iter().map(|slice| slice.start..slice.end()).collect();
        ours.extend(self.fills.iter().map(|fill| fill.sealed..fill.until));
        ours.sort_by_key(|piece| piece.start);
        let (mut at, mut gaps) = (range.start, 0);
        for piece in ours.into_iter().filter(|piece| piece.end > range.start && piece.start < end) {
            gaps += usize::from(piece.start > at);
            at = at.max(piece.end);
        }
        gaps + usize::from(at < end)
    }

    pub fn is_whole(&self) -> bool {
        self.total.is_some_and(|total| self.has(0..total))
    }

    /// Whether all of `range` is sealed or has arrived.
    pub fn has(&self, range: Range<u64>) -> bool {
        let end = range.end.min(self.total.unwrap_or(u64::MAX));
        let mut at = range.start;
        while at < end {
            match self.present_from(at) {
                Some(until) => at = until,
                None => return false,
            }
        }
        true
    }

    /// The end of the slice or fill that has the byte at `at`.
    fn present_from(&self, at: u64) -> Option<u64> {
        let slice = self.slice_at(at).map(|index| self.slices[index].end());
        slice.or_else(|| self.fills.iter().find(|f| f.sealed <= at && at < f.at).map(|f| f.at))
    }

    fn slice_at(&self, at: u64) -> Option<usize> {
        let index = self.slices.partition_point(|slice| slice.start <= at).checked_sub(1)?;
        (at < self.slices[index].end()).then_some(index)
    }

    fn slice_mut(&mut self, start: u64) -> Option<&mut Slice> {
        let index = self.slices.binary_search_by_key(&start, |slice| slice.start).ok()?;
        Some(&mut self.slices[index])
    }

    fn fill_mut(&mut self, id: u64) -> Option<&mut Fill> {
        self.fills.iter_mut().find(|fill| fill.id == id)
    }

    /// What there is at `position` for a reader that was born when `born` fills had failed, and stands at `hop`.
    pub fn look(&self, position: u64, end: u64, (born, hop): (u64, Hop)) -> Look {
        if position >= end.min(self.total.unwrap_or(u64::MAX)) {
            return Look::End;
        }
        if let Some(index) = self.slice_at(position) {
            return self.slices[index].look(position, end);
        }
        if let Some(fill) = self.fills.iter().find(|f| f.sealed <= position && position < f.until) {
            return fill.look(position, end).unwrap_or_else(|| match fill.fed_by > hop {
                true => Look::Coming(self.changed.clone()),
                false => Look::Below,
            });
        }
        let failure = self
            .failures
            .iter()
            .rev()
            .find(|failure| failure.seq > born && failure.at <= position && position < failure.until);
        failure.map_or(Look::Gap, |failure| Look::Aborted(failure.why))
    }

    /// What is missing from `range.start` on. None when that byte is present or coming.
    pub fn gap_in(&self, range: Range<u64>) -> Option<Range<u64>> {
        let start = range.start;
        let end = range.end.min(self.total.unwrap_or(u64::MAX));
        let covered = self.slice_at(start).is_some()
            || self.fills.iter().any(|fill| fill.sealed <= start && start < fill.until);
        if covered || start >= end {
            return None;
        }
        let slices = self.slices.iter().map(|slice| slice.start);
        let fills = self.fills.iter().map(|fill| fill.sealed);
        let until = slices.chain(fills).filter(|next| *next > start).min().map_or(end, |next| next.min(end));
        Some(start..until)
    }

    /// Begins a fill of `range`, which is a gap, and names it.
    pub fn begin_fill(&mut self, range: Range<u64>, fed_by: Hop) -> u64 {
        self.next_fill += 1;
        let Range { start, end: until } = range;
        let open = Vec::new();
        self.fills.push(Fill { id: self.next_fill, sealed: start, at: start, until, fed_by, open });
        self.next_fill
    }

    /// Adds what arrived to a fill's open part.
    pub fn append(&mut self, fill: u64, chunk: Bytes) {
        let Some(fill) = self.fill_mut(fill) else { return };
        fill.at += chunk.len() as u64;
        match fill.open.last_mut() {
            Some((_, last)) if last.len() < CHUNK_BYTES_MIN && chunk.len() < CHUNK_BYTES_MIN => {
                let mut joined = BytesMut::with_capacity(last.len() + chunk.len());
                joined.extend_from_slice(last);
                joined.extend_from_slice(&chunk);
                *last = joined.freeze();
            }
            _ => fill.open.push((fill.at - chunk.len() as u64, chunk)),
        }
        self.changed.notify_waiters();
    }

    /// A copy of exact size of a fill's open part, and where it starts.
    pub fn open_part(&mut self, fill: u64) -> Option<(u64, Arc<SliceBuf>)> {
        let fill = self.fill_mut(fill).filter(|fill| !fill.open.is_empty())?;
        let mut bytes = Vec::with_capacity((fill.at - fill.sealed) as usize);
        fill.open.iter().for_each(|(_, chunk)| bytes.extend_from_slice(chunk));
        Some((fill.sealed, SliceBuf::new(bytes)))
    }

    /// Makes a fill's open part a slice. `held`: it stays here until it is released.
    pub fn seal(&mut self, fill: u64, buf: &Arc<SliceBuf>, held: bool) {
        let Some(fill) = self.fill_mut(fill) else { return };
        let start = std::mem::replace(&mut fill.sealed, fill.at);
        fill.open = Vec::new();
        let slice = Slice {
            start,
            len: buf.as_slice().len() as u32,
            held: held.then(|| buf.clone()),
            live: Arc::downgrade(buf),
            place: None,
        };
        let index = self.slices.partition_point(|other| other.start < start);
        self.slices.insert(index, slice);
    }

    /// Ends a fill that brought all it was to bring.
    pub fn end_fill(&mut self, id: u64, total: Option<u64>) {
        self.total = self.total.or(total);
        self.fills.retain(|fill| fill.id != id);
        self.changed.notify_waiters();
    }

    /// Ends a fill that failed. What it had sealed stays; `open`, its unsealed rest, becomes a slice.
    pub fn abort_fill(&mut self, id: u64, why: &'static str) {
        if let Some((_, rest)) = self.open_part(id) {
            self.seal(id, &rest, true);
        }
        let Some(index) = self.fills.iter().position(|fill| fill.id == id) else { return };
        let fill = self.fills.swap_remove(index);
        self.failed += 1;
        if self.failures.len() == FAILURES_MAX {
            self.failures.remove(0);
        }
        self.failures.push(Failure { seq: self.failed, at: fill.at, until: fill.until, why });
        self.changed.notify_waiters();
    }

    /// The slice is on disk.
    pub fn place(&mut self, start: u64, place: Place) {
        if let Some(slice) = self.slice_mut(start) {
            slice.place = Some(place);
        }
    }

    /// The slice need not be kept here any more; whoever wants it asks the tiers.
    pub fn release(&mut self, start: u64) {
        if let Some(slice) = self.slice_mut(start) {
            slice.held = None;
        }
    }

    /// The slice was read from disk: those who come later share it.
    pub fn revive(&mut self, start: u64, buf: &Arc<SliceBuf>) {
        if let Some(slice) = self.slice_mut(start) {
            slice.live = Arc::downgrade(buf);
        }
    }

    /// The slice is nowhere, or not what it was: from now on a gap. `place` says which was tried.
    pub fn lose(&mut self, start: u64, place: Option<Place>) -> bool {
        let found = self.slices.iter().position(|s| s.start == start && s.place == place && s.held.is_none());
        found.map(|index| self.slices.remove(index)).is_some()
    }

    /// What a record can say of the body: the slices that are on disk.
    pub fn placed(&self) -> Vec<SliceRecord> {
        let placed = |s: &Slice| s.place.map(|place| SliceRecord { start: s.start, len: s.len, place });
        self.slices.iter().filter_map(placed).collect()
    }

    /// The bytes of a body that is one held slice, or empty.
    pub fn as_one_piece(&self) -> Option<Bytes> {
        match (&self.slices[..], self.total?, self.is_arriving()) {
            ([], 0, false) => Some(Bytes::new()),
            ([slice], total, false) if u64::from(slice.len) == total => {
                // `Bytes` of its own: it costs a handle less than a shared slice.
                slice.held.as_ref().map(|buf| Bytes::copy_from_slice(buf.as_slice()))
            }
            _ => None,
        }
    }

    /// The memory this state takes, without slices that are held on their way to disk.
    pub fn weight(&self) -> u64 {
        let one = if self.slices.len() == 1 { u64::from(self.slices[0].len) } else { 0 };
        (size_of::<Self>() + 64 + self.slices.capacity() * (size_of::<Slice>() + 32)) as u64 + one
    }
}

impl Slice {
    fn end(&self) -> u64 {
        self.start + u64::from(self.len)
    }

    fn look(&self, position: u64, end: u64) -> Look {
        match &self.held {
            Some(buf) => {
                let to = end.min(self.end()) - self.start;
                Look::Bytes(buf.bytes().slice((position - self.start) as usize..to as usize))
            }
            None => {
                Look::Stored { start: self.start, len: self.len, live: self.live.clone(), place: self.place }
            }
        }
    }
}

impl Fill {
    fn look(&self, position: u64, end: u64) -> Option<Look> {
        let index = self.open.partition_point(|(start, _)| *start <= position).checked_sub(1)?;
        let (start, chunk) = &self.open[index];
        let from = (position - start) as usize;
        let to = (end - start).min(chunk.len() as u64) as usize;
        (from < to).then(|| Look::Bytes(chunk.slice(from..to)))
    }
}
