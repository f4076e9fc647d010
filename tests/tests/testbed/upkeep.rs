//! Up, what can be done to it, and down.

use super::*;

#[tokio::test]
async fn a_testbed_comes_up_serves_and_leaves_nothing() {
    let _turn = alone().await;
    let bed = Bed::new(11_000);
    bed.up("three-regions").await;
    let status = bed.status().await;
    assert_eq!(names(&status, |node| node["ready"] == true).len(), 9, "{status:#}");

    let second = bed.run(&["up", "laptop", "--first-port", "11200"]).await;
    assert_eq!(second.code, Some(1), "{}", second.stdout);
    assert!(second.stderr.contains("down"), "it says what to do: {}", second.stderr);

    bed.done(&["node", "kill", "lon-1"]).await;
    let status = bed.status().await;
    assert_eq!(names(&status, |node| node["ready"] == true).len(), 8, "{status:#}");
    bed.done(&["node", "restart", "lon-1"]).await;
    bed.done(&["node", "stop", "lon-2"]).await;
    bed.done(&["node", "cont", "lon-2"]).await;
    let unknown = bed.run(&["node", "kill", "lon-77"]).await;
    assert_ne!(unknown.code, Some(0));
    assert!(unknown.stderr.contains("lon-77") && unknown.stderr.contains("lon-1"), "{}", unknown.stderr);
    let nonsense = bed.run(&["fault", "clock", "lon-1", "sideways"]).await;
    assert_ne!(nonsense.code, Some(0));
    assert!(nonsense.stderr.contains("sideways"), "{}", nonsense.stderr);

    bed.done(&["down"]).await;
    assert!(!bed.dir().exists());
    assert_eq!(bed.processes(), Vec::<String>::new());
    for port in 11_000..11_100_u16 {
        let taken = std::net::TcpStream::connect(("127.0.0.1", port));
        assert!(taken.is_err(), "something listens on {port}");
    }
}

#[tokio::test]
async fn a_start_that_fails_says_why_and_leaves_nothing() {
    let _turn = alone().await;
    let bed = Bed::new(11_400);
    let _taken = std::net::TcpListener::bind(("127.0.0.1", 11_421)).expect("the port is free");
    let output = bed.run(&["up", "laptop", "--first-port", "11400"]).await;
    assert_eq!(output.code, Some(1), "{}", output.stdout);
    assert!(output.stderr.contains("11421"), "{}", output.stderr);
    assert_eq!(bed.processes(), Vec::<String>::new());
    assert!(!bed.dir().exists());
}

#[tokio::test]
async fn a_network_of_namespaces_comes_up_and_goes() {
    if let Err(why) = can_have_networks() {
        println!("{why}");
        return;
    }
    let _turn = alone().await;
    let bed = Bed::new(11_600);
    let before = namespaces();
    bed.done(&["up", "--netns", "laptop"]).await;
    let status = bed.status().await;
    assert_eq!(names(&status, |node| node["ready"] == true).len(), 3, "{status:#}");
    bed.done(&["fault", "cut", "lon-1", "from", "lon-2+lon-3"]).await;
    bed.done(&["fault", "heal"]).await;
    bed.done(&["down"]).await;
    assert_eq!(bed.processes(), Vec::<String>::new());
    assert_eq!(namespaces(), before);
}

/// The nodes in a status of which this holds.
fn names(status: &Value, holds: impl Fn(&Value) -> bool) -> Vec<String> {
    let nodes = status["nodes"].as_array().unwrap_or_else(|| panic!("no nodes: {status:#}"));
    nodes.iter().filter(|node| holds(node)).map(|node| node["name"].to_string()).collect()
}

fn namespaces() -> Vec<String> {
    let listed = std::process::Command::new("ip").args(["netns", "list"]).output().expect("there is an ip");
    let mut names: Vec<String> = String::from_utf8_lossy(&listed.stdout).lines().map(str::to_owned).collect();
    names.sort();
    names
}
