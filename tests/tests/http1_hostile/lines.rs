//! Ends of lines and the folding of lines (RFC 9112 sections 2.2 and 5.2).

use crate::vector::{Vector, either, refused};

pub fn ends() -> Vec<Vector> {
    let clause = "RFC 9112 section 2.2";
    vec![
        refused(clause, "LF after the request line", "GET $PATH HTTP/1.1\nHost: hostile.test\r\n\r\n"),
        refused(clause, "LF after a field", "GET $PATH HTTP/1.1\r\nHost: hostile.test\n\r\n"),
        refused(
            clause,
            "LF after the last of several fields",
            "GET $PATH HTTP/1.1\r\nHost: hostile.test\r\nA: b\n\r\n",
        ),
        refused(clause, "LF as the end of the head", "GET $PATH HTTP/1.1\r\nHost: hostile.test\r\n\n"),
        refused(clause, "LF everywhere", "GET $PATH HTTP/1.1\nHost: hostile.test\n\n"),
        refused(
            clause,
            "LF inside a value",
            "GET $PATH HTTP/1.1\r\nHost: hostile.test\r\nA: b\nc: d\r\n\r\n",
        ),
        refused(clause, "LF CR instead of CR LF", "GET $PATH HTTP/1.1\n\rHost: hostile.test\n\r\n\r"),
        refused(clause, "CR after the request line", "GET $PATH HTTP/1.1\rHost: hostile.test\r\n\r\n"),
        refused(clause, "CR after a field", "GET $PATH HTTP/1.1\r\nHost: hostile.test\rA: b\r\n\r\n"),
        refused(clause, "CR everywhere", "GET $PATH HTTP/1.1\rHost: hostile.test\r\r"),
        refused(
            clause,
            "CR CR LF after the request line",
            "GET $PATH HTTP/1.1\r\r\nHost: hostile.test\r\n\r\n",
        ),
        refused(clause, "CR CR LF after a field", "GET $PATH HTTP/1.1\r\nHost: hostile.test\r\r\n\r\n"),
        refused(
            clause,
            "CR CR LF as the end of the head",
            "GET $PATH HTTP/1.1\r\nHost: hostile.test\r\n\r\r\n",
        ),
        refused(
            clause,
            "CR inside a field name",
            "GET $PATH HTTP/1.1\r\nHost: hostile.test\r\nA\rB: c\r\n\r\n",
        ),
        refused(clause, "CR inside a value", "GET $PATH HTTP/1.1\r\nHost: hostile.test\r\nA: b\rc\r\n\r\n"),
        refused(
            clause,
            "CR at the start of a value",
            "GET $PATH HTTP/1.1\r\nHost: hostile.test\r\nA:\rb\r\n\r\n",
        ),
        refused(
            clause,
            "CR that hides a field",
            "GET $PATH HTTP/1.1\r\nHost: hostile.test\r\nA: b\rContent-Length: 5\r\n\r\n",
        ),
        refused(
            clause,
            "a space between the request line and the fields",
            "GET $PATH HTTP/1.1\r\n Host: hostile.test\r\n\r\n",
        ),
        refused(
            clause,
            "a tab between the request line and the fields",
            "GET $PATH HTTP/1.1\r\n\tHost: hostile.test\r\n\r\n",
        ),
        refused(
            clause,
            "a line of one space before the fields",
            "GET $PATH HTTP/1.1\r\n \r\nHost: hostile.test\r\n\r\n",
        ),
        refused(
            clause,
            "a line of one space as the end of the head",
            "GET $PATH HTTP/1.1\r\nHost: hostile.test\r\n \r\n\r\n",
        ),
        either(
            clause,
            "an empty line of LF before the request line",
            "\nGET $PATH HTTP/1.1\r\nHost: hostile.test\r\n\r\n",
        ),
        refused(clause, "a CR before the request line", "\rGET $PATH HTTP/1.1\r\nHost: hostile.test\r\n\r\n"),
        refused(
            clause,
            "a line of one space before the request line",
            " \r\nGET $PATH HTTP/1.1\r\nHost: hostile.test\r\n\r\n",
        ),
    ]
}

pub fn folds() -> Vec<Vector> {
    let clause = "RFC 9112 section 5.2";
    vec![
        refused(
            clause,
            "a value folded with a space",
            "GET $PATH HTTP/1.1\r\nHost: hostile.test\r\nA: b\r\n c\r\n\r\n",
        ),
        refused(
            clause,
            "a value folded with a tab",
            "GET $PATH HTTP/1.1\r\nHost: hostile.test\r\nA: b\r\n\tc\r\n\r\n",
        ),
        refused(
            clause,
            "a folded empty value",
            "GET $PATH HTTP/1.1\r\nHost: hostile.test\r\nA:\r\n b\r\n\r\n",
        ),
        refused(clause, "a fold to nothing", "GET $PATH HTTP/1.1\r\nHost: hostile.test\r\nA: b\r\n \r\n\r\n"),
        refused(clause, "a folded Host", "GET $PATH HTTP/1.1\r\nHost:\r\n hostile.test\r\n\r\n"),
        refused(
            clause,
            "a fold that looks like a field",
            "GET $PATH HTTP/1.1\r\nHost: hostile.test\r\nA: b\r\n Content-Length: 5\r\n\r\nhello",
        ),
        refused(
            clause,
            "a folded Content-Length",
            "POST $PATH HTTP/1.1\r\nHost: hostile.test\r\nContent-Length:\r\n 5\r\n\r\nhello",
        ),
        refused(
            clause,
            "a Content-Length continued by a fold",
            "POST $PATH HTTP/1.1\r\nHost: hostile.test\r\nContent-Length: 5\r\n 0\r\n\r\nhello",
        ),
        refused(
            clause,
            "a folded Transfer-Encoding",
            "POST $PATH HTTP/1.1\r\nHost: hostile.test\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        ),
        refused(
            clause,
            "a Transfer-Encoding continued by a fold",
            "POST $PATH HTTP/1.1\r\nHost: hostile.test\r\nTransfer-Encoding: chunked\r\n , identity\r\n\r\n0\r\n\r\n",
        ),
    ]
}
