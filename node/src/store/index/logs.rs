//! The logs of the regions, and what they came to, as the index keeps them.
//!
//! | name in `meta` | value |
//! | --- | --- |
//! | `life` | which start this is |
//! | `applied` | [`Versions`]: how far each log is applied |
//! | `floors` | [`Versions`]: up to where entries of a log were stepped over |
//! | `own` | the epoch of the log that this node began itself, standing alone |
//! | `remains` | [`Remains`]: what is left of those that were dropped before their time |
//! | `shields/` and a region | who shields it, and the entry that named them |
//! | `service/` and a name | the last word on a service |
//! | `oldest_segment` | the first segment that may be named |
//!
//! Entries and all that applying them changes are one synced batch: after a crash all of it is there, or nothing.
//! A value that cannot be read is an error, not a miss: without it purged content could come back.

use rocksdb::{Direction, IteratorMode, WriteBatch};
use starling_proto::{
    UnixMs,
    purge::{Base, Catalog, Change, Entry, Region, ServiceChange, Shields, Version, Versions},
};

use super::{
    super::{
        codec,
        errors::{IndexError, OpenError},
        remains::Remains,
    },
    FAMILIES, Index, META, OLDEST_SEGMENT, Opened, PURGES, handle,
};

const LIFE: &[u8] = b"life";
const APPLIED: &[u8] = b"applied";
const FLOORS: &[u8] = b"floors";
const OWN: &[u8] = b"own";
const REMAINS: &[u8] = b"remains";
const SHIELDS: &[u8] = b"shields/";
const SERVICE: &[u8] = b"service/";

/// After every name there is: a name begins with a key, a number or a word.
const PAST_ALL: [u8; 64] = [0xff; 64];

/// What the index says about the time before this start.
pub(in super::super) struct Life {
    /// Which start this is; no two of one data directory have the same.
    pub number: u64,
    pub applied: Versions,
    pub floors: Versions,
    /// The epoch of the log that this node began itself, if it did.
    pub own: Option<u64>,
    pub catalog: Catalog,
    /// What is left of entries that were dropped before their time.
    pub remains: Remains,
    pub oldest_segment: u32,
}

/// One step forward in one log.
pub(in super::super) struct Advance<'a> {
    pub region: &'a Region,
    /// The place the entries follow.
    pub after: Version,
    /// What was stepped over came to this, if something was.
    pub base: Option<&'a Base>,
    pub entries: &'a [Entry],
    /// This node begins the log with it.
    pub begins: bool,
}

/// What the logs came to, as it was acknowledged: what an index has to say that is opened anew.
pub(in super::super) struct Known<'a> {
    pub applied: &'a Versions,
    pub floors: &'a Versions,
    pub own: Option<u64>,
    pub catalog: &'a Catalog,
    pub remains: &'a Remains,
}

/// The beginning of a log that was dropped.
#[derive(Default)]
pub(in super::super) struct Dropped {
    /// How many entries went.
    pub entries: u64,
    /// How many of them were not old enough.
    pub early: u64,
    /// The last of them.
    pub last: Option<Version>,
}

impl Advance<'_> {
    /// Where the log stands after it.
    pub fn last(&self) -> Version {
        self.entries.last().map_or(self.after, |entry| entry.version)
    }
}

impl Index {
    /// Begins a new life: counts it, and reads what the ones before left, but for the entries.
    pub fn begin_life(&self) -> Result<Life, OpenError> {
        self.try_begin_life()
            .map_err(|error| OpenError::Damaged { path: self.path().to_owned(), detail: error.to_string() })
    }

    fn try_begin_life(&self) -> Result<Life, IndexError> {
        let db = &*self.db()?;
        self.leave_former_schema(db)?;
        let number = meta::<u64>(db, LIFE)?.unwrap_or_default() + 1;
        let life = Life {
            number,
            applied: meta(db, APPLIED)?.unwrap_or_default(),
            floors: meta(db, FLOORS)?.unwrap_or_default(),
            own: meta(db, OWN)?,
            catalog: catalog(db)?,
            remains: meta(db, REMAINS)?.unwrap_or_default(),
            oldest_segment: meta(db, OLDEST_SEGMENT)?.unwrap_or_default(),
        };
        let mut batch = WriteBatch::default();
        batch.put_cf(db.family(META), LIFE, codec::encode(&number)?);
        self.handle.write(db, batch, true)?;
        Ok(life)
    }

