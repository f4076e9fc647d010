//! Memory and disk together: how a key's variants change, and where a slice comes from.
//!
//! A key's variants are changed under the lock of its stripe. A stripe counts its changes, so that what was
//! read from the index before a change is not put into memory after it.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;
use starling_proto::{
    Key,
    purge::{Stamp, Versions},
    ring::Hop,
};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    body::{Body, Extents},
    disk::{Disk, Job, SharedIndex},
    errors::IndexError,
    memory::{Memory, SliceBuf},
    object::{NewObject, Object, Variants},
    record::{Place, Record},
    settings::Settings,
    stats::Counters,
};

const STRIPES: usize = 64;

/// Small bodies that one lookup brings along with their heads, in bytes.
const ALONG_BYTES_MAX: u64 = 1 << 20;

/// Stamps that objects from disk may share. Between two purges there is one, so these are few.
const STAMPS_MAX: usize = 64;

/// How often a lookup reads the index again because the key changed meanwhile.
const LOOKUP_TRIES: usize = 3;

/// Bytes of a fill that stay for its followers while the disk does not keep them: the least and the most.
const WINDOW_BYTES: (u64, u64) = (1 << 20, 4 << 20);

/// What store, bodies and the disk writer share.
pub(super) struct Tiers {
    pub settings: Settings,
    pub memory: Memory,
    /// None: bodies are kept in memory only.
    pub disk: Option<Arc<Disk>>,
    pub index: SharedIndex,
    pub counters: Counters,
    /// Slices one body may be cut into: bounds what tiny ranges can cost.
    pub slices_max: usize,
    stripes: Vec<Mutex<u64>>,
    next_id: AtomicU64,
    /// Names and stamps that objects from disk share.
    shared: Mutex<Interned>,
}

#[derive(Default)]
struct Interned {
    services: VecDeque<Arc<str>>,
    stamps: VecDeque<Stamp>,
}

