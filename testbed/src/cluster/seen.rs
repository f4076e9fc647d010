//! What the nodes say of themselves and each other, and whether that is settled.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use anyhow::bail;
use futures_util::future::join_all;
use serde::Deserialize;

use super::{ASK_EVERY, Cluster, Node};

/// How often who watches is told what is still lacking.
const TELL_EVERY: Duration = Duration::from_secs(3);

/// `GET /v1/peers`: the mesh as one node sees it.
#[derive(Clone, Debug, Deserialize)]
pub struct Peers {
    /// Every node it knows, itself among them.
    pub peers: Vec<Peer>,
}

/// A node as another one sees it.
#[derive(Clone, Debug, Deserialize)]
pub struct Peer {
    /// Its name.
    pub node: String,
    /// Its PoP.
    pub pop: String,
    /// `alive`, `suspect`, `dead` or `left`.
    pub status: String,
    /// Whether requests go elsewhere.
    pub passed_over: bool,
    /// Whether it is in the ring of the node that was asked.
    pub in_ring: bool,
}

/// `GET /v1/status`: what is of use here.
#[derive(Clone, Debug, Deserialize)]
pub struct Status {
    /// How far each region's log is applied: `EPOCH/INDEX`.
    pub versions: BTreeMap<String, String>,
    /// Whether it was level with another node since it came.
    pub caught_up: bool,
    /// Whether it knows that it misses no purge.
    pub fence_valid: bool,
    /// What its clients asked for.
    pub cache: Traffic,
    /// What is wrong with it.
    #[serde(default)]
    pub problems: Vec<serde_json::Value>,
    /// Its region's group, if it is in one.
    pub group: Option<Group>,
}

/// What the clients of a node asked for.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Traffic {
    /// Requests.
    pub requests: u64,
    /// Of these, answered from the cache.
    pub hits: u64,
    /// Answered from the cache with something stale.
    pub stale: u64,
}

/// The group of a region, as one of its nodes sees it.
#[derive(Clone, Debug, Deserialize)]
pub struct Group {
    /// `leader`, `follower`, `learner` and so on.
    pub role: String,
    /// The name of the leader.
    pub leader: Option<String>,
    /// The names of the voters.
    pub voters: Vec<String>,
    /// What keeps it from its work.
    pub problem: Option<String>,
}

/// All that a node said.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Whether it takes traffic.
    pub ready: bool,
    /// The mesh as it sees it.
    pub peers: Peers,
    /// What it says of itself.
    pub status: Status,
}

impl Cluster {
    /// What a node says; the error tells why it says nothing.
    pub async fn look(&self, node: &Node) -> anyhow::Result<Seen> {
        if !node.is_alive() {
            bail!("it does not run");
        }
        let admin = self.admin(&node.name)?;
        let ready = admin.look("/readyz").await?.status.is_success();
        let peers = admin.look("/v1/peers").await?.json()?;
        let status = admin.look("/v1/status").await?.json()?;
        Ok(Seen { ready, peers, status })
    }

    /// Asks these nodes at once what they see.
    pub async fn look_at(&self, nodes: &[Node]) -> Vec<anyhow::Result<Seen>> {
        join_all(nodes.iter().map(|node| self.look(node))).await
    }

