//! The command line, the configuration and the signals, as an operator meets them.

use std::{fs, path::PathBuf, time::Duration};

use serde_json::{Value, json};
use starling_tests::{
    Gate, Node, Output, PATIENCE, RawConn, Reply, Request, TestCa, TestOrigin, starling, workspace,
};
use tokio::time::timeout;

const DONE: Option<i32> = Some(0);
const FAILED: Option<i32> = Some(1);
const USAGE: Option<i32> = Some(2);
const TIMED_OUT: Option<i32> = Some(3);

#[tokio::test(flavor = "multi_thread")]
async fn every_command_explains_itself() {
    let top = help(&[]).await;
    let commands = commands_in(&top);
    for needed in ["node", "purge", "status", "config"] {
        assert!(commands.iter().any(|command| command == needed), "{needed} is missing:\n{top}");
    }
    for command in &commands {
        let text = help(&[command]).await;
        for part in commands_in(&text) {
            help(&[command, &part]).await;
        }
    }
    let node = help(&["node"]).await;
    for flag in
        ["--name", "--http", "--https", "--cert", "--key", "--admin", "--data", "--origin", "--config"]
    {
        assert!(node.contains(flag), "{flag} is missing:\n{node}");
    }
    assert!(node.contains("STARLING_"), "--help tells the environment variables:\n{node}");
}

async fn help(path: &[&str]) -> String {
    let arguments = [path, &["--help"]].concat();
    let output = starling(&arguments).await;
    assert_eq!(output.code, DONE, "{arguments:?}: {output:?}");
    assert!(output.stdout.contains("Usage:"), "{arguments:?}: {output:?}");
    output.stdout
}

