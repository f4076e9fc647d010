//! Requests in HTTP/2 (RFC 9113 section 8): what is malformed, and what only looks odd.

use starling_tests::frames::{Frame, block, code::*, data, flag, headers, kind, literal, post, request};

use crate::case::{Case, Verdict::*, case};

/// A request of these fields and nothing else.
fn only(clause: &'static str, name: impl Into<String>, fields: &[(&str, &str)]) -> Case {
    case(clause, name, headers(1, flag::END_BOTH, fields), Malformed)
}

/// A `GET` with these fields after its pseudo-fields.
fn with(clause: &'static str, name: impl Into<String>, fields: &[(&str, &str)]) -> Case {
    only(clause, name, &[&request("GET", "/malformed"), fields].concat())
}

/// A `GET` with one more field, given as bytes.
fn with_bytes(clause: &'static str, name: impl Into<String>, field: &[u8], value: &[u8]) -> Case {
    let mut payload = block(&request("GET", "/malformed"));
    literal(&mut payload, field, value);
    case(clause, name, Frame::new(kind::HEADERS, flag::END_BOTH, 1, payload).bytes(), Malformed)
}

/// A `GET` with one of its pseudo-fields replaced by bytes.
fn pseudo_bytes(clause: &'static str, name: impl Into<String>, field: &str, value: &[u8]) -> Case {
    let mut payload = Vec::new();
    for (pseudo, usual) in request("GET", "/malformed") {
        literal(&mut payload, pseudo.as_bytes(), if pseudo == field { value } else { usual.as_bytes() });
    }
    case(clause, name, Frame::new(kind::HEADERS, flag::END_BOTH, 1, payload).bytes(), Malformed)
}

