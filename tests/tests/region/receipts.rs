//! Who has applied a purge, and when: the receipt tells, at every node.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_at_a_follower_reaches_nine_nodes_and_costs_one_request_per_region() {
    let _turn = alone().await;
    let press = Press::start().await;
    let mesh = Mesh::builder()
        .args(&["--region-expect", "3"])
        .pop("eu", "lon", 3)
        .pop("us", "nyc", 3)
        .pop("ap", "sin", 3)
        .origin(press.origin.url())
        .start()
        .await;
    let leader = mesh.led("eu", 3).await;
    mesh.led("us", 3).await;
    mesh.led("ap", 3).await;
    mesh.level().await;
    all_answer(&mesh, "/a", 1).await;
    assert_eq!(press.origin.count("/a"), 3, "one request for each region");

    let edition = press.next();
    let follower = mesh.others_of_pop(&leader)[0].clone();
    let (code, receipt) =
        purge_at(mesh.node(&follower), &["--tag", "news", "--wait", "applied", "--timeout", "30s"]).await;
    assert_eq!(code, Some(0), "{receipt}");
    assert_eq!(applied(&receipt), mesh.names(), "{receipt}");
    assert_eq!(
        (receipt["complete"].as_bool(), receipt["missing"].as_array().map(Vec::len)),
        (Some(true), Some(0))
    );
    let lines = receipt["applied"].as_array().expect("a list");
    assert!(lines.iter().all(|line| line["after_ms"].is_u64()), "each with its time: {receipt}");
    println!("applied by nine nodes: {receipt}");

    all_answer(&mesh, "/a", edition).await;
    assert_eq!(press.origin.count("/a"), 6, "one more request for each region");

    // Any node tells of it.
    let id = receipt["id"].as_str().expect("an id");
    for name in mesh.names() {
        let admin = mesh.node(&name).admin_url();
        let told = starling(&["receipts", id, "--wait", "applied", "--admin", &admin, "--json"]).await;
        assert_eq!(told.code, Some(0), "{name}: {}{}", told.stdout, told.stderr);
        let told: Value = serde_json::from_str(&told.stdout).expect("JSON");
        assert_eq!(applied(&told), mesh.names(), "at {name}: {told}");
    }
    let unknown =
        starling(&["receipts", "eu/0000000000000001/7", "--admin", &mesh.node("nyc-1").admin_url()]).await;
    assert_eq!(unknown.code, Some(1), "{}", unknown.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_answer_is_named_as_missing_until_it_has_it() {
    let _turn = alone().await;
    let press = Press::start().await;
    let mesh = region_of_three(&press).await;
    let leader = mesh.led("eu", 3).await;
    let frozen = mesh.others_of_pop(&leader)[0].clone();
    mesh.freeze(&frozen).await;
    let receipt =
        mesh.node(&leader).purge(json!({ "tags": ["news"], "wait": "applied", "timeout_ms": 300 })).await;
    assert_eq!(receipt["missing"], json!([frozen]), "{receipt}");
    assert_eq!(receipt["complete"], json!(false), "{receipt}");
    mesh.thaw(&frozen).await;
    let id = receipt["id"].as_str().expect("it is committed");
    let path = format!("/v1/purge/{id}?wait=applied&timeout_ms=30000");
    let later = mesh.node(&leader).admin_get(&path).await.expect_status(200);
    let later: Value = serde_json::from_str(&later.text()).expect("JSON");
    assert_eq!(applied(&later), mesh.names(), "{later}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_is_the_same_purge_at_whatever_node_it_is_sent() {
    let _turn = alone().await;
    let press = Press::start().await;
    let mesh = region_of_three(&press).await;
    let mut ids = Vec::new();
    for name in mesh.names() {
        let order = json!({ "tags": ["news"], "wait": "committed", "idempotency_key": "deploy 7" });
        ids.push(mesh.node(&name).purge(order).await["id"].clone());
    }
    assert!(ids.iter().all(|id| *id == ids[0] && id.is_string()), "{ids:?}");
    let other = json!({ "tags": ["news"], "wait": "committed", "idempotency_key": "deploy 8" });
    assert_ne!(mesh.node("lon-1").purge(other).await["id"], ids[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_purge_method_goes_to_the_log_of_the_region() {
    let _turn = alone().await;
    let press = Press::start().await;
    let toml = "[[admin.tokens]]\nname = \"t\"\ntoken = \"a token for PURGE\"\nscopes = [\"purge\", \"read\", \"admin\"]\n";
    let builder = Mesh::builder().args(&["--region-expect", "3"]).toml(toml).pop("eu", "lon", 3);
    let mesh = builder.token("a token for PURGE").origin(press.origin.url()).start().await;
    mesh.led("eu", 3).await;
    mesh.level().await;
    all_answer(&mesh, "/a", 1).await;
    let edition = press.next();
    let purge = Request::new("PURGE", "/a").host(HOST).header("authorization", "Bearer a token for PURGE");
    mesh.node("lon-2").send(purge).await.expect_status(200);
    mesh.level().await;
    all_answer(&mesh, "/a", edition).await;
}
