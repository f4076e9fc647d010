//! A service that is set at one node is served by all.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_service_set_at_one_node_is_served_by_all_and_outlives_restarts() {
    let _turn = alone().await;
    let (press, other) = (Press::start().await, Press::start().await);
    other.next();
    let mut mesh = Mesh::builder()
        .args(&["--region-expect", "2"])
        .pop("eu", "lon", 2)
        .pop("us", "nyc", 2)
        .origin(press.origin.url())
        .start()
        .await;
    mesh.led("eu", 1).await;
    mesh.led("us", 1).await;
    let file = mesh.node("lon-1").dir().join("shop.toml");
    std::fs::write(
        &file,
        format!("hosts = [\"shop.example.org\"]\norigins = [\"{}\"]\n", other.origin.url()),
    )
    .expect("it can be written");
    let file = file.display().to_string();
    let set = starling(&["services", "set", "shop", &file, "--admin", &mesh.node("lon-1").admin_url()]).await;
    assert_eq!(set.code, Some(0), "{}{}", set.stdout, set.stderr);
    mesh.level().await;
    everywhere(&mesh, "shop.example.org", "edition 2").await;
    everywhere(&mesh, HOST, "edition 1").await;

    for name in mesh.names() {
        mesh.stop(&name).await;
    }
    mesh.restart_all().await;
    mesh.settled().await;
    mesh.level().await;
    everywhere(&mesh, "shop.example.org", "edition 2").await;

    let gone = starling(&["services", "delete", "shop", "--admin", &mesh.node("nyc-2").admin_url()]).await;
    assert_eq!(gone.code, Some(0), "{}{}", gone.stdout, gone.stderr);
    mesh.level().await;
    everywhere(&mesh, "shop.example.org", "edition 1").await;
}

async fn everywhere(mesh: &Mesh, host: &str, text: &str) {
    for node in mesh.running() {
        starling_tests::until("the service is as it was set", async || {
            let response = node.send(Request::get("/a").host(host)).await;
            if response.text() == text {
                Ok(())
            } else {
                Err(format!("{}: {}", node.name(), response.text()))
            }
        })
        .await;
    }
}
