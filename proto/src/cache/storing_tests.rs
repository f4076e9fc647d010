use proptest::prelude::*;

use super::*;
use crate::cache::testing::{
    answered, any_request_headers, any_response_headers, headers, stored, stored_as,
};

const FRESH: (&str, &str) = ("cache-control", "max-age=60");
const MODIFIED: (&str, &str) = ("last-modified", "Wed, 31 Dec 2025 00:00:00 GMT");

fn status(status: u16, response: &[(&str, &str)]) -> Result<StoredHead, NoStoreReason> {
    stored_as(status, &[], response, &Policy::default())
}

fn refused(response: &[(&str, &str)]) -> Option<NoStoreReason> {
    stored(response).err()
}

#[test]
fn what_says_nothing_is_not_stored() {
    assert_eq!(refused(&[]), Some(NoStoreReason::FreshnessUnsaid));
    assert_eq!(refused(&[("cache-control", "max-age=0")]), Some(NoStoreReason::NoUse));
    assert_eq!(refused(&[("etag", "\"a\"")]), None, "it can be validated");
}

#[test]
fn no_store_and_private_are_obeyed_from_whichever_field_governs() {
    for value in ["no-store", "No-StOrE", "max-age=10000, no-store"] {
        assert_eq!(refused(&[("cache-control", value)]), Some(NoStoreReason::NoStore), "{value}");
    }
    assert_eq!(refused(&[("cache-control", "private, max-age=3600")]), Some(NoStoreReason::Private));
    for field in ["cdn-cache-control", "surrogate-control"] {
        assert_eq!(refused(&[FRESH, (field, "no-store")]), Some(NoStoreReason::NoStore), "{field}");
        assert_eq!(refused(&[("cache-control", "no-store"), (field, "max-age=60")]), None, "{field}");
    }
    assert_eq!(refused(&[FRESH, ("cdn-cache-control", "private")]), Some(NoStoreReason::Private));
    let invalid = [("cdn-cache-control", "max-age=60, &&&"), ("cache-control", "no-store")];
    assert_eq!(refused(&invalid), Some(NoStoreReason::NoStore));
}

#[test]
fn must_understand_outdoes_no_store_only_for_a_known_status() {
    let both = [("cache-control", "max-age=60, no-store, must-understand")];
    assert!(status(200, &both).is_ok());
    assert_eq!(status(599, &both), Err(NoStoreReason::NotUnderstood));
    assert_eq!(
        status(599, &[("cache-control", "max-age=60, must-understand")]),
        Err(NoStoreReason::NotUnderstood)
    );
}

#[test]
fn any_final_status_is_stored_with_explicit_freshness() {
    for code in [200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499, 500, 502, 503, 504, 599] {
        assert!(status(code, &[FRESH]).is_ok(), "{code}");
    }
    for code in [304, 412, 416, 421, 428, 429, 431] {
        assert_eq!(status(code, &[FRESH]), Err(NoStoreReason::Status), "{code}");
    }
    assert_eq!(status(206, &[FRESH]), Err(NoStoreReason::Partial));
}

#[test]
fn a_lifetime_is_assumed_for_some_statuses_and_for_what_is_public() {
    for code in [200, 203, 204, 404, 405, 410, 414, 501] {
        assert!(status(code, &[MODIFIED]).is_ok(), "{code}");
    }
    for code in [201, 202, 403, 502, 503, 504, 599] {
        assert_eq!(status(code, &[MODIFIED]), Err(NoStoreReason::StatusUnsaid), "{code}");
    }
    assert!(status(599, &[MODIFIED, ("cache-control", "public")]).is_ok_and(|head| head.lifetime.ms > 0));
}

#[test]
fn authorization_needs_leave_to_share() {
    let with =
        |value| stored_as(200, &[("authorization", "x")], &[("cache-control", value)], &Policy::default());
    assert_eq!(with("max-age=60"), Err(NoStoreReason::Authorization));
    for value in ["max-age=60, public", "max-age=60, must-revalidate", "s-maxage=60"] {
        assert!(with(value).is_ok(), "{value}");
    }
}

#[test]
fn a_cookie_is_shared_only_when_its_origin_said_so() {
    let cookie = ("set-cookie", "a=b");
    assert!(stored(&[FRESH, cookie]).is_ok_and(|head| head.headers.contains_key("set-cookie")));
    assert_eq!(refused(&[MODIFIED, cookie]), Some(NoStoreReason::SetCookie));
    let never = Policy { store_set_cookie: SetCookie::Never, ..Policy::default() };
    assert_eq!(stored_as(200, &[], &[FRESH, cookie], &never), Err(NoStoreReason::SetCookie));
    let listed = [("cache-control", "max-age=60, no-cache=\"set-cookie\""), cookie];
    assert!(stored_as(200, &[], &listed, &never).is_ok_and(|head| !head.headers.contains_key("set-cookie")));
}

