//! Request logs in the common and the combined format of Apache and nginx:
//!
//! ```text
//! CLIENT IDENT USER [10/Oct/2000:13:55:36 -0700] "GET /a.gif HTTP/1.0" 200 2326 "REFERER" "AGENT"
//! ```
//!
//! What stands after the number of bytes is not looked at, so formats that go on in their own way will do.

use std::fmt::Write as _;

/// A request as its log line tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Who asked: an address or a name.
    pub client: String,
    /// Seconds since 1970.
    pub at_s: i64,
    /// `GET` and so on.
    pub method: String,
    /// Path and query, fit to be asked for.
    pub target: String,
    /// What was answered.
    pub status: u16,
    /// How many bytes of a body that had; none for `-`.
    pub bytes: Option<u64>,
}

/// What a line is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A request.
    Request(Entry),
    /// A good line about something that cannot be asked again: no request was read, or it named no path.
    Unaskable,
}

/// Reads a line.
///
/// # Errors
///
/// Why it is no line of such a log.
pub fn parse(line: &str) -> Result<Parsed, &'static str> {
    let (client, rest) = line.split_once(' ').ok_or("no fields")?;
    if client.is_empty() {
        return Err("no client");
    }
    let (_, rest) = rest.split_once(" [").ok_or("no time in brackets")?;
    let (time, rest) = rest.split_once("] \"").ok_or("no request in quotes after the time")?;
    let at_s = time_s(time).ok_or("a time that is none")?;
    let (request, rest) = unquote(rest).ok_or("the quotes of the request are not closed")?;
    let mut rest = rest.strip_prefix(' ').ok_or("no status")?.split(' ');
    let status = rest.next().unwrap_or_default();
    let status: u16 = status.parse().map_err(|_| "a status that is no number")?;
    if !(100..1_000).contains(&status) {
        return Err("a status that is none");
    }
    let bytes = match rest.next() {
        None | Some("") => return Err("no number of bytes"),
        Some("-") => None,
        Some(text) => Some(text.parse().map_err(|_| "a number of bytes that is none")?),
    };
    Ok(askable(&request).map_or(Parsed::Unaskable, |(method, target)| {
        Parsed::Request(Entry { client: client.to_owned(), at_s, method, target, status, bytes })
    }))
}

/// What stands up to the closing quote, with its escapes undone, and the rest behind it.
fn unquote(text: &str) -> Option<(Vec<u8>, &str)> {
    let mut bytes = Vec::with_capacity(text.len().min(256));
    let raw = text.as_bytes();
    let mut at = 0;
    loop {
        match *raw.get(at)? {
            // An ASCII byte is never inside a character, so the text may be cut behind it.
            b'"' => return Some((bytes, &text[at + 1..])),
            b'\\' => match *raw.get(at + 1)? {
                b'x' => {
                    let digits = raw.get(at + 2..at + 4)?;
                    match std::str::from_utf8(digits).ok().and_then(|text| u8::from_str_radix(text, 16).ok())
                    {
                        Some(byte) => bytes.push(byte),
                        None => return None,
                    }
                    at += 4;
                }
                escaped => {
                    bytes.push(match escaped {
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        other => other,
                    });
                    at += 2;
                }
            },
            byte => {
                bytes.push(byte);
                at += 1;
            }
        }
    }
}

/// The method and target of a request line.
fn askable(request: &[u8]) -> Option<(String, String)> {
    let mut words = request.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let (method, target) = (words.next()?, words.next()?);
    if method.is_empty() || method.len() > 20 || !method.iter().all(u8::is_ascii_uppercase) {
        return None;
    }
    // Absolute-form: what a proxy was asked for.
    let scheme = [&b"http://"[..], b"https://"].into_iter().find(|scheme| target.starts_with(scheme));
    let target = match scheme {
        None => target,
        Some(scheme) => {
            let authority = &target[scheme.len()..];
            authority.iter().position(|byte| *byte == b'/').map_or(&b"/"[..], |at| &authority[at..])
        }
    };
    if target.first() != Some(&b'/') {
        return None;
    }
    let method = String::from_utf8_lossy(method).into_owned();
    Some((method, encode(target)))
}

/// Bytes that a target may not hold are percent-encoded; a fragment is none of the server's business.
fn encode(target: &[u8]) -> String {
    let mut text = String::with_capacity(target.len());
    for byte in target.iter().take_while(|byte| **byte != b'#') {
        match byte {
            b'!'..=b'~' if !b"\"<>\\^`{|}".contains(byte) => text.push(char::from(*byte)),
            _ => write!(text, "%{byte:02X}").expect("writing to a string cannot fail"),
        }
    }
    text
}

/// `10/Oct/2000:13:55:36 -0700` in seconds since 1970.
fn time_s(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let marks = [(2, b'/'), (6, b'/'), (11, b':'), (14, b':'), (17, b':'), (20, b' ')];
    if text.len() != 26 || marks.iter().any(|(at, mark)| text.as_bytes()[*at] != *mark) {
        return None;
    }
    let month = MONTHS.iter().position(|name| text.get(3..6) == Some(*name))? as i64 + 1;
    let (day, year) = (number(0, 2)?, number(7, 11)?);
    let (hour, minute, second) = (number(12, 14)?, number(15, 17)?, number(18, 20)?);
    if !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let zone_s = number(22, 24)? * 3_600 + number(24, 26)? * 60;
    let zone_s = match text.as_bytes()[21] {
        b'+' => zone_s,
        b'-' => -zone_s,
        _ => return None,
    };
    Some(days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - zone_s)
}

