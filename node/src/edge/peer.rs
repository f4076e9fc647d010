//! What peers ask of this node: a fetch enters at the same step table as a client's request, and its answer is
//! put in the words of the mesh.
//!
//! A peer gets the stored head as the origin sent it: no edits, no compression, no `Age`; it is told how the
//! response came here instead, and works out the rest itself. Conditions and ranges are answered as a client's
//! are. What may not be shared goes through to the one client that asked. What this node cannot give is
//! refused, and the peer goes another way.
//!
//! What is stored is judged as for a client, so a node that cannot trust what it has asks upward first, and has
//! nothing for who asks for what is stored.
//!
//! A fetch for what is stored waits for nobody: who asks for it may be asked by this node at the same time.

use std::{
    net::SocketAddr,
    ops::Range,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use starling_proto::{
    NodeId,
    cache::{
        StoredHead, fields,
        precondition::{self, Precondition},
        range::{self, ContentRange, Selected},
    },
    ring::Hop,
    wire::{self, Fetch, HttpRequest, Provenance, Refusal},
};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{
    Shared, deliver,
    door::{BodyError, ClientHead, Scheme},
    errand, forward,
    life::{End, Life, first_step},
    stream::{FillingReader, Refill},
    upward::{Asker, Reply, wire_fields},
    verdict::{Outcome, Verdict},
};
use crate::{link::Incoming, store::Object};

/// A body on its way to a peer.
type Stream = BoxStream<'static, Result<Bytes, BodyError>>;

/// An answer for a peer.
pub struct PeerReply {
    /// Its head.
    pub head: wire::Answer,
    /// Its body.
    pub body: Stream,
}

impl std::fmt::Debug for PeerReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerReply").field("head", &self.head).finish_non_exhaustive()
    }
}

/// Work for a peer, counted as long as it lasts.
struct Work {
    shared: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
}

impl Work {
    fn begin(shared: &Arc<Shared>) -> Result<Self, Refusal> {
        if shared.leaving.load(Relaxed) {
            return Err(Refusal::Draining);
        }
        let permit = Arc::clone(&shared.peer_places).try_acquire_owned().map_err(|_| Refusal::Busy)?;
        shared.peers.in_flight.fetch_add(1, Relaxed);
        Ok(Self { shared: Arc::clone(shared), _permit: permit })
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.shared.peers.in_flight.fetch_sub(1, Relaxed);
    }
}

/// Answers a fetch that came over the link.
pub async fn answer(shared: Arc<Shared>, incoming: Incoming) {
    let Incoming { from, fetch, mut answering } = incoming;
    let trace = fetch.trace;
    let served = tokio::select! {
        served = serve(&shared, from, fetch) => served,
        () = answering.cancelled() => return,
    };
    let PeerReply { head, mut body } = match served {
        Ok(reply) => reply,
        Err(refusal) => {
            tracing::debug!(%refusal, %from, trace, "a peer's fetch is refused");
            return answering.refuse(refusal).await;
        }
    };
    let Ok(mut sender) = answering.answer(head).await else { return };
    loop {
        let chunk = tokio::select! {
            chunk = body.next() => chunk,
            () = sender.cancelled() => return,
        };
        let Some(chunk) = chunk else { break };
        match chunk {
            // Dropped, the body ends in an error there, too.
            Err(error) => return tracing::debug!(%error, %from, trace, "a body for a peer ended early"),
            Ok(chunk) => {
                if sender.send(chunk).await.is_err() {
                    return;
                }
            }
        }
    }
    // The peer has all of it, or has gone.
    let _ = sender.finish().await;
}

/// Answers a fetch. The answer's body counts as work until it is dropped.
pub async fn serve(shared: &Arc<Shared>, from: NodeId, fetch: Fetch) -> Result<PeerReply, Refusal> {
    let work = Work::begin(shared);
    let limit = Duration::from_millis(fetch.deadline_ms.into());
    let served = match &work {
        Ok(_) => match tokio::time::timeout(limit, reply(shared, from, fetch)).await {
            Ok(served) => served,
            Err(_) => Err(Refusal::Failed("no head in time".to_owned())),
        },
        Err(refusal) => Err(refusal.clone()),
    };
    let tally = match &served {
        Ok((_, true)) => &shared.peers.hits,
        Ok((_, false)) => &shared.peers.misses,
        Err(_) => &shared.peers.refused,
    };
    tally.fetch_add(1, Relaxed);
    let (PeerReply { head, body }, _) = served?;
    let counted = stream::unfold((body, work), |(mut body, work)| async move {
        let chunk = body.next().await?;
        if let (Ok(chunk), Ok(work)) = (&chunk, &work) {
            work.shared.peers.body_bytes.fetch_add(chunk.len() as u64, Relaxed);
        }
        Some((chunk, (body, work)))
    });
    Ok(PeerReply { head, body: counted.boxed() })
}

