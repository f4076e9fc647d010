use std::time::{Duration, Instant};

use http::{Method, StatusCode};

use crate::{
    client::{Answer, Ask, Client},
    origin::{Origin, Settings},
};

use super::*;

struct Started {
    origin: Origin,
    press: Press,
    client: Client,
    dir: tempfile::TempDir,
}

async fn started() -> Started {
    let dir = tempfile::tempdir().unwrap();
    let origin = origin(&dir).await;
    let press = Press::at(origin.addr());
    Started { origin, press, client: Client::new(Duration::from_secs(30), 100 << 20), dir }
}

async fn origin(dir: &tempfile::TempDir) -> Origin {
    let (root, editions) = (dir.path().to_owned(), Some(dir.path().join("editions")));
    Origin::start(Settings { root, editions, ..Settings::default() }).await.unwrap()
}

fn object(host: Host, group: u32, name: u32, bytes: u64) -> Object {
    Object { host, group, name, bytes }
}

impl Started {
    async fn ask(&self, object: &Object, fields: &[(&str, &str)]) -> Answer {
        let mut ask = Ask::get(self.origin.addr(), object.host.name(), &object.target());
        for (name, value) in fields {
            ask = ask.field(name, *value);
        }
        self.client.ask(&ask).await.unwrap()
    }

    async fn get(&self, object: &Object) -> Answer {
        self.ask(object, &[]).await
    }

    /// What is answered to something that is no good request for an object.
    async fn status(&self, method: Method, target: &str, body: &'static str) -> StatusCode {
        let ask = Ask { method, body: body.into(), ..Ask::get(self.origin.addr(), "", target) };
        self.client.ask(&ask).await.unwrap().status
    }
}

fn edition(answer: &Answer) -> u64 {
    answer.field("x-edition").expect("an edition").parse().unwrap()
}

fn damage(object: &Object, edition: u64, at: u64, bytes: &[u8]) -> String {
    match object.check(edition, at, bytes) {
        Verdict::Good => "nothing".to_owned(),
        Verdict::Damaged(what) => what,
    }
}

#[tokio::test]
async fn an_object_tells_its_edition_and_how_long_it_may_be_kept() {
    let started = started().await;
    for (host, keep) in [
        (Host::Available, "max-age=3600"),
        (Host::Strict, "max-age=3600"),
        (Host::Stale, "max-age=2, stale-while-revalidate=30, stale-if-error=600"),
    ] {
        let object = object(host, 3, 4, 200_000);
        let answer = started.get(&object).await;
        assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 200_000));
        for (field, value) in [
            ("etag", "\"1\""),
            ("x-edition", "1"),
            ("surrogate-key", "all g-3 k-4"),
            ("cache-control", keep),
            ("accept-ranges", "bytes"),
            ("content-length", "200000"),
        ] {
            assert_eq!(answer.field(field), Some(value), "{host:?}: {field}");
        }
        assert!(httpdate::parse_http_date(answer.field("date").unwrap()).is_ok());
        assert_eq!(object.check(1, 0, &answer.body), Verdict::Good);
    }
    let unknown = Ask::get(started.origin.addr(), "elsewhere.test:81", "/o/3/4?bytes=10");
    let answer = started.client.ask(&unknown).await.unwrap();
    assert_eq!(answer.field("cache-control"), Some("max-age=3600"));
    assert_eq!(object(Host::Available, 3, 4, 10).check(1, 0, &answer.body), Verdict::Good);
    let ported = Ask::get(started.origin.addr(), "STALE.test:81", "/o/3/4?bytes=10");
    let answer = started.client.ask(&ported).await.unwrap();
    assert_eq!(object(Host::Stale, 3, 4, 10).check(1, 0, &answer.body), Verdict::Good);
}

#[tokio::test]
async fn the_next_request_gets_the_next_edition() {
    let started = started().await;
    let object = object(Host::Strict, 1, 2, 5000);
    let scope = Scope::Object(Host::Strict, 1, 2);
    for expected in 2..20 {
        assert_eq!(started.press.next(&scope).await.unwrap(), expected);
        let answer = started.get(&object).await;
        assert_eq!(edition(&answer), expected);
        assert_eq!(object.check(expected, 0, &answer.body), Verdict::Good);
    }
}

