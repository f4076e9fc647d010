//! The control plane: the swarm, and what the node makes of what it hears.
//!
//! One task owns the swarm and [`Members`](members::Members), and waits for one event at a time: something from
//! the swarm, a greeting, word of the link, an errand carried out, a tick. Decisions are those of
//! `proto::members`; here is only what carries them out. The task waits for nobody: what it needs of the link
//! goes out as an [`Errand`] and comes back as an event.
//!
//! Edges: who is behind a greeting was checked by the link before it comes here; the swarm lets in only who
//! greeted, or whose ticket was seen and checked. Nothing of a stranger is read.
//!
//! | file | what it is for |
//! | --- | --- |
//! | `task` | the task: one event, its handling, the outputs |
//! | `swarm` | what the swarm is made of, and where it listens |
//! | `hearing` | which gossip is believed |
//! | `gate` | tickets, checked once |
//! | `pace` | how fast others may speak |
//! | `seeds` | the peers the operator named |
//! | `ties` | whom to greet and dial, and when |
//! | `errands` | what is asked of the link |
//! | `say` | logs, in bounds |

mod errands;
mod gate;
mod hearing;
mod pace;
mod say;
mod seeds;
mod stats;
mod swarm;
mod task;
#[cfg(test)]
mod tests;
mod ties;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use starling_proto::{
    Key, NodeId,
    members::{self, Addresses, Health, Load, Status, View},
    purge::Versions,
    ticket::TicketError,
    wire,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{stats::Counts, task::Task};
use crate::identity::Identity;

pub use self::stats::Stats;

/// How the node gossips.
#[derive(Clone, Debug)]
pub struct Settings {
    /// UDP listener of the swarm; the same number as the link's TCP listener.
    pub listen: SocketAddr,
    /// Where other nodes may be found: `host:port` of their mesh listeners. Any one will do.
    pub peers: Vec<String>,
    /// Heartbeats, silences, verdicts.
    pub members: members::Settings,
    /// Swarm connections to keep beyond those of the own PoP.
    pub connections_target: usize,
    /// Swarm connections at most.
    pub connections_max: usize,
    /// Gossip messages that one author may send in a second.
    pub messages_per_s_max: u32,
    /// The node's weight in the ring.
    pub weight: u16,
    /// Which life of the node this is: greater than that of every life before.
    pub incarnation: u64,
    /// Where others reach this node. The port of the mesh, if 0, is that of the listener.
    pub addresses: Addresses,
}

/// What the node says of itself, asked for at every heartbeat.
#[derive(Clone, Debug, Default)]
pub struct Local {
    /// Its load.
    pub load: Load,
    /// Its health.
    pub health: Health,
    /// How far it has applied each log.
    pub versions: Versions,
    /// What its clients ask for most.
    pub hot: Vec<Key>,
}

/// What gossip needs of the link, carried out by who wires the two.
pub enum Errand {
    /// Greet whoever is at this address.
    Greet {
        /// Where.
        address: SocketAddr,
        /// Who should be there.
        expected: Option<NodeId>,
        /// What it said, or why there was no greeting.
        reply: oneshot::Sender<Result<Heard, String>>,
    },
    /// Ask a node whether it is there, by itself or through another.
    Probe {
        /// The node in question.
        target: NodeId,
        /// Whom to ask about it; itself when none.
        via: Option<(NodeId, Addresses)>,
        /// Where the node in question is.
        addresses: Addresses,
        /// Whether it answered, and how long that took. Dropped when nobody was asked.
        reply: oneshot::Sender<Option<Duration>>,
    },
}

/// A checked greeting.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Who greeted.
    pub from: NodeId,
    /// What it said.
    pub hello: wire::Hello,
}

/// What the link learnt about a peer, in a word.
#[derive(Clone, Copy, Debug)]
pub struct LinkNews {
    /// The peer.
    pub peer: NodeId,
    /// The time until it took a question on; none when it failed.
    pub took: Option<Duration>,
}

/// Everything that crosses between gossip and the rest of the node.
pub struct Wires {
    /// Greetings that came in.
    pub greetings: mpsc::Receiver<Heard>,
    /// What the link learns about peers.
    pub link_news: mpsc::Receiver<LinkNews>,
    /// What gossip needs of the link.
    pub errands: mpsc::Sender<Errand>,
    /// What this node says when it greets; kept up to date here.
    pub hello: watch::Sender<Arc<wire::Hello>>,
    /// What the node says of itself.
    pub local: Arc<dyn Fn() -> Local + Send + Sync>,
}

/// The gossip of this node; a cheap handle.
#[derive(Clone)]
pub struct Gossip {
    view: watch::Receiver<Arc<View>>,
    counts: Arc<Counts>,
    listening: SocketAddr,
}

/// Why gossip cannot start.
#[derive(Debug, thiserror::Error)]
pub enum GossipError {
    /// The swarm cannot listen.
    #[error("cannot listen for the mesh on {address}: {detail}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        detail: String,
    },
    /// No node would let this one in.
    #[error("this node's own ticket is no good: {0}")]
    Ticket(#[from] TicketError),
    /// The swarm cannot be made.
    #[error("the swarm cannot be made: {0}")]
    Swarm(String),
}

impl Gossip {
    /// Joins the mesh: listens, greets the peers it was told of until one answers, and goes on from there. When
    /// this returns, the port is taken. On `stop` the task says good-bye and ends. To be called in a runtime.
    pub fn start(
        settings: Settings,
        identity: Arc<Identity>,
        wires: Wires,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, GossipError> {
        let (task, view) = Task::new(settings, identity, wires)?;
        let gossip = Self { view, counts: task.counts(), listening: task.listening() };
        tasks.spawn(task.run(stop));
        Ok(gossip)
    }

    /// The mesh as it is seen from here, whenever that changes.
    pub fn view(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// Where the swarm listens (UDP).
    pub fn listening(&self) -> SocketAddr {
        self.listening
    }

    /// What it did so far, and how the mesh stands.
    pub fn stats(&self) -> Stats {
        let counts = &self.counts;
        let mut stats = Stats {
            connections: counts.connections.get(),
            connections_refused: counts.connections_refused.get(),
            messages_in: counts.messages_in.get(),
            bytes_in: counts.bytes_in.get(),
            messages_out: counts.messages_out.get(),
            bytes_out: counts.bytes_out.get(),
            invalid: counts.invalid.get(),
            rate_limited: counts.rate_limited.get(),
            barred: counts.barred.get(),
            errands_dropped: counts.errands_dropped.get(),
            ..Stats::default()
        };
        for member in self.view.borrow().members.values() {
            *match member.status {
                Status::Alive => &mut stats.alive,
                Status::Suspect => &mut stats.suspect,
                Status::Dead => &mut stats.dead,
                Status::Left => &mut stats.left,
            } += 1;
        }
        stats
    }
}
