//! Other PoPs: what their speakers say, what this one says to them, and whom it connects to.

use super::*;

fn roster(numbers: &[u16]) -> Vec<RosterEntry> {
    numbers.iter().map(|number| entry(par(*number), Status::Alive)).collect()
}

#[test]
fn a_pop_is_known_by_its_speakers_and_its_silence_is_that_of_all_its_nodes() {
    let mut story = Story::begins();
    let nodes = [entry(par(1), Status::Alive), entry(par(2), Status::Suspect)];
    story.par_says(1, 1, &nodes);
    assert_eq!((story.status(1), story.status(2)), (Some(Status::Alive), Some(Status::Suspect)));
    assert_eq!(story.ring(), ids(&[ME]), "they are in their own ring");
    story.passes(10_000, &[]);
    assert_eq!(story.status(1), Some(Status::Alive));
    story.asked();
    story.passes(500, &[]);
    assert_eq!(story.status(1), Some(Status::Suspect));
    assert!(story.asked().contains(&Output::Changed));
    story.passes(20_000, &[]);
    assert_eq!(story.status(1), Some(Status::Dead));
    story.passes(120_000, &[]);
    assert_eq!((story.status(1), story.status(2)), (None, None));
    assert!(story.asked().contains(&Output::Forgotten(id(2))));
}

#[test]
fn a_summary_without_roster_keeps_those_alive_whose_roster_is_known() {
    let mut story = Story::begins();
    story.par_says(1, 1, &roster(&[1, 2]));
    let silent = PopSummary { roster: Vec::new(), ..summary_of_par(0, &roster(&[1, 2])) };
    for seq in 2..40 {
        story.passes(2_000, &[]);
        // The second has never sent the roster itself, and goes on when the first falls silent.
        for from in if seq < 10 { &[1, 2][..] } else { &[2] } {
            let summary = Arc::new(PopSummary { seq, ..silent.clone() });
            story.tell(Input::Summary { from: id(*from), summary });
        }
    }
    assert_eq!(story.status(2), Some(Status::Alive));
}

#[test]
fn a_node_that_no_speaker_lists_any_more_is_dead_and_then_forgotten() {
    let mut story = Story::begins();
    story.par_says(1, 1, &roster(&[1, 2, 3]));
    story.par_says(2, 1, &roster(&[1, 2, 3]));
    story.par_says(1, 2, &roster(&[1, 2]));
    assert_eq!(story.status(3), Some(Status::Alive), "the other speaker lists it yet");
    story.par_says(2, 2, &roster(&[1, 2]));
    assert_eq!(story.status(3), Some(Status::Dead));
    for seq in 3..64 {
        story.passes(2_000, &[]);
        story.par_says(1, seq, &roster(&[1, 2]));
    }
    assert_eq!((story.status(1), story.status(3)), (Some(Status::Alive), None));
}

#[test]
fn a_speaker_that_fell_silent_is_not_listened_to_while_another_speaks() {
    let mut story = Story::begins();
    story.par_says(1, 1, &roster(&[1, 2]));
    for seq in 1..8 {
        story.par_says(2, seq, &roster(&[2]));
        story.passes(2_000, &[]);
    }
    assert_eq!((story.status(1), story.status(2)), (Some(Status::Dead), Some(Status::Alive)));
}

#[test]
fn old_summaries_and_nodes_of_other_places_are_left_out() {
    let mut story = Story::begins();
    let mut nodes = roster(&[1, 2]);
    nodes.push(entry(profile(3), Status::Alive));
    nodes.push(entry(profile_in(4, "us", "par"), Status::Alive));
    story.par_says(1, 5, &nodes);
    story.par_says(1, 4, &roster(&[1]));
    assert_eq!((story.status(2), story.status(3), story.status(4)), (Some(Status::Alive), None, None));
    assert_eq!(story.ring(), ids(&[ME]));
    story.hears(7);
    story.par_says(7, 9, &roster(&[1]));
    assert_eq!(story.status(2), Some(Status::Alive), "a neighbour does not speak for another PoP");
}

