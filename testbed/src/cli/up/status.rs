//! How a testbed stands.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use serde::Serialize;

use crate::cluster::{Cluster, Life, Node, Seen, State};

/// Tell how the testbed stands.
#[derive(clap::Args)]
pub struct Status {
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Wait until all nodes that run are settled, so many seconds at most; 3 is answered when they are not
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
}

/// A testbed for people and scripts.
#[derive(Serialize)]
struct Standing {
    topology: String,
    dir: String,
    netns: bool,
    origin: OriginLine,
    nodes: Vec<Line>,
}

#[derive(Serialize)]
struct OriginLine {
    address: String,
    pid: Option<i32>,
    process: &'static str,
}

#[derive(Serialize)]
struct Line {
    node: String,
    pop: String,
    region: String,
    pid: Option<i32>,
    /// `running`, `paused` or `dead`.
    process: &'static str,
    /// Nothing when it says nothing.
    ready: Option<bool>,
    role: Option<String>,
    leader: Option<String>,
    /// How far it is behind what any node has applied: by region, entries.
    behind: Option<BTreeMap<String, String>>,
    caught_up: Option<bool>,
    fence_valid: Option<bool>,
    requests: Option<u64>,
    hit_ratio: Option<f64>,
    /// Why it says nothing.
    silent: Option<String>,
    http: String,
    admin: String,
}

impl Status {
    pub async fn run(self, dir: &Path) -> anyhow::Result<u8> {
        let cluster = Cluster::attach(dir)?;
        let mut code = 0;
        if let Some(seconds) = self.wait
            && let Err(error) = cluster.settled(&cluster.running(), Duration::from_secs(seconds)).await
        {
            eprintln!("{error:#}");
            code = 3;
        }
        let state = cluster.state();
        let seen = cluster.look_at(&state.nodes).await;
        let standing = standing(&state, cluster.dir(), &seen);
        if self.json {
            say!("{}", serde_json::to_string_pretty(&standing)?);
        } else {
            say!("{}", table(&standing));
        }
        Ok(code)
    }
}

fn standing(state: &State, dir: &Path, seen: &[anyhow::Result<Seen>]) -> Standing {
    let greatest = greatest(seen);
    let lines = state.nodes.iter().zip(seen).map(|(node, seen)| line(node, seen, &greatest));
    Standing {
        topology: state.topology.name.clone(),
        dir: dir.display().to_string(),
        netns: state.netns,
        origin: OriginLine {
            address: state.origin.address.to_string(),
            pid: state.origin.process.map(|process| process.pid),
            process: word(state.origin.process.map_or(Life::Gone, |process| process.life())),
        },
        nodes: lines.collect(),
    }
}

fn line(node: &Node, seen: &anyhow::Result<Seen>, greatest: &BTreeMap<String, (String, u64)>) -> Line {
    let life = node.life();
    let said = seen.as_ref().ok();
    let status = said.map(|seen| &seen.status);
    let group = status.and_then(|status| status.group.as_ref());
    let traffic = status.map(|status| status.cache);
    Line {
        node: node.name.clone(),
        pop: node.pop.clone(),
        region: node.region.clone(),
        pid: node.process.filter(|_| life != Life::Gone).map(|process| process.pid),
        process: word(life),
        ready: said.map(|seen| seen.ready),
        role: group.map(|group| group.role.clone()),
        leader: group.and_then(|group| group.leader.clone()),
        behind: status.map(|status| behind(&status.versions, greatest)),
        caught_up: status.map(|status| status.caught_up),
        fence_valid: status.map(|status| status.fence_valid),
        requests: traffic.map(|traffic| traffic.requests),
        hit_ratio: traffic
            .filter(|traffic| traffic.requests > 0)
            .map(|traffic| (traffic.hits + traffic.stale) as f64 / traffic.requests as f64),
        silent: seen.as_ref().err().filter(|_| life != Life::Gone).map(|error| format!("{error:#}")),
        http: node.http.to_string(),
        admin: node.admin.to_string(),
    }
}

fn word(life: Life) -> &'static str {
    match life {
        Life::Running => "running",
        Life::Paused => "paused",
        Life::Gone => "dead",
    }
}

/// The greatest version of each region's log that any node tells.
fn greatest(seen: &[anyhow::Result<Seen>]) -> BTreeMap<String, (String, u64)> {
    let mut greatest: BTreeMap<String, (String, u64)> = BTreeMap::new();
    for (region, version) in seen.iter().flatten().flat_map(|seen| &seen.status.versions) {
        let Some(version) = parsed(version) else { continue };
        let held = greatest.entry(region.clone()).or_default();
        *held = version.max(held.clone());
    }
    greatest
}

/// By how much the own versions fall short, by region; empty when they do not.
fn behind(
    own: &BTreeMap<String, String>,
    greatest: &BTreeMap<String, (String, u64)>,
) -> BTreeMap<String, String> {
    let short = |(region, (epoch, index)): (&String, &(String, u64))| {
        let lacks = match own.get(region).and_then(|own| parsed(own)) {
            None => Some("all".to_owned()),
            Some((own, _)) if own != *epoch => Some("an epoch".to_owned()),
            Some((_, own)) if own < *index => Some((index - own).to_string()),
            Some(_) => None,
        };
        lacks.map(|lacks| (region.clone(), lacks))
    };
    greatest.iter().filter_map(short).collect()
}

