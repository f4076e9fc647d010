use proptest::prelude::*;

use super::*;
use crate::cache::testing::{any_request_headers, any_response_headers, headers};

fn cache_control(value: &str) -> Directives {
    Directives::cache_control(&headers(&[("cache-control", value)]))
}

fn targeted(value: &str) -> Option<Directives> {
    Directives::targeted(&headers(&[("cdn-cache-control", value)]))
}

fn surrogate(value: &str) -> Option<Directives> {
    Directives::surrogate_control(&headers(&[("surrogate-control", value)]))
}

#[test]
fn max_age_is_read_in_every_form_that_means_a_number() {
    for (value, seconds) in [
        ("max-age=3600", 3600),
        ("MaX-aGe=3600", 3600),
        ("max-age=\"3600\"", 3600),
        ("foobar, max-age=3600", 3600),
        ("max-age=003600", 3600),
        ("max-age=99999999999", fields::DELTA_SECONDS_MAX),
        ("extension=\"max-age=3600\", max-age=1", 1),
        ("max-age=1, extension=\"max-age=3600\"", 1),
    ] {
        assert_eq!(cache_control(value).max_age, Some(seconds), "{value}");
    }
}

#[test]
fn a_lifetime_that_is_no_number_is_zero() {
    for value in ["-3600", "'3600'", "3600.0", "a3600", "3600a", " 3600", "", "\"3600"] {
        assert_eq!(cache_control(&format!("max-age={value}")).max_age, Some(0), "{value}");
    }
    assert_eq!(cache_control("max-age =3600").max_age, Some(0));
    assert_eq!(cache_control("max-age").max_age, Some(0));
}

#[test]
fn of_two_lifetimes_the_shorter_holds() {
    assert_eq!(cache_control("max-age=1800, max-age=1").max_age, Some(1));
    let lines = headers(&[("cache-control", "max-age=1"), ("cache-control", "max-age=1800")]);
    assert_eq!(Directives::cache_control(&lines).max_age, Some(1));
}

#[test]
fn a_list_of_fields_narrows_and_anything_unclear_widens() {
    let names = |names: &[&'static str]| {
        Scope::Fields(names.iter().map(|name| HeaderName::from_static(name)).collect())
    };
    assert_eq!(cache_control("no-cache=\"a, B\"").no_cache, names(&["a", "b"]));
    assert_eq!(cache_control("private=a, private=\"b\"").private, names(&["a", "b"]));
    for value in [
        "private",
        "private=\"\"",
        "private=\"a",
        "private=\"a b\"",
        "private, private=\"a\"",
        "private=\"a\", private",
    ] {
        assert_eq!(cache_control(value).private, Scope::Whole, "{value}");
    }
}

#[test]
fn a_targeted_field_is_read_strictly() {
    assert_eq!(targeted("foobar, max-age=3600").and_then(|d| d.max_age), Some(3600));
    assert_eq!(targeted("max-age=99999999999").and_then(|d| d.max_age), Some(fields::DELTA_SECONDS_MAX));
    assert_eq!(targeted("max-age=-1").and_then(|d| d.max_age), Some(0));
    assert!(targeted("private, no-store=?0").is_some_and(|d| d.private.is_whole() && !d.no_store));
    for invalid in [
        "",
        "max-age=10000, &&&&&",
        "max-age=\"10000\"",
        "MaX-aGe=3600",
        "max-age= 100",
        "max-age=1.5",
        "no-store=1",
        "max-age=(1)",
    ] {
        assert_eq!(targeted(invalid), None, "{invalid}");
    }
}

#[test]
fn the_more_targeted_field_governs() {
    let all = [
        ("cache-control", "max-age=3"),
        ("surrogate-control", "max-age=2"),
        ("cdn-cache-control", "max-age=1"),
    ];
    let governing = |lines: &[_], read_surrogate| {
        let (directives, source) = Directives::governing(&headers(lines), read_surrogate);
        (directives.max_age, source)
    };
    assert_eq!(governing(&all, true), (Some(1), Source::Targeted));
    assert_eq!(governing(&all[..2], true), (Some(2), Source::Surrogate));
    assert_eq!(governing(&all[..2], false), (Some(3), Source::CacheControl));
    let invalid = [("cache-control", "max-age=3"), ("cdn-cache-control", "max-age=\"1\"")];
    assert_eq!(governing(&invalid, true), (Some(3), Source::CacheControl));
}

#[test]
fn surrogate_control_minds_its_target() {
    assert_eq!(surrogate("max-age=3600;not-for-you"), None);
    assert_eq!(surrogate("content=\"ESI/1.0\""), None);
    assert_eq!(surrogate("max-age=1, max-age=3600;starling").and_then(|d| d.max_age), Some(3600));
    assert!(surrogate("no-store, content=\"ESI/1.0\"").is_some_and(|d| d.no_store));
    let extended = surrogate("max-age=60+30").expect("it is for us");
    assert_eq!((extended.max_age, extended.stale_while_revalidate), (Some(60), Some(30)));
}

#[test]
fn a_request_speaks_by_pragma_only_without_cache_control() {
    let of = |lines: &[_]| RequestDirectives::of(&headers(lines));
    assert!(of(&[("pragma", "no-cache")]).no_cache);
    assert!(!of(&[("pragma", "no-cache"), ("cache-control", "max-age=60")]).no_cache);
    assert!(!of(&[("pragma", "unrecognised-extension")]).no_cache);
    assert_eq!(of(&[("cache-control", "max-stale")]).max_stale, Some(u64::MAX));
    assert_eq!(of(&[("cache-control", "max-stale=x, min-fresh=1, min-fresh=5")]).max_stale, Some(0));
    assert_eq!(of(&[("cache-control", "min-fresh=1, min-fresh=5")]).min_fresh, Some(5));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(response in any_response_headers(), request in any_request_headers()) {
        let _ = Directives::governing(&response, true);
        let _ = RequestDirectives::of(&request);
    }

    #[test]
    fn no_store_is_seen_whatever_stands_before_it(noise in "[ -~]{0,20}") {
        // A quoted string may swallow it only when it is closed, and nothing after it closes one.
        prop_assume!(!noise.ends_with('\\'));
        let quotes = noise.matches('"').count();
        prop_assume!(quotes < 2);
        let directives = cache_control(&format!("{noise}, no-store"));
        prop_assert!(directives.no_store);
    }
}
