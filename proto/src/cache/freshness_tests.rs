use proptest::prelude::*;

use super::*;
use crate::cache::{
    policy::TtlOverride,
    storing::StoredHead,
    testing::{T0, any_response_headers, headers, stored, stored_as},
};

/// A date `seconds` from [`T0`], as a field value.
fn at(seconds: i64) -> String {
    let at_ms = T0.saturating_add_signed(seconds * 1000);
    fields::format_date(at_ms).to_str().expect("ASCII").to_owned()
}

fn head(response: &[(&str, &str)]) -> StoredHead {
    stored(response).expect("it may be stored")
}

#[test]
fn expires_counts_from_date_and_from_arrival_where_date_is_no_date() {
    let fresh = |date: &str, expires: i64, age: &str| {
        head(&[("date", date), ("expires", &at(expires)), ("age", age), ("etag", "\"a\"")]).is_fresh(T0)
    };
    assert!(fresh(&at(0), 3600, "0"));
    assert!(fresh("foo", 10, "0"));
    assert!(!fresh(&at(0), 0, "0"), "present");
    assert!(!fresh(&at(400), 300, "0"), "both ahead of us");
    assert!(!fresh(&at(-10), 10, "25"), "slow date");
    assert!(!fresh(&at(10), 20, "15"), "fast date");
}

#[test]
fn an_expires_that_is_no_date_is_past() {
    let lines = [("expires", "0"), ("etag", "\"a\"")];
    assert_eq!(head(&lines).lifetime, Lifetime { ms: 0, source: LifetimeSource::Expires });
    let twice = [("expires", at(60)), ("expires", at(61)), ("etag", "\"a\"".to_owned())];
    let twice: Vec<_> = twice.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(head(&twice).lifetime.ms, 0, "two that differ");
}

#[test]
fn the_governing_field_hides_expires() {
    for name in ["cache-control", "cdn-cache-control", "surrogate-control"] {
        let past = head(&[(name, "max-age=3600"), ("expires", &at(-10_000))]);
        assert_eq!(past.lifetime.ms, 3_600_000, "{name}");
        let future = head(&[(name, "max-age=0"), ("expires", &at(10_000)), ("etag", "\"a\"")]);
        assert_eq!(future.lifetime.ms, 0, "{name}");
    }
}

#[test]
fn s_maxage_outdoes_max_age_either_way() {
    assert_eq!(head(&[("cache-control", "max-age=3600, s-maxage=1")]).lifetime.ms, 1000);
    assert_eq!(
        head(&[("cache-control", "max-age=0, s-maxage=3600"), ("expires", &at(-10))]).lifetime.ms,
        3_600_000
    );
}

#[test]
fn age_is_the_worse_of_two_estimates() {
    let age_ms = |lines: &[(&str, &str)], request_ms| initial_age_ms(&headers(lines), request_ms, T0);
    assert_eq!(age_ms(&[("date", &at(-7200))], T0), 7_200_000);
    assert_eq!(age_ms(&[("date", &at(-10)), ("age", "30")], T0 - 2000), 32_000);
    assert_eq!(age_ms(&[("date", &at(50)), ("age", "abc")], T0), 0);
    assert_eq!(age_ms(&[("age", "2147483649")], T0), 1000 << 31);
}

#[test]
fn a_heuristic_lifetime_is_a_bounded_tenth() {
    let modified = |seconds: i64| head(&[("date", &at(0)), ("last-modified", &at(-seconds))]).lifetime;
    assert_eq!(modified(1000), Lifetime { ms: 100_000, source: LifetimeSource::Heuristic });
    assert_eq!(modified(100 * 86_400).ms, 86_400_000);
}

#[test]
fn an_override_replaces_the_lifetime_of_what_it_covers() {
    let line = TtlOverride { path_prefix: "/a".to_owned(), statuses: vec![], ttl_ms: 5000 };
    let policy = Policy { ttl_override: vec![line], ..Policy::default() };
    let of = |status, lines: &[_]| stored_as(status, &[], lines, &policy).map(|head| head.lifetime.ms);
    assert_eq!(of(200, &[("cache-control", "max-age=60")]), Ok(5000));
    assert_eq!(of(500, &[("cache-control", "max-age=60")]), Ok(60_000));
    assert_eq!(of(200, &[("cache-control", "max-age=60"), ("set-cookie", "a=b")]), Ok(60_000));
    assert!(of(200, &[("cache-control", "private")]).is_err());
}

proptest! {
    #[test]
    fn time_only_ages(response in any_response_headers(), early in 0_u64..1 << 45, later in 0_u64..1 << 45) {
        let lines: Vec<_> = response.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))).collect();
        if let Ok(head) = stored(&lines) {
            let (early, later) = (T0 + early.min(later), T0 + early.max(later));
            prop_assert!(head.age_ms(early) <= head.age_ms(later));
            prop_assert!(head.ttl_ms(early) >= head.ttl_ms(later));
            prop_assert!(head.is_fresh(early) || !head.is_fresh(later));
            prop_assert_eq!(head.is_fresh(early), head.ttl_ms(early) > 0);
        }
    }
}
