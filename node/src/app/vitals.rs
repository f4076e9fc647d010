//! What the node says of itself to its neighbours: load, health, versions, hot keys.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use starling_proto::members::{HOT_KEYS_MAX, Health, Load};
use tokio::sync::watch;

use crate::{edge::Edge, gossip::Local, store::Store};

/// Rates are counted over at least this long; who asks more often is told the last ones again.
const SAMPLE_MIN: Duration = Duration::from_millis(250);
/// A write that failed is held against the disk for so long.
const DISK_GRUDGE: Duration = Duration::from_secs(30);
/// Ticks of a second in `/proc/self/stat`: `USER_HZ`, which Linux keeps at 100 for all programs.
const TICKS_PER_S: u64 = 100;

/// Where the node's vital signs are read.
pub struct Vitals {
    /// What is served, and how much.
    pub edge: Edge,
    /// What is stored.
    pub store: Store,
    /// The budget of memory, in bytes.
    pub memory_bytes_max: u64,
    /// Whether the node is being emptied.
    pub draining: watch::Receiver<bool>,
    /// What was read last.
    pub sampled: Mutex<Option<Sample>>,
}

/// Counters as they were read at one time, and the rates since the time before.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    at: Instant,
    totals: Totals,
    rates: Rates,
    disk_failed: Option<Instant>,
}

/// What only grows.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    cpu_ticks: u64,
    requests: u64,
    sent_bytes: u64,
    disk_write_errors: u64,
}

/// Per second, but for the share of the processors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rates {
    cpu_permille: u16,
    requests: u32,
    sent_bytes: u64,
}

impl Vitals {
    /// The signs of now. It is asked at every heartbeat and reads a few counters.
    pub fn local(&self) -> Local {
        let stats = self.store.stats();
        let counters = self.edge.counters();
        let totals = Totals {
            cpu_ticks: cpu_ticks().unwrap_or(0),
            requests: counters.outcomes.iter().map(|count| count.requests).sum::<u64>()
                + counters.peers.hits
                + counters.peers.misses,
            sent_bytes: counters.outcomes.iter().map(|count| count.body_bytes).sum::<u64>()
                + counters.peers.body_bytes,
            disk_write_errors: stats.disk_write_errors,
        };
        let sample = self.sample(totals, Instant::now());
        let draining = *self.draining.borrow();
        Local {
            load: Load {
                cpu_permille: sample.rates.cpu_permille,
                in_flight: clamped(counters.in_flight),
                peer_in_flight: clamped(counters.peers.in_flight),
                requests_per_s: sample.rates.requests,
                bytes_per_s: sample.rates.sent_bytes,
                memory_permille: permille(stats.memory_bytes, self.memory_bytes_max),
            },
            health: Health {
                ready: !draining,
                draining,
                origins_ok: self.origins_ok(),
                disk_ok: stats.index_problem.is_none()
                    && sample.disk_failed.is_none_or(|at| at.elapsed() > DISK_GRUDGE),
            },
            versions: stats.versions,
            hot: self.edge.hottest(HOT_KEYS_MAX),
        }
    }

    fn sample(&self, totals: Totals, now: Instant) -> Sample {
        let mut sampled = self.sampled.lock();
        let sample = match *sampled {
            Some(last) if now - last.at < SAMPLE_MIN => return last,
            Some(last) => last.next(totals, now),
            None => Sample { at: now, totals, rates: Rates::default(), disk_failed: None },
        };
        *sampled = Some(sample);
        sample
    }

    /// Whether each service has an origin that is asked.
    fn origins_ok(&self) -> bool {
        let asked = |origin: &crate::origin::OriginHealth| origin.healthy && origin.circuit != "open";
        self.edge.services().iter().all(|service| service.pool.health().iter().any(asked))
    }
}

impl Sample {
    fn next(&self, totals: Totals, now: Instant) -> Self {
        let ms = u64::try_from((now - self.at).as_millis()).unwrap_or(u64::MAX).max(1);
        let per_s = |now: u64, before: u64| now.saturating_sub(before).saturating_mul(1000) / ms;
        let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
        let before = &self.totals;
        let rates = Rates {
            cpu_permille: permille(per_s(totals.cpu_ticks, before.cpu_ticks), TICKS_PER_S * processors),
            requests: clamped(per_s(totals.requests, before.requests)),
            sent_bytes: per_s(totals.sent_bytes, before.sent_bytes),
        };
        let has_failed = totals.disk_write_errors > before.disk_write_errors;
        Self { at: now, totals, rates, disk_failed: if has_failed { Some(now) } else { self.disk_failed } }
    }
}

fn clamped(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn permille(part: u64, whole: u64) -> u16 {
    u16::try_from(part.saturating_mul(1000) / whole.max(1)).unwrap_or(u16::MAX).min(1000)
}

/// The processor time of this process, user and system together; none where there is no `/proc`.
fn cpu_ticks() -> Option<u64> {
    ticks_in(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

/// Fields 14 and 15; the second field is a name in parentheses that may hold anything.
fn ticks_in(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(ticks()? + ticks()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_past_a_name_that_looks_like_fields() {
        let stat = "7 (a) 1 2 (b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 100 1 1 1";
        assert_eq!(ticks_in(stat), Some(300));
        assert_eq!(ticks_in("7 (a) S 1"), None);
        assert!(cpu_ticks().is_some());
    }

    #[test]
    fn rates_are_per_second_and_a_failed_write_is_remembered() {
        let start = Instant::now();
        let totals = Totals { cpu_ticks: 100, requests: 10, sent_bytes: 1_000, disk_write_errors: 1 };
        let first = Sample { at: start, totals, rates: Rates::default(), disk_failed: None };
        let more = Totals { requests: 60, sent_bytes: 2_000, ..totals };
        let second = first.next(more, start + Duration::from_millis(500));
        assert_eq!(second.rates, Rates { cpu_permille: 0, requests: 100, sent_bytes: 2_000 });
        assert_eq!(second.disk_failed, None, "errors of the time before are not this time's");
        let worse = Totals { disk_write_errors: 2, cpu_ticks: 1_000_000, ..more };
        let third = second.next(worse, start + Duration::from_millis(1_000));
        assert_eq!(third.rates, Rates { cpu_permille: 1000, requests: 0, sent_bytes: 0 });
        assert!(third.disk_failed.is_some());
    }
}