/// The answer, and whether it was at hand.
async fn reply(shared: &Arc<Shared>, from: NodeId, fetch: Fetch) -> Result<(PeerReply, bool), Refusal> {
    let Fetch { request, hop, stored_only, until, versions, trace, .. } = fetch;
    let arrived_ms = shared.clock.now_ms();
    let request = request_of(request).ok_or(Refusal::NotServed)?;
    let service = shared.service_for(&request.authority).ok_or(Refusal::NotServed)?;
    if hop == Hop::Client {
        // Fetches come from below.
        return Err(Refusal::NotServed);
    }
    if forward::is_loop(shared, &request.headers) {
        return Err(Refusal::Failed("loop".to_owned()));
    }
    let asker = Asker { hop, node: Some(from), versions: Some(Arc::new(versions)), trace };
    let mut step = first_step(&service, &request);
    let mut life = Life::new(Arc::clone(shared), service, request, asker);
    life.until = until;
    if stored_only {
        let object = life.at_hand().await.ok_or(Refusal::NotStored)?;
        let served = stored(&life, &object, life.hit(), (arrived_ms, false)).await;
        return served.map(|reply| (reply, true)).map_err(|_| Refusal::NotStored);
    }
    loop {
        step = match life.walk(step, &mut None).await {
            End::Object(object, verdict) => {
                let is_hit = matches!(verdict.outcome, Outcome::Hit | Outcome::Stale);
                match stored(&life, &object, verdict, (arrived_ms, true)).await {
                    Ok(reply) => return Ok((reply, is_hit)),
                    Err(deliver::Unreadable(damaged)) => life.damaged(&damaged).await,
                }
            }
            End::Through(reply, verdict) => return Ok((through(&life, *reply, verdict), false)),
            End::Answer(answer) => {
                return Err(Refusal::Failed(answer.verdict.detail.unwrap_or("unsaid").to_owned()));
            }
        }
    }
}

/// The request behind a fetch, if it is one that peers may make.
fn request_of(request: HttpRequest) -> Option<ClientHead> {
    let HttpRequest { method, is_https, authority, path_and_query, version, headers, client } = request;
    let method = Method::from_bytes(method.as_bytes()).ok()?;
    if !matches!(method, Method::GET | Method::HEAD) || !path_and_query.starts_with('/') {
        return None;
    }
    let mut fields = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        fields.append(name, HeaderValue::from_maybe_shared(value).ok()?);
    }
    fields::strip_hop_by_hop(&mut fields);
    Some(ClientHead {
        method,
        scheme: if is_https { Scheme::Https } else { Scheme::Http },
        authority,
        path_and_query,
        version: match version {
            10 => Version::HTTP_10,
            20 => Version::HTTP_2,
            30 => Version::HTTP_3,
            _ => Version::HTTP_11,
        },
        headers: fields,
        body_bytes: Some(0),
        peer: SocketAddr::new(client.ip().to_canonical(), client.port()),
        // Interim responses stay at the node that asked the origin: nobody listens.
        interim: mpsc::channel(1).0,
    })
}

/// A stored response, as this peer asked for it. `refills`: what is missing of it may be asked for.
async fn stored(
    life: &Life,
    object: &Arc<Object>,
    verdict: Verdict,
    (arrived_ms, refills): (u64, bool),
) -> Result<PeerReply, deliver::Unreadable> {
    let request = &life.request;
    let mut status = StatusCode::from_u16(object.head.status).unwrap_or(StatusCode::OK);
    let mut headers = object.head.headers.clone();
    let part = match precondition::evaluate(&request.method, &request.headers, &object.head) {
        Precondition::NotModified => {
            // All fields: the peer's copy takes them over.
            status = StatusCode::NOT_MODIFIED;
            None
        }
        Precondition::Failed => {
            status = StatusCode::PRECONDITION_FAILED;
            headers = precondition::failed_headers(&headers);
            None
        }
        Precondition::Proceed => select(life, object, &mut status, &mut headers),
    };
    let part = part.filter(|_| request.method != Method::HEAD && object.head.status != 204);
    let body = match part.clone() {
        Some(part) => read(life, object, part, refills).await?,
        None => stream::empty().boxed(),
    };
    let now = life.shared.clock.now_ms();
    let range = part.unwrap_or(0..0);
    let head = wire::Answer {
        status: status.as_u16(),
        headers: wire_fields(&headers),
        stored: Some(provenance(&object.head, &object.stamp, now, arrived_ms)),
        range: (range.start, range.end),
        cache_status: cache_status(life, &verdict, Some(object.head.ttl_ms(now).div_euclid(1_000))),
        source: verdict.origin.as_deref().unwrap_or(&life.shared.node).to_owned(),
    };
    Ok(PeerReply { head, body })
}

