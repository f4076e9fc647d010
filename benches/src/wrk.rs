//! Runs the load generator `wrk`, and reads what it says.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, ensure};

use crate::{client::HOST, process};

/// What one run brought.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Answers received.
    pub requests: u64,
    /// Answers per second.
    pub requests_per_s: f64,
    /// The latency that 99 of 100 answers did not exceed.
    pub p99_us: f64,
    /// How much of its core the generator used, in percent: near 100 it was the bottleneck, not the server.
    pub generator_percent: f64,
}

/// How hard to ask.
#[derive(Clone, Copy, Debug)]
pub struct Pressure {
    /// The core that the generator is bound to.
    pub core: usize,
    /// Connections, each with one request under way.
    pub connections: u32,
    /// For how long.
    pub seconds: u32,
}

/// Asks for `url` as fast as the server answers. Any answer but 2xx, and any broken connection, is an error.
pub fn run(wrk: &Path, url: &str, pressure: Pressure) -> Result<Load> {
    let before_us = process::ended_children_cpu_us();
    let mut command = Command::new("taskset");
    command.args(["-c", &pressure.core.to_string()]).arg(wrk);
    command.args(["-t1", "--latency", &format!("-c{}", pressure.connections)]);
    // The same host as when it was warmed: it is part of the cache key.
    command.args(["-H", &format!("Host: {HOST}"), &format!("-d{}s", pressure.seconds), url]);
    let output = command.output().context("cannot start wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "wrk failed: {said}{text}");
    let load = parse(&text).with_context(|| format!("cannot read what wrk said:\n{said}{text}"))?;
    let generator_us = process::ended_children_cpu_us() - before_us;
    Ok(Load { generator_percent: generator_us / (f64::from(pressure.seconds) * 1e4), ..load })
}

fn parse(text: &str) -> Result<Load> {
    let lines = || text.lines().map(str::trim);
    let trouble = lines().find(|line| line.starts_with("Socket errors") || line.starts_with("Non-2xx"));
    ensure!(trouble.is_none(), "not all answers were good: {}", trouble.unwrap_or_default());
    let requests = lines()
        .find_map(|line| line.split_once(" requests in "))
        .context("no count of requests")?
        .0
        .parse()
        .context("the count of requests is no number")?;
    let after = |name: &str| lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let requests_per_s =
        after("Requests/sec:").context("no rate")?.parse().context("the rate is no number")?;
    let p99_us = after("99%").and_then(micros).context("no latency")?;
    ensure!(requests > 0, "no request was answered");
    Ok(Load { requests, requests_per_s, p99_us, generator_percent: 0.0 })
}

/// `812.00us`, `1.25ms`, `2.00s`.
fn micros(text: &str) -> Option<f64> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6), ("m", 6e7)];
    units.iter().find_map(|(unit, factor)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "Running 1s test @ http://127.0.0.1:1/\n  1 threads and 64 connections\n  \
        Thread Stats   Avg      Stdev     Max   +/- Stdev\n    Latency     1.20ms  300.00us   9.00ms   90.00%\n    \
        Req/Sec    50.00k     1.00k   52.00k    80.00%\n  Latency Distribution\n     50%    1.10ms\n     \
        75%    1.30ms\n     90%    1.50ms\n     99%    2.50ms\n  50123 requests in 1.00s, 60.00MB read\n\
        Requests/sec:  50001.25\nTransfer/sec:     60.00MB\n";

    #[test]
    fn what_wrk_says_is_read() {
        let load = parse(SAID).expect("is read");
        assert_eq!((load.requests, load.requests_per_s, load.p99_us), (50123, 50001.25, 2500.0));
        assert_eq!(micros("812.00us"), Some(812.0));
        assert_eq!(micros("2.00s"), Some(2e6));
    }

    #[test]
    fn a_bad_answer_spoils_the_run() {
        assert!(parse(&format!("{SAID}  Non-2xx or 3xx responses: 3\n")).is_err());
        let broken = "  Socket errors: connect 0, read 3, write 0, timeout 0\n";
        assert!(parse(&format!("{SAID}{broken}")).is_err());
    }
}
