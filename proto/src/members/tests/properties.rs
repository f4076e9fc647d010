//! What holds whatever happens.

use proptest::prelude::*;

use super::*;

/// A thing that may happen to a neighbour within one tick.
#[derive(Clone, Copy, Debug)]
enum Event {
    Heartbeat,
    StaleHeartbeat,
    Greeting,
    LinkOk,
    LinkFailed(bool),
    ProbeAnswered(bool),
    ProbeUnanswered(bool),
    ToldDead,
    Expelled,
    Admitted,
}

impl Event {
    /// Whether it is a sign of life.
    fn is_life(self) -> bool {
        matches!(self, Self::Heartbeat | Self::Greeting | Self::LinkOk | Self::ProbeAnswered(_))
    }
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Heartbeat),
        Just(Event::StaleHeartbeat),
        Just(Event::Greeting),
        Just(Event::LinkOk),
        any::<bool>().prop_map(Event::LinkFailed),
        any::<bool>().prop_map(Event::ProbeAnswered),
        any::<bool>().prop_map(Event::ProbeUnanswered),
        Just(Event::ToldDead),
    ]
}

fn any_event_at_all() -> impl Strategy<Value = Event> {
    prop_oneof![8 => any_event(), 1 => Just(Event::Expelled), 1 => Just(Event::Admitted)]
}

fn lifeless() -> impl Strategy<Value = Event> {
    any_event().prop_filter("no sign of life", |event| !event.is_life())
}

fn input(event: Event, number: u16, seq: u64) -> Input {
    let node = id(number);
    let via = |is_direct: bool| (!is_direct).then(|| id(99));
    match event {
        Event::Heartbeat => Input::Heard(Box::new(state(profile(number), seq))),
        Event::StaleHeartbeat => Input::Heard(Box::new(state(profile(number), 1))),
        Event::Greeting => Input::Greeted(Box::new(state(profile(number), 1))),
        Event::LinkOk => Input::LinkOk { node, took_us: 1 },
        Event::LinkFailed(refused) => Input::LinkFailed { node, refused },
        Event::ProbeAnswered(is_direct) => {
            Input::Probed { target: node, via: via(is_direct), took_us: Some(1) }
        }
        Event::ProbeUnanswered(is_direct) => {
            Input::Probed { target: node, via: via(is_direct), took_us: None }
        }
        Event::ToldDead => Input::Roster(vec![entry(profile(number), Status::Dead)]),
        Event::Expelled => Input::Expelled(node),
        Event::Admitted => Input::Admitted(node),
    }
}

