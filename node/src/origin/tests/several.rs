//! Several origins, and the protections of one.

use super::{
    super::{error::FetchErrorKind, settings::HealthSettings},
    script::{Say, Scripted, get, last, ok, pool_of, post, text},
};
use std::time::Duration;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A URL where nobody listens.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    format!("http://{}", listener.local_addr().expect("bound"))
}

#[tokio::test]
async fn an_origin_that_cannot_be_reached_is_passed_over_by_any_method() {
    let second = Scripted::start(vec![ok("second")]).await;
    let pool = pool_of(&[&nobody().await, &second.url], |s| s.retry_percent = 0);
    let response = pool.fetch(post("abc", Some(3))).await.expect("answered");
    assert_eq!(*response.origin, second.url);
    assert_eq!(text(response).await.expect("whole"), "second");
}

#[tokio::test]
async fn an_origin_that_breaks_off_is_passed_over_by_safe_methods_only_and_within_the_budget() {
    let first = Scripted::start(vec![last("")]).await;
    let second = Scripted::start(vec![ok("second")]).await;
    let pool = pool_of(&[&first.url, &second.url], |_| ());
    assert_eq!(text(pool.fetch(get("/")).await.expect("answered")).await.expect("whole"), "second");
    let error = pool.fetch(post("abc", Some(3))).await.expect_err("not sent twice");
    assert_eq!(error.kind, FetchErrorKind::Reset);
    assert_eq!((first.count(), second.count()), (2, 1));
    let pool = pool_of(&[&first.url, &second.url], |s| s.retry_percent = 0);
    assert_eq!(pool.fetch(get("/")).await.expect_err("no budget").kind, FetchErrorKind::Reset);
}

#[tokio::test]
async fn an_origin_that_began_to_answer_is_not_passed_over() {
    let first = Scripted::start(vec![last("HTTP/1.1 2")]).await;
    let second = Scripted::start(vec![ok("second")]).await;
    let pool = pool_of(&[&first.url, &second.url], |_| ());
    assert_eq!(pool.fetch(get("/")).await.expect_err("cut").kind, FetchErrorKind::Reset);
    assert_eq!(second.count(), 0);
}

#[tokio::test]
async fn failures_in_a_row_open_the_circuit_and_a_probe_closes_it() {
    let origin = Scripted::start(vec![last(""), last(""), ok("back")]).await;
    let pool = pool_of(&[&origin.url], |s| {
        s.breaker_failures = 2;
        s.breaker_open = Duration::from_millis(200);
    });
    for expected in [FetchErrorKind::Reset, FetchErrorKind::Reset, FetchErrorKind::CircuitOpen] {
        assert_eq!(pool.fetch(get("/")).await.expect_err("failed").kind, expected);
    }
    assert_eq!((origin.count(), pool.health()[0].circuit), (2, "open"));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(text(pool.fetch(get("/")).await.expect("probed")).await.expect("whole"), "back");
    assert_eq!(pool.health()[0].circuit, "closed");
}

#[tokio::test]
async fn beyond_its_places_an_origin_queues_and_beyond_the_queue_it_refuses() {
    let mut origin = Scripted::start(vec![Say::Silence]).await;
    let pool = pool_of(&[&origin.url], |s| {
        s.concurrency_max = 1;
        s.queue_max = 1;
    });
    let mut tasks = JoinSet::new();
    for waiting in 0..2 {
        let pool = pool.clone();
        tasks.spawn(async move { pool.fetch(get("/")).await.map(drop) });
        if waiting == 0 {
            origin.heads.recv().await.expect("asked");
        } else {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!((pool.health()[0].in_flight, pool.health()[0].waiting), (1, 1));
    assert_eq!(pool.fetch(get("/")).await.expect_err("full").kind, FetchErrorKind::QueueFull);
    assert_eq!(origin.count(), 1);
    tasks.shutdown().await;
    assert_eq!((pool.health()[0].in_flight, pool.health()[0].waiting), (0, 0));
}

#[tokio::test]
async fn an_origin_that_fails_its_checks_is_passed_over_until_it_passes_them() {
    let mut first = Scripted::start(vec![
        last("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"),
        last("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ])
    .await;
    let second = Scripted::start(vec![ok("second")]).await;
    let health = HealthSettings {
        path: "/health".to_owned(),
        interval: Duration::from_millis(100),
        unhealthy_after: 1,
        healthy_after: 1,
        ..HealthSettings::default()
    };
    let pool = pool_of(&[&first.url, &second.url], |s| s.health = Some(health));
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    pool.spawn_health_checks(&tracker, stop.clone());
    assert!(first.heads.recv().await.expect("checked").starts_with("GET /health "));
    while pool.health()[0].healthy {
        tokio::task::yield_now().await;
    }
    assert_eq!(text(pool.fetch(get("/")).await.expect("answered")).await.expect("whole"), "second");
    while !pool.health()[0].healthy {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    tracker.close();
    tracker.wait().await;
}

#[tokio::test]
async fn a_pool_without_origins_says_so() {
    let error = pool_of(&[], |_| ()).fetch(get("/")).await.expect_err("nobody");
    assert_eq!(error.kind, FetchErrorKind::NoHealthyOrigin);
}
