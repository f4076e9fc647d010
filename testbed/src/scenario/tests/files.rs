//! The stories of this repository.

use std::{collections::BTreeSet, path::Path};

use crate::scenario::{Story, parse};

fn all() -> Vec<Story> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    Story::load_all(&dir).unwrap_or_else(|error| panic!("{error:#}"))
}

#[test]
fn every_story_parses_and_asks_only_for_what_its_topology_has() {
    let stories = all();
    assert!(stories.len() >= 20, "{} stories", stories.len());
    for story in stories {
        let text = story.to_string();
        let again = parse::story(&story.name, &text).map(|(story, _)| story);
        assert_eq!(again, Ok(story), "{text}");
    }
}

#[test]
fn the_stories_that_there_must_be_are_there() {
    let names: BTreeSet<String> = all().into_iter().map(|story| story.name).collect();
    let due = [
        "owner-killed",
        "leader-killed",
        "shields-killed",
        "pop-killed",
        "region-cut-off",
        "region-split",
        "quorum-lost",
        "slow-origin",
        "dead-origin",
        "rolling-restart",
        "clock-step",
        "full-disk",
        "power-cut",
        "old-disk",
        "purge-storm",
        "purge-storm-partition",
        "hot-key",
        "random-node-killed",
        "non-transitive-cut",
        "lossy-ways",
    ];
    let missing: Vec<&str> = due.into_iter().filter(|name| !names.contains(*name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_default_set_needs_no_root_and_no_patience() {
    for story in all() {
        let needs_little = !story.stage.network && story.lasts.as_secs() < 30;
        assert_eq!(story.is_default(), needs_little, "{}", story.name);
    }
    assert!(all().iter().filter(|story| story.is_default()).count() >= 12);
}
