use proptest::{collection::btree_map, prelude::*};

use super::*;

fn node(byte: u8) -> NodeId {
    NodeId::from_bytes([byte; 32])
}

fn key(number: u32) -> Key {
    Key::of(&number.to_string())
}

/// `count` equal nodes.
fn equals(count: u8) -> Vec<(NodeId, u16)> {
    (0..count).map(|byte| (node(byte), 100)).collect()
}

fn without(nodes: &[(NodeId, u16)], gone: NodeId) -> Ring {
    Ring::new(&nodes.iter().copied().filter(|(id, _)| *id != gone).collect::<Vec<_>>())
}

/// Up to 24 nodes of any weight.
fn some_nodes() -> impl Strategy<Value = Vec<(NodeId, u16)>> {
    btree_map(any::<[u8; 32]>().prop_map(NodeId::from_bytes), 1..=1000_u16, 1..24)
        .prop_map(|nodes| nodes.into_iter().collect())
}

/// Nodes of different versions must name the same owners: a change here is a change of the protocol.
#[test]
fn the_ring_is_the_one_it_always_was() {
    let ring = Ring::new(&[(node(1), 100), (node(2), 50), (node(3), 200)]);
    let mut points = blake3::Hasher::new();
    for (hash, owner) in ring.hashes.iter().zip(&ring.owners) {
        points.update(&hash.to_le_bytes()).update(&owner.to_le_bytes());
    }
    assert_eq!(ring.hashes.len(), 128 + 64 + 256);
    assert_eq!(points.finalize().to_hex()[..16], *"1d15f8581b06591d");
    let replicas =
        |text| ring.replicas(&Key::of(text), 3).iter().map(|id| id.as_bytes()[0]).collect::<Vec<_>>();
    assert_eq!(
        ["", "a", "b", "http://example.com/"].map(replicas),
        [[2, 3, 1], [3, 1, 2], [3, 1, 2], [3, 1, 2]]
    );
    assert_eq!([1, 2, 3].map(|byte| ring.share_permille(node(byte))), [298, 160, 542]);
}

#[test]
fn an_empty_ring_names_nobody() {
    let ring = Ring::new(&[]);
    assert!(ring.is_empty() && ring == Ring::default());
    assert_eq!(ring.owner(&key(1)), None);
    assert_eq!(ring.replicas(&key(1), 3), []);
    assert_eq!((ring.contains(node(1)), ring.share_permille(node(1))), (false, 0));
}

#[test]
fn a_lone_node_owns_all() {
    let ring = Ring::new(&[(node(1), 0)]);
    assert_eq!(ring.nodes(), [(node(1), 1)]);
    assert_eq!(ring.replicas(&key(1), 3), [node(1)]);
    assert_eq!(ring.share_permille(node(1)), 1000);
}

#[test]
fn a_weight_earns_points_within_bounds() {
    assert_eq!(
        [0, 1, 6, 7, 50, 100, 250, 1000, u16::MAX].map(vnodes),
        [8, 8, 8, 9, 64, 128, 320, 1280, 1280]
    );
    let twice = [(node(1), 100), (node(1), 900), (node(1), 300)];
    assert_eq!(Ring::new(&twice).nodes(), [(node(1), 900)], "the greater weight counts in any order");
}

/// 32 nodes, 128 points each: one standard deviation of a share is 9 percent, and none of 32 strays by four.
#[test]
fn equal_nodes_own_about_the_same() {
    let ring = Ring::new(&equals(32));
    let mut owned = [0_u32; 32];
    (0..64_000).for_each(|number| owned[ring.owner(&key(number)).unwrap().as_bytes()[0] as usize] += 1);
    let fair = 64_000 / 32;
    assert!(owned.iter().all(|count| (fair * 64 / 100..fair * 136 / 100).contains(count)), "{owned:?}");
    let shares = (0..32).map(|byte| u32::from(ring.share_permille(node(byte))));
    for (share, count) in shares.zip(owned) {
        assert!(share.abs_diff(count / 64) <= 4, "says {share} permille, owns {count} of 64,000");
    }
}

proptest! {
    #[test]
    fn owners_are_those_hashring_names(nodes in some_nodes(), keys in prop::collection::vec(any::<[u8; 16]>(), 64)) {
        let ring = Ring::new(&nodes);
        let theirs = placed(&nodes);
        prop_assert_eq!(ring.hashes.len(), theirs.len());
        for key in keys.into_iter().map(Key::from_bytes) {
            prop_assert_eq!(ring.owner(&key), theirs.get(&Spot(&key)).map(|vnode| vnode.id));
        }
    }

    #[test]
    fn the_order_in_which_nodes_are_named_does_not_matter(
        (nodes, shuffled) in some_nodes().prop_flat_map(|nodes| (Just(nodes.clone()), Just(nodes).prop_shuffle())),
    ) {
        let (ring, other) = (Ring::new(&nodes), Ring::new(&shuffled));
        prop_assert_eq!((&ring.nodes, &ring.hashes, &ring.owners), (&other.nodes, &other.hashes, &other.owners));
    }

    #[test]
    fn replicas_are_distinct_and_all_come_up(nodes in some_nodes(), number: u32, count in 0..30_usize) {
        let ring = Ring::new(&nodes);
        let mut replicas = ring.replicas(&key(number), count);
        prop_assert_eq!(replicas.first().copied(), ring.owner(&key(number)).filter(|_| count > 0));
        replicas.sort();
        replicas.dedup();
        prop_assert_eq!(replicas.len(), count.min(nodes.len()));
    }

    /// A share is its weight's part of all; five standard deviations are allowed, which for few points is much.
    #[test]
    fn shares_follow_weights(nodes in some_nodes()) {
        let ring = Ring::new(&nodes);
        let all: u32 = nodes.iter().map(|(_, weight)| vnodes(*weight)).sum();
        for (id, weight) in &nodes {
            let fair = 1000.0 * f64::from(vnodes(*weight)) / f64::from(all);
            let stray = 5.0 * fair / f64::from(vnodes(*weight)).sqrt() + 1.0;
            let share = f64::from(ring.share_permille(*id));
            prop_assert!((share - fair).abs() <= stray, "{share} permille, fair are {fair} give or take {stray}");
        }
        let sum: u32 = nodes.iter().map(|(id, _)| u32::from(ring.share_permille(*id))).sum();
        prop_assert!(sum.abs_diff(1000) as usize <= nodes.len());
    }

    /// Read forward a node leaves, read backward it joins: only its own keys move, and they are about its share.
    #[test]
    fn few_keys_move_and_never_between_two_that_stay(count in 2..32_u8, leaver in 0..32_u8, seed: u16) {
        let nodes = equals(count);
        let gone = node(leaver % count);
        let (full, rest) = (Ring::new(&nodes), without(&nodes, gone));
        let mut moved = 0;
        for number in 0..2_000_u32 {
            let key = key(u32::from(seed) * 2_000 + number);
            let (before, after) = (full.owner(&key), rest.owner(&key));
            if before != after {
                prop_assert_eq!(before, Some(gone));
                moved += 1;
            }
            // The replicas of those that stay keep their order, too.
            let stay: Vec<NodeId> = full.walk(&key).filter(|id| *id != gone).collect();
            prop_assert_eq!(stay, rest.walk(&key).collect::<Vec<_>>());
        }
        prop_assert!(moved <= 2_000 * 3 / 2 / u32::from(count) + 30, "{moved} of 2,000 keys left one of {count}");
    }
}
