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

mod fetch;

use std::{ops::Range, sync::Arc};

use http::{Method, StatusCode, header};
use starling_proto::{
    cache::{
        Decision,
        encoding::{self, Coding},
        fields,
        key::{self, PrimaryKey},
        range::{self, Asked, ByteRange},
        reuse::{self, FetchReason, Reuse, StaleReason, Trust},
        vary,
    },
    purge::Purged,
};

use super::{
    Shared,
    answers::Answer,
    deliver,
    door::{ClientHead, ClientRequest, ClientResponse, RequestBody},
    errand,
    fills::{Part, Selecting},
    forward,
    journal::Whose,
    passage, purge,
    service::Service,
    upward::{Asker, Reply},
    verdict::{Outcome, Verdict},
};
use crate::store::{Object, Variants};

/// How often a request looks for its object before it asks the origin for itself.
const LOOKS_MAX: u32 = 8;

/// How many gaps of a stored range are filled one by one, before the whole is asked for instead.
const GAPS_MAX: usize = 4;

/// A fill this far behind the first byte a client wants is not waited for.
const WAIT_BYTES_MAX: u64 = 256 << 10;

/// What a request does next.
pub enum Step {
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
    /// Serve an answer that is for this request only.
    Through(Box<Reply>, Verdict),
    /// Answer by itself.
    Answer(Answer),
}

/// How a request ends.
pub enum End {
    /// With a stored response.
    Object(Arc<Object>, Verdict),
    /// With an answer that is for this request only.
    Through(Box<Reply>, Verdict),
    /// With an answer of the node's own.
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
    /// For whom it is made, and where it stands.
    pub asker: Asker,
    /// A peer that asks wants nothing from this offset on, where the rest can be had by range.
    pub until: Option<u64>,
    /// The selecting fields of the variant it needs, where they are known.
    selecting: Option<Selecting>,
    /// Flights that had begun when this request first had to ask, where what those bring is too old for it.
    since: Option<u64>,
    looks: u32,
}

