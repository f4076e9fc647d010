//! Nodes of the own PoP: silence, bad paths, probes, verdicts and returns.

use super::*;

#[test]
fn a_node_alone_is_its_own_ring() {
    let story = Story::begins();
    assert_eq!(story.ring(), ids(&[ME]));
    assert_eq!(story.status(ME), Some(Status::Alive));
    assert!(story.members.is_speaker());
}

#[test]
fn a_neighbour_is_in_from_its_first_word() {
    let mut story = Story::begins();
    story.hears(1);
    assert_eq!(story.ring(), ids(&[1, ME]));
    let turned = Output::Turned { node: id(1), from: None, to: Status::Alive };
    assert_eq!(story.asked(), [turned, Output::Changed]);
    assert!(story.view().is_in_ring(&id(1)));
}

#[test]
fn silence_is_suspected_then_judged_then_forgotten() {
    let mut story = Story::among(&[1, 2]);
    story.passes(2_000, &[2]);
    assert_eq!(story.status(1), Some(Status::Alive), "suspect_after is not over");
    story.passes(500, &[2]);
    assert_eq!(story.status(1), Some(Status::Suspect));
    assert!(story.is_passed_over(1));
    assert_eq!(story.ring(), ids(&[1, 2, ME]), "a suspect stays in the ring");
    story.passes(3_500, &[2]);
    assert_eq!(story.status(1), Some(Status::Suspect), "dead_after is not over");
    story.passes(500, &[2]);
    assert_eq!(story.status(1), Some(Status::Dead));
    assert_eq!(story.ring(), ids(&[2, ME]));
    assert!(!story.view().is_in_ring(&id(1)));
    story.passes(120_000, &[2]);
    assert_eq!(story.status(1), Some(Status::Dead), "forget_after is not over");
    story.passes(500, &[2]);
    assert_eq!(story.status(1), None);
    assert!(story.asked().contains(&Output::Forgotten(id(1))));
    assert_eq!(story.status(2), Some(Status::Alive));
}

#[test]
fn a_suspect_is_probed_directly_and_through_three_others_that_change() {
    let mut story = Story::among(&[1, 2, 3, 4, 5, 6, 7]);
    let others = [2, 3, 4, 5, 6, 7];
    story.passes(2_500, &others);
    let first = story.probes();
    assert_eq!(first.len(), 4);
    assert_eq!(first[0], (id(1), None));
    let vias = |probes: &[(NodeId, Option<NodeId>)]| -> BTreeSet<NodeId> {
        probes.iter().filter_map(|(_, via)| *via).collect()
    };
    assert_eq!(vias(&first).len(), 3, "three different ones");
    assert!(vias(&first).iter().all(|via| *via != id(1) && *via != id(ME)));
    story.passes(500, &others);
    let second = story.probes();
    assert_eq!(second.len(), 4);
    assert!(vias(&first).is_disjoint(&vias(&second)), "others in the next round");
    story.passes(500, &others);
    assert_eq!(story.probes(), [], "the next round waits longer");
}

#[test]
fn two_failures_in_a_row_or_one_refusal_make_a_path_bad_at_once() {
    let mut story = Story::among(&[1, 2, 3]);
    story.link_fails(1);
    story.link_works(1);
    story.link_fails(1);
    assert!(!story.is_passed_over(1), "not in a row");
    story.link_fails(1);
    assert!(story.is_passed_over(1));
    assert_eq!(story.status(1), Some(Status::Suspect));
    story.tell(Input::LinkFailed { node: id(2), refused: true });
    assert!(story.is_passed_over(2));
    let probed: BTreeSet<NodeId> = story.probes().into_iter().map(|(target, _)| target).collect();
    assert_eq!(probed, BTreeSet::from([id(1), id(2)]), "without waiting for a tick");
}

