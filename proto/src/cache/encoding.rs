//! Which content coding a client gets, and what a response's head becomes when the edge compresses it
//! (RFC 9110 sections 8.4 and 12.5.3). The compressing itself is not done here.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
        CONTENT_TYPE, ETAG, VARY,
    },
};
use serde::{Deserialize, Serialize};

/// Fields that are digests of the very bytes that compression changes (RFC 9530 and what it replaced).
const DIGESTS: [&str; 4] = ["content-md5", "digest", "content-digest", "repr-digest"];

/// A content coding the edge can produce.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Coding {
    /// As the origin sent it.
    #[default]
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstd,
}

impl Coding {
    /// Its registered name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// Which is taken when the client likes several equally: the greatest.
    fn preference(self) -> u8 {
        match self {
            Self::Identity => 0,
            Self::Gzip => 1,
            Self::Brotli => 2,
            Self::Zstd => 3,
        }
    }
}

/// Which responses are worth compressing.
#[derive(Clone, Copy, Debug)]
pub struct CompressionRules<'a> {
    /// Bodies below this are left alone.
    pub bytes_min: u64,
    /// Bodies above this are left alone.
    pub bytes_max: u64,
    /// Media types, lower case; `text/*` matches all subtypes.
    pub types: &'a [String],
}

/// The coding for this client, out of those offered. `Identity` is always offered, and is the answer when
/// the client refuses everything: RFC 9110 section 12.5.3 lets it be sent all the same.
pub fn negotiate(request_headers: &HeaderMap, offered: &[Coding]) -> Coding {
    let accepted = Accepted::parse(request_headers);
    let best = offered
        .iter()
        .copied()
        .filter(|coding| *coding != Coding::Identity)
        .map(|coding| (accepted.weight(coding).unwrap_or(0), coding))
        .filter(|(weight, _)| *weight > 0)
        .max_by_key(|(weight, coding)| (*weight, coding.preference()));
    match (best, accepted.weight(Coding::Identity)) {
        (Some((weight, _)), Some(identity)) if identity > weight => Coding::Identity,
        (Some((_, coding)), _) => coding,
        (None, _) => Coding::Identity,
    }
}

/// Whether a response may and should be compressed here. `body_bytes` is its length, when known.
pub fn compressible(
    status: u16,
    headers: &HeaderMap,
    body_bytes: Option<u64>,
    rules: &CompressionRules<'_>,
) -> bool {
    // No content, or a part whose offsets are those of the identity form.
    if status < 200 || matches!(status, 204 | 205 | 206 | 304) || headers.contains_key(CONTENT_RANGE) {
        return false;
    }
    if body_bytes.is_some_and(|bytes| bytes < rules.bytes_min || bytes > rules.bytes_max) {
        return false;
    }
    is_identity(headers) && !is_no_transform(headers) && is_listed_type(headers, rules.types)
}

/// Whether this client can be given a stored response as its origin encoded it. A response that came encoded
/// without `Vary` is still not given to a client that did not say it could read it.
pub fn is_acceptable(stored: &HeaderMap, request_headers: &HeaderMap) -> bool {
    let coding = match stored.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok()).map(str::trim) {
        Some(name) if name.eq_ignore_ascii_case("gzip") => Coding::Gzip,
        Some(name) if name.eq_ignore_ascii_case("br") => Coding::Brotli,
        Some(name) if name.eq_ignore_ascii_case("zstd") => Coding::Zstd,
        // Absent, or not one that clients negotiate with us.
        _ => return true,
    };
    Accepted::parse(request_headers).weight(coding).is_some_and(|weight| weight > 0)
}

/// The head of a response once its body is in `coding`. For `Identity` only `Vary` is added.
pub fn encoded_headers(headers: &HeaderMap, coding: Coding) -> HeaderMap {
    let mut encoded = headers.clone();
    add_vary_accept_encoding(&mut encoded);
    if coding == Coding::Identity {
        return encoded;
    }
    encoded.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.as_str()));
    encoded.remove(CONTENT_LENGTH);
    encoded.remove(ACCEPT_RANGES);
    for digest in DIGESTS {
        encoded.remove(HeaderName::from_static(digest));
    }
    if let Some(etag) = encoded.get(ETAG)
        && !etag.as_bytes().starts_with(b"W/")
    {
        // RFC 9110 section 8.8.3.3: bytes that differ need a strong tag that differs; a weak one may stay.
        match HeaderValue::from_bytes(&[b"W/", etag.as_bytes()].concat()) {
            Ok(weak) => encoded.insert(ETAG, weak),
            Err(_) => encoded.remove(ETAG),
        };
    }
    encoded
}

