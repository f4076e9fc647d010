//! What the leader does for its group, and what the others watch for.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::atomic::Ordering::Relaxed,
    time::Duration,
};

use futures_util::future::join_all;
use openraft::ChangeMembers;
use starling_proto::{
    NodeId,
    group::{Bounds, Fare, Seen, Step, next_change},
    members::Status,
    purge::Version,
};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{
    member::{Member, Running},
    types::{Membership, Metrics, Seat, end, life},
};

/// Between two changes of the membership.
const PAUSE: Duration = Duration::from_secs(1);
/// Members beyond the voters.
const LEARNERS_MAX: usize = 16;
/// Who said good-bye so long ago will not be back soon, and is not counted on any more.
const RELEASE_AFTER: Duration = Duration::from_secs(60);
/// Who lacks no more entries than this has caught up.
const LAG_MAX: u64 = 64;
/// Between two questions of who hears no leader, to those who may know more.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// What is remembered while this node leads, or while it does not.
#[derive(Default)]
pub(super) struct Leading {
    changed: Option<Instant>,
    changing: Option<Changing>,
    /// How far the log was known to be applied at the last look.
    heard: Option<Version>,
    /// Since when a later life of the log is known than that of this group.
    outdated_since: Option<Instant>,
    /// Since when members are neither alive nor suspect.
    silent: HashMap<NodeId, Instant>,
    leaderless_since: Option<Instant>,
    asked: Option<Instant>,
}

/// A change that is under way. Of the voters it is two writes, of which only who asked for it makes the second: it is
/// given up with the leadership only, never because it takes long.
struct Changing {
    term: u64,
    begins_life: bool,
    task: AbortOnDropHandle<bool>,
}

impl Member {
    /// Begins one change at most, and none while another is under way.
    pub async fn lead(&self, running: &Running, leading: &mut Leading) {
        if let Some(changing) = leading.changing.take() {
            if changing.task.is_finished() {
                let is_done = changing.task.await.unwrap_or(false);
                if is_done && changing.begins_life {
                    self.is_lost.store(false, Relaxed);
                }
            } else if changing.term == running.metrics().current_term {
                leading.changing = Some(changing);
                return;
            }
        }
        // What is heard of may be newer than the metrics: only what is still lacking at the next look is lost.
        let known = leading.heard.take();
        let metrics = running.metrics();
        let is_lost = self.is_lost.load(Relaxed);
        if is_lost || self.lacks(known, &metrics) {
            let is_later = known.map(|known| known.epoch) > running.epoch();
            if is_lost || !is_later || self.is_the_last(running, leading).await {
                leading.outdated_since = None;
                self.begin_life(running, &metrics, leading);
            } else {
                leading.heard = known;
            }
            return;
        }
        leading.outdated_since = None;
        leading.heard = self.heard();
        if leading.changed.is_some_and(|changed| changed.elapsed() < PAUSE) {
            return;
        }
        leading.changed = Some(Instant::now());
        let membership = metrics.membership_config.membership();
        let Some(life) = life(membership) else { return };
        if let Some(voters) = unfinished(membership) {
            tracing::info!(region = %self.settings.region, ?voters, "a change of the voters is finished");
            self.change(running, leading, ChangeMembers::ReplaceAllVoters(voters), false);
            return;
        }
        let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
        let learners: BTreeSet<NodeId> = membership.learner_ids().collect();
        let seen = self.seen(&metrics, leading);
        let bounds = Bounds {
            voters_max: self.settings.voters_max,
            learners_max: LEARNERS_MAX,
            replace_after_ms: millis(self.tuning.replace_after),
            release_after_ms: millis(RELEASE_AFTER),
        };
        let Some(step) = next_change(self.settings.me, &voters, &learners, &seen, bounds) else { return };
        tracing::info!(region = %self.settings.region, ?step, "the group changes");
        let change = match step {
            Step::Vote(voters) => ChangeMembers::ReplaceAllVoters(voters),
            Step::Forget(node) => ChangeMembers::RemoveNodes(BTreeSet::from([node])),
            Step::Learn(node) => {
                let region = self.region();
                let Some((_, member)) = region.iter().find(|(id, _)| *id == node) else { return };
                ChangeMembers::AddNodes(BTreeMap::from([(node, Self::seat(member, life))]))
            }
        };
        self.change(running, leading, change, false);
    }

    /// Entries that others have applied are not in the log that a quorum has: it was rolled back. What is written
    /// from now on is of another life, so that nobody takes it for what was lost.
    fn begin_life(&self, running: &Running, metrics: &Metrics, leading: &mut Leading) {
        let membership = metrics.membership_config.membership();
        let Some((birth, known)) = life(membership) else { return };
        let heard = self.heard().map_or(0, |heard| heard.epoch);
        let epoch = self.clock.now_ms().max(known.max(heard).saturating_add(1));
        tracing::error!(region = %self.settings.region, epoch, "entries of the region's log are lost; it begins anew");
        let seats = membership.nodes().map(|(id, seat)| {
            let mut seat = seat.clone();
            (seat.birth, seat.epoch) = (birth, epoch);
            (*id, seat)
        });
        self.change(running, leading, ChangeMembers::SetNodes(seats.collect()), true);
    }

