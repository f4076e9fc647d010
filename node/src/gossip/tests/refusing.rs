//! Who is not let in, and what is not believed.

use libp2p_identity::Keypair;
use starling_proto::{
    NodeId,
    members::{Load, NodeState, PopSummary, RosterEntry, Status},
    ticket::{Admission, Ticket},
    wire::Gossip,
};

use super::{
    Cluster, FOREVER, Node, claim,
    outsider::{Dialled, Outsider},
};
use crate::{clock::Clock, identity::Identity};

/// A node whose ticket is no good, each in its way.
fn strangers(cluster: &Cluster) -> Vec<Identity> {
    let other = Cluster::new().identity("evil-1", "eu", "lon", FOREVER);
    let expired = cluster.identity("evil-2", "eu", "lon", Clock::start().now_ms() - 1);
    let key = Keypair::generate_ed25519();
    let ticket = Ticket { claim: claim("evil-3", "eu", "lon", &key, FOREVER), signature: None };
    let none =
        Identity { id: ticket.claim.node, keypair: key, ticket, admission: Admission::Cluster(cluster.id()) };
    let mut stolen = cluster.identity("lon-9", "eu", "lon", FOREVER);
    stolen.keypair = Keypair::generate_ed25519();
    stolen.id = NodeId::of(&stolen.keypair.public()).expect("an ed25519 key");
    vec![other, expired, none, stolen]
}

#[test]
fn a_stranger_gets_no_connection_and_hears_nothing() {
    let cluster = Cluster::new();
    let a = cluster.node("lon-1", "eu", "lon").started();
    let b = cluster.node("lon-2", "eu", "lon").knowing(&a).started();
    a.waits_until_it_sees(&b, Status::Alive);
    for stranger in strangers(&cluster) {
        let mut swarm = Outsider::new(&stranger);
        assert_eq!(swarm.dial(&a), Dialled::Refused);
        // Even if the link let its greeting through, its ticket is looked at.
        let id = stranger.id;
        let node = cluster.node_with(stranger);
        a.is_greeted_with(id, node.hello());
        let good = cluster.node("lon-3", "eu", "lon");
        a.is_greeted_with(good.id(), good.hello());
        a.waits_until("the greeting after it", |view| view.members.contains_key(&good.id()));
        assert!(!a.knows(id), "{:?}", a.sees());
        assert_eq!(swarm.dial(&a), Dialled::Refused);
    }
    assert!(a.stats().connections_refused >= 8, "{:?}", a.stats());
}

#[test]
fn a_node_of_another_cluster_stays_alone() {
    let cluster = Cluster::new();
    let a = cluster.node("lon-1", "eu", "lon").started();
    let other = Cluster { link: cluster.link.clone(), ..Cluster::new() };
    let b = other.node("lon-2", "eu", "lon").knowing(&a).started();
    let c = cluster.node("lon-3", "eu", "lon").knowing(&a).started();
    let d = other.node("lon-4", "eu", "lon").knowing(&b).knowing(&a).started();
    a.waits_until_it_sees(&c, Status::Alive);
    d.waits_until_it_sees(&b, Status::Alive);
    assert_eq!(a.sees().len(), 2, "{:?}", a.sees());
    assert_eq!(d.sees().len(), 2, "{:?}", d.sees());
}

#[test]
fn a_node_whose_own_ticket_is_no_good_does_not_start() {
    let cluster = Cluster::new();
    for stranger in strangers(&cluster) {
        if let Admission::Cluster(key) = stranger.admission
            && key == cluster.id()
        {
            assert!(cluster.node_with(stranger).try_start().is_err());
        }
    }
}

#[test]
fn a_node_is_expelled_when_its_ticket_expires() {
    let cluster = Cluster::new();
    let a = cluster.node("lon-1", "eu", "lon").started();
    let soon = Clock::start().now_ms() + 3_000;
    let b = cluster.node_with(cluster.identity("lon-2", "eu", "lon", soon)).knowing(&a).started();
    a.waits_until_it_sees(&b, Status::Alive);
    a.waits_until_counted("a connection", |stats| stats.connections > 0);
    a.waits_until("lon-2 out", |view| {
        view.members.get(&b.id()).is_none_or(|member| member.status == Status::Dead)
    });
    a.waits_until_counted("no connection", |stats| stats.connections == 0);
    let mut late = Outsider::new(&b.identity);
    assert_eq!(late.dial(&a), Dialled::Refused);
}

/// An admitted node that has greeted `node` and is connected to it; it says what it likes.
fn traitor(cluster: &Cluster, node: &Node, name: &str, pop: &str) -> (Node, Outsider) {
    let traitor = cluster.node(name, "eu", pop);
    node.is_greeted_with(traitor.id(), traitor.hello());
    node.waits_until("the greeting", |view| view.members.contains_key(&traitor.id()));
    let mut swarm = Outsider::new(&traitor.identity);
    let mut tries = 0;
    while swarm.dial(node) == Dialled::Refused {
        tries += 1;
        assert!(tries < 100, "an admitted node is let in");
    }
    (traitor, swarm)
}