    /// As `settled`; who watches is told now and then what is lacking.
    pub(super) async fn settled_or_told(
        &self,
        names: &[String],
        patience: Duration,
        tell: &mut (dyn FnMut(&str) + Send),
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut told = begun;
        loop {
            let nodes = names.iter().map(|name| self.node(name)).collect::<anyhow::Result<Vec<Node>>>()?;
            let seen = self.look_at(&nodes).await;
            let lacks = lacks(&nodes, &seen);
            if lacks.is_empty() {
                return Ok(());
            }
            if begun.elapsed() >= patience {
                bail!("not settled after {patience:.0?}:\n  {}", lacks.join("\n  "));
            }
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                let more =
                    if lacks.len() > 1 { format!("; and {} more", lacks.len() - 1) } else { String::new() };
                tell(&format!("still: {}{more}", lacks[0]));
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }
}

/// What these nodes lack to be settled, a line for each node and thing.
fn lacks(nodes: &[Node], seen: &[anyhow::Result<Seen>]) -> Vec<String> {
    let names: BTreeSet<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
    let regions: BTreeSet<&str> = nodes.iter().map(|node| node.region.as_str()).collect();
    let mut lacks = Vec::new();
    for (node, seen) in nodes.iter().zip(seen) {
        let name = &node.name;
        let seen = match seen {
            Ok(seen) => seen,
            Err(error) => {
                lacks.push(format!("{name}: {error:#}"));
                continue;
            }
        };
        if !seen.ready {
            lacks.push(format!("{name} is not ready"));
        }
        let pop: BTreeSet<&str> =
            nodes.iter().filter(|other| other.pop == node.pop).map(|other| other.name.as_str()).collect();
        lacks.extend(seen.peers.lack(&names, &pop).map(|lack| format!("{name} {lack}")));
        if !seen.status.caught_up {
            lacks.push(format!("{name} has not caught up with another node"));
        }
        if !seen.status.fence_valid {
            lacks.push(format!("{name} cannot know that it misses no purge"));
        }
        for region in regions.iter().filter(|region| !seen.status.versions.contains_key(**region)) {
            lacks.push(format!("{name} knows nothing of the log of {region}"));
        }
        match seen.status.group.as_ref() {
            None => lacks.push(format!("{name} is in no group")),
            Some(Group { problem: Some(problem), .. }) => lacks.push(format!("{name}: its group: {problem}")),
            Some(Group { leader: Some(leader), .. }) if names.contains(leader.as_str()) => {}
            Some(Group { leader: Some(leader), .. }) => {
                lacks.push(format!("{name} is still led by {leader}"))
            }
            Some(Group { leader: None, .. }) => {
                lacks.push(format!("{name} has no leader in {}", node.region))
            }
        }
    }
    let all = || nodes.iter().zip(seen).filter_map(|(node, seen)| Some((node, seen.as_ref().ok()?)));
    for (node, seen) in all() {
        let (first, of_first) = all().next().unwrap_or((node, seen));
        if seen.status.versions != of_first.status.versions {
            let (own, other) = (written(&seen.status.versions), written(&of_first.status.versions));
            lacks.push(format!("{} has applied {own}, but {} {other}", node.name, first.name));
        }
        let leader = |seen: &Seen| seen.status.group.as_ref().and_then(|group| group.leader.clone());
        let first = all().find(|(other, _)| other.region == node.region);
        if let Some((first, of_first)) = first
            && let (Some(own), Some(other)) = (leader(seen), leader(of_first))
            && own != other
        {
            lacks.push(format!("{} is led by {own}, but {} by {other}", node.name, first.name));
        }
    }
    lacks
}

impl Peers {
    /// What is lacking to see exactly these alive, and exactly these in the ring.
    fn lack(&self, alive: &BTreeSet<&str>, ring: &BTreeSet<&str>) -> Option<String> {
        let is_good = |peer: &&Peer| peer.status == "alive" && !peer.passed_over;
        let unknown = alive.iter().filter(|name| !self.peers.iter().any(|peer| peer.node == **name));
        let unknown = unknown.map(|name| format!("does not know {name}"));
        let wrong = self.peers.iter().filter_map(|peer| {
            let name = peer.node.as_str();
            let over = if peer.passed_over { ", passed over" } else { "" };
            match alive.contains(name) {
                true if !is_good(&peer) => Some(format!("sees {name} {}{over}", peer.status)),
                false if peer.status == "alive" || peer.status == "suspect" => {
                    Some(format!("still sees {name} {}", peer.status))
                }
                _ if peer.in_ring != ring.contains(name) => {
                    Some(format!("{} {name} in its ring", if peer.in_ring { "has" } else { "lacks" }))
                }
                _ => None,
            }
        });
        let lacks: Vec<String> = unknown.chain(wrong).collect();
        (!lacks.is_empty()).then(|| lacks.join(", "))
    }
}

/// Versions in one line.
fn written(versions: &BTreeMap<String, String>) -> String {
    let all: Vec<String> = versions.iter().map(|(region, version)| format!("{region}/{version}")).collect();
    if all.is_empty() { "nothing".to_owned() } else { all.join(" ") }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::{super::tests::state, *};

    /// What each node of a testbed says when all is well.
    fn settled(nodes: &[Node]) -> Vec<anyhow::Result<Seen>> {
        let seen = |node: &Node| {
            let peers = nodes
                .iter()
                .map(|other| Peer {
                    node: other.name.clone(),
                    pop: other.pop.clone(),
                    status: "alive".to_owned(),
                    passed_over: false,
                    in_ring: other.pop == node.pop,
                })
                .collect();
            let leader =
                nodes.iter().find(|other| other.region == node.region).map(|other| other.name.clone());
            let versions = nodes.iter().map(|other| (other.region.clone(), "0e/7".to_owned())).collect();
            let group = Group { role: "follower".to_owned(), leader, voters: Vec::new(), problem: None };
            let status = Status {
                versions,
                caught_up: true,
                fence_valid: true,
                cache: Traffic::default(),
                problems: Vec::new(),
                group: Some(group),
            };
            Ok(Seen { ready: true, peers: Peers { peers }, status })
        };
        nodes.iter().map(seen).collect()
    }

    /// What is lacking after one change to what the third node says.
    #[track_caller]
    fn lack_after(change: impl FnOnce(&mut Seen)) -> String {
        let nodes = state("three-regions").nodes;
        let mut seen = settled(&nodes);
        assert_eq!(lacks(&nodes, &seen), [""; 0], "all is well before it");
        change(seen[2].as_mut().expect("it says something"));
        let lacks = lacks(&nodes, &seen);
        assert!(!lacks.is_empty(), "the change goes unnoticed");
        lacks.join("\n")
    }

    #[test]
    fn each_thing_that_is_lacking_is_named_with_its_node() {
        let cases: Vec<(&str, String)> = vec![
            ("fra-1 is not ready", lack_after(|seen| seen.ready = false)),
            ("fra-1 does not know lon-1", lack_after(|seen| drop(seen.peers.peers.remove(0)))),
            (
                "fra-1 sees lon-1 suspect",
                lack_after(|seen| seen.peers.peers[0].status = "suspect".to_owned()),
            ),
            ("passed over", lack_after(|seen| seen.peers.peers[0].passed_over = true)),
            ("fra-1 has lon-1 in its ring", lack_after(|seen| seen.peers.peers[0].in_ring = true)),
            ("fra-1 lacks fra-1 in its ring", lack_after(|seen| seen.peers.peers[2].in_ring = false)),
            ("fra-1 has not caught up", lack_after(|seen| seen.status.caught_up = false)),
            ("fra-1 cannot know", lack_after(|seen| seen.status.fence_valid = false)),
            (
                "fra-1 knows nothing of the log of ap",
                lack_after(|seen| drop(seen.status.versions.remove("ap"))),
            ),
            ("fra-1 is in no group", lack_after(|seen| seen.status.group = None)),
            (
                "fra-1 has applied",
                lack_after(|seen| drop(seen.status.versions.insert("ap".to_owned(), "0e/6".to_owned()))),
            ),
            (
                "fra-1 has no leader in eu",
                lack_after(|seen| seen.status.group.as_mut().expect("a group").leader = None),
            ),
            (
                "fra-1 is led by lon-2, but lon-1 by lon-1",
                lack_after(|seen| {
                    seen.status.group.as_mut().expect("a group").leader = Some("lon-2".to_owned())
                }),
            ),
            (
                "fra-1: its group: the disk",
                lack_after(|seen| {
                    seen.status.group.as_mut().expect("a group").problem = Some("the disk".to_owned())
                }),
            ),
        ];
        for (expected, told) in cases {
            assert!(told.contains(expected), "{told:?} does not say {expected:?}");
        }
    }

    #[test]
    fn a_node_that_says_nothing_and_one_that_should_not_be_there_are_named() {
        let nodes = state("three-regions").nodes;
        let mut seen = settled(&nodes);
        seen[2] = Err(anyhow!("it does not run"));
        assert_eq!(lacks(&nodes, &seen), ["fra-1: it does not run"]);

        // Without the first one, who led its region and is dead to all but one.
        let rest = &nodes[1..];
        let mut seen = settled(&nodes).split_off(1);
        for seen in seen.iter_mut().flatten() {
            seen.peers.peers[0].status = "dead".to_owned();
            seen.peers.peers[0].in_ring = false;
        }
        let told = lacks(rest, &seen).join("\n");
        assert!(told.contains("lon-2 is still led by lon-1"), "{told}");
        for seen in seen.iter_mut().flatten() {
            let group = seen.status.group.as_mut().expect("a group");
            group.leader = group.leader.as_ref().map(|name| name.replace("lon-1", "lon-2"));
        }
        assert_eq!(lacks(rest, &seen), [""; 0]);
        seen[7].as_mut().expect("it says something").peers.peers[0].status = "suspect".to_owned();
        assert_eq!(lacks(rest, &seen), ["sin-3 still sees lon-1 suspect"]);
    }
}
