//! Asking the origin whether a stored response still holds, and what its answer changes (RFC 9111 section 4.3).

use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{
        CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
        IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED,
    },
};

use super::{
    Policy, fields,
    storing::{self, Fetched, NoStoreReason, StoredHead},
};

/// Fields that describe the bytes we hold; a 304 brings none, so it cannot change them (RFC 9111 section 3.2).
const OF_THE_BODY: [HeaderName; 8] = [
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    ETAG,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("repr-digest"),
];

/// Makes `request` ask whether the stored response still holds, by all validators it has (RFC 9111 section
/// 4.3.1). The client's own conditions go: they are answered from what comes of this request.
///
/// `false` when there is no validator; the request is then unconditional.
pub fn add_validators(stored: &StoredHead, request: &mut HeaderMap) -> bool {
    for name in [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, IF_RANGE] {
        request.remove(name);
    }
    let etag = fields::sole(&stored.headers, &ETAG).filter(|etag| !etag.is_empty());
    let modified = fields::sole(&stored.headers, &LAST_MODIFIED)
        .filter(|value| fields::parse_date(value.as_bytes(), stored.response_ms).is_some());
    if let Some(etag) = etag {
        request.insert(IF_NONE_MATCH, etag.clone());
    }
    if let Some(modified) = modified {
        request.insert(IF_MODIFIED_SINCE, modified.clone());
    }
    etag.is_some() || modified.is_some()
}

/// Whether a 304 speaks of the stored response (RFC 9111 section 4.3.4): by its entity tag where it has one,
/// else by `Last-Modified`. A 304 without validators speaks of what was asked.
///
/// An origin that weakens tags on the way (a compressing proxy does) still means the same response, so tags
/// are compared weakly. Where this says `false`, ask again without validators.
pub fn freshens(stored: &StoredHead, headers_304: &HeaderMap) -> bool {
    match (headers_304.get(ETAG), stored.headers.get(ETAG)) {
        (Some(new), Some(old)) => opaque(new) == opaque(old),
        (None, _) => headers_304.get(LAST_MODIFIED).is_none_or(|_| same_last_modified(stored, headers_304)),
        (Some(_), None) => headers_304.contains_key(LAST_MODIFIED) && same_last_modified(stored, headers_304),
    }
}

/// Whether a response to `HEAD` describes what is stored (RFC 9111 section 4.3.5). If so, [`freshen`] may take
/// it in place of a 304; if not, the stored response is stale.
pub fn head_agrees(stored: &StoredHead, head_response_headers: &HeaderMap) -> bool {
    // Validators that were received must match (RFC 9111 section 4.3.5); a HEAD may leave them out.
    let same = |name: &HeaderName| {
        let received = head_response_headers.get(name);
        received.is_none() || received == stored.headers.get(name)
    };
    let lengths = (stored.headers.get(CONTENT_LENGTH), head_response_headers.get(CONTENT_LENGTH));
    let same_length = !matches!(lengths, (Some(old), Some(new)) if old != new);
    same(&ETAG) && same(&LAST_MODIFIED) && same_length
}

/// The stored head with the fields of a 304 (or of an agreeing `HEAD`) in place of its own, judged anew as if
/// the whole had come now.
///
/// `Err` when the result may not be stored: the stored response is then good for this one answer at most.
/// Check [`freshens`] first.
pub fn freshen(
    stored: &StoredHead,
    fetched_304: &Fetched<'_>,
    policy: &Policy,
) -> Result<StoredHead, NoStoreReason> {
    let mut update = storing::end_to_end(fetched_304);
    for name in OF_THE_BODY {
        update.remove(name);
    }
    let mut headers = stored.headers.clone();
    for name in update.keys() {
        headers.remove(name);
    }
    for (name, value) in &update {
        headers.append(name, value.clone());
    }
    let status = StatusCode::from_u16(stored.status).map_err(|_| NoStoreReason::Status)?;
    storing::judge(&Fetched { status, ..*fetched_304 }, headers, policy)
}

/// An entity tag without its weakness.
fn opaque(etag: &HeaderValue) -> &[u8] {
    let etag = etag.as_bytes();
    etag.strip_prefix(b"W/").unwrap_or(etag)
}

fn same_last_modified(stored: &StoredHead, headers_304: &HeaderMap) -> bool {
    let date = |headers| fields::date(headers, &LAST_MODIFIED, stored.response_ms);
    stored.headers.get(LAST_MODIFIED) == headers_304.get(LAST_MODIFIED)
        || matches!((date(&stored.headers), date(headers_304)), (Some(old), Some(new)) if old == new)
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
