//! What a run of load has shown, as text for people and as JSON for programs.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::{
    source::ReadSoFar,
    tally::{Counts, Failure},
    tiers::Tier,
    units::{micros, percent, size, thousands},
};

/// A run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was played.
    pub what: String,
    /// Whether it was ended before its time.
    pub is_interrupted: bool,
    /// Why reading ended before the end.
    pub torn: Option<String>,
    /// How long requests were counted.
    pub seconds: f64,
    /// How long the warm-up was; it is left out of all else.
    pub warm_s: f64,
    /// Requests that were due in it.
    pub warm_requests: u64,
    /// Requests that were due.
    pub requests: u64,
    /// So many a second were due.
    pub asked_per_s: f64,
    /// Good answers.
    pub answered: u64,
    /// So many good answers came a second.
    pub answered_per_s: f64,
    /// Bytes of their bodies.
    pub body_bytes: u64,
    /// Requests without a good answer.
    pub failed: u64,
    /// By the reason.
    pub failures: BTreeMap<&'static str, u64>,
    /// The first of each kind, in words.
    pub first_failures: BTreeMap<&'static str, String>,
    /// Requests whose client asked more than one node.
    pub moved: u64,
    /// How often clients asked another one.
    pub moves: u64,
    /// From when a request was due to its first byte; good answers.
    pub first_byte_us: Percentiles,
    /// From when a request was due to its last byte; good answers.
    pub whole_us: Percentiles,
    /// By how much requests were sent late, by this program's own fault; part of the latencies.
    pub late_us: Percentiles,
    /// Who had what was answered.
    pub tiers: Vec<TierReport>,
    /// The share of good answers that a cache had.
    pub hit_ratio: Option<f64>,
    /// The same by bytes.
    pub hit_ratio_bytes: Option<f64>,
    /// What the origin saw, if it was looked at.
    pub origin: Option<OriginReport>,
    /// By node.
    pub nodes: Vec<NodeReport>,
    /// CPU time of this program, the warm-up included.
    pub client_cpu_s: f64,
    /// The same by request.
    pub client_cpu_us_per_request: f64,
    /// What was read of the file, if there was one.
    pub read: Option<ReadSoFar>,
}

/// Of a distribution, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    /// Half are below.
    pub p50: u64,
    /// Nine of ten are below.
    pub p90: u64,
    /// 99 of 100 are below.
    pub p99: u64,
    /// 999 of 1000 are below.
    pub p99_9: u64,
    /// None is above.
    pub max: u64,
}

/// What one tier gave.
#[derive(Clone, Debug, Serialize)]
pub struct TierReport {
    /// Which.
    pub tier: Tier,
    /// Answers.
    pub requests: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// From due to the last byte.
    pub whole_us: Percentiles,
}

/// What the origin saw, from the end of the warm-up to the end of the run.
#[derive(Clone, Debug, Serialize)]
pub struct OriginReport {
    /// Requests for objects, whoever asked.
    pub requests: u64,
    /// Bytes of bodies it sent.
    pub body_bytes: u64,
    /// 1 - its requests / the clients'. Less than nothing when it saw more than they sent.
    pub offload: Option<f64>,
    /// 1 - its bytes / the clients'.
    pub offload_bytes: Option<f64>,
}

/// What one node was asked.
#[derive(Clone, Debug, Serialize)]
pub struct NodeReport {
    /// Its name.
    pub name: String,
    /// Requests that ended there.
    pub requests: u64,
    /// Those of them that failed.
    pub failures: u64,
    /// Those that it was asked after another node had failed.
    pub moved_here: u64,
}

/// What is known of a run besides its counts.
pub struct About {
    /// What was played.
    pub what: String,
    /// The names of the nodes, in their order.
    pub nodes: Vec<String>,
    /// Whether it was ended before its time.
    pub is_interrupted: bool,
    /// Why reading ended before the end.
    pub torn: Option<String>,
    /// How long the warm-up was.
    pub warm_s: f64,
    /// From its end to when the last request was due.
    pub asked_s: f64,
    /// From its end to the last good answer.
    pub answered_s: f64,
    /// Requests and bytes of the origin since its end.
    pub origin: Option<(u64, u64)>,
    /// CPU time of this program.
    pub client_cpu_s: f64,
    /// What was read of the file.
    pub read: Option<ReadSoFar>,
}