    /// All entries that are kept: log by log, each in its order.
    pub fn each_entry(&self, mut take: impl FnMut(Entry)) -> Result<(), IndexError> {
        let db = self.db()?;
        for item in db.iterator_cf(db.family(PURGES), IteratorMode::Start) {
            take(codec::decode(&item?.1)?);
        }
        Ok(())
    }

    /// Makes entries durable, and with them how far the logs are `applied` and what they came to: all of it is on
    /// disk when this returns, or nothing of it is used. `floors` and `catalog` are given where they are other than
    /// before.
    pub fn advance(
        &self,
        advance: &Advance<'_>,
        applied: &Versions,
        floors: Option<&Versions>,
        catalog: Option<&Catalog>,
    ) -> Result<(), IndexError> {
        let (db, mut batch) = (&*self.db()?, WriteBatch::default());
        for entry in advance.entries {
            let name = entry_name(&entry.region, entry.version);
            batch.put_cf(db.family(PURGES), name, codec::encode(entry)?);
        }
        batch.put_cf(db.family(META), APPLIED, codec::encode(applied)?);
        if let Some(floors) = floors {
            batch.put_cf(db.family(META), FLOORS, codec::encode(floors)?);
        }
        if advance.begins {
            batch.put_cf(db.family(META), OWN, codec::encode(&advance.after.epoch)?);
        }
        if let Some(catalog) = catalog {
            put_catalog(db, &mut batch, advance, catalog)?;
        }
        self.handle.write(db, batch, true)
    }

    /// Takes an index into use again that could not be written: opens it anew, and has it say what is applied, no
    /// more and no less. An error leaves it closed, or as it was: to be called again, until the disk is well.
    pub fn reopen(&self, known: &Known<'_>) -> Result<(), IndexError> {
        self.handle.reopen(|db| settle(db, known))
    }

    /// Entries of a log from `from` on, in its epoch and without a gap: up to `count`, and none after `text_bytes`
    /// of text.
    pub fn entries_from(
        &self,
        region: &Region,
        from: Version,
        count: usize,
        text_bytes: usize,
    ) -> Result<Vec<Entry>, IndexError> {
        let first = entry_name(region, from);
        let log = &first[..first.len() - size_of::<u64>()];
        let (db, mut found, mut bytes) = (self.db()?, Vec::<Entry>::new(), 0);
        let mode = IteratorMode::From(&first, Direction::Forward);
        for item in db.iterator_cf(db.family(PURGES), mode).take(count) {
            let (name, value) = item?;
            if !name.starts_with(log) || bytes >= text_bytes {
                break;
            }
            let entry: Entry = codec::decode(&value)?;
            if found.last().is_some_and(|last| last.version.index + 1 != entry.version.index) {
                // What is between was stepped over here.
                break;
            }
            bytes += entry.text_bytes();
            found.push(entry);
        }
        Ok(found)
    }

    pub fn entry(&self, region: &Region, version: Version) -> Result<Option<Entry>, IndexError> {
        let db = self.db()?;
        let value = db.get_pinned_cf(db.family(PURGES), entry_name(region, version))?;
        Ok(value.map(|value| codec::decode(&value)).transpose()?)
    }

