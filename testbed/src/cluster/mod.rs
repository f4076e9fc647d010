//! A testbed that runs: its nodes and its origin as processes, on loopback or in namespaces.
//!
//! All that is known of it lies in one directory: `cluster.json` and a directory for each node. So each command
//! finds what another one started, and `down` leaves nothing.
//!
//! | part | what it does |
//! | --- | --- |
//! | `up` | starts one, and ends what it has started when that fails |
//! | `keep` | the directory: read by every command, changed by one at a time |
//! | `launch` | how nodes and the origin are started |
//! | `process` | processes that outlive who started them |
//! | `seen` | what the nodes say of themselves and each other, and whether that is settled |
//! | `down` | takes all of it away |

mod admin;
mod down;
mod keep;
mod launch;
mod process;
mod seen;
#[cfg(test)]
mod tests;
mod up;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use nix::sys::signal::Signal;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

pub use self::{
    admin::Admin,
    launch::testbed_binary,
    process::Life,
    seen::{Group, Peer, Peers, Seen, Status, Traffic},
};
use self::{
    keep::{Keep, Version},
    launch::log_end,
};
use crate::{
    client::{Ask, Client},
    topology::Topology,
};

/// A node has to open its store, and on a busy machine many do so at once.
const READY_PATIENCE: Duration = Duration::from_secs(60);

/// How often is asked whether something that takes a moment is done.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// A node that takes longer to say how it is, is not well.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// Purges may wait for long, and say so themselves.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(65);

/// A testbed of many nodes tells that much at most in one answer.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// How a testbed is to be started.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who stands where.
    pub topology: Topology,
    /// Where all of it is kept; made when it is not there.
    pub dir: PathBuf,
    /// The binary `starling`.
    pub node_binary: PathBuf,
    /// In network namespaces, with the ways of the topology; needs root.
    pub netns: bool,
    /// Nodes are started with the library that makes clocks and disks fail on demand.
    pub faulty: bool,
    /// On loopback: the origin's port; the `k`th node has this plus `10 * k` for HTTP, and the two after it for
    /// its admin API and for the mesh.
    pub first_port: u16,
    /// `--log-level` of the nodes.
    pub log_level: String,
    /// How long all nodes may take to be ready and to see each other.
    pub ready_timeout: Duration,
}

/// What `cluster.json` holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// What was asked for.
    pub topology: Topology,
    /// The binary of the nodes.
    pub node_binary: PathBuf,
    /// In namespaces?
    pub netns: bool,
    /// Started with the faulty library?
    pub faulty: bool,
    /// `--log-level` of the nodes.
    pub log_level: String,
    /// The bearer token of the admin APIs, where they do not stand on loopback.
    pub token: Option<String>,
    /// The origin.
    pub origin: Origin,
    /// All nodes, running or not.
    pub nodes: Vec<Node>,
    /// What the network is made of, for who has to take it away: see [`crate::net`].
    pub net: Option<crate::net::State>,
}

/// The origin of a testbed: [`crate::press`], in a process of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Origin {
    /// Where it serves, and takes commands below `/press/`.
    pub address: SocketAddr,
    /// Its namespace, if it has one.
    pub namespace: Option<String>,
    /// Its process, unless it is dead.
    pub process: Option<Process>,
}

/// A node of a testbed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Node {
    /// `POP-NUMBER`.
    pub name: String,
    /// Its region.
    pub region: String,
    /// Its PoP.
    pub pop: String,
    /// Where it serves.
    pub http: SocketAddr,
    /// Its admin API.
    pub admin: SocketAddr,
    /// Where other nodes reach it.
    pub mesh: SocketAddr,
    /// Its configuration, data, ticket, log (`node.log`) and file of faults (`fault`).
    pub dir: PathBuf,
    /// Its namespace, if it has one.
    pub namespace: Option<String>,
    /// Its process, unless it was killed or stopped.
    pub process: Option<Process>,
}

/// A process that was started here. Its number alone could be somebody else's by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The process id.
    pub pid: i32,
    /// When it began, in the kernel's ticks since boot (`/proc/PID/stat`, field 22).
    pub began: u64,
}

/// A cheap handle to a testbed.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    keep: Keep,
    /// As it was read last; other commands may change it at any time.
    read: Mutex<(Option<Version>, State)>,
    client: Client,
}

