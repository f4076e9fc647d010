//! The store as its users see it. Each file tells one kind of story in the language of this one.

mod bodies;
mod bounds;
mod crash;
mod disk;
mod failing;
mod lives;
mod logs;
mod model;
mod purging;

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use http::HeaderMap;
use starling_proto::{
    Key, NodeId,
    cache::{
        encoding::Coding,
        storing::{Lifetime, LifetimeSource, ReuseRules, StoredHead},
    },
    purge::{Base, Hlc, Mode, Purge, Selector, ServiceChange, Shield, Shields},
    ring::Hop,
};

use super::*;

const NOW: UnixMs = 1_700_000_000_000;
const SLICE: u32 = 4 << 10;

/// Small numbers, so that a few kilobytes are a large body.
fn settings(dir: &Path) -> Settings {
    Settings {
        dir: dir.to_owned(),
        memory_bytes_max: 4 << 20,
        disk_bytes_max: 64 << 20,
        slice_bytes: SLICE,
        dirty_bytes_max: 64 << 10,
        ..Settings::default()
    }
}

async fn open(dir: &Path) -> Store {
    Store::open(settings(dir), NOW).await.expect("opens")
}

/// Bytes that tell whose they are and where they belong.
fn content(seed: u64, len: usize) -> Bytes {
    let word = |at: u64| xxhash_rust::xxh3::xxh3_64_with_seed(&at.to_le_bytes(), seed).to_le_bytes();
    (0..len.div_ceil(8) as u64).flat_map(word).take(len).collect::<Vec<u8>>().into()
}

fn head(response_ms: UnixMs) -> StoredHead {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "text/plain".parse().expect("a value"));
    headers.insert("etag", "\"v1\"".parse().expect("a value"));
    test_head(headers, response_ms)
}

fn new(text: &str, store: &Store, total: Option<u64>) -> NewObject {
    NewObject {
        key: Key::of(text),
        key_text: text.to_owned(),
        service: "default".into(),
        url: format!("example.org/{text}"),
        head: head(NOW),
        stamp: store.stamp(),
        total,
        from: 0,
        until: None,
        coding: Coding::Identity,
        fed_by: Hop::Origin,
        transient: false,
    }
}

/// Stores a whole body and waits until it is on disk.
async fn put(store: &Store, text: &str, body: &Bytes) -> Arc<Object> {
    put_new(store, new(text, store, Some(body.len() as u64)), body).await
}

async fn put_new(store: &Store, new: NewObject, body: &Bytes) -> Arc<Object> {
    let (object, mut writer) = store.begin(new);
    store.commit(&object).await;
    for chunk in body.chunks(1000) {
        writer.push(Bytes::copy_from_slice(chunk)).await.expect("pushes");
    }
    writer.finish().await.expect("finishes");
    store.flush().await;
    object
}

async fn find(store: &Store, text: &str) -> Option<Arc<Object>> {
    store.lookup(&Key::of(text)).await.map(|variants| variants.objects[0].clone())
}

async fn read(body: &Body, range: std::ops::Range<u64>) -> Result<Bytes, ReadError> {
    let mut reader = body.reader(range);
    let mut bytes = Vec::new();
    while let Some(chunk) = reader.next().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.into())
}

async fn read_all(object: &Object) -> Result<Bytes, ReadError> {
    read(&object.body, 0..u64::MAX).await
}

async fn reopen(store: Store, dir: &Path) -> Store {
    store.close().await;
    drop(store);
    open(dir).await
}

fn segment_files(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir.join("segments")).expect("has segments");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

fn region(name: &str) -> Region {
    Region::new(name)
}

fn purge_url(text: &str) -> Change {
    let selectors = vec![Selector::Url(format!("example.org/{text}"))];
    Change::Purge(Purge { service: "default".to_owned(), selectors, mode: Mode::Hard })
}

fn service_at(name: &str, ms: UnixMs) -> ServiceChange {
    let at = Hlc { ms, count: 0, node: NodeId::from_bytes([1; 32]) };
    ServiceChange { name: name.to_owned(), at, definition: Some(String::new()) }
}

fn entry_of(region: &Region, epoch: u64, index: u64, change: Change) -> Entry {
    let version = Version { epoch, index };
    Entry { region: region.clone(), version, at_ms: NOW, key: u128::from(index), change }
}

/// Entries of a log that follow `after` without a gap.
fn batch_of(name: &str, epoch: u64, after: u64, base: Option<Base>, changes: Vec<Change>) -> Batch {
    let region = region(name);
    let entries = (after + 1..).zip(changes).map(|(index, change)| entry_of(&region, epoch, index, change));
    let entries = entries.collect();
    Batch { region, since: 0, after: Version { epoch, index: after }, base, entries }
}

/// Copies what a data directory holds.
fn copy(from: &Path, to: &Path) {
    for part in ["index", "segments"] {
        std::fs::create_dir_all(to.join(part)).expect("makes");
        for entry in std::fs::read_dir(from.join(part)).expect("reads") {
            let entry = entry.expect("an entry");
            std::fs::copy(entry.path(), to.join(part).join(entry.file_name())).expect("copies");
        }
    }
}

fn test_head(headers: HeaderMap, response_ms: UnixMs) -> StoredHead {
    StoredHead {
        status: 200,
        headers,
        request_ms: response_ms,
        response_ms,
        initial_age_ms: 0,
        lifetime: Lifetime { ms: 3_600_000, source: LifetimeSource::MaxAge },
        rules: ReuseRules::default(),
        vary: Vec::new(),
        tags: vec!["news".to_owned()],
    }
}
