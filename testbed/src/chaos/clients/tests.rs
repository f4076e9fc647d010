use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::{
    purges::{Purging, ended},
    reads::{Wanted, answered},
};
use crate::{
    chaos::history::{By, Ended, Kind, Outcome},
    client::{Answer, AskFailed, Protocol},
    press::{Host, Object, Scope},
};

fn answer(status: u16, fields: &[(&'static str, &str)], body: &[u8]) -> Answer {
    let field = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
    };
    Answer {
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::from_iter(fields.iter().map(field)),
        body: Bytes::copy_from_slice(body),
        head_after: Duration::ZERO,
        whole_after: Duration::ZERO,
    }
}

fn wanted(kind: Kind) -> Wanted {
    let object = Object { host: Host::Strict, group: 1, name: 2, bytes: 10 };
    Wanted { wanted: 1, attempt: 1, object, kind, protocol: Protocol::H1, is_last: false }
}

fn of(outcome: Outcome) -> (Option<u64>, Option<String>) {
    match outcome {
        Outcome::Answered { edition, damaged, .. } => (edition, damaged),
        Outcome::Failed { why, .. } => panic!("{why}"),
    }
}

#[test]
fn what_is_wrong_with_an_answer_is_told() {
    let edition = [("etag", "\"7\""), ("x-edition", "7")];
    for (kind, fields, status, body, word) in [
        (Kind::Whole, vec![("etag", "\"7\""), ("x-edition", "8")], 200, "0123456789", "7 by ETag"),
        (Kind::Whole, vec![], 200, "0123456789", "no edition"),
        (Kind::Whole, edition.to_vec(), 200, "01234", "5 bytes of 10"),
        (Kind::Whole, edition.to_vec(), 304, "", "a 304 to"),
        (Kind::Whole, edition.to_vec(), 206, "0123456789", "a 206 to"),
        (Kind::Unless(7), vec![], 304, "", "no edition"),
        (Kind::Unless(7), edition.to_vec(), 304, "x", "with a body"),
        (Kind::Range(2, 5), edition.to_vec(), 206, "234", "Content-Range"),
        (
            Kind::Range(2, 5),
            [edition.to_vec(), vec![("content-range", "bytes 2-4/10")]].concat(),
            206,
            "23",
            "2 bytes of the range",
        ),
        (
            Kind::Range(2, 5),
            [edition.to_vec(), vec![("content-range", "bytes 3-5/10")]].concat(),
            206,
            "345",
            "Content-Range",
        ),
    ] {
        let (_, damaged) = of(answered(&wanted(kind.clone()), &answer(status, &fields, body.as_bytes())));
        let damaged = damaged.unwrap_or_default();
        assert!(damaged.contains(word), "{kind:?} {status}: {damaged:?} does not tell {word:?}");
    }
}

#[test]
fn a_304_carries_its_edition_and_errors_carry_none() {
    let edition = [("etag", "\"7\""), ("x-edition", "7")];
    assert_eq!(of(answered(&wanted(Kind::Unless(7)), &answer(304, &edition, b""))), (Some(7), None));
    let tag_only = [("etag", "\"7\"")];
    assert_eq!(of(answered(&wanted(Kind::Unless(7)), &answer(304, &tag_only, b""))), (Some(7), None));
    assert_eq!(of(answered(&wanted(Kind::Whole), &answer(502, &edition, b"bad gateway"))), (None, None));
}

fn purging(scope: Scope, by: By) -> Purging {
    Purging {
        key: "k".to_owned(),
        attempt: 1,
        scope,
        by,
        bytes: 10,
        soft: false,
        wait: "fenced".to_owned(),
        timeout: Duration::from_secs(2),
    }
}

#[test]
fn a_purge_names_its_scope_the_way_it_is_told_to() {
    let host = Host::Strict;
    for (scope, by, field, named) in [
        (Scope::Object(host, 1, 2), By::Url, "urls", json!(["http://strict.test/o/1/2?bytes=10"])),
        (Scope::Object(host, 1, 2), By::Tag, "tags", json!(["k-2"])),
        (Scope::Object(host, 1, 2), By::Prefix, "prefixes", json!(["strict.test/o/1/2"])),
        (Scope::Group(host, 1), By::Tag, "tags", json!(["g-1"])),
        (Scope::Group(host, 1), By::Prefix, "prefixes", json!(["strict.test/o/1/"])),
        (Scope::All(host), By::Host, "hosts", json!(["strict.test"])),
        (Scope::All(host), By::Tag, "tags", json!(["all"])),
        (Scope::All(host), By::All, "all", json!(true)),
    ] {
        let body = purging(scope.clone(), by).body().unwrap();
        assert_eq!(body[field], named, "{scope:?} {by:?}");
        assert_eq!((&body["service"], &body["wait"]), (&json!("strict"), &json!("fenced")));
        assert_eq!((&body["timeout_ms"], &body["idempotency_key"]), (&json!(2000), &json!("k")));
    }
    assert!(purging(Scope::Group(host, 1), By::Url).body().is_err());
}

fn json_answer(status: u16, body: &Value) -> Answer {
    answer(status, &[("content-type", "application/json")], body.to_string().as_bytes())
}

#[test]
fn an_acknowledgement_is_one_also_when_it_is_not_complete() {
    let receipt = json!({"id": "eu/0000000000000001/7", "committed_at": null, "complete": false, "fenced": false,
        "applied": [{"node": "lon-1", "after_ms": 3}], "missing": ["nyc-1"]});
    let expected = Ended::Acknowledged {
        id: "eu/0000000000000001/7".to_owned(),
        complete: false,
        fenced: false,
        applied: vec!["lon-1".to_owned()],
    };
    assert_eq!(ended(Ok(json_answer(200, &receipt))), expected);
    // Only taken: nothing is known of it.
    let taken = json!({"id": null, "complete": true, "fenced": false, "applied": [], "missing": []});
    assert!(matches!(ended(Ok(json_answer(202, &taken))), Ended::Unknown { .. }));
}

/// A purge that is held for refused and was committed would be purged by nobody's key again.
#[test]
fn refused_is_only_what_is_said_not_to_be_committed() {
    let error = |code: &str| json!({"error": {"code": code, "message": "why"}});
    for (status, code, is_refused) in [
        (503, "no-quorum", true),
        (503, "unavailable", true),
        (422, "field", true),
        (500, "failed", true),
        (503, "unknown", false),
        (503, "not-durable", false),
        (504, "timeout", false),
        (500, "panic", false),
    ] {
        let ended = ended(Ok(json_answer(status, &error(code))));
        assert_eq!(matches!(ended, Ended::Refused { .. }), is_refused, "{status} {code}: {ended:?}");
        assert_eq!(matches!(ended, Ended::Unknown { .. }), !is_refused, "{status} {code}: {ended:?}");
    }
    for is_unsent in [true, false] {
        let to = "127.0.0.1:1".parse().unwrap();
        let ended = ended(Err(AskFailed { to, what: "gone".to_owned(), is_unanswered: true, is_unsent }));
        assert_eq!(matches!(ended, Ended::Refused { .. }), is_unsent, "{ended:?}");
    }
}
