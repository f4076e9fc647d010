//! The errand of a fill: ask upward, and bring what may be shared into the store.
//!
//! ```text
//!            ask the next way
//!                  |
//!    failed -------+------- answered
//!      |                       |
//!  may a stale one        304 / 5xx / 206 / other
//!   stand in?              |     |     |      |
//!   |      |           freshen stale  admit_partial / admit
//! Stale  Failed            |     |     |      |        |
//!                        Object Stale Object Object  through, to who asked
//! ```
//!
//! Invariant (promise P1): the stamp is taken before the origin is asked, and what is already stored is
//! checked against the purge table *after* the stamp was taken. So whatever is purged while the question is
//! under way carries a stamp below that purge. Bytes that were here before take over the stamp of a 304 only where
//! this node has applied all that the stamp speaks for.

use std::{ops::Range, sync::Arc};

use http::{HeaderMap, Method, StatusCode, header};
use starling_proto::{
    cache::{
        NoStoreReason, StoredHead,
        encoding::Coding,
        key::PrimaryKey,
        reuse::{self, Decision, Reuse, StaleReason, Trouble, Trust},
        storing::{self, Fetched},
        validate,
    },
    purge::Purged,
    ring::Hop,
};
use tokio::sync::{mpsc, oneshot};

use super::{
    Shared,
    door::{ClientHead, Interim},
    fills::{Answered, Flight, Landing, Part},
    forward::{self, Forward},
    service::Service,
    upward::{Question, Reply, ReplyBody, Upward, range_cut},
};
use crate::{
    origin::{BadResponse, FetchError, FetchErrorKind},
    store::{BodyWriter, NewObject, Object},
};

/// Bodies up to this length, in bytes, pass through a node that keeps no copy in memory alone.
const TRANSIENT_BYTES_MAX: u64 = 4 << 20;

/// What is asked, for whom.
pub struct Errand {
    /// The edge.
    pub shared: Arc<Shared>,
    /// Whose object it is.
    pub service: Arc<Service>,
    /// The object.
    pub key: Arc<PrimaryKey>,
    /// The ways there are to it.
    pub upward: Upward,
    /// The request.
    pub request: Arc<ClientHead>,
    /// The request as the origin sees it, unconditional and whole.
    pub forward: Forward,
    /// The fields of the client's request that decide about storing and reuse.
    pub client_headers: HeaderMap,
    /// What is stored and may be validated.
    pub stored: Option<Arc<Object>>,
    /// Which part is brought.
    pub part: Part,
    /// Where 1xx responses go.
    pub interim: Option<mpsc::Sender<Interim>>,
}

/// What an errand brought.
pub enum Brought {
    /// Something that all who wait for it may see.
    Shared(Landing),
    /// An answer for the one who asked, and why it may not be shared.
    Through(Box<Reply>, NoStoreReason),
}

/// A flight whose task may be lost: its followers are freed in any case.
struct FlightGuard {
    shared: Arc<Shared>,
    key: Arc<PrimaryKey>,
    flight: Arc<Flight>,
    landed: bool,
}

impl FlightGuard {
    fn of(errand: &Errand, flight: &Arc<Flight>) -> Self {
        let (shared, key) = (Arc::clone(&errand.shared), Arc::clone(&errand.key));
        Self { shared, key, flight: Arc::clone(flight), landed: false }
    }

    fn land(&mut self, landing: Landing) {
        self.landed = true;
        self.shared.fills.land(self.key.key, &self.flight, landing);
    }
}

impl Drop for FlightGuard {
    fn drop(&mut self) {
        if !self.landed {
            self.land(Landing::Asking);
        }
    }
}

