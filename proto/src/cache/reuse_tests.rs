use proptest::prelude::*;

use super::*;
use crate::cache::testing::{T0, any_request_headers, any_response_headers, headers, stored};

const HOUR_MS: u64 = 3_600_000;

/// A stored response, asked for at some time after it came.
struct Case {
    stored: StoredHead,
    request: HeaderMap,
    policy: Policy,
    purged: Purged,
    trust: Trust,
}

fn case(cache_control: &str) -> Case {
    let stored = stored(&[("cache-control", cache_control), ("etag", "\"a\"")]).expect("it may be stored");
    Case {
        stored,
        request: HeaderMap::new(),
        policy: Policy::default(),
        purged: Purged::No,
        trust: Trust::Full,
    }
}

impl Case {
    fn asked(mut self, cache_control: &str) -> Self {
        self.request = headers(&[("cache-control", cache_control)]);
        self
    }

    fn purged(mut self, purged: Purged) -> Self {
        self.purged = purged;
        self
    }

    fn trusted(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    fn reuse(&self, after_ms: u64) -> Reuse<'_> {
        Reuse {
            method: &Method::GET,
            request_headers: &self.request,
            stored: &self.stored,
            purged: self.purged,
            trust: self.trust,
            policy: &self.policy,
            now: T0 + after_ms,
        }
    }

    fn decided(&self, after_ms: u64) -> Decision {
        decide(&self.reuse(after_ms))
    }

    fn stale_on(&self, trouble: Trouble, after_ms: u64) -> Result<StaleReason, NoStaleReason> {
        serve_stale_on(trouble, &self.reuse(after_ms))
    }
}

#[test]
fn fresh_is_served_and_stale_is_revalidated() {
    let case = case("max-age=60, must-revalidate");
    assert_eq!(case.decided(59_999), Decision::Serve);
    assert_eq!(case.decided(60_000), Decision::Revalidate(FetchReason::Stale));
    let post = Reuse { method: &Method::POST, ..case.reuse(0) };
    assert_eq!(decide(&post), Decision::Fetch(FetchReason::Method));
}

#[test]
fn no_cache_is_revalidated_while_fresh() {
    assert_eq!(case("max-age=10000, no-cache").decided(0), Decision::Revalidate(FetchReason::NoCache));
    assert_eq!(case("max-age=10000, no-cache=\"foo\"").decided(0), Decision::Serve);
}

#[test]
fn the_request_can_ask_for_better() {
    for (asked, reason) in [
        ("no-cache", FetchReason::RequestNoCache),
        ("max-age=0", FetchReason::RequestMaxAge),
        ("min-fresh=59", FetchReason::RequestMinFresh),
    ] {
        assert_eq!(case("max-age=60").asked(asked).decided(2_000), Decision::Revalidate(reason), "{asked}");
        let mut deaf = case("max-age=60").asked(asked);
        deaf.policy.honour_request_directives = false;
        assert_eq!(deaf.decided(2_000), Decision::Serve, "{asked}");
    }
    assert_eq!(case("max-age=60").asked("no-store").decided(0), Decision::Serve);
    assert_eq!(case("max-age=60, immutable").asked("max-age=0").decided(2_000), Decision::Serve);
}

#[test]
fn the_request_can_accept_worse_unless_the_origin_forbids() {
    let stale = Decision::ServeStale(StaleReason::RequestMaxStale);
    assert_eq!(case("max-age=1").asked("max-stale=1000").decided(5_000), stale);
    assert_eq!(case("max-age=1").asked("max-stale").decided(HOUR_MS), stale);
    assert_eq!(
        case("max-age=1").asked("max-stale=3").decided(5_000),
        Decision::Revalidate(FetchReason::Stale)
    );
    for forbidden in ["max-age=1, must-revalidate", "max-age=1, proxy-revalidate", "s-maxage=1"] {
        assert_eq!(
            case(forbidden).asked("max-stale").decided(5_000),
            Decision::Revalidate(FetchReason::Stale),
            "{forbidden}"
        );
    }
}

#[test]
fn stale_while_revalidate_has_an_end() {
    let stale = Decision::ServeStaleAndRevalidate(StaleReason::StaleWhileRevalidate);
    for granted in ["max-age=1, stale-while-revalidate=4", "s-maxage=1, stale-while-revalidate=4"] {
        assert_eq!(case(granted).decided(4_999), stale, "{granted}");
        assert_eq!(case(granted).decided(5_000), Decision::Revalidate(FetchReason::Stale), "{granted}");
    }
    let forbidden = case("max-age=1, must-revalidate, stale-while-revalidate=4");
    assert_eq!(forbidden.decided(2_000), Decision::Revalidate(FetchReason::Stale));
    let mut by_policy = case("max-age=1");
    by_policy.policy.stale_while_revalidate_ms = 4_000;
    assert_eq!(by_policy.decided(2_000), stale);
}

