//! The group of a region, as its nodes see it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::Mesh;
use crate::until;

/// How a region's group stands at one node, by `GET /v1/status`.
#[derive(Clone, Debug, Deserialize)]
pub struct Standing {
    /// `leader`, `follower`, `learner` and so on.
    pub role: String,
    /// The name of the leader.
    pub leader: Option<String>,
    /// Which life of the region's log this is.
    pub epoch: String,
    /// The names of the voters.
    pub voters: Vec<String>,
    /// What keeps the group from its work there.
    pub problem: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Status {
    group: Option<Standing>,
    versions: BTreeMap<String, String>,
    caught_up: bool,
    fence_valid: bool,
}

impl Mesh {
    /// How the region's group stands at this node.
    pub async fn standing_at(&self, name: &str) -> Standing {
        let status: Status = self.ask(name, "/v1/status").await;
        status.group.unwrap_or_else(|| panic!("{name} says nothing of its region's group"))
    }

    /// Waits until the running nodes of the region name one leader, which is one of them, and as many voters as
    /// there should be. Answers the leader.
    pub async fn led(&self, region: &str, voters: usize) -> String {
        let names: Vec<String> =
            self.names().into_iter().filter(|name| self.builder.seat_of(name).region == region).collect();
        until(&format!("{region} has one leader and {voters} voters"), async || {
            let mut seen = Vec::new();
            for name in &names {
                seen.push(self.standing_at(name).await);
            }
            let leader = seen[0].leader.clone();
            let is_one =
                seen.iter().all(|standing| standing.leader == leader && standing.voters.len() == voters);
            match leader {
                Some(leader) if is_one && names.contains(&leader) => Ok(leader),
                _ => Err(format!("{seen:?}")),
            }
        })
        .await
    }

    /// Waits until all running nodes have applied the same of every region's log, and trust their caches.
    ///
    /// A region whose log nobody knows yet is waited for: what is fetched before is revalidated after.
    pub async fn level(&self) {
        let regions: BTreeSet<String> =
            self.names().into_iter().map(|name| self.builder.seat_of(&name).region.clone()).collect();
        until("all nodes have applied the same", async || {
            let mut seen: Vec<(String, Status)> = Vec::new();
            for name in self.names() {
                let status = self.ask(&name, "/v1/status").await;
                seen.push((name, status));
            }
            let trusts = |status: &Status| {
                let knows_all = regions.iter().all(|region| status.versions.contains_key(region));
                status.caught_up && status.fence_valid && knows_all
            };
            let is_level =
                seen.iter().all(|(_, status)| trusts(status) && status.versions == seen[0].1.versions);
            if is_level { Ok(()) } else { Err(format!("{seen:#?}")) }
        })
        .await;
    }

    /// `kill -9` of all running nodes, one right after the other.
    pub async fn kill9_all(&mut self) {
        // The signals first: waiting for one would leave the others time to go on.
        let pids: Vec<String> = self.running().map(|node| node.pid().to_string()).collect();
        let killed = tokio::process::Command::new("kill").arg("-9").args(&pids).status().await;
        assert!(killed.is_ok_and(|status| status.success()), "kill -9 {pids:?}");
        for name in self.names() {
            self.kill9(&name).await;
        }
    }

    /// Starts all nodes that were started before and do not run, at once.
    pub async fn restart_all(&mut self) {
        let nodes = self.nodes.values_mut().filter(|node| !node.is_running());
        futures_util::future::join_all(nodes.map(crate::Node::restart)).await;
    }
}
