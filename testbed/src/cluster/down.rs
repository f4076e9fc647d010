//! How a testbed is taken away.

use std::collections::BTreeSet;

use anyhow::bail;
use futures_util::future::join_all;
use nix::sys::signal::Signal;

use super::{Cluster, Process, State, Tell, keep::Keep, process::of_testbed};

impl Cluster {
    /// Ends all processes, takes the network away and removes the directory.
    ///
    /// Goes on after errors; when there were any the directory stays, so that it can be tried again.
    pub async fn down(self, tell: Tell<'_>) -> anyhow::Result<()> {
        let state = self.state();
        remove(&self.inner.keep, &state, tell).await
    }
}

/// Takes away what there is of a testbed, whole or half-started.
pub(super) async fn remove(keep: &Keep, state: &State, tell: Tell<'_>) -> anyhow::Result<()> {
    let mut errors = Vec::new();
    let noted: Vec<Process> =
        state.nodes.iter().filter_map(|node| node.process).chain(state.origin.process).collect();
    let ended = end_all(&noted, &mut errors).await;
    // What was started while this began, or just before its starter was killed.
    let more = end_all(&of_testbed(keep.dir()), &mut errors).await;
    tell(&format!("{} processes ended", ended + more));
    if let Some(net) = &state.net {
        match net.remove().await {
            Ok(()) => tell("the network is taken away"),
            Err(error) => errors.push(format!("the network: {error:#}")),
        }
    } else if state.netns {
        // Who laid one died before it could note it.
        if let Err(error) = crate::net::sweep().await {
            errors.push(format!("the network: {error:#}"));
        }
    }
    if errors.is_empty() {
        keep.remove()?;
        tell(&format!("{} is removed", keep.dir().display()));
        return Ok(());
    }
    bail!("{}\n  {} stays: try again", errors.join("\n  "), keep.dir().display())
}

/// SIGKILL to all at once, then waits; answers how many were there.
async fn end_all(processes: &[Process], errors: &mut Vec<String>) -> usize {
    let mut there = BTreeSet::new();
    for process in processes {
        match process.signal(Signal::SIGKILL) {
            Ok(true) => drop(there.insert(process.pid)),
            Ok(false) => {}
            Err(error) => errors.push(format!("{error:#}")),
        }
    }
    let ended = join_all(processes.iter().map(|process| process.end())).await;
    errors.extend(ended.into_iter().filter_map(|ended| ended.err()).map(|error| format!("{error:#}")));
    there.len()
}
