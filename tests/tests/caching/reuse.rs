//! What is stored and answered again (RFC 9111 sections 3 and 4), and what the answer says about it.

use starling_tests::{H2Client, Node, Reply, Request, TestCa, TestOrigin};

use super::{HOST, get, get_with, request, site};

#[tokio::test(flavor = "multi_thread")]
async fn a_miss_is_stored_and_the_next_is_a_hit() {
    let (origin, node) = site(|_| Reply::cacheable("hello")).await;
    let miss = get(&node, "/a").await.expect_status(200);
    assert!(!miss.is_hit(), "{}", miss.cache_status());
    assert!(miss.cache_status().contains("fwd=uri-miss"), "{}", miss.cache_status());
    assert!(miss.cache_status().contains("stored"), "{}", miss.cache_status());
    let hit = get(&node, "/a").await.expect_status(200);
    assert!(hit.is_hit(), "{}", hit.cache_status());
    assert!(hit.cache_status().contains("ttl="), "{}", hit.cache_status());
    assert!(hit.header("age").is_some(), "a response from the cache has an Age (RFC 9111 section 5.1)");
    assert_eq!(hit.text(), "hello");
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_stored_is_fetched_every_time() {
    let (origin, node) = site(|request| {
        let directive = request.target.trim_start_matches('/').replace('_', "-");
        Reply::new(200).header("cache-control", &directive).body("x")
    })
    .await;
    for target in ["/no_store", "/private", "/no_store,max_age=60", "/private,max_age=60"] {
        for _ in 0..3 {
            let response = get(&node, target).await.expect_status(200);
            assert!(!response.is_hit(), "{target}: {}", response.cache_status());
        }
        assert_eq!(origin.count(target), 3, "{target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_says_nothing_is_not_reused() {
    let (origin, node) = site(|_| Reply::new(200).body("x")).await;
    get(&node, "/silent").await;
    get(&node, "/silent").await;
    assert_eq!(origin.count("/silent"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_negative_answer_is_kept_when_it_says_so() {
    let (origin, node) =
        site(|_| Reply::new(404).header("cache-control", "max-age=60").body("nothing here")).await;
    get(&node, "/gone").await.expect_status(404);
    let hit = get(&node, "/gone").await.expect_status(404);
    assert!(hit.is_hit());
    assert_eq!(hit.text(), "nothing here");
    assert_eq!(origin.count("/gone"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn head_is_answered_from_a_stored_get() {
    let (origin, node) = site(|_| Reply::cacheable("hello").header("etag", "\"1\"")).await;
    get(&node, "/a").await;
    let head = node.send(Request::new("HEAD", "/a").host(HOST)).await.expect_status(200);
    assert!(head.is_hit());
    assert_eq!(head.header("content-length"), Some("5"));
    assert!(head.body.is_empty());
    assert_eq!(origin.total(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_head_is_no_answer_to_get() {
    let (origin, node) = site(|_| Reply::cacheable("hello")).await;
    node.send(Request::new("HEAD", "/a").host(HOST)).await.expect_status(200);
    assert_eq!(get(&node, "/a").await.text(), "hello");
    assert!(origin.requests().iter().any(|request| request.method == "GET"));
}

#[tokio::test(flavor = "multi_thread")]
async fn variants_are_told_apart_by_what_vary_names() {
    let (origin, node) = site(|request| {
        let language = request.header("accept-language").unwrap_or("none").to_owned();
        Reply::cacheable(language).header("vary", "Accept-Language")
    })
    .await;
    for round in 0..2 {
        for language in ["de", "en"] {
            let response = get_with(&node, "/v", &[("accept-language", language)]).await;
            assert_eq!(response.text(), language);
            assert_eq!(response.is_hit(), round == 1, "{}", response.cache_status());
        }
    }
    let without = get(&node, "/v").await;
    assert_eq!(without.text(), "none");
    assert_eq!(origin.count("/v"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn vary_star_is_never_reused() {
    let (origin, node) = site(|_| Reply::cacheable("x").header("vary", "*")).await;
    get(&node, "/v").await;
    get(&node, "/v").await;
    assert_eq!(origin.count("/v"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsafe_method_invalidates_what_it_may_have_changed() {
    let (origin, node) = site(|request| match request.method.as_str() {
        "POST" => Reply::new(201).header("location", "/list?page=1").body("made"),
        _ => Reply::cacheable("listed"),
    })
    .await;
    for target in ["/list", "/list?page=1"] {
        get(&node, target).await;
        assert!(get(&node, target).await.is_hit());
    }
    let post = Request::new("POST", "/list").host(HOST).body("new entry");
    node.send(post).await.expect_status(201);
    assert_eq!(origin.last("/list").map(|request| request.body), Some("new entry".into()));
    for target in ["/list", "/list?page=1"] {
        let after = get(&node, target).await;
        assert!(!after.is_hit(), "{target}: RFC 9111 section 4.4: {}", after.cache_status());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_if_cached_never_asks_the_origin() {
    let (origin, node) = site(|_| Reply::cacheable("x")).await;
    get_with(&node, "/a", &[("cache-control", "only-if-cached")]).await.expect_status(504);
    assert_eq!(origin.total(), 0);
    get(&node, "/a").await;
    let hit = get_with(&node, "/a", &[("cache-control", "only-if-cached")]).await.expect_status(200);
    assert!(hit.is_hit());
    assert_eq!(origin.total(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_one_connection_stay_on_it() {
    let (origin, node) = site(|_| {
        Reply::cacheable("x")
            .header("connection", "x-hop, keep-alive")
            .header("x-hop", "of this connection")
            .header("keep-alive", "timeout=5")
            .header("x-end", "to end")
    })
    .await;
    let sent =
        [("connection", "x-mine"), ("x-mine", "of this connection"), ("te", "trailers"), ("x-other", "1")];
    for _ in 0..2 {
        let response = get_with(&node, "/a", &sent).await.expect_status(200);
        assert_eq!(response.header("x-hop"), None, "RFC 9110 section 7.6.1");
        assert_eq!(response.header("keep-alive"), None);
        assert_eq!(response.header("x-end"), Some("to end"));
    }
    let asked = origin.last("/a").expect("the origin was asked");
    assert_eq!(asked.header("x-mine"), None);
    assert_eq!(asked.header("x-other"), Some("1"));
    assert!(asked.header("via").is_some(), "RFC 9110 section 7.6.3");
    assert!(asked.header("cdn-loop").is_some(), "RFC 8586");
}

#[tokio::test(flavor = "multi_thread")]
async fn interim_responses_are_passed_on() {
    let (_origin, node) = site(|_| {
        Reply::new(200)
            .interim(103, &[("link", "</style.css>; rel=preload")])
            .header("cache-control", "no-store")
            .body("x")
    })
    .await;
    let response = get(&node, "/a").await.expect_status(200);
    assert_eq!(response.interim.len(), 1, "{:?}", response.interim);
    assert_eq!(response.interim[0].status, 103);
    assert_eq!(response.interim[0].header("link"), Some("</style.css>; rel=preload"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_object_is_served_over_every_protocol() {
    let origin = TestOrigin::start(|_| Reply::cacheable("hello")).await;
    let ca = TestCa::new();
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let files = ca.issue(dir.path(), "edge", &[HOST]);
    let node = Node::builder().origin(origin.url()).certificate(&files).start().await;
    assert_eq!(get(&node, "/a").await.text(), "hello");

    let h2c = H2Client::connect(node.http()).await;
    let hit = h2c.send(&request("/a", &[])).await.expect("HTTP/2 with prior knowledge is spoken");
    assert_eq!((hit.text().as_str(), hit.is_hit()), ("hello", true));

    let connected = ca.connect(node.https(), HOST, &["http/1.1"]).await;
    let (mut tls, chosen, _) = connected.expect("TLS is spoken");
    assert_eq!(chosen.as_deref(), Some("http/1.1"));
    let over_tls = tls.send(&request("/a", &[])).await.expect("HTTP/1.1 over TLS is spoken");
    assert_eq!(over_tls.text(), "hello");

    let connected = ca.connect(node.https(), HOST, &["h2"]).await;
    let (tls, chosen, _) = connected.expect("TLS is spoken");
    assert_eq!(chosen.as_deref(), Some("h2"));
    let h2 = H2Client::over(tls, "https", HOST).await;
    let over_h2 = h2.send(&request("/a", &[])).await.expect("HTTP/2 over TLS is spoken");
    assert_eq!((over_h2.text().as_str(), over_h2.is_hit()), ("hello", true));
}
