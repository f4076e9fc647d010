//! A node of one PoP and two regions, whose questions are answered by script.

use std::{collections::HashMap, net::SocketAddr};

use futures_util::future::FutureExt;
use starling_proto::{
    members::{Addresses, Member, Profile},
    purge::Versions,
    ring::Ring,
    ticket::{Claim, Ticket},
};

use super::*;

const FENCE_MS: u64 = 5_000;

#[derive(Default)]
struct Script {
    own: Mutex<Option<Version>>,
    heads: Mutex<HashMap<NodeId, Lease>>,
    leases: Mutex<HashMap<NodeId, Vec<Lease>>>,
    asked: Mutex<Vec<(&'static str, Option<NodeId>)>>,
}

impl Heads for Script {
    fn own(&self, _: Duration) -> BoxFuture<'static, Option<Version>> {
        self.asked.lock().push(("own", None));
        std::future::ready(*self.own.lock()).boxed()
    }

    fn of(&self, node: NodeId, _: Duration) -> BoxFuture<'static, Option<Lease>> {
        self.asked.lock().push(("head", Some(node)));
        std::future::ready(self.heads.lock().get(&node).cloned()).boxed()
    }

    fn leases(&self, node: NodeId, _: Duration) -> BoxFuture<'static, Option<Vec<Lease>>> {
        self.asked.lock().push(("leases", Some(node)));
        std::future::ready(self.leases.lock().get(&node).cloned()).boxed()
    }
}

fn node(seed: u8) -> NodeId {
    NodeId::from_bytes([seed; 32])
}

fn at(index: u64) -> Version {
    Version { epoch: 7, index }
}

fn lease(region: &str, index: u64, remaining_ms: u64) -> Lease {
    Lease { region: Region::new(region), head: at(index), remaining_ms }
}

/// Node 5 of `eu`, among these.
fn view(others: &[(u8, &str, Status)]) -> Arc<View> {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let member = |seed: u8, region: &str, status| {
        let claim = Claim {
            node: node(seed),
            name: format!("n{seed}"),
            region: region.to_owned(),
            pop: "p".to_owned(),
            may_shield: true,
            expires_ms: u64::MAX,
        };
        let profile = Profile {
            ticket: Ticket { claim, signature: None },
            incarnation: 1,
            addresses: Addresses { mesh: nowhere, link_quic: nowhere },
            weight: 100,
        };
        (node(seed), Member::new(profile, status))
    };
    let all = others.iter().copied().chain([(5, "eu", Status::Alive)]);
    Arc::new(View {
        me: node(5),
        members: all.map(|(seed, region, status)| member(seed, region, status)).collect(),
        ring: Arc::new(Ring::new(&[])),
        previous: None,
        hot: Arc::default(),
    })
}

struct World {
    script: Arc<Script>,
    view: watch::Sender<Arc<View>>,
    stamp: watch::Sender<Stamp>,
    trust: Trust,
    clock: Clock,
    fence: Fencing,
}

impl World {
    fn new(others: &[(u8, &str, Status)], applied: &[(&str, u64)]) -> Self {
        let (view, is_view) = watch::channel(view(others));
        let (stamp, stamps) = watch::channel(Stamp::default());
        let (script, trust, clock) = (Arc::new(Script::default()), Trust::default(), Clock::start());
        let fence = Fencing::new(Parts {
            heads: script.clone(),
            clock,
            trust: trust.clone(),
            view: is_view,
            stamps,
            region: Region::new("eu"),
            fence: Duration::from_millis(FENCE_MS),
        });
        let world = Self { script, view, stamp, trust, clock, fence };
        world.apply(applied);
        world
    }

    fn apply(&self, applied: &[(&str, u64)]) {
        let mut versions = Versions::default();
        applied.iter().for_each(|(region, index)| versions.set(Region::new(region), at(*index)));
        self.stamp.send_replace(Arc::new(versions));
        self.fence.publish();
    }

