//! The length of a body: `Content-Length` and `Transfer-Encoding` (RFC 9112 sections 6 and 11.2).

use crate::vector::{Vector, either, refused};

/// A `POST` with these lines and `hello` behind them.
fn sized(lines: impl AsRef<[u8]>) -> Vec<u8> {
    [b"POST $PATH HTTP/1.1\r\nHost: hostile.test\r\n", lines.as_ref(), b"\r\n\r\nhello"].concat()
}

/// A `POST` with these lines and a chunked `hello` behind them.
fn chunked(lines: impl AsRef<[u8]>) -> Vec<u8> {
    [b"POST $PATH HTTP/1.1\r\nHost: hostile.test\r\n", lines.as_ref(), b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]
        .concat()
}

pub fn content_length() -> Vec<Vector> {
    let clause = "RFC 9112 section 6.3";
    let mut vectors = vec![
        refused(clause, "two equal lines", sized("Content-Length: 5\r\nContent-Length: 5")),
        refused(clause, "two different lines", sized("Content-Length: 5\r\nContent-Length: 6")),
        refused(clause, "two lines, the first zero", sized("Content-Length: 0\r\nContent-Length: 5")),
        refused(clause, "two lines in two cases", sized("Content-Length: 5\r\ncontent-length: 0")),
        refused(clause, "two lines apart", sized("Content-Length: 5\r\nA: b\r\nContent-Length: 0")),
        refused(clause, "two lines, one empty", sized("Content-Length: 5\r\nContent-Length:")),
        refused(
            clause,
            "two lines for GET",
            "GET $PATH HTTP/1.1\r\nHost: hostile.test\r\nContent-Length: 0\r\nContent-Length: 43\r\n\r\n",
        ),
        refused(
            clause,
            "HTTP/1.0 with a bad length",
            "POST $PATH HTTP/1.0\r\nHost: hostile.test\r\nContent-Length: x\r\n\r\nhello",
        ),
    ];
    for value in [
        "",
        "+5",
        "-5",
        "-0",
        "+0",
        "0x5",
        "5x",
        "x5",
        "5 5",
        "5\t5",
        "5,5",
        "5, 5",
        "5,6",
        "5,",
        ",5",
        "5;",
        "5;a=b",
        "5.0",
        "5e0",
        "5_0",
        "0b101",
        "0o5",
        "\"5\"",
        "'5'",
        "five",
        "(5)",
        "5 (bytes)",
        "5\x0b",
        "\x0b5",
        "5\x0c",
        "\x0c5",
        "5\0",
        "\u{ff15}",
        "NaN",
        "Infinity",
    ] {
        vectors.push(refused(clause, format!("length {value:?}"), sized(format!("Content-Length: {value}"))));
    }
    vectors.push(refused(clause, "a no-break space before the length", sized(b"Content-Length: \xa05")));
    vectors.push(refused(clause, "a next-line byte after the length", sized(b"Content-Length: 5\x85")));
    for value in [
        "4294967301000000000",
        "9223372036854775807",
        "9223372036854775808",
        "9223372036854775813",
        "18446744073709551615",
        "18446744073709551616",
        "18446744073709551621",
        "99999999999999999999999999999999999999999",
    ] {
        let vector = refused(
            "RFC 9110 section 8.6",
            format!("length {value}"),
            sized(format!("Content-Length: {value}")),
        );
        vectors.push(vector.with(&[400, 413]));
    }
    vectors
}

