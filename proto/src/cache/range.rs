//! Byte ranges (RFC 9110 section 14): what a request asks, what of it is answered, and the heads of 206 and
//! 416. Whether a range may be answered at all (`If-Range`) is [`super::precondition::if_range_holds`].

use std::ops::Range;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header::RANGE};

/// More ranges than this in one request are answered by the whole body.
pub const RANGES_MAX: usize = 16;

/// More ranges than this that overlap another are answered by the whole body: no honest client asks for
/// bytes twice, and a set of them multiplies a body (RFC 9110 section 17.15).
const OVERLAPS_MAX: usize = 2;

/// What a range request asks, before the total is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The whole: no `Range`, one in a unit other than bytes, or one that is malformed.
    None,
    /// One range.
    One(ByteRange),
    /// Several.
    Other,
}

/// One range, as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// From the first through the second position, both included.
    FromTo(u64, u64),
    /// From this position to the end.
    From(u64),
    /// This many bytes before the end.
    Suffix(u64),
}

/// What of a body of known length is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selected {
    /// All of it, as a 200.
    Whole,
    /// One piece, as a 206 with `Content-Range`.
    One(Range<u64>),
    /// Several that neither overlap nor touch, as a 206 with `multipart/byteranges`, in the order asked.
    Many(Vec<Range<u64>>),
    /// Nothing: 416.
    Unsatisfiable,
}

/// What the request asks. Fields that are repeated or malformed ask for nothing.
pub fn asked(request_headers: &HeaderMap) -> Asked {
    match parse(request_headers).as_deref() {
        None => Asked::None,
        Some([range]) => Asked::One(*range),
        Some(_) => Asked::Other,
    }
}

/// What of a body of `total` bytes answers the request.
///
/// Malformed sets and those that cost more than they may be worth are ignored, as RFC 9110 section 14.2
/// allows. Ranges that overlap or touch are joined.
pub fn select(method: &Method, request_headers: &HeaderMap, total: u64) -> Selected {
    if *method != Method::GET {
        return Selected::Whole;
    }
    let Some(asked) = parse(request_headers) else { return Selected::Whole };
    // A suffix of an empty body is satisfiable, but no `Content-Range` can say so.
    if total == 0 && asked.iter().any(|range| matches!(range, ByteRange::Suffix(1..))) {
        return Selected::Whole;
    }
    let ranges: Vec<Range<u64>> = asked.iter().filter_map(|range| range.within(total)).collect();
    match ranges.len() {
        0 => Selected::Unsatisfiable,
        1 => Selected::One(ranges[0].clone()),
        _ if overlaps(&ranges) > OVERLAPS_MAX => Selected::Whole,
        _ => {
            let mut joined = join(&ranges);
            if joined.len() == 1 { Selected::One(joined.remove(0)) } else { Selected::Many(joined) }
        }
    }
}

impl ByteRange {
    /// The bytes it names of a body of `total` bytes; `None` when there are none (RFC 9110 section 14.1.2).
    pub fn within(self, total: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::FromTo(first, last) => first..last.saturating_add(1).min(total),
            Self::From(first) => first..total,
            Self::Suffix(length) => total.saturating_sub(length)..total,
        };
        (range.start < range.end).then_some(range)
    }
}

/// What a `Content-Range` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// The bytes that are enclosed; never empty.
    pub range: Range<u64>,
    /// The length of the whole; `None` where the sender did not know it.
    pub total: Option<u64>,
}

impl ContentRange {
    /// Reads the field of a 206 (RFC 9110 section 14.4). `None` for what is malformed, for a piece that
    /// does not lie within the total, and for the `bytes */N` of a 416.
    pub fn parse(value: &HeaderValue) -> Option<Self> {
        let (unit, rest) = value.to_str().ok()?.trim().split_once(' ')?;
        let (range, total) = rest.trim_start().split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last) = (exact(first)?, exact(last)?);
        let total = if total == "*" { None } else { Some(exact(total)?) };
        let valid = unit.eq_ignore_ascii_case("bytes")
            && first <= last
            && last < u64::MAX
            && total.is_none_or(|total| last < total);
        valid.then(|| Self { range: first..last + 1, total })
    }

    /// The field of a 206.
    pub fn render(&self) -> HeaderValue {
        HeaderValue::try_from(self.text()).expect("digits and ASCII are a field value")
    }

    fn text(&self) -> String {
        let (first, last) = (self.range.start, self.range.end.saturating_sub(1));
        match self.total {
            Some(total) => format!("bytes {first}-{last}/{total}"),
            None => format!("bytes {first}-{last}/*"),
        }
    }
}

