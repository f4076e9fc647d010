//! Purges and receipts at the command line: what is asked, what is told, and the exit codes.

use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
};

use serde_json::{Value, json};

use super::{super::purge, *};
use crate::admin::Wait;

const ID: &str = "eu/000000000000000a/42";

fn receipt(complete: bool, missing: &[&str]) -> Value {
    json!({"id": ID, "committed_at": "2026-11-22T10:00:00.000Z", "complete": complete, "fenced": false,
        "applied": [{"node": "lon-1", "after_ms": 0}, {"node": "nyc-1", "after_ms": 71}], "missing": missing})
}

/// A node that answers one request with these bytes and is gone; joins to what it was sent.
fn node(answer: String) -> (String, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut text = Vec::new();
        let mut piece = [0; 4096];
        loop {
            let read = stream.read(&mut piece).unwrap();
            text.extend_from_slice(&piece[..read]);
            let got = String::from_utf8_lossy(&text);
            if let Some((head, body)) = got.split_once("\r\n\r\n") {
                let length =
                    |line: &str| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok();
                if body.len() >= head.lines().find_map(length).unwrap_or(0) || read == 0 {
                    break;
                }
            }
        }
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(text).unwrap()
    });
    (address, asked)
}

fn response(status: u16, body: &Value) -> String {
    let body = body.to_string();
    let length = body.len();
    format!("HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
}

fn refusal(status: u16, code: &str) -> String {
    response(status, &json!({"error": {"code": code, "message": "why", "field": null}}))
}

/// The exit code of a command to a node that answers so, and what the node was sent.
fn ran(line: &str, answer: String) -> (u8, String) {
    let (address, asked) = node(answer);
    let command = parse(&format!("{line} --admin {address}")).unwrap().command;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let code = runtime.block_on(ask(command)).unwrap_or_else(|error| error.exit_code());
    (code, asked.join().unwrap())
}

#[test]
fn the_exit_code_of_a_purge_tells_done_from_failed_from_late_or_unknown() {
    for (answer, code) in [
        (response(200, &receipt(true, &[])), DONE),
        (response(200, &receipt(false, &["ams-1"])), TIMED_OUT),
        (refusal(503, "no-quorum"), FAILED),
        (refusal(503, "not-durable"), FAILED),
        (refusal(503, "unavailable"), FAILED),
        (refusal(500, "failed"), FAILED),
        (refusal(422, "invalid"), FAILED),
        (refusal(503, "unknown"), TIMED_OUT),
        (refusal(504, "timeout"), TIMED_OUT),
        ("HTTP/1.1 404 -\r\ncontent-length: 0\r\n\r\n".to_owned(), FAILED),
        // A proxy before the node lost it.
        ("HTTP/1.1 502 -\r\ncontent-length: 0\r\n\r\n".to_owned(), TIMED_OUT),
        // The node was asked and died: whether it purged is not known.
        (String::new(), TIMED_OUT),
        ("HTTP/1.1 200 -\r\ncontent-length: 9\r\n\r\n{".to_owned(), TIMED_OUT),
    ] {
        let (got, _) = ran("starling purge --all", answer.clone());
        assert_eq!(got, code, "{answer}");
    }
    let accepted = json!({"id": null, "committed_at": null, "complete": false, "fenced": false, "applied": [],
        "missing": []});
    assert_eq!(ran("starling purge --all --wait accepted", response(202, &accepted)).0, DONE);
    // Nobody was asked: nothing was purged.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let command = parse(&format!("starling purge --all --admin {gone}")).unwrap().command;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(runtime.block_on(ask(command)).unwrap_err().exit_code(), FAILED);
}

#[test]
fn the_exit_code_of_a_change_of_a_service_tells_failed_from_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("shop.toml");
    std::fs::write(&file, "hosts = 'shop.org'").unwrap();
    let set = json!({"name": "shop", "id": ID, "problem": null});
    for line in
        [format!("starling services set shop {}", file.display()), "starling services delete shop".into()]
    {
        for (answer, code) in [
            (response(200, &set), DONE),
            (refusal(503, "unavailable"), FAILED),
            (refusal(500, "failed"), FAILED),
            (refusal(422, "invalid"), FAILED),
            (refusal(404, "no-service"), FAILED),
            (refusal(503, "unknown"), TIMED_OUT),
            ("HTTP/1.1 502 -\r\ncontent-length: 0\r\n\r\n".to_owned(), TIMED_OUT),
            (String::new(), TIMED_OUT),
        ] {
            assert_eq!(ran(&line, answer.clone()).0, code, "{line}: {answer}");
        }
    }
}

