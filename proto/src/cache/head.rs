//! The head of a stored response: what is kept beside the body, in memory and on disk.
//!
//! Everything a hit needs is worked out when the response is stored, so that [`super::reuse::decide`] parses
//! nothing of the response. The fields themselves stay as the origin sent them, because a later 304 is merged
//! into them and the whole is judged anew.

use http::{HeaderMap, HeaderValue, header::ETAG};
use serde::{Deserialize, Serialize};

use super::fields;
use crate::UnixMs;

/// A stored response without its body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredHead {
    /// The status code; 200 for an object that is put together from 206 responses.
    pub status: u16,
    /// The end-to-end fields as the origin sent them, without `Age`, which is computed on every use.
    #[serde(with = "header_map")]
    pub headers: HeaderMap,
    /// When the origin was asked.
    pub request_ms: UnixMs,
    /// When its answer came; for a freshened response, when the 304 came.
    pub response_ms: UnixMs,
    /// How old the response was when it came: `corrected_initial_age` of RFC 9111 section 4.2.3.
    pub initial_age_ms: u64,
    /// How long it is fresh, counted from age 0.
    pub lifetime: Lifetime,
    /// What else the origin said about using it again.
    pub rules: ReuseRules,
    /// The field names of `Vary` in lower case, each with the normalised value of the request that brought
    /// this response; `None` where that request had no such field.
    pub vary: Vec<(String, Option<String>)>,
    /// The names under which it can be purged.
    pub tags: Vec<String>,
}

/// How long a response is fresh, and who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifetime {
    /// From its generation at the origin, in milliseconds.
    pub ms: u64,
    /// Who says so.
    pub source: LifetimeSource,
}

/// Who says how long a response is fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LifetimeSource {
    /// The operator's `ttl_override`.
    Override,
    /// `CDN-Cache-Control`.
    Targeted,
    /// `Surrogate-Control`.
    Surrogate,
    /// `Cache-Control: s-maxage`.
    SharedMaxAge,
    /// `Cache-Control: max-age`.
    MaxAge,
    /// `Expires`.
    Expires,
    /// A fraction of the time since `Last-Modified`.
    Heuristic,
    /// The operator's `default_ttl_ms`.
    Default,
    /// Nobody: it is stale at once.
    Unsaid,
}

impl LifetimeSource {
    /// Whether the origin said the lifetime in so many words.
    pub fn is_of_origin(self) -> bool {
        !matches!(self, Self::Override | Self::Heuristic | Self::Default | Self::Unsaid)
    }
}

/// What the origin said about using a stored response again, beyond its lifetime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReuseRules {
    /// `no-cache` for the whole response: never used before the origin has been asked.
    pub no_cache: bool,
    /// Whether it may be used when stale.
    pub stale: StaleRule,
    /// `stale-while-revalidate`, when the origin said one.
    pub stale_while_revalidate_ms: Option<u64>,
    /// `stale-if-error`, when the origin said one.
    pub stale_if_error_ms: Option<u64>,
    /// RFC 8246: it does not change while it is fresh, so a client's reload need not reach the origin.
    pub immutable: bool,
}

/// Whether the origin forbids stale use (RFC 9111 section 4.2.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StaleRule {
    /// It does not.
    #[default]
    Allowed,
    /// `s-maxage`, which implies `proxy-revalidate`: forbidden but for the windows that the origin itself
    /// grants beside it by `stale-while-revalidate` and `stale-if-error`.
    OnlyAsGranted,
    /// `proxy-revalidate`.
    ProxyRevalidate,
    /// `must-revalidate`.
    MustRevalidate,
}

impl StoredHead {
    /// Time since the origin generated or last confirmed it (`current_age`, RFC 9111 section 4.2.3).
    pub fn age_ms(&self, now: UnixMs) -> u64 {
        self.initial_age_ms.saturating_add(self.resident_ms(now))
    }

    /// Time since it came into a cache of ours; 0 when the clock has been set back since.
    pub fn resident_ms(&self, now: UnixMs) -> u64 {
        now.saturating_sub(self.response_ms)
    }

    /// How long it stays fresh from `now`; 0 or less when it is stale.
    pub fn ttl_ms(&self, now: UnixMs) -> i64 {
        let age_ms = i64::try_from(self.age_ms(now)).unwrap_or(i64::MAX);
        i64::try_from(self.lifetime.ms).unwrap_or(i64::MAX).saturating_sub(age_ms)
    }

    /// How long it has been stale; 0 while it is fresh.
    pub fn staleness_ms(&self, now: UnixMs) -> u64 {
        self.age_ms(now).saturating_sub(self.lifetime.ms)
    }

