//! The press itself: answers to requests for objects, and to commands.

use std::{collections::BTreeMap, net::IpAddr, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HOST, RANGE},
    request::Parts,
};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::origin::{
    body::{self, Body},
    entity::{self, Entity, Plan, respond},
};

use super::{
    BookError, Editions, Host, JSON_BYTES_MAX, OBJECT_BYTES_MAX, Object,
    book::{Book, NextError},
};

/// More different objects, or askers, than this are counted together, as `*`.
pub(super) const NAMES_MAX: usize = 10_000;

/// No answer waits longer.
const WAIT_MS_MAX: u64 = 600_000;

/// The length of an object when it is not said.
const OBJECT_BYTES: u64 = 1024;

/// A client that sends a command's body slower than this is gone.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// What the press does with requests for objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// How long an answer waits.
    pub wait_ms: u64,
    /// Whether each answer is a 503.
    pub fails: bool,
}

/// What a press has been asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Requests for objects.
    pub requests: u64,
    /// The same by object: `HOST/GROUP/NAME`.
    pub by_object: BTreeMap<String, u64>,
    /// The same by who asked: an IP address; in a network of namespaces that is a node.
    pub by_asker: BTreeMap<String, u64>,
    /// Bytes of bodies sent.
    pub body_bytes: u64,
}

/// A press. Its locks are held for no longer than a statement or a line written.
#[derive(Default)]
pub(crate) struct Server {
    book: Mutex<Book>,
    behaviour: Mutex<Behaviour>,
    stats: Arc<Mutex<Stats>>,
}

impl Server {
    /// A press that keeps its editions in this file, or in memory only.
    pub(crate) fn new(editions: Option<&Path>) -> Result<Self, BookError> {
        let book = editions.map(Book::open).transpose()?.unwrap_or_default();
        Ok(Self { book: Mutex::new(book), ..Self::default() })
    }

    /// Whether a path is the press's.
    pub(crate) fn has(path: &str) -> bool {
        path.starts_with("/o/") || path.starts_with("/press/")
    }

    /// The answer to a request for one of its paths. That to a HEAD has the body of the GET.
    pub(crate) async fn answer(&self, request: Request<Incoming>, asker: Option<IpAddr>) -> Response<Body> {
        let (head, incoming) = request.into_parts();
        if head.uri.path().starts_with("/o/") {
            return self.object(head, asker).await;
        }
        let done = match (&head.method, head.uri.path()) {
            (&Method::POST, "/press/next") => self.next(incoming).await,
            (&Method::GET | &Method::HEAD, "/press/editions") => Ok(told(self.book.lock().editions())),
            (&Method::PUT, "/press/editions") => self.set_editions(incoming).await,
            (&Method::POST, "/press/behave") => self.behave(incoming).await,
            (&Method::GET | &Method::HEAD, "/press/stats") => Ok(told(&*self.stats.lock())),
            (&Method::POST, "/press/stats/reset") => {
                *self.stats.lock() = Stats::default();
                Ok(nothing())
            }
            _ => Err(refused(StatusCode::NOT_FOUND, "no such command")),
        };
        done.unwrap_or_else(Refused::into_response)
    }

