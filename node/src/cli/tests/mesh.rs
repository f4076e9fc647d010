//! Keys, tickets, and what is told of a mesh.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::json;
use starling_proto::ticket::{Admission, Ticket, cluster_key_from_text};

use super::{super::cluster, *};
use crate::identity::Identity;

fn run(line: &str) -> ExitCode {
    match parse(line).unwrap().command {
        Command::Cluster { command } => cluster::run(command),
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_was_admitted_is_let_in_and_keeps_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let shown = |path: &Path| path.display().to_string();
    let (keys, data, ticket) = (at("keys"), at("data"), at("lon-1.ticket"));
    assert_eq!(run(&format!("starling cluster init --dir {}", shown(&keys))), ExitCode::SUCCESS);
    let mode = fs::metadata(keys.join("cluster.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "the key is for its owner alone");

    let admit = format!(
        "starling cluster admit --name lon-1 --region eu --pop lon --data {} --key {} --out {} --no-shield --json",
        shown(&data),
        shown(&keys.join("cluster.key")),
        shown(&ticket),
    );
    assert_eq!(run(&admit), ExitCode::SUCCESS);
    let public = fs::read_to_string(keys.join("cluster.pub")).unwrap();
    let admission = Admission::Cluster(cluster_key_from_text(&public).unwrap());
    let identity = Identity::load(&data, "lon-1", "eu", "lon", Some(&ticket), admission).unwrap();
    assert!(!identity.ticket.claim.may_shield);
    assert_eq!(run(&admit), ExitCode::SUCCESS, "a ticket is renewed for the same key");
    let renewed: Ticket = fs::read_to_string(&ticket).unwrap().parse().unwrap();
    assert_eq!(renewed.claim.node, identity.id);

    // By its id the node needs not be on this machine.
    let by_id = format!(
        "starling cluster admit --name lon-1 --region eu --pop lon --node-id {} --expires never --key {} --out {}",
        identity.id,
        shown(&keys.join("cluster.key")),
        shown(&ticket),
    );
    assert_eq!(run(&by_id), ExitCode::SUCCESS);
    let identity = Identity::load(&data, "lon-1", "eu", "lon", Some(&ticket), admission).unwrap();
    assert_eq!(identity.ticket.claim.expires_ms, u64::MAX);
}

#[test]
fn a_cluster_key_is_never_written_over_and_none_admits_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let init = format!("starling cluster init --dir {}", dir.path().display());
    assert_eq!(run(&init), ExitCode::SUCCESS);
    let key = fs::read(dir.path().join("cluster.key")).unwrap();
    let public = fs::read(dir.path().join("cluster.pub")).unwrap();
    assert_eq!(run(&init), ExitCode::from(FAILED));
    assert_eq!(fs::read(dir.path().join("cluster.key")).unwrap(), key);
    assert_eq!(fs::read(dir.path().join("cluster.pub")).unwrap(), public);
    let data = dir.path().join("data");
    let admit = format!(
        "starling cluster admit --name a --region r --pop p --data {} --key {}",
        data.display(),
        dir.path().join("none.key").display()
    );
    assert_eq!(run(&admit), ExitCode::from(FAILED));
    assert!(!data.exists(), "nothing is made for who is not admitted");
}

#[test]
fn a_ticket_is_for_one_node_with_names_and_an_end() {
    let admit = |rest: &str| parse(&format!("starling cluster admit --region eu --pop lon {rest}"));
    assert!(admit("--name a --data d").is_ok());
    assert!(admit("--name a --data d --expires 12h").is_ok());
    for wrong in [
        "--name a",
        "--data d",
        "--name a/b --data d",
        "--name a --data d --expires 365",
        "--name a --data d --expires 0d",
        "--name a --node-id 12D3KooW",
        "--name a --data d --node-id 12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp",
    ] {
        assert_eq!(admit(wrong).unwrap_err().exit_code(), 2, "{wrong}");
    }
}

#[test]
fn flags_of_the_mesh_become_keys() {
    let line = "starling node --mesh 127.0.0.1:7000 --peer a:1 --peer b:2 --cluster-key-pub c --ticket t --weight 50 \
                --region-expect 3";
    let Command::Node(options) = parse(line).unwrap().command else { panic!("a node") };
    let flags = options.flags();
    assert_eq!(flags["node.peers"].values, ["a:1", "b:2"]);
    for (key, flag) in [
        ("node.mesh", "--mesh"),
        ("node.peers", "--peer"),
        ("node.cluster_key_pub", "--cluster-key-pub"),
        ("node.ticket", "--ticket"),
        ("node.weight", "--weight"),
        ("node.region_expect", "--region-expect"),
    ] {
        assert_eq!(flags[key].flag, flag);
    }
}

#[test]
fn what_is_asked_of_the_ring_is_a_key_or_a_url() {
    assert_eq!(ring_path(None), "/v1/ring");
    let key = "00112233445566778899aabbccddeeff";
    assert_eq!(ring_path(Some(key)), format!("/v1/ring?key={key}"));
    assert_eq!(ring_path(Some("https://a.b/c?d=e&f")), "/v1/ring?url=https%3A%2F%2Fa%2Eb%2Fc%3Fd%3De%26f");
}

#[test]
fn peers_and_ring_are_told_in_columns() {
    let load = json!({"cpu_permille": 125, "in_flight": 1, "peer_in_flight": 0, "requests_per_s": 40,
        "bytes_per_s": 2048, "memory_permille": 0});
    let peer = |name: &str, me: bool, status: &str, load: serde_json::Value| {
        json!({"node": name, "id": "12D3", "region": "eu", "pop": "lon", "status": status, "passed_over": false,
            "self": me, "address": "127.0.0.1:7000", "link_quic": null, "heard_ms_ago": 1500, "rtt_us": 230,
            "weight": 100, "in_ring": status == "alive", "load": load, "health": null, "versions": {}})
    };
    let peers = json!({"node": "lon-1", "id": "12D3",
        "peers": [peer("lon-1", true, "alive", load), peer("paris-1", false, "suspect", json!(null))]});
    let expected = "\
NODE     REGION/POP  STATUS   RING  ADDRESS         HEARD     RTT   CPU  REQ/S   SENT/S  ID
lon-1 *  eu/lon      alive    yes   127.0.0.1:7000      -  0.2 ms  12 %     40  2.0 KiB  12D3
paris-1  eu/lon      suspect  -     127.0.0.1:7000  1.5 s  0.2 ms     -      -        -  12D3
";
    assert_eq!(show::peers(&peers), expected);

    let nodes = json!([{"node": "lon-1", "id": "12D3", "weight": 100, "share_permille": 333},
        {"node": "lon-2", "id": "12D4", "weight": 200, "share_permille": 667}]);
    let ring = json!({"node": "lon-1", "pop": "lon", "nodes": nodes, "previous": true, "key": "00ff",
        "owner": "lon-2", "replicas": ["lon-2", "lon-1"]});
    let expected = "\
the ring of lon, as lon-1 sees it; it changed lately, and the ring before it is still asked
NODE   WEIGHT   SHARE  ID
lon-1     100  33.3 %  12D3
lon-2     200  66.7 %  12D4
00ff is owned by lon-2, then lon-1";
    assert_eq!(show::ring(&ring), expected);
}
