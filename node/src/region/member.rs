//! A node's part in its group: opens what is on disk, keeps Raft running over it, and starts it anew when the disk
//! failed or another group outlived this one.

use std::{
    collections::HashMap,
    io,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use openraft::{Config, ServerState, SnapshotPolicy};
use parking_lot::Mutex;
use starling_proto::{
    NodeId,
    members::{Member as Node, Status, View},
    purge::Version,
};
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Log, Settings, Standing,
    disk::{Disk, Name, Writes},
    form::Forming,
    heads::Reads,
    lead::Leading,
    machine::Machine,
    network::Network,
    storage::LogStore,
    types::{Metrics, Raft, Seat, end, life, version},
    wire::{Promise, Wire},
};
use crate::clock::Clock;

/// Between two looks at what is to be done.
const TICK: Duration = Duration::from_millis(200);
/// A disk that failed is tried again after this, then after twice as long.
const RETRY_MIN: Duration = Duration::from_secs(2);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// A disk that held for so long is a good one.
const HEALED: Duration = Duration::from_secs(60);
/// Raft has so long to end.
const END_MAX: Duration = Duration::from_secs(10);
/// Proposals that wait here; more are refused.
pub(super) const PROPOSALS_MAX: usize = 256;
/// Proposals that are under way to other nodes: half of what the link carries to one of them, so that Raft's own
/// messages have places left.
pub(super) const FORWARDS_MAX: usize = 32;

/// What tests make shorter.
#[derive(Clone, Debug)]
pub(super) struct Tuning {
    /// Entries between two snapshots, and entries that are kept behind one.
    pub snapshot_every: u64,
    pub keep: u64,
    /// A disk that failed is tried again after this.
    pub retry: Duration,
    /// Without `expect`, the same nodes are to be seen for so long.
    pub stable: Duration,
    /// And a node that sees nobody of its region looks for them so long, where it may form a group alone.
    pub alone_after: Duration,
    /// A group that nobody is of any more is given up after this.
    pub reborn_after: Duration,
    /// Silent members are replaced after this.
    pub replace_after: Duration,
    /// When not all voters answer, entries that none of those has are given up after this.
    pub lost_after: Duration,
}

/// What is behind the handle.
pub(super) struct Member {
    pub settings: Settings,
    pub tuning: Tuning,
    pub wire: Arc<dyn Wire>,
    pub view: watch::Receiver<Arc<View>>,
    pub log: Arc<dyn Log>,
    pub clock: Clock,
    pub standing: watch::Sender<Standing>,
    /// The disk, opened and not yet in use.
    pub opened: Mutex<Option<Arc<Disk>>>,
    pub running: Mutex<Option<Running>>,
    /// The birth of a group that outlived this one.
    pub outlived: watch::Sender<u64>,
    /// The epoch of the group that this node asks others to form.
    pub forming: Mutex<Option<u64>>,
    /// Since when this node is of no group and hears of none.
    pub lonely_since: Mutex<Option<Instant>>,
    /// How far the region's log was ever heard of while this node runs. Who said so may be dead, and who had the
    /// entries may be back with an older disk: they were committed all the same.
    pub known: Mutex<Option<Version>>,
    /// Votes are given though entries are known that the candidate lacks: no voter has them any more.
    pub is_lost: AtomicBool,
    /// It is about to go, and stands for election no more: else who hands its leadership over may win it back.
    pub is_leaving: AtomicBool,
    /// Who writes with a key holds its lock until what became of it is known.
    pub flights: Mutex<HashMap<u128, Arc<tokio::sync::Mutex<()>>>>,
    pub places: Semaphore,
    /// Proposals on their way to other nodes.
    pub forwards: Semaphore,
    /// Why no group is formed yet, for people.
    pub waiting: Mutex<Option<String>>,
    pub tasks: TaskTracker,
}

/// Raft over an open disk.
#[derive(Clone)]
pub(super) struct Running {
    pub raft: Raft,
    pub disk: Arc<Disk>,
    pub pledge: Arc<tokio::sync::Mutex<Option<Promise>>>,
    /// Groups that were born before are not joined.
    pub birth_min: u64,
    pub is_newcomer: Arc<AtomicBool>,
    /// The greatest epoch that was promised.
    pub promised: Arc<AtomicU64>,
    /// When a leader last had a message taken here; Raft names the last leader for as long as nobody else stands.
    pub led: Arc<Mutex<Option<Instant>>>,
    pub reads: Arc<Reads>,
}

