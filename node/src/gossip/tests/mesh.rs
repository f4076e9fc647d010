//! PoPs and regions.

use std::time::Instant;

use starling_proto::members::Status;

use super::{Cluster, Node};

#[test]
fn two_pops_of_two_regions_see_each_other() {
    let cluster = Cluster::new();
    let a = cluster.node("lon-1", "eu", "lon").started();
    let b = cluster.node("lon-2", "eu", "lon").knowing(&a).started();
    let c = cluster.node("nyc-1", "us", "nyc").knowing(&a).started();
    let d = cluster.node("nyc-2", "us", "nyc").knowing(&c).started();
    let nodes = [&a, &b, &c, &d];
    for node in nodes {
        for other in nodes {
            node.waits_until_it_sees(other, Status::Alive);
        }
    }
    a.waits_until("the load of its own PoP", |view| view.members[&b.id()].load.in_flight == 7);
}

#[test]
fn a_node_of_another_pop_that_leaves_is_missed_there() {
    let cluster = Cluster::new();
    let a = cluster.node("lon-1", "eu", "lon").started();
    let b = cluster.node("nyc-1", "us", "nyc").knowing(&a).started();
    let mut c = cluster.node("nyc-2", "us", "nyc").knowing(&b).started();
    a.waits_until_it_sees(&c, Status::Alive);
    b.waits_until_it_sees(&c, Status::Alive);
    c.stop();
    a.waits_until("nyc-2 gone", |view| {
        view.members.get(&c.id()).is_none_or(|member| member.status > Status::Suspect)
    });
    a.waits_until_it_sees(&b, Status::Alive);
}

#[test]
fn twelve_nodes_in_four_pops_see_each_other() {
    let cluster = Cluster::new();
    let places = [("eu", "lon"), ("eu", "fra"), ("us", "nyc"), ("us", "sfo")];
    let started = Instant::now();
    let mut nodes: Vec<Node> = Vec::new();
    for n in 0..12 {
        let (region, pop) = places[n % 4];
        let mut node = cluster.node(&format!("{pop}-{}", n / 4 + 1), region, pop);
        if let Some(seed) = nodes.get(n / 2) {
            node = node.knowing(seed);
        } else if let Some(seed) = nodes.first() {
            node = node.knowing(seed);
        }
        nodes.push(node.started());
    }
    for node in &nodes {
        for other in &nodes {
            node.waits_until_it_sees(other, Status::Alive);
        }
    }
    eprintln!("twelve nodes see each other after {:?}", started.elapsed());
}
