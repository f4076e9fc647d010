//! The one who writes to disk.
//!
//! Slices are appended to the active segment; a full segment is followed by a new one, and then the oldest
//! segments go until the cap holds again. Before a segment goes, those of its slices that are read often are
//! appended again, up to half a segment's worth, so that there is always progress.
//!
//! Nothing is synced: what was written before `kill -9` is in the page cache, and what a power cut tore the
//! checksum finds. A record is written after its slices, so it never names bytes that were not written.
//!
//! When a write fails the scribe stops trying for a while; slices that come meanwhile stay in memory only.

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::Arc,
    time::{Duration, Instant},
};

use starling_proto::Key;
use tokio::sync::mpsc;

use super::{Disk, Job, SharedIndex, segment_bytes};
use crate::store::{
    body::Body,
    errors::IndexError,
    object::Object,
    record::{Place, Record, SliceRecord, checksum},
    tiers::Tiers,
};

/// Jobs taken from the queue at one time.
const BATCH: usize = 32;

/// How long after a failed write the next is tried.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Write errors are logged once in this time.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// A slice that was read so often lately is written again when its segment goes.
const HOT_READS: u8 = 2;

/// Owns the active segment and all changes of the index that concern objects.
pub(in super::super) struct Scribe {
    tiers: Arc<Tiers>,
    disk: Arc<Disk>,
    index: SharedIndex,
    segment_bytes: u64,
    disk_bytes_max: u64,
    active: Option<Active>,
    oldest: u32,
    logged_at: Option<Instant>,
}

struct Active {
    id: u32,
    file: Arc<File>,
    length: u64,
}

impl Scribe {
    pub fn new(tiers: Arc<Tiers>, disk: Arc<Disk>, index: SharedIndex, oldest: u32) -> Self {
        let segment_bytes = segment_bytes(&tiers.settings);
        let disk_bytes_max = tiers.settings.disk_bytes_max;
        let scribe =
            Self { tiers, disk, index, segment_bytes, disk_bytes_max, active: None, oldest, logged_at: None };
        scribe.count();
        scribe
    }

    /// Works until `stop`, then finishes what was queued before it.
    pub async fn run(mut self, mut queue: mpsc::Receiver<Job>, stop: tokio_util::sync::CancellationToken) {
        loop {
            let mut jobs = Vec::with_capacity(BATCH);
            tokio::select! {
                biased;
                count = queue.recv_many(&mut jobs, BATCH) => if count == 0 { return },
                () = stop.cancelled(), if !queue.is_closed() => queue.close(),
            }
            let work = move || {
                jobs.into_iter().for_each(|job| self.carry_out(job));
                self
            };
            match tokio::task::spawn_blocking(work).await {
                Ok(scribe) => self = scribe,
                Err(error) => {
                    tracing::error!(%error, "the disk writer stopped; bodies are kept in memory only");
                    return;
                }
            }
        }
    }

    fn carry_out(&mut self, job: Job) {
        match job {
            Job::Slice { body, start, buf, keep, permit } => {
                if !self.disk.is_resting() {
                    match self.append(body.id(), start, buf.as_slice()) {
                        Ok(place) => body.place(start, place),
                        Err(error) => self.failed(&error),
                    }
                }
                if !keep {
                    body.release(start);
                }
                drop(permit);
            }
            Job::Record(object) => {
                if let Err(error) = self.record(&object) {
                    self.failed(&io::Error::other(error));
                }
                object.set_unrecorded(false);
                self.tiers.settle(&object);
            }
            Job::Remove { key, body, done } => {
                if let Err(error) = self.index.delete(&key, body) {
                    self.failed(&io::Error::other(error));
                }
                self.tiers.counters.records_dropped.add(1);
                if let Some(done) = done {
                    let _ = done.send(());
                }
            }
            Job::Flush(done) => {
                let _ = done.send(());
            }
        }
    }

    /// Writes the record of an object, in the place of those it supersedes.
    fn record(&mut self, object: &Object) -> Result<(), IndexError> {
        if object.is_dropped() {
            return Ok(());
        }
        let id = object.body.id();
        let mut others = self.index.variants(&object.key)?;
        let known = others.iter().position(|(other, _)| *other == id).map(|at| others.swap_remove(at).1);
        // A settled body has forgotten where it lies; its first record has not.
        let slices = match object.body.placed() {
            Some(slices) => slices,
            None if object.body.total() == Some(0) => Vec::new(),
            None => match known {
                Some(known) => known.slices,
                None => return Ok(()),
            },
        };
        let record = Record {
            key_text: (&object.key_text).into(),
            service: (&*object.service).into(),
            url: (&object.url).into(),
            head: std::borrow::Cow::Borrowed(&object.head),
            stamp: std::borrow::Cow::Borrowed(&object.stamp),
            coding: object.coding,
            total: object.body.total(),
            slices,
        };
        if !record.is_worth_keeping() {
            return Ok(());
        }
        others.sort_by_key(|(_, other)| std::cmp::Reverse(other.head.response_ms));
        let kept_max = self.tiers.settings.variants_max.saturating_sub(1);
        let mut kept = 0;
        let gone: Vec<u64> = others
            .iter()
            .filter(|(_, other)| {
                let superseded = other.coding == record.coding && other.head.vary == record.head.vary;
                kept += usize::from(!superseded);
                superseded || kept > kept_max
            })
            .map(|(id, _)| *id)
            .collect();
        self.index.put(&object.key, id, &record, &gone)?;
        self.tiers.counters.records_written.add(1);
        self.tiers.counters.records_dropped.add(gone.len() as u64);
        Ok(())
    }

