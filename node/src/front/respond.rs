//! What holds for responses in every version of HTTP.

use http::{
    HeaderMap, HeaderName,
    header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE},
};

use crate::edge::door::ClientResponse;

/// Fields that speak of a connection, not of a response (RFC 9110 section 7.6.1). Those of another
/// connection never pass, and HTTP/2 has none (RFC 9113 section 8.2.2).
pub(crate) fn is_connection_field(name: &HeaderName) -> bool {
    *name == CONNECTION
        || *name == TRANSFER_ENCODING
        || *name == UPGRADE
        || name == "keep-alive"
        || name == "proxy-connection"
}

/// Removes what [`is_connection_field`] finds.
pub(crate) fn remove_connection_fields(headers: &mut HeaderMap) {
    for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}

/// The length of the body: what the body says, else what the head does.
pub(crate) fn body_bytes(response: &ClientResponse) -> Option<u64> {
    let said = || response.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
    response.body.bytes().or_else(said)
}

/// How a response ended before its end, and whose fault that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The client went away.
    ClientGone,
    /// The client took nothing for too long.
    WriteIdle,
    /// The client read too slowly.
    WriteRate,
    /// The body ended early, or was longer than it said.
    Source,
}
