use std::collections::HashSet;

use core::net::SocketAddr;
use proptest::prelude::*;

use super::*;
use crate::{
    members::{Addresses, Profile},
    purge::Versions,
    ring::Ring,
    ticket::{Claim, Ticket},
};

fn eu() -> Region {
    Region::new("eu")
}

/// The node `number` of a PoP; ids are in the order of PoPs.
fn id(pop: u8, number: u8) -> NodeId {
    let mut bytes = [0; 32];
    (bytes[0], bytes[1]) = (pop, number);
    NodeId::from_bytes(bytes)
}

fn at(index: u64) -> Version {
    Version { epoch: 1, index }
}

fn stamp(index: u64) -> Stamp {
    let mut versions = Versions::default();
    versions.set(eu(), at(index));
    Arc::new(versions)
}

fn member(pop: u8, number: u8, status: Status) -> Member {
    let claim = Claim {
        node: id(pop, number),
        name: format!("{pop}-{number}"),
        region: "eu".to_owned(),
        pop: pop.to_string(),
        may_shield: true,
        expires_ms: u64::MAX,
    };
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let profile = Profile {
        ticket: Ticket { claim, signature: None },
        incarnation: 1,
        addresses: Addresses { mesh: nowhere, link_quic: nowhere },
        weight: 100,
    };
    Member::new(profile, status)
}

/// `pops` PoPs of `size` nodes; `change` may alter them.
fn view(pops: u8, size: u8, change: impl Fn(&mut Member)) -> Arc<View> {
    let nodes = (0..pops).flat_map(|pop| (0..size).map(move |number| (pop, number)));
    let members = nodes.map(|(pop, number)| {
        let mut member = member(pop, number, Status::Alive);
        change(&mut member);
        (id(pop, number), member)
    });
    Arc::new(View {
        me: id(0, 0),
        members: members.collect(),
        ring: Arc::new(Ring::new(&[])),
        previous: None,
        hot: Arc::new(HashSet::new()),
    })
}

fn knows(index: u64) -> impl Fn(&mut Member) {
    move |member| member.versions.set(eu(), at(index))
}

/// The leader, in a mesh that knows `index` of its log.
fn leader(pops: u8, size: u8, index: u64, settings: ReplicaSettings) -> Replica {
    let mut replica = Replica::new(id(0, 0), settings);
    replica.handle(Input::Applied(stamp(index)), 0);
    replica.handle(Input::Leads(Some(eu())), 0);
    assert_eq!(pushes(&replica.handle(Input::View(view(pops, size, knows(index))), 0)), []);
    replica
}

fn pushes(out: &[Output]) -> Vec<(NodeId, Vec<NodeId>)> {
    let push = |output: &Output| match output {
        Output::Push { to, relay, .. } => Some((*to, relay.clone())),
        Output::Compare { .. } => None,
    };
    out.iter().filter_map(push).collect()
}

fn compares(out: &[Output]) -> Vec<NodeId> {
    let compare = |output: &Output| match output {
        Output::Compare { with } => Some(*with),
        Output::Push { .. } => None,
    };
    out.iter().filter_map(compare).collect()
}

fn told(node: NodeId, index: u64) -> Input {
    Input::Told { node, region: eu(), at: Some(at(index)) }
}

fn pushed(to: NodeId, answered: bool) -> Input {
    Input::Pushed { to, region: eu(), answered }
}

fn reached_by_all(replica: &Replica, nodes: usize, index: u64) -> bool {
    replica
        .reached(&eu())
        .is_some_and(|reached| reached.values().filter(|v| **v == at(index)).count() == nodes)
}

