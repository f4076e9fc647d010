//! The routes and their handlers: check who asks, check what is asked, hand it over as a [`Command`].

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::{Body, Bytes, to_bytes},
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::sync::oneshot;

use super::{
    AdminState, ApiError, Command, CommandError, PurgeBody, PurgesReport, Settings, StatusReport, WarmBody,
    guard::Guard, mesh, purge, services,
};
use crate::{metrics, tokens::Scope};

/// The document at `/v1/openapi.json`.
pub(super) const OPENAPI: &str = include_str!("openapi.json");
const DASHBOARD: &str = include_str!("dashboard.html");
/// Largest body that is read.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Time for a body to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for the node to answer a command beyond what the command itself may take.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);
const WARM_URLS_MAX: usize = 1000;
const WARM_TIMEOUT: Duration = Duration::from_secs(300);

/// Method and path of everything but the fallback and the services; the test of `openapi.json` reads this list.
pub(super) const ROUTES: [(&str, &str); 14] = [
    ("get", "/"),
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/metrics"),
    ("get", "/v1/openapi.json"),
    ("get", "/v1/status"),
    ("get", "/v1/peers"),
    ("get", "/v1/ring"),
    ("post", "/v1/purge"),
    // An id has slashes of its own.
    ("get", "/v1/purge/{*id}"),
    ("get", "/v1/purges"),
    ("post", "/v1/warm"),
    ("post", "/v1/drain"),
    ("post", "/v1/undrain"),
];

#[derive(Clone)]
pub(super) struct Room {
    pub state: AdminState,
    pub guard: Arc<Guard>,
}

pub(super) type Answer = Result<Response, ApiError>;

pub(super) fn router(state: AdminState, settings: &Settings) -> Router {
    let room = Room { state, guard: Arc::new(Guard::new(settings)) };
    let mut router = services::routes();
    for (method, path) in ROUTES {
        let handler = match (method, path) {
            ("get", "/") => get(dashboard),
            ("get", "/healthz") => get(healthz),
            ("get", "/readyz") => get(readyz),
            ("get", "/metrics") => get(metrics_text),
            ("get", "/v1/openapi.json") => get(openapi),
            ("get", "/v1/status") => get(status),
            ("get", "/v1/peers") => get(peers),
            ("get", "/v1/ring") => get(ring),
            ("post", "/v1/purge") => post(purge_objects),
            ("get", "/v1/purge/{*id}") => get(receipt),
            ("get", "/v1/purges") => get(receipts),
            ("post", "/v1/warm") => post(warm),
            ("post", "/v1/drain") => post(drain),
            ("post", "/v1/undrain") => post(undrain),
            (method, path) => unreachable!("{method} {path} has a handler"),
        };
        router = router.route(path, handler);
    }
    let not_found = || async { ApiError::new(StatusCode::NOT_FOUND, "not-found", "see /v1/openapi.json") };
    let not_allowed = || async {
        ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "see /v1/openapi.json")
    };
    router.fallback(not_found).method_not_allowed_fallback(not_allowed).with_state(room)
}

