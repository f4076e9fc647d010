use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use proptest::{
    collection::{btree_set, vec},
    option,
    prelude::*,
};

use super::*;
use crate::{
    members::{Addresses, Health, Member, Profile},
    purge::Versions,
    ring::Ring,
    ticket::{Claim, Ticket},
};

fn node(byte: u8) -> NodeId {
    NodeId::from_bytes([byte; 32])
}

fn member(id: NodeId, usable: bool, requests: u32) -> Member {
    let (region, pop) = ("eu".to_owned(), "lon".to_owned());
    let claim = Claim { node: id, name: String::new(), region, pop, may_shield: false, expires_ms: u64::MAX };
    let addresses =
        Addresses { mesh: ([127, 0, 0, 1], 7000).into(), link_quic: ([127, 0, 0, 1], 7001).into() };
    Member {
        profile: Profile {
            ticket: Ticket { claim, signature: None },
            incarnation: 1,
            addresses,
            weight: 100,
        },
        status: if usable { Status::Alive } else { Status::Suspect },
        passed_over: !usable,
        heard_ms: 0,
        load: Load { in_flight: requests / 2, peer_in_flight: requests - requests / 2, ..Load::default() },
        health: Health::default(),
        versions: Versions::default(),
        rtt_us: None,
    }
}

fn ring(nodes: impl IntoIterator<Item = NodeId>) -> Arc<Ring> {
    Arc::new(Ring::new(&nodes.into_iter().map(|id| (id, 100)).collect::<Vec<_>>()))
}

/// A calm PoP of the nodes 0..count, as the node `me` sees it.
fn pop(count: u8, me: NodeId) -> View {
    let members = (0..count).map(|byte| (node(byte), member(node(byte), true, 0))).collect();
    View { me, members, ring: ring((0..count).map(node)), previous: None, hot: Arc::new(HashSet::new()) }
}

fn pass_over(view: &mut View, id: NodeId) {
    view.members.get_mut(&id).expect("a member").passed_over = true;
}

/// Gives each node its requests under way, the others none.
fn loaded(view: &mut View, loads: &[(NodeId, u32)]) {
    for (id, requests) in loads {
        view.members.insert(*id, member(*id, true, *requests));
    }
}

/// The first nodes for "film" in a PoP of 8, and one that comes up far behind them.
struct Cast {
    key: Key,
    first: NodeId,
    second: NodeId,
    third: NodeId,
    fourth: NodeId,
    last: NodeId,
}

fn cast() -> Cast {
    let key = Key::of("film");
    let order: Vec<NodeId> = ring((0..8).map(node)).walk(&key).collect();
    let [first, second, third, fourth, .., last] = order[..] else { panic!("eight nodes come up") };
    Cast { key, first, second, third, fourth, last }
}

fn ways(view: &View, key: Key) -> (Hop, Vec<Way>) {
    let plan = plan(view, key, Hop::Client);
    (plan.hop, plan.ways)
}

#[test]
fn a_client_request_goes_to_the_owner_then_its_replica_then_the_origin() {
    let Cast { key, first, second, last, .. } = cast();
    let expected = vec![Way::Owner(first), Way::Owner(second), Way::Origin];
    assert_eq!(ways(&pop(8, last), key), (Hop::Client, expected));
}

#[test]
fn the_owner_stands_at_its_own_hop_and_asks_the_origin() {
    let Cast { key, first, .. } = cast();
    assert_eq!(ways(&pop(8, first), key), (Hop::Owner, vec![Way::Origin]));
}

#[test]
fn a_replica_asks_those_before_it_and_itself_means_the_origin() {
    let Cast { key, first, second, third, .. } = cast();
    assert_eq!(ways(&pop(8, second), key), (Hop::Client, vec![Way::Owner(first), Way::Origin]));
    let both = vec![Way::Owner(first), Way::Owner(second), Way::Origin];
    assert_eq!(ways(&pop(8, third), key), (Hop::Client, both));
}

