use std::time::Duration;

use crate::{
    chaos::{
        checker::{Judgement, judge},
        history::{By, Ended, Event, Kind, Outcome, Purge, Read, Run},
    },
    client::Protocol,
    faults::{DiskHow, Fault, Nodes, OriginHow, Worse},
    press::{Host, Object, Scope},
};

use super::{summary, timeline};

const EVIL: &str = "a<b>&\"'\u{1}-1";

fn run(nodes: usize) -> Vec<Event> {
    let mut nodes: std::collections::BTreeMap<String, String> =
        (0..nodes).map(|node| (format!("node-{node}"), "eu".to_owned())).collect();
    nodes.insert(EVIL.to_owned(), "<us>".to_owned());
    vec![Event::Run(Run {
        seed: 42,
        topology: "<three>".to_owned(),
        netns: true,
        nodes,
        seconds: 60,
        again: "testbed/chaos --seed 42 --time '60s' & <x>".to_owned(),
        fence_ms: 1000,
    })]
}

fn read(at_us: u64, node: &str, outcome: Outcome) -> Event {
    Event::Read(Read {
        wanted: at_us,
        attempt: 1,
        node: node.to_owned(),
        object: Object { host: Host::Strict, group: 1, name: 2, bytes: 100 },
        protocol: Protocol::H2,
        kind: Kind::Whole,
        at_us,
        done_us: at_us + 700,
        is_last: false,
        outcome,
    })
}

fn answered(edition: u64, cache: &str) -> Outcome {
    Outcome::Answered { status: 200, edition: Some(edition), damaged: None, cache: cache.to_owned() }
}

fn fault(at_us: u64, fault: Fault, node: &str) -> Event {
    Event::Fault { at_us, done_us: at_us + 9000, fault, nodes: vec![node.to_owned()], error: None }
}

fn purge(at_us: u64, number: u64, applied: Vec<String>) -> Event {
    Event::Purge(Purge {
        key: format!("key-{number}<"),
        attempt: 1,
        node: EVIL.to_owned(),
        scope: Scope::Object(Host::Strict, 1, 2),
        by: By::Prefix,
        soft: false,
        wait: "fenced".to_owned(),
        at_us,
        done_us: at_us + 3000,
        ended: Ended::Acknowledged { id: format!("eu/1/{number}"), complete: true, fenced: true, applied },
    })
}

fn nodes() -> Nodes {
    Nodes(EVIL.to_owned())
}

/// Something of everything, and one read that is too old.
fn eventful() -> Vec<Event> {
    let mut events = run(2);
    let all = vec!["node-0".to_owned(), "node-1".to_owned(), EVIL.to_owned()];
    let worse =
        Worse { delay: Some(Duration::from_millis(200)), loss_percent: Some(5.0), ..Worse::default() };
    events.extend([
        Event::Published {
            at_us: 900_000,
            done_us: 950_000,
            scope: Scope::Object(Host::Strict, 1, 2),
            edition: 5,
        },
        purge(1_000_000, 7, all),
        read(1_500_000, EVIL, answered(1, "a; hit")),
        read(1_600_000, "node-0", answered(5, "a; hit, b; fwd=miss")),
        read(1_700_000, "node-0", answered(5, "a; fwd=miss, b; fwd=miss")),
        read(1_800_000, "node-0", Outcome::Failed { why: "<reset>".to_owned(), is_unanswered: true }),
        fault(2_000_000, Fault::Kill(nodes()), EVIL),
        fault(3_000_000, Fault::Start(nodes()), EVIL),
        fault(3_500_000, Fault::Pause(nodes()), "node-0"),
        fault(3_600_000, Fault::Clock(nodes(), 3_600_000), "node-0"),
        fault(3_700_000, Fault::Disk(nodes(), DiskHow::Full), "node-0"),
        fault(4_500_000, Fault::Resume(nodes()), "node-0"),
        fault(4_600_000, Fault::Cut { from: nodes(), to: nodes(), one_way: true }, "node-1"),
        fault(5_600_000, Fault::Heal, "node-1"),
        fault(5_700_000, Fault::KeepDisk(nodes()), "node-1"),
        Event::Fault {
            at_us: 6_000_000,
            done_us: 6_100_000,
            fault: Fault::Way { from: "lon".to_owned(), to: "<par>".to_owned(), worse },
            nodes: Vec::new(),
            error: Some("not in <this> testbed".to_owned()),
        },
        fault(7_000_000, Fault::Origin(OriginHow::Dead), EVIL),
        fault(8_000_000, Fault::Origin(OriginHow::Well), EVIL),
        Event::Healed { at_us: 9_000_000 },
        Event::End { at_us: 10_000_000 },
    ]);
    events
}

