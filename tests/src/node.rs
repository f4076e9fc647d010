//! One running `starling node`, and the binary it is.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::{
    fs::File,
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdout, Command},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};

use crate::{CertFiles, Metrics, PATIENCE, RawConn, Request, Response, send, try_send};

/// Where the workspace lies.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a member of the workspace")
}

/// The built binary: beside this test in `target/release`, or where `STARLING_BINARY` says.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("STARLING_BINARY") {
        return path.into();
    }
    let test = std::env::current_exe().expect("a running test has a path");
    let profile = test.parent().and_then(Path::parent).expect("tests are built into target/PROFILE/deps");
    let path = profile.join("starling");
    assert!(
        path.exists(),
        "{} is not there; build it first: cargo build --release -p starling",
        path.display()
    );
    path
}

/// What a finished command left.
#[derive(Debug)]
pub struct Output {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Runs `starling` with these arguments to its end.
pub async fn starling(arguments: &[&str]) -> Output {
    let mut command = command();
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("starling {arguments:?} came to no end"));
    let output = output.unwrap_or_else(|error| panic!("starling {arguments:?}: {error}"));
    Output {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The binary with no setting of the surroundings leaking in.
fn command() -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("STARLING_")) {
        command.env_remove(name);
    }
    command
}

/// How a node is to be started.
#[derive(Clone, Debug)]
pub struct NodeBuilder {
    origins: Vec<String>,
    toml: Option<String>,
    certificates: Vec<CertFiles>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl NodeBuilder {
    /// `--origin URL`.
    pub fn origin(mut self, url: impl Into<String>) -> Self {
        self.origins.push(url.into());
        self
    }

    /// The text of the file given by `--config`.
    pub fn toml(mut self, text: impl Into<String>) -> Self {
        self.toml = Some(text.into());
        self
    }

    /// A TLS listener with this certificate; more calls add certificates.
    pub fn certificate(mut self, files: &CertFiles) -> Self {
        self.certificates.push(files.clone());
        self
    }

    /// More arguments of `starling node`.
    pub fn args(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// A variable of its environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the node with an empty data directory and waits until it is ready.
    pub async fn start(self) -> Node {
        let dir = tempfile::Builder::new().prefix("starling-test-").tempdir();
        self.start_in(Arc::new(dir.expect("a temporary directory can be made"))).await
    }

    async fn start_in(self, dir: Arc<TempDir>) -> Node {
        let running = Running::start(&self, dir.path()).await;
        Node { builder: self, dir, running: Some(running) }
    }

    fn arguments(&self, dir: &Path) -> Vec<String> {
        let mut arguments: Vec<String> =
            ["node", "--name", "test-1", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data"]
                .map(str::to_owned)
                .to_vec();
        arguments.push(dir.join("data").display().to_string());
        if let Some(text) = &self.toml {
            let file = dir.join("starling.toml");
            fs::write(&file, text).expect("the configuration can be written");
            arguments.extend(["--config".to_owned(), file.display().to_string()]);
        }
        for origin in &self.origins {
            arguments.extend(["--origin".to_owned(), origin.clone()]);
        }
        if !self.certificates.is_empty() {
            arguments.extend(["--https".to_owned(), "127.0.0.1:0".to_owned()]);
        }
        for CertFiles { cert, key } in &self.certificates {
            let pair = [
                "--cert".to_owned(),
                cert.display().to_string(),
                "--key".to_owned(),
                key.display().to_string(),
            ];
            arguments.extend(pair);
        }
        arguments.extend(self.arguments.iter().cloned());
        arguments
    }
}

/// One node. When dropped it is killed and its data removed; when its test fails, the end of its log is shown.
pub struct Node {
    builder: NodeBuilder,
    dir: Arc<TempDir>,
    running: Option<Running>,
}

struct Running {
    child: Child,
    pid: u32,
    listening: Listening,
    stdout: JoinHandle<()>,
}

/// What the node says on its standard output before `ready`.
#[derive(Clone, Debug, Default)]
struct Listening {
    http: Option<SocketAddr>,
    https: Option<SocketAddr>,
    admin: Option<SocketAddr>,
}

impl Node {
    /// A node on loopback ports of its own choosing.
    pub fn builder() -> NodeBuilder {
        NodeBuilder {
            origins: Vec::new(),
            toml: None,
            certificates: Vec::new(),
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// A node in front of one origin, with everything else as it comes.
    pub async fn before(origin: &crate::TestOrigin) -> Self {
        Self::builder().origin(origin.url()).start().await
    }

    /// The cleartext listener.
    pub fn http(&self) -> SocketAddr {
        self.running().listening.http.expect("the node was told to listen for HTTP")
    }

    /// The TLS listener.
    pub fn https(&self) -> SocketAddr {
        self.running().listening.https.expect("the node was told to listen for HTTPS")
    }

    /// The admin listener.
    pub fn admin(&self) -> SocketAddr {
        self.running().listening.admin.expect("the node was told to listen for its admin")
    }

    /// `http://127.0.0.1:PORT` of the admin listener, as the client commands take it.
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin())
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The directory of its log and configuration; a test may put files beside them.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.running().pid
    }

    /// What it has written to standard output, over all its lives.
    pub fn stdout(&self) -> String {
        fs::read_to_string(self.dir.path().join("stdout.log")).unwrap_or_default()
    }

    /// What it has written to standard error, over all its lives.
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.dir.path().join("stderr.log")).unwrap_or_default()
    }

    /// `GET target` on a connection of its own.
    pub async fn get(&self, target: &str) -> Response {
        self.send(Request::get(target)).await
    }

    /// `GET target` with these fields (`host` among them sets the authority).
    pub async fn get_with(&self, target: &str, headers: &[(&str, &str)]) -> Response {
        let request = Request::get(target);
        self.send(headers.iter().fold(request, |request, (name, value)| request.header(name, value))).await
    }

    /// One request on a connection of its own; panics when no whole answer comes.
    pub async fn send(&self, request: Request) -> Response {
        send(self.http(), request).await
    }

    /// One request on a connection of its own; a cut body is an error.
    pub async fn try_send(&self, request: Request) -> std::io::Result<Response> {
        try_send(self.http(), request).await
    }

    /// A connection to the cleartext listener.
    pub async fn connect(&self) -> RawConn {
        RawConn::connect(self.http())
            .await
            .unwrap_or_else(|error| panic!("connect to {}: {error}", self.http()))
    }

    /// `GET target` of the admin API.
    pub async fn admin_get(&self, target: &str) -> Response {
        send(self.admin(), Request::get(target)).await
    }

    /// `POST /v1/purge` with this JSON; panics unless it is done. Answers the JSON of the receipt.
    pub async fn purge(&self, request: serde_json::Value) -> serde_json::Value {
        let body = Bytes::from(request.to_string());
        let request = Request::new("POST", "/v1/purge").header("content-type", "application/json").body(body);
        let response = send(self.admin(), request).await;
        assert!((200..300).contains(&response.status), "purge: {} {}", response.status, response.text());
        serde_json::from_slice(&response.body).unwrap_or_else(|_| panic!("not JSON: {}", response.text()))
    }

    /// The metrics now.
    pub async fn metrics(&self) -> Metrics {
        Metrics::parse(&self.admin_get("/metrics").await.expect_status(200).text())
    }

    /// The most memory the process ever held in this life (`VmHWM`), in bytes.
    pub fn rss_peak_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the node runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells VmHWM");
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().expect("VmHWM is a number of kB");
        kib << 10
    }

