//! What a story says, and how it is told what is wrong with it.

use std::{io::Write, time::Duration};

use proptest::prelude::*;

use crate::{
    chaos::schedule::Step,
    faults::{Fault, Nodes},
    press::Host,
    scenario::{Amount, BadStory, Bound, Counted, Expect, Per, Story, Trouble, When, parse, words},
};

const WHOLE: &str = "
# A comment, and an empty line.

story   All that can be said   # and what it is
topology three-regions
pop lon of eu, 3 nodes
pop nyc of us, 1 node
network
way lon nyc delay 40ms loss 1%
set region.fence_ms = \"3s\"
reads 100/s of 200 objects, hosts strict+stale, up to 64KiB, zipf 1.1, 30% over h2, 12.5% ranges, 7% conditional, through lon+nyc-1
purges 0.5/s, 20% soft
clients move
at 500ms warm all
at 5s kill owner:http://available.test/o/1/1?bytes=1000
at 5s start killed
at 7s reads 200/s
at 8s purges 3/s
at 1.5s storm of 10000 purges, 16 at once, waiting for applied, through leader:eu
lasts 1m
settles within 20s
expect no failed requests
expect at most 2% errors at lon+us between 5s and 15.5s
expect failed requests only at struck
expect some stale answers while the origin is dead
expect at least 80% hits after 3s
expect origin asked at most 500 times
expect origin asked at most 2 times per object and region
expect origin asked at most 1 time per object, region and purge
expect all nodes level within 10s
expect coverage
";

fn parsed(text: &str) -> Story {
    parse::story("name", text).unwrap_or_else(|wrong| panic!("{wrong:?}")).0
}

#[test]
fn all_that_can_be_said_is_understood() {
    let story = parsed(WHOLE);
    assert_eq!(story.title, "All that can be said");
    assert_eq!(story.stage.topology, "three-regions");
    assert_eq!(story.stage.pops[1], ("nyc".to_owned(), "us".to_owned(), 1));
    assert!(story.stage.network);
    let workload = &story.workload;
    assert_eq!((workload.groups, workload.names), (10, 20));
    assert_eq!(workload.hosts, [Host::Strict, Host::Stale]);
    assert_eq!((workload.ranges, workload.conditionals, workload.h2, workload.soft), (0.125, 0.07, 0.3, 0.2));
    assert_eq!((workload.bytes_max, workload.zipf), (64 << 10, 1.1));
    assert_eq!((workload.purges_per_s, workload.moves), (0.5, true));
    let at = |ms| Duration::from_millis(ms);
    assert_eq!(story.schedule[0], (at(500), Step::Warm(Nodes("all".to_owned()))));
    let storm = Step::Storm {
        purges: 10_000,
        at_once: 16,
        wait: "applied".to_owned(),
        through: Nodes("leader:eu".to_owned()),
    };
    assert_eq!(story.schedule[1], (at(1500), storm), "sorted by time");
    let killed = Fault::Start(Nodes("killed".to_owned()));
    assert_eq!(story.schedule[3], (at(5000), Step::Fault(killed)), "one time: the order of the file");
    assert_eq!(story.schedule[4].1, Step::Rates { reads_per_s: 200.0, purges_per_s: 0.5 });
    assert_eq!(story.schedule[5].1, Step::Rates { reads_per_s: 200.0, purges_per_s: 3.0 });
    assert_eq!((story.lasts, story.settles), (at(60_000), at(20_000)));
    let when = When::Between(at(5000), at(15_500));
    let (bound, at_some) = (Bound::AtMost(Amount::Percent(2.0)), Some(Nodes("lon+us".to_owned())));
    assert_eq!(story.expects[1], Expect::Count { bound, of: Counted::Errors, at: at_some, when });
    let (bound, when) = (Bound::AtLeast(Amount::Number(1)), When::While(Trouble::OriginDead));
    assert_eq!(story.expects[3], Expect::Count { bound, of: Counted::StaleAnswers, at: None, when });
    assert_eq!(story.expects[7], Expect::Origin { most: 1, per: Per::ObjectRegionPurge });
    assert_eq!(story.expects.len(), 10);
}

#[test]
fn what_is_printed_says_the_same() {
    let story = parsed(WHOLE);
    assert_eq!(parsed(&story.to_string()), story, "{story}");
}