#[test]
fn only_fields_for_later_use_are_kept() {
    let head = stored(&[
        ("cache-control", "max-age=60, no-cache=\"a\", private=\"b\""),
        ("a", "1"),
        ("b", "2"),
        ("c", "3"),
        ("connection", "d"),
        ("d", "4"),
        ("transfer-encoding", "chunked"),
        ("age", "5"),
        ("content-range", "kept-in-a-200"),
        ("date", "malformed"),
    ])
    .expect("it may be stored");
    let mut names: Vec<_> = head.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["c", "cache-control", "content-range", "date"]);
    assert_eq!(head.headers["date"], "malformed");
    assert_eq!(head.initial_age_ms, 5000);
}

#[test]
fn a_response_without_date_gets_that_of_its_arrival() {
    let head = stored(&[FRESH]).expect("it may be stored");
    assert_eq!(head.headers["date"], "Thu, 01 Jan 2026 00:00:00 GMT");
}

#[test]
fn no_store_in_the_request_is_obeyed_where_policy_says_so() {
    let request = [("cache-control", "no-store")];
    assert_eq!(stored_as(200, &request, &[FRESH], &Policy::default()), Err(NoStoreReason::RequestNoStore));
    let deaf = Policy { honour_request_directives: false, ..Policy::default() };
    assert!(stored_as(200, &request, &[FRESH], &deaf).is_ok());
}

#[test]
fn a_piece_needs_a_strong_validator_and_a_known_length() {
    let piece = |lines: &[(&str, &str)]| {
        answered(&Method::GET, 206, &HeaderMap::new(), &headers(lines), |f| {
            admit_partial(f, &Policy::default())
        })
    };
    let range = ("content-range", "bytes 0-4/10");
    let (head, content_range) =
        piece(&[FRESH, range, ("etag", "\"a\""), ("content-length", "5")]).expect("it may be stored");
    assert_eq!((head.status, content_range.range, content_range.total), (200, 0..5, Some(10)));
    assert!(!head.headers.contains_key("content-range") && !head.headers.contains_key("content-length"));
    for lines in [
        &[FRESH, range][..],
        &[FRESH, range, ("etag", "W/\"a\"")],
        &[FRESH, range, ("etag", "a")],
        &[FRESH, ("content-range", "bytes 0-4/*"), ("etag", "\"a\"")],
        &[FRESH, ("etag", "\"a\"")],
    ] {
        assert_eq!(piece(lines).err(), Some(NoStoreReason::PartialUnusable), "{lines:?}");
    }
}

#[test]
fn a_post_stores_for_get_when_it_names_its_own_url_and_a_lifetime() {
    let post = |lines: &[(&str, &str)]| {
        let response = headers(lines);
        answered(&Method::POST, 200, &HeaderMap::new(), &response, |f| {
            post_stores_for_get(f, "h", &Policy::default())
        })
    };
    assert!(post(&[FRESH, ("content-location", "/a")]).is_ok());
    assert!(post(&[FRESH, ("content-location", "http://h/a")]).is_ok());
    assert_eq!(post(&[FRESH, ("content-location", "/b")]), Err(NoStoreReason::PostUnsaid));
    assert_eq!(post(&[FRESH]), Err(NoStoreReason::PostUnsaid));
    assert_eq!(post(&[MODIFIED, ("content-location", "/a")]), Err(NoStoreReason::PostUnsaid));
}

proptest! {
    #[test]
    fn what_forbids_storing_is_never_stored(
        request in any_request_headers(),
        mut response in any_response_headers(),
        code in 200_u16..600,
        word in prop_oneof![Just("no-store"), Just("private")],
    ) {
        response.remove("cdn-cache-control");
        response.remove("surrogate-control");
        response.append("cache-control", word.parse().expect("a value"));
        answered(&Method::GET, code, &request, &response, |fetched| {
            let understood = crate::cache::directives::Directives::cache_control(&response).must_understand;
            let admitted = admit(fetched, &Policy::default());
            prop_assert!(admitted.is_err() || (understood && word == "no-store"));
            let _ = admit_partial(fetched, &Policy::default());
            Ok(())
        })?;
    }
}

/// What another node of the mesh worked out is not worked out again from the same fields.
#[test]
fn a_given_initial_age_stands_for_age_and_date() {
    let response = headers(&[FRESH, ("age", "50")]);
    let judged = |given| {
        answered(&Method::GET, 200, &HeaderMap::new(), &response, |fetched| {
            let fetched = Fetched { initial_age_ms: given, ..*fetched };
            admit(&fetched, &Policy::default()).expect("it is stored").initial_age_ms
        })
    };
    assert_eq!(judged(None), 50_000);
    assert_eq!(judged(Some(7)), 7);
}
