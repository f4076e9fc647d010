//! The disk tier: what readers and fills see of it.
//!
//! Everything that changes the disk goes through one queue to one [`scribe`], so that a record is written after
//! its slices and no two changes of one key meet. Readers go to the [`segments`] themselves.

mod scribe;
mod segments;
mod sketch;

use std::{sync::Arc, time::Instant};

use parking_lot::Mutex;
use starling_proto::Key;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

pub(super) use segments::{Segments, SliceError};

use super::{body::Body, index::Index, memory::SliceBuf, object::Object, record::Place, settings::Settings};
pub(super) use scribe::Scribe;
use sketch::Sketch;

/// Work that may wait for the scribe.
const JOBS_MAX: usize = 256;

/// Slices that are read from disk at one time: bounds the memory that readers of many bodies take.
const READS_MAX: usize = 32;

/// One change of the disk.
pub(super) enum Job {
    /// Write a slice. `keep`: it is the whole body and stays in memory until that is settled.
    Slice { body: Body, start: u64, buf: Arc<SliceBuf>, keep: bool, permit: OwnedSemaphorePermit },
    /// Write the object's record, for the slices that are on disk.
    Record(Arc<Object>),
    /// Delete a record.
    Remove { key: Key, body: u64, done: Option<oneshot::Sender<()>> },
    /// Say when all before this is done.
    Flush(oneshot::Sender<()>),
}

/// The disk tier of a store whose bodies are kept on disk.
pub(super) struct Disk {
    pub segments: Segments,
    jobs: mpsc::Sender<Job>,
    dirty: Arc<Semaphore>,
    dirty_bytes_max: usize,
    reads: Arc<Semaphore>,
    sketch: Sketch,
    /// After a failed write: until when no other is tried, and no fill waits for the disk.
    rests_until: Mutex<Option<Instant>>,
}

impl Disk {
    pub fn new(settings: &Settings, segments: Segments) -> (Self, mpsc::Receiver<Job>) {
        let (jobs, queue) = mpsc::channel(JOBS_MAX);
        let least = 2 * u64::from(settings.slice_bytes);
        let dirty_bytes_max = settings.dirty_bytes_max.max(least).min(u64::from(u32::MAX)) as usize;
        let disk = Self {
            segments,
            jobs,
            dirty: Arc::new(Semaphore::new(dirty_bytes_max)),
            dirty_bytes_max,
            reads: Arc::new(Semaphore::new(READS_MAX)),
            sketch: Sketch::new(),
            rests_until: Mutex::new(None),
        };
        (disk, queue)
    }

    /// Room for bytes that wait to be written. None while the disk does not take any.
    pub async fn dirty(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        if self.is_resting() {
            return None;
        }
        self.dirty.clone().acquire_many_owned(bytes as u32).await.ok()
    }

    /// Queues a change; waits while the queue is full. False when the store was closed: nothing is written
    /// any more.
    pub async fn send(&self, job: Job) -> bool {
        self.jobs.send(job).await.is_ok()
    }

    /// Reads a slice and proves it.
    pub async fn read(
        self: &Arc<Self>,
        body: u64,
        start: u64,
        len: u32,
        place: Place,
    ) -> Result<Arc<SliceBuf>, SliceError> {
        let _slot = self.reads.acquire().await;
        let disk = self.clone();
        let read = move || disk.read_blocking(body, start, len, place).map(SliceBuf::new);
        tokio::task::spawn_blocking(read).await.unwrap_or_else(|_| {
            Err(SliceError::Io(std::io::Error::other("the runtime is stopping, or the read panicked")))
        })
    }

    /// Reads a slice and proves it; blocks.
    pub fn read_blocking(
        &self,
        body: u64,
        start: u64,
        len: u32,
        place: Place,
    ) -> Result<Vec<u8>, SliceError> {
        self.sketch.count(body, start);
        self.segments.read(body, start, len, place)
    }

    pub fn dirty_bytes(&self) -> u64 {
        (self.dirty_bytes_max - self.dirty.available_permits()) as u64
    }

    /// Whether a write failed a moment ago.
    pub fn is_resting(&self) -> bool {
        self.rests_until.lock().is_some_and(|until| Instant::now() < until)
    }

    fn rest_until(&self, until: Option<Instant>) {
        *self.rests_until.lock() = until;
    }
}

/// The size of a segment: a 64th of the cap, within bounds; at least four fit under the cap.
pub(super) fn segment_bytes(settings: &Settings) -> u64 {
    (settings.disk_bytes_max / 64).clamp(8 << 20, 128 << 20).min(settings.disk_bytes_max / 4)
}

/// Whether bodies are kept on disk: a cap below four slices is none.
pub(super) fn is_wanted(settings: &Settings) -> bool {
    segment_bytes(settings) >= u64::from(settings.slice_bytes)
}

/// The index as the scribe and the sweeper use it.
pub(super) type SharedIndex = Arc<Index>;