/// One step of a start, for who watches.
pub type Tell<'a> = &'a mut (dyn FnMut(&str) + Send);

impl Cluster {
    /// The testbed that was started with this directory.
    pub fn attach(dir: &Path) -> anyhow::Result<Self> {
        let keep = Keep::open(dir)?;
        let state = keep.read()?;
        Ok(Self::of(keep, state))
    }

    fn of(keep: Keep, state: State) -> Self {
        let client = Client::new(ADMIN_TIMEOUT, ANSWER_BYTES_MAX);
        let read = Mutex::new((keep.version(), state));
        Self { inner: Arc::new(Inner { keep, read, client }) }
    }

    /// As it is known now.
    pub fn state(&self) -> State {
        let mut read = self.inner.read.lock();
        let version = self.inner.keep.version();
        if version != read.0
            && let Ok(state) = self.inner.keep.read()
        {
            *read = (version, state);
        }
        read.1.clone()
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        self.inner.keep.dir()
    }

    /// A node by its name; the error names those there are.
    pub fn node(&self, name: &str) -> anyhow::Result<Node> {
        let nodes = self.state().nodes;
        let names = nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(", ");
        let node = nodes.iter().find(|node| node.name == name).cloned();
        node.with_context(|| format!("there is no node {name:?}; there are {names}"))
    }

    /// The names of the nodes whose process is there, paused ones among them.
    pub fn running(&self) -> Vec<String> {
        self.state().nodes.into_iter().filter(Node::is_alive).map(|node| node.name).collect()
    }

    /// Starts a node that does not run, with the data it has, and waits until it is ready.
    pub async fn start(&self, name: &str) -> anyhow::Result<()> {
        self.node(name)?;
        self.launch(name)?;
        self.ready(name, READY_PATIENCE).await
    }

    /// Starts the process of a node, and does not wait.
    fn launch(&self, name: &str) -> anyhow::Result<()> {
        self.inner.keep.change(|state| {
            let node = state.nodes.iter().find(|node| node.name == name);
            let node = node.with_context(|| format!("there is no node {name:?}"))?;
            if let Some(process) = node.process.filter(|process| process.is_alive()) {
                bail!("{name} runs already, as process {}", process.pid);
            }
            let launched = launch::node(self.dir(), state, node).start();
            let process = launched.with_context(|| format!("cannot start {name}"))?;
            state.set_process(name, Some(process));
            Ok(())
        })
    }

