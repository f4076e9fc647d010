//! What is believed of a response head. Pure.
//!
//! A response whose end another parser might place elsewhere is refused, whatever the HTTP library made of
//! it: behind a shared cache one misread end is another client's response.

use super::error::BadResponse;
use http::{HeaderMap, Method, StatusCode, Version, header};
use std::time::Duration;

/// Header fields accepted in a response.
pub(super) const FIELDS_MAX: usize = 256;
/// An idle connection is given up this much before the origin would, at least and at most.
const KEEP_ALIVE_MARGIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(2));

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// No body, by method or status.
    None,
    /// After so many bytes.
    Length(u64),
    /// With the last chunk, or with the stream in HTTP/2.
    Marked,
    /// When the connection ends: a cut is not told from the end (RFC 9112 section 6.3, case 8).
    Close,
}

/// Reads the framing of a final response (RFC 9112 section 6.3), or says why it is not believed.
pub(super) fn check(
    method: &Method,
    status: StatusCode,
    version: Version,
    headers: &HeaderMap,
) -> Result<Framing, BadResponse> {
    if status.is_informational() {
        return Err(BadResponse::Upgrade);
    }
    if headers.len() > FIELDS_MAX {
        return Err(BadResponse::HeadTooLarge);
    }
    let chunked = transfer_coding(version, headers)?;
    let length = content_length(headers)?;
    if chunked && length.is_some() {
        return Err(BadResponse::TwoFramings);
    }
    if method == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Ok(Framing::None);
    }
    Ok(match length {
        _ if chunked => Framing::Marked,
        Some(length) => Framing::Length(length),
        None if version >= Version::HTTP_2 => Framing::Marked,
        None => Framing::Close,
    })
}

/// Whether the message is chunked; any other coding, list or version is refused.
fn transfer_coding(version: Version, headers: &HeaderMap) -> Result<bool, BadResponse> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(false) };
    let only_chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
    if only_chunked && version == Version::HTTP_11 { Ok(true) } else { Err(BadResponse::TransferCoding) }
}

/// The length, if given; repeated values must agree (RFC 9110 section 8.6).
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, BadResponse> {
    let mut length = None;
    for line in headers.get_all(header::CONTENT_LENGTH) {
        for value in line.as_bytes().split(|b| *b == b',') {
            let value = value.trim_ascii();
            // `u64::from_str` would take a leading plus.
            let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            let value = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|v| v.parse().ok());
            let value: u64 = value.ok_or(BadResponse::ContentLength)?;
            if length.replace(value).is_some_and(|before| before != value) {
                return Err(BadResponse::ContentLength);
            }
        }
    }
    Ok(length)
}

/// What an origin says of how long it keeps an idle connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeepAlive {
    /// How long the connection may be used again.
    pub(super) idle_max: Duration,
    /// Whether the origin promised that.
    pub(super) promised: bool,
}

/// How long a connection that carried this response may idle before it is no longer used: `own_max`, or what
/// the origin grants with `Keep-Alive: timeout=N` less a margin, whichever is shorter.
pub(super) fn keep_alive(headers: &HeaderMap, own_max: Duration) -> KeepAlive {
    let parameters = headers.get_all("keep-alive").iter().filter_map(|v| v.to_str().ok());
    let mut granted = None;
    for parameter in parameters.flat_map(|v| v.split([',', ';'])) {
        let Some((name, value)) = parameter.split_once('=') else { continue };
        let value = value.trim().trim_matches('"').parse::<u32>().ok();
        match (name.trim().to_ascii_lowercase().as_str(), value) {
            ("timeout", Some(seconds)) => {
                let timeout = Duration::from_secs(u64::from(seconds));
                let margin = (timeout / 5).clamp(KEEP_ALIVE_MARGIN.0, KEEP_ALIVE_MARGIN.1);
                granted = Some(timeout.saturating_sub(margin));
            }
            ("max", Some(0)) => return KeepAlive { idle_max: Duration::ZERO, promised: true },
            _ => {}
        }
    }
    KeepAlive { idle_max: granted.map_or(own_max, |g| g.min(own_max)), promised: granted.is_some() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn checked(lines: &[(&'static str, &'static str)]) -> Result<Framing, BadResponse> {
        check(&Method::GET, StatusCode::OK, Version::HTTP_11, &fields(lines))
    }

    #[test]
    fn a_body_ends_by_length_by_mark_or_by_close() {
        assert_eq!(checked(&[("content-length", "5")]), Ok(Framing::Length(5)));
        assert_eq!(checked(&[("content-length", "5"), ("content-length", "5, 5")]), Ok(Framing::Length(5)));
        assert_eq!(checked(&[("transfer-encoding", "Chunked")]), Ok(Framing::Marked));
        assert_eq!(checked(&[]), Ok(Framing::Close));
        let h2 = check(&Method::GET, StatusCode::OK, Version::HTTP_2, &fields(&[]));
        assert_eq!(h2, Ok(Framing::Marked));
        let head =
            check(&Method::HEAD, StatusCode::OK, Version::HTTP_11, &fields(&[("content-length", "5")]));
        assert_eq!(head, Ok(Framing::None));
    }

    #[test]
    fn framing_with_two_readings_is_refused() {
        for coding in ["gzip", "gzip, chunked", "chunked, chunked", "chunked;q=1", "xchunked", "identity", ""]
        {
            assert_eq!(
                checked(&[("transfer-encoding", coding)]),
                Err(BadResponse::TransferCoding),
                "{coding}"
            );
        }
        let twice = [("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")];
        assert_eq!(checked(&twice), Err(BadResponse::TransferCoding));
        let both = [("transfer-encoding", "chunked"), ("content-length", "5")];
        assert_eq!(checked(&both), Err(BadResponse::TwoFramings));
        for length in ["5, 6", "+5", "-1", "", "5,", "0x5", "5 5", "99999999999999999999"] {
            assert_eq!(checked(&[("content-length", length)]), Err(BadResponse::ContentLength), "{length}");
        }
    }

    #[test]
    fn a_grant_is_used_less_a_margin() {
        let own = Duration::from_secs(50);
        let grant = |value| keep_alive(&fields(&[("keep-alive", value)]), own);
        assert_eq!(grant("timeout=5"), KeepAlive { idle_max: Duration::from_secs(4), promised: true });
        assert_eq!(grant("max=100, Timeout=60").idle_max, own);
        assert_eq!(grant("timeout=20").idle_max, Duration::from_secs(18));
        assert_eq!(grant("timeout=0").idle_max, Duration::ZERO);
        assert_eq!(grant("timeout=5, max=0").idle_max, Duration::ZERO);
        assert_eq!(grant("nonsense"), KeepAlive { idle_max: own, promised: false });
    }
}
