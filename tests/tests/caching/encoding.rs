//! Compression at the edge: what is offered, what is labelled, what is left alone.

use async_compression::tokio::write::{BrotliDecoder, GzipDecoder, ZstdDecoder};
use starling_tests::{Reply, Response};
use tokio::io::AsyncWriteExt;

use super::{get, get_with, site};

fn text() -> String {
    (0..2000).map(|line| format!("line {line} of a text that compresses\n")).collect()
}

fn page() -> Reply {
    Reply::cacheable(text()).header("content-type", "text/plain").header("etag", "\"1\"")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_best_coding_that_the_client_accepts_is_chosen() {
    let (origin, node) = site(|_| page()).await;
    let cases = [
        ("zstd", "zstd"),
        ("br", "br"),
        ("gzip", "gzip"),
        ("gzip;q=0.5, br;q=1.0", "br"),
        ("gzip, br;q=0", "gzip"),
    ];
    for (accepted, coding) in cases {
        for _ in 0..2 {
            let response = get_with(&node, "/t", &[("accept-encoding", accepted)]).await.expect_status(200);
            assert_eq!(response.header("content-encoding"), Some(coding), "{accepted}");
            assert!(response.body.len() < text().len() / 2);
            assert_eq!(decoded(&response).await, text(), "{accepted}");
            assert_eq!(
                response.header("etag"),
                Some("W/\"1\""),
                "the bytes differ (RFC 9110 section 8.8.3.3)"
            );
            assert!(names_accept_encoding(&response), "{accepted}: {}", response.joined("vary"));
        }
    }
    assert_eq!(origin.count("/t"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_accepts_no_coding_gets_the_bytes_of_the_origin() {
    let (_origin, node) = site(|_| page()).await;
    get_with(&node, "/t", &[("accept-encoding", "gzip")]).await;
    for accepted in [None, Some("identity"), Some("compress"), Some("gzip;q=0")] {
        let headers: Vec<(&str, &str)> =
            accepted.map(|value| ("accept-encoding", value)).into_iter().collect();
        let response = get_with(&node, "/t", &headers).await.expect_status(200);
        assert_eq!(response.header("content-encoding"), None, "{accepted:?}");
        assert_eq!(response.text(), text());
        assert_eq!(response.header("etag"), Some("\"1\""));
        assert!(names_accept_encoding(&response), "{accepted:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_or_need_not_be_compressed_is_left_alone() {
    let (_origin, node) = site(|request| match request.target.as_str() {
        "/no-transform" => page().header("cache-control", "no-transform"),
        "/image" => Reply::cacheable(text()).header("content-type", "image/png"),
        "/small" => Reply::cacheable("small").header("content-type", "text/plain"),
        _ => page().header("content-encoding", "x-own"),
    })
    .await;
    for target in ["/no-transform", "/image", "/small"] {
        for _ in 0..2 {
            let response = get_with(&node, target, &[("accept-encoding", "gzip, br, zstd")]).await;
            assert_eq!(response.header("content-encoding"), None, "{target}");
        }
    }
    let own = get_with(&node, "/own", &[("accept-encoding", "gzip, br, zstd")]).await;
    assert_eq!(own.joined("content-encoding"), "x-own");
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_cut_from_the_uncompressed_bytes() {
    let (_origin, node) = site(|_| page()).await;
    get_with(&node, "/t", &[("accept-encoding", "gzip")]).await;
    let headers = [("accept-encoding", "gzip"), ("range", "bytes=100-199")];
    let part = get_with(&node, "/t", &headers).await.expect_status(206);
    assert_eq!(part.header("content-encoding"), None);
    assert_eq!(part.text(), text()[100..200]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_validator_of_a_compressed_answer_is_understood() {
    let (origin, node) = site(|_| page()).await;
    let gzip = ("accept-encoding", "gzip");
    let etag =
        get_with(&node, "/t", &[gzip]).await.header("etag").map(str::to_owned).expect("an ETag was sent");
    let again = get_with(&node, "/t", &[gzip, ("if-none-match", &etag)]).await;
    assert_eq!(again.status, 304);
    assert!(names_accept_encoding(&again), "RFC 9110 section 15.4.5");
    assert_eq!(origin.total(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_origin_compressed_by_itself_is_kept_by_variant() {
    let (origin, node) = site(|request| {
        let reply = page().header("vary", "Accept-Encoding");
        match request.header("accept-encoding") {
            Some(accepted) if accepted.contains("gzip") => {
                reply.header("content-encoding", "gzip").body("gzipped")
            }
            _ => reply,
        }
    })
    .await;
    for _ in 0..2 {
        let identity = get(&node, "/t").await;
        assert_eq!(identity.text(), text());
        let gzip = get_with(&node, "/t", &[("accept-encoding", "gzip")]).await;
        assert!(matches!(gzip.header("content-encoding"), Some("gzip")));
    }
    assert!(origin.count("/t") <= 2, "{}", origin.count("/t"));
}

fn names_accept_encoding(response: &Response) -> bool {
    response.joined("vary").split(',').any(|name| name.trim().eq_ignore_ascii_case("accept-encoding"))
}

pub async fn decoded(response: &Response) -> String {
    let bytes = match response.header("content-encoding") {
        Some("gzip") => {
            let mut decoder = GzipDecoder::new(Vec::new());
            decoder.write_all(&response.body).await.expect("gzip decodes");
            decoder.shutdown().await.expect("gzip ends");
            decoder.into_inner()
        }
        Some("br") => {
            let mut decoder = BrotliDecoder::new(Vec::new());
            decoder.write_all(&response.body).await.expect("br decodes");
            decoder.shutdown().await.expect("br ends");
            decoder.into_inner()
        }
        Some("zstd") => {
            let mut decoder = ZstdDecoder::new(Vec::new());
            decoder.write_all(&response.body).await.expect("zstd decodes");
            decoder.shutdown().await.expect("zstd ends");
            decoder.into_inner()
        }
        other => panic!("unknown coding {other:?}"),
    };
    String::from_utf8(bytes).expect("the text is UTF-8")
}
