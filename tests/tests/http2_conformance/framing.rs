//! Frames and streams (RFC 9113 sections 4 and 5).

use starling_tests::frames::{
    Frame, block, code::*, continuation, data, flag, get, headers, kind, literal, ping, post, priority,
    request, reset, window_update,
};

use crate::case::{Case, Verdict::*, case};

const PING: [u8; 8] = *b"h2-ping!";

/// RFC 9113 section 4.1.
pub fn format() -> Vec<Case> {
    let clause = "RFC 9113 section 4.1";
    let mut cases = vec![
        case(
            clause,
            "a frame of unknown type is ignored",
            Frame::new(0xee, 0, 0, *b"whatever").bytes(),
            Alive,
        ),
        case(
            clause,
            "a frame of unknown type on an idle stream is ignored",
            Frame::new(0xee, 0xff, 7, []).bytes(),
            Alive,
        ),
        case(clause, "undefined flags are ignored", Frame::new(kind::PING, 0x16, 0, PING).bytes(), Alive),
        case(clause, "the reserved bit is ignored", Frame::new(kind::PING, 0, 1 << 31, PING).bytes(), Alive),
        case(
            clause,
            "the reserved bit of HEADERS is ignored",
            Frame::new(kind::HEADERS, flag::END_BOTH, 1 << 31 | 1, block(&request("GET", "/ok"))).bytes(),
            Answered(1, 200),
        ),
    ];
    let clause = "RFC 9113 section 4.2";
    cases.extend([
        case(
            clause,
            "a frame of 2^14 octets is taken",
            [post(1, "/ok"), data(1, flag::END_STREAM, vec![b'x'; 1 << 14])].concat(),
            Answered(1, 200),
        ),
        case(
            clause,
            "DATA larger than SETTINGS_MAX_FRAME_SIZE",
            [post(1, "/malformed"), data(1, flag::END_STREAM, vec![b'x'; (1 << 24) - 1])].concat(),
            Stream(&[FRAME_SIZE_ERROR]),
        ),
        case(
            clause,
            "HEADERS larger than SETTINGS_MAX_FRAME_SIZE",
            Frame::new(kind::HEADERS, flag::END_BOTH, 1, vec![0x82; (1 << 24) - 1]).bytes(),
            Connection(&[FRAME_SIZE_ERROR]),
        ),
        case(
            clause,
            "SETTINGS larger than SETTINGS_MAX_FRAME_SIZE",
            Frame::new(kind::SETTINGS, 0, 0, vec![0; 6 * 2_500_000]).bytes(),
            Connection(&[FRAME_SIZE_ERROR]),
        ),
        case(
            clause,
            "CONTINUATION larger than SETTINGS_MAX_FRAME_SIZE",
            [
                headers(1, 0, &request("GET", "/malformed")),
                continuation(1, flag::END_HEADERS, vec![0x82; (1 << 24) - 1]),
            ]
            .concat(),
            Connection(&[FRAME_SIZE_ERROR]),
        ),
    ]);
    let clause = "RFC 9113 section 4.3";
    cases.extend([
        case(
            clause,
            "a block that cannot be decoded",
            Frame::new(kind::HEADERS, flag::END_BOTH, 1, *b"\x40").bytes(),
            Connection(&[COMPRESSION_ERROR]),
        ),
        case(
            clause,
            "PRIORITY inside a block",
            [
                headers(1, flag::END_STREAM, &request("GET", "/malformed")),
                priority(1, 0),
                continuation(1, flag::END_HEADERS, block(&[("a", "b")])),
            ]
            .concat(),
            Connection(&[PROTOCOL_ERROR]),
        ),
        case(
            clause,
            "HEADERS of another stream inside a block",
            [headers(1, flag::END_STREAM, &request("GET", "/malformed")), get(3, "/malformed")].concat(),
            Connection(&[PROTOCOL_ERROR]),
        ),
        case(
            clause,
            "PING inside a block",
            [headers(1, flag::END_STREAM, &request("GET", "/malformed")), ping(PING)].concat(),
            Connection(&[PROTOCOL_ERROR]),
        ),
        case(
            clause,
            "DATA inside a block",
            [headers(1, 0, &request("POST", "/malformed")), data(1, flag::END_STREAM, *b"x")].concat(),
            Connection(&[PROTOCOL_ERROR]),
        ),
    ]);
    cases
}

