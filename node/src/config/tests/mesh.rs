//! What a mistake about the mesh says.

use std::path::PathBuf;

use libp2p_identity::Keypair;
use starling_proto::{
    NodeId,
    ticket::{Admission, Claim, Ticket, cluster_key_to_text},
};

use super::*;

fn node(keys: &str) -> String {
    format!("[node]\nname = 'lon-1'\nregion = 'eu'\npop = 'lon'\n{keys}\n{SHOP}")
}

fn mesh(keys: &str) -> MeshSettings {
    parsed(&node(keys)).unwrap_or_else(|error| panic!("{error}")).mesh.expect("a mesh")
}

/// A cluster's key, and files for its nodes.
struct Cluster {
    dir: tempfile::TempDir,
    keypair: Keypair,
}

impl Cluster {
    fn new() -> Self {
        let cluster = Self { dir: tempfile::tempdir().unwrap(), keypair: Keypair::generate_ed25519() };
        std::fs::write(cluster.file("pub"), cluster_key_to_text(cluster.id())).unwrap();
        cluster
    }

    fn id(&self) -> NodeId {
        NodeId::of(&self.keypair.public()).unwrap()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The keys for a node with a ticket that was changed by `change` before it was signed.
    fn keys(&self, change: impl FnOnce(&mut Claim)) -> String {
        let [name, region, pop] = ["lon-1", "eu", "lon"].map(str::to_owned);
        let node = NodeId::from_bytes([7; 32]);
        let mut claim = Claim { node, name, region, pop, may_shield: true, expires_ms: u64::MAX };
        change(&mut claim);
        let ticket = Ticket::issue(claim, &self.keypair).unwrap();
        std::fs::write(self.file("ticket"), ticket.to_text()).unwrap();
        format!(
            "mesh = '192.0.2.1:7000'\ncluster_key_pub = '{}'\nticket = '{}'",
            self.file("pub").display(),
            self.file("ticket").display()
        )
    }
}

#[test]
fn a_node_stands_alone_unless_it_is_told_where_to_listen_for_others() {
    let config = parsed(&node("")).unwrap();
    assert!(config.mesh.is_none());
    assert_eq!(config.store.region, "eu");
    let found = problems(&node(
        "peers = ['a:1']\ncluster_key_pub = 'a'\nticket = 'b'\nregion_expect = 3\n[mesh]\nheartbeat_ms = 0",
    ));
    let starts: Vec<_> =
        found.iter().map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(": ")).collect();
    let expected = [
        "site.toml:5:9: node.peers",
        "site.toml:6:19: node.cluster_key_pub",
        "site.toml:7:10: node.ticket",
        "site.toml:8:17: node.region_expect",
        "site.toml:10:16: mesh.heartbeat_ms",
    ];
    assert_eq!(starts, expected, "{found:?}");
    for line in [&found[0], &found[3]] {
        assert!(line.contains("set `mesh` (--mesh IP:PORT) too"), "{found:?}");
    }
}

#[test]
fn a_mesh_on_loopback_is_open_and_its_log_is_that_of_the_region() {
    let keys = "mesh = '127.0.0.1:7000'\npeers = ['127.0.0.1:7001', 'lon-2.example:7000', '[::1]:7002']\nweight = 200";
    let mesh = mesh(keys);
    assert!(mesh.is_open() && mesh.ticket.is_none());
    assert_eq!(mesh.peers, ["127.0.0.1:7001", "lon-2.example:7000", "[::1]:7002"]);
    assert_eq!((mesh.weight, mesh.members.summary_ms), (200, 2000));
    assert_eq!(mesh.link.listen_quic, "127.0.0.1:0".parse().unwrap());
    assert_eq!(parsed(&node(keys)).unwrap().store.region, "eu");
    for wrong in ["a", "a:", ":7000", "a:0", "a:65536", "a:+1", "::1:7000", "a b:1", "http://a:1"] {
        let found = problems(&node(&format!("mesh = '127.0.0.1:7000'\npeers = '{wrong}'")));
        assert!(found[0].contains("this is a host with a port"), "{wrong}: {found:?}");
    }
}

#[test]
fn a_mesh_that_others_can_reach_needs_a_cluster_key() {
    for keys in [
        "mesh = '192.0.2.1:7000'",
        "mesh = '127.0.0.1:7000'\n[mesh]\nlink_quic = '192.0.2.1:7000'",
        "mesh = '127.0.0.1:7000'\n[mesh]\nadvertise = '192.0.2.1'",
    ] {
        let found = problems(&node(keys));
        assert!(found[0].contains("192.0.2.1 can be reached from other machines"), "{keys}: {found:?}");
        assert_eq!(found.len(), 1, "{keys}: {found:?}");
    }
    let found = problems(&node("mesh = '0.0.0.0:7000'"));
    assert!(found.iter().any(|line| line.contains("set `mesh.advertise`")), "{found:?}");
}