    async fn object(&self, mut head: Parts, asker: Option<IpAddr>) -> Response<Body> {
        if !matches!(head.method, Method::GET | Method::HEAD) {
            return entity::message(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD here\n");
        }
        let object = match wanted(&head) {
            Ok(object) => object,
            Err(refused) => return refused.into_response(),
        };
        self.stats.lock().asked(&object, asker);
        // Behaviour and edition are those of now. An answer that waits was made before it waits.
        let behaviour = *self.behaviour.lock();
        let edition = self.book.lock().editions().of(&object);
        if behaviour.wait_ms > 0 {
            tokio::time::sleep(Duration::from_millis(behaviour.wait_ms)).await;
        }
        if behaviour.fails {
            return entity::message(StatusCode::SERVICE_UNAVAILABLE, "out of order, as asked\n");
        }
        if head.method == Method::HEAD {
            // RFC 9110 section 14.2: ranges are of GET only.
            head.headers.remove(RANGE);
        }
        match printed(&object, edition).plan(&head.headers) {
            Plan::Done(response) => response,
            Plan::Send(builder, range) => {
                let stats = Arc::clone(&self.stats);
                let body = body::patterned(object.seed(edition), range, None).map_frame(move |frame| {
                    stats.lock().body_bytes += frame.data_ref().map_or(0, |bytes| bytes.len() as u64);
                    frame
                });
                respond(builder, body.boxed_unsync())
            }
        }
    }

    async fn next(&self, incoming: Incoming) -> Result<Response<Body>, Refused> {
        let scope = command(incoming).await?;
        let given = self.book.lock().next(&scope);
        match given {
            Ok(edition) => Ok(told(&json!({ "edition": edition }))),
            Err(error @ NextError::TooMany) => Err(refused(StatusCode::INSUFFICIENT_STORAGE, error)),
            Err(error @ NextError::Unwritten(_)) => Err(refused(StatusCode::INTERNAL_SERVER_ERROR, error)),
        }
    }

    async fn set_editions(&self, incoming: Incoming) -> Result<Response<Body>, Refused> {
        let editions: Editions = command(incoming).await?;
        if let Some(wrong) = editions.wrong() {
            return Err(refused(StatusCode::BAD_REQUEST, wrong));
        }
        let set = self.book.lock().set(editions);
        set.map(|()| nothing()).map_err(|error| refused(StatusCode::INTERNAL_SERVER_ERROR, error))
    }

    async fn behave(&self, incoming: Incoming) -> Result<Response<Body>, Refused> {
        let behaviour: Behaviour = command(incoming).await?;
        if behaviour.wait_ms > WAIT_MS_MAX {
            return Err(refused(StatusCode::BAD_REQUEST, format!("`wait_ms` is at most {WAIT_MS_MAX}")));
        }
        *self.behaviour.lock() = behaviour;
        Ok(nothing())
    }
}

/// A request that makes no sense, or cannot be done.
struct Refused {
    status: StatusCode,
    why: String,
}

impl Refused {
    fn into_response(self) -> Response<Body> {
        plain(self.status, "text/plain", self.why + "\n")
    }
}

impl Stats {
    fn asked(&mut self, object: &Object, asker: Option<IpAddr>) {
        self.requests += 1;
        count(&mut self.by_object, format!("{}/{}/{}", object.host.name(), object.group, object.name));
        count(&mut self.by_asker, asker.map_or_else(|| "unknown".to_owned(), |asker| asker.to_string()));
    }
}

pub(super) fn count(counts: &mut BTreeMap<String, u64>, name: String) {
    let is_known = counts.len() < NAMES_MAX || counts.contains_key(&name);
    *counts.entry(if is_known { name } else { "*".to_owned() }).or_default() += 1;
}

/// The object that a request is for.
fn wanted(head: &Parts) -> Result<Object, Refused> {
    let absent = || refused(StatusCode::NOT_FOUND, "objects are /o/GROUP/NAME?bytes=N");
    let authority = match head.uri.authority() {
        Some(authority) => authority.as_str(),
        None => head.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default(),
    };
    let path = head.uri.path().strip_prefix("/o/").ok_or_else(absent)?;
    let (group, name) = path.split_once('/').ok_or_else(absent)?;
    let (group, name) = (number(group).ok_or_else(absent)?, number(name).ok_or_else(absent)?);
    let query = head.uri.query().unwrap_or_default();
    let bytes = query.split('&').find_map(|pair| pair.strip_prefix("bytes="));
    let bytes = bytes.map_or(Some(OBJECT_BYTES), |bytes| bytes.parse().ok());
    match bytes.filter(|bytes| *bytes <= OBJECT_BYTES_MAX) {
        Some(bytes) => Ok(Object { host: Host::named(authority), group, name, bytes }),
        None => Err(refused(StatusCode::BAD_REQUEST, format!("`bytes` is at most {OBJECT_BYTES_MAX}"))),
    }
}

/// A number in its one spelling: two paths are two objects.
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number: &u32| number.to_string() == text)
}

/// An object in one edition.
fn printed(object: &Object, edition: u64) -> Entity {
    let tags = format!("all g-{} k-{}", object.group, object.name);
    let fields = HeaderMap::from_iter([
        (CACHE_CONTROL, HeaderValue::from_static(object.host.cache_control())),
        (HeaderName::from_static("x-edition"), HeaderValue::from(edition)),
        (
            HeaderName::from_static("surrogate-key"),
            HeaderValue::try_from(tags).expect("letters and digits are a field value"),
        ),
    ]);
    Entity {
        etag: format!("\"{edition}\""),
        modified: None,
        bytes: object.bytes,
        content_type: "application/octet-stream",
        fields,
    }
}

/// A command's body.
async fn command<T: DeserializeOwned>(incoming: Incoming) -> Result<T, Refused> {
    let collected = Limited::new(incoming, JSON_BYTES_MAX).collect();
    let bytes = match tokio::time::timeout(COMMAND_TIMEOUT, collected).await {
        Ok(Ok(whole)) => whole.to_bytes(),
        Ok(Err(error)) => return Err(refused(StatusCode::BAD_REQUEST, error)),
        Err(_) => return Err(refused(StatusCode::REQUEST_TIMEOUT, "the command did not come whole")),
    };
    serde_json::from_slice(&bytes).map_err(|error| refused(StatusCode::BAD_REQUEST, error))
}

fn told<T: Serialize>(what: &T) -> Response<Body> {
    match serde_json::to_vec(what) {
        Ok(json) => plain(StatusCode::OK, "application/json", json),
        Err(error) => refused(StatusCode::INTERNAL_SERVER_ERROR, error).into_response(),
    }
}

fn refused(status: StatusCode, why: impl std::fmt::Display) -> Refused {
    Refused { status, why: why.to_string() }
}

fn plain(status: StatusCode, content_type: &'static str, content: impl Into<Bytes>) -> Response<Body> {
    let content: Bytes = content.into();
    let head = Response::builder().status(status).header(CACHE_CONTROL, "no-store");
    let head = head.header(CONTENT_TYPE, content_type).header(CONTENT_LENGTH, content.len());
    respond(head, body::full(content))
}

fn nothing() -> Response<Body> {
    respond(
        Response::builder().status(StatusCode::NO_CONTENT).header(CACHE_CONTROL, "no-store"),
        body::empty(),
    )
}
