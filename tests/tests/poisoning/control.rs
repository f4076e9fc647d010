//! What steers the node is not for clients: purges, debugging, loops, and what it says of itself.

use starling_tests::{Received, Reply, Request};

use crate::{reflect, stage};

#[tokio::test]
async fn a_purge_needs_a_token() {
    let (origin, node) = stage(|_: &Received| Reply::cacheable("page")).await;
    node.get("/page").await.expect_status(200);
    let attempts: [&[(&str, &str)]; 6] = [
        &[],
        &[("Authorization", "Bearer wrong")],
        &[("Authorization", "Bearer ")],
        &[("Authorization", "Basic YWRtaW46YWRtaW4=")],
        &[("X-Forwarded-For", "127.0.0.1"), ("Soft-Purge", "1")],
        &[("Fastly-Key", "x"), ("Surrogate-Key", "page")],
    ];
    for fields in attempts {
        let purge = fields
            .iter()
            .fold(Request::new("PURGE", "/page"), |request, (name, value)| request.header(name, value));
        let refused = node.send(purge).await;
        assert!(matches!(refused.status, 401 | 403 | 405), "{fields:?}: {}", refused.status);
    }
    for method in ["PURGEKEYS", "FASTLYPURGE", "BAN", "REFRESH"] {
        node.send(Request::new(method, "/page")).await;
    }
    assert!(
        origin.requests().iter().all(|request| request.method != "PURGE"),
        "a refused purge went to the origin"
    );
    // Unknown methods may invalidate what they are sent to (RFC 9111 section 4.4); a refused purge may not.
    node.get("/kept").await.expect_status(200);
    node.send(Request::new("PURGE", "/kept")).await;
    assert!(node.get("/kept").await.is_hit(), "a refused purge purged");
}

#[tokio::test]
async fn a_debugging_client_leaves_no_trace() {
    let (_origin, node) = stage(|_: &Received| Reply::cacheable("page")).await;
    node.get_with("/page", &[("Starling-Debug", "1")]).await.expect_status(200);
    let victim = node.get("/page").await.expect_status(200);
    assert_eq!(victim.text(), "page");
    let told: Vec<_> = victim.headers.iter().filter(|(name, _)| name.starts_with("starling-")).collect();
    assert!(told.is_empty(), "{told:?}");
}

/// RFC 8586.
#[tokio::test]
async fn a_request_that_was_here_before_is_refused() {
    let (origin, node) = stage(reflect).await;
    node.get("/first").await.expect_status(200);
    let mark = origin.last("/first").expect("forwarded").joined("cdn-loop");
    assert!(!mark.is_empty(), "RFC 8586 section 2: CDN-Loop is added");
    for value in
        [mark.clone(), format!("other, {mark}"), format!("{mark}, other"), format!("other; a=b, {mark}; c=d")]
    {
        let before = origin.total();
        let looped = node.get_with("/looped", &[("CDN-Loop", &value)]).await;
        assert!(matches!(looped.status, 400 | 403 | 502 | 508), "{value}: {}", looped.status);
        assert_eq!(origin.total(), before, "{value}");
    }
    // Somebody else's mark is kept and ours is added; the refusal above was not stored.
    node.get_with("/looped", &[("CDN-Loop", "other; a=b")]).await.expect_status(200);
    let seen = origin.last("/looped").expect("forwarded").joined("cdn-loop");
    assert!(seen.contains("other") && seen.contains(&mark), "{seen}");
    // The field cannot be hidden from us or from the next cache by Connection (RFC 8586 section 2).
    let hidden = node.get_with("/hidden", &[("Connection", "CDN-Loop"), ("CDN-Loop", &mark)]).await;
    assert!(matches!(hidden.status, 400 | 403 | 502 | 508), "{}", hidden.status);
}

#[tokio::test]
async fn what_a_client_says_of_caches_is_not_repeated() {
    let (_origin, node) = stage(|_: &Received| Reply::cacheable("page")).await;
    let claims = [
        ("Cache-Status", "evil; hit"),
        ("Age", "99999"),
        ("Via", "1.1 evil"),
        ("X-Cache", "evil"),
        ("Surrogate-Key", "evil"),
        ("Cache-Tag", "evil"),
        ("CDN-Cache-Control", "max-age=1"),
    ];
    node.get_with("/page", &claims).await.expect_status(200);
    let victim = node.get("/page").await.expect_status(200);
    let repeated: Vec<_> = victim
        .headers
        .iter()
        .filter(|(_, value)| value.contains("evil") || value.contains("99999"))
        .collect();
    assert!(repeated.is_empty(), "{repeated:?}");
    assert!(victim.is_hit());
}

#[tokio::test]
async fn tags_and_selectors_with_line_ends_split_nothing() {
    let (_origin, node) = stage(|_: &Received| Reply::cacheable("page").header("surrogate-key", "a b")).await;
    node.get("/page").await.expect_status(200);
    let body =
        serde_json::json!({ "tags": ["x\r\nSet-Cookie: evil=1\r\n\r\n", "a\u{0}"], "wait": "applied" })
            .to_string();
    let mut connection = starling_tests::RawConn::connect(node.admin()).await.expect("the admin listens");
    let request = Request::new("POST", "/v1/purge").header("content-type", "application/json").body(body);
    let response = connection.send(&request).await.expect("answered");
    assert_eq!(response.header("set-cookie"), None);
    assert!(node.get("/page").await.is_hit(), "a tag that nothing carries purged something");
}

#[tokio::test]
async fn encoded_line_ends_come_back_encoded() {
    // The node's own pages and redirects do not decode what they quote.
    let (_origin, node) = stage(|_: &Received| Reply::drop_connection()).await;
    for target in [
        "/%0d%0aSet-Cookie:%20evil=1",
        "/?x=%0d%0a%0d%0a<script>alert(1)</script>",
        "/%3Cscript%3Ealert(1)%3C/script%3E",
    ] {
        let response = node.send(Request::get(target).host("victim.test")).await;
        assert_eq!(response.header("set-cookie"), None, "{target}");
        assert!(!response.text().contains("<script>"), "{target}");
    }
}