    fn asked(&self) -> Vec<(&'static str, Option<NodeId>)> {
        std::mem::take(&mut self.script.asked.lock())
    }

    fn is_fenced(&self) -> bool {
        self.trust.is_fenced(self.clock.up_ms())
    }
}

#[tokio::test]
async fn the_delegate_asks_every_region_and_is_fenced_once_their_heads_are_applied() {
    let world = World::new(&[(7, "us", Status::Alive), (8, "us", Status::Alive)], &[("eu", 3)]);
    *world.script.own.lock() = Some(at(3));
    world.script.heads.lock().insert(node(8), lease("us", 2, FENCE_MS));
    world.fence.renew().await;
    let asked = world.asked();
    assert_eq!(
        asked,
        [("own", None), ("head", Some(node(7))), ("head", Some(node(8)))],
        "one fails, another is asked"
    );
    assert!(!world.is_fenced(), "the head of us is not applied");
    world.apply(&[("eu", 3), ("us", 2)]);
    assert!(world.is_fenced());
    assert!(world.fence.remaining_ms() <= FENCE_MS);
}

#[tokio::test]
async fn others_ask_the_delegate_alone() {
    let world = World::new(&[(1, "eu", Status::Alive)], &[("eu", 3)]);
    *world.script.own.lock() = Some(at(3));
    world.script.leases.lock().insert(node(1), vec![lease("eu", 3, 4_000)]);
    world.fence.renew().await;
    assert_eq!(world.asked(), [("leases", Some(node(1)))]);
    assert!(world.is_fenced() && world.fence.remaining_ms() <= 4_000, "only what time is left is handed on");
}

#[tokio::test]
async fn a_delegate_with_little_time_left_is_not_enough() {
    let world = World::new(&[(1, "eu", Status::Alive)], &[("eu", 3)]);
    *world.script.own.lock() = Some(at(3));
    world.script.leases.lock().insert(node(1), vec![lease("eu", 3, 40)]);
    world.fence.renew().await;
    assert_eq!(world.asked(), [("leases", Some(node(1))), ("own", None)]);
    assert!(world.fence.remaining_ms() > 1_000, "the region itself gave a whole lease");
}

#[tokio::test]
async fn a_delegate_that_is_suspected_is_passed_over() {
    let world = World::new(&[(1, "eu", Status::Suspect), (2, "eu", Status::Alive)], &[("eu", 1)]);
    assert_eq!(world.fence.delegate(), Some(node(2)));
    world.view.send_replace(view(&[(1, "eu", Status::Dead), (2, "eu", Status::Suspect)]));
    assert_eq!(world.fence.delegate(), None, "this node is the first that is alive");
}

#[tokio::test]
async fn no_lease_lasts_longer_than_this_node_allows() {
    let world = World::new(&[(1, "eu", Status::Alive)], &[("eu", 1)]);
    world.script.leases.lock().insert(node(1), vec![lease("eu", 1, 3_600_000)]);
    world.fence.renew().await;
    assert!(world.is_fenced() && world.fence.remaining_ms() <= FENCE_MS);
}

#[tokio::test]
async fn a_region_that_is_only_now_heard_of_ends_the_fence() {
    let world = World::new(&[], &[("eu", 1)]);
    *world.script.own.lock() = Some(at(1));
    world.fence.renew().await;
    assert!(world.is_fenced());
    world.view.send_replace(view(&[(9, "ap", Status::Alive)]));
    world.fence.publish();
    assert!(!world.is_fenced(), "the head of ap is not known");
}

#[tokio::test]
async fn a_region_that_gives_less_is_trusted_for_less() {
    let world = World::new(&[(7, "us", Status::Alive)], &[("eu", 1), ("us", 1)]);
    *world.script.own.lock() = Some(at(1));
    world.script.heads.lock().insert(node(7), lease("us", 1, 2_000));
    world.fence.renew().await;
    assert!(world.is_fenced() && world.fence.remaining_ms() <= 2_000);
}

