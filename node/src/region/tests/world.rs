//! A region: its nodes, what they see of each other, their logs and disks.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use starling_proto::{
    NodeId, UnixMs,
    members::{Addresses, Member as Node, Profile, Status, View},
    purge::{Base, Batch, Catalog, Change, Entry, Mode, Purge, Region, Selector, Version},
    ring::Ring,
    ticket::{Claim, Ticket},
    wire::{Call, Committed, NotCommitted, Proposal, Reply},
};
use tokio::{sync::watch, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use super::super::{
    Group, Log, Settings, Standing,
    member::Tuning,
    wire::{Lost, Wire},
};

/// For what must happen, and would otherwise hang the test.
const SOON: Duration = Duration::from_secs(90);

pub fn id(number: u8) -> NodeId {
    NodeId::from_bytes([number; 32])
}

pub fn region() -> Region {
    Region::new("eu")
}

/// A node's logs, as the store keeps them; it outlives the node.
#[derive(Default)]
pub struct Memory {
    entries: Mutex<BTreeMap<(u64, u64), Entry>>,
    applied: Mutex<Option<Version>>,
    catalog: Mutex<Catalog>,
    /// Up to here entries were stepped over.
    pub floor: Mutex<Option<Version>>,
    /// Who has entries.
    others: Mutex<Vec<Arc<Memory>>>,
    pub fails: Mutex<bool>,
}

impl Memory {
    fn take(&self, batch: Batch) -> Result<(), String> {
        if *self.fails.lock() {
            return Err("the store is full".to_owned());
        }
        let mut applied = self.applied.lock();
        let (epoch, after) = (batch.after.epoch, batch.after.index);
        if applied.is_some_and(|known| known.epoch > epoch) {
            return Ok(());
        }
        let mut known = applied.filter(|known| known.epoch == epoch).map_or(0, |known| known.index);
        if after > known {
            let Some(base) = &batch.base else { return Err(format!("a gap from {known} to {after}")) };
            self.catalog.lock().adopt(&batch.region, base);
            *self.floor.lock() = Some(batch.after);
            known = after;
        }
        for entry in batch.entries {
            let index = entry.version.index;
            if index > known {
                assert_eq!((index, entry.version.epoch), (known + 1, epoch), "a log has no gaps");
                known = index;
                self.catalog.lock().apply(&entry);
                self.entries.lock().insert((epoch, index), entry);
            } else if let Some(had) = self.entries.lock().get(&(epoch, index)) {
                assert_eq!(*had, entry, "an entry never changes");
            }
        }
        *applied = Some(Version { epoch, index: known });
        Ok(())
    }

    /// Where the entries with this key stand.
    pub fn places(&self, key: u128) -> Vec<Version> {
        let entries = self.entries.lock();
        entries.values().filter(|entry| entry.key == key).map(|entry| entry.version).collect()
    }

    /// The change of the entry at this index, in whatever life.
    pub fn change(&self, index: u64) -> Option<Change> {
        let entries = self.entries.lock();
        entries.values().find(|entry| entry.version.index == index).map(|entry| entry.change.clone())
    }

    /// As if entries of a later life had been heard of.
    pub fn live_later(&self, at: Version) {
        *self.applied.lock() = Some(at);
    }

    pub fn reached(&self) -> Version {
        self.applied.lock().unwrap_or_default()
    }
}

/// The handle that the group gets.
pub struct Logs(pub Arc<Memory>);

impl Log for Logs {
    fn apply(&self, batch: Batch) -> BoxFuture<'static, Result<(), String>> {
        let done = self.0.take(batch);
        Box::pin(async move { done })
    }

    fn applied(&self) -> Option<Version> {
        *self.0.applied.lock()
    }

    fn find(&self, key: u128) -> Option<(Version, UnixMs)> {
        let entries = self.0.entries.lock();
        entries.values().find(|entry| entry.key == key).map(|entry| (entry.version, entry.at_ms))
    }

    fn base(&self) -> Base {
        self.0.catalog.lock().base(&region())
    }

    fn catch_up(&self, to: Version) -> BoxFuture<'static, ()> {
        for other in self.0.others.lock().iter() {
            let known = self.0.applied.lock().filter(|known| known.epoch == to.epoch);
            let from = known.map_or(0, |known| known.index);
            if from >= to.index {
                return Box::pin(async {});
            }
            let entries: Vec<Entry> = {
                let theirs = other.entries.lock();
                theirs.range((to.epoch, from + 1)..=(to.epoch, to.index)).map(|(_, e)| e.clone()).collect()
            };
            if entries.first().is_some_and(|first| first.version.index == from + 1) {
                let after = Version { epoch: to.epoch, index: from };
                let batch = Batch { region: region(), since: from, after, base: None, entries };
                let _ = self.0.take(batch);
            }
        }
        Box::pin(async {})
    }
}

