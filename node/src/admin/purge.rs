//! From the body of a purge to the selectors it means: URLs are brought into the form of cache keys, so that
//! a purge names exactly what a request with the same URL would be answered from.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use starling_proto::{
    cache::key::normalise_url,
    purge::{Change, EntryId, Mode, Purge, Selector},
};

use super::{ApiError, PurgeBody, PurgeRequest, ServiceView, TargetUrl, Wait, guard::Permit};

/// Selectors in one purge; more are sent as several purges.
const SELECTORS_MAX: usize = 1000;
/// The longest URL, tag or prefix, in bytes.
const SELECTOR_BYTES_MAX: usize = 8 << 10;
/// All text of one purge, in bytes: it is one entry of the region's log, and travels in one message.
const PURGE_BYTES_MAX: usize = 256 << 10;
/// The field that carries an idempotency key (draft-ietf-httpapi-idempotency-key-header).
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The longest idempotency key, in bytes.
const KEY_BYTES_MAX: usize = 255;
const TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// Checks a purge against the services there are, and against those of them that its sender may touch: others are
/// not named to it.
pub(super) fn request(
    body: &PurgeBody,
    services: &[ServiceView],
    permit: &Permit,
) -> Result<PurgeRequest, ApiError> {
    let count = body.urls.len() + body.tags.len() + body.hosts.len() + body.prefixes.len();
    if count == 0 && !body.all {
        let message = "nothing is named: give urls, tags, hosts, prefixes or all";
        return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "empty", message));
    }
    if count > SELECTORS_MAX {
        let message = format!("{count} selectors are too many for one purge: send at most {SELECTORS_MAX}");
        return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "too-many", message));
    }
    let service = service_of(body, services, permit)?;
    let mut selectors = Vec::with_capacity(count + 1);
    for (number, url) in body.urls.iter().enumerate() {
        let (authority, path) = split(url).map_err(|why| ApiError::field(format!("urls[{number}]"), why))?;
        selectors.push(Selector::Url(normalise_url(authority, &path, &service.key)));
    }
    for (number, tag) in body.tags.iter().enumerate() {
        let field = format!("tags[{number}]");
        bounded(tag).map_err(|why| ApiError::field(&field, why))?;
        if tag.chars().any(char::is_whitespace) {
            return Err(ApiError::field(field, "a tag holds no spaces: give several tags as several items"));
        }
        selectors.push(Selector::Tag(tag.clone()));
    }
    for (number, host) in body.hosts.iter().enumerate() {
        let (name, path) = split(host).map_err(|why| ApiError::field(format!("hosts[{number}]"), why))?;
        if path != "/" || host.contains("://") {
            let message = "a host has neither scheme nor path; for a path use prefixes";
            return Err(ApiError::field(format!("hosts[{number}]"), message));
        }
        selectors.push(Selector::Host(host_name(name)));
    }
    for (number, prefix) in body.prefixes.iter().enumerate() {
        let (authority, path) =
            split(prefix).map_err(|why| ApiError::field(format!("prefixes[{number}]"), why))?;
        selectors.push(Selector::Prefix(normalise_url(authority, &path, &service.key)));
    }
    if body.all {
        selectors.push(Selector::Service);
    }
    let timeout = timeout(body.timeout_ms)?;
    let mode = if body.soft { Mode::Soft } else { Mode::Hard };
    let purge = Purge { service: service.name.clone(), selectors, mode };
    let key = body.idempotency_key.as_deref().map(|key| idempotency(key, &purge)).transpose()?;
    let change = Change::Purge(purge.clone());
    let bytes = change.text_bytes();
    if bytes > PURGE_BYTES_MAX {
        let message = format!(
            "{bytes} bytes of names are too many for one purge: send at most {PURGE_BYTES_MAX}, or several purges"
        );
        return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "too-large", message));
    }
    let Purge { service, selectors, mode } = purge;
    Ok(PurgeRequest { service, selectors, mode, wait: body.wait, timeout, key })
}

fn timeout(ms: Option<u64>) -> Result<Duration, ApiError> {
    let timeout = ms.map_or(TIMEOUT, Duration::from_millis);
    if timeout > TIMEOUT_MAX {
        return Err(ApiError::field("timeout_ms", format!("at most {}", TIMEOUT_MAX.as_millis())));
    }
    Ok(timeout)
}

