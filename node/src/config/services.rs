//! `[[services]]`: hosts → origins, and how the objects of each are keyed, kept, edited and compressed.

use std::{collections::BTreeMap, path::PathBuf};

use http::{HeaderName, HeaderValue, Uri};
use starling_proto::{
    cache::{
        Policy,
        key::{KeyRules, QueryRule},
        policy::{SetCookie, TtlOverride},
    },
    purge::Region,
};

use super::{
    ConfigError, Place, Problem, is_name,
    reader::{Found, Reader, Section},
    sections::name,
};
use crate::{
    edge::{BypassRule, CompressionSettings, Freshness, HeaderEdit, ServiceSettings},
    origin::{HealthSettings, OriginSettings, PoolSettings},
};

const ORIGIN: &str = "`http://host:port` or `https://host:port`, without a path";
const HEADER: &str = "the name of a header field";
const ANY: std::ops::Range<u64> = 0..u64::MAX;
const POSITIVE: std::ops::Range<u64> = 1..u64::MAX;

/// The longest definition of a service that is set at run time, in bytes: every node keeps it.
const DEFINITION_BYTES_MAX: usize = 64 << 10;

/// Whether a definition may name files.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Files {
    /// They are on this machine.
    Allowed,
    /// It goes to all nodes, whose files are others.
    Refused,
}

/// A service that is set at run time, from the table of one `[[services]]` as a document of its own.
///
/// The keys are the same, with two differences: `name` may be left out, and no file may be named. Whether its hosts
/// are free is for the caller to see. `lifetime_max_ms` is the node's `store.object_lifetime_max_ms`.
pub fn parse_service(name: &str, text: &str, lifetime_max_ms: u64) -> Result<ServiceSettings, ConfigError> {
    let source = format!("service {name}");
    let whole = |message: String| ConfigError {
        problems: vec![Problem { place: Place::Named(source.clone()), key: String::new(), message }],
    };
    if !is_name(name) {
        return Err(whole("a name has 1 to 64 letters, digits, `-`, `_` and `.`".to_owned()));
    }
    if text.len() > DEFINITION_BYTES_MAX {
        return Err(whole(format!(
            "its definition has {} bytes, and may have {DEFINITION_BYTES_MAX}",
            text.len()
        )));
    }
    let sources = super::Sources::default();
    let (document, reader) = super::document(&source, text, &sources)?;
    let root = reader.root(document.get_ref());
    let service = service(&root, Some(name), &mut BTreeMap::new(), lifetime_max_ms, Files::Refused);
    let problems = reader.finish();
    if problems.is_empty() { Ok(service) } else { Err(ConfigError { problems }) }
}

/// The services of the file, or the one that `--origin` makes. A node of a mesh may begin without any.
pub(super) fn services<'a>(
    root: &Section<'_, 'a>,
    reader: &Reader<'a>,
    origins: &[String],
    lifetime_max_ms: u64,
    is_of_mesh: bool,
) -> Vec<ServiceSettings> {
    let sections = root.tables("services", |_| false);
    if !origins.is_empty() {
        let flag = Place::Named("--origin".to_owned());
        if !sections.is_empty() {
            let message = "the file has [[services]], and --origin would be the origin of none of them: set \
                           `origins` there, or leave out the services";
            reader.problem(flag, "services", message);
            return Vec::new();
        }
        return vec![catch_all(reader, flag, origins, lifetime_max_ms)];
    }
    if sections.is_empty() && !is_of_mesh {
        let message = "nothing to serve: give --origin URL, or a file with [[services]] by --config FILE";
        root.problem("services", message);
    }
    let mut hosts: BTreeMap<String, String> = BTreeMap::new();
    let mut names: Vec<String> = Vec::new();
    let mut services = Vec::new();
    for section in &sections {
        let service = service(section, None, &mut hosts, lifetime_max_ms, Files::Allowed);
        if names.contains(&service.name) {
            section.problem("name", format!("another service is called {:?} already", service.name));
        }
        names.push(service.name.clone());
        services.push(service);
    }
    services
}

fn catch_all(reader: &Reader<'_>, flag: Place, urls: &[String], lifetime_max_ms: u64) -> ServiceSettings {
    let mut pool = PoolSettings::default();
    for url in urls {
        match origin_url(url) {
            Ok(url) => pool.origins.push(OriginSettings { url, priority: 0, weight: 1 }),
            Err(why) => {
                reader.problem(flag.clone(), "", format!("found {url:?}, but an origin is {ORIGIN}: {why}"))
            }
        }
    }
    pool.host_header = named_host(&pool.origins);
    let mut service = ServiceSettings::catch_all("default", pool);
    service.policy.object_lifetime_max_ms = lifetime_max_ms;
    service
}

