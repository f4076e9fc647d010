//! One origin of a pool: its door, its circuit, its connections, and one request's visit to it.

use super::{
    breaker::{Admission, Breaker},
    budget::Budget,
    check::Vitals,
    connections::{Connection, Connections, Http1},
    error::{FetchError, FetchErrorKind},
    framing::{self, Framing, KeepAlive},
    gate::{Gate, Place},
    request::{DrawnBody, Interim, Progress, RequestBody, empty},
    response::{self, Open, Response, ResponseBody},
    stats::{Counters, count},
    target::Outgoing,
};
use hyper::{body::Incoming, client::conn::TrySendError, ext::on_informational};
use parking_lot::Mutex;
use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

/// An unpromised connection must have idled this long for its end to be put down to its age.
const STALE_AFTER: Duration = Duration::from_secs(4);

/// One origin.
pub(super) struct Member {
    pub(super) url: Arc<str>,
    pub(super) priority: u32,
    pub(super) weight: u32,
    pub(super) gate: Gate,
    pub(super) breaker: Mutex<Breaker>,
    pub(super) vitals: Mutex<Vitals>,
    pub(super) connections: Connections,
    pub(super) counters: Arc<Counters>,
    pub(super) head_timeout: Duration,
    pub(super) body_idle_timeout: Duration,
    pub(super) keep_alive: Duration,
}

/// What is sent, over however many attempts.
pub(super) struct Errand<'a> {
    pub(super) outgoing: &'a Outgoing,
    /// Taken when the request is sent; put back when nothing of it was.
    pub(super) body: Option<RequestBody>,
    pub(super) body_bytes: Option<u64>,
    pub(super) interim: Option<mpsc::Sender<Interim>>,
    pub(super) budget: &'a Mutex<Budget>,
}

/// A failed visit.
pub(super) struct Failed {
    pub(super) error: FetchError,
    /// How much of the request may have reached the origin.
    pub(super) reach: Reach,
}

/// How much of a failed request may have reached the origin, and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// No byte of it.
    Unsent,
    /// The origin says that it did nothing with it.
    Refused,
    /// It may have acted on it; the connection ended without a byte of an answer.
    Unanswered,
    /// It may have acted on it.
    Sent,
}

/// A failed attempt on one connection.
struct Lost {
    kind: FetchErrorKind,
    source: Option<hyper::Error>,
    reach: Reach,
    /// Whether the connection's end may be put down to its age.
    stale: bool,
    reused: bool,
}

/// A request's stay at an origin: holds the place, and reports to the circuit how it ended.
pub(super) struct Visit {
    member: Arc<Member>,
    admission: Admission,
    reported: bool,
    _place: Place,
}

impl Visit {
    /// The origin's URL.
    pub(super) fn origin(&self) -> &Arc<str> {
        &self.member.url
    }

    /// Body bytes came.
    pub(super) fn received(&self, bytes: usize) {
        self.member.counters.body_bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// The response ended well: its connection can be used again, and the place is free.
    pub(super) fn put_back(self, connection: Http1, keep: KeepAlive) {
        self.member.connections.put_back(connection, keep);
    }

    /// The request or its response failed.
    pub(super) fn failed(mut self, kind: FetchErrorKind) {
        self.member.counters.failed(kind);
        if kind.is_failing_origin() {
            self.member.breaker.lock().failed(self.admission, Instant::now());
            self.reported = true;
        }
    }

    /// A head came: the origin is alive, whatever it says. A probe is no probe any more.
    fn answered(&mut self, after: Duration) {
        self.member.counters.answered(after);
        self.member.breaker.lock().succeeded(self.admission);
        self.admission = Admission::Pass;
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if !self.reported {
            self.member.breaker.lock().abandoned(self.admission, Instant::now());
        }
    }
}

impl Member {
    /// Requests here now, waiting ones included.
    pub(super) fn load(&self) -> usize {
        self.gate.inside() + self.gate.waiting()
    }

    /// Brings the request here, and comes back with the response head.
    pub(super) async fn visit(self: &Arc<Self>, errand: &mut Errand<'_>) -> Result<Response, Failed> {
        let mut visit = self.enter().await.map_err(|kind| {
            self.counters.failed(kind);
            Failed { error: FetchError::new(kind, &self.url), reach: Reach::Unsent }
        })?;
        count(&self.counters.requests);
        let mut fresh = false;
        loop {
            let mut connection = match self.connections.take(fresh).await {
                Ok(connection) => connection,
                Err((kind, source)) => {
                    visit.failed(kind);
                    let error = FetchError { kind, origin: self.url.clone(), source };
                    return Err(Failed { error, reach: Reach::Unsent });
                }
            };
            let started = Instant::now();
            let lost = match self.ask(&mut connection, errand).await {
                Ok((response, progress)) => {
                    visit.answered(started.elapsed());
                    return self.accept(response, errand.outgoing, connection, progress, visit);
                }
                Err(lost) => lost,
            };
            let again = match lost.reach {
                Reach::Unsent => lost.reused && !fresh,
                Reach::Refused => !fresh && errand.outgoing.is_bodyless() && errand.budget.lock().spend(),
                Reach::Unanswered => {
                    lost.stale && errand.outgoing.is_safe_and_bodyless() && errand.budget.lock().spend()
                }
                Reach::Sent => false,
            };
            if !again {
                visit.failed(lost.kind);
                let source = lost.source.map(Into::into);
                let error = FetchError { kind: lost.kind, origin: self.url.clone(), source };
                return Err(Failed { error, reach: lost.reach });
            }
            if lost.reach != Reach::Unsent {
                count(&self.counters.retries);
            }
            fresh = true;
        }
    }