/// RFC 9113 section 5.1: what may be sent in which state.
pub fn states() -> Vec<Case> {
    let clause = "RFC 9113 section 5.1";
    let trailer = || continuation(1, flag::END_HEADERS, block(&[("a", "b")]));
    let mut cases = vec![
        case(
            clause,
            "idle: DATA",
            data(1, flag::END_STREAM, *b"x"),
            Connection(&[PROTOCOL_ERROR, STREAM_CLOSED]),
        ),
        case(clause, "idle: RST_STREAM", reset(1, CANCEL), Connection(&[PROTOCOL_ERROR])),
        case(clause, "idle: WINDOW_UPDATE", window_update(1, 100), Connection(&[PROTOCOL_ERROR])),
        case(clause, "idle: CONTINUATION", trailer(), Connection(&[PROTOCOL_ERROR])),
        case(clause, "idle: PRIORITY is taken", priority(1, 0), Alive),
        case(
            clause,
            "idle: RST_STREAM on a stream of the server",
            reset(2, CANCEL),
            Connection(&[PROTOCOL_ERROR]),
        ),
        case(
            clause,
            "idle: DATA on a stream of the server",
            data(2, 0, *b"x"),
            Connection(&[PROTOCOL_ERROR, STREAM_CLOSED]),
        ),
        case(
            clause,
            "idle: WINDOW_UPDATE on a stream of the server",
            window_update(2, 1),
            Connection(&[PROTOCOL_ERROR]),
        ),
        case(
            clause,
            "half-closed (remote): DATA",
            [get(1, "/slow"), data(1, flag::END_STREAM, *b"x")].concat(),
            Stream(&[STREAM_CLOSED]),
        ),
        case(
            clause,
            "half-closed (remote): HEADERS",
            [get(1, "/slow"), get(1, "/slow")].concat(),
            Stream(&[STREAM_CLOSED]),
        ),
        case(
            clause,
            "half-closed (remote): CONTINUATION",
            [get(1, "/slow"), trailer()].concat(),
            Connection(&[STREAM_CLOSED, PROTOCOL_ERROR]),
        ),
        case(
            clause,
            "half-closed (remote): WINDOW_UPDATE is taken",
            [get(1, "/slow"), window_update(1, 100)].concat(),
            Answered(1, 200),
        ),
        case(
            clause,
            "half-closed (remote): PRIORITY is taken",
            [get(1, "/slow"), priority(1, 0)].concat(),
            Answered(1, 200),
        ),
        case(
            clause,
            "half-closed (remote): RST_STREAM is taken",
            [get(1, "/slow"), reset(1, CANCEL)].concat(),
            Alive,
        ),
        case(
            clause,
            "closed by RST_STREAM: DATA",
            [post(1, "/slow"), reset(1, CANCEL), data(1, flag::END_STREAM, *b"x")].concat(),
            Stream(&[STREAM_CLOSED]),
        ),
        case(
            clause,
            "closed by RST_STREAM: HEADERS",
            [post(1, "/slow"), reset(1, CANCEL), get(1, "/slow")].concat(),
            Stream(&[STREAM_CLOSED]),
        ),
        case(
            clause,
            "closed by RST_STREAM: CONTINUATION",
            [post(1, "/slow"), reset(1, CANCEL), trailer()].concat(),
            Connection(&[STREAM_CLOSED, PROTOCOL_ERROR]),
        ),
        case(
            clause,
            "closed by RST_STREAM: PRIORITY is taken",
            [post(1, "/slow"), reset(1, CANCEL), priority(1, 0)].concat(),
            Alive,
        ),
        case(
            clause,
            "closed by RST_STREAM: WINDOW_UPDATE is taken",
            [post(1, "/slow"), reset(1, CANCEL), window_update(1, 1)].concat(),
            Alive,
        ),
        case(
            clause,
            "closed by RST_STREAM: a second one is taken",
            [post(1, "/slow"), reset(1, CANCEL), reset(1, CANCEL)].concat(),
            Alive,
        ),
        case(clause, "closed by END_STREAM: DATA", get(1, "/ok"), Stream(&[STREAM_CLOSED]))
            .then(1, data(1, flag::END_STREAM, *b"x")),
        case(
            clause,
            "closed by END_STREAM: HEADERS",
            get(1, "/ok"),
            Stream(&[STREAM_CLOSED, PROTOCOL_ERROR]),
        )
        .then(1, get(1, "/ok")),
        case(
            clause,
            "closed by END_STREAM: CONTINUATION",
            get(1, "/ok"),
            Connection(&[STREAM_CLOSED, PROTOCOL_ERROR]),
        )
        .then(1, trailer()),
        case(clause, "closed by END_STREAM: PRIORITY is taken", get(1, "/ok"), Alive).then(1, priority(1, 0)),
        case(clause, "closed by END_STREAM: WINDOW_UPDATE is taken", get(1, "/ok"), Alive)
            .then(1, window_update(1, 1)),
        case(clause, "closed by END_STREAM: RST_STREAM is taken", get(1, "/ok"), Alive)
            .then(1, reset(1, CANCEL)),
    ];
    let clause = "RFC 9113 section 5.1.1";
    cases.extend([
        case(clause, "an even identifier", get(2, "/malformed"), Connection(&[PROTOCOL_ERROR])),
        case(clause, "stream zero", get(0, "/malformed"), Connection(&[PROTOCOL_ERROR])),
        case(
            clause,
            "an identifier lower than an earlier one",
            get(5, "/ok"),
            Connection(&[PROTOCOL_ERROR, STREAM_CLOSED]),
        )
        .then(5, get(3, "/malformed")),
        case(clause, "identifiers may be skipped", get(1001, "/ok"), Answered(1001, 200)),
        case(clause, "the highest identifier", get((1 << 31) - 1, "/ok"), Answered((1 << 31) - 1, 200)),
    ]);
    let clause = "RFC 9113 section 5.3";
    let mut dependent = 1u32.to_be_bytes().to_vec();
    dependent.push(0xff);
    dependent.extend(block(&request("GET", "/ok")));
    cases.extend([
        case(
            clause,
            "HEADERS that depend on themselves",
            Frame::new(kind::HEADERS, flag::END_BOTH | flag::PRIORITY, 1, dependent).bytes(),
            Decided(1),
        ),
        case(clause, "PRIORITY that depends on itself", [priority(1, 1), get(1, "/ok")].concat(), Decided(1)),
        case(
            clause,
            "PRIORITY_UPDATE is ignored",
            [Frame::new(kind::PRIORITY_UPDATE, 0, 0, *b"\0\0\0\x01u=1").bytes(), get(1, "/ok")].concat(),
            Answered(1, 200),
        ),
    ]);
    let clause = "RFC 9113 section 5.5";
    cases.extend([
        case(
            clause,
            "an unknown frame between requests is ignored",
            [get(1, "/ok"), Frame::new(0xfe, 0, 1, *b"x").bytes()].concat(),
            Answered(1, 200),
        ),
        case(
            clause,
            "an unknown frame inside a block",
            [
                headers(1, flag::END_STREAM, &request("GET", "/malformed")),
                Frame::new(0xfe, 0, 0, []).bytes(),
                trailer(),
            ]
            .concat(),
            Connection(&[PROTOCOL_ERROR]),
        ),
    ]);
    cases
}

