//! Names of nodes, and what a testbed can have, by what is known of it.

use crate::{
    cluster::{Node, Origin, Process, State},
    faults::{Fault, Nodes, inflict::is_possible},
    topology::{Pop, Topology},
};

/// Three nodes in two PoPs of two regions; `nyc-1` was killed.
fn state(netns: bool, faulty: bool) -> State {
    let address = "127.0.0.1:1".parse().unwrap();
    let pop =
        |name: &str, region: &str, nodes| Pop { name: name.to_owned(), region: region.to_owned(), nodes };
    let topology = Topology {
        name: "test".to_owned(),
        title: "a test".to_owned(),
        origin: crate::topology::OriginPlace::default(),
        pops: vec![pop("lon", "eu", 2), pop("nyc", "us", 1)],
        paths: Vec::new(),
        default_path: crate::topology::Quality::default(),
        node: toml::Table::new(),
    };
    let nodes = topology.nodes().map(|(name, pop)| Node {
        process: (name != "nyc-1").then_some(Process { pid: 0, began: 0 }),
        name,
        region: pop.region.clone(),
        pop: pop.name.clone(),
        http: address,
        admin: address,
        mesh: address,
        dir: "/nowhere".into(),
        namespace: None,
    });
    let net = netns.then(|| crate::net::State {
        prefix: "t".to_owned(),
        namespaces: Vec::new(),
        wan: Process { pid: 0, began: 0 },
        wan_socket: "/nowhere".into(),
        routers: Default::default(),
    });
    State {
        nodes: nodes.collect(),
        topology: topology.clone(),
        node_binary: "/nowhere".into(),
        netns,
        faulty,
        log_level: "info".to_owned(),
        token: None,
        origin: Origin { address, namespace: None, process: None },
        net,
    }
}

fn standing(text: &str) -> Result<Vec<String>, String> {
    let nodes = Nodes(text.to_owned());
    let found: anyhow::Result<Vec<Vec<String>>> =
        nodes.parts().map(|part| part.standing(&state(false, false))).collect();
    found.map(|found| found.concat()).map_err(|error| error.to_string())
}

#[test]
fn a_name_is_a_node_a_pop_or_a_region() {
    let cases: [(&str, &[&str]); 7] = [
        ("lon-1", &["lon-1"]),
        ("lon", &["lon-1", "lon-2"]),
        ("us", &["nyc-1"]),
        ("eu+us", &["lon-1", "lon-2", "nyc-1"]),
        ("all", &["lon-1", "lon-2", "nyc-1"]),
        ("killed", &["nyc-1"]),
        ("killed+lon-2", &["nyc-1", "lon-2"]),
    ];
    for (text, meant) in cases {
        assert_eq!(standing(text).unwrap(), meant, "{text}");
    }
    let unknown = standing("lon-3").unwrap_err();
    for part in ["\"lon-3\"", "lon-1, lon-2, nyc-1", "lon, nyc", "eu, us"] {
        assert!(unknown.contains(part), "{unknown}");
    }
    assert!(standing("leader:asia").unwrap_err().contains("\"asia\" is no region; there are eu, us"));
}

#[test]
fn what_a_testbed_lacks_is_told() {
    let why = |netns, faulty, text: &str| {
        let possible = is_possible(&state(netns, faulty), &text.parse::<Fault>().unwrap());
        possible.err().map(|error| error.to_string()).unwrap_or_default()
    };
    let always = ["kill all", "restart leader:eu", "keep-disk random", "origin dead", "heal", "start killed"];
    for text in always {
        assert_eq!(why(false, false, text), "", "{text}");
    }
    for text in ["freeze lon-1", "cut eu from us", "way lon nyc loss 5%", "flap lon nyc"] {
        assert!(why(false, true, text).contains("--netns"), "{text}");
        assert_eq!(why(true, false, text), "", "{text}");
    }
    for text in ["power-cut lon", "clock lon +1h", "disk lon full"] {
        assert!(why(true, false, text).contains("--faulty"), "{text}");
        assert_eq!(why(false, true, text), "", "{text}");
    }
    assert!(why(true, true, "way lon par loss 5%").contains("\"par\" is no PoP; there are lon, nyc"));
    assert!(why(true, true, "cut eu from asia").contains("\"asia\""));
    assert!(why(true, true, "kill shields:asia").contains("\"asia\""));
}