/// Takes the idempotency key of the header into the body.
pub(super) fn take_key(body: &mut PurgeBody, headers: &HeaderMap) -> Result<(), ApiError> {
    let wrong = |why: &str| ApiError::field(IDEMPOTENCY_KEY.as_str(), why);
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(()) };
    if values.next().is_some() {
        return Err(wrong("the header is there more than once"));
    }
    let key = header_key(value).ok_or_else(|| wrong("write it as text in quotes, such as \"8e03978e\""))?;
    match &body.idempotency_key {
        Some(other) if *other != key => Err(wrong("the body has another idempotency_key: give one of them")),
        _ => {
            body.idempotency_key = Some(key);
            Ok(())
        }
    }
}

/// The draft makes it a string of RFC 8941 section 3.3.3; many clients leave out the quotes, which is understood.
fn header_key(value: &HeaderValue) -> Option<String> {
    let text = value.to_str().ok()?.trim();
    let Some(rest) = text.strip_prefix('"') else {
        return (!text.contains(['"', '\\'])).then(|| text.to_owned());
    };
    let inner = rest.strip_suffix('"')?;
    let mut key = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => key.push(chars.next().filter(|c| matches!(c, '"' | '\\'))?),
            '"' => return None,
            c => key.push(c),
        }
    }
    Some(key)
}

/// What a key is remembered by: a hash of it and of what it came with, whatever the order, so that a key that is used
/// again for another purge never makes that one nothing. What is waited for is no part of it. The length of each text
/// stands before it: no two purges are hashed from the same bytes.
fn idempotency(key: &str, purge: &Purge) -> Result<u128, ApiError> {
    if !(1..=KEY_BYTES_MAX).contains(&key.len()) {
        let message = format!("found {} bytes, but a key has 1 to {KEY_BYTES_MAX}", key.len());
        return Err(ApiError::field("idempotency_key", message));
    }
    let mut selectors: Vec<(u8, &str)> = purge
        .selectors
        .iter()
        .map(|selector| match selector {
            Selector::Url(url) => (0, url.as_str()),
            Selector::Tag(tag) => (1, tag.as_str()),
            Selector::Host(host) => (2, host.as_str()),
            Selector::Prefix(prefix) => (3, prefix.as_str()),
            Selector::Service => (4, ""),
        })
        .collect();
    selectors.sort_unstable();
    let mode = match purge.mode {
        Mode::Hard => 0,
        Mode::Soft => 1,
    };
    let mut hasher = blake3::Hasher::new();
    for (kind, text) in [(mode, key), (0, purge.service.as_str())].into_iter().chain(selectors) {
        hasher.update(&[kind]).update(&(text.len() as u64).to_be_bytes()).update(text.as_bytes());
    }
    let hash = hasher.finalize();
    let half = hash.as_bytes().first_chunk().expect("a hash has 32 bytes");
    // 0 stands for no key.
    Ok(u128::from_be_bytes(*half).max(1))
}

/// How a receipt may be asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReceiptQuery {
    wait: Option<Wait>,
    timeout_ms: Option<u64>,
}

impl ReceiptQuery {
    /// What is waited for, and for how long; without a word, for nothing.
    pub fn wait(&self) -> Result<(Wait, Duration), ApiError> {
        match self.wait {
            Some(wait @ (Wait::Applied | Wait::Fenced)) => Ok((wait, timeout(self.timeout_ms)?)),
            Some(Wait::Accepted | Wait::Committed) => {
                let message = "what has an id is committed: wait for `applied` or `fenced`, or for nothing";
                Err(ApiError::field("wait", message))
            }
            None if self.timeout_ms.is_some() => {
                Err(ApiError::field("timeout_ms", "nothing is waited for: give `wait` too"))
            }
            None => Ok((Wait::Committed, Duration::ZERO)),
        }
    }
}

/// The id of a purge, as a path names it.
pub(super) fn id(text: &str) -> Result<EntryId, ApiError> {
    let is_plain =
        text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'/'));
    let id = text.parse::<EntryId>().map_err(|error| error.to_string());
    id.and_then(|id| {
        let is_one = is_plain && !id.region.as_str().contains('/');
        is_one.then_some(id).ok_or_else(|| format!("{text:?} names no purge: an id is `region/epoch/index`"))
    })
    .map_err(|message| ApiError::new(StatusCode::BAD_REQUEST, "id", message))
}

