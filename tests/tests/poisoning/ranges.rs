//! Parts, and answers that say "unchanged", are never taken for the whole.

use starling_tests::{Received, Reply, Request, content};

use crate::stage;

const TOTAL: usize = 4000;

fn whole() -> bytes::Bytes {
    content(7, TOTAL)
}

#[tokio::test]
async fn a_part_is_not_stored_as_the_whole() {
    type Partial = fn(&Received) -> Reply;
    let origins: [(&str, Partial); 6] = [
        ("a file", |request| Reply::file(request, whole(), "\"v1\"")),
        ("a file without validators", |request| match request.header("range") {
            Some(_) => Reply::new(206)
                .header("cache-control", "max-age=600")
                .header("content-range", "bytes 0-9/4000")
                .body(whole().slice(..10)),
            None => Reply::cacheable(whole()),
        }),
        ("a total that is the part", |request| match request.header("range") {
            Some(_) => Reply::new(206)
                .header("cache-control", "max-age=600")
                .header("etag", "\"v1\"")
                .header("content-range", "bytes 0-9/10")
                .body(whole().slice(..10)),
            None => Reply::cacheable(whole()).header("etag", "\"v1\""),
        }),
        ("no Content-Range", |request| match request.header("range") {
            Some(_) => Reply::new(206)
                .header("cache-control", "max-age=600")
                .header("etag", "\"v1\"")
                .body(whole().slice(..10)),
            None => Reply::cacheable(whole()).header("etag", "\"v1\""),
        }),
        ("an unknown total", |request| match request.header("range") {
            Some(_) => Reply::new(206)
                .header("cache-control", "max-age=600")
                .header("etag", "\"v1\"")
                .header("content-range", "bytes 0-9/*")
                .body(whole().slice(..10)),
            None => Reply::cacheable(whole()).header("etag", "\"v1\""),
        }),
        ("a Content-Range that is longer than its body", |request| match request.header("range") {
            Some(_) => Reply::new(206)
                .header("cache-control", "max-age=600")
                .header("etag", "\"v1\"")
                .header("content-range", "bytes 0-3999/4000")
                .body(whole().slice(..10)),
            None => Reply::cacheable(whole()).header("etag", "\"v1\""),
        }),
    ];
    for (name, partial) in origins {
        let (_origin, node) = stage(partial).await;
        for (index, range) in
            ["bytes=0-9", "bytes=-10", "bytes=0-0,-1", "bytes=0-", "bytes=9999-", "seconds=1-2"]
                .into_iter()
                .enumerate()
        {
            let target = format!("/file/{index}");
            let _ = node.try_send(Request::get(&target).header("Range", range)).await;
            let victim = node.get(&target).await;
            assert_eq!((victim.status, &victim.body), (200, &whole()), "{name}, {range}");
        }
    }
}

#[tokio::test]
async fn a_part_sent_to_who_asked_for_the_whole_is_not_stored() {
    let (origin, node) = stage(|_: &Received| {
        Reply::new(206)
            .header("cache-control", "max-age=600")
            .header("content-range", "bytes 0-9/4000")
            .body(whole().slice(..10))
    })
    .await;
    let _ = node.try_send(Request::get("/file")).await;
    origin.answer(|_: &Received| Reply::cacheable(whole()));
    let victim = node.get("/file").await.expect_status(200);
    assert_eq!(victim.body, whole());
}

#[tokio::test]
async fn parts_of_two_versions_are_not_joined() {
    let (origin, node) = stage(|request: &Received| Reply::file(request, content(1, TOTAL), "\"v1\"")).await;
    node.get_with("/file", &[("Range", "bytes=0-1999")]).await.expect_status(206);
    origin.answer(|request: &Received| Reply::file(request, content(2, TOTAL), "\"v2\""));
    let victim = node.get("/file").await.expect_status(200);
    assert!(victim.body == content(1, TOTAL) || victim.body == content(2, TOTAL), "a body of two halves");
    let tail = node.get_with("/file", &[("Range", "bytes=2000-")]).await;
    assert!(tail.body == content(1, TOTAL).slice(2000..) || tail.body == content(2, TOTAL).slice(2000..));
}

