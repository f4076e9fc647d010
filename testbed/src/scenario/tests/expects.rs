//! Each expectation on a history that fulfils it, and on one that does not.

use crate::{
    chaos::{
        checker::{Coverage, Judged, Judgement, Violation},
        history::{By, Ended, Event, Kind, Outcome, Purge, Read, Run},
    },
    client::Protocol,
    press::{Host, Object, Scope, Stats},
    scenario::{Found, Seen, hold, parse},
};

/// A history, as short as it gets: times in milliseconds.
struct Told {
    events: Vec<Event>,
    stats: Stats,
    judged: Judged,
    /// The next request's number.
    wanted: u64,
}

fn told() -> Told {
    let nodes = [("lon-1", "eu"), ("lon-2", "eu"), ("nyc-1", "us")];
    let run = Run {
        seed: 1,
        topology: "laptop".to_owned(),
        netns: false,
        nodes: nodes.iter().map(|(name, region)| ((*name).to_owned(), (*region).to_owned())).collect(),
        seconds: 20,
        again: String::new(),
        fence_ms: 2000,
    };
    let judged =
        Judged { judgement: Judgement::Passed, violations: Vec::new(), coverage: Coverage::default() };
    Told { events: vec![Event::Run(run)], stats: Stats::default(), judged, wanted: 0 }
}

fn object() -> Object {
    Object { host: Host::Available, group: 1, name: 2, bytes: 64 }
}

impl Told {
    /// An attempt of the last request.
    fn attempt(mut self, attempt: u32, at_ms: u64, node: &str, outcome: Outcome) -> Self {
        self.events.push(Event::Read(Read {
            wanted: self.wanted,
            attempt,
            node: node.to_owned(),
            object: object(),
            protocol: Protocol::H1,
            kind: Kind::Whole,
            at_us: at_ms * 1000,
            done_us: at_ms * 1000 + 500,
            is_last: false,
            outcome,
        }));
        self
    }

    fn read(mut self, at_ms: u64, node: &str, outcome: Outcome) -> Self {
        self.wanted += 1;
        self.attempt(1, at_ms, node, outcome)
    }

    fn purge(mut self, key: &str, at_ms: u64, node: &str, ended: Ended) -> Self {
        self.events.push(Event::Purge(Purge {
            key: key.to_owned(),
            attempt: 1,
            node: node.to_owned(),
            scope: Scope::Object(Host::Available, 1, 2),
            by: By::Url,
            soft: false,
            wait: "committed".to_owned(),
            at_us: at_ms * 1000,
            done_us: at_ms * 1000 + 500,
            ended,
        }));
        self
    }

    fn fault(mut self, at_ms: u64, fault: &str, nodes: &[&str]) -> Self {
        self.events.push(Event::Fault {
            at_us: at_ms * 1000,
            done_us: at_ms * 1000 + 100_000,
            fault: fault.parse().expect("a fault"),
            nodes: nodes.iter().map(|node| (*node).to_owned()).collect(),
            error: None,
        });
        self
    }

    fn knows(mut self, at_ms: u64, node: &str, index: u64) -> Self {
        self.events.push(Event::Knows {
            node: node.to_owned(),
            at_us: at_ms * 1000,
            done_us: at_ms * 1000,
            versions: [("eu".to_owned(), format!("0000000000000001/{index}"))].into(),
            caught_up: true,
        });
        self
    }

    fn healed(mut self, at_ms: u64) -> Self {
        self.events.push(Event::Healed { at_us: at_ms * 1000 });
        self
    }

    fn asked(mut self, times: u64) -> Self {
        self.stats.requests = times;
        self.stats.by_object.insert("available.test/1/2".to_owned(), times);
        self
    }

    /// What is found of an expectation, and of what is always expected.
    fn found(mut self, steps: &str, expect: &str) -> Vec<Found> {
        let text = format!("story A\nreads 1/s of 1 object\n{steps}lasts 20s\nexpect {expect}\n");
        let (story, _) = parse::story("a", &text).unwrap_or_else(|wrong| panic!("{text}: {wrong:?}"));
        self.events.push(Event::End { at_us: 30_000_000 });
        hold(&story, &Seen { events: &self.events, stats: &self.stats, judged: &self.judged })
    }

    #[track_caller]
    fn holds(self, expect: &str) -> Self {
        self.is(expect, true)
    }

