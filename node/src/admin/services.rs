//! `/v1/services`: what is served, and changes of it in all of the mesh.
//!
//! A definition is the table of one `[[services]]`, as TOML or as JSON of the same keys; it is kept as TOML. What it
//! may say is known elsewhere, and asked for by [`CheckService`].

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, State},
    response::IntoResponse,
    routing::{MethodRouter, get},
};
use http::{HeaderMap, Request, StatusCode};
use serde::{Deserialize, Serialize};

use super::{
    ApiError, Command, ServiceView,
    routes::{Answer, Room, body_of, demand_type, json},
};
use crate::tokens::Scope;

#[cfg(test)]
mod tests;

/// Path and method of each route; the test of `openapi.json` reads this list.
#[cfg(test)]
pub(super) const ROUTES: [(&str, &str); 5] = [
    ("get", "/v1/services"),
    ("post", "/v1/services"),
    ("get", "/v1/services/{name}"),
    ("put", "/v1/services/{name}"),
    ("delete", "/v1/services/{name}"),
];

/// Time for a change to be committed.
const SET_TIMEOUT: Duration = Duration::from_secs(10);

/// Says whether a service may be set like this, by name and TOML; the error is for people.
pub type CheckService = Arc<dyn Fn(&str, &str) -> Result<(), String> + Send + Sync>;

/// Who said last what a service is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceSource {
    /// The node's own configuration.
    #[default]
    File,
    /// The mesh, at run time.
    Mesh,
}

/// A service.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// The hosts it answers for here; none when it is not served.
    pub hosts: Vec<String>,
    /// Its origins.
    pub origins: Vec<String>,
    /// Who said so.
    #[serde(default)]
    pub source: ServiceSource,
    /// It as TOML, if it is of the mesh; told to who may set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
    /// Why it is not served here, or not as it was set last.
    pub problem: Option<String>,
}

/// What became of a change of a service.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServiceSet {
    /// The service.
    pub name: String,
    /// The entry that says so: `region/epoch/index`.
    pub id: String,
    /// Why it is not served by the node that was asked, or not as it was set.
    pub problem: Option<String>,
}

pub(super) fn routes() -> Router<Room> {
    let one: MethodRouter<Room> = get(show).put(put).delete(delete);
    Router::new().route("/v1/services", get(list).post(create)).route("/v1/services/{name}", one)
}

async fn list(State(room): State<Room>, headers: HeaderMap) -> Answer {
    let permit = room.guard.check(&headers, Scope::Read)?;
    let tells_all = may_set(&room, &headers).is_ok();
    let services = Arc::clone(&room.state.services.borrow());
    let covered = services.iter().filter(|service| permit.covers(&service.name));
    let list: Vec<ServiceStatus> = covered.map(|service| status(service, tells_all)).collect();
    Ok(Json(serde_json::json!({ "services": list })).into_response())
}

async fn show(State(room): State<Room>, Path(name): Path<String>, headers: HeaderMap) -> Answer {
    room.guard.check(&headers, Scope::Read)?.demand(&name)?;
    let service = find(&room, &name).ok_or_else(|| none(&name))?;
    Ok(Json(status(&service, may_set(&room, &headers).is_ok())).into_response())
}

async fn create(State(room): State<Room>, request: Request<Body>) -> Answer {
    may_set(&room, request.headers())?;
    let definition = definition(request).await?;
    let name = name_of(&definition)?;
    if find(&room, &name).is_some() {
        let message = format!("there is a service {name:?} already; PUT /v1/services/{name} changes it");
        return Err(ApiError::new(StatusCode::CONFLICT, "exists", message));
    }
    set(&room, name, definition, StatusCode::CREATED).await
}

async fn put(State(room): State<Room>, Path(name): Path<String>, request: Request<Body>) -> Answer {
    may_set(&room, request.headers())?;
    let definition = definition(request).await?;
    let is_new = find(&room, &name).is_none();
    set(&room, name, definition, if is_new { StatusCode::CREATED } else { StatusCode::OK }).await
}

async fn delete(State(room): State<Room>, Path(name): Path<String>, headers: HeaderMap) -> Answer {
    may_set(&room, &headers)?;
    find(&room, &name).ok_or_else(|| none(&name))?;
    change(&room, name, None, StatusCode::OK).await
}

/// Hosts are one space for all services, so that who may set one may take what is another's: a token that is limited
/// to some services sets none.
fn may_set(room: &Room, headers: &HeaderMap) -> Result<(), ApiError> {
    room.guard.check(headers, Scope::Admin)?.demand_all()
}

async fn set(room: &Room, name: String, definition: String, done: StatusCode) -> Answer {
    (room.state.check)(&name, &definition)
        .map_err(|why| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", why))?;
    change(room, name, Some(definition), done).await
}

async fn change(room: &Room, name: String, definition: Option<String>, done: StatusCode) -> Answer {
    let service = name.clone();
    let id =
        room.change(SET_TIMEOUT, |reply| Command::SetService { name: service, definition, reply }).await?;
    let problem = find(room, &name).and_then(|service| service.problem);
    Ok((done, Json(ServiceSet { name, id: id.to_string(), problem })).into_response())
}

fn find(room: &Room, name: &str) -> Option<ServiceView> {
    room.state.services.borrow().iter().find(|service| service.name == name).cloned()
}

fn none(name: &str) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "no-service", format!("there is no service {name:?}"))
}

/// Definitions may hold secrets, such as a field that an origin knows its callers by.
fn status(service: &ServiceView, tells_all: bool) -> ServiceStatus {
    ServiceStatus {
        name: service.name.clone(),
        hosts: service.hosts.clone(),
        origins: service.origins.clone(),
        source: service.source,
        definition: service.definition.clone().filter(|_| tells_all),
        problem: service.problem.clone(),
    }
}

/// The body as TOML, whatever it came as.
async fn definition(request: Request<Body>) -> Result<String, ApiError> {
    if demand_type(request.headers(), "application/toml").is_ok() {
        let body = body_of(request).await?;
        return String::from_utf8(body.into()).map_err(|_| {
            ApiError::new(StatusCode::BAD_REQUEST, "toml", "the body is not UTF-8, as TOML is")
        });
    }
    demand_type(request.headers(), "application/json").map_err(|error| ApiError {
        message: "send Content-Type: application/toml or application/json".to_owned(),
        ..error
    })?;
    let body: serde_json::Map<String, serde_json::Value> = json(request).await?;
    toml::to_string(&body).map_err(|error| {
        let message = format!("the body cannot be told as TOML: {error}");
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "json", message)
    })
}

fn name_of(definition: &str) -> Result<String, ApiError> {
    let table: toml::Table = definition.parse().map_err(|error: toml::de::Error| {
        let message = format!("the body is not TOML: {}", error.message());
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message)
    })?;
    let name = table.get("name").and_then(toml::Value::as_str).map(str::to_owned);
    name.ok_or_else(|| ApiError::field("name", "missing: what the service is called"))
}
