//! A response as the client sees it: preconditions, ranges, content coding, fields.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use starling_proto::{
    cache::{
        encoding::{self, Coding},
        fields,
        precondition::{self, Precondition},
        range::{self, ContentRange, Multipart, Piece, Selected},
        status::CACHE_STATUS,
    },
    ring::Hop,
};

use super::{
    Shared,
    answers::Answer,
    compress,
    door::{BodyError, ClientBody, ClientHead, ClientResponse},
    errand, forward,
    journal::{Entry, Whose},
    life::Life,
    mesh::Mesh,
    stream::{FillingReader, Refill},
    upward::{Reply, ReplyBody},
    verdict::Verdict,
};
use crate::store::Object;

const STARLING_DEBUG: HeaderName = HeaderName::from_static("starling-debug");

/// A body on its way.
type Stream = BoxStream<'static, Result<Bytes, BodyError>>;

/// The first bytes of this stored body could not be had; nothing was sent.
pub struct Unreadable(pub Arc<Object>);

/// A response that is ready but for its account.
pub struct Delivery {
    status: StatusCode,
    headers: HeaderMap,
    body: ClientBody,
    verdict: Verdict,
    ttl_s: Option<i64>,
}

impl Delivery {
    /// Puts the fields of this hop on, and opens the account.
    pub fn respond(mut self, life: &Life, entry: Entry) -> ClientResponse {
        let shared = &life.shared;
        forward::edit(&mut self.headers, &life.service.settings.response_headers);
        sign(shared, &mut self.headers, &self.verdict, self.ttl_s, &life.request);
        let account = entry.decided(self.status, &self.verdict, life.whose());
        ClientResponse { status: self.status, headers: self.headers, body: self.body.with_account(account) }
    }
}

/// A stored response, as this client asked for it.
pub async fn object(life: &Life, object: &Arc<Object>, verdict: Verdict) -> Result<Delivery, Unreadable> {
    let now = life.shared.clock.now_ms();
    let mut delivery = Delivery {
        status: StatusCode::from_u16(object.head.status).unwrap_or(StatusCode::OK),
        headers: HeaderMap::new(),
        body: ClientBody::empty(),
        ttl_s: Some(object.head.ttl_ms(now).div_euclid(1_000)),
        verdict,
    };
    let request = &life.request;
    match precondition::evaluate(&request.method, &request.headers, &object.head) {
        Precondition::Proceed => {}
        Precondition::NotModified => {
            delivery.status = StatusCode::NOT_MODIFIED;
            delivery.headers = precondition::not_modified_headers(&object.head.headers);
            if compress::offered(life, object) {
                compress::validated(life, &mut delivery.headers);
            }
            dress(object, &mut delivery.headers, now);
            return Ok(delivery);
        }
        Precondition::Failed => {
            delivery.status = StatusCode::PRECONDITION_FAILED;
            delivery.headers = precondition::failed_headers(&object.head.headers);
            delivery.headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
            return Ok(delivery);
        }
    }
    let offered = compress::offered(life, object);
    let chosen = if offered { compress::choose(life, object).await } else { None };
    let object = chosen.as_ref().unwrap_or(object);
    delivery.headers = object.head.headers.clone();
    if offered {
        encoding::add_vary_accept_encoding(&mut delivery.headers);
    }
    debug(life, object, &mut delivery.headers);
    dress(object, &mut delivery.headers, now);
    let total = object.body.total();
    let selected = select(life, object, total);
    body(life, object, total, selected, &mut delivery).await?;
    Ok(delivery)
}

/// Which part of the object this request gets (RFC 9110 section 14.2).
pub fn select(life: &Life, object: &Object, total: Option<u64>) -> Selected {
    let headers = &life.request.headers;
    match total {
        Some(total)
            if object.head.status == 200
                && object.coding == Coding::Identity
                && precondition::if_range_holds(headers, &object.head) =>
        {
            range::select(&life.request.method, headers, total)
        }
        _ => Selected::Whole,
    }
}