    /// A later life of the log is known than that of this group: its disks are older copies, or it is to give way to a
    /// later group. Whether it is known that there is none: every node of the region says so, or those that are there
    /// do, and the others had their time.
    async fn is_the_last(&self, running: &Running, leading: &mut Leading) -> bool {
        let since = *leading.outdated_since.get_or_insert_with(Instant::now);
        let others = self.region().into_iter().filter(|(id, _)| *id != self.settings.me);
        let told = join_all(others.map(|(id, _)| self.state(id))).await;
        let birth = told.iter().flatten().filter_map(|state| state.birth).max();
        self.hear_of_group(birth.unwrap_or_default());
        birth <= running.birth()
            && (told.iter().all(Option::is_some) || since.elapsed() >= self.tuning.lost_after)
    }

    /// A group with this birth is there: it takes the place of an older one.
    fn hear_of_group(&self, birth: u64) {
        self.outlived.send_if_modified(|known| std::mem::replace(known, birth.max(*known)) < birth);
    }

    fn change(
        &self,
        running: &Running,
        leading: &mut Leading,
        change: ChangeMembers<NodeId, Seat>,
        begins_life: bool,
    ) {
        let (raft, region) = (running.raft.clone(), self.settings.region.clone());
        let task = self.tasks.spawn(async move {
            let changed = raft.change_membership(change, true).await;
            changed.inspect_err(|error| tracing::info!(%region, %error, "the group did not change")).is_ok()
        });
        let term = running.metrics().current_term;
        leading.changing = Some(Changing { term, begins_life, task: AbortOnDropHandle::new(task) });
    }

    fn seen(&self, metrics: &Metrics, leading: &mut Leading) -> BTreeMap<NodeId, Seen> {
        let last = metrics.last_log_index.unwrap_or_default();
        let replication = metrics.replication.as_ref();
        let has = |id: &NodeId| {
            let reached = replication.and_then(|all| all.get(id)).and_then(|reached| reached.as_ref());
            reached.is_some_and(|reached| reached.index + LAG_MAX >= last)
        };
        let known: BTreeMap<_, _> = self.region().into_iter().collect();
        let members =
            metrics.membership_config.membership().nodes().map(|(id, seat)| (*id, seat.pop.clone()));
        let mut all: BTreeMap<NodeId, String> = members.collect();
        all.extend(known.iter().map(|(id, node)| (*id, node.profile.ticket.claim.pop.clone())));
        let seen = all.into_iter().map(|(id, pop)| {
            let status = known.get(&id).map(|node| node.status);
            let fare = match status {
                Some(Status::Alive | Status::Suspect) => Fare::There,
                other => {
                    let since = *leading.silent.entry(id).or_insert_with(Instant::now);
                    let for_ms = millis(since.elapsed());
                    if other == Some(Status::Left) { Fare::Left(for_ms) } else { Fare::Silent(for_ms) }
                }
            };
            if fare == Fare::There {
                leading.silent.remove(&id);
            }
            (id, Seen { pop, fare, caught_up: has(&id) })
        });
        seen.collect()
    }

    /// Stands for election only with all that is known to be committed; looks around while nobody leads.
    pub async fn follow(&self, running: &Running, metrics: &Metrics, leading: &mut Leading) {
        leading.silent.clear();
        leading.changing = None;
        leading.heard = None;
        let known = self.heard();
        let lacks = self.lacks(known, metrics);
        let may_stand = !running.is_newcomer.load(Relaxed)
            && !self.is_leaving.load(Relaxed)
            && (!lacks || self.is_lost.load(Relaxed));
        running.raft.runtime_config().elect(may_stand);
        let is_heard = running.led.lock().is_some_and(|led| led.elapsed() < self.settings.election);
        if metrics.current_leader.is_some() && is_heard {
            self.is_lost.store(false, Relaxed);
            leading.leaderless_since = None;
            return;
        }
        let since = *leading.leaderless_since.get_or_insert_with(Instant::now);
        if since.elapsed() < 2 * self.settings.election
            || leading.asked.is_some_and(|asked| asked.elapsed() < ASK_EVERY)
        {
            return;
        }
        leading.asked = Some(Instant::now());
        for (id, _) in self.live() {
            if let Some(birth) = self.state(id).await.and_then(|state| state.birth) {
                self.hear_of_group(birth);
            }
        }
        let Some(known) = known.filter(|_| lacks) else { return };
        let voters: Vec<NodeId> = metrics.membership_config.membership().voter_ids().collect();
        let mut lacking = 0;
        for voter in &voters {
            let last = match *voter == self.settings.me {
                true => end(metrics),
                false => match self.state(*voter).await {
                    Some(state) => state.last,
                    None => continue,
                },
            };
            if last >= Some(known) {
                return;
            }
            lacking += 1;
        }
        let is_lost = lacking == voters.len()
            || (lacking * 2 > voters.len() && since.elapsed() >= self.tuning.lost_after);
        self.is_lost.store(is_lost, Relaxed);
    }

    async fn state(&self, node: NodeId) -> Option<super::wire::State> {
        self.states(&[node]).await?.pop()
    }
}

/// The voters that a change goes to of which only the first half is written: whoever made it is gone, or was refused.
/// Until it is finished a majority of the old voters is needed as well as one of the new.
fn unfinished(membership: &Membership) -> Option<BTreeSet<NodeId>> {
    match membership.get_joint_config().as_slice() {
        [_, .., last] => Some(last.clone()),
        _ => None,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