#[tokio::test]
async fn head_and_body_are_of_one_edition_whatever_is_printed_meanwhile() {
    let started = started().await;
    let object = object(Host::Available, 1, 1, 1 << 20);
    let scope = Scope::All(Host::Available);
    let printing = async {
        for _ in 0..100 {
            started.press.next(&scope).await.unwrap();
        }
    };
    let reading = async {
        for _ in 0..40 {
            let said = started.press.editions().await.unwrap().of(&object);
            let answer = started.get(&object).await;
            assert!(edition(&answer) >= said, "{} was answered after {said}", edition(&answer));
            assert_eq!(object.check(edition(&answer), 0, &answer.body), Verdict::Good);
        }
    };
    tokio::join!(printing, reading);
}

#[tokio::test]
async fn an_object_has_the_greatest_edition_of_the_scopes_that_name_it() {
    let started = started().await;
    let here = object(Host::Strict, 1, 1, 10);
    let beside = object(Host::Strict, 1, 2, 10);
    let in_another_group = object(Host::Strict, 2, 1, 10);
    let elsewhere = object(Host::Stale, 1, 1, 10);
    for (scope, expected) in [
        (Scope::Object(Host::Strict, 1, 1), [2, 1, 1, 1]),
        (Scope::Group(Host::Strict, 1), [3, 3, 1, 1]),
        (Scope::All(Host::Strict), [4, 4, 4, 1]),
        (Scope::Object(Host::Strict, 2, 1), [4, 4, 5, 1]),
        (Scope::Group(Host::Stale, 1), [4, 4, 5, 6]),
    ] {
        started.press.next(&scope).await.unwrap();
        let editions = started.press.editions().await.unwrap();
        let objects = [&here, &beside, &in_another_group, &elsewhere];
        assert_eq!(objects.map(|object| editions.of(object)), expected, "{scope:?}");
        for (object, expected) in objects.into_iter().zip(expected) {
            assert_eq!(edition(&started.get(object).await), expected, "{scope:?}: {object:?}");
            assert_eq!(object.is_in(&scope), object.scopes().contains(&scope));
        }
    }
}