    fn append(&mut self, body: u64, start: u64, bytes: &[u8]) -> io::Result<Place> {
        let len = bytes.len() as u64;
        if self.active.as_ref().is_none_or(|active| active.length + len > self.segment_bytes) {
            self.begin_segment()?;
        }
        let active = self.active.as_mut().ok_or_else(|| io::Error::other("no active segment"))?;
        let offset = active.length;
        let written = active.file.write_all_at(bytes, offset);
        // What a failed write left behind counts against the cap, too.
        active.length += len;
        self.disk.segments.set_length(active.id, active.length);
        self.tiers.counters.disk_bytes.add(len);
        let segment = active.id;
        if let Err(error) = written {
            self.active = None;
            return Err(error);
        }
        Ok(Place { segment, offset: offset as u32, sum: checksum(body, start, bytes) })
    }

    /// Makes room under the cap for one more segment, then begins it.
    fn begin_segment(&mut self) -> io::Result<()> {
        self.active = None;
        let (id, file) = self.disk.segments.create(self.oldest)?;
        self.active = Some(Active { id, file, length: 0 });
        while self.disk.segments.bytes() + self.segment_bytes > self.disk_bytes_max {
            let Some(oldest) = self.disk.segments.oldest() else { break };
            self.reclaim(oldest).map_err(io::Error::other)?;
            self.disk.segments.delete(oldest)?;
            self.tiers.counters.segments_evicted.add(1);
        }
        self.count();
        Ok(())
    }

    /// Takes a segment out of the index; what is hot moves to the active one.
    fn reclaim(&mut self, segment: u32) -> Result<(), IndexError> {
        // One segment goes for each that comes: were more than half moved, nothing might get free.
        let mut room = self.segment_bytes / 2;
        for (key, id) in self.index.in_segment(segment)? {
            let Some(mut record) = self.index.record(&key, id)? else { continue };
            let mut moved = HashMap::new();
            record.slices.retain_mut(|slice| {
                if slice.place.segment != segment {
                    return true;
                }
                let Some(place) = self.keep_if_hot(&key, id, slice, &mut room) else { return false };
                moved.insert(slice.start, place);
                slice.place = place;
                true
            });
            let body = self.tiers.body_in_memory(&key, id);
            if let Some(body) = &body {
                moved.iter().for_each(|(start, place)| body.place(*start, *place));
            }
            if record.is_worth_keeping() {
                self.index.put(&key, id, &record, &[])?;
            } else {
                self.index.delete(&key, id)?;
                self.tiers.counters.records_dropped.add(1);
            }
        }
        self.oldest = segment + 1;
        self.index.forget_segment(segment)
    }

    fn keep_if_hot(&mut self, key: &Key, id: u64, slice: &SliceRecord, room: &mut u64) -> Option<Place> {
        let len = u64::from(slice.len);
        let hot = self.disk.sketch.reads(id, slice.start) >= HOT_READS
            || self.tiers.memory.has_slice(id, slice.start)
            || self.tiers.body_in_memory(key, id).is_some_and(|body: Body| body.placed().is_none());
        let active_room = self.active.as_ref().map_or(0, |active| self.segment_bytes - active.length);
        if !hot || len > (*room).min(active_room) {
            self.tiers.counters.slices_evicted.add(1);
            return None;
        }
        let bytes = self.disk.segments.read(id, slice.start, slice.len, slice.place).ok()?;
        let place = self.append(id, slice.start, &bytes).ok()?;
        *room -= len;
        self.tiers.counters.slices_reinserted.add(1);
        Some(place)
    }

    fn failed(&mut self, error: &io::Error) {
        self.tiers.counters.disk_write_errors.add(1);
        let now = Instant::now();
        self.disk.rest_until(Some(now + RETRY_AFTER));
        if self.logged_at.is_none_or(|at| now - at >= LOG_EVERY) {
            self.logged_at = Some(now);
            let dir = self.tiers.settings.dir.display();
            tracing::warn!(%error, %dir, "the disk tier cannot be written; bodies are kept in memory only");
        }
    }

    fn count(&self) {
        self.tiers.counters.disk_bytes.set(self.disk.segments.bytes());
        self.tiers.counters.segments.set(self.disk.segments.count());
    }
}
