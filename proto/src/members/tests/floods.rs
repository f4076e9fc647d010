//! Bounds under floods of made-up nodes.

use super::*;

fn small() -> Settings {
    Settings { members_max: 40, ..Settings::default() }
}

fn holds(story: &Story) {
    assert!(story.view().members.len() <= 40, "{} nodes", story.view().members.len());
}

#[test]
fn made_up_nodes_of_any_kind_never_displace_a_living_neighbour() {
    let mut story = Story::with(small());
    [1, 2, 3].iter().for_each(|number| story.hears(*number));
    for wave in 0..20_u16 {
        let numbers: Vec<u16> = (0..100).map(|number| 1_000 + wave * 100 + number).collect();
        let neighbours = numbers.iter().map(|number| entry(profile(*number), Status::Alive)).collect();
        story.tell(Input::Roster(neighbours));
        holds(&story);
        let scattered =
            numbers.iter().map(|n| entry(profile_in(20_000 + n, "x", &format!("p{n}")), Status::Alive));
        story.tell(Input::Roster(scattered.collect()));
        holds(&story);
        let strangers: Vec<_> = numbers.iter().map(|n| entry(par(30_000 + n), Status::Alive)).collect();
        story.par_says(30_000, u64::from(wave) + 1, &strangers);
        holds(&story);
        for number in &numbers {
            story.tell(Input::Greeted(Box::new(state(par(40_000 + number), 1))));
            story.hears_state(state(profile(50_000 + number), 1));
        }
        holds(&story);
        story.passes(500, &[1, 2, 3]);
        for number in [1, 2, 3] {
            assert_eq!(story.status(number), Some(Status::Alive));
        }
    }
    let full = Output::Notice(Notice::Full { members_max: 40 });
    assert!(story.asked().contains(&full));
    story.passes(200_000, &[1, 2, 3]);
    assert_eq!(story.ring(), ids(&[1, 2, 3, ME]), "when the flood is over it is forgotten");
    assert_eq!(story.view().members.len(), 4);
}

#[test]
fn a_true_neighbour_finds_room_among_strangers_and_hearsay() {
    let mut story = Story::with(small());
    let strangers: Vec<_> = (100..139).map(|number| entry(par(number), Status::Alive)).collect();
    story.par_says(100, 1, &strangers);
    assert_eq!(story.view().members.len(), 40);
    story.hears(1);
    holds(&story);
    assert_eq!(story.status(1), Some(Status::Alive));

    let mut story = Story::with(small());
    story.tell(Input::Roster((100..300).map(|number| entry(profile(number), Status::Alive)).collect()));
    assert_eq!(story.view().members.len(), 40);
    story.hears(1);
    holds(&story);
    assert_eq!(story.status(1), Some(Status::Alive));
}

#[test]
fn a_pop_that_finds_no_room_for_a_greater_roster_stays_as_it_was_known() {
    let mut story = Story::with(small());
    story.par_says(100, 1, &[entry(par(100), Status::Alive)]);
    let strangers: Vec<_> = (100..200).map(|number| entry(par(number), Status::Alive)).collect();
    for seq in 2..30 {
        story.passes(2_000, &[]);
        story.par_says(100, seq, &strangers);
    }
    assert_eq!(story.status(100), Some(Status::Alive));
    assert_eq!(story.view().members.len(), 2);
}

#[test]
fn pops_in_which_nobody_stands_are_not_kept() {
    let mut story = Story::begins();
    for number in 0..100 {
        let pop = format!("p{number}");
        let nobody = PopSummary { pop, ..summary_of_par(1, &[entry(par(1), Status::Alive)]) };
        story.tell(Input::Summary { from: id(1), summary: Arc::new(nobody.clone()) });
        let unknown = PopSummary { roster: Vec::new(), seq: 2, ..nobody };
        story.tell(Input::Summary { from: id(1), summary: Arc::new(unknown) });
    }
    assert_eq!(story.asked(), []);
    assert_eq!(story.view().members.len(), 1);
}

#[test]
fn hot_keys_are_bounded_by_node_and_together() {
    let mut story = Story::begins();
    for number in 0..200_u16 {
        let number = 100 + number;
        let hot = (0..1_000).map(|key| Key::of(&format!("{number}/{key}"))).collect();
        story.hears_state(NodeState { hot, ..state(profile(number), 1) });
        story.tell(Input::Tick);
        let known = story.view().hot.len();
        assert_eq!(known, (usize::from(number - 99) * HOT_KEYS_MAX).min(HOT_SET_MAX));
    }
    assert!(story.view().hot.contains(&Key::of("299/0")), "the latest are kept");
}

#[test]
fn no_more_nodes_are_in_the_ring_on_hearsay_than_could_be_greeted() {
    let mut story = Story::begins();
    story.tell(Input::Roster((100..2_000).map(|number| entry(profile(number), Status::Alive)).collect()));
    assert_eq!(story.ring().len(), 257);
}
