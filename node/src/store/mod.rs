//! What this node has stored: a memory tier, a disk tier, the logs of the regions.
//!
//! ```text
//!             lookup                     begin, push, finish
//!               │                                │
//!        ┌──────▼──────┐  bytes, slices   ┌──────▼──────┐
//!        │   memory    │◄─────────────────┤ body fills  │
//!        └──────▲──────┘                  └──────┬──────┘
//!     records,  │                                │ one queue
//!     slices    │                         ┌──────▼──────┐
//!        ┌──────┴──────┐   appends        │   scribe    │
//!        │ index,      │◄─────────────────┤             │
//!        │ segments    │                  └─────────────┘
//!        └─────────────┘
//! ```
//!
//! An [`Object`] is a head, a stamp and a [`Body`]. It is found under its key from [`Store::commit`] on, also
//! while its body still arrives; it is recorded on disk when the body is complete. Whether it may be used is
//! not decided here: the store says whether a purge names it, `proto::cache` says the rest.
//!
//! Edges: no sockets, no HTTP; the only clock read is the sweeper's. What is on disk may be damaged in any way:
//! that costs a fetch, never a wrong byte.

mod body;
mod codec;
mod disk;
mod errors;
mod healer;
mod index;
mod memory;
mod object;
mod purges;
mod recent;
mod record;
mod remains;
mod settings;
mod stats;
mod sweeper;
#[cfg(test)]
mod tests;
mod tiers;

use std::sync::Arc;

