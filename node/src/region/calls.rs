//! What members of the group ask, and what they are told.
//!
//! Invariants: nothing is told to who is not of the region; a message of another group changes nothing; a vote is
//! given to nobody who lacks an entry that is known to be committed, and by nobody who may have forgotten what it
//! acknowledged.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use openraft::{
    ServerState,
    raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest},
};
use starling_proto::{
    NodeId,
    purge::Version,
    wire::{Call, Lease, NotCommitted, Refusal, Reply},
};
use tokio::time::{Instant, timeout};

use super::{
    codec,
    disk::Name,
    member::{Member, Running},
    types::{Types, end},
    wire::{Ask, State, Told},
};

/// Who asks for the head is answered within this.
const HEAD_MAX: Duration = Duration::from_secs(2);
/// Who is to lead has so long to be elected.
const ELECT_MAX: Duration = Duration::from_secs(5);
/// Between two attempts to be elected, at most.
const ELECT_EVERY: Duration = Duration::from_secs(1);

impl Member {
    pub async fn answer(self: &Arc<Self>, from: NodeId, call: Call) -> Reply {
        let is_of_region = self.is_of_region(&from);
        match call {
            Call::Group(bytes) => {
                let told = match self.running() {
                    _ if !is_of_region => Told::No("the one who asks is not of this region".to_owned()),
                    None => Told::No("its disk is not open".to_owned()),
                    Some(running) => match codec::decode(&bytes) {
                        Ok(question) => self.tell(&running, from, question).await,
                        Err(why) => Told::No(why),
                    },
                };
                match codec::encode(&told) {
                    Ok(bytes) => Reply::Group(Bytes::from(bytes)),
                    Err(_) => Reply::Refused(Refusal::NotServed),
                }
            }
            // Who is of the region asks the leader itself: it is not sent on twice.
            Call::Propose(proposal) => Reply::Proposed(self.propose(proposal, !is_of_region).await),
            Call::Head => {
                let head = self.head(HEAD_MAX, !is_of_region).await;
                let remaining_ms = u64::try_from(self.settings.fence.as_millis()).unwrap_or(u64::MAX);
                Reply::Head(head.map(|head| Lease {
                    region: self.settings.region.clone(),
                    head,
                    remaining_ms,
                }))
            }
            _ => Reply::Refused(Refusal::NotServed),
        }
    }

    fn is_of_region(&self, node: &NodeId) -> bool {
        let view = self.view.borrow();
        let claim = view.members.get(node).map(|node| &node.profile.ticket.claim);
        claim.is_some_and(|claim| claim.region == self.settings.region.as_str())
    }

    async fn tell(self: &Arc<Self>, running: &Running, from: NodeId, question: Ask) -> Told {
        let told = match question {
            Ask::State => Ok(Told::State(self.state_here(running))),
            Ask::Promise(promise) => self.promise(running, from, promise).await.map(|()| Told::Yes),
            Ask::Append(birth, rpc) => match self.admit(running, birth).await {
                Ok(()) => self.append(running, birth, rpc).await.map(Told::Append),
                Err(told) => Ok(told),
            },
            Ask::Snapshot(birth, rpc) => match self.admit(running, birth).await {
                Ok(()) => {
                    let told = running.raft.install_snapshot(rpc).await;
                    *running.led.lock() = Some(Instant::now());
                    told.map(Told::Snapshot).map_err(|error| error.to_string())
                }
                Err(told) => Ok(told),
            },
            Ask::Vote(birth, epoch, rpc) => match self.admit(running, birth).await {
                Ok(()) => match self.may_vote(running, birth, epoch, &rpc).await {
                    Ok(()) => running.raft.vote(rpc).await.map(Told::Vote).map_err(|error| error.to_string()),
                    Err(why) => Err(why),
                },
                Err(told) => Ok(told),
            },
            Ask::Elect(birth) => match self.admit(running, birth).await {
                Ok(()) => self.stand(running).await.map(|()| Told::Yes),
                Err(told) => Ok(told),
            },
        };
        told.unwrap_or_else(Told::No)
    }

    fn state_here(&self, running: &Running) -> State {
        State {
            birth: running.birth(),
            forming: *self.forming.lock(),
            applied: self.log.applied(),
            last: end(&running.metrics()),
            promised: running.promised.load(Relaxed).max(running.birth_min),
        }
    }

