//! What was seen, in the order in which it was known: JSON lines on one monotonic clock.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    client::Protocol,
    faults::Fault,
    press::{Object, Scope},
};

/// Microseconds of CLOCK_MONOTONIC since the run began.
pub type Micros = u64;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first line.
    Run(Run),
    /// The origin has a new edition of a scope. It was there at `done_us` at the latest.
    Published {
        /// When it was asked for.
        at_us: Micros,
        /// When the origin had said so.
        done_us: Micros,
        /// Of what.
        scope: Scope,
        /// Which.
        edition: u64,
    },
    /// An object was asked for at a node.
    Read(Read),
    /// A purge was asked for at a node. A retry, with the same key, is another one of these.
    Purge(Purge),
    /// A node said how far it has applied the logs.
    Knows {
        /// Who.
        node: String,
        /// When it was asked.
        at_us: Micros,
        /// When its answer was here.
        done_us: Micros,
        /// `REGION → EPOCH/INDEX`, the epoch in 16 hexadecimal digits.
        versions: BTreeMap<String, String>,
        /// Whether it has caught up with the mesh since it came.
        caught_up: bool,
    },
    /// A fault was inflicted, or ended; it took effect between these two times.
    Fault {
        /// When it was begun.
        at_us: Micros,
        /// When it was done.
        done_us: Micros,
        /// The command.
        fault: Fault,
        /// The nodes it was about.
        nodes: Vec<String>,
        /// Why it could not be done.
        error: Option<String>,
    },
    /// All is well again: nothing that was done wrong lasts, and all nodes run.
    Healed {
        /// When.
        at_us: Micros,
    },
    /// After healing and the time to settle: a node was asked for a purge that was acknowledged.
    Logged {
        /// Who.
        node: String,
        /// Which.
        id: String,
        /// The answer's status: 200 when it has it.
        status: u16,
        /// What it names, as the node tells it; empty when it does not.
        selectors: Vec<String>,
    },
    /// The last line: the run came to its end.
    End {
        /// When.
        at_us: Micros,
    },
}

/// What a run was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Everything random is of it.
    pub seed: u64,
    /// The topology's name.
    pub topology: String,
    /// In namespaces?
    pub netns: bool,
    /// Its nodes: name and region.
    pub nodes: BTreeMap<String, String>,
    /// How long it was to be, without the time to settle.
    pub seconds: u64,
    /// The command that does it again.
    pub again: String,
    /// `fence_ms` of the nodes.
    pub fence_ms: u64,
}

/// One request for an object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Read {
    /// What a client wanted: the same for all attempts at it.
    pub wanted: u64,
    /// From 1. A client that found nobody, or was left, asks another node, if the workload says so.
    pub attempt: u32,
    /// Who was asked.
    pub node: String,
    /// For what.
    pub object: Object,
    /// How.
    pub protocol: Protocol,
    /// What was asked for.
    pub kind: Kind,
    /// When the first byte was sent.
    pub at_us: Micros,
    /// When the answer was whole, or given up.
    pub done_us: Micros,
    /// Whether it is one of those after healing, which must bring the last edition.
    pub is_last: bool,
    /// What came.
    pub outcome: Outcome,
}

/// What was asked for of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// All of it.
    Whole,
    /// Bytes `from..to`.
    Range(u64, u64),
    /// `If-None-Match` with this edition.
    Unless(u64),
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A whole answer.
    Answered {
        /// 200, 206, 304, 502 and so on.
        status: u16,
        /// What its head says; none where it is no answer of the press.
        edition: Option<u64>,
        /// What is wrong with its bytes.
        damaged: Option<String>,
        /// `Cache-Status`.
        cache: String,
    },
    /// None, or a part of one.
    Failed {
        /// Why.
        why: String,
        /// Whether nothing of an answer had come.
        is_unanswered: bool,
    },
}

/// One attempt at a purge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Purge {
    /// The same for all attempts at one purge: its idempotency key.
    pub key: String,
    /// From 1.
    pub attempt: u32,
    /// Who was asked.
    pub node: String,
    /// What it names.
    pub scope: Scope,
    /// How it names it.
    pub by: By,
    /// Whether stale copies may be used while they are revalidated.
    pub soft: bool,
    /// `committed`, `applied`, `fenced`.
    pub wait: String,
    /// When it was sent.
    pub at_us: Micros,
    /// When its answer was here, or given up.
    pub done_us: Micros,
    /// What came.
    pub ended: Ended,
}

/// How a purge names what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Its URL.
    Url,
    /// A tag.
    Tag,
    /// A prefix of URLs.
    Prefix,
    /// The host.
    Host,
    /// All of the service.
    All,
}

/// What came of an attempt at a purge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// It is committed.
    Acknowledged {
        /// `REGION/EPOCH/INDEX`.
        id: String,
        /// Whether what was waited for has come.
        complete: bool,
        /// Whether nobody who could serve older content to a strict service is left.
        fenced: bool,
        /// The nodes that are said to have applied it.
        applied: Vec<String>,
    },
    /// It is said not to be committed.
    Refused {
        /// Why.
        why: String,
    },
    /// It may be committed or not.
    Unknown {
        /// Why.
        why: String,
    },
}
