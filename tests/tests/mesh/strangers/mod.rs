//! A closed mesh: who has no valid ticket gets nowhere and learns nothing.

use std::{
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use credulous::connect;
use starling_tests::{Admission, Cluster, End, Mesh, Node, NodeBuilder, RawConn, starling, until};
use tempfile::TempDir;
use tokio::time::sleep;

use super::{beside_another, get};

mod credulous;

const MEMBERS: [&str; 2] = ["lon-1", "lon-2"];
const FOR_A_YEAR: Admission<'_> = Admission { name: "stranger", region: "eu", pop: "lon", expires: "365d" };

async fn closed_mesh(cluster: &Arc<Cluster>) -> Mesh {
    Mesh::builder().cluster(cluster).pop("eu", "lon", 2).origin("http://127.0.0.1:1").start().await
}

fn directory() -> TempDir {
    let dir = tempfile::Builder::new().prefix("starling-stranger-").tempdir();
    dir.expect("a temporary directory can be made")
}

fn data(dir: &TempDir) -> std::path::PathBuf {
    dir.path().join("data")
}

/// A node that is told of the mesh.
fn stranger(mesh: &Mesh) -> NodeBuilder {
    let node = Node::builder().name("stranger").origin("http://127.0.0.1:1").args(&["--region", "eu"]);
    let seed = mesh.mesh_address("lon-1").to_string();
    node.args(&["--pop", "lon", "--mesh", "127.0.0.1:0", "--peer", &seed])
}

fn with_ticket(node: NodeBuilder, cluster: &Cluster, ticket: &Path) -> NodeBuilder {
    let (key, ticket) = (cluster.public_key().display().to_string(), ticket.display().to_string());
    node.args(&["--cluster-key-pub", &key, "--ticket", &ticket])
}

/// Starts the stranger. It may refuse by itself, with a word that tells why; or it runs, and is refused by the mesh,
/// which its log tells by such a word.
async fn gets_nowhere(mesh: &mut Mesh, what: &str, node: NodeBuilder, dir: TempDir, words: &[&str]) {
    let told = |log: &str| words.iter().any(|word| log.to_lowercase().contains(word));
    match node.try_start_in(dir).await {
        Err(log) => {
            println!("{what}: does not start: {}", log.lines().last().unwrap_or_default());
            assert!(told(&log), "{what}: none of {words:?} in {log}");
        }
        Ok(node) => {
            let line = until("the stranger's log tells that it is refused", async || {
                let log = node.stderr();
                let line = log.lines().find(|line| told(line)).map(str::to_owned);
                line.ok_or(log)
            })
            .await;
            println!("{what}: {line}");
            // While it tries on, somebody with a ticket is let in; so there was time for the stranger too.
            mesh.join(&format!("after-{}", mesh.names().len()), "eu", "lon", "lon-2").await;
            mesh.settled().await;
            let known = node.admin_get("/v1/peers").await.expect_status(200).text();
            for name in mesh.names() {
                assert!(!known.contains(&format!("\"{name}\"")), "{what}: it learnt of {name}: {known}");
            }
            assert!(known.contains("\"stranger\""), "{what}: it knows itself: {known}");
        }
    }
    for name in mesh.names() {
        let peers = mesh.peers_at(&name).await;
        assert!(peers.get("stranger").is_none(), "{what}: {}", peers.summary());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_valid_ticket_gets_nowhere_and_learns_nothing() {
    let _turn = beside_another().await;
    let cluster = Arc::new(Cluster::init().await);
    let mut mesh = closed_mesh(&cluster).await;

    let dir = directory();
    let node = stranger(&mesh);
    gets_nowhere(&mut mesh, "no ticket", node, dir, &["not admitted", "refused"]).await;

    let dir = directory();
    let ticket = dir.path().join("ticket");
    cluster.admit(Admission { expires: "1s", ..FOR_A_YEAR }, &data(&dir), &ticket).await;
    // Longer than the ticket is good for.
    sleep(Duration::from_millis(1_500)).await;
    let node = with_ticket(stranger(&mesh), &cluster, &ticket);
    gets_nowhere(&mut mesh, "expired ticket", node, dir, &["expired"]).await;

    let other = Cluster::init().await;
    let dir = directory();
    let ticket = dir.path().join("ticket");
    other.admit(FOR_A_YEAR, &data(&dir), &ticket).await;
    let node = with_ticket(stranger(&mesh), &other, &ticket);
    gets_nowhere(&mut mesh, "another cluster", node, dir, &["cluster", "ticket", "refused", "not admitted"])
        .await;

    // It says that it is of this cluster, with a ticket of the other.
    let dir = directory();
    let ticket = dir.path().join("ticket");
    other.admit(FOR_A_YEAR, &data(&dir), &ticket).await;
    let node = with_ticket(stranger(&mesh), &cluster, &ticket);
    gets_nowhere(&mut mesh, "ticket of another cluster", node, dir, &["another cluster"]).await;

    // A good ticket, shown by another key than it was made for.
    let (dir, owner) = (directory(), directory());
    let stolen = owner.path().join("ticket");
    cluster.admit(FOR_A_YEAR, &data(&owner), &stolen).await;
    let node = with_ticket(stranger(&mesh), &cluster, &stolen);
    gets_nowhere(&mut mesh, "stolen ticket", node, dir, &["the ticket is that of"]).await;
}

/// A node checks its own ticket when it starts; this one is still good then, and no longer when it meets the mesh.
#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_that_ran_out_meanwhile_opens_nothing() {
    let _turn = beside_another().await;
    let cluster = Arc::new(Cluster::init().await);
    let mesh = Mesh::builder().cluster(&cluster).pop("eu", "lon", 2).origin("http://127.0.0.1:1");
    let mut mesh = mesh.build();
    let dir = directory();
    let ticket = dir.path().join("ticket");
    let (good, bad) = (Duration::from_secs(5), Duration::from_millis(5_500));
    let begun = Instant::now();
    cluster.admit(Admission { expires: "5s", ..FOR_A_YEAR }, &data(&dir), &ticket).await;
    let node = with_ticket(stranger(&mesh), &cluster, &ticket).start_in(dir).await;
    assert!(begun.elapsed() < good, "this machine is too slow for a ticket of {good:?}");
    sleep(bad.saturating_sub(begun.elapsed())).await;
    for name in MEMBERS {
        mesh.launch(name).await;
    }
    mesh.settled().await;
    until("a log tells that the ticket is refused", async || {
        let logs = [node.stderr(), mesh.node("lon-1").stderr(), mesh.node("lon-2").stderr()].concat();
        if logs.contains("expired") { Ok(()) } else { Err(logs) }
    })
    .await;
    mesh.join("lon-3", "eu", "lon", "lon-2").await;
    mesh.settled().await;
    let known = node.admin_get("/v1/peers").await.expect_status(200).text();
    for name in mesh.names() {
        assert!(!known.contains(&format!("\"{name}\"")), "it learnt of {name}: {known}");
        let peers = mesh.peers_at(&name).await;
        assert!(peers.get("stranger").is_none(), "{}", peers.summary());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_a_closed_mesh_refuses_an_open_one() {
    let _turn = beside_another().await;
    let cluster = Arc::new(Cluster::init().await);
    let open = Mesh::builder().pop("eu", "lon", 2).origin("http://127.0.0.1:1").start().await;
    let dir = directory();
    let ticket = dir.path().join("ticket");
    cluster.admit(FOR_A_YEAR, &data(&dir), &ticket).await;
    let node = with_ticket(stranger(&open), &cluster, &ticket).start_in(dir).await;
    until("its log tells that it refuses them, or they it", async || {
        let log = node.stderr().to_lowercase();
        if log.contains("not admitted") || log.contains("refused") { Ok(()) } else { Err(log) }
    })
    .await;
    let known = node.admin_get("/v1/peers").await.expect_status(200).text();
    assert!(MEMBERS.iter().all(|name| !known.contains(&format!("\"{name}\""))), "{known}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_speak_as_a_node_is_told_nothing() {
    let _turn = beside_another().await;
    let cluster = Arc::new(Cluster::init().await);
    let mesh = closed_mesh(&cluster).await;
    let port = mesh.node("lon-1").mesh();
    let words: [(&str, Vec<u8>); 4] = [
        ("HTTP", b"GET / HTTP/1.1\r\nHost: lon-1\r\n\r\n".to_vec()),
        ("zeros", vec![0; 5_000]),
        ("noise", starling_tests::content(1, 5_000).to_vec()),
        ("the beginning of a TLS record that never ends", vec![22, 3, 1, 0x3f, 0xff, 1]),
    ];
    for (what, bytes) in words {
        let mut conn = RawConn::connect(port).await.expect("the port is open");
        // It may be closed under the writing.
        let _ = conn.write(&bytes).await;
        let closed = conn.read_to_close(100_000).await;
        assert!(matches!(closed.end, End::Eof | End::Reset), "{what}: {:?}", closed.end);
        // A TLS alert is seven bytes.
        assert!(closed.bytes.len() <= 7, "{what}: it answered {:?}", closed.text());
    }
    let mut silent = RawConn::connect(port).await.expect("the port is open");
    let closed = silent.read_to_close(100_000).await;
    assert!(closed.bytes.is_empty() && closed.end != End::Silence, "who says nothing is cut off: {closed:?}");

    for alpn in [None, Some("starling-link/1"), Some("http/1.1"), Some("libp2p")] {
        let heard = connect(port, alpn, b"GET / HTTP/1.1\r\nHost: lon-1\r\n\r\n").await;
        assert!(heard.is_empty(), "TLS without a certificate, {alpn:?}: it was told {heard:?}");
    }
    mesh.settled().await;
    for name in MEMBERS {
        // The origin is not there; what counts is that the node answers.
        assert!(get(&mesh, name, "/1k/1").await.status >= 500, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_mesh_stays_on_loopback_and_says_that_it_is_open() {
    let _turn = beside_another().await;
    let open = |address: &str| {
        let node = Node::builder().origin("http://127.0.0.1:1");
        node.args(&["--mesh", address]).try_start_in(directory())
    };
    let refused =
        open("0.0.0.0:0").await.err().expect("without a cluster key it must not listen for the world");
    assert!(refused.contains("loopback"), "{refused}");
    let node = open("127.0.0.1:0").await.unwrap_or_else(|log| panic!("{log}"));
    let log = node.stderr().to_lowercase();
    assert!(log.contains("open") && log.contains("mesh"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_for_their_owner_alone_and_are_not_written_over() {
    let dir = directory();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let cluster = path("cluster");
    std::fs::create_dir(&cluster).expect("a directory can be made");
    let init = ["cluster", "init", "--dir", &cluster];
    assert_eq!(starling(&init).await.code, Some(0));
    let key = format!("{cluster}/cluster.key");
    let secret = std::fs::read(&key).expect("the key is where the docs say");
    assert_eq!(mode(&key), 0o600);
    assert_ne!(starling(&init).await.code, Some(0), "a second key would make all tickets void");
    assert_eq!(std::fs::read(&key).expect("the key is still there"), secret);

    let (data, ticket) = (path("data"), path("ticket"));
    let admit = ["cluster", "admit", "--name", "lon-1", "--region", "eu", "--pop", "lon"];
    let files = ["--data", &data, "--key", &key, "--out", &ticket];
    assert_eq!(starling(&[&admit[..], &files[..]].concat()).await.code, Some(0));
    assert_eq!(mode(&format!("{data}/node.key")), 0o600);
    let text = std::fs::read_to_string(&ticket).expect("the ticket is written");
    assert!(!text.contains(String::from_utf8_lossy(&secret).trim()), "a ticket holds no secret");
    let output = starling(&[&admit[..], &["--key", &key]].concat()).await;
    assert_ne!(output.code, Some(0), "a ticket is for some node: {}", output.stdout);
}

fn mode(file: &str) -> u32 {
    let metadata = std::fs::metadata(file).unwrap_or_else(|error| panic!("{file}: {error}"));
    metadata.permissions().mode() & 0o777
}
