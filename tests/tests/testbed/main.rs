//! The testbed as a user runs it: it comes up, is broken, told, judged, and leaves nothing.
//!
//! Ports are fixed for each test, so these run one at a time.

mod chaos;
mod stories;
mod upkeep;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::Value;
use starling_tests::{binary, workspace};
use tempfile::TempDir;
use tokio::{
    process::Command,
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

/// One testbed at a time: each is as many processes as a small machine carries.
static MACHINE: Semaphore = Semaphore::const_new(1);

async fn alone() -> SemaphorePermit<'static> {
    MACHINE.acquire().await.expect("the semaphore is never closed")
}

/// A place for a testbed. Dropped, whatever still runs there is ended.
struct Bed {
    home: TempDir,
    first_port: u16,
}

/// What a finished command left.
struct Output {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Bed {
    fn new(first_port: u16) -> Self {
        let home = tempfile::Builder::new().prefix("starling-test-bed-").tempdir();
        Self { home: home.expect("a temporary directory can be made"), first_port }
    }

    /// The directory of the testbed; `up` makes it, `down` removes it.
    fn dir(&self) -> PathBuf {
        self.home.path().join("bed")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let tool = binary().with_file_name("starling-testbed");
        assert!(tool.exists(), "{} is not there; build it first: cargo build --release", tool.display());
        let mut command = Command::new(tool);
        command.arg("--dir").arg(self.dir()).args(arguments).current_dir(workspace());
        command.env("STARLING_BINARY", binary()).stdin(Stdio::null());
        command
    }

    /// Runs `starling-testbed` with these arguments to its end.
    async fn run(&self, arguments: &[&str]) -> Output {
        let output = timeout(PATIENCE, self.command(arguments).kill_on_drop(true).output()).await;
        let output = output.unwrap_or_else(|_| panic!("{arguments:?} came to no end"));
        let output = output.unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
        Output {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The same; it must end well.
    async fn done(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        assert_eq!(output.code, Some(0), "{arguments:?}\n{}{}", output.stdout, output.stderr);
        output.stdout
    }

    async fn up(&self, topology: &str) {
        let port = self.first_port.to_string();
        self.done(&["up", topology, "--first-port", &port]).await;
    }

    async fn status(&self) -> Value {
        let text = self.done(&["status", "--json"]).await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The processes that have anything to do with this place.
    fn processes(&self) -> Vec<String> {
        let home = self.home.path().display().to_string();
        let processes = std::fs::read_dir("/proc").expect("there is a /proc").flatten();
        processes
            .filter_map(|entry| command_line(&entry.path()))
            .filter(|line| line.contains(&home))
            .collect()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if self.dir().exists() {
            let tool = binary().with_file_name("starling-testbed");
            let _ = std::process::Command::new(tool).arg("--dir").arg(self.dir()).arg("down").status();
        }
    }
}

/// Longer than any command here takes on a machine that is busy with other things: all stories by name take seven
/// minutes on an idle one.
const PATIENCE: Duration = Duration::from_secs(3600);

/// What a process was started with; none for those that are ending.
fn command_line(process: &Path) -> Option<String> {
    let line = std::fs::read(process.join("cmdline")).ok().filter(|line| !line.is_empty())?;
    Some(String::from_utf8_lossy(&line).replace('\0', " "))
}

/// Why there can be no network of namespaces on this machine.
fn can_have_networks() -> Result<(), String> {
    drop(starling_tests::netns::Net::new()?);
    if Path::new("/dev/net/tun").exists() { Ok(()) } else { Err("skipped: needs /dev/net/tun".to_owned()) }
}
