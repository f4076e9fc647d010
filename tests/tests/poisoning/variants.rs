//! Variants: a client gets what was made for requests like its own (RFC 9111 section 4.1).

use starling_tests::{Received, Reply};

use crate::{reflect, stage};

#[tokio::test]
async fn vary_on_everything_is_never_reused() {
    for vary in ["*", "Accept, *", "*, Accept"] {
        let (origin, node) = stage(move |request| reflect(request).header("vary", vary)).await;
        node.get_with("/page", &[("X-Attack", "evil")]).await.expect_status(200);
        assert!(!node.get("/page").await.expect_status(200).text().contains("evil"), "{vary}");
        assert_eq!(origin.count("/page"), 2, "{vary}");
    }
}

#[tokio::test]
async fn vary_on_cookie_keeps_people_apart() {
    let (_origin, node) = stage(|request: &Received| {
        Reply::cacheable(format!("page of {}", request.header("cookie").unwrap_or("nobody")))
            .header("vary", "Cookie")
    })
    .await;
    for whose in ["a=1", "a=2", "a=1; b=2", "b=2; a=1", "a=1;b=2", "A=1"] {
        assert_eq!(node.get_with("/page", &[("Cookie", whose)]).await.text(), format!("page of {whose}"));
    }
    assert_eq!(node.get("/page").await.text(), "page of nobody");
}

#[tokio::test]
async fn a_reflected_origin_is_for_that_origin_only() {
    let (_origin, node) = stage(|request: &Received| {
        let allowed = request.header("origin").unwrap_or("none").to_owned();
        Reply::cacheable("data").header("vary", "Origin").header("access-control-allow-origin", &allowed)
    })
    .await;
    node.get_with("/api", &[("Origin", "https://evil.test")]).await.expect_status(200);
    for origin in ["https://good.test", "https://evil.test", "null"] {
        let response = node.get_with("/api", &[("Origin", origin)]).await;
        assert_eq!(response.header("access-control-allow-origin"), Some(origin));
    }
    assert_eq!(node.get("/api").await.header("access-control-allow-origin"), Some("none"));
}

#[tokio::test]
async fn a_field_in_several_lines_is_another_variant_or_the_same_value() {
    let (_origin, node) =
        stage(|request: &Received| Reply::cacheable(request.joined("x-kind")).header("vary", "X-Kind")).await;
    node.get_with("/page", &[("X-Kind", "a"), ("X-Kind", "evil")]).await.expect_status(200);
    assert_eq!(node.get_with("/page", &[("X-Kind", "a")]).await.text(), "a");
    assert_eq!(node.get_with("/page", &[("X-Kind", "a, evil")]).await.text(), "a, evil");
    assert_eq!(node.get("/page").await.text(), "");
}

#[tokio::test]
async fn vary_that_appears_later_is_kept_to() {
    let (origin, node) = stage(|_: &Received| {
        Reply::new(200).header("cache-control", "max-age=0").header("etag", "\"v1\"").body("for all")
    })
    .await;
    node.get_with("/page", &[("Cookie", "a=1")]).await.expect_status(200);
    origin.answer(|request: &Received| {
        Reply::cacheable(format!("for {}", request.header("cookie").unwrap_or("nobody")))
            .header("vary", "Cookie")
    });
    assert_eq!(node.get_with("/page", &[("Cookie", "a=1")]).await.text(), "for a=1");
    assert_eq!(node.get_with("/page", &[("Cookie", "a=2")]).await.text(), "for a=2");
    assert_eq!(node.get("/page").await.text(), "for nobody");
}

/// What is compressed at the edge goes to who can read it.
#[tokio::test]
async fn nobody_gets_a_coding_it_did_not_ask_for() {
    let text = "compress me, please. ".repeat(1000);
    let page = text.clone();
    let (_origin, node) =
        stage(move |_: &Received| Reply::cacheable(page.clone()).header("content-type", "text/plain")).await;
    node.get_with("/page", &[("Accept-Encoding", "gzip, br, zstd")]).await.expect_status(200);
    for accept in [
        None,
        Some("identity"),
        Some("gzip;q=0"),
        Some("*;q=0, identity"),
        Some(""),
        Some("gzipped"),
        Some("compress"),
        Some("gzip;q=0, br;q=0, zstd;q=0.0"),
    ] {
        let fields: Vec<_> = accept.map(|accept| ("Accept-Encoding", accept)).into_iter().collect();
        let response = node.get_with("/page", &fields).await.expect_status(200);
        assert_eq!(response.header("content-encoding"), None, "{accept:?}");
        assert_eq!(response.text(), text, "{accept:?}");
    }
    for coding in ["gzip", "br", "zstd"] {
        let response = node.get_with("/page", &[("Accept-Encoding", coding)]).await.expect_status(200);
        let chosen = response.header("content-encoding");
        assert!(chosen.is_none() || chosen == Some(coding), "{coding}: {chosen:?}");
        assert!(response.joined("vary").to_ascii_lowercase().contains("accept-encoding"), "{coding}");
    }
}

#[tokio::test]
async fn a_coding_the_origin_chose_is_for_who_asked_for_it() {
    let (_origin, node) = stage(|request: &Received| {
        let reply = Reply::cacheable("plain").header("vary", "Accept-Encoding");
        if request.joined("accept-encoding").contains("gzip") {
            // Not truly gzip; nobody on the way may look inside.
            return reply.body("squeezed").header("content-encoding", "gzip");
        }
        reply
    })
    .await;
    let squeezed = node.get_with("/page", &[("Accept-Encoding", "gzip")]).await.expect_status(200);
    assert_eq!((squeezed.header("content-encoding"), squeezed.text().as_str()), (Some("gzip"), "squeezed"));
    for fields in [&[][..], &[("Accept-Encoding", "identity")], &[("Accept-Encoding", "gzip;q=0")]] {
        let plain = node.get_with("/page", fields).await.expect_status(200);
        if plain.header("content-encoding").is_some() {
            // `gzip;q=0` reaches an origin that only looks for the word; what it then says is its own answer.
            assert_eq!(fields, [("Accept-Encoding", "gzip;q=0")]);
            continue;
        }
        assert_eq!(plain.text(), "plain");
    }
}
