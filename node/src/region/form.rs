//! How a group comes to be.
//!
//! The lowest id of the nodes that see each other asks each of the others to be of its group and of no other. A
//! promise is on disk before it is given, and is kept until the group is there, or until the one who asked says
//! that it has given up, or has been gone for long. Only with all promises the group is formed, and only by the
//! one who asked, so there is one membership. Invariant: nobody is of two groups, nobody forms a group while
//! another is known to be there.

use std::{collections::BTreeMap, io, sync::atomic::Ordering::Relaxed, time::Duration};

use futures_util::future::join_all;
use starling_proto::{NodeId, group, members::Status};
use tokio::time::Instant;

use super::{
    disk::{Disk, Name, Writes},
    member::{Member, Running},
    wire::{Ask, Promise, State, Told, ask},
};

/// A question to who should form a group is answered within this.
const ASK_MAX: Duration = Duration::from_secs(2);
/// Who asked for promises and was not heard of for so long forms nothing any more.
const GONE_AFTER: Duration = Duration::from_secs(60);
/// Promises that are older are asked for again.
const FRESH: Duration = Duration::from_secs(10);

/// What is remembered between two attempts.
#[derive(Default)]
pub(super) struct Forming {
    /// Who was seen, and since when.
    seen: Option<(Vec<NodeId>, Instant)>,
    /// Since when the one who has this node's promise is silent.
    silent_since: Option<Instant>,
}

impl Member {
    /// One attempt to form a group; nothing is waited for longer than a few seconds.
    pub async fn form(&self, running: &Running, forming: &mut Forming) {
        let me = self.settings.me;
        let now = Instant::now();
        let lonely_since = *self.lonely_since.lock().get_or_insert(now);
        if !self.is_free(running, forming).await {
            return;
        }
        let live = self.live();
        let ids: Vec<NodeId> = live.iter().map(|(id, _)| *id).collect();
        let since = match &forming.seen {
            Some((seen, since)) if *seen == ids => *since,
            _ => {
                forming.seen = Some((ids.clone(), now));
                now
            }
        };
        let settled = now.duration_since(since);
        let unseen = self.unseen(ids.len());
        let is_ready = unseen.is_none() && settled >= self.patience(ids.len());
        self.wait_because(unseen);
        if !is_ready || ids.first() != Some(&me) {
            return;
        }
        let Some(states) = self.states(&ids).await else { return };
        if states.iter().any(|state| state.birth.is_some()) {
            *self.lonely_since.lock() = Some(Instant::now());
            return;
        }
        let told = states.iter().filter_map(|state| state.applied);
        let known = told.chain(self.heard()).max();
        let has_lived = known.is_some_and(|known| known.index > 0);
        if has_lived && lonely_since.elapsed() < self.tuning.reborn_after {
            return;
        }
        let promised = states.iter().map(|state| state.promised).max().unwrap_or_default();
        let promised = promised.max(running.promised.load(Relaxed)).max(running.birth_min);
        let epoch = self.clock.now_ms().max(known.map_or(0, |known| known.epoch).max(promised) + 1);
        let promise = Promise { by: me, epoch, set: ids.clone() };
        *self.forming.lock() = Some(epoch);
        if self.pledge(running, Some(promise.clone())).await.is_ok()
            && self.all_promise(&promise).await
            && now.elapsed() < FRESH
        {
            let pops: BTreeMap<_, _> =
                live.iter().map(|(id, node)| (*id, node.profile.ticket.claim.pop.clone())).collect();
            let voters = group::first_voters(me, &pops, self.settings.voters_max);
            let seats: BTreeMap<_, _> = live
                .iter()
                .filter(|(id, _)| voters.contains(id))
                .map(|(id, node)| (*id, Self::seat(node, (epoch, epoch))))
                .collect();
            match running.raft.initialize(seats).await {
                Ok(()) => {
                    tracing::info!(region = %self.settings.region, epoch, ?voters, "the group is formed");
                    return;
                }
                Err(error) => tracing::error!(%error, "the group was not formed"),
            }
            // Whether it was written is seen at the next look, or after the restart that a failed disk brings.
            return;
        }
        *self.forming.lock() = None;
        let _ = self.pledge(running, None).await;
    }

    /// For whom is waited before a group is formed, for people; `there` nodes of the region are.
    fn unseen(&self, there: usize) -> Option<String> {
        let region = &self.settings.region;
        match self.settings.expect {
            Some(expected) => (there < expected).then(|| {
                format!(
                    "{there} of the {expected} nodes of region {region} that are to form its group are seen"
                )
            }),
            None if there > 1 || !self.settings.has_peers => None,
            // A group that is formed alone outlives an older one, which may be where the peers are.
            None => {
                let view = self.view.borrow();
                let others = view.members.iter().filter(|(id, _)| **id != self.settings.me);
                let mut reaches_any = false;
                let mut missed = Vec::new();
                for (_, node) in others {
                    let claim = &node.profile.ticket.claim;
                    reaches_any |= node.status == Status::Alive;
                    if claim.may_shield && claim.region == region.as_str() && node.status != Status::Left {
                        missed.push(claim.name.as_str());
                    }
                }
                let for_whom = match (missed.is_empty(), reaches_any) {
                    (true, true) => return None,
                    (true, false) => "any of the peers".to_owned(),
                    (false, _) => missed.join(", "),
                };
                Some(format!(
                    "{for_whom} cannot be reached, and may have the group of region {region}; \
                     to have this node form one alone, set region_expect = 1"
                ))
            }
        }
    }