    /// Sends a signal (`TERM`, `HUP`) to the process.
    pub async fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.pid());
        let status = Command::new("sh").arg("-c").arg(&kill).status().await;
        assert!(status.is_ok_and(|status| status.success()), "{kill} failed");
    }

    /// `kill -9`, and waits until the process is gone.
    pub async fn kill9(&mut self) {
        let mut running = self.running.take().expect("the node runs");
        running.child.kill().await.expect("a running child can be killed");
        let _ = running.stdout.await;
    }

    /// `SIGTERM`, and waits until the process has drained and is gone.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal("TERM").await;
        self.exited().await
    }

    /// Waits until the process is gone by itself.
    pub async fn exited(&mut self) -> ExitStatus {
        let mut running = self.running.take().expect("the node runs");
        let status = timeout(PATIENCE, running.child.wait()).await;
        // Before its output, which goes on for as long as the process does.
        let status = status.expect("the node did not end").expect("a child can be waited for");
        let _ = running.stdout.await;
        status
    }

    /// Starts the node again on the same data; it is stopped first if it runs.
    pub async fn restart(&mut self) {
        if self.running.is_some() {
            self.stop().await;
        }
        self.running = Some(Running::start(&self.builder, self.dir.path()).await);
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("the node runs")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the node's standard output:\n{}", tail(&self.stdout()));
            eprintln!("--- the node's standard error:\n{}", tail(&self.stderr()));
        }
    }
}

impl Running {
    async fn start(builder: &NodeBuilder, dir: &Path) -> Self {
        let append = |name: &str| {
            let file = fs::OpenOptions::new().create(true).append(true).open(dir.join(name));
            file.expect("a log can be written")
        };
        let mut command = command();
        command
            .args(builder.arguments(dir))
            .envs(builder.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(append("stderr.log"))
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", binary().display()));
        let pid = child.id().expect("a child that was not waited for has an id");
        let stdout = child.stdout.take().expect("standard output is piped");
        let (tell, told) = oneshot::channel();
        let stdout = tokio::spawn(read_stdout(stdout, File::from_std(append("stdout.log")), tell));
        match timeout(PATIENCE, told).await {
            Ok(Ok(listening)) => Self { child, pid, listening, stdout },
            _ => {
                let log = fs::read_to_string(dir.join("stderr.log")).unwrap_or_default();
                panic!("the node did not become ready; its standard error:\n{}", tail(&log));
            }
        }
    }
}

/// Copies the standard output to a file; tells the listeners once `ready` is said.
async fn read_stdout(stdout: ChildStdout, mut log: File, tell: oneshot::Sender<Listening>) {
    let mut lines = BufReader::new(stdout).lines();
    let mut listening = Listening::default();
    let mut tell = Some(tell);
    while let Ok(Some(line)) = lines.next_line().await {
        let _ = log.write_all(format!("{line}\n").as_bytes()).await;
        let _ = log.flush().await;
        let Some((name, address)) = line.strip_prefix("listening ").and_then(|rest| rest.split_once('='))
        else {
            if line == "ready"
                && let Some(tell) = tell.take()
            {
                let _ = tell.send(listening.clone());
            }
            continue;
        };
        let address = address.trim().parse().ok();
        match name {
            "http" => listening.http = address,
            "https" => listening.https = address,
            "admin" => listening.admin = address,
            _ => {}
        }
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}