/// RFC 7541: what a decoder must refuse, and what it must take.
pub fn hpack() -> Vec<Case> {
    let bad = |clause, name: &str, tail: &[u8]| {
        let payload = [&block(&request("GET", "/malformed"))[..], tail].concat();
        case(
            clause,
            name,
            Frame::new(kind::HEADERS, flag::END_BOTH, 1, payload).bytes(),
            Connection(&[COMPRESSION_ERROR]),
        )
    };
    let good = |clause, name: &str, before: &[u8], after: &[u8]| {
        let payload = [before, &block(&request("GET", "/ok"))[..], after].concat();
        case(clause, name, Frame::new(kind::HEADERS, flag::END_BOTH, 1, payload).bytes(), Answered(1, 200))
    };
    let mut pseudo_by_index = vec![0x82, 0x86];
    literal(&mut pseudo_by_index, b":path", b"/ok");
    literal(&mut pseudo_by_index, b":authority", b"hostile.test");
    vec![
        bad("RFC 7541 section 2.3.3", "an index beyond both tables", &[0xff, 0x80, 0x01]),
        bad("RFC 7541 section 2.3.3", "an index just beyond the static table", &[0x80 | 62]),
        bad(
            "RFC 7541 section 2.3.3",
            "a name by an index beyond both tables",
            &[0x7f, 0x80, 0x01, 0x01, b'x'],
        ),
        bad("RFC 7541 section 4.2", "a size update at the end of a block", &[0x20]),
        bad(
            "RFC 7541 section 5.1",
            "an integer that overflows",
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f],
        ),
        bad("RFC 7541 section 5.1", "an integer without an end", &[0xff, 0x80]),
        bad("RFC 7541 section 5.2", "a string longer than its block", &[0x00, 0x01, b'a', 0x7f, b'b']),
        bad(
            "RFC 7541 section 5.2",
            "Huffman padding of more than seven bits",
            b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff",
        ),
        bad(
            "RFC 7541 section 5.2",
            "Huffman padding of zeros",
            b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90",
        ),
        bad(
            "RFC 7541 section 5.2",
            "Huffman code with EOS in it",
            b"\x00\x85\xf2\xb2\x4a\x84\xff\x87\x49\x51\xff\xff\xff\xfa\x7f",
        ),
        bad("RFC 7541 section 6.1", "index zero", &[0x80]),
        bad("RFC 7541 section 6.2.1", "a literal without a value", &[0x40, 0x01, b'a']),
        case(
            "RFC 7541 section 6.3",
            "a size update beyond SETTINGS_HEADER_TABLE_SIZE",
            Frame::new(
                kind::HEADERS,
                flag::END_BOTH,
                1,
                [&[0x3f, 0xe1, 0xff, 0x3f], &block(&request("GET", "/malformed"))[..]].concat(),
            )
            .bytes(),
            Connection(&[COMPRESSION_ERROR]),
        ),
        good("RFC 7541 section 6.2.1", "a literal that is indexed", &[], b"\x40\x01a\x01b"),
        good("RFC 7541 section 6.2.2", "a literal that is not indexed", &[], b"\x00\x01a\x01b"),
        good("RFC 7541 section 6.1", "a field of the dynamic table", &[], b"\x40\x01a\x01b\xbe"),
        good(
            "RFC 7541 section 5.2",
            "a Huffman-coded string",
            &[],
            b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x9f",
        ),
        good("RFC 7541 section 6.3", "a size update at the start of a block", &[0x20], &[]),
        good(
            "RFC 7541 section 4.2",
            "two size updates at the start of a block",
            &[0x20, 0x3f, 0xe1, 0x1f],
            &[],
        ),
        case(
            "RFC 7541 section 6.1",
            "pseudo-fields of the static table",
            Frame::new(kind::HEADERS, flag::END_BOTH, 1, pseudo_by_index).bytes(),
            Answered(1, 200),
        ),
        case(
            "RFC 7541 section 2.2",
            "the dynamic table outlives a request",
            Frame::new(
                kind::HEADERS,
                flag::END_BOTH,
                1,
                [&block(&request("GET", "/ok"))[..], b"\x40\x01a\x01b"].concat(),
            )
            .bytes(),
            Answered(3, 200),
        )
        .then(
            1,
            Frame::new(
                kind::HEADERS,
                flag::END_BOTH,
                3,
                [&block(&request("GET", "/ok"))[..], b"\xbe"].concat(),
            )
            .bytes(),
        ),
    ]
}
