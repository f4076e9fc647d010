//! Nodes find each other, lose each other, and find each other again.

use std::{sync::atomic::Ordering::Relaxed, time::Instant};

use starling_proto::members::Status;

use super::{Cluster, Node};

fn all_see_all(nodes: &[&Node]) {
    for node in nodes {
        for other in nodes {
            node.waits_until_it_sees(other, Status::Alive);
        }
    }
}

#[test]
fn three_nodes_with_one_seed_each_find_each_other() {
    let cluster = Cluster::new();
    let started = Instant::now();
    let a = cluster.node("lon-1", "eu", "lon").started();
    let b = cluster.node("lon-2", "eu", "lon").knowing(&a).started();
    let c = cluster.node("lon-3", "eu", "lon").knowing(&b).started();
    all_see_all(&[&a, &b, &c]);
    eprintln!("three nodes see each other after {:?}", started.elapsed());
    for node in [&a, &b, &c] {
        node.waits_until("load of the others", |view| {
            view.members.values().all(|m| m.load.in_flight == 7 || m.profile.ticket.claim.node == view.me)
        });
        node.waits_until_counted("a connection with each", |stats| stats.connections >= 2);
    }
}

#[test]
fn nodes_that_start_before_their_seeds_join_when_these_come() {
    let cluster = Cluster::new();
    let mut a = cluster.node("lon-1", "eu", "lon");
    let mut b = cluster.node("lon-2", "eu", "lon").knowing(&a);
    let c = cluster.node("lon-3", "eu", "lon").knowing(&b).started();
    c.waits_until_missed(1);
    b.start();
    c.waits_until_it_sees(&b, Status::Alive);
    let missed = cluster.link.missed.load(Relaxed);
    b.waits_until_missed(missed + 2);
    a.start();
    all_see_all(&[&a, &b, &c]);
}

#[test]
fn a_node_finds_the_mesh_by_a_name_that_leads_nowhere_and_one_that_leads_on() {
    let cluster = Cluster::new();
    let a = cluster.node("lon-1", "eu", "lon").started();
    let mut b = cluster.node("lon-2", "eu", "lon").knowing(&a);
    b.settings.peers.insert(0, "no-such-name.invalid:7000".to_owned());
    // A node that names itself does no harm.
    b.settings.peers.insert(1, b.address().to_string());
    b.start();
    all_see_all(&[&a, &b]);
}

#[test]
fn when_the_seed_leaves_the_others_stay() {
    let cluster = Cluster::new();
    let mut seed = cluster.node("lon-1", "eu", "lon").started();
    let b = cluster.node("lon-2", "eu", "lon").knowing(&seed).started();
    let c = cluster.node("lon-3", "eu", "lon").knowing(&seed).started();
    // A good-bye goes where heartbeats go.
    b.waits_until_it_hears(&seed);
    c.waits_until_it_hears(&seed);
    seed.stop();
    for node in [&b, &c] {
        node.waits_until_it_sees(&seed, Status::Left);
    }
    // A fourth joins by those that stayed.
    let d = cluster.node("lon-4", "eu", "lon").knowing(&b).started();
    all_see_all(&[&b, &c, &d]);
}

#[test]
fn a_killed_node_is_dead_after_a_while_and_taken_back_when_it_returns() {
    let cluster = Cluster::new();
    let a = cluster.node("lon-1", "eu", "lon").started();
    let mut b = cluster.node("lon-2", "eu", "lon").knowing(&a).started();
    let c = cluster.node("lon-3", "eu", "lon").knowing(&a).started();
    all_see_all(&[&a, &b, &c]);
    b.kill();
    for node in [&a, &c] {
        node.waits_until_it_sees(&b, Status::Suspect);
    }
    for node in [&a, &c] {
        node.waits_until_it_sees(&b, Status::Dead);
    }
    b.start();
    all_see_all(&[&a, &b, &c]);
}

#[test]
fn a_node_that_restarts_at_once_is_heard_at_once() {
    let cluster = Cluster::new();
    let a = cluster.node("lon-1", "eu", "lon").started();
    let mut b = cluster.node("lon-2", "eu", "lon").knowing(&a).started();
    a.waits_until_it_hears(&b);
    b.kill();
    b.start();
    b.waits_until_it_sees(&a, Status::Alive);
    let me = b.running().gossip.view().borrow().members[&b.id()].profile.incarnation;
    a.waits_until("the new incarnation", |view| view.members[&b.id()].profile.incarnation == me);
    // By gossip, over a new connection.
    a.waits_until_it_hears(&b);
}

#[test]
fn a_port_that_is_taken_is_said_at_the_start() {
    let cluster = Cluster::new();
    let a = cluster.node("lon-1", "eu", "lon").started();
    let mut b = cluster.node("lon-2", "eu", "lon");
    b.settings.listen = a.address();
    let error = b.try_start().expect_err("the port is taken");
    assert!(error.to_string().contains(&a.address().to_string()), "{error}");
}

#[test]
fn port_0_takes_any_and_tells_others_which() {
    let cluster = Cluster::new();
    let mut a = cluster.node("lon-1", "eu", "lon");
    a.settings.listen.set_port(0);
    a.settings.addresses.mesh.set_port(0);
    a.start();
    let listening = a.running().gossip.listening();
    assert_ne!(listening.port(), 0);
    a.waits_until("its own address", |view| view.members[&view.me].profile.addresses.mesh == listening);
}
