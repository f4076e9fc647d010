//! Purges: what each selector takes, what soft leaves, and that there is no way back (promises P1 and P3).

use serde_json::json;
use starling_tests::{Gate, Node, RawConn, Reply, Request, TestOrigin, content};

use super::{HOST, get, get_with, request, site};

/// An origin whose objects carry the fields that purges select by.
async fn tagged() -> (TestOrigin, Node) {
    site(|request| {
        let tags = match request.path() {
            "/shop/hat" => "product hat",
            "/shop/shoe" => "product shoe",
            _ => "page",
        };
        Reply::cacheable(request.target.clone()).header("surrogate-key", tags).header("etag", "\"1\"")
    })
    .await
}

const TARGETS: [&str; 4] = ["/shop/hat", "/shop/hat?size=2", "/shop/shoe", "/about"];

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_takes_what_it_names_and_nothing_else() {
    let url = |path: &str| format!("http://{HOST}{path}");
    let cases = [
        (json!({"urls": [url("/shop/hat")]}), vec!["/shop/hat"]),
        (json!({"urls": [url("/shop/hat?size=2"), url("/about")]}), vec!["/shop/hat?size=2", "/about"]),
        (json!({"tags": ["hat"]}), vec!["/shop/hat", "/shop/hat?size=2"]),
        (json!({"tags": ["product"]}), vec!["/shop/hat", "/shop/hat?size=2", "/shop/shoe"]),
        (json!({"tags": ["hat", "page"]}), vec!["/shop/hat", "/shop/hat?size=2", "/about"]),
        (json!({"prefixes": [url("/shop/s")]}), vec!["/shop/shoe"]),
        (json!({"prefixes": [url("/shop/")]}), vec!["/shop/hat", "/shop/hat?size=2", "/shop/shoe"]),
        (json!({"hosts": [HOST]}), TARGETS.to_vec()),
        (json!({"hosts": ["other.example.org"]}), vec![]),
        (json!({"all": true}), TARGETS.to_vec()),
    ];
    let (_origin, node) = tagged().await;
    for (purge, gone) in cases {
        for target in TARGETS {
            get(&node, target).await;
            assert!(get(&node, target).await.is_hit());
        }
        node.purge(purge.clone()).await;
        for target in TARGETS {
            let response = get(&node, target).await;
            assert_eq!(
                response.is_hit(),
                !gone.contains(&target),
                "{purge} and {target}: {}",
                response.cache_status()
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_of_a_url_takes_all_its_variants() {
    let (_origin, node) = site(|_| Reply::cacheable("x").header("vary", "accept-language")).await;
    for language in ["de", "en"] {
        get_with(&node, "/v", &[("accept-language", language)]).await;
        assert!(get_with(&node, "/v", &[("accept-language", language)]).await.is_hit());
    }
    node.purge(json!({"urls": [format!("http://{HOST}/v")]})).await;
    for language in ["de", "en"] {
        assert!(!get_with(&node, "/v", &[("accept-language", language)]).await.is_hit(), "{language}");
    }
}

/// RFC 9875: the answer to an unsafe method names the groups that it made old.
#[tokio::test(flavor = "multi_thread")]
async fn an_origin_invalidates_its_own_groups() {
    let (_origin, node) = site(|request| match (request.method.as_str(), request.path()) {
        ("POST", _) => Reply::new(204).header("cache-group-invalidation", "\"hats\""),
        (_, "/hat") => Reply::cacheable("hat").header("cache-groups", "\"hats\", \"all\""),
        _ => Reply::cacheable("shoe").header("cache-groups", "\"all\""),
    })
    .await;
    for target in ["/hat", "/shoe"] {
        get(&node, target).await;
        assert!(get(&node, target).await.is_hit(), "{target}");
    }
    node.send(Request::new("POST", "/stock").host(HOST)).await.expect_status(204);
    assert!(!get(&node, "/hat").await.is_hit());
    assert!(get(&node, "/shoe").await.is_hit());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_answers_with_its_place_in_the_log() {
    let (_origin, node) = tagged().await;
    let first = node.purge(json!({"tags": ["a"]})).await;
    let second = node.purge(json!({"tags": ["b"]})).await;
    let index = |receipt: &serde_json::Value| -> u64 {
        let id = receipt["id"].as_str().unwrap_or_else(|| panic!("no id in {receipt}"));
        let parts: Vec<&str> = id.split('/').collect();
        assert_eq!(parts.len(), 3, "region/epoch/index: {id}");
        parts[2].parse().unwrap_or_else(|_| panic!("no index in {id}"))
    };
    assert!(index(&second) > index(&first), "{first} then {second}");
    assert_eq!(second["missing"].as_array().map(Vec::len), Some(0), "{second}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soft_purge_validates_and_a_hard_one_forgets() {
    let (origin, node) = site(|request| Reply::file(request, "hello".into(), "\"1\"")).await;
    let asked_with = |origin: &TestOrigin| {
        origin.last("/a").and_then(|request| request.header("if-none-match").map(str::to_owned))
    };
    get(&node, "/a").await;
    node.purge(json!({"urls": [format!("http://{HOST}/a")], "soft": true})).await;
    assert_eq!(get(&node, "/a").await.expect_status(200).text(), "hello");
    assert_eq!(asked_with(&origin), Some("\"1\"".to_owned()), "soft: the old bytes may be validated");
    assert!(get(&node, "/a").await.is_hit(), "the 304 made it fresh again");
    assert_eq!(origin.count("/a"), 2);

    node.purge(json!({"urls": [format!("http://{HOST}/a")]})).await;
    assert_eq!(get(&node, "/a").await.expect_status(200).text(), "hello");
    assert_eq!(asked_with(&origin), None, "hard: the old bytes are not even validated");
    assert_eq!(origin.count("/a"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soft_purged_object_outlives_its_origin_and_a_hard_purged_one_does_not() {
    let (origin, node) = site(|_| Reply::cacheable("old").header("etag", "\"1\"")).await;
    get(&node, "/soft").await;
    get(&node, "/hard").await;
    node.purge(json!({"urls": [format!("http://{HOST}/soft")], "soft": true})).await;
    node.purge(json!({"urls": [format!("http://{HOST}/hard")]})).await;
    origin.answer(|_| Reply::drop_connection());
    assert_eq!(get(&node, "/soft").await.expect_status(200).text(), "old");
    let hard = get(&node, "/hard").await;
    assert!(matches!(hard.status, 502 | 504), "{}", hard.status);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fill_that_began_before_a_purge_is_not_served_after_it() {
    let gate = Gate::new();
    let closed = gate.clone();
    let (origin, node) = site(move |_| Reply::cacheable("old").head_waits_at(&closed)).await;
    let purge_under_way = async {
        gate.reached(1).await;
        node.purge(json!({"all": true})).await;
        origin.answer(|_| Reply::cacheable("new"));
        gate.open();
    };
    let (first, ()) = tokio::join!(get(&node, "/a"), purge_under_way);
    assert_eq!(first.text(), "new", "what was asked for before the purge is asked for again");
    let second = get(&node, "/a").await;
    assert_eq!(second.text(), "new", "P1: {}", second.cache_status());
    assert!(get(&node, "/a").await.is_hit());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_follows_a_streaming_fill_that_began_before_a_purge() {
    let gate = Gate::new();
    let closed = gate.clone();
    let (origin, node) = site(move |_| Reply::cacheable("old-old-old").body_waits_at(4, &closed)).await;
    // Who has the head before the purge gets the rest of that response.
    let mut early = RawConn::connect(node.http()).await.expect("the node accepts");
    let head = early.begin(&request("/a", &[])).await.expect("the head comes before the gate");
    node.purge(json!({"tags": ["unrelated"], "urls": [format!("http://{HOST}/a")]})).await;
    origin.answer(|_| Reply::cacheable("new"));
    let after = get(&node, "/a").await;
    assert_eq!(after.text(), "new", "P1: {}", after.cache_status());
    gate.open();
    let mut body = Vec::new();
    let whole = early.read_body("GET", &head, |piece| body.extend_from_slice(piece)).await;
    assert!(whole.is_ok() && body == b"old-old-old", "{whole:?}");
    let last = get(&node, "/a").await;
    assert_eq!(last.text(), "new", "the old fill ended last, and must not replace the newer object");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_304_to_a_question_from_before_a_purge_brings_nothing_back() {
    let (origin, node) =
        site(|request| Reply::file(request, "old".into(), "\"1\"").header("age", "7200")).await;
    get(&node, "/a").await;
    let gate = Gate::new();
    let closed = gate.clone();
    origin.answer(move |request| Reply::file(request, "old".into(), "\"1\"").head_waits_at(&closed));
    let purge_under_way = async {
        gate.reached(1).await;
        node.purge(json!({"all": true})).await;
        origin.answer(|_| Reply::cacheable("new"));
        gate.open();
    };
    tokio::join!(get(&node, "/a"), purge_under_way);
    let after = get(&node, "/a").await;
    assert_eq!(after.text(), "new", "P1: {}", after.cache_status());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_does_not_come_from_purged_bytes() {
    let old = content(1, 600_000);
    let (origin, node) = site(move |request| Reply::file(request, old.clone(), "\"1\"")).await;
    get(&node, "/a").await;
    node.purge(json!({"all": true})).await;
    let new = content(2, 600_000);
    let served = new.clone();
    origin.answer(move |request| Reply::file(request, served.clone(), "\"2\""));
    let part = get_with(&node, "/a", &[("range", "bytes=300000-300099")]).await.expect_status(206);
    assert_eq!(part.body, new.slice(300_000..300_100));
    assert_eq!(get(&node, "/a").await.body, new);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_outlives_kill_9_and_the_objects_on_disk() {
    let body = content(3, 300_000);
    let old = body.clone();
    let (origin, mut node) = site(move |_| Reply::cacheable(old.clone())).await;
    for target in ["/purged", "/kept"] {
        get(&node, target).await;
    }
    node.restart().await;
    for target in ["/purged", "/kept"] {
        let hit = get(&node, target).await;
        assert!(hit.is_hit(), "{target} survives an orderly restart: {}", hit.cache_status());
        assert_eq!(hit.body, body);
    }
    assert_eq!(origin.total(), 2);
    node.purge(json!({"urls": [format!("http://{HOST}/purged")]})).await;
    node.kill9().await;
    node.restart().await;
    origin.answer(|_| Reply::cacheable("new"));
    let purged = get(&node, "/purged").await;
    assert_eq!(purged.text(), "new", "P3: {}", purged.cache_status());
    assert!(get(&node, "/kept").await.is_hit(), "what was not purged is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_purge_method_asks_for_a_token() {
    let token = "a-token-that-nobody-guesses";
    let origin = TestOrigin::start(|_| Reply::cacheable("x")).await;
    let toml = format!(
        "[[services]]\nname = \"site\"\nhosts = [\"*\"]\norigins = [\"{}\"]\n\n\
         [[admin.tokens]]\nname = \"deploy\"\ntoken = \"{token}\"\nscopes = [\"purge\"]\n",
        origin.url()
    );
    let node = Node::builder().toml(toml).start().await;
    get(&node, "/a").await;
    for credentials in [None, Some("Bearer wrong-token-of-some-length"), Some("Basic YTpi")] {
        let mut purge = Request::new("PURGE", "/a").host(HOST);
        if let Some(credentials) = credentials {
            purge = purge.header("authorization", credentials);
        }
        let refused = node.send(purge).await;
        assert!((400..500).contains(&refused.status), "{credentials:?}: {}", refused.status);
        assert!(get(&node, "/a").await.is_hit());
    }
    let purge = Request::new("PURGE", "/a").host(HOST).header("authorization", &format!("Bearer {token}"));
    let done = node.send(purge).await;
    assert!((200..300).contains(&done.status), "{} {}", done.status, done.text());
    assert!(!get(&node, "/a").await.is_hit());
    assert!(origin.requests().iter().all(|request| request.method == "GET"), "PURGE is not for the origin");
}
