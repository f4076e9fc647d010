//! The order of measuring: every server in every round, so that what disturbs the machine disturbs all.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::{
    client,
    fill::fill,
    origin::{self, Behind},
    servers::{Kind, Server, Setup},
    wrk::{self, Pressure},
};

/// How long and how hard to measure.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Rounds; the median of them counts.
    pub rounds: u32,
    /// What is asked in each, and for how long.
    pub pressure: Pressure,
    /// Objects that are stored to learn what one costs in memory.
    pub objects: u64,
}

/// One thing that is measured: hits on a body of some length, in clear or over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// The length of the body.
    pub bytes: usize,
    /// Whether over TLS 1.3.
    pub tls: bool,
}

impl Case {
    /// All of them, in the order of the tables.
    pub fn all() -> Vec<Self> {
        let sizes = [1 << 10, 64 << 10, 1 << 20];
        [false, true].into_iter().flat_map(|tls| sizes.map(|bytes| Self { bytes, tls })).collect()
    }

    /// As it stands in tables.
    pub fn name(self) -> String {
        let size = if self.bytes < 1 << 20 {
            format!("{} KiB", self.bytes >> 10)
        } else {
            format!("{} MiB", self.bytes >> 20)
        };
        format!("{size}, {}", if self.tls { "TLS 1.3" } else { "HTTP/1.1" })
    }

    fn url(self, server: &Server) -> Option<String> {
        let (scheme, addr) = if self.tls { ("https", server.https?) } else { ("http", server.http) };
        Some(format!("{scheme}://{addr}{}", origin::path(self.bytes)))
    }
}

/// Medians of one server in one case.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Hits per second.
    pub requests_per_s: f64,
    /// CPU time of the server for one hit, user and system, in microseconds.
    pub cpu_us: f64,
    /// The latency that 99 of 100 hits did not exceed, in microseconds.
    pub p99_us: f64,
    /// How much of its core the generator used, in percent.
    pub generator_percent: f64,
}

/// What one server showed in one case; `None` where it has no such listener.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    /// What was asked.
    pub case: Case,
    /// Of whom.
    pub kind: Kind,
    /// The medians.
    pub figures: Option<Figures>,
}

/// What the rounds brought.
#[derive(Clone, Debug)]
pub struct Hits {
    /// Every case of every server.
    pub cells: Vec<Cell>,
    /// The highest resident memory that was seen of each server, in bytes.
    pub resident_max_bytes: Vec<(Kind, u64)>,
    /// The cipher suites that were agreed on, so that like is compared with like.
    pub suites: Vec<(Kind, String)>,
}

/// What many small objects cost one server.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Of whom.
    pub kind: Kind,
    /// Resident memory that one object added, in bytes.
    pub resident_bytes_per_object: f64,
    /// Files that one object added, in bytes; they want page cache beside the resident memory.
    pub disk_bytes_per_object: f64,
}

/// Measures hits, after each server was seen to answer them, and to answer them right.
pub fn hits(setup: &Setup, plan: Plan, behind: &Behind) -> Result<Hits> {
    let mut servers = Vec::new();
    for kind in Kind::ALL {
        servers.push(Server::start(kind, setup)?);
    }
    let cases = Case::all();
    let mut suites = Vec::new();
    for server in &servers {
        for case in &cases {
            let suite = warm(server, *case, setup, behind)
                .with_context(|| format!("{} does not hit: {}", server.kind.name(), case.name()))?;
            suites.extend(suite.filter(|_| case.bytes == 1 << 10).map(|suite| (server.kind, suite)));
        }
    }
    let mut runs = Vec::new();
    let mut resident: Vec<(Kind, u64)> = Kind::ALL.map(|kind| (kind, 0)).to_vec();
    for round in 0..plan.rounds {
        for case in &cases {
            // Another server goes first each time: none always profits from a cool machine.
            for at in 0..servers.len() {
                let server = &servers[(at + round as usize) % servers.len()];
                behind.go_on()?;
                let Some(url) = case.url(server) else { continue };
                let run = run(server, &url, plan.pressure, setup, behind);
                let run = run.with_context(|| format!("{}: {}", server.kind.name(), case.name()))?;
                eprintln!(
                    "round {} of {}: {}, {}: {:.0} hits/s, {:.2} us of CPU each",
                    round + 1,
                    plan.rounds,
                    server.kind.name(),
                    case.name(),
                    run.requests_per_s,
                    run.cpu_us
                );
                runs.push((*case, server.kind, run));
                let held = server.process.resident_bytes();
                for (_, highest) in resident.iter_mut().filter(|(kind, _)| *kind == server.kind) {
                    *highest = held.max(*highest);
                }
            }
        }
    }
    let cells = cases.iter().flat_map(|case| Kind::ALL.map(|kind| (*case, kind)));
    let cells = cells.map(|(case, kind)| {
        let of = |figure: fn(&Figures) -> f64| {
            let runs = runs.iter().filter(|(c, k, _)| *c == case && *k == kind);
            median(runs.map(|(_, _, run)| figure(run)).collect())
        };
        let figures = of(|run| run.requests_per_s).zip(of(|run| run.cpu_us)).zip(of(|run| run.p99_us));
        let figures = figures.zip(of(|run| run.generator_percent)).map(|(((rate, cpu), p99), generator)| {
            Figures { requests_per_s: rate, cpu_us: cpu, p99_us: p99, generator_percent: generator }
        });
        Cell { case, kind, figures }
    });
    Ok(Hits { cells: cells.collect(), resident_max_bytes: resident, suites })
}