/// `EPOCH/INDEX`; epochs are as long as each other, so that their texts compare as they do.
fn parsed(version: &str) -> Option<(String, u64)> {
    let (epoch, index) = version.split_once('/')?;
    Some((epoch.to_owned(), index.parse().ok()?))
}

fn table(standing: &Standing) -> String {
    let head = [
        "node", "pop", "region", "pid", "process", "ready", "role", "leader", "logs", "fence", "requests",
        "hits",
    ];
    let mut rows: Vec<Vec<String>> = vec![head.map(str::to_owned).to_vec()];
    for line in &standing.nodes {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let yes_no = |is: bool, no: &str| if is { "yes".to_owned() } else { no.to_owned() };
        let logs = line.behind.as_ref().map(|behind| {
            let short: Vec<String> = behind.iter().map(|(region, by)| format!("{region} -{by}")).collect();
            if short.is_empty() { "level".to_owned() } else { short.join(",") }
        });
        rows.push(vec![
            line.node.clone(),
            line.pop.clone(),
            line.region.clone(),
            or_dash(line.pid.map(|pid| pid.to_string())),
            line.process.to_owned(),
            or_dash(line.ready.map(|ready| yes_no(ready, "no"))),
            or_dash(line.role.clone()),
            or_dash(line.leader.clone()),
            or_dash(logs),
            or_dash(line.fence_valid.map(|valid| yes_no(valid, "unfenced"))),
            or_dash(line.requests.map(|requests| requests.to_string())),
            or_dash(line.hit_ratio.map(|ratio| format!("{:.1} %", ratio * 100.0))),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let written = |row: &Vec<String>| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    let mut lines: Vec<String> = rows.iter().map(written).collect();
    let origin = &standing.origin;
    lines.push(format!("origin http://{} {}; all in {}", origin.address, origin.process, standing.dir));
    let pops: BTreeSet<&str> = standing.nodes.iter().map(|line| line.pop.as_str()).collect();
    let running = standing.nodes.iter().filter(|line| line.process == "running").count();
    lines.insert(
        0,
        format!(
            "{}: {running} of {} nodes run; PoPs: {}",
            standing.topology,
            standing.nodes.len(),
            pops.into_iter().collect::<Vec<_>>().join(", ")
        ),
    );
    lines.extend(
        standing
            .nodes
            .iter()
            .filter_map(|line| Some(format!("{} is silent: {}", line.node, line.silent.as_ref()?))),
    );
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(all: &[(&str, &str)]) -> BTreeMap<String, String> {
        all.iter().map(|(region, version)| ((*region).to_owned(), (*version).to_owned())).collect()
    }

    #[test]
    fn who_is_behind_is_told_by_how_much() {
        let greatest = BTreeMap::from([
            ("eu".to_owned(), ("0b".to_owned(), 7)),
            ("us".to_owned(), ("0a".to_owned(), 3)),
        ]);
        assert_eq!(behind(&versions(&[("eu", "0b/7"), ("us", "0a/3")]), &greatest), BTreeMap::new());
        assert_eq!(behind(&versions(&[("eu", "0b/5"), ("us", "0a/3")]), &greatest), versions(&[("eu", "2")]));
        assert_eq!(
            behind(&versions(&[("eu", "0a/9")]), &greatest),
            versions(&[("eu", "an epoch"), ("us", "all")])
        );
    }

    #[test]
    fn a_table_has_a_line_for_each_node_also_for_those_that_say_nothing() {
        let line = |node: &str, process: &'static str, ready: Option<bool>| Line {
            node: node.to_owned(),
            pop: "lon".to_owned(),
            region: "eu".to_owned(),
            pid: Some(12),
            process,
            ready,
            role: ready.map(|_| "leader".to_owned()),
            leader: None,
            behind: ready.map(|_| versions(&[("us", "2")])),
            caught_up: ready,
            fence_valid: ready,
            requests: ready.map(|_| 4),
            hit_ratio: ready.map(|_| 0.25),
            silent: (process == "paused").then(|| "no answer".to_owned()),
            http: String::new(),
            admin: String::new(),
        };
        let standing = Standing {
            topology: "laptop".to_owned(),
            dir: "/d".to_owned(),
            netns: false,
            origin: OriginLine { address: "127.0.0.1:1".to_owned(), pid: None, process: "dead" },
            nodes: vec![line("lon-1", "running", Some(true)), line("lon-2", "paused", None)],
        };
        let table = table(&standing);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 6, "{table}");
        assert!(lines[0].contains("1 of 2 nodes run"), "{table}");
        for word in ["lon-1", "running", "yes", "leader", "us -2", "25.0 %"] {
            assert!(lines[2].contains(word), "{word}: {table}");
        }
        assert!(lines[3].contains("paused") && lines[3].ends_with('-'), "{table}");
        assert!(lines[5].contains("lon-2 is silent: no answer"), "{table}");
    }
}
