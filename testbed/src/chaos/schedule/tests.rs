use std::collections::{BTreeMap, BTreeSet};

use super::{
    deck::Kind,
    plan::{Place, Plan},
    *,
};
use crate::faults::{DiskHow, OriginHow};

const MINUTE: Duration = Duration::from_secs(60);

fn nodes(pops: &[(&str, &str, usize)]) -> Vec<Place> {
    pops.iter()
        .flat_map(|(pop, region, count)| {
            (1..=*count).map(move |number| Place {
                name: format!("{pop}-{number}"),
                pop: (*pop).to_owned(),
                region: (*region).to_owned(),
            })
        })
        .collect()
}

fn nine() -> Vec<Place> {
    nodes(&[("lon", "eu", 3), ("fra", "eu", 2), ("nyc", "us", 2), ("sin", "ap", 2)])
}

fn three() -> Vec<Place> {
    nodes(&[("here", "local", 3)])
}

fn needs_network(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Cut { .. }
            | Fault::Way { .. }
            | Fault::Flap { .. }
            | Fault::Freeze(_)
            | Fault::Thaw(_)
            | Fault::Heal
    )
}

fn faults(schedule: &Schedule) -> impl Iterator<Item = (Duration, &Fault)> {
    schedule.iter().filter_map(|(when, step)| match step {
        Step::Fault(fault) => Some((*when, fault)),
        _ => None,
    })
}

#[test]
fn the_same_seed_is_the_same_schedule_and_another_one_another() {
    let plan = Plan::new(nine(), |_: &Fault| true);
    assert_eq!(plan.by_seed(7, MINUTE), plan.by_seed(7, MINUTE));
    assert_ne!(plan.by_seed(7, MINUTE), plan.by_seed(8, MINUTE));
}

/// Which state of the testbed a fault begins or ends: what it is about, and whether it begins.
fn states(fault: &Fault) -> Vec<(String, bool)> {
    let each = |kind: &str, nodes: &Nodes, begins| {
        nodes.0.split('+').map(|node| (format!("{kind} {node}"), begins)).collect()
    };
    match fault {
        Fault::Kill(nodes) | Fault::Stop(nodes) | Fault::PowerCut(nodes) | Fault::OldDisk(nodes) => {
            each("silent", nodes, true)
        }
        Fault::Start(nodes) => each("silent", nodes, false),
        Fault::Pause(nodes) => each("paused", nodes, true),
        Fault::Resume(nodes) => each("paused", nodes, false),
        Fault::Freeze(nodes) => each("frozen", nodes, true),
        Fault::Thaw(nodes) => each("frozen", nodes, false),
        Fault::Clock(nodes, off_ms) => each("clock", nodes, *off_ms != 0),
        Fault::Disk(nodes, how) => each("disk", nodes, *how != DiskHow::Well),
        Fault::Cut { .. } | Fault::Way { .. } | Fault::Flap { .. } => vec![("network".to_owned(), true)],
        Fault::Heal => vec![("network".to_owned(), false)],
        Fault::Origin(how) => vec![("origin".to_owned(), *how != OriginHow::Well)],
        Fault::Restart(_) | Fault::KeepDisk(_) => Vec::new(),
    }
}

#[test]
fn what_begins_is_ended_the_last_fifth_is_well_and_never_is_all_silent() {
    for (nodes, time, has_network) in
        [(nine(), MINUTE, true), (three(), MINUTE, false), (three(), MINUTE / 4, false)]
    {
        let all = nodes.len();
        let plan = Plan::new(nodes, |fault: &Fault| has_network || !needs_network(fault));
        for seed in 0..200 {
            let schedule = plan.by_seed(seed, time);
            assert!(schedule.is_sorted_by_key(|(when, _)| *when), "seed {seed}");
            let mut on: BTreeSet<String> = BTreeSet::new();
            for (when, fault) in faults(&schedule) {
                assert!(when < time * 4 / 5, "seed {seed}: {fault:?} at {when:?}");
                assert!(has_network || !needs_network(fault), "seed {seed}: {fault:?}");
                for (state, begins) in states(fault) {
                    assert_eq!(on.contains(&state), !begins, "seed {seed}: {fault:?} at {when:?}");
                    if begins {
                        on.insert(state)
                    } else {
                        on.remove(&state)
                    };
                }
                let silent =
                    on.iter().filter(|state| !state.starts_with("clock") && !state.starts_with("disk"));
                let silent = silent.filter(|state| state.contains(' ')).count();
                assert!(silent < all && silent <= plan.silent_max(), "seed {seed}: {on:?} at {when:?}");
            }
            assert!(on.is_empty(), "seed {seed}: {on:?} never ends");
        }
    }
}

#[test]
fn a_minute_has_enough_trouble_and_over_seeds_all_of_its_kinds() {
    let plan = Plan::new(nine(), |_: &Fault| true);
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for seed in 0..60 {
        let schedule = plan.by_seed(seed, MINUTE);
        let begun = faults(&schedule)
            .filter(|(_, fault)| {
                matches!(fault, Fault::Restart(_)) || states(fault).iter().any(|(_, begins)| *begins)
            })
            .count();
        assert!((5..=18).contains(&begun), "seed {seed}: {begun} troubles");
        for (_, fault) in faults(&schedule) {
            let debug = format!("{fault:?}");
            let name = debug.split(['(', ' ', '{']).next().unwrap_or_default();
            let how = match fault {
                Fault::Disk(_, how) => format!("{name} {how:?}"),
                Fault::Origin(OriginHow::Slow(_)) => format!("{name} slow"),
                Fault::Origin(how) => format!("{name} {how:?}"),
                Fault::Cut { one_way, .. } => format!("{name} {one_way}"),
                _ => name.to_owned(),
            };
            *kinds.entry(how).or_default() += 1;
        }
    }
    // All commands, and disks, origins and cuts in their variants.
    assert_eq!(kinds.len(), 24, "{kinds:#?}");
    assert!(kinds.values().all(|count| *count >= 5), "{kinds:#?}");
    assert_eq!(Kind::DECK.len(), Kind::DECK.iter().map(|(kind, _)| kind).collect::<BTreeSet<_>>().len());
}
