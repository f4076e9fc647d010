//! Faults as people write them.

use std::{fmt, str::FromStr, time::Duration};

use super::{BadFault, DiskHow, Fault, Nodes, OriginHow, Worse};

/// The first words there are, for who wrote another.
const KNOWN: &str = "kill, stop, restart, start, pause, resume, freeze, thaw, power-cut, keep-disk, old-disk, \
                     clock, disk, cut, way, flap, heal, origin";
const KNOWN_WORSE: &str = "delay, jitter, loss, reorder, rate";
const MS_PER: [(&str, i64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
/// Nobody needs a clock further off, and sums with it cannot overflow.
const CLOCK_MS_MAX: i64 = 100 * 365 * 86_400_000;
/// Nothing waits longer than this.
const DURATION_MAX: Duration = Duration::from_secs(86_400);

impl FromStr for Fault {
    type Err = BadFault;

    fn from_str(text: &str) -> Result<Self, BadFault> {
        let words = Words(text.split_whitespace().collect::<Vec<_>>().into_iter());
        words.fault().map_err(|why| BadFault { command: text.to_owned(), why })
    }
}

impl TryFrom<String> for Fault {
    type Error = BadFault;

    fn try_from(text: String) -> Result<Self, BadFault> {
        text.parse()
    }
}

impl From<Fault> for String {
    fn from(fault: Fault) -> Self {
        fault.to_string()
    }
}

impl FromStr for Nodes {
    type Err = BadFault;

    fn from_str(text: &str) -> Result<Self, BadFault> {
        nodes(text).map_err(|why| BadFault { command: text.to_owned(), why })
    }
}

/// The words that are still to be read.
struct Words<'a>(std::vec::IntoIter<&'a str>);

impl<'a> Words<'a> {
    fn fault(mut self) -> Result<Fault, String> {
        let first = self.next(&format!("a fault: {KNOWN}"))?;
        let fault = match first {
            "kill" => Fault::Kill(self.nodes()?),
            "stop" => Fault::Stop(self.nodes()?),
            "restart" => Fault::Restart(self.nodes()?),
            "start" => Fault::Start(self.nodes()?),
            "pause" => Fault::Pause(self.nodes()?),
            "resume" => Fault::Resume(self.nodes()?),
            "freeze" => Fault::Freeze(self.nodes()?),
            "thaw" => Fault::Thaw(self.nodes()?),
            "power-cut" => Fault::PowerCut(self.nodes()?),
            "keep-disk" => Fault::KeepDisk(self.nodes()?),
            "old-disk" => Fault::OldDisk(self.nodes()?),
            "clock" => {
                let nodes = self.nodes()?;
                Fault::Clock(nodes, offset_ms(self.next("+1h, -1h or right")?)?)
            }
            "disk" => {
                let nodes = self.nodes()?;
                Fault::Disk(nodes, disk_how(self.next("full, failing or well")?)?)
            }
            "cut" => {
                let from = self.nodes()?;
                match self.next("`from`")? {
                    "from" => {}
                    other => return Err(format!("found {other:?} where `from` belongs: cut A from B")),
                }
                let to = self.nodes()?;
                let one_way = match self.0.next() {
                    None => false,
                    Some("one-way") => true,
                    Some(other) => return Err(format!("{other:?} is not known here; `one-way` is")),
                };
                Fault::Cut { from, to, one_way }
            }
            "way" => {
                let (from, to) = self.pops()?;
                Fault::Way { from, to, worse: self.worse()? }
            }
            "flap" => {
                let (from, to) = self.pops()?;
                Fault::Flap { from, to }
            }
            "heal" => Fault::Heal,
            "origin" => {
                let how = match self.next("dead, slow, errors or well")? {
                    "dead" => OriginHow::Dead,
                    "slow" => OriginHow::Slow(duration(self.next("a time such as 2s")?)?),
                    "errors" => OriginHow::Errors,
                    "well" => OriginHow::Well,
                    other => {
                        return Err(format!("an origin is not {other:?}, but dead, slow 2s, errors or well"));
                    }
                };
                Fault::Origin(how)
            }
            other => return Err(format!("{other:?} is no fault; known are {KNOWN}")),
        };
        match self.0.next() {
            None => Ok(fault),
            Some(word) => Err(format!("nothing more belongs here, but {word:?} follows")),
        }
    }

    fn next(&mut self, wanted: &str) -> Result<&'a str, String> {
        self.0.next().ok_or_else(|| format!("it ends where {wanted} belongs"))
    }

    fn nodes(&mut self) -> Result<Nodes, String> {
        nodes(self.next("nodes, such as lon-1, eu, leader:eu or random,")?)
    }

    fn pops(&mut self) -> Result<(String, String), String> {
        let from = self.next("a PoP")?;
        let to = self.next("a second PoP")?;
        match from == to {
            true => Err(format!("a way is between two PoPs, and {from:?} is one")),
            false => Ok((from.to_owned(), to.to_owned())),
        }
    }

    fn worse(&mut self) -> Result<Worse, String> {
        let mut worse = Worse::default();
        while let Some(word) = self.0.next() {
            let is_new = match word {
                "delay" => worse.delay.replace(duration(self.next("a delay such as 200ms")?)?).is_none(),
                "jitter" => worse.jitter.replace(duration(self.next("a jitter such as 20ms")?)?).is_none(),
                "loss" => worse.loss_percent.replace(percent(self.next("a loss such as 5%")?)?).is_none(),
                "reorder" => {
                    worse.reorder_percent.replace(percent(self.next("a share such as 10%")?)?).is_none()
                }
                "rate" => worse.rate_mbit.replace(rate_mbit(self.next("a rate such as 1mbit")?)?).is_none(),
                other => {
                    return Err(format!("a way has no {other:?}; what can be said of it: {KNOWN_WORSE}"));
                }
            };
            if !is_new {
                return Err(format!("{word:?} is said twice"));
            }
        }
        match worse == Worse::default() {
            true => Err(format!("it says nothing of the way; what can be said: {KNOWN_WORSE}")),
            false => Ok(worse),
        }
    }
}

