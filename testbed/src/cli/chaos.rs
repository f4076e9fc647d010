//! `starling-testbed chaos`: seeds, one after another, each on a testbed of its own.

mod one;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail, ensure};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    chaos::{
        checker::{Judged, Judgement, judge},
        history::Event,
        report,
    },
    topology::Topology,
};

use one::One;

const AFTER: &str = "\
Exit codes: 0 passed, 1 failed, 2 usage, 3 inconclusive: nothing was wrong, but too little has happened.

Examples:
  testbed/chaos                                  a minute, by a seed that is told
  testbed/chaos --seed 7 --topology three-regions
  testbed/chaos --seed 1 --runs 60               seeds 1 to 60
  testbed/chaos --hours 8 --netns                a soak, in a network of namespaces (as root)
  testbed/chaos --history FILE                   judge what was recorded";

/// The worst that runs came to, as an exit code.
const PASSED: u8 = 0;
const FAILED: u8 = 1;
const INCONCLUSIVE: u8 = 3;
/// Ended by a signal.
const INTERRUPTED: u8 = 130;

/// Requests, purges and faults by a seed; then a judgement
#[derive(clap::Args)]
#[command(after_help = AFTER)]
pub struct Chaos {
    /// What everything random is made of; chosen and told when it is not given
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How long a run is, without the time to start and to settle
    #[arg(long, default_value_t = 60, value_name = "N", value_parser = clap::value_parser!(u64).range(5..=86_400))]
    seconds: u64,
    /// Which nodes stand where: a name in `cluster-configs/topologies`, or a file
    #[arg(long, default_value = "laptop", value_name = "NAME")]
    topology: String,
    /// In network namespaces, with the topology's ways, and faults of these; needs root
    #[arg(long)]
    netns: bool,
    /// Requests per second, to all nodes together
    #[arg(long, default_value_t = 60.0, value_name = "N", value_parser = rate)]
    reads_per_s: f64,
    /// Purges per second
    #[arg(long, default_value_t = 3.0, value_name = "N", value_parser = rate)]
    purges_per_s: f64,
    /// Run so many seeds, from the first one on
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// Run one seed after another for so long; of those that passed, only the summary is kept
    #[arg(long, conflicts_with = "runs", value_name = "N", value_parser = rate)]
    hours: Option<f64>,
    /// No faults: what goes wrong then is not theirs
    #[arg(long)]
    calm: bool,
    /// How long nodes may take, when all is well again, until they are level
    #[arg(long, default_value_t = 90, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    settle: u64,
    /// Leave the testbed as it is after the (last) run
    #[arg(long)]
    keep: bool,
    /// Judge a recorded history, and run nothing
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// Where histories, summaries and pictures go [default: beside the testbed, and kept]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The binary of the nodes [default: `starling` beside this program]
    #[arg(long, env = "STARLING_BINARY", value_name = "FILE")]
    node_binary: Option<PathBuf>,
    /// On loopback: the first port of the testbed
    #[arg(long, default_value_t = 23000, value_name = "PORT")]
    first_port: u16,
    /// How much nodes log
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    log_level: String,
}

impl Chaos {
    /// Runs the seeds, or judges a history; answers the worst of what came of it.
    pub async fn run(self, dir: &Path) -> anyhow::Result<u8> {
        if let Some(history) = &self.history {
            return self.judge_only(history);
        }
        let topology = Topology::load(&self.topology)?;
        // Beside the testbed that `up` starts, which may run meanwhile.
        let mut name = dir.file_name().context("`--dir` names no directory")?.to_owned();
        name.push("-chaos");
        let home = dir.with_file_name(name);
        let out = self.out.clone().unwrap_or_else(|| home.clone());
        let interrupted = interrupted()?;
        let first = self.seed.unwrap_or_else(any_seed);
        let until = self.hours.map(|hours| Instant::now() + Duration::from_secs_f64(hours * 3600.0));
        let mut came_to: Vec<(u64, u8)> = Vec::new();
        let mut seed = first;
        loop {
            let goes_on = match until {
                Some(until) => Instant::now() < until,
                None => seed.wrapping_sub(first) < self.runs,
            };
            if !goes_on && !came_to.is_empty() {
                break;
            }
            let is_last = until.is_none() && seed.wrapping_sub(first) + 1 == self.runs;
            let one = One {
                seed,
                topology: &topology,
                mesh: home.join("mesh"),
                out: out.join(format!("seed-{seed}")),
                keep: self.keep && is_last,
                again: self.again(seed),
                chaos: &self,
            };
            let code = one.run(&interrupted).await?;
            came_to.push((seed, code));
            if interrupted.is_cancelled() {
                say!("interrupted; the testbed is down");
                return Ok(INTERRUPTED);
            }
            seed = seed.wrapping_add(1);
        }
        if came_to.len() > 1 {
            say!("{}", told(&came_to));
        }
        Ok(worst(came_to.iter().map(|(_, code)| *code)))
    }