    /// Drops the beginning of a region's log, so that what is left has no new gap: entries committed before
    /// `oldest_ms`, and `excess` at least. An entry without a time (0) is old when a later one is. `remains` takes what has to be remembered of those that were not old
    /// enough, and is written with it.
    pub fn drop_entries(
        &self,
        region: &Region,
        oldest_ms: UnixMs,
        excess: u64,
        remains: &mut Remains,
    ) -> Result<Dropped, IndexError> {
        let (db, first) = (&*self.db()?, region_name(region));
        let mut dropped = Dropped::default();
        // Entries without a time that follow those: they are as old as what comes after them.
        let mut undated = 0;
        let mut end = None;
        for item in db.iterator_cf(db.family(PURGES), IteratorMode::From(&first, Direction::Forward)) {
            let (name, value) = item?;
            if !name.starts_with(&first) {
                break;
            }
            let entry: Entry = codec::decode(&value)?;
            if dropped.entries + undated >= excess {
                if entry.at_ms == 0 {
                    undated += 1;
                    continue;
                }
                if entry.at_ms >= oldest_ms {
                    break;
                }
            } else if entry.at_ms >= oldest_ms {
                dropped.early += 1;
                remains.remember(&entry);
            }
            dropped.entries += undated + 1;
            undated = 0;
            dropped.last = Some(entry.version);
            // The name right after it.
            end = Some([&name[..], &[0]].concat());
        }
        if let Some(end) = end {
            let mut batch = WriteBatch::default();
            batch.delete_range_cf(db.family(PURGES), first, end);
            batch.put_cf(db.family(META), REMAINS, codec::encode(&*remains)?);
            self.handle.write(db, batch, false)?;
        }
        Ok(dropped)
    }

    /// An index of the versions whose logs held nothing but purges: its entries cannot be read by this one, and no
    /// object may outlive the purges that name it, so both go, at once.
    fn leave_former_schema(&self, db: &Opened) -> Result<(), IndexError> {
        let Some(life) = db.get_cf(db.family(META), LIFE)?.filter(|life| codec::is_former(life)) else {
            return Ok(());
        };
        tracing::warn!(path = %self.path().display(), "an index of an earlier version: the cache begins empty");
        let number: u64 = codec::decode_former(&life)?;
        let oldest = db.get_cf(db.family(META), OLDEST_SEGMENT)?;
        let oldest: Option<u32> = oldest.map(|oldest| codec::decode_former(&oldest)).transpose()?;
        let mut batch = WriteBatch::default();
        for family in FAMILIES {
            batch.delete_range_cf(db.family(family), &[][..], &PAST_ALL[..]);
        }
        batch.put_cf(db.family(META), LIFE, codec::encode(&number)?);
        batch.put_cf(db.family(META), OLDEST_SEGMENT, codec::encode(&oldest.unwrap_or_default())?);
        self.handle.write(db, batch, true)
    }

    #[cfg(test)]
    pub fn put_meta_raw(&self, name: &str, value: &[u8]) {
        let db = self.db().expect("is open");
        db.put_cf(db.family(META), name, value).expect("writes");
    }
}

/// Makes an index that was opened anew say what is applied, no more and no less: on disk when this returns.
fn settle(db: &Opened, known: &Known<'_>) -> Result<(), IndexError> {
    let there: Versions = meta(db, APPLIED)?.unwrap_or_default();
    let lacks = |(region, at): &(&Region, Version)| there.get(region).is_none_or(|there| there < *at);
    if let Some((region, at)) = known.applied.iter().find(lacks) {
        // It was synced, so the disk did not do what it said. The next start finds a log that is whole, and fetches
        // the rest from others.
        return Err(IndexError::Lost { region: region.clone(), at });
    }
    let mut batch = WriteBatch::default();
    for (region, _) in there.iter() {
        // A write that failed may have come as far as the disk, and what was refused may be said anew otherwise.
        let refused = match known.applied.get(region) {
            Some(at) => entry_name(region, Version { index: at.index + 1, ..at }),
            None => region_name(region),
        };
        batch.delete_range_cf(db.family(PURGES), refused, past(&region_name(region)));
    }
    for prefix in [SERVICE, SHIELDS] {
        batch.delete_range_cf(db.family(META), prefix.to_vec(), past(prefix));
    }
    for service in known.catalog.services() {
        put_service(db, &mut batch, service)?;
    }
    for (region, version, shields) in known.catalog.shields() {
        put_shields(db, &mut batch, region, version, shields)?;
    }
    match known.own {
        Some(epoch) => batch.put_cf(db.family(META), OWN, codec::encode(&epoch)?),
        None => batch.delete_cf(db.family(META), OWN),
    }
    batch.put_cf(db.family(META), APPLIED, codec::encode(known.applied)?);
    batch.put_cf(db.family(META), FLOORS, codec::encode(known.floors)?);
    batch.put_cf(db.family(META), REMAINS, codec::encode(known.remains)?);
    Ok(handle::write(db, batch, true)?)
}

