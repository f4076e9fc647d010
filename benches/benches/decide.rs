//! What a hit and a fill pay for the decisions of RFC 9111: `decide`, `matches` and `admit` on usual heads.

#![expect(missing_docs, reason = "criterion_group! makes a public function")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use starling_proto::{
    UnixMs,
    cache::{
        Policy,
        reuse::{Reuse, Trust, decide},
        storing::{Fetched, admit},
        vary,
    },
    purge::Purged,
};

/// 2026-01-01 00:00:00 GMT.
const T0: UnixMs = 1_767_225_600_000;

const PLAIN: &[(&str, &str)] = &[
    ("date", "Thu, 01 Jan 2026 00:00:00 GMT"),
    ("content-type", "image/png"),
    ("content-length", "18244"),
    ("etag", "\"4744-5f1\""),
    ("cache-control", "max-age=3600"),
];

const RICH: &[(&str, &str)] = &[
    ("date", "Thu, 01 Jan 2026 00:00:00 GMT"),
    ("content-type", "text/html; charset=utf-8"),
    ("content-length", "48213"),
    ("etag", "W/\"bc55-19f\""),
    ("last-modified", "Wed, 31 Dec 2025 22:13:20 GMT"),
    ("cache-control", "public, max-age=0, must-revalidate"),
    ("cdn-cache-control", "max-age=600, stale-while-revalidate=60, stale-if-error=86400"),
    ("vary", "Accept-Encoding, Accept-Language"),
    ("surrogate-key", "article article-9812 author-17 section-world front-page"),
    ("strict-transport-security", "max-age=31536000"),
    ("x-request-id", "0af7651916cd43dd8448eb211c80319c"),
];

const BROWSER: &[(&str, &str)] = &[
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("accept-language", "en-GB,en;q=0.7,de;q=0.3"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("cookie", "session=8d2a; consent=1; theme=dark"),
    ("sec-fetch-mode", "navigate"),
];

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let line = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    lines.iter().map(line).collect()
}

fn decisions(criterion: &mut Criterion) {
    let (policy, request) = (Policy::default(), headers(BROWSER));
    for (name, response) in [("plain", headers(PLAIN)), ("rich", headers(RICH))] {
        let fetched = Fetched {
            method: &Method::GET,
            request_headers: &request,
            path: "/world/2026/01/story",
            request_ms: T0,
            response_ms: T0,
            status: StatusCode::OK,
            headers: &response,
            initial_age_ms: None,
        };
        let stored = admit(&fetched, &policy).expect("such a head is stored");
        criterion.bench_function(&format!("admit/{name}"), |bencher| {
            bencher.iter(|| admit(black_box(&fetched), &policy));
        });
        let reuse = Reuse {
            method: &Method::GET,
            request_headers: &request,
            stored: &stored,
            purged: Purged::No,
            trust: Trust::Full,
            policy: &policy,
            now: T0 + 1000,
        };
        criterion.bench_function(&format!("decide/{name}"), |bencher| {
            bencher.iter(|| decide(black_box(&reuse)));
        });
        criterion.bench_function(&format!("vary/{name}"), |bencher| {
            bencher.iter(|| vary::matches(black_box(&stored), black_box(&request)));
        });
    }
}

criterion_group!(benches, decisions);
criterion_main!(benches);