#[test]
fn a_purge_is_felt_at_once() {
    let hard = case("max-age=60, stale-while-revalidate=60").purged(Purged::Hard);
    assert_eq!(hard.decided(0), Decision::Fetch(FetchReason::Purged));
    assert_eq!(hard.stale_on(Trouble::Disconnected, 0), Err(NoStaleReason::Purged));
    let soft = case("max-age=60").purged(Purged::Soft);
    assert_eq!(soft.decided(0), Decision::Revalidate(FetchReason::SoftPurged));
    assert_eq!(soft.stale_on(Trouble::Disconnected, 0), Ok(StaleReason::Disconnected));
    let granted = case("max-age=60, stale-while-revalidate=60").purged(Purged::Soft);
    assert_eq!(granted.decided(0), Decision::ServeStaleAndRevalidate(StaleReason::SoftPurged));
}

/// What a node had stepped over was once served under `stale-while-revalidate`, as after a soft purge.
#[test]
fn what_may_have_been_purged_is_revalidated_whatever_is_granted() {
    let unknown = || case("max-age=60, stale-while-revalidate=60").purged(Purged::Unknown);
    assert_eq!(unknown().decided(0), Decision::Revalidate(FetchReason::MayBePurged));
    assert_eq!(unknown().decided(61_000), Decision::Revalidate(FetchReason::MayBePurged));
    assert_ne!(unknown().stale_on(Trouble::Disconnected, 0), Ok(StaleReason::StillFresh));
}

#[test]
fn what_is_not_trusted_is_revalidated_whatever_is_granted() {
    for (trust, reason) in
        [(Trust::Unsure, FetchReason::NotCaughtUp), (Trust::Unfenced, FetchReason::Unfenced)]
    {
        let granted = || case("max-age=60, stale-while-revalidate=60").trusted(trust);
        let revalidated = Decision::Revalidate(reason);
        assert_eq!(granted().decided(0), revalidated, "fresh");
        assert_eq!(granted().decided(61_000), revalidated, "stale while revalidating");
        assert_eq!(granted().purged(Purged::Soft).decided(0), revalidated);
        assert_eq!(case("max-age=1").trusted(trust).asked("max-stale").decided(5_000), revalidated);
        assert_eq!(granted().purged(Purged::Hard).decided(0), Decision::Fetch(FetchReason::Purged));
        assert_eq!(reason.as_fwd(), "stale");
    }
}