#[test]
fn neighbours_are_told_directly_and_other_pops_through_two_relays_each() {
    let mut replica = leader(3, 4, 1, ReplicaSettings::default());
    let mut out = pushes(&replica.handle(Input::Applied(stamp(2)), 10));
    out.sort();
    let rest = |pop: u8, but: u8| (0..4).filter(|n| *n != but).map(|n| id(pop, n)).collect::<Vec<_>>();
    let mut expected: Vec<_> = (1..4).map(|number| (id(0, number), vec![])).collect();
    expected
        .extend([1, 2].into_iter().flat_map(|pop| [(id(pop, 0), rest(pop, 0)), (id(pop, 1), rest(pop, 1))]));
    assert_eq!(out, expected);
    for (to, relay) in out {
        for node in relay.into_iter().chain([to]) {
            assert_eq!(pushes(&replica.handle(told(node, 2), 20)), []);
        }
        assert_eq!(pushes(&replica.handle(pushed(to, true), 20)), [], "everybody was told, or is being told");
    }
    assert!(reached_by_all(&replica, 11, 2));
    assert_eq!(pushes(&replica.handle(Input::Tick, 60_000)), []);
}

#[test]
fn what_is_applied_meanwhile_goes_with_the_next_push() {
    let mut replica = leader(2, 1, 1, ReplicaSettings::default());
    assert_eq!(pushes(&replica.handle(Input::Applied(stamp(2)), 0)), [(id(1, 0), vec![])]);
    assert_eq!(pushes(&replica.handle(Input::Applied(stamp(3)), 1)), []);
    assert_eq!(pushes(&replica.handle(Input::Applied(stamp(4)), 1)), []);
    replica.handle(told(id(1, 0), 2), 2);
    let out = replica.handle(pushed(id(1, 0), true), 2);
    let expected = Output::Push { to: id(1, 0), region: eu(), after: Some(at(2)), relay: vec![] };
    assert_eq!(out.into_iter().find(|output| matches!(output, Output::Push { .. })), Some(expected));
}

#[test]
fn when_both_relays_fail_the_others_are_told_directly_and_the_relays_later() {
    let mut replica = leader(2, 5, 1, ReplicaSettings::default());
    (1..5).for_each(|n| drop(replica.handle(told(id(0, n), 2), 0)));
    let out = pushes(&replica.handle(Input::Applied(stamp(2)), 0));
    assert_eq!(out.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [id(1, 0), id(1, 1)]);
    assert_eq!(pushes(&replica.handle(pushed(id(1, 0), false), 5)), [], "the other relay is at it");
    let out = pushes(&replica.handle(pushed(id(1, 1), false), 6));
    assert_eq!(out, [2, 3, 4].map(|n| (id(1, n), vec![])));
    assert_eq!(pushes(&replica.handle(Input::Tick, 1_000)), []);
    assert_eq!(pushes(&replica.handle(Input::Tick, 1_006)), [0, 1].map(|n| (id(1, n), vec![])));
}

#[test]
fn a_relay_that_hangs_is_not_waited_for() {
    let mut replica = leader(2, 5, 1, ReplicaSettings::default());
    (1..5).for_each(|n| drop(replica.handle(told(id(0, n), 9), 0)));
    assert_eq!(pushes(&replica.handle(Input::Applied(stamp(2)), 0)).len(), 2);
    assert_eq!(pushes(&replica.handle(Input::Tick, 499)), []);
    let out = pushes(&replica.handle(Input::Tick, 500));
    let targets: Vec<_> = out.iter().map(|(to, _)| *to).collect();
    assert_eq!(targets, [id(1, 2), id(1, 3)], "two others relay");
}

