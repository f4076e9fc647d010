use proptest::prelude::*;

use super::*;

fn eu() -> Region {
    Region::new("eu")
}

fn us() -> Region {
    Region::new("us")
}

fn at(epoch: u64, index: u64) -> Version {
    Version { epoch, index }
}

fn lease(region: Region, head: Version, remaining_ms: u64) -> Lease {
    Lease { region, head, remaining_ms }
}

fn applied(places: &[(Region, Version)]) -> Versions {
    let mut versions = Versions::default();
    places.iter().for_each(|(region, version)| versions.set(region.clone(), *version));
    versions
}

fn fence(granted: &[(u64, Version, u64)]) -> Fence {
    let mut fence = Fence::default();
    for (asked_ms, head, remaining_ms) in granted {
        fence.granted(*asked_ms, &[lease(eu(), *head, *remaining_ms)]);
    }
    fence
}

fn until_ms(fence: &Fence, version: Version) -> Option<u64> {
    fence.until_ms(&applied(&[(eu(), version)]), [eu()].iter())
}

#[test]
fn a_lease_counts_from_its_question_and_for_who_applied_its_head() {
    let fence = fence(&[(100, at(1, 5), 50)]);
    assert_eq!(until_ms(&fence, at(1, 5)), Some(150));
    assert_eq!(until_ms(&fence, at(1, 6)), Some(150));
    assert_eq!(until_ms(&fence, at(1, 4)), None);
    assert_eq!(fence.until_ms(&Versions::default(), [eu()].iter()), None);
    assert_eq!(
        fence.until_ms(&applied(&[(eu(), at(1, 5))]), [].iter()),
        None,
        "nothing is known of no region"
    );
}

#[test]
fn an_older_lease_holds_until_the_newer_head_is_applied() {
    let fence = fence(&[(100, at(1, 5), 50), (120, at(1, 9), 50)]);
    assert_eq!(until_ms(&fence, at(1, 5)), Some(150));
    assert_eq!(until_ms(&fence, at(1, 9)), Some(170));
    let fence = self::fence(&[(120, at(1, 9), 50), (100, at(1, 5), 50)]);
    assert_eq!((until_ms(&fence, at(1, 5)), until_ms(&fence, at(1, 9))), (Some(150), Some(170)));
}

#[test]
fn each_region_must_be_known() {
    let mut fence = fence(&[(100, at(1, 5), 50)]);
    let here = applied(&[(eu(), at(1, 5)), (us(), at(7, 1))]);
    assert_eq!(fence.until_ms(&here, [eu(), us()].iter()), None);
    fence.granted(90, &[lease(us(), at(7, 1), 20)]);
    assert_eq!(fence.until_ms(&here, [eu(), us()].iter()), Some(110));
    assert_eq!(fence.regions().cloned().collect::<Vec<_>>(), [eu(), us()]);
}

#[test]
fn a_lease_of_another_life_does_not_hold() {
    let held = fence(&[(100, at(2, 5), 50)]);
    assert_eq!((until_ms(&held, at(1, 9)), until_ms(&held, at(3, 9))), (None, None));
    let held = fence(&[(100, at(1, 5), 50), (101, at(2, 0), 50)]);
    assert_eq!(until_ms(&held, at(1, 9)), None, "the life it speaks of is known to be over");
    assert_eq!(until_ms(&held, at(2, 0)), Some(151));
    let held = fence(&[(101, at(2, 0), 50), (100, at(1, 5), 500)]);
    assert_eq!((until_ms(&held, at(1, 9)), until_ms(&held, at(2, 1))), (None, Some(151)));
}

/// A region that is known by its leases alone would be left out once they ran out, and the rest be a fence.
#[test]
fn a_region_is_not_forgotten_with_its_leases() {
    let mut fence = fence(&[(100, at(1, 5), 50)]);
    fence.granted(1_000, &[lease(us(), at(7, 1), 20)]);
    let here = applied(&[(eu(), at(1, 5)), (us(), at(7, 1))]);
    assert_eq!(fence.hand_on(&here, 1_000).len(), 1);
    assert_eq!(fence.until_ms(&here, fence.regions()), None);
}

/// Who has never heard of a region would be fenced without it.
#[test]
fn a_region_that_is_only_named_is_known_and_nothing_else_changes() {
    let mut fence =
        fence(&[(100, at(1, 5), 50), (101, at(1, 6), 50), (102, at(1, 7), 50), (103, at(1, 8), 50)]);
    let before = fence.clone();
    fence.granted(104, &[named(eu())]);
    assert_eq!(fence, before, "it voids nothing");
    let here = applied(&[(eu(), at(1, 5)), (us(), Version::default())]);
    assert_eq!(fence.until_ms(&here, fence.regions()), Some(150));
    fence.granted(104, &[named(us())]);
    assert_eq!(fence.regions().cloned().collect::<Vec<_>>(), [eu(), us()]);
    assert_eq!(fence.until_ms(&here, fence.regions()), None, "it grants nothing");
    assert_eq!(fence.hand_on(&here, 104).len(), 1);
}

#[test]
fn a_lease_that_waits_for_its_head_is_there_and_one_of_a_former_life_is_not() {
    let fence = fence(&[(100, at(2, 5), 50), (120, at(2, 9), 50)]);
    let ends_ms = |version| fence.ends_ms(&eu(), &applied(&[(eu(), version)]));
    assert_eq!((ends_ms(at(2, 5)), ends_ms(at(1, 7)), ends_ms(at(3, 1))), (Some(170), Some(170), None));
    assert_eq!(fence.ends_ms(&eu(), &Versions::default()), Some(170));
    assert_eq!(fence.ends_ms(&us(), &Versions::default()), None);
}