/// A line in place of one that is good, and what is to be said about it.
const BAD: [(&str, &str, &str); 33] = [
    (
        "topology laptop",
        "topolgy laptop",
        "\"topolgy laptop\" is not known; a line begins with one of: story,",
    ),
    ("topology laptop", "topology lap top", "is not a topology: one word"),
    ("topology laptop", "topology laptop\ntopology laptop", "there is a line \"topology\" already"),
    ("topology laptop", "pop lon in eu", "\"pop NAME of REGION, N nodes\""),
    ("topology laptop", "pop lon of eu, 31 nodes", "1 to 30"),
    ("topology laptop", "way lon nyc", "way"),
    ("topology laptop", "set fence", "no TOML"),
    ("topology laptop", "network of mine", "is not known"),
    ("reads 10/s of 4 objects", "reads 10 of 4 objects", "\"10\" is no rate such as 100/s"),
    ("reads 10/s of 4 objects", "reads inf/s of 4 objects", "\"inf/s\" is no rate"),
    ("reads 10/s of 4 objects", "reads 10/s of 0 objects", "1 to 100000"),
    (
        "reads 10/s of 4 objects",
        "reads 10/s of 4 objects, hosts nowhere",
        "there are available, strict and stale",
    ),
    (
        "reads 10/s of 4 objects",
        "reads 10/s of 4 objects, 30% over h3",
        "there are \"hosts available+strict+stale\"",
    ),
    ("reads 10/s of 4 objects", "reads 10/s of 4 objects, 60% ranges, 60% conditional", "more than all"),
    ("reads 10/s of 4 objects", "reads 10/s of 4 objects, up to 1XB", "\"1XB\" is no size"),
    ("reads 10/s of 4 objects", "clients move", "there is no line \"reads\""),
    ("purges 1/s", "purges 1/s, 20% hard", "\"20% soft\""),
    ("purges 1/s", "purges 1/s, 200% soft", "\"200%\" is no percentage"),
    ("at 1s kill lon-1", "at 1s slay lon-1", "slay"),
    ("at 1s kill lon-1", "at once kill lon-1", "\"once\" is no time such as 5s"),
    ("at 1s kill lon-1", "at 5s kill lon-1", "what happens at 5s (line 5) comes after the end"),
    ("at 1s kill lon-1", "at 1s storm of 5 purges, waiting for nothing", "committed|applied|fenced"),
    ("at 1s kill lon-1", "at 1s storm of 5 purges, 5000 at once", "1 to 1024"),
    ("at 1s kill lon-1", "at 1s reads 10/s, writes 1/s", "\"reads RATE/s, purges RATE/s\""),
    ("lasts 5s", "lasts 5 parsecs", "is no time"),
    ("lasts 5s", "lasts 91s", "1s to 90s"),
    ("lasts 5s", "settles within 5s", "there is no line \"lasts\""),
    ("expect no failed requests", "expect no miracles", "there are failed requests, errors,"),
    ("expect no failed requests", "expect miracles", "is nothing that is expected; there are \"no WHAT\""),
    ("expect no failed requests", "expect failed requests", "how many?"),
    ("expect no failed requests", "expect no hits while it rains", "there are the origin is dead,"),
    ("expect no failed requests", "expect no hits between 5s and 4s", "ends before it begins"),
    ("expect no failed requests", "expect at most 5", "how many of what?"),
];

const GOOD: &str = "story A\ntopology laptop\nreads 10/s of 4 objects\npurges 1/s\nat 1s kill lon-1\nlasts 5s\n\
                    expect no failed requests\n";

