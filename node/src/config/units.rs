//! Byte sizes and times as people write them: `"64MiB"`, `"5s"`.

use std::time::Duration;

/// `1048576`, `64MiB`, `1.5GB`; the two kinds of prefix mean what they say (`MB` is 10^6, `MiB` 2^20).
pub(super) fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        _ => return None,
    };
    scaled(number, factor)
}

/// `250` (milliseconds), `250ms`, `5s`, `10m`, `1h`, `30d`.
pub(super) fn millis(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let factor: u64 = match unit {
        "" | "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    scaled(number, factor)
}

/// A time on a command line, where a bare number would be ambiguous: `5s`, `250ms`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    match split(text) {
        Some((_, unit)) if !unit.is_empty() => millis(text).map(Duration::from_millis),
        _ => None,
    }
    .ok_or_else(|| format!("`{text}` is not a time such as `5s` or `250ms`"))
}

fn split(text: &str) -> Option<(&str, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(text.len());
    (end > 0).then(|| (&text[..end], text[end..].trim_start()))
}

fn scaled(number: &str, factor: u64) -> Option<u64> {
    let number = number.replace('_', "");
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor);
    }
    let scaled = number.parse::<f64>().ok()? * factor as f64;
    (scaled.is_finite() && (0.0..9e15).contains(&scaled)).then_some(scaled.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_read_with_their_units() {
        assert_eq!(bytes("64MiB"), Some(64 << 20));
        assert_eq!(bytes("1.5 GB"), Some(1_500_000_000));
        assert_eq!(bytes("4096"), Some(4096));
        assert_eq!(bytes("12 parsecs"), None);
        assert_eq!(bytes("99999999999TiB"), None);
        assert_eq!(millis("5s"), Some(5000));
        assert_eq!(millis("1.5h"), Some(5_400_000));
        assert_eq!(millis("-1s"), None);
        assert_eq!(millis("soon"), None);
        assert!(parse_duration("5").is_err());
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
    }
}
