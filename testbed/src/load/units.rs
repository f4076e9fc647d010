//! Quantities as people write and read them.

use std::time::Duration;

use anyhow::{Context, bail, ensure};

/// A span of lengths, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The shortest.
    pub min: u64,
    /// The longest.
    pub max: u64,
}

/// `250ms`, `5s`, `10m`, `1h`; a bare number is seconds.
///
/// # Errors
///
/// When it is no such text.
pub fn duration(text: &str) -> anyhow::Result<Duration> {
    let (number, unit) = split(text);
    let number: f64 = number.parse().with_context(|| format!("{text:?} is no time such as 5s"))?;
    let seconds = match unit {
        "ms" => number / 1_000.0,
        "" | "s" => number,
        "m" => number * 60.0,
        "h" => number * 3_600.0,
        _ => bail!("{text:?}: the units of time are ms, s, m, h"),
    };
    ensure!(seconds.is_finite() && seconds < 1e9, "{text:?} is too long");
    Ok(Duration::from_secs_f64(seconds))
}

/// `4096`, `64KiB` (2^16), `64KB` (64,000), `1MiB` and so on.
///
/// # Errors
///
/// When it is no such text.
pub fn bytes(text: &str) -> anyhow::Result<u64> {
    let (number, unit) = split(text);
    let number: u64 = number.parse().with_context(|| format!("{text:?} is no length such as 64KiB"))?;
    let factor = match unit {
        "" | "B" => 1,
        "KB" => 1_000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        _ => bail!("{text:?}: the units of length are B, KB, KiB, MB, MiB, GB, GiB"),
    };
    number.checked_mul(factor).with_context(|| format!("{text:?} is too long"))
}

/// `1KiB..100KiB`, or one length.
///
/// # Errors
///
/// When it is no such text, or the wrong way round, or begins with nothing.
pub fn span(text: &str) -> anyhow::Result<Span> {
    let (min, max) = text.split_once("..").unwrap_or((text, text));
    let span = Span { min: bytes(min)?, max: bytes(max)? };
    ensure!(span.min >= 1 && span.min <= span.max, "{text:?}: from at least 1 byte up to no less");
    Ok(span)
}

/// From 0 to 1.
///
/// # Errors
///
/// When it is none of these.
pub fn share(text: &str) -> anyhow::Result<f64> {
    let share: f64 = text.parse().with_context(|| format!("{text:?} is no share such as 0.1"))?;
    ensure!((0.0..=1.0).contains(&share), "{text:?}: a share is from 0 to 1");
    Ok(share)
}

/// Greater than 0.
///
/// # Errors
///
/// When it is not.
pub fn positive(text: &str) -> anyhow::Result<f64> {
    let number: f64 = text.parse().with_context(|| format!("{text:?} is no number"))?;
    ensure!(number.is_finite() && number > 0.0, "{text:?}: it must be greater than 0");
    Ok(number)
}

fn split(text: &str) -> (&str, &str) {
    let at = text.find(|character: char| !character.is_ascii_digit() && character != '.');
    text.split_at(at.unwrap_or(text.len()))
}

/// `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `12.3 MiB`.
pub fn size(bytes: u64) -> String {
    let mut number = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if number < 1_024.0 {
            let digits = usize::from(unit != "B");
            return format!("{number:.digits$} {unit}");
        }
        number /= 1_024.0;
    }
    format!("{number:.1} TiB")
}

/// `0.41 ms`, `12.3 ms`, `1.50 s`.
pub fn micros(micros: u64) -> String {
    let ms = micros as f64 / 1_000.0;
    match ms {
        _ if ms < 10.0 => format!("{ms:.2} ms"),
        _ if ms < 1_000.0 => format!("{ms:.1} ms"),
        _ => format!("{:.2} s", ms / 1_000.0),
    }
}

/// `97.9 %`; nothing of nothing is no share.
pub fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", share * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_people_write_them() {
        assert_eq!(duration("250ms").unwrap(), Duration::from_millis(250));
        assert_eq!(duration("1.5s").unwrap(), Duration::from_millis(1_500));
        assert_eq!(duration("2m").unwrap(), Duration::from_secs(120));
        assert_eq!(bytes("64KiB").unwrap(), 65_536);
        assert_eq!(bytes("3MB").unwrap(), 3_000_000);
        assert_eq!(span("1KiB..100KiB").unwrap(), Span { min: 1_024, max: 102_400 });
        assert_eq!(span("7").unwrap(), Span { min: 7, max: 7 });
        assert!((share("0.25").unwrap() - 0.25).abs() < f64::EPSILON);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in ["", "x", "-1s", "5d", "1e99s"] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["", "KiB", "1.5KiB", "1XB", "99999999999GiB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
        for text in ["2..1", "0..5", "..", "0"] {
            assert!(span(text).is_err(), "{text}");
        }
        assert!(share("1.1").is_err() && share("NaN").is_err() && positive("0").is_err());
    }

    #[test]
    fn numbers_are_told_so_that_people_can_read_them() {
        assert_eq!([999, 1_000, 1_234_567].map(thousands), ["999", "1,000", "1,234,567"]);
        assert_eq!([5, 1_536, 3 << 20].map(size), ["5 B", "1.5 KiB", "3.0 MiB"]);
        assert_eq!([412, 12_340, 1_500_000].map(micros), ["0.41 ms", "12.3 ms", "1.50 s"]);
    }
}