/// The names under `Commands:` in a help text.
fn commands_in(help: &str) -> Vec<String> {
    let section = help.split("Commands:\n").nth(1).unwrap_or_default();
    let lines = section.lines().take_while(|line| !line.trim().is_empty());
    let named = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    named
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_configuration_passes_its_check() {
    let dir = workspace().join("cluster-configs");
    let entries = fs::read_dir(&dir).expect("cluster-configs/ is part of the repository");
    let files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    assert!(!files.is_empty(), "no example in {}", dir.display());
    for file in files {
        let output = starling(&["config", "check", &file.display().to_string()]).await;
        assert_eq!(output.code, DONE, "{}: {output:?}", file.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_in_the_configuration_is_told_with_its_place() {
    let service = "[[services]]\nname = \"site\"\nhosts = [\"*\"]\norigins = [\"http://127.0.0.1:1\"]\n";
    let cases = [
        ("unknown key", format!("{service}horigins = 1\n"), vec!["5", "horigins"]),
        (
            "unknown section",
            format!("{service}[stroe]\nmemory_bytes_max = \"1GiB\"\n"),
            vec!["stroe", "store"],
        ),
        (
            "wrong unit",
            format!("{service}[store]\nmemory_bytes_max = \"12 parsecs\"\n"),
            vec!["6", "memory_bytes_max"],
        ),
        ("wrong type", format!("[node]\nname = [7]\n{service}"), vec!["2", "name"]),
        ("no origin", "[[services]]\nname = \"site\"\nhosts = [\"*\"]\n".to_owned(), vec!["origins"]),
        ("not TOML", "[node\nname = \"x\"\n".to_owned(), vec!["1"]),
    ];
    for (what, text, words) in cases {
        let output = check(&text).await;
        assert_eq!(output.code, FAILED, "{what}: {output:?}");
        let said = output.stderr + &output.stdout;
        assert!(said.contains("starling.toml"), "{what}: names no file: {said}");
        for word in words {
            assert!(said.contains(word), "{what}: {word} is not in: {said}");
        }
    }
    assert_eq!(check(service).await.code, DONE);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_mistakes_are_told_at_once() {
    let output = check("[node]\nnaem = \"x\"\n[limits]\nheaders_max = \"many\"\n").await;
    let said = output.stderr + &output.stdout;
    assert!(said.contains("naem") && said.contains("headers_max") && said.contains("services"), "{said}");
}

async fn check(text: &str) -> Output {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let file = dir.path().join("starling.toml");
    fs::write(&file, text).expect("a temporary file can be written");
    starling(&["config", "check", &file.display().to_string()]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_tell_what_went_wrong() {
    let nobody = "http://127.0.0.1:1";
    let silent = TestOrigin::start(|_| Reply::hang()).await;
    let cases = [
        (vec!["--no-such-flag"], USAGE),
        (vec!["no-such-command"], USAGE),
        (vec!["purge", "--admin", nobody], USAGE),
        (vec!["purge", "--all", "--wait", "wishes", "--admin", nobody], USAGE),
        (vec!["config", "check", "/no/such/file.toml"], FAILED),
        (vec!["status", "--admin", nobody], FAILED),
        (vec!["purge", "--all", "--admin", nobody], FAILED),
    ];
    for (arguments, code) in cases {
        let output = starling(&arguments).await;
        assert_eq!(output.code, code, "{arguments:?}: {output:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?} failed in silence");
    }
    let url = silent.url();
    let waited = starling(&["purge", "--all", "--timeout", "200ms", "--admin", &url]).await;
    assert_eq!(waited.code, TIMED_OUT, "{waited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_an_origin_says_what_it_needs() {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let data = dir.path().display().to_string();
    let output =
        starling(&["node", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data", &data]).await;
    assert!(matches!(output.code, FAILED | USAGE), "{output:?}");
    assert!(output.stderr.contains("--origin"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_never_share_a_data_directory() {
    let origin = TestOrigin::start(|_| Reply::cacheable("x")).await;
    let node = Node::before(&origin).await;
    let (url, data) = (origin.url(), node.data().display().to_string());
    let second = starling(&[
        "node",
        "--http",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--data",
        &data,
        "--origin",
        &url,
    ])
    .await;
    assert_eq!(second.code, FAILED, "{second:?}");
    node.get("/still-alive").await.expect_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_commands_do_what_they_say() {
    let origin = TestOrigin::start(|_| Reply::cacheable("x").header("surrogate-key", "t")).await;
    let node = Node::before(&origin).await;
    let admin = node.admin_url();
    let host = "www.example.org";
    let url = format!("http://{host}/a");
    for selector in
        [vec!["--url", &url], vec!["--tag", "t"], vec!["--host", host], vec!["--prefix", &url], vec!["--all"]]
    {
        node.get_with("/a", &[("host", host)]).await;
        assert!(node.get_with("/a", &[("host", host)]).await.is_hit());
        let arguments = [&["purge", "--json", "--admin", &admin], selector.as_slice()].concat();
        let output = starling(&arguments).await;
        assert_eq!(output.code, DONE, "{arguments:?}: {output:?}");
        let receipt: Value = serde_json::from_str(&output.stdout).expect("--json prints JSON");
        assert!(receipt["id"].is_string(), "{receipt}");
        assert!(!node.get_with("/a", &[("host", host)]).await.is_hit(), "{selector:?}");
    }
    let status = starling(&["status", "--json", "--admin", &admin]).await;
    assert_eq!(status.code, DONE, "{status:?}");
    let status: Value = serde_json::from_str(&status.stdout).expect("--json prints JSON");
    assert!(status.is_object(), "{status}");
    let status = starling(&["status", "--admin", &admin]).await;
    assert!(status.stdout.contains("test-1"), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_listener_tells_how_the_node_is() {
    let origin = TestOrigin::start(|_| Reply::cacheable("x")).await;
    let node = Node::before(&origin).await;
    node.admin_get("/healthz").await.expect_status(200);
    node.admin_get("/readyz").await.expect_status(200);
    let status = node.admin_get("/v1/status").await.expect_status(200);
    let status: Value = serde_json::from_slice(&status.body).expect("the status is JSON");
    assert!(status.to_string().contains("test-1"), "{status}");
    node.get("/a").await;
    node.get("/a").await;
    let metrics = node.metrics().await;
    let requests: f64 =
        metrics.names().iter().filter(|n| n.contains("requests")).filter_map(|n| metrics.get(n, &[])).sum();
    assert!(requests >= 2.0, "no metric counts the requests: {:?}", metrics.names());
    assert!(metrics.names().iter().all(|name| name.starts_with("starling_") || name.starts_with("process_")));
    for (body, what) in [("{", "no JSON"), ("{}", "no selector"), ("{\"urls\":[7]}", "a number for a URL")] {
        let purge = Request::new("POST", "/v1/purge").header("content-type", "application/json").body(body);
        let refused = starling_tests::send(node.admin(), purge).await;
        assert!((400..500).contains(&refused.status), "{what}: {}", refused.status);
    }
    let _ = node.purge(json!({"all": true})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_finishes_what_was_begun() {
    let gate = Gate::new();
    let closed = gate.clone();
    let body = "a".repeat(100_000);
    let whole = body.clone();
    let origin = TestOrigin::start(move |request| match request.target.as_str() {
        "/slow-head" => Reply::cacheable(whole.clone()).head_waits_at(&closed),
        _ => Reply::cacheable(whole.clone()).body_waits_at(10, &closed),
    })
    .await;
    let mut node = Node::before(&origin).await;
    let address = node.http();
    let mut idle = node.connect().await;
    let slow = ["/slow-head", "/slow-body"].map(|target| {
        tokio::spawn(async move { starling_tests::try_send(address, Request::get(target)).await })
    });
    gate.reached(2).await;
    node.signal("TERM").await;
    // The idle connection is closed: the drain has begun.
    let closed = idle.read_to_close(1000).await;
    assert!(closed.bytes.is_empty(), "{closed:?}");
    gate.open();
    for answer in slow {
        let response = answer.await.expect("the client task ends").expect("what was begun is finished");
        assert_eq!((response.status, response.text().len()), (200, body.len()));
    }
    assert!(node.exited().await.success(), "a drained node ends with success");
    assert!(RawConn::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_brings_new_certificates_and_keeps_the_old_when_they_are_broken() {
    let host = "www.example.org";
    let origin = TestOrigin::start(|_| Reply::cacheable("x")).await;
    let ca = TestCa::new();
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let files = ca.issue(dir.path(), "edge", &[host]);
    let node = Node::builder().origin(origin.url()).certificate(&files).start().await;
    let leaf = async || {
        let connected = ca.connect(node.https(), host, &["http/1.1"]).await;
        connected.expect("a trusted certificate is presented")
    };
    let (mut old_connection, _, first) = leaf().await;
    ca.issue(dir.path(), "edge", &[host]);
    node.signal("HUP").await;
    let renewed = timeout(PATIENCE, async {
        loop {
            let (_, _, now) = leaf().await;
            if now != first {
                return now;
            }
            // A reload says nothing to its clients: all that can be done is to ask again.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let second = renewed.await.expect("the new certificate was never presented");
    let kept = old_connection.send(&Request::get("/").host(host)).await;
    assert_eq!(kept.expect("connections outlive a reload").status, 200);

    fs::write(&files.cert, "this is no certificate").expect("the file can be written");
    node.signal("HUP").await;
    for _ in 0..5 {
        assert_eq!(leaf().await.2, second, "a broken certificate must not replace a good one");
    }
    node.get("/alive").await.expect_status(200);
}
