//! One running `starling node`, and the binary it is.

mod builder;
mod command;
mod process;

pub use builder::NodeBuilder;
pub use command::{Output, binary, starling, workspace};

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

use self::process::{Running, not_ready, tail};
use crate::{Metrics, PATIENCE, RawConn, Request, Response, send, try_send};

/// One node. When dropped it is killed and its data removed; when its test fails, the end of its log is shown.
pub struct Node {
    builder: NodeBuilder,
    dir: TempDir,
    running: Option<Running>,
}

impl Node {
    /// A node on loopback ports of its own choosing.
    pub fn builder() -> NodeBuilder {
        NodeBuilder::new()
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

    /// The mesh listener.
    pub fn mesh(&self) -> SocketAddr {
        self.running().listening.mesh.expect("the node was told to listen for its mesh")
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.builder.name
    }

    /// The bearer token that its admin API wants of the test.
    pub fn token(&self) -> Option<&str> {
        self.builder.token.as_deref()
    }

    /// Whether it was started and not yet stopped or killed by the test.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
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
        send(self.admin(), self.authorised(Request::get(target))).await
    }

    fn authorised(&self, request: Request) -> Request {
        match &self.builder.token {
            Some(token) => request.header("authorization", &format!("Bearer {token}")),
            None => request,
        }
    }

    /// `POST /v1/purge` with this JSON; panics unless it is done. Answers the JSON of the receipt.
    pub async fn purge(&self, request: serde_json::Value) -> serde_json::Value {
        let body = Bytes::from(request.to_string());
        let request = Request::new("POST", "/v1/purge").header("content-type", "application/json").body(body);
        let response = send(self.admin(), self.authorised(request)).await;
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

    /// The processor time that the process has taken in this life.
    pub fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("the node runs");
        // The second field may hold anything, but it ends at the last parenthesis.
        let fields = stat.rsplit(") ").next().unwrap_or_default();
        let ticks =
            fields.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>();
        // USER_HZ is 100 on every Linux that is.
        Duration::from_millis(10 * ticks)
    }

    /// Sends a signal (`TERM`, `HUP`, `STOP`) to the process.
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
        let started = Running::start(&self.builder, self.dir.path()).await;
        self.running = Some(started.unwrap_or_else(|log| panic!("{}", not_ready(&log))));
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("the node runs")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let name = self.name();
            eprintln!("--- standard output of {name}:\n{}", tail(&self.stdout()));
            eprintln!("--- standard error of {name}:\n{}", tail(&self.stderr()));
        }
    }
}