    /// Whether its lifetime exceeds its age (RFC 9111 section 4.2).
    pub fn is_fresh(&self, now: UnixMs) -> bool {
        self.lifetime.ms > self.age_ms(now)
    }

    /// The first moment at which it is stale.
    pub fn expires_ms(&self) -> UnixMs {
        self.response_ms.saturating_add(self.lifetime.ms).saturating_sub(self.initial_age_ms)
    }

    /// Its entity tag, when that is well-formed and strong (RFC 9110 section 8.8.3).
    pub fn strong_etag(&self) -> Option<&HeaderValue> {
        strong_etag(&self.headers)
    }

    /// An estimate of the memory it holds, itself included.
    pub fn heap_bytes(&self) -> usize {
        // What a `HeaderMap` spends per line beside name and value: its bucket and its share of the index.
        const LINE_BYTES: usize = 112;
        let text = |text: &String| text.capacity() + size_of::<String>();
        let lines: usize =
            self.headers.iter().map(|(name, value)| LINE_BYTES + name.as_str().len() + value.len()).sum();
        let vary: usize =
            self.vary.iter().map(|(name, value)| text(name) + value.as_ref().map_or(0, text)).sum();
        size_of::<Self>() + lines + vary + self.tags.iter().map(text).sum::<usize>()
    }
}

/// The entity tag of these fields, when there is one that is well-formed and strong.
pub fn strong_etag(headers: &HeaderMap) -> Option<&HeaderValue> {
    fields::sole(headers, &ETAG)
        .filter(|etag| etag.as_bytes().first() == Some(&b'"') && is_quoted(etag.as_bytes()))
}

/// Whether the text is `"` opaque `"`.
pub(super) fn is_quoted(text: &[u8]) -> bool {
    text.len() >= 2 && text.ends_with(b"\"") && !text[1..text.len() - 1].contains(&b'"')
}

/// A `HeaderMap` as a sequence of lines, in order, duplicates kept.
mod header_map {
    use http::{HeaderMap, HeaderName, HeaderValue};
    use serde::{Deserialize, Deserializer, Serializer, de::Error, ser::SerializeSeq};

    pub fn serialize<S: Serializer>(headers: &HeaderMap, serializer: S) -> Result<S::Ok, S::Error> {
        let mut lines = serializer.serialize_seq(Some(headers.len()))?;
        for (name, value) in headers {
            lines.serialize_element(&(name.as_str(), value.as_bytes()))?;
        }
        lines.end()
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HeaderMap, D::Error> {
        let lines = Vec::<(String, Vec<u8>)>::deserialize(deserializer)?;
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(D::Error::custom)?;
            let value = HeaderValue::from_bytes(&value).map_err(D::Error::custom)?;
            headers.try_append(name, value).map_err(D::Error::custom)?;
        }
        Ok(headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::testing::{T0, stored};

    #[test]
    fn it_survives_serialisation_with_order_and_duplicates() {
        let head = stored(&[
            ("cache-control", "max-age=60"),
            ("b", "1"),
            ("a", "2"),
            ("b", "3"),
            ("x", "caf\u{e9}"),
            ("vary", "foo, bar"),
            ("surrogate-key", "t1 t2"),
        ])
        .expect("it may be stored");
        let bytes = bincode::serde::encode_to_vec(&head, bincode::config::standard()).expect("it encodes");
        let (back, read): (StoredHead, usize) =
            bincode::serde::decode_from_slice(&bytes, bincode::config::standard()).expect("it decodes");
        assert_eq!((&back, read), (&head, bytes.len()));
        assert_eq!(back.headers.get_all("b").iter().collect::<Vec<_>>(), ["1", "3"]);
    }

    #[test]
    fn expiry_is_where_the_ttl_crosses_zero() {
        let head = stored(&[("cache-control", "max-age=60"), ("age", "20")]).expect("it may be stored");
        assert_eq!(head.expires_ms(), T0 + 40_000);
        assert_eq!((head.ttl_ms(T0), head.ttl_ms(T0 + 41_000)), (40_000, -1_000));
        assert!(head.is_fresh(T0 + 39_999) && !head.is_fresh(T0 + 40_000));
        assert_eq!(head.age_ms(T0 - 5_000), 20_000, "a clock that was set back makes nothing younger");
    }

    #[test]
    fn more_to_keep_is_more_to_pay_for() {
        let small = stored(&[("cache-control", "max-age=60")]).expect("it may be stored");
        let big =
            stored(&[("cache-control", "max-age=60"), ("x", &"y".repeat(5000))]).expect("it may be stored");
        assert!(big.heap_bytes() >= small.heap_bytes() + 5000);
    }
}