fn ticks() -> usize {
    let settings = Settings::default();
    usize::try_from(settings.dead_after_ms / settings.heartbeat_ms).expect("a few")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn whoever_is_heard_within_the_bound_on_any_path_is_never_dead(
        // In each span of up to `dead_after` all that may happen, ended by one sign of life.
        spans in prop::collection::vec(
            (prop::collection::vec(lifeless(), 0..ticks()), any_event().prop_filter("life", |e| e.is_life())),
            1..30,
        ),
    ) {
        let mut story = Story::among(&[1]);
        for (events, life) in spans {
            for event in events.into_iter().chain([life]) {
                story.now += 500;
                story.tell(Input::Tick);
                prop_assert_ne!(story.members.status(&id(1)), Some(Status::Dead));
                story.seq += 1;
                story.tell(input(event, 1, story.seq));
                prop_assert!(story.ring().contains(&id(1)));
            }
        }
    }

    #[test]
    fn whoever_is_silent_is_dead_in_bounded_ticks_and_forgotten_in_bounded_time(
        before in prop::collection::vec(any_event(), 0..20),
        after in prop::collection::vec(lifeless(), 300),
    ) {
        let mut story = Story::among(&[1]);
        for event in before {
            story.now += 500;
            story.seq += 1;
            story.tell(input(event, 1, story.seq));
            story.tell(Input::Tick);
        }
        for (tick, event) in after.into_iter().enumerate() {
            story.tell(input(event, 1, 1));
            story.now += 500;
            story.tell(Input::Tick);
            let status = story.members.status(&id(1));
            if status.is_none() {
                // From here on a heartbeat, however old, is one of a node that is not known.
                break;
            }
            prop_assert!(tick <= ticks() || status == Some(Status::Dead), "tick {}: {:?}", tick, status);
            // dead_after and forget_after are 252 ticks together.
            prop_assert!(tick < 254, "it is not forgotten");
        }
    }

    #[test]
    fn failing_links_alone_kill_nobody(
        failures in prop::collection::vec(prop::collection::vec((1_u16..6, any::<bool>(), any::<bool>()), 0..20), 1..60),
    ) {
        let mut story = Story::among(&[1, 2, 3, 4, 5]);
        for tick in failures {
            for (number, is_probe, flag) in tick {
                let event = if is_probe { Event::ProbeUnanswered(flag) } else { Event::LinkFailed(flag) };
                story.tell(input(event, number, 0));
            }
            story.passes(500, &[1, 2, 3, 4, 5]);
            prop_assert_eq!(story.ring(), ids(&[1, 2, 3, 4, 5, ME]));
        }
    }

    #[test]
    fn two_machines_that_are_told_the_same_agree(
        told in prop::collection::vec((1_u16..6, any_event_at_all(), 0_u64..900), 1..200),
    ) {
        let mut machines = [Story::begins(), Story::begins()];
        for (at, (number, event, ms)) in told.into_iter().enumerate() {
            let said = machines.each_mut().map(|story| {
                story.now += ms;
                story.tell(input(event, number, at as u64 + 2));
                story.tell(Input::Tick);
                story.asked()
            });
            prop_assert_eq!(&said[0], &said[1]);
        }
        let views = machines.each_ref().map(|story| format!("{:?}", story.view()));
        prop_assert_eq!(&views[0], &views[1]);
    }

    #[test]
    fn the_latest_word_of_the_latest_life_stands_in_whatever_order_words_come(
        words in prop::collection::vec((0_u64..4, 0_u64..8), 1..40),
    ) {
        let mut story = Story::begins();
        for (incarnation, seq) in &words {
            let profile = Profile { incarnation: START + incarnation, ..profile(1) };
            let mut said = state(profile, *seq);
            said.load.requests_per_s = (*incarnation * 100 + *seq) as u32;
            story.hears_state(said);
        }
        let (incarnation, seq) = words.iter().max().expect("there is one");
        let member = &story.view().members[&id(1)];
        prop_assert_eq!(member.profile.incarnation, START + incarnation);
        prop_assert_eq!(u64::from(member.load.requests_per_s), incarnation * 100 + seq);
    }

    #[test]
    fn bounds_hold_and_neighbours_stay_whatever_is_made_up(
        flood in prop::collection::vec((0_u8..5, 100_u16..2_000, 1_usize..40), 1..80),
    ) {
        let mut story = Story::with(Settings { members_max: 60, ..Settings::default() });
        [1, 2, 3].iter().for_each(|number| story.hears(*number));
        for (at, (kind, first, count)) in flood.into_iter().enumerate() {
            let numbers = first..first + count as u16;
            let pop = format!("p{}", first % 7);
            let entries = |region: &str, pop: &str| -> Vec<RosterEntry> {
                numbers.clone().map(|number| entry(profile_in(number, region, pop), Status::Alive)).collect()
            };
            match kind {
                0 => story.tell(Input::Roster(entries("eu", "lon"))),
                1 => story.tell(Input::Roster(entries("us", &pop))),
                2 => story.par_says(first, at as u64, &entries("eu", "par")),
                3 => numbers.clone().for_each(|number| story.hears(number)),
                _ => numbers.clone().for_each(|number| {
                    story.tell(Input::Greeted(Box::new(state(profile_in(number, "us", &pop), at as u64))));
                }),
            }
            prop_assert!(story.view().members.len() <= 60);
            story.passes(500, &[1, 2, 3]);
            prop_assert!(story.view().members.len() <= 60);
            for number in [1, 2, 3] {
                prop_assert_eq!(story.members.status(&id(number)), Some(Status::Alive));
            }
        }
    }
}
