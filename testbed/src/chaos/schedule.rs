//! What happens in a run, and when.

mod deck;
mod plan;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    cluster::Cluster,
    faults::{Fault, Faults, Nodes},
};

use plan::{Place, Plan};

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Step {
    /// Something goes wrong, or well again.
    Fault(Fault),
    /// From now on there are so many of these.
    Rates {
        /// Requests per second, to all nodes together.
        reads_per_s: f64,
        /// Purges per second.
        purges_per_s: f64,
    },
    /// So many purges as fast as they are taken, each of one object.
    Storm {
        /// How many.
        purges: u64,
        /// So many wait for their answer at a time.
        at_once: usize,
        /// `committed`, `applied` or `fenced`.
        wait: String,
        /// Who is asked, in turn.
        through: Nodes,
    },
    /// Every object is read once at each of these nodes, before the next step.
    Warm(Nodes),
}

/// The steps of a run, in the order of time.
pub type Schedule = Vec<(Duration, Step)>;

/// The faults of a run by its seed, and by what this testbed can have. Each that lasts is ended again.
pub fn by_seed(cluster: &Cluster, seed: u64, time: Duration) -> Schedule {
    let faults = Faults::new(cluster.clone(), seed);
    let state = cluster.state();
    let nodes = state.nodes.iter().map(|node| Place {
        name: node.name.clone(),
        pop: node.pop.clone(),
        region: node.region.clone(),
    });
    Plan::new(nodes.collect(), |fault| faults.is_possible(fault).is_ok()).by_seed(seed, time)
}

/// A schedule as people read it, a step on each line.
pub fn told(schedule: &Schedule) -> String {
    let line = |(when, step): &(Duration, Step)| {
        let what = match step {
            Step::Fault(fault) => fault.to_string(),
            Step::Rates { reads_per_s, purges_per_s } => {
                format!("{reads_per_s} reads and {purges_per_s} purges per second")
            }
            Step::Storm { purges, wait, through, .. } => {
                format!("{purges} purges through {}, each {wait}", through.0)
            }
            Step::Warm(nodes) => format!("every object is read at {}", nodes.0),
        };
        format!("  {:>6.1} s  {what}\n", when.as_secs_f64())
    };
    schedule.iter().map(line).collect()
}