#[test]
fn a_bad_path_alone_kills_nobody() {
    let mut story = Story::among(&[1, 2]);
    for _ in 0..600 {
        story.link_fails(1);
        story.passes(500, &[1, 2]);
        story.tell(Input::Probed { target: id(1), via: None, took_us: None });
        assert_eq!(story.status(1), Some(Status::Suspect));
        assert_eq!(story.ring(), ids(&[1, 2, ME]));
    }
    let roster = story.members.roster(10, story.now);
    assert_eq!(roster[0].status, Status::Alive, "the path from here is nobody else's business");
    story.tell(Input::Probed { target: id(1), via: None, took_us: Some(900) });
    assert_eq!(story.status(1), Some(Status::Alive));
    assert_eq!(story.view().members[&id(1)].rtt_us, Some(900));
}

#[test]
fn a_node_on_a_bad_path_is_tried_less_and_less_often_but_never_given_up() {
    let mut story = Story::among(&[1, 2]);
    story.tell(Input::LinkFailed { node: id(1), refused: true });
    assert_eq!(story.probes(), [(id(1), None), (id(1), Some(id(2)))]);
    story.passes(60_000, &[1, 2]);
    let later = story.probes();
    assert!((14..20).contains(&later.len()), "{}", later.len());
    assert!(
        later.iter().all(|(_, via)| via.is_none()),
        "its heartbeats are heard: only the path is in doubt"
    );
}

#[test]
fn an_answer_through_another_node_is_a_sign_of_life_but_mends_no_path() {
    let mut story = Story::among(&[1, 2]);
    story.tell(Input::LinkFailed { node: id(1), refused: true });
    for _ in 0..60 {
        story.passes(1_500, &[2]);
        story.tell(Input::Probed { target: id(1), via: Some(id(2)), took_us: Some(400) });
    }
    assert_eq!(story.status(1), Some(Status::Suspect));
    assert!(story.is_passed_over(1));
    for _ in 0..4 {
        story.passes(1_500, &[2]);
        story.tell(Input::Probed { target: id(1), via: Some(id(2)), took_us: None });
    }
    story.passes(1_000, &[2]);
    assert_eq!(story.status(1), Some(Status::Dead), "that another asked in vain is no sign of life");
}

#[test]
fn a_stopped_node_is_passed_over_at_once_judged_later_and_taken_back_at_once() {
    let mut story = Story::among(&[1, 2]);
    story.link_fails(1);
    story.link_fails(1);
    assert!(story.is_passed_over(1));
    story.passes(6_500, &[2]);
    assert_eq!(story.ring(), ids(&[2, ME]));
    assert!(
        story.asked().iter().any(|output| matches!(output, Output::Greet { node, .. } if *node == id(1)))
    );

    story.hears(1);
    assert_eq!(story.ring(), ids(&[1, 2, ME]), "one word is enough");
    assert!(story.is_passed_over(1), "but the link to it failed last");
    assert!(story.probes().contains(&(id(1), None)), "which is found out at once");
    story.tell(Input::Probed { target: id(1), via: None, took_us: Some(200) });
    assert!(!story.is_passed_over(1));
}

#[test]
fn a_restarted_node_begins_anew() {
    let mut story = Story::among(&[1, 2]);
    story.tell(Input::LinkFailed { node: id(1), refused: true });
    assert!(story.is_passed_over(1));
    let restarted = Profile { incarnation: START + 10, weight: 200, ..profile(1) };
    story.hears_state(state(restarted.clone(), 1));
    assert!(!story.is_passed_over(1), "the failures were its predecessor's");
    assert_eq!(story.members.ring_nodes()[0], (id(1), 200));
    story.hears(1);
    assert_eq!(story.view().members[&id(1)].profile, restarted, "a late word of the predecessor is no news");
}

#[test]
fn late_words_of_a_past_life_are_no_sign_of_life() {
    let mut story = Story::among(&[2]);
    story.hears_state(state(Profile { incarnation: START + 10, ..profile(1) }, 1));
    for seq in 1..20 {
        story.passes(500, &[2]);
        story.hears_state(state(profile(1), 100 + seq));
        story.hears_state(state(Profile { incarnation: START + 10, ..profile(1) }, 1));
    }
    assert_eq!(story.status(1), Some(Status::Dead));
}