#[test]
fn a_ticket_is_of_the_cluster_of_this_node_and_of_today() {
    let cluster = Cluster::new();
    let mesh = mesh(&cluster.keys(|_| ()));
    assert_eq!(mesh.admission, Admission::Cluster(cluster.id()));
    assert_eq!(mesh.ticket, Some(cluster.file("ticket")));

    let told = |change: fn(&mut Claim)| problems(&node(&cluster.keys(change)));
    let found = told(|claim| {
        claim.name = "lon-2".to_owned();
        claim.pop = "ams".to_owned();
    });
    let expected = [
        "site.toml:7:10: node.ticket: the ticket is for the name \"lon-2\", but `node.name` is \"lon-1\"",
        "site.toml:7:10: node.ticket: the ticket is for the pop \"ams\", but `node.pop` is \"lon\"",
    ];
    assert_eq!(found, expected);
    let found = told(|claim| claim.region = "us".to_owned());
    assert!(found[0].contains("for the region \"us\""), "{found:?}");
    let found = told(|claim| claim.expires_ms = 1);
    assert!(
        found[0].starts_with("site.toml:7:10: node.ticket: ") && found[0].contains("expired"),
        "{found:?}"
    );

    let keys = cluster.keys(|_| ());
    std::fs::write(cluster.file("pub"), cluster_key_to_text(Cluster::new().id())).unwrap();
    let found = problems(&node(&keys));
    assert!(found[0].contains("signed by another cluster"), "{found:?}");
}

#[test]
fn a_ticket_and_a_cluster_key_belong_together_and_are_files() {
    let cluster = Cluster::new();
    let all = cluster.keys(|_| ());
    let without = |key: &str| {
        let lines: Vec<_> = all.lines().filter(|line| !line.starts_with(key)).collect();
        problems(&node(&lines.join("\n").replace("192.0.2.1", "127.0.0.1")))
    };
    let found = without("cluster_key_pub");
    assert!(found[0].contains("node.ticket: ") && found[0].contains("add `cluster_key_pub`"), "{found:?}");
    let found = without("ticket");
    assert!(found[0].contains("node.cluster_key_pub: ") && found[0].contains("add `ticket`"), "{found:?}");

    std::fs::write(cluster.file("ticket"), "a train ticket").unwrap();
    let found = problems(&node(&all));
    assert!(found[0].contains("node.ticket: this is no ticket"), "{found:?}");
    std::fs::remove_file(cluster.file("ticket")).unwrap();
    assert!(problems(&node(&all))[0].contains("cannot be read"));
    std::fs::write(cluster.file("pub"), "nothing").unwrap();
    let found = problems(&node(&all));
    assert!(found[0].contains("node.cluster_key_pub: this is no public key"), "{found:?}");
}

#[test]
fn suspicion_needs_two_heartbeats_and_a_verdict_more_than_suspicion() {
    let found = problems(&node(
        "mesh = '127.0.0.1:0'\n[mesh]\nheartbeat_ms = '1s'\nsuspect_after_ms = 1999\ndead_after_ms = 1999\n\
         forget_after_ms = '1s'\nconnections_max = 8\nconnections_target = 9\nshard_bytes = 1_048_577",
    ));
    for (key, line) in
        ["suspect_after_ms", "dead_after_ms", "forget_after_ms", "connections_target", "shard_bytes"]
            .iter()
            .zip(&found)
    {
        assert!(line.starts_with(&format!("site.toml:6:1: mesh.{key}: ")), "{line}");
    }
    assert_eq!(found.len(), 5, "{found:?}");
    let quick =
        mesh("mesh = '127.0.0.1:0'\n[mesh]\nheartbeat_ms = 50\nsuspect_after_ms = 100\ndead_after_ms = 101");
    assert_eq!((quick.members.heartbeat_ms, quick.members.summary_ms), (50, 200));
}

#[test]
fn others_are_told_where_to_come_from_outside() {
    let at = |text: &str| text.parse::<std::net::SocketAddr>().unwrap();
    let inside = mesh("mesh = '127.0.0.1:0'").addresses(at("127.0.0.1:7000"), at("127.0.0.1:4000"));
    assert_eq!((inside.mesh, inside.link_quic), (at("127.0.0.1:7000"), at("127.0.0.1:4000")));
    let everywhere = mesh("mesh = '127.0.0.1:0'\n[mesh]\nlink_quic = '127.0.0.2:0'");
    let told = everywhere.addresses(at("127.0.0.1:7000"), at("0.0.0.0:4000"));
    assert_eq!(told.link_quic, at("127.0.0.1:4000"));
    let cluster = Cluster::new();
    let keys = cluster.keys(|_| ()).replace("192.0.2.1", "0.0.0.0");
    let translated = mesh(&format!("{keys}\n[mesh]\nadvertise = '198.51.100.7'"));
    let told = translated.addresses(at("0.0.0.0:7000"), at("0.0.0.0:4000"));
    assert_eq!((told.mesh, told.link_quic), (at("198.51.100.7:7000"), at("198.51.100.7:4000")));
}

