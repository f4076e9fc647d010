//! The part of a life in which somebody else is asked: one flight for all who want the same.

use std::sync::Arc;

use http::{StatusCode, header};
use starling_proto::{
    cache::{
        Decision, NoStoreReason,
        reuse::{self, FetchReason, StaleReason, Trust},
        vary,
    },
    purge::Purged,
};
use tokio::sync::oneshot;

use super::{
    super::{
        answers::Answer,
        errand::{Brought, Errand},
        fills::{self, Answered, Landing, Part, Seat, Selecting, Want},
        forward::Forward,
        upward::{Upper, Upward, Wanted},
        verdict::{Outcome, Verdict},
    },
    LOOKS_MAX, Life, Step,
};
use crate::store::Object;

impl Life {
    /// Has it brought, together with all who want the same.
    pub(super) async fn fetch(&mut self, stored: Option<Arc<Object>>, reason: FetchReason) -> Step {
        let part = if stored.is_some() { Part::Whole } else { self.part() };
        if matches!(part, Part::Range(_)) && self.request.headers.contains_key(header::IF_RANGE) {
            // Which part the origin sends depends on a validator that others may not have.
            return Step::Pass(FetchReason::Partial.as_fwd(), None);
        }
        let want = Want { part: part.clone(), selecting: self.selecting_for(stored.as_ref()) };
        let upward = self.upward(self.offset_of(&part));
        let trust = self.shared.trust(&self.service);
        if trust == Trust::Unfenced {
            self.since.get_or_insert_with(|| self.shared.fills.begun());
        }
        let flight = match self.shared.fills.join(self.key.key, &want, self.asker.hop, upward.hop()) {
            Seat::Follower(flight, number) => {
                let landing = fills::landed(flight).await;
                return self.follow(landing, number, stored, reason);
            }
            Seat::Leader(flight) => flight,
        };
        // A flight may have landed between the look into the store and the join.
        let landed_before = self
            .shared
            .store
            .peek(&self.key.key)
            .and_then(|variants| self.choose(&variants))
            .filter(|found| stored.as_ref().is_none_or(|known| !Arc::ptr_eq(known, found)))
            .filter(|found| {
                self.may_share(found, trust) && (part == Part::Whole || !found.body.is_arriving())
            })
            // What is fed from below is of no use to this request: it would be led back here.
            .filter(|found| !found.body.is_arriving() || found.body.is_arriving_at(self.asker.hop));
        if let Some(object) =
            landed_before.filter(|_| self.looks < LOOKS_MAX && reason != FetchReason::Partial)
        {
            self.looks += 1;
            self.shared.fills.land(self.key.key, &flight, Landing::Asking);
            return Step::Judge(object);
        }
        let (sender, receiver) = oneshot::channel();
        let waiting = flight.landing();
        self.errand(stored, part, upward).lead(flight, sender);
        match fills::landed(waiting).await {
            Some(Landing::Unshareable(no_store)) => match receiver.await {
                Ok((reply, _)) => Step::Through(reply, uncacheable(reason, no_store)),
                Err(_) => lost(),
            },
            Some(Landing::Object(object, answered)) => self.brought(object, &answered, reason, false),
            Some(Landing::Stale(object, stale, upper)) => {
                self.brought_stale(object, stale_after_trouble(reason, stale, false, upper), reason)
            }
            Some(Landing::Failed(error)) => Step::Answer(Answer::of_failure(&error)),
            Some(Landing::Asking) | None => lost(),
        }
    }