#[test]
fn who_does_not_answer_is_tried_for_ever_at_a_pace_until_the_verdict() {
    let mut replica = leader(2, 1, 1, ReplicaSettings::default());
    assert_eq!(pushes(&replica.handle(Input::Applied(stamp(2)), 0)).len(), 1);
    let mut tries = 0;
    replica.handle(pushed(id(1, 0), false), 0);
    for now_ms in (100..=100_000).step_by(100) {
        for (to, _) in pushes(&replica.handle(Input::Tick, now_ms)) {
            tries += 1;
            assert_eq!(pushes(&replica.handle(pushed(to, false), now_ms)), []);
        }
    }
    assert_eq!(tries, 100);
    let dead = view(2, 1, |m| {
        if m.profile.name() == "1-0" {
            m.status = Status::Dead
        }
    });
    assert_eq!(pushes(&replica.handle(Input::View(dead), 100_500)), []);
    assert_eq!(pushes(&replica.handle(Input::Tick, 100_550)), []);
    let back = pushes(&replica.handle(Input::View(view(2, 1, |_| ())), 100_600));
    assert_eq!(back, [(id(1, 0), vec![])], "who is back is told at once");
}

#[test]
fn a_node_that_was_started_anew_is_told_again() {
    let mut replica = leader(2, 1, 5, ReplicaSettings::default());
    assert!(reached_by_all(&replica, 1, 5));
    let anew = view(2, 1, |member| {
        member.profile.incarnation = 2;
        member.versions.set(eu(), at(3));
    });
    let out = replica.handle(Input::View(anew), 10);
    assert_eq!(pushes(&out), [(id(1, 0), vec![])]);
    assert!(reached_by_all(&replica, 1, 3));
}

#[test]
fn who_lacks_more_than_the_relays_is_told_directly() {
    let mut replica = leader(2, 4, 5, ReplicaSettings::default());
    let old = view(2, 4, |member| {
        member.profile.incarnation = 2;
        member.versions.set(eu(), at(if member.profile.name() == "1-3" { 2 } else { 5 }));
    });
    assert_eq!(pushes(&replica.handle(Input::View(old), 0)), [(id(1, 3), vec![])]);
    replica.handle(pushed(id(1, 3), false), 0);
    (1..4).for_each(|n| drop(replica.handle(told(id(0, n), 6), 0)));
    let out = pushes(&replica.handle(Input::Applied(stamp(6)), 5_000));
    assert!(out.contains(&(id(1, 3), vec![])), "{out:?}");
    assert!(out.iter().all(|(_, relay)| !relay.contains(&id(1, 3))), "{out:?}");
}

#[test]
fn reached_grows_and_another_life_replaces_it() {
    let mut replica = leader(2, 1, 5, ReplicaSettings::default());
    let reach = |replica: &Replica| replica.reached(&eu()).and_then(|nodes| nodes.get(&id(1, 0)).copied());
    replica.handle(told(id(1, 0), 7), 0);
    replica.handle(told(id(1, 0), 6), 0);
    assert_eq!(reach(&replica), Some(at(7)));
    let reborn = Version { epoch: 2, index: 1 };
    replica.handle(Input::Told { node: id(1, 0), region: eu(), at: Some(reborn) }, 0);
    replica.handle(told(id(1, 0), 9), 0);
    assert_eq!(reach(&replica), Some(reborn));
    replica.handle(told(id(9, 9), 9), 0);
    replica.handle(Input::View(view(1, 1, |_| ())), 0);
    assert_eq!(replica.reached(&eu()), None, "nothing is kept of who is not in the view");
}

#[test]
fn a_node_compares_with_neighbours_and_others_in_turn() {
    let mut replica = Replica::new(id(0, 0), ReplicaSettings::default());
    let mut asked = compares(&replica.handle(Input::View(view(3, 3, |_| ())), 0));
    for now_ms in (0..6_000).step_by(100) {
        if let Some(with) = asked.last().copied() {
            asked.extend(compares(&replica.handle(Input::Compared { with, level: true }, now_ms)));
        }
        asked.extend(compares(&replica.handle(Input::Tick, now_ms)));
    }
    // First somebody elsewhere, to have caught up.
    let expected = [id(1, 0), id(0, 1), id(1, 1), id(0, 2), id(1, 2), id(0, 1)];
    assert_eq!(asked, expected);
}

