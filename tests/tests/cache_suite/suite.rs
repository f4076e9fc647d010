//! The suite as a program: installed under `target/`, its origin, its client.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use starling_tests::{Node, PATIENCE, workspace};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::oneshot,
    time::timeout,
};

use super::score::Test;

/// A run takes about a minute; this only ends one that hangs.
const RUN_MAX: Duration = Duration::from_secs(900);

/// The installed suite.
pub struct Suite {
    /// Where `node_modules` is.
    dir: PathBuf,
}

/// The suite's origin, on a loopback port of its own. It ends when dropped.
pub struct SuiteOrigin {
    address: String,
    log: Arc<Mutex<String>>,
    _child: Child,
}

impl Suite {
    /// Installs the pinned version, unless it is there.
    pub async fn installed() -> Self {
        let dir = workspace().join("target/cache-suite");
        fs::create_dir_all(&dir).expect("target/ can be written");
        let suite = Self { dir };
        let lock = source("package-lock.json");
        let wanted = fs::read_to_string(&lock).expect("the lock is part of the repository");
        let have = fs::read_to_string(suite.dir.join("package-lock.json")).unwrap_or_default();
        if have == wanted && suite.root().join("package.json").exists() {
            return suite;
        }
        fs::copy(source("package.json"), suite.dir.join("package.json")).expect("package.json can be copied");
        fs::copy(lock, suite.dir.join("package-lock.json")).expect("package-lock.json can be copied");
        let arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--omit=dev"];
        output(Command::new("npm").args(arguments).current_dir(&suite.dir)).await;
        suite
    }

    /// All tests of the suite.
    pub async fn tests(&self) -> Vec<Test> {
        let printed = output(Command::new("node").arg(source("kinds.mjs")).arg(self.root())).await;
        serde_json::from_str(&printed).expect("kinds.mjs prints the tests as JSON")
    }

    /// Starts the suite's origin.
    pub async fn origin(&self) -> SuiteOrigin {
        let mut child = Command::new("node")
            .arg("--import")
            .arg(source("loopback.mjs"))
            .arg("server/server.mjs")
            .current_dir(self.root())
            .env("npm_config_protocol", "http")
            .env("npm_config_port", "0")
            .env("npm_config_pidfile", self.dir.join("origin.pid"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{}", missing("node", &error)));
        let lines = BufReader::new(child.stdout.take().expect("standard output is piped")).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let (tell, told) = oneshot::channel();
        tokio::spawn(follow(lines, log.clone(), tell));
        let address = timeout(PATIENCE, told).await.expect("the suite's origin starts in time");
        SuiteOrigin {
            address: address.expect("the suite's origin says where it listens"),
            log,
            _child: child,
        }
    }

    /// Runs all tests against a node; answers the results by test.
    pub async fn run(&self, node: &Node) -> serde_json::Map<String, serde_json::Value> {
        let printed = self.client(node, "").await;
        // The client may print stray lines before the object.
        let json = printed.find("\n{").map_or(printed.as_str(), |at| &printed[at + 1..]);
        serde_json::from_str(json)
            .unwrap_or_else(|error| panic!("the client printed no results: {error}\n{printed}"))
    }

    /// Runs one test; answers what the client prints about it.
    pub async fn run_one(&self, node: &Node, test: &str) -> String {
        self.client(node, test).await
    }

    async fn client(&self, node: &Node, test: &str) -> String {
        let mut command = Command::new("node");
        command
            .args(["--no-warnings", "cli.mjs"])
            .current_dir(self.root())
            .env("npm_config_base", format!("http://{}", node.http()))
            .env("npm_config_id", test)
            .env("npm_package_config_id", test)
            .env_remove("http_proxy")
            .env_remove("HTTP_PROXY");
        timeout(RUN_MAX, output(&mut command)).await.expect("the suite came to no end")
    }

    fn root(&self) -> PathBuf {
        self.dir.join("node_modules/http-cache-tests")
    }
}

impl SuiteOrigin {
    /// Where it listens, as an origin of a node.
    pub fn url(&self) -> &str {
        self.address.trim_end_matches('/')
    }

    /// What it printed.
    pub fn log(&self) -> String {
        self.log.lock().map(|log| log.clone()).unwrap_or_default()
    }
}

async fn follow(
    mut lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
    log: Arc<Mutex<String>>,
    tell: oneshot::Sender<String>,
) {
    let mut tell = Some(tell);
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(address) = line.strip_prefix("Listening on ")
            && let Some(tell) = tell.take()
        {
            let _ = tell.send(address.to_owned());
        }
        if let Ok(mut log) = log.lock() {
            log.push_str(&line);
            log.push('\n');
        }
    }
}

async fn output(command: &mut Command) -> String {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true).output().await;
    let output = output.unwrap_or_else(|error| panic!("{}", missing(&program, &error)));
    assert!(output.status.success(), "{program} ended with {}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn missing(program: &str, error: &std::io::Error) -> String {
    format!("{program}: {error}; the suite needs Node.js 18.19 or newer, and npm (tests/run installs them)")
}

fn source(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cache-suite").join(file)
}
