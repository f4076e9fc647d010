//! Preconditions and ranges, answered from what is stored (RFC 9110 sections 13 and 14).

use starling_tests::{Reply, content};

use super::{get, get_with, site};

const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_it_gets_304_from_the_cache() {
    let (origin, node) =
        site(|_| Reply::cacheable("hello").header("etag", "\"1\"").header("last-modified", MODIFIED)).await;
    get(&node, "/a").await;
    for condition in
        [("if-none-match", "\"0\", \"1\""), ("if-none-match", "*"), ("if-modified-since", MODIFIED)]
    {
        let response = get_with(&node, "/a", &[condition]).await;
        assert_eq!(response.status, 304, "{condition:?}");
        assert_eq!(response.header("etag"), Some("\"1\""));
        assert!(response.header("cache-control").is_some(), "RFC 9110 section 15.4.5");
        assert!(response.body.is_empty());
    }
    for condition in [("if-none-match", "\"2\""), ("if-modified-since", "Sat, 05 Nov 1994 08:49:37 GMT")] {
        let response = get_with(&node, "/a", &[condition]).await;
        assert_eq!((response.status, response.text().as_str()), (200, "hello"), "{condition:?}");
    }
    assert_eq!(origin.total(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_it_does_not_spoil_the_fill() {
    let (origin, node) = site(|request| Reply::file(request, "hello".into(), "\"1\"")).await;
    let first = get_with(&node, "/a", &[("if-none-match", "\"1\"")]).await;
    assert!(matches!(first.status, 200 | 304), "{}", first.status);
    let second = get(&node, "/a").await.expect_status(200);
    assert_eq!(second.text(), "hello");
    assert!(origin.count("/a") <= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_object_is_validated_and_freshened() {
    // `Age` makes the stored response stale from the start; the 304 makes it fresh.
    let (origin, node) = site(|request| {
        let file = Reply::file(request, "hello".into(), "\"1\"");
        match request.header("if-none-match") {
            Some(_) => file.header("x-round", "2"),
            None => file.header("x-round", "1").header("age", "7200"),
        }
    })
    .await;
    get(&node, "/a").await.expect_status(200);
    let validated = get(&node, "/a").await.expect_status(200);
    assert_eq!(validated.text(), "hello");
    assert_eq!(
        validated.header("x-round"),
        Some("2"),
        "a 304 updates the stored head (RFC 9111 section 3.2)"
    );
    assert_eq!(
        origin.last("/a").and_then(|r| r.header("if-none-match").map(str::to_owned)),
        Some("\"1\"".into())
    );
    let hit = get(&node, "/a").await;
    assert!(hit.is_hit(), "{}", hit.cache_status());
    assert_eq!(hit.header("x-round"), Some("2"));
    assert_eq!(origin.count("/a"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_cut_from_the_stored_body() {
    let body = content(1, 1_000_000);
    let whole = body.clone();
    let (origin, node) = site(move |request| Reply::file(request, whole.clone(), "\"1\"")).await;
    assert_eq!(get(&node, "/a").await.body, body);
    let cases = [
        ("bytes=0-0", 0..1, "bytes 0-0/1000000"),
        ("bytes=262140-262150", 262_140..262_151, "bytes 262140-262150/1000000"),
        ("bytes=999999-", 999_999..1_000_000, "bytes 999999-999999/1000000"),
        ("bytes=-10", 999_990..1_000_000, "bytes 999990-999999/1000000"),
        ("bytes=500000-9999999", 500_000..1_000_000, "bytes 500000-999999/1000000"),
    ];
    for (range, expected, content_range) in cases {
        let part = get_with(&node, "/a", &[("range", range)]).await.expect_status(206);
        assert_eq!(part.body, body.slice(expected), "{range}");
        assert_eq!(part.header("content-range"), Some(content_range), "{range}");
        assert!(part.is_hit());
    }
    let beyond = get_with(&node, "/a", &[("range", "bytes=1000000-")]).await.expect_status(416);
    assert_eq!(beyond.header("content-range"), Some("bytes */1000000"));
    let nonsense = get_with(&node, "/a", &[("range", "lines=1-2")]).await.expect_status(200);
    assert_eq!(nonsense.body, body, "an unknown unit is ignored (RFC 9110 section 14.2)");
    let changed = get_with(&node, "/a", &[("range", "bytes=0-9"), ("if-range", "\"other\"")]).await;
    assert_eq!((changed.status, changed.body.len()), (200, body.len()), "RFC 9110 section 13.1.5");
    assert_eq!(origin.total(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_ranges_come_as_multipart() {
    let body = content(2, 10_000);
    let whole = body.clone();
    let (_origin, node) = site(move |request| Reply::file(request, whole.clone(), "\"1\"")).await;
    get(&node, "/a").await;
    let parts = get_with(&node, "/a", &[("range", "bytes=0-99,5000-5099")]).await.expect_status(206);
    let media_type = parts.header("content-type").unwrap_or_default().to_owned();
    assert!(media_type.starts_with("multipart/byteranges"), "{media_type}");
    let holds = |part: &[u8]| parts.body.windows(part.len()).any(|window| window == part);
    assert!(holds(&body[0..100]) && holds(&body[5000..5100]));
    assert!(holds(b"bytes 0-99/10000") && holds(b"bytes 5000-5099/10000"));
}
