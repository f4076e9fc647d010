//! How the nodes and the origin of a testbed are started.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};

use super::{Node, State, process::Launch};

/// A region with more nodes than this forms its group when so many see each other; the others join it.
const REGION_EXPECT_MAX: usize = 3;

/// What is shown of a log where something failed.
const LOG_LINES: usize = 12;

/// The library that has clocks and disks fail, in the directory of the testbed.
pub const LIBRARY: &str = "faulty.so";

/// A node's process, with the data it has.
pub fn node<'a>(testbed: &'a Path, state: &'a State, node: &'a Node) -> Launch<'a> {
    let regions = state.topology.regions();
    let count = regions.iter().find(|(name, _)| *name == node.region).map_or(1, |(_, nodes)| *nodes);
    let mut arguments: Vec<OsString> =
        ["node", "--config", "node.toml", "--data", "data"].map(OsString::from).into();
    let named = [
        ("--name", node.name.clone()),
        ("--region", node.region.clone()),
        ("--pop", node.pop.clone()),
        ("--http", node.http.to_string()),
        ("--admin", node.admin.to_string()),
        ("--mesh", node.mesh.to_string()),
        ("--cluster-key-pub", "../../cluster.pub".to_owned()),
        ("--ticket", "ticket".to_owned()),
        ("--region-expect", count.min(REGION_EXPECT_MAX).to_string()),
        ("--log-level", state.log_level.clone()),
    ];
    let peers = peers(&state.nodes, &node.name).into_iter().map(|peer| ("--peer", peer.to_string()));
    for (flag, value) in named.into_iter().chain(peers) {
        arguments.extend([flag.into(), value.into()]);
    }
    let mut environment = BTreeMap::new();
    if state.faulty {
        environment.insert("LD_PRELOAD", testbed.join(LIBRARY).into_os_string());
        environment.insert("STARLING_FAULT", node.dir.join("fault").into_os_string());
    }
    Launch {
        testbed,
        namespace: node.namespace.as_deref(),
        binary: state.node_binary.clone(),
        arguments,
        environment,
        dir: node.dir.clone(),
        log: node.log(),
    }
}

/// The origin's process.
pub fn origin<'a>(testbed: &'a Path, state: &'a State) -> anyhow::Result<Launch<'a>> {
    let dir = testbed.join("origin");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(Launch {
        testbed,
        namespace: state.origin.namespace.as_deref(),
        binary: testbed_binary()?,
        // So that one that is killed and started again goes on with the editions it has told.
        arguments: [
            "origin".into(),
            "--listen".into(),
            state.origin.address.to_string().into(),
            "--editions".into(),
            dir.join("editions").into(),
        ]
        .into(),
        environment: BTreeMap::new(),
        log: dir.join("node.log"),
        dir,
    })
}

/// The binary `starling-testbed`: this one, or the one beside the test that runs.
pub fn testbed_binary() -> anyhow::Result<PathBuf> {
    const NAME: &str = "starling-testbed";
    let own = std::env::current_exe().context("cannot tell which binary this is")?;
    // What the kernel says of a binary that was built anew while it runs.
    let own = PathBuf::from(own.to_string_lossy().trim_end_matches(" (deleted)"));
    let beside = own.ancestors().skip(1).take(2).map(|dir| dir.join(NAME)).find(|path| path.is_file());
    if own.file_name().is_some_and(|name| name == NAME) {
        return Ok(own);
    }
    beside.with_context(|| format!("there is no {NAME} beside {}: build it", own.display()))
}

/// Whom a node is told of: the one after it, and the first one of the PoP after that one's, or simply the next. So
/// all hear of all, and whoever dies, there is another.
fn peers(nodes: &[Node], name: &str) -> Vec<SocketAddr> {
    let Some(own) = nodes.iter().position(|node| node.name == name) else { return Vec::new() };
    let others: Vec<&Node> = nodes.iter().cycle().skip(own + 1).take(nodes.len() - 1).collect();
    let Some(first) = others.first() else { return Vec::new() };
    let elsewhere = others.iter().find(|node| node.pop != nodes[own].pop && node.name != first.name);
    let second = elsewhere.or(others.get(1));
    [Some(first), second].into_iter().flatten().map(|node| node.mesh).collect()
}

