//! Which nodes stand where: a file of `cluster-configs/topologies/`.
//!
//! ```toml
//! title = "Nine nodes in four PoPs of three regions"
//!
//! [origin]
//! pop = "fra"                   # in a network of namespaces, where the origin stands
//!
//! [[pops]]
//! name = "lon"
//! region = "eu"
//! nodes = 3                     # lon-1, lon-2, lon-3
//!
//! [[paths]]                     # one way, between two PoPs; the same back
//! between = ["lon", "nyc"]
//! delay_ms = 35.0
//! jitter_ms = 1.0
//! loss_percent = 0.01
//! rate_mbit = 200
//!
//! [default_path]                # PoPs that no path names
//! delay_ms = 20.0
//!
//! [node]                        # given to every node as its configuration file, word for word
//! region.fence_ms = "2s"
//! [[node.services]]
//! ...
//! ```

mod check;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

/// Where topologies are, below the top of the repository.
const HOME: &str = "cluster-configs/topologies";

/// A topology as its file says it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// The file's name without its ending; the file itself does not say it.
    #[serde(default)]
    pub name: String,
    /// What it is, in one line.
    pub title: String,
    /// Where the origin stands.
    #[serde(default)]
    pub origin: OriginPlace,
    /// The PoPs.
    pub pops: Vec<Pop>,
    /// The ways between PoPs.
    #[serde(default)]
    pub paths: Vec<Way>,
    /// The ways that `paths` does not name.
    #[serde(default)]
    pub default_path: Quality,
    /// The configuration that all nodes share; `{ORIGIN}` in it stands for the origin's URL.
    #[serde(default)]
    pub node: toml::Table,
}

/// Where the origin stands; it matters in a network of namespaces only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OriginPlace {
    /// The PoP beside whose router it stands; the first one when it is not said.
    pub pop: Option<String>,
}

/// Nodes in one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pop {
    /// Its name; its nodes are `NAME-1`, `NAME-2` and so on.
    pub name: String,
    /// The region it belongs to.
    pub region: String,
    /// How many nodes stand there.
    pub nodes: usize,
}

/// The way between two PoPs, the same in both directions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Way {
    /// Their names.
    pub between: [String; 2],
    /// What it is like.
    #[serde(flatten)]
    pub quality: Quality,
}

/// What one direction of a way is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quality {
    /// How long a packet is on its way.
    pub delay_ms: f64,
    /// By how much that varies: one standard deviation.
    pub jitter_ms: f64,
    /// Packets that do not arrive.
    pub loss_percent: f64,
    /// Packets that overtake those before them.
    pub reorder_percent: f64,
    /// Packets that arrive twice.
    pub duplicate_percent: f64,
    /// What it carries; 0 sets no bound.
    pub rate_mbit: f64,
}

impl Topology {
    /// Reads a file, or the one of this name in `cluster-configs/topologies/`.
    ///
    /// # Errors
    ///
    /// When it cannot be read or makes no sense; the error names the file and what is wrong in it.
    pub fn load(name_or_path: &str) -> anyhow::Result<Self> {
        let file = find(name_or_path)?;
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let mut topology =
            Self::parse(&text).with_context(|| format!("{} makes no sense", file.display()))?;
        topology.name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(topology)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    ///
    /// When it makes no sense; the error names the field.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let topology: Self = toml::from_str(text)?;
        topology.check()?;
        Ok(topology)
    }

    /// The configuration file of every node, with the origin's URL in it.
    pub fn node_config(&self, origin: &str) -> anyhow::Result<String> {
        let text = toml::to_string(&self.node).context("`node` cannot be written as TOML")?;
        Ok(text.replace("{ORIGIN}", origin))
    }

    /// The names of all nodes with their PoP, in the order of the file.
    pub fn nodes(&self) -> impl Iterator<Item = (String, &Pop)> {
        self.pops
            .iter()
            .flat_map(|pop| (1..=pop.nodes).map(move |number| (format!("{}-{number}", pop.name), pop)))
    }

    /// The regions in the order of the file, each once, with how many nodes it has.
    pub fn regions(&self) -> Vec<(&str, usize)> {
        let mut regions: Vec<(&str, usize)> = Vec::new();
        for pop in &self.pops {
            match regions.iter_mut().find(|(name, _)| *name == pop.region) {
                Some((_, nodes)) => *nodes += pop.nodes,
                None => regions.push((&pop.region, pop.nodes)),
            }
        }
        regions
    }

    /// What one direction of the way between two PoPs is like; perfect inside one.
    pub fn quality(&self, from: &str, to: &str) -> Quality {
        if from == to {
            return Quality::default();
        }
        let named = |way: &&Way| way.between == [from, to] || way.between == [to, from];
        self.paths.iter().find(named).map_or(self.default_path, |way| way.quality)
    }
}

/// The file that is meant: a path if it looks like one, or the name of one that is there.
fn find(name_or_path: &str) -> anyhow::Result<PathBuf> {
    if name_or_path.contains('/') || name_or_path.ends_with(".toml") {
        return Ok(PathBuf::from(name_or_path));
    }
    let beside_this_crate = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(HOME);
    let homes = [PathBuf::from(HOME), beside_this_crate];
    let found =
        homes.iter().map(|home| home.join(format!("{name_or_path}.toml"))).find(|file| file.is_file());
    if let Some(file) = found {
        return Ok(file);
    }
    let mut names: Vec<String> = homes
        .iter()
        .filter_map(|home| std::fs::read_dir(home).ok())
        .flat_map(|entries| entries.flatten())
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".toml")?.to_owned()))
        .collect();
    names.sort();
    names.dedup();
    bail!("there is no topology {name_or_path:?} in {HOME}; there are {}", names.join(", "))
}