async fn body(
    life: &Life,
    object: &Arc<Object>,
    total: Option<u64>,
    selected: Selected,
    delivery: &mut Delivery,
) -> Result<(), Unreadable> {
    let headers = &mut delivery.headers;
    match (selected, total) {
        (Selected::One(part), Some(total)) => {
            delivery.status = StatusCode::PARTIAL_CONTENT;
            let content = ContentRange { range: part.clone(), total: Some(total) };
            headers.insert(header::CONTENT_RANGE, content.render());
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(part.end - part.start));
            delivery.body = read(life, object, part).await?;
        }
        (Selected::Many(parts), Some(total)) => {
            delivery.status = StatusCode::PARTIAL_CONTENT;
            let of_parts = headers.get(header::CONTENT_TYPE).cloned();
            let multipart = Multipart::new(parts, total, of_parts, rand::random());
            headers.insert(header::CONTENT_TYPE, multipart.content_type());
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(multipart.content_length()));
            delivery.body = read_parts(life, object, &multipart);
        }
        (Selected::Unsatisfiable, Some(total)) => {
            delivery.status = StatusCode::RANGE_NOT_SATISFIABLE;
            for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::ETAG, header::LAST_MODIFIED]
            {
                headers.remove(name);
            }
            headers.insert(header::CONTENT_RANGE, range::unsatisfied(total));
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        _ => whole(life, object, total, delivery).await?,
    }
    Ok(())
}

fn read_parts(life: &Life, object: &Arc<Object>, multipart: &Multipart) -> ClientBody {
    let pieces: Vec<Stream> = multipart
        .pieces()
        .map(|piece| match piece {
            Piece::Frame(bytes) => stream::once(async move { Ok(bytes) }).boxed(),
            Piece::Body(part) => filling(life, object, part).into_stream(None),
        })
        .collect();
    ClientBody::stream(stream::iter(pieces).flatten().boxed(), Some(multipart.content_length()))
}

async fn whole(
    life: &Life,
    object: &Arc<Object>,
    total: Option<u64>,
    delivery: &mut Delivery,
) -> Result<(), Unreadable> {
    if matches!(object.head.status, 204 | 304) {
        return Ok(());
    }
    match total {
        Some(total) => {
            delivery.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(total));
        }
        None => {
            delivery.headers.remove(header::CONTENT_LENGTH);
        }
    }
    if life.request.method == Method::HEAD {
        return Ok(());
    }
    delivery.body = match object.body.inline() {
        Some(bytes) => ClientBody::full(bytes),
        None => read(life, object, 0..total.unwrap_or(u64::MAX)).await?,
    };
    Ok(())
}

/// A part of the body. Of a body that may have gaps the first bytes are had before the head is sent, so
/// that a damaged object is still a miss.
async fn read(life: &Life, object: &Arc<Object>, range: Range<u64>) -> Result<ClientBody, Unreadable> {
    let bytes = (range.end != u64::MAX).then(|| range.end - range.start);
    if let Some(inline) = object.body.inline() {
        let (start, end) = (usize::try_from(range.start), usize::try_from(range.end));
        if let (Ok(start), Ok(end)) = (start, end)
            && end <= inline.len()
        {
            return Ok(ClientBody::full(inline.slice(start..end)));
        }
    }
    let mut reader = filling(life, object, range);
    if object.body.is_arriving() {
        return Ok(ClientBody::stream(reader.into_stream(None), bytes));
    }
    match reader.next().await {
        Ok(first) => Ok(ClientBody::stream(reader.into_stream(first), bytes)),
        Err(error) => {
            tracing::debug!(%error, url = %object.url, "a stored object cannot be read");
            Err(Unreadable(Arc::clone(object)))
        }
    }
}

fn filling(life: &Life, object: &Arc<Object>, range: Range<u64>) -> FillingReader {
    FillingReader::new(Arc::clone(object), range, Some(Refill::of(life)))
}

/// An answer that is for this client only.
pub fn through(life: &Life, reply: Reply, mut verdict: Verdict, entry: Entry) -> ClientResponse {
    let given = reply.shared().map(|_| reply.age_ms(life.shared.clock.now_ms()));
    let Reply { status, mut headers, body, source, upper, .. } = reply;
    verdict.fwd_status = Some(status.as_u16());
    verdict.origin = Some(source);
    verdict.upper = upper;
    if let Some(age_ms) = given {
        // A peer gives what it has stored, with all its fields and without an age.
        if status == StatusCode::NOT_MODIFIED {
            headers = precondition::not_modified_headers(&headers);
        }
        headers.insert(header::AGE, HeaderValue::from(age_ms / 1_000));
    }
    let mut bytes = errand::content_length(&headers);
    fields::strip_hop_by_hop(&mut headers);
    fields::strip_for_client(&mut headers);
    let mut stream = body_stream(body);
    if let Some(coding) = compress::for_passage(life, status, &headers, bytes) {
        headers = encoding::encoded_headers(&headers, coding);
        stream = compress::encode(stream, coding);
        bytes = None;
    }
    if life.request.method == Method::HEAD {
        bytes = None;
        stream = stream::empty().boxed();
    }
    forward::edit(&mut headers, &life.service.settings.response_headers);
    sign(&life.shared, &mut headers, &verdict, None, &life.request);
    let bodiless = life.request.method == Method::HEAD || matches!(status.as_u16(), 204 | 304);
    let body = if bodiless { ClientBody::empty() } else { ClientBody::stream(stream, bytes) };
    let account = entry.decided(status, &verdict, life.whose());
    ClientResponse { status, headers, body: body.with_account(account) }
}