#[test]
fn what_is_handed_on_is_applied_and_less_than_what_is_held() {
    let mut fence = fence(&[(0, at(1, 5), 4_000), (1_000, at(1, 9), 4_000)]);
    fence.granted(0, &[lease(us(), at(7, 1), 1_001)]);
    let here = applied(&[(eu(), at(1, 6)), (us(), at(7, 1))]);
    assert_eq!(fence.hand_on(&here, 1_000), [lease(eu(), at(1, 5), 2_993)], "1 ms of us is too little");
    assert_eq!(fence.hand_on(&here, 4_000), []);
    assert_eq!(fence.hand_on(&here, u64::MAX), []);
    let ahead = applied(&[(eu(), at(1, 9))]);
    assert_eq!(fence.hand_on(&ahead, 1_000), [lease(eu(), at(1, 9), 3_991)]);
    let endless = self::fence(&[(9, at(1, 5), u64::MAX)]);
    assert_eq!(until_ms(&endless, at(1, 5)), Some(u64::MAX));
    assert!(endless.hand_on(&here, 9).iter().all(|lease| lease.remaining_ms < u64::MAX));
}

#[test]
fn more_regions_than_are_followed_end_the_fence() {
    let mut fence = Fence::default();
    let regions: Vec<_> = (0..=REGIONS_MAX).map(|number| Region::new(&number.to_string())).collect();
    let here = applied(&regions.iter().map(|region| (region.clone(), at(1, 1))).collect::<Vec<_>>());
    let leases: Vec<_> = regions.iter().map(|region| lease(region.clone(), at(1, 1), 10)).collect();
    fence.granted(0, &leases[1..]);
    assert_eq!(fence.until_ms(&here, fence.regions()), Some(10));
    fence.granted(0, &leases);
    assert_eq!((fence.until_ms(&here, fence.regions()), fence.regions().count()), (None, REGIONS_MAX));
}

/// A clock that was at `offset_us` in the beginning, and is `skew_ppm` fast.
#[derive(Clone, Copy, Debug)]
struct Clock {
    offset_us: i64,
    skew_ppm: i64,
}

impl Clock {
    fn ms(self, true_us: i64) -> u64 {
        let us = self.offset_us + true_us + true_us * self.skew_ppm / 1_000_000;
        u64::try_from(us / 1_000).expect("no clock is before its beginning")
    }
}

fn any_clock() -> impl Strategy<Value = Clock> {
    (0i64..10_000_000_000, -1_000i64..=1_000).prop_map(|(offset_us, skew_ppm)| Clock { offset_us, skew_ppm })
}

/// How long after the node's question the one asked looks at its clock, how long the answer takes, and how long
/// the node waits with its next one.
fn any_delays() -> impl Strategy<Value = (i64, i64)> {
    (0i64..3_000_000, 0i64..3_000_000)
}

proptest! {
    /// Each node asks the one before it; the first holds a lease. None trusts it when the one it asked does not.
    #[test]
    fn a_lease_that_is_handed_on_does_not_outlive_the_original(
        clocks in proptest::collection::vec((any_clock(), any_delays()), 2..5),
        lease_ms in 1u64..30_000,
    ) {
        let here = applied(&[(eu(), at(1, 1))]);
        let mut now_us = 0;
        let mut above: Option<(Clock, Fence)> = None;
        for (clock, (on_its_way_us, waits_us)) in clocks {
            let asked_ms = clock.ms(now_us);
            now_us += on_its_way_us;
            let mut fence = Fence::default();
            match &above {
                None => fence.granted(asked_ms, &[lease(eu(), at(1, 1), lease_ms)]),
                Some((theirs, held)) => fence.granted(asked_ms, &held.hand_on(&here, theirs.ms(now_us))),
            }
            let until = |fence: &Fence| fence.until_ms(&here, [eu()].iter());
            if let (Some((theirs, held)), Some(here_until_ms)) = (&above, until(&fence)) {
                let there_until_ms = until(held).expect("it was handed on");
                // The first true microsecond at which the node above trusts it no more.
                let (mut holds, mut ended) = (0, 1i64 << 40);
                while ended - holds > 1 {
                    let middle = (holds + ended) / 2;
                    if theirs.ms(middle) < there_until_ms { holds = middle } else { ended = middle }
                }
                prop_assert!(clock.ms(ended) >= here_until_ms, "{here_until_ms} {there_until_ms}");
            }
            above = Some((clock, fence));
            now_us += waits_us;
        }
    }

    /// Whatever leases come in whatever order, no node is fenced longer than by the best of them.
    #[test]
    fn the_fence_says_what_its_leases_say(
        granted in proptest::collection::vec((0u64..50, 1u64..3, 0u64..4, 0u64..50), 0..8),
        epoch in 1u64..3,
        index in 0u64..4,
    ) {
        let granted: Vec<_> =
            granted.iter().map(|(asked, epoch, index, for_ms)| (*asked, at(*epoch, *index), *for_ms)).collect();
        let held = fence(&granted);
        let best = granted
            .iter()
            .filter(|(_, head, _)| head.epoch == epoch && head.index <= index)
            .map(|(asked_ms, _, for_ms)| asked_ms + for_ms)
            .max();
        let until = until_ms(&held, at(epoch, index));
        prop_assert!(until <= best);
        let last_asked_ms = granted.iter().map(|(asked, ..)| *asked).max().unwrap_or(0);
        let is_last_life = granted.iter().all(|(_, head, _)| head.epoch <= epoch);
        if best.is_some_and(|best| best > last_asked_ms) && is_last_life && granted.len() <= LEASES_MAX {
            prop_assert_eq!(until, best);
        }
    }
}
