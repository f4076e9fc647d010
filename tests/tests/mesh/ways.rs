//! The way through a node that does not own the object: the same answers as from the owner itself, and a trace of
//! the hops.

use starling_tests::{Mesh, Received, Reply, Request, Site, TestOrigin, content};

use super::{beside_another, get, hops};

const BODY_BYTES: usize = 300_000;

/// Two nodes before this origin; answers them with a target that the first does not own.
async fn pair(handler: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> (TestOrigin, Mesh, String) {
    let origin = TestOrigin::start(handler).await;
    let mesh = Mesh::builder().pop("eu", "lon", 2).origin(origin.url()).start().await;
    let target = mesh.target_owned_by("lon-2", Site::HOST, "/object/").await;
    (origin, mesh, target)
}

fn file(request: &Received) -> Reply {
    Reply::file(request, content(9, BODY_BYTES), "\"9\"")
}

async fn get_with(mesh: &Mesh, name: &str, target: &str, header: (&str, &str)) -> starling_tests::Response {
    mesh.node(name).send(Site::get(target).header(header.0, header.1)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn cache_status_has_one_member_for_each_hop() {
    let _turn = beside_another().await;
    let (origin, mesh, target) = pair(file).await;
    let miss = get(&mesh, "lon-1", &target).await.expect_status(200);
    let status = miss.joined("cache-status");
    assert_eq!(hops(&miss), ["lon-2", "lon-1"], "the nearest to the origin first (RFC 9211): {status}");
    assert!(!status.contains("hit"), "nobody had it: {status}");
    let hit_at_owner = get(&mesh, "lon-1", &target).await.expect_status(200);
    let status = hit_at_owner.joined("cache-status");
    let members: Vec<&str> = status.split(", ").collect();
    assert_eq!(hops(&hit_at_owner), ["lon-2", "lon-1"], "a cold object is kept by its owner alone: {status}");
    assert!(members[0].contains("; hit") && members[1].contains("fwd="), "{status}");
    let at_owner = get(&mesh, "lon-2", &target).await.expect_status(200);
    assert_eq!(hops(&at_owner), ["lon-2"]);
    assert!(at_owner.is_hit(), "{}", at_owner.cache_status());
    assert_eq!(origin.total(), 1);
    let via = origin.requests()[0].joined("via");
    assert!(via.ends_with("lon-2"), "the owner asks the origin, not {via:?}");
    for name in mesh.names() {
        let metrics = mesh.node(&name).metrics().await;
        assert!(metrics.sum_where("peer") > 0.0, "no metric of {name} tells of peers: {:?}", metrics.names());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answers_differ_in_nothing_but_the_trace() {
    let _turn = beside_another().await;
    let (_origin, mesh, target) = pair(|request| {
        file(request).header("x-thing", "one").header("x-thing", "two").header("content-type", "image/png")
    })
    .await;
    get(&mesh, "lon-2", &target).await.expect_status(200);
    let through = get(&mesh, "lon-1", &target).await.expect_status(200);
    let direct = get(&mesh, "lon-2", &target).await.expect_status(200);
    assert!(through.body == direct.body && through.body == content(9, BODY_BYTES));
    let told = |response: &starling_tests::Response| {
        let trace = ["cache-status", "via", "age"];
        let mut told: Vec<(String, String)> =
            response.headers.iter().filter(|(name, _)| !trace.contains(&name.as_str())).cloned().collect();
        told.sort();
        told
    };
    assert_eq!(told(&through), told(&direct));
}

#[tokio::test(flavor = "multi_thread")]
async fn age_and_freshness_are_the_same_on_both_nodes() {
    let _turn = beside_another().await;
    let (origin, mesh, target) = pair(|request| file(request).header("age", "1000")).await;
    let begun = std::time::Instant::now();
    for name in ["lon-1", "lon-2", "lon-1", "lon-2"] {
        let response = get(&mesh, name, &target).await.expect_status(200);
        let age: u64 = response
            .header("age")
            .and_then(|age| age.parse().ok())
            .expect("an answer from a cache has an age");
        let oldest = 1000 + begun.elapsed().as_secs() + 2;
        assert!((1000..=oldest).contains(&age), "{name}: {age}, not up to {oldest}");
    }
    assert_eq!(origin.total(), 1);
    // Stale from the start: nobody serves it without asking.
    origin.answer(|request| {
        file(request).header("age", "7200").header("cache-control", "max-age=3600, must-revalidate")
    });
    for (number, name) in ["lon-1", "lon-2", "lon-1", "lon-2"].into_iter().enumerate() {
        let response = get(&mesh, name, "/stale").await.expect_status(200);
        assert!(!response.is_hit(), "{name}: {}", response.cache_status());
        assert_eq!(origin.count("/stale"), number + 1, "{name}: {}", response.joined("cache-status"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_a_condition_and_a_head_are_answered_through_a_node_that_does_not_own_it() {
    let _turn = beside_another().await;
    let (origin, mesh, target) = pair(file).await;
    let body = content(9, BODY_BYTES);
    // The first round finds it cold, the second at the owner.
    for round in 0..2 {
        let part = get_with(&mesh, "lon-1", &target, ("range", "bytes=1000-1999")).await.expect_status(206);
        assert!(part.body == body[1000..2000], "round {round}: {} bytes", part.body.len());
        assert_eq!(part.header("content-range"), Some("bytes 1000-1999/300000"), "round {round}");
        let end = get_with(&mesh, "lon-1", &target, ("range", "bytes=-10")).await.expect_status(206);
        assert!(end.body == body[BODY_BYTES - 10..], "round {round}");
        let same = get_with(&mesh, "lon-1", &target, ("if-none-match", "\"9\"")).await.expect_status(304);
        assert!(same.body.is_empty() && same.header("etag") == Some("\"9\""), "round {round}");
        let other = get_with(&mesh, "lon-1", &target, ("if-none-match", "\"8\"")).await.expect_status(200);
        assert!(other.body == body, "round {round}");
        let head = mesh.node("lon-1").send(Request::new("HEAD", &target).host(Site::HOST)).await;
        assert_eq!((head.status, head.header("content-length")), (200, Some("300000")), "round {round}");
    }
    get_with(&mesh, "lon-1", &target, ("range", "bytes=300000-")).await.expect_status(416);
    let whole = origin.requests().iter().filter(|request| request.header("range").is_none()).count();
    assert!(whole <= 2, "{whole} fetches of the whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_kept_reaches_the_origin_each_time_and_whole() {
    let _turn = beside_another().await;
    let (origin, mesh, target) = pair(|request| match request.method.as_str() {
        "POST" => Reply::new(201).body([&b"you said "[..], &request.body[..]].concat()),
        _ => Reply::new(200)
            .header("cache-control", "no-store")
            .header("set-cookie", "a=1")
            .body(format!("for {}", request.header("x-who").unwrap_or("nobody"))),
    })
    .await;
    for who in ["anna", "bert", "carl"] {
        for name in ["lon-1", "lon-2"] {
            let private = get_with(&mesh, name, &target, ("x-who", who)).await.expect_status(200);
            assert_eq!(private.text(), format!("for {who}"), "{name}");
            assert_eq!(private.joined("set-cookie"), "a=1", "{name}");
        }
    }
    assert_eq!(origin.count(&target), 6);
    let said = "x".repeat(200_000);
    let post = Request::new("POST", &target).host(Site::HOST).body(said.clone());
    let answer = mesh.node("lon-1").send(post).await.expect_status(201);
    assert_eq!(answer.text(), format!("you said {said}"));
    let posts = origin.requests().iter().filter(|request| request.method == "POST").count();
    assert_eq!(posts, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn variants_are_kept_apart_through_every_node() {
    let _turn = beside_another().await;
    let (origin, mesh, target) = pair(|request| {
        let language = request.header("accept-language").unwrap_or("none").to_owned();
        Reply::cacheable(format!("in {language}"))
            .header("vary", "Accept-Language")
            .header("etag", &format!("\"{language}\""))
    })
    .await;
    for _ in 0..2 {
        for name in ["lon-1", "lon-2"] {
            for language in ["en", "de", "fr"] {
                let page =
                    get_with(&mesh, name, &target, ("accept-language", language)).await.expect_status(200);
                assert_eq!(page.text(), format!("in {language}"), "{name}: {}", page.joined("cache-status"));
            }
        }
    }
    assert_eq!(origin.total(), 3, "one request for each variant");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_says_no_is_passed_on_as_it_is() {
    let _turn = beside_another().await;
    let (origin, mesh, target) =
        pair(|_| Reply::new(404).header("cache-control", "max-age=60").body("not here")).await;
    for name in ["lon-1", "lon-2", "lon-1"] {
        assert_eq!(get(&mesh, name, &target).await.expect_status(404).text(), "not here", "{name}");
    }
    assert_eq!(origin.total(), 1);
    origin.answer(|_| Reply::drop_connection());
    for name in ["lon-1", "lon-2"] {
        let response = get(&mesh, name, "/dead").await;
        assert!((500..600).contains(&response.status), "{name}: {}", response.status);
    }
}
