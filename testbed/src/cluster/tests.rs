//! What is kept of a testbed.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use super::{keep::Keep, *};

/// A testbed that was not started.
pub fn state(topology: &str) -> State {
    let topology = Topology::load(topology).expect("it loads");
    let address = |port: usize| SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).expect("a port")));
    let nodes = topology
        .nodes()
        .enumerate()
        .map(|(number, (name, pop))| Node {
            dir: Path::new("/nowhere/nodes").join(&name),
            name,
            region: pop.region.clone(),
            pop: pop.name.clone(),
            http: address(10 * number + 10),
            admin: address(10 * number + 11),
            mesh: address(10 * number + 12),
            namespace: None,
            process: None,
        })
        .collect();
    State {
        topology,
        node_binary: "/nowhere/starling".into(),
        netns: false,
        faulty: true,
        log_level: "info".to_owned(),
        token: Some("secret".to_owned()),
        origin: Origin { address: address(9), namespace: None, process: None },
        nodes,
        net: None,
    }
}

/// A testbed without processes, that is kept.
fn kept() -> (tempfile::TempDir, Keep) {
    let dir = tempfile::tempdir().expect("a directory");
    let keep = Keep::make(&dir.path().join("testbed")).expect("it can be made");
    keep.write(&state("three-regions")).expect("it can be written");
    (dir, keep)
}

#[test]
fn what_is_kept_comes_back_and_nobody_else_may_read_it() {
    let (_dir, keep) = kept();
    let mut state = state("three-regions");
    state.nodes[3].process = Some(Process { pid: 7, began: 1 << 40 });
    keep.write(&state).expect("it can be written");
    let read = Keep::open(keep.dir()).expect("it is there").read().expect("it makes sense");
    assert_eq!(serde_json::to_value(&read).ok(), serde_json::to_value(&state).ok());
    assert_eq!(read.topology, state.topology);
    for path in [keep.dir().to_owned(), keep.path("cluster.json")] {
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} is {mode:o}", path.display());
    }
}

#[test]
fn changes_of_several_commands_are_all_kept() {
    let (_dir, keep) = kept();
    let count = state("three-regions").nodes.len();
    std::thread::scope(|scope| {
        for number in 0..count {
            let keep = keep.clone();
            scope.spawn(move || {
                for began in 0..20 {
                    let process = Process { pid: i32::try_from(number).expect("small"), began };
                    let changed = keep.change(|state| {
                        state.nodes[number].process = Some(process);
                        Ok(())
                    });
                    changed.expect("it can be changed");
                }
            });
        }
    });
    for (number, node) in keep.read().expect("it makes sense").nodes.iter().enumerate() {
        let expected = Process { pid: i32::try_from(number).expect("small"), began: 19 };
        assert_eq!(node.process, Some(expected), "{}", node.name);
    }
}

#[test]
fn a_change_that_fails_changes_nothing() {
    let (_dir, keep) = kept();
    let before = keep.version();
    let changed: anyhow::Result<()> = keep.change(|state| {
        state.nodes.clear();
        bail!("no")
    });
    changed.expect_err("it failed");
    assert_eq!(keep.version(), before);
    assert_eq!(keep.read().expect("it makes sense").nodes.len(), 9);
}

#[test]
fn a_directory_with_anything_in_it_is_left_alone() {
    let (_dir, keep) = kept();
    let told = format!("{:#}", Keep::make(keep.dir()).expect_err("there is a testbed"));
    assert!(told.contains("already") && told.contains("down"), "{told}");

    let other = tempfile::tempdir().expect("a directory");
    fs::write(other.path().join("letter"), "dear").expect("it can be written");
    let told = format!("{:#}", Keep::make(other.path()).expect_err("it is not empty"));
    assert!(told.contains("not empty"), "{told}");
    let told = format!("{:#}", Keep::open(other.path()).expect_err("it is no testbed"));
    assert!(told.contains("testbed/up"), "{told}");
    assert!(Keep::open(&other.path().join("no-such")).is_err());
}

#[test]
fn who_holds_a_testbed_sees_what_others_change() {
    let (_dir, keep) = kept();
    let cluster = Cluster::attach(keep.dir()).expect("it is there");
    assert_eq!(cluster.state().nodes[0].process, None);
    let process = Some(Process { pid: 7, began: 8 });
    keep.change(|state| {
        state.nodes[0].process = process;
        Ok(())
    })
    .expect("it can be changed");
    assert_eq!(cluster.state().nodes[0].process, process);
    let told = format!("{:#}", cluster.node("lon-9").expect_err("there is none"));
    assert!(told.contains("lon-9") && told.contains("sin-3"), "{told}");
}

#[tokio::test]
async fn down_takes_away_what_is_dead_already_and_what_was_never_noted() {
    let (_dir, keep) = kept();
    let launch = process::Launch {
        testbed: keep.dir(),
        namespace: None,
        binary: "sleep".into(),
        arguments: vec!["300".into()],
        environment: Default::default(),
        dir: keep.dir().to_owned(),
        log: keep.path("log"),
    };
    let [noted, dead, unnoted] = [(); 3].map(|()| launch.start().expect("sleep starts"));
    dead.end().await.expect("it ends");
    keep.change(|state| {
        state.set_process("lon-1", Some(noted));
        state.set_process("lon-2", Some(dead));
        Ok(())
    })
    .expect("it can be changed");
    let cluster = Cluster::attach(keep.dir()).expect("it is there");
    assert_eq!(cluster.running(), ["lon-1"]);
    let mut told = Vec::new();
    cluster.down(&mut |line| told.push(line.to_owned())).await.expect("it goes down");
    assert_eq!(told.first().map(String::as_str), Some("2 processes ended"));
    assert!(!noted.is_alive() && !unnoted.is_alive());
    assert!(!keep.dir().exists());
}