/// The `Content-Range` of a 416.
pub fn unsatisfied(total: u64) -> HeaderValue {
    HeaderValue::try_from(format!("bytes */{total}")).expect("digits and ASCII are a field value")
}

/// A `multipart/byteranges` body (RFC 9110 section 14.6): which pieces it has, before any is read.
#[derive(Clone, Debug)]
pub struct Multipart {
    boundary: String,
    content_type: Option<HeaderValue>,
    ranges: Vec<Range<u64>>,
    total: u64,
}

/// One piece of a multipart body, in the order to send them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// These bytes.
    Frame(Bytes),
    /// These bytes of the stored body.
    Body(Range<u64>),
}

impl Multipart {
    /// The body for `ranges` of a stored one of `total` bytes and this `Content-Type`. The boundary is made
    /// of `random`, which must be hard to guess: who writes the stored body must not be able to forge it.
    pub fn new(ranges: Vec<Range<u64>>, total: u64, content_type: Option<HeaderValue>, random: u128) -> Self {
        Self { boundary: format!("{random:032x}"), content_type, ranges, total }
    }

    /// Its own `Content-Type`.
    pub fn content_type(&self) -> HeaderValue {
        let value = format!("multipart/byteranges; boundary={}", self.boundary);
        HeaderValue::try_from(value).expect("hexadecimal digits and ASCII are a field value")
    }

    /// Its exact length.
    pub fn content_length(&self) -> u64 {
        let length = |piece| match piece {
            Piece::Frame(bytes) => bytes.len() as u64,
            Piece::Body(range) => range.end - range.start,
        };
        self.pieces().map(length).sum()
    }

    /// What to send.
    pub fn pieces(&self) -> impl Iterator<Item = Piece> {
        let parts = self.ranges.iter().enumerate().flat_map(|(position, range)| {
            [Piece::Frame(self.part_head(position, range)), Piece::Body(range.clone())]
        });
        let end = Piece::Frame(Bytes::from(format!("\r\n--{}--\r\n", self.boundary)));
        parts.chain(std::iter::once(end))
    }

    fn part_head(&self, position: usize, range: &Range<u64>) -> Bytes {
        let mut head = Vec::with_capacity(160);
        if position > 0 {
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(format!("--{}\r\n", self.boundary).as_bytes());
        if let Some(content_type) = &self.content_type {
            head.extend_from_slice(b"Content-Type: ");
            head.extend_from_slice(content_type.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        let content_range = ContentRange { range: range.clone(), total: Some(self.total) };
        head.extend_from_slice(format!("Content-Range: {}\r\n\r\n", content_range.text()).as_bytes());
        Bytes::from(head)
    }
}

/// The ranges asked, one to [`RANGES_MAX`]; `None` where the field is to be ignored.
fn parse(headers: &HeaderMap) -> Option<Vec<ByteRange>> {
    let mut values = headers.get_all(RANGE).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (unit, set) = value.trim().split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    // RFC 9110 section 5.6.1.2: empty list members are passed over, but not counted for nothing.
    let members = set.split(',').take(2 * RANGES_MAX + 1).map(|member| member.trim_matches([' ', '\t']));
    let ranges: Vec<ByteRange> =
        members.filter(|member| !member.is_empty()).map(parse_one).collect::<Option<_>>()?;
    (!ranges.is_empty() && ranges.len() <= RANGES_MAX && set.split(',').nth(2 * RANGES_MAX).is_none())
        .then_some(ranges)
}

fn parse_one(member: &str) -> Option<ByteRange> {
    match member.split_once('-')? {
        ("", length) => Some(ByteRange::Suffix(saturating(length)?)),
        (first, "") => Some(ByteRange::From(saturating(first)?)),
        (first, last) => {
            let (first, last) = (saturating(first)?, saturating(last)?);
            (first <= last).then_some(ByteRange::FromTo(first, last))
        }
    }
}

/// A position in a request: one beyond all numbers is beyond the end of any body.
fn saturating(digits: &str) -> Option<u64> {
    is_digits(digits).then(|| digits.parse().unwrap_or(u64::MAX))
}

fn exact(digits: &str) -> Option<u64> {
    is_digits(digits).then(|| digits.parse().ok()).flatten()
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// How many of the ranges share bytes with an earlier one.
fn overlaps(ranges: &[Range<u64>]) -> usize {
    let shares = |one: &Range<u64>, other: &Range<u64>| one.start < other.end && other.start < one.end;
    (1..ranges.len())
        .filter(|position| ranges[..*position].iter().any(|earlier| shares(earlier, &ranges[*position])))
        .count()
}

/// The ranges with those that overlap or touch made one, which stands where its first part stood.
fn join(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        let mut range = range.clone();
        let mut position = joined.len();
        // What was joined before is apart, so one pass finds all that the new range reaches.
        for at in (0..joined.len()).rev() {
            if joined[at].start <= range.end && range.start <= joined[at].end {
                let reached = joined.remove(at);
                range = range.start.min(reached.start)..range.end.max(reached.end);
                position = at;
            }
        }
        joined.insert(position, range);
    }
    joined
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(RANGE, HeaderValue::from_str(value).unwrap())])
    }