/// The tags are balanced, nothing is there that must be escaped, and nothing that runs.
#[track_caller]
fn assert_well_formed(svg: &str) {
    let mut open = Vec::new();
    let mut rest = svg;
    while let Some((text, more)) = rest.split_once('<') {
        assert!(!text.contains('>'), "a bare > in {text:?}");
        for (at, _) in text.match_indices('&') {
            let entity = text[at + 1..].split(';').next().expect("a part");
            assert!(["amp", "lt", "gt", "quot", "#39"].contains(&entity), "a bare & before {entity:?}");
        }
        assert!(text.chars().all(|char| char >= ' ' || char == '\n'), "a control character in {text:?}");
        let (tag, more) = more.split_once('>').expect("each tag ends");
        assert_eq!(tag.matches('"').count() % 2, 0, "quotes in {tag:?}");
        let name = tag.trim_start_matches('/').split([' ', '/']).next().expect("a part").to_owned();
        assert!(["svg", "style", "title", "text", "rect", "line"].contains(&name.as_str()), "{name}");
        assert!(!tag.contains(" on"), "{tag}");
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "in the wrong order");
        } else if !tag.ends_with('/') {
            open.push(name);
        }
        rest = more;
    }
    assert!(open.is_empty(), "never closed: {open:?}");
    assert_eq!(rest.trim(), "");
}

#[test]
fn the_picture_is_well_formed_whatever_names_there_are() {
    let events = eventful();
    let judged = judge(&events);
    assert_eq!(judged.judgement, Judgement::Failed);
    let svg = timeline(&events, &judged);
    assert_well_formed(&svg);
    assert!(svg.contains("a&lt;b&gt;&amp;&quot;&#39;\u{fffd}-1") && !svg.contains("a<b>"));
    assert!(svg.contains("not in &lt;this&gt; testbed") && svg.contains("prefers-color-scheme: dark"));
    for class in ["down", "slow", "cut", "disk", "clock", "purge", "bad", "old", "lost", "fine", "tick"] {
        assert!(svg.contains(&format!("class=\"{class}\"")), "nothing of {class}");
    }
    assert!(svg.contains("P5: read 1500000.1"), "the violation is shown");
    assert!(svg.contains("eu/0000000000000001/7: key key-7&lt;"), "the purge is named");
}

#[test]
fn a_picture_of_nothing_is_one() {
    for events in [Vec::new(), run(0)] {
        let judged = judge(&events);
        assert_well_formed(&timeline(&events, &judged));
        assert!(summary(&events, &judged).starts_with("INCONCLUSIVE"));
    }
}

#[test]
fn the_picture_of_a_long_history_is_small() {
    let mut events = run(80);
    for number in 0..100_000_u64 {
        let at_us = number * 40_000;
        let node = format!("node-{}", number % 80);
        events.push(match number % 10 {
            0 => purge(at_us, number + 1, Vec::new()),
            1 => fault(at_us, Fault::Kill(nodes()), &node),
            2 => fault(at_us, Fault::Start(nodes()), &format!("node-{}", (number - 1) % 80)),
            3 => read(at_us, &node, Outcome::Failed { why: "x".repeat(900), is_unanswered: true }),
            4 => read(at_us, &node, answered(2, "")),
            _ => read(at_us, &node, answered(1, "")),
        });
    }
    let judged = judge(&events);
    let svg = timeline(&events, &judged);
    assert!(svg.len() < 1_500_000, "{} bytes", svg.len());
    assert_well_formed(&svg);
    let summary = summary(&events, &judged);
    assert!(summary.len() < 60_000, "{} bytes", summary.len());
}

#[test]
fn the_summary_tells_the_verdict_first_and_how_to_do_it_again() {
    let events = eventful();
    let judged = judge(&events);
    let summary = summary(&events, &judged);
    let lines: Vec<&str> = summary.lines().collect();
    assert_eq!(lines[0], "FAILED: violations: 2.");
    assert_eq!(lines[1], "seed 42: 60 s on 3 nodes of <three> in namespaces");
    assert_eq!(lines[2], "again: testbed/chaos --seed 42 --time '60s' & <x>");
    for part in [
        "[P1] read 1500000.1",
        "[P5] read 1500000.1",
        "Reads: 4, 3 answered, 1 failed",
        "hit at the node: 1 (33.3 %)",
        "hit at another node: 1 (33.3 %)",
        "miss: 1 (33.3 %)",
        "failed: no answer 1",
        "failed at: node-0 1",
        "by prefix: 1 attempts acknowledged, 0 refused, 0 not known",
        "sent → known to be at all nodes: p50 3.0 ms",
        "not possible: not in <this> testbed",
        "9.000 s all is well again",
        "lacks ranges_answered: 0 of at least 10 in 60 s",
    ] {
        assert!(summary.contains(part), "{part:?} is not in:\n{summary}");
    }
}