#[test]
fn who_is_passed_over_is_left_out_and_the_next_moves_up() {
    let Cast { key, first, second, third, fourth, last } = cast();
    let mut view = pop(8, last);
    pass_over(&mut view, first);
    let expected = vec![Way::Owner(second), Way::Owner(third), Way::Origin];
    assert_eq!(ways(&view, key), (Hop::Client, expected));
    pass_over(&mut view, second);
    pass_over(&mut view, third);
    assert_eq!(ways(&view, key).1[0], Way::Owner(fourth), "half a PoP gone, and the rest still meet at one");
    let mut view = pop(8, second);
    pass_over(&mut view, first);
    assert_eq!(ways(&view, key), (Hop::Owner, vec![Way::Origin]), "this node stands in");
}

#[test]
fn an_unknown_node_of_the_ring_is_not_asked() {
    let Cast { key, first, second, third, last, .. } = cast();
    let mut view = pop(8, last);
    view.members.remove(&first);
    assert_eq!(ways(&view, key).1, [Way::Owner(second), Way::Owner(third), Way::Origin]);
}

#[test]
fn with_nobody_to_ask_this_node_is_the_owner() {
    let Cast { key, last, .. } = cast();
    let mut view = pop(8, last);
    (0..8).map(node).for_each(|id| pass_over(&mut view, id));
    // `last` is in the ring and comes up at once, its own state does not matter.
    assert_eq!(ways(&view, key), (Hop::Owner, vec![Way::Origin]));
    view.ring = ring((0..8).map(node).filter(|id| *id != last));
    assert_eq!(ways(&view, key), (Hop::Owner, vec![Way::Origin]));
    view.ring = ring([]);
    assert_eq!(ways(&view, key), (Hop::Owner, vec![Way::Origin]));
}

#[test]
fn an_overloaded_owner_yields_to_the_next_that_is_not() {
    let Cast { key, first, second, third, last, .. } = cast();
    let mut view = pop(8, last);
    loaded(&mut view, &[(first, 65)]);
    let yielded = vec![Way::Owner(second), Way::Owner(third), Way::Origin];
    assert_eq!(ways(&view, key), (Hop::Client, yielded));
    loaded(&mut view, &[(first, 500), (second, 500), (third, 0)]);
    assert_eq!(ways(&view, key).1, [Way::Owner(third), Way::Owner(first), Way::Origin]);
    loaded(&mut view, &[(first, 500), (second, 500), (third, 500)]);
    assert_eq!(
        ways(&view, key).1,
        [Way::Owner(first), Way::Owner(second), Way::Origin],
        "all of them: as ever"
    );
}

#[test]
fn few_requests_or_a_busy_pop_make_no_owner_overloaded() {
    let Cast { key, first, second, last, .. } = cast();
    let expected = vec![Way::Owner(first), Way::Owner(second), Way::Origin];
    let mut view = pop(8, last);
    loaded(&mut view, &[(first, 64)]);
    assert_eq!(ways(&view, key).1, expected, "64 are few, though the others have none");
    // Twice the mean exactly: (7 x 300 + 700) / 8 = 350.
    (0..8).map(node).for_each(|id| loaded(&mut view, &[(id, if id == first { 700 } else { 300 })]));
    assert_eq!(ways(&view, key).1, expected);
    loaded(&mut view, &[(first, 701)]);
    assert_ne!(ways(&view, key).1, expected);
}

#[test]
fn this_node_stands_in_for_overloaded_owners_and_never_yields_itself() {
    let Cast { key, first, second, .. } = cast();
    let mut view = pop(8, second);
    loaded(&mut view, &[(first, 1_000)]);
    assert_eq!(ways(&view, key), (Hop::Owner, vec![Way::Origin]));
    let mut view = pop(8, first);
    loaded(&mut view, &[(first, 1_000)]);
    assert_eq!(ways(&view, key), (Hop::Owner, vec![Way::Origin]));
}