/// The host that all origins of `--origin` name, if they name one: a site asked for by another name (that of
/// the node, as in a first try) would mostly not know itself. Origins given by address get the client's host.
fn named_host(origins: &[OriginSettings]) -> Option<String> {
    let mut hosts = origins.iter().map(|origin| origin.url.parse::<http::Uri>().ok()?.authority().cloned());
    let first = hosts.next()??;
    let is_address = first.host().parse::<std::net::Ipv4Addr>().is_ok() || first.host().starts_with('[');
    let is_one =
        !is_address && first.host() != "localhost" && hosts.all(|host| host.as_ref() == Some(&first));
    is_one.then(|| first.to_string())
}

/// `known_as` is the name it goes by already, wherever it is not the section that gives it one.
fn service(
    section: &Section<'_, '_>,
    known_as: Option<&str>,
    taken: &mut BTreeMap<String, String>,
    lifetime_max_ms: u64,
    files: Files,
) -> ServiceSettings {
    let name = match (name(section, "name"), known_as) {
        (Some(found), Some(known_as)) if found != known_as => {
            section.problem("name", format!("found {found:?}, but this is the definition of {known_as:?}"));
            found
        }
        (Some(found), _) => found,
        (None, Some(known_as)) => known_as.to_owned(),
        (None, None) => {
            if !section.is_set("name") {
                section.problem("name", "missing: every [[services]] has a name");
            }
            String::new()
        }
    };
    let mut service = ServiceSettings::catch_all(&name, pool(section, files));
    service.hosts = hosts(section, &name, taken);
    service.key = key(&section.table("key"));
    service.policy = policy(&section.table("policy"), lifetime_max_ms);
    service.bypass = section.tables("bypass", |_| false).iter().filter_map(bypass).collect();
    service.request_headers = section.tables("request_headers", |_| false).iter().filter_map(edit).collect();
    service.response_headers =
        section.tables("response_headers", |_| false).iter().filter_map(edit).collect();
    service.compression = compression(&section.table("compression"));
    let freshness = [("available", Freshness::Available), ("strict", Freshness::Strict)];
    service.freshness = section.choice("freshness", &freshness, Freshness::Available);
    service.shield_region = self::name(section, "shield_region").map(|region| Region::new(&region));
    service.debug = section.flag("debug", false);
    section.close();
    service
}

fn hosts(section: &Section<'_, '_>, name: &str, taken: &mut BTreeMap<String, String>) -> Vec<String> {
    let Some(found) = section.strings("hosts") else {
        section.problem(
            "hosts",
            "missing: a list such as [\"example.org\", \"*.example.org\"], or \"*\" for all others",
        );
        return Vec::new();
    };
    if found.value.is_empty() {
        section.wrong(&found, "the list is empty, so no request would come here");
    }
    let mut hosts = Vec::new();
    for host in found.value {
        let lower = host.value.to_ascii_lowercase();
        if !is_host_pattern(&lower) {
            let message = format!(
                "found {:?}, but a host is `example.org`, `*.example.org` or `*`, without scheme or port",
                host.value
            );
            section.wrong(&host, message);
            continue;
        }
        match taken.get(&lower) {
            Some(other) => {
                section.wrong(&host, format!("{lower:?} belongs to the service {other:?} already"))
            }
            None => {
                taken.insert(lower.clone(), name.to_owned());
                hosts.push(lower);
            }
        }
    }
    hosts
}

