//! Encodes response heads (RFC 9112 sections 4 to 6).

use bytes::{BufMut, BytesMut};
use http::{
    HeaderMap, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING, UPGRADE},
};

use super::date;
use crate::front::{refusal::Refusal, respond::is_connection_field};

/// How the client finds the end of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is no body, whatever the head says (RFC 9110 section 6.4.1).
    Bodyless,
    Length(u64),
    Chunked,
    /// HTTP/1.0 and no length: the end of the connection.
    UntilClose,
}

impl Framing {
    /// RFC 9112 section 6.3; `bytes` is the length of the body when it is known.
    pub(super) fn of(is_head: bool, is_http11: bool, status: StatusCode, bytes: Option<u64>) -> Self {
        match bytes {
            _ if is_head || status.is_informational() => Self::Bodyless,
            _ if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) => Self::Bodyless,
            Some(bytes) => Self::Length(bytes),
            None if is_http11 => Self::Chunked,
            None => Self::UntilClose,
        }
    }
}

/// What the head of a response says of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Persistence {
    Close,
    KeepAlive,
    /// As the version has it anyway.
    Default,
}

/// Writes the head of a final response.
pub(super) fn head(
    output: &mut BytesMut,
    status: StatusCode,
    headers: &HeaderMap,
    framing: Framing,
    persistence: Persistence,
) {
    start(output, status);
    let writes_length = match framing {
        // A HEAD response or a 304 may tell the length that the body would have had; a 204 has none.
        Framing::Bodyless => status == StatusCode::NO_CONTENT,
        Framing::Length(_) | Framing::Chunked | Framing::UntilClose => true,
    };
    for (name, value) in headers {
        if is_connection_field(name) || (writes_length && name == CONTENT_LENGTH) {
            continue;
        }
        field(output, name.as_str().as_bytes(), value.as_bytes());
    }
    if !headers.contains_key(DATE) {
        field(output, b"date", date::now().as_bytes());
    }
    match framing {
        Framing::Length(bytes) => {
            output.put_slice(CONTENT_LENGTH.as_str().as_bytes());
            output.put_slice(b": ");
            decimal(output, bytes);
            output.put_slice(b"\r\n");
        }
        Framing::Chunked => field(output, TRANSFER_ENCODING.as_str().as_bytes(), b"chunked"),
        Framing::Bodyless | Framing::UntilClose => {}
    }
    match persistence {
        Persistence::Close => field(output, CONNECTION.as_str().as_bytes(), b"close"),
        Persistence::KeepAlive => field(output, CONNECTION.as_str().as_bytes(), b"keep-alive"),
        Persistence::Default => {}
    }
    output.put_slice(b"\r\n");
}

/// Writes an interim response (RFC 9110 section 15.2). `101` is not one: no upgrade is offered.
pub(super) fn interim(output: &mut BytesMut, status: StatusCode, headers: &HeaderMap) {
    if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
        return;
    }
    start(output, status);
    for (name, value) in headers {
        if !is_connection_field(name) && name != CONTENT_LENGTH && name != UPGRADE {
            field(output, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    output.put_slice(b"\r\n");
}

/// Writes a whole response to a request that was refused.
pub(super) fn refusal(output: &mut BytesMut, refusal: Refusal, is_head: bool) {
    let status = refusal.status();
    let text = format!("{refusal}\n");
    start(output, status);
    field(output, b"content-type", b"text/plain; charset=utf-8");
    field(output, b"date", date::now().as_bytes());
    field(output, b"content-length", text.len().to_string().as_bytes());
    if status == StatusCode::METHOD_NOT_ALLOWED {
        field(output, b"allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    }
    field(output, b"connection", b"close");
    output.put_slice(b"\r\n");
    if !is_head {
        output.put_slice(text.as_bytes());
    }
}

/// Writes the line before a chunk.
pub(super) fn chunk_size(output: &mut BytesMut, bytes: usize) {
    let mut digits = [0; 16];
    let mut at = digits.len();
    let mut rest = bytes;
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[rest & 15];
        rest >>= 4;
        if rest == 0 {
            break;
        }
    }
    output.put_slice(&digits[at..]);
    output.put_slice(b"\r\n");
}

fn start(output: &mut BytesMut, status: StatusCode) {
    output.reserve(512);
    if status == StatusCode::OK {
        output.put_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    output.put_slice(b"HTTP/1.1 ");
    output.put_slice(status.as_str().as_bytes());
    output.put_u8(b' ');
    output.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    output.put_slice(b"\r\n");
}

fn field(output: &mut BytesMut, name: &[u8], value: &[u8]) {
    output.reserve(name.len() + value.len() + 4);
    output.put_slice(name);
    output.put_slice(b": ");
    output.put_slice(value);
    output.put_slice(b"\r\n");
}

fn decimal(output: &mut BytesMut, number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    output.put_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_end_of_a_response_can_always_be_found() {
        let of = |is_head, is_http11, status: u16, bytes| {
            Framing::of(is_head, is_http11, StatusCode::from_u16(status).unwrap(), bytes)
        };
        assert_eq!(of(false, true, 200, Some(5)), Framing::Length(5));
        assert_eq!(of(false, true, 200, None), Framing::Chunked);
        assert_eq!(of(false, false, 200, None), Framing::UntilClose);
        assert_eq!(of(true, true, 200, None), Framing::Bodyless);
        assert_eq!(of(false, true, 304, None), Framing::Bodyless);
        assert_eq!(of(false, true, 204, Some(0)), Framing::Bodyless);
    }

    #[test]
    fn a_head_has_one_length_and_no_fields_of_another_connection() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-length", "99"),
            ("transfer-encoding", "gzip"),
            ("connection", "x"),
            ("keep-alive", "timeout=5"),
            ("date", "D"),
            ("etag", "E"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let mut output = BytesMut::new();
        head(&mut output, StatusCode::OK, &headers, Framing::Length(1234567890), Persistence::Close);
        let expected = "HTTP/1.1 200 OK\r\ndate: D\r\netag: E\r\ncontent-length: 1234567890\r\nconnection: close\r\n\r\n";
        assert_eq!(std::str::from_utf8(&output), Ok(expected));
    }

    #[test]
    fn chunk_sizes_are_hexadecimal() {
        for (bytes, line) in [(0, "0\r\n"), (10, "a\r\n"), (0x1_0f00, "10f00\r\n")] {
            let mut output = BytesMut::new();
            chunk_size(&mut output, bytes);
            assert_eq!(&output[..], line.as_bytes());
        }
    }
}