impl Report {
    /// Puts it together.
    pub fn new(counts: &Counts, about: About) -> Self {
        let (answered, body_bytes) = counts.answered();
        let hits = counts.tiers.iter().zip(Tier::ALL).filter(|(_, tier)| tier.is_hit());
        let (hit, hit_bytes) =
            hits.fold((0, 0), |sum, (tier, _)| (sum.0 + tier.requests, sum.1 + tier.bytes));
        let sent = counts.due - counts.failures.get(&Failure::Overload).copied().unwrap_or(0);
        let names = |failure: &Failure| failure.as_str();
        let nodes = about.nodes.into_iter().zip(&counts.nodes);
        Self {
            what: about.what,
            is_interrupted: about.is_interrupted,
            torn: about.torn,
            seconds: about.asked_s,
            warm_s: about.warm_s,
            warm_requests: counts.warm,
            requests: counts.due,
            asked_per_s: per(counts.due as f64, about.asked_s),
            answered,
            answered_per_s: per(answered as f64, about.answered_s.max(about.asked_s)),
            body_bytes,
            failed: counts.failed(),
            failures: counts.failures.iter().map(|(failure, number)| (names(failure), *number)).collect(),
            first_failures: counts
                .first_failures
                .iter()
                .map(|(failure, what)| (names(failure), what.clone()))
                .collect(),
            moved: counts.moved,
            moves: counts.moves,
            first_byte_us: Percentiles::of(&counts.head),
            whole_us: Percentiles::of(&counts.whole),
            late_us: Percentiles::of(&counts.late),
            tiers: Tier::ALL
                .into_iter()
                .zip(&counts.tiers)
                .map(|(tier, counts)| TierReport {
                    tier,
                    requests: counts.requests,
                    bytes: counts.bytes,
                    whole_us: Percentiles::of(&counts.whole),
                })
                .collect(),
            hit_ratio: share(hit, answered),
            hit_ratio_bytes: share(hit_bytes, body_bytes),
            origin: about.origin.map(|(requests, bytes)| OriginReport {
                requests,
                body_bytes: bytes,
                offload: share(requests, sent).map(|share| 1.0 - share),
                offload_bytes: share(bytes, body_bytes).map(|share| 1.0 - share),
            }),
            nodes: nodes
                .map(|(name, counts)| NodeReport {
                    name,
                    requests: counts.requests,
                    failures: counts.failures,
                    moved_here: counts.moved_here,
                })
                .collect(),
            client_cpu_s: about.client_cpu_s,
            client_cpu_us_per_request: per(about.client_cpu_s * 1e6, (counts.due + counts.warm) as f64),
            read: about.read,
        }
    }

    /// How many requests failed for this reason.
    pub fn failures_of(&self, failure: Failure) -> u64 {
        self.failures.get(failure.as_str()).copied().unwrap_or(0)
    }
}

impl Percentiles {
    /// Of a histogram; nothing but noughts when it is empty.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        if histogram.is_empty() {
            return Self::default();
        }
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), p99_9: at(0.999), max: histogram.max() }
    }

    fn row(self) -> String {
        [self.p50, self.p90, self.p99, self.p99_9, self.max].iter().fold(String::new(), |mut row, value| {
            write!(row, "{:>11}", micros(*value)).expect("writing to a string cannot fail");
            row
        })
    }
}