#[tokio::test]
async fn only_regions_whose_leases_are_half_over_are_asked_again() {
    let world = World::new(&[(7, "us", Status::Alive)], &[("eu", 1), ("us", 1)]);
    *world.script.own.lock() = Some(at(1));
    world.script.heads.lock().insert(node(7), lease("us", 1, FENCE_MS / 3));
    world.fence.renew().await;
    assert_eq!(world.asked(), [("own", None), ("head", Some(node(7)))]);
    world.fence.renew().await;
    assert_eq!(world.asked(), [("head", Some(node(7)))], "eu has more than half of its time");
}

/// The nearest nodes may all be on the small side of a region that is cut in two.
#[tokio::test]
async fn a_region_is_not_given_up_because_the_same_three_do_not_answer() {
    let us = [10, 11, 12, 13, 14].map(|seed| (seed, "us", Status::Alive));
    let world = World::new(&us, &[("eu", 1), ("us", 1)]);
    *world.script.own.lock() = Some(at(1));
    world.script.heads.lock().insert(node(14), lease("us", 1, FENCE_MS));
    world.fence.renew().await;
    assert!(!world.is_fenced());
    world.fence.renew().await;
    assert!(world.is_fenced());
    let asked: Vec<_> = world.asked().into_iter().filter_map(|(_, node)| node).collect();
    assert_eq!(asked, [10, 11, 12, 13, 14].map(node));
}

/// It is cut off, and this node has never met one of its nodes: without the name it would be fenced.
#[tokio::test]
async fn a_region_that_the_delegate_cannot_ask_is_named_to_a_node_that_does_not_know_it() {
    let delegate = World::new(&[(8, "us", Status::Dead)], &[("eu", 1), ("ap", 1)]);
    *delegate.script.own.lock() = Some(at(1));
    delegate.fence.renew().await;
    let Reply::Leases(leases) = delegate.fence.answer() else { panic!("it answers with leases") };
    let names: Vec<_> = leases.iter().filter(|lease| lease.remaining_ms == 0).cloned().collect();
    assert_eq!(names, ["ap", "us"].map(|region| named(Region::new(region))));

    let fresh = World::new(&[(1, "eu", Status::Alive)], &[("eu", 1)]);
    fresh.script.leases.lock().insert(node(1), leases);
    fresh.fence.renew().await;
    assert!(!fresh.is_fenced());
    let Reply::Leases(leases) = fresh.fence.answer() else { panic!("it answers with leases") };
    assert!(names.iter().all(|name| leases.contains(name)), "it names them, too: {leases:?}");
}

#[tokio::test]
async fn a_region_whose_log_is_passed_over_ends_the_fence() {
    let world = World::new(&[], &[("eu", 1)]);
    *world.script.own.lock() = Some(at(1));
    world.fence.renew().await;
    world.fence.know(&Region::new("eu"));
    assert!(world.is_fenced());
    world.fence.know(&Region::new("ap"));
    assert!(!world.is_fenced());
    world.fence.renew().await;
    assert!(!world.is_fenced(), "and it is not forgotten");
}

/// The delegate looks for a region that does not answer: many others would be too many.
#[tokio::test]
async fn without_a_fence_only_the_delegate_hurries() {
    let world = World::new(&[(1, "eu", Status::Alive)], &[("eu", 1)]);
    assert_eq!(world.fence.pause(), Duration::from_millis(FENCE_MS) / RENEWALS);
    world.view.send_replace(view(&[]));
    assert_eq!(world.fence.pause(), SEEK_EVERY);
}

/// A node that says it is of one region and tells the head of another would fence with what it cannot know.
#[tokio::test]
async fn a_node_speaks_for_its_own_region_only() {
    let world = World::new(&[(7, "us", Status::Alive)], &[("eu", 1), ("us", 1)]);
    *world.script.own.lock() = Some(at(1));
    world.script.heads.lock().insert(node(7), lease("eu", 1, FENCE_MS));
    world.fence.renew().await;
    assert!(!world.is_fenced());
    assert_eq!(world.fence.counts().unanswered, 1);
}