fn is_host_pattern(host: &str) -> bool {
    let rest = host.strip_prefix("*.").unwrap_or(host);
    let label = |label: &str| {
        !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    let ipv6 = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .is_some_and(|h| h.parse::<std::net::Ipv6Addr>().is_ok());
    host == "*" || ipv6 || (rest.len() <= 253 && rest.split('.').all(label))
}

fn pool(section: &Section<'_, '_>, files: Files) -> PoolSettings {
    let mut origins = Vec::new();
    let mut plain = Vec::new();
    let tables = section.tables("origins", |found| {
        plain.push(found);
        true
    });
    let wrong = |found: &Found<String>, why: &str| {
        section.wrong(found, format!("found {:?}, but an origin is {ORIGIN}: {why}", found.value));
    };
    for found in plain {
        match origin_url(&found.value) {
            Ok(url) => origins.push(OriginSettings { url, priority: 0, weight: 1 }),
            Err(why) => wrong(&found, why),
        }
    }
    let tabled = !tables.is_empty();
    for table in tables {
        match table.string("url").map(|found| (origin_url(&found.value), found)) {
            Some((Ok(url), _)) => origins.push(OriginSettings {
                url,
                priority: table.number("priority", 0..1001, 0),
                weight: table.number("weight", 1..1001, 1),
            }),
            Some((Err(why), found)) => {
                table.is_set("priority");
                table.is_set("weight");
                wrong(&found, why);
            }
            None => table.problem("url", format!("missing: {ORIGIN}")),
        }
        table.close();
    }
    if origins.is_empty() && !tabled && !section.is_set("origins") {
        section.problem("origins", "missing: a list such as [\"https://origin.example.org\"]");
    } else if origins.is_empty() {
        section.problem("origins", "no usable origin is left");
    }
    let pool = pool_limits(&section.table("origin"), origins, files);
    PoolSettings { health: section.table_if_present("health").map(|section| health(&section)), ..pool }
}

/// An origin as the pool wants it: scheme and authority alone.
fn origin_url(url: &str) -> Result<String, &'static str> {
    let uri: Uri = url.parse().map_err(|_| "this is not a URL")?;
    let scheme = uri.scheme_str().ok_or("the scheme is missing")?;
    if !matches!(scheme, "http" | "https") {
        return Err("the scheme is another one");
    }
    let authority = uri.authority().ok_or("the host is missing")?;
    if authority.as_str().contains('@') {
        return Err("user names do not belong into it");
    }
    if authority.port().is_some_and(|port| port.as_u16() == 0) || authority.as_str().ends_with(':') {
        return Err("a port is a number from 1 to 65535");
    }
    if authority.host().is_empty() {
        return Err("the host is missing");
    }
    if uri.path_and_query().is_some_and(|path| path.as_str() != "/") {
        return Err("it has a path");
    }
    Ok(format!("{scheme}://{authority}"))
}

fn pool_limits(section: &Section<'_, '_>, origins: Vec<OriginSettings>, files: Files) -> PoolSettings {
    let default = PoolSettings::default();
    let settings = PoolSettings {
        origins,
        connect_timeout: section.duration("connect_timeout_ms", default.connect_timeout),
        head_timeout: section.duration("head_timeout_ms", default.head_timeout),
        body_idle_timeout: section.duration("body_idle_timeout_ms", default.body_idle_timeout),
        keep_alive: section.duration("keep_alive_ms", default.keep_alive),
        concurrency_max: section.number("concurrency_max", POSITIVE, default.concurrency_max),
        queue_max: section.number("queue_max", ANY, default.queue_max),
        queue_timeout: section.duration("queue_timeout_ms", default.queue_timeout),
        retry_percent: section.percent("retry_percent", default.retry_percent),
        breaker_failures: section.number("breaker_failures", 1..1_000_001, default.breaker_failures),
        breaker_open: section.duration("breaker_open_ms", default.breaker_open),
        health: None,
        ca_file: section.string("ca_file").map(|found| {
            if files == Files::Refused {
                let message = "a service of the whole mesh names no files: other nodes do not have them; a service \
                               with a `ca_file` is set in the file of each node";
                section.wrong(&found, message);
            } else if let Err(error) = std::fs::File::open(&found.value) {
                section.wrong(&found, format!("{:?} cannot be read: {error}", found.value));
            }
            PathBuf::from(found.value)
        }),
        tls_verify: section.flag("tls_verify", default.tls_verify),
        host_header: section
            .parsed::<http::uri::Authority>("host_header", "a host, such as \"origin.example.org\"")
            .map(|f| f.value.to_string()),
        head_bytes_max: section.bytes("head_bytes_max", 1024..(1 << 24), default.head_bytes_max),
    };
    section.close();
    settings
}