enum Ended {
    Stopped,
    Failed(String),
    Outlived(u64),
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            snapshot_every: 4_000,
            keep: 4_000,
            retry: RETRY_MIN,
            stable: Duration::from_secs(3),
            alone_after: Duration::from_secs(5),
            reborn_after: Duration::from_secs(30),
            replace_after: Duration::from_secs(5),
            lost_after: Duration::from_secs(30),
        }
    }
}

impl Running {
    pub fn metrics(&self) -> Metrics {
        self.raft.metrics().borrow().clone()
    }

    /// The birth of the group that this node is of.
    pub fn birth(&self) -> Option<u64> {
        life(self.raft.metrics().borrow().membership_config.membership()).map(|(birth, _)| birth)
    }

    /// The life of its log.
    pub fn epoch(&self) -> Option<u64> {
        life(self.raft.metrics().borrow().membership_config.membership()).map(|(_, epoch)| epoch)
    }

    pub fn leads(&self) -> bool {
        self.raft.metrics().borrow().state == ServerState::Leader
    }
}

impl Member {
    pub fn running(&self) -> Option<Running> {
        self.running.lock().clone()
    }

    /// The nodes of the region that may be in the group, and how they are.
    pub fn region(&self) -> Vec<(NodeId, Node)> {
        let view = self.view.borrow();
        let may = view.members.iter().filter(|(_, node)| {
            let claim = &node.profile.ticket.claim;
            claim.may_shield && claim.region == self.settings.region.as_str()
        });
        may.map(|(id, node)| (*id, node.clone())).collect()
    }

    /// Those of them that are there, this one among them.
    pub fn live(&self) -> Vec<(NodeId, Node)> {
        let mut region = self.region();
        region.retain(|(id, node)| *id == self.settings.me || node.status == Status::Alive);
        region
    }

    /// A node's place in a group of this life.
    pub fn seat(node: &Node, (birth, epoch): (u64, u64)) -> Seat {
        let claim = &node.profile.ticket.claim;
        Seat { name: claim.name.clone(), pop: claim.pop.clone(), weight: node.profile.weight, birth, epoch }
    }

    /// How far the region's log is known to be, or to have been, applied anywhere.
    pub fn heard(&self) -> Option<Version> {
        let told = {
            let view = self.view.borrow();
            view.members.values().filter_map(|node| node.versions.get(&self.settings.region)).max()
        };
        let mut known = self.known.lock();
        *known = (*known).max(told).max(self.log.applied());
        *known
    }

    /// Takes note of what nodes say, also while the disk fails here and no group runs.
    async fn listen(self: Arc<Self>) {
        let mut view = self.view.clone();
        while view.changed().await.is_ok() {
            self.heard();
            sleep(self.settings.heartbeat).await;
        }
    }

    /// Whether entries are known that this log lacks, though it should have them: of its own life, or of a later one.
    pub fn lacks(&self, known: Option<Version>, metrics: &Metrics) -> bool {
        known.is_some_and(|known| end(metrics).is_some_and(|end| end < known))
    }

    pub async fn run(self: &Arc<Self>, stop: CancellationToken) {
        self.tasks.spawn(stop.clone().run_until_cancelled_owned(Arc::clone(self).listen()));
        let mut pause = self.tuning.retry;
        loop {
            let since = Instant::now();
            let disk = self.opened.lock().take();
            let ended = match self.start(disk).await {
                Ok(running) => {
                    let closed = running.disk.closed();
                    let raft = running.raft.clone();
                    *self.running.lock() = Some(running.clone());
                    let ended = self.live_on(running, &stop).await;
                    *self.running.lock() = None;
                    self.end(raft, closed).await;
                    ended
                }
                Err(error) => Ended::Failed(error.to_string()),
            };
            match ended {
                Ended::Stopped => break,
                Ended::Outlived(birth) => match self.forget(birth).await {
                    Ok(()) => continue,
                    Err(error) => self.fail(error.to_string()),
                },
                Ended::Failed(why) => self.fail(why),
            }
            if since.elapsed() >= HEALED {
                pause = self.tuning.retry;
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(pause) => pause = (2 * pause).min(RETRY_MAX),
            }
        }
        self.tasks.close();
        let _ = timeout(END_MAX, self.tasks.wait()).await;
    }

