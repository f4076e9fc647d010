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
    members::{Addresses, Member, Profile},
    purge::{Catalog, Change, Entry, Shield, Shields, Version},
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
    let ticket = Ticket { claim, signature: None };
    let profile = Profile { ticket, incarnation: 1, addresses, weight: 100 };
    Member {
        load: Load { in_flight: requests / 2, peer_in_flight: requests - requests / 2, ..Load::default() },
        ..Member::new(profile, if usable { Status::Alive } else { Status::Suspect })
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

/// The plan of a node in the region `eu`, for which nobody asks that other regions shield it.
fn plan_of(view: &View, rings: &ShieldRings, key: Key, hop: Hop) -> (Hop, Vec<Way>) {
    let plan = plan(view, rings, None, key, hop);
    (plan.hop, plan.ways)
}

/// Where no region has shields.
fn ways(view: &View, key: Key) -> (Hop, Vec<Way>) {
    plan_of(view, &shielded([]), key, Hop::Client)
}

/// The shields of these regions, as a node of `eu` sees them.
fn shielded<const REGIONS: usize>(regions: [(&str, Vec<NodeId>); REGIONS]) -> ShieldRings {
    let mut catalog = Catalog::default();
    for (region, nodes) in regions {
        let shields = nodes.into_iter().map(|node| Shield { node, weight: 100 }).collect();
        catalog.apply(&Entry {
            region: Region::new(region),
            version: Version { epoch: 1, index: 1 },
            at_ms: 0,
            key: 0,
            change: Change::Shields(Shields(shields)),
        });
    }
    ShieldRings::of(Region::new("eu"), &catalog)
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
    let asked = plan_of(&view, &shielded([]), key, Hop::Owner);
    assert_eq!(asked, (Hop::Owner, fills), "asked by a peer, too");
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
    assert_eq!(plan_of(&view, &shielded([]), key, Hop::Owner).1, [Way::Origin]);
    view.previous = Some(ring([first]));
    assert_eq!(plan_of(&view, &shielded([]), key, Hop::Owner).1, [Way::Origin]);
}

/// Nodes 10.. of other PoPs, known to a node of a PoP of 8; each as far as said, in microseconds.
fn with_far(me: NodeId, far: &[(u8, Option<u32>)]) -> View {
    let mut view = pop(8, me);
    for (byte, rtt_us) in far {
        view.members.insert(node(*byte), Member { rtt_us: *rtt_us, ..member(node(*byte), true, 0) });
    }
    view
}

/// Nodes in the order in which they come up for a key in the ring of them.
fn in_order(nodes: impl IntoIterator<Item = u8>, key: Key) -> Vec<NodeId> {
    ring(nodes.into_iter().map(node)).walk(&key).collect()
}

const NEAR: Option<u32> = Some(9_000);

#[test]
fn the_owner_asks_the_shield_then_the_next_then_the_origin() {
    let Cast { key, first, second, last, .. } = cast();
    let shields = in_order(10..13, key);
    let rings = shielded([("eu", shields.clone())]);
    let far: Vec<_> = (10..13).map(|byte| (byte, NEAR)).collect();
    let (mut view, asked) = (with_far(first, &far), [Way::Shield(shields[0]), Way::Shield(shields[1])]);
    let fills = [&asked[..], &[Way::Origin]].concat();
    assert_eq!(plan_of(&view, &rings, key, Hop::Client), (Hop::Owner, fills.clone()));
    assert_eq!(plan_of(&view, &rings, key, Hop::Owner), (Hop::Owner, fills.clone()), "asked by a peer, too");
    view.previous = Some(ring([second, last]));
    let behind = [&[Way::Previous(in_order([second.as_bytes()[0], last.as_bytes()[0]], key)[0])], &fills[..]];
    assert_eq!(plan_of(&view, &rings, key, Hop::Owner), (Hop::Owner, behind.concat()));
    let others = plan_of(&with_far(last, &far), &rings, key, Hop::Client);
    let owners = [Way::Owner(first), Way::Owner(second)];
    assert_eq!(others, (Hop::Client, [&owners[..], &fills].concat()), "when no owner answers: the next tier");
}

#[test]
fn the_shield_speaks_to_the_origin_wherever_the_request_came_from() {
    let Cast { key, first, second, third, last, .. } = cast();
    let order = in_order(0..3, key);
    for me in [first, last] {
        let rings = shielded([("eu", vec![me])]);
        for hop in [Hop::Client, Hop::Owner, Hop::Shield] {
            assert_eq!(plan_of(&pop(8, me), &rings, key, hop), (Hop::Shield, vec![Way::Origin]), "{hop:?}");
        }
    }
    // Who comes up second asks the first, and then the origin itself.
    let rings = shielded([("eu", order.clone())]);
    let asked = plan_of(&pop(8, order[1]), &rings, key, Hop::Owner);
    assert_eq!(asked, (Hop::Owner, vec![Way::Shield(order[0]), Way::Origin]));
    // What the new owner's forerunner has spares the origin a request, who asks is shield or not.
    let mut view = pop(8, first);
    view.previous = Some(ring([second]));
    let rings = shielded([("eu", vec![first])]);
    let asked = plan_of(&view, &rings, key, Hop::Client);
    assert_eq!(asked, (Hop::Shield, vec![Way::Previous(second), Way::Origin]));
    // Nobody is asked twice: neither an owner nor a previous owner that shields, too.
    let rings = shielded([("eu", vec![second])]);
    assert_eq!(plan_of(&view, &rings, key, Hop::Owner).1, [Way::Shield(second), Way::Origin]);
    let asked = plan_of(&pop(8, third), &rings, key, Hop::Client);
    assert_eq!(asked, (Hop::Client, vec![Way::Owner(first), Way::Owner(second), Way::Origin]));
}

#[test]
fn a_shield_that_cannot_be_reached_is_left_out_and_a_busy_one_is_not() {
    let Cast { key, first, .. } = cast();
    let shields = in_order(10..14, key);
    let rings = shielded([("eu", shields.clone())]);
    // The third is not in the view.
    let far: Vec<_> = shields.iter().map(|id| (id.as_bytes()[0], NEAR)).collect();
    let mut view = with_far(first, &[far[0], far[1], far[3]]);
    loaded(&mut view, &[(shields[0], 1_000_000)]);
    let asked = [Way::Shield(shields[0]), Way::Shield(shields[1]), Way::Origin];
    assert_eq!(plan_of(&view, &rings, key, Hop::Owner).1, asked);
    pass_over(&mut view, shields[0]);
    let asked = [Way::Shield(shields[1]), Way::Shield(shields[3]), Way::Origin];
    assert_eq!(plan_of(&view, &rings, key, Hop::Owner).1, asked);
}

#[test]
fn a_region_without_usable_shields_asks_those_of_the_nearest_other() {
    let Cast { key, first, .. } = cast();
    let rings = shielded([
        ("eu", vec![node(10)]),
        ("ap", vec![node(20)]),
        ("sa", vec![node(30), node(31)]),
        ("us", vec![node(40)]),
    ]);
    let far = [(10, NEAR), (20, None), (30, Some(90_000)), (31, Some(80_000)), (40, Some(80_000))];
    let mut view = with_far(first, &far);
    assert_eq!(plan_of(&view, &rings, key, Hop::Owner).1, [Way::Shield(node(10)), Way::Origin]);
    pass_over(&mut view, node(10));
    let sa = in_order([30, 31], key);
    let asked = [Way::Shield(sa[0]), Way::Shield(sa[1]), Way::Origin];
    assert_eq!(plan_of(&view, &rings, key, Hop::Owner).1, asked, "by time, then by name");
    [30, 31].into_iter().for_each(|byte| pass_over(&mut view, node(byte)));
    assert_eq!(plan_of(&view, &rings, key, Hop::Owner).1, [Way::Shield(node(40)), Way::Origin]);
    pass_over(&mut view, node(40));
    assert_eq!(
        plan_of(&view, &rings, key, Hop::Owner).1,
        [Way::Shield(node(20)), Way::Origin],
        "not measured"
    );
    pass_over(&mut view, node(20));
    assert_eq!(plan_of(&view, &rings, key, Hop::Owner), (Hop::Owner, vec![Way::Origin]));
}

#[test]
fn a_region_that_has_no_group_yet_asks_the_origin() {
    let Cast { key, first, .. } = cast();
    let view = with_far(first, &[(20, NEAR)]);
    let us = || ("us", vec![node(20)]);
    for rings in [shielded([us()]), shielded([us(), ("eu", vec![])])] {
        assert_eq!(plan_of(&view, &rings, key, Hop::Owner), (Hop::Owner, vec![Way::Origin]));
        let told = plan(&view, &rings, Some(&Region::new("us")), key, Hop::Owner);
        assert_eq!(told.ways, [Way::Shield(node(20)), Way::Origin], "but a service may say whom");
    }
}

#[test]
fn a_service_may_be_shielded_by_another_region() {
    let Cast { key, first, .. } = cast();
    let us = Region::new("us");
    let rings = shielded([("eu", vec![node(10)]), ("us", vec![node(20)]), ("ap", vec![node(30)])]);
    let mut view = with_far(first, &[(10, NEAR), (20, None), (30, NEAR)]);
    let ways = |view: &View| plan(view, &rings, Some(&us), key, Hop::Owner).ways;
    assert_eq!(ways(&view), [Way::Shield(node(20)), Way::Origin]);
    pass_over(&mut view, node(20));
    assert_eq!(ways(&view), [Way::Shield(node(10)), Way::Origin], "its own region stands in");
    pass_over(&mut view, node(10));
    assert_eq!(ways(&view), [Way::Origin], "and no third");
    let mine = plan(&pop(8, first), &shielded([("eu", vec![first])]), Some(&us), key, Hop::Client);
    assert_eq!(mine, Plan { hop: Hop::Shield, ways: vec![Way::Origin] }, "us has no shields");
    let own = plan(&view, &rings, Some(&Region::new("eu")), key, Hop::Owner).ways;
    assert_eq!(own, [Way::Shield(node(30)), Way::Origin], "as if it had said nothing");
    assert_eq!(rings.shield(Some(&us), &key), Some(node(20)));
    assert_eq!(rings.shield(None, &key), Some(node(10)));
}

#[test]
fn above_the_owner_there_is_the_origin() {
    let Cast { key, last, .. } = cast();
    let rings = shielded([("eu", vec![node(0)])]);
    for hop in [Hop::Shield, Hop::Origin] {
        assert_eq!(plan_of(&pop(8, last), &rings, key, hop), (hop, vec![Way::Origin]));
    }
}

/// A node of the PoP in what a property makes up: who is in its ring, whom it passes over, how loaded it
/// believes the others are, which ring it had before, and whom it believes to shield which region. No two need
/// agree on anything.
#[derive(Clone, Debug)]
struct Sight {
    view: View,
    rings: ShieldRings,
    shield_region: Option<Region>,
}

impl Sight {
    fn plan(&self, key: Key, hop: Hop) -> Plan {
        plan(&self.view, &self.rings, self.shield_region.as_ref(), key, hop)
    }
}

fn any_sight(me: u8, nodes: u8) -> impl Strategy<Value = Sight> {
    let subset = move || btree_set(0..nodes, 0..=usize::from(nodes));
    let members = vec((any::<bool>(), prop_oneof![Just(0_u32), Just(80), Just(5_000)]), usize::from(nodes));
    let shield_region = prop_oneof![Just(None), Just(Some(Region::new("eu"))), Just(Some(Region::new("us")))];
    (subset(), option::of(subset()), members, subset(), subset(), shield_region).prop_map(
        move |(now, before, members, eu, us, shield_region)| Sight {
            view: View {
                me: node(me),
                members: (0..)
                    .map(node)
                    .zip(members)
                    .map(|(id, (usable, requests))| (id, member(id, usable, requests)))
                    .collect(),
                ring: ring(now.into_iter().map(node)),
                previous: before.map(|nodes| ring(nodes.into_iter().map(node))),
                hot: Arc::new(HashSet::new()),
            },
            rings: shielded([
                ("eu", eu.into_iter().map(node).collect()),
                ("us", us.into_iter().map(node).collect()),
            ]),
            shield_region,
        },
    )
}

fn any_pop() -> impl Strategy<Value = Vec<Sight>> {
    (2..6_u8).prop_flat_map(|nodes| (0..nodes).map(|me| any_sight(me, nodes)).collect::<Vec<_>>())
}

/// Whom a way asks at which hop; `Previous` answers from what it has and joins nothing, the origin is no node.
fn asked(way: Way) -> Option<(NodeId, Hop)> {
    match way {
        Way::Owner(node) => Some((node, Hop::Owner)),
        Way::Shield(node) => Some((node, Hop::Shield)),
        Way::Previous(_) | Way::Origin => None,
    }
}

/// A flight: at which node, and at which hop.
type Flight = (NodeId, Hop);

/// What a flight may come to wait for, were every way tried and every join made that is allowed: who asks a
/// node at a hop waits for any of its flights of that hop or a higher one.
fn waits(sights: &[Sight], key: Key) -> BTreeMap<Flight, BTreeSet<Flight>> {
    let hops = [Hop::Client, Hop::Owner, Hop::Shield];
    let plans: Vec<(NodeId, Plan)> =
        sights.iter().flat_map(|sight| hops.map(|hop| (sight.view.me, sight.plan(key, hop)))).collect();
    let mut waits = BTreeMap::<Flight, BTreeSet<Flight>>::new();
    for (node, plan) in &plans {
        let of_flight = waits.entry((*node, plan.hop)).or_default();
        for (asked, hop) in plan.ways.iter().copied().filter_map(asked) {
            let joinable = plans.iter().filter(|(at, theirs)| *at == asked && theirs.hop >= hop);
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
    fn nodes_that_disagree_never_wait_for_each_other(sights in any_pop(), key: [u8; 16]) {
        let waits = waits(&sights, Key::from_bytes(key));
        prop_assert_eq!(circle(waits), vec![]);
    }

    /// Whatever ways are taken from a client's request on, each question goes to a higher hop than its asker
    /// stands at, and every plan ends at the origin: the way up is never longer than there are hops.
    #[test]
    fn every_way_leads_up_and_ends_at_the_origin(sights in any_pop(), key: [u8; 16]) {
        let key = Key::from_bytes(key);
        let by_id: BTreeMap<NodeId, &Sight> = sights.iter().map(|sight| (sight.view.me, sight)).collect();
        let mut to_ask: Vec<(NodeId, Hop, usize)> =
            sights.iter().map(|sight| (sight.view.me, Hop::Client, 0)).collect();
        while let Some((node, hop, questions)) = to_ask.pop() {
            prop_assert!(questions <= 2, "only owner and shield stand between a client and the origin");
            let plan = by_id[&node].plan(key, hop);
            prop_assert!(plan.hop >= hop);
            prop_assert_eq!(plan.ways.iter().position(|way| *way == Way::Origin), Some(plan.ways.len() - 1));
            let named: Vec<NodeId> = plan
                .ways
                .iter()
                .filter_map(|way| match way {
                    Way::Owner(node) | Way::Previous(node) | Way::Shield(node) => Some(*node),
                    Way::Origin => None,
                })
                .collect();
            prop_assert!(!named.contains(&node), "nobody asks itself");
            prop_assert_eq!(named.iter().collect::<BTreeSet<_>>().len(), named.len(), "nobody is asked twice");
            for (next, at) in plan.ways.iter().copied().filter_map(asked) {
                prop_assert!(plan.hop < at);
                to_ask.push((next, at, questions + 1));
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
            first.insert(asked(ways(&view, key).1[0]).map_or(me, |(owner, _)| owner));
        }
        prop_assert!(first.len() <= 1, "they meet at {first:?}");
    }

    /// As long as some shield of the region is usable, one node speaks to the origin, whatever the hop.
    #[test]
    fn nodes_that_agree_have_one_speaker(usable in vec(any::<bool>(), 8), shields in btree_set(0..8_u8, 1..8), number: u32) {
        let key = Key::of(&number.to_string());
        let rings = shielded([("eu", shields.iter().copied().map(node).collect())]);
        let mut speakers = BTreeSet::new();
        for me in (0..8).map(node).filter(|id| usable[id.as_bytes()[0] as usize]) {
            let mut view = pop(8, me);
            (0..8).filter(|byte| !usable[*byte as usize]).for_each(|byte| pass_over(&mut view, node(byte)));
            let (hop, ways) = plan_of(&view, &rings, key, Hop::Owner);
            speakers.insert(match ways[0] {
                Way::Shield(shield) => shield,
                _ => {
                    let is_left = shields.iter().any(|shield| usable[usize::from(*shield)]);
                    prop_assert!(hop == Hop::Shield || !is_left);
                    me
                }
            });
        }
        let is_left = shields.iter().any(|shield| usable[usize::from(*shield)]);
        prop_assert!(speakers.len() <= 1 || !is_left, "these speak: {speakers:?}");
    }
}
