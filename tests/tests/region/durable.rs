//! An acknowledged purge survives the death of all nodes; a disk that fails acknowledges nothing.

use std::{fs, path::PathBuf};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_survives_the_death_of_all_nodes_right_after_its_acknowledgement() {
    let _turn = alone().await;
    let press = Press::start().await;
    let mut mesh = region_of_three(&press).await;
    for _ in 0..3 {
        let old = press.edition.load(SeqCst);
        all_answer(&mesh, "/a", old).await;
        all_answer(&mesh, "/later", old).await;
        // A clean end puts what they have on their disks.
        for name in mesh.names() {
            mesh.stop(&name).await;
        }
        mesh.restart_all().await;
        stands_again(&mesh).await;
        let asked = press.origin.count("/a");
        all_answer(&mesh, "/a", old).await;
        assert_eq!(press.origin.count("/a"), asked, "it is on their disks");

        let edition = press.next();
        let receipt = purge_news(mesh.node("lon-2"), "committed").await;
        mesh.kill9_all().await;
        mesh.restart_all().await;
        for node in mesh.running() {
            assert_eq!(edition_at(node, "/a").await, edition, "at once, at {}", node.name());
        }
        stands_again(&mesh).await;
        all_answer(&mesh, "/a", edition).await;
        // Nobody asked for this one while the nodes did not trust what they have.
        all_answer(&mesh, "/later", edition).await;
        all_know(&mesh, &receipt).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_acknowledges_nothing_and_serving_goes_on() {
    let _turn = alone().await;
    let Some(shim) = shim() else { return };
    let press = Press::start().await;
    let mesh = Mesh::builder()
        .args(&["--region-expect", "1"])
        .pop("eu", "lon", 1)
        .origin(press.origin.url())
        .faulty(&shim)
        .start()
        .await;
    mesh.led("eu", 1).await;
    let node = mesh.node("lon-1");
    assert_eq!(edition_at(node, "/a").await, 1);
    for fault in ["full", "sync"] {
        let old = press.edition.load(SeqCst);
        let edition = press.next();
        fs::write(node.dir().join("fault"), fault).expect("it can be written");
        let (code, answer) =
            purge_at(node, &["--tag", "news", "--wait", "committed", "--timeout", "3s"]).await;
        assert!(matches!(code, Some(1 | 3)), "{fault}: not acknowledged: {answer}");
        assert_eq!(edition_at(node, "/a").await, old, "{fault}: serving goes on with what is not purged");
        fs::remove_file(node.dir().join("fault")).expect("it is there");
        // The disk is well again: so is the group, by itself.
        starling_tests::until("purges are taken again", async || {
            let arguments = ["--tag", "news", "--wait", "applied", "--timeout", "3s"];
            match purge_at(node, &arguments).await {
                (Some(0), _) => Ok(()),
                (_, answer) => Err(answer.to_string()),
            }
        })
        .await;
        assert_eq!(edition_at(node, "/a").await, edition, "{fault}");
    }
}

/// A library that has a node's disk fail while a file says so; `None` where there is no C compiler.
fn shim() -> Option<PathBuf> {
    let source = starling_tests::workspace().join("tests/tests/region/faulty_disk.c");
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("faulty_disk.so");
    let built = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&target)
        .arg(&source)
        .arg("-ldl")
        .status();
    match built {
        Ok(status) if status.success() => Some(target),
        other => {
            println!("skipped: no C compiler: {other:?}");
            None
        }
    }
}