async fn dashboard() -> Response {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
                  frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
    let headers: [(HeaderName, HeaderValue); 2] = [
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (headers, Html(DASHBOARD)).into_response()
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(room): State<Room>) -> Response {
    let report = (room.state.status)();
    if report.ready && !report.draining {
        return "ready\n".into_response();
    }
    let why = if report.draining { "draining\n" } else { "not ready\n" };
    (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}

async fn metrics_text(State(room): State<Room>, headers: HeaderMap) -> Answer {
    room.guard.check(&headers, Scope::Read)?.demand_all()?;
    let text = room.state.metrics.render().map_err(|_| {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", "a metric could not be written")
    })?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

async fn openapi(State(room): State<Room>, headers: HeaderMap) -> Answer {
    room.guard.check(&headers, Scope::Read)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response())
}

async fn status(State(room): State<Room>, headers: HeaderMap) -> Answer {
    let permit = room.guard.check(&headers, Scope::Read)?;
    let mut report: StatusReport = (room.state.status)();
    report.origins.retain(|origin| permit.covers(&origin.service));
    Ok(Json(report).into_response())
}

async fn peers(State(room): State<Room>, headers: HeaderMap) -> Answer {
    room.guard.check(&headers, Scope::Read)?.demand_all()?;
    let view = (room.state.view)();
    Ok(Json(mesh::peers(&view, room.state.clock.now_ms())).into_response())
}

/// What `/v1/ring` may be asked about.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RingQuery {
    key: Option<String>,
    url: Option<String>,
}

async fn ring(
    State(room): State<Room>,
    headers: HeaderMap,
    query: Result<Query<RingQuery>, QueryRejection>,
) -> Answer {
    room.guard.check(&headers, Scope::Read)?.demand_all()?;
    let query = understood(query)?;
    let key = match (query.key, query.url) {
        (None, None) => None,
        (Some(key), None) => Some(mesh::key(&key).ok_or_else(|| {
            ApiError::field("key", format!("found {key:?}, but a key is 32 hexadecimal digits"))
        })?),
        (None, Some(url)) => {
            let target = purge::target_url(&url).map_err(|why| ApiError::field("url", why))?;
            let key = (room.state.key_of)(&target);
            Some(key.ok_or_else(|| {
                ApiError::field("url", format!("no service has the host of {:?}", target.authority))
            })?)
        }
        (Some(_), Some(_)) => return Err(ApiError::field("url", "give `key` or `url`, not both")),
    };
    Ok(Json(mesh::ring(&(room.state.view)(), key)).into_response())
}

async fn purge_objects(State(room): State<Room>, request: Request<Body>) -> Answer {
    let permit = room.guard.check(request.headers(), Scope::Purge)?;
    let headers = request.headers().clone();
    let mut body: PurgeBody = json(request).await?;
    purge::take_key(&mut body, &headers)?;
    let services = Arc::clone(&room.state.services.borrow());
    let request = purge::request(&body, &services, &permit)?;
    let timeout = request.timeout;
    let receipt = room.change(timeout, |reply| Command::Purge { request, reply }).await?;
    let status = if receipt.id.is_some() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(receipt)).into_response())
}

async fn receipt(
    State(room): State<Room>,
    headers: HeaderMap,
    id: Result<Path<String>, PathRejection>,
    query: Result<Query<purge::ReceiptQuery>, QueryRejection>,
) -> Answer {
    // A receipt tells who has applied a purge, and nothing of what was purged: whoever may purge may see it.
    room.guard.check_any(&headers, &[Scope::Purge, Scope::Read])?;
    let Path(text) = id.map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, "id", error.body_text()))?;
    let id = purge::id(&text)?;
    let (wait, timeout) = understood(query)?.wait()?;
    let receipt = room.ask(timeout, |reply| Command::Receipt { id, wait, timeout, reply }).await?;
    let unknown =
        || ApiError::new(StatusCode::NOT_FOUND, "not-found", format!("no purge {text} is known here"));
    Ok(Json(receipt.ok_or_else(unknown)?).into_response())
}

async fn receipts(State(room): State<Room>, headers: HeaderMap) -> Answer {
    // When others purge is theirs to know.
    room.guard.check_any(&headers, &[Scope::Purge, Scope::Read])?.demand_all()?;
    let purges = room.ask(Duration::ZERO, |reply| Command::Receipts { reply }).await?;
    Ok(Json(PurgesReport { purges }).into_response())
}

async fn warm(State(room): State<Room>, request: Request<Body>) -> Answer {
    room.guard.check(request.headers(), Scope::Purge)?.demand_all()?;
    let body: WarmBody = json(request).await?;
    if body.urls.is_empty() || body.urls.len() > WARM_URLS_MAX {
        return Err(ApiError::field("urls", format!("give 1 to {WARM_URLS_MAX} URLs")));
    }
    let urls = body
        .urls
        .iter()
        .enumerate()
        .map(|(number, url)| {
            purge::target_url(url).map_err(|why| ApiError::field(format!("urls[{number}]"), why))
        })
        .collect::<Result<_, _>>()?;
    let results = room.ask(WARM_TIMEOUT, |reply| Command::Warm { urls, reply }).await?;
    Ok(Json(serde_json::json!({ "results": results })).into_response())
}

async fn drain(State(room): State<Room>, request: Request<Body>) -> Answer {
    set_draining(room, request, true).await
}

async fn undrain(State(room): State<Room>, request: Request<Body>) -> Answer {
    set_draining(room, request, false).await
}

async fn set_draining(room: Room, request: Request<Body>, draining: bool) -> Answer {
    // All services of the node go with it.
    room.guard.check(request.headers(), Scope::Admin)?.demand_all()?;
    demand_json(request.headers())?;
    room.ask(Duration::ZERO, |reply| Command::SetDraining { draining, reply }).await?;
    Ok(Json(serde_json::json!({ "draining": draining })).into_response())
}

/// A query as it was meant, or what is wrong with it.
fn understood<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, ApiError> {
    query
        .map(|Query(query)| query)
        .map_err(|error| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "query", error.body_text()))
}

