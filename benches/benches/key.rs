//! What every request pays for its key: `primary_key` on short and long targets, without and with rules.

#![expect(missing_docs, reason = "criterion_group! makes a public function")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use http::{
    HeaderMap, HeaderValue,
    header::{COOKIE, HeaderName},
};
use starling_proto::cache::key::{KeyRules, QueryRule, primary_key};

const QUERY: &str =
    "/search?q=caf%C3%A9+au+lait&utm_source=mail&page=2&sort=price&utm_campaign=spring&gclid=x1";

fn keys(criterion: &mut Criterion) {
    let mut headers = HeaderMap::new();
    headers.insert(COOKIE, HeaderValue::from_static("session=8d2a; consent=1; theme=dark"));
    headers.insert(HeaderName::from_static("x-device"), HeaderValue::from_static("phone"));
    let plain = KeyRules::default();
    let rules = KeyRules {
        query: QueryRule::Deny(vec!["utm_*".to_owned(), "gclid".to_owned()]),
        sort_query: true,
        headers: vec![HeaderName::from_static("x-device")],
        cookies: vec!["theme".to_owned()],
    };
    let cases = [
        ("short", "/logo.png", &plain),
        ("encoded", "/caf%C3%A9/%7euser/a%2Fb", &plain),
        ("query", QUERY, &plain),
        ("query, rules", QUERY, &rules),
    ];
    for (name, target, rules) in cases {
        criterion.bench_function(&format!("primary_key/{name}"), |bencher| {
            bencher
                .iter(|| primary_key("shop", "https", "www.example.org", black_box(target), &headers, rules));
        });
    }
}

criterion_group!(benches, keys);
criterion_main!(benches);