    async fn enter(self: &Arc<Self>) -> Result<Visit, FetchErrorKind> {
        let place = self.gate.enter().await?;
        match self.breaker.lock().admit(Instant::now()) {
            Admission::Refused => Err(FetchErrorKind::CircuitOpen),
            admission => Ok(Visit { member: self.clone(), admission, reported: false, _place: place }),
        }
    }

    /// Sends the request on one connection and waits for the head.
    async fn ask(
        &self,
        connection: &mut Connection,
        errand: &mut Errand<'_>,
    ) -> Result<(http::Response<Incoming>, Arc<Progress>), Lost> {
        let reused = connection.is_reused();
        let stale = connection.idle_unpromised(Instant::now()).is_some_and(|idle| idle >= STALE_AFTER);
        let heard = connection.heard();
        let body = DrawnBody::new(errand.body.take().unwrap_or_else(empty), errand.body_bytes);
        let progress = body.progress();
        let request = self.render(connection, errand, body);
        let sent = head_in_time(connection.send(request), &progress, self.head_timeout).await;
        let lost = |kind, source, reach| Lost { kind, source, reach, stale, reused };
        let mut error = match sent {
            Ok(Ok(response)) => return Ok((response, progress)),
            Ok(Err(error)) => error,
            Err(kind) => return Err(lost(kind, None, Reach::Sent)),
        };
        if let Some(request) = error.take_message() {
            errand.body = Some(request.into_body().into_inner());
            return Err(lost(FetchErrorKind::Reset, Some(error.into_error()), Reach::Unsent));
        }
        let error = error.into_error();
        if progress.failed() {
            return Err(lost(FetchErrorKind::RequestBody, Some(error), Reach::Sent));
        }
        let kind = response::kind(&error);
        let reach = match kind {
            _ if is_refused(&error) => Reach::Refused,
            FetchErrorKind::Reset if connection.heard() == heard => Reach::Unanswered,
            _ => Reach::Sent,
        };
        Err(lost(kind, Some(error), reach))
    }

    fn render(
        &self,
        connection: &Connection,
        errand: &Errand<'_>,
        body: DrawnBody,
    ) -> http::Request<DrawnBody> {
        if connection.is_http2() {
            return errand.outgoing.http2(body);
        }
        let mut request = errand.outgoing.http1(body);
        if let Some(interim) = errand.interim.clone() {
            on_informational(&mut request, move |response| {
                let status = response.status();
                if status != http::StatusCode::CONTINUE {
                    // An interim response that does not fit may be dropped (RFC 9110 section 15.2).
                    drop(interim.try_send(Interim { status, headers: response.headers().clone() }));
                }
            });
        }
        request
    }

    /// Believes a head, or not.
    fn accept(
        &self,
        response: http::Response<Incoming>,
        outgoing: &Outgoing,
        connection: Connection,
        request: Arc<Progress>,
        visit: Visit,
    ) -> Result<Response, Failed> {
        let (head, incoming) = response.into_parts();
        let framing = match framing::check(&outgoing.method, head.status, head.version, &head.headers) {
            Ok(framing) => framing,
            Err(bad) => {
                drop(connection);
                let kind = FetchErrorKind::BadResponse(bad);
                visit.failed(kind);
                return Err(Failed { error: FetchError::new(kind, &self.url), reach: Reach::Sent });
            }
        };
        let keep = framing::keep_alive(&head.headers, self.keep_alive);
        let open = Open { connection, keep, request, visit };
        Ok(Response {
            status: head.status,
            headers: head.headers,
            body: ResponseBody::new(incoming, self.body_idle_timeout, open),
            origin: self.url.clone(),
            complete_by_close: framing == Framing::Close,
        })
    }
}

type Sent = Result<http::Response<Incoming>, TrySendError<http::Request<DrawnBody>>>;

/// Waits for the head until the origin has taken nothing of the request, and said nothing, for `head_timeout`.
async fn head_in_time(
    response: impl Future<Output = Sent>,
    progress: &Progress,
    head_timeout: Duration,
) -> Result<Sent, FetchErrorKind> {
    let mut response = pin!(response);
    loop {
        let moved = progress.moved();
        match timeout_at(moved + head_timeout, &mut response).await {
            Ok(sent) => return Ok(sent),
            Err(_) if progress.moved() > moved => {}
            Err(_) if progress.waits_for_client() => return Err(FetchErrorKind::RequestBody),
            Err(_) => return Err(FetchErrorKind::HeadTimeout),
        }
    }
}

/// Whether the peer says that it did nothing with the request (RFC 9113 section 8.7).
fn is_refused(error: &hyper::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.is_remote()
                && error.is_reset()
                && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        }
        cause = error.source();
    }
    false
}