#[tokio::test]
async fn a_range_is_that_part_and_no_other_passes_for_it() {
    let started = started().await;
    let object = object(Host::Available, 7, 8, 300_000);
    started.press.next(&Scope::Group(Host::Available, 7)).await.unwrap();
    for (range, from, to) in [
        ("bytes=0-99", 0, 100),
        ("bytes=131071-200000", 131_071, 200_001),
        ("bytes=-5", 299_995, 300_000),
        ("bytes=299000-", 299_000, 300_000),
        ("bytes=5-5", 5, 6),
    ] {
        let answer = started.ask(&object, &[("range", range)]).await;
        assert_eq!((answer.status, edition(&answer)), (StatusCode::PARTIAL_CONTENT, 2), "{range}");
        assert_eq!(answer.field("content-range").unwrap(), format!("bytes {from}-{}/300000", to - 1));
        assert_eq!(answer.body.len() as u64, to - from);
        assert_eq!(object.check(2, from, &answer.body), Verdict::Good, "{range}");
        if answer.body.len() >= 100 {
            assert_ne!(object.check(1, from, &answer.body), Verdict::Good, "{range}: another edition");
            assert_ne!(object.check(2, from + 1, &answer.body), Verdict::Good, "{range}: another place");
        }
    }
    let beyond = started.ask(&object, &[("range", "bytes=300000-")]).await;
    assert_eq!(beyond.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(beyond.field("content-range"), Some("bytes */300000"));
}

#[tokio::test]
async fn conditions_hold_for_one_edition_only() {
    let started = started().await;
    let object = object(Host::Strict, 1, 1, 1000);
    let status = async |fields: &[(&str, &str)]| started.ask(&object, fields).await.status.as_u16();
    let part = ("range", "bytes=0-9");
    assert_eq!(edition(&started.ask(&object, &[("if-none-match", "\"1\"")]).await), 1);
    assert_eq!(status(&[("if-none-match", "\"1\"")]).await, 304);
    assert_eq!(status(&[("if-range", "\"1\""), part]).await, 206);
    started.press.next(&Scope::Object(Host::Strict, 1, 1)).await.unwrap();
    let answer = started.ask(&object, &[("if-none-match", "\"1\"")]).await;
    assert_eq!((answer.status.as_u16(), edition(&answer)), (200, 2));
    assert_eq!(object.check(2, 0, &answer.body), Verdict::Good);
    assert_eq!(status(&[("if-none-match", "\"1\", \"2\"")]).await, 304);
    assert_eq!(status(&[("if-range", "\"1\""), part]).await, 200);
    assert_eq!(status(&[("if-range", "W/\"2\""), part]).await, 200);
    assert_eq!(status(&[("if-range", "\"2\""), part]).await, 206);
    assert_eq!(status(&[("if-match", "\"1\"")]).await, 412);
}

#[tokio::test]
async fn a_head_is_that_of_the_whole_without_a_body() {
    let started = started().await;
    let object = object(Host::Stale, 1, 1, 1000);
    let ask = Ask { method: Method::HEAD, ..Ask::get(started.origin.addr(), "stale.test", &object.target()) };
    let answer = started.client.ask(&ask.field("range", "bytes=0-9")).await.unwrap();
    assert_eq!((answer.status, answer.field("content-length")), (StatusCode::OK, Some("1000")));
    assert_eq!((edition(&answer), answer.body.len()), (1, 0));
    assert_eq!(started.press.stats().await.unwrap().body_bytes, 0);
}

#[test]
fn damaged_bytes_are_told_from_good_ones() {
    let object = object(Host::Available, 1, 1, 200_000);
    let pages = |edition| crate::origin::pattern(object.seed(edition), 0, 200_000);
    let (old, new) = (pages(6), pages(7));
    assert_eq!(object.check(7, 0, &new), Verdict::Good);
    assert_eq!(object.check(7, 1000, &new[1000..150_000]), Verdict::Good);
    assert_eq!(object.check(7, 200_000, &[]), Verdict::Good);
    let mixed = [&new[..100_000], &old[100_000..]].concat();
    let what = damage(&object, 7, 0, &mixed);
    assert!(what.contains("it is edition 6") && what.contains("byte 10000"), "{what}");
    let what = damage(&object, 7, 10, &new[11..500]);
    assert!(what.contains("belongs at byte 11"), "{what}");
    assert_ne!(object.check(7, 0, &old), Verdict::Good);
    let mut spoilt = new.clone();
    spoilt[199_999] ^= 1;
    let what = damage(&object, 7, 0, &spoilt);
    assert!(what.contains("byte 199999"), "{what}");
    let what = damage(&object, 7, 199_999, &new[..2]);
    assert!(what.contains("199999..200001"), "{what}");
    let longer = Object { bytes: 200_001, ..object.clone() };
    let elsewhere = Object { host: Host::Strict, ..object };
    assert_ne!(longer.check(7, 0, &new), Verdict::Good);
    assert_ne!(elsewhere.check(7, 0, &new), Verdict::Good);
}

#[tokio::test]
async fn behaviour_is_for_objects_only_and_from_the_next_request_on() {
    let started = started().await;
    let object = object(Host::Available, 1, 1, 10);
    started.press.behave(Behaviour { wait_ms: 0, fails: true }).await.unwrap();
    let failed = started.get(&object).await;
    assert_eq!((failed.status, failed.field("x-edition")), (StatusCode::SERVICE_UNAVAILABLE, None));
    assert_eq!(started.status(Method::GET, "/demo/clock", "").await, StatusCode::OK);
    started.press.behave(Behaviour { wait_ms: 300, fails: false }).await.unwrap();
    let asked = Instant::now();
    let (waited, printed) = tokio::join!(started.get(&object), async {
        // The request is there when it is counted; its edition is that of then.
        while started.press.stats().await.unwrap().requests < 2 {
            tokio::task::yield_now().await;
        }
        started.press.next(&Scope::All(Host::Available)).await.unwrap()
    });
    assert!(asked.elapsed() >= Duration::from_millis(300), "a wait is never shorter");
    assert_eq!((edition(&waited), printed), (1, 2), "a slow answer is an old one");
    started.press.behave(Behaviour::default()).await.unwrap();
    assert_eq!(edition(&started.get(&object).await), 2);
    for bad in [r#"{"wait_ms": 600001}"#, r#"{"wait_ms": -1}"#, r#"{"waits": 1}"#, ""] {
        assert_eq!(
            started.status(Method::POST, "/press/behave", bad).await,
            StatusCode::BAD_REQUEST,
            "{bad}"
        );
    }
}

#[tokio::test]
async fn editions_outlive_the_origin_that_is_killed() {
    let Started { origin: first, press, client: _, dir } = started().await;
    press.next(&Scope::Group(Host::Strict, 1)).await.unwrap();
    press.next(&Scope::All(Host::Stale)).await.unwrap();
    press.next(&Scope::Group(Host::Strict, 1)).await.unwrap();
    let told = press.editions().await.unwrap();
    // As it is when it was killed in the middle of a line.
    let file = dir.path().join("editions");
    let whole = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, whole + r#"[{"all":"str"#).unwrap();
    drop(first);
    let second = origin(&dir).await;
    let press = Press::at(second.addr());
    assert_eq!(press.editions().await.unwrap(), told);
    assert_eq!(press.next(&Scope::All(Host::Strict)).await.unwrap(), 5);
    let later = press.editions().await.unwrap();
    press.set_editions(&told).await.unwrap();
    assert_eq!(press.editions().await.unwrap(), told);
    press.set_editions(&later).await.unwrap();
    drop(second);
    let third = origin(&dir).await;
    assert_eq!(Press::at(third.addr()).editions().await.unwrap(), later);
    drop(third);
    std::fs::write(&file, "not editions\n").unwrap();
    let refused = Origin::start(Settings {
        root: dir.path().to_owned(),
        editions: Some(file.clone()),
        ..Settings::default()
    });
    assert!(refused.await.is_err_and(|error| error.to_string().contains("line 1")));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "not editions\n");
}

