//! What a topology may say.

use std::{fs, path::Path};

use super::{HOME, Quality, Topology};

const TWO: &str = r#"
title = "Two"
paths = [{ between = ["lon", "nyc"], delay_ms = 35, rate_mbit = 200 }]
[[pops]]
name = "lon"
region = "eu"
nodes = 2
[[pops]]
name = "nyc"
region = "us"
nodes = 1
"#;

/// What is said of a topology that is like [`TWO`] but for one text.
#[track_caller]
fn refusal(from: &str, to: &str) -> String {
    let text = TWO.replacen(from, to, 1);
    assert_ne!(text, TWO, "{from:?} is in it");
    match Topology::parse(&text) {
        Ok(topology) => panic!("{topology:?} was taken"),
        Err(error) => format!("{error:#}"),
    }
}

#[test]
fn every_file_of_the_repository_loads() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(HOME);
    let mut names = Vec::new();
    for entry in fs::read_dir(&home).expect("the directory is there").flatten() {
        let path = entry.path();
        let topology =
            Topology::load(&path.display().to_string()).unwrap_or_else(|error| panic!("{error:#}"));
        let config = topology.node_config("http://127.0.0.1:1").expect("it can be written");
        assert!(config.contains("http://127.0.0.1:1") && !config.contains("{ORIGIN}"), "{config}");
        let stem = path.file_stem().expect("it has a name").to_string_lossy().into_owned();
        assert_eq!(topology.name, stem);
        let by_name = Topology::load(&stem).unwrap_or_else(|error| panic!("{error:#}"));
        assert_eq!(by_name, topology);
        names.push((stem, topology.nodes().count(), topology.pops.len(), topology.regions().len()));
    }
    names.sort();
    let expected = [("laptop", 3, 1, 1), ("thirty-nodes", 30, 9, 3), ("three-regions", 9, 4, 3)];
    assert_eq!(names, expected.map(|(name, nodes, pops, regions)| (name.to_owned(), nodes, pops, regions)));
}

#[test]
fn every_region_of_the_repository_survives_the_loss_of_a_node_and_every_way_is_named() {
    for name in ["laptop", "three-regions", "thirty-nodes"] {
        let topology = Topology::load(name).expect("it loads");
        for (region, nodes) in topology.regions() {
            assert!(nodes >= 3, "{region} of {name}");
        }
        for one in &topology.pops {
            for other in topology.pops.iter().filter(|other| other.name != one.name) {
                let quality = topology.quality(&one.name, &other.name);
                assert!(quality.delay_ms > 0.0, "{} {} of {name}", one.name, other.name);
                assert_eq!(quality, topology.quality(&other.name, &one.name));
            }
        }
    }
}

#[test]
fn a_topology_says_who_stands_where() {
    let topology = Topology::parse(TWO).expect("it makes sense");
    let nodes: Vec<(String, &str)> =
        topology.nodes().map(|(name, pop)| (name, pop.region.as_str())).collect();
    assert_eq!(nodes, [("lon-1", "eu"), ("lon-2", "eu"), ("nyc-1", "us")].map(|(n, r)| (n.to_owned(), r)));
    assert_eq!(topology.regions(), [("eu", 2), ("us", 1)]);
    let way = Quality { delay_ms: 35.0, rate_mbit: 200.0, ..Quality::default() };
    assert_eq!(topology.quality("nyc", "lon"), way);
    assert_eq!(topology.quality("lon", "lon"), Quality::default());
}

#[test]
fn what_is_wrong_is_named_with_its_field() {
    let cases = [
        (r#"["lon", "nyc"]"#, r#"["lon", "nyx"]"#, vec!["paths[0].between", "\"nyx\"", "lon, nyc"]),
        (r#"["lon", "nyc"]"#, r#"["lon", "lon"]"#, vec!["paths[0].between"]),
        (r#"name = "nyc""#, r#"name = "lon""#, vec!["pops[1].name", "two PoPs \"lon\""]),
        (r#"name = "nyc""#, r#"name = "eu""#, vec!["pops.region", "\"eu\""]),
        (r#"name = "nyc""#, r#"name = "lon-2""#, vec!["pops.name", "\"lon-2\""]),
        (r#"name = "nyc""#, r#"name = "all""#, vec!["pops[1]", "\"all\""]),
        (r#"name = "nyc""#, r#"name = "New York""#, vec!["pops[1]", "New York"]),
        ("nodes = 1", "nodes = 0", vec!["pops[1].nodes"]),
        ("nodes = 1", "nodes = 1000", vec!["pops.nodes", "1002"]),
        ("delay_ms", "delay", vec!["delay"]),
        ("rate_mbit = 200", "rate_mbit = -1", vec!["paths[0]", "rate_mbit"]),
        ("rate_mbit = 200", "loss_percent = 101", vec!["paths[0]", "loss_percent"]),
        ("title", "default_path = { dely_ms = 1 }\ntitle", vec!["dely_ms"]),
        ("title", "origin = { pop = \"sin\" }\ntitle", vec!["origin.pop", "\"sin\""]),
        ("title", "name = \"two\"\ntitle", vec!["`name`"]),
        ("title", "colour = \"red\"\ntitle", vec!["colour"]),
        ("title", "node = { node = { http = \"127.0.0.1:80\" } }\ntitle", vec!["node.node.http"]),
    ];
    for (from, to, words) in cases {
        let told = refusal(from, to);
        for word in words {
            assert!(told.contains(word), "{to:?}: {told:?} does not say {word:?}");
        }
    }
    let twice = TWO.replace("paths = [", "paths = [{ between = [\"nyc\", \"lon\"] }, ");
    let told = format!("{:#}", Topology::parse(&twice).expect_err("it is named twice"));
    assert!(told.contains("paths[1].between"), "{told}");
}

#[test]
fn a_refusal_names_the_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("broken.toml");
    fs::write(&file, TWO.replace("nodes = 1", "nodes = 0")).expect("it can be written");
    let told = format!("{:#}", Topology::load(&file.display().to_string()).expect_err("it makes no sense"));
    assert!(told.contains("broken.toml") && told.contains("pops[1].nodes"), "{told}");
    let told = format!("{:#}", Topology::load("no-such").expect_err("it is not there"));
    assert!(told.contains("no-such") && told.contains("laptop"), "{told}");
}

#[test]
fn a_topology_is_the_same_after_it_was_kept() {
    let topology = Topology::load("three-regions").expect("it loads");
    let text = serde_json::to_string(&topology).expect("it becomes JSON");
    assert_eq!(serde_json::from_str::<Topology>(&text).expect("it comes back"), topology);
}
