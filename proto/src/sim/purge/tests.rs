//! Thousands of seeds in which nothing may break, and planted bugs each of which must.

use super::{Flaw, town::run};

/// Seeds to run: `STARLING_SIM_SEEDS`, or a number that takes some seconds; `STARLING_SEED` names one alone. They are
/// read when the test is built, since nothing here reads its surroundings.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    let number = |told: Option<&str>| told.and_then(|text| text.parse::<u64>().ok());
    match (number(option_env!("STARLING_SEED")), number(option_env!("STARLING_SIM_SEEDS"))) {
        (Some(seed), _) => seed..seed + 1,
        (None, seeds) => 0..seeds.unwrap_or(usual),
    }
}

#[test]
fn no_purge_is_undone_in_any_seed() {
    let (mut served, mut stored, mut purges) = (0, 0, 0);
    for seed in seeds(2_000) {
        let run = run(seed, None);
        assert_eq!(run.broken, None, "STARLING_SEED={seed} cargo test -p starling-proto --lib sim::purge");
        served += run.served;
        stored += run.stored_served;
        purges += run.purges;
    }
    assert!(
        stored > 0 && stored < served && purges > 0,
        "{served} served, {stored} as stored, {purges} purges"
    );
    println!("{served} served, {stored} as stored, {purges} purges");
}

#[test]
fn one_seed_is_one_run() {
    assert_eq!(run(7, None), run(7, None));
    assert_ne!(run(7, None).trace, run(8, None).trace);
}

/// Runs seeds until one breaks, and sees that it breaks what was expected.
fn is_caught(flaw: Flaw, promise: &[&str]) {
    let caught = (0..2_000).find_map(|seed| run(seed, Some(flaw)).broken.map(|broken| (seed, broken)));
    let Some((seed, broken)) = caught else { panic!("{flaw:?} was not caught") };
    println!("{flaw:?}: seed {seed}: {broken}");
    assert!(promise.iter().any(|promise| broken.starts_with(promise)), "{flaw:?} by seed {seed}: {broken}");
}

macro_rules! caught {
    ($($name:ident: $flaw:ident breaks $($promise:literal)or+,)*) => {
        $(#[test] fn $name() { is_caught(Flaw::$flaw, &[$($promise),+]); })*
    };
}

caught! {
    a_stamp_taken_after_asking_is_caught: StampTakenAfterAsking breaks "P1" or "P2" or "convergence",
    followers_that_are_not_checked_are_caught: FollowersAreNotChecked breaks "P1" or "P2" or "P6",
    a_gap_applied_over_is_caught: GapsAreAppliedOver breaks "order",
    a_floor_not_set_is_caught: FloorIsNotSet breaks "P1" or "P2",
    a_restart_that_forgets_purges_is_caught: RestartForgetsPurges breaks "P1" or "P2",
    a_peer_that_answers_without_catching_up_is_caught: PeersAnswerWithoutCatchingUp breaks "P2",
    epochs_not_compared_are_caught: EpochsAreNotCompared breaks "order" or "convergence",
    a_batch_applied_twice_is_caught: BatchesAreAppliedTwice breaks "order",
    a_stamp_of_who_stores_is_caught: StampedByWhoStores breaks "P1" or "P2",
    serving_before_catching_up_is_caught: ServesBeforeItCaughtUp breaks "P4",
    a_rebirth_not_noticed_is_caught: RebirthIsNotNoticed breaks "P6" or "P1",
    bodies_of_peers_not_checked_are_caught: BodiesOfPeersAreNotChecked breaks "P1" or "P2" or "P6",
    a_mesh_that_does_not_compare_is_caught: NobodyCompares breaks "convergence",
}