    /// What a follower makes of the end of a flight. `stored` is what it would have had validated itself.
    fn follow(
        &mut self,
        landing: Option<Landing>,
        number: u64,
        stored: Option<Arc<Object>>,
        reason: FetchReason,
    ) -> Step {
        self.looks += 1;
        match landing {
            // It may have left the origin before a purge that this node cannot know of: all who came meanwhile
            // have it brought again, together.
            Some(Landing::Object(..) | Landing::Stale(..))
                if self.since.is_some_and(|since| number <= since) =>
            {
                if self.looks < LOOKS_MAX {
                    Step::Lookup
                } else {
                    Step::Alone(stored, reason)
                }
            }
            Some(Landing::Object(object, answered)) => {
                if !self.selects(&object) {
                    self.selecting = vary::selecting(&object.head.headers, &self.request.headers).ok();
                    return self.missing(FetchReason::VaryMiss);
                }
                if self.shared.store.purged(&object) != Purged::No {
                    return self.missing(reason);
                }
                if !self.may_share(&object, Trust::Full) {
                    return Step::Alone(Some(object), reason);
                }
                self.brought(object, &answered, reason, true)
            }
            Some(Landing::Stale(object, stale, upper)) => {
                if !self.selects(&object) {
                    return self.missing(reason);
                }
                self.brought_stale(object, stale_after_trouble(reason, stale, true, upper), reason)
            }
            // It was the leader's own request that forbade it: this one may lead a flight to share.
            Some(Landing::Unshareable(why)) if why.is_of_request() && !self.is_particular() => {
                self.missing(reason)
            }
            Some(Landing::Unshareable(_)) => Step::Alone(stored, reason),
            Some(Landing::Failed(error)) => Step::Answer(Answer::of_failure(&error)),
            // The leader found it in the store, or was lost.
            Some(Landing::Asking) | None if self.looks < LOOKS_MAX => Step::Lookup,
            Some(Landing::Asking) | None => Step::Alone(stored, reason),
        }
    }

    /// Whether what this request says of itself may keep its answer from others.
    fn is_particular(&self) -> bool {
        let headers = &self.request.headers;
        headers.contains_key(header::AUTHORIZATION) || headers.contains_key(header::CACHE_CONTROL)
    }

    /// The selecting fields by which this request finds those that want the same.
    fn selecting_for(&self, stored: Option<&Arc<Object>>) -> Option<Selecting> {
        let known = stored.map(|object| object.head.vary.clone()).filter(|vary| !vary.is_empty());
        known.or_else(|| self.selecting.clone())
    }

    /// What a flight of this request's own brought.
    fn brought(
        &mut self,
        object: Arc<Object>,
        answered: &Answered,
        reason: FetchReason,
        collapsed: bool,
    ) -> Step {
        if self.shared.store.purged(&object) != Purged::No {
            // Promise P1: it was fetched before a purge that this node has applied since.
            self.looks += 1;
            return self.missing(reason);
        }
        let mut verdict = Verdict::new(if answered.validated { Outcome::Revalidated } else { Outcome::Miss });
        verdict.fwd = Some(reason.as_fwd());
        verdict.fwd_status = Some(answered.status);
        verdict.stored = answered.stored;
        verdict.collapsed = collapsed;
        verdict.detail = (reason.as_str() != reason.as_fwd()).then(|| reason.as_str());
        verdict.origin = Some(Arc::clone(&answered.origin));
        verdict.upper = answered.upper.clone();
        self.reach(object, verdict)
    }

    /// What stands in for what could not be had.
    fn brought_stale(&mut self, object: Arc<Object>, verdict: Verdict, reason: FetchReason) -> Step {
        if self.shared.store.purged(&object) == Purged::Hard && self.looks < LOOKS_MAX {
            self.looks += 1;
            return self.missing(reason);
        }
        Step::Deliver(object, verdict)
    }

