//! What a node pays for purges that reach it: `Store::apply`, by the number of entries in a batch. Each batch is
//! durable and applied when it returns, so this is one sync of the disk and what the entries cost beside it.

#![expect(missing_docs, reason = "criterion_group! makes a public function")]

use std::path::Path;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use starling::store::{Settings, Store};
use starling_proto::{
    UnixMs,
    purge::{Batch, Change, Entry, Mode, Purge, Region, Selector, Version},
};

/// 2026-01-01 00:00:00 GMT.
const T0: UnixMs = 1_767_225_600_000;

/// URLs that are purged in turn: the table is as large as a busy site makes it, and no larger the longer this runs.
const URLS: u64 = 100_000;

fn settings(dir: &Path) -> Settings {
    Settings { dir: dir.to_owned(), disk_bytes_max: 0, ..Settings::default() }
}

/// The entries of the region's log from `after` on.
fn batch(region: &Region, after: u64, count: u64) -> Batch {
    let entry = |index: u64| Entry {
        region: region.clone(),
        version: Version { epoch: 1, index },
        at_ms: T0,
        key: u128::from(index),
        change: Change::Purge(Purge {
            service: "shop".to_owned(),
            selectors: vec![Selector::Url(format!("www.example.org/page/{}", index % URLS))],
            mode: Mode::Hard,
        }),
    };
    let entries = (after + 1..=after + count).map(entry).collect();
    Batch {
        region: region.clone(),
        since: after,
        after: Version { epoch: 1, index: after },
        base: None,
        entries,
    }
}

fn applies(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let region = Region::new("eu");
    let mut group = criterion.benchmark_group("purge_apply");
    group.sample_size(20);
    for count in [1, 16, 1024] {
        let dir = tempfile::tempdir().expect("a directory");
        let store = runtime.block_on(Store::open(settings(dir.path()), T0)).expect("opens");
        let mut after = 0;
        group.throughput(Throughput::Elements(count));
        group.bench_function(format!("batches of {count}"), |bencher| {
            let next = || {
                let batch = batch(&region, after, count);
                after += count;
                batch
            };
            let apply = |batch| runtime.block_on(store.apply(batch)).expect("follows");
            bencher.iter_batched(next, apply, BatchSize::PerIteration);
        });
        runtime.block_on(store.close());
    }
    group.finish();
}

criterion_group!(benches, applies);
criterion_main!(benches);