/// The service that is meant: the named one, else the one of all hosts in the body, else the only one that may be
/// touched, else `default`.
fn service_of<'a>(
    body: &PurgeBody,
    services: &'a [ServiceView],
    permit: &Permit,
) -> Result<&'a ServiceView, ApiError> {
    let covered: Vec<&ServiceView> = services.iter().filter(|service| permit.covers(&service.name)).collect();
    if let Some(name) = &body.service {
        // Before it is looked up: whether there is such a service is told to those it is for.
        permit.demand(name)?;
        return covered.iter().copied().find(|service| service.name == *name).ok_or_else(|| {
            ApiError::field("service", format!("there is no service {name:?}: {}", names(&covered)))
        });
    }
    let named = [("urls", &body.urls), ("prefixes", &body.prefixes), ("hosts", &body.hosts)];
    let named =
        named.into_iter().flat_map(|(list, items)| items.iter().enumerate().map(move |item| (list, item)));
    let mut found: Option<&ServiceView> = None;
    for (list, (number, url)) in named {
        let (authority, _) = split(url).map_err(|why| ApiError::field(format!("{list}[{number}]"), why))?;
        let host = host_name(authority);
        // Among all: a request for this host is served by the best of all, and not by the best of these.
        let Some(service) = service_for_host(&host, services) else {
            return Err(ApiError::field(
                "service",
                format!("no service has the host {host:?}: {}", names(&covered)),
            ));
        };
        if !permit.covers(&service.name) {
            let message = format!("this token is not for the service that has the host {host:?}");
            return Err(ApiError::new(StatusCode::FORBIDDEN, "forbidden", message));
        }
        if found.is_some_and(|other| other.name != service.name) {
            let message = "the URLs belong to several services: send one purge for each";
            return Err(ApiError::field("service", message));
        }
        found = Some(service);
    }
    let only = || if let [only] = covered[..] { Some(only) } else { None };
    found
        .or_else(only)
        .or_else(|| covered.iter().copied().find(|s| s.name == "default"))
        .ok_or_else(|| ApiError::field("service", format!("which service is meant? {}", names(&covered))))
}

/// An exact host wins over `*.parent`, the longest parent over shorter ones, and these over `*`.
fn service_for_host<'a>(host: &str, services: &'a [ServiceView]) -> Option<&'a ServiceView> {
    let rank = |pattern: &str| match pattern.strip_prefix('*') {
        None if pattern == host => Some(usize::MAX),
        None => None,
        Some(suffix) => host.ends_with(suffix).then_some(suffix.len()),
    };
    services
        .iter()
        .filter_map(|service| {
            Some((service.hosts.iter().filter_map(|pattern| rank(pattern)).max()?, service))
        })
        .max_by_key(|(rank, _)| *rank)
        .map(|(_, service)| service)
}

fn names(services: &[&ServiceView]) -> String {
    let names: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
    format!("the services are {}", names.join(", "))
}

/// A URL to warm, or to find in the ring.
pub(super) fn target_url(url: &str) -> Result<TargetUrl, String> {
    let scheme = if url.starts_with("https://") { "https" } else { "http" };
    let (authority, path_and_query) = split(url)?;
    Ok(TargetUrl {
        url: url.to_owned(),
        scheme: scheme.to_owned(),
        authority: authority.to_ascii_lowercase(),
        path_and_query,
    })
}

/// Authority and path with query of `http(s)://host/path?query#fragment` or `host/path?query`.
fn split(url: &str) -> Result<(&str, String), String> {
    bounded(url)?;
    let rest = match url.split_once("://") {
        Some(("http" | "https", rest)) => rest,
        Some((scheme, _)) if scheme.chars().all(|c| c.is_ascii_alphanumeric()) => {
            return Err(format!("the scheme {scheme:?} is not http or https"));
        }
        _ => url,
    };
    let rest = rest.split('#').next().unwrap_or(rest);
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    if authority.is_empty() {
        return Err(format!("{url:?} names no host: write https://host/path or host/path"));
    }
    let whole = format!("http://{authority}{path}").parse::<http::Uri>();
    if whole.is_err() || authority.contains('@') || authority.contains('*') {
        return Err(format!("{url:?} is not a URL: write https://host/path or host/path, percent-encoded"));
    }
    Ok((authority, path))
}

fn host_name(authority: &str) -> String {
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if port.chars().all(|c| c.is_ascii_digit()) => name,
        _ => authority,
    };
    name.trim_end_matches('.').to_ascii_lowercase()
}

fn bounded(text: &str) -> Result<(), String> {
    match text.len() {
        0 => Err("it is empty".to_owned()),
        1..=SELECTOR_BYTES_MAX => Ok(()),
        length => Err(format!("{length} bytes are too long: at most {SELECTOR_BYTES_MAX}")),
    }
}