impl Errand {
    /// Leads a flight in a task of its own, which outlives the client that caused it. An answer that may
    /// not be shared goes to `leader`.
    pub fn lead(self, flight: Arc<Flight>, leader: oneshot::Sender<(Box<Reply>, NoStoreReason)>) {
        let shared = Arc::clone(&self.shared);
        let mut guard = FlightGuard::of(&self, &flight);
        shared.spawn(async move {
            match self.bring(&flight).await {
                Brought::Shared(landing) => guard.land(landing),
                Brought::Through(reply, reason) => {
                    self.remember(reason);
                    guard.land(Landing::Unshareable(reason));
                    // A leader that has left drops the reply, which tells who sends it to stop.
                    let _ = leader.send((reply, reason));
                }
            }
        });
    }

    /// Does the errand for one request, which nobody waits for but it.
    pub async fn alone(self) -> Brought {
        let flight = self.shared.fills.alone(self.key.key);
        let guard = FlightGuard::of(&self, &flight);
        let brought = self.bring(&flight).await;
        drop(guard);
        if let Brought::Through(_, reason) = &brought {
            self.remember(*reason);
        }
        brought
    }

    /// Spares the next requests for this object the wait for each other, where the answer says that they
    /// cannot share one.
    fn remember(&self, reason: NoStoreReason) {
        if self.part == Part::Whole && !reason.is_of_request() {
            self.shared.fills.remember_unshareable(self.key.key, self.shared.clock.now_ms());
        }
    }

    /// Asks, until an answer is of use.
    async fn bring(&self, flight: &Flight) -> Brought {
        let mut stored = self.stored.clone();
        let mut upward = self.upward.clone();
        loop {
            stored = stored.filter(|object| self.shared.store.purged(object) != Purged::Hard);
            let mut forward = self.forward.clone();
            let condition = stored.as_ref().filter(|object| {
                self.part == Part::Whole
                    && is_complete(object)
                    && validate::add_validators(&object.head, &mut forward.headers)
            });
            let mut is_cut = false;
            if let Part::Range(range) = &self.part {
                let cut = range_cut(range, upward.shard_end());
                is_cut = cut.is_some();
                forward.headers.insert(header::RANGE, cut.unwrap_or_else(|| range.clone()));
            }
            let question = Question {
                request: &self.request,
                headers: &self.client_headers,
                forward: &forward,
                may_be_cut: true,
                resumes: false,
                interim: self.interim.clone(),
            };
            let reply = match upward.ask(&question).await {
                Ok(reply) => reply,
                Err(error) => return Brought::Shared(self.failed(error, stored.as_ref())),
            };
            if reply.status != StatusCode::NOT_MODIFIED {
                match self.receive(reply, stored.as_ref(), &upward, flight).await {
                    // Half of what a client asked for is no answer to it.
                    Brought::Through(..) if is_cut => {
                        upward.go_whole();
                        continue;
                    }
                    brought => return brought,
                }
            }
            let Some(old) = condition else {
                if reply.is_of_peer() {
                    upward.leave();
                    continue;
                }
                return Brought::Shared(Landing::Failed(Arc::new(FetchError {
                    kind: FetchErrorKind::BadResponse(BadResponse::NotModified),
                    origin: reply.source,
                    source: None,
                })));
            };
            if let Some(landing) = self.validated(old, &reply, flight).await {
                return Brought::Shared(landing);
            }
            // The 304 spoke of something else, or forbids to keep what it validated: ask without a condition.
            stored = None;
        }
    }

    /// A stale object, where one may stand in for the failure.
    fn failed(&self, error: FetchError, stored: Option<&Arc<Object>>) -> Landing {
        let trouble = if error.is_timeout() { Trouble::TimedOut } else { Trouble::Disconnected };
        if !error.is_clients_fault()
            && let Some(object) = stored
            && let Ok(reason) = reuse::serve_stale_on(trouble, &self.reuse(object))
        {
            tracing::debug!(%error, url = %self.key.url, "serving stale: {}", reason.as_str());
            return Landing::Stale(Arc::clone(object), reason, None);
        }
        Landing::Failed(Arc::new(error))
    }

