//! Field names, field values and `Host` (RFC 9112 sections 3.2 and 5, RFC 9110 sections 5 and 7.2).

use crate::vector::{Vector, refused};

/// A request with one more line among its fields.
fn with(line: impl AsRef<[u8]>) -> Vec<u8> {
    [b"GET $PATH HTTP/1.1\r\nHost: hostile.test\r\n", line.as_ref(), b"\r\n\r\n"].concat()
}

/// A request whose fields are these.
fn only(lines: impl AsRef<[u8]>) -> Vec<u8> {
    [b"GET $PATH HTTP/1.1\r\n", lines.as_ref(), b"\r\n\r\n"].concat()
}

pub fn names() -> Vec<Vector> {
    let clause = "RFC 9112 section 5.1";
    let mut vectors = vec![
        refused(clause, "a space before the colon", with("A : b")),
        refused(clause, "a tab before the colon", with("A\t: b")),
        refused(clause, "a vertical tab before the colon", with("A\x0b: b")),
        refused(clause, "a no-break space before the colon", with(b"A\xa0: b")),
        refused(clause, "a space before the colon of Host", only("Host : hostile.test")),
        refused(
            clause,
            "a space before the colon of Content-Length",
            only("Host: hostile.test\r\nContent-Length : 5\r\n\r\nhello"),
        ),
        refused(clause, "a line without a colon", with("A")),
        refused(clause, "a line without a colon that has a space", with("A b")),
        refused(clause, "an empty name", with(": b")),
        refused(clause, "a space inside a name", with("A B: c")),
        refused(clause, "a second request line", with("GET /other HTTP/1.1")),
        refused(clause, "a high byte in a name", with(b"A\xe9: b")),
        refused(clause, "UTF-8 in a name", with("\u{c4}: b")),
    ];
    for delimiter in "\"(),/;<=>?@[\\]{}".chars() {
        let name = format!("a {delimiter:?} in a name");
        vectors.push(refused("RFC 9110 section 5.6.2", name, with(format!("A{delimiter}B: c"))));
    }
    for control in (0u8..0x20).chain([0x7f]).filter(|byte| !b"\n".contains(byte)) {
        let line = [b"A".as_slice(), &[control], b"B: c"].concat();
        vectors.push(refused("RFC 9110 section 5.6.2", format!("byte {control:#04x} in a name"), with(line)));
    }
    vectors
}

pub fn values() -> Vec<Vector> {
    let mut vectors = Vec::new();
    for control in (0u8..0x20).chain([0x7f]).filter(|byte| !b"\t\n".contains(byte)) {
        for (place, before, after) in
            [("inside", "b", "c"), ("at the start of", "", "b"), ("at the end of", "b", "")]
        {
            let line = [b"A: ".as_slice(), before.as_bytes(), &[control], after.as_bytes()].concat();
            // At the end of a value a CR makes CR CR LF, which the ends of lines have.
            if control == b'\r' && after.is_empty() {
                continue;
            }
            let name = format!("byte {control:#04x} {place} a value");
            vectors.push(refused("RFC 9110 section 5.5", name, with(line)));
        }
    }
    vectors.push(refused("RFC 9110 section 5.5", "a NUL in a cookie", with("Cookie: a=b\0; c=d")));
    vectors
}

pub fn host() -> Vec<Vector> {
    let clause = "RFC 9112 section 3.2";
    let mut vectors = vec![
        refused(clause, "no Host", only("A: b")),
        refused(clause, "no field at all", "GET $PATH HTTP/1.1\r\n\r\n"),
        refused(clause, "two Hosts", only("Host: hostile.test\r\nHost: other.test")),
        refused(clause, "two equal Hosts", only("Host: hostile.test\r\nHost: hostile.test")),
        refused(clause, "two Hosts in two cases", only("Host: hostile.test\r\nhOST: other.test")),
        refused(clause, "two Hosts, one empty", only("Host: hostile.test\r\nHost:")),
        refused(clause, "two Hosts apart", only("Host: hostile.test\r\nA: b\r\nHost: other.test")),
        refused(clause, "a high byte in Host", only(b"Host: h\xe9stile.test")),
    ];
    for value in [
        "",
        "a, b",
        "a,b",
        "a b",
        "a\tb",
        "hostile.test/path",
        "hostile.test/",
        "/",
        "http://hostile.test",
        "hostile.test?q",
        "hostile.test#f",
        "user@hostile.test",
        "user:pass@hostile.test",
        "hostile.test:80@evil.test",
        "hostile.test\\@evil.test",
        "hostile.test:port",
        "hostile.test:80:80",
        "hostile.test:99999",
        "hostile.test:-1",
        "hostile.test:+80",
        "hostile.test:80 evil.test",
        "hostile.test:0x50",
        ":80",
        "[::1",
        "::1",
        "[::1]x",
        "[hostile.test]",
        "[]",
        "\"hostile.test\"",
        "<script>",
        "a{b}",
        "a|b",
        "a^b",
        "a`b",
        "a;b c",
        "hostile.test:80,evil.test",
        "*",
    ] {
        vectors.push(refused(
            "RFC 9110 section 7.2",
            format!("Host {value:?}"),
            only(format!("Host: {value}")),
        ));
    }
    vectors
}
