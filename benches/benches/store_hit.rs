//! What a hit pays the store: finding the object, asking whether it is purged, reading a small body.

#![expect(missing_docs, reason = "criterion_group! makes a public function")]

use std::{hint::black_box, path::Path, sync::Arc};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use starling::store::{NewObject, Object, Settings, Store};
use starling_proto::{
    Key, UnixMs,
    cache::{
        Policy,
        encoding::Coding,
        storing::{Fetched, StoredHead, admit},
    },
    ring::Hop,
};

/// 2026-01-01 00:00:00 GMT.
const T0: UnixMs = 1_767_225_600_000;

const OBJECTS: u64 = 100_000;

fn settings(dir: &Path) -> Settings {
    Settings { dir: dir.to_owned(), memory_bytes_max: 1 << 30, disk_bytes_max: 0, ..Settings::default() }
}

fn head() -> StoredHead {
    let mut headers = HeaderMap::new();
    for (name, value) in
        [("content-type", "image/png"), ("etag", "\"v1\""), ("cache-control", "max-age=3600")]
    {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let fetched = Fetched {
        method: &Method::GET,
        request_headers: &HeaderMap::new(),
        path: "/",
        request_ms: T0,
        response_ms: T0,
        status: StatusCode::OK,
        headers: &headers,
        initial_age_ms: None,
    };
    admit(&fetched, &Policy::default()).expect("such a head is stored")
}

async fn put(store: &Store, text: &str, body: &Bytes) -> Arc<Object> {
    let (object, mut writer) = store.begin(NewObject {
        key: Key::of(text),
        key_text: text.to_owned(),
        service: "shop".into(),
        url: format!("www.example.org/{text}"),
        head: head(),
        stamp: store.stamp(),
        total: Some(body.len() as u64),
        from: 0,
        until: None,
        coding: Coding::Identity,
        fed_by: Hop::Origin,
        transient: false,
    });
    store.commit(&object).await;
    writer.push(body.clone()).await.expect("takes the body");
    writer.finish().await.expect("finishes");
    object
}

fn hits(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let store = runtime.block_on(Store::open(settings(dir.path()), T0)).expect("opens");
    let body = Bytes::from(vec![7; 1024]);
    let keys: Vec<Key> = (0..OBJECTS).map(|number| Key::of(&number.to_string())).collect();
    let object = runtime.block_on(async {
        for number in 0..OBJECTS {
            put(&store, &number.to_string(), &body).await;
        }
        put(&store, "hot", &body).await
    });
    criterion.bench_function("lookup_memory/one hot object", |bencher| {
        bencher.iter(|| store.lookup_memory(black_box(&object.key)).expect("is there"));
    });
    let mut at = 0;
    criterion.bench_function("lookup_memory/all over 100000 objects", |bencher| {
        bencher.iter(|| {
            // A stride without a common factor comes to every object, and never to a neighbour.
            at = (at + 61_803) % keys.len();
            store.lookup_memory(black_box(&keys[at])).expect("is there")
        });
    });
    criterion.bench_function("lookup_memory/nothing there", |bencher| {
        let absent = Key::of("absent");
        bencher.iter(|| store.lookup_memory(black_box(&absent)).is_none());
    });
    criterion.bench_function("purged/checked", |bencher| {
        bencher.iter(|| store.purged(black_box(&object)));
    });
    criterion.bench_function("read/1 KiB", |bencher| {
        bencher.iter(|| {
            runtime.block_on(async {
                let mut reader = object.body.reader(0..u64::MAX);
                let mut read = 0;
                while let Some(chunk) = reader.next().await.expect("is read") {
                    read += chunk.len();
                }
                read
            })
        });
    });
    runtime.block_on(store.close());
}

criterion_group!(benches, hits);
criterion_main!(benches);
