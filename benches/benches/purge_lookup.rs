//! What a hit pays the first time after a purge: `PurgeTable::check`, by the number of selectors it holds.
//! The cost must not grow with that number, nor with the number of objects, which the table does not know.
//!
//! What it pays every other time, one integer comparison, is `purged/checked` of the bench `store_hit`.

#![expect(missing_docs, reason = "criterion_group! makes a public function")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use starling_proto::purge::{
    Change, Entry, Mode, Purge, PurgeTable, Region, Selector, Subject, Version, Versions,
};

/// A table with this many selectors of all kinds but the whole service.
fn table(selectors: u64) -> PurgeTable {
    let region = Region::new("eu");
    let mut table = PurgeTable::default();
    for index in 1..=selectors {
        let selector = match index % 4 {
            0 => Selector::Url(format!("www.example.org/page/{index}")),
            1 => Selector::Tag(format!("article-{index}")),
            2 => Selector::Host(format!("host-{index}.example.org")),
            // Prefixes of many lengths: a lookup tries each length that exists.
            _ => Selector::Prefix(format!("www.example.org/{}/{index}", "d/".repeat((index % 32) as usize))),
        };
        let entry = Entry {
            region: region.clone(),
            version: Version { epoch: 1, index },
            at_ms: 1_767_225_600_000,
            key: 0,
            change: Change::Purge(Purge {
                service: "shop".to_owned(),
                selectors: vec![selector],
                mode: Mode::Hard,
            }),
        };
        table.apply(&entry).expect("entries come in order");
    }
    table
}

fn lookups(criterion: &mut Criterion) {
    let tags: Vec<String> = (0..5).map(|tag| format!("section-{tag}")).collect();
    let subject = Subject { service: "shop", url: "www.example.org/world/2026/01/story?page=2", tags: &tags };
    for selectors in [0, 10_000, 1_000_000] {
        let table = table(selectors);
        let stamp = Versions::default();
        criterion.bench_function(&format!("purge_check/{selectors} selectors"), |bencher| {
            bencher.iter(|| table.check(black_box(subject), &stamp));
        });
    }
}

criterion_group!(benches, lookups);
criterion_main!(benches);