#[test]
fn what_is_wrong_is_told_with_its_line_and_what_is_known() {
    parsed(GOOD);
    for (good, bad, told) in BAD {
        assert!(GOOD.contains(good), "{good}");
        let text = GOOD.replace(good, bad);
        let wrong = parse::story("name", &text).expect_err(bad);
        let (line, why) = &wrong[0];
        assert!(why.contains(told), "{bad:?}: {why}");
        let place = text
            .lines()
            .collect::<Vec<_>>()
            .iter()
            .rposition(|line| bad.lines().last() == Some(*line))
            .map(|place| place + 1);
        let at_end = told.starts_with("there is no line") || told.contains("the end") || told.contains("90s");
        assert!(at_end || Some(*line) == place, "{bad:?}: line {line}");
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let text = GOOD.replace("purges 1/s", "purges often").replace("lasts 5s", "lasts long");
    let lines = parse::story("name", &text).expect_err("twice wrong");
    let told = BadStory { file: "a.story".to_owned(), lines }.to_string();
    let told: Vec<&str> = told.lines().collect();
    assert!(told[0].starts_with("a.story:4: \"often\" is no rate"), "{told:?}");
    assert!(told[1].starts_with("a.story:6: \"long\" is no time"), "{told:?}");
}

#[test]
fn a_story_begins_with_its_title() {
    let wrong = parse::story("name", "topology laptop\nlasts 5s\n").expect_err("no title");
    assert_eq!(wrong[0], (1, "a story begins with \"story TITLE\"".to_owned()));
}

/// What parses but cannot be played where it plays.
const IMPOSSIBLE: [(&str, &str, &str); 10] = [
    (
        "at 1s kill lon-1",
        "at 1s kill lon-4",
        ":5: there is no node, PoP or region \"lon-4\"; there are lon-1, lon-2",
    ),
    ("at 1s kill lon-1", "at 1s kill leader:us", ":5: there is no region \"us\"; there are eu"),
    ("at 1s kill lon-1", "at 1s kill struck", "there is no node, PoP or region \"struck\""),
    ("at 1s kill lon-1", "at 1s kill owner:nothing", "\"nothing\" is no URL"),
    ("at 1s kill lon-1", "at 1s cut lon-1 from lon-2", "needs \"network\""),
    ("at 1s kill lon-1", "at 1s freeze lon-1", "needs \"network\""),
    ("at 1s kill lon-1", "at 1s warm nyc", "there is no node, PoP or region \"nyc\""),
    ("no failed requests", "no failed requests at killed", ":7: there is no node, PoP or region \"killed\""),
    ("no failed requests", "all nodes level within 31s", "nobody looks so long: it settles within 30s"),
    ("topology laptop", "topology nowhere", "nowhere"),
];

fn loaded(text: &str) -> anyhow::Result<Story> {
    let mut file = tempfile::Builder::new().suffix(".story").tempfile()?;
    file.write_all(text.as_bytes())?;
    Story::load(file.path())
}

#[test]
fn what_the_topology_does_not_have_is_told_with_its_line() {
    loaded(GOOD).unwrap_or_else(|error| panic!("{error:#}"));
    for (good, bad, told) in IMPOSSIBLE {
        let error = loaded(&GOOD.replace(good, bad)).map(|_| ()).expect_err(bad);
        assert!(format!("{error:#}").contains(told), "{bad:?}: {error:#}");
    }
}

#[test]
fn an_origin_that_dies_cannot_be_asked_how_often_it_was_asked() {
    let text = GOOD
        .replace("kill lon-1", "origin dead")
        .replace("no failed requests", "origin asked at most 5 times");
    let error = loaded(&text).map(|_| ()).expect_err("the counters die");
    assert!(format!("{error:#}").contains("does not know what it was asked"), "{error:#}");
}

#[test]
fn pops_and_settings_replace_those_of_the_topology() {
    let text = "story A\npop ams of eu, 2 nodes\npop nyc of us, 1 node\nset region.fence_ms = \"3s\"\n\
                network\nway ams nyc delay 40ms loss 1%\nreads 1/s of 1 object\nlasts 1s\nexpect no errors\n";
    let topology = parsed(text).topology().unwrap_or_else(|error| panic!("{error:#}"));
    let nodes: Vec<String> = topology.nodes().map(|(name, _)| name).collect();
    assert_eq!(nodes, ["ams-1", "ams-2", "nyc-1"]);
    assert_eq!(topology.node["region"]["fence_ms"].as_str(), Some("3s"));
    assert!(topology.node.contains_key("services"), "the rest stays");
    let quality = topology.quality("nyc", "ams");
    assert_eq!((quality.delay_ms, quality.loss_percent), (40.0, 1.0));
}

proptest! {
    #[test]
    fn times_are_printed_as_they_are_read(us in 0u64..86_400_000_000) {
        let time = Duration::from_micros(us);
        prop_assert_eq!(words::time(&words::time_text(time)), Ok(time));
    }

    #[test]
    fn sizes_are_printed_as_they_are_read(bytes in 1u64..u64::MAX) {
        prop_assert_eq!(words::size(&words::size_text(bytes)), Ok(bytes));
    }

    #[test]
    fn parts_are_printed_as_they_are_read(tenth_percents in 0u32..=1000) {
        let part = f64::from(tenth_percents) / 1000.0;
        let read = words::percent(&words::part_text(part)).map(|percent| percent / 100.0);
        prop_assert!((read.unwrap_or(9.0) - part).abs() < 1e-12);
    }

    #[test]
    fn any_number_of_objects_is_made_of_groups(objects in 1u32..=100_000) {
        let (groups, names) = words::groups(objects);
        prop_assert_eq!(groups * names, objects);
    }

    #[test]
    fn no_text_is_too_strange_to_be_told_what_is_wrong(text in "(?s).{0,200}") {
        let _ = parse::story("name", &text);
    }
}