#[test]
fn who_has_not_caught_up_stands_in_as_a_stale_response_may() {
    let unsure = |said: &str| case(said).trusted(Trust::Unsure);
    let stands_in = Ok(StaleReason::NotCaughtUp);
    let error = Trouble::Status(StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(unsure("max-age=60").stale_on(Trouble::Disconnected, 0), stands_in);
    assert_eq!(
        unsure("max-age=60").stale_on(error, 0),
        Err(NoStaleReason::WindowPassed),
        "nobody granted it"
    );
    assert_eq!(unsure("max-age=60, stale-if-error=9").stale_on(error, 0), stands_in);
    for (forbidden, reason) in
        [("must-revalidate", NoStaleReason::MustRevalidate), ("s-maxage=60", NoStaleReason::SharedMaxAge)]
    {
        let said = format!("max-age=60, {forbidden}");
        assert_eq!(unsure(&said).stale_on(Trouble::Disconnected, 0), Err(reason), "{said}");
    }
    let stale = unsure("max-age=2").stale_on(Trouble::Disconnected, 5_000);
    assert_eq!(stale, Ok(StaleReason::Disconnected), "what is stale anyway says why");
    assert_eq!(StaleReason::NotCaughtUp.as_str(), "not-caught-up");
}

#[test]
fn who_is_unfenced_stands_in_for_nobody() {
    for said in ["max-age=60", "max-age=60, stale-if-error=600", "max-age=0, stale-if-error=600"] {
        for trouble in [Trouble::Disconnected, Trouble::TimedOut, Trouble::Status(StatusCode::BAD_GATEWAY)] {
            let unfenced = case(said).asked("stale-if-error=600").trusted(Trust::Unfenced);
            assert_eq!(unfenced.stale_on(trouble, 1_000), Err(NoStaleReason::Unfenced), "{said}");
        }
    }
    assert_eq!(NoStaleReason::Unfenced.as_str(), "unfenced");
}

#[test]
fn nothing_outlives_the_longest_life() {
    let case = case("max-age=99999999999");
    let life_ms = case.policy.object_lifetime_max_ms;
    assert_eq!(case.decided(life_ms), Decision::Serve);
    assert_eq!(case.decided(life_ms + 1), Decision::Fetch(FetchReason::TooOld));
    assert_eq!(case.stale_on(Trouble::Disconnected, life_ms + 1), Err(NoStaleReason::TooOld));
}

#[test]
fn a_lost_origin_is_stood_in_for_unless_forbidden() {
    assert_eq!(case("max-age=2").stale_on(Trouble::Disconnected, 5_000), Ok(StaleReason::Disconnected));
    assert_eq!(case("max-age=2").stale_on(Trouble::TimedOut, 5_000), Ok(StaleReason::Disconnected));
    assert_eq!(case("max-age=2").stale_on(Trouble::TimedOut, 25 * HOUR_MS), Err(NoStaleReason::WindowPassed));
    for (forbidden, reason) in [
        ("max-age=2, must-revalidate", NoStaleReason::MustRevalidate),
        ("max-age=2, proxy-revalidate", NoStaleReason::ProxyRevalidate),
        ("max-age=2, no-cache", NoStaleReason::NoCache),
        ("max-age=2, s-maxage=2", NoStaleReason::SharedMaxAge),
    ] {
        assert_eq!(case(forbidden).stale_on(Trouble::Disconnected, 5_000), Err(reason), "{forbidden}");
    }
    let reload = case("max-age=60").asked("no-cache");
    assert_eq!(reload.stale_on(Trouble::Disconnected, 0), Err(NoStaleReason::RequestNoCache));
}

#[test]
fn an_error_is_stood_in_for_only_by_grant() {
    let error = |code| Trouble::Status(StatusCode::from_u16(code).expect("a status"));
    assert_eq!(case("max-age=2").stale_on(error(503), 5_000), Err(NoStaleReason::WindowPassed));
    let granted = case("max-age=2, stale-if-error=60");
    for code in [500, 502, 503, 504] {
        assert_eq!(granted.stale_on(error(code), 5_000), Ok(StaleReason::StaleIfError), "{code}");
    }
    for code in [200, 404, 501] {
        assert_eq!(granted.stale_on(error(code), 5_000), Err(NoStaleReason::Answered), "{code}");
    }
    assert_eq!(granted.stale_on(error(503), 62_000), Err(NoStaleReason::WindowPassed));
    let asked = case("max-age=2").asked("stale-if-error=60");
    assert_eq!(asked.stale_on(error(503), 5_000), Ok(StaleReason::StaleIfError));
    let shared = case("s-maxage=2").asked("stale-if-error=60");
    assert_eq!(shared.stale_on(error(503), 5_000), Err(NoStaleReason::WindowPassed));
    assert_eq!(case("max-age=60").stale_on(error(503), 5_000), Ok(StaleReason::StillFresh));
}

#[test]
fn only_if_cached_is_heard() {
    assert!(only_if_cached(&headers(&[("cache-control", "only-if-cached")])));
    assert!(!only_if_cached(&headers(&[("pragma", "only-if-cached")])));
}

proptest! {
    #[test]
    fn what_is_purged_or_unvalidated_is_never_served(
        response in any_response_headers(),
        request in any_request_headers(),
        after_ms in prop_oneof![0_u64..200_000, 0_u64..1 << 40],
        purged in prop_oneof![Just(Purged::No), Just(Purged::Soft), Just(Purged::Unknown), Just(Purged::Hard)],
        trust in prop_oneof![Just(Trust::Full), Just(Trust::Unsure), Just(Trust::Unfenced)],
    ) {
        // A validator and a lifetime, so that most of them may be stored.
        let sure = [("etag", "\"a\""), ("cache-control", "max-age=60")];
        let noise = response.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let lines: Vec<_> = sure.into_iter().chain(noise).collect();
        let Ok(stored) = stored(&lines) else { return Ok(()) };
        let case = Case { stored, request, policy: Policy::default(), purged, trust };
        let decision = case.decided(after_ms);
        let stale = case.stale_on(Trouble::Disconnected, after_ms);
        let is_too_old = after_ms > case.policy.object_lifetime_max_ms;
        if purged == Purged::Hard || is_too_old {
            prop_assert!(matches!(decision, Decision::Fetch(_)) && stale.is_err());
        }
        if case.stored.rules.no_cache {
            prop_assert!(matches!(decision, Decision::Fetch(_) | Decision::Revalidate(_)) && stale.is_err());
        }
        if decision == Decision::Serve {
            prop_assert!(case.stored.is_fresh(T0 + after_ms) && purged == Purged::No);
        }
        if trust != Trust::Full {
            prop_assert!(matches!(decision, Decision::Fetch(_) | Decision::Revalidate(_)));
            prop_assert!(trust == Trust::Unsure || stale.is_err());
        }
        if matches!(case.stored.rules.stale, StaleRule::MustRevalidate | StaleRule::ProxyRevalidate) {
            prop_assert!(!matches!(decision, Decision::ServeStale(_) | Decision::ServeStaleAndRevalidate(_)));
        }
    }
}
