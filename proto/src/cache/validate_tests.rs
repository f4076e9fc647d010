use http::Method;
use proptest::prelude::*;

use super::*;
use crate::cache::testing::{T0, answered, any_request_headers, any_response_headers, headers, stored};

const LM: (&str, &str) = ("last-modified", "Wed, 31 Dec 2025 00:00:00 GMT");
const LATER: (&str, &str) = ("last-modified", "Wed, 31 Dec 2025 00:00:01 GMT");
const FRESH: (&str, &str) = ("cache-control", "max-age=2");

fn head(lines: &[(&str, &str)]) -> StoredHead {
    stored(&[&[FRESH], lines].concat()).expect("it may be stored")
}

fn freshened(stored: &StoredHead, lines: &[(&str, &str)]) -> Result<StoredHead, NoStoreReason> {
    let response = headers(lines);
    answered(&Method::GET, 304, &HeaderMap::new(), &response, |fetched| {
        let later = Fetched { request_ms: T0 + 9_000, response_ms: T0 + 10_000, ..*fetched };
        freshen(stored, &later, &Policy::default())
    })
}

#[test]
fn the_origin_is_asked_by_all_validators_and_none_of_the_client() {
    let mut request = headers(&[
        ("if-none-match", "\"client\""),
        ("if-modified-since", "x"),
        ("if-match", "x"),
        ("if-unmodified-since", "x"),
        ("if-range", "x"),
        ("accept", "y"),
    ]);
    assert!(add_validators(&head(&[("etag", "W/\"a\""), LM]), &mut request));
    assert_eq!(
        request,
        headers(&[("accept", "y"), ("if-none-match", "W/\"a\""), ("if-modified-since", LM.1)])
    );
    assert!(!add_validators(&head(&[]), &mut request));
    assert_eq!(request, headers(&[("accept", "y")]));
}

#[test]
fn a_304_freshens_what_it_speaks_of() {
    let etag = ("etag", "\"a\"");
    for (stored, answer, expected) in [
        (&[etag][..], &[etag][..], true),
        (&[etag], &[], true),
        (&[etag], &[("etag", "W/\"a\"")], true),
        (&[etag], &[("etag", "\"b\"")], false),
        (&[etag, LM], &[("etag", "\"b\""), LM], false),
        (&[LM], &[LM], true),
        (&[LM], &[LATER], false),
        (&[LM], &[("etag", "\"b\"")], false),
        (&[LM], &[("etag", "\"b\""), LM], true),
    ] {
        assert_eq!(freshens(&head(stored), &headers(answer)), expected, "{stored:?} {answer:?}");
    }
}

#[test]
fn a_304_replaces_fields_but_not_those_of_the_body() {
    let of_the_body = [
        ("content-encoding", "gzip"),
        ("content-length", "5"),
        ("content-md5", "x"),
        ("content-range", "x"),
        ("etag", "\"a\""),
    ];
    let old =
        head(&[&of_the_body[..], &[("test", "A"), ("kept", "1"), ("content-type", "text/plain")]].concat());
    let changed = of_the_body.map(|(name, _)| (name, "changed"));
    let new = freshened(
        &old,
        &[
            &changed[..],
            &[("cache-control", "max-age=3600"), ("test", "B"), ("test", "C"), ("content-type", "text/html")],
            &[("connection", "hop"), ("hop", "x"), ("age", "7")],
        ]
        .concat(),
    )
    .expect("it may be stored");
    for (name, value) in of_the_body {
        assert_eq!(new.headers[name], value, "{name}");
    }
    assert_eq!(new.headers.get_all("test").iter().collect::<Vec<_>>(), ["B", "C"]);
    assert_eq!(
        (&new.headers["kept"], &new.headers["content-type"]),
        (&"1".parse().unwrap(), &"text/html".parse().unwrap())
    );
    assert!(!new.headers.contains_key("hop") && !new.headers.contains_key("age"));
    assert_eq!((new.status, new.lifetime.ms, new.initial_age_ms), (200, 3_600_000, 8_000));
}

#[test]
fn a_304_without_date_makes_it_young_again() {
    let old = head(&[("etag", "\"a\""), ("date", "Thu, 01 Jan 2026 00:00:00 GMT")]);
    let new = freshened(&old, &[]).expect("it may be stored");
    assert!(!old.is_fresh(T0 + 10_000) && new.is_fresh(T0 + 10_000));
    assert_eq!(new.headers["date"], "Thu, 01 Jan 2026 00:00:10 GMT");
}

#[test]
fn a_304_can_end_what_may_be_stored() {
    let old = head(&[("etag", "\"a\"")]);
    assert_eq!(freshened(&old, &[("cache-control", "no-store")]), Err(NoStoreReason::NoStore));
    assert_eq!(freshened(&old, &[("vary", "*")]), Err(NoStoreReason::VaryAny));
}

#[test]
fn head_agrees_when_validators_and_length_do() {
    let old = head(&[("etag", "\"a\""), LM, ("content-length", "5")]);
    assert!(head_agrees(&old, &headers(&[("etag", "\"a\""), LM, ("content-length", "5")])));
    assert!(head_agrees(&old, &headers(&[("etag", "\"a\""), LM])));
    assert!(!head_agrees(&old, &headers(&[("etag", "\"a\""), LM, ("content-length", "6")])));
    assert!(!head_agrees(&old, &headers(&[("etag", "\"b\""), LM])));
    assert!(head_agrees(&old, &headers(&[LM])), "a validator that is left out says nothing");
    assert!(head_agrees(&head(&[]), &headers(&[])));
}

proptest! {
    #[test]
    fn no_304_makes_it_panic_or_changes_the_body(answer in any_response_headers(), request in any_request_headers()) {
        let old = head(&[("etag", "\"a\""), ("content-length", "5")]);
        let _ = freshens(&old, &answer);
        answered(&Method::GET, 304, &request, &answer, |fetched| {
            if let Ok(new) = freshen(&old, fetched, &Policy::default()) {
                prop_assert_eq!(new.status, 200);
                prop_assert_eq!(new.headers.get("content-length"), old.headers.get("content-length"));
                prop_assert_eq!(new.headers.get("etag"), old.headers.get("etag"));
            }
            Ok(())
        })?;
    }
}
