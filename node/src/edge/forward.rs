//! The request as the origin sees it.
//!
//! The client's end-to-end fields go through; what an origin could mistake for the word of a trusted proxy
//! is replaced by what this node knows (who asked, by which scheme, for which host), and what could make
//! it answer something that the cache key does not say is removed.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};
use http_body_util::{BodyExt, Empty};
use starling_proto::cache::{
    StoredHead,
    key::{self, KeyRules},
};
use tokio::sync::mpsc;

use super::{
    Shared,
    door::{ClientHead, Interim, RequestBody},
    service::Service,
    settings::HeaderEdit,
};
use crate::origin;

const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const SURROGATE_CAPABILITY: HeaderName = HeaderName::from_static("surrogate-capability");

/// Fields by which a client could pass for a trusted proxy or ask for another resource than the key names.
const UNTRUSTED: [&str; 22] = [
    "client-ip",
    "forwarded",
    "front-end-https",
    "proxy",
    "true-client-ip",
    "x-client-ip",
    "x-forwarded-ssl",
    "x-http-host-override",
    "x-url-scheme",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-path",
    "x-host",
    "x-original-host",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
];

/// Fields in which this node tells each client apart: an answer that varies by one of them is for one client.
const PER_CLIENT: [&str; 3] = ["x-forwarded-for", "via", "cdn-loop"];

/// Fields that turn one method into another; harmless only where the answer is not cached.
const METHOD_OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

/// Fields that make a request conditional (RFC 9110 section 13.1) or partial (section 14.2).
pub const CONDITIONS: [HeaderName; 6] = [
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::IF_RANGE,
    header::RANGE,
];

/// A request to the origin that can be made again.
#[derive(Clone)]
pub struct Forward {
    /// The method.
    pub method: Method,
    /// The target, in normal form.
    pub path_and_query: String,
    /// The host, in the form that the cache key saw.
    pub host: String,
    /// End-to-end fields, ready to go.
    pub headers: HeaderMap,
}

impl Forward {
    /// The client's request, as it goes to the origin of `service`.
    pub fn of(shared: &Shared, service: &Service, request: &ClientHead) -> Self {
        let mut headers = request.headers.clone();
        for name in UNTRUSTED {
            headers.remove(name);
        }
        headers.remove(header::EXPECT);
        if request.method.is_safe() {
            for name in METHOD_OVERRIDES {
                headers.remove(name);
            }
        }
        let peer = request.peer.ip().to_string();
        insert(&mut headers, X_FORWARDED_FOR, &peer);
        let host = key::normalise_host(&request.authority);
        insert(&mut headers, X_FORWARDED_HOST, &host);
        insert(&mut headers, X_FORWARDED_PROTO, request.scheme.as_str());
        mark(shared, request.version, &mut headers);
        if service.settings.policy.read_surrogate_control {
            insert(&mut headers, SURROGATE_CAPABILITY, "starling=\"Surrogate/1.0\"");
        }
        edit(&mut headers, &service.settings.request_headers);
        Self {
            method: request.method.clone(),
            path_and_query: key::origin_target(&request.path_and_query).into_owned(),
            host,
            headers,
        }
    }

    /// The same as an unconditional GET, whose answer may be stored: for what the key says, and no more.
    pub fn storable(mut self, rules: &KeyRules) -> Self {
        self.method = Method::GET;
        self.path_and_query = key::keyed_target(&self.path_and_query, rules);
        for name in CONDITIONS {
            self.headers.remove(name);
        }
        self.headers.remove(header::CONTENT_LENGTH);
        self
    }

    /// The request, without a body.
    pub fn request(&self, interim: Option<mpsc::Sender<Interim>>) -> origin::Request {
        let body = Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync();
        self.clone().request_with(body, Some(0), interim)
    }

    /// The request, with this body.
    pub fn request_with(
        self,
        body: RequestBody,
        body_bytes: Option<u64>,
        interim: Option<mpsc::Sender<Interim>>,
    ) -> origin::Request {
        origin::Request {
            method: self.method,
            path_and_query: self.path_and_query,
            host: self.host,
            headers: self.headers,
            body,
            body_bytes,
            interim,
        }
    }
}

/// Says that a request has passed this node (RFC 9110 section 7.6.3, RFC 8586 section 2).
pub fn mark(shared: &Shared, version: Version, headers: &mut HeaderMap) {
    headers.append(header::VIA, shared.via.member(version));
    if let Ok(mark) = HeaderValue::from_str(&shared.loop_mark) {
        headers.append(CDN_LOOP, mark);
    }
}

/// Whether a request asks for another method than it names.
pub fn overrides_method(headers: &HeaderMap) -> bool {
    METHOD_OVERRIDES.iter().any(|name| headers.contains_key(*name))
}

/// Whether this process has seen the request before (RFC 8586 section 2).
pub fn is_loop(shared: &Shared, headers: &HeaderMap) -> bool {
    headers
        .get_all(CDN_LOOP)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|member| member.split(';').next().is_some_and(|id| id.trim() == shared.loop_mark))
}

/// Whether a variant is selected by what only this node's request to the origin said of the client.
pub fn is_per_client(head: &StoredHead) -> bool {
    head.vary.iter().any(|(name, _)| PER_CLIENT.contains(&name.as_str()))
}

/// This node's member of `Via` (RFC 9110 section 7.6.3), for each version a client may have spoken.
pub struct Vias {
    http10: HeaderValue,
    http11: HeaderValue,
    http2: HeaderValue,
}

impl Vias {
    /// The members of the node called `name`; a name that is no token is left out of them.
    pub fn of(name: &str) -> Self {
        let member = |protocol: &str| {
            HeaderValue::from_str(&format!("{protocol} {name}"))
                .unwrap_or_else(|_| HeaderValue::from_static("1.1 starling"))
        };
        Self { http10: member("1.0"), http11: member("1.1"), http2: member("2.0") }
    }

    /// The member for a message in this version.
    pub fn member(&self, version: Version) -> HeaderValue {
        match version {
            Version::HTTP_10 => self.http10.clone(),
            Version::HTTP_2 => self.http2.clone(),
            _ => self.http11.clone(),
        }
    }
}

/// Carries out an operator's edits, in their order.
pub fn edit(headers: &mut HeaderMap, edits: &[HeaderEdit]) {
    for edit in edits {
        match edit {
            HeaderEdit::Set(name, value) => {
                headers.insert(name, value.clone());
            }
            HeaderEdit::Add(name, value) => {
                headers.append(name, value.clone());
            }
            HeaderEdit::Remove(name) => {
                headers.remove(name);
            }
        }
    }
}

/// Sets a field whose text is known to be a valid value, and leaves it out where it is not.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
