//! The ring before the last change, and who may be asked by it.

use super::*;

#[test]
fn a_joiner_knows_the_ring_it_joined() {
    // What it owns now the others owned before it came: without them it would fill all of it from the origin.
    let mut story = Story::begins();
    [1, 2, 3].iter().for_each(|number| story.hears(*number));
    assert_eq!(story.ring(), ids(&[1, 2, 3, ME]));
    assert_eq!(story.previous(), Some(ids(&[1, 2, 3])));
    story.passes(10_000, &[1, 2, 3]);
    let newcomer = Profile { incarnation: START + 10_000, ..profile(4) };
    story.hears_state(state(newcomer, 1));
    assert_eq!(story.previous(), Some(ids(&[1, 2, 3])), "newcomers have nothing that could be asked for");
}

#[test]
fn those_that_start_together_ask_nobody() {
    let mut story = Story::begins();
    for number in [1, 2] {
        story.hears_state(state(Profile { incarnation: START + 100, ..profile(number) }, 1));
    }
    assert_eq!(story.previous(), None);
}

#[test]
fn the_previous_ring_is_that_before_the_last_change_and_ends() {
    let mut story = Story::among(&[1, 2]);
    story.passes(301_000, &[1, 2]);
    assert_eq!(story.previous(), None);
    story.hears_state(state(Profile { weight: 200, ..profile(1) }, 10_000_000));
    assert_eq!(story.members.previous_ring_nodes(), Some(&[(id(1), 100), (id(2), 100), (id(ME), 100)][..]));
    story.hears_state(NodeState { leaving: true, ..state(profile(2), 10_000_000) });
    assert_eq!(story.members.previous_ring_nodes(), Some(&[(id(1), 200), (id(2), 100), (id(ME), 100)][..]));
    story.seq = 20_000_000;
    // Node 1 goes on with its new weight.
    for _ in 0..600 {
        story.now += 500;
        story.seq += 1;
        story.hears_state(state(Profile { weight: 200, ..profile(1) }, story.seq));
        story.tell(Input::Tick);
    }
    assert!(story.previous().is_some());
    story.asked();
    story.passes(1_000, &[]);
    assert_eq!(story.previous(), None);
    assert!(story.asked().contains(&Output::Changed));
}

#[test]
fn a_weight_outside_the_bounds_is_taken_for_the_nearer_end() {
    let mut story = Story::begins();
    story.hears_state(state(Profile { weight: 0, ..profile(1) }, 1));
    story.hears_state(state(Profile { weight: u16::MAX, ..profile(2) }, 1));
    assert_eq!(story.members.ring_nodes(), [(id(1), 1), (id(2), 1_000), (id(ME), 100)]);
    story.members.set_weight(5_000);
    story.tell(Input::Tick);
    assert_eq!(story.members.ring_nodes()[2], (id(ME), 1_000));
}
