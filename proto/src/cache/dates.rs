//! The three date formats of RFC 9110 section 5.6.7, read without regard to letter case.
//!
//! Origins write `AUG` and `gmt`; that loses no meaning. Anything else that is wrong (another time zone, a
//! missing comma, a two-digit year where four belong, a one-digit hour) makes the date invalid, because an
//! invalid `Expires` means "already expired" and a guess would keep a response that should be gone. The
//! weekday is not compared with the date: no recipient needs it.

use crate::UnixMs;

const MONTHS: [&[u8; 3]; 12] =
    [b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"];
const WEEKDAYS: [&[u8]; 7] =
    [b"monday", b"tuesday", b"wednesday", b"thursday", b"friday", b"saturday", b"sunday"];

/// Milliseconds since the epoch of an HTTP date; `now` decides the century of a two-digit year.
///
/// A date before 1970 reads as 0: for every comparison a cache makes, it is long ago.
pub fn parse(text: &[u8], now: UnixMs) -> Option<UnixMs> {
    let text = text.trim_ascii().to_ascii_lowercase();
    imf_fixdate(&text).or_else(|| rfc850(&text, now)).or_else(|| asctime(&text))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
fn imf_fixdate(text: &[u8]) -> Option<UnixMs> {
    let rest = text.strip_suffix(b" gmt")?;
    if rest.len() != 25 || !is_weekday_abbreviation(&rest[..3]) || &rest[3..5] != b", " {
        return None;
    }
    if rest[7] != b' ' || rest[11] != b' ' || rest[16] != b' ' {
        return None;
    }
    unix_ms(number(&rest[12..16])?, month(&rest[8..11])?, number(&rest[5..7])?, &rest[17..])
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`.
fn rfc850(text: &[u8], now: UnixMs) -> Option<UnixMs> {
    let rest = text.strip_suffix(b" gmt")?;
    let comma = rest.iter().position(|byte| *byte == b',')?;
    if !WEEKDAYS.contains(&&rest[..comma]) {
        return None;
    }
    let rest = &rest[comma..];
    if rest.len() != 20 || &rest[..2] != b", " || rest[4] != b'-' || rest[8] != b'-' || rest[11] != b' ' {
        return None;
    }
    // A timestamp more than 50 years ahead is of the century before (RFC 9110 section 5.6.7).
    let (year_now, _, _) = civil(now / DAY_MS);
    let mut year = year_now / 100 * 100 + number(&rest[9..11])?;
    if year > year_now + 50 {
        year -= 100;
    }
    unix_ms(year, month(&rest[5..8])?, number(&rest[2..4])?, &rest[12..])
}

/// `Sun Nov  6 08:49:37 1994`.
fn asctime(text: &[u8]) -> Option<UnixMs> {
    if text.len() != 24 || !is_weekday_abbreviation(&text[..3]) {
        return None;
    }
    if text[3] != b' ' || text[7] != b' ' || text[10] != b' ' || text[19] != b' ' {
        return None;
    }
    let day = if text[8] == b' ' { number(&text[9..10])? } else { number(&text[8..10])? };
    unix_ms(number(&text[20..])?, month(&text[4..7])?, day, &text[11..19])
}

fn is_weekday_abbreviation(text: &[u8]) -> bool {
    WEEKDAYS.iter().any(|name| &name[..3] == text)
}

fn month(text: &[u8]) -> Option<u64> {
    (1..).zip(MONTHS).find(|(_, name)| name.as_slice() == text).map(|(number, _)| number)
}

fn number(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0_u64, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte - b'0')))
}

const DAY_MS: u64 = 86_400_000;

/// The date and a time of day written `08:49:37`.
fn unix_ms(year: u64, month: u64, day: u64, time: &[u8]) -> Option<UnixMs> {
    if time.len() != 8 || time[2] != b':' || time[5] != b':' {
        return None;
    }
    let (hour, minute, second) = (number(&time[..2])?, number(&time[3..5])?, number(&time[6..])?);
    // 60 is a leap second.
    if hour > 23 || minute > 59 || second > 60 || day == 0 || day > days_in(year, month) {
        return None;
    }
    if year < 1970 {
        return Some(0);
    }
    Some(days_since_epoch(year, month, day) * DAY_MS + ((hour * 60 + minute) * 60 + second) * 1000)
}

fn days_in(year: u64, month: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 => 28 + u64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days of the proleptic Gregorian calendar, counted in years that begin in March so that the leap day
/// comes last.
fn days_since_epoch(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

/// The inverse of [`days_since_epoch`]: year, month, day.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2026-01-01.
    const NOW: UnixMs = 1_767_225_600_000;

    fn parsed(text: &str) -> Option<UnixMs> {
        parse(text.as_bytes(), NOW)
    }

    #[test]
    fn the_three_formats_name_the_same_instant() {
        let expected = Some(784_111_777_000);
        assert_eq!(parsed("Sun, 06 Nov 1994 08:49:37 GMT"), expected);
        assert_eq!(parsed("Sunday, 06-Nov-94 08:49:37 GMT"), expected);
        assert_eq!(parsed("Sun Nov  6 08:49:37 1994"), expected);
    }

    #[test]
    fn letter_case_and_a_wrong_weekday_do_not_matter() {
        let expected = parsed("Thu, 18 Aug 2050 02:01:18 GMT");
        assert!(expected.is_some());
        for text in [
            "THU, 18 Aug 2050 02:01:18 GMT",
            "Thu, 18 AUG 2050 02:01:18 GMT",
            "Mon, 18 Aug 2050 02:01:18 gMT",
        ] {
            assert_eq!(parsed(text), expected, "{text}");
        }
        assert_eq!(parsed("Thursday, 18-Aug-50 02:01:18 GMT"), expected);
    }

    #[test]
    fn what_would_need_a_guess_is_invalid() {
        for text in [
            "0",
            "",
            "Thu, 18 Aug 2050 02:01:18 UTC",
            "Thu, 18 Aug 2050 02:01:18 AEST",
            "Thu, 18 Aug 50 02:01:18 GMT",
            "Thu 18 Aug 2050 02:01:18 GMT",
            "Thu, 18  Aug  2050 02:01:18 GMT",
            "Thu, 18-Aug-2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 02.01.18 GMT",
            "Thu, 18 Aug 2050 2:01:18 GMT",
            "Thu, 31 Feb 2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 24:01:18 GMT",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }

    #[test]
    fn a_two_digit_year_more_than_fifty_years_ahead_is_past() {
        assert_eq!(parsed("Tuesday, 18-Aug-77 02:01:18 GMT"), parsed("Thu, 18 Aug 1977 02:01:18 GMT"));
        assert_eq!(parsed("Tuesday, 18-Aug-76 02:01:18 GMT"), parsed("Tue, 18 Aug 2076 02:01:18 GMT"));
    }

    proptest! {
        #[test]
        fn every_day_survives_a_round_trip(days in 0_u64..200_000) {
            let (year, month, day) = civil(days);
            prop_assert_eq!(days_since_epoch(year, month, day), days);
        }

        #[test]
        fn it_reads_what_httpdate_writes(seconds in 0_u64..4_000_000_000) {
            let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            prop_assert_eq!(parsed(&httpdate::fmt_http_date(at)), Some(seconds * 1000));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40), now in any::<u64>()) {
            let _ = parse(&bytes, now);
        }
    }
}
