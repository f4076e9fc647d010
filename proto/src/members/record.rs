//! What is known of one node at first hand, or of a node of the own PoP.

use super::{
    Health, Load, Member, NodeState, Profile, Settings, Status,
    path::{Attempts, Path},
};
use crate::{UnixMs, purge::Versions};

/// A node, its last word, and the path to it.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// Its last word; made up from its profile while it was only told of.
    pub(super) state: NodeState,
    /// It spoke for itself. Only then is it told on: hearsay of hearsay could keep the dead alive.
    pub(super) is_first_hand: bool,
    /// The caller wants it out.
    pub(super) is_expelled: bool,
    /// Its PoP took it from its roster, and nothing was heard of it since.
    pub(super) is_gone: bool,
    /// The last sign of life by any path.
    pub(super) heard_ms: UnixMs,
    /// How it stands by its silence; the path has no say in it.
    pub(super) status: Status,
    /// Since when.
    pub(super) since_ms: UnixMs,
    /// How it is shown: a node that lives on a bad path is suspected here, and only here.
    pub(super) shown: Status,
    pub(super) path: Path,
    pub(super) probes: Attempts,
    pub(super) greetings: Attempts,
    /// When it came, or came back.
    pub(super) came_ms: UnixMs,
    /// It was in its place before this node came.
    pub(super) was_here_before: bool,
}

impl Record {
    pub(super) fn new(state: NodeState, is_first_hand: bool, now: UnixMs) -> Self {
        Self {
            state,
            is_first_hand,
            is_expelled: false,
            is_gone: false,
            heard_ms: now,
            status: Status::Alive,
            since_ms: now,
            shown: Status::Alive,
            path: Path::default(),
            probes: Attempts::default(),
            greetings: Attempts::default(),
            came_ms: now,
            was_here_before: false,
        }
    }

    /// Of a node that somebody else told of.
    pub(super) fn told(profile: Profile, now: UnixMs) -> Self {
        Self::new(Self::state_of(profile), false, now)
    }

    /// What a node that was only told of might say.
    pub(super) fn state_of(profile: Profile) -> NodeState {
        NodeState {
            profile,
            seq: 0,
            load: Load::default(),
            health: Health::default(),
            versions: Versions::default(),
            hot: Vec::new(),
            leaving: false,
        }
    }

    pub(super) fn profile(&self) -> &Profile {
        &self.state.profile
    }

    /// Applies the bounds of silence; whether it stands differently now.
    pub(super) fn judge(&mut self, suspect_after_ms: u64, dead_after_ms: u64, now: UnixMs) -> bool {
        let silent_ms = now.saturating_sub(self.heard_ms);
        let status = match () {
            () if self.is_expelled || self.profile().ticket.has_expired(now) => Status::Dead,
            () if self.state.leaving => Status::Left,
            () if self.is_gone || silent_ms > dead_after_ms => Status::Dead,
            () if silent_ms > suspect_after_ms => Status::Suspect,
            () => Status::Alive,
        };
        if status != self.status {
            if self.is_out() {
                (self.came_ms, self.was_here_before) = (now, false);
            }
            (self.status, self.since_ms) = (status, now);
            self.greetings.begin_again();
        }
        let shown = if self.path.is_bad { status.max(Status::Suspect) } else { status };
        let was_shown = std::mem::replace(&mut self.shown, shown);
        if !self.needs_probes() {
            self.probes.begin_again();
        }
        was_shown != shown
    }

    /// Whether to find out more about it than comes by itself.
    pub(super) fn needs_probes(&self) -> bool {
        self.status == Status::Suspect || (self.status == Status::Alive && self.path.is_bad)
    }

    /// Whether it is out of the mesh and may be forgotten.
    pub(super) fn is_out(&self) -> bool {
        matches!(self.status, Status::Dead | Status::Left)
    }

    pub(super) fn is_forgettable(&self, settings: &Settings, now: UnixMs) -> bool {
        self.is_out() && now.saturating_sub(self.since_ms) > settings.forget_after_ms
    }

    pub(super) fn member(&self) -> Member {
        Member {
            profile: self.state.profile.clone(),
            status: self.shown,
            passed_over: self.shown != Status::Alive || self.state.health.draining,
            heard_ms: self.heard_ms,
            load: self.state.load,
            health: self.state.health,
            versions: self.state.versions.clone(),
            rtt_us: self.path.rtt_us,
        }
    }
}
