//! The index: what is stored and where, and the logs of the regions, in RocksDB.
//!
//! | column family | key | value |
//! | --- | --- | --- |
//! | `objects` | cache key, body id | [`Record`] |
//! | `segments` | segment, cache key, body id | nothing: whose slices lie in the segment |
//! | `purges` | length and name of the log, epoch, index | [`Entry`] |
//! | `meta` | a name | see [`logs`] |
//!
//! A value of another schema is never misread: a record is then absent, and an index of the versions whose logs
//! held nothing but purges begins empty.
//!
//! Every call here blocks: call from a blocking thread. A record that does not decode is deleted and counted
//! as absent. Memory is small and bounded: a 16 MiB cache holds data, index and filter blocks, and all write
//! buffers together 16 MiB.
//!
//! The first write that fails is the last one, until the index is opened anew: see [`handle`].

mod handle;
mod logs;

use std::path::Path;

use rocksdb::{
    BlockBasedOptions, Cache, DBCompressionType, Direction, IteratorMode, Options, ReadOptions,
    SliceTransform, WriteBatch,
};
use starling_proto::Key;
use tokio::sync::watch;

use super::{
    codec,
    errors::{IndexError, OpenError},
    record::Record,
    stats::Counter,
};

const OBJECTS: &str = "objects";
const SEGMENTS: &str = "segments";
const PURGES: &str = "purges";
const META: &str = "meta";
const FAMILIES: [&str; 4] = [OBJECTS, SEGMENTS, PURGES, META];

const OLDEST_SEGMENT: &[u8] = b"oldest_segment";

/// Bytes of a key and a body id.
const OBJECT_KEY_BYTES: usize = 24;

pub(super) use handle::Failure;
use handle::{Handle, Opened, Reading};
pub(super) use logs::{Advance, Known, Life};

pub(super) struct Index {
    handle: Handle,
    damaged: Counter,
}