    /// RFC 9111 section 4.3.4.
    async fn validated(&self, old: &Arc<Object>, reply: &Reply, flight: &Flight) -> Option<Landing> {
        // What was brought before may not take over a stamp that speaks for purges which this node has not applied:
        // it cannot look whether they name it. After that look, none of them can be missed by the next.
        if !self.shared.has_applied(&reply.stamp) {
            return None;
        }
        // A hard purge leaves nothing to validate, also if it came while the question was on its way.
        let is_purged = self.shared.store.purged(old) == Purged::Hard;
        if is_purged || flight.is_outdated() || !validate::freshens(&old.head, &reply.headers) {
            return None;
        }
        let head = validate::freshen(&old.head, &self.fetched(reply), &self.service.settings.policy);
        match head {
            Ok(head) => {
                let object = self.shared.store.freshen(old, head, Arc::clone(&reply.stamp)).await?;
                if self.forget_if_outdated(&object, flight).await {
                    return None;
                }
                Some(self.landed(object, reply, answered(reply, true, true)))
            }
            // What this request said of itself says nothing of the stored response, which was validated.
            Err(reason) if reason.is_of_request() => {
                Some(Landing::Object(Arc::clone(old), answered(reply, true, true)))
            }
            Err(_) => {
                self.shared.store.remove(old).await;
                None
            }
        }
    }

    async fn receive(
        &self,
        reply: Reply,
        stored: Option<&Arc<Object>>,
        upward: &Upward,
        flight: &Flight,
    ) -> Brought {
        if reply.status.is_server_error()
            && let Some(object) = stored
            && let Ok(reason) = reuse::serve_stale_on(Trouble::Status(reply.status), &self.reuse(object))
        {
            return Brought::Shared(Landing::Stale(Arc::clone(object), reason, reply.upper));
        }
        match self.admit(&reply, upward) {
            Ok((head, part, total)) => {
                let landing = self.store(head, part, total, reply, upward, flight).await;
                Brought::Shared(landing)
            }
            Err(reason) => {
                let now = self.shared.clock.now_ms();
                let outlived = stored.filter(|old| {
                    !reason.is_of_request() && !old.head.is_fresh(now) && replaces(reply.status)
                });
                if let Some(object) = outlived {
                    self.shared.store.remove(object).await;
                }
                Brought::Through(Box::new(reply), reason)
            }
        }
    }

    /// Whether the answer may be stored: as what, which part of it comes, and how long the whole is.
    fn admit(&self, reply: &Reply, upward: &Upward) -> Result<Admitted, NoStoreReason> {
        let fetched = self.fetched(reply);
        let policy = &self.service.settings.policy;
        let (head, part, total) = if reply.status == StatusCode::PARTIAL_CONTENT && self.part != Part::Whole {
            let (head, content) = storing::admit_partial(&fetched, policy)?;
            (head, content.range, content.total)
        } else {
            let head = storing::admit(&fetched, policy)?;
            let total = content_length(&reply.headers);
            let part = match reply.shared() {
                Some(shared) => shared.range.clone(),
                // What is owned by others is theirs to ask for.
                None if is_cut_at(&head, total, upward.shard_end()) => 0..upward.shard_end(),
                None => 0..u64::MAX,
            };
            (head, part, total)
        };
        match () {
            () if reply.is_private() => Err(NoStoreReason::Private),
            () if forward::is_per_client(&head) => Err(NoStoreReason::VaryAny),
            () if !self.shared.store.fits(total) => Err(NoStoreReason::TooLarge),
            () => Ok((head, part, total)),
        }
    }