/// Sections 8.2, 8.2.1 and 8.2.2.
pub fn fields() -> Vec<Case> {
    let clause = "RFC 9113 section 8.2.1";
    let mut cases = vec![
        with(clause, "a name in upper case", &[("X-TEST", "ok")]),
        with(clause, "a name with one letter in upper case", &[("x-tEst", "ok")]),
        with(clause, "an empty name", &[("", "ok")]),
        with(clause, "a name with a colon in it", &[("x:test", "ok")]),
        with(clause, "a name that ends in a colon", &[("x-test:", "ok")]),
        with(clause, "a name that hides a line", &[("x-test: a\r\ntransfer-encoding", "chunked")]),
        with(clause, "a name that hides Transfer-Encoding", &[("transfer-encoding: chunked\r\nx", "y")]),
    ];
    for byte in (0u8..0x21)
        .chain(b'A'..=b'Z')
        .chain([b'"', b'(', b',', b'/', b';', b'@', b'[', b'{', 0x7f, 0x80, 0xff])
    {
        // Upper case is told above; one letter of it is enough here.
        if (b'B'..=b'Z').contains(&byte) {
            continue;
        }
        cases.push(with_bytes(clause, format!("byte {byte:#04x} in a name"), &[b'x', byte, b'y'], b"ok"));
    }
    for (name, value) in [
        ("NUL in a value", b"a\0b".as_slice()),
        ("CR in a value", b"a\rb"),
        ("LF in a value", b"a\nb"),
        ("CR LF in a value", b"a\r\nb"),
        ("a value that hides a field", b"a\r\ntransfer-encoding: chunked"),
        ("a value that hides a request", b"a\r\n\r\nGET /inner HTTP/1.1\r\nhost: hostile.test\r\n\r\n"),
        ("a space at the start of a value", b" a"),
        ("a space at the end of a value", b"a "),
        ("a tab at the start of a value", b"\ta"),
        ("a tab at the end of a value", b"a\t"),
    ] {
        cases.push(with_bytes(clause, name, b"x-test", value));
    }
    let clause = "RFC 9113 section 8.2.2";
    for (name, value) in [
        ("connection", "keep-alive"),
        ("connection", "close"),
        ("connection", "x-test"),
        ("proxy-connection", "keep-alive"),
        ("keep-alive", "timeout=5"),
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("transfer-encoding", ""),
        ("upgrade", "websocket"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("te", "trailers, deflate;q=0.5"),
        ("te", "chunked"),
    ] {
        cases.push(with(clause, format!("{name}: {value}"), &[(name, value)]));
    }
    cases.push(case(
        clause,
        "te: trailers is taken",
        headers(1, flag::END_BOTH, &[&request("GET", "/ok")[..], &[("te", "trailers")]].concat()),
        Answered(1, 200),
    ));
    cases.push(case(
        "RFC 9113 section 8.2.3",
        "crumbs of a cookie are taken",
        headers(
            1,
            flag::END_BOTH,
            &[&request("GET", "/ok")[..], &[("cookie", "a=b"), ("cookie", "c=d"), ("cookie", "e=f")]]
                .concat(),
        ),
        Answered(1, 200),
    ));
    cases
}

/// Section 8.3 and 8.3.1.
pub fn pseudo() -> Vec<Case> {
    let clause = "RFC 9113 section 8.3";
    let [method, scheme, path, authority] = request("GET", "/malformed");
    let mut cases = vec![
        with(clause, "an unknown pseudo-field", &[(":test", "ok")]),
        with(clause, "a pseudo-field of responses", &[(":status", "200")]),
        only(clause, "a pseudo-field after a field", &[method, scheme, authority, ("x-test", "ok"), path]),
        only(clause, "all pseudo-fields after a field", &[("x-test", "ok"), method, scheme, path, authority]),
        with(clause, "a pseudo-field without a name", &[(":", "ok")]),
        only(clause, "a pseudo-field in upper case", &[(":METHOD", "GET"), scheme, path, authority]),
    ];
    let clause = "RFC 9113 section 8.3.1";
    cases.extend([
        only(clause, "no :method", &[scheme, path, authority]),
        only(clause, "no :scheme", &[method, path, authority]),
        only(clause, "no :path", &[method, scheme, authority]),
        only(clause, "no pseudo-field at all", &[("host", "hostile.test")]),
        only(clause, "two :method", &[method, method, scheme, path, authority]),
        only(clause, "two different :method", &[method, (":method", "POST"), scheme, path, authority]),
        only(clause, "two :scheme", &[method, scheme, scheme, path, authority]),
        only(clause, "two :path", &[method, scheme, path, (":path", "/other"), authority]),
        only(clause, "two equal :path", &[method, scheme, path, path, authority]),
        only(clause, "two :authority", &[method, scheme, path, authority, (":authority", "other.test")]),
        only(clause, "neither :authority nor host", &[method, scheme, path]),
        only(
            clause,
            "a host that differs from :authority",
            &[method, scheme, path, authority, ("host", "other.test")],
        ),
        only(clause, "two hosts", &[method, scheme, path, ("host", "hostile.test"), ("host", "other.test")]),
        only(
            clause,
            "two hosts beside :authority",
            &[method, scheme, path, authority, ("host", "hostile.test"), ("host", "other.test")],
        ),
        only(clause, "an empty :method", &[(":method", ""), scheme, path, authority]),
        only(clause, "an empty :scheme", &[method, (":scheme", ""), path, authority]),
        only(clause, "an empty :path", &[method, scheme, (":path", ""), authority]),
        only(clause, "an asterisk for GET", &[method, scheme, (":path", "*"), authority]),
        only(clause, "CONNECT", &[(":method", "CONNECT"), (":authority", "hostile.test:443")]),
        only(clause, "CONNECT with a path", &[(":method", "CONNECT"), scheme, path, authority]),
        only(
            clause,
            "extended CONNECT that was not offered (RFC 8441)",
            &[(":method", "CONNECT"), (":protocol", "websocket"), scheme, path, authority],
        ),
        case(
            clause,
            "host in place of :authority is taken",
            headers(1, flag::END_BOTH, &[method, scheme, (":path", "/ok"), ("host", "hostile.test")]),
            Answered(1, 200),
        ),
        case(
            clause,
            "host equal to :authority is taken",
            headers(
                1,
                flag::END_BOTH,
                &[method, scheme, (":path", "/ok"), authority, ("host", "hostile.test")],
            ),
            Answered(1, 200),
        ),
        case(
            clause,
            "an asterisk for OPTIONS is taken",
            headers(1, flag::END_BOTH, &[(":method", "OPTIONS"), scheme, (":path", "*"), authority]),
            Answered(1, 200),
        ),
    ]);
    for path in [
        "malformed",
        "http://hostile.test/malformed",
        "/mal formed",
        "/malformed HTTP/1.1",
        "/malformed\r\nhost: other.test",
        "/malformed HTTP/1.1\r\nhost: other.test\r\n\r\nGET /inner",
        "/malformed\n",
        "/malformed\r",
        "/mal\tformed",
        "/malformed\0",
        "/malformed\x7f",
        "/malformed\x0b",
        " /malformed",
        "/malformed ",
        "\\malformed",
    ] {
        cases.push(pseudo_bytes(clause, format!(":path {path:?}"), ":path", path.as_bytes()));
    }
    // The library below reads an empty path as `/`, as a client's URI library would.
    cases.push(case(
        clause,
        ":path of a query only",
        headers(1, flag::END_BOTH, &request("GET", "?q")),
        Decided(1),
    ));
    // The library below cuts a fragment off before anybody sees it: what is left is a request like any other.
    cases.push(case(
        clause,
        ":path with a fragment",
        headers(1, flag::END_BOTH, &request("GET", "/ok#part")),
        Decided(1),
    ));
    cases.push(pseudo_bytes(clause, ":path with a raw high byte", ":path", b"/malformed\xff"));
    for method in ["GE T", "GET /inner HTTP/1.1\r\nx:", "G\0T", "GET\r\n", "G(T", "G\u{c9}T", " GET", "GET "]
    {
        cases.push(pseudo_bytes(clause, format!(":method {method:?}"), ":method", method.as_bytes()));
    }
    for authority in [
        "",
        "user@hostile.test",
        "hostile.test/path",
        "hostile.test:port",
        "hostile.test:99999",
        "a b",
        "a, b",
        "hostile.test\r\nx: y",
        "hostile.test\0",
        "[::1",
        "hostile.test?q",
        "hostile.test#f",
        ":80",
        "hostile.test:80@evil.test",
        "a\\b",
    ] {
        cases.push(pseudo_bytes(
            clause,
            format!(":authority {authority:?}"),
            ":authority",
            authority.as_bytes(),
        ));
    }
    for scheme in ["http://evil.test/?", "ht tp", "http\r\nx: y", "ftp", "file", "1http"] {
        cases.push(pseudo_bytes(clause, format!(":scheme {scheme:?}"), ":scheme", scheme.as_bytes()));
    }
    cases
}

/// Sections 8.1 and 8.1.1: bodies, trailers and lengths.
pub fn bodies() -> Vec<Case> {
    let sized = |length: &str| {
        let [method, scheme, path, authority] = request("POST", "/malformed");
        headers(1, flag::END_HEADERS, &[method, scheme, path, authority, ("content-length", length)])
    };
    let trailers = |fields: &[(&str, &str)]| headers(1, flag::END_BOTH, fields);
    let end = |bytes: &[u8]| data(1, flag::END_STREAM, bytes);
    let clause = "RFC 9113 section 8.1.1";
    let mut cases = vec![
        case(clause, "less DATA than Content-Length", [sized("9"), end(b"hello")].concat(), Malformed),
        case(clause, "more DATA than Content-Length", [sized("1"), end(b"hello")].concat(), Malformed),
        case(
            clause,
            "several DATA, less than Content-Length",
            [sized("9"), data(1, 0, *b"hel"), end(b"lo")].concat(),
            Malformed,
        ),
        case(
            clause,
            "several DATA, more than Content-Length",
            [sized("4"), data(1, 0, *b"hel"), end(b"lo")].concat(),
            Malformed,
        ),
        case(clause, "DATA beside a Content-Length of zero", [sized("0"), end(b"hello")].concat(), Malformed),
        case(
            clause,
            "no DATA beside a Content-Length",
            headers(
                1,
                flag::END_BOTH,
                &[&request("POST", "/malformed")[..], &[("content-length", "5")]].concat(),
            ),
            Malformed,
        ),
        case(
            clause,
            "trailers before all of Content-Length",
            [sized("9"), data(1, 0, *b"hello"), trailers(&[("x-test", "ok")])].concat(),
            Malformed,
        ),
    ];
    for length in [
        "+5",
        "-5",
        "0x5",
        "5, 5",
        "5,6",
        "five",
        "",
        "5 5",
        "5.0",
        "18446744073709551616",
        "18446744073709551621",
    ] {
        cases.push(case(
            clause,
            format!("content-length {length:?}"),
            [sized(length), end(b"hello")].concat(),
            Malformed,
        ));
    }
    let [method, scheme, path, authority] = request("POST", "/malformed");
    let twice = headers(
        1,
        flag::END_HEADERS,
        &[method, scheme, path, authority, ("content-length", "5"), ("content-length", "6")],
    );
    cases.push(case(clause, "two different lengths", [twice, end(b"hello")].concat(), Malformed));
    let clause = "RFC 9113 section 8.1";
    cases.extend([
        case(
            clause,
            "trailers are taken",
            [post(1, "/ok"), data(1, 0, *b"hello"), trailers(&[("x-test", "ok")])].concat(),
            Answered(1, 200),
        ),
        case(
            clause,
            "a second HEADERS that does not end the stream",
            [post(1, "/malformed"), headers(1, flag::END_HEADERS, &[("x-test", "ok")])].concat(),
            Stream(&[PROTOCOL_ERROR]),
        ),
        // Not here: a pseudo-field among trailers. The `h2` crate drops it before anybody sees it, and the node
        // drops all trailers.
        case(
            clause,
            "a name in upper case among trailers",
            [post(1, "/malformed"), data(1, 0, *b"hello"), trailers(&[("X-TEST", "ok")])].concat(),
            Malformed,
        ),
        case(
            clause,
            "Connection among trailers",
            [post(1, "/malformed"), data(1, 0, *b"hello"), trailers(&[("connection", "close")])].concat(),
            Malformed,
        ),
    ]);
    cases
}
