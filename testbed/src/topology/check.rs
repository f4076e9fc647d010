//! Whether a topology makes sense.

use std::collections::BTreeSet;

use anyhow::{Context, bail, ensure};

use super::{Quality, Topology};

/// More than this does not fit on one machine.
const NODES_MAX: usize = 100;

/// Longer than this no way on earth takes.
const DELAY_MS_MAX: f64 = 10_000.0;

/// What each node is told by the testbed itself.
const OWN_KEYS: [&str; 10] =
    ["name", "region", "pop", "data", "http", "admin", "mesh", "peers", "ticket", "cluster_key_pub"];

/// What stands for several nodes where faults name them.
const WORDS: [&str; 4] = ["all", "leader", "random", "killed"];

impl Topology {
    /// Says what makes no sense, by the name of its field.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        ensure!(self.name.is_empty(), "`name` is not for the file to say: it is the file's own");
        ensure!(!self.title.trim().is_empty(), "`title` is empty");
        self.check_pops()?;
        self.check_paths()?;
        self.default_path.check().context("`default_path`")?;
        if let Some(pop) = &self.origin.pop {
            self.check_pop(pop).context("`origin.pop`")?;
        }
        self.check_node()
    }

    fn check_pops(&self) -> anyhow::Result<()> {
        ensure!(!self.pops.is_empty(), "`pops` is empty");
        let mut names = BTreeSet::new();
        for (number, pop) in self.pops.iter().enumerate() {
            let at = || format!("`pops[{number}]`");
            check_name(&pop.name).with_context(at)?;
            check_name(&pop.region).with_context(at)?;
            ensure!(
                names.insert(pop.name.as_str()),
                "`pops[{number}].name`: there are two PoPs {:?}",
                pop.name
            );
            ensure!(pop.nodes > 0, "`pops[{number}].nodes`: {} has none", pop.name);
        }
        // A name must mean one thing where faults are told whom to strike.
        for pop in &self.pops {
            let region = &pop.region;
            ensure!(!names.contains(region.as_str()), "`pops.region`: {region:?} is the name of a PoP, too");
        }
        for (node, _) in self.nodes().take(NODES_MAX) {
            let taken = names.contains(node.as_str()) || self.pops.iter().any(|pop| pop.region == node);
            ensure!(!taken, "`pops.name`: {node:?} is the name of a node, too");
        }
        let nodes: usize = self.pops.iter().map(|pop| pop.nodes).fold(0, usize::saturating_add);
        ensure!(nodes <= NODES_MAX, "`pops.nodes`: {nodes} nodes are more than {NODES_MAX}");
        Ok(())
    }

    fn check_paths(&self) -> anyhow::Result<()> {
        let mut named = BTreeSet::new();
        for (number, way) in self.paths.iter().enumerate() {
            let [one, other] = &way.between;
            for pop in [one, other] {
                self.check_pop(pop).with_context(|| format!("`paths[{number}].between`"))?;
            }
            ensure!(one != other, "`paths[{number}].between`: inside {one:?} there is no way to describe");
            let both = if one < other { (one, other) } else { (other, one) };
            ensure!(named.insert(both), "`paths[{number}].between`: {one:?} and {other:?} were named before");
            way.quality.check().with_context(|| format!("`paths[{number}]`"))?;
        }
        Ok(())
    }

    fn check_pop(&self, name: &str) -> anyhow::Result<()> {
        let names: Vec<&str> = self.pops.iter().map(|pop| pop.name.as_str()).collect();
        ensure!(names.contains(&name), "there is no PoP {name:?}; there are {}", names.join(", "));
        Ok(())
    }

    fn check_node(&self) -> anyhow::Result<()> {
        let Some(section) = self.node.get("node") else { return Ok(()) };
        let Some(section) = section.as_table() else { bail!("`node.node` is not a table") };
        for key in OWN_KEYS.iter().chain(&["region_expect"]) {
            ensure!(!section.contains_key(*key), "`node.node.{key}` is for the testbed to say");
        }
        Ok(())
    }
}

impl Quality {
    fn check(self) -> anyhow::Result<()> {
        let fields = [
            ("delay_ms", self.delay_ms, DELAY_MS_MAX),
            ("jitter_ms", self.jitter_ms, DELAY_MS_MAX),
            ("loss_percent", self.loss_percent, 100.0),
            ("reorder_percent", self.reorder_percent, 100.0),
            ("duplicate_percent", self.duplicate_percent, 100.0),
            ("rate_mbit", self.rate_mbit, 1e6),
        ];
        for (name, value, max) in fields {
            ensure!((0.0..=max).contains(&value), "`{name}`: {value} is not between 0 and {max}");
        }
        Ok(())
    }
}

/// Names become parts of file names, addresses and commands.
fn check_name(name: &str) -> anyhow::Result<()> {
    let is_plain =
        name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let is_fit =
        !name.is_empty() && name.len() <= 32 && is_plain && !name.starts_with('-') && !name.ends_with('-');
    ensure!(is_fit, "{name:?} is no name: lower-case letters, digits and - inside, at most 32");
    ensure!(!WORDS.contains(&name), "{name:?} is no name: in faults it stands for other nodes");
    Ok(())
}
