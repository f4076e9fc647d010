//! Telling: what of the own region's log a node is sent, over which path, and when again.

use std::{cmp::Reverse, collections::VecDeque};

use super::{Output, Peer, Replica, Version, is_behind};
use crate::{NodeId, purge::Region};

/// A push under way.
#[derive(Clone, Debug)]
pub(super) struct Push {
    began_ms: u64,
    /// Where the log stood when it began: who is there when it has ended was reached.
    aim: Version,
    after: Option<Version>,
    relay: Vec<NodeId>,
    /// It is a try of what failed before.
    is_again: bool,
}

/// A push that may begin.
struct Plan {
    to: NodeId,
    relay: Vec<NodeId>,
    is_again: bool,
}

impl Replica {
    /// Begins what pushes may begin now.
    pub(super) fn push(&mut self, now_ms: u64, out: &mut Vec<Output>) {
        let Some(region) = self.leads.clone() else { return };
        let Some(head) = self.stamp.get(&region).filter(|head| head.index > 0) else { return };
        let mut room = self.settings.pushes_max.saturating_sub(self.pushes.len());
        let again = self.pushes.values().filter(|push| push.is_again).count();
        let mut room_again = (self.settings.pushes_max / 2).max(1).saturating_sub(again);
        if room == 0 {
            return;
        }
        let pops = self.pops.len();
        let mut queues: VecDeque<VecDeque<Plan>> =
            (0..pops).map(|at| self.plans((self.turn + at) % pops, &region, head, now_ms)).collect();
        // One of each PoP in turn.
        while let Some(mut plans) = queues.pop_front() {
            let Some(plan) = plans.pop_front() else { continue };
            if room == 0 {
                self.turn = (self.turn + 1) % pops;
                return;
            }
            if !plan.is_again || room_again > 0 {
                room -= 1;
                room_again -= usize::from(plan.is_again);
                self.begin(plan, &region, head, now_ms, out);
            }
            queues.push_back(plans);
        }
    }

    /// The pushes that a PoP needs, the more urgent ones first.
    fn plans(&mut self, pop: usize, region: &Region, head: Version, now_ms: u64) -> VecDeque<Plan> {
        let reached = self.reached.get(region);
        let known = |id: &NodeId| reached.and_then(|nodes| nodes.get(id)).copied();
        let mut plans = VecDeque::new();
        let (mut through_relays, mut directly, mut again) = (Vec::new(), Vec::new(), Vec::new());
        for id in &self.pops[pop] {
            let Some(peer) = self.peers.get_mut(id) else { continue };
            if known(id).is_some_and(|at| at >= head) {
                (peer.direct, peer.wait_until_ms) = (false, 0);
                continue;
            }
            let is_told = self.pushes.contains_key(&(region.clone(), *id)) || peer.is_covered(now_ms);
            if !peer.is_there || is_told || now_ms < peer.wait_until_ms {
                continue;
            }
            match (peer.direct || !peer.is_usable, peer.is_neighbour) {
                (true, _) => again.push(*id),
                (false, true) => directly.push(*id),
                (false, false) => through_relays.push(*id),
            }
        }
        if through_relays.len() > 1 {
            let relays = self.relays(&through_relays, region, now_ms);
            if relays.is_empty() && !through_relays.iter().any(|id| self.peers[id].may_relay) {
                directly.append(&mut through_relays);
            }
            // Who lacks more than the relay does could not apply what the relay is sent.
            let is_level = |id: &NodeId, relay: &NodeId| match (known(id), known(relay)) {
                (Some(at), Some(relay)) => at.epoch == relay.epoch && at.index >= relay.index,
                (at, relay) => at.is_none() && relay.is_none(),
            };
            for to in &relays {
                let others = through_relays.iter().filter(|id| *id != to && is_level(id, to));
                plans.push_back(Plan { to: *to, relay: others.copied().collect(), is_again: false });
            }
            if !relays.is_empty() {
                let is_left = |id: &&NodeId| !relays.iter().any(|relay| relay == *id || is_level(id, relay));
                directly.extend(through_relays.iter().filter(is_left));
            }
        } else {
            directly.append(&mut through_relays);
        }
        let plan = |is_again| move |to| Plan { to, relay: Vec::new(), is_again };
        plans.extend(directly.into_iter().map(plan(false)));
        plans.extend(again.into_iter().map(plan(true)));
        plans
    }

    /// Who of these tells the others: as many as the PoP lacks of relays that are at it now.
    fn relays(&self, nodes: &[NodeId], region: &Region, now_ms: u64) -> Vec<NodeId> {
        let pop = nodes.first().and_then(|id| self.peers.get(id)).map(|peer| peer.pop);
        let is_at_it = |((of, to), push): &(&(Region, NodeId), &Push)| {
            let is_young = now_ms < push.began_ms + self.settings.retry_ms / 2;
            of == region
                && is_young
                && !push.relay.is_empty()
                && self.peers.get(to).map(|peer| peer.pop) == pop
        };
        let at_it = self.pushes.iter().filter(is_at_it).count();
        let mut relays: Vec<NodeId> = nodes.iter().filter(|id| self.peers[id].may_relay).copied().collect();
        relays.sort_by_key(|id| {
            let peer = &self.peers[id];
            (peer.failed, Reverse(peer.answered_ms), peer.rtt_us.unwrap_or(u32::MAX), *id)
        });
        relays.truncate(self.settings.relays_per_pop.max(1).saturating_sub(at_it));
        relays
    }

    fn begin(&mut self, plan: Plan, region: &Region, aim: Version, now_ms: u64, out: &mut Vec<Output>) {
        let Plan { to, relay, is_again } = plan;
        let after = self.reach(region, &to);
        for id in &relay {
            if let Some(peer) = self.peers.get_mut(id) {
                peer.covering += 1;
                peer.covered_until_ms = now_ms + self.settings.retry_ms / 2;
            }
        }
        out.push(Output::Push { to, region: region.clone(), after, relay: relay.clone() });
        let push = Push { began_ms: now_ms, aim, after, relay, is_again };
        self.pushes.insert((region.clone(), to), push);
    }

    /// A push ended.
    pub(super) fn pushed(&mut self, to: NodeId, region: Region, answered: bool, now_ms: u64) {
        let Some(push) = self.pushes.remove(&(region.clone(), to)) else { return };
        let again_ms = now_ms + self.settings.retry_ms;
        let reached = self.reached.get(&region);
        let known = |id: &NodeId| reached.and_then(|nodes| nodes.get(id)).copied();
        let mut told = 0;
        for id in &push.relay {
            let Some(peer) = self.peers.get_mut(id) else { continue };
            peer.covering = peer.covering.saturating_sub(1);
            if !is_behind(known(id), push.aim) {
                told += 1;
                continue;
            }
            peer.direct = true;
            if answered {
                // The relay tried, and another may be trying still.
                peer.wait_until_ms = peer.wait_until_ms.max(again_ms);
            }
        }
        let at = known(&to);
        if let Some(peer) = self.peers.get_mut(&to) {
            if answered {
                peer.answered_ms = Some(now_ms);
            }
            peer.failed = !answered || (told == 0 && !push.relay.is_empty());
            // Who is sent much comes nearer with each push.
            if is_behind(at, push.aim) && (!answered || at == push.after) {
                (peer.direct, peer.wait_until_ms) = (true, again_ms);
            }
        }
    }
}

impl Peer {
    fn is_covered(&self, now_ms: u64) -> bool {
        self.covering > 0 && now_ms < self.covered_until_ms
    }
}
