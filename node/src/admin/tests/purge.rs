//! Purges and receipts over the API.

use super::*;

/// What the node behind the API says to a purge: it goes by its first tag.
pub(super) fn answer(request: &PurgeRequest) -> Option<Result<PurgeReceipt, CommandError>> {
    let Some(Selector::Tag(tag)) = request.selectors.first() else {
        return Some(Ok(receipt(Some(KNOWN))));
    };
    match tag.as_str() {
        "accepted" => Some(Ok(receipt(None))),
        "late" => Some(Ok(PurgeReceipt { complete: false, ..receipt(Some(KNOWN)) })),
        "no-quorum" => Some(Err(CommandError::NoQuorum("the region eu has no quorum: 1 of 3".to_owned()))),
        "not-durable" => {
            Some(Err(CommandError::NotDurable("lon-1 could not write it down: full".to_owned())))
        }
        "unknown" => Some(Err(CommandError::Unknown("it is not known whether it was committed".to_owned()))),
        "failed" => Some(Err(CommandError::Failed("the region is called by another name".to_owned()))),
        "unavailable" => Some(Err(CommandError::Unavailable("it is starting".to_owned()))),
        "gone" => None,
        _ => Some(Ok(receipt(Some(KNOWN)))),
    }
}

fn tagged(tag: &str) -> Value {
    json!({"service": "shop", "tags": [tag]})
}

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn what_is_committed_is_200_even_when_the_time_ran_out_and_what_is_only_taken_on_202() {
    let node = Node::start(vec![]).await;
    for (tag, status, complete) in [("any", 200, true), ("late", 200, false), ("accepted", 202, false)] {
        let (answered, receipt) = node.post("/v1/purge", tagged(tag)).await;
        assert_eq!((answered.as_u16(), &receipt["complete"]), (status, &json!(complete)), "{tag}: {receipt}");
        assert_eq!(receipt["id"].is_null(), tag == "accepted", "{receipt}");
    }
    for wait in [Wait::Accepted, Wait::Committed, Wait::Applied, Wait::Fenced] {
        let body = json!({"service": "shop", "all": true, "wait": wait.as_str()});
        assert_eq!(node.post("/v1/purge", body).await.0, StatusCode::OK);
        assert_eq!(node.purges.lock().pop().unwrap().wait, wait);
    }
    node.stop().await;
}

#[tokio::test]
async fn a_purge_that_was_not_committed_says_whose_fault_it_is_and_whether_that_is_known() {
    let node = Node::start(vec![]).await;
    for (tag, status, code, word) in [
        ("no-quorum", 503, "no-quorum", "region eu"),
        ("not-durable", 503, "not-durable", "lon-1"),
        ("unknown", 503, "unknown", "not known"),
        // The node had taken it on: that it said no more does not mean that nothing was purged.
        ("gone", 503, "unknown", "not known"),
        ("failed", 500, "failed", "another name"),
        ("unavailable", 503, "unavailable", "starting"),
    ] {
        let (answered, answer) = node.post("/v1/purge", tagged(tag)).await;
        let error = &answer["error"];
        assert_eq!((answered.as_u16(), &error["code"]), (status, &json!(code)), "{tag}: {answer}");
        assert!(error["message"].as_str().unwrap().contains(word), "{tag}: {answer}");
    }
    node.stop().await;
}

/// The key that the node was given by a purge with this body key and these header values.
async fn key_of(node: &Node, body: Option<&str>, headers: &[&str]) -> Result<Option<u128>, String> {
    let body = json!({"service": "shop", "all": true, "idempotency_key": body});
    let fields: Vec<_> = [JSON].into_iter().chain(headers.iter().map(|v| ("Idempotency-Key", *v))).collect();
    let (status, answer) = node.send("POST", "/v1/purge", &fields, &body.to_string()).await;
    match status {
        StatusCode::OK => Ok(node.purges.lock().pop().unwrap().key),
        StatusCode::UNPROCESSABLE_ENTITY => {
            assert!(node.purges.lock().is_empty(), "a refused purge goes nowhere");
            Err(answer["error"]["field"].as_str().unwrap_or_default().to_owned())
        }
        other => panic!("{other}: {answer}"),
    }
}

#[tokio::test]
async fn an_idempotency_key_is_the_same_wherever_it_is_written() {
    let node = Node::start(vec![]).await;
    assert_eq!(key_of(&node, None, &[]).await, Ok(None));
    let expected = key_of(&node, Some("deploy-7"), &[]).await.unwrap().expect("a key");
    assert_ne!(expected, 0);
    assert_eq!(key_of(&node, None, &["\"deploy-7\""]).await, Ok(Some(expected)));
    assert_eq!(key_of(&node, None, &["deploy-7"]).await, Ok(Some(expected)), "many clients do not quote it");
    assert_eq!(key_of(&node, Some("deploy-7"), &["\"deploy-7\""]).await, Ok(Some(expected)));
    assert_ne!(key_of(&node, Some("deploy-8"), &[]).await, Ok(Some(expected)));
    let quoted = key_of(&node, Some("a\"b\\c"), &[]).await;
    assert_eq!(key_of(&node, None, &["\"a\\\"b\\\\c\""]).await, quoted);
    node.stop().await;
}