    /// Brings a body into the store, and tells where it will be.
    async fn store(
        &self,
        head: StoredHead,
        part: Range<u64>,
        total: Option<u64>,
        reply: Reply,
        upward: &Upward,
        flight: &Flight,
    ) -> Landing {
        let is_kept = self.is_kept(&head, total, &reply, upward);
        let mut answered = answered(&reply, false, is_kept && !flight.is_outdated());
        let is_cut = total.is_some_and(|total| part.end < total);
        let known = self.same_representation(&head, total, &reply).filter(|known| match self.part {
            Part::Range(_) => true,
            // The first piece joins the others; what is stale is replaced.
            Part::Whole => is_cut && known.head.is_fresh(self.shared.clock.now_ms()),
        });
        if let Some(known) = known {
            // Another fill was faster: the piece belongs into what it brought, or is for this flight alone.
            let gap = known.body.writer(part.clone(), reply.fed_by);
            if let Some(writer) = gap.filter(|writer| writer.range() == part) {
                self.shared.spawn(pump(reply.body, writer, is_cut));
                answered.stored = !flight.is_outdated();
                return Landing::Object(known, answered);
            }
            answered.stored &= self.part == Part::Whole;
        }
        // A longer one outgrows what memory holds for who reads slowly: it takes the way over the disk.
        let transient = !is_kept && total.is_some_and(|total| total <= TRANSIENT_BYTES_MAX);
        let (object, writer) = self.begin(head, part, total, (&reply, transient));
        // Purged while it was asked for, it must not take the place of what was asked for since.
        answered.stored &= self.shared.store.purged(&object) == Purged::No;
        if answered.stored {
            self.shared.store.commit(&object).await;
            answered.stored = !self.forget_if_outdated(&object, flight).await;
        }
        let landing = self.landed(object, &reply, answered);
        self.shared.spawn(pump(reply.body, writer, is_cut));
        landing
    }

    /// A peer that gives what is stale has its reasons: it may serve it, or the origin failed there. Those who
    /// wait here take it as it is, and do not ask again one by one.
    fn landed(&self, object: Arc<Object>, reply: &Reply, answered: Answered) -> Landing {
        let is_stale = reply.shared().is_some_and(|shared| !shared.fetched)
            && !object.head.is_fresh(self.shared.clock.now_ms());
        if !is_stale {
            return Landing::Object(object, answered);
        }
        let trusted = Reuse { trust: Trust::Full, ..self.reuse(&object) };
        let reason = match reuse::decide(&trusted) {
            Decision::ServeStale(reason) | Decision::ServeStaleAndRevalidate(reason) => reason,
            _ => StaleReason::StaleIfError,
        };
        Landing::Stale(object, reason, answered.upper)
    }

    /// Whether this node keeps a copy. Owner and shield do, and so does any node for what cost the origin a request,
    /// for what its clients ask for often, and for what could not be resumed after memory gave up its beginning.
    fn is_kept(&self, head: &StoredHead, total: Option<u64>, reply: &Reply, upward: &Upward) -> bool {
        let Some(mesh) = &self.shared.mesh else { return true };
        let is_small = total.is_some_and(|total| total <= self.shared.store.slice_bytes());
        let is_resumable = total.is_some() && head.strong_etag().is_some();
        upward.hop() >= Hop::Owner
            || !reply.is_of_peer()
            || mesh.is_hot(&self.key.key)
            || total.is_some_and(|total| mesh.owns_part(&self.service, self.key.key, total))
            || !(is_small || is_resumable)
    }

    /// Takes back what was stored while its key was invalidated. The flight was marked before the
    /// invalidation looked into the store, so that one of the two sees the other.
    async fn forget_if_outdated(&self, object: &Arc<Object>, flight: &Flight) -> bool {
        let outdated = flight.is_outdated();
        if outdated {
            self.shared.store.remove(object).await;
        }
        outdated
    }

    /// What is stored of the representation that this head describes.
    fn same_representation(
        &self,
        head: &StoredHead,
        total: Option<u64>,
        reply: &Reply,
    ) -> Option<Arc<Object>> {
        let variants = self.shared.store.peek(&self.key.key)?;
        let is_same = |object: &&Arc<Object>| {
            object.key_text == self.key.text
                && object.coding == Coding::Identity
                && object.head.vary == head.vary
                && object.body.total() == total
                && object.head.strong_etag().is_some()
                && object.head.strong_etag() == head.strong_etag()
                && self.shared.store.purged(object) == Purged::No
                && self.shared.may_join(object, &reply.stamp)
        };
        variants.objects.iter().find(is_same).cloned()
    }