    /// Waits until a node is ready; fails at once when its process ends, with the end of its log.
    pub async fn ready(&self, name: &str, patience: Duration) -> anyhow::Result<()> {
        let (node, admin) = (self.node(name)?, self.admin(name)?);
        let begun = Instant::now();
        loop {
            let answer = admin.look("/readyz").await;
            if answer.as_ref().is_ok_and(|answer| answer.status.is_success()) {
                return Ok(());
            }
            ensure!(
                node.is_alive(),
                "{name} has ended by itself; the end of its log:\n{}",
                log_end(&node.dir)
            );
            if begun.elapsed() >= patience {
                let told = match answer {
                    Ok(answer) => format!("/readyz said {}", answer.status),
                    Err(error) => format!("{error}"),
                };
                bail!(
                    "{name} is not ready after {patience:.0?}: {told}; its log is {}",
                    node.log().display()
                );
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// SIGTERM, and SIGKILL when it does not end in `patience`; waits until it is gone.
    ///
    /// One that is paused goes on first, since it could not end otherwise.
    pub async fn stop(&self, name: &str, patience: Duration) -> anyhow::Result<()> {
        let Some(process) = self.node(name)?.process else { return Ok(()) };
        process.signal(Signal::SIGTERM).with_context(|| format!("cannot stop {name}"))?;
        process.signal(Signal::SIGCONT)?;
        if !process.gone(patience).await {
            process.end().await.with_context(|| format!("cannot stop {name}"))?;
        }
        self.note_gone(&[(name.to_owned(), process)])
    }

    /// SIGKILL to all of these at once; waits until they are gone.
    pub async fn kill(&self, names: &[String]) -> anyhow::Result<()> {
        let mut processes = Vec::new();
        for name in names {
            processes.extend(self.node(name)?.process.map(|process| (name.clone(), process)));
        }
        // The signals first: waiting for one would leave the others time to go on.
        for (name, process) in &processes {
            process.signal(Signal::SIGKILL).with_context(|| format!("cannot kill {name}"))?;
        }
        for (name, process) in &processes {
            process.end().await.with_context(|| format!("cannot kill {name}"))?;
        }
        self.note_gone(&processes)
    }

    fn note_gone(&self, gone: &[(String, Process)]) -> anyhow::Result<()> {
        self.inner.keep.change(|state| {
            for (name, process) in gone {
                // It may have been started again by another command.
                if state.nodes.iter().any(|node| node.name == *name && node.process == Some(*process)) {
                    state.set_process(name, None);
                }
            }
            Ok(())
        })
    }

    /// SIGSTOP, or SIGCONT.
    pub fn pause(&self, name: &str, paused: bool) -> anyhow::Result<()> {
        let signal = if paused { Signal::SIGSTOP } else { Signal::SIGCONT };
        let process = self.node(name)?.process;
        let sent = process.map(|process| process.signal(signal)).transpose()?;
        ensure!(sent == Some(true), "{name} does not run: it cannot be paused or resumed");
        Ok(())
    }

    /// Starts the origin again where it was, or ends it with SIGKILL.
    pub async fn origin(&self, runs: bool) -> anyhow::Result<()> {
        if !runs {
            let Some(process) = self.state().origin.process else { return Ok(()) };
            process.end().await.context("cannot kill the origin")?;
            return self.inner.keep.change(|state| {
                state.origin.process = state.origin.process.filter(|other| *other != process);
                Ok(())
            });
        }
        let (address, process) = self.inner.keep.change(|state| {
            if let Some(process) = state.origin.process.filter(|process| process.is_alive()) {
                return Ok((state.origin.address, process));
            }
            let process = launch::origin(self.dir(), state)?.start().context("cannot start the origin")?;
            state.origin.process = Some(process);
            Ok((state.origin.address, process))
        })?;
        self.origin_ready(address, process).await
    }

    async fn origin_ready(&self, address: SocketAddr, process: Process) -> anyhow::Result<()> {
        let ask = Ask::get(address, "", "/demo/stats");
        let begun = Instant::now();
        loop {
            let asked = tokio::time::timeout(LOOK_TIMEOUT, self.inner.client.ask(&ask)).await;
            if matches!(asked, Ok(Ok(answer)) if answer.status.is_success()) {
                return Ok(());
            }
            let log = || log_end(&self.dir().join("origin"));
            ensure!(process.is_alive(), "the origin has ended by itself; the end of its log:\n{}", log());
            ensure!(begun.elapsed() < READY_PATIENCE, "the origin at {address} does not answer:\n{}", log());
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// What one node answers, by way of the origin, to somebody who comes first.
    async fn first_request(&self, node: &Node) -> anyhow::Result<()> {
        let answer = self.inner.client.ask(&Ask::get(node.http, "", "/demo/clock")).await?;
        ensure!(answer.status.is_success(), "{} answers the first request with {}", node.name, answer.status);
        Ok(())
    }

    /// Waits until these nodes are ready, see exactly each other alive, trust their caches, know all regions' logs
    /// equally, and each region of theirs has a leader among them.
    pub async fn settled(&self, names: &[String], patience: Duration) -> anyhow::Result<()> {
        self.settled_or_told(names, patience, &mut |_| ()).await
    }

    /// The admin API of a node.
    pub fn admin(&self, name: &str) -> anyhow::Result<Admin> {
        let node = self.node(name)?;
        Ok(Admin { address: node.admin, token: self.token(), client: self.inner.client.clone() })
    }

    fn token(&self) -> Option<String> {
        self.inner.read.lock().1.token.clone()
    }
}

impl State {
    fn set_process(&mut self, name: &str, process: Option<Process>) {
        for node in self.nodes.iter_mut().filter(|node| node.name == name) {
            node.process = process;
        }
    }
}

impl Node {
    /// What its process does.
    pub fn life(&self) -> Life {
        self.process.map_or(Life::Gone, Process::life)
    }

    /// Whether its process is there, running or paused.
    pub fn is_alive(&self) -> bool {
        self.life() != Life::Gone
    }

    /// What it has printed, in all its lives.
    pub fn log(&self) -> PathBuf {
        self.dir.join("node.log")
    }
}