fn per(number: f64, of: f64) -> f64 {
    if of > 0.0 { number / of } else { 0.0 }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

impl fmt::Display for Report {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(to, "{}", self.what)?;
        if self.is_interrupted {
            writeln!(to, "  interrupted: this is what there was until then")?;
        }
        if let Some(torn) = &self.torn {
            writeln!(to, "  reading ended before the end: {torn}")?;
        }
        writeln!(
            to,
            "  {} requests in {:.1} s: {:.1}/s were due, {:.1}/s answered; {} after a warm-up of {:.1} s ({} left out)",
            thousands(self.requests),
            self.seconds,
            self.asked_per_s,
            self.answered_per_s,
            size(self.body_bytes),
            self.warm_s,
            thousands(self.warm_requests),
        )?;
        self.write_failures(to)?;
        writeln!(to)?;
        writeln!(
            to,
            "  {:<16}{:>11}{:>11}{:>11}{:>11}{:>11}",
            "since due", "p50", "p90", "p99", "p99.9", "max"
        )?;
        writeln!(to, "  {:<16}{}", "first byte", self.first_byte_us.row())?;
        writeln!(to, "  {:<16}{}", "whole answer", self.whole_us.row())?;
        writeln!(to, "  {:<16}{}", "of that, unsent", self.late_us.row())?;
        self.write_tiers(to)?;
        self.write_nodes(to)?;
        writeln!(
            to,
            "  this client used {:.2} s of CPU, {:.0} us a request",
            self.client_cpu_s, self.client_cpu_us_per_request
        )
    }
}

impl Report {
    fn write_failures(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kinds = String::new();
        for (kind, number) in &self.failures {
            write!(kinds, "{}{kind} {}", if kinds.is_empty() { ": " } else { ", " }, thousands(*number))?;
        }
        let failed = share(self.failed, self.requests);
        let failed = failed.map_or_else(String::new, |share| format!(" ({:.3} %)", share * 100.0));
        writeln!(to, "  {} failed{failed}{kinds}", thousands(self.failed))?;
        for (kind, what) in &self.first_failures {
            writeln!(to, "    the first {kind}: {what}")?;
        }
        if self.moves > 0 {
            let (moved, moves) = (thousands(self.moved), thousands(self.moves));
            writeln!(to, "  {moved} clients asked another node, {moves} times")?;
        }
        let Some(read) = &self.read else { return Ok(()) };
        if let Some(first) = &read.first_malformed {
            writeln!(to, "  malformed lines: {}; the first: {first}", thousands(read.malformed))?;
        }
        if read.skipped > 0 {
            writeln!(
                to,
                "  lines that are not replayed: {} (other methods, or no requests)",
                thousands(read.skipped)
            )?;
        }
        if read.sizes_made_up > 0 {
            writeln!(to, "  sizes that were made up: {}", thousands(read.sizes_made_up))?;
        }
        Ok(())
    }

    fn write_tiers(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(to)?;
        let heads = ["answers", "share", "bytes", "share", "p50", "p99"];
        write!(to, "  {:<16}", "it came from")?;
        for head in heads {
            write!(to, "{head:>11}")?;
        }
        writeln!(to)?;
        for tier in self.tiers.iter().filter(|tier| tier.requests > 0) {
            writeln!(
                to,
                "  {:<16}{:>11}{:>11}{:>11}{:>11}{:>11}{:>11}",
                tier.tier.as_str(),
                thousands(tier.requests),
                percent(share(tier.requests, self.answered)),
                size(tier.bytes),
                percent(share(tier.bytes, self.body_bytes)),
                micros(tier.whole_us.p50),
                micros(tier.whole_us.p99),
            )?;
        }
        let (requests, bytes) = (percent(self.hit_ratio), percent(self.hit_ratio_bytes));
        writeln!(to, "  hit ratio {requests} of answers, {bytes} of bytes")?;
        if let Some(origin) = &self.origin {
            writeln!(
                to,
                "  the origin saw {} requests and sent {}: offload {} of requests, {} of bytes",
                thousands(origin.requests),
                size(origin.body_bytes),
                percent(origin.offload),
                percent(origin.offload_bytes),
            )?;
        }
        writeln!(to)
    }

    fn write_nodes(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(to, "  {:<16}{:>11}{:>11}{:>11}", "node", "requests", "failed", "moved here")?;
        for node in &self.nodes {
            writeln!(
                to,
                "  {:<16}{:>11}{:>11}{:>11}",
                node.name,
                thousands(node.requests),
                thousands(node.failures),
                thousands(node.moved_here)
            )?;
        }
        writeln!(to)
    }
}