use starling_proto::{
    Key, UnixMs,
    cache::storing::StoredHead,
    purge::{Batch, Catalog, Change, Entry, EntryId, Purged, Region, Stamp, Subject, Version, Versions},
};
use tokio::sync::{oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use body::{Body, BodyReader, BodyWriter};
pub use codec::CodecError;
pub use errors::{IndexError, OpenError, ReadError, StoreError, WriteError};
pub use object::{NewObject, Object, Variants};
pub use settings::Settings;
pub use stats::Stats;

use disk::{Disk, Job, Scribe, Segments};
use healer::Healer;
use index::{Index, Life};
use purges::Purges;
use sweeper::Sweeper;
use tiers::Tiers;

/// Bodies that one start of the node can name.
const IDS_PER_LIFE_BITS: u32 = 40;

/// The shortest and the longest slice: what is outside is taken as the nearer of the two.
const SLICE_BYTES: (u32, u32) = (4 << 10, 8 << 20);

/// A cheap handle to what the node has stored.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    tiers: Arc<Tiers>,
    purges: Arc<Purges>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Store {
    /// Opens, or makes, the store in `settings.dir`. All purges of former lives are applied when this returns;
    /// no body is read, however many there are.
    pub async fn open(settings: Settings, now: UnixMs) -> Result<Self, OpenError> {
        let dir = settings.dir.clone();
        let opened = tokio::task::spawn_blocking(move || Opened::open(settings, now)).await;
        let Opened { settings, index, life, purges, segments } = match opened {
            Ok(opened) => opened?,
            Err(error) => {
                return Err(OpenError::Directory { path: dir, source: std::io::Error::other(error) });
            }
        };
        let index = Arc::new(index);
        let (disk, queue) = segments.map(|segments| Disk::new(&settings, segments)).unzip();
        let disk = disk.map(Arc::new);
        let first_id = life.number << IDS_PER_LIFE_BITS;
        let tiers = Arc::new(Tiers::new(settings, index.clone(), disk.clone(), first_id));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        if let (Some(disk), Some(queue)) = (disk, queue) {
            let scribe = Scribe::new(tiers.clone(), disk, index, life.oldest_segment);
            tasks.spawn(scribe.run(queue, stop.clone()));
        }
        let purges = Arc::new(purges);
        let sweeper = Sweeper { tiers: tiers.clone(), purges: purges.clone() };
        tasks.spawn(sweeper.run(stop.clone()));
        let healer = Healer { tiers: tiers.clone(), purges: purges.clone() };
        tasks.spawn(healer.run(stop.clone()));
        Ok(Self(Arc::new(Inner { tiers, purges, tasks, stop })))
    }

    /// The variants of `key`, if memory has them. No IO, no waiting; hard-purged ones are left out.
    pub fn lookup_memory(&self, key: &Key) -> Option<Arc<Variants>> {
        let counters = &self.0.tiers.counters;
        let found = self.peek(key);
        if found.is_some() {
            counters.memory_hits.add(1)
        } else {
            counters.memory_misses.add(1)
        }
        found
    }

    /// The same without being counted, for who has looked before.
    pub fn peek(&self, key: &Key) -> Option<Arc<Variants>> {
        self.0.tiers.memory.head(key).and_then(|variants| self.unpurged(variants))
    }

    /// The length of a body slice: what is read, checked and evicted as one.
    pub fn slice_bytes(&self) -> u64 {
        u64::from(self.0.tiers.settings.slice_bytes)
    }

    /// The variants of `key`, from memory or disk. What comes from disk is in memory afterwards.
    pub async fn lookup(&self, key: &Key) -> Option<Arc<Variants>> {
        if let Some(found) = self.lookup_memory(key) {
            return Some(found);
        }
        self.0.tiers.disk.as_ref()?;
        let counters = &self.0.tiers.counters;
        let found = self.0.tiers.lookup_disk(key).await.and_then(|variants| self.unpurged(variants));
        if found.is_some() {
            counters.disk_hits.add(1)
        } else {
            counters.disk_misses.add(1)
        }
        found
    }

    /// Whether a body of this length is stored at all; one of unknown length is, until it grows too large.
    pub fn fits(&self, total: Option<u64>) -> bool {
        total.is_none_or(|total| total <= self.0.tiers.settings.object_bytes_max)
    }

    /// The region in whose log this node writes its purges.
    pub fn region(&self) -> &str {
        &self.0.tiers.settings.region
    }

    /// Begins an object. Lookup does not find it before [`commit`](Self::commit), but whoever has it can follow
    /// its body.
    pub fn begin(&self, new: NewObject) -> (Arc<Object>, BodyWriter) {
        let tiers = &self.0.tiers;
        let range = new.from..new.until.or(new.total).unwrap_or(u64::MAX);
        let (body, writer) = Body::arriving(tiers.new_id(), &new, range, tiers);
        (Arc::new(Object::new(new, body)), writer)
    }

    /// Makes an object findable, in the place of the variant it supersedes: the one of the same coding that
    /// the same requests select. Its disk record follows when the body, or the piece that was to be brought,
    /// is complete.
    pub async fn commit(&self, object: &Arc<Object>) {
        let beside = match self.0.tiers.memory.peek_head(&object.key) {
            Some(variants) => Some(variants),
            None => self.0.tiers.lookup_disk(&object.key).await,
        };
        let arriving = object.body.commit(object);
        object.set_unrecorded(!arriving && self.0.tiers.disk.is_some());
        self.0.tiers.put(object, beside);
        if !arriving {
            self.0.tiers.record(object).await;
        }
    }

    /// Gives a stored representation a newer head, after a 304: the body stays where it is. None when it was
    /// removed or replaced meanwhile: the 304 spoke of something that is no more.
    pub async fn freshen(&self, old: &Arc<Object>, head: StoredHead, stamp: Stamp) -> Option<Arc<Object>> {
        let is_of_this_body = |other: &Arc<Object>| other.body.id() == old.body.id() && !other.is_dropped();
        let is_there = || {
            let variants = self.0.tiers.memory.peek_head(&old.key);
            variants.is_some_and(|variants| variants.objects.iter().any(is_of_this_body))
        };
        // Another 304 may have given the same body its newer head already.
        if old.is_dropped() && !is_there() {
            return None;
        }
        let fresh = Arc::new(old.freshened(head, stamp));
        self.commit(&fresh).await;
        Some(fresh)
    }

    /// Forgets an object, in memory and on disk, before it returns. Readers of its body read on.
    pub async fn remove(&self, object: &Arc<Object>) {
        self.0.tiers.drop_from_memory(object);
        self.0.tiers.remove_record(object.key, object.body.id()).await;
        // A lookup may have brought it back from the index between the two.
        self.0.tiers.drop_from_memory(object);
    }

    /// The purges that are applied here, now. Take it before asking the origin.
    pub fn stamp(&self) -> Stamp {
        self.0.purges.stamp()
    }

    /// The purges that are applied here, whenever that changes.
    pub fn stamps(&self) -> watch::Receiver<Stamp> {
        self.0.purges.stamps()
    }

    /// What the logs came to beside purges, whenever that changes.
    pub fn catalog(&self) -> watch::Receiver<Arc<Catalog>> {
        self.0.purges.catalog()
    }

    /// Writes a change to the log of the own region, for a node that stands alone: durable, then applied, when this
    /// returns. With a `key` that is not 0 it is written once, however often it is asked for: the answer is the entry
    /// that was. A log that came from another node is not gone on with; a later life of it is begun. On an error
    /// nothing was applied. Once begun it is carried out even if the future is dropped.
    pub async fn write(&self, change: Change, key: u128, at_ms: UnixMs) -> Result<Entry, StoreError> {
        self.on_log(move |purges, index| purges.write(index, change, key, at_ms)).await
    }

    /// Applies what is new in a batch, as [`write`](Self::write) does; answers whether anything was. One sync for all
    /// its entries. A later life of a log takes the place of the present one, an earlier one is nothing new. Entries
    /// that the batch leaves out are stepped over where it says what they came to: what was fetched before them is
    /// revalidated from then on.
    pub async fn apply(&self, batch: Batch) -> Result<bool, StoreError> {
        self.on_log(move |purges, index| purges.apply(index, &batch)).await
    }

    /// What a node at these versions has not applied, as far as it is known here: a bounded part of it. To be
    /// asked again until nothing comes.
    pub async fn missing(&self, there: Stamp) -> Result<Vec<Batch>, StoreError> {
        self.on_log(move |purges, index| purges.missing(index, &there).map_err(StoreError::Unreadable)).await
    }

    /// The same of one log, for a node that has applied it up to `there`; none when it lacks nothing of it. The last
    /// entries of a log are in memory.
    pub async fn missing_of(
        &self,
        region: &Region,
        there: Option<Version>,
    ) -> Result<Option<Batch>, StoreError> {
        if let Some(answer) = self.0.purges.missing_in_memory(region, there) {
            return Ok(answer);
        }
        let region = region.clone();
        self.on_log(move |purges, index| {
            purges.missing_of(index, &region, there).map_err(StoreError::Unreadable)
        })
        .await
    }

    /// Where the entry stands that carries this key, and when it was proposed: of the last 65,536 that carry one in
    /// the present life of the region's log.
    pub fn find(&self, region: &Region, key: u128) -> Option<(Version, UnixMs)> {
        self.0.purges.find(region, key)
    }

    /// The entry of this name, if it is still kept here.
    pub async fn entry(&self, id: &EntryId) -> Result<Option<Entry>, StoreError> {
        let id = id.clone();
        self.on_log(move |purges, index| purges.entry(index, &id).map_err(StoreError::Unreadable)).await
    }

    async fn on_log<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Purges, &Index) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (tiers, purges) = (self.0.tiers.clone(), self.0.purges.clone());
        let work = move || work(&purges, &tiers.index);
        self.0.tasks.spawn_blocking(work).await.unwrap_or(Err(StoreError::Closed))
    }

    /// Whether a purge names the object. One integer comparison when none came since it was last asked.
    pub fn purged(&self, object: &Object) -> Purged {
        self.0.purges.check(object)
    }

    /// The same for what is not an object yet.
    pub fn purged_subject(&self, subject: Subject<'_>, stamp: &Versions) -> Purged {
        self.0.purges.check_subject(subject, stamp)
    }

    /// What is held, and what was done since the store was opened.
    pub fn stats(&self) -> Stats {
        let Inner { tiers, purges, .. } = &*self.0;
        let counters = &tiers.counters;
        Stats {
            memory_bytes: tiers.memory.bytes(),
            memory_entries: tiers.memory.entries(),
            memory_evictions: tiers.memory.evictions(),
            memory_hits: counters.memory_hits.get(),
            memory_misses: counters.memory_misses.get(),
            disk_hits: counters.disk_hits.get(),
            disk_misses: counters.disk_misses.get(),
            slices_from_memory: counters.slices_from_memory.get(),
            slices_from_disk: counters.slices_from_disk.get(),
            slices_damaged: counters.slices_damaged.get(),
            slices_reinserted: counters.slices_reinserted.get(),
            slices_evicted: counters.slices_evicted.get(),
            records_written: counters.records_written.get(),
            records_dropped: counters.records_dropped.get(),
            records_damaged: tiers.index.damaged(),
            disk_objects: tiers.index.objects_estimate(),
            disk_bytes: counters.disk_bytes.get(),
            segments: counters.segments.get(),
            segments_evicted: counters.segments_evicted.get(),
            disk_write_errors: counters.disk_write_errors.get(),
            index_problem: healer::problem(&tiers.index),
            index_reopened: tiers.index.reopened(),
            dirty_bytes: tiers.disk.as_ref().map_or(0, |disk| disk.dirty_bytes()),
            fills: counters.fills.get(),
            purge_selectors: purges.selectors(),
            purge_selectors_merged: purges.merged.get(),
            purge_log_entries: purges.entries(),
            purge_log_entries_dropped: purges.dropped.get(),
            versions: purges.stamp().as_ref().clone(),
        }
    }

    /// Waits until all that was queued for the disk before is written.
    pub async fn flush(&self) {
        let Some(disk) = &self.0.tiers.disk else { return };
        let (done, wait) = oneshot::channel();
        disk.send(Job::Flush(done)).await;
        let _ = wait.await;
    }

    /// Writes what is queued and stops the tasks. Objects that still arrive are not recorded.
    pub async fn close(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
        let tiers = self.0.tiers.clone();
        let flushed = tokio::task::spawn_blocking(move || tiers.index.flush()).await;
        if let Ok(Err(error)) = flushed {
            tracing::warn!(%error, "the index was not flushed; its log is replayed at the next start");
        }
    }

    /// Leaves out what is hard-purged. When nothing was purged lately this is one comparison per variant.
    fn unpurged(&self, variants: Arc<Variants>) -> Option<Arc<Variants>> {
        let is_gone = |object: &Arc<Object>| self.purged(object) == Purged::Hard;
        if !variants.objects.iter().any(is_gone) {
            return Some(variants);
        }
        let (gone, kept): (Vec<_>, Vec<_>) = variants.objects.iter().cloned().partition(is_gone);
        gone.iter().for_each(|object| self.0.tiers.drop_from_memory(object));
        (!kept.is_empty()).then(|| Arc::new(Variants::new(kept)))
    }
}