/// Else the second purge would silently purge nothing.
#[tokio::test]
async fn another_purge_with_the_same_idempotency_key_is_another_purge() {
    let node = Node::start(vec![]).await;
    let key = async |body: Value| {
        let (status, answer) = node.post("/v1/purge", body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        node.purges.lock().pop().unwrap().key.expect("a key")
    };
    let of = |more: Value| {
        let mut body = json!({"service": "shop", "tags": ["x", "y"], "idempotency_key": "deploy-7"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let first = key(of(json!({}))).await;
    for same in [json!({"tags": ["y", "x"]}), json!({"wait": "committed"}), json!({"timeout_ms": 1})] {
        assert_eq!(key(of(same.clone())).await, first, "{same}");
    }
    let mut keys = BTreeSet::from([first]);
    for other in [
        json!({"idempotency_key": "deploy-8"}),
        json!({"service": "blog"}),
        json!({"soft": true}),
        json!({"tags": ["x"]}),
        json!({"tags": ["x", "y", "z"]}),
        json!({"tags": ["xy"]}),
        json!({"tags": ["x"], "urls": ["shop.example/y"]}),
        json!({"tags": ["x"], "prefixes": ["shop.example/y"]}),
        json!({"tags": [], "hosts": ["x"]}),
        json!({"tags": [], "urls": ["x/"]}),
        json!({"tags": [], "prefixes": ["x/"]}),
        json!({"tags": ["x/"]}),
        json!({"all": true}),
    ] {
        assert!(keys.insert(key(of(other.clone())).await), "{other}");
    }
    node.stop().await;
}

#[tokio::test]
async fn a_limited_token_is_told_of_no_service_but_its_own() {
    let node = Node::start(vec![token("ci", Scope::Purge, Some("shop"))]).await;
    let fields = [JSON, ("authorization", "Bearer ci")];
    for (body, status) in [
        (json!({"service": "blog", "all": true}), 403),
        (json!({"service": "none", "all": true}), 403),
        // A host of another service: it is not taken for one of its own.
        (json!({"urls": ["https://else.example/"]}), 403),
        // Its only service is meant.
        (json!({"tags": ["x"]}), 200),
        (json!({"urls": ["https://shop.example/"]}), 200),
    ] {
        let (answered, answer) = node.send("POST", "/v1/purge", &fields, &body.to_string()).await;
        assert_eq!(answered.as_u16(), status, "{body}: {answer}");
        let tells = answer.to_string().contains("blog");
        assert!(!tells || body["service"] == "blog", "{answer}");
    }
    let taken: Vec<_> = node.purges.lock().iter().map(|purge| purge.service.clone()).collect();
    assert_eq!(taken, ["shop", "shop"]);
    node.stop().await;

    let node = Node::start(vec![token("ci", Scope::Purge, Some("gone"))]).await;
    for body in [json!({"tags": ["x"]}), json!({"service": "gone", "tags": ["x"]})] {
        let (status, answer) = node.send("POST", "/v1/purge", &fields, &body.to_string()).await;
        assert_eq!((status.as_u16(), &answer["error"]["field"]), (422, &json!("service")), "{answer}");
        assert!(!answer.to_string().contains("blog") && !answer.to_string().contains("shop"), "{answer}");
    }
    node.stop().await;
}

#[tokio::test]
async fn a_wrong_idempotency_key_purges_nothing() {
    let node = Node::start(vec![]).await;
    let (body, header) = (Err("idempotency_key".to_owned()), Err("idempotency-key".to_owned()));
    assert_eq!(key_of(&node, Some("a"), &["\"b\""]).await, header, "two keys are none");
    assert_eq!(key_of(&node, None, &["a", "a"]).await, header);
    for broken in ["\"", "\"a", "\"a\\\"", "\"a\"b\"", "\"a\\b\"", "\"a\";b", "a\"b"] {
        assert_eq!(key_of(&node, None, &[broken]).await, header, "{broken}");
    }
    assert_eq!(key_of(&node, Some(""), &[]).await, body);
    assert_eq!(key_of(&node, None, &["\"\""]).await, body);
    assert!(key_of(&node, Some(&"k".repeat(255)), &[]).await.is_ok());
    assert_eq!(key_of(&node, Some(&"k".repeat(256)), &[]).await, body);
    node.stop().await;
}

#[tokio::test]
async fn the_text_of_one_purge_is_bounded() {
    let node = Node::start(vec![]).await;
    // With the name of the service, `shop`, these are 256 KiB to the byte.
    let mut tags: Vec<String> = (0..32).map(|_| "t".repeat(8 << 10)).collect();
    tags[0].truncate((8 << 10) - "shop".len());
    let purge =
        async |tags: &[String]| node.post("/v1/purge", json!({"service": "shop", "tags": tags})).await;
    assert_eq!(purge(&tags).await.0, StatusCode::OK);
    tags[0].push('t');
    let (status, answer) = purge(&tags).await;
    assert_eq!((status.as_u16(), &answer["error"]["code"]), (422, &json!("too-large")), "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("at most 262144"), "{answer}");
    assert_eq!(node.purges.lock().len(), 1);
    node.stop().await;
}

#[tokio::test]
async fn a_receipt_is_asked_for_by_the_id_of_its_purge() {
    let node = Node::start(vec![]).await;
    let known = json!(receipt(Some(KNOWN)));
    let encoded = KNOWN.replace('/', "%2F");
    for (path, wait, timeout_ms) in [
        (KNOWN.to_owned(), Wait::Committed, 0),
        (encoded.clone(), Wait::Committed, 0),
        (format!("{KNOWN}?wait=applied"), Wait::Applied, 5_000),
        (format!("{encoded}?wait=fenced&timeout_ms=250"), Wait::Fenced, 250),
        // Zeros in front may be left out.
        ("eu/a/42".to_owned(), Wait::Committed, 0),
    ] {
        let answer = node.send("GET", &format!("/v1/purge/{path}"), &[], "").await;
        assert_eq!(answer, (StatusCode::OK, known.clone()), "{path}");
        let waited = node.waits.lock().pop().unwrap();
        assert_eq!(waited, (KNOWN.to_owned(), wait, Duration::from_millis(timeout_ms)), "{path}");
    }
    let (status, answer) = node.send("GET", "/v1/purge/eu/000000000000000a/43", &[], "").await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::NOT_FOUND, &json!("not-found")), "{answer}");
    let (status, answer) = node.send("GET", "/v1/purges", &[], "").await;
    assert_eq!((status, answer), (StatusCode::OK, json!({"purges": [known]})));
    node.stop().await;
}

#[tokio::test]
async fn a_wrong_question_for_a_receipt_says_what_is_wrong() {
    let node = Node::start(vec![]).await;
    for malformed in
        ["42", "eu/42", "eu/x/42", "eu/a/-1", "eu/a/+1", "eu/+a/1", "uk/eu/a/1", "/a/1", "e%20u/a/1"]
    {
        let (status, answer) = node.send("GET", &format!("/v1/purge/{malformed}"), &[], "").await;
        assert_eq!((status.as_u16(), &answer["error"]["code"]), (400, &json!("id")), "{malformed}: {answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains("region/epoch/index"), "{answer}");
    }
    for (query, field) in [
        ("wait=committed", json!("wait")),
        ("wait=accepted", json!("wait")),
        ("timeout_ms=5", json!("timeout_ms")),
        ("wait=applied&timeout_ms=60001", json!("timeout_ms")),
        ("wait=wishes", Value::Null),
        ("weight=1", Value::Null),
    ] {
        let (status, answer) = node.send("GET", &format!("/v1/purge/{KNOWN}?{query}"), &[], "").await;
        assert_eq!((status.as_u16(), &answer["error"]["field"]), (422, &field), "{query}: {answer}");
    }
    assert!(node.waits.lock().is_empty());
    node.stop().await;
}

#[tokio::test]
async fn whoever_may_purge_or_read_sees_receipts_and_the_list_is_for_tokens_of_all_services() {
    let tokens = vec![
        token("reader", Scope::Read, None),
        token("ci", Scope::Purge, Some("shop")),
        token("fleet", Scope::Purge, None),
        token("root", Scope::Admin, None),
    ];
    let node = Node::start(tokens).await;
    let one = format!("/v1/purge/{KNOWN}");
    for (holder, receipt, list) in [
        ("reader", 200, 200),
        ("ci", 200, 403),
        ("fleet", 200, 200),
        ("root", 200, 200),
        ("nobody", 401, 401),
    ] {
        let bearer = format!("Bearer {holder}");
        let fields = [("authorization", bearer.as_str())];
        assert_eq!(node.get(&one, &fields).await, receipt, "{holder}");
        assert_eq!(node.get("/v1/purges", &fields).await, list, "{holder}");
    }
    assert_eq!(node.get(&one, &[]).await, StatusCode::UNAUTHORIZED);
    node.stop().await;
}