/// Lives the life of a client's request.
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
    let mut life = Life::new(shared, service, request, Asker::client());
    if let Some(mesh) = &life.shared.mesh {
        mesh.count_request(&life.key.key, life.shared.clock.now_ms());
    }
    loop {
        step = match life.walk(step, &mut body).await {
            End::Object(object, verdict) => match deliver::object(&life, &object, verdict).await {
                Ok(delivery) => return delivery.respond(&life, entry),
                Err(deliver::Unreadable(damaged)) => life.damaged(&damaged).await,
            },
            End::Through(reply, verdict) => return deliver::through(&life, *reply, verdict, entry),
            End::Answer(answer) => {
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
    let Some(service) = shared.service_for(&request.authority) else {
        let text = format!("no service answers for `{}`", request.authority);
        return Received::Answered(Answer::new(StatusCode::MISDIRECTED_REQUEST, "unknown-host", text));
    };
    if is_loop {
        let text = "this request has passed this node before; an origin points back here";
        return Received::Answered(Answer::new(StatusCode::LOOP_DETECTED, "loop", text));
    }
    if request.method.as_str() == "PURGE" {
        return Received::Answered(purge::purge(shared, &service, request).await);
    }
    let step = first_step(&service, request);
    Received::Known(service, step)
}

/// What a request for a known service does first.
pub fn first_step(service: &Service, request: &ClientHead) -> Step {
    match past_the_cache(service, request) {
        Some(reason) => Step::Pass(reason, None),
        None => Step::Lookup,
    }
}

/// Why a request has no business with the cache: an RFC 9211 `fwd` token.
pub fn past_the_cache(service: &Service, request: &ClientHead) -> Option<&'static str> {
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
    /// A request that has just come in.
    pub fn new(shared: Arc<Shared>, service: Arc<Service>, request: ClientHead, asker: Asker) -> Self {
        let key = Arc::new(key::primary_key(
            &service.name,
            request.scheme.as_str(),
            &request.authority,
            &request.path_and_query,
            &request.headers,
            &service.settings.key,
        ));
        let request = Arc::new(request);
        Self { shared, service, key, request, asker, until: None, selecting: None, since: None, looks: 0 }
    }

    /// Takes steps until the request can be answered.
    pub async fn walk(&mut self, mut step: Step, body: &mut Option<RequestBody>) -> End {
        loop {
            step = match step {
                Step::Lookup => self.lookup().await,
                Step::Judge(object) => self.judge(object),
                Step::Fetch(stored, reason) => self.fetch(stored, reason).await,
                Step::Alone(stored, reason) => self.alone(stored, reason).await,
                Step::Pass(reason, stored) => match passage::pass(self, body.take(), reason, stored).await {
                    passage::Passed::Through(reply, verdict) => Step::Through(reply, verdict),
                    passage::Passed::Stored(object, verdict) => Step::Deliver(object, verdict),
                    passage::Passed::Failed(answer) => Step::Answer(answer),
                },
                Step::Deliver(object, verdict) => return End::Object(object, verdict),
                Step::Through(reply, verdict) => return End::Through(reply, verdict),
                Step::Answer(answer) => return End::Answer(answer),
            }
        }
    }

    /// Whose request this is.
    pub fn whose(&self) -> Whose<'_> {
        Whose { service: Some(&self.service.name), key: Some(&self.key.key) }
    }

    fn reuse<'a>(&'a self, object: &'a Object, purged: Purged, trust: Trust) -> Reuse<'a> {
        Reuse {
            method: &self.request.method,
            request_headers: &self.request.headers,
            stored: &object.head,
            purged,
            trust,
            policy: &self.service.settings.policy,
            now: self.shared.clock.now_ms(),
        }
    }

    fn decide(&self, object: &Object) -> Decision {
        let (trust, purged) = self.shared.look(&self.service, object);
        reuse::decide(&self.reuse(object, purged, trust))
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

    /// A fresh stored response of which all that is asked for is here. Nobody is asked or waited for.
    pub async fn at_hand(&self) -> Option<Arc<Object>> {
        let variants = self.shared.store.lookup(&self.key.key).await?;
        let object = self.choose(&variants)?;
        if self.decide(&object) != Decision::Serve {
            return None;
        }
        let whole = || 0..self.until.or(object.body.total()).unwrap_or(u64::MAX);
        let part = self.part_of(&object).unwrap_or_else(whole);
        let is_here = self.request.method == Method::HEAD || object.body.has(part);
        is_here.then_some(object)
    }

    fn selecting_fields(&self, variants: &Variants) -> Option<Selecting> {
        let newest = variants.objects.iter().find(|object| object.key_text == self.key.text)?;
        vary::selecting(&newest.head.headers, &self.request.headers).ok()
    }

    fn judge(&mut self, object: Arc<Object>) -> Step {
        match self.decide(&object) {
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
        let verdict = match stale {
            Some(reason) => Verdict { detail: Some(reason.as_str()), ..Verdict::new(Outcome::Stale) },
            None => self.hit(),
        };
        let is_head = self.request.method == Method::HEAD;
        let body = &object.body;
        if body.is_whole() || body.is_arriving_at(self.asker.hop) || (is_head && body.total().is_some()) {
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

    /// A fresh stored response is served.
    pub fn hit(&self) -> Verdict {
        let detail = (!self.shared.is_fenced()).then_some("unfenced");
        Verdict { detail, ..Verdict::new(Outcome::Hit) }
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

    /// The part that is asked for, where the length it is cut from is known. The whole is a part where others
    /// own the rest of it.
    fn part_of(&self, object: &Object) -> Option<Range<u64>> {
        let total = object.body.total()?;
        match self.asked() {
            Asked::One(asked) => asked.within(total),
            Asked::None if self.is_sharded(object) => Some(0..self.until.unwrap_or(total).min(total)),
            _ => None,
        }
    }

    /// Whether ranges of the object are owned by several nodes.
    fn is_sharded(&self, object: &Object) -> bool {
        let shard_bytes = self.shared.mesh.as_ref().map(|mesh| mesh.settings.shard_bytes);
        let shard_bytes = shard_bytes.filter(|bytes| *bytes > 0);
        shard_bytes.is_some_and(|bytes| errand::is_cut_at(&object.head, object.body.total(), bytes))
    }

    /// A stored body could not be read: it is given up, and what it stood for is looked for elsewhere.
    pub async fn damaged(&mut self, object: &Arc<Object>) -> Step {
        self.looks += 1;
        if object.body.is_arriving() {
            // Not damaged: what is missing comes by a fill that this request must not wait for.
            return Step::Alone(None, FetchReason::Partial);
        }
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

    /// The first byte that is asked for, where the request says one.
    pub fn offset(&self) -> u64 {
        match self.asked() {
            Asked::One(ByteRange::FromTo(first, _) | ByteRange::From(first)) => first,
            _ => 0,
        }
    }

    /// Which part a fill for this request brings: the client's range at once, where it is one range that
    /// does not reach from the beginning to the end.
    fn part(&self) -> Part {
        match (self.asked(), self.request.headers.get(header::RANGE)) {
            (Asked::One(ByteRange::From(0)) | Asked::None | Asked::Other, _) | (_, None) => Part::Whole,
            (Asked::One(_), Some(range)) => Part::Range(range.clone()),
        }
    }
}
