//! The chunked coding (RFC 9112 section 7.1) and trailers (RFC 9110 section 6.5).
//!
//! The heads are good, so the origin may have been asked before the fault is seen; what it must never have seen
//! is a complete request.

use crate::vector::{Vector, either_body, unfinished};

/// A chunked `POST` with these bytes as its body.
fn body(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let head = b"POST $PATH HTTP/1.1\r\nHost: hostile.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    [head.as_slice(), bytes.as_ref()].concat()
}

pub fn sizes() -> Vec<Vector> {
    let clause = "RFC 9112 section 7.1";
    let mut vectors = Vec::new();
    for size in [
        "0x5",
        "0X5",
        "x5",
        "+5",
        "-5",
        " 5",
        "\t5",
        "5 ",
        "5\t",
        "5\x0b",
        "\x0b5",
        "5\x0c",
        "5\0",
        "\x005",
        "5_",
        "5_0",
        "5,",
        "5.0",
        "5h",
        "g",
        "\"5\"",
        "5 5",
        "",
        "\u{ff15}",
        "#5",
        "5#",
        "5\r",
        "10000000000000005",
        "100000000000000005",
        "FFFFFFFFFFFFFFFFF",
        "F0000000000000000000005",
    ] {
        vectors.push(unfinished(
            clause,
            format!("size {size:?}"),
            body(format!("{size}\r\nhello\r\n0\r\n\r\n")),
        ));
    }
    for size in ["FFFFFFFFFFFFFFFF", "8000000000000000", "7FFFFFFFFFFFFFFF", "FFFFFFFFFFFFFFFB", "FFFFFFFF00"]
    {
        let vector =
            unfinished(clause, format!("size {size}"), body(format!("{size}\r\nhello\r\n0\r\n\r\n")));
        vectors.push(vector.with(&[400, 413]));
    }
    for size in ["-0", "+0", "0x0", "0x", "0 ", " 0", "0\x0b", "0\0", "00x"] {
        vectors.push(unfinished(
            clause,
            format!("last size {size:?}"),
            body(format!("5\r\nhello\r\n{size}\r\n\r\n")),
        ));
    }
    let zeros = "0".repeat(10_000);
    vectors.push(unfinished(
        clause,
        "a size of ten thousand zeros",
        body(format!("{zeros}5\r\nhello\r\n0\r\n\r\n")),
    ));
    vectors
}

pub fn ends() -> Vec<Vector> {
    let clause = "RFC 9112 section 7.1";
    vec![
        unfinished(clause, "LF after the size", body("5\nhello\r\n0\r\n\r\n")),
        unfinished(clause, "CR after the size", body("5\rhello\r\n0\r\n\r\n")),
        unfinished(clause, "CR CR LF after the size", body("5\r\r\nhello\r\n0\r\n\r\n")),
        unfinished(clause, "LF CR after the size", body("5\n\rhello\r\n0\r\n\r\n")),
        unfinished(clause, "LF after the data", body("5\r\nhello\n0\r\n\r\n")),
        unfinished(clause, "CR after the data", body("5\r\nhello\r0\r\n\r\n")),
        unfinished(clause, "nothing after the data", body("5\r\nhello0\r\n\r\n")),
        unfinished(clause, "two other bytes after the data", body("5\r\nhelloXX0\r\n\r\n")),
        unfinished(clause, "CR and another byte after the data", body("5\r\nhello\rX0\r\n\r\n")),
        unfinished(clause, "an empty line after the data", body("5\r\nhello\r\n\r\n0\r\n\r\n")),
        unfinished(clause, "an empty line before the first size", body("\r\n5\r\nhello\r\n0\r\n\r\n")),
        unfinished(clause, "more data than the size says", body("4\r\nhello\r\n0\r\n\r\n")),
        unfinished(clause, "less data than the size says", body("6\r\nhello\r\n0\r\n\r\n")),
        unfinished(clause, "LF after the last size", body("5\r\nhello\r\n0\n\r\n")),
        unfinished(clause, "LF as the end of the trailers", body("5\r\nhello\r\n0\r\n\n")),
        unfinished(clause, "CR CR LF as the end of the trailers", body("5\r\nhello\r\n0\r\n\r\r\n")),
        unfinished(clause, "data after the last size", body("5\r\nhello\r\n0\r\nhello\r\n\r\n")),
        unfinished(clause, "no chunk at all", body("hello\r\n\r\n")),
    ]
}