fn nodes(text: &str) -> Result<Nodes, String> {
    for part in text.split('+') {
        match part.split_once(':') {
            _ if part.is_empty() || part.contains(char::is_whitespace) => {
                return Err(format!("{text:?} names no nodes: several are joined by `+`, without blanks"));
            }
            Some(("leader" | "shields" | "owner", rest)) if !rest.is_empty() => {}
            Some(("leader" | "shields", _)) => return Err(format!("{part:?} names no region")),
            Some(("owner", _)) => return Err(format!("{part:?} names no URL")),
            Some(_) => {
                return Err(format!(
                    "{part:?} is no way to name nodes; known are names of nodes, PoPs and regions, all, random, \
                     killed, leader:REGION, shields:REGION and owner:URL"
                ));
            }
            None => {}
        }
    }
    Ok(Nodes(text.to_owned()))
}

fn disk_how(text: &str) -> Result<DiskHow, String> {
    match text {
        "full" => Ok(DiskHow::Full),
        "failing" => Ok(DiskHow::Failing),
        "well" => Ok(DiskHow::Well),
        other => Err(format!("a disk is not {other:?}, but full, failing or well")),
    }
}

fn offset_ms(text: &str) -> Result<i64, String> {
    if text == "right" {
        return Ok(0);
    }
    let wrong = || format!("a clock is not {text:?}, but +1h, -90s, +500ms or right");
    let (sign, rest) = match text.split_at_checked(1) {
        Some(("+", rest)) => (1, rest),
        Some(("-", rest)) => (-1, rest),
        _ => return Err(wrong()),
    };
    let counted =
        |unit: &str| rest.strip_suffix(unit).filter(|count| !count.starts_with('+'))?.parse::<u64>().ok();
    let unit = MS_PER.iter().find_map(|(unit, ms)| Some((counted(unit)?, ms)));
    let (count, ms) = unit.ok_or_else(wrong)?;
    let offset_ms =
        i64::try_from(count).unwrap_or(i64::MAX).checked_mul(*ms).filter(|ms| *ms <= CLOCK_MS_MAX);
    offset_ms.map(|ms| sign * ms).ok_or_else(|| format!("{text:?} is more than a hundred years"))
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time; 200ms and 2s are");
    let units = [("ms", 1e-3), ("us", 1e-6), ("s", 1.0), ("m", 60.0)];
    let found = units.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)));
    let (number, seconds) = found.ok_or_else(wrong)?;
    let seconds = positive(number).ok_or_else(wrong)? * seconds;
    if seconds > DURATION_MAX.as_secs_f64() {
        return Err(format!("{text:?} is more than a day"));
    }
    Ok(Duration::from_micros((seconds * 1e6).round() as u64))
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').and_then(positive).filter(|number| *number <= 100.0);
    number.ok_or_else(|| format!("{text:?} is no share; 0% to 100% are"))
}