/// Makes `Vary` name `Accept-Encoding`, unless it does or is `*`.
pub fn add_vary_accept_encoding(headers: &mut HeaderMap) {
    let mut line = Vec::new();
    for value in headers.get_all(VARY) {
        for name in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding") {
                return;
            }
        }
        line.extend_from_slice(value.as_bytes());
        line.extend_from_slice(b", ");
    }
    line.extend_from_slice(b"Accept-Encoding");
    let vary = HeaderValue::try_from(line).expect("field values joined by a comma are a field value");
    headers.insert(VARY, vary);
}

/// The weights, in thousandths, that a client gave the codings.
#[derive(Default)]
struct Accepted {
    named: [Option<u16>; 4],
    others: Option<u16>,
}

impl Accepted {
    fn parse(headers: &HeaderMap) -> Self {
        let mut accepted = Self::default();
        let lines = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        for member in lines.flat_map(|line| line.split(',')) {
            let mut parts = member.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parts.find_map(weight).unwrap_or(Some(1000));
            // A weight that cannot be read says nothing: the member is as if it were not there.
            let (Some(weight), Some(slot)) = (weight, accepted.slot(&name)) else { continue };
            // Named twice, the coding gets the lower weight: a refusal is never overruled.
            *slot = Some(slot.map_or(weight, |earlier| earlier.min(weight)));
        }
        accepted
    }

    fn slot(&mut self, name: &str) -> Option<&mut Option<u16>> {
        let coding = match name {
            "*" => return Some(&mut self.others),
            "identity" => Coding::Identity,
            // RFC 9110 section 8.4.1.3.
            "gzip" | "x-gzip" => Coding::Gzip,
            "br" => Coding::Brotli,
            "zstd" => Coding::Zstd,
            _ => return None,
        };
        Some(&mut self.named[usize::from(coding.preference())])
    }

    fn weight(&self, coding: Coding) -> Option<u16> {
        self.named[usize::from(coding.preference())].or(self.others)
    }
}

/// The weight of a `q` parameter in thousandths (RFC 9110 section 12.4.2): `None` when this is another
/// parameter, `Some(None)` when its value is malformed.
fn weight(parameter: &str) -> Option<Option<u16>> {
    let (name, value) = parameter.split_once('=')?;
    name.trim().eq_ignore_ascii_case("q").then(|| thousandths(value.trim()))
}

fn thousandths(value: &str) -> Option<u16> {
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let fraction: u16 = format!("{fraction:0<3}").parse().ok()?;
    match whole {
        "0" => Some(fraction),
        "1" if fraction == 0 => Some(1000),
        _ => None,
    }
}