#[test]
fn a_region_has_settings_of_its_own_and_a_flag_says_how_many_form_it() {
    let usual = mesh("mesh = '127.0.0.1:0'").region;
    assert_eq!(usual, RegionSettings::default());
    assert_eq!((usual.expect, usual.voters_max), (None, 5));
    let ms = Duration::from_millis;
    assert_eq!((usual.heartbeat, usual.election, usual.fence), (ms(250), ms(2_000), ms(5_000)));

    let text = node(
        "mesh = '127.0.0.1:0'\nregion_expect = 7\n[region]\nvoters_max = 9\nheartbeat_ms = 100\nelection_ms = 300\n\
         fence_ms = '1s'",
    );
    let set = parsed(&text).unwrap().mesh.unwrap().region;
    let expected = RegionSettings {
        expect: Some(7),
        voters_max: 9,
        heartbeat: ms(100),
        election: ms(300),
        fence: ms(1_000),
    };
    assert_eq!(set, expected);
    let environment = |name: &str| Sources {
        environment: BTreeMap::from([(name.to_owned(), "3".to_owned())]),
        ..Sources::default()
    };
    let expect = |sources: &Sources| parse("site.toml", &text, sources).unwrap().mesh.unwrap().region.expect;
    assert_eq!(expect(&environment("STARLING_REGION_EXPECT")), Some(3));
    let flag = Override { flag: "--region-expect".to_owned(), values: vec!["5".to_owned()] };
    let mut both = environment("STARLING_REGION_EXPECT");
    both.flags.insert("node.region_expect".to_owned(), flag.clone());
    assert_eq!(expect(&both), Some(5), "a flag wins");
    // It is a mistake without a mesh, wherever it was said.
    both.environment.clear();
    let alone = parse("site.toml", SHOP, &both).unwrap_err().to_string();
    assert!(
        alone.starts_with("--region-expect: node.region_expect: means nothing without a mesh"),
        "{alone}"
    );
    let voters = parse("site.toml", &text, &environment("STARLING_REGION_VOTERS_MAX")).unwrap();
    assert_eq!(voters.mesh.unwrap().region.voters_max, 3);
}

#[test]
fn a_wrong_region_is_told_with_what_would_go_wrong() {
    let found = problems(&node(
        "mesh = '127.0.0.1:0'\nregion_expect = 0\n[region]\nvoters_max = 4\nheartbeat_ms = '1s'\nelection_ms = 2999\n\
         fence_ms = 999\nvoter_max = 3",
    ));
    let expected = [
        "site.toml:6:17: node.region_expect: found 0, but this is a whole number from 1 to 65535",
        "site.toml:7:1: region.voters_max: found 4, but this is an odd number: one voter more than an odd number of them \
         survives no more losses",
        "site.toml:7:1: region.election_ms: is less than three heartbeats (`heartbeat_ms`): a lost message would cost the \
         leader its place",
        "site.toml:7:1: region.fence_ms: is less than 1000 ms: leases would run out on their way, and services with \
         freshness = \"strict\" would ask the origin for every hit",
        "site.toml:12:1: region.voter_max: there is no such key in `region`; did you mean `voters_max`?",
    ];
    assert_eq!(found, expected);
    for wrong in ["0", "10", "11", "'many'"] {
        let found = problems(&node(&format!("mesh = '127.0.0.1:0'\n[region]\nvoters_max = {wrong}")));
        assert!(found[0].contains("but this is a whole number from 1 to 9"), "{wrong}: {found:?}");
        assert_eq!(found.len(), 1, "{wrong}: {found:?}");
    }
    let fence = |text: &str| node(&format!("mesh = '127.0.0.1:0'\n[region]\nfence_ms = {text}"));
    let most = parsed(&fence("'1h'")).unwrap().mesh.unwrap().region.fence;
    assert_eq!(most, Duration::from_secs(3600));
    for wrong in ["3600001", "'2h'"] {
        let found = problems(&fence(wrong));
        assert!(found[0].contains("region.fence_ms: is more than 3600000 ms: a node"), "{wrong}: {found:?}");
        assert_eq!(found.len(), 1, "{wrong}: {found:?}");
    }
    // A mistake in the section is told to a node that stands alone, too.
    assert!(problems(&node("[region]\nfence_ms = 1"))[0].contains("region.fence_ms: is less than 1000 ms"));
}