#[test]
fn a_purge_sends_what_it_waits_for_and_its_key() {
    let line = "starling purge --tag a --wait fenced --timeout 20s --idempotency-key deploy-7 --json";
    let (code, sent) = ran(line, response(200, &receipt(true, &[])));
    assert_eq!(code, DONE);
    let (head, body) = sent.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /v1/purge "), "{head}");
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&body["wait"], &body["timeout_ms"]), (&json!("fenced"), &json!(20_000)));
    assert_eq!((&body["tags"], &body["idempotency_key"]), (&json!(["a"]), &json!("deploy-7")));
    let (_, plain) = ran("starling purge --all", response(200, &receipt(true, &[])));
    assert!(!plain.contains("idempotency") && plain.contains(r#""wait":"applied""#), "{plain}");
}

#[test]
fn a_receipt_is_asked_for_by_id_and_waited_for_or_not() {
    for (rest, answer, path, code) in [
        ("", response(200, &json!({"purges": []})), "/v1/purges".to_owned(), DONE),
        // Nothing was waited for, so that nothing is late.
        (ID, response(200, &receipt(false, &["ams-1"])), format!("/v1/purge/{ID}"), DONE),
        ("eu/a/42", refusal(404, "not-found"), format!("/v1/purge/{ID}"), FAILED),
        (
            "eu/a/42 --wait applied",
            response(200, &receipt(false, &["ams-1"])),
            format!("/v1/purge/{ID}?wait=applied&timeout_ms=5000"),
            TIMED_OUT,
        ),
        (
            "eu/a/42 --wait fenced --timeout 250ms",
            response(200, &receipt(true, &["ams-1"])),
            format!("/v1/purge/{ID}?wait=fenced&timeout_ms=250"),
            DONE,
        ),
    ] {
        let (got, sent) = ran(format!("starling receipts {rest}").trim_end(), answer);
        assert_eq!(got, code, "{rest}");
        assert!(sent.starts_with(&format!("GET {path} ")), "{rest}: {sent}");
    }
    for wrong in ["42", "eu/x/1", "--wait applied", "eu/a/42 --timeout 5s", "eu/a/42 --wait committed"] {
        assert_eq!(parse(&format!("starling receipts {wrong}")).unwrap_err().exit_code(), 2, "{wrong}");
    }
    let odd = "e?u#/a/1".parse().unwrap();
    assert_eq!(purge::receipt_path(&odd, None), "/v1/purge/e%3Fu%23/000000000000000a/1");
}

#[test]
fn who_is_told_that_the_time_ran_out_is_told_whether_the_purge_stands() {
    let late = |complete, wait| {
        let receipt = serde_json::from_value(receipt(complete, &["ams-1"])).unwrap();
        purge::late(&receipt, wait, Duration::from_secs(5))
    };
    let expected = "timed out: the purge is committed, but not applied within 5s: 1 of 3 nodes had not said that they have \
                    applied it. It goes on; `starling receipts eu/000000000000000a/42 --wait applied` tells when it is complete";
    assert_eq!(late(false, Wait::Applied).as_deref(), Some(expected));
    assert_eq!(late(true, Wait::Applied), None);
    assert_eq!(late(true, Wait::Fenced), None, "a missing node that is fenced is no longer waited for");
    assert_eq!(late(false, Wait::Accepted), None);

    let error = || ClientError::Lost { base: "http://n".to_owned(), reason: "gone".to_owned() };
    let text = purge::unknown(&error(), None);
    assert!(text.contains("not known whether the purge was or will be committed"), "{text}");
    assert!(text.contains("purge twice does no harm"), "{text}");
    let text = purge::unknown(&error(), Some("deploy-7"));
    assert!(text.contains("again with --idempotency-key deploy-7: it is committed once"), "{text}");
}

#[test]
fn a_receipt_is_told_node_by_node_the_missing_last() {
    let expected = "\
purged eu/000000000000000a/42, committed at 2026-11-22T10:00:00.000Z, applied by 2 of 3 nodes
NODE   APPLIED AFTER
lon-1           0 ms
nyc-1          71 ms
ams-1        not yet
";
    assert_eq!(show::receipt(&receipt(false, &["ams-1"])), expected);
    let mut fenced = receipt(true, &[]);
    fenced["fenced"] = json!(true);
    assert!(show::receipt(&fenced).contains("applied by 2 of 2 nodes, fenced\n"));
    let mut accepted = receipt(false, &[]);
    accepted["id"] = Value::Null;
    assert!(show::receipt(&accepted).starts_with("accepted: "));

    let list = json!({"purges": [receipt(false, &["ams-1", "ams-2"]), fenced]});
    let expected = "\
ID                      COMMITTED                 APPLIED       FENCED  MISSING
eu/000000000000000a/42  2026-11-22T10:00:00.000Z  2 of 4 nodes  -       ams-1, ams-2
eu/000000000000000a/42  2026-11-22T10:00:00.000Z  2 of 2 nodes  yes     -
";
    assert_eq!(show::receipts(&list), expected);
    assert!(show::receipts(&json!({"purges": []})).starts_with("no purge was sent"));
}

#[test]
fn the_status_tells_the_region_and_what_the_node_trusts() {
    use crate::admin::{RegionStatus, StatusReport};
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let mut group = RegionStatus {
        role: "follower".to_owned(),
        leader: Some("lon-1".to_owned()),
        term: 3,
        epoch: "000000000000000a".to_owned(),
        voters: names(&["lon-1", "lon-2", "ams-1"]),
        learners: names(&["ams-2"]),
        committed: Some("000000000000000a/42".to_owned()),
        problem: None,
    };
    let mut report =
        StatusReport { caught_up: true, fence_valid: true, fence_remaining_ms: 4_210, ..Default::default() };
    report.group = Some(group.clone());
    let lines = |report: &StatusReport| {
        let text = show::status(&json!(report));
        let told = text.lines().filter(|line| line.starts_with("region") || line.starts_with("trust"));
        told.map(str::to_owned).collect::<Vec<_>>()
    };
    let expected = [
        "region  follower, the leader is lon-1; term 3, epoch 000000000000000a, committed 000000000000000a/42",
        "region  voters lon-1, lon-2, ams-1; learners ams-2",
        "trust   caught up, fence valid for 4.2 s",
    ];
    assert_eq!(lines(&report), expected);

    group = RegionStatus {
        role: "candidate".to_owned(),
        leader: None,
        learners: vec![],
        problem: Some("1 of 3 voters answers".to_owned()),
        ..group
    };
    report.group = Some(group);
    (report.fence_valid, report.fence_remaining_ms) = (false, 0);
    let told = lines(&report);
    assert!(told[0].starts_with("region  candidate, no leader is known; term 3"), "{told:?}");
    assert_eq!(told[2], "region  problem: 1 of 3 voters answers");
    assert!(told[3].starts_with("trust   caught up, no fence: "), "{told:?}");
    report.caught_up = false;
    assert!(lines(&report)[3].starts_with("trust   catching up: "));
    report.group = None;
    assert!(lines(&report).is_empty(), "a node that stands alone has no group");
}
