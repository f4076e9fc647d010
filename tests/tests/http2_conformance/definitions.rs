//! The frames one by one (RFC 9113 section 6) and error codes (section 7).

use starling_tests::frames::{
    Frame, block, code::*, continuation, data, flag, get, headers, kind, ping, post, priority, request,
    reset, setting, settings, window_update,
};

use crate::case::{Case, Verdict::*, case};

fn raw(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Vec<u8> {
    Frame::new(kind, flags, stream, payload).bytes()
}

/// A block with padding around it.
fn padded(length: u8, block: Vec<u8>, padding: usize) -> Vec<u8> {
    [vec![length], block, vec![0; padding]].concat()
}

/// DATA, HEADERS, PRIORITY, RST_STREAM, PUSH_PROMISE: sections 6.1 to 6.4 and 6.6.
pub fn of_streams() -> Vec<Case> {
    let whole = || block(&request("GET", "/ok"));
    let bad = || block(&request("GET", "/malformed"));
    let clause = "RFC 9113 section 6.1";
    let mut cases = vec![
        case(clause, "DATA on stream zero", data(0, flag::END_STREAM, *b"x"), Connection(&[PROTOCOL_ERROR])),
        case(
            clause,
            "DATA with padding",
            [
                post(1, "/ok"),
                raw(kind::DATA, flag::END_STREAM | flag::PADDED, 1, padded(6, b"hello".to_vec(), 6)),
            ]
            .concat(),
            Answered(1, 200),
        ),
        case(
            clause,
            "DATA of padding only",
            [post(1, "/ok"), raw(kind::DATA, flag::END_STREAM | flag::PADDED, 1, padded(6, vec![], 6))]
                .concat(),
            Answered(1, 200),
        ),
        case(
            clause,
            "several DATA",
            [post(1, "/ok"), data(1, 0, *b"a"), data(1, 0, *b"b"), data(1, flag::END_STREAM, *b"c")].concat(),
            Answered(1, 200),
        ),
        case(
            clause,
            "empty DATA at the end",
            [post(1, "/ok"), data(1, 0, *b"a"), data(1, flag::END_STREAM, [])].concat(),
            Answered(1, 200),
        ),
        case(
            clause,
            "padding as long as DATA",
            [post(1, "/malformed"), raw(kind::DATA, flag::END_STREAM | flag::PADDED, 1, *b"\x06hello")]
                .concat(),
            Connection(&[PROTOCOL_ERROR]),
        ),
        case(
            clause,
            "padding longer than DATA",
            [post(1, "/malformed"), raw(kind::DATA, flag::END_STREAM | flag::PADDED, 1, *b"\xffhello")]
                .concat(),
            Connection(&[PROTOCOL_ERROR]),
        ),
        case(
            clause,
            "padded DATA without the length of its padding",
            [post(1, "/malformed"), raw(kind::DATA, flag::END_STREAM | flag::PADDED, 1, [])].concat(),
            Connection(&[PROTOCOL_ERROR, FRAME_SIZE_ERROR]),
        ),
    ];
    let clause = "RFC 9113 section 6.2";
    let prioritised = [b"\0\0\0\0\x0f".as_slice(), &whole()].concat();
    let both = [b"\x03\0\0\0\0\x0f".as_slice(), &whole(), &[0; 3]].concat();
    cases.extend([
        case(
            clause,
            "HEADERS on stream zero",
            raw(kind::HEADERS, flag::END_BOTH, 0, bad()),
            Connection(&[PROTOCOL_ERROR]),
        ),
        case(
            clause,
            "HEADERS with padding",
            raw(kind::HEADERS, flag::END_BOTH | flag::PADDED, 1, padded(9, whole(), 9)),
            Answered(1, 200),
        ),
        case(
            clause,
            "HEADERS with a priority",
            raw(kind::HEADERS, flag::END_BOTH | flag::PRIORITY, 1, prioritised),
            Answered(1, 200),
        ),
        case(
            clause,
            "HEADERS with padding and a priority",
            raw(kind::HEADERS, flag::END_BOTH | flag::PRIORITY | flag::PADDED, 1, both),
            Answered(1, 200),
        ),
        case(
            clause,
            "padding longer than HEADERS",
            raw(kind::HEADERS, flag::END_BOTH | flag::PADDED, 1, padded(0xff, bad(), 0)),
            Connection(&[PROTOCOL_ERROR]),
        ),
        case(clause, "empty HEADERS", raw(kind::HEADERS, flag::END_BOTH, 1, []), Malformed),
        case(
            clause,
            "HEADERS too short for their priority",
            raw(kind::HEADERS, flag::END_BOTH | flag::PRIORITY, 1, [0; 3]),
            Connection(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR]),
        ),
    ]);
    let clause = "RFC 9113 section 6.3";
    cases.extend([
        case(clause, "PRIORITY on stream zero", priority(0, 1), Connection(&[PROTOCOL_ERROR])),
        case(
            clause,
            "PRIORITY of four octets",
            [get(1, "/slow"), raw(kind::PRIORITY, 0, 1, [0; 4])].concat(),
            Stream(&[FRAME_SIZE_ERROR]),
        ),
        case(
            clause,
            "PRIORITY of six octets",
            [get(1, "/slow"), raw(kind::PRIORITY, 0, 1, [0; 6])].concat(),
            Stream(&[FRAME_SIZE_ERROR]),
        ),
        case(clause, "PRIORITY before HEADERS", [priority(1, 0), get(1, "/ok")].concat(), Answered(1, 200)),
        case(clause, "exclusive PRIORITY", [priority(3, 1 << 31), get(1, "/ok")].concat(), Answered(1, 200)),
    ]);
    let clause = "RFC 9113 section 6.4";
    cases.extend([
        case(clause, "RST_STREAM on stream zero", reset(0, CANCEL), Connection(&[PROTOCOL_ERROR])),
        case(
            clause,
            "RST_STREAM of three octets",
            [get(1, "/slow"), raw(kind::RST_STREAM, 0, 1, [0; 3])].concat(),
            Connection(&[FRAME_SIZE_ERROR]),
        ),
        case(
            clause,
            "RST_STREAM of five octets",
            [get(1, "/slow"), raw(kind::RST_STREAM, 0, 1, [0; 5])].concat(),
            Connection(&[FRAME_SIZE_ERROR]),
        ),
        case(
            clause,
            "RST_STREAM of nothing",
            [get(1, "/slow"), raw(kind::RST_STREAM, 0, 1, [])].concat(),
            Connection(&[FRAME_SIZE_ERROR]),
        ),
    ]);
    let promise = [2u32.to_be_bytes().as_slice(), &bad()].concat();
    let clause = "RFC 9113 section 6.6";
    cases.extend([
        case(
            clause,
            "PUSH_PROMISE from a client",
            [get(1, "/slow"), raw(kind::PUSH_PROMISE, flag::END_HEADERS, 1, promise.clone())].concat(),
            Connection(&[PROTOCOL_ERROR]),
        ),
        case(
            clause,
            "PUSH_PROMISE on stream zero",
            raw(kind::PUSH_PROMISE, flag::END_HEADERS, 0, promise),
            Connection(&[PROTOCOL_ERROR]),
        ),
    ]);
    cases
}

/// SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION: sections 6.5 to 6.10; and section 7.
pub fn of_connections() -> Vec<Case> {
    let clause = "RFC 9113 section 6.5";
    let mut cases = vec![
        case(
            clause,
            "an acknowledgement with a payload",
            raw(kind::SETTINGS, flag::ACK, 0, [0; 6]),
            Connection(&[FRAME_SIZE_ERROR]),
        ),
        case(
            clause,
            "SETTINGS on a stream",
            raw(kind::SETTINGS, 0, 1, [0, 3, 0, 0, 0, 100]),
            Connection(&[PROTOCOL_ERROR]),
        ),
        case(
            clause,
            "SETTINGS of three octets",
            raw(kind::SETTINGS, 0, 0, [0; 3]),
            Connection(&[FRAME_SIZE_ERROR]),
        ),
        case(
            clause,
            "SETTINGS of seven octets",
            raw(kind::SETTINGS, 0, 0, [0; 7]),
            Connection(&[FRAME_SIZE_ERROR]),
        ),
        case(clause, "empty SETTINGS", settings(&[]), Alive),
    ];
    let clause = "RFC 9113 section 6.5.2";
    cases.extend([
        case(
            clause,
            "ENABLE_PUSH of 2",
            settings(&[(setting::ENABLE_PUSH, 2)]),
            Connection(&[PROTOCOL_ERROR]),
        ),
        case(
            clause,
            "INITIAL_WINDOW_SIZE of 2^31",
            settings(&[(setting::INITIAL_WINDOW_SIZE, 1 << 31)]),
            Connection(&[FLOW_CONTROL_ERROR]),
        ),
        case(
            clause,
            "INITIAL_WINDOW_SIZE of 2^32-1",
            settings(&[(setting::INITIAL_WINDOW_SIZE, u32::MAX)]),
            Connection(&[FLOW_CONTROL_ERROR]),
        ),
        case(
            clause,
            "MAX_FRAME_SIZE below 2^14",
            settings(&[(setting::MAX_FRAME_SIZE, (1 << 14) - 1)]),
            Connection(&[PROTOCOL_ERROR]),
        ),
        case(
            clause,
            "MAX_FRAME_SIZE of 2^24",
            settings(&[(setting::MAX_FRAME_SIZE, 1 << 24)]),
            Connection(&[PROTOCOL_ERROR]),
        ),
        case(clause, "an unknown setting is ignored", settings(&[(0xff, 1)]), Alive),
        case(
            clause,
            "MAX_HEADER_LIST_SIZE is taken",
            [settings(&[(setting::MAX_HEADER_LIST_SIZE, 1 << 20)]), get(1, "/ok")].concat(),
            Answered(1, 200),
        ),
        case(
            clause,
            "HEADER_TABLE_SIZE of 2^32-1 is taken",
            [settings(&[(setting::HEADER_TABLE_SIZE, u32::MAX)]), get(1, "/ok")].concat(),
            Answered(1, 200),
        ),
        case(
            clause,
            "MAX_CONCURRENT_STREAMS of zero concerns pushes only",
            [settings(&[(setting::MAX_CONCURRENT_STREAMS, 0)]), get(1, "/ok")].concat(),
            Answered(1, 200),
        ),
    ]);
    let clause = "RFC 9113 section 6.7";
    cases.extend([
        case(clause, "PING on a stream", raw(kind::PING, 0, 1, [0; 8]), Connection(&[PROTOCOL_ERROR])),
        case(clause, "PING of six octets", raw(kind::PING, 0, 0, [0; 6]), Connection(&[FRAME_SIZE_ERROR])),
        case(clause, "PING of nine octets", raw(kind::PING, 0, 0, [0; 9]), Connection(&[FRAME_SIZE_ERROR])),
        case(clause, "PING of nothing", raw(kind::PING, 0, 0, []), Connection(&[FRAME_SIZE_ERROR])),
        case(
            clause,
            "an answer that nobody asked for is ignored",
            raw(kind::PING, flag::ACK, 0, *b"unasked!"),
            Alive,
        ),
        case(
            clause,
            "PING in the middle of a request",
            [post(1, "/ok"), ping(*b"midway!!"), data(1, flag::END_STREAM, *b"x")].concat(),
            Answered(1, 200),
        ),
    ]);
    let clause = "RFC 9113 section 6.8";
    cases.push(case(
        clause,
        "GOAWAY on a stream",
        raw(kind::GOAWAY, 0, 1, [0; 8]),
        Connection(&[PROTOCOL_ERROR]),
    ));
    cases.push(case(
        clause,
        "GOAWAY of four octets",
        raw(kind::GOAWAY, 0, 0, [0; 4]),
        Connection(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR]),
    ));
    cases.push(case(
        clause,
        "a stream before GOAWAY is finished",
        [get(1, "/ok"), raw(kind::GOAWAY, 0, 0, [0; 8])].concat(),
        Answered(1, 200),
    ));

    let clause = "RFC 9113 section 6.9";
    cases.extend([
        case(
            clause,
            "WINDOW_UPDATE of zero on the connection",
            window_update(0, 0),
            Connection(&[PROTOCOL_ERROR]),
        ),
        case(
            clause,
            "WINDOW_UPDATE of zero on a stream",
            [get(1, "/slow"), window_update(1, 0)].concat(),
            Stream(&[PROTOCOL_ERROR]),
        ),
        case(
            clause,
            "WINDOW_UPDATE of three octets",
            raw(kind::WINDOW_UPDATE, 0, 0, [0, 0, 1]),
            Connection(&[FRAME_SIZE_ERROR]),
        ),
        case(
            clause,
            "WINDOW_UPDATE of five octets",
            raw(kind::WINDOW_UPDATE, 0, 0, [0, 0, 0, 0, 1]),
            Connection(&[FRAME_SIZE_ERROR]),
        ),
        case(
            "RFC 9113 section 6.9.1",
            "the window of the connection overflows",
            [window_update(0, (1 << 31) - 1), window_update(0, (1 << 31) - 1)].concat(),
            Connection(&[FLOW_CONTROL_ERROR]),
        ),
        case(
            "RFC 9113 section 6.9.1",
            "the window of a stream overflows",
            [get(1, "/slow"), window_update(1, (1 << 31) - 1), window_update(1, (1 << 31) - 1)].concat(),
            Stream(&[FLOW_CONTROL_ERROR]),
        ),
        case(
            "RFC 9113 section 6.9.2",
            "a setting makes the window of a stream overflow",
            [
                get(1, "/slow"),
                window_update(1, 1 << 30),
                settings(&[(setting::INITIAL_WINDOW_SIZE, (1 << 31) - 1)]),
            ]
            .concat(),
            Connection(&[FLOW_CONTROL_ERROR]),
        ),
    ]);
    let clause = "RFC 9113 section 6.10";
    let opened = || headers(1, flag::END_STREAM, &request("GET", "/ok"));
    let spoilt = || headers(1, flag::END_STREAM, &request("GET", "/malformed"));
    let more = |flags| continuation(1, flags, block(&[("a", "b")]));
    cases.extend([
        case(clause, "one CONTINUATION", [opened(), more(flag::END_HEADERS)].concat(), Answered(1, 200)),
        case(
            clause,
            "several CONTINUATION",
            [opened(), more(0), more(0), more(flag::END_HEADERS)].concat(),
            Answered(1, 200),
        ),
        case(clause, "a field cut in two", cut_in_two(), Answered(1, 200)),
        case(
            clause,
            "an empty CONTINUATION at the end",
            [opened(), continuation(1, flag::END_HEADERS, [])].concat(),
            Answered(1, 200),
        ),
        case(
            clause,
            "CONTINUATION, then another frame",
            [spoilt(), more(0), data(1, flag::END_STREAM, *b"x")].concat(),
            Connection(&[PROTOCOL_ERROR]),
        ),
        case(
            clause,
            "CONTINUATION on stream zero",
            [spoilt(), continuation(0, flag::END_HEADERS, [])].concat(),
            Connection(&[PROTOCOL_ERROR]),
        ),
        case(
            clause,
            "CONTINUATION on another stream",
            [spoilt(), continuation(3, flag::END_HEADERS, [])].concat(),
            Connection(&[PROTOCOL_ERROR]),
        ),
        case(
            clause,
            "CONTINUATION after the end of HEADERS",
            [headers(1, flag::END_HEADERS, &request("POST", "/malformed")), more(flag::END_HEADERS)].concat(),
            Connection(&[PROTOCOL_ERROR]),
        ),
        case(
            clause,
            "CONTINUATION after the end of CONTINUATION",
            [headers(1, 0, &request("POST", "/malformed")), more(flag::END_HEADERS), more(flag::END_HEADERS)]
                .concat(),
            Connection(&[PROTOCOL_ERROR]),
        ),
        case(
            clause,
            "CONTINUATION after DATA",
            [post(1, "/malformed"), data(1, 0, *b"x"), more(flag::END_HEADERS)].concat(),
            Connection(&[PROTOCOL_ERROR]),
        ),
    ]);
    cases.push(case(
        "RFC 9113 section 7",
        "RST_STREAM with an unknown code",
        [get(1, "/slow"), reset(1, 0xff)].concat(),
        Alive,
    ));
    cases.push(case(
        "RFC 9113 section 7",
        "GOAWAY with an unknown code",
        [get(1, "/ok"), raw(kind::GOAWAY, 0, 0, [0, 0, 0, 0, 0, 0, 0, 0xff])].concat(),
        Decided(1),
    ));
    cases
}

/// A request whose block breaks in the middle of a string.
fn cut_in_two() -> Vec<u8> {
    let whole = block(&request("GET", "/ok"));
    let (first, second) = whole.split_at(whole.len() / 2);
    [raw(kind::HEADERS, flag::END_STREAM, 1, first), continuation(1, flag::END_HEADERS, second)].concat()
}
