//! A node comes back with an older copy of its disk.

use std::{fs, path::Path};

use super::*;

/// The copy has the leader's vote of this term, and not what it wrote since. Once it led on by that vote and wrote
/// other entries under ids that the others had; the purges of the next leader were acknowledged, and purged nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_comes_back_with_the_disk_of_yesterday_takes_no_purge_back() {
    let _turn = alone().await;
    let press = Press::start().await;
    let mut mesh = Mesh::builder()
        .args(&["--region-expect", "3"])
        // It is back before anybody else stands for election.
        .toml("[region]\nelection_ms = \"5s\"\n")
        .pop("eu", "lon", 3)
        .origin(press.origin.url())
        .start()
        .await;
    let leader = mesh.led("eu", 3).await;
    mesh.level().await;
    let epoch = mesh.standing_at(&leader).await.epoch;
    let kept = tempfile::tempdir().expect("a directory");
    let data = mesh.node(&leader).dir().join("data");
    mesh.freeze(&leader).await;
    copy(&data, kept.path());
    mesh.thaw(&leader).await;
    for _ in 0..15 {
        purge_news(mesh.node(&leader), "committed").await;
    }
    mesh.kill9(&leader).await;
    fs::remove_dir_all(&data).expect("it is there");
    copy(kept.path(), &data);
    mesh.restart(&leader).await;

    stands_again(&mesh).await;
    assert_eq!(mesh.standing_at(&leader).await.epoch, epoch, "the others have all that was ever committed");
    each_purge_is_applied(&press, &mesh, &epoch).await;
    // What the next leader makes of it.
    let next = mesh.led("eu", 3).await;
    mesh.kill9(&next).await;
    mesh.led("eu", 3).await;
    each_purge_is_applied(&press, &mesh, &epoch).await;
}

/// A purge at each running node, after which all of them have the new edition.
async fn each_purge_is_applied(press: &Press, mesh: &Mesh, epoch: &str) {
    for node in mesh.running() {
        all_answer(mesh, "/a", press.edition.load(SeqCst)).await;
        let edition = press.next();
        let receipt = purge_news(node, "fenced").await;
        let id = receipt["id"].as_str().expect("an id");
        assert!(id.starts_with(&format!("eu/{epoch}/")), "{id} is of another life than {epoch}");
        assert_eq!(receipt["fenced"], json!(true), "{receipt}");
        all_answer(mesh, "/a", edition).await;
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("read") {
        let entry = entry.expect("read");
        let to = to.join(entry.file_name());
        match entry.file_type().expect("known").is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).expect("copied")),
        }
    }
}