/// What a blocking thread opens.
struct Opened {
    settings: Settings,
    index: Index,
    life: Life,
    purges: Purges,
    /// None: bodies are kept in memory only.
    segments: Option<Segments>,
}

impl Opened {
    fn open(mut settings: Settings, now: UnixMs) -> Result<Self, OpenError> {
        settings.slice_bytes = settings.slice_bytes.clamp(SLICE_BYTES.0, SLICE_BYTES.1);
        let failed = |path: &std::path::Path| {
            let path = path.to_owned();
            move |source| OpenError::Directory { path, source }
        };
        std::fs::create_dir_all(&settings.dir).map_err(failed(&settings.dir))?;
        let index_dir = settings.dir.join("index");
        let index = Index::open(&index_dir)?;
        let life = index.begin_life()?;
        let oldest_ms = now.saturating_sub(settings.object_lifetime_max_ms);
        let restored = Purges::restore(&settings, &index, &life)
            .and_then(|purges| purges.sweep(&index, oldest_ms).map(|_| purges));
        let purges =
            restored.map_err(|error| OpenError::Damaged { path: index_dir, detail: error.to_string() })?;
        let segments = match disk::is_wanted(&settings) {
            true => {
                let dir = settings.dir.join("segments");
                Some(Segments::open(&dir, life.oldest_segment).map_err(failed(&dir))?)
            }
            false => None,
        };
        Ok(Self { settings, index, life, purges, segments })
    }
}