    /// Whether a message of the group with this birth is for this node.
    async fn admit(&self, running: &Running, birth: u64) -> Result<(), Told> {
        match running.birth() {
            Some(mine) if mine == birth => return Ok(()),
            Some(mine) if mine > birth => return Err(Told::Outlived(mine)),
            Some(_) => {
                self.outlived.send_if_modified(|known| std::mem::replace(known, birth.max(*known)) < birth);
                return Err(Told::No("it is leaving a group that was outlived".to_owned()));
            }
            None if running.birth_min > birth => return Err(Told::Outlived(running.birth_min)),
            None => {}
        }
        *self.lonely_since.lock() = Some(Instant::now());
        match &*running.pledge.lock().await {
            Some(promise) if promise.epoch != birth => Err(Told::No("it is promised to another".to_owned())),
            _ => Ok(()),
        }
    }

    async fn append(
        &self,
        running: &Running,
        birth: u64,
        rpc: AppendEntriesRequest<Types>,
    ) -> Result<AppendEntriesResponse<NodeId>, String> {
        if running.birth().is_none() && !self.has_promised(running, birth).await {
            self.be_newcomer(running, true).await?;
        }
        let has = rpc.entries.last().map(|entry| entry.log_id).or(rpc.prev_log_id);
        let is_whole = has >= rpc.leader_commit && rpc.leader_commit.is_some();
        let told = running.raft.append_entries(rpc).await.map_err(|error| error.to_string())?;
        if !matches!(told, AppendEntriesResponse::HigherVote(_)) {
            *running.led.lock() = Some(Instant::now());
        }
        if is_whole && told.is_success() {
            self.be_newcomer(running, false).await?;
        }
        Ok(told)
    }

    async fn be_newcomer(&self, running: &Running, is_newcomer: bool) -> Result<(), String> {
        if running.is_newcomer.load(Relaxed) != is_newcomer {
            let write = move |disk: &super::disk::Disk| disk.put(Name::Newcomer, &is_newcomer);
            running.disk.run(write).await.map_err(|error| error.to_string())?;
            running.is_newcomer.store(is_newcomer, Relaxed);
        }
        Ok(())
    }

    async fn has_promised(&self, running: &Running, birth: u64) -> bool {
        running.pledge.lock().await.as_ref().is_some_and(|promise| promise.epoch == birth)
    }

    async fn may_vote(
        &self,
        running: &Running,
        birth: u64,
        epoch: u64,
        rpc: &VoteRequest<NodeId>,
    ) -> Result<(), String> {
        let is_empty = running.birth().is_none() && !self.has_promised(running, birth).await;
        if is_empty || running.is_newcomer.load(Relaxed) {
            return Err("it may have forgotten entries, and votes when it has all".to_owned());
        }
        let has = Version { epoch, index: rpc.last_log_id.map_or(0, |last| last.index + 1) };
        match self.heard() {
            Some(known) if known > has && !self.is_lost.load(Relaxed) => {
                let last = running.disk.run(|disk| disk.last()).await.map_err(|error| error.to_string())?;
                if last > rpc.last_log_id {
                    // Raft itself refuses, and tells the candidate to leave the next election to others.
                    return Ok(());
                }
                Err(format!("the candidate lacks entries up to {known}"))
            }
            _ => Ok(()),
        }
    }

    /// Stands for election until somebody else than before leads.
    async fn stand(&self, running: &Running) -> Result<(), String> {
        let (since, mut told) = (Instant::now(), running.raft.metrics());
        let before = told.borrow().current_leader;
        // Voters that still hear the old leader refuse: each attempt has time to depose it.
        let patience = self.settings.election.min(ELECT_EVERY);
        while since.elapsed() < ELECT_MAX {
            if running.leads() {
                return Ok(());
            }
            let metrics = running.metrics();
            if self.lacks(self.heard(), &metrics) || running.is_newcomer.load(Relaxed) {
                return Err("it lacks entries".to_owned());
            }
            running.raft.trigger().elect().await.map_err(|error| error.to_string())?;
            let led = told.wait_for(|metrics| {
                let is_other = metrics.current_leader.is_some() && metrics.current_leader != before;
                metrics.state == ServerState::Leader || is_other
            });
            match timeout(patience, led).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(_)) => return Err("the group ended".to_owned()),
                Err(_) => {}
            }
        }
        Err("it was not elected".to_owned())
    }
}

/// Whether what was proposed cannot have been written by who answers this.
pub(super) fn is_unwritten(error: &NotCommitted) -> bool {
    matches!(error, NotCommitted::NoQuorum { .. } | NotCommitted::Refused(_))
}
