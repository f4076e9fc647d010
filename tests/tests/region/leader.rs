//! The leader dies in the middle of a thousand purges.

use std::collections::BTreeSet;

use futures_util::{StreamExt, stream};

use super::*;

const PURGES: usize = 1_000;
const AT_A_TIME: usize = 16;
/// Purges after which the leader is killed.
const KILL_AFTER: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_applied_once_everywhere_and_what_failed_is_said() {
    let _turn = alone().await;
    let press = Press::start().await;
    let mut mesh = region_of_three(&press).await;
    let targets: Vec<String> = (0..PURGES).map(|number| format!("/p/{number}")).collect();
    for target in &targets {
        all_answer(&mesh, target, 1).await;
    }
    let edition = press.next();
    let leader = mesh.led("eu", 3).await;
    let admins: Vec<std::net::SocketAddr> = mesh.running().map(Node::admin).collect();
    let done = Arc::new(AtomicU64::new(0));
    let counting = Arc::clone(&done);
    let purges = stream::iter(targets.clone().into_iter().enumerate()).map(move |(number, target)| {
        let (admin, done) = (admins[number % admins.len()], Arc::clone(&counting));
        async move {
            let order = json!({ "urls": [format!("http://{HOST}{target}")], "wait": "committed", "timeout_ms": 20_000 });
            let request = Request::new("POST", "/v1/purge")
                .header("content-type", "application/json")
                .body(order.to_string());
            let outcome = starling_tests::try_send(admin, request).await;
            done.fetch_add(1, SeqCst);
            (target, outcome)
        }
    });
    let all = tokio::spawn(purges.buffer_unordered(AT_A_TIME).collect::<Vec<_>>());
    starling_tests::until("some purges are done", async || match done.load(SeqCst) as usize {
        enough if enough >= KILL_AFTER => Ok(()),
        few => Err(few.to_string()),
    })
    .await;
    mesh.kill9(&leader).await;
    let outcomes = all.await.expect("the purges end");

    let (mut acknowledged, mut told, mut ids) = (Vec::new(), 0, BTreeSet::new());
    for (target, outcome) in outcomes {
        match outcome {
            Ok(response) if response.status == 200 => {
                let receipt: Value = serde_json::from_str(&response.text()).expect("a receipt");
                let id = receipt["id"].as_str().expect("an id").to_owned();
                assert!(ids.insert(id.clone()), "{id} was given twice");
                acknowledged.push((target, id));
            }
            Ok(response) => {
                assert_eq!(response.status, 503, "{target}: {}", response.text());
                told += 1;
            }
            // The node that was asked is the one that was killed.
            Err(_) => told += 1,
        }
    }
    println!("{} acknowledged, {told} failed or unknown, of {PURGES}", acknowledged.len());
    assert!(acknowledged.len() >= KILL_AFTER);
    mesh.restart(&leader).await;
    stands_again(&mesh).await;
    for (target, id) in &acknowledged {
        all_answer(&mesh, target, edition).await;
        for node in mesh.running() {
            node.admin_get(&format!("/v1/purge/{id}")).await.expect_status(200);
        }
    }
}
