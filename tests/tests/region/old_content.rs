//! What could bring purged content back, and does not.

use std::{fs, path::Path};

use starling_tests::Gate;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_fill_that_began_before_the_purge_brings_nothing_back() {
    let _turn = alone().await;
    let press = Press::start().await;
    let mesh = region_of_three(&press).await;
    let gate = Gate::new();
    let (held, edition) = (gate.clone(), Arc::clone(&press.edition));
    press.origin.answer(move |request| {
        let reply = print(request, edition.load(SeqCst));
        if edition.load(SeqCst) == 1 { reply.body_waits_at(3, &held) } else { reply }
    });
    // At all nodes: the shield's fill, the owner's, and who follows them.
    let nodes: Vec<&Node> = mesh.running().collect();
    let asked = nodes.iter().map(|node| node.send(Request::get("/slow").host(HOST)));
    let old = futures_util::future::join_all(asked);
    let purge = async {
        gate.reached(1).await;
        let edition = press.next();
        let receipt = purge_news(mesh.node("lon-1"), "applied").await;
        assert_eq!(receipt["complete"], json!(true), "{receipt}");
        all_answer(&mesh, "/slow", edition).await;
        gate.open();
        edition
    };
    let (responses, edition) = tokio::join!(old, purge);
    for response in responses {
        assert_eq!(response.status, 200, "who asked before the purge gets an answer");
    }
    all_answer(&mesh, "/slow", edition).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_down_during_the_purge_does_not_serve_what_its_disk_has() {
    let _turn = alone().await;
    let press = Press::start().await;
    let mut mesh = region_of_three(&press).await;
    for name in mesh.names() {
        all_answer(&mesh, "/a", 1).await;
        all_answer(&mesh, "/later", 1).await;
        // A clean end: what it has is on its disk.
        mesh.stop(&name).await;
        let edition = press.next();
        let other = mesh.names()[0].clone();
        until_purged(&mesh, &other).await;
        mesh.restart(&name).await;
        assert_eq!(edition_at(mesh.node(&name), "/a").await, edition, "at once, at {name}");
        mesh.settled().await;
        mesh.level().await;
        all_answer(&mesh, "/a", edition).await;
        // Nobody asked for this one before it had caught up.
        all_answer(&mesh, "/later", edition).await;
        press.edition.store(1, SeqCst);
        until_purged(&mesh, &other).await;
        mesh.level().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_of_yesterday_brings_nothing_back_and_loses_nothing() {
    let _turn = alone().await;
    let press = Press::start().await;
    let mut mesh = region_of_three(&press).await;
    all_answer(&mesh, "/a", 1).await;
    all_answer(&mesh, "/later", 1).await;
    let kept = tempfile::tempdir().expect("a directory");
    let leader = mesh.led("eu", 3).await;
    for restored in [mesh.others_of_pop(&leader)[0].clone(), leader] {
        mesh.stop(&restored).await;
        let data = mesh.node(&restored).data();
        let copy = kept.path().join(&restored);
        copy_dir(&data, &copy);
        mesh.restart(&restored).await;
        mesh.settled().await;
        mesh.led("eu", 3).await;
        let edition = press.next();
        let receipt = purge_news(mesh.node(&restored), "applied").await;
        assert_eq!(receipt["complete"], json!(true), "{receipt}");
        mesh.kill9(&restored).await;
        fs::remove_dir_all(&data).expect("it can be removed");
        copy_dir(&copy, &data);
        mesh.restart(&restored).await;
        assert_eq!(edition_at(mesh.node(&restored), "/a").await, edition, "at once, at {restored}");
        stands_again(&mesh).await;
        all_answer(&mesh, "/a", edition).await;
        all_answer(&mesh, "/later", edition).await;
        // What was acknowledged is known everywhere, whoever leads now.
        all_know(&mesh, &receipt).await;
    }
}

/// Purges; while the group finds a new leader, again and again.
async fn until_purged(mesh: &Mesh, name: &str) {
    let (code, receipt) =
        purge_at(mesh.node(name), &["--tag", "news", "--wait", "committed", "--timeout", "30s"]).await;
    assert_eq!(code, Some(0), "{receipt}");
}

fn copy_dir(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(status.is_ok_and(|status| status.success()), "cp -a {} {}", from.display(), to.display());
}
