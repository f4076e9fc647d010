use std::collections::{BTreeMap, BTreeSet};

use super::{
    pollers::covers,
    requests::{Objects, Purges, Requests, Wish},
    *,
};
use crate::{
    chaos::history::By,
    client::Protocol,
    press::{Object, Scope},
};

fn workload() -> Workload {
    Workload::default()
}

fn some<T>(count: usize, mut next: impl FnMut() -> T) -> Vec<T> {
    (0..count).map(|_| next()).collect()
}

fn asked(seed: u64) -> (Vec<Object>, Vec<Request>, Vec<PurgePlan>) {
    let objects = Objects::new(&workload(), seed).unwrap();
    let mut requests = Requests::new(&workload(), seed);
    let mut purges = Purges::new(&workload(), seed);
    let requests = some(2000, || requests.next(&objects));
    let purges = some(2000, || purges.next(&objects));
    (objects.all().to_vec(), requests, purges)
}

#[test]
fn the_same_seed_asks_and_purges_the_same_and_another_one_something_else() {
    let (one, same, other) = (asked(7), asked(7), asked(8));
    assert!(one == same);
    assert!(one.0 != other.0 && one.1 != other.1 && one.2 != other.2);
}

#[test]
fn requests_are_what_the_workload_says() {
    let (objects, requests, _) = asked(1);
    let names: BTreeSet<_> = objects.iter().map(|object| (object.host, object.group, object.name)).collect();
    assert_eq!((objects.len(), names.len()), (3 * 4 * 8, 3 * 4 * 8));
    assert!(objects.iter().all(|object| (64..=256 << 10).contains(&object.bytes)));
    let part = |is: &dyn Fn(&Request) -> bool| {
        requests.iter().filter(|request| is(request)).count() as f64 / requests.len() as f64
    };
    let near = |is: &dyn Fn(&Request) -> bool, expected: f64| {
        let part = part(is);
        assert!((part - expected).abs() < 0.05, "{part} instead of {expected}");
    };
    near(&|request| matches!(request.wish, Wish::Range(..)), 0.15);
    near(&|request| matches!(request.wish, Wish::Conditional { .. }), 0.15);
    near(&|request| request.protocol == Protocol::H2, 0.3);
    for request in &requests {
        if let Wish::Range(from, to) = request.wish {
            assert!(from < to && to <= request.object.bytes, "{request:?}");
        }
    }
    // Some are asked for much more than others, and none of them never.
    let first = part(&|request| request.object == objects[0]);
    assert!(first > 3.0 / objects.len() as f64, "{first}");
    let asked: BTreeSet<_> = requests.iter().map(|request| &request.object).collect();
    assert!(asked.len() > 90, "{} objects", asked.len());
    let mean = requests.iter().map(|request| request.gap).sum::<f64>() / requests.len() as f64;
    assert!((mean - 1.0).abs() < 0.1, "{mean}");
}

#[test]
fn purges_come_in_all_ways_and_name_what_their_way_can_name() {
    let (_, _, purges) = asked(1);
    let mut ways: BTreeMap<(By, &str), usize> = BTreeMap::new();
    for plan in &purges {
        *ways.entry((plan.by, plan.wait)).or_default() += 1;
        let fits = match plan.by {
            By::Url => matches!(plan.scope, Scope::Object(..)),
            By::Host | By::All => matches!(plan.scope, Scope::All(_)),
            By::Tag | By::Prefix => true,
        };
        assert!(fits, "{plan:?}");
    }
    assert_eq!(ways.len(), 5 * 3, "{ways:?}");
    assert!(ways.values().all(|count| *count >= 10), "{ways:?}");
    let count = |is: fn(&PurgePlan) -> bool| purges.iter().filter(|plan| is(plan)).count();
    assert!((100..300).contains(&count(|plan| plan.soft)));
    assert!((100..300).contains(&count(|plan| plan.repeats)));
}

#[test]
fn a_version_covers_the_purges_up_to_it_of_its_own_epoch() {
    let versions = BTreeMap::from([("eu".to_owned(), "000000000000000a/12".to_owned())]);
    for (id, expected) in [
        ("eu/000000000000000a/12", true),
        ("eu/000000000000000a/9", true),
        ("eu/000000000000000a/13", false),
        ("eu/0000000000000009/3", false),
        ("us/000000000000000a/3", false),
        ("nonsense", false),
    ] {
        assert_eq!(covers(&versions, id), expected, "{id}");
    }
}

#[test]
fn the_fence_is_read_from_the_configuration_of_nodes() {
    for (text, expected) in [
        ("region.fence_ms = \"2s\"", Some(2000)),
        ("region.fence_ms = \"1500ms\"", Some(1500)),
        ("region.fence_ms = 700", Some(700)),
        ("region.election_ms = \"1s\"", None),
        ("", None),
    ] {
        assert_eq!(fence_ms(&text.parse().unwrap()), expected, "{text}");
    }
}

#[tokio::test]
async fn nobody_comes_while_the_rate_is_zero_and_all_come_when_it_is_not() {
    let rates = |reads_per_s| Rates { reads_per_s, purges_per_s: 0.0 };
    let (sender, receiver) = watch::channel(rates(0.0));
    let mut pace = Pace::new(receiver, |rates| rates.reads_per_s);
    let waited = tokio::time::timeout(Duration::from_millis(50), pace.wait(0.0)).await;
    assert!(waited.is_err(), "one came at no rate");
    let all = async {
        for _ in 0..20 {
            pace.wait(1.0).await;
        }
    };
    let faster = async { sender.send_replace(rates(1e6)) };
    let both = async { tokio::join!(all, faster) };
    tokio::time::timeout(Duration::from_secs(60), both).await.expect("all come");
}

/// A history that lacks its end would be judged as if that had not been seen.
#[tokio::test]
async fn all_that_was_recorded_is_in_the_file_and_what_comes_later_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.jsonl");
    let (recorder, writer) = recorder::begin(&path).unwrap();
    for at_us in 0..10_000 {
        recorder.record(Event::Healed { at_us }).await;
    }
    let events = writer.finish().await.unwrap();
    recorder.record(Event::End { at_us: 10_000 }).await;
    let expected: Vec<Event> = (0..10_000).map(|at_us| Event::Healed { at_us }).collect();
    assert!(events == expected, "{} events", events.len());
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<Event> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines == expected, "{} lines", lines.len());
}