/// Which part of the body goes out, and what the head says of it.
fn select(
    life: &Life,
    object: &Object,
    status: &mut StatusCode,
    headers: &mut HeaderMap,
) -> Option<Range<u64>> {
    let total = object.body.total();
    match (deliver::select(life, object, total), total) {
        (Selected::One(part), Some(total)) => {
            *status = StatusCode::PARTIAL_CONTENT;
            let content = ContentRange { range: part.clone(), total: Some(total) };
            headers.insert(header::CONTENT_RANGE, content.render());
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(part.end - part.start));
            Some(part)
        }
        (Selected::Unsatisfiable, Some(total)) => {
            *status = StatusCode::RANGE_NOT_SATISFIABLE;
            headers.insert(header::CONTENT_RANGE, range::unsatisfied(total));
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
            None
        }
        // Of several ranges the asker cuts what it needs.
        (_, Some(total)) => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(total));
            let until = life.until.filter(|until| errand::is_cut_at(&object.head, Some(total), *until));
            Some(0..until.unwrap_or(total))
        }
        (_, None) => {
            headers.remove(header::CONTENT_LENGTH);
            Some(0..u64::MAX)
        }
    }
}

/// A part of the body. Of one that may have gaps the first bytes are had before the head is sent.
async fn read(
    life: &Life,
    object: &Arc<Object>,
    part: Range<u64>,
    refills: bool,
) -> Result<Stream, deliver::Unreadable> {
    let mut reader = FillingReader::new(Arc::clone(object), part, refills.then(|| Refill::of(life)));
    if refills && object.body.is_arriving_at(life.asker.hop) {
        return Ok(reader.into_stream(None));
    }
    match reader.next().await {
        Ok(first) => Ok(reader.into_stream(first)),
        Err(error) => {
            tracing::debug!(%error, url = %object.url, "a stored object cannot be read");
            Err(deliver::Unreadable(Arc::clone(object)))
        }
    }
}

/// An answer that is for the peer's client only.
fn through(life: &Life, reply: Reply, mut verdict: Verdict) -> PeerReply {
    verdict.fwd_status = Some(reply.status.as_u16());
    verdict.upper = reply.upper.clone();
    let mut headers = reply.headers;
    fields::strip_hop_by_hop(&mut headers);
    let is_bodiless = life.request.method == Method::HEAD || matches!(reply.status.as_u16(), 204 | 304);
    let part = headers.get(header::CONTENT_RANGE).and_then(ContentRange::parse);
    let range = part.map_or((0, u64::MAX), |part| (part.range.start, part.range.end));
    let head = wire::Answer {
        status: reply.status.as_u16(),
        headers: wire_fields(&headers),
        stored: None,
        range,
        cache_status: cache_status(life, &verdict, None),
        source: reply.source.to_string(),
    };
    let body = if is_bodiless { stream::empty().boxed() } else { deliver::body_stream(reply.body) };
    PeerReply { head, body }
}

/// How a stored response came here, in spans: the clock of the peer is another.
fn provenance(
    head: &StoredHead,
    stamp: &starling_proto::purge::Versions,
    now: u64,
    arrived_ms: u64,
) -> Provenance {
    Provenance {
        stamp: stamp.clone(),
        resident_ms: head.resident_ms(now),
        response_delay_ms: head.response_ms.saturating_sub(head.request_ms),
        initial_age_ms: head.initial_age_ms,
        fetched: head.request_ms >= arrived_ms,
    }
}

fn cache_status(life: &Life, verdict: &Verdict, ttl_s: Option<i64>) -> String {
    let member = verdict.hop(&life.shared.node, ttl_s).render();
    let member = member.to_str().unwrap_or_default();
    match &verdict.upper {
        Some(upper) => format!("{upper}, {member}"),
        None => member.to_owned(),
    }
}