    /// What of ten bytes is sent.
    fn of_ten(value: &str) -> Selected {
        select(&Method::GET, &with(value), 10)
    }

    #[test]
    fn the_three_forms() {
        assert_eq!(of_ten("bytes=0-1"), Selected::One(0..2));
        assert_eq!(of_ten("bytes=4-"), Selected::One(4..10));
        assert_eq!(of_ten("bytes=-3"), Selected::One(7..10));
        assert_eq!(of_ten("Bytes=9-9"), Selected::One(9..10));
    }

    #[test]
    fn what_reaches_past_the_end_is_cut() {
        assert_eq!(of_ten("bytes=8-100"), Selected::One(8..10));
        assert_eq!(of_ten("bytes=-100"), Selected::One(0..10));
        assert_eq!(of_ten("bytes=0-99999999999999999999999"), Selected::One(0..10));
        assert_eq!(of_ten("bytes=0-18446744073709551615"), Selected::One(0..10));
    }

    #[test]
    fn what_begins_past_the_end_cannot_be_satisfied() {
        for value in ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99999999999999999999-", "bytes=11-12,-0"]
        {
            assert_eq!(of_ten(value), Selected::Unsatisfiable, "{value}");
        }
        assert_eq!(of_ten("bytes=20-30,1-2"), Selected::One(1..3));
        assert_eq!(select(&Method::GET, &with("bytes=0-"), 0), Selected::Unsatisfiable);
        assert_eq!(select(&Method::GET, &with("bytes=-5"), 0), Selected::Whole);
        assert_eq!(unsatisfied(10), "bytes */10");
    }

    #[test]
    fn what_is_malformed_is_ignored() {
        for value in [
            "bytes=5-4",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=1",
            "bytes 1-2",
            "bytes=1-2-3",
            "bytes=+1-2",
            "bytes=1-2,x",
            "bytes=--1",
            "lines=1-2",
            "bytes=0x1-2",
            "bytes=1 - 2",
            "=1-2",
            "bytes=1-2,5-4",
            "bytes=,",
        ] {
            assert_eq!(of_ten(value), Selected::Whole, "{value}");
            assert_eq!(asked(&with(value)), Asked::None, "{value}");
        }
        let mut twice = with("bytes=0-1");
        twice.append(RANGE, HeaderValue::from_static("bytes=2-3"));
        assert_eq!(select(&Method::GET, &twice, 10), Selected::Whole);
    }

    #[test]
    fn only_get_has_ranges() {
        for method in [Method::HEAD, Method::POST] {
            assert_eq!(select(&method, &with("bytes=0-1"), 10), Selected::Whole);
        }
        assert_eq!(select(&Method::GET, &HeaderMap::new(), 10), Selected::Whole);
    }

    #[test]
    fn several_keep_the_order_asked() {
        assert_eq!(of_ten("bytes=8-9, ,0-1"), Selected::Many(vec![8..10, 0..2]));
        assert_eq!(of_ten("bytes=0-0,-1"), Selected::Many(vec![0..1, 9..10]));
    }

    #[test]
    fn ranges_that_overlap_or_touch_are_joined() {
        assert_eq!(of_ten("bytes=0-3,2-5"), Selected::One(0..6));
        assert_eq!(of_ten("bytes=0-3,4-5"), Selected::One(0..6));
        assert_eq!(of_ten("bytes=0-1,8-9,2-3"), Selected::Many(vec![0..4, 8..10]));
        assert_eq!(of_ten("bytes=0-1,4-5,1-4"), Selected::One(0..6));
    }

    /// The class of CVE-2011-3192: hundreds of overlapping ranges made a server build hundreds of bodies.
    #[test]
    fn a_set_that_multiplies_the_body_is_ignored() {
        assert_eq!(of_ten("bytes=0-,1-,2-"), Selected::One(0..10));
        assert_eq!(of_ten("bytes=0-,1-,2-,3-"), Selected::Whole);
        let many = |count: u64| {
            let set: Vec<String> = (0..count).map(|n| format!("{0}-{0}", n * 2)).collect();
            select(&Method::GET, &with(&format!("bytes={}", set.join(","))), 1000)
        };
        assert!(matches!(many(16), Selected::Many(ranges) if ranges.len() == 16));
        assert_eq!(many(17), Selected::Whole);
        assert_eq!(of_ten(&format!("bytes={}0-1", ",".repeat(100))), Selected::Whole);
    }

