//! Two regions are cut apart: both take purges, both serve, and what must not be trusted is not. Needs root.

use std::net::SocketAddr;

use starling_tests::{Cluster, MeshBuilder, netns::Net, until};

use super::*;

/// Two services: one that is served whatever happens, one that is not trusted without a lease.
fn services(origin: &str) -> String {
    format!(
        "[[services]]\nname = \"open\"\nhosts = [\"{HOST}\"]\norigins = [\"{origin}\"]\n\
         [[services]]\nname = \"strict\"\nhosts = [\"strict.example.org\"]\norigins = [\"{origin}\"]\nfreshness = \"strict\"\n"
    )
}

async fn strict_edition(node: &Node) -> u64 {
    let response = node.send(Request::get("/a").host("strict.example.org")).await.expect_status(200);
    response.text().trim_start_matches("edition ").parse().expect("an edition")
}

/// The news in a network whose paths can be cut, and what a closed mesh needs; `None` without root.
async fn cuttable(test: &str) -> Option<(Arc<Net>, Press, MeshBuilder)> {
    let net = match Net::new() {
        Ok(net) => Arc::new(net),
        Err(why) => {
            println!("{test}: {why}");
            return None;
        }
    };
    let press = Press::start_at(SocketAddr::new(net.host(), 0)).await;
    let cluster = Arc::new(Cluster::init().await);
    let builder = Mesh::builder().args(&["--region-expect", "3"]).net(&net).cluster(&cluster);
    Some((net, press, builder))
}

#[tokio::test(flavor = "multi_thread")]
async fn regions_that_are_cut_apart_take_purges_serve_and_converge_and_strict_services_are_not_trusted() {
    let _turn = alone().await;
    let Some((net, press, builder)) = cuttable("regions cut apart").await else { return };
    let mesh =
        builder.toml(&services(&press.origin.url())).pop("eu", "lon", 3).pop("us", "nyc", 3).start().await;
    mesh.led("eu", 3).await;
    mesh.led("us", 3).await;
    mesh.level().await;
    all_answer(&mesh, "/a", 1).await;
    for node in mesh.running() {
        assert_eq!(strict_edition(node).await, 1);
    }
    let asked = press.origin.total();
    all_answer(&mesh, "/a", 1).await;
    for node in mesh.running() {
        assert_eq!(strict_edition(node).await, 1);
    }
    assert_eq!(press.origin.total(), asked, "with a lease a strict service is served from the cache");

    let ip = |name: &str| mesh.http_address(name).ip();
    let sides = |region: &str| -> Vec<String> {
        mesh.names().into_iter().filter(|name| name.starts_with(region)).collect()
    };
    for here in sides("lon") {
        for there in sides("nyc") {
            net.cut(ip(&here), ip(&there));
            net.cut(ip(&there), ip(&here));
        }
    }
    let edition = press.next();
    let mut ids = Vec::new();
    for (name, service) in [("lon-1", "strict"), ("lon-2", "open"), ("nyc-3", "open")] {
        let order = json!({ "service": service, "all": true, "wait": "committed", "timeout_ms": 30_000 });
        ids.push((name, mesh.node(name).purge(order).await["id"].as_str().expect("an id").to_owned()));
    }
    assert!(ids[0].1.starts_with("eu/") && ids[2].1.starts_with("us/"), "each in its own region: {ids:?}");
    // Both serve: what each side purged is new there.
    all_answer(&mesh, "/a", edition).await;

    // The purge of the strict service cannot reach the other side. By the time it is fenced, nobody there trusts
    // what it has.
    let path = format!("/v1/purge/{}?wait=fenced&timeout_ms=40000", ids[0].1);
    let fenced = mesh.node("lon-1").admin_get(&path).await.expect_status(200);
    let fenced: Value = serde_json::from_str(&fenced.text()).expect("JSON");
    assert_eq!((&fenced["complete"], &fenced["fenced"]), (&json!(true), &json!(true)), "{fenced}");
    for node in mesh.running() {
        assert_eq!(strict_edition(node).await, edition, "fenced, and yet old at {}", node.name());
    }

    net.heal();
    mesh.settled().await;
    mesh.level().await;
    for (name, id) in &ids {
        let path = format!("/v1/purge/{id}?wait=applied&timeout_ms=30000");
        let receipt = mesh.node(name).admin_get(&path).await.expect_status(200);
        let receipt: Value = serde_json::from_str(&receipt.text()).expect("JSON");
        assert_eq!(applied(&receipt), mesh.names(), "{receipt}");
    }
    all_answer(&mesh, "/a", edition).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_during_a_purge_serves_the_new_after_it_is_healed() {
    let _turn = alone().await;
    let Some((net, press, builder)) = cuttable("a node cut off").await else { return };
    let mesh = builder.pop("eu", "lon", 3).origin(press.origin.url()).start().await;
    let leader = mesh.led("eu", 3).await;
    mesh.level().await;
    all_answer(&mesh, "/a", 1).await;
    let ip = |name: &str| mesh.http_address(name).ip();
    // The leader itself: the others find another one.
    let others = mesh.others_of_pop(&leader);
    for name in &others {
        net.cut(ip(&leader), ip(name));
        net.cut(ip(name), ip(&leader));
    }
    let edition = press.next();
    let receipt = until("the others have a leader that takes the purge", async || {
        let order = ["--tag", "news", "--wait", "committed", "--timeout", "5s"];
        match purge_at(mesh.node(&others[0]), &order).await {
            (Some(0), receipt) => Ok(receipt),
            (_, answer) => Err(answer.to_string()),
        }
    })
    .await;
    assert!(receipt["id"].is_string());
    // Alone it cannot acknowledge any.
    let (code, _) =
        purge_at(mesh.node(&leader), &["--tag", "news", "--wait", "committed", "--timeout", "2s"]).await;
    assert_ne!(code, Some(0), "a leader without a quorum acknowledged a purge");
    net.heal();
    mesh.settled().await;
    mesh.level().await;
    all_answer(&mesh, "/a", edition).await;
}