#[test]
fn what_third_ones_tell_of_a_pop_counts_until_its_speakers_speak() {
    let mut story = Story::begins();
    story.tell(Input::Roster(roster(&[1, 2])));
    assert_eq!(story.status(1), Some(Status::Alive));
    assert_eq!(story.members.roster(10, story.now), [], "hearsay is not told on");
    story.par_says(2, 1, &roster(&[2, 3]));
    assert_eq!((story.status(1), story.status(3)), (Some(Status::Dead), Some(Status::Alive)));
    story.tell(Input::Roster(roster(&[1, 4])));
    assert_eq!((story.status(1), story.status(4)), (Some(Status::Dead), None));
    assert_eq!(story.members.roster(10, story.now).len(), 2);
}

#[test]
fn a_bad_path_to_another_pop_is_this_nodes_own_and_is_probed() {
    let mut story = Story::among(&[60]);
    story.par_says(1, 1, &roster(&[1, 2]));
    story.tell(Input::LinkFailed { node: id(1), refused: true });
    assert_eq!((story.status(1), story.is_passed_over(1)), (Some(Status::Suspect), true));
    assert_eq!(story.probes(), [(id(1), None), (id(1), Some(id(60)))]);
    for seq in 2..100 {
        story.passes(2_000, &[60]);
        story.par_says(1, seq, &roster(&[1, 2]));
    }
    assert_eq!(story.status(1), Some(Status::Suspect), "its PoP hears it");
    assert!(!story.probes().is_empty());
    story.tell(Input::Probed { target: id(1), via: None, took_us: Some(10_000) });
    assert_eq!((story.status(1), story.is_passed_over(1)), (Some(Status::Alive), false));
}

#[test]
fn a_node_that_was_met_and_is_dropped_by_its_pop_is_dead_unless_it_answers() {
    let mut story = Story::begins();
    story.par_says(1, 1, &roster(&[1, 2]));
    story.tell(Input::Greeted(Box::new(state(par(2), 1))));
    for seq in 2..5 {
        story.passes(2_000, &[]);
        story.par_says(1, seq, &roster(&[1]));
    }
    assert_eq!(story.status(2), Some(Status::Dead));
    story.link_works(2);
    assert_eq!(story.status(2), Some(Status::Alive));
}

#[test]
fn a_restart_elsewhere_that_its_pop_tells_of_mends_the_path() {
    let mut story = Story::begins();
    story.par_says(1, 1, &roster(&[1, 2]));
    story.tell(Input::LinkFailed { node: id(2), refused: true });
    let restarted = Profile { incarnation: START + 1, ..par(2) };
    story.par_says(1, 2, &[entry(par(1), Status::Alive), entry(restarted.clone(), Status::Alive)]);
    story.passes(500, &[]);
    assert!(!story.is_passed_over(2));
    assert_eq!(story.view().members[&id(2)].profile, restarted);
}

#[test]
fn a_node_that_moves_to_this_pop_joins_its_ring_and_leaves_it_when_it_moves_away() {
    let mut story = Story::begins();
    story.tell(Input::Greeted(Box::new(state(par(1), 1))));
    assert_eq!(story.ring(), ids(&[ME]));
    story.hears_state(state(Profile { incarnation: START + 1, ..profile(1) }, 1));
    assert_eq!(story.ring(), ids(&[1, ME]));
    story.hears_state(state(Profile { incarnation: START + 2, ..par(1) }, 1));
    assert_eq!(story.ring(), ids(&[ME]));
    assert_eq!(story.status(1), Some(Status::Alive));
}

#[test]
fn tickets_expire_elsewhere_too() {
    let mut story = Story::begins();
    let mut short = par(2);
    short.ticket.claim.expires_ms = START + 1_000;
    let nodes = [entry(par(1), Status::Alive), entry(short, Status::Alive)];
    story.par_says(1, 1, &nodes);
    story.passes(500, &[]);
    assert_eq!(story.status(2), Some(Status::Alive));
    story.asked();
    story.passes(500, &[]);
    assert_eq!(story.status(2), Some(Status::Dead));
    assert!(story.asked().contains(&Output::Changed));
}

#[test]
fn the_two_lowest_of_the_living_speak() {
    let mut story = Story::among(&[1, 60]);
    assert!(story.members.is_speaker());
    story.hears(2);
    assert!(!story.members.is_speaker());
    story.passes(2_500, &[1, 60]);
    assert!(story.members.is_speaker(), "node 2 is silent");
}