    #[test]
    fn what_is_asked_is_known_before_the_total() {
        assert_eq!(asked(&with("bytes=1-2")), Asked::One(ByteRange::FromTo(1, 2)));
        assert_eq!(asked(&with("bytes=1-")), Asked::One(ByteRange::From(1)));
        assert_eq!(asked(&with("bytes=-2")), Asked::One(ByteRange::Suffix(2)));
        assert_eq!(asked(&with("bytes=1-2,4-5")), Asked::Other);
        assert_eq!(asked(&HeaderMap::new()), Asked::None);
    }

    #[test]
    fn content_range_is_read_strictly() {
        let parse = |value| ContentRange::parse(&HeaderValue::from_static(value));
        assert_eq!(parse("bytes 0-4/10"), Some(ContentRange { range: 0..5, total: Some(10) }));
        assert_eq!(parse("bytes 4-4/*"), Some(ContentRange { range: 4..5, total: None }));
        for value in [
            "bytes */10",
            "bytes 5-4/10",
            "bytes 0-10/10",
            "bytes 0-4",
            "bytes 0-4/",
            "bytes=0-4/10",
            "lines 0-4/10",
            "bytes 0-4/x",
            "bytes -4/10",
            "bytes 0-18446744073709551615/*",
            "bytes 0-4/99999999999999999999",
            "",
        ] {
            assert_eq!(parse(value), None, "{value}");
        }
    }

    #[test]
    fn a_multipart_body_is_framed_as_mime() {
        let html = HeaderValue::from_static("text/html");
        let multipart = Multipart::new(vec![0..2, 8..10], 10, Some(html), 0xab);
        let mut body = String::new();
        for piece in multipart.pieces() {
            match piece {
                Piece::Frame(bytes) => body.push_str(std::str::from_utf8(&bytes).unwrap()),
                Piece::Body(range) => body.push_str(&"0123456789"[range.start as usize..range.end as usize]),
            }
        }
        let mark = "000000000000000000000000000000ab";
        assert_eq!(multipart.content_type(), format!("multipart/byteranges; boundary={mark}"));
        let expected = format!(
            "--{mark}\r\nContent-Type: text/html\r\nContent-Range: bytes 0-1/10\r\n\r\n01\r\n\
             --{mark}\r\nContent-Type: text/html\r\nContent-Range: bytes 8-9/10\r\n\r\n89\r\n--{mark}--\r\n"
        );
        assert_eq!(body, expected);
        assert_eq!(multipart.content_length(), expected.len() as u64);
    }

    fn set() -> impl Strategy<Value = String> {
        let member = prop_oneof![
            (0u64..40, 0u64..12).prop_map(|(first, length)| format!("{first}-{}", first + length)),
            (0u64..40).prop_map(|first| format!("{first}-")),
            (0u64..40).prop_map(|length| format!("-{length}")),
        ];
        proptest::collection::vec(member, 1..7).prop_map(|members| format!("bytes={}", members.join(",")))
    }

    proptest! {
        #[test]
        fn what_is_selected_is_what_was_asked(set in set(), total in 0u64..40) {
            let asked = parse(&with(&set)).unwrap();
            let wanted = |at: &u64| asked.iter().filter_map(|range| range.within(total)).any(|range| range.contains(at));
            let wanted: Vec<u64> = (0..total).filter(wanted).collect();
            let sent = match select(&Method::GET, &with(&set), total) {
                Selected::Whole => return Ok(()),
                Selected::Unsatisfiable => Vec::new(),
                Selected::One(range) => vec![range],
                Selected::Many(ranges) => { prop_assert!(ranges.len() > 1); ranges }
            };
            let mut bytes: Vec<u64> = sent.into_iter().flatten().collect();
            bytes.sort_unstable();
            prop_assert_eq!(bytes, wanted, "each byte asked, once");
        }

        #[test]
        fn content_range_is_read_as_written(start in 0u64..1000, length in 1u64..1000, more in proptest::option::of(0u64..1000)) {
            let range = start..start + length;
            let written = ContentRange { total: more.map(|more| range.end + more), range };
            prop_assert_eq!(ContentRange::parse(&written.render()), Some(written));
        }

        #[test]
        fn no_field_value_breaks_it(value in "(bytes=)?[ -~]{0,30}", total: u64) {
            select(&Method::GET, &with(&value), total);
            ContentRange::parse(&HeaderValue::from_str(&value).unwrap());
        }
    }
}
