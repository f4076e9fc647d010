//! Times, sizes, rates and parts, as stories write them.

use std::time::Duration;

/// A time such as `5s`, `1.5s`, `300ms` or `2m`.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is no time such as 5s, 300ms or 2m");
    let (number, unit_ms) = [("ms", 1.0), ("s", 1e3), ("m", 60e3), ("h", 3600e3)]
        .iter()
        .find_map(|(unit, ms)| Some((text.strip_suffix(unit)?, *ms)))
        .ok_or_else(bad)?;
    let ms = plain(number).ok_or_else(bad)? * unit_ms;
    // A day is more than any run may last.
    if ms > 86_400e3 {
        return Err(format!("{text:?} is longer than a day"));
    }
    Ok(Duration::from_micros((ms * 1e3).round() as u64))
}

/// The shortest way to write a time.
pub(super) fn time_text(time: Duration) -> String {
    let ms = time.as_micros() as f64 / 1e3;
    if ms % 1000.0 == 0.0 || ms > 1000.0 { format!("{}s", ms / 1e3) } else { format!("{ms}ms") }
}

/// A size such as `1000`, `64KiB` or `1MiB`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let bad = || format!("{text:?} is no size such as 1000, 64KiB or 1MiB");
    let (number, unit) = [("KiB", 1u64 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)]
        .iter()
        .find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, *bytes)))
        .unwrap_or((text, 1));
    let number: u64 = number.parse().map_err(|_| bad())?;
    number.checked_mul(unit).filter(|bytes| *bytes > 0).ok_or_else(bad)
}

/// The shortest way to write a size.
pub(super) fn size_text(bytes: u64) -> String {
    match bytes {
        bytes if bytes.is_multiple_of(1 << 20) => format!("{}MiB", bytes >> 20),
        bytes if bytes.is_multiple_of(1 << 10) => format!("{}KiB", bytes >> 10),
        bytes => bytes.to_string(),
    }
}

/// A rate such as `100/s` or `0.5/s`.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    let per_s = text.strip_suffix("/s").and_then(plain);
    per_s.filter(|rate| *rate <= 1e5).ok_or_else(|| format!("{text:?} is no rate such as 100/s or 0.5/s"))
}

/// A percentage, as it stands there.
pub(super) fn percent(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').and_then(plain);
    percent.filter(|part| *part <= 100.0).ok_or_else(|| format!("{text:?} is no percentage such as 20%"))
}

/// A part of one as a percentage.
pub(super) fn part_text(part: f64) -> String {
    format!("{}%", (part * 1e6).round() / 1e4)
}

/// A whole number.
pub(super) fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is no number, or too great a one"))
}

/// A decimal number that is not negative; `inf` and the like are none.
pub(super) fn plain(text: &str) -> Option<f64> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    is_plain.then(|| text.parse().ok()).flatten()
}

/// So many groups of so many names make this number of objects; as even as it gets.
pub(super) fn groups(objects: u32) -> (u32, u32) {
    let groups = (1..=objects).take_while(|groups| groups * groups <= objects);
    let groups = groups.filter(|groups| objects.is_multiple_of(*groups)).last().unwrap_or(1);
    (groups, objects / groups)
}
