//! Entries on their way from the leader to a node, and from a node to its neighbours.

use std::{collections::BTreeSet, sync::atomic::Ordering::Relaxed, time::Duration};

use starling_proto::{
    NodeId,
    purge::{Batch, Region, Version},
    wire::{Call, Reach, Reply},
};
use tokio::task::JoinSet;

use super::{CALL_TIMEOUT, ROUNDS_MAX, Spread, others};
use crate::link::Peer;

/// Longest wait for a neighbour that a push is passed on to: who asked for it waits as long.
const RELAY_TIMEOUT: Duration = Duration::from_millis(500);
/// Neighbours that one push is passed on to.
const RELAYS_MAX: usize = 512;

impl Spread {
    /// Sends a node what follows `after` in a log, and has it tell those in `relay`, until it has all. Answers what
    /// nodes said of themselves on the way; none when the node did not answer.
    pub(super) async fn push(
        &self,
        to: NodeId,
        region: &Region,
        after: Option<Version>,
        relay: Vec<NodeId>,
    ) -> Option<Vec<Reach>> {
        let mut heard: Option<Vec<Reach>> = None;
        let mut at = after;
        let (mut fell_back, mut has_relayed) = (false, relay.is_empty());
        for _ in 0..ROUNDS_MAX {
            // An empty push asks how far it is. One that has all still asks those that it is to tell.
            let (batch, telling) = match self.following(region, at).await {
                Some(batch) => (batch, relay.clone()),
                None if heard.is_none() => (self.question(region)?, Vec::new()),
                None if !has_relayed => (self.question(region)?, relay.clone()),
                None => return heard,
            };
            has_relayed |= !telling.is_empty();
            let (sent, is_question) = (last(&batch), is_question(&batch));
            let Some(reached) = self.send(to, batch, telling).await else { return heard };
            let told = reached.iter().find(|reach| reach.node == to).map(|reach| reach.at);
            heard.get_or_insert_default().extend(reached);
            let Some(told) = told else { return heard };
            // It knows nothing of the log, or it knows another life of it: from the beginning then.
            let now = told.filter(|now| now.epoch == sent.epoch).unwrap_or(Version { index: 0, ..sent });
            let is_behind = !is_question && now.index < sent.index;
            // It has less than was thought, or could not write it down: once more from there, and no more.
            if is_behind && (Some(now) == at || std::mem::replace(&mut fell_back, true)) {
                return heard;
            }
            at = Some(now);
        }
        heard
    }

    async fn send(&self, to: NodeId, batch: Batch, relay: Vec<NodeId>) -> Option<Vec<Reach>> {
        let peer = Peer::of(&self.0.parts.view.borrow(), to)?;
        let entries = batch.entries.len() as u64;
        let region = batch.region.clone();
        match self.0.parts.link.call(peer, Call::Push { batch, relay }, CALL_TIMEOUT).await {
            Ok(Reply::Reached(reached)) => {
                self.0.counts.entries_pushed.fetch_add(entries, Relaxed);
                Some(reached)
            }
            Ok(other) => {
                tracing::debug!(?other, node = %to, %region, "a push was not taken");
                None
            }
            Err(error) => {
                tracing::debug!(%error, node = %to, %region, "a push did not arrive");
                None
            }
        }
    }

    /// Takes what a node pushed, and tells those of the own PoP that are named; both at once.
    pub(super) async fn take(&self, from: NodeId, batch: Batch, relay: Vec<NodeId>) -> Reply {
        let (region, sent) = (batch.region.clone(), last(&batch));
        let passing_on = self.pass_on(from, &batch, relay);
        let ((), mut reached) = tokio::join!(self.apply_pushed(from, batch.clone()), passing_on);
        let at = self.applied(&region);
        if !is_question(&batch) && at.is_none_or(|at| at < sent) {
            // Who sends entries has them, and is asked for what is missing before them.
            self.tell(from, &region, Some(sent));
        }
        reached.insert(0, Reach { node: self.0.me, at });
        Reply::Reached(reached)
    }

    async fn apply_pushed(&self, from: NodeId, batch: Batch) {
        if is_question(&batch) {
            return;
        }
        if !self.takes(&batch.region) {
            return self.pass_over(&batch.region);
        }
        let counts = &self.0.counts;
        match self.0.parts.store.apply(batch).await {
            Ok(true) => drop(counts.batches_applied.fetch_add(1, Relaxed)),
            Ok(false) => {}
            Err(error) => {
                counts.batches_refused.fetch_add(1, Relaxed);
                tracing::debug!(%error, node = %from, "a push could not be applied");
            }
        }
    }

    /// Tells those that are named and stand in the own PoP, all at once; who does not answer soon is left to others.
    async fn pass_on(&self, from: NodeId, batch: &Batch, relay: Vec<NodeId>) -> Vec<Reach> {
        let mut reached = Vec::new();
        let mut told = JoinSet::new();
        for (node, peer) in self.neighbours(from, relay) {
            let (link, batch) = (self.0.parts.link.clone(), batch.clone());
            told.spawn(async move {
                let call = Call::Push { batch, relay: Vec::new() };
                let reply = link.call(peer, call, RELAY_TIMEOUT).await;
                let Ok(Reply::Reached(reached)) = reply else { return None };
                // It speaks for itself only.
                reached.into_iter().find(|reach| reach.node == node)
            });
        }
        let entries = batch.entries.len() as u64;
        while let Some(ended) = told.join_next().await {
            if let Ok(Some(reach)) = ended {
                self.0.counts.entries_pushed.fetch_add(entries, Relaxed);
                reached.push(reach);
            }
        }
        reached
    }

    fn neighbours(&self, from: NodeId, relay: Vec<NodeId>) -> Vec<(NodeId, Peer)> {
        let named: BTreeSet<NodeId> = relay.into_iter().collect();
        let view = self.0.parts.view.borrow();
        let Some(me) = view.members.get(&view.me).map(|member| &member.profile.ticket.claim) else {
            return Vec::new();
        };
        others(&view)
            .filter(|(id, member)| {
                named.contains(id) && **id != from && member.profile.ticket.claim.shares_pop(me)
            })
            .filter_map(|(id, _)| Some((*id, Peer::of(&view, *id)?)))
            .take(RELAYS_MAX)
            .collect()
    }

    /// What follows `at`; nothing when that is not known, or is all there is.
    async fn following(&self, region: &Region, at: Option<Version>) -> Option<Batch> {
        let at = at.filter(|at| self.applied(region) != Some(*at))?;
        match self.0.parts.store.missing_of(region, Some(at)).await {
            Ok(batch) => batch,
            Err(error) => {
                tracing::error!(%error, %region, "a log cannot be read");
                None
            }
        }
    }

    /// A push of nothing; none when the log is not known here either.
    fn question(&self, region: &Region) -> Option<Batch> {
        let epoch = self.0.parts.store.stamp().get(region)?.epoch;
        let after = Version { epoch, index: 0 };
        Some(Batch { region: region.clone(), since: 0, after, base: None, entries: Vec::new() })
    }
}

/// Whether the batch only asks: there is nothing in it to apply.
fn is_question(batch: &Batch) -> bool {
    batch.entries.is_empty() && batch.base.is_none() && batch.after.index == 0
}

/// Where who applies the batch stands afterwards.
pub(super) fn last(batch: &Batch) -> Version {
    batch.entries.last().map_or(batch.after, |entry| entry.version)
}