#[test]
fn who_is_ahead_is_asked_at_once_and_again_only_with_news() {
    let mut replica = leader(2, 2, 1, ReplicaSettings::default());
    replica.handle(Input::Leads(None), 0);
    let ahead = id(1, 1);
    assert_eq!(compares(&replica.handle(told(ahead, 3), 100)), [ahead]);
    assert_eq!(compares(&replica.handle(told(ahead, 4), 101)), [], "never two with one node");
    assert_eq!(compares(&replica.handle(Input::Compared { with: ahead, level: false }, 102)), [ahead]);
    assert_eq!(compares(&replica.handle(Input::Compared { with: ahead, level: false }, 103)), []);
    assert_eq!(compares(&replica.handle(told(ahead, 4), 104)), []);
    assert_eq!(compares(&replica.handle(told(ahead, 5), 105)), [ahead]);
    replica.handle(Input::Applied(stamp(5)), 106);
    assert_eq!(compares(&replica.handle(Input::Compared { with: ahead, level: true }, 107)), []);
}

#[test]
fn a_node_has_caught_up_when_it_is_level_with_somebody_since_it_was_cut_off() {
    let alone = view(1, 1, |_| ());
    let neighbours = view(1, 2, |_| ());
    let all = view(2, 2, |_| ());
    let level = |pop, number| Input::Compared { with: id(pop, number), level: true };
    let mut replica = Replica::new(id(0, 0), ReplicaSettings::default());
    assert_eq!(compares(&replica.handle(Input::View(alone.clone()), 0)), []);
    assert!(!replica.is_caught_up());
    assert_eq!(compares(&replica.handle(Input::View(neighbours.clone()), 1)), [id(0, 1)]);
    replica.handle(Input::Compared { with: id(0, 1), level: false }, 2);
    assert!(!replica.is_caught_up());
    assert_eq!(compares(&replica.handle(Input::Tick, 1_001)), [id(0, 1)], "it asks until it has caught up");
    replica.handle(level(0, 1), 1_002);
    assert!(replica.is_caught_up());
    // Its neighbours may have been away as long as it was.
    assert!(compares(&replica.handle(Input::View(all), 1_003)).contains(&id(1, 0)));
    assert!(!replica.is_caught_up());
    replica.handle(level(1, 0), 1_004);
    assert!(replica.is_caught_up());
    // What was asked before the cut says nothing of after it.
    assert!(!compares(&replica.handle(Input::Tick, 9_000)).is_empty());
    replica.handle(Input::View(alone), 9_001);
    replica.handle(Input::View(neighbours), 9_002);
    replica.handle(level(0, 1), 9_003);
    replica.handle(level(1, 1), 9_003);
    assert!(!replica.is_caught_up());
}

#[derive(Clone, Debug)]
enum Act {
    Applied(u64),
    Leads(bool),
    Told(u8, u8, Option<u64>),
    End(usize, bool),
    EndCompare(usize, bool),
    View(u64),
    Tick,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (1..20_u64).prop_map(Act::Applied),
        any::<bool>().prop_map(Act::Leads),
        (0..4_u8, 0..5_u8, proptest::option::of(0..20_u64)).prop_map(|(p, n, at)| Act::Told(p, n, at)),
        (0..20_usize, any::<bool>()).prop_map(|(at, answered)| Act::End(at, answered)),
        (0..4_usize, any::<bool>()).prop_map(|(at, level)| Act::EndCompare(at, level)),
        any::<u64>().prop_map(Act::View),
        Just(Act::Tick),
    ]
}

/// Nodes are as the bits of `seed` have it: two of each.
fn views(seed: u64) -> Arc<View> {
    let view = view(4, 5, |_| ());
    let mut view = View::clone(&view);
    let (me, mut bits) = (view.me, seed);
    view.members.retain(|id, member| {
        let what = bits & 7;
        bits = bits.rotate_right(3).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        member.status =
            [Status::Alive, Status::Alive, Status::Alive, Status::Suspect, Status::Dead, Status::Left]
                [what as usize % 6];
        member.passed_over = member.status != Status::Alive;
        member.versions.set(eu(), at(bits >> 8 & 15));
        *id == me || what != 7
    });
    Arc::new(view)
}

