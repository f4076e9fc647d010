//! Membership in a simulated mesh of 200 nodes, by seeds: who is healthy stays, who is dead is found out.
//!
//! A failure names its seed; `STARLING_SEED=N` runs that seed alone. Figures for thousands of nodes are printed
//! by `cargo run --release -p starling-benches --bin mesh-sim`.

use starling_proto::{
    members::Status,
    sim::{
        Micros, Node,
        membership::{Errors, SECOND, Town, TownSettings},
    },
};

/// Runs a story once for each seed.
fn on_every_seed(story: impl Fn(u64)) {
    let named = std::env::var("STARLING_SEED").ok();
    let seeds = named.map_or(vec![1, 2, 3], |seed| vec![seed.parse().expect("STARLING_SEED is a number")]);
    for seed in seeds {
        let _tells = Repro(seed);
        story(seed);
    }
}

/// Says how to run a seed again when its story fails.
struct Repro(u64);

impl Drop for Repro {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let name = std::thread::current().name().unwrap_or_default().to_owned();
            eprintln!(
                "STARLING_SEED={} cargo test --release -p starling-tests --test simulation {name}",
                self.0
            );
        }
    }
}

fn town(seed: u64) -> Town {
    Town::settled(seed, &TownSettings::default(), &[])
}

fn ms(ms: u64) -> Micros {
    ms * 1_000
}

const NONE: Errors = Errors { dead: 0, suspected: 0 };

/// Heartbeats come every 500 ms; the last one may have come just before, and time is looked at once in that time.
const PASSED_OVER_WITHIN: Micros = 2_000_000 + 2 * 500_000;
const DEAD_WITHIN: Micros = 6_000_000 + 2 * 500_000;

#[test]
fn all_know_all_a_few_seconds_after_the_start() {
    on_every_seed(|seed| {
        let town = town(seed);
        assert!(town.up().into_iter().all(|node| town.sees_the_truth(node)));
        assert_eq!(town.errors(0), NONE);
    });
}

#[test]
fn no_healthy_node_is_declared_dead_or_suspected_where_five_percent_is_lost() {
    on_every_seed(|seed| {
        let mut town = town(seed);
        let since = town.sim.now();
        town.network().lose(50_000);
        town.run(20);
        assert_eq!(town.errors(since), NONE);
        assert!(town.up().into_iter().all(|node| town.sees_its_pop(node)));
    });
}

#[test]
fn a_node_that_loses_a_third_of_all_is_not_declared_dead() {
    on_every_seed(|seed| {
        let mut town = town(seed);
        let since = town.sim.now();
        town.network().lose_at(4, 330_000);
        town.run(20);
        assert_eq!(town.errors(since).dead, 0);
        town.network().lose_at(4, 0);
        let all_well = |town: &Town| town.up().into_iter().all(|node| town.sees_its_pop(node));
        assert!(town.time_until(SECOND, 10, all_well).is_some());
    });
}

#[test]
fn two_nodes_that_cannot_reach_each_other_pass_each_other_over_and_nobody_dies() {
    on_every_seed(|seed| {
        let mut town = town(seed);
        let since = town.sim.now();
        let cuts = town.network().cut(&[0], &[1]);
        town.run(20);
        assert_eq!(town.status(0, 1), Some(Status::Suspect));
        assert_eq!(town.status(1, 0), Some(Status::Suspect));
        let others = |of: Node| town.neighbours(of).into_iter().filter(move |by| *by > 1);
        assert!(others(0).all(|by| town.status(by, 0) == Some(Status::Alive)));
        assert!(others(1).all(|by| town.status(by, 1) == Some(Status::Alive)));
        assert_eq!(town.errors(since).dead, 0);
        cuts.into_iter().for_each(|cut| town.network().heal(cut));
        town.run(6);
        assert_eq!((town.status(0, 1), town.status(1, 0)), (Some(Status::Alive), Some(Status::Alive)));
    });
}

#[test]
fn a_path_cut_one_way_kills_nobody() {
    on_every_seed(|seed| {
        let mut town = town(seed);
        let since = town.sim.now();
        let cut = town.network().cut_one_way(&[0, 1, 2], &[3]);
        town.run(20);
        assert_eq!(town.errors(since).dead, 0);
        town.network().heal(cut);
        town.run(6);
        assert!(town.up().into_iter().all(|node| town.sees_its_pop(node)));
    });
}

#[test]
fn the_dead_are_passed_over_and_dead_to_their_whole_pop_within_the_bounds() {
    on_every_seed(|seed| {
        for (node, dies) in [(3, Town::kill as fn(&mut Town, Node)), (23, Town::unplug), (43, Town::pause)] {
            let mut town = town(seed);
            let since = town.sim.now();
            dies(&mut town, node);
            town.run(8);
            let within = |status, bound: Micros| {
                town.times_to(status, node, since).iter().all(|took| took.is_some_and(|took| took <= bound))
            };
            assert!(
                within(Status::Suspect, PASSED_OVER_WITHIN),
                "{:?}",
                town.times_to(Status::Suspect, node, since)
            );
            assert!(within(Status::Dead, DEAD_WITHIN), "{:?}", town.times_to(Status::Dead, node, since));
            let too_soon = |took: &Option<Micros>| took.is_some_and(|took| took < ms(6_000 - 500));
            assert!(!town.times_to(Status::Dead, node, since).iter().any(too_soon));
            assert_eq!(town.errors(since), NONE, "and nobody else is");
        }
    });
}