/// Days from 1970-01-01 in the Gregorian calendar: years are counted from March, so that a leap day is the last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(line: &str) -> Entry {
        match parse(line) {
            Ok(Parsed::Request(entry)) => entry,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_common_line_is_read() {
        let line = r#"127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif HTTP/1.0" 200 2326"#;
        let expected = Entry {
            client: "127.0.0.1".into(),
            at_s: 971_211_336,
            method: "GET".into(),
            target: "/apache_pb.gif".into(),
            status: 200,
            bytes: Some(2_326),
        };
        assert_eq!(request(line), expected);
    }

    #[test]
    fn a_combined_line_is_read_whatever_its_agent_says() {
        let line = r#"2001:db8::17 - - [01/Mar/2024:00:00:00 +0000] "HEAD /a?b=c HTTP/1.1" 304 - "https://x.test/\"q\"" "An \"Agent\" [1] \\""#;
        let entry = request(line);
        assert_eq!((entry.client.as_str(), entry.method.as_str()), ("2001:db8::17", "HEAD"));
        assert_eq!((entry.target.as_str(), entry.status, entry.bytes), ("/a?b=c", 304, None));
        assert_eq!(entry.at_s, 1_709_251_200);
    }

    #[test]
    fn escapes_in_the_request_are_undone_and_what_no_target_may_hold_is_encoded() {
        let line =
            r#"::1 - - [29/Feb/2024:12:00:00 +0130] "GET /say/\"hi\"/\xc3\xa9\\x?q=1#top HTTP/1.1" 200 5"#;
        let entry = request(line);
        assert_eq!(entry.target, "/say/%22hi%22/%C3%A9%5Cx?q=1");
        assert_eq!(entry.at_s, 1_709_202_600);
        let line = r#"1.2.3.4 - - [29/Feb/2024:12:00:00 +0000] "GET http://shop.test:80/x HTTP/1.1" 200 5"#;
        assert_eq!(request(line).target, "/x");
        let line = r#"1.2.3.4 - - [29/Feb/2024:12:00:00 +0000] "GET https://shop.test HTTP/1.1" 200 5"#;
        assert_eq!(request(line).target, "/");
    }

    #[test]
    fn who_sent_no_request_is_no_bad_line() {
        for request in
            ["-", "", r"\x16\x03\x01", "OPTIONS * HTTP/1.1", "CONNECT a.test:443 HTTP/1.1", "get / x"]
        {
            let line = format!(r#"1.2.3.4 - - [29/Feb/2024:12:00:00 +0000] "{request}" 400 0"#);
            assert_eq!(parse(&line), Ok(Parsed::Unaskable), "{line}");
        }
    }

    #[test]
    fn bad_lines_say_what_is_wrong() {
        let good = r#"1.2.3.4 - - [29/Feb/2024:12:00:00 +0000] "GET / HTTP/1.1" 200 5"#;
        assert!(parse(good).is_ok());
        let bad = [
            ("", "no fields"),
            ("hello", "no fields"),
            ("a b c d e", "no time in brackets"),
            (&good.replace("Feb", "Feg"), "a time that is none"),
            (&good.replace("12:00", "25:00"), "a time that is none"),
            (&good.replace("29/", "é9/"), "a time that is none"),
            (&good.replace("1.1\"", "1.1"), "the quotes of the request are not closed"),
            (&good.replace("] \"GET", "] GET"), "no request in quotes after the time"),
            (&good.replace("/ HTTP", r"/\xzz HTTP"), "the quotes of the request are not closed"),
            (&good.replace("200", "OK"), "a status that is no number"),
            (&good.replace("200", "42"), "a status that is none"),
            (&good.replace(" 5", ""), "no number of bytes"),
            (&good.replace(" 5", " -5"), "a number of bytes that is none"),
        ];
        for (line, why) in bad {
            assert_eq!(parse(line), Err(why), "{line}");
        }
    }

    #[test]
    fn days_are_counted_over_leap_years() {
        for (date, expected) in
            [((1970, 1, 1), 0), ((2000, 2, 29), 11_016), ((2000, 3, 1), 11_017), ((2100, 3, 1), 47_541)]
        {
            assert_eq!(days(date.0, date.1, date.2), expected, "{date:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_line_brings_it_down(line in ".{0,200}", request in "[ -~é\\\\]{0,60}") {
            let _ = parse(&line);
            let framed = format!(r#"1.2.3.4 - - [29/Feb/2024:12:00:00 +0000] "{request}" 200 5"#);
            if let Ok(Parsed::Request(entry)) = parse(&framed) {
                assert!(entry.target.parse::<http::Uri>().is_ok(), "{}", entry.target);
            }
        }
    }
}
