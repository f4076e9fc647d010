//! The resources below `/demo/`: each shows one thing that a cache must cope with.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, SET_COOKIE, VARY},
};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde_json::json;

use super::{
    Stats,
    body::{self, Body},
    entity::{self, Entity, Plan, respond},
};

const INDEX: &str = include_str!("demo.html");
const LARGE_BYTES: u64 = 100 << 20;
const WAIT_MS_MAX: u64 = 60_000;
const ECHO_BYTES_MAX: u64 = 1 << 30;
/// The pattern that all large bodies here are made of.
const SEED: u64 = 0;

/// The answer to a request below `/demo/`; `count` is how often its path was asked for.
pub async fn answer(request: Request<Incoming>, count: u64, stats: &Stats) -> Response<Body> {
    let (head, incoming) = request.into_parts();
    let path = head.uri.path().strip_prefix("/demo").unwrap_or_default();
    let query = Query(head.uri.query().unwrap_or_default());
    match path {
        "/echo" => return echo(&head, incoming).await,
        "/stats/reset" if head.method == Method::POST => {
            stats.reset();
            return entity::message(StatusCode::OK, "all counters are at nothing\n");
        }
        _ if !matches!(head.method, Method::GET | Method::HEAD) => {
            return entity::message(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD here\n");
        }
        _ => {}
    }
    if let Some(rest) = path.strip_prefix("/tagged/") {
        return tagged(rest, count);
    }
    if let Some(code) = path.strip_prefix("/status/") {
        return status(code);
    }
    match path {
        "" => {
            let head = Response::builder().status(StatusCode::MOVED_PERMANENTLY).header(LOCATION, "/demo/");
            respond(head.header(CONTENT_LENGTH, 0), body::empty())
        }
        "/" => text("max-age=60", "text/html; charset=utf-8", INDEX.to_owned()),
        "/large" => large(&head.headers, query),
        "/slow" => slow(query).await,
        "/uncacheable" => {
            let bytes = query.number("bytes").unwrap_or(1024);
            let head =
                Response::builder().header(CACHE_CONTROL, "private, no-store").header(CONTENT_LENGTH, bytes);
            respond(head.header(CONTENT_TYPE, OCTETS), body::patterned(SEED, 0..bytes, None))
        }
        "/private" => plain("private, max-age=60", format!("for you alone, request {count}\n")),
        "/cookie" => {
            let mut response = plain("max-age=60", format!("a cookie came with this, request {count}\n"));
            let cookie = HeaderValue::try_from(format!("id={count}; Path=/demo/"));
            response.headers_mut().insert(SET_COOKIE, cookie.expect("digits and ASCII are a field value"));
            response
        }
        "/vary" => vary(&head.headers),
        "/swr" => plain("max-age=2, stale-while-revalidate=30", format!("request {count}\n")),
        "/die" => die(&head.headers, query),
        "/clock" => {
            let now = httpdate::fmt_http_date(SystemTime::now());
            plain("max-age=30", format!("{now}, request {count}\n"))
        }
        "/stats" => text("no-store", "application/json", format!("{}\n", stats.snapshot().to_json())),
        _ => entity::message(StatusCode::NOT_FOUND, "not found; /demo/ lists what is here\n"),
    }
}

const OCTETS: &str = "application/octet-stream";

fn large(request: &HeaderMap, query: Query<'_>) -> Response<Body> {
    let bytes = query.number("bytes").unwrap_or(LARGE_BYTES);
    match octets(bytes, format!("\"large-{bytes}\"")).plan(request) {
        Plan::Done(response) => response,
        Plan::Send(head, range) => respond(head, body::patterned(SEED, range, query.number("rate"))),
    }
}

/// Breaks off after so many bytes of each answer: who asks for the rest by range gets further each time.
fn die(request: &HeaderMap, query: Query<'_>) -> Response<Body> {
    let bytes = query.number("bytes").unwrap_or(1 << 20);
    let after = query.number("after").unwrap_or(bytes / 2);
    match octets(bytes, format!("\"die-{bytes}\"")).plan(request) {
        Plan::Done(response) => response,
        Plan::Send(head, range) => respond(head, body::broken(SEED, range, after)),
    }
}

fn octets(bytes: u64, etag: String) -> Entity {
    let fields = HeaderMap::from_iter([(CACHE_CONTROL, HeaderValue::from_static("max-age=3600"))]);
    Entity { etag, modified: None, bytes, content_type: OCTETS, fields }
}

async fn slow(query: Query<'_>) -> Response<Body> {
    let wait = |name| Duration::from_millis(query.number(name).unwrap_or(0).min(WAIT_MS_MAX));
    tokio::time::sleep(wait("ms")).await;
    let pieces: Vec<Bytes> = (1..=10).map(|piece| Bytes::from(format!("piece {piece} of 10\n"))).collect();
    let head = Response::builder().header(CACHE_CONTROL, "max-age=60").header(CONTENT_TYPE, "text/plain");
    respond(head, body::dripped(pieces, wait("drip_ms")))
}

fn tagged(rest: &str, count: u64) -> Response<Body> {
    let (tags, name) = rest.split_once('/').unwrap_or((rest, ""));
    let tags = percent_decode_str(tags).decode_utf8_lossy().replace(',', " ");
    let mut response = plain("max-age=600", format!("{name}, tagged {tags}, request {count}\n"));
    match HeaderValue::try_from(tags) {
        Ok(tags) => {
            response.headers_mut().insert(HeaderName::from_static("surrogate-key"), tags);
            response
        }
        Err(_) => entity::message(StatusCode::BAD_REQUEST, "these tags do not fit in a header\n"),
    }
}

fn status(code: &str) -> Response<Body> {
    let known = code.parse().ok().and_then(|code| StatusCode::from_u16(code).ok());
    let Some(status) = known.filter(|status| status.as_u16() >= 200) else {
        return entity::message(StatusCode::BAD_REQUEST, "give a status from 200 to 999\n");
    };
    if matches!(status.as_u16(), 204 | 304) {
        return respond(Response::builder().status(status), body::empty());
    }
    let mut response = plain("max-age=60", format!("{status}\n"));
    *response.status_mut() = status;
    if status.is_redirection() {
        response.headers_mut().insert(LOCATION, HeaderValue::from_static("/demo/"));
    }
    response
}

fn vary(request: &HeaderMap) -> Response<Body> {
    let language =
        request.get(ACCEPT_LANGUAGE).map_or("none", |value| value.to_str().unwrap_or("unreadable"));
    let mut response = plain("max-age=60", format!("your languages: {language}\n"));
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Language"));
    response
}

async fn echo(head: &http::request::Parts, mut incoming: Incoming) -> Response<Body> {
    let mut body_bytes = 0;
    while let Some(frame) = incoming.frame().await {
        let Ok(frame) = frame else {
            return entity::message(StatusCode::BAD_REQUEST, "the body broke off\n");
        };
        body_bytes += frame.data_ref().map_or(0, |bytes| bytes.len() as u64);
        if body_bytes > ECHO_BYTES_MAX {
            return entity::message(StatusCode::PAYLOAD_TOO_LARGE, "more than can be echoed\n");
        }
    }
    let field = |(name, value): (&HeaderName, &HeaderValue)| {
        json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())])
    };
    let headers: Vec<_> = head.headers.iter().map(field).collect();
    let echoed = json!({
        "method": head.method.as_str(),
        "target": head.uri.to_string(),
        "headers": headers,
        "body_bytes": body_bytes,
    });
    text("no-store", "application/json", format!("{echoed:#}\n"))
}

fn plain(cache_control: &'static str, words: String) -> Response<Body> {
    text(cache_control, "text/plain", words)
}

fn text(cache_control: &'static str, content_type: &'static str, words: String) -> Response<Body> {
    let head = Response::builder().header(CACHE_CONTROL, cache_control).header(CONTENT_TYPE, content_type);
    respond(head.header(CONTENT_LENGTH, words.len()), body::full(words))
}

/// The parameters of a request.
#[derive(Clone, Copy)]
struct Query<'a>(&'a str);

impl Query<'_> {
    fn number(&self, name: &str) -> Option<u64> {
        let pairs = self.0.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).find_map(|(_, value)| value.parse().ok())
    }
}
