//! The process of a node, from its start until it is gone.

use std::{fs, net::SocketAddr, path::Path, process::Stdio};

use tokio::{
    fs::File,
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdout},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};

use super::{
    NodeBuilder, binary,
    command::{command, command_in},
};
use crate::PATIENCE;

/// A running process and where it listens.
pub(super) struct Running {
    pub child: Child,
    pub pid: u32,
    pub listening: Listening,
    pub stdout: JoinHandle<()>,
}

/// What the node says on its standard output before `ready`.
#[derive(Clone, Debug, Default)]
pub(super) struct Listening {
    pub http: Option<SocketAddr>,
    pub https: Option<SocketAddr>,
    pub admin: Option<SocketAddr>,
    pub mesh: Option<SocketAddr>,
}

impl Running {
    /// Starts the process and waits for its `ready`; when it ends before that, its standard error is the answer.
    pub async fn start(builder: &NodeBuilder, dir: &Path) -> Result<Self, String> {
        let append = |name: &str| {
            let file = fs::OpenOptions::new().create(true).append(true).open(dir.join(name));
            file.expect("a log can be written")
        };
        let mut command = match &builder.namespace {
            Some(namespace) => command_in(namespace),
            None => command(),
        };
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
            Ok(Ok(listening)) => Ok(Self { child, pid, listening, stdout }),
            _ => Err(fs::read_to_string(dir.join("stderr.log")).unwrap_or_default()),
        }
    }
}

/// What is said of a node that ended before its `ready`, by its standard error.
pub(super) fn not_ready(log: &str) -> String {
    format!("the node did not become ready; its standard error:\n{}", tail(log))
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
            "mesh" => listening.mesh = address,
            _ => {}
        }
    }
}

/// The last lines of a log.
pub(super) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}