/// Why a command has no answer.
enum Unanswered {
    /// The node did not take it: nothing was done.
    Refused,
    /// The node went away with it.
    Gone,
    /// The time ran out.
    TimedOut,
    /// The node could not do it.
    Error(CommandError),
}

impl Room {
    /// Has the node do something that can be done again without harm.
    pub async fn ask<T>(
        &self,
        timeout: Duration,
        command: impl FnOnce(oneshot::Sender<Result<T, CommandError>>) -> Command,
    ) -> Result<T, ApiError> {
        self.command(timeout, command).await.map_err(|why| match why {
            Unanswered::Gone => {
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the node is going away")
            }
            Unanswered::TimedOut => {
                ApiError::new(StatusCode::GATEWAY_TIMEOUT, "timeout", "the node did not answer in time")
            }
            Unanswered::Refused => busy(),
            Unanswered::Error(error) => error.into(),
        })
    }

    /// Has the node change a region's log. Once the node has taken that on, silence is no refusal.
    pub async fn change<T>(
        &self,
        timeout: Duration,
        command: impl FnOnce(oneshot::Sender<Result<T, CommandError>>) -> Command,
    ) -> Result<T, ApiError> {
        let unknown =
            |why: &str| CommandError::Unknown(format!("it is not known whether it was committed: {why}"));
        self.command(timeout, command).await.map_err(|why| match why {
            Unanswered::Gone => unknown("the node is going away").into(),
            Unanswered::TimedOut => unknown("the node did not answer in time").into(),
            Unanswered::Refused => busy(),
            Unanswered::Error(error) => error.into(),
        })
    }

    async fn command<T>(
        &self,
        timeout: Duration,
        command: impl FnOnce(oneshot::Sender<Result<T, CommandError>>) -> Command,
    ) -> Result<T, Unanswered> {
        let (reply, answer) = oneshot::channel();
        self.state.commands.try_send(command(reply)).map_err(|_| Unanswered::Refused)?;
        match tokio::time::timeout(timeout + REPLY_TIMEOUT, answer).await {
            Ok(Ok(answer)) => answer.map_err(Unanswered::Error),
            Ok(Err(_)) => Err(Unanswered::Gone),
            Err(_) => Err(Unanswered::TimedOut),
        }
    }
}

fn busy() -> ApiError {
    let message = "the node is busy or going away; try again";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
}

impl From<CommandError> for ApiError {
    fn from(error: CommandError) -> Self {
        let (status, code) = match &error {
            CommandError::Failed(_) => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
            CommandError::NoQuorum(_) => (StatusCode::SERVICE_UNAVAILABLE, "no-quorum"),
            CommandError::NotDurable(_) => (StatusCode::SERVICE_UNAVAILABLE, "not-durable"),
            CommandError::Unknown(_) => (StatusCode::SERVICE_UNAVAILABLE, "unknown"),
            CommandError::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        };
        Self::new(status, code, error.to_string())
    }
}

/// A web page can send other types across origins without asking first; JSON it cannot.
fn demand_json(headers: &HeaderMap) -> Result<(), ApiError> {
    demand_type(headers, "application/json")
}

/// A web page can send some types across origins without asking first; none of those is demanded anywhere.
pub(super) fn demand_type(headers: &HeaderMap, wanted: &str) -> Result<(), ApiError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    if kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(wanted)) {
        return Ok(());
    }
    let message = format!("send Content-Type: {wanted}");
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type", message))
}

pub(super) async fn body_of(request: Request<Body>) -> Result<Bytes, ApiError> {
    tokio::time::timeout(BODY_TIMEOUT, to_bytes(request.into_body(), BODY_BYTES_MAX))
        .await
        .map_err(|_| {
            ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body did not arrive in time")
        })?
        .map_err(|_| {
            let message = format!("the body is broken, or larger than {BODY_BYTES_MAX} bytes");
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body", message)
        })
}

pub(super) async fn json<T: DeserializeOwned>(request: Request<Body>) -> Result<T, ApiError> {
    demand_json(request.headers())?;
    let body = body_of(request).await?;
    serde_json::from_slice(&body).map_err(|error| {
        use serde_json::error::Category;
        let status = match error.classify() {
            Category::Data => StatusCode::UNPROCESSABLE_ENTITY,
            Category::Io | Category::Syntax | Category::Eof => StatusCode::BAD_REQUEST,
        };
        ApiError::new(status, "json", format!("the body is not what is expected: {error}"))
    })
}