/// Measures what many 1 KiB objects cost, in a fresh server of each kind, one after the other.
pub fn memory(setup: &Setup, plan: Plan, behind: &Behind) -> Result<Vec<Memory>> {
    Kind::ALL
        .iter()
        .map(|kind| {
            behind.go_on()?;
            let server = Server::start(*kind, setup)?;
            let memory = fill_and_weigh(&server, plan.objects, behind);
            let memory = memory.with_context(|| format!("{}: many objects", kind.name()))?;
            eprintln!("{}: {:.0} bytes for an object", kind.name(), memory.resident_bytes_per_object);
            Ok(memory)
        })
        .collect()
}

fn fill_and_weigh(server: &Server, objects: u64, behind: &Behind) -> Result<Memory> {
    const BYTES: usize = 1 << 10;
    // What a first request sets up once is not the price of an object.
    fill(server.http, BYTES / 2, 1000)?;
    settle();
    let (resident, disk) = (server.process.resident_bytes(), server.disk_bytes());
    fill(server.http, BYTES, objects)?;
    settle();
    let grown = |now: u64, before: u64| (now as f64 - before as f64) / objects as f64;
    let memory = Memory {
        kind: server.kind,
        resident_bytes_per_object: grown(server.process.resident_bytes(), resident),
        disk_bytes_per_object: grown(server.disk_bytes(), disk),
    };
    // An object that was not kept cost nothing: that would be a lie about the others.
    let asked = behind.requests();
    let sample = (0..objects).step_by((objects / 1000).max(1) as usize);
    let sampled = sample.clone().count();
    let expected = origin::body(BYTES);
    for number in sample {
        let answer = client::get(server.http, &origin::numbered(BYTES, number))?;
        ensure!(answer.body == expected, "object {number} came back wrong");
    }
    let missed = behind.requests() - asked;
    ensure!(missed == 0, "{missed} of {sampled} sampled objects were not kept");
    Ok(memory)
}

/// Time for background work to end, such as the return of freed memory.
fn settle() {
    thread::sleep(Duration::from_secs(3));
}

/// Asks until an answer comes without the origin, and compares it with what the origin serves.
fn warm(server: &Server, case: Case, setup: &Setup, behind: &Behind) -> Result<Option<String>> {
    let (path, expected) = (origin::path(case.bytes), origin::body(case.bytes));
    let addr = if case.tls { server.https } else { Some(server.http) };
    let Some(addr) = addr else { return Ok(None) };
    for _ in 0..10 {
        let asked = behind.requests();
        let (answer, suite) = match case.tls {
            true => client::get_tls(addr, &path, &setup.identity.certificate)
                .map(|(answer, suite)| (answer, Some(suite)))?,
            false => (client::get(addr, &path)?, None),
        };
        ensure!(answer.status == 200, "status {}", answer.status);
        ensure!(answer.body == expected, "the body is not what the origin sent");
        if behind.requests() == asked {
            return Ok(suite);
        }
        // An object may be findable only a moment after its last byte was sent.
        thread::sleep(Duration::from_millis(50));
    }
    anyhow::bail!("ten requests in a row went to the origin")
}

fn run(server: &Server, url: &str, pressure: Pressure, setup: &Setup, behind: &Behind) -> Result<Figures> {
    let asked = behind.requests();
    let before_us = server.process.cpu_us()?;
    let load = wrk::run(&setup.programs.wrk, url, pressure)?;
    let cpu_us = (server.process.cpu_us()? - before_us) / load.requests as f64;
    ensure!(behind.requests() == asked, "not all answers were hits");
    Ok(Figures {
        requests_per_s: load.requests_per_s,
        cpu_us,
        p99_us: load.p99_us,
        generator_percent: load.generator_percent,
    })
}

/// The middle one; of two middle ones their mean.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some((low + high) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_does_not_care_for_outliers() {
        assert_eq!(median(vec![3.0, 1000.0, 1.0]), Some(3.0));
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(Vec::new()), None);
    }
}
