//! A region's group forms itself, grows, and replaces who is gone.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_know_each_other_by_one_address_form_one_group() {
    let _turn = alone().await;
    let press = Press::start().await;
    // Without being told how many to expect, as somebody does who tries it in three terminals.
    let mut mesh = Mesh::builder().pop("eu", "lon", 3).origin(press.origin.url()).start().await;
    mesh.led("eu", 3).await;
    let epoch = mesh.standing_at("lon-1").await.epoch;
    mesh.join("par-1", "eu", "par", "lon-1").await;
    mesh.join("par-2", "eu", "par", "par-1").await;
    mesh.settled().await;
    mesh.led("eu", 5).await;
    for name in mesh.names() {
        assert_eq!(mesh.standing_at(&name).await.epoch, epoch, "one group, at {name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_alone_is_a_region() {
    let _turn = alone().await;
    let press = Press::start().await;
    let mesh = Mesh::builder().pop("eu", "lon", 1).origin(press.origin.url()).start().await;
    assert_eq!(mesh.led("eu", 1).await, "lon-1");
    all_answer(&mesh, "/a", 1).await;
    let edition = press.next();
    let receipt = purge_news(mesh.node("lon-1"), "fenced").await;
    assert_eq!((applied(&receipt), &receipt["complete"]), (vec!["lon-1".to_owned()], &json!(true)));
    all_answer(&mesh, "/a", edition).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_voter_is_replaced_by_a_node_that_has_caught_up() {
    let _turn = alone().await;
    let press = Press::start().await;
    let mut mesh = Mesh::builder()
        .args(&["--region-expect", "4"])
        .pop("eu", "lon", 2)
        .pop("eu", "par", 2)
        .origin(press.origin.url())
        .start()
        .await;
    let leader = mesh.led("eu", 3).await;
    mesh.kill9(&leader).await;
    let next = mesh.led("eu", 3).await;
    assert_ne!(next, leader);
    let running = mesh.names();
    starling_tests::until("the dead voter is replaced", async || {
        let standing = mesh.standing_at(&next).await;
        let is_done = standing.voters.len() == 3 && standing.voters.iter().all(|name| running.contains(name));
        if is_done { Ok(()) } else { Err(format!("{standing:?}")) }
    })
    .await;
    let receipt = purge_news(mesh.node(&next), "committed").await;
    assert!(receipt["id"].is_string(), "{receipt}");
}