#[tokio::test]
async fn editions_that_make_no_sense_are_refused() {
    let started = started().await;
    for bad in [
        r#"{"last": 1, "of": {"{\"all\":\"strict\"}": 2}}"#,
        r#"{"last": 2, "of": {"{ \"all\": \"strict\" }": 2}}"#,
        r#"{"last": 2, "of": {"everything": 2}}"#,
        "[]",
    ] {
        assert_eq!(
            started.status(Method::PUT, "/press/editions", bad).await,
            StatusCode::BAD_REQUEST,
            "{bad}"
        );
    }
    assert_eq!(started.press.editions().await.unwrap(), Editions::default());
    for bad in [r#"{"object":["strict",1]}"#, r#"{"all":"nowhere"}"#, ""] {
        assert_eq!(started.status(Method::POST, "/press/next", bad).await, StatusCode::BAD_REQUEST, "{bad}");
    }
}

#[test]
fn scopes_beyond_the_bound_get_no_edition() {
    let mut book = book::Book::default();
    for name in 0..SCOPES_MAX as u32 {
        book.next(&Scope::Object(Host::Strict, 0, name)).unwrap();
    }
    assert!(book.next(&Scope::All(Host::Strict)).is_err());
    assert_eq!(book.next(&Scope::Object(Host::Strict, 0, 0)).unwrap(), SCOPES_MAX as u64 + 2);
    let json = serde_json::to_vec(book.editions()).unwrap();
    assert!(json.len() < JSON_BYTES_MAX, "{} bytes", json.len());
}

#[tokio::test]
async fn what_is_no_object_is_refused() {
    let started = started().await;
    for (target, status) in [
        ("/o/1/2", 200),
        ("/o/1/2?x=1&bytes=3", 200),
        ("/o/1/2?bytes=0", 200),
        ("/o/1/2?bytes=67108865", 400),
        ("/o/1/2?bytes=-1", 400),
        ("/o/1/2?bytes=", 400),
        ("/o/1", 404),
        ("/o/1/02", 404),
        ("/o/1/+2", 404),
        ("/o/1/2/", 404),
        ("/o/4294967296/2", 404),
        ("/press/", 404),
        ("/press/next", 404),
    ] {
        assert_eq!(started.status(Method::GET, target, "").await.as_u16(), status, "{target}");
    }
    assert_eq!(started.status(Method::POST, "/o/1/2", "").await, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn the_longest_object_comes_whole() {
    let started = started().await;
    let object = object(Host::Available, 1, 1, OBJECT_BYTES_MAX);
    let answer = started.get(&object).await;
    assert_eq!(answer.body.len() as u64, OBJECT_BYTES_MAX);
    assert_eq!(object.check(1, 0, &answer.body), Verdict::Good);
}

#[tokio::test]
async fn requests_are_counted_by_object_and_asker() {
    let started = started().await;
    started.get(&object(Host::Strict, 1, 2, 100)).await;
    started.get(&object(Host::Strict, 1, 2, 50)).await;
    started.get(&object(Host::Stale, 1, 2, 7)).await;
    let stats = started.press.stats().await.unwrap();
    assert_eq!((stats.requests, stats.body_bytes), (3, 157));
    assert_eq!(stats.by_object.get("strict.test/1/2"), Some(&2));
    assert_eq!(stats.by_object.get("stale.test/1/2"), Some(&1));
    assert_eq!(stats.by_asker.get("127.0.0.1"), Some(&3));
    started.press.reset_stats().await.unwrap();
    assert_eq!(started.press.stats().await.unwrap(), Stats::default());
}

#[test]
fn more_names_than_there_is_room_for_are_counted_together() {
    let mut counts = std::collections::BTreeMap::new();
    for name in 0..server::NAMES_MAX + 5 {
        server::count(&mut counts, name.to_string());
    }
    server::count(&mut counts, "0".to_owned());
    assert_eq!((counts.len(), counts["*"], counts["0"]), (server::NAMES_MAX + 1, 5, 2));
}