    #[track_caller]
    fn breaks(self, expect: &str) -> Self {
        self.is(expect, false)
    }

    #[track_caller]
    fn is(self, expect: &str, holds: bool) -> Self {
        let again = Self {
            events: self.events.clone(),
            stats: self.stats.clone(),
            judged: self.judged.clone(),
            wanted: self.wanted,
        };
        let found = self.found("", expect).remove(0);
        assert_eq!(found.holds, holds, "{found}");
        assert_eq!(found.expected, expect);
        again
    }
}

fn good(cache: &str) -> Outcome {
    Outcome::Answered { status: 200, edition: Some(1), damaged: None, cache: cache.to_owned() }
}

fn bad(status: u16) -> Outcome {
    Outcome::Answered { status, edition: None, damaged: None, cache: String::new() }
}

fn none() -> Outcome {
    Outcome::Failed { why: "connection refused".to_owned(), is_unanswered: true }
}

fn acknowledged(fenced: bool) -> Ended {
    let id = "eu/0000000000000001/7".to_owned();
    Ended::Acknowledged { id, complete: true, fenced, applied: Vec::new() }
}

fn unknown() -> Ended {
    Ended::Unknown { why: "no quorum".to_owned() }
}

const HIT: &str = "lon-1; hit; ttl=60";

#[test]
fn a_request_that_was_answered_elsewhere_has_not_failed() {
    let moved = told().read(1000, "lon-1", none()).attempt(2, 1010, "lon-2", good(HIT));
    moved.holds("no failed requests").read(2000, "lon-1", none()).breaks("no failed requests");
    told().read(1000, "lon-1", bad(502)).breaks("no failed requests").holds("at most 1 failed request");
    let damaged = Outcome::Answered {
        status: 200,
        edition: Some(1),
        damaged: Some("byte 3".to_owned()),
        cache: String::new(),
    };
    told().read(1000, "lon-1", damaged).breaks("no failed requests");
}

#[test]
fn what_nobody_asked_for_shows_nothing() {
    told().breaks("no failed requests").breaks("at most 5% errors").breaks("no acknowledged purges");
    let early = told().read(1000, "lon-1", good(HIT));
    early
        .holds("no failed requests before 2s")
        .breaks("no failed requests after 2s")
        .breaks("no failed requests at us")
        .breaks("no failed requests while nodes are dead");
}

#[test]
fn failures_are_counted_where_and_when_they_happen() {
    let failed = told()
        .read(1000, "lon-1", good(HIT))
        .read(5000, "lon-1", none())
        .read(6000, "lon-2", good(HIT))
        .read(7000, "nyc-1", good(HIT));
    failed
        .holds("no failed requests before 5s")
        .breaks("no failed requests between 5s and 6s")
        .holds("no failed requests after 5.1s")
        .holds("at most 25% failed requests")
        .breaks("at most 24% failed requests")
        .holds("failed requests only at lon-1")
        .holds("failed requests only at eu")
        .holds("failed requests only at nyc+lon")
        .breaks("failed requests only at lon-2+us")
        .breaks("no failed requests at lon")
        .holds("no failed requests at us")
        .holds("no failed requests at lon-2");
}

#[test]
fn the_struck_and_the_spared_are_told_apart() {
    let failed =
        told().fault(500, "kill lon-1", &["lon-1"]).read(5000, "lon-1", none()).read(6000, "lon-2", none());
    failed.holds("some failed request at spared").breaks("failed requests only at struck");
    let failed =
        told().fault(500, "kill all", &["lon-1"]).read(5000, "lon-1", none()).read(6000, "lon-2", good(HIT));
    failed.holds("no failed requests at spared").holds("failed requests only at struck");
}

#[test]
fn errors_and_answers_are_counted_by_attempt() {
    let moved =
        told().read(1000, "lon-1", bad(503)).attempt(2, 1010, "lon-2", good(HIT)).read(1500, "lon-1", none());
    moved.holds("at most 1 error").breaks("no errors").holds("some answer").breaks("at least 2 answers");
}

#[test]
fn a_hit_is_one_of_any_node_on_the_way() {
    let reads = told().read(1000, "lon-1", good("lon-2; hit; ttl=50, lon-1; fwd=uri-miss; stored")).read(
        1100,
        "lon-1",
        good("lon-1; fwd=uri-miss; fwd-status=200; stored; collapsed"),
    );
    reads.holds("at least 50% hits").breaks("at least 51% hits").holds("some hit").breaks("no hits");
}