impl std::fmt::Debug for Tiers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tiers").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Tiers {
    pub fn new(settings: Settings, index: SharedIndex, disk: Option<Arc<Disk>>, first_id: u64) -> Self {
        let slices = settings.object_bytes_max / u64::from(settings.slice_bytes.max(1));
        Self {
            memory: Memory::new(&settings),
            disk,
            index,
            counters: Counters::default(),
            slices_max: (2 * slices).clamp(1 << 10, 1 << 17) as usize,
            stripes: (0..STRIPES).map(|_| Mutex::new(0)).collect(),
            next_id: AtomicU64::new(first_id),
            shared: Mutex::default(),
            settings,
        }
    }

    /// A name for a new body that none had before, here and in memory of a former life.
    pub fn new_id(&self) -> u64 {
        self.next_id.fetch_add(1, Relaxed)
    }

    /// The variants of `key` as the index knows them; they are in memory afterwards.
    pub async fn lookup_disk(self: &Arc<Self>, key: &Key) -> Option<Arc<Variants>> {
        self.disk.as_ref()?;
        for _ in 0..LOOKUP_TRIES {
            let before = *self.stripe(key).lock();
            let tiers = self.clone();
            let wanted = *key;
            let loaded = tokio::task::spawn_blocking(move || tiers.load(&wanted)).await.ok()?;
            let loaded = loaded.inspect_err(|error| match error {
                // It was said once, and is in the node's status.
                IndexError::Failing(_) => tracing::debug!(%error, %key, "lookup failed"),
                _ => tracing::warn!(%error, %key, "lookup failed"),
            });
            let loaded = loaded.ok()?;
            let stripe = self.stripe(key).lock();
            if let Some(variants) = self.memory.peek_head(key) {
                return Some(variants);
            }
            if *stripe == before {
                let variants = (!loaded.is_empty()).then(|| Arc::new(Variants::new(loaded)))?;
                self.memory.put_head(*key, variants.clone());
                return Some(variants);
            }
        }
        None
    }

    /// Reads the records of `key`, and the small bodies with them; blocks.
    fn load(self: &Arc<Self>, key: &Key) -> Result<Vec<Arc<Object>>, IndexError> {
        let mut along = ALONG_BYTES_MAX;
        let mut records = self.index.variants(key)?;
        records.sort_by_key(|(_, record)| std::cmp::Reverse(record.head.response_ms));
        records.truncate(self.settings.variants_max.max(1));
        Ok(records.into_iter().filter_map(|(id, record)| self.revive(*key, id, record, &mut along)).collect())
    }

    fn revive(
        self: &Arc<Self>,
        key: Key,
        id: u64,
        record: Record<'static>,
        along: &mut u64,
    ) -> Option<Arc<Object>> {
        let body = match (&record.slices[..], record.total) {
            ([], Some(0)) => Body::whole(id, bytes::Bytes::new(), self),
            ([slice], Some(total)) if u64::from(slice.len) == total && total <= *along => {
                let disk = self.disk.as_ref()?;
                match disk.read_blocking(id, 0, slice.len, slice.place) {
                    Ok(bytes) => {
                        *along -= total;
                        self.counters.slices_from_disk.add(1);
                        Body::whole(id, bytes.into(), self)
                    }
                    Err(error) => {
                        self.damaged(id, 0, &error);
                        if let Err(error) = self.index.delete(&key, id) {
                            tracing::warn!(%error, %key, "a record whose body is damaged stays for now");
                        }
                        return None;
                    }
                }
            }
            (slices, total) => Body::sparse(id, Extents::stored(total, slices), self, false),
        };
        let (service, stamp) = self.share(&record.service, record.stamp.into_owned());
        let new = NewObject {
            key,
            key_text: record.key_text.into_owned(),
            service,
            url: record.url.into_owned(),
            head: record.head.into_owned(),
            stamp,
            total: record.total,
            from: 0,
            until: None,
            coding: record.coding,
            fed_by: Hop::Origin,
            transient: false,
        };
        let object = Arc::new(Object::new(new, body));
        // So that who fills its gaps has the record written again.
        object.body.commit(&object);
        Some(object)
    }

    /// One copy of what many objects have in common.
    fn share(&self, service: &str, stamp: Versions) -> (Arc<str>, Stamp) {
        let mut shared = self.shared.lock();
        let service = match shared.services.iter().find(|known| &***known == service) {
            Some(known) => known.clone(),
            None => push_bounded(&mut shared.services, service.into()),
        };
        let stamp = match shared.stamps.iter().find(|known| ***known == stamp) {
            Some(known) => known.clone(),
            None => push_bounded(&mut shared.stamps, Arc::new(stamp)),
        };
        (service, stamp)
    }

    /// Puts an object among its key's variants, in the place of those it supersedes. `beside`: the variants
    /// known to be there when memory has none.
    pub fn put(&self, object: &Arc<Object>, beside: Option<Arc<Variants>>) {
        let mut stripe = self.stripe(&object.key).lock();
        *stripe += 1;
        let others = self.memory.peek_head(&object.key).or(beside);
        let mut objects = vec![object.clone()];
        for other in others.iter().flat_map(|variants| &variants.objects) {
            if Arc::ptr_eq(other, object) {
                continue;
            }
            if !other.is_superseded_by(object) {
                objects.push(other.clone());
                continue;
            }
            other.set_dropped();
            if other.body.id() != object.body.id() {
                self.forget_slices(&other.body);
            }
        }
        let kept_max = self.settings.variants_max.max(1);
        let variants = loop {
            let variants = Variants::new(objects);
            let fits = variants.weight() <= self.memory.entry_bytes_max();
            if variants.objects.len() == 1 || (fits && variants.objects.len() <= kept_max) {
                break variants;
            }
            objects = variants.objects;
            // The oldest goes, but never the one that is being put.
            let last = objects.iter().rposition(|other| !Arc::ptr_eq(other, object));
            last.map(|last| objects.remove(last));
        };
        self.memory.put_head(object.key, Arc::new(variants));
    }

    /// Weighs a key's variants anew, after a body among them took its last form.
    pub fn settle(&self, object: &Arc<Object>) {
        object.body.settle();
        let mut stripe = self.stripe(&object.key).lock();
        if let Some(variants) = self.memory.peek_head(&object.key)
            && variants.objects.iter().any(|other| Arc::ptr_eq(other, object))
        {
            *stripe += 1;
            self.memory.put_head(object.key, Arc::new(Variants::new(variants.objects.clone())));
        }
    }

    /// A fill of a body brought all it was to bring. `committed`: the object lookup finds it under.
    pub async fn body_arrived(&self, body: &Body, committed: Option<Arc<Object>>) {
        match committed {
            Some(object) => self.record(&object).await,
            None if self.disk.is_none() || body.is_transient() => drop(body.settle()),
            None => {}
        }
    }

    /// Has the object's record written; memory keeps the object until that is done.
    pub async fn record(&self, object: &Arc<Object>) {
        match &self.disk {
            Some(disk) => {
                object.set_unrecorded(true);
                if !disk.send(Job::Record(object.clone())).await {
                    object.set_unrecorded(false);
                }
            }
            None => self.settle(object),
        }
    }

    /// Takes an object out of memory, as if it had never been committed.
    pub fn drop_from_memory(&self, object: &Object) {
        object.set_dropped();
        let mut stripe = self.stripe(&object.key).lock();
        *stripe += 1;
        let Some(variants) = self.memory.peek_head(&object.key) else { return };
        let (gone, kept): (Vec<_>, Vec<_>) =
            variants.objects.iter().cloned().partition(|other| other.body.id() == object.body.id());
        for other in gone {
            other.set_dropped();
            self.forget_slices(&other.body);
        }
        if kept.is_empty() {
            self.memory.remove_head(&object.key);
        } else {
            self.memory.put_head(object.key, Arc::new(Variants::new(kept)));
        }
    }

    /// Deletes a record; done when this returns.
    pub async fn remove_record(&self, key: Key, body: u64) {
        let Some(disk) = &self.disk else { return };
        let (done, wait) = oneshot::channel();
        disk.send(Job::Remove { key, body, done: Some(done) }).await;
        let _ = wait.await;
        // A lookup that read the record before it was deleted must not put it into memory after.
        *self.stripe(&key).lock() += 1;
    }

    /// The body of an object, if memory has the object.
    pub fn body_in_memory(&self, key: &Key, id: u64) -> Option<Body> {
        let variants = self.memory.peek_head(key)?;
        variants.objects.iter().find(|object| object.body.id() == id).map(|object| object.body.clone())
    }

    fn forget_slices(&self, body: &Body) {
        for start in body.slice_starts() {
            self.memory.remove_slice(body.id(), start);
        }
    }

    /// A slice that its body does not hold: from memory, from whoever has it, or from disk.
    pub async fn slice(
        &self,
        body: u64,
        start: u64,
        len: u32,
        live: Weak<SliceBuf>,
        place: Option<Place>,
    ) -> Option<Arc<SliceBuf>> {
        if let Some(slice) = self.memory.slice(body, start) {
            self.counters.slices_from_memory.add(1);
            return Some(slice);
        }
        if let Some(slice) = live.upgrade() {
            self.counters.slices_from_memory.add(1);
            return Some(slice);
        }
        let (disk, place) = (self.disk.as_ref()?, place?);
        let load = async {
            let slice = disk.read(body, start, len, place).await?;
            self.counters.slices_from_disk.add(1);
            Ok(slice)
        };
        match self.memory.slice_or(body, start, load).await {
            Ok(slice) => slice,
            Err(error) => {
                self.damaged(body, start, &error);
                None
            }
        }
    }

    fn damaged(&self, body: u64, start: u64, error: &super::disk::SliceError) {
        self.counters.slices_damaged.add(1);
        tracing::debug!(body, start, %error, "a slice on disk is dropped");
    }

    /// Room for a slice that is to be written. None: it will stay in memory.
    pub async fn dirty(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        self.disk.as_ref()?.dirty(bytes).await
    }

    pub async fn write_slice(
        &self,
        body: &Body,
        start: u64,
        buf: Arc<SliceBuf>,
        keep: bool,
        permit: OwnedSemaphorePermit,
    ) {
        if let Some(disk) = &self.disk {
            disk.send(Job::Slice { body: body.clone(), start, buf, keep, permit }).await;
        }
    }

    /// How many slices each fill keeps for its followers while the disk does not.
    pub fn window_slices(&self) -> usize {
        let share = self.settings.dirty_bytes_max / self.counters.fills.get().max(1);
        let bytes = share.clamp(WINDOW_BYTES.0, WINDOW_BYTES.1);
        (bytes / u64::from(self.settings.slice_bytes.max(1))).max(2) as usize
    }

    fn stripe(&self, key: &Key) -> &Mutex<u64> {
        &self.stripes[usize::from(key.as_bytes()[15]) % STRIPES]
    }
}

/// Adds `value`; the oldest goes when there are too many.
fn push_bounded<T: Clone>(list: &mut VecDeque<T>, value: T) -> T {
    if list.len() == STAMPS_MAX {
        list.pop_front();
    }
    list.push_back(value.clone());
    value
}