    /// Says why no group is formed yet; nothing once that is under way.
    pub fn wait_because(&self, why: Option<String>) {
        *self.waiting.lock() = why.clone();
        self.standing.send_if_modified(|standing| {
            let is_new = standing.problem != why;
            standing.problem = why;
            is_new
        });
    }

    fn fail(&self, why: String) {
        tracing::error!(region = %self.settings.region, %why, "the region's log failed here; it is tried again");
        self.standing.send_modify(|standing| {
            let Standing { epoch, term, .. } = *standing;
            *standing = Standing { role: "failed", epoch, term, problem: Some(why), ..Standing::default() };
        });
    }

    async fn start(&self, disk: Option<Arc<Disk>>) -> io::Result<Running> {
        let disk = match disk {
            Some(disk) => disk,
            None => open(&self.settings).await?,
        };
        let (pledge, promised, birth_min, is_newcomer) = disk
            .run(|disk| {
                Ok((
                    disk.get::<Option<Promise>>(Name::Promise)?.flatten(),
                    disk.get::<u64>(Name::Promised)?.unwrap_or_default(),
                    disk.get(Name::Birth)?.unwrap_or_default(),
                    disk.get(Name::Newcomer)?.unwrap_or_default(),
                ))
            })
            .await?;
        let machine = {
            let (disk, log) = (Arc::clone(&disk), Arc::clone(&self.log));
            let region = self.settings.region.clone();
            let opening = tokio::task::spawn_blocking(move || Machine::open(disk, log, region));
            opening.await.map_err(io::Error::other)??
        };
        self.is_lost.store(self.is_rolled_back_alone(&machine, &disk).await?, Relaxed);
        let network = Network { wire: Arc::clone(&self.wire), outlived: self.outlived.clone() };
        let config = Arc::new(self.config().validate().map_err(io::Error::other)?);
        let log = LogStore { disk: Arc::clone(&disk), me: self.settings.me };
        let raft = Raft::new(self.settings.me, config, network, log, machine).await;
        let raft = raft.map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Running {
            raft,
            disk,
            pledge: Arc::new(tokio::sync::Mutex::new(pledge)),
            birth_min,
            is_newcomer: Arc::new(AtomicBool::new(is_newcomer)),
            promised: Arc::new(AtomicU64::new(promised)),
            led: Arc::default(),
            reads: Arc::default(),
        })
    }

    /// Whether this is the only voter, and its log lacks entries that are applied: nobody else has them.
    async fn is_rolled_back_alone(&self, machine: &Machine, disk: &Arc<Disk>) -> io::Result<bool> {
        let membership = machine.applied.members.membership();
        let is_alone = membership.voter_ids().eq([self.settings.me]);
        let epoch = life(membership).map(|(_, epoch)| epoch);
        let last = disk.run(|disk| disk.last()).await?.or(machine.applied.last);
        let next = last.map_or(0, |last| last.index + 1);
        let known = self.log.applied().filter(|known| Some(known.epoch) == epoch);
        Ok(is_alone && known.is_some_and(|known| known.index > next))
    }

    fn config(&self) -> Config {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let heartbeat_ms = millis(self.settings.heartbeat);
        let election = election_timeout_ms(heartbeat_ms, millis(self.settings.election));
        let Tuning { snapshot_every, keep, .. } = self.tuning;
        Config {
            cluster_name: self.settings.region.to_string(),
            heartbeat_interval: heartbeat_ms,
            election_timeout_min: election.start,
            election_timeout_max: election.end,
            // Who installs a snapshot first looks for the exact entries.
            install_snapshot_timeout: 20_000,
            replication_lag_threshold: snapshot_every + keep,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(snapshot_every),
            max_in_snapshot_log_to_keep: keep,
            purge_batch_size: 64.min(keep.max(1)),
            ..Config::default()
        }
    }

    async fn live_on(self: &Arc<Self>, running: Running, stop: &CancellationToken) -> Ended {
        let mut metrics = running.raft.metrics();
        let mut outlived = self.outlived.subscribe();
        let work = self.work(running.clone());
        tokio::pin!(work);
        loop {
            self.publish(&metrics.borrow_and_update());
            if let Err(fatal) = &metrics.borrow().running_state {
                return Ended::Failed(fatal.to_string());
            }
            let by = *outlived.borrow_and_update();
            if running.birth().is_some_and(|birth| birth < by) {
                return Ended::Outlived(by);
            }
            tokio::select! {
                () = stop.cancelled() => return Ended::Stopped,
                changed = metrics.changed() => if changed.is_err() {
                    return Ended::Failed("Raft ended".to_owned());
                },
                _ = outlived.changed() => {}
                () = &mut work => {}
            }
        }
    }

    /// Does what is to be done now and then, for ever.
    async fn work(self: &Arc<Self>, running: Running) {
        let (mut forming, mut leading) = (Forming::default(), Leading::default());
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let metrics = running.metrics();
            if life(metrics.membership_config.membership()).is_none() {
                self.form(&running, &mut forming).await;
                continue;
            }
            forming = Forming::default();
            *self.forming.lock() = None;
            *self.lonely_since.lock() = None;
            match metrics.state {
                ServerState::Leader => {
                    self.lead(&running, &mut leading).await;
                }
                _ => self.follow(&running, &metrics, &mut leading).await,
            }
        }
    }

    fn publish(&self, metrics: &Metrics) {
        let membership = metrics.membership_config.membership();
        let life = life(membership);
        let epoch = life.map_or(0, |(_, epoch)| epoch);
        let voters: Vec<NodeId> = membership.voter_ids().collect();
        let role = match metrics.state {
            _ if life.is_none() => "none",
            ServerState::Leader => "leader",
            ServerState::Candidate => "candidate",
            ServerState::Follower => "follower",
            ServerState::Learner | ServerState::Shutdown => "learner",
        };
        let problem = self
            .lacks(self.heard(), metrics)
            .then(|| "entries of the region's log are known that the group's disk here lacks".to_owned())
            .or_else(|| self.waiting.lock().clone().filter(|_| life.is_none()));
        let standing = Standing {
            role,
            leader: metrics.current_leader,
            term: metrics.current_term,
            epoch,
            voters,
            learners: membership.learner_ids().collect(),
            committed: metrics.last_applied.map(|last| version(epoch, last.index)),
            problem,
        };
        self.standing.send_if_modified(|known| {
            let is_new = *known != standing;
            *known = standing;
            is_new
        });
    }

    async fn end(&self, raft: Raft, closed: CancellationToken) {
        let _ = timeout(END_MAX, raft.shutdown()).await;
        drop(raft);
        // Replication may still read: the database closes when its last holder lets it go.
        let _ = timeout(END_MAX, closed.cancelled()).await;
    }

    /// Leaves a group that was outlived, for good.
    async fn forget(&self, birth: u64) -> io::Result<()> {
        tracing::warn!(region = %self.settings.region, birth, "a later group took the place of this one");
        let disk = open(&self.settings).await?;
        let work = move |disk: &Disk| {
            let mut kept = Writes::default();
            disk.set(&mut kept, Name::Birth, &birth)?;
            let promised: u64 = disk.get(Name::Promised)?.unwrap_or_default();
            disk.set(&mut kept, Name::Promised, &promised)?;
            disk.wipe(kept)
        };
        disk.run(work).await?;
        *self.opened.lock() = Some(disk);
        Ok(())
    }
}

/// Between which bounds Raft chooses a node's election timeout, for a silence after which it is to stand for election.
///
/// A node that heard a leader stands when it was silent for the upper bound, which is the leader's lease, and the
/// timeout: so after at least the whole silence, and at most a fifth more. A candidate stands again after the timeout
/// alone, and its votes are to come within the lower bound.
pub(super) fn election_timeout_ms(heartbeat_ms: u64, silence_ms: u64) -> Range<u64> {
    let min = (silence_ms / 5 * 2).max(heartbeat_ms + 1);
    min..silence_ms.saturating_sub(min).max(min + 1)
}

/// Opens the disk, off the async threads.
pub(super) async fn open(settings: &Settings) -> io::Result<Arc<Disk>> {
    let dir = settings.dir.clone();
    let opening = tokio::task::spawn_blocking(move || Disk::open(&dir).map(Arc::new));
    opening.await.map_err(io::Error::other)?
}
