//! A request's life as a step table.
//!
//! ```text
//! Receive ──► Lookup ──► Judge ──► Deliver           a stored response is served
//!    │           ▲         │
//!    │           │         ├────► Fetch ──► Deliver   one flight per object brings it
//!    │           └── look again ──┤   └───► Through   the answer is for this client only
//!    │                     │      └───────► Alone ──► Deliver | Through
//!    ├──► Pass ──► Through └────► Pass
//!    └──► Answer                  Answer              the node speaks for itself
//! ```
//!
//! A step is taken once for each arrow; `look again` happens when what a flight brought is of no use to
//! this request (another variant, or purged meanwhile), and at most [`LOOKS_MAX`] times.

use std::{ops::Range, sync::Arc};

use http::{Method, StatusCode, header};
use starling_proto::cache::{
    Decision, NoStoreReason,
    encoding::{self, Coding},
    fields,
    key::{self, PrimaryKey},
    range::{self, Asked, ByteRange},
    reuse::{self, FetchReason, Reuse, StaleReason},
    vary,
};
use starling_proto::purge::Purged;
use tokio::sync::oneshot;

use super::{
    Shared,
    answers::Answer,
    deliver,
    door::{ClientHead, ClientRequest, ClientResponse},
    errand::{Brought, Errand},
    fills::{self, Answered, Landing, Part, Seat, Selecting, Want},
    forward::{self, Forward},
    journal::Whose,
    passage, purge,
    service::Service,
    verdict::{Outcome, Verdict},
};
use crate::{
    origin::Response,
    store::{Object, Variants},
};

/// How often a request looks for its object before it asks the origin for itself.
const LOOKS_MAX: u32 = 8;

/// How many gaps of a stored range are filled one by one, before the whole is asked for instead.
const GAPS_MAX: usize = 4;

/// A fill this far behind the first byte a client wants is not waited for.
const WAIT_BYTES_MAX: u64 = 256 << 10;

/// What a request does next.
enum Step {
    /// Look for what is stored.
    Lookup,
    /// Decide about what is stored.
    Judge(Arc<Object>),
    /// Have it brought, together with all who want the same.
    Fetch(Option<Arc<Object>>, FetchReason),
    /// Have it brought for this request only.
    Alone(Option<Arc<Object>>, FetchReason),
    /// Go past the cache.
    Pass(&'static str, Option<Arc<Object>>),
    /// Serve a stored response.
    Deliver(Arc<Object>, Verdict),
    /// Serve an answer of the origin.
    Through(Box<Response>, Verdict),
    /// Answer by itself.
    Answer(Answer),
}

/// A request on its way, and what is known of it.
pub struct Life {
    /// The edge.
    pub shared: Arc<Shared>,
    /// The service it belongs to.
    pub service: Arc<Service>,
    /// The object it asks for.
    pub key: Arc<PrimaryKey>,
    /// The request.
    pub request: Arc<ClientHead>,
    /// The selecting fields of the variant it needs, where they are known.
    selecting: Option<Selecting>,
    looks: u32,
}

/// Lives a request's life.
pub async fn live(shared: Arc<Shared>, request: ClientRequest) -> ClientResponse {
    let ClientRequest { head: mut request, body } = request;
    let mut body = Some(body);
    let is_loop = forward::is_loop(&shared, &request.headers);
    // What the client's hop alone was told is no part of the request: not of its key, not of its variant.
    fields::strip_hop_by_hop(&mut request.headers);
    let entry = shared.journal.open(&request);
    let (service, mut step) = match receive(&shared, &request, is_loop).await {
        Received::Known(service, step) => (service, step),
        Received::Answered(answer) => {
            return deliver::answer(&shared, &request, answer, entry, Whose::default());
        }
    };
    let key = Arc::new(key::primary_key(
        &service.name,
        request.scheme.as_str(),
        &request.authority,
        &request.path_and_query,
        &request.headers,
        &service.settings.key,
    ));
    let mut life = Life { shared, service, key, request: Arc::new(request), selecting: None, looks: 0 };
    loop {
        step = match step {
            Step::Lookup => life.lookup().await,
            Step::Judge(object) => life.judge(object),
            Step::Fetch(stored, reason) => life.fetch(stored, reason).await,
            Step::Alone(stored, reason) => life.alone(stored, reason).await,
            Step::Pass(reason, stored) => match passage::pass(&life, body.take(), reason, stored).await {
                passage::Passed::Through(response, verdict) => Step::Through(response, verdict),
                passage::Passed::Stored(object, verdict) => Step::Deliver(object, verdict),
                passage::Passed::Failed(answer) => Step::Answer(answer),
            },
            Step::Deliver(object, verdict) => match deliver::object(&life, &object, verdict).await {
                Ok(delivery) => return delivery.respond(&life, entry),
                Err(deliver::Unreadable(damaged)) => life.damaged(&damaged).await,
            },
            Step::Through(response, verdict) => return deliver::through(&life, *response, verdict, entry),
            Step::Answer(answer) => {
                return deliver::answer(&life.shared, &life.request, answer, entry, life.whose());
            }
        }
    }
}

enum Received {
    Known(Arc<Service>, Step),
    Answered(Answer),
}

/// What a request is for, before anything is looked up.
async fn receive(shared: &Arc<Shared>, request: &ClientHead, is_loop: bool) -> Received {
    let Some(service) = shared.services.for_authority(&request.authority) else {
        let text = format!("no service answers for `{}`", request.authority);
        return Received::Answered(Answer::new(StatusCode::MISDIRECTED_REQUEST, "unknown-host", text));
    };
    if is_loop {
        let text = "this request has passed this node before; an origin points back here";
        return Received::Answered(Answer::new(StatusCode::LOOP_DETECTED, "loop", text));
    }
    if request.method.as_str() == "PURGE" {
        return Received::Answered(purge::purge(shared, service, request).await);
    }
    let step = match past_the_cache(service, request) {
        Some(reason) => Step::Pass(reason, None),
        None => Step::Lookup,
    };
    Received::Known(Arc::clone(service), step)
}

/// Why a request has no business with the cache: an RFC 9211 `fwd` token.
fn past_the_cache(service: &Service, request: &ClientHead) -> Option<&'static str> {
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return Some(FetchReason::Method.as_fwd());
    }
    // A body is not part of the key, so an answer to it is no answer to others.
    if request.body_bytes != Some(0) {
        return Some("request");
    }
    // As the origin sees it: no spelling of a path evades a rule.
    let target = key::origin_target(&request.path_and_query);
    let bypassed = service.settings.bypass.iter().any(|rule| rule.matches(&target, &request.headers));
    bypassed.then_some(FetchReason::Bypass.as_fwd())
}