    fn begin(
        &self,
        head: StoredHead,
        part: Range<u64>,
        total: Option<u64>,
        (reply, transient): (&Reply, bool),
    ) -> (Arc<Object>, BodyWriter) {
        self.shared.store.begin(NewObject {
            key: self.key.key,
            key_text: self.key.text.clone(),
            service: Arc::clone(&self.service.name),
            url: self.key.url.clone(),
            head,
            stamp: Arc::clone(&reply.stamp),
            total,
            from: part.start,
            until: (part.end != u64::MAX).then_some(part.end),
            coding: Coding::Identity,
            fed_by: reply.fed_by,
            transient,
        })
    }

    fn fetched<'a>(&'a self, reply: &'a Reply) -> Fetched<'a> {
        Fetched {
            method: &Method::GET,
            request_headers: &self.client_headers,
            path: &self.forward.path_and_query,
            request_ms: reply.request_ms,
            response_ms: reply.response_ms,
            status: reply.status,
            headers: &reply.headers,
            initial_age_ms: reply.shared().map(|shared| shared.initial_age_ms),
        }
    }

    fn reuse<'a>(&'a self, object: &'a Object) -> Reuse<'a> {
        let (trust, purged) = self.shared.look(&self.service, object);
        Reuse {
            method: &Method::GET,
            request_headers: &self.client_headers,
            stored: &object.head,
            purged,
            trust,
            policy: &self.service.settings.policy,
            now: self.shared.clock.now_ms(),
        }
    }
}

/// A head to store, the part of its body that comes, and the length of the whole.
type Admitted = (StoredHead, Range<u64>, Option<u64>);

/// Moves a body into the store, at the pace the slower of them allows. Where it is to be cut, what lies behind
/// the part that is to be brought is left to who sends it; else it would be an error.
pub async fn pump(mut body: ReplyBody, mut writer: BodyWriter, is_cut: bool) {
    let end = writer.range().end;
    while !(is_cut && writer.position() == end)
        && let Some(chunk) = body.next().await
    {
        let pushed = match chunk {
            Ok(mut chunk) => {
                if is_cut {
                    chunk.truncate(usize::try_from(end - writer.position()).unwrap_or(usize::MAX));
                }
                writer.push(chunk).await
            }
            Err(error) => {
                tracing::debug!(%error, "a fill ended early");
                writer.abort(error.why);
                return;
            }
        };
        if let Err(error) = pushed {
            tracing::debug!(%error, "a fill was given up");
            return;
        }
    }
    if let Err(error) = writer.finish().await {
        tracing::debug!(%error, "a fill was given up at its end");
    }
}

/// Whether a body is owned by ranges, the first of which ends at `end`: it is longer, and the rest of it can be
/// had by range.
pub fn is_cut_at(head: &StoredHead, total: Option<u64>, end: u64) -> bool {
    let by_range = || head.headers.get(header::ACCEPT_RANGES).is_some_and(|unit| unit == "bytes");
    total.is_some_and(|total| total > end) && head.status == 200 && by_range() && head.strong_etag().is_some()
}

/// The length a response announces, where it announces one.
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// Whether a body can be had whole once its head is validated: it is here, it comes, or its gaps can be filled.
fn is_complete(object: &Object) -> bool {
    object.body.is_whole() || object.body.is_arriving() || object.head.strong_etag().is_some()
}

/// Whether an answer that is not stored tells that the stored one is no more. An error tells so only when it
/// says that the resource is gone.
fn replaces(status: StatusCode) -> bool {
    !(status.is_client_error() || status.is_server_error())
        || matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE)
}

fn answered(reply: &Reply, validated: bool, stored: bool) -> Answered {
    Answered {
        status: reply.status.as_u16(),
        validated,
        stored,
        origin: Arc::clone(&reply.source),
        upper: reply.upper.clone(),
    }
}
