//! The public HTTP cache test suite (cache-tests.fyi) against one node; see `tests/cache-suite/README.md`.
//!
//! Holds two things: no required test fails but those refused on purpose, and no fewer optimal tests pass than
//! did before.

mod score;
mod suite;

use std::collections::BTreeMap;

use starling_tests::Node;

use score::{Kind, Score};
use suite::Suite;

/// Optimal tests that pass. Raise it when more do; it is never lowered without a reason in the changelog.
const OPTIMAL_HELD: usize = 87;

#[tokio::test(flavor = "multi_thread")]
async fn the_public_suite_finds_no_failure_but_the_refusals() {
    let suite = Suite::installed().await;
    let origin = suite.origin().await;
    let node = Node::builder().origin(origin.url()).start().await;
    if let Some(test) = std::env::var("TEST_ID").ok().filter(|id| !id.is_empty()) {
        println!("{}\n--- the suite's origin:\n{}", suite.run_one(&node, &test).await, origin.log());
        return;
    }
    let score = Score::of(suite.tests().await, &suite.run(&node).await);
    let refusals = refusals();
    println!("{}", score.table(&refusals));
    let unexplained = score.failed(Kind::Required, &refusals);
    assert!(unexplained.is_empty(), "required tests failed that no refusal explains: {unexplained:#?}");
    let optimal = score.passed(Kind::Optimal);
    assert!(optimal >= OPTIMAL_HELD, "{optimal} optimal tests passed, {OPTIMAL_HELD} did before");
}

fn refusals() -> BTreeMap<String, String> {
    #[derive(serde::Deserialize)]
    struct File {
        refusal: Vec<Refusal>,
    }
    #[derive(serde::Deserialize)]
    struct Refusal {
        id: String,
        reason: String,
    }
    let text = include_str!("../../cache-suite/refusals.toml");
    let file: File = toml::from_str(text).expect("refusals.toml holds [[refusal]] with id and reason");
    file.refusal.into_iter().map(|refusal| (refusal.id, refusal.reason)).collect()
}
