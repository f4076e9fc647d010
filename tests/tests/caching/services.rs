//! Services: which host goes where, how keys are made, what is edited, bypassed and overridden.

use starling_tests::{Node, Reply, TestOrigin};

use super::HOST;

async fn echo() -> TestOrigin {
    TestOrigin::start(|request| Reply::cacheable(request.target.clone())).await
}

fn service(name: &str, host: &str, origin: &TestOrigin, more: &str) -> String {
    format!(
        "[[services]]\nname = \"{name}\"\nhosts = [\"{host}\"]\norigins = [\"{}\"]\n{more}\n",
        origin.url()
    )
}

async fn one_service(origin: &TestOrigin, more: &str) -> Node {
    Node::builder().toml(service("site", "*", origin, more)).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_host_goes_to_its_own_origin() {
    let (one, two, rest) = (echo().await, echo().await, echo().await);
    let toml = [
        service("one", "one.example.org", &one, ""),
        service("two", "*.two.example.org", &two, ""),
        service("rest", "*", &rest, ""),
    ];
    let node = Node::builder().toml(toml.concat()).start().await;
    for (host, origin) in [
        ("one.example.org", &one),
        ("ONE.example.org", &one),
        ("one.example.org:80", &one),
        ("a.two.example.org", &two),
        ("elsewhere.example.net", &rest),
    ] {
        let before = origin.total();
        let target = format!("/{}", host.replace([':', '.'], "-"));
        node.get_with(&target, &[("host", host)]).await.expect_status(200);
        assert_eq!(origin.total(), before + 1, "{host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_host_reaches_no_origin() {
    let origin = echo().await;
    let node = Node::builder().toml(service("one", "one.example.org", &origin, "")).start().await;
    let refused = node.get_with("/", &[("host", "other.example.org")]).await;
    assert!((400..500).contains(&refused.status), "{}", refused.status);
    assert_eq!(origin.total(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_of_one_service_share_nothing() {
    let origin = echo().await;
    let node = one_service(&origin, "").await;
    for host in ["a.example.org", "b.example.org"] {
        assert!(!node.get_with("/x", &[("host", host)]).await.is_hit(), "{host}");
        assert!(node.get_with("/x", &[("host", host)]).await.is_hit(), "{host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_ignores_what_it_is_told_to_ignore() {
    let origin = echo().await;
    let node =
        one_service(&origin, "[services.key]\nquery_deny = [\"utm_*\", \"fbclid\"]\nsort_query = true").await;
    let host = ("host", HOST);
    node.get_with("/a?x=1&y=2", &[host]).await;
    for same in ["/a?x=1&y=2&utm_source=mail", "/a?y=2&x=1", "/a?fbclid=1&x=1&y=2"] {
        assert!(node.get_with(same, &[host]).await.is_hit(), "{same}");
    }
    for other in ["/a?x=1", "/a?x=1&y=3", "/a"] {
        assert!(!node.get_with(other, &[host]).await.is_hit(), "{other}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_counts_what_it_is_told_to_count() {
    let origin = echo().await;
    let node =
        one_service(&origin, "[services.key]\nheaders = [\"x-country\"]\ncookies = [\"currency\"]").await;
    let cases: [&[(&str, &str)]; 4] = [
        &[("x-country", "de")],
        &[("x-country", "fr")],
        &[("cookie", "currency=eur; other=1")],
        &[("cookie", "other=2; currency=usd")],
    ];
    for headers in cases {
        let headers = [&[("host", HOST)], headers].concat();
        assert!(!node.get_with("/a", &headers).await.is_hit(), "{headers:?}");
        assert!(node.get_with("/a", &headers).await.is_hit(), "{headers:?}");
    }
    let same = [("host", HOST), ("cookie", "other=9; currency=eur")];
    assert!(node.get_with("/a", &same).await.is_hit(), "other cookies do not count");
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_are_edited_on_both_ways() {
    let origin =
        TestOrigin::start(|_| Reply::cacheable("x").header("server", "origin/1").header("x-a", "1")).await;
    let edits = "request_headers = [{ set = \"x-edge\", value = \"yes\" }, { remove = \"x-secret\" }]\n\
                 response_headers = [{ remove = \"server\" }, { set = \"x-a\", value = \"2\" }, \
                 { add = \"x-b\", value = \"3\" }]";
    let node = one_service(&origin, edits).await;
    for _ in 0..2 {
        let response = node.get_with("/a", &[("host", HOST), ("x-secret", "1")]).await;
        assert_eq!(response.joined("x-a"), "2");
        assert_eq!(response.joined("x-b"), "3");
        assert_ne!(response.header("server"), Some("origin/1"));
    }
    let asked = origin.last("/a").expect("the origin was asked");
    assert_eq!(asked.header("x-edge"), Some("yes"));
    assert_eq!(asked.header("x-secret"), None);
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bypass_goes_past_the_cache_both_ways() {
    let origin = echo().await;
    let bypass =
        "bypass = [{ path_prefix = \"/api/\" }, { cookie = \"session*\" }, { header = \"x-preview\" }]";
    let node = one_service(&origin, bypass).await;
    let host = ("host", HOST);
    node.get_with("/a", &[host]).await;
    for (target, header) in
        [("/api/x", ("x-nothing", "1")), ("/a", ("cookie", "session_id=1")), ("/a", ("x-preview", "1"))]
    {
        for _ in 0..2 {
            let before = origin.total();
            let response = node.get_with(target, &[host, header]).await.expect_status(200);
            assert!(!response.is_hit(), "{target} {header:?}");
            assert_eq!(origin.total(), before + 1, "{target} {header:?}");
        }
    }
    assert!(node.get_with("/a", &[host]).await.is_hit());
}

#[tokio::test(flavor = "multi_thread")]
async fn lifetimes_may_be_overridden_but_not_privacy() {
    let origin = TestOrigin::start(|request| match request.target.as_str() {
        "/private" => Reply::new(200).header("cache-control", "private").body("x"),
        _ => Reply::new(200).header("cache-control", "max-age=0").body("x"),
    })
    .await;
    let node =
        one_service(&origin, "[[services.policy.ttl_override]]\npath_prefix = \"/\"\nttl_ms = \"10m\"").await;
    let host = ("host", HOST);
    for (target, hits) in [("/page", true), ("/private", false)] {
        node.get_with(target, &[host]).await;
        assert_eq!(node.get_with(target, &[host]).await.is_hit(), hits, "{target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_origin_is_passed_over() {
    let alive = echo().await;
    let dead = TestOrigin::start(|_| Reply::new(200)).await;
    let toml = format!(
        "[[services]]\nname = \"site\"\nhosts = [\"*\"]\norigins = [\"{}\", \"{}\"]\n",
        dead.url(),
        alive.url()
    );
    dead.stop().await;
    let node = Node::builder().toml(toml).start().await;
    for number in 0..10 {
        node.get_with(&format!("/{number}"), &[("host", HOST)]).await.expect_status(200);
    }
    assert_eq!(alive.total(), 10);
}