/// Writes what an advance changed in the catalog, as it stands after it.
fn put_catalog(
    db: &Opened,
    batch: &mut WriteBatch,
    advance: &Advance<'_>,
    catalog: &Catalog,
) -> Result<(), IndexError> {
    let of_base = advance.base.iter().flat_map(|base| &base.services);
    let of_entries = advance.entries.iter().filter_map(|entry| match &entry.change {
        Change::Service(change) => Some(change),
        _ => None,
    });
    for change in of_base.chain(of_entries) {
        if let Some(last) = catalog.service(&change.name) {
            put_service(db, batch, last)?;
        }
    }
    let of_region = catalog.shields().find(|(region, ..)| *region == advance.region);
    match of_region {
        Some((region, version, shields)) => put_shields(db, batch, region, version, shields),
        None => Ok(()),
    }
}

fn put_service(db: &Opened, batch: &mut WriteBatch, service: &ServiceChange) -> Result<(), IndexError> {
    let name = [SERVICE, service.name.as_bytes()].concat();
    batch.put_cf(db.family(META), name, codec::encode(service)?);
    Ok(())
}

fn put_shields(
    db: &Opened,
    batch: &mut WriteBatch,
    region: &Region,
    version: Version,
    shields: &Shields,
) -> Result<(), IndexError> {
    let name = [SHIELDS, region.as_str().as_bytes()].concat();
    batch.put_cf(db.family(META), name, codec::encode(&(version, shields))?);
    Ok(())
}

fn catalog(db: &Opened) -> Result<Catalog, IndexError> {
    let mut catalog = Catalog::default();
    for (name, value) in named(db, SERVICE)? {
        let services = vec![codec::decode::<ServiceChange>(&value)?];
        // Services are of no region; the name is not looked at.
        catalog.adopt(&Region::new(&name), &Base { shields: None, services });
    }
    for (name, value) in named(db, SHIELDS)? {
        let shields = Some(codec::decode::<(Version, Shields)>(&value)?);
        catalog.adopt(&Region::new(&name), &Base { shields, services: Vec::new() });
    }
    Ok(catalog)
}

/// The values in `meta` whose names begin so, with the rest of their names.
fn named(db: &Opened, prefix: &[u8]) -> Result<Vec<(String, Vec<u8>)>, IndexError> {
    let mut found = Vec::new();
    let mode = IteratorMode::From(prefix, Direction::Forward);
    for item in db.iterator_cf(db.family(META), mode) {
        let (name, value) = item?;
        let Some(rest) = name.strip_prefix(prefix) else { break };
        found.push((String::from_utf8_lossy(rest).into_owned(), value.into_vec()));
    }
    Ok(found)
}

fn meta<T: serde::de::DeserializeOwned>(db: &Opened, name: &[u8]) -> Result<Option<T>, IndexError> {
    let value = db.get_cf(db.family(META), name)?;
    Ok(value.map(|value| codec::decode(&value)).transpose()?)
}

/// Entries of one log lie together, in their order; a later life after an earlier one.
fn entry_name(region: &Region, version: Version) -> Vec<u8> {
    [&region_name(region)[..], &version.epoch.to_be_bytes(), &version.index.to_be_bytes()].concat()
}

/// With what the names of all entries of a region begin.
fn region_name(region: &Region) -> Vec<u8> {
    let name = region.as_str().as_bytes();
    [&(name.len() as u64).to_be_bytes()[..], name].concat()
}

/// After all names that begin so.
fn past(prefix: &[u8]) -> Vec<u8> {
    [prefix, &PAST_ALL].concat()
}