    fn judge_only(&self, path: &Path) -> anyhow::Result<u8> {
        let events = read(path)?;
        let judged = judge(&events);
        if let Some(out) = &self.out {
            fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
            keep(out, &events, &judged)?;
        }
        say!("{}", report::summary(&events, &judged).trim_end());
        Ok(code(judged.judgement))
    }

    /// The command that does the same again.
    fn again(&self, seed: u64) -> String {
        let mut again = format!("testbed/chaos --seed {seed} --seconds {}", self.seconds);
        again += &format!(" --topology {}", self.topology);
        let (reads, purges) = (self.reads_per_s, self.purges_per_s);
        again += &format!(" --reads-per-s {reads} --purges-per-s {purges}");
        for (flag, is_on) in [("--netns", self.netns), ("--calm", self.calm)] {
            if is_on {
                again += " ";
                again += flag;
            }
        }
        again
    }
}

/// A history as it was written.
fn read(path: &Path) -> anyhow::Result<Vec<Event>> {
    let file = fs::File::open(path).with_context(|| format!("the history {}", path.display()))?;
    let mut events = Vec::new();
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let event = line.map_err(anyhow::Error::from).and_then(|line| Ok(serde_json::from_str(&line)?));
        events.push(event.with_context(|| format!("{}, line {}", path.display(), number + 1))?);
    }
    ensure!(!events.is_empty(), "the history {} has no line", path.display());
    Ok(events)
}

/// Writes what people look at: `summary.txt` and `timeline.svg`.
fn keep(out: &Path, events: &[Event], judged: &Judged) -> anyhow::Result<()> {
    for (name, text) in [
        ("summary.txt", report::summary(events, judged)),
        ("timeline.svg", report::timeline(events, judged)),
        ("judged.json", serde_json::to_string_pretty(judged)?),
    ] {
        let path = out.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn code(judgement: Judgement) -> u8 {
    match judgement {
        Judgement::Passed => PASSED,
        Judgement::Failed => FAILED,
        Judgement::Inconclusive => INCONCLUSIVE,
    }
}

/// What is wrong counts for more than what is not known.
fn worst(codes: impl Iterator<Item = u8>) -> u8 {
    codes
        .max_by_key(|code| [PASSED, INCONCLUSIVE, FAILED].iter().position(|known| known == code))
        .unwrap_or(FAILED)
}

fn told(came_to: &[(u64, u8)]) -> String {
    let seeds = |code: u8| {
        let seeds = came_to.iter().filter(|(_, came_to)| *came_to == code);
        seeds.map(|(seed, _)| seed.to_string()).collect::<Vec<_>>()
    };
    let mut text = format!("{} seeds: {} passed", came_to.len(), seeds(PASSED).len());
    for (code, word) in [(FAILED, "failed"), (INCONCLUSIVE, "inconclusive")] {
        let seeds = seeds(code);
        if !seeds.is_empty() {
            text += &format!(", {} {word} ({})", seeds.len(), seeds.join(", "));
        }
    }
    text
}

/// Cancelled by the first SIGINT or SIGTERM; a second one ends the program at once.
fn interrupted() -> anyhow::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let token = CancellationToken::new();
    let told = token.clone();
    tokio::spawn(async move {
        let mut either = async || {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        either().await;
        eprintln!("interrupted: taking the testbed down; once more leaves it as it is");
        told.cancel();
        either().await;
        std::process::exit(i32::from(INTERRUPTED));
    });
    Ok(token)
}

fn any_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Short enough to be said.
    u64::from(now.subsec_nanos()) % 1_000_000
}

fn rate(text: &str) -> anyhow::Result<f64> {
    let number: f64 = text.parse()?;
    if !(0.0..=100_000.0).contains(&number) {
        bail!("{number} is not between 0 and 100000");
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failed_seed_is_a_failure_and_one_inconclusive_no_pass() {
        for (codes, expected) in
            [(vec![0, 0], 0), (vec![0, 3, 0], 3), (vec![0, 3, 1, 3, 0], 1), (vec![1, 0], 1), (vec![], 1)]
        {
            assert_eq!(worst(codes.iter().copied()), expected, "{codes:?}");
        }
        let text = told(&[(1, 0), (2, 1), (3, 3), (4, 1)]);
        assert_eq!(text, "4 seeds: 1 passed, 2 failed (2, 4), 1 inconclusive (3)");
    }

    #[test]
    fn a_history_that_cannot_be_read_names_the_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.jsonl");
        let event = serde_json::to_string(&Event::Healed { at_us: 1 }).unwrap();
        fs::write(&path, format!("{event}\n{event}\n")).unwrap();
        assert_eq!(read(&path).unwrap(), vec![Event::Healed { at_us: 1 }; 2]);
        fs::write(&path, format!("{event}\n{{\"event\":\"hea")).unwrap();
        assert!(format!("{:#}", read(&path).unwrap_err()).contains("line 2"));
        fs::write(&path, "").unwrap();
        assert!(read(&path).is_err(), "an empty history says nothing");
    }
}