/// What lies between the nodes.
#[derive(Default)]
pub struct Net {
    groups: Mutex<HashMap<NodeId, Group>>,
    cut: Mutex<HashSet<(NodeId, NodeId)>>,
}

struct End {
    me: NodeId,
    net: Arc<Net>,
}

impl Wire for End {
    fn call(&self, to: NodeId, call: Call, limit: Duration) -> BoxFuture<'static, Result<Reply, Lost>> {
        let (me, net) = (self.me, Arc::clone(&self.net));
        Box::pin(async move {
            let lost = |may_have_arrived| Lost { may_have_arrived, why: "cut off".to_owned() };
            if net.cut.lock().contains(&(me, to)) {
                return Err(lost(false));
            }
            let there = net.groups.lock().get(&to).cloned().ok_or_else(|| lost(false))?;
            let answered = tokio::spawn(async move { there.answer(me, call).await });
            let reply = timeout(limit, answered).await.map_err(|_| lost(true))?;
            match net.cut.lock().contains(&(to, me)) || !net.groups.lock().contains_key(&to) {
                true => Err(lost(true)),
                false => reply.map_err(|_| lost(true)),
            }
        })
    }
}

pub struct Running {
    pub group: Group,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// The region.
pub struct World {
    pub expect: Option<usize>,
    pub has_peers: bool,
    pub election: Duration,
    pub tuning: Tuning,
    pub net: Arc<Net>,
    dir: tempfile::TempDir,
    pub logs: BTreeMap<u8, Arc<Memory>>,
    pub nodes: BTreeMap<u8, Running>,
    views: BTreeMap<u8, watch::Sender<Arc<View>>>,
    members: BTreeMap<u8, (String, Status)>,
    /// How far nodes say that they have applied the log.
    said: BTreeMap<u8, Version>,
}

impl World {
    pub fn new(expect: Option<usize>) -> Self {
        let short = Duration::from_millis(400);
        let tuning = Tuning {
            retry: short,
            stable: short,
            alone_after: short,
            reborn_after: short,
            replace_after: short,
            ..Tuning::default()
        };
        Self {
            expect,
            has_peers: true,
            election: Duration::from_millis(1_500),
            tuning,
            net: Arc::default(),
            dir: tempfile::tempdir().expect("a directory"),
            logs: BTreeMap::new(),
            nodes: BTreeMap::new(),
            views: BTreeMap::new(),
            members: BTreeMap::new(),
            said: BTreeMap::new(),
        }
    }

    /// Several nodes that formed a group.
    pub async fn formed(numbers: &[u8]) -> Self {
        let mut world = Self::new(Some(numbers.len()));
        for number in numbers {
            world.start(*number).await;
        }
        world.settled(numbers.len()).await;
        world
    }

    pub fn path(&self, number: u8) -> PathBuf {
        self.dir.path().join(number.to_string())
    }

