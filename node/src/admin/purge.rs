//! From the body of a purge to the selectors it means: URLs are brought into the form of cache keys, so that
//! a purge names exactly what a request with the same URL would be answered from.

use std::time::Duration;

use http::StatusCode;
use starling_proto::{
    cache::key::normalise_url,
    purge::{Mode, Selector},
};

use super::{ApiError, PurgeBody, PurgeRequest, ServiceView, TargetUrl};

/// Selectors in one purge; more are sent as several purges.
const SELECTORS_MAX: usize = 1000;
/// The longest URL, tag or prefix, in bytes.
const SELECTOR_BYTES_MAX: usize = 8 << 10;
const TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// Checks a purge against the services there are.
pub(super) fn request(body: &PurgeBody, services: &[ServiceView]) -> Result<PurgeRequest, ApiError> {
    let count = body.urls.len() + body.tags.len() + body.hosts.len() + body.prefixes.len();
    if count == 0 && !body.all {
        let message = "nothing is named: give urls, tags, hosts, prefixes or all";
        return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "empty", message));
    }
    if count > SELECTORS_MAX {
        let message = format!("{count} selectors are too many for one purge: send at most {SELECTORS_MAX}");
        return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "too-many", message));
    }
    let service = service_of(body, services)?;
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
    let timeout = body.timeout_ms.map_or(TIMEOUT, Duration::from_millis);
    if timeout > TIMEOUT_MAX {
        return Err(ApiError::field("timeout_ms", format!("at most {}", TIMEOUT_MAX.as_millis())));
    }
    let mode = if body.soft { Mode::Soft } else { Mode::Hard };
    Ok(PurgeRequest { service: service.name.clone(), selectors, mode, wait: body.wait, timeout })
}

/// The service that is meant: the named one, else the one of all hosts in the body, else the only one, else
/// `default`.
fn service_of<'a>(body: &PurgeBody, services: &'a [ServiceView]) -> Result<&'a ServiceView, ApiError> {
    if let Some(name) = &body.service {
        return services.iter().find(|service| service.name == *name).ok_or_else(|| {
            ApiError::field("service", format!("there is no service {name:?}: {}", names(services)))
        });
    }
    let named = [("urls", &body.urls), ("prefixes", &body.prefixes), ("hosts", &body.hosts)];
    let named =
        named.into_iter().flat_map(|(list, items)| items.iter().enumerate().map(move |item| (list, item)));
    let mut found: Option<&ServiceView> = None;
    for (list, (number, url)) in named {
        let (authority, _) = split(url).map_err(|why| ApiError::field(format!("{list}[{number}]"), why))?;
        let host = host_name(authority);
        let Some(service) = service_for_host(&host, services) else {
            return Err(ApiError::field(
                "service",
                format!("no service has the host {host:?}: {}", names(services)),
            ));
        };
        if found.is_some_and(|other| other.name != service.name) {
            let message = "the URLs belong to several services: send one purge for each";
            return Err(ApiError::field("service", message));
        }
        found = Some(service);
    }
    let only = || if let [only] = services { Some(only) } else { None };
    found
        .or_else(only)
        .or_else(|| services.iter().find(|s| s.name == "default"))
        .ok_or_else(|| ApiError::field("service", format!("which service is meant? {}", names(services))))
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

fn names(services: &[ServiceView]) -> String {
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
