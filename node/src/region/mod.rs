//! The region's group: a Raft log of purges and service changes, and who is in the group.
//!
//! Entries are on disk at a majority of the voters before they are acknowledged. What is committed is given to the
//! node's logs through [`Log`], which also know entries that came another way; so a group whose disks were rolled
//! back is noticed.
//!
//! | file | what it does |
//! | --- | --- |
//! | [`member`] | a node's part: Raft over a disk, started anew when either fails |
//! | [`form`], [`lead`] | how a group comes to be; what its leader does for it |
//! | [`propose`], [`heads`], [`calls`] | changes; how far the log is committed; what members ask |
//! | [`types`] | what Raft is made of here |
//! | [`disk`], [`storage`], [`machine`] | RocksDB, Raft's log on it, what committed entries become |
//! | [`wire`], [`network`], [`codec`] | messages, how they reach members, how they are written |

mod calls;
mod codec;
mod disk;
mod form;
mod heads;
mod lead;
mod machine;
mod member;
mod network;
mod propose;
mod storage;
#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test's tasks end with its runtime")]
mod tests;
mod types;
mod wire;

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use starling_proto::{
    NodeId, UnixMs,
    members::View,
    purge::{Base, Batch, Region, Version},
    wire::{Call, Committed, NotCommitted, Proposal, Reply},
};
use tokio::sync::{Semaphore, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    member::{FORWARDS_MAX, Member, PROPOSALS_MAX, Tuning},
    wire::{Linked, Wire},
};
use crate::{clock::Clock, link::Link};

/// How a node takes part in its region's group.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where log, vote and snapshots are kept; made when it is missing.
    pub dir: PathBuf,
    /// The region.
    pub region: Region,
    /// The name of this node, for errors.
    pub name: String,
    /// This node.
    pub me: NodeId,
    /// The group is formed when so many nodes of the region see each other; none: by whoever is there, but by nobody
    /// alone who was given peers and reaches none. One: this node may form it alone.
    pub expect: Option<usize>,
    /// Whether addresses of other nodes were given: then they are looked for before a group is formed alone, and
    /// without `expect` one of them must have been reached.
    pub has_peers: bool,
    /// Voters at most.
    pub voters_max: usize,
    /// Between two heartbeats of the leader.
    pub heartbeat: Duration,
    /// Silence of the leader after which others stand for election: at least this, at most a fifth more.
    pub election: Duration,
    /// No lease on what is known of this region's head lasts longer than this.
    pub fence: Duration,
}

/// The logs of this node, as the group sees them. Errors are for people.
pub trait Log: Send + Sync + 'static {
    /// Makes entries of the own region durable and applies them; what is known already is left out.
    fn apply(&self, batch: Batch) -> BoxFuture<'static, Result<(), String>>;
    /// How far the own region's log is applied here, by whatever way its entries came.
    fn applied(&self) -> Option<Version>;
    /// The entry of the own region that carries this key, if it is remembered.
    fn find(&self, key: u128) -> Option<(Version, UnixMs)>;
    /// What the own region's log came to.
    fn base(&self) -> Base;
    /// Fetches entries of the own region up to `to` from whoever has them, as far as can be done soon.
    fn catch_up(&self, to: Version) -> BoxFuture<'static, ()>;
}

/// What the group needs of the rest of the node.
pub struct Parts {
    /// How other members are reached.
    pub link: Link,
    /// Who is in the mesh.
    pub view: watch::Receiver<Arc<View>>,
    /// The logs of this node.
    pub log: Arc<dyn Log>,
}

/// How the group stands, as this node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// `none` (not in a group), `learner`, `follower`, `candidate`, `leader`, or `failed`.
    pub role: &'static str,
    /// The leader, if one is known.
    pub leader: Option<NodeId>,
    /// Raft's term.
    pub term: u64,
    /// The life of the region's log; 0 before there is one.
    pub epoch: u64,
    /// The voters of the committed membership.
    pub voters: Vec<NodeId>,
    /// Its learners.
    pub learners: Vec<NodeId>,
    /// The last entry that is known to be committed.
    pub committed: Option<Version>,
    /// What keeps the group from its work here, for people.
    pub problem: Option<String>,
}

/// Why the group cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its directory cannot be used.
    #[error("the region's log in {path} cannot be opened: {detail}")]
    Storage {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
}

/// The region's group, at one of its nodes; a cheap handle.
#[derive(Clone)]
pub struct Group(Arc<Member>);

impl Group {
    /// Opens what is on disk. Nothing is sent before [`run`](Self::run).
    pub async fn open(settings: Settings, parts: Parts) -> Result<Self, OpenError> {
        let Parts { link, view, log } = parts;
        let wire = Arc::new(Linked { link, view: view.clone() });
        Self::open_tuned(settings, Tuning::default(), wire, view, log).await
    }

    async fn open_tuned(
        settings: Settings,
        tuning: Tuning,
        wire: Arc<dyn Wire>,
        view: watch::Receiver<Arc<View>>,
        log: Arc<dyn Log>,
    ) -> Result<Self, OpenError> {
        let disk = member::open(&settings)
            .await
            .map_err(|error| OpenError::Storage { path: settings.dir.clone(), detail: error.to_string() })?;
        Ok(Self(Arc::new(Member {
            tuning,
            wire,
            view,
            log,
            clock: Clock::start(),
            standing: watch::Sender::new(Standing { role: "none", ..Standing::default() }),
            opened: Mutex::new(Some(disk)),
            running: Mutex::default(),
            outlived: watch::Sender::new(0),
            forming: Mutex::default(),
            lonely_since: Mutex::default(),
            known: Mutex::default(),
            is_lost: false.into(),
            is_leaving: false.into(),
            flights: Mutex::default(),
            places: Semaphore::new(PROPOSALS_MAX),
            forwards: Semaphore::new(FORWARDS_MAX),
            waiting: Mutex::default(),
            tasks: TaskTracker::new(),
            settings,
        })))
    }

    /// Takes part until `stop`: forms the group or joins it, and as its leader keeps its membership. To be called
    /// once. A disk that fails is tried again; meanwhile the role is `failed`.
    pub async fn run(&self, stop: CancellationToken) {
        self.0.run(stop).await;
    }

    /// How the group stands, whenever that changes.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.0.standing.subscribe()
    }

    /// Has a change committed by this node's region, wherever its leader is; asks again while its leader changes,
    /// until the proposal's deadline.
    pub async fn propose(&self, proposal: Proposal) -> Result<Committed, NotCommitted> {
        self.0.propose(proposal, true).await
    }

    /// How far the region's log is committed by now, as a quorum confirms (Raft's read index, Ongaro 2014 section
    /// 6.4); asks the leader where it is another.
    pub async fn head(&self, timeout: Duration) -> Option<Version> {
        self.0.head(timeout, true).await
    }

    /// Answers [`Call::Group`], [`Call::Propose`] and [`Call::Head`].
    pub async fn answer(&self, from: NodeId, call: Call) -> Reply {
        self.0.answer(from, call).await
    }

    /// Hands leadership over, if this node has it, before it leaves. To be called before `run` is stopped.
    pub async fn hand_over(&self, timeout: Duration) {
        self.0.hand_over(timeout).await;
    }
}
