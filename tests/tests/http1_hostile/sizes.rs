//! Heads that are too much: 414 and 431 (RFC 9110 section 15.5.15, RFC 6585 section 5, RFC 9112 section 3).
//!
//! The node under test has the default limits: 8 KiB of request line, 32 KiB of head, 100 fields.

use crate::vector::{Vector, refused};

fn fields(count: usize, line: impl Fn(usize) -> String) -> String {
    let lines: String = (0..count).map(line).collect();
    format!("GET $PATH HTTP/1.1\r\nHost: hostile.test\r\n{lines}\r\n")
}

pub fn oversize() -> Vec<Vector> {
    let uri = "RFC 9110 section 15.5.15";
    let head = "RFC 6585 section 5";
    let long = "x".repeat(40 << 10);
    let target = "x".repeat(9 << 10);
    let query = "&a=b".repeat(5 << 10);
    vec![
        refused(uri, "a path of 9 KiB", format!("GET $PATH/{target} HTTP/1.1\r\nHost: hostile.test\r\n\r\n"))
            .with(&[414]),
        refused(
            uri,
            "a query of 20 KiB",
            format!("GET $PATH?{query} HTTP/1.1\r\nHost: hostile.test\r\n\r\n"),
        )
        .with(&[414]),
        refused(
            uri,
            "a path of 9 KiB, absolute",
            format!("GET http://hostile.test$PATH/{target} HTTP/1.1\r\nHost: hostile.test\r\n\r\n"),
        )
        .with(&[414]),
        refused(uri, "a request line without an end", format!("GET $PATH/{}", "x".repeat(256 << 10)))
            .with(&[414]),
        refused(
            "RFC 9112 section 3",
            "a method of 40 KiB",
            format!("{long} $PATH HTTP/1.1\r\nHost: hostile.test\r\n\r\n"),
        )
        .with(&[400, 414, 501]),
        refused(
            "RFC 9112 section 3",
            "a version of 40 KiB",
            format!("GET $PATH HTTP/1.{long}\r\nHost: hostile.test\r\n\r\n"),
        )
        .with(&[400, 414, 505]),
        refused(head, "a value of 40 KiB", fields(1, |_| format!("A: {long}\r\n"))).with(&[431]),
        refused(head, "a name of 40 KiB", fields(1, |_| format!("{long}: b\r\n"))).with(&[431]),
        refused(head, "a cookie of 40 KiB", fields(1, |_| format!("Cookie: a={long}\r\n"))).with(&[431]),
        refused(head, "a Host of 40 KiB", format!("GET $PATH HTTP/1.1\r\nHost: {long}\r\n\r\n"))
            .with(&[400, 431]),
        refused(head, "90 fields of 1 KiB", fields(90, |at| format!("A{at}: {}\r\n", &long[..1 << 10])))
            .with(&[431]),
        refused(head, "101 fields", fields(100, |at| format!("A{at}: b\r\n"))).with(&[431]),
        refused(head, "five thousand small fields", fields(5000, |_| "A:\r\n".to_owned())).with(&[431]),
        refused(
            head,
            "a field without an end",
            format!("GET $PATH HTTP/1.1\r\nHost: hostile.test\r\nA: {}", "x".repeat(256 << 10)),
        )
        .with(&[431]),
        refused(head, "a megabyte of fields without an end", fields(50_000, |at| format!("A{at}: {at}\r\n")))
            .with(&[431]),
    ]
}
