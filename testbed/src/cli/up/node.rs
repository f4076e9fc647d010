//! Something is done to a node.

use std::{path::Path, time::Duration};

use anyhow::Context;

use crate::cluster::{Cluster, Node};

/// Longer than nodes drain.
const STOP_PATIENCE: Duration = Duration::from_secs(40);

/// Do something to nodes.
#[derive(clap::Args)]
pub struct NodeCommand {
    /// What
    #[arg(value_enum)]
    what: What,
    /// To which nodes, one after the other
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// kill -9
    Kill,
    /// SIGSTOP: it is there, and does nothing
    Stop,
    /// SIGCONT
    Cont,
    /// SIGTERM, and started again with the data it has
    Restart,
    /// Started with the data it has
    Start,
    /// SIGTERM: it drains and ends
    Term,
}

impl NodeCommand {
    pub async fn run(self, dir: &Path) -> anyhow::Result<u8> {
        let cluster = Cluster::attach(dir)?;
        // A name that is wrong is told before anything is done.
        for name in &self.names {
            cluster.node(name)?;
        }
        if self.what == What::Kill {
            let (alive, dead): (Vec<_>, Vec<_>) = self
                .names
                .iter()
                .cloned()
                .partition(|name| cluster.node(name).is_ok_and(|node| node.is_alive()));
            cluster.kill(&alive).await?;
            alive.iter().for_each(|name| say!("{name} is killed"));
            dead.iter().for_each(|name| say!("{name} did not run"));
            return Ok(0);
        }
        for name in &self.names {
            let node = cluster.node(name)?;
            let done = act(&cluster, &node, self.what).await.with_context(|| name.clone())?;
            say!("{name} {done}");
        }
        Ok(0)
    }
}

async fn act(cluster: &Cluster, node: &Node, what: What) -> anyhow::Result<&'static str> {
    let name = &node.name;
    match what {
        What::Kill => cluster.kill(std::slice::from_ref(name)).await.map(|()| "is killed"),
        What::Stop => cluster.pause(name, true).map(|()| "is paused"),
        What::Cont => cluster.pause(name, false).map(|()| "goes on"),
        What::Term if !node.is_alive() => Ok("did not run"),
        What::Term => cluster.stop(name, STOP_PATIENCE).await.map(|()| "has ended"),
        What::Start => cluster.start(name).await.map(|()| "is ready"),
        What::Restart => {
            cluster.stop(name, STOP_PATIENCE).await?;
            cluster.start(name).await.map(|()| "is ready again")
        }
    }
}