fn rate_mbit(text: &str) -> Result<f64, String> {
    let units = [("mbit", 1.0), ("kbit", 1e-3), ("gbit", 1e3)];
    let found = units.iter().find_map(|(unit, mbit)| Some(positive(text.strip_suffix(unit)?)? * mbit));
    let found = found.filter(|mbit| (1e-3..=1e6).contains(mbit));
    found.ok_or_else(|| format!("{text:?} is no rate; 1mbit, 500kbit and 1gbit are"))
}

/// A plain number: no sign, no exponent, no infinity.
fn positive(text: &str) -> Option<f64> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.parse().ok().filter(|_| is_plain)
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(nodes) => write!(out, "kill {nodes}"),
            Self::Stop(nodes) => write!(out, "stop {nodes}"),
            Self::Restart(nodes) => write!(out, "restart {nodes}"),
            Self::Start(nodes) => write!(out, "start {nodes}"),
            Self::Pause(nodes) => write!(out, "pause {nodes}"),
            Self::Resume(nodes) => write!(out, "resume {nodes}"),
            Self::Freeze(nodes) => write!(out, "freeze {nodes}"),
            Self::Thaw(nodes) => write!(out, "thaw {nodes}"),
            Self::PowerCut(nodes) => write!(out, "power-cut {nodes}"),
            Self::KeepDisk(nodes) => write!(out, "keep-disk {nodes}"),
            Self::OldDisk(nodes) => write!(out, "old-disk {nodes}"),
            Self::Clock(nodes, offset_ms) => write!(out, "clock {nodes} {}", Offset(*offset_ms)),
            Self::Disk(nodes, how) => write!(out, "disk {nodes} {how}"),
            Self::Cut { from, to, one_way } => {
                write!(out, "cut {from} from {to}{}", if *one_way { " one-way" } else { "" })
            }
            Self::Way { from, to, worse } => write!(out, "way {from} {to}{worse}"),
            Self::Flap { from, to } => write!(out, "flap {from} {to}"),
            Self::Heal => out.write_str("heal"),
            Self::Origin(how) => write!(out, "origin {how}"),
        }
    }
}

impl fmt::Display for Nodes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Display for DiskHow {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Full => "full",
            Self::Failing => "failing",
            Self::Well => "well",
        })
    }
}

impl fmt::Display for OriginHow {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dead => out.write_str("dead"),
            Self::Slow(wait) => write!(out, "slow {}", Short(*wait)),
            Self::Errors => out.write_str("errors"),
            Self::Well => out.write_str("well"),
        }
    }
}

impl fmt::Display for Worse {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times = [("delay", self.delay), ("jitter", self.jitter)];
        for (name, time) in times.iter().filter_map(|(name, time)| Some((name, (*time)?))) {
            write!(out, " {name} {}", Short(time))?;
        }
        let numbers = [
            ("loss", self.loss_percent, "%"),
            ("reorder", self.reorder_percent, "%"),
            ("rate", self.rate_mbit, "mbit"),
        ];
        for (name, number, unit) in numbers.iter().filter_map(|(name, n, unit)| Some((name, (*n)?, unit))) {
            write!(out, " {name} {number}{unit}")?;
        }
        Ok(())
    }
}

/// How far a clock is off, in the largest unit that is exact.
pub(super) struct Offset(pub(super) i64);

impl fmt::Display for Offset {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.0.signum() {
            0 => return out.write_str("right"),
            1 => '+',
            _ => '-',
        };
        let exact = MS_PER.iter().find(|(_, ms)| self.0 % ms == 0);
        let (unit, ms) = exact.expect("every number of milliseconds is one of milliseconds");
        write!(out, "{sign}{}{unit}", (self.0 / ms).unsigned_abs())
    }
}

/// A time, in the largest unit that is exact.
struct Short(Duration);

impl fmt::Display for Short {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        match micros {
            _ if micros.is_multiple_of(1_000_000) => write!(out, "{}s", micros / 1_000_000),
            _ if micros.is_multiple_of(1_000) => write!(out, "{}ms", micros / 1_000),
            _ => write!(out, "{micros}us"),
        }
    }
}
