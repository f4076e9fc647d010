//! Bringing the bytes of a body.

use std::{collections::VecDeque, ops::Range, sync::Arc};

use bytes::Bytes;

use super::{
    super::{errors::WriteError, memory::SliceBuf, tiers::Tiers},
    Body,
};

/// Brings one contiguous range of a body. Dropped before [`finish`](Self::finish), it aborts.
#[derive(Debug)]
pub struct BodyWriter {
    body: Body,
    tiers: Arc<Tiers>,
    fill: u64,
    range: Range<u64>,
    position: u64,
    /// Whether it brings a new body, not a gap of a known one.
    first: bool,
    /// A push failed or was dropped half-way: nothing can follow it.
    broken: bool,
    ended: bool,
    /// The last slices, kept for followers while the disk cannot keep them.
    window: VecDeque<Arc<SliceBuf>>,
}

impl BodyWriter {
    pub(super) fn new(body: Body, tiers: Arc<Tiers>, fill: u64, range: Range<u64>, first: bool) -> Self {
        tiers.counters.fills.add(1);
        let position = range.start;
        let window = VecDeque::new();
        Self { body, tiers, fill, range, position, first, broken: false, ended: false, window }
    }

    /// What it is to bring: ask the origin for this. An end of `u64::MAX` is the end of the body.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// The offset in the body of the next byte it brings.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Adds the next bytes; readers have them at once. Waits while too much waits to be written to disk.
    ///
    /// After an error, or when the future was dropped, the fill can only be given up.
    pub async fn push(&mut self, mut chunk: Bytes) -> Result<(), WriteError> {
        if std::mem::replace(&mut self.broken, true) {
            return Err(WriteError::Broken);
        }
        let end = self.position.saturating_add(chunk.len() as u64);
        if end > self.range.end {
            return Err(WriteError::TooLong { announced: self.range.end });
        }
        if end > self.tiers.settings.object_bytes_max {
            return Err(WriteError::TooLarge { limit: self.tiers.settings.object_bytes_max });
        }
        let slice_bytes = u64::from(self.tiers.settings.slice_bytes);
        while !chunk.is_empty() {
            let room = slice_bytes - self.position % slice_bytes;
            let piece = chunk.split_to(room.min(chunk.len() as u64) as usize);
            self.position += piece.len() as u64;
            self.body.with_extents(|extents| extents.append(self.fill, piece));
            if self.position.is_multiple_of(slice_bytes) {
                self.seal(None).await;
            }
        }
        self.broken = false;
        Ok(())
    }

    /// Ends the fill. A committed object is recorded on disk from here on. A body that is not as long as was
    /// announced is an error, and aborts.
    pub async fn finish(mut self) -> Result<(), WriteError> {
        if self.broken {
            return Err(WriteError::Broken);
        }
        let open_ended = self.range.end == u64::MAX;
        if !open_ended && self.position != self.range.end {
            return Err(WriteError::TooShort { at: self.position, announced: self.range.end });
        }
        let total = open_ended.then_some(self.position);
        self.seal(total).await;
        self.ended = true;
        let committed = self.body.with_extents(|extents| {
            extents.end_fill(self.fill, total);
            extents.committed.upgrade()
        });
        self.tiers.body_arrived(&self.body, committed.flatten()).await;
        Ok(())
    }

    /// Gives the fill up. Who follows it is told `why`, where the bytes end; a new body is not found any more.
    pub fn abort(mut self, why: &'static str) {
        self.give_up(why);
    }

    fn give_up(&mut self, why: &'static str) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let committed = self.body.with_extents(|extents| {
            extents.abort_fill(self.fill, why);
            extents.committed.upgrade()
        });
        if let (Some(object), true) = (committed.flatten(), self.first) {
            self.tiers.drop_from_memory(&object);
        }
    }

    /// Makes a slice of the open part and hands it to the tiers. `total`: the length of the body, where it is
    /// only known now. A body of one slice stays in one piece, with its head.
    async fn seal(&mut self, total: Option<u64>) {
        let open = self.body.with_extents(|extents| extents.open_part(self.fill));
        let Some((start, buf)) = open.flatten() else { return };
        let whole_in_one = start == 0 && total.or(self.body.total()) == Some(self.position);
        let permit = match self.body.is_transient() {
            true => None,
            false => self.tiers.dirty(buf.as_slice().len()).await,
        };
        // Nothing can give a slice back that passes through memory alone.
        let held = permit.is_some() || whole_in_one || self.body.is_transient();
        self.body.with_extents(|extents| extents.seal(self.fill, &buf, held));
        if !whole_in_one {
            self.tiers.memory.put_slice(self.body.id(), start, buf.clone());
        }
        match permit {
            Some(permit) => {
                self.window.clear();
                self.tiers.write_slice(&self.body, start, buf, whole_in_one, permit).await;
            }
            None => self.keep_in_window(buf),
        }
    }

    fn keep_in_window(&mut self, buf: Arc<SliceBuf>) {
        self.window.push_back(buf);
        let kept_max = self.tiers.window_slices();
        while self.window.len() > kept_max {
            self.window.pop_front();
        }
    }
}

impl Drop for BodyWriter {
    fn drop(&mut self) {
        self.give_up("the fill was dropped");
        self.tiers.counters.fills.sub(1);
    }
}