fn is_identity(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_ENCODING).iter().all(|value| value.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// RFC 9111 section 5.2.2.6.
fn is_no_transform(headers: &HeaderMap) -> bool {
    headers
        .get_all(CACHE_CONTROL)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|directive| directive.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
}

fn is_listed_type(headers: &HeaderMap, types: &[String]) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let media_type = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    // An event stream is read event by event; a compressor would hold them back. Only by its full name.
    let wild = media_type != "text/event-stream";
    types.iter().any(|listed| match listed.strip_suffix('*') {
        Some(start) => wild && media_type.starts_with(start),
        None => media_type == *listed,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Coding; 3] = [Coding::Gzip, Coding::Brotli, Coding::Zstd];

    fn with(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    fn choose(accept: &str) -> &'static str {
        negotiate(&with(ACCEPT_ENCODING, accept), &ALL).as_str()
    }

    #[test]
    fn without_a_wish_nothing_is_compressed() {
        assert_eq!(negotiate(&HeaderMap::new(), &ALL), Coding::Identity);
        assert_eq!(choose(""), "identity");
    }

    #[test]
    fn at_equal_weight_the_denser_wins() {
        assert_eq!(choose("gzip, deflate, br, zstd"), "zstd");
        assert_eq!(choose("gzip, br"), "br");
        assert_eq!(choose("GZIP"), "gzip");
        assert_eq!(choose("x-gzip"), "gzip");
        assert_eq!(choose("*"), "zstd");
        assert_eq!(negotiate(&with(ACCEPT_ENCODING, "zstd, br, gzip"), &[Coding::Gzip]), Coding::Gzip);
    }

    #[test]
    fn weights_decide() {
        assert_eq!(choose("gzip;q=1.0, br;q=0.9, zstd;q=0.5"), "gzip");
        assert_eq!(choose("br ; Q=0.001"), "br");
        assert_eq!(choose("zstd;q=0.2, *;q=0.3"), "br");
        assert_eq!(choose("gzip;q=0.5, identity;q=0.8"), "identity");
        assert_eq!(choose("gzip, identity"), "gzip");
    }

    #[test]
    fn a_refusal_holds() {
        assert_eq!(choose("gzip;q=0, br;q=0.0, zstd;q=0.000"), "identity");
        assert_eq!(choose("*;q=0"), "identity");
        assert_eq!(choose("*;q=0, gzip"), "gzip");
        assert_eq!(choose("identity;q=0, gzip;q=0.1"), "gzip");
        assert_eq!(choose("gzip;q=0, gzip"), "identity");
        assert_eq!(choose("identity;q=0"), "identity");
    }

    #[test]
    fn a_malformed_weight_is_no_wish() {
        for accept in
            ["gzip;q=2", "gzip;q=0.1234", "gzip;q=x", "gzip;q=", "gzip;q=-1", "gzip;q=1.5", "gzip;q=0.+1"]
        {
            assert_eq!(choose(accept), "identity", "{accept}");
        }
    }

    fn is_compressible(status: u16, bytes: Option<u64>, fields: &[(&'static str, &str)]) -> bool {
        let types = ["text/*".to_owned(), "application/json".to_owned()];
        let headers = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect();
        let rules = CompressionRules { bytes_min: 100, bytes_max: 1000, types: &types };
        compressible(status, &headers, bytes, &rules)
    }

    #[test]
    fn text_of_a_worthwhile_size_is_compressible() {
        assert!(is_compressible(200, Some(100), &[("content-type", "Text/HTML; charset=utf-8")]));
        assert!(is_compressible(404, Some(1000), &[("content-type", "application/json")]));
        assert!(is_compressible(
            200,
            None,
            &[("content-type", "text/css"), ("content-encoding", "identity")]
        ));
        assert!(!is_compressible(200, Some(99), &[("content-type", "text/css")]));
        assert!(!is_compressible(200, Some(1001), &[("content-type", "text/css")]));
        assert!(!is_compressible(200, Some(500), &[("content-type", "image/png")]));
        assert!(!is_compressible(200, Some(500), &[("content-type", "application/jsonp")]));
        assert!(!is_compressible(200, Some(500), &[]));
    }

    #[test]
    fn what_must_not_change_is_not_compressed() {
        let text = ("content-type", "text/plain");
        assert!(!is_compressible(200, None, &[text, ("cache-control", "public, No-Transform")]));
        assert!(!is_compressible(200, None, &[text, ("content-encoding", "gzip")]));
        assert!(!is_compressible(200, None, &[text, ("content-range", "bytes 0-1/2")]));
        assert!(!is_compressible(200, None, &[("content-type", "text/event-stream")]));
        for status in [101, 204, 205, 206, 304] {
            assert!(!is_compressible(status, None, &[text]));
        }
    }

    #[test]
    fn the_encoded_head_promises_nothing_of_the_old_bytes() {
        let fields = [
            ("etag", "\"a\""),
            ("content-length", "9"),
            ("accept-ranges", "bytes"),
            ("content-md5", "x"),
            ("repr-digest", "x"),
            ("content-type", "text/html"),
        ];
        let headers =
            fields.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let encoded = encoded_headers(&headers.into_iter().collect(), Coding::Brotli);
        let expected = [
            ("etag", "W/\"a\""),
            ("content-type", "text/html"),
            ("content-encoding", "br"),
            ("vary", "Accept-Encoding"),
        ];
        let expected =
            expected.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        assert_eq!(encoded, HeaderMap::from_iter(expected));
    }

    #[test]
    fn vary_names_accept_encoding_once() {
        let mut headers = with(VARY, "Origin");
        add_vary_accept_encoding(&mut headers);
        add_vary_accept_encoding(&mut headers);
        assert_eq!(headers, with(VARY, "Origin, Accept-Encoding"));
        for settled in ["*", "a, ACCEPT-encoding"] {
            let mut headers = with(VARY, settled);
            add_vary_accept_encoding(&mut headers);
            assert_eq!(headers, with(VARY, settled));
        }
    }

    proptest! {
        #[test]
        fn a_coding_that_was_not_accepted_is_never_chosen(accept in "(gzip|br|zstd|identity|\\*|;q=0|;q=0\\.5|,| ){0,12}") {
            let chosen = choose(&accept);
            let members = accept.replace(' ', "");
            let refused = format!("{chosen};q=0");
            prop_assert!(chosen == "identity" || accept.contains(chosen) || accept.contains('*'));
            prop_assert!(chosen == "identity" || members.split(',').all(|member| member != refused));
        }
    }
}