#[test]
fn a_new_owner_asks_who_owned_the_key_before() {
    let Cast { key, first, second, last, .. } = cast();
    let before = ring((0..8).map(node).filter(|id| *id != first));
    let mut view = pop(8, first);
    view.previous = Some(before.clone());
    let fills = vec![Way::Previous(second), Way::Origin];
    assert_eq!(ways(&view, key), (Hop::Owner, fills.clone()));
    assert_eq!(plan(&view, key, Hop::Owner), Plan { hop: Hop::Owner, ways: fills }, "asked by a peer, too");
    pass_over(&mut view, second);
    assert_eq!(ways(&view, key).1, [Way::Origin], "who is passed over is not asked");
    // The others ask the new owner alone: what the previous one has comes by it.
    let mut view = pop(8, last);
    view.previous = Some(before);
    assert_eq!(ways(&view, key).1, [Way::Owner(first), Way::Owner(second), Way::Origin]);
}

#[test]
fn a_previous_owner_is_not_asked_when_it_is_this_node_or_owns_the_key_still() {
    let Cast { key, first, second, last, .. } = cast();
    let mut view = pop(8, second);
    view.previous = Some(ring([second, last]));
    assert_eq!(plan(&view, key, Hop::Owner).ways, [Way::Origin]);
    view.previous = Some(ring([first]));
    assert_eq!(plan(&view, key, Hop::Owner).ways, [Way::Origin]);
}

#[test]
fn above_the_owner_there_is_the_origin() {
    let Cast { key, last, .. } = cast();
    for hop in [Hop::Shield, Hop::Origin] {
        assert_eq!(plan(&pop(8, last), key, hop), Plan { hop, ways: vec![Way::Origin] });
    }
}

/// A node of the PoP in what a property makes up: who is in its ring, whom it passes over, how loaded it
/// believes the others are, and which ring it had before. No two need agree on anything.
fn any_view(me: u8, nodes: u8) -> impl Strategy<Value = View> {
    let subset = move || btree_set(0..nodes, 0..=usize::from(nodes));
    let members = vec((any::<bool>(), prop_oneof![Just(0_u32), Just(80), Just(5_000)]), usize::from(nodes));
    (subset(), option::of(subset()), members).prop_map(move |(now, before, members)| View {
        me: node(me),
        members: (0..)
            .map(node)
            .zip(members)
            .map(|(id, (usable, requests))| (id, member(id, usable, requests)))
            .collect(),
        ring: ring(now.into_iter().map(node)),
        previous: before.map(|nodes| ring(nodes.into_iter().map(node))),
        hot: Arc::new(HashSet::new()),
    })
}

fn any_pop() -> impl Strategy<Value = Vec<View>> {
    (2..6_u8).prop_flat_map(|nodes| (0..nodes).map(|me| any_view(me, nodes)).collect::<Vec<_>>())
}

/// A flight: at which node, and at which hop.
type Flight = (NodeId, Hop);

/// What a flight may come to wait for, were every way tried and every join made that is allowed: who asks a
/// node at a hop waits for any of its flights of that hop or a higher one.
fn waits(views: &[View], key: Key) -> BTreeMap<Flight, BTreeSet<Flight>> {
    let plans: Vec<(NodeId, Plan)> = views
        .iter()
        .flat_map(|view| [Hop::Client, Hop::Owner, Hop::Shield].map(|hop| (view.me, plan(view, key, hop))))
        .collect();
    let mut waits = BTreeMap::<Flight, BTreeSet<Flight>>::new();
    for (node, plan) in &plans {
        let of_flight = waits.entry((*node, plan.hop)).or_default();
        for way in &plan.ways {
            // `Previous` answers from what it has and joins nothing; the origin is no node.
            let Way::Owner(asked) = way else { continue };
            let joinable = plans.iter().filter(|(at, theirs)| at == asked && theirs.hop >= Hop::Owner);
            of_flight.extend(joinable.map(|(at, theirs)| (*at, theirs.hop)));
        }
    }
    waits
}