#[test]
fn a_stale_answer_is_one_that_says_so() {
    let fresh = told().read(1000, "lon-1", good(HIT));
    fresh
        .breaks("some stale answer")
        .read(1100, "lon-1", good("lon-1; hit; ttl=-3; detail=stale-if-error"))
        .read(1200, "lon-1", good("lon-2; hit; ttl=-3, lon-1; fwd=stale"))
        .holds("at least 2 stale answers")
        .breaks("at most 1 stale answer");
}

#[test]
fn a_purge_is_one_however_often_it_is_tried() {
    let purged = told()
        .purge("a", 1000, "lon-1", unknown())
        .purge("a", 2000, "lon-2", acknowledged(false))
        .purge("b", 3000, "lon-1", unknown())
        .purge("b", 4000, "lon-1", unknown());
    purged
        .holds("at least 2 purges")
        .breaks("at least 3 purges")
        .holds("at least 50% acknowledged purges")
        .breaks("at least 51% acknowledged purges")
        .breaks("some fenced purge")
        .holds("no acknowledged purges at lon-1")
        .breaks("no acknowledged purges at eu")
        .holds("no acknowledged purges before 2s")
        .breaks("no acknowledged purges between 2s and 3s")
        .purge("b", 5000, "lon-1", acknowledged(true))
        .holds("some fenced purge");
}

#[test]
fn a_trouble_lasts_from_what_begins_it_to_what_ends_it() {
    let read = |told: Told, at_ms| told.read(at_ms, "lon-1", none());
    let expect = "no failed requests while the origin is dead";
    // A fault takes 100 ms: what fails while it is inflicted is no sign.
    let dead =
        told().read(2500, "lon-1", good(HIT)).fault(2000, "origin dead", &[]).fault(4000, "origin well", &[]);
    let dead = read(read(dead, 2050), 4050).holds(expect);
    read(dead, 3000).breaks(expect);

    let expect = "no failed requests while nodes are dead";
    let killed = told()
        .fault(1000, "kill lon", &["lon-1", "lon-2"])
        .fault(3000, "start lon-1", &["lon-1"])
        .read(3500, "lon-1", good(HIT))
        .fault(5000, "start killed", &["lon-2"]);
    let killed = read(killed, 5500).holds(expect);
    read(killed, 4000).breaks(expect);

    let expect = "no failed requests while a disk is bad";
    let full = told().fault(1000, "disk lon-1 full", &["lon-1"]).read(1500, "lon-1", good(HIT)).healed(3000);
    let full = read(full, 3500).holds(expect);
    read(full, 2500).breaks(expect);
}

#[test]
fn all_is_well_between_troubles() {
    let expect = "no failed requests while all is well";
    let told = told()
        .read(500, "lon-1", good(HIT))
        .fault(1000, "pause lon-1", &["lon-1"])
        .fault(2000, "clock lon-2 +1h", &["lon-2"])
        .fault(3000, "resume lon-1", &["lon-1"])
        .fault(5000, "clock lon-2 right", &["lon-2"]);
    let told = told
        .read(1050, "lon-1", none())
        .read(4000, "lon-1", none())
        .read(5050, "lon-1", none())
        .holds(expect);
    told.read(6000, "lon-1", none()).breaks(expect);
}

#[test]
fn level_is_when_all_said_the_same_after_healing() {
    let knows = || {
        let told = told().knows(500, "lon-2", 7).healed(1000).knows(1200, "lon-1", 7).knows(1300, "nyc-1", 7);
        told.knows(1400, "lon-2", 6)
    };
    knows().breaks("all nodes level within 5s");
    let level = knows().knows(4000, "lon-2", 7);
    let level = level.holds("all nodes level within 3s").breaks("all nodes level within 2.9s");
    level.knows(4100, "lon-1", 8).holds("all nodes level within 3s");
    let mut silent = told().healed(1000).knows(1200, "lon-1", 7).breaks("all nodes level within 5s");
    silent = silent.read(3000, "lon-1", good(HIT)).breaks("all nodes level within 5s");
    if let Some(Event::Read(read)) = silent.events.last_mut() {
        read.is_last = true;
    }
    silent.holds("all nodes level within 2s").breaks("all nodes level within 1.9s");
    told().knows(1, "lon-1", 7).knows(1, "lon-2", 7).knows(1, "nyc-1", 7).breaks("all nodes level within 5s");
}