#[test]
fn a_summary_brings_the_roster_when_it_changed_when_it_is_due_and_for_newcomers() {
    let mut story = Story::among(&[60]);
    let first = story.members.summary(false);
    assert_eq!(first.roster.len(), 2);
    assert_eq!(first.roster_hash, RosterEntry::hash_of(&first.roster));
    assert!(first.seq > START, "it goes on over restarts");
    let mut seq = first.seq;
    for number in 2..=11 {
        let next = story.members.summary(false);
        assert!(next.seq > seq);
        seq = next.seq;
        assert_eq!(next.roster.is_empty(), number != 11, "summary {number}");
        assert_eq!(next.roster_hash, first.roster_hash);
    }
    assert_eq!(story.members.summary(true).roster.len(), 2);
    story.hears(61);
    let changed = story.members.summary(false);
    assert_eq!(changed.roster.len(), 3);
    assert_ne!(changed.roster_hash, first.roster_hash);
    story.passes(2_500, &[60]);
    let suspect = story.members.summary(false);
    assert_eq!(suspect.roster[2].status, Status::Suspect);
    story.passes(4_000, &[60]);
    assert_eq!(story.members.summary(false).roster.len(), 2, "the dead are not in it");
}

#[test]
fn the_load_of_a_pop_is_the_sum_and_of_fullness_the_mean() {
    let mut story = Story::begins();
    let load =
        Load { cpu_permille: 900, in_flight: 5, bytes_per_s: 7, memory_permille: 1, ..Load::default() };
    story.hears_state(NodeState { load, ..state(profile(1), 1) });
    let own = Own { load: Load { cpu_permille: 100, in_flight: 2, ..Load::default() }, ..Own::default() };
    story.members.heartbeat(own, story.now);
    let sum = story.members.summary(false).load;
    assert_eq!((sum.cpu_permille, sum.in_flight, sum.bytes_per_s, sum.memory_permille), (500, 7, 7, 0));
}

#[test]
fn all_of_the_pop_and_some_of_every_other_are_connected_to() {
    let mut story = Story::among(&[1, 2]);
    let us: Vec<RosterEntry> =
        (200..210).map(|number| entry(profile_in(number, "us", "nyc"), Status::Alive)).collect();
    story.tell(Input::Roster(us));
    story.par_says(100, 1, &roster(&[100, 101, 102, 103]));
    let candidates = |story: &Story, connected: &[u16], target| -> Vec<NodeId> {
        let connected = ids(connected).into_iter().collect();
        let found = story.members.greet_candidates(&connected, target, story.now);
        found.into_iter().map(|(node, _)| node).collect()
    };
    let is_par = |node: &NodeId| ids(&[100, 101, 102, 103]).contains(node);
    let all = candidates(&story, &[], 4);
    assert_eq!(all[..2].iter().copied().collect::<BTreeSet<_>>(), ids(&[1, 2]).into_iter().collect());
    let others: Vec<bool> = all[2..].iter().map(is_par).collect();
    assert_eq!(others, [true, false, true, false], "in turns, the own region first");

    assert_eq!(candidates(&story, &[1, 2, 100, 101, 200, 201], 4), [], "there are enough");
    let next = candidates(&story, &[1, 2, 100, 101], 3);
    assert_eq!(next.len(), 1);
    assert!(!is_par(&next[0]), "a PoP without connection comes first");
    story.passes(6_500, &[2]);
    assert!(!candidates(&story, &[], 0).contains(&id(1)), "the dead are not called");
}

#[test]
fn names_are_compared_over_the_region() {
    let mut story = Story::among(&[1]);
    let mut other = par(9);
    other.ticket.claim.name = "lon-1".into();
    story.par_says(9, 1, &[entry(other, Status::Alive)]);
    let notice = Notice::SharedName { name: "lon-1".into(), first: id(1), second: id(9) };
    assert!(story.asked().contains(&Output::Notice(notice)));
}

#[test]
fn a_ticket_that_was_shown_is_known_and_another_is_not() {
    let mut story = Story::among(&[1]);
    story.par_says(2, 1, &roster(&[2]));
    assert!(story.members.knows_ticket(&profile(1).ticket));
    assert!(story.members.knows_ticket(&par(2).ticket));
    let mut forged = profile(1).ticket;
    forged.claim.may_shield = false;
    assert!(!story.members.knows_ticket(&forged));
    assert!(!story.members.knows_ticket(&profile(3).ticket));
}
