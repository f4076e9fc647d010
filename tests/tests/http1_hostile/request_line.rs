//! The request line: method, target, version (RFC 9112 sections 2.3, 3, 3.1, 3.2).

use crate::vector::{Vector, broken, either, refused};

const REST: &[u8] = b"\r\nHost: hostile.test\r\n\r\n";

/// A request whose first line is this, and which is well formed but for that.
fn line(text: impl AsRef<[u8]>) -> Vec<u8> {
    [text.as_ref(), REST].concat()
}

pub fn method_and_spacing() -> Vec<Vector> {
    let clause = "RFC 9112 section 3";
    let mut vectors = vec![
        refused(clause, "two spaces before the target", line("GET  $PATH HTTP/1.1")),
        refused(clause, "two spaces before the version", line("GET $PATH  HTTP/1.1")),
        refused(clause, "a tab before the target", line("GET\t$PATH HTTP/1.1")),
        refused(clause, "a tab before the version", line("GET $PATH\tHTTP/1.1")),
        refused(clause, "a vertical tab as a separator", line("GET\x0b$PATH HTTP/1.1")),
        refused(clause, "a form feed as a separator", line("GET\x0c$PATH HTTP/1.1")),
        refused(clause, "a bare CR as a separator", line("GET\r$PATH HTTP/1.1")),
        refused(clause, "a no-break space as a separator", line(b"GET\xa0$PATH HTTP/1.1")),
        refused(clause, "a space before the method", line(" GET $PATH HTTP/1.1")),
        refused(clause, "a tab before the method", line("\tGET $PATH HTTP/1.1")),
        refused(clause, "a space after the version", line("GET $PATH HTTP/1.1 ")),
        refused(clause, "a tab after the version", line("GET $PATH HTTP/1.1\t")),
        refused(clause, "a fourth word", line("GET $PATH HTTP/1.1 HTTP/1.1")),
        refused(clause, "a target with a space in it", line("GET $PATH a HTTP/1.1")),
        refused(clause, "no target", line("GET HTTP/1.1")),
        refused(clause, "an empty target", line("GET  HTTP/1.1")),
        refused(clause, "no method", line(" $PATH HTTP/1.1")),
        refused(clause, "a status line instead", line("HTTP/1.1 200 OK")),
        refused("RFC 9112 section 3.1", "a NUL in the method", line("G\0ET $PATH HTTP/1.1")),
        refused("RFC 9112 section 3.1", "a DEL in the method", line("G\x7fET $PATH HTTP/1.1")),
        refused("RFC 9112 section 3.1", "a high byte in the method", line(b"G\xc9T $PATH HTTP/1.1")),
        refused(
            "RFC 9112 section 2.2",
            "a byte order mark before the method",
            line(b"\xef\xbb\xbfGET $PATH HTTP/1.1"),
        ),
    ];
    for delimiter in "\"(),/:;<=>?@[\\]{}".chars() {
        let name = format!("a {delimiter:?} in the method");
        vectors.push(refused("RFC 9112 section 3.1", name, line(format!("G{delimiter}T $PATH HTTP/1.1"))));
    }
    vectors
}

pub fn version() -> Vec<Vector> {
    let clause = "RFC 9112 section 2.3";
    let mut vectors = Vec::new();
    for version in [
        "HTTP/1",
        "HTTP/1.",
        "HTTP/.1",
        "HTTP/11",
        "HTTP/1.10",
        "HTTP/01.1",
        "HTTP/1.01",
        "HTTP/1.1x",
        "HTTP/1.x",
        "HTTP/x.1",
        "HTTP/1,1",
        "HTTP/1 .1",
        "HTTP /1.1",
        "HTTP/ 1.1",
        "HTTP/+1.1",
        "HTTP/-1.1",
        "HTTP/1.-1",
        "HTTP/1.1.1",
        "HTTP1.1",
        "HTTP//1.1",
        "http/1.1",
        "Http/1.1",
        "HTTPS/1.1",
        "HTP/1.1",
        "HTTP\\1.1",
        "XTTP/1.1",
        "HTTP/\u{ff11}.1",
        "HTTP/1.1\0",
        "HTTP/1.1\x0b",
        "ICY/1.1",
        "1.1",
    ] {
        vectors.push(refused(clause, format!("version {version:?}"), line(format!("GET $PATH {version}"))));
    }
    for version in ["HTTP/0.9", "HTTP/0.0", "HTTP/2.0", "HTTP/2.1", "HTTP/3.0", "HTTP/9.9"] {
        let bytes = line(format!("GET $PATH {version}"));
        vectors.push(
            refused("RFC 9110 section 15.6.6", format!("version {version:?}"), bytes).with(&[400, 505]),
        );
    }
    vectors.extend([
        broken("RFC 1945 section 4.1", "HTTP/0.9 with nothing after it", "GET $PATH\r\n"),
        broken("RFC 1945 section 4.1", "HTTP/0.9 with fields", "GET $PATH\r\nHost: hostile.test\r\n\r\n"),
        broken("RFC 9113 section 3.4", "a preface cut short", "PRI * HTTP/2.0\r\n\r\nGET $PATH HTTP/1.1\r\n\r\n"),
        broken("RFC 9113 section 3.4", "a preface in lower case", "pri * http/2.0\r\n\r\nsm\r\n\r\n"),
        broken("RFC 9113 section 3.4", "a preface with a field", "PRI * HTTP/2.0\r\nHost: hostile.test\r\n\r\nSM\r\n\r\n"),
        broken(
            "RFC 8446 section 5.1",
            "a TLS ClientHello where cleartext is spoken",
            b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\x00\x00\x04\x13\x01\x13\x02\x01\x00\r\n\r\n",
        ),
        broken("RFC 9112 section 2.2", "bytes of nothing", [0u8; 64]),
        broken("RFC 9112 section 2.2", "high bytes of nothing", [[0xffu8; 64].as_slice(), b"\r\n\r\n"].concat()),
    ]);
    vectors
}

