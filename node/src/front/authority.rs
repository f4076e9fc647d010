//! The host a request is for: `Host`, `:authority`, or the authority of an absolute target.
//!
//! RFC 3986 section 3.2 allows more than any name in use needs. Userinfo, percent-encoding and the
//! sub-delimiters are refused here: they exist in no registered name, and two parsers that take a host out
//! of `a@b`, `a%2eb` or `a,b` do not agree on which host that is.

use std::net::Ipv6Addr;

use super::refusal::Refusal;

/// Longest host name that DNS can carry, in bytes.
const HOST_BYTES_MAX: usize = 255;

/// Checks `host [":" port]` and gives it back in lower case, without an empty port.
pub(crate) fn parse(bytes: &[u8]) -> Result<String, Refusal> {
    let text = std::str::from_utf8(bytes).map_err(|_| Refusal::Host)?;
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']').ok_or(Refusal::Host)?;
            address.parse::<Ipv6Addr>().map_err(|_| Refusal::Host)?;
            let port = match after.strip_prefix(':') {
                Some(port) => Some(port),
                None if after.is_empty() => None,
                None => return Err(Refusal::Host),
            };
            (&text[..address.len() + 2], port)
        }
        None => {
            let (host, port) = match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            };
            let is_name =
                |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
            if host.is_empty() || host.len() > HOST_BYTES_MAX || !host.bytes().all(is_name) {
                return Err(Refusal::Host);
            }
            (host, port)
        }
    };
    let mut authority = host.to_ascii_lowercase();
    if let Some(port) = port.filter(|port| !port.is_empty()) {
        let number = port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse::<u16>());
        if !matches!(number, Some(Ok(1..))) {
            return Err(Refusal::Host);
        }
        authority.push(':');
        authority.push_str(port);
    }
    Ok(authority)
}

/// The host of an authority that [`parse`] gave, without its port.
pub(crate) fn host(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => &authority[..colon],
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_with_a_port() {
        for (sent, kept) in [
            ("Example.ORG", "example.org"),
            ("a_b.example:8080", "a_b.example:8080"),
            ("example.org:", "example.org"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("[::1]", "[::1]"),
            ("[2001:DB8::1]:443", "[2001:db8::1]:443"),
        ] {
            assert_eq!(parse(sent.as_bytes()).as_deref(), Ok(kept), "{sent}");
        }
    }

    #[test]
    fn what_two_parsers_may_read_differently_is_no_host() {
        for sent in [
            "",
            ":80",
            "a b",
            "user@host",
            "a,b",
            "a%2eb",
            "a/b",
            "a\\b",
            "a#b",
            "a?b",
            "host:0",
            "host:65536",
            "host:+80",
            "host:8o",
            "host:80:80",
            "[::1",
            "[::1]x",
            "[::g]",
            "[fe80::1%25eth0]",
            "[v1.a]",
            "::1",
            "h\u{f6}st",
            "a;b",
            "a=b",
            "a\tb",
        ] {
            assert_eq!(parse(sent.as_bytes()), Err(Refusal::Host), "{sent}");
        }
    }

    #[test]
    fn the_port_is_not_the_host() {
        for (authority, name) in [("a:80", "a"), ("a", "a"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]")] {
            assert_eq!(host(authority), name);
        }
    }
}
