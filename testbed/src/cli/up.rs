//! Commands that start a testbed, tell how it stands, and end it.

mod node;
mod status;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

pub use self::{node::NodeCommand, status::Status};
use crate::{
    cluster::{Cluster, Settings, State, testbed_binary},
    topology::Topology,
};

/// How a testbed is to be started.
#[derive(clap::Args)]
pub struct Up {
    /// A file, or the name of one in cluster-configs/topologies/
    #[arg(default_value = "three-regions")]
    topology: String,
    /// In network namespaces, with delays and routers between PoPs; needs root
    #[arg(long)]
    netns: bool,
    /// Start the nodes so that `fault` can have their clocks and disks fail
    #[arg(long)]
    faulty: bool,
    /// On loopback: the origin's port; nodes have this plus 10, 20 and so on
    #[arg(long, value_name = "PORT", default_value_t = 18_000)]
    first_port: u16,
    /// The binary of the nodes [default: starling beside this one]
    #[arg(long, value_name = "FILE", env = "STARLING_BINARY")]
    node_binary: Option<PathBuf>,
    /// `--log-level` of the nodes
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: String,
    /// How many seconds all nodes may take until they are ready and see each other
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    ready_timeout: u64,
}

impl Up {
    pub async fn run(self, dir: &Path) -> anyhow::Result<u8> {
        let begun = Instant::now();
        let settings = self.settings(dir)?;
        let topology = &settings.topology;
        let how =
            if settings.netns { "in network namespaces" } else { "on loopback, without delays between PoPs" };
        say!("{}: {}, {how}", topology.name, topology.title);

        let enough = CancellationToken::new();
        let watch = interrupted()?;
        let mut tell = |line: &str| say!("{:>6.1} s  {line}", begun.elapsed().as_secs_f64());
        let started = {
            let up = Cluster::up_unless(&settings, &mut tell, &enough);
            tokio::pin!(up, watch);
            tokio::select! {
                started = &mut up => started,
                () = &mut watch => {
                    eprintln!("interrupted: what was started is ended");
                    enough.cancel();
                    up.await
                }
            }
        };
        let cluster = started?;
        say!("\n{}", told(&cluster.state(), cluster.dir(), begun.elapsed()));
        Ok(0)
    }

    fn settings(&self, dir: &Path) -> anyhow::Result<Settings> {
        let node_binary = match &self.node_binary {
            Some(path) => path.clone(),
            None => testbed_binary()?.with_file_name("starling"),
        };
        Ok(Settings {
            topology: Topology::load(&self.topology)?,
            dir: dir.to_owned(),
            node_binary,
            netns: self.netns,
            faulty: self.faulty,
            first_port: self.first_port,
            log_level: self.log_level.clone(),
            ready_timeout: Duration::from_secs(self.ready_timeout),
        })
    }
}

/// End the testbed.
#[derive(clap::Args)]
pub struct Down {}

impl Down {
    pub async fn run(self, dir: &Path) -> anyhow::Result<u8> {
        Cluster::attach(dir)?.down(&mut |line| say!("{line}")).await?;
        Ok(0)
    }
}

/// Ends when somebody wants this process to end.
fn interrupted() -> anyhow::Result<impl Future<Output = ()>> {
    let of = |kind| signal(kind).context("cannot wait for signals");
    let (mut interrupt, mut terminate) = (of(SignalKind::interrupt())?, of(SignalKind::terminate())?);
    let mut hangup = of(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

/// Where all of it is, and what can be tried.
fn told(state: &State, dir: &Path, took: Duration) -> String {
    let mut lines = vec![format!(
        "{} nodes are ready after {:.1} s. Their data and logs are in {}.",
        state.nodes.len(),
        took.as_secs_f64(),
        dir.join("nodes").display()
    )];
    lines.push(format!("The origin is http://{}\n", state.origin.address));
    lines.push(format!("{:<10} {:<5} {:<6} {:<28} {}", "node", "pop", "region", "clients", "admin"));
    lines.extend(state.nodes.iter().map(|node| {
        let (http, admin) = (format!("http://{}", node.http), format!("http://{}", node.admin));
        format!("{:<10} {:<5} {:<6} {http:<28} {admin}", node.name, node.pop, node.region)
    }));
    if let [first, .., last] = &state.nodes[..] {
        let token = state.token.as_ref().map(|token| format!("STARLING_TOKEN={token} ")).unwrap_or_default();
        let purge = format!(
            "{token}{} purge --admin http://{} --wait applied --service available --tag g-1",
            shown(&state.node_binary),
            last.admin
        );
        let option = if is_default(dir) { String::new() } else { format!(" --dir {}", dir.display()) };
        lines.push(String::from("\nWorth trying:"));
        lines.extend(
            [
                format!("curl -si -H 'Host: available.test' 'http://{}/o/1/1?bytes=100'", first.http),
                format!("curl -si -H 'Host: available.test' 'http://{}/o/1/1?bytes=100'", last.http),
                purge,
                format!("testbed/status{option}"),
                format!("testbed/node kill {}{option}", first.name),
                format!("testbed/node start {}{option}", first.name),
                format!("testbed/chaos{option}"),
                format!("testbed/down{option}"),
            ]
            .map(|command| format!("  {command}")),
        );
    }
    lines.join("\n")
}

/// Whether commands find this directory without being told.
fn is_default(dir: &Path) -> bool {
    let named: OsString =
        std::env::var_os("STARLING_TESTBED").unwrap_or_else(|| "/tmp/starling-testbed".into());
    Path::new(&named).canonicalize().is_ok_and(|default| default == dir)
}

/// A path as short as it can be written here.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().and_then(|here| here.canonicalize()).unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}