fn state(node: &Node, seq: u64) -> NodeState {
    NodeState { seq, load: Load { in_flight: 666, ..Load::default() }, ..node.hello().state }
}

#[test]
fn what_an_admitted_node_says_for_others_is_not_believed() {
    let cluster = Cluster::new();
    let a = cluster.node("lon-1", "eu", "lon").started();
    let victim = cluster.node("lon-2", "eu", "lon").knowing(&a).started();
    a.waits_until_it_sees(&victim, Status::Alive);
    let (evil, mut swarm) = traitor(&cluster, &a, "lon-3", "lon");
    let (pop, world) = (swarm.topics.pop.clone(), swarm.topics.world.clone());

    let invalid = |n| move |stats: super::super::Stats| stats.invalid >= n;
    let mut so_far = 0;
    let mut is_rejected = |swarm: &mut Outsider, what: &str| {
        so_far += 1;
        swarm.goes_on_until(a.id(), || invalid(so_far)(a.stats()));
        a.waits_until_counted(what, invalid(so_far));
    };
    let leaves = NodeState { leaving: true, ..state(&victim, u64::MAX) };
    swarm.say(pop.clone(), &Gossip::State(Box::new(leaves)));
    is_rejected(&mut swarm, "a good-bye in another's name");
    let ghost = cluster.node("nyc-1", "us", "nyc");
    let profile = ghost.hello().state.profile;
    let summary = PopSummary {
        region: "us".to_owned(),
        pop: "nyc".to_owned(),
        seq: 1,
        load: Load::default(),
        roster: vec![RosterEntry { profile, status: Status::Alive }],
        roster_hash: 1,
    };
    swarm.say(world.clone(), &Gossip::Summary(Box::new(summary)));
    is_rejected(&mut swarm, "a summary of another PoP");
    swarm.say(world, &Gossip::State(Box::new(state(&evil, 1))));
    is_rejected(&mut swarm, "a heartbeat to the world");
    swarm.say_bytes(pop.clone(), vec![starling_proto::wire::VERSION; 100]);
    is_rejected(&mut swarm, "no message");

    // The truth is believed, of the same author, after all that.
    swarm.say(pop, &Gossip::State(Box::new(state(&evil, 2))));
    swarm.goes_on_until(a.id(), || {
        a.running().gossip.view().borrow().members[&evil.id()].load.in_flight == 666
    });
    a.waits_until("its own heartbeat", |view| view.members[&evil.id()].load.in_flight == 666);
    assert!(!a.knows(ghost.id()));
    a.waits_until_it_sees(&victim, Status::Alive);
}

#[test]
fn a_heartbeat_from_outside_of_the_pop_is_not_believed() {
    let cluster = Cluster::new();
    let a = cluster.node("lon-1", "eu", "lon").started();
    let (evil, mut swarm) = traitor(&cluster, &a, "lon-2", "lon");
    // Admitted in one PoP, it claims another in the text of its heartbeat: the ticket's signature breaks.
    let mut moved = state(&evil, 5);
    moved.profile.ticket.claim.name = "lon-1".to_owned();
    let pop = swarm.topics.pop.clone();
    swarm.say(pop, &Gossip::State(Box::new(moved)));
    swarm.goes_on_until(a.id(), || a.stats().invalid > 0);
    assert_eq!(a.stats().invalid, 1);
    let view = a.running().gossip.view();
    assert_eq!(view.borrow().members[&evil.id()].profile.ticket.claim.name, "lon-2");
}

#[test]
fn an_admitted_node_that_says_too_much_is_ignored_and_one_that_floods_shut_out() {
    let cluster = Cluster::new();
    let mut a = cluster.node("lon-1", "eu", "lon");
    a.settings.messages_per_s_max = 10;
    a.start();
    let (evil, mut swarm) = traitor(&cluster, &a, "lon-2", "lon");
    let pop = swarm.topics.pop.clone();
    let mut seq = 0;
    let mut say = |swarm: &mut Outsider, count: u64| {
        for _ in 0..count {
            seq += 1;
            swarm.say(pop.clone(), &Gossip::State(Box::new(state(&evil, seq))));
        }
    };
    say(&mut swarm, 100);
    swarm.goes_on_until(a.id(), || a.stats().rate_limited > 0);
    assert!(a.stats().rate_limited > 0, "{:?}", a.stats());
    assert_eq!(a.stats().barred, 0, "too much is no flood: {:?}", a.stats());
    while swarm.is_connected(a.id()) {
        say(&mut swarm, 400);
        let before = a.stats().messages_in;
        swarm.goes_on_until(a.id(), || a.stats().messages_in >= before + 100);
    }
    assert_eq!(a.stats().barred, 1, "{:?}", a.stats());
    assert_eq!(swarm.dial(&a), Dialled::Refused);
    a.is_greeted_with(evil.id(), evil.hello());
    assert_eq!(swarm.dial(&a), Dialled::Refused);
}