#[tokio::test]
async fn if_range_with_another_validator_gets_the_whole() {
    for fresh in [false, true] {
        let (_origin, node) = stage(|request: &Received| Reply::file(request, whole(), "\"v1\"")).await;
        if fresh {
            node.get("/file").await.expect_status(200);
        }
        for validator in ["\"v0\"", "W/\"v1\"", "Mon, 01 Jan 2024 00:00:00 GMT", "junk"] {
            let response = node.get_with("/file", &[("Range", "bytes=0-9"), ("If-Range", validator)]).await;
            assert_eq!((response.status, &response.body), (200, &whole()), "{validator}");
        }
        let part = node
            .get_with("/file", &[("Range", "bytes=0-9"), ("If-Range", "\"v1\"")])
            .await
            .expect_status(206);
        assert_eq!(part.body, whole().slice(..10));
        assert_eq!(node.get("/file").await.expect_status(200).body, whole());
    }
}

#[tokio::test]
async fn an_unchanged_is_not_stored_as_a_page() {
    let conditions: [(&str, &str); 6] = [
        ("If-None-Match", "\"v1\""),
        ("If-None-Match", "*"),
        ("If-None-Match", "W/\"v1\", \"evil\""),
        ("If-Modified-Since", "Fri, 31 Dec 2100 00:00:00 GMT"),
        ("If-Match", "\"evil\""),
        ("If-Unmodified-Since", "Mon, 01 Jan 1990 00:00:00 GMT"),
    ];
    for (name, value) in conditions {
        let (_origin, node) = stage(|request: &Received| {
            let failed = request.header("if-match").or(request.header("if-unmodified-since")).is_some();
            let unchanged = request.header("if-none-match").or(request.header("if-modified-since")).is_some();
            let status = if failed {
                412
            } else if unchanged {
                304
            } else {
                200
            };
            let reply = Reply::new(status)
                .header("cache-control", "max-age=600")
                .header("etag", "\"v1\"")
                .header("x-evil", "from-a-304");
            if status == 200 { Reply::cacheable(whole()).header("etag", "\"v1\"") } else { reply }
        })
        .await;
        node.get_with("/page", &[(name, value)]).await;
        let victim = node.get("/page").await;
        assert_eq!((victim.status, &victim.body), (200, &whole()), "{name}: {value}");
        assert_eq!(victim.header("x-evil"), None, "{name}: {value}");
    }
}

#[tokio::test]
async fn an_unchanged_that_nobody_asked_for_is_not_stored() {
    let (origin, node) =
        stage(|_: &Received| Reply::new(304).header("cache-control", "max-age=600").header("etag", "\"v1\""))
            .await;
    let _ = node.try_send(Request::get("/page")).await;
    origin.answer(|_: &Received| Reply::cacheable(whole()));
    let victim = node.get("/page").await;
    assert_eq!((victim.status, &victim.body), (200, &whole()));
}

#[tokio::test]
async fn an_unsatisfiable_range_is_not_stored_for_the_whole() {
    let (_origin, node) = stage(|request: &Received| match request.header("range") {
        Some(_) => {
            Reply::new(416).header("cache-control", "max-age=600").header("content-range", "bytes */4000")
        }
        None => Reply::cacheable(whole()),
    })
    .await;
    node.get_with("/file", &[("Range", "bytes=9999-")]).await;
    assert_eq!(node.get("/file").await.expect_status(200).body, whole());
}

/// CVE-2011-3192 and RangeAmp: many small or overlapping ranges must not cost more than the whole.
#[tokio::test]
async fn many_ranges_do_not_amplify() {
    let (_origin, node) = stage(|request: &Received| Reply::file(request, whole(), "\"v1\"")).await;
    node.get("/file").await.expect_status(200);
    for one in ["0-", "0-3999", "1-1", "-1"] {
        let ranges = vec![one; 400].join(",");
        let response = node.get_with("/file", &[("Range", &format!("bytes={ranges}"))]).await;
        assert!(response.body.len() <= 2 * TOTAL, "{one} 400 times gives {} bytes", response.body.len());
    }
}
