//! Changes on their way into the log, and how far the log has come.
//!
//! A change with a key is written once: the leader looks the key up when everything that earlier leaders committed
//! is applied here, and lets nobody else write with it until what became of its own write is known. In each life of
//! the log it is written anew.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use openraft::error::{ClientWriteError, RaftError};
use starling_proto::{
    NodeId, UnixMs,
    purge::{Change, EntryId, ServiceChange, Version},
    wire::{Call, Committed, NotCommitted, Proposal, Reply},
};
use tokio::{
    sync::{OwnedMutexGuard, oneshot},
    time::{Instant, sleep, timeout_at},
};

use super::{
    calls::is_unwritten,
    member::{Member, PROPOSALS_MAX, Running},
    types::{Proposed, life},
    wire::{Ask, ask},
};

/// Texts of a change, in bytes.
const TEXT_BYTES_MAX: usize = 1 << 20;
/// Who sets a service holds the lock of this key, too, which no proposal has: each sees what the one before it came
/// to, and together they stay within the bounds of the catalog.
const CATALOG: u128 = 0;
/// Between two attempts; while no leader is known, twice as long each time.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_millis(400);
/// One attempt by way of another node, at least and at most.
const ATTEMPT_MIN: Duration = Duration::from_millis(100);
const ATTEMPT_MAX: Duration = Duration::from_secs(3);

/// What came of an attempt.
enum Tried {
    Done(Committed),
    Never(NotCommitted),
    /// It may be tried again.
    Not {
        may_be_written: bool,
        why: String,
    },
}

impl Member {
    pub async fn propose(
        self: &Arc<Self>,
        proposal: Proposal,
        may_forward: bool,
    ) -> Result<Committed, NotCommitted> {
        let text_bytes = proposal.change.text_bytes();
        if text_bytes > TEXT_BYTES_MAX {
            let why = format!("{text_bytes} bytes of text are more than {TEXT_BYTES_MAX}");
            return Err(NotCommitted::Refused(why));
        }
        if proposal.key == CATALOG {
            return Err(NotCommitted::Refused("it has no key".to_owned()));
        }
        let Ok(_place) = self.places.try_acquire() else {
            // The asker may try elsewhere, or later.
            return Err(self.no_quorum(format!("{PROPOSALS_MAX} proposals wait here already")));
        };
        let deadline = Instant::now() + Duration::from_millis(proposal.deadline_ms.into());
        let (mut may_be_written, mut attempts, mut pause) = (false, 0, PAUSE);
        loop {
            let why = match self.attempt(&proposal, deadline, may_forward, attempts).await {
                Tried::Done(committed) => return Ok(committed),
                Tried::Never(error) => return Err(error),
                Tried::Not { may_be_written: may, why } => {
                    may_be_written |= may;
                    why
                }
            };
            attempts += 1;
            let running = self.running();
            let leads = running.as_ref().is_some_and(Running::leads);
            let is_led = running.is_some_and(|running| running.metrics().current_leader.is_some());
            let left = deadline.saturating_duration_since(Instant::now());
            if left <= PAUSE || (!may_forward && !leads) {
                return Err(match (self.failure(), may_be_written) {
                    // An earlier attempt may have left it in the log, here or elsewhere.
                    (Some(failure), true) => NotCommitted::Unknown(format!(
                        "the disk of {} failed, in {}: {failure}; {why}",
                        self.settings.name,
                        self.settings.dir.display()
                    )),
                    (Some(why), false) => NotCommitted::NotDurable { node: self.settings.name.clone(), why },
                    (None, true) => NotCommitted::Unknown(why),
                    (None, false) => self.no_quorum(why),
                });
            }
            pause = if is_led { PAUSE } else { pause };
            sleep(pause.min(left / 2)).await;
            pause = (2 * pause).min(PAUSE_MAX);
        }
    }

    /// Why this node's disk cannot be used now.
    fn failure(&self) -> Option<String> {
        let standing = self.standing.borrow();
        standing.problem.clone().filter(|_| standing.role == "failed")
    }

