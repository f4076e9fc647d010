//! Fields that the key does not know must not change a stored response.

use starling_tests::Request;

use crate::{reflect, stage};

/// What frameworks take for the word of a trusted proxy.
const BELIEVED: [&str; 24] = [
    "Forwarded",
    "X-Forwarded-Host",
    "X-Forwarded-Scheme",
    "X-Forwarded-Proto",
    "X-Forwarded-Port",
    "X-Forwarded-Server",
    "X-Forwarded-Prefix",
    "X-Forwarded-Path",
    "X-Forwarded-For",
    "X-Forwarded-Ssl",
    "X-Host",
    "X-Original-Host",
    "X-Original-Url",
    "X-Rewrite-Url",
    "X-Real-Ip",
    "X-Http-Host-Override",
    "X-Url-Scheme",
    "Front-End-Https",
    "Proxy",
    "X-Http-Method-Override",
    "X-Http-Method",
    "X-Method-Override",
    "X-Client-Ip",
    "True-Client-Ip",
];

#[tokio::test]
async fn what_a_proxy_would_say_is_not_taken_from_a_client() {
    let (_origin, node) = stage(reflect).await;
    let mut poisoned = Vec::new();
    for name in BELIEVED {
        let target = format!("/page/{name}");
        node.get_with(&target, &[(name, "evil.test")]).await.expect_status(200);
        let victim = node.get(&target).await.expect_status(200);
        if victim.text().contains("evil.test") {
            poisoned.push(name);
        }
    }
    assert!(poisoned.is_empty(), "these reach a stored response: {poisoned:?}");
}

#[tokio::test]
async fn several_lines_of_a_field_are_no_way_around() {
    let (_origin, node) = stage(reflect).await;
    node.get_with(
        "/page",
        &[
            ("X-Forwarded-Host", "good.test"),
            ("x-forwarded-host", "evil.test"),
            ("X-FORWARDED-HOST", "evil.test"),
        ],
    )
    .await;
    assert!(!node.get("/page").await.text().contains("evil.test"));
}

#[tokio::test]
async fn the_node_speaks_for_itself() {
    let (origin, node) = stage(reflect).await;
    let request = Request::get("/page")
        .host("victim.test")
        .header("X-Forwarded-For", "6.6.6.6")
        .header("X-Forwarded-Host", "evil.test")
        .header("X-Forwarded-Proto", "https");
    node.send(request).await.expect_status(200);
    let seen = origin.last("/page").expect("forwarded");
    assert_eq!(seen.joined("x-forwarded-for"), "127.0.0.1");
    assert_eq!(seen.joined("x-forwarded-host"), "victim.test");
    assert_eq!(seen.joined("x-forwarded-proto"), "http");
    assert_eq!(seen.joined("host"), "victim.test");
}

/// `Connection` names fields to remove (RFC 9110 section 7.6.1), but not those that the node itself answers for.
#[tokio::test]
async fn connection_cannot_strip_what_the_node_adds() {
    let (origin, node) = stage(reflect).await;
    for listed in ["X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto", "Via, CDN-Loop"] {
        let request =
            Request::new("POST", "/page").host("victim.test").header("Connection", listed).body("hello");
        node.send(request).await.expect_status(200);
        let seen = origin.requests().pop().expect("forwarded");
        assert_eq!(seen.body, "hello", "{listed}");
        assert_eq!(seen.joined("host"), "victim.test", "{listed}");
        for field in ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "via", "cdn-loop"] {
            assert!(seen.header(field).is_some(), "Connection: {listed} strips {field}");
        }
    }
    let asked = origin.requests().len();
    for listed in ["Host", "Content-Length", "close, Host"] {
        let request =
            Request::new("POST", "/page").host("victim.test").header("Connection", listed).body("hello");
        node.send(request).await.expect_status(400);
        assert_eq!(origin.requests().len(), asked, "{listed} makes the request readable in two ways");
    }
}

/// The variant stored is the one the origin was asked for, not the one the client seemed to ask for.
#[tokio::test]
async fn connection_cannot_make_a_variant_lie() {
    let (_origin, node) = stage(|request| {
        let language = request.header("accept-language").unwrap_or("en").to_owned();
        reflect(request).header("vary", "Accept-Language").body(language)
    })
    .await;
    node.get_with("/page", &[("Connection", "Accept-Language"), ("Accept-Language", "de")])
        .await
        .expect_status(200);
    assert_eq!(node.get_with("/page", &[("Accept-Language", "de")]).await.text(), "de");
    assert_eq!(node.get("/page").await.text(), "en");
}

#[tokio::test]
async fn connection_cannot_hide_credentials_from_the_rules() {
    let (_origin, node) = stage(reflect).await;
    for field in ["Authorization", "Cookie"] {
        let target = format!("/account/{field}");
        node.get_with(&target, &[("Connection", field), (field, "secret-of-the-victim")])
            .await
            .expect_status(200);
        assert!(!node.get(&target).await.text().contains("secret-of-the-victim"), "{field}");
    }
}