impl Life {
    /// Whose request this is.
    pub fn whose(&self) -> Whose<'_> {
        Whose { service: Some(&self.service.name), key: Some(&self.key.key) }
    }

    fn reuse<'a>(&'a self, object: &'a Object, purged: Purged) -> Reuse<'a> {
        Reuse {
            method: &self.request.method,
            request_headers: &self.request.headers,
            stored: &object.head,
            purged,
            policy: &self.service.settings.policy,
            now: self.shared.clock.now_ms(),
        }
    }

    async fn lookup(&mut self) -> Step {
        let Some(variants) = self.shared.store.lookup(&self.key.key).await else {
            return self.missing(FetchReason::UriMiss);
        };
        match self.choose(&variants) {
            Some(object) => Step::Judge(object),
            None => {
                self.selecting = self.selecting_fields(&variants);
                self.missing(FetchReason::VaryMiss)
            }
        }
    }

    /// The newest variant that this request selects (RFC 9111 section 4.1).
    fn choose(&self, variants: &Variants) -> Option<Arc<Object>> {
        let mut identities = variants.objects.iter().filter(|object| object.coding == Coding::Identity);
        identities.find(|object| self.selects(object)).cloned()
    }

    /// Whether this is an answer to this request, fresh or not.
    fn selects(&self, object: &Object) -> bool {
        object.key_text == self.key.text
            && vary::matches(&object.head, &self.request.headers)
            && encoding::is_acceptable(&object.head.headers, &self.request.headers)
    }

    fn selecting_fields(&self, variants: &Variants) -> Option<Selecting> {
        let newest = variants.objects.iter().find(|object| object.key_text == self.key.text)?;
        vary::selecting(&newest.head.headers, &self.request.headers).ok()
    }

    fn judge(&mut self, object: Arc<Object>) -> Step {
        let purged = self.shared.store.purged(&object);
        match reuse::decide(&self.reuse(&object, purged)) {
            Decision::Serve => self.serve(object, None),
            Decision::ServeStale(reason) => self.serve(object, Some(reason)),
            Decision::ServeStaleAndRevalidate(reason) => {
                self.revalidate_behind(&object);
                self.serve(object, Some(reason))
            }
            Decision::Revalidate(reason) if self.request.method == Method::HEAD => {
                self.forbidden_to_ask().unwrap_or(Step::Pass(reason.as_fwd(), Some(object)))
            }
            // Whoever else asks has to ask the origin, too: nothing is won by waiting for each other.
            Decision::Revalidate(reason) if object.head.rules.no_cache || object.head.lifetime.ms == 0 => {
                self.forbidden_to_ask().unwrap_or(Step::Alone(Some(object), reason))
            }
            Decision::Revalidate(reason) => {
                self.forbidden_to_ask().unwrap_or(Step::Fetch(Some(object), reason))
            }
            Decision::Fetch(reason) => self.missing(reason),
        }
    }

    /// A stored response that may be served, if the bytes asked for are here or soon will be.
    fn serve(&self, object: Arc<Object>, stale: Option<StaleReason>) -> Step {
        let mut verdict = Verdict::new(if stale.is_some() { Outcome::Stale } else { Outcome::Hit });
        verdict.detail = stale.map(StaleReason::as_str);
        let is_head = self.request.method == Method::HEAD;
        if object.body.is_whole() || object.body.is_arriving() || (is_head && object.body.total().is_some()) {
            return self.reach(object, verdict);
        }
        match self.part_of(&object) {
            // What is missing of a range is filled on the way, if that takes few questions.
            Some(part) if object.body.gaps(part.clone()) <= GAPS_MAX => match self.forbidden_to_ask() {
                Some(refusal) if !object.body.has(part) => refusal,
                _ => Step::Deliver(object, verdict),
            },
            // Nobody brings the rest: it is brought anew.
            _ => self.missing(FetchReason::Partial),
        }
    }

    /// Delivers what is here or comes, unless the client's first byte is far off: then its range is asked for
    /// by itself.
    fn reach(&self, object: Arc<Object>, verdict: Verdict) -> Step {
        let far = self.part_of(&object).and_then(|part| object.body.bytes_before(part.start));
        if far.is_some_and(|far| far > WAIT_BYTES_MAX) {
            return self.forbidden_to_ask().unwrap_or(Step::Pass(FetchReason::Partial.as_fwd(), None));
        }
        Step::Deliver(object, verdict)
    }

    /// The one range that is asked for, where the length it is cut from is known.
    fn part_of(&self, object: &Object) -> Option<Range<u64>> {
        match self.asked() {
            Asked::One(asked) => asked.within(object.body.total()?),
            _ => None,
        }
    }

    /// A stored body could not be read: it is given up, and what it stood for is looked for elsewhere.
    async fn damaged(&mut self, object: &Arc<Object>) -> Step {
        self.looks += 1;
        self.shared.store.remove(object).await;
        match object.coding {
            _ if self.looks > LOOKS_MAX => {
                let text = "the content could not be read";
                Step::Answer(Answer::new(StatusCode::BAD_GATEWAY, FetchReason::Damaged.as_str(), text))
            }
            Coding::Identity => self.missing(FetchReason::Damaged),
            // What it was encoded from is as good as ever.
            _ => Step::Lookup,
        }
    }

    /// Nothing stored is of use: the origin has to be asked.
    fn missing(&self, reason: FetchReason) -> Step {
        if let Some(refusal) = self.forbidden_to_ask() {
            return refusal;
        }
        if self.request.method == Method::HEAD {
            return Step::Pass(reason.as_fwd(), None);
        }
        if self.looks >= LOOKS_MAX
            || self.shared.fills.is_unshareable(&self.key.key, self.shared.clock.now_ms())
        {
            return Step::Alone(None, reason);
        }
        Step::Fetch(None, reason)
    }

    /// RFC 9111 section 5.2.1.7.
    fn forbidden_to_ask(&self) -> Option<Step> {
        reuse::only_if_cached(&self.request.headers).then(|| {
            let text = "the client asked for a stored response only, and none can be used";
            Step::Answer(Answer::new(StatusCode::GATEWAY_TIMEOUT, "only-if-cached", text))
        })
    }

    fn asked(&self) -> Asked {
        if self.request.method == Method::GET { range::asked(&self.request.headers) } else { Asked::None }
    }

    /// Which part a fill for this request brings: the client's range at once, where it is one range that
    /// does not reach from the beginning to the end.
    fn part(&self) -> Part {
        match (self.asked(), self.request.headers.get(header::RANGE)) {
            (Asked::One(ByteRange::From(0)) | Asked::None | Asked::Other, _) | (_, None) => Part::Whole,
            (Asked::One(_), Some(range)) => Part::Range(range.clone()),
        }
    }

    async fn fetch(&mut self, stored: Option<Arc<Object>>, reason: FetchReason) -> Step {
        let part = if stored.is_some() { Part::Whole } else { self.part() };
        if matches!(part, Part::Range(_)) && self.request.headers.contains_key(header::IF_RANGE) {
            // Which part the origin sends depends on a validator that others may not have.
            return Step::Pass(FetchReason::Partial.as_fwd(), None);
        }
        let want = Want { part: part.clone(), selecting: self.selecting_for(stored.as_ref()) };
        let flight = match self.shared.fills.join(self.key.key, &want) {
            Seat::Follower(flight) => return self.follow(fills::landed(flight).await, stored, reason),
            Seat::Leader(flight) => flight,
        };
        // A flight may have landed between the look into the store and the join.
        let landed_before = self
            .shared
            .store
            .peek(&self.key.key)
            .and_then(|variants| self.choose(&variants))
            .filter(|found| stored.as_ref().is_none_or(|known| !Arc::ptr_eq(known, found)))
            .filter(|found| self.may_share(found) && (part == Part::Whole || !found.body.is_arriving()));
        if let Some(object) =
            landed_before.filter(|_| self.looks < LOOKS_MAX && reason != FetchReason::Partial)
        {
            self.looks += 1;
            self.shared.fills.land(self.key.key, &flight, Landing::Asking);
            return Step::Judge(object);
        }
        let (sender, receiver) = oneshot::channel();
        let waiting = flight.landing();
        self.errand(stored, part).lead(flight, sender);
        match fills::landed(waiting).await {
            Some(Landing::Unshareable(no_store)) => match receiver.await {
                Ok((response, _)) => Step::Through(response, uncacheable(reason, no_store)),
                Err(_) => lost(),
            },
            Some(Landing::Object(object, answered)) => self.brought(object, &answered, reason, false),
            Some(Landing::Stale(object, stale)) => {
                Step::Deliver(object, stale_after_trouble(reason, stale, false))
            }
            Some(Landing::Failed(error)) => Step::Answer(Answer::of_failure(&error)),
            Some(Landing::Asking) | None => lost(),
        }
    }

    /// What a follower makes of a flight's end. `stored` is what it would have had validated itself.
    fn follow(&mut self, landing: Option<Landing>, stored: Option<Arc<Object>>, reason: FetchReason) -> Step {
        self.looks += 1;
        match landing {
            Some(Landing::Object(object, answered)) => {
                if !self.selects(&object) {
                    self.selecting = vary::selecting(&object.head.headers, &self.request.headers).ok();
                    return self.missing(FetchReason::VaryMiss);
                }
                if self.shared.store.purged(&object) != Purged::No {
                    return self.missing(reason);
                }
                if !self.may_share(&object) {
                    return Step::Alone(Some(object), reason);
                }
                self.brought(object, &answered, reason, true)
            }
            Some(Landing::Stale(object, stale)) => {
                if self.shared.store.purged(&object) == Purged::Hard || !self.selects(&object) {
                    return self.missing(reason);
                }
                Step::Deliver(object, stale_after_trouble(reason, stale, true))
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
        self.reach(object, verdict)
    }

    async fn alone(&mut self, stored: Option<Arc<Object>>, reason: FetchReason) -> Step {
        let part = if stored.is_some() { Part::Whole } else { self.part() };
        match self.errand(stored, part).alone().await {
            Brought::Through(response, no_store) => Step::Through(response, uncacheable(reason, no_store)),
            Brought::Shared(Landing::Object(object, answered))
                if self.looks <= LOOKS_MAX || self.shared.store.purged(&object) == Purged::No =>
            {
                self.brought(object, &answered, reason, false)
            }
            Brought::Shared(Landing::Stale(object, stale)) => {
                Step::Deliver(object, stale_after_trouble(reason, stale, false))
            }
            Brought::Shared(Landing::Failed(error)) => Step::Answer(Answer::of_failure(&error)),
            Brought::Shared(_) => {
                let text = "the content is purged faster than the origin gives it";
                Step::Answer(Answer::new(StatusCode::SERVICE_UNAVAILABLE, "purged", text))
            }
        }
    }

    /// Whether this request may use what another's fill brought.
    fn may_share(&self, object: &Object) -> bool {
        matches!(
            reuse::decide(&self.reuse(object, Purged::No)),
            Decision::Serve | Decision::ServeStale(_) | Decision::ServeStaleAndRevalidate(_)
        )
    }

    /// Validates a stale object while it is served (RFC 5861 section 3).
    fn revalidate_behind(&self, object: &Arc<Object>) {
        let want = Want { part: Part::Whole, selecting: self.selecting_for(Some(object)) };
        if let Seat::Leader(flight) = self.shared.fills.join(self.key.key, &want) {
            let mut errand = self.errand(Some(Arc::clone(object)), Part::Whole);
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

    fn errand(&self, stored: Option<Arc<Object>>, part: Part) -> Errand {
        Errand {
            shared: Arc::clone(&self.shared),
            service: Arc::clone(&self.service),
            key: Arc::clone(&self.key),
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

fn stale_after_trouble(reason: FetchReason, stale: StaleReason, collapsed: bool) -> Verdict {
    let mut verdict = Verdict::new(Outcome::Stale);
    verdict.fwd = Some(reason.as_fwd());
    verdict.collapsed = collapsed;
    verdict.detail = Some(stale.as_str());
    verdict
}

fn lost() -> Step {
    Step::Answer(Answer::new(StatusCode::INTERNAL_SERVER_ERROR, "fill-lost", "the fill was lost"))
}