    async fn attempt(
        self: &Arc<Self>,
        proposal: &Proposal,
        deadline: Instant,
        may_forward: bool,
        attempts: usize,
    ) -> Tried {
        let running = self.running();
        if let Some(running) = running.as_ref().filter(|running| running.leads()) {
            return self.write(running, proposal, deadline).await;
        }
        if !may_forward {
            return not("this node does not lead the group");
        }
        // The link has few places for each peer, and Raft's own messages need them more.
        let Ok(Ok(_place)) = timeout_at(deadline, self.forwards.acquire()).await else {
            return not("too many proposals of this node are under way to others");
        };
        // What is known of the leader may have changed meanwhile.
        let leader = self.running().and_then(|running| running.metrics().current_leader);
        let leader = leader.filter(|leader| *leader != self.settings.me);
        let Some(to) = leader.or_else(|| self.another(attempts, proposal.key)) else {
            return not("no other node of the region is there, and this one does not lead it");
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let limit = left.min(ATTEMPT_MAX).max(ATTEMPT_MIN);
        let mut sent = proposal.clone();
        sent.deadline_ms = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
        match self.wire.call(to, Call::Propose(sent), limit).await {
            Ok(Reply::Proposed(Ok(committed))) => Tried::Done(committed),
            Ok(Reply::Proposed(Err(error @ NotCommitted::Refused(_)))) => Tried::Never(error),
            Ok(Reply::Proposed(Err(error))) => {
                Tried::Not { may_be_written: !is_unwritten(&error), why: error.to_string() }
            }
            Ok(_) => not("it was answered with something else"),
            Err(lost) => Tried::Not { may_be_written: lost.may_have_arrived, why: format!("{to}: {lost}") },
        }
    }

    /// Some other node of the region that may be in the group: of the voters first, which one is up to the key.
    pub(super) fn another(&self, attempts: usize, key: u128) -> Option<NodeId> {
        let voters = self.standing.borrow().voters.clone();
        let mut others: Vec<NodeId> = self.live().iter().map(|(id, _)| *id).collect();
        others.retain(|id| *id != self.settings.me);
        // Voters first: who does not lead says so at once, and is asked no more than its turn.
        others.sort_by_key(|id| !voters.contains(id));
        let voting = others.iter().filter(|id| voters.contains(id)).count();
        let first = usize::try_from(key % voting.max(1) as u128).unwrap_or_default();
        others[..voting].rotate_left(first);
        others.get(attempts.checked_rem(others.len())?).copied()
    }

    /// Writes it as the leader, unless it is written already.
    async fn write(self: &Arc<Self>, running: &Running, proposal: &Proposal, deadline: Instant) -> Tried {
        let Some(held) = self.take_off(proposal.key, deadline).await else {
            return Tried::Not { may_be_written: true, why: "the same is being written already".to_owned() };
        };
        if !self.is_current(running, deadline).await {
            self.land(proposal.key, held);
            return not("the leader has not yet applied what was committed before it");
        }
        let known = self.heard();
        let metrics = running.metrics();
        let epoch = running.epoch();
        if self.is_lost.load(Relaxed) || self.lacks(known, &metrics) {
            self.land(proposal.key, held);
            return not(match known.map(|known| known.epoch) > epoch {
                true => "the region's log lived later than this group knows, and its next life has not begun",
                false => "entries of the region's log are lost, and its next life has not begun",
            });
        }
        let patience = 2 * u64::try_from(self.settings.election.as_millis()).unwrap_or(u64::MAX);
        if metrics.millis_since_quorum_ack.is_some_and(|silent| silent > patience) {
            self.land(proposal.key, held);
            return not("the leader hears no majority of the voters");
        }
        // What was written in a former life may be what was lost.
        let found = self.log.find(proposal.key).filter(|(version, _)| Some(version.epoch) == epoch);
        if let Some((version, at_ms)) = found {
            self.land(proposal.key, held);
            return Tried::Done(self.committed(version, at_ms));
        }
        let Proposal { key, at_ms, ref change, .. } = *proposal;
        // Purges are forgotten by this time: a proposer whose clock is behind must not have its own forgotten early.
        let at_ms = at_ms.max(self.clock.now_ms());
        let setting = match change {
            Change::Service(service) => match self.make_room(service, deadline).await {
                Ok(setting) => Some(setting),
                Err(tried) => {
                    self.land(key, held);
                    return tried;
                }
            },
            _ => None,
        };
        let proposed = Proposed { change: change.clone(), key, at_ms };
        let (member, raft) = (Arc::clone(self), running.raft.clone());
        let (tell, told) = oneshot::channel();
        // It goes on when nobody waits for it any more: its key is held until it is known what became of it.
        self.tasks.spawn(async move {
            let written = raft.client_write(proposed).await;
            if let Some(setting) = setting {
                member.land(CATALOG, setting);
            }
            member.land(key, held);
            let _ = tell.send(written);
        });
        let unknown = |why: String| Tried::Not { may_be_written: true, why };
        match timeout_at(deadline, told).await {
            Ok(Ok(Ok(written))) => Tried::Done(self.committed(written.data, at_ms)),
            Ok(Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))))) => {
                unknown("the leader was replaced".to_owned())
            }
            Ok(Ok(Err(error))) => unknown(error.to_string()),
            Ok(Err(_)) => unknown("the group ended".to_owned()),
            Err(_) => unknown("no majority of the voters answered in time".to_owned()),
        }
    }

    /// The lock of a key, once nobody else writes with it; none when the time is up.
    async fn take_off(&self, key: u128, deadline: Instant) -> Option<OwnedMutexGuard<()>> {
        let flight = Arc::clone(self.flights.lock().entry(key).or_default());
        timeout_at(deadline, flight.lock_owned()).await.ok()
    }

    /// Lets one service at a time be set, and none that the catalog has no room for.
    async fn make_room(
        &self,
        service: &ServiceChange,
        deadline: Instant,
    ) -> Result<OwnedMutexGuard<()>, Tried> {
        let Some(setting) = self.take_off(CATALOG, deadline).await else {
            return Err(not("another service is being set"));
        };
        match self.log.base().room_for(&service.name, service.definition.as_deref()) {
            Ok(()) => Ok(setting),
            Err(why) => {
                self.land(CATALOG, setting);
                Err(Tried::Never(NotCommitted::Refused(why)))
            }
        }
    }

    /// Lets the next one with this key write, and forgets keys that nobody waits for.
    fn land(&self, key: u128, held: OwnedMutexGuard<()>) {
        drop(held);
        let mut flights = self.flights.lock();
        if flights.get(&key).is_some_and(|flight| Arc::strong_count(flight) == 1) {
            flights.remove(&key);
        }
    }

    /// Waits until the leader has applied an entry of its own term, and with it all that was committed before.
    async fn is_current(&self, running: &Running, deadline: Instant) -> bool {
        let mut metrics = running.raft.metrics();
        let applied = metrics.wait_for(|metrics| {
            let has = metrics.last_applied.map(|last| last.leader_id.term) == Some(metrics.current_term);
            has || metrics.state != openraft::ServerState::Leader
        });
        let is_there = timeout_at(deadline, applied).await.is_ok_and(|applied| applied.is_ok());
        is_there && running.leads()
    }

    fn committed(&self, version: Version, at_ms: UnixMs) -> Committed {
        let fence_ms = u64::try_from(self.settings.fence.as_millis()).unwrap_or(u64::MAX);
        Committed { id: EntryId { region: self.settings.region.clone(), version }, at_ms, fence_ms }
    }

    fn no_quorum(&self, why: String) -> NotCommitted {
        NotCommitted::NoQuorum { region: self.settings.region.clone(), why }
    }

    pub async fn hand_over(&self, limit: Duration) {
        self.is_leaving.store(true, Relaxed);
        let Some(running) = self.running() else { return };
        // The heir's first attempt deposes this leader, and may win only when the others no longer wait for it.
        running.raft.runtime_config().elect(false);
        if !running.leads() {
            return;
        }
        let metrics = running.metrics();
        let Some((birth, _)) = life(metrics.membership_config.membership()) else { return };
        let voters: Vec<NodeId> = metrics.membership_config.membership().voter_ids().collect();
        let reached = metrics.replication.iter().flatten();
        let heirs = reached.filter(|(id, _)| voters.contains(id) && **id != self.settings.me);
        let Some((heir, _)) = heirs.max_by_key(|(_, reached)| reached.map(|reached| reached.index)) else {
            return;
        };
        let _ = ask(&*self.wire, *heir, &Ask::Elect(birth), limit).await;
    }
}

fn not(why: &str) -> Tried {
    Tried::Not { may_be_written: false, why: why.to_owned() }
}
