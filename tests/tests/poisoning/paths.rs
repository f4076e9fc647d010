//! Two targets that an origin may tell apart are never one object.

use starling_tests::{Received, Reply, Request};

use crate::{reflect, stage};

/// The first is asked for first; what it got must not be what the second gets.
const PAIRS: [(&str, &str); 32] = [
    ("/a/b", "/a%2fb"),
    ("/a%2Fb", "/a/b"),
    ("/x/../b", "/b"),
    ("/x/..%2fc", "/c"),
    ("/x/%2e%2e%2fd", "/d"),
    ("/x%2f..%2fe", "/e"),
    ("/x/%2e%2e/f", "/f"),
    ("/x/..;/g", "/g"),
    ("//h", "/h"),
    ("/i/", "/i"),
    ("/i//j", "/i/j"),
    ("/k/./l", "/k/l"),
    ("/m;x", "/m"),
    ("/m;x=y", "/m;x"),
    ("/n%00", "/n"),
    ("/n%00.css", "/n"),
    ("/o%23p", "/o"),
    ("/q%3fr", "/q?r"),
    ("/q?r", "/q"),
    ("/s%20", "/s"),
    ("/s%0a", "/s"),
    ("/s%0d%0aX:y", "/s"),
    ("/T", "/t"),
    ("/u%5cv", "/u/v"),
    ("/w%253f", "/w%3f"),
    ("/a?b=c&d=e", "/a?d=e&b=c"),
    ("/a?b=1;c=2", "/a?b=1&c=2"),
    ("/a?b=%26c", "/a?b=&c"),
    ("/a?b=1&b=2", "/a?b=2"),
    ("/a?utm_source=evil", "/a"),
    ("/a?cb=1&utm_content=x;cb=evil", "/a?cb=1"),
    ("/a?x=%2b", "/a?x=+"),
];

#[tokio::test]
async fn targets_that_differ_are_stored_apart() {
    let (origin, node) = stage(|request: &Received| Reply::cacheable(format!("<{}>", request.target))).await;
    for (index, (first, second)) in PAIRS.into_iter().enumerate() {
        let (first, second) = (format!("/{index}{first}"), format!("/{index}{second}"));
        let before = origin.total();
        node.get(&first).await.expect_status(200);
        node.get(&second).await.expect_status(200);
        assert_eq!(origin.total(), before + 2, "{second} was answered with what {first} got");
        // Each is found again under its own name, and holds what the origin said to that name.
        let (of_first, of_second) = (node.get(&first).await.text(), node.get(&second).await.text());
        assert_ne!(of_first, of_second, "{first}, {second}");
        assert_eq!(origin.total(), before + 2, "{first} or {second} was not stored");
    }
}

#[tokio::test]
async fn targets_that_mean_the_same_agree_with_what_the_origin_saw() {
    // RFC 3986 section 6.2.2: one object or two, but nobody gets what an origin said to another meaning.
    let (_origin, node) = stage(|request: &Received| {
        let plain = request.target.replace("%7E", "~").replace("%7e", "~").replace("%41", "A");
        Reply::cacheable(plain)
    })
    .await;
    for target in ["/~A", "/%7eA", "/%7E%41"] {
        assert_eq!(node.get(target).await.text(), "/~A", "{target}");
    }
}

#[tokio::test]
async fn hosts_are_stored_apart() {
    let (_origin, node) = stage(reflect).await;
    let pairs = [
        ("evil.test", "victim.test"),
        ("victim.test:8080", "victim.test"),
        ("victim.test:1", "victim.test:2"),
        ("victim.test.evil.test", "victim.test"),
        ("[::1]", "victim.test"),
    ];
    for (index, (first, second)) in pairs.into_iter().enumerate() {
        let target = format!("/host/{index}");
        node.send(Request::get(&target).host(first)).await.expect_status(200);
        let victim = node.send(Request::get(&target).host(second)).await.expect_status(200);
        assert!(
            victim.text().contains(&format!("\nhost: {second}\n")),
            "{first}, {second}: {}",
            victim.text()
        );
    }
}

#[tokio::test]
async fn spellings_of_one_host_do_not_reach_a_stored_response() {
    // An origin that reflects the spelling of Host must not have it stored for those who spell it otherwise.
    let (_origin, node) = stage(reflect).await;
    for (index, spelling) in
        ["VICTIM.test", "victim.test:80", "victim.test.", "Victim.Test:80"].into_iter().enumerate()
    {
        let target = format!("/spelling/{index}");
        node.send(Request::get(&target).host(spelling)).await.expect_status(200);
        let victim = node.send(Request::get(&target).host("victim.test")).await.expect_status(200);
        assert!(victim.text().contains("\nhost: victim.test\n"), "{spelling}: {}", victim.text());
    }
}

#[tokio::test]
async fn an_absolute_target_poisons_its_own_host_only() {
    let (_origin, node) = stage(reflect).await;
    let mut connection = node.connect().await;
    connection
        .write("GET http://evil.test/page HTTP/1.1\r\nHost: victim.test\r\n\r\n")
        .await
        .expect("the node reads");
    let _ = connection.read_response("GET").await;
    let victim = node.send(Request::get("/page").host("victim.test")).await.expect_status(200);
    assert!(!victim.text().contains("evil.test"), "{}", victim.text());
}

#[tokio::test]
async fn the_scheme_separates_what_depends_on_it() {
    // An origin that sends cleartext clients to https, cacheably: stored for https too, it is a loop without end.
    let ca = starling_tests::TestCa::new();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let files = ca.issue(dir.path(), "node", &["victim.test"]);
    let origin =
        starling_tests::TestOrigin::start(|request: &Received| match request.header("x-forwarded-proto") {
            Some("https") => Reply::cacheable("page"),
            _ => Reply::new(301)
                .header("cache-control", "max-age=3600")
                .header("location", "https://victim.test/page"),
        })
        .await;
    let node = starling_tests::Node::builder().origin(origin.url()).certificate(&files).start().await;
    node.send(Request::get("/page").host("victim.test")).await.expect_status(301);
    let (mut connection, _, _) = ca.connect(node.https(), "victim.test", &["http/1.1"]).await.expect("TLS");
    let victim = connection.send(&Request::get("/page")).await.expect("answered");
    assert_eq!((victim.status, victim.text().as_str()), (200, "page"));
}