/// A batch of records, and where the next begins.
pub(super) type Page = (Vec<(Key, u64, Record<'static>)>, Option<Vec<u8>>);

impl Index {
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Ok(Self { handle: Handle::open(path)?, damaged: Counter::default() })
    }

    /// The records of all variants of `key`.
    pub fn variants(&self, key: &Key) -> Result<Vec<(u64, Record<'static>)>, IndexError> {
        let (db, mut found) = (self.db()?, Vec::new());
        for item in db.prefix_iterator_cf(db.family(OBJECTS), key.as_bytes()) {
            let (name, value) = item?;
            match parse_name(&name) {
                Some((of, id)) if of == *key => {
                    found.extend(self.decode(&db, &name, &value)?.map(|record| (id, record)));
                }
                _ => break,
            }
        }
        Ok(found)
    }

    pub fn record(&self, key: &Key, id: u64) -> Result<Option<Record<'static>>, IndexError> {
        let (db, name) = (self.db()?, object_name(key, id));
        match db.get_pinned_cf(db.family(OBJECTS), name)? {
            Some(value) => self.decode(&db, &name, &value),
            None => Ok(None),
        }
    }

    /// Writes a record and takes those in `gone` away, at once.
    pub fn put(&self, key: &Key, id: u64, record: &Record<'_>, gone: &[u64]) -> Result<(), IndexError> {
        let (db, mut batch) = (self.db()?, WriteBatch::default());
        for other in gone {
            batch.delete_cf(db.family(OBJECTS), object_name(key, *other));
        }
        let name = object_name(key, id);
        batch.put_cf(db.family(OBJECTS), name, codec::encode(record)?);
        let mut last = None;
        for segment in record.slices.iter().map(|slice| slice.place.segment) {
            if last.replace(segment) != Some(segment) {
                batch.put_cf(db.family(SEGMENTS), [&segment.to_be_bytes()[..], &name].concat(), []);
            }
        }
        self.handle.write(&db, batch, false)
    }

    pub fn delete(&self, key: &Key, id: u64) -> Result<(), IndexError> {
        let db = self.db()?;
        self.handle.change(|| db.delete_cf(db.family(OBJECTS), object_name(key, id)))
    }

    /// Up to `count` records from `from` on, in the order of their keys.
    pub fn page(&self, from: &[u8], count: usize) -> Result<Page, IndexError> {
        let (db, mut records) = (self.db()?, Vec::new());
        let mut options = ReadOptions::default();
        options.set_total_order_seek(true);
        let mode = IteratorMode::From(from, Direction::Forward);
        for (seen, item) in db.iterator_cf_opt(db.family(OBJECTS), options, mode).enumerate() {
            let (name, value) = item?;
            if seen == count {
                return Ok((records, Some(name.into_vec())));
            }
            let Some((key, id)) = parse_name(&name) else { continue };
            records.extend(self.decode(&db, &name, &value)?.map(|record| (key, id, record)));
        }
        Ok((records, None))
    }

    /// Whose slices lie, or lay, in a segment.
    pub fn in_segment(&self, segment: u32) -> Result<Vec<(Key, u64)>, IndexError> {
        let (db, mut found) = (self.db()?, Vec::new());
        for item in db.prefix_iterator_cf(db.family(SEGMENTS), segment.to_be_bytes()) {
            let (name, _) = item?;
            let Some(rest) = name.strip_prefix(&segment.to_be_bytes()[..]) else { break };
            found.extend(parse_name(rest));
        }
        Ok(found)
    }

    /// Nothing names this segment, or one before it, any more.
    pub fn forget_segment(&self, segment: u32) -> Result<(), IndexError> {
        let next = segment.saturating_add(1);
        let (db, mut batch) = (self.db()?, WriteBatch::default());
        batch.delete_range_cf(db.family(SEGMENTS), segment.to_be_bytes(), next.to_be_bytes());
        batch.put_cf(db.family(META), OLDEST_SEGMENT, codec::encode(&next)?);
        self.handle.write(&db, batch, false)
    }

    /// Never waits; 0 while the index is opened anew.
    pub fn objects_estimate(&self) -> u64 {
        let Some(db) = self.handle.db_now() else { return 0 };
        let property = "rocksdb.estimate-num-keys";
        db.property_int_value_cf(db.family(OBJECTS), property).ok().flatten().unwrap_or_default()
    }

    pub fn damaged(&self) -> u64 {
        self.damaged.get()
    }

    /// Why nothing is written since a write failed, whenever that changes.
    pub fn failure(&self) -> watch::Receiver<Option<Failure>> {
        self.handle.failure()
    }

    /// How often it was opened anew.
    pub fn reopened(&self) -> u64 {
        self.handle.reopened.get()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.handle.path
    }

    /// As if a write had failed.
    #[cfg(test)]
    pub fn fail(&self) {
        self.handle.fail();
    }

    #[cfg(test)]
    pub fn put_raw(&self, key: &Key, id: u64, value: &[u8]) {
        let db = self.db().expect("is open");
        db.put_cf(db.family(OBJECTS), object_name(key, id), value).expect("writes");
    }

    /// Writes all that is buffered, so that the next start has no log to replay.
    pub fn flush(&self) -> Result<(), IndexError> {
        let db = self.db()?;
        self.handle.change(|| FAMILIES.into_iter().try_for_each(|name| db.flush_cf(db.family(name))))
    }

    fn decode(&self, db: &Opened, name: &[u8], value: &[u8]) -> Result<Option<Record<'static>>, IndexError> {
        match codec::decode(value) {
            Ok(record) => Ok(Some(record)),
            Err(error) => {
                tracing::debug!(%error, "a record that cannot be read is deleted");
                self.damaged.add(1);
                self.handle.change(|| db.delete_cf(db.family(OBJECTS), name))?;
                Ok(None)
            }
        }
    }

    fn db(&self) -> Result<Reading<'_>, IndexError> {
        self.handle.db()
    }
}

fn object_name(key: &Key, id: u64) -> [u8; OBJECT_KEY_BYTES] {
    let mut name = [0; OBJECT_KEY_BYTES];
    name[..16].copy_from_slice(key.as_bytes());
    name[16..].copy_from_slice(&id.to_be_bytes());
    name
}

fn parse_name(name: &[u8]) -> Option<(Key, u64)> {
    let (key, id) = name.split_first_chunk::<16>()?;
    Some((Key::from_bytes(*key), u64::from_be_bytes(id.try_into().ok()?)))
}

fn db_options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_db_write_buffer_size(16 << 20);
    options.set_max_total_wal_size(32 << 20);
    options.set_max_open_files(128);
    options.set_max_background_jobs(2);
    options.set_max_log_file_size(1 << 20);
    options.set_keep_log_file_num(2);
    options.set_skip_stats_update_on_db_open(true);
    options
}

fn family_options(name: &str, cache: &Cache) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    blocks.set_bloom_filter(10.0, false);
    let mut options = Options::default();
    options.set_block_based_table_factory(&blocks);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(8 << 20);
    options.set_max_write_buffer_number(2);
    match name {
        OBJECTS => {
            options.set_prefix_extractor(SliceTransform::create_fixed_prefix(16));
            options.set_memtable_prefix_bloom_ratio(0.02);
        }
        SEGMENTS => options.set_prefix_extractor(SliceTransform::create_fixed_prefix(4)),
        _ => {}
    }
    options
}
