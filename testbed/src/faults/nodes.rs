//! Which nodes a command is about, at the moment it is carried out.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use futures_util::future::join_all;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rand::seq::IndexedRandom;
use serde::Deserialize;

use super::{Faults, Nodes};
use crate::cluster::{Life as ProcessLife, Node, Process, State};

/// How long a region may take to agree on a leader: several elections.
const LEADER_TIMEOUT: Duration = Duration::from_secs(15);
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
const ASK_EVERY: Duration = Duration::from_millis(200);

/// What `GET /v1/status` tells of the region's group.
#[derive(Deserialize)]
struct Status {
    group: Option<Group>,
}

#[derive(Debug, Deserialize)]
struct Group {
    role: String,
    term: u64,
    voters: Vec<String>,
}

/// What `GET /v1/ring` tells of a key.
#[derive(Deserialize)]
struct Ring {
    owner: Option<String>,
}

impl Faults {
    /// Which nodes these are, now; each once, in the order in which they are named.
    ///
    /// # Errors
    ///
    /// When a name is not known, when nobody can say who leads or owns, or when none runs that could be chosen.
    pub async fn resolve(&self, nodes: &Nodes) -> anyhow::Result<Vec<String>> {
        let mut found: Vec<String> = Vec::new();
        for part in nodes.parts() {
            let named = match part {
                Part::Random => vec![self.random_node()?],
                Part::Leader(region) => vec![self.led(region, false).await?.0],
                Part::Shields(region) => self.led(region, true).await?.1,
                Part::Owner(url) => vec![self.owner(url).await?],
                Part::Killed | Part::Named(_) => part.standing(&self.cluster.state())?,
            };
            for name in named {
                if !found.contains(&name) {
                    found.push(name);
                }
            }
        }
        Ok(found)
    }

    fn random_node(&self) -> anyhow::Result<String> {
        let state = self.cluster.state();
        let running: Vec<&Node> = state.nodes.iter().filter(|node| Life::of(node).runs()).collect();
        let chosen = running.choose(&mut *self.random.lock()).context("`random`: no node runs")?;
        Ok(chosen.name.clone())
    }

