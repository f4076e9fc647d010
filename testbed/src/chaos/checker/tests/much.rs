//! Long histories.

use crate::chaos::{
    checker::{Judgement, VIOLATIONS_MAX, judge},
    history::{Event, Outcome},
};

use super::model::Mesh;

#[test]
fn a_thousand_violations_are_told_and_the_others_counted() {
    let mut events = Mesh::lived(1, 6000).events;
    let mut damages = 0;
    for event in &mut events {
        if let Event::Read(read) = event
            && let Outcome::Answered { damaged, .. } = &mut read.outcome
        {
            *damaged = Some("byte 0".to_owned());
            damages += 1;
        }
    }
    events.reverse();
    let judged = judge(&events);
    assert_eq!(judged.judgement, Judgement::Failed);
    assert_eq!(judged.violations.len(), VIOLATIONS_MAX);
    assert_eq!(judged.coverage.counts["violations_damaged"], damages);
    assert!(damages > 2000, "{damages}");
    assert!(judged.violations.is_sorted_by_key(|violation| violation.at_us));
    let last_us = judged.violations[VIOLATIONS_MAX - 1].at_us;
    let earlier =
        events.iter().filter(|event| matches!(event, Event::Read(read) if read.at_us < last_us)).count();
    assert!(
        (VIOLATIONS_MAX - 1..=VIOLATIONS_MAX * 12 / 10).contains(&earlier),
        "the earliest are told: {earlier}"
    );
}

/// By hand: `cargo test --release -p starling-testbed --lib a_million_lines -- --ignored --nocapture`.
#[test]
#[ignore = "tells how long it takes"]
fn a_million_lines_are_judged_in_seconds() {
    let begun = std::time::Instant::now();
    let events = Mesh::lived(2, 1_000_000).events;
    println!("{} lines made in {:?}", events.len(), begun.elapsed());
    let begun = std::time::Instant::now();
    let judged = judge(&events);
    println!("judged in {:?}: {:?}", begun.elapsed(), judged.coverage.counts);
    assert!(judged.violations.is_empty(), "{:#?}", &judged.violations[..5]);
    let begun = std::time::Instant::now();
    let picture = crate::chaos::report::timeline(&events, &judged);
    let summary = crate::chaos::report::summary(&events, &judged);
    println!("drawn and told in {:?}: {} bytes and {}", begun.elapsed(), picture.len(), summary.len());
}
