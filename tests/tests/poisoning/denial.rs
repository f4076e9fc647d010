//! Denial by cache: an error that one client provokes is not what the others get (CPDoS), and no client can fill
//! the node by varying what it sends.

use starling_tests::{Node, Received, Reply, Request, TestOrigin};

use crate::stage;

/// An origin that chokes on a field which the node passes, and says nothing about how long its error holds.
fn choke(request: &Received) -> Reply {
    match request.header("x-metacharacter").and_then(|value| value.parse::<u16>().ok()) {
        Some(status) => Reply::new(status).body("choked"),
        None => Reply::cacheable("page"),
    }
}

#[tokio::test]
async fn an_error_without_a_lifetime_is_not_stored() {
    let (_origin, node) = stage(choke).await;
    for status in [
        400, 401, 403, 405, 406, 408, 409, 411, 412, 413, 414, 415, 417, 421, 422, 425, 429, 431, 500, 501,
        502, 503, 504,
    ] {
        let target = format!("/page/{status}");
        node.get_with(&target, &[("X-Metacharacter", &status.to_string())]).await;
        let victim = node.get(&target).await;
        assert_eq!((victim.status, victim.text().as_str()), (200, "page"), "after a {status}");
    }
}

#[tokio::test]
async fn an_old_last_modified_does_not_make_an_error_last() {
    // RFC 9111 section 4.2.2: heuristics are for statuses that are heuristically cacheable (RFC 9110 section 15.1).
    let (_origin, node) =
        stage(|request| choke(request).header("last-modified", "Mon, 01 Jan 1990 00:00:00 GMT")).await;
    for status in [400, 401, 403, 413, 417, 429, 431, 500, 502, 503, 504] {
        let target = format!("/page/{status}");
        node.get_with(&target, &[("X-Metacharacter", &status.to_string())]).await;
        let victim = node.get(&target).await;
        assert_eq!((victim.status, victim.text().as_str()), (200, "page"), "after a {status}");
    }
}

/// HHO: the node's limit on heads must not be the origin's problem, and its refusal must not be stored.
#[tokio::test]
async fn a_head_too_large_for_the_origin_hurts_its_sender_only() {
    let (_origin, node) = stage(|request: &Received| {
        if request.raw_head.len() > 8 << 10 {
            Reply::new(431).body("too large")
        } else {
            Reply::cacheable("page")
        }
    })
    .await;
    for bytes in [4_000, 12_000, 20_000, 50_000] {
        let target = format!("/page/{bytes}");
        let _ = node.try_send(Request::get(&target).header("X-Oversize", &"x".repeat(bytes))).await;
        let victim = node.get(&target).await;
        assert_eq!((victim.status, victim.text().as_str()), (200, "page"), "after a head of {bytes} bytes");
    }
}

/// HMC: control characters end at the node.
#[tokio::test]
async fn meta_characters_hurt_their_sender_only() {
    let (origin, node) = stage(choke).await;
    for byte in [0x00, 0x01, 0x07, 0x0b, 0x0c, 0x1b, 0x7f] {
        let mut connection = node.connect().await;
        let bytes =
            [b"GET /page HTTP/1.1\r\nHost: victim.test\r\nX-Meta: a".as_slice(), &[byte], b"b\r\n\r\n"]
                .concat();
        connection.write(bytes).await.expect("the node reads");
        assert_eq!(connection.read_response("GET").await.expect("an answer").status, 400, "{byte:#04x}");
    }
    assert_eq!(origin.total(), 0);
    assert_eq!(node.send(Request::get("/page").host("victim.test")).await.text(), "page");
}

#[tokio::test]
async fn the_nodes_own_errors_are_not_stored() {
    let (origin, node) = stage(|_: &Received| Reply::drop_connection()).await;
    let failed = node.get("/page").await;
    assert!((500..600).contains(&failed.status), "{}", failed.status);
    origin.answer(|_: &Received| Reply::cacheable("page"));
    assert_eq!(node.get("/page").await.expect_status(200).text(), "page");
}

#[tokio::test]
async fn a_client_that_hangs_up_leaves_no_half_page() {
    let gate = starling_tests::Gate::new();
    let held = gate.clone();
    let (_origin, node) =
        stage(move |_: &Received| Reply::cacheable(vec![b'x'; 100_000]).body_waits_at(50_000, &held)).await;
    let mut attacker = node.connect().await;
    attacker.begin(&Request::get("/page").host("victim.test")).await.expect("a head");
    drop(attacker);
    gate.open();
    let victim = node.send(Request::get("/page").host("victim.test")).await.expect_status(200);
    assert_eq!(victim.body.len(), 100_000);
}

#[tokio::test]
async fn request_directives_do_not_harm_others() {
    let (_origin, node) = stage(|_: &Received| Reply::cacheable("page")).await;
    for (index, directives) in [
        "no-store",
        "no-cache",
        "max-age=0",
        "only-if-cached",
        "min-fresh=999999",
        "max-stale",
        "no-transform",
    ]
    .into_iter()
    .enumerate()
    {
        let target = format!("/page/{index}");
        node.get_with(&target, &[("Cache-Control", directives), ("Pragma", "no-cache")]).await;
        assert_eq!(node.get(&target).await.expect_status(200).text(), "page", "{directives}");
    }
}

#[tokio::test]
async fn variants_without_end_are_bounded() {
    let (_origin, node) = stage(|request: &Received| {
        let which = request.header("x-variant").unwrap_or("none").to_owned();
        Reply::cacheable(which + &"x".repeat(16 << 10)).header("vary", "X-Variant")
    })
    .await;
    node.get("/page").await.expect_status(200);
    let before = node.rss_peak_bytes();
    let mut connection = node.connect().await;
    for index in 0..5_000 {
        let which = format!("v{index}");
        let response =
            connection.send(&Request::get("/page").header("X-Variant", &which)).await.expect("answered");
        assert!(
            response.text().starts_with(&format!("{which}x")),
            "variant {index} was given another's page"
        );
    }
    assert!(node.get("/page").await.expect_status(200).text().starts_with("none"));
    let grown = node.rss_peak_bytes() - before;
    assert!(grown < 128 << 20, "5,000 variants of 16 KiB grew the node by {} MiB", grown >> 20);
}

#[tokio::test]
async fn queries_without_end_are_bounded() {
    let origin = TestOrigin::start(|_: &Received| Reply::cacheable("x".repeat(64 << 10))).await;
    let node = Node::before(&origin).await;
    node.get("/page?0").await.expect_status(200);
    let before = node.rss_peak_bytes();
    let mut connection = node.connect().await;
    // 320 MB of objects; the default budget of the memory tier is 64 MiB.
    for index in 1..5_000 {
        let response = connection.send(&Request::get(&format!("/page?{index}"))).await.expect("answered");
        assert_eq!(response.status, 200);
    }
    let grown = node.rss_peak_bytes() - before;
    assert!(grown < 192 << 20, "320 MB of objects grew the node by {} MiB", grown >> 20);
}