    fn settings(&self, number: u8) -> Settings {
        Settings {
            dir: self.path(number),
            region: region(),
            name: format!("node-{number}"),
            me: id(number),
            expect: self.expect,
            has_peers: self.has_peers,
            voters_max: 5,
            heartbeat: Duration::from_millis(150),
            election: self.election,
            fence: Duration::from_secs(5),
        }
    }

    pub async fn start(&mut self, number: u8) {
        let (_, status) = self.members.entry(number).or_insert(("lon".to_owned(), Status::Alive));
        *status = Status::Alive;
        self.show();
        let log = Arc::clone(self.logs.entry(number).or_default());
        self.introduce();
        let view = self.views[&number].subscribe();
        let wire = Arc::new(End { me: id(number), net: Arc::clone(&self.net) });
        let (settings, tuning) = (self.settings(number), self.tuning.clone());
        let group =
            Group::open_tuned(settings, tuning, wire, view, Arc::new(Logs(log))).await.expect("opened");
        self.net.groups.lock().insert(id(number), group.clone());
        let stop = CancellationToken::new();
        let task = {
            let (group, stop) = (group.clone(), stop.clone());
            tokio::spawn(async move { group.run(stop).await })
        };
        self.nodes.insert(number, Running { group, stop, task });
    }

    /// As `kill -9`: nobody hears of it any more. The others do not see it at once.
    pub async fn kill(&mut self, number: u8) {
        let Running { stop, task, .. } = self.nodes.remove(&number).expect("it runs");
        self.net.groups.lock().remove(&id(number));
        stop.cancel();
        task.await.expect("it ends");
    }

    pub fn set_status(&mut self, number: u8, status: Status) {
        self.members.get_mut(&number).expect("known").1 = status;
        self.show();
    }

    /// These nodes say that they have come so far, and no other says anything.
    pub fn say(&mut self, numbers: &[u8], at: Version) {
        self.said = numbers.iter().map(|number| (*number, at)).collect();
        self.show();
    }

    /// Cuts all ways between the two sides.
    pub fn cut(&self, one: &[u8], other: &[u8]) {
        let ways = one.iter().flat_map(|a| other.iter().map(|b| (id(*a), id(*b))));
        self.net.cut.lock().extend(ways.flat_map(|(a, b)| [(a, b), (b, a)]));
    }

    pub fn mend(&self) {
        self.net.cut.lock().clear();
    }

    /// The logs of all nodes know where to look for what they lack.
    fn introduce(&self) {
        for (number, log) in &self.logs {
            let others = self.logs.iter().filter(|(other, _)| *other != number);
            *log.others.lock() = others.map(|(_, log)| Arc::clone(log)).collect();
        }
    }

    fn show(&mut self) {
        let members: BTreeMap<_, _> = self
            .members
            .iter()
            .map(|(number, (pop, status))| {
                let mut member = member(*number, pop, *status);
                if let Some(at) = self.said.get(number) {
                    member.versions.set(region(), *at);
                }
                (id(*number), member)
            })
            .collect();
        for number in self.members.keys() {
            let view = Arc::new(View {
                me: id(*number),
                members: members.clone(),
                ring: Arc::new(Ring::new(&[])),
                previous: None,
                hot: Arc::default(),
            });
            self.views.entry(*number).or_insert_with(|| watch::Sender::new(view.clone())).send_replace(view);
        }
    }

    pub fn group(&self, number: u8) -> Group {
        self.nodes[&number].group.clone()
    }

    pub fn standing(&self, number: u8) -> Standing {
        self.group(number).standing().borrow().clone()
    }

    pub async fn until(&self, number: u8, mut holds: impl FnMut(&Standing) -> bool) -> Standing {
        let mut standing = self.group(number).standing();
        let found = timeout(SOON, standing.wait_for(|standing| holds(standing))).await;
        let last = self.standing(number);
        found.unwrap_or_else(|_| panic!("node {number} stays {last:?}")).expect("it runs").clone()
    }

