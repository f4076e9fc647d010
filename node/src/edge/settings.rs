//! What an operator may set about services: which hosts, which origins, how their objects are cached.

use http::{HeaderMap, HeaderName, HeaderValue};
use starling_proto::{
    cache::{Policy, key::KeyRules},
    purge::Region,
};

use crate::origin::PoolSettings;

/// One customer configuration: hosts → origins, rules.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceSettings {
    /// Its name, unique on the node.
    pub name: String,
    /// Hosts it answers for, lower case: `example.org`, `*.example.org`, or `*` for every other host.
    pub hosts: Vec<String>,
    /// Where misses go.
    pub pool: PoolSettings,
    /// How the cache key is made.
    pub key: KeyRules,
    /// How long things are kept.
    pub policy: Policy,
    /// Requests that go to the origin and back, uncached.
    pub bypass: Vec<BypassRule>,
    /// Edits to the request on its way to the origin.
    pub request_headers: Vec<HeaderEdit>,
    /// Edits to the response on its way to the client (stored responses stay as the origin sent them).
    pub response_headers: Vec<HeaderEdit>,
    /// Compression at the edge.
    pub compression: CompressionSettings,
    /// Whether a hit needs a valid fence.
    pub freshness: Freshness,
    /// The region whose shields speak to the origin for all regions; none: each region's own do.
    pub shield_region: Option<Region>,
    /// Whether `Starling-Debug: 1` is answered to anybody (else only from loopback).
    pub debug: bool,
}

/// Whether a node that cannot prove that it knows every purge may still serve hits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Freshness {
    /// It may.
    #[default]
    Available,
    /// It revalidates.
    Strict,
}

/// A request that matches all that is set goes past the cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BypassRule {
    /// The path starts with this.
    pub path_prefix: Option<String>,
    /// A header of this name is present, with this value if one is given.
    pub header: Option<(HeaderName, Option<HeaderValue>)>,
    /// A cookie of this name is present; a trailing `*` matches any rest.
    pub cookie: Option<String>,
}

/// One edit of a head, done in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderEdit {
    /// Replace all fields of this name by one.
    Set(HeaderName, HeaderValue),
    /// Add a field.
    Add(HeaderName, HeaderValue),
    /// Remove all fields of this name.
    Remove(HeaderName),
}

/// What is compressed at the edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompressionSettings {
    /// Whether anything is.
    pub enabled: bool,
    /// Bodies below this are left alone, in bytes.
    pub bytes_min: u64,
    /// Bodies above this are left alone, in bytes.
    pub bytes_max: u64,
    /// Media types; `text/*` matches all subtypes.
    pub types: Vec<String>,
}

impl Default for CompressionSettings {
    fn default() -> Self {
        let types = [
            "text/*",
            "application/json",
            "application/ld+json",
            "application/javascript",
            "application/manifest+json",
            "application/xml",
            "application/rss+xml",
            "application/atom+xml",
            "application/xhtml+xml",
            "application/wasm",
            "image/svg+xml",
            "font/ttf",
            "font/otf",
        ];
        Self {
            enabled: true,
            bytes_min: 512,
            bytes_max: 10 << 20,
            types: types.into_iter().map(str::to_owned).collect(),
        }
    }
}

impl ServiceSettings {
    /// A service called `name` that answers for every host.
    pub fn catch_all(name: &str, pool: PoolSettings) -> Self {
        Self {
            name: name.to_owned(),
            hosts: vec!["*".to_owned()],
            pool,
            key: KeyRules::default(),
            policy: Policy::default(),
            bypass: Vec::new(),
            request_headers: Vec::new(),
            response_headers: Vec::new(),
            compression: CompressionSettings::default(),
            freshness: Freshness::default(),
            shield_region: None,
            debug: false,
        }
    }
}

impl BypassRule {
    /// Whether all that is set holds for a request; a rule in which nothing is set matches none.
    pub fn matches(&self, path_and_query: &str, headers: &HeaderMap) -> bool {
        let path = self.path_prefix.as_ref().map(|prefix| path_and_query.starts_with(prefix.as_str()));
        let header = self.header.as_ref().map(|(name, wanted)| match wanted {
            Some(wanted) => headers.get_all(name).iter().any(|value| value == wanted),
            None => headers.contains_key(name),
        });
        let cookie = self.cookie.as_ref().map(|pattern| has_cookie(headers, pattern));
        let set = [path, header, cookie];
        set.iter().any(Option::is_some) && set.iter().flatten().all(|holds| *holds)
    }
}

fn has_cookie(headers: &HeaderMap, pattern: &str) -> bool {
    let names = headers
        .get_all(http::header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|crumb| crumb.split('=').next())
        .map(str::trim);
    match pattern.strip_suffix('*') {
        Some(prefix) => names.into_iter().any(|name| name.starts_with(prefix)),
        None => names.into_iter().any(|name| name == pattern),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bypass_rule_matches_when_all_it_sets_holds() {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::COOKIE, HeaderValue::from_static("theme=dark; wordpress_logged_in_7=x"));
        let rule = BypassRule {
            path_prefix: Some("/blog/".to_owned()),
            cookie: Some("wordpress_logged_in_*".to_owned()),
            ..BypassRule::default()
        };
        assert!(rule.matches("/blog/1", &headers));
        assert!(!rule.matches("/shop/1", &headers));
        assert!(!rule.matches("/blog/1", &HeaderMap::new()));
        assert!(!BypassRule::default().matches("/", &headers), "an empty rule matches nothing");
    }
}