/// Makes what a node finds at its first start: its configuration, and a ticket.
pub fn furnish(testbed: &Path, state: &State, node: &Node) -> anyhow::Result<()> {
    fs::create_dir_all(&node.dir).with_context(|| format!("cannot make {}", node.dir.display()))?;
    let mut config = state.topology.node_config(&format!("http://{}", state.origin.address))?;
    if let Some(token) = &state.token {
        config.push_str(&format!(
            "\n[[admin.tokens]]\nname = \"testbed\"\ntoken = \"{token}\"\nscopes = [\"admin\", \"read\", \"purge\"]\n"
        ));
    }
    let file = node.dir.join("node.toml");
    fs::write(&file, config).with_context(|| format!("cannot write {}", file.display()))?;
    let (data, ticket) = (node.dir.join("data"), node.dir.join("ticket"));
    let named = [
        ("--name", node.name.clone().into()),
        ("--region", node.region.clone().into()),
        ("--pop", node.pop.clone().into()),
        ("--data", data.into_os_string()),
        ("--key", testbed.join("cluster.key").into_os_string()),
        ("--out", ticket.into_os_string()),
    ];
    let mut arguments: Vec<OsString> = vec!["cluster".into(), "admit".into()];
    for (flag, value) in named {
        arguments.extend([flag.into(), value]);
    }
    run(&state.node_binary, &arguments)
}

/// Makes the cluster's key.
pub fn make_key(testbed: &Path, state: &State) -> anyhow::Result<()> {
    run(&state.node_binary, &["cluster".into(), "init".into(), "--dir".into(), testbed.into()])
}

/// Whether the nodes understand their configuration; the error tells what they say of it.
pub fn check_config(state: &State, node: &Node) -> anyhow::Result<()> {
    let file = node.dir.join("node.toml");
    let checked = run(&state.node_binary, &["config".into(), "check".into(), file.into()]);
    checked.with_context(|| format!("`node` of topology {} makes no configuration", state.topology.name))
}

/// Runs the node's binary, for something that takes a moment.
fn run(binary: &Path, arguments: &[OsString]) -> anyhow::Result<()> {
    let said = || {
        let arguments: Vec<_> = arguments.iter().map(|argument| argument.to_string_lossy()).collect();
        format!("{} {}", binary.display(), arguments.join(" "))
    };
    let output = std::process::Command::new(binary).args(arguments).output().with_context(said)?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {}: {}", said(), output.status, told.trim());
    Ok(())
}

/// The last lines of a log.
pub fn log_end(dir: &Path) -> String {
    let text = fs::read(dir.join("node.log")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].iter().map(|line| format!("    {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::tests::state, *};

    #[test]
    fn every_node_is_told_of_two_others_and_all_hear_of_all() {
        for name in ["laptop", "three-regions", "thirty-nodes"] {
            let state = state(name);
            let mut heard = std::collections::BTreeSet::new();
            let mut new = vec![state.nodes[0].mesh];
            while let Some(address) = new.pop() {
                if heard.insert(address) {
                    let node =
                        state.nodes.iter().find(|node| node.mesh == address).expect("a node's address");
                    new.extend(peers(&state.nodes, &node.name));
                }
            }
            assert_eq!(heard.len(), state.nodes.len(), "{name}");
            let pops = state.topology.pops.len();
            for node in &state.nodes {
                let told = peers(&state.nodes, &node.name);
                assert_eq!(told.len(), 2);
                assert_ne!(told[0], told[1]);
                assert!(!told.contains(&node.mesh), "{} is told of itself", node.name);
                let elsewhere =
                    |peer| state.nodes.iter().any(|other| other.mesh == peer && other.pop != node.pop);
                assert!(
                    pops == 1 || told.into_iter().any(elsewhere),
                    "{} hears of its own PoP only",
                    node.name
                );
            }
        }
        let mut one = state("laptop");
        one.nodes.truncate(1);
        assert_eq!(peers(&one.nodes, "lon-1"), []);
    }

    #[test]
    fn a_region_forms_its_group_at_three_nodes_at_most() {
        let state = state("thirty-nodes");
        let launch = node(Path::new("/nowhere"), &state, &state.nodes[0]);
        let at =
            launch.arguments.iter().position(|argument| argument == "--region-expect").expect("it is said");
        assert_eq!(launch.arguments[at + 1], "3");
    }
}