    /// Waits until all that run know one leader and so many voters; answers the leader.
    pub async fn settled(&self, voters: usize) -> u8 {
        let running: Vec<NodeId> = self.nodes.keys().map(|number| id(*number)).collect();
        eventually(|| {
            let all: Vec<_> = self.nodes.keys().map(|number| self.standing(*number)).collect();
            let leader = all[0].leader?;
            let agree = |standing: &Standing| {
                standing.leader == Some(leader) && standing.voters.len() == voters && standing.epoch > 0
            };
            let leads = all.iter().filter(|standing| standing.role == "leader").count();
            (running.contains(&leader) && leads == 1 && all.iter().all(agree)).then_some(leader.as_bytes()[0])
        })
        .await
    }

    pub async fn propose(&self, number: u8, key: u128) -> Result<Committed, NotCommitted> {
        propose(self.group(number), key, 60_000).await
    }

    /// Waits until all that run have applied this.
    pub async fn applied(&self, at: Version) {
        let has = |log: &Arc<Memory>| log.reached().epoch == at.epoch && log.reached().index >= at.index;
        let logs: Vec<_> = self.nodes.keys().map(|number| self.logs[number].clone()).collect();
        eventually(|| logs.iter().all(has).then_some(())).await;
    }

    /// Every key stands once, at the place that was told, in all logs of those that run.
    pub async fn holds(&self, told: &[(u128, Version)]) {
        let last = told.iter().map(|(_, at)| *at).max().expect("some");
        self.applied(last).await;
        for number in self.nodes.keys() {
            for (key, at) in told {
                assert_eq!(self.logs[number].places(*key), [*at], "node {number}, key {key}");
            }
        }
    }

    pub fn voters(&self, number: u8) -> BTreeSet<NodeId> {
        self.standing(number).voters.into_iter().collect()
    }

    /// A copy of the disk of a node that runs.
    pub fn copy_disk(&self, number: u8) -> PathBuf {
        let kept = self.dir.path().join(format!("{number}.copied"));
        self.group(number).0.running().expect("it runs").disk.copy_to(&kept);
        kept
    }

    pub fn keep_disk(&self, number: u8) -> PathBuf {
        let kept = self.dir.path().join(format!("{number}.kept"));
        copy(&self.path(number), &kept);
        kept
    }

    pub fn restore_disk(&self, number: u8, kept: &Path) {
        self.lose_disk(number);
        copy(kept, &self.path(number));
    }

    pub fn lose_disk(&self, number: u8) {
        std::fs::remove_dir_all(self.path(number)).expect("removed");
    }
}

pub async fn propose(group: Group, key: u128, deadline_ms: u32) -> Result<Committed, NotCommitted> {
    let purge = Purge {
        service: "shop".to_owned(),
        selectors: vec![Selector::Tag(key.to_string())],
        mode: Mode::Hard,
    };
    group.propose(Proposal { key, at_ms: 7, change: Change::Purge(purge), deadline_ms }).await
}

/// Waits for something that no event tells of.
pub async fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, found).await.expect("it happens")
}

fn member(number: u8, pop: &str, status: Status) -> Node {
    let claim = Claim {
        node: id(number),
        name: format!("node-{number}"),
        region: "eu".to_owned(),
        pop: pop.to_owned(),
        may_shield: true,
        expires_ms: u64::MAX,
    };
    let at = SocketAddr::from(([127, 0, 0, 1], 1));
    let profile = Profile {
        ticket: Ticket::open(claim).expect("its names are names"),
        incarnation: 1,
        addresses: Addresses { mesh: at, link_quic: at },
        weight: 100,
    };
    Node::new(profile, status)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for file in std::fs::read_dir(from).expect("read") {
        let file = file.expect("read");
        std::fs::copy(file.path(), to.join(file.file_name())).expect("copied");
    }
}
