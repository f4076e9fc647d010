//! The meshes that are checked, and the rules that are broken.

use std::{collections::BTreeSet, time::Instant};

use starling_proto::purge::Mode::{Hard, Soft};
use stateright::{Checker, Expectation, HasDiscoveries, Model};

use super::{
    fence::{FENCED, Leases},
    mesh::{
        Event::{Compact, Other, Purge, Reborn},
        Mesh, Rules,
    },
    properties::{NO_WAY_BACK, READ_YOUR_PURGE, REBORN, REJOIN},
};

/// Visits all states: every promise is kept, and every state of interest is reached.
fn holds<M>(name: &str, model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + std::fmt::Debug + std::hash::Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + std::fmt::Debug + PartialEq + Send + Sync,
{
    let since = Instant::now();
    let checker = model.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let (unique, all, depth) = (checker.unique_state_count(), checker.state_count(), checker.max_depth());
    println!("{name}: {unique} states, {all} with repetitions, depth {depth}, {:?}", since.elapsed());
    let mut missing = Vec::new();
    let mut found = checker.discoveries();
    for property in checker.model().properties() {
        match (property.expectation, found.remove(property.name)) {
            (Expectation::Always, Some(path)) => {
                panic!("{name}: not so: {}:\n{:#?}", property.name, path.into_actions())
            }
            (Expectation::Sometimes, None) => missing.push(property.name),
            _ => {}
        }
    }
    assert!(missing.is_empty(), "{name}: never: {missing:?}");
}

/// Looks for the shortest way to break a promise.
fn breaks<M>(name: &str, promise: &'static str, model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + std::fmt::Debug + std::hash::Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + std::fmt::Debug + PartialEq + Send + Sync,
{
    let until = HasDiscoveries::AllOf(BTreeSet::from([promise]));
    let checker = model.checker().finish_when(until).spawn_bfs().join();
    let path = checker.discovery(promise).unwrap_or_else(|| panic!("{name}: {promise} holds all the same"));
    println!(
        "{name}: {} states, then not so: {promise}: {:?}",
        checker.unique_state_count(),
        path.into_actions()
    );
}

#[test]
fn hard_and_soft_purges_of_one_region() {
    holds("hard, soft", Mesh::new(1, &[Purge(0, Hard), Purge(0, Soft)]));
    holds("soft, hard", Mesh::new(1, &[Purge(0, Soft), Purge(0, Hard)]));
}

#[test]
fn purges_of_two_regions() {
    holds("two regions", Mesh::new(1, &[Purge(0, Hard), Purge(1, Hard)]));
}

#[test]
fn two_edges() {
    holds("two edges", Mesh::new(2, &[Purge(0, Hard)]));
}

#[test]
fn restarts() {
    holds("crashes", Mesh::new(1, &[Purge(0, Hard), Purge(0, Soft)]).crashing(1));
    holds("an old disk at the edge", Mesh::new(1, &[Purge(0, Hard)]).copying(0));
    holds("an old disk at the shield", Mesh::new(1, &[Purge(0, Hard)]).copying(1));
}

#[test]
fn a_log_that_is_compacted() {
    holds("compacted", Mesh::new(1, &[Purge(0, Hard), Compact(0)]).crashing(1));
}

#[test]
fn a_log_that_begins_anew() {
    holds("a purge, reborn", Mesh::new(1, &[Purge(0, Hard), Reborn(0)]));
    holds("reborn, a purge", Mesh::new(1, &[Reborn(0), Purge(0, Hard)]));
}

/// Minutes, and gigabytes: `cargo test --release -p starling-tests --test purge_model -- --ignored`.
#[test]
#[ignore = "takes minutes"]
fn larger_meshes() {
    holds("reborn between purges", Mesh::new(1, &[Purge(0, Hard), Reborn(0), Purge(0, Soft)]));
    holds("compacted between entries", Mesh::new(1, &[Purge(0, Hard), Compact(0), Other(0)]).crashing(1));
}

#[test]
fn leases_and_time() {
    holds("leases", Leases::ALL);
}

#[test]
fn each_rule_of_leases_is_needed() {
    let rules = Leases::ALL;
    breaks("a lease counts from its answer", FENCED, Leases { from_question: false, ..rules });
    breaks("all of a lease is handed on", FENCED, Leases { hands_on_rest: false, ..rules });
    breaks("a head need not be applied", FENCED, Leases { head_applied: false, ..rules });
    breaks("no quorum knows the head", FENCED, Leases { quorum: false, ..rules });
}

#[test]
fn each_rule_is_needed() {
    let one = || Mesh::new(1, &[Purge(0, Hard)]);
    let broken = |name, promise, mesh: Mesh, rule: fn(&mut Rules)| breaks(name, promise, mesh.breaking(rule));
    broken("the stamp is taken last", NO_WAY_BACK, one(), |rules| rules.stamp_first = false);
    broken("followers do not look", NO_WAY_BACK, one(), |rules| rules.followers_look = false);
    broken("hits do not look", NO_WAY_BACK, one(), |rules| rules.hits_look = false);
    broken("a 304 does not look", NO_WAY_BACK, one(), |rules| rules.validated_look = false);
    broken("a peer's 304 stamps", NO_WAY_BACK, one(), |rules| rules.validated_meet = false);
    broken("the shield answers at once", READ_YOUR_PURGE, one(), |rules| rules.upper_catches_up = false);
    let compacted = || Mesh::new(1, &[Purge(0, Hard), Compact(0)]).crashing(1);
    broken("no floor", NO_WAY_BACK, compacted(), |rules| rules.floors = false);
    broken("the floor is not on disk", NO_WAY_BACK, compacted(), |rules| rules.floors_on_disk = false);
    let reborn = || Mesh::new(1, &[Other(0), Reborn(0), Purge(0, Hard), Other(0)]);
    broken("lives are one", REBORN, reborn(), |rules| rules.lives = false);
    broken("purges are not on disk", NO_WAY_BACK, one().crashing(1), |rules| rules.purges_on_disk = false);
    broken("an old disk is trusted", REJOIN, one().copying(0), |rules| rules.rejoin = false);
}
