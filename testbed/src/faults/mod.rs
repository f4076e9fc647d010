//! What can go wrong, as commands that people write, that schedules are made of, and that a testbed carries out.
//!
//! | command | what happens |
//! | --- | --- |
//! | `kill NODES` | `kill -9` |
//! | `stop NODES` | SIGTERM; waits until they have drained |
//! | `restart NODES` | one after the other: SIGTERM if it runs, then started with the data it has, until it is ready |
//! | `start NODES` | those that do not run are started with the data they have |
//! | `pause NODES`, `resume NODES` | SIGSTOP, SIGCONT |
//! | `freeze NODES`, `thaw NODES` | the whole namespace stands still (cgroup; needs a network) |
//! | `power-cut NODES` | `kill -9`, and what was not synced is gone from their disks |
//! | `keep-disk NODES` | a copy of their data is put aside; those that run stand still meanwhile |
//! | `old-disk NODES` | `kill -9`, and the copy takes the place of their data |
//! | `clock NODES +1h`, `clock NODES -1h`, `clock NODES right` | the wall clock is off by so much, from now on |
//! | `disk NODES full`, `disk NODES failing`, `disk NODES well` | writes fail; syncs fail; neither |
//! | `cut A from B`, `cut A from B one-way` | nothing passes between them; or nothing from A to B (needs a network) |
//! | `way POP POP delay 200ms loss 5% rate 1mbit jitter 20ms reorder 10%` | that way gets worse (needs a network) |
//! | `flap POP POP` | that way carries nothing for a while, again and again, until `heal` (needs a network) |
//! | `heal` | all cuts and ways are as they were |
//! | `origin dead`, `origin slow 2s`, `origin errors`, `origin well` | what the origin does |
//!
//! NODES is one or several of these, joined by `+`: the name of a node, of a PoP (all its nodes), of a region,
//! `all`, `leader:REGION`, `shields:REGION` (the voters), `owner:URL` (in the PoP of the first node that runs),
//! `random` (one node that runs) and `killed` (those that were killed or stopped and nobody has started again).

mod disk;
mod flap;
mod inflict;
mod nodes;
#[cfg(test)]
mod tests;
mod text;

pub use disk::library;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use serde::{Deserialize, Serialize};

use self::flap::Flap;
use crate::{cluster::Cluster, topology::Quality};

/// One command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Fault {
    /// `kill NODES`
    Kill(Nodes),
    /// `stop NODES`
    Stop(Nodes),
    /// `restart NODES`
    Restart(Nodes),
    /// `start NODES`
    Start(Nodes),
    /// `pause NODES`
    Pause(Nodes),
    /// `resume NODES`
    Resume(Nodes),
    /// `freeze NODES`
    Freeze(Nodes),
    /// `thaw NODES`
    Thaw(Nodes),
    /// `power-cut NODES`
    PowerCut(Nodes),
    /// `keep-disk NODES`
    KeepDisk(Nodes),
    /// `old-disk NODES`
    OldDisk(Nodes),
    /// `clock NODES OFFSET`: milliseconds beside the right time.
    Clock(Nodes, i64),
    /// `disk NODES HOW`
    Disk(Nodes, DiskHow),
    /// `cut A from B [one-way]`
    Cut {
        /// Who is not heard.
        from: Nodes,
        /// Who does not hear.
        to: Nodes,
        /// Whether the other way goes on.
        one_way: bool,
    },
    /// `way POP POP QUALITY`
    Way {
        /// One PoP.
        from: String,
        /// The other; it is the same both ways.
        to: String,
        /// What replaces the way's own.
        worse: Worse,
    },
    /// `flap POP POP`
    Flap {
        /// One PoP.
        from: String,
        /// The other.
        to: String,
    },
    /// `heal`
    Heal,
    /// `origin HOW`
    Origin(OriginHow),
}