fn health(section: &Section<'_, '_>) -> HealthSettings {
    let default = HealthSettings::default();
    let path = section.string("path");
    if let Some(found) = path.as_ref().filter(|found| !found.value.starts_with('/')) {
        section.wrong(found, format!("found {:?}, but a path begins with `/`", found.value));
    }
    let settings = HealthSettings {
        path: path.map_or(default.path, |found| found.value),
        interval: section.duration("interval_ms", default.interval),
        timeout: section.duration("timeout_ms", default.timeout),
        status_range: (
            section.number("status_min", 100..600, default.status_range.0),
            section.number("status_max", 100..600, default.status_range.1),
        ),
        healthy_after: section.number("healthy_after", 1..1001, default.healthy_after),
        unhealthy_after: section.number("unhealthy_after", 1..1001, default.unhealthy_after),
    };
    if settings.status_range.0 > settings.status_range.1 {
        section.problem("status_min", "is larger than `status_max`, so that no status is healthy");
    }
    section.close();
    settings
}

fn key(section: &Section<'_, '_>) -> KeyRules {
    let query = [("all", false), ("none", true)];
    let none = section.choice("query", &query, false);
    let allow = section.strings("query_allow");
    let deny = section.strings("query_deny");
    let query = match (&allow, &deny) {
        (Some(_), Some(deny)) => {
            section.wrong(deny, "`query_allow` is set too: name what counts, or what does not, not both");
            QueryRule::All
        }
        (Some(list), None) | (None, Some(list)) if none => {
            section.wrong(list, "`query = \"none\"` is set too, which leaves nothing to choose from");
            QueryRule::None
        }
        (Some(list), None) => QueryRule::Allow(list.value.iter().map(|f| f.value.clone()).collect()),
        (None, Some(list)) => QueryRule::Deny(list.value.iter().map(|f| f.value.clone()).collect()),
        (None, None) if none => QueryRule::None,
        (None, None) => QueryRule::All,
    };
    let headers = section.list("headers", HEADER, |text| text.parse::<HeaderName>().ok());
    let rules = KeyRules {
        query,
        sort_query: section.flag("sort_query", false),
        headers: headers.map_or_else(Vec::new, |found| found.value.into_iter().map(|f| f.value).collect()),
        cookies: section
            .strings("cookies")
            .map_or_else(Vec::new, |found| found.value.into_iter().map(|f| f.value).collect()),
    };
    section.close();
    rules
}

fn policy(section: &Section<'_, '_>, lifetime_max_ms: u64) -> Policy {
    let default = Policy::default();
    let set_cookie = [("if-explicit", SetCookie::StoreIfExplicit), ("never", SetCookie::Never)];
    let policy = Policy {
        default_ttl_ms: section.millis("default_ttl_ms", default.default_ttl_ms),
        ttl_override: section.tables("ttl_override", |_| false).iter().filter_map(ttl_override).collect(),
        heuristic_percent: section.percent("heuristic_percent", default.heuristic_percent),
        heuristic_max_ms: section.millis("heuristic_max_ms", default.heuristic_max_ms),
        stale_while_revalidate_ms: section
            .millis("stale_while_revalidate_ms", default.stale_while_revalidate_ms),
        stale_if_error_ms: section.millis("stale_if_error_ms", default.stale_if_error_ms),
        stale_when_disconnected_ms: section
            .millis("stale_when_disconnected_ms", default.stale_when_disconnected_ms),
        object_lifetime_max_ms: section.millis("object_lifetime_max_ms", lifetime_max_ms),
        honour_request_directives: section
            .flag("honour_request_directives", default.honour_request_directives),
        read_surrogate_control: section.flag("read_surrogate_control", default.read_surrogate_control),
        store_set_cookie: section.choice("store_set_cookie", &set_cookie, default.store_set_cookie),
    };
    if policy.object_lifetime_max_ms > lifetime_max_ms {
        let message = format!(
            "is longer than `store.object_lifetime_max_ms` ({lifetime_max_ms}), after which the node forgets purges"
        );
        section.problem("object_lifetime_max_ms", message);
    }
    section.close();
    policy
}

fn ttl_override(section: &Section<'_, '_>) -> Option<TtlOverride> {
    let statuses = section.list("statuses", "a status from 200 to 599", |text| {
        text.parse().ok().filter(|status| (200..600).contains(status))
    });
    let line = TtlOverride {
        path_prefix: path_prefix(section).unwrap_or_else(|| "/".to_owned()),
        statuses: statuses.map_or_else(Vec::new, |found| found.value.into_iter().map(|f| f.value).collect()),
        ttl_ms: section.millis("ttl_ms", 0),
    };
    let set = section.is_set("ttl_ms");
    if !set {
        section.problem("ttl_ms", "missing: how long such responses are kept, such as \"10m\"");
    }
    section.close();
    set.then_some(line)
}