    /// The leader of a region that says so itself and has the greatest term, and its voters. A leader that has
    /// just been started may know some of them by their ids only; those that it never gets to know do not run.
    async fn led(&self, region: &str, all_voters: bool) -> anyhow::Result<(String, Vec<String>)> {
        let begun = Instant::now();
        loop {
            let is_late = begun.elapsed() > LEADER_TIMEOUT;
            let state = self.cluster.state();
            let of_region = state.nodes.iter().filter(|node| node.region == region && Life::of(node).runs());
            let groups =
                join_all(of_region.map(async |node| (node.name.clone(), self.group(&node.name).await)));
            let groups = groups.await;
            let term = groups.iter().filter_map(|(_, group)| Some(group.as_ref().ok()?.term)).max();
            for (name, group) in &groups {
                let Ok(group) = group else { continue };
                let mut voters = group.voters.clone();
                voters.retain(|voter| state.nodes.iter().any(|node| node.name == *voter));
                let is_enough = !all_voters || voters.len() == group.voters.len() || is_late;
                if group.role == "leader" && Some(group.term) == term && is_enough {
                    return Ok((name.clone(), voters));
                }
            }
            if is_late {
                let said = groups.into_iter().map(|(name, group)| match group {
                    Ok(group) => format!("{name} is {} in term {}", group.role, group.term),
                    Err(error) => format!("{name}: {error:#}"),
                });
                let said = said.collect::<Vec<_>>().join("; ");
                bail!("region {region} has no leader after {LEADER_TIMEOUT:?}: {said}");
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    async fn group(&self, name: &str) -> anyhow::Result<Group> {
        self.ask::<Status>(name, "/v1/status").await?.group.context("it is in no group")
    }

    /// Who owns a URL, as the first node that answers says it of its own PoP.
    async fn owner(&self, url: &str) -> anyhow::Result<String> {
        let path = format!("/v1/ring?url={}", utf8_percent_encode(url, NON_ALPHANUMERIC));
        let mut said = Vec::new();
        for node in self.cluster.state().nodes.iter().filter(|node| Life::of(node) == Life::Runs) {
            match self.ask::<Ring>(&node.name, &path).await {
                Ok(Ring { owner: Some(owner) }) => return Ok(self.cluster.node(&owner)?.name),
                Ok(Ring { owner: None }) => said.push(format!("{} knows none", node.name)),
                Err(error) => said.push(format!("{}: {error:#}", node.name)),
            }
        }
        ensure!(!said.is_empty(), "`owner:{url}`: no node runs");
        bail!("`owner:{url}`: nobody knows it: {}", said.join("; "))
    }

    async fn ask<T: serde::de::DeserializeOwned>(&self, name: &str, path: &str) -> anyhow::Result<T> {
        let admin = self.cluster.admin(name)?;
        tokio::time::timeout(ASK_TIMEOUT, admin.get(path)).await.context("no answer in time")?
    }
}

impl Nodes {
    pub(super) fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        self.0.split('+').map(|part| match part.split_once(':') {
            Some(("leader", region)) => Part::Leader(region),
            Some(("shields", region)) => Part::Shields(region),
            Some(("owner", url)) => Part::Owner(url),
            _ if part == "random" => Part::Random,
            _ if part == "killed" => Part::Killed,
            _ => Part::Named(part),
        })
    }
}

/// One way to name nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Random,
    Killed,
    Leader(&'a str),
    Shields(&'a str),
    Owner(&'a str),
    Named(&'a str),
}

impl Part<'_> {
    /// Those of a testbed that nobody has to be asked for. A node goes before a PoP, and that before a region, of
    /// the same name.
    ///
    /// # Errors
    ///
    /// When the testbed knows no such name; also of a region whose leader or shields are meant.
    pub(super) fn standing(self, state: &State) -> anyhow::Result<Vec<String>> {
        let all = |of: &dyn Fn(&&Node) -> bool| -> Vec<String> {
            state.nodes.iter().filter(of).map(|node| node.name.clone()).collect()
        };
        let names = |of: fn(&Node) -> &str| {
            let names: BTreeSet<&str> = state.nodes.iter().map(of).collect();
            names.into_iter().collect::<Vec<_>>().join(", ")
        };
        match self {
            Self::Random | Self::Owner(_) => Ok(Vec::new()),
            Self::Killed => Ok(all(&|node| node.process.is_none())),
            Self::Named("all") => Ok(all(&|_| true)),
            Self::Leader(name) | Self::Shields(name) => {
                let found = all(&|node| node.region == name);
                ensure!(!found.is_empty(), "{name:?} is no region; there are {}", names(|node| &node.region));
                Ok(found)
            }
            Self::Named(name) => {
                let ways: [fn(&Node) -> &str; 3] = [|node| &node.name, |node| &node.pop, |node| &node.region];
                let found = ways.iter().map(|way| all(&|node| way(node) == name));
                found.into_iter().find(|found| !found.is_empty()).with_context(|| {
                    format!(
                        "{name:?} is no node ({}), PoP ({}) or region ({})",
                        names(|node| &node.name),
                        names(|node| &node.pop),
                        names(|node| &node.region)
                    )
                })
            }
        }
    }
}

/// Whether the process of a node lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Runs,
    /// SIGSTOP.
    Paused,
    /// Killed or stopped by who started it.
    Ended,
    /// It is gone, and nobody meant it to be.
    Crashed,
}

impl Life {
    pub(super) fn of(node: &Node) -> Self {
        match node.process.map(Process::life) {
            Some(ProcessLife::Running) => Self::Runs,
            Some(ProcessLife::Paused) => Self::Paused,
            Some(ProcessLife::Gone) => Self::Crashed,
            None => Self::Ended,
        }
    }

    /// Paused or not.
    pub(super) fn runs(self) -> bool {
        matches!(self, Self::Runs | Self::Paused)
    }
}