/// The body of an answer, as it goes on.
pub fn body_stream(body: ReplyBody) -> Stream {
    stream::unfold(Some(body), |body| async move {
        let mut body = body?;
        match body.next().await {
            Some(Ok(chunk)) => Some((Ok(chunk), Some(body))),
            Some(Err(error)) => Some((Err(BodyError(error.to_string().into())), None)),
            None => None,
        }
    })
    .boxed()
}

/// The node's own answer.
pub fn answer(
    shared: &Shared,
    request: &ClientHead,
    answer: Answer,
    entry: Entry,
    whose: Whose<'_>,
) -> ClientResponse {
    let (status, mut headers, body, verdict) = answer.into_parts();
    sign(shared, &mut headers, &verdict, None, request);
    let account = entry.decided(status, &verdict, whose);
    let body = if request.method == Method::HEAD { ClientBody::empty() } else { body };
    ClientResponse { status, headers, body: body.with_account(account) }
}

/// What every use of a stored response carries (RFC 9111 section 5.1).
fn dress(object: &Object, headers: &mut HeaderMap, now: u64) {
    fields::strip_for_client(headers);
    headers.insert(header::AGE, HeaderValue::from(object.head.age_ms(now) / 1_000));
}

/// The marks of this hop (RFC 9211, RFC 9110 section 7.6.3).
fn sign(
    shared: &Shared,
    headers: &mut HeaderMap,
    verdict: &Verdict,
    ttl_s: Option<i64>,
    request: &ClientHead,
) {
    if let Some(upper) = verdict.upper.as_deref().and_then(|upper| HeaderValue::from_str(upper).ok()) {
        headers.append(CACHE_STATUS, upper);
    }
    verdict.hop(&shared.node, ttl_s).append_to(headers);
    headers.append(header::VIA, shared.via.member(request.version));
}

/// What `Starling-Debug: 1` tells: where the object lives and how far purges are applied.
fn debug(life: &Life, object: &Object, headers: &mut HeaderMap) {
    let asked = life.request.headers.get(STARLING_DEBUG).is_some_and(|value| value == "1");
    if !asked || !(life.service.settings.debug || life.request.peer.ip().is_loopback()) {
        return;
    }
    let place = |versions: &starling_proto::purge::Versions| {
        let places: Vec<String> = versions.iter().map(|(region, at)| format!("{region}/{at}")).collect();
        places.join(" ")
    };
    let node = &life.shared.node;
    let (owner, shield, hop, ways) = match &life.shared.mesh {
        Some(mesh) => {
            let view = mesh.view();
            let plan = mesh.plan(&view, &life.service, life.key.key, Hop::Client);
            let ways: Vec<String> = plan.ways.iter().map(|way| Mesh::describe(&view, *way)).collect();
            let owner = view.ring.owner(&life.key.key).unwrap_or(view.me);
            // Without a shield it is the owner who speaks to the origin.
            let shield_region = life.service.settings.shield_region.as_ref();
            let shield = mesh.shields().shield(shield_region, &life.key.key).unwrap_or(owner);
            (view.name_of(&owner), view.name_of(&shield), plan.hop, ways.join(" "))
        }
        None => (node.clone(), node.clone(), Hop::Shield, "origin".to_owned()),
    };
    let text = format!(
        "key={}; stamp=\"{}\"; versions=\"{}\"; trust={}; owner=\"{owner}\"; shield=\"{shield}\"; hop={}; ways=\"{ways}\"",
        life.key.key,
        place(&object.stamp),
        place(&life.shared.store.stamp()),
        life.shared.trust_word(),
        match hop {
            Hop::Client => "client",
            Hop::Owner => "owner",
            Hop::Shield | Hop::Origin => "shield",
        },
    );
    if let Ok(value) = HeaderValue::from_str(&text) {
        headers.insert(STARLING_DEBUG, value);
    }
}