fn path_prefix(section: &Section<'_, '_>) -> Option<String> {
    let found = section.string("path_prefix")?;
    if !found.value.starts_with('/') {
        section.wrong(&found, format!("found {:?}, but a path begins with `/`", found.value));
    }
    Some(found.value)
}

fn bypass(section: &Section<'_, '_>) -> Option<BypassRule> {
    let header = section.parsed::<HeaderName>("header", HEADER);
    let value = section.parsed::<HeaderValue>("header_value", "the value of a header field");
    if let Some(value) = value.as_ref().filter(|_| header.is_none()) {
        section.wrong(value, "`header` is missing: whose value is it?");
    }
    let rule = BypassRule {
        path_prefix: path_prefix(section),
        header: header.map(|found| (found.value, value.map(|found| found.value))),
        cookie: section.string("cookie").map(|found| found.value),
    };
    section.close();
    if rule.path_prefix.is_none() && rule.header.is_none() && rule.cookie.is_none() {
        section.problem(
            "path_prefix",
            "the rule is empty and would bypass everything: set `path_prefix`, `header` or `cookie`",
        );
        return None;
    }
    Some(rule)
}

/// Fields that belong to one connection or to the framing, which an edit could only break.
const FRAMING: [&str; 7] =
    ["connection", "content-length", "host", "keep-alive", "te", "transfer-encoding", "upgrade"];

fn edit(section: &Section<'_, '_>) -> Option<HeaderEdit> {
    let named = |key| {
        let found = section.parsed::<HeaderName>(key, HEADER)?;
        if FRAMING.contains(&found.value.as_str()) {
            section.wrong(&found, format!("`{}` is the node's own business and is not edited", found.value));
            return None;
        }
        Some(found.value)
    };
    let (set, add, remove) = (named("set"), named("add"), named("remove"));
    let value = section.parsed::<HeaderValue>("value", "the value of a header field");
    section.close();
    let missing = |value: Option<Found<HeaderValue>>| {
        if value.is_none() && !section.is_set("value") {
            section.problem("value", "missing: what the field says");
        }
        value.map(|found| found.value)
    };
    match (set, add, remove) {
        (Some(name), None, None) => missing(value).map(|value| HeaderEdit::Set(name, value)),
        (None, Some(name), None) => missing(value).map(|value| HeaderEdit::Add(name, value)),
        (None, None, Some(name)) => {
            if let Some(value) = value {
                section.wrong(&value, "a field that is removed has no value");
            }
            Some(HeaderEdit::Remove(name))
        }
        (None, None, None) if ["set", "add", "remove"].into_iter().any(|key| section.is_set(key)) => None,
        _ => {
            section.problem(
                "set",
                "an edit is exactly one of `set`, `add` and `remove`, with the name of a field",
            );
            None
        }
    }
}

fn compression(section: &Section<'_, '_>) -> CompressionSettings {
    let default = CompressionSettings::default();
    let types = section.list("types", "a media type such as \"text/*\"", |text| {
        text.split_once('/')
            .filter(|(a, b)| !a.is_empty() && !b.is_empty())
            .map(|_| text.to_ascii_lowercase())
    });
    let settings = CompressionSettings {
        enabled: section.flag("enabled", default.enabled),
        bytes_min: section.bytes("bytes_min", ANY, default.bytes_min),
        bytes_max: section.bytes("bytes_max", ANY, default.bytes_max),
        types: types.map_or(default.types, |found| found.value.into_iter().map(|f| f.value).collect()),
    };
    section.close();
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_given_by_name_is_asked_for_that_name() {
        let host = |urls: &[&str]| {
            let origin = |url: &&str| OriginSettings { url: (*url).to_owned(), priority: 0, weight: 1 };
            named_host(&urls.iter().map(origin).collect::<Vec<_>>())
        };
        assert_eq!(host(&["https://www.example.org"]).as_deref(), Some("www.example.org"));
        assert_eq!(
            host(&["http://a.example:8080", "http://a.example:8080"]).as_deref(),
            Some("a.example:8080")
        );
        assert_eq!(host(&["http://a.example", "http://b.example"]), None);
        assert_eq!(host(&["http://127.0.0.1:8080"]), None);
        assert_eq!(host(&["http://[::1]:8080"]), None);
        assert_eq!(host(&["http://localhost:8080"]), None);
        assert_eq!(host(&[]), None);
    }
}
