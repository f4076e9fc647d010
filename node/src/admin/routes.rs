//! The routes and their handlers: check who asks, check what is asked, hand it over as a [`Command`].

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{Query, State, rejection::QueryRejection},
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::sync::oneshot;

use super::{
    AdminState, ApiError, Command, CommandError, PurgeBody, ServiceStatus, Settings, StatusReport, WarmBody,
    guard::Guard, mesh, purge,
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

/// Path, method and handler of everything but the fallback; the test of `openapi.json` reads this list.
pub(super) const ROUTES: [(&str, &str); 13] = [
    ("get", "/"),
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/metrics"),
    ("get", "/v1/openapi.json"),
    ("get", "/v1/status"),
    ("get", "/v1/peers"),
    ("get", "/v1/ring"),
    ("get", "/v1/services"),
    ("post", "/v1/purge"),
    ("post", "/v1/warm"),
    ("post", "/v1/drain"),
    ("post", "/v1/undrain"),
];

#[derive(Clone)]
struct Room {
    state: AdminState,
    guard: Arc<Guard>,
}

type Answer = Result<Response, ApiError>;

pub(super) fn router(state: AdminState, settings: &Settings) -> Router {
    let room = Room { state, guard: Arc::new(Guard::new(settings)) };
    let mut router = Router::new();
    for (_, path) in ROUTES {
        let handler = match path {
            "/" => get(dashboard),
            "/healthz" => get(healthz),
            "/readyz" => get(readyz),
            "/metrics" => get(metrics_text),
            "/v1/openapi.json" => get(openapi),
            "/v1/status" => get(status),
            "/v1/peers" => get(peers),
            "/v1/ring" => get(ring),
            "/v1/services" => get(services),
            "/v1/purge" => post(purge_objects),
            "/v1/warm" => post(warm),
            "/v1/drain" => post(drain),
            "/v1/undrain" => post(undrain),
            path => unreachable!("{path} has a handler"),
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
    let Query(query) =
        query.map_err(|error| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "query", error.body_text()))?;
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

async fn services(State(room): State<Room>, headers: HeaderMap) -> Answer {
    let permit = room.guard.check(&headers, Scope::Read)?;
    let services = Arc::clone(&room.state.services.borrow());
    let list: Vec<ServiceStatus> = services
        .iter()
        .filter(|service| permit.covers(&service.name))
        .map(|service| ServiceStatus {
            name: service.name.clone(),
            hosts: service.hosts.clone(),
            origins: service.origins.clone(),
        })
        .collect();
    Ok(Json(serde_json::json!({ "services": list })).into_response())
}

async fn purge_objects(State(room): State<Room>, request: Request<Body>) -> Answer {
    let permit = room.guard.check(request.headers(), Scope::Purge)?;
    let body: PurgeBody = json(request).await?;
    let services = Arc::clone(&room.state.services.borrow());
    let request = purge::request(&body, &services)?;
    permit.demand(&request.service)?;
    let timeout = request.timeout;
    let receipt = room.ask(timeout, |reply| Command::Purge { request, reply }).await?;
    Ok(Json(receipt).into_response())
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
    room.guard.check(request.headers(), Scope::Admin)?;
    demand_json(request.headers())?;
    room.ask(Duration::ZERO, |reply| Command::SetDraining { draining, reply }).await?;
    Ok(Json(serde_json::json!({ "draining": draining })).into_response())
}

impl Room {
    async fn ask<T>(
        &self,
        timeout: Duration,
        command: impl FnOnce(oneshot::Sender<Result<T, CommandError>>) -> Command,
    ) -> Result<T, ApiError> {
        let unavailable = |why: &str| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", why);
        let (reply, answer) = oneshot::channel();
        self.state
            .commands
            .try_send(command(reply))
            .map_err(|_| unavailable("the node is busy or going away; try again"))?;
        match tokio::time::timeout(timeout + REPLY_TIMEOUT, answer).await {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(error @ CommandError::Unavailable(_)))) => Err(unavailable(&error.to_string())),
            Ok(Ok(Err(error @ CommandError::Failed(_)))) => {
                Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", error.to_string()))
            }
            Ok(Err(_)) => Err(unavailable("the node is going away")),
            Err(_) => {
                Err(ApiError::new(StatusCode::GATEWAY_TIMEOUT, "timeout", "the node did not answer in time"))
            }
        }
    }
}

/// A web page can send other types across origins without asking first; JSON it cannot.
fn demand_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    if kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")) {
        return Ok(());
    }
    let message = "send Content-Type: application/json";
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type", message))
}

async fn json<T: DeserializeOwned>(request: Request<Body>) -> Result<T, ApiError> {
    demand_json(request.headers())?;
    let body = tokio::time::timeout(BODY_TIMEOUT, to_bytes(request.into_body(), BODY_BYTES_MAX))
        .await
        .map_err(|_| {
            ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body did not arrive in time")
        })?
        .map_err(|_| {
            let message = format!("the body is broken, or larger than {BODY_BYTES_MAX} bytes");
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body", message)
        })?;
    serde_json::from_slice(&body).map_err(|error| {
        use serde_json::error::Category;
        let status = match error.classify() {
            Category::Data => StatusCode::UNPROCESSABLE_ENTITY,
            Category::Io | Category::Syntax | Category::Eof => StatusCode::BAD_REQUEST,
        };
        ApiError::new(status, "json", format!("the body is not what is expected: {error}"))
    })
}