#[test]
fn a_look_at_a_dead_node_is_no_client() {
    let expect = "no failed requests";
    let text = |moves| format!("story A\nreads 1/s of 1 object\n{moves}lasts 20s\nexpect {expect}\n");
    let holds = |told: &Told, moves| {
        let (story, _) = parse::story("a", &text(moves)).expect("a story");
        hold(&story, &Seen { events: &told.events, stats: &told.stats, judged: &told.judged })[0].holds
    };
    let looked = told().read(500, "lon-1", good(HIT)).read(1000, "lon-1", none());
    assert!(holds(&looked, "clients move\n"));
    assert!(!holds(&looked, ""), "who does not move may be a client");
    let failed = looked.attempt(2, 1100, "lon-2", none()).attempt(3, 1200, "nyc-1", none());
    assert!(!holds(&failed, "clients move\n"));
    let erred = told().read(1000, "lon-1", bad(502));
    assert!(!holds(&erred, "clients move\n"), "an answer is one, and nobody asks for a better one");
}

#[test]
fn the_origin_is_asked_once_by_each_region_and_after_each_purge() {
    let asked = |times| told().read(1000, "lon-1", good(HIT)).asked(times);
    asked(2).holds("origin asked at most 2 times").breaks("origin asked at most 1 time");
    asked(2).holds("origin asked at most 1 time per object and region");
    asked(3).breaks("origin asked at most 1 time per object and region");
    let expect = "origin asked at most 1 time per object, region and purge";
    asked(3).breaks(expect).purge("a", 1000, "lon-1", acknowledged(false)).holds(expect);
    let refused = Ended::Refused { why: "no".to_owned() };
    asked(3).purge("a", 1000, "lon-1", refused).breaks(expect);
    asked(5).purge("a", 1000, "lon-1", acknowledged(false)).breaks(expect);
    told().read(1000, "lon-1", good(HIT)).breaks("origin asked at most 1 time per object and region");
}

#[test]
fn the_judge_is_always_asked() {
    let judged = |told: Told, expect: &str| {
        let found = told.found("", expect);
        let judged = found.iter().find(|found| found.expected == "the judge finds nothing wrong");
        judged.map(|found| found.holds)
    };
    let passed = || told().read(1000, "lon-1", good(HIT));
    assert_eq!(judged(passed(), "no errors"), Some(true));
    let mut wrong = passed();
    wrong.judged.judgement = Judgement::Failed;
    let violation = Violation { rule: "P1".to_owned(), what: "old content".to_owned(), at_us: 5 };
    wrong.judged.violations.push(violation.clone());
    assert_eq!(judged(wrong, "no errors"), Some(false));
    let mut little = passed();
    little.judged.judgement = Judgement::Inconclusive;
    little.judged.coverage.lacks.push("5 reads".to_owned());
    assert_eq!(judged(little, "no errors"), Some(true));
    let mut little = passed();
    little.judged.judgement = Judgement::Inconclusive;
    little.judged.coverage.lacks.push("5 reads".to_owned());
    let found = little.found("", "coverage");
    assert!(
        found.iter().all(|found| found.holds == (found.expected == "all that was to happen did")),
        "{found:?}"
    );
}

#[test]
fn what_did_not_happen_proves_nothing() {
    let happened = |told: Told| {
        let found = told.found("at 1s kill lon-1\nat 2s start killed\n", "no errors");
        found.last().map(|found| (found.expected.clone(), found.holds))
    };
    let all = |holds| Some(("all that was to happen did".to_owned(), holds));
    let killed = || told().read(1000, "lon-1", good(HIT)).fault(1000, "kill lon-1", &["lon-1"]);
    assert_eq!(happened(killed()), all(false));
    assert_eq!(happened(killed().fault(2000, "start killed", &["lon-1"])), all(true));
    let mut failed = killed().fault(2000, "start killed", &["lon-1"]);
    if let Some(Event::Fault { error, .. }) = failed.events.last_mut() {
        *error = Some("it is gone".to_owned());
    }
    assert_eq!(happened(failed), all(false));
}
