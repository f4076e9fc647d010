//! Who may share a stored object, and who may take it away: one client's fields, methods and failures are not
//! another's.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use starling_tests::{Gate, Node, Received, Reply, Request, Response, TestOrigin};

use super::{HOST, get, get_with, request, site, under_way};

/// A page that anybody may have, as long as nobody shows bad credentials.
fn public_page(request: &Received) -> Reply {
    match request.header("authorization") {
        Some("Bearer junk") => Reply::new(401).header("www-authenticate", "Bearer").body("who are you?"),
        Some("malformed") => Reply::new(400).body("what?"),
        _ => Reply::file(request, "public".into(), "\"1\""),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_refuses_for_itself_stays_for_the_others() {
    let (_origin, node) = site(public_page).await;
    let refusals: [&[(&str, &str)]; 8] = [
        &[("cache-control", "no-store")],
        &[("cache-control", "no-cache")],
        &[("cache-control", "no-cache, no-store")],
        &[("cache-control", "max-age=0, no-store")],
        &[("authorization", "Bearer good")],
        &[("cache-control", "no-cache"), ("authorization", "Bearer good")],
        &[("cache-control", "no-cache"), ("authorization", "Bearer junk")],
        &[("cache-control", "no-cache"), ("authorization", "malformed")],
    ];
    for (number, headers) in refusals.into_iter().enumerate() {
        let target = format!("/page/{number}");
        get(&node, &target).await.expect_status(200);
        assert!(get(&node, &target).await.is_hit());
        get_with(&node, &target, headers).await;
        let next = get(&node, &target).await.expect_status(200);
        assert!(next.is_hit(), "{headers:?} cost the others their object: {}", next.cache_status());
        assert_eq!(next.text(), "public", "{headers:?}");
    }
}

/// A HEAD whose answer names no validator contradicts nothing (RFC 9111 section 4.3.5).
#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_says_less_evicts_nothing() {
    let (_origin, node) = site(|request| match request.method.as_str() {
        "HEAD" => Reply::cacheable("public"),
        _ => Reply::file(request, "public".into(), "\"1\""),
    })
    .await;
    get(&node, "/page").await.expect_status(200);
    let head = Request::new("HEAD", "/page").host(HOST).header("cache-control", "no-cache");
    node.send(head).await.expect_status(200);
    let next = get(&node, "/page").await;
    assert!(next.is_hit(), "{}", next.cache_status());
    assert_eq!(next.header("etag"), Some("\"1\""), "what the HEAD left out is still known");
}

/// Waits for the origin's answer to `asking` at its gate, changes the object meanwhile, lets the answer come.
async fn change_under(asking: impl Future<Output = Response>, gate: &Gate, origin: &TestOrigin, node: &Node) {
    let change = async {
        gate.reached(1).await;
        origin.answer(|request| match request.method.as_str() {
            "PUT" => Reply::new(204),
            _ => Reply::file(request, "new".into(), "\"2\""),
        });
        node.send(Request::new("PUT", "/a").host(HOST).body("new")).await.expect_status(204);
        gate.open();
    };
    let (answer, ()) = tokio::join!(asking, change);
    assert_eq!(answer.status, 200);
    for _ in 0..2 {
        let after = get(node, "/a").await.expect_status(200);
        assert_eq!(after.text(), "new", "RFC 9111 section 4.4: {}", after.cache_status());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_304_to_a_question_from_before_a_put_freshens_nothing() {
    let (origin, node) =
        site(|request| Reply::file(request, "old".into(), "\"1\"").header("age", "7200")).await;
    get(&node, "/a").await;
    let gate = Gate::new();
    let closed = gate.clone();
    origin.answer(move |request| Reply::file(request, "old".into(), "\"1\"").head_waits_at(&closed));
    change_under(get(&node, "/a"), &gate, &origin, &node).await;
    let asked = origin.requests();
    assert!(asked.iter().any(|request| request.header("if-none-match") == Some("\"1\"")), "it was validated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fill_from_before_a_put_is_not_found_after_it() {
    let gate = Gate::new();
    let closed = gate.clone();
    let (origin, node) =
        site(move |request| Reply::file(request, "old".into(), "\"1\"").head_waits_at(&closed)).await;
    change_under(get(&node, "/a"), &gate, &origin, &node).await;
    let gate = Gate::new();
    let closed = gate.clone();
    origin.answer(move |request| Reply::file(request, "old".into(), "\"1\"").body_waits_at(1, &closed));
    node.purge(serde_json::json!({"all": true})).await;
    change_under(get(&node, "/a"), &gate, &origin, &node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bypass_holds_however_its_path_is_spelled() {
    let origin = TestOrigin::start(|request| Reply::cacheable(request.target.clone())).await;
    let toml = format!(
        "[[services]]\nname = \"site\"\nhosts = [\"*\"]\norigins = [\"{}\"]\n\
         bypass = [{{ path_prefix = \"/account\" }}]\n",
        origin.url()
    );
    let node = Node::builder().toml(toml).start().await;
    // RFC 3986 section 6.2.2.2: an unreserved character is the same, encoded or not.
    for target in ["/account/me", "/%61ccount/me", "/accoun%74/me", "/%61%63%63%6F%75%6e%74/me"] {
        for _ in 0..2 {
            let before = origin.total();
            let response = get(&node, target).await.expect_status(200);
            assert!(!response.is_hit(), "{target}: {}", response.cache_status());
            assert_eq!(origin.total(), before + 1, "{target}");
        }
    }
    get(&node, "/counter").await;
    assert!(get(&node, "/counter").await.is_hit());
}

/// An origin that compresses for who accepts it, and forgets to say so in `Vary`.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_gets_no_coding_that_it_did_not_accept() {
    let gate = Gate::new();
    let closed = gate.clone();
    let (origin, node) = site(move |request| {
        let reply = match request.header("accept-encoding") {
            Some(accepted) if accepted.contains("gzip") => {
                Reply::cacheable("gzipped").header("content-encoding", "gzip")
            }
            _ => Reply::cacheable("plain"),
        };
        reply.head_waits_at(&closed)
    })
    .await;
    let follows = async {
        gate.reached(1).await;
        let opens = async {
            under_way(&node, 2).await;
            gate.open();
        };
        tokio::join!(get(&node, "/a"), opens).0
    };
    let (leader, follower) = tokio::join!(get_with(&node, "/a", &[("accept-encoding", "gzip")]), follows);
    assert_eq!(leader.status, 200);
    assert_eq!(follower.header("content-encoding"), None, "{}", follower.cache_status());
    assert_eq!(follower.expect_status(200).text(), "plain");
    assert!(origin.count("/a") <= 2, "{}", origin.count("/a"));
}

/// A page in two languages, each with a validator of its own, stale from the start and to be validated.
fn translated(request: &Received) -> Reply {
    let language = request.header("accept-language").unwrap_or("none");
    let etag = format!("\"{language}\"");
    let page = Reply::file(request, language.to_owned().into(), &etag).header("vary", "Accept-Language");
    let page = page.header("cache-control", "must-revalidate");
    match request.header("if-none-match") {
        Some(_) => page,
        None => page.header("age", "7200"),
    }
}

const EN: (&str, &str) = ("accept-language", "en");
const DE: (&str, &str) = ("accept-language", "de");

async fn two_stale_variants() -> (TestOrigin, Node) {
    let (origin, node) = site(translated).await;
    for language in ["en", "de"] {
        let stored = get_with(&node, "/v", &[("accept-language", language)]).await.expect_status(200);
        assert_eq!(stored.text(), language);
    }
    under_way(&node, 0).await;
    (origin, node)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_variants_are_validated_at_once_each_by_its_own_etag() {
    let (origin, node) = two_stale_variants().await;
    let gate = Gate::new();
    let closed = gate.clone();
    origin.answer(move |request| translated(request).head_waits_at(&closed));
    let opens = async {
        gate.reached(2).await;
        gate.open();
    };
    let (en, de) = (get_with(&node, "/v", &[EN]), get_with(&node, "/v", &[DE]));
    let (en, de, ()) = tokio::join!(en, de, opens);
    assert_eq!((en.status, en.text().as_str()), (200, "en"), "{}", en.cache_status());
    assert_eq!((de.status, de.text().as_str()), (200, "de"), "{}", de.cache_status());
    let questions: Vec<_> = origin.requests().split_off(2);
    for question in &questions {
        let etag = question.header("accept-language").map(|language| format!("\"{language}\""));
        assert_eq!(question.header("if-none-match"), etag.as_deref(), "asked for something not stored");
    }
    assert_eq!(questions.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_variants_failure_is_not_the_others() {
    let (origin, node) = two_stale_variants().await;
    let gate = Gate::new();
    let closed = gate.clone();
    origin.answer(move |request| match request.header("accept-language") {
        // No response that can be read: the failure of an origin, at a moment of the test's choosing.
        Some("en") => Reply::cacheable("x").header("content-length", "many").head_waits_at(&closed),
        _ => translated(request),
    });
    let de_meanwhile = async {
        gate.reached(1).await;
        let de = get_with(&node, "/v", &[DE]).await;
        gate.open();
        de
    };
    let (en, de) = tokio::join!(get_with(&node, "/v", &[EN]), de_meanwhile);
    assert!((500..600).contains(&en.status), "{}", en.status);
    assert_eq!((de.status, de.text().as_str()), (200, "de"), "{}", de.cache_status());

    origin.answer(|request| match request.header("accept-language") {
        Some("en") => Reply::drop_connection(),
        _ => translated(request),
    });
    let en = get_with(&node, "/v", &[EN]).await;
    assert!((500..600).contains(&en.status), "{}", en.status);
    let de = get_with(&node, "/v", &[DE]).await.expect_status(200);
    assert_eq!(de.text(), "de", "{}", de.cache_status());
}

/// Each client's validation is its own (RFC 9111 section 5.2.2.4), so nobody has to wait for another's.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_validation_that_serves_another() {
    let (origin, node) =
        site(|request| Reply::file(request, "hello".into(), "\"1\"").header("cache-control", "no-cache"))
            .await;
    get(&node, "/a").await.expect_status(200);
    let gate = Gate::new();
    let closed = gate.clone();
    let asked = AtomicUsize::new(0);
    origin.answer(move |request| {
        let reply = Reply::file(request, "hello".into(), "\"1\"").header("cache-control", "no-cache");
        if asked.fetch_add(1, Ordering::SeqCst) == 0 { reply.head_waits_at(&closed) } else { reply }
    });
    let others = async {
        gate.reached(1).await;
        let others = join_all((0..19).map(|_| get(&node, "/a"))).await;
        gate.open();
        others
    };
    let (first, mut answers) = tokio::join!(get(&node, "/a"), others);
    answers.push(first);
    for answer in answers {
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"), "{}", answer.cache_status());
    }
}

/// RFC 9110 section 15.4.5: a 304 carries the ETag that the 200 would have.
#[tokio::test(flavor = "multi_thread")]
async fn a_304_names_the_etag_of_what_the_client_holds() {
    let text = "a line of a text that compresses\n".repeat(1000);
    let (origin, node) = site(move |request| {
        Reply::file(request, text.clone().into(), "\"1\"").header("content-type", "text/plain")
    })
    .await;
    for accepted in ["gzip", "br", "zstd"] {
        let coding = ("accept-encoding", accepted);
        let held = get_with(&node, "/t", &[coding]).await.expect_status(200);
        assert_eq!(held.header("content-encoding"), Some(accepted));
        assert_eq!(held.header("etag"), Some("W/\"1\""));
        let same = get_with(&node, "/t", &[coding, ("if-none-match", "W/\"1\"")]).await.expect_status(304);
        assert_eq!(same.header("etag"), Some("W/\"1\""), "{accepted}");
    }
    let plain = node.send(request("/t", &[("if-none-match", "\"1\"")])).await.expect_status(304);
    assert_eq!(plain.header("etag"), Some("\"1\""), "who holds the origin's bytes holds its ETag");
    assert_eq!(origin.total(), 1);
}