pub fn transfer_encoding() -> Vec<Vector> {
    let clause = "RFC 9112 section 6.1";
    let mut vectors = vec![
        refused(
            "RFC 9112 section 6.3",
            "TE and CL",
            chunked("Transfer-Encoding: chunked\r\nContent-Length: 5"),
        ),
        refused(
            "RFC 9112 section 6.3",
            "CL and TE",
            chunked("Content-Length: 5\r\nTransfer-Encoding: chunked"),
        ),
        refused(
            "RFC 9112 section 6.3",
            "CL of zero and TE",
            chunked("Content-Length: 0\r\nTransfer-Encoding: chunked"),
        ),
        refused(
            "RFC 9112 section 6.3",
            "TE and CL for GET",
            "GET $PATH HTTP/1.1\r\nHost: hostile.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        refused(
            "RFC 9112 section 6.3",
            "TE and a bad CL",
            chunked("Transfer-Encoding: chunked\r\nContent-Length: x"),
        ),
        refused(
            "RFC 9112 section 6.3",
            "a bad TE and CL",
            sized("Transfer-Encoding: xchunked\r\nContent-Length: 5"),
        ),
        refused(
            "RFC 9112 section 6.3",
            "identity and CL",
            sized("Transfer-Encoding: identity\r\nContent-Length: 5"),
        ),
        refused(
            clause,
            "two lines of chunked",
            chunked("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        ),
        refused(
            clause,
            "chunked, then identity on another line",
            chunked("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
        ),
        refused(
            clause,
            "identity, then chunked on another line",
            chunked("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked"),
        ),
        refused(
            clause,
            "chunked, then an unknown coding on another line",
            chunked("Transfer-Encoding: chunked\r\nTransfer-encoding: cow"),
        ),
        refused(
            clause,
            "chunked, then an empty line of it",
            chunked("Transfer-Encoding: chunked\r\nTransfer-Encoding:"),
        ),
        refused(
            clause,
            "HTTP/1.0",
            "POST $PATH HTTP/1.0\r\nHost: hostile.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
        refused(
            clause,
            "HTTP/1.0 kept alive",
            "POST $PATH HTTP/1.0\r\nHost: hostile.test\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
    ];
    for value in [
        "",
        "identity",
        "chunked, identity",
        "identity, chunked",
        "chunked, chunked",
        "chunked,chunked",
        "gzip",
        "deflate",
        "compress",
        "gzip, chunked",
        "chunked, gzip",
        "br, chunked",
        "cow",
        "cow, chunked",
        "chunked, cow",
        "xchunked",
        "chunkedx",
        "chunke",
        "chunked1",
        "\"chunked\"",
        "'chunked'",
        "\"chunked\", chunked",
        "chunked;",
        "chunked;a=b",
        "chunked; q=0.5",
        ";chunked",
        ",chunked",
        ", chunked",
        "chunked,",
        "chunked ,",
        ",",
        "x: chunked",
        "chunked foo",
        "foo chunked",
        "chu nked",
        "chunked\x0b",
        "\x0bchunked",
        "chunked\x0c",
        "\x0cchunked",
        "chunked\0",
        "\0chunked",
        "chunked\x08",
        "chunked\x7f",
        "chunked/1.0",
        "(chunked)",
        "chunked (a)",
        "chunked=1",
        "chun\u{212a}ed",
        "%63hunked",
        "chunked\\",
        "0",
        "null",
    ] {
        let lines = format!("Transfer-Encoding: {value}");
        vectors.push(refused(clause, format!("coding {value:?}"), chunked(lines)).with(&[400, 501]));
    }
    for raw in [b"chunked\xa0".as_slice(), b"\xa0chunked", b"chunked\xff", b"chunked\x85"] {
        let lines = [b"Transfer-Encoding: ".as_slice(), raw].concat();
        let name = format!("coding {}", raw.escape_ascii());
        vectors.push(refused(clause, name, chunked(lines)).with(&[400, 501]));
    }
    vectors
}

/// `Transfer-Encoding` in a disguise that some parser sees through.
pub fn disguises() -> Vec<Vector> {
    let clause = "RFC 9112 section 11.2";
    let mut vectors = Vec::new();
    for name in [
        "Transfer-Encoding ",
        "Transfer-Encoding\t",
        "Transfer-Encoding\x0b",
        "Transfer-Encoding\x0c",
        "Transfer-Encoding\0",
        "\0Transfer-Encoding",
        "Transfer-Encoding\x08",
        "Transfer-Encoding\r",
        "\x0bTransfer-Encoding",
        "Transfer\0-Encoding",
        "Transfer Encoding",
        "Transfer-\r\nEncoding",
        "Transfer-\r\n Encoding",
        "\"Transfer-Encoding\"",
        "[Transfer-Encoding]",
        "Transfer-Encoding:",
        "A b\nTransfer-Encoding",
        "A: b\nTransfer-Encoding",
        "A: b\rTransfer-Encoding",
        "A: b\r\n Transfer-Encoding",
        "A: b\r\n\tTransfer-Encoding",
        "A: b\0\r\nTransfer-Encoding",
    ] {
        for (length, lines) in [
            ("before", format!("Content-Length: 5\r\n{name}: chunked")),
            ("after", format!("{name}: chunked\r\nContent-Length: 5")),
            ("without", format!("{name}: chunked")),
        ] {
            let title = format!("{:?}, {length} Content-Length", name);
            vectors.push(refused(clause, title, chunked(lines)).with(&[400, 501]));
        }
    }
    for raw in [b"Transfer-Encoding\xa0".as_slice(), b"\xefTransfer-Encoding", b"Transfer\x96Encoding"] {
        let lines = [b"Content-Length: 5\r\n".as_slice(), raw, b": chunked"].concat();
        vectors.push(refused(clause, raw.escape_ascii().to_string(), chunked(lines)));
    }
    // Names of their own: refused, or fields like any other beside a length that is beyond doubt.
    for name in [
        "Transfer_Encoding",
        "Transfer.Encoding",
        "Transfer-Encodin",
        "XTransfer-Encoding",
        "Transfer--Encoding",
        "TransferEncoding",
    ] {
        let lines = format!("Content-Length: 5\r\n{name}: chunked");
        vectors.push(either(clause, format!("{name} beside Content-Length"), sized(lines)));
    }
    for name in ["Content_Length", "Content.Length", "Content-Lenght", "ContentLength"] {
        let lines = format!("Content-Length: 5\r\n{name}: 0");
        vectors.push(either(clause, format!("{name} beside Content-Length"), sized(lines)));
    }
    // The framing of the request to the origin is the node's own, whatever the client lists (RFC 9110 section 7.6.1).
    for listed in ["Content-Length", "content-length, keep-alive", "Content-Length, close"] {
        let lines = format!("Connection: {listed}\r\nContent-Length: 5");
        vectors.push(either("RFC 9110 section 7.6.1", format!("Connection: {listed}"), sized(lines)));
    }
    for lines in [
        "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding:\tchunked",
        "Transfer-Encoding:chunked",
        "Transfer-Encoding:  \t chunked \t ",
        "tRANSFER-eNCODING: cHUNKED",
    ] {
        vectors.push(either(clause, format!("{lines:?}"), chunked(lines)));
    }
    vectors
}