#[test]
fn a_node_that_says_good_bye_is_out_at_once() {
    on_every_seed(|seed| {
        let mut town = town(seed);
        town.stop(7);
        town.run(1);
        assert!(town.neighbours(7).into_iter().all(|by| town.status(by, 7) == Some(Status::Left)));
    });
}

#[test]
fn a_paused_node_is_taken_back_at_once_and_blames_nobody_for_its_pause() {
    on_every_seed(|seed| {
        let mut town = town(seed);
        town.pause(5);
        town.run(15);
        town.resume(5);
        let resumed_at = town.sim.now();
        town.run(2);
        assert!(town.neighbours(5).into_iter().all(|by| town.status(by, 5) == Some(Status::Alive)));
        let turns = town.sim.machine(5).expect("it runs").turns();
        let blamed = turns.iter().filter(|turn| turn.at >= resumed_at && turn.to == Status::Dead).count();
        assert_eq!(blamed, 0);
    });
}

#[test]
fn a_region_that_was_parted_is_seen_by_all_again() {
    on_every_seed(|seed| {
        let mut town = town(seed);
        let since = town.sim.now();
        let region = town.world().region(1);
        let cuts = town.network().part(&region);
        town.run(40);
        assert_eq!(town.errors(since), NONE, "no PoP was parted");
        assert!(
            !town.sees_the_truth(0) && !town.sees_the_truth(region[0]),
            "the region is gone to the others"
        );
        cuts.into_iter().for_each(|cut| town.network().heal(cut));
        let all_see_all = |town: &Town| town.up().into_iter().all(|node| town.sees_the_truth(node));
        assert!(town.time_until(SECOND, 60, all_see_all).is_some());
    });
}

#[test]
fn two_halves_of_a_pop_become_one_again() {
    on_every_seed(|seed| {
        let mut town = town(seed);
        let cuts =
            town.network().cut(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], &[10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
        // The rest of the world carries no heartbeats of this PoP: to each other, the halves are dead.
        town.run(12);
        assert_eq!((town.status(0, 10), town.status(10, 0)), (Some(Status::Dead), Some(Status::Dead)));
        assert_eq!((town.status(0, 9), town.status(10, 19)), (Some(Status::Alive), Some(Status::Alive)));
        cuts.into_iter().for_each(|cut| town.network().heal(cut));
        let all_see_all = |town: &Town| town.up().into_iter().all(|node| town.sees_the_truth(node));
        assert!(town.time_until(SECOND, 60, all_see_all).is_some());
    });
}

#[test]
fn a_pop_that_restarts_as_a_whole_knows_itself_again() {
    on_every_seed(|seed| {
        let mut town = town(seed);
        let pop = town.world().pop(2);
        pop.iter().for_each(|node| town.kill(*node));
        town.run(3);
        pop.iter().for_each(|node| town.start(*node));
        let all_see_all = |town: &Town| town.up().into_iter().all(|node| town.sees_the_truth(node));
        assert!(town.time_until(SECOND / 2, 15, all_see_all).is_some());
    });
}

#[test]
fn a_newcomer_is_known_to_its_pop_in_a_second_and_to_the_world_in_a_few() {
    on_every_seed(|seed| {
        let settings = TownSettings::default();
        // One with a high id: it will not speak for its PoP, so others must bring word of it to the world.
        let unborn = Town::new(seed, &settings);
        let pop = unborn.world().pop(0);
        let joiner = pop.into_iter().max_by_key(|node| unborn.book().id(*node)).expect("a PoP has nodes");
        let mut town = Town::settled(seed, &settings, &[joiner]);
        town.start(joiner);
        let neighbours = town.neighbours(joiner);
        let pop_knows =
            |town: &Town| neighbours.iter().all(|by| town.status(*by, joiner) == Some(Status::Alive));
        assert!(town.time_until(SECOND / 10, 1, pop_knows).is_some());
        let others: Vec<Node> = town.up().into_iter().filter(|by| *by != joiner).collect();
        let world_knows = |town: &Town| others.iter().all(|by| town.knows(*by, joiner));
        assert!(town.time_until(SECOND / 2, 5, world_knows).is_some());
        assert!(town.time_until(SECOND / 2, 5, |town| town.sees_the_truth(joiner)).is_some());
    });
}

#[test]
fn the_dead_are_forgotten_everywhere() {
    on_every_seed(|seed| {
        let mut settings = TownSettings::default();
        settings.peer.members.forget_after_ms = 5_000;
        let mut town = Town::settled(seed, &settings, &[]);
        town.unplug(3);
        town.run(7);
        assert!(town.neighbours(3).into_iter().all(|by| town.status(by, 3) == Some(Status::Dead)));
        let is_forgotten = |town: &Town| town.up().into_iter().all(|by| !town.knows(by, 3));
        let took = town.time_until(SECOND, 60, is_forgotten);
        assert!(took.is_some_and(|took| took <= 20 * SECOND), "forgotten after {took:?}");
    });
}

#[test]
fn one_seed_is_one_run() {
    let run = || {
        let mut town = town(9);
        town.network().lose(20_000);
        town.kill(3);
        town.run(5);
        (town.sim.trace(), town.sim.events())
    };
    assert_eq!(run(), run());
}