#[test]
fn a_greeting_is_a_sign_of_life_even_if_its_word_is_known() {
    let mut story = Story::among(&[2]);
    let said = state(profile(1), 1);
    story.hears_state(said.clone());
    for _ in 0..10 {
        story.passes(1_500, &[2]);
        story.tell(Input::Greeted(Box::new(said.clone())));
    }
    assert_eq!(story.status(1), Some(Status::Alive));
}

#[test]
fn who_says_good_bye_is_out_at_once_and_no_late_answer_brings_it_back() {
    let mut story = Story::among(&[1, 2]);
    story.hears_state(NodeState { leaving: true, ..state(profile(1), 100) });
    assert_eq!(story.status(1), Some(Status::Left));
    assert_eq!(story.ring(), ids(&[2, ME]));
    story.link_works(1);
    story.hears_state(state(profile(1), 99));
    assert_eq!(story.ring(), ids(&[2, ME]));
    story.hears_state(state(Profile { incarnation: START + 10, ..profile(1) }, 1));
    assert_eq!(story.ring(), ids(&[1, 2, ME]), "its next life is welcome");
}

#[test]
fn a_node_that_leaves_takes_itself_out() {
    let mut story = Story::among(&[60]);
    assert!(story.members.is_speaker());
    assert!(story.members.leave().leaving);
    story.tell(Input::Tick);
    assert_eq!(story.ring(), ids(&[60]));
    assert_eq!(story.status(ME), Some(Status::Left));
    assert!(!story.members.is_speaker());
    let roster = story.members.summary(true).roster;
    assert_eq!(roster.iter().map(|entry| entry.profile.node()).collect::<Vec<_>>(), ids(&[60]));
}

#[test]
fn a_draining_node_is_passed_over_but_owns_what_it_owned() {
    let mut story = Story::among(&[1]);
    let mut draining = state(profile(1), 100);
    draining.health.draining = true;
    story.hears_state(draining);
    assert!(story.asked().contains(&Output::Changed), "at once");
    assert_eq!((story.status(1), story.is_passed_over(1)), (Some(Status::Alive), true));
    assert_eq!(story.ring(), ids(&[1, ME]));
}

#[test]
fn a_ticket_that_expires_ends_its_node_until_it_shows_a_new_one() {
    let mut story = Story::among(&[2]);
    let until = |expires_ms| {
        let mut profile = profile(1);
        profile.ticket.claim.expires_ms = expires_ms;
        profile
    };
    for seq in 1..4 {
        story.hears_state(state(until(START + 1_500), seq));
        story.passes(500, &[2]);
    }
    assert_eq!(story.status(1), Some(Status::Dead));
    story.hears_state(state(until(START + 1_500), 4));
    assert_eq!(story.status(1), Some(Status::Dead), "however lively it is");
    story.hears_state(state(until(START + 60_000), 5));
    assert_eq!(story.status(1), Some(Status::Alive));
}

#[test]
fn the_expelled_are_not_heard_until_they_are_admitted() {
    let mut story = Story::among(&[1]);
    story.tell(Input::Expelled(id(1)));
    story.hears(1);
    story.link_works(1);
    assert_eq!((story.status(1), story.ring()), (Some(Status::Dead), ids(&[ME])));
    story.passes(5_000, &[1]);
    let greets = |output: &Output| matches!(output, Output::Greet { .. });
    assert!(!story.asked().iter().any(greets));
    story.tell(Input::Admitted(id(1)));
    story.hears(1);
    assert_eq!(story.status(1), Some(Status::Alive));
}

#[test]
fn a_sleeper_holds_its_own_sleep_against_nobody() {
    // A node that was stopped for a minute would else, when it wakes, judge all others dead and own every key.
    let mut story = Story::among(&[1, 2]);
    story.now += 60_000;
    story.tell(Input::Tick);
    assert_eq!(story.ring(), ids(&[1, 2, ME]));
    story.passes(7_000, &[2]);
    assert_eq!(story.status(1), Some(Status::Dead), "silence while it is awake counts");
}