proptest! {
    #[test]
    fn bounds_hold_whatever_happens(acts in proptest::collection::vec((act(), 0..700_u64), 1..150)) {
        let settings = ReplicaSettings { pushes_max: 6, ..ReplicaSettings::default() };
        let mut replica = Replica::new(id(0, 0), settings);
        let (mut now_ms, mut applied) = (0, 0);
        let mut there = view(0, 0, |_| ());
        let mut pushing: Vec<NodeId> = Vec::new();
        let mut comparing: Vec<NodeId> = Vec::new();
        for (act, after_ms) in acts {
            now_ms += after_ms;
            let input = match act {
                Act::Applied(more) => { applied += more; Input::Applied(stamp(applied)) }
                Act::Leads(leads) => Input::Leads(leads.then(eu)),
                Act::Told(pop, number, index) => {
                    Input::Told { node: id(pop, number), region: eu(), at: index.map(at) }
                }
                Act::End(at, answered) if !pushing.is_empty() => {
                    pushed(pushing.swap_remove(at % pushing.len()), answered)
                }
                Act::EndCompare(at, level) if !comparing.is_empty() => {
                    Input::Compared { with: comparing.swap_remove(at % comparing.len()), level }
                }
                Act::View(seed) => { there = views(seed); Input::View(there.clone()) }
                _ => Input::Tick,
            };
            let out = replica.handle(input, now_ms);
            for (to, relay) in pushes(&out) {
                prop_assert!(!pushing.contains(&to), "one push to a node at a time");
                pushing.push(to);
                let status = |id: &NodeId| there.members.get(id).map(|member| member.status);
                prop_assert!(matches!(status(&to), Some(Status::Alive | Status::Suspect)));
                for id in &relay {
                    prop_assert_eq!(id.as_bytes()[0], to.as_bytes()[0], "a relay tells its own PoP");
                    prop_assert!(*id != to && status(id) == Some(Status::Alive));
                }
                prop_assert!(relay.is_empty() || to.as_bytes()[0] != 0);
            }
            for with in compares(&out) {
                prop_assert!(with != id(0, 0) && !comparing.contains(&with));
                comparing.push(with);
            }
            prop_assert!(pushing.len() <= 6);
            prop_assert!(comparing.len() <= compare::COMPARISONS_MAX);
            let known = replica.reached(&eu()).map_or(0, BTreeMap::len);
            prop_assert!(known < there.members.len().max(1));
        }
    }

    #[test]
    fn everybody_who_answers_is_reached(
        fails in proptest::collection::vec(any::<bool>(), 200),
        pushes_max in 1..40_usize,
        relays_per_pop in 1..4_usize,
    ) {
        let settings = ReplicaSettings { pushes_max, relays_per_pop, ..ReplicaSettings::default() };
        let mut replica = leader(4, 5, 1, settings);
        let mut fails = fails.into_iter();
        let mut todo = pushes(&replica.handle(Input::Applied(stamp(2)), 0));
        let mut sent = 0;
        for now_ms in (0..120_000).step_by(100) {
            while let Some((to, relay)) = todo.pop() {
                sent += 1;
                let fails = fails.next().unwrap_or(false);
                for node in relay.into_iter().chain([to]).filter(|_| !fails) {
                    todo.extend(pushes(&replica.handle(told(node, 2), now_ms)));
                }
                todo.extend(pushes(&replica.handle(pushed(to, !fails), now_ms)));
            }
            todo.extend(pushes(&replica.handle(Input::Tick, now_ms)));
        }
        prop_assert!(reached_by_all(&replica, 19, 2));
        prop_assert!(sent <= 200 + 4 + 3 * relays_per_pop, "{} pushes", sent);
    }
}