pub fn extensions() -> Vec<Vector> {
    let clause = "RFC 9112 section 7.1.1";
    let mut vectors = vec![
        unfinished(clause, "LF in an extension", body("5;a\nb\r\nhello\r\n0\r\n\r\n")),
        unfinished(clause, "LF at the end of an extension", body("5;\nhello\r\n0\r\n\r\n")),
        unfinished(clause, "CR in an extension", body("5;a\rb\r\nhello\r\n0\r\n\r\n")),
        unfinished(clause, "CR CR LF after an extension", body("5;a\r\r\nhello\r\n0\r\n\r\n")),
        unfinished(clause, "LF in a quoted extension", body("5;a=\"\n\"\r\nhello\r\n0\r\n\r\n")),
        unfinished(clause, "CR LF in a quoted extension", body("5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n")),
        unfinished(clause, "LF in the extension of the last chunk", body("5\r\nhello\r\n0;a\n\r\n\r\n")),
        unfinished(
            clause,
            "a terminator hidden in an extension",
            body("2;\nxx\r\n4c\r\n0\r\n\r\nGET /inner HTTP/1.1\r\nHost: hostile.test\r\n\r\n"),
        ),
        unfinished(clause, "something other than a semicolon", body("5 a\r\nhello\r\n0\r\n\r\n")),
        either_body(clause, "a simple extension", body("5;a=b\r\nhello\r\n0\r\n\r\n")),
        either_body(clause, "a quoted extension", body("5;a=\"b;c\"\r\nhello\r\n0\r\n\r\n")),
        either_body(clause, "an extension without a value", body("5;a\r\nhello\r\n0;b\r\n\r\n")),
        unfinished(
            clause,
            "an extension of 100 KiB",
            body(format!("5;a={}\r\nhello\r\n0\r\n\r\n", "x".repeat(100 << 10))),
        )
        .with(&[400, 413, 431]),
        // CVE-2023-39326: little data, much framing.
        unfinished(
            clause,
            "a thousand chunks of one byte with 4 KiB of extension each",
            body(format!("1;a={}\r\nx\r\n", "x".repeat(4 << 10)).repeat(1000) + "0\r\n\r\n"),
        )
        .with(&[400, 413, 431]),
    ];
    for control in (0u8..0x20).chain([0x7f]).filter(|byte| !b"\t\r\n".contains(byte)) {
        let bytes = [b"5;a".as_slice(), &[control], b"\r\nhello\r\n0\r\n\r\n"].concat();
        vectors.push(unfinished(clause, format!("byte {control:#04x} in an extension"), body(bytes)));
    }
    vectors
}

pub fn trailers() -> Vec<Vector> {
    let clause = "RFC 9112 section 7.1.2";
    vec![
        unfinished(clause, "a line without a colon", body("5\r\nhello\r\n0\r\nA\r\n\r\n")),
        unfinished(clause, "a space before the colon", body("5\r\nhello\r\n0\r\nA : b\r\n\r\n")),
        unfinished(clause, "an empty name", body("5\r\nhello\r\n0\r\n: b\r\n\r\n")),
        unfinished(clause, "a fold", body("5\r\nhello\r\n0\r\nA: b\r\n c\r\n\r\n")),
        unfinished(clause, "a fold at the start", body("5\r\nhello\r\n0\r\n A: b\r\n\r\n")),
        unfinished(clause, "LF at the end of a line", body("5\r\nhello\r\n0\r\nA: b\n\r\n")),
        unfinished(clause, "CR inside a value", body("5\r\nhello\r\n0\r\nA: b\rc\r\n\r\n")),
        unfinished(clause, "NUL inside a value", body("5\r\nhello\r\n0\r\nA: b\0\r\n\r\n")),
        unfinished(clause, "NUL inside a name", body("5\r\nhello\r\n0\r\nA\0: b\r\n\r\n")),
        unfinished(
            clause,
            "a request line",
            body("5\r\nhello\r\n0\r\nGET /inner HTTP/1.1\r\nHost: hostile.test\r\n\r\n"),
        ),
        unfinished(
            clause,
            "one of 100 KiB",
            body(format!("5\r\nhello\r\n0\r\nA: {}\r\n\r\n", "x".repeat(100 << 10))),
        )
        .with(&[400, 413, 431]),
        unfinished(
            clause,
            "ten thousand of them",
            body(format!("5\r\nhello\r\n0\r\n{}\r\n", "A: b\r\n".repeat(10_000))),
        )
        .with(&[400, 413, 431]),
        // Framing, routing and authentication fields mean nothing at the end (RFC 9110 section 6.5.1).
        either_body(
            "RFC 9110 section 6.5.1",
            "a Content-Length",
            body("5\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n"),
        ),
        either_body(
            "RFC 9110 section 6.5.1",
            "a Transfer-Encoding",
            body("5\r\nhello\r\n0\r\nTransfer-Encoding: identity\r\n\r\n"),
        ),
        either_body("RFC 9110 section 6.5.1", "a Host", body("5\r\nhello\r\n0\r\nHost: other.test\r\n\r\n")),
        either_body(
            "RFC 9110 section 6.5.1",
            "an Authorization",
            body("5\r\nhello\r\n0\r\nAuthorization: Basic x\r\n\r\n"),
        ),
        either_body(clause, "a field like any other", body("5\r\nhello\r\n0\r\nX-Checksum: 1\r\n\r\n")),
    ]
}