    /// How long the same nodes are to be seen before a group is formed.
    fn patience(&self, there: usize) -> Duration {
        match self.settings.expect {
            _ if there == 1 && !self.settings.has_peers => Duration::ZERO,
            Some(expected) if expected > 1 => Duration::ZERO,
            _ if there > 1 => self.tuning.stable,
            _ => self.tuning.alone_after,
        }
    }

    /// Answers who wants this node in its group.
    pub async fn promise(&self, running: &Running, from: NodeId, promise: Promise) -> Result<(), String> {
        let mut held = running.pledge.lock().await;
        if running.birth().is_some() {
            return Err("it is in a group".to_owned());
        }
        if promise.by != from
            || promise.set.first() != Some(&from)
            || !promise.set.contains(&self.settings.me)
        {
            return Err("it is not the lowest of those that it asks".to_owned());
        }
        if let Some(other) = held.as_ref().filter(|held| held.by != from) {
            return Err(format!("it is promised to {}", other.by));
        }
        let known = self.heard();
        if promise.epoch <= known.map_or(0, |known| known.epoch).max(running.birth_min) {
            return Err("the region's log has lived later".to_owned());
        }
        if promise.epoch <= running.promised.load(Relaxed) {
            return Err("a later group was promised already, and may come to be".to_owned());
        }
        let alone = self.lonely_since.lock().map_or(Duration::ZERO, |since| since.elapsed());
        if known.is_some_and(|known| known.index > 0) && alone < self.tuning.reborn_after / 2 {
            return Err("the region's log is known, and its group may come back".to_owned());
        }
        keep(running, &mut held, Some(promise)).await.map_err(|error| error.to_string())
    }

    /// Whether no promise to another is held.
    async fn is_free(&self, running: &Running, forming: &mut Forming) -> bool {
        let held = running.pledge.lock().await.clone();
        let Some(Promise { by, epoch, .. }) = held else { return true };
        let is_given_up = if by == self.settings.me {
            // From before a restart: what is not formed then will not be.
            true
        } else {
            match ask(&*self.wire, by, &Ask::State, ASK_MAX).await {
                Ok(Told::State(State { birth, forming: asking, .. })) => {
                    forming.silent_since = None;
                    birth.map_or(asking != Some(epoch), |birth| birth != epoch)
                }
                _ => {
                    let since = *forming.silent_since.get_or_insert_with(Instant::now);
                    since.elapsed() >= GONE_AFTER
                }
            }
        };
        is_given_up && self.pledge(running, None).await.is_ok()
    }

    async fn pledge(&self, running: &Running, promise: Option<Promise>) -> io::Result<()> {
        let mut held = running.pledge.lock().await;
        if held.as_ref().is_some_and(|held| held.by != self.settings.me) && promise.is_some() {
            return Err(io::Error::other("another was promised"));
        }
        keep(running, &mut held, promise).await
    }

    /// What all others say of themselves; none when one does not answer.
    pub async fn states(&self, nodes: &[NodeId]) -> Option<Vec<State>> {
        let others = nodes.iter().filter(|id| **id != self.settings.me);
        let asked = others.map(|id| ask(&*self.wire, *id, &Ask::State, ASK_MAX));
        let told = join_all(asked).await.into_iter().map(|told| match told {
            Ok(Told::State(state)) => Some(state),
            _ => None,
        });
        told.collect()
    }

    async fn all_promise(&self, promise: &Promise) -> bool {
        let others = promise.set.iter().filter(|id| **id != self.settings.me);
        let question = Ask::Promise(promise.clone());
        let asked = others.map(|id| ask(&*self.wire, *id, &question, ASK_MAX));
        join_all(asked).await.iter().all(|told| matches!(told, Ok(Told::Yes)))
    }
}

/// Holds a promise, or none any more. The greatest epoch that was promised stays: who asked for it may have formed its
/// group all the same, and that group must not outlive a later one.
async fn keep(running: &Running, held: &mut Option<Promise>, promise: Option<Promise>) -> io::Result<()> {
    let epoch = promise.as_ref().map_or(0, |promise| promise.epoch);
    let promised = running.promised.load(Relaxed).max(epoch);
    let write = promise.clone();
    let write = move |disk: &Disk| {
        let mut writes = Writes::default();
        disk.set(&mut writes, Name::Promise, &write)?;
        disk.set(&mut writes, Name::Promised, &promised)?;
        disk.write(writes, true)
    };
    running.disk.run(write).await?;
    running.promised.store(promised, Relaxed);
    *held = promise;
    Ok(())
}
