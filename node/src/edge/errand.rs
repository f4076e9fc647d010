//! The errand of a fill: ask the origin, and bring what may be shared into the store.
//!
//! ```text
//!            stamp, then ask
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
//! under way carries a stamp below that purge.

use std::{ops::Range, sync::Arc};

use http::{HeaderMap, Method, StatusCode, header};
use starling_proto::{
    UnixMs,
    cache::{
        NoStoreReason, StoredHead,
        encoding::Coding,
        key::PrimaryKey,
        reuse::{self, Reuse, Trouble},
        storing::{self, Fetched},
        validate,
    },
    purge::{Purged, Stamp},
};
use tokio::sync::{mpsc, oneshot};

use super::{
    Shared,
    door::Interim,
    fills::{Answered, Flight, Landing, Part},
    forward::{self, Forward},
    service::Service,
};
use crate::{
    origin::{BadResponse, FetchError, FetchErrorKind, Response, ResponseBody},
    store::{BodyWriter, NewObject, Object},
};

/// What is asked of the origin, for whom.
pub struct Errand {
    /// The edge.
    pub shared: Arc<Shared>,
    /// Whose origins are asked.
    pub service: Arc<Service>,
    /// The object.
    pub key: Arc<PrimaryKey>,
    /// The request, unconditional and whole.
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
    Through(Box<Response>, NoStoreReason),
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
    pub fn lead(self, flight: Arc<Flight>, leader: oneshot::Sender<(Box<Response>, NoStoreReason)>) {
        let shared = Arc::clone(&self.shared);
        let mut guard = FlightGuard::of(&self, &flight);
        shared.spawn(async move {
            match self.bring(&flight).await {
                Brought::Shared(landing) => guard.land(landing),
                Brought::Through(response, reason) => {
                    self.remember(reason);
                    guard.land(Landing::Unshareable(reason));
                    // A leader that has left drops the response, which cancels it at the origin.
                    let _ = leader.send((response, reason));
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

    /// Asks the origin.
    async fn bring(&self, flight: &Flight) -> Brought {
        let mut stored = self.stored.clone();
        loop {
            let stamp = self.shared.store.stamp();
            stored = stored.filter(|object| self.shared.store.purged(object) != Purged::Hard);
            let mut forward = self.forward.clone();
            let condition = stored.as_ref().filter(|object| {
                self.part == Part::Whole
                    && is_complete(object)
                    && validate::add_validators(&object.head, &mut forward.headers)
            });
            if let Part::Range(range) = &self.part {
                forward.headers.insert(header::RANGE, range.clone());
            }
            let request_ms = self.shared.clock.now_ms();
            let response = match self.service.pool.fetch(forward.request(self.interim.clone())).await {
                Ok(response) => response,
                Err(error) => return Brought::Shared(self.failed(error, stored.as_ref())),
            };
            if response.status != StatusCode::NOT_MODIFIED {
                return self.receive(response, request_ms, stamp, stored, flight).await;
            }
            let Some(old) = condition else {
                return Brought::Shared(Landing::Failed(Arc::new(FetchError {
                    kind: FetchErrorKind::BadResponse(BadResponse::NotModified),
                    origin: response.origin,
                    source: None,
                })));
            };
            if let Some(landing) = self.validated(old, &response, request_ms, &stamp, flight).await {
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
            return Landing::Stale(Arc::clone(object), reason);
        }
        Landing::Failed(Arc::new(error))
    }

    /// RFC 9111 section 4.3.4.
    async fn validated(
        &self,
        old: &Arc<Object>,
        response: &Response,
        request_ms: UnixMs,
        stamp: &Stamp,
        flight: &Flight,
    ) -> Option<Landing> {
        if flight.is_outdated() || !validate::freshens(&old.head, &response.headers) {
            return None;
        }
        let head =
            validate::freshen(&old.head, &self.fetched(response, request_ms), &self.service.settings.policy);
        match head {
            Ok(head) => {
                let object = self.shared.store.freshen(old, head, Arc::clone(stamp)).await?;
                if self.forget_if_outdated(&object, flight).await {
                    return None;
                }
                Some(Landing::Object(object, answered(response, true, true)))
            }
            // What this request said of itself says nothing of the stored response, which was validated.
            Err(reason) if reason.is_of_request() => {
                Some(Landing::Object(Arc::clone(old), answered(response, true, true)))
            }
            Err(_) => {
                self.shared.store.remove(old).await;
                None
            }
        }
    }

    async fn receive(
        &self,
        response: Response,
        request_ms: UnixMs,
        stamp: Stamp,
        stored: Option<Arc<Object>>,
        flight: &Flight,
    ) -> Brought {
        if response.status.is_server_error()
            && let Some(object) = &stored
            && let Ok(reason) = reuse::serve_stale_on(Trouble::Status(response.status), &self.reuse(object))
        {
            return Brought::Shared(Landing::Stale(Arc::clone(object), reason));
        }
        let fetched = self.fetched(&response, request_ms);
        let policy = &self.service.settings.policy;
        let admitted = if response.status == StatusCode::PARTIAL_CONTENT && self.part != Part::Whole {
            storing::admit_partial(&fetched, policy)
                .map(|(head, content)| (head, content.range, content.total))
        } else {
            let total = content_length(&response.headers);
            storing::admit(&fetched, policy).map(|head| (head, 0..u64::MAX, total))
        };
        let admitted = admitted.and_then(|(head, part, total)| match () {
            () if forward::is_per_client(&head) => Err(NoStoreReason::VaryAny),
            () if !self.shared.store.fits(total) => Err(NoStoreReason::TooLarge),
            () => Ok((head, part, total)),
        });
        match admitted {
            Ok((head, part, total)) => {
                let landing = self.store(head, stamp, part, total, response, flight).await;
                Brought::Shared(landing)
            }
            Err(reason) => {
                let now = self.shared.clock.now_ms();
                let outlived = stored.filter(|old| {
                    !reason.is_of_request() && !old.head.is_fresh(now) && replaces(response.status)
                });
                if let Some(object) = outlived {
                    self.shared.store.remove(&object).await;
                }
                Brought::Through(Box::new(response), reason)
            }
        }
    }

    /// Brings a body into the store, and tells where it will be.
    async fn store(
        &self,
        head: StoredHead,
        stamp: Stamp,
        part: Range<u64>,
        total: Option<u64>,
        response: Response,
        flight: &Flight,
    ) -> Landing {
        let mut answered = answered(&response, false, !flight.is_outdated());
        let known = self.same_representation(&head, total).filter(|_| self.part != Part::Whole);
        if let Some(known) = known {
            // Another fill was faster: the piece belongs into what it brought, or is for this flight alone.
            let gap = known.body.writer(part.clone());
            if let Some(writer) = gap.filter(|writer| writer.range() == part) {
                self.shared.spawn(pump(response.body, writer));
                return Landing::Object(known, answered);
            }
            answered.stored = false;
        }
        let (object, writer) = self.begin(head, stamp, part, total);
        if answered.stored {
            self.shared.store.commit(&object).await;
            answered.stored = !self.forget_if_outdated(&object, flight).await;
        }
        self.shared.spawn(pump(response.body, writer));
        Landing::Object(object, answered)
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
    fn same_representation(&self, head: &StoredHead, total: Option<u64>) -> Option<Arc<Object>> {
        let variants = self.shared.store.peek(&self.key.key)?;
        let is_same = |object: &&Arc<Object>| {
            object.key_text == self.key.text
                && object.coding == Coding::Identity
                && object.head.vary == head.vary
                && object.body.total() == total
                && object.head.strong_etag().is_some()
                && object.head.strong_etag() == head.strong_etag()
                && self.shared.store.purged(object) == Purged::No
        };
        variants.objects.iter().find(is_same).cloned()
    }

    fn begin(
        &self,
        head: StoredHead,
        stamp: Stamp,
        part: Range<u64>,
        total: Option<u64>,
    ) -> (Arc<Object>, BodyWriter) {
        self.shared.store.begin(NewObject {
            key: self.key.key,
            key_text: self.key.text.clone(),
            service: Arc::clone(&self.service.name),
            url: self.key.url.clone(),
            head,
            stamp,
            total,
            from: part.start,
            until: (part.end != u64::MAX).then_some(part.end),
            coding: Coding::Identity,
        })
    }

    fn fetched<'a>(&'a self, response: &'a Response, request_ms: UnixMs) -> Fetched<'a> {
        Fetched {
            method: &Method::GET,
            request_headers: &self.client_headers,
            path: &self.forward.path_and_query,
            request_ms,
            response_ms: self.shared.clock.now_ms(),
            status: response.status,
            headers: &response.headers,
        }
    }

    fn reuse<'a>(&'a self, object: &'a Object) -> Reuse<'a> {
        Reuse {
            method: &Method::GET,
            request_headers: &self.client_headers,
            stored: &object.head,
            purged: self.shared.store.purged(object),
            policy: &self.service.settings.policy,
            now: self.shared.clock.now_ms(),
        }
    }
}

/// Moves a body from the origin into the store, at the pace the slower of them allows.
pub async fn pump(mut body: ResponseBody, mut writer: BodyWriter) {
    while let Some(chunk) = body.next().await {
        let pushed = match chunk {
            Ok(chunk) => writer.push(chunk).await,
            Err(error) => {
                tracing::debug!(%error, "a fill ended early");
                writer.abort(error.as_str());
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

fn answered(response: &Response, validated: bool, stored: bool) -> Answered {
    Answered { status: response.status.as_u16(), validated, stored, origin: Arc::clone(&response.origin) }
}
