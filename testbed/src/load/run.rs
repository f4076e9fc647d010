//! One run: play, tell how it goes, look at the origin before and after, and report.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{
    arrivals::Due,
    player::{self, Settings},
    report::{About, Percentiles, Report},
    source::ReadSoFar,
    tally::Tally,
    units::{micros, percent},
};
use crate::press::{Press, Stats};

/// How often it is told how things go.
const PROGRESS: Duration = Duration::from_secs(5);
/// Ticks of `/proc/PID/stat` in a second: USER_HZ, which is the same on all of Linux.
const TICKS_PER_S: f64 = 100.0;

/// What is to be played.
pub struct Plan {
    /// In words, for the report.
    pub what: String,
    /// How.
    pub settings: Settings,
    /// The requests with their times.
    pub arrivals: Box<dyn Iterator<Item = anyhow::Result<Due>> + Send>,
    /// What is read of the file, if it is one.
    pub read: Option<Arc<Mutex<ReadSoFar>>>,
    /// The origin, if it can be asked.
    pub press: Option<Press>,
}

/// Plays it. `stop` ends it early; then the report is of what there was.
///
/// # Errors
///
/// When there was nothing to play, or nothing after the warm-up.
pub async fn run(
    plan: Plan,
    stop: CancellationToken,
    mut tell: impl FnMut(&str) + Send,
) -> anyhow::Result<Report> {
    let Plan { what, settings, arrivals, read, press } = plan;
    let names: Vec<String> = settings.nodes.iter().map(|node| node.name.clone()).collect();
    let warm = settings.warm;
    let tally = Arc::new(Tally::new(names.len()));
    let cpu_before = cpu_s();
    let (began, is_begun) = oneshot::channel();
    let looks = async {
        let Ok(start) = is_begun.await else { return None };
        tokio::time::sleep_until(tokio::time::Instant::from_std(start + warm)).await;
        match &press {
            Some(press) => Some(press.stats().await),
            None => None,
        }
    };
    let played = player::play(settings, arrivals, Arc::clone(&tally), stop, began);
    let (mut played, mut looks) = (std::pin::pin!(played), std::pin::pin!(looks));
    let (mut before, mut has_looked) = (None, false);
    let mut progress = tokio::time::interval_at((Instant::now() + PROGRESS).into(), PROGRESS);
    let begun = Instant::now();
    let mut last = begun;
    let played = loop {
        tokio::select! {
            played = &mut played => break played?,
            stats = &mut looks, if !has_looked => (before, has_looked) = (stats, true),
            _ = progress.tick() => {
                let now = Instant::now();
                tell(&line(&tally, now - begun, now - last, begun.elapsed() < warm));
                last = now;
            }
        }
    };
    let counts = tally.counts();
    let client_cpu_s = cpu_s().zip(cpu_before).map_or(0.0, |(after, before)| after - before);
    if counts.due == 0 {
        match played.torn {
            Some(error) => return Err(error),
            None if counts.warm > 0 => bail!("all {} requests were due during the warm-up", counts.warm),
            None => bail!("there was nothing to ask"),
        }
    }
    let measured_from = played.began + warm;
    let answered_s =
        counts.last_answer.map_or(0.0, |at| at.saturating_duration_since(measured_from).as_secs_f64());
    let origin = match (&press, before) {
        (Some(press), Some(before)) => looked(before, press.stats().await, &mut tell),
        _ => None,
    };
    let about = About {
        what,
        nodes: names,
        is_interrupted: played.is_interrupted,
        torn: played.torn.map(|error| format!("{error:#}")),
        warm_s: warm.as_secs_f64(),
        asked_s: counts.last_due.saturating_sub(warm).as_secs_f64(),
        answered_s,
        origin,
        client_cpu_s,
        read: read.map(|read| read.lock().clone()),
    };
    Ok(Report::new(&counts, about))
}

/// What the origin saw in between, if it could be asked both times.
fn looked(
    before: anyhow::Result<Stats>,
    after: anyhow::Result<Stats>,
    tell: &mut impl FnMut(&str),
) -> Option<(u64, u64)> {
    let between = |before: Stats, after: Stats| -> anyhow::Result<(u64, u64)> {
        let why = "the origin has counted from nothing again";
        let requests = after.requests.checked_sub(before.requests).context(why)?;
        Ok((requests, after.body_bytes.checked_sub(before.body_bytes).context(why)?))
    };
    let both = before.and_then(|before| Ok((before, after?)));
    match both.and_then(|(before, after)| between(before, after)) {
        Ok(between) => Some(between),
        Err(error) => {
            tell(&format!("what the origin saw is not known: {error:#}"));
            None
        }
    }
}

fn line(tally: &Tally, at: Duration, over: Duration, is_warm: bool) -> String {
    let recent = tally.recent();
    let over_s = over.as_secs_f64();
    let latency = Percentiles::of(&recent.whole);
    let hits = (recent.answered > 0).then(|| recent.hits as f64 / recent.answered as f64);
    format!(
        "{:>5.0} s{}  due {:.0}/s  answered {:.0}/s  failed {}  hits {}  p50 {}  p99 {}  max {}",
        at.as_secs_f64(),
        if is_warm { " (warm-up)" } else { "" },
        recent.due as f64 / over_s,
        recent.answered as f64 / over_s,
        recent.failed,
        percent(hits),
        micros(latency.p50),
        micros(latency.p99),
        micros(latency.max),
    )
}

/// CPU time of this process; none where the system does not tell it.
fn cpu_s() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is a name in parentheses, which may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_PER_S)
}