/// Takes away flights that wait for none of the rest until none can be taken: what is left waits in a circle.
fn circle(mut waits: BTreeMap<Flight, BTreeSet<Flight>>) -> Vec<Flight> {
    loop {
        let left: BTreeSet<Flight> = waits.keys().copied().collect();
        waits.retain(|_, on| !on.is_disjoint(&left));
        if waits.len() == left.len() {
            return left.into_iter().collect();
        }
    }
}

#[test]
fn a_circle_of_waits_would_be_seen() {
    let (a, b, c) = ((node(1), Hop::Owner), (node(2), Hop::Owner), (node(3), Hop::Client));
    let opposed =
        BTreeMap::from([(a, BTreeSet::from([b])), (b, BTreeSet::from([a])), (c, BTreeSet::from([a]))]);
    assert_eq!(circle(opposed), [a, b, c]);
    let chain = BTreeMap::from([(a, BTreeSet::new()), (b, BTreeSet::from([a])), (c, BTreeSet::from([a, b]))]);
    assert_eq!(circle(chain), []);
}

proptest! {
    #[test]
    fn nodes_that_disagree_never_wait_for_each_other(views in any_pop(), key: [u8; 16]) {
        let waits = waits(&views, Key::from_bytes(key));
        prop_assert_eq!(circle(waits), vec![]);
    }

    /// Whatever ways are taken from a client's request on, each question goes to a higher hop than its asker
    /// stands at, and every plan ends at the origin: the way up is never longer than there are hops.
    #[test]
    fn every_way_leads_up_and_ends_at_the_origin(views in any_pop(), key: [u8; 16]) {
        let key = Key::from_bytes(key);
        let by_id: BTreeMap<NodeId, &View> = views.iter().map(|view| (view.me, view)).collect();
        let mut to_ask: Vec<(NodeId, Hop, usize)> = views.iter().map(|view| (view.me, Hop::Client, 0)).collect();
        while let Some((node, hop, questions)) = to_ask.pop() {
            prop_assert!(questions <= 1, "only the owner stands between a client and the origin");
            let plan = plan(by_id[&node], key, hop);
            prop_assert!(plan.hop >= hop);
            prop_assert_eq!(plan.ways.iter().position(|way| *way == Way::Origin), Some(plan.ways.len() - 1));
            let asked: Vec<NodeId> = plan
                .ways
                .iter()
                .filter_map(|way| match way { Way::Owner(node) | Way::Previous(node) => Some(*node), Way::Origin => None })
                .collect();
            prop_assert!(!asked.contains(&node), "nobody asks itself");
            prop_assert_eq!(asked.iter().collect::<BTreeSet<_>>().len(), asked.len(), "nobody is asked twice");
            for way in plan.ways {
                if let Way::Owner(next) = way {
                    prop_assert!(plan.hop < Hop::Owner);
                    to_ask.push((next, Hop::Owner, questions + 1));
                }
            }
        }
    }

    #[test]
    fn nodes_that_agree_meet_at_one(usable in vec(any::<bool>(), 8), number: u32) {
        let key = Key::of(&number.to_string());
        let mut first = BTreeSet::new();
        for me in (0..8).map(node).filter(|id| usable[id.as_bytes()[0] as usize]) {
            let mut view = pop(8, me);
            (0..8).filter(|byte| !usable[*byte as usize]).for_each(|byte| pass_over(&mut view, node(byte)));
            first.insert(match plan(&view, key, Hop::Client).ways[0] {
                Way::Owner(owner) => owner,
                Way::Previous(_) | Way::Origin => me,
            });
        }
        prop_assert!(first.len() <= 1, "they meet at {first:?}");
    }
}
