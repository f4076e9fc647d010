//! An acknowledged purge survives the death of all nodes; a disk that fails acknowledges nothing.

use std::{fs, path::PathBuf, time::Duration};

use super::*;

/// Longer than until the library that has a disk fail looks at its file again.
const LOOKED: Duration = Duration::from_millis(200);

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
    for fault in ["disk full", "disk failing"] {
        let old = press.edition.load(SeqCst);
        let edition = press.next();
        fs::write(node.dir().join("fault"), fault).expect("it can be written");
        tokio::time::sleep(LOOKED).await;
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

/// The index kept the first error of its disk until the process was started anew: the node took no purge any more, and
/// said that nothing was wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_disk_failed_says_so_and_catches_up_by_itself_when_it_is_well() {
    let _turn = alone().await;
    let Some(shim) = shim() else { return };
    let press = Press::start().await;
    let mesh = Mesh::builder()
        .args(&["--region-expect", "3"])
        .pop("eu", "lon", 3)
        .origin(press.origin.url())
        .faulty(&shim)
        .start()
        .await;
    let leader = mesh.led("eu", 3).await;
    mesh.level().await;
    all_answer(&mesh, "/a", 1).await;
    let names = mesh.names();
    let node = mesh.node(names.iter().find(|name| **name != leader).expect("one follows"));
    let (leader, pid) = (mesh.node(&leader), node.pid());
    fs::write(node.dir().join("fault"), "disk failing").expect("it can be written");
    let index = node.data().join("index").display().to_string();
    let told = starling_tests::until("the node says that its disk fails", async || {
        purge_news(leader, "committed").await;
        let status = status(node).await;
        let problems = status["problems"].to_string();
        let says = [index.as_str(), "Input/output error", "no purge is applied here"];
        if says.iter().all(|part| problems.contains(part)) { Ok(status) } else { Err(status.to_string()) }
    })
    .await;
    let edition = press.next();
    purge_news(leader, "committed").await;
    assert_eq!(edition_at(leader, "/a").await, edition);
    assert_eq!(status(node).await["versions"], told["versions"], "nothing is applied that is not durable");
    assert_eq!(node.metrics().await.get("starling_index_failing", &[]), Some(1.0));
    node.admin_get("/readyz").await.expect_status(200);
    edition_at(node, "/a").await;

    fs::remove_file(node.dir().join("fault")).expect("it is there");
    starling_tests::until("the node has no problem any more", async || {
        let problems = &status(node).await["problems"];
        if *problems == json!([]) { Ok(()) } else { Err(problems.to_string()) }
    })
    .await;
    stands_again(&mesh).await;
    all_answer(&mesh, "/a", edition).await;
    assert_eq!(node.metrics().await.get("starling_index_failing", &[]), Some(0.0));
    let edition = press.next();
    let receipt = purge_news(node, "applied").await;
    assert_eq!((&receipt["complete"], applied(&receipt)), (&json!(true), names));
    all_answer(&mesh, "/a", edition).await;
    assert_eq!(node.pid(), pid, "it is the same process");
}

async fn status(node: &Node) -> Value {
    let text = node.admin_get("/v1/status").await.expect_status(200).text();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A library that has a node's disk fail while a file says so; `None` where there is no C compiler.
fn shim() -> Option<PathBuf> {
    let source = starling_tests::workspace().join("testbed/faulty.c");
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("faulty.so");
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