#[test]
fn who_was_only_told_of_is_greeted_and_in_the_ring_until_it_stays_silent() {
    let mut story = Story::among(&[1]);
    let told = [
        entry(profile(2), Status::Alive),
        entry(profile(3), Status::Dead),
        entry(profile(ME), Status::Alive),
    ];
    story.tell(Input::Roster(told.to_vec()));
    let address = profile(2).addresses.mesh;
    assert!(story.asked().contains(&Output::Greet { node: id(2), address }));
    assert_eq!(story.ring(), ids(&[1, 2, ME]));
    assert_eq!(story.status(3), None, "of the dead nothing need be known");
    let told_on: Vec<NodeId> = story.members.roster(10, story.now).iter().map(|e| e.profile.node()).collect();
    assert_eq!(told_on, ids(&[1]), "hearsay is not told on");
    for _ in 0..13 {
        story.passes(500, &[1]);
        story.tell(Input::Roster(told.to_vec()));
    }
    assert_eq!(story.status(2), Some(Status::Dead), "hearsay keeps nobody alive");
}

#[test]
fn a_nodes_own_word_outweighs_what_was_told_of_it() {
    let mut story = Story::among(&[1]);
    let lie = Profile { incarnation: u64::MAX, weight: 900, ..profile(2) };
    story.tell(Input::Roster(vec![entry(lie.clone(), Status::Alive)]));
    story.hears(2);
    assert_eq!(story.view().members[&id(2)].profile, profile(2));
    story.tell(Input::Roster(vec![entry(lie, Status::Dead)]));
    assert_eq!(story.view().members[&id(2)].profile, profile(2));
    assert_eq!(story.status(2), Some(Status::Alive));
}

#[test]
fn two_nodes_of_one_name_are_both_kept_and_reported_once() {
    let mut story = Story::among(&[1]);
    let mut twin = profile(2);
    twin.ticket.claim.name = profile(1).ticket.claim.name;
    let notice = Output::Notice(Notice::SharedName { name: "lon-1".into(), first: id(1), second: id(2) });
    for seq in 1..3 {
        story.hears_state(state(twin.clone(), seq));
        assert_eq!(story.asked().contains(&notice), seq == 1);
    }
    assert_eq!(story.ring(), ids(&[1, 2, ME]));
}

#[test]
fn another_process_with_the_own_key_is_reported_once_and_changes_nothing() {
    let mut story = Story::begins();
    story.hears_state(state(profile(ME), 7));
    assert_eq!(story.asked(), [], "a word of its own last life");
    let twin = state(Profile { incarnation: START + 1, ..profile(ME) }, 1);
    story.hears_state(twin.clone());
    story.hears_state(twin);
    let notice = Notice::Twin { node: id(ME), incarnation: START + 1 };
    assert_eq!(story.asked(), [Output::Notice(notice)]);
    assert_eq!(story.members.profile().incarnation, START);
}

#[test]
fn loads_and_versions_are_published_with_the_next_tick_and_not_before() {
    let mut story = Story::among(&[1]);
    story.passes(500, &[1]);
    story.asked();
    story.hears(1);
    assert_eq!(story.asked(), []);
    story.tell(Input::Tick);
    assert_eq!(story.asked(), [Output::Changed]);
    story.tell(Input::Tick);
    assert_eq!(story.asked(), []);
}

#[test]
fn what_any_node_calls_hot_is_hot_for_a_while() {
    let mut story = Story::among(&[1, 2]);
    let key = Key::of("hot");
    story.hears_state(NodeState { hot: vec![key], ..state(profile(1), 100) });
    story.members.heartbeat(Own { hot: vec![Key::of("mine")], ..Own::default() }, story.now);
    story.tell(Input::Tick);
    assert_eq!(*story.view().hot, [key, Key::of("mine")].into());
    story.passes(5_000, &[2]);
    assert!(story.view().hot.contains(&key));
    story.passes(500, &[2]);
    assert!(story.view().hot.is_empty());
}