impl Fault {
    /// The nodes it names, as they were written.
    pub fn nodes(&self) -> Vec<&Nodes> {
        match self {
            Self::Kill(nodes)
            | Self::Stop(nodes)
            | Self::Restart(nodes)
            | Self::Start(nodes)
            | Self::Pause(nodes)
            | Self::Resume(nodes)
            | Self::Freeze(nodes)
            | Self::Thaw(nodes)
            | Self::PowerCut(nodes)
            | Self::KeepDisk(nodes)
            | Self::OldDisk(nodes)
            | Self::Clock(nodes, _)
            | Self::Disk(nodes, _) => vec![nodes],
            Self::Cut { from, to, .. } => vec![from, to],
            Self::Way { .. } | Self::Flap { .. } | Self::Heal | Self::Origin(_) => Vec::new(),
        }
    }

    /// The PoPs it names.
    pub fn pops(&self) -> Vec<&str> {
        match self {
            Self::Way { from, to, .. } | Self::Flap { from, to } => vec![from, to],
            _ => Vec::new(),
        }
    }

    /// Whether it needs a testbed of `up --netns`.
    pub fn needs_network(&self) -> bool {
        matches!(
            self,
            Self::Freeze(_) | Self::Thaw(_) | Self::Cut { .. } | Self::Way { .. } | Self::Flap { .. }
        )
    }

    /// Whether it needs a testbed of `up --faulty`.
    pub fn needs_faulty(&self) -> bool {
        matches!(self, Self::PowerCut(_) | Self::Clock(..) | Self::Disk(..))
    }
}

/// Which nodes a command is about, as it was written: resolved when it is carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nodes(pub String);

/// What a disk does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskHow {
    /// No space for what is written.
    Full,
    /// What was written does not reach the disk.
    Failing,
    /// Nothing is wrong with it.
    Well,
}

/// How a way gets worse; what is not named stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Worse {
    /// One-way delay.
    pub delay: Option<Duration>,
    /// Its standard deviation.
    pub jitter: Option<Duration>,
    /// Packets lost.
    pub loss_percent: Option<f64>,
    /// Packets that overtake.
    pub reorder_percent: Option<f64>,
    /// Megabits per second.
    pub rate_mbit: Option<f64>,
}

/// What the origin does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OriginHow {
    /// The process is killed; `well` starts it again, with the editions it had told.
    Dead,
    /// Each answer waits so long.
    Slow(Duration),
    /// Each answer is a 503.
    Errors,
    /// Nothing is wrong with it.
    Well,
}

/// A command that makes no sense.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{command:?}: {why}")]
pub struct BadFault {
    /// As it was written.
    pub command: String,
    /// What is wrong.
    pub why: String,
}

/// Carries faults out on a testbed, and knows what it has done, so that it can make all well again.
///
/// What lasts is kept beside the testbed itself (which nodes have no process, their files of faults, the disks put
/// aside, the origin's editions), so that one process may end what another began.
pub struct Faults {
    cluster: Cluster,
    random: Mutex<ChaCha8Rng>,
    flaps: Mutex<Vec<Flap>>,
    /// The ways that are not as the topology has them, for a flap that comes back up.
    ways: Ways,
}

/// By the two PoPs, in the order of their names.
type Ways = Arc<Mutex<BTreeMap<[String; 2], Quality>>>;

fn between(from: &str, to: &str) -> [String; 2] {
    let (first, second) = if from <= to { (from, to) } else { (to, from) };
    [first.to_owned(), second.to_owned()]
}

/// What one command came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The nodes it was about, resolved.
    pub nodes: Vec<String>,
    /// One line for people.
    pub told: String,
}

impl Faults {
    /// For this testbed; `seed` chooses what `random` means.
    pub fn new(cluster: Cluster, seed: u64) -> Self {
        let random = Mutex::new(ChaCha8Rng::seed_from_u64(seed));
        Self { cluster, random, flaps: Mutex::default(), ways: Arc::default() }
    }
}