pub fn target() -> Vec<Vector> {
    let clause = "RFC 9112 section 3.2";
    let mut vectors = vec![
        refused(clause, "a target without a slash", line("GET path HTTP/1.1")),
        refused(clause, "a target of a query only", line("GET ?q HTTP/1.1")),
        refused(clause, "a dot as the target", line("GET . HTTP/1.1")),
        refused(clause, "a backslash as the target", line("GET \\ HTTP/1.1")),
        refused("RFC 9112 section 3.2.1", "a fragment", line("GET $PATH#part HTTP/1.1")),
        refused("RFC 9112 section 3.2.1", "a fragment in the query", line("GET $PATH?a#part HTTP/1.1")),
        refused(
            "RFC 9112 section 3.2.2",
            "an absolute target of another scheme",
            line("GET ftp://hostile.test$PATH HTTP/1.1"),
        ),
        refused(
            "RFC 9112 section 3.2.2",
            "an absolute target of no known scheme",
            line("GET gopher://hostile.test$PATH HTTP/1.1"),
        ),
        refused("RFC 9112 section 3.2.2", "a file as the target", line("GET file:///etc/passwd HTTP/1.1")),
        refused(
            "RFC 9110 section 4.2.1",
            "an absolute target without a host",
            line("GET http://$PATH HTTP/1.1"),
        ),
        refused(
            "RFC 9110 section 4.2.1",
            "an absolute target with a port only",
            line("GET http://:80$PATH HTTP/1.1"),
        ),
        refused(
            "RFC 9110 section 4.2.4",
            "userinfo in the target",
            line("GET http://user@hostile.test$PATH HTTP/1.1"),
        ),
        refused(
            "RFC 9110 section 4.2.4",
            "userinfo that looks like a host",
            line("GET http://hostile.test:80@evil.test$PATH HTTP/1.1"),
        ),
        refused(clause, "an absolute target with one slash", line("GET http:/hostile.test$PATH HTTP/1.1")),
        refused(clause, "an absolute target without slashes", line("GET http:hostile.test$PATH HTTP/1.1")),
        refused(
            clause,
            "an absolute target with backslashes",
            line("GET http:\\\\hostile.test$PATH HTTP/1.1"),
        ),
        refused(
            "RFC 3986 section 3.2.3",
            "a port that is a word",
            line("GET http://hostile.test:port$PATH HTTP/1.1"),
        ),
        refused(
            "RFC 3986 section 3.2.3",
            "a port that no port is",
            line("GET http://hostile.test:99999$PATH HTTP/1.1"),
        ),
        refused(
            "RFC 3986 section 3.2.2",
            "a host with an open bracket",
            line("GET http://[::1$PATH HTTP/1.1"),
        ),
        refused("RFC 9112 section 3.2.3", "authority-form for GET", line("GET hostile.test:80 HTTP/1.1")),
        refused("RFC 9112 section 3.2.3", "CONNECT", line("CONNECT hostile.test:443 HTTP/1.1"))
            .with(&[400, 405, 501]),
        refused(
            "RFC 9112 section 3.2.3",
            "CONNECT to a loopback port",
            line("CONNECT 127.0.0.1:9000 HTTP/1.1"),
        )
        .with(&[400, 405, 501]),
        refused("RFC 9112 section 3.2.3", "CONNECT with a path", line("CONNECT $PATH HTTP/1.1"))
            .with(&[400, 405, 501]),
        refused(
            "RFC 9112 section 3.2.3",
            "CONNECT with a body",
            "CONNECT hostile.test:443 HTTP/1.1\r\nHost: hostile.test\r\nContent-Length: 5\r\n\r\nhello",
        )
        .with(&[400, 405, 501]),
        refused("RFC 9112 section 3.2.4", "asterisk-form for GET", line("GET * HTTP/1.1")),
        refused("RFC 9112 section 3.2.4", "asterisk-form for POST", line("POST * HTTP/1.1")),
        refused("RFC 9112 section 3.2.4", "an asterisk with more behind it", line("OPTIONS *x HTTP/1.1")),
        refused("RFC 9112 section 3.2.4", "an asterisk with a query", line("OPTIONS *?q HTTP/1.1")),
        refused("RFC 9112 section 3.2.4", "two asterisks", line("OPTIONS ** HTTP/1.1")),
        refused("RFC 3986 section 2", "a DEL in the path", line("GET $PATH\x7f HTTP/1.1")),
        refused("RFC 3986 section 2", "a raw high byte in the path", line(b"GET $PATH\xff HTTP/1.1")),
        refused("RFC 3986 section 2", "raw UTF-8 in the path", line("GET $PATH/\u{fc} HTTP/1.1")),
        refused("RFC 3986 section 2", "raw UTF-8 in the query", line("GET $PATH?\u{fc} HTTP/1.1")),
    ];
    for control in (0u8..0x20).filter(|byte| !b"\n".contains(byte)) {
        let bytes = [b"GET $PATH".as_slice(), &[control], b"x HTTP/1.1"].concat();
        vectors.push(refused("RFC 3986 section 2", format!("byte {control:#04x} in the path"), line(bytes)));
    }
    for shape in ["%", "%0", "%zz", "%u0041", "%-1"] {
        let name = format!("{shape:?} where a percent-encoding should be");
        vectors.push(either("RFC 3986 section 2.1", name, line(format!("GET $PATH{shape} HTTP/1.1"))));
    }
    vectors
}