    /// Has it brought for this request only.
    pub(super) async fn alone(&mut self, stored: Option<Arc<Object>>, reason: FetchReason) -> Step {
        let part = if stored.is_some() { Part::Whole } else { self.part() };
        let upward = self.upward(self.offset_of(&part));
        match self.errand(stored, part, upward).alone().await {
            Brought::Through(reply, no_store) => Step::Through(reply, uncacheable(reason, no_store)),
            Brought::Shared(Landing::Object(object, answered))
                if self.looks <= LOOKS_MAX || self.shared.store.purged(&object) == Purged::No =>
            {
                self.brought(object, &answered, reason, false)
            }
            Brought::Shared(Landing::Stale(object, stale, upper))
                if self.shared.store.purged(&object) != Purged::Hard =>
            {
                Step::Deliver(object, stale_after_trouble(reason, stale, false, upper))
            }
            Brought::Shared(Landing::Failed(error)) => Step::Answer(Answer::of_failure(&error)),
            Brought::Shared(_) => {
                let text = "the content is purged faster than the origin gives it";
                Step::Answer(Answer::new(StatusCode::SERVICE_UNAVAILABLE, "purged", text))
            }
        }
    }

    /// Whether this request may use what another's fill brought; what it has just brought is trusted in full.
    fn may_share(&self, object: &Object, trust: Trust) -> bool {
        matches!(
            reuse::decide(&self.reuse(object, Purged::No, trust)),
            Decision::Serve | Decision::ServeStale(_) | Decision::ServeStaleAndRevalidate(_)
        )
    }

    /// Validates a stale object while it is served (RFC 5861 section 3).
    pub(super) fn revalidate_behind(&self, object: &Arc<Object>) {
        let want = Want { part: Part::Whole, selecting: self.selecting_for(Some(object)) };
        let upward = self.upward(0);
        let seat = self.shared.fills.join(self.key.key, &want, self.asker.hop, upward.hop());
        if let Seat::Leader(flight) = seat {
            let mut errand = self.errand(Some(Arc::clone(object)), Part::Whole, upward);
            errand.interim = None;
            // It is done for all, not for who happened to ask.
            for name in [header::CACHE_CONTROL, header::AUTHORIZATION] {
                errand.client_headers.remove(&name);
                errand.forward.headers.remove(&name);
            }
            let (nobody, _) = oneshot::channel();
            errand.lead(flight, nobody);
        }
    }

    /// The ways to the byte at `at` of the object. Who knows that answers are for one client each does not
    /// bother a peer with them.
    pub fn upward(&self, at: u64) -> Upward {
        let wanted = Wanted { key: self.key.key, url: &self.key.url, at };
        let mut upward = Upward::new(&self.shared, &self.service, &self.asker, wanted);
        if self.shared.fills.is_unshareable(&self.key.key, self.shared.clock.now_ms()) {
            upward.go_to_origin();
        }
        upward
    }

    fn offset_of(&self, part: &Part) -> u64 {
        if *part == Part::Whole { 0 } else { self.offset() }
    }

    fn errand(&self, stored: Option<Arc<Object>>, part: Part, upward: Upward) -> Errand {
        Errand {
            shared: Arc::clone(&self.shared),
            service: Arc::clone(&self.service),
            key: Arc::clone(&self.key),
            upward,
            request: Arc::clone(&self.request),
            forward: Forward::of(&self.shared, &self.service, &self.request)
                .storable(&self.service.settings.key),
            client_headers: self.request.headers.clone(),
            stored,
            part,
            interim: Some(self.request.interim.clone()),
        }
    }
}

fn uncacheable(reason: FetchReason, no_store: NoStoreReason) -> Verdict {
    let mut verdict = Verdict::new(Outcome::Uncacheable);
    verdict.fwd = Some(reason.as_fwd());
    verdict.detail = Some(no_store.as_str());
    verdict
}

fn stale_after_trouble(reason: FetchReason, stale: StaleReason, collapsed: bool, upper: Upper) -> Verdict {
    let mut verdict = Verdict::new(Outcome::Stale);
    verdict.fwd = Some(reason.as_fwd());
    verdict.collapsed = collapsed;
    verdict.detail = Some(stale.as_str());
    verdict.upper = upper;
    verdict
}

fn lost() -> Step {
    Step::Answer(Answer::new(StatusCode::INTERNAL_SERVER_ERROR, "fill-lost", "the fill was lost"))
}
