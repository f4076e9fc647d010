//! What is one person's stays theirs: deception by path, cookies, credentials.

use starling_tests::{Received, Reply, Request};

use crate::stage;

/// The account page of whoever's cookie or credentials came, wherever under `/account` it is asked for.
fn account(request: &Received, cache_control: Option<&str>) -> Reply {
    let whose = request.header("cookie").or(request.header("authorization")).unwrap_or("nobody");
    let reply = Reply::new(200).header("content-type", "text/css").body(format!("account of {whose}"));
    match cache_control {
        Some(directives) => reply.header("cache-control", directives),
        None => reply,
    }
}

const DECEPTIVE: [&str; 14] = [
    "/account/x.css",
    "/account;x.css",
    "/account.css",
    "/account%0ax.css",
    "/account%23x.css",
    "/account%3fx.css",
    "/account%00.js",
    "/account/x.jpg?y.png",
    "/account/..%2fstatic/x.css",
    "/static/..%2faccount",
    "/static/%2e%2e/account",
    "/account//x.woff2",
    "/account/robots.txt",
    "/account/favicon.ico",
];

#[tokio::test]
async fn a_path_that_looks_static_does_not_make_a_page_public() {
    for directives in [
        Some("private"),
        Some("no-store"),
        Some("private, max-age=600"),
        Some("no-cache, no-store, must-revalidate"),
        None,
    ] {
        let (_origin, node) = stage(move |request| account(request, directives)).await;
        for target in DECEPTIVE {
            node.get_with(target, &[("Cookie", "session=victim")]).await.expect_status(200);
            let attacker = node.get(target).await;
            assert_eq!(attacker.text(), "account of nobody", "{target} with {directives:?}");
        }
    }
}

#[tokio::test]
async fn a_response_that_sets_a_cookie_is_not_shared_by_default() {
    for (name, directives, modified) in [
        ("nothing", None, false),
        ("Last-Modified", None, true),
        ("private", Some("private, max-age=600"), false),
        ("no-store", Some("no-store"), false),
    ] {
        let (origin, node) = stage(move |request| {
            let reply = account(request, directives).header("set-cookie", "session=of-the-first; Path=/");
            if modified { reply.header("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT") } else { reply }
        })
        .await;
        node.get("/login").await.expect_status(200);
        node.get("/login").await.expect_status(200);
        assert_eq!(origin.count("/login"), 2, "a session was shared with {name}");
    }
}

/// RFC 9111 section 3.5.
#[tokio::test]
async fn an_answer_to_credentials_is_not_shared_unless_it_says_so() {
    for (directives, shared) in [
        ("max-age=600", false),
        ("private, max-age=600", false),
        ("no-cache", false),
        ("max-age=600, public", true),
        ("s-maxage=600", true),
        ("max-age=600, must-revalidate", true),
    ] {
        let (_origin, node) = stage(move |request| account(request, Some(directives))).await;
        node.get_with("/page", &[("Authorization", "Basic victim")]).await.expect_status(200);
        let attacker = node.get("/page").await.text();
        let expected = if shared { "account of Basic victim" } else { "account of nobody" };
        assert_eq!(attacker, expected, "{directives}");
    }
}

#[tokio::test]
async fn followers_of_a_fill_do_not_see_another_persons_page() {
    let gate = starling_tests::Gate::new();
    let held = gate.clone();
    let (origin, node) = stage(move |request| account(request, Some("private")).head_waits_at(&held)).await;
    let ask = |whose: &str| node.send(Request::get("/account/x.css").header("Cookie", whose));
    let opener = async {
        // The first is at the gate; the second follows it or asks for itself.
        gate.reached(1).await;
        gate.open();
    };
    let (first, second, ()) = tokio::join!(ask("session=one"), ask("session=two"), opener);
    assert_eq!(first.text(), "account of session=one");
    assert_eq!(second.text(), "account of session=two");
    assert_eq!(origin.total(), 2);
}
