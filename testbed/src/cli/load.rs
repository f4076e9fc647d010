//! `load`: replay a log, a trace or a made-up mix, and report.

use std::{
    collections::HashSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use http::Method;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::Cluster,
    load::{
        self, Plan,
        arrivals::{Pace, arrivals},
        player::{Node, Settings, Spread},
        report::Report,
        source::{self, LogShape, ReadSoFar, Shape, Source},
        tally::Failure,
        units::{self, Span},
    },
    press::{Host, Press},
};

/// Requests a second, where nobody says.
const RATE: f64 = 200.0;
/// How long a made-up mix is played, where nobody says.
const MIX_FOR: Duration = Duration::from_secs(30);
/// No page of a site is taken that is longer.
const PAGE_BYTES_MAX: usize = 64 << 20;

/// Replays a log, a trace or a made-up mix against the testbed of `--dir`, or any addresses
///
/// Requests are sent when they are due, whatever became of those before; latency counts from when a request was
/// due. Bodies of the testbed's objects are checked. Ctrl-C reports what there is until then.
#[derive(clap::Args)]
pub struct Load {
    #[command(flatten)]
    options: Box<Options>,
}

/// All that can be said of it.
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("source").required(true))]
pub struct Options {
    /// A log in common or combined format; `-` is standard input, `.xz` and `.gz` are unpacked
    #[arg(long, group = "source", value_name = "FILE")]
    log: Option<PathBuf>,
    /// A trace with an `id size` or an `id` on each line, as with `--log`
    #[arg(long, group = "source", value_name = "FILE")]
    trace: Option<PathBuf>,
    /// A made-up mix: the k-th object is asked for as often as 1 / k^EXPONENT
    #[arg(long, group = "source", value_name = "EXPONENT", value_parser = units::positive)]
    zipf: Option<f64>,

    /// Objects of the mix
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    objects: u64,
    /// How long objects are where nothing tells it: log-uniform over MIN..MAX
    #[arg(long, default_value = "1KiB..100KiB", value_name = "MIN..MAX", value_parser = units::span)]
    bytes: Span,
    /// No object is longer
    #[arg(long, default_value = "1MiB", value_name = "BYTES", value_parser = units::bytes)]
    bytes_max: u64,
    /// The share of requests over HTTP/2
    #[arg(long, default_value = "0", value_name = "SHARE", value_parser = units::share)]
    h2: f64,
    /// The share of requests for a part of an object
    #[arg(long, default_value = "0", value_name = "SHARE", value_parser = units::share)]
    ranges: f64,
    /// Clients, where no log names them
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    clients: u64,
    /// Methods of a log that are replayed
    #[arg(long, default_value = "GET,HEAD", value_delimiter = ',', value_name = "METHOD")]
    methods: Vec<Method>,
    /// Ask for the paths of a log as they are; else they become objects of the testbed's origin
    #[arg(long, requires = "log")]
    as_is: bool,
    /// The host that is named: available.test, strict.test or stale.test; with `--as-is` any
    #[arg(long, value_name = "NAME")]
    host: Option<String>,

    /// Requests a second, at random (Poisson); 200 unless it is a log, which has its own times
    #[arg(long, value_name = "N", value_parser = units::positive, conflicts_with = "speed")]
    rate: Option<f64>,
    /// The times of a log, so many times as fast
    #[arg(long, value_name = "X", value_parser = units::positive, requires = "log")]
    speed: Option<f64>,
    /// How long, after the warm-up; a file is played to its end, a mix for 30 s
    #[arg(long = "for", value_name = "TIME", value_parser = units::duration)]
    for_time: Option<Duration>,
    /// No more requests than this, those of the warm-up included
    #[arg(long, value_name = "N")]
    requests: Option<u64>,
    /// What is due in this time, at the beginning, is played and not counted
    #[arg(long, default_value = "0s", value_name = "TIME", value_parser = units::duration)]
    warm: Duration,
    /// Everything random is of it
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Whom to ask, in place of the testbed's nodes
    #[arg(long, num_args = 1.., value_delimiter = ',', value_name = "ADDR", conflicts_with = "through")]
    to: Vec<SocketAddr>,
    /// The testbed's origin, where `--to` names nodes of it
    #[arg(long, value_name = "ADDR", requires = "to")]
    origin: Option<SocketAddr>,
    /// Nodes, PoPs or regions of the testbed; all nodes that run, if not given
    #[arg(long, value_delimiter = ',', value_name = "NODES")]
    through: Vec<String>,
    /// How a request finds its node
    #[arg(long, value_enum, default_value = "round-robin")]
    spread: Spread,
    /// A client that found nobody, or was left midway, asks another node, up to twice
    #[arg(long)]
    moves: bool,
    /// For a whole answer of one node
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = units::duration)]
    timeout: Duration,
    /// Requests at a time; one more is counted as an error
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    in_flight_max: u32,
    /// More requests that fail than this end in exit code 1
    #[arg(long, value_name = "N")]
    failures_max: Option<u64>,
    /// Report as JSON
    #[arg(long)]
    json: bool,
    /// Do not tell how it goes
    #[arg(long)]
    quiet: bool,
}

/// Whom to ask.
struct Targets {
    nodes: Vec<Node>,
    known: Option<HashSet<String>>,
    press: Option<Press>,
}

impl Load {
    /// Plays, and prints the report: 1 when a body was damaged, nothing was answered, reading failed or too many
    /// requests failed; 3 when it was interrupted.
    pub async fn run(self, dir: &Path) -> anyhow::Result<u8> {
        self.options.run(dir).await
    }
}

impl Options {
    async fn run(&self, dir: &Path) -> anyhow::Result<u8> {
        let targets = self.targets(dir)?;
        let (source, read) = self.source()?;
        let names: Vec<&str> = targets.nodes.iter().map(|node| node.name.as_str()).collect();
        let what = format!("{} through {}", self.what(), names.join(", "));
        let is_quiet = self.quiet;
        if !is_quiet {
            eprintln!("{what}");
        }
        let plan = Plan {
            what,
            arrivals: arrivals(source, self.pace(), self.seed),
            read,
            press: targets.press.clone(),
            settings: self.settings(targets),
        };
        let stop = CancellationToken::new();
        let interrupted = stop.clone();
        let listener = tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                interrupted.cancel();
            }
        });
        let report = load::run(plan, stop, |line| {
            if !is_quiet {
                eprintln!("{line}");
            }
        })
        .await;
        listener.abort();
        let report = report?;
        if self.json {
            say!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            say!("{report}");
        }
        Ok(self.code(&report))
    }

    fn code(&self, report: &Report) -> u8 {
        let is_bad = report.failures_of(Failure::Damaged) > 0
            || report.answered == 0
            || report.torn.is_some()
            || self.failures_max.is_some_and(|most| report.failed > most);
        match (is_bad, report.is_interrupted) {
            (true, _) => 1,
            (false, true) => 3,
            (false, false) => 0,
        }
    }

    fn targets(&self, dir: &Path) -> anyhow::Result<Targets> {
        if !self.to.is_empty() {
            let nodes = self.to.iter().map(|to| Node { name: to.to_string(), to: *to }).collect();
            return Ok(Targets { nodes, known: None, press: self.origin.map(Press::at) });
        }
        let state = Cluster::attach(dir)?.state();
        let known = state.nodes.iter().map(|node| node.name.clone()).collect();
        let mut nodes: Vec<Node> = Vec::new();
        let is_named = |node: &&crate::cluster::Node, name: &str| {
            name == "all" || [&node.name, &node.pop, &node.region].into_iter().any(|of| of == name)
        };
        for name in &self.through {
            ensure!(
                state.nodes.iter().any(|node| is_named(&node, name)),
                "{name} is no node, PoP or region of this testbed; its nodes are {}",
                state.nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(", ")
            );
        }
        for node in &state.nodes {
            let is_meant = match &self.through[..] {
                [] => node.process.is_some(),
                names => names.iter().any(|name| is_named(&node, name)),
            };
            if is_meant {
                nodes.push(Node { name: node.name.clone(), to: node.http });
            }
        }
        ensure!(!nodes.is_empty(), "no node of this testbed runs");
        Ok(Targets { nodes, known: Some(known), press: Some(Press::at(state.origin.address)) })
    }

    fn settings(&self, targets: Targets) -> Settings {
        let end = match (self.for_time, self.zipf) {
            (Some(time), _) => Some(self.warm + time),
            (None, Some(_)) if self.requests.is_none() => Some(self.warm + MIX_FOR),
            (None, _) => None,
        };
        let object_bytes_max = usize::try_from(self.bytes_max).unwrap_or(usize::MAX).saturating_add(64 << 10);
        Settings {
            nodes: targets.nodes,
            known: targets.known,
            spread: self.spread,
            host: self.host.clone().unwrap_or_else(|| "site.test".to_owned()),
            moves_max: if self.moves { 2 } else { 0 },
            timeout: self.timeout,
            in_flight_max: self.in_flight_max as usize,
            body_bytes_max: if self.as_is { PAGE_BYTES_MAX } else { object_bytes_max },
            warm: self.warm,
            end,
            requests_max: self.requests,
        }
    }

    fn source(&self) -> anyhow::Result<(Source, Option<Arc<Mutex<ReadSoFar>>>)> {
        ensure!(
            (1..=crate::press::OBJECT_BYTES_MAX).contains(&self.bytes_max),
            "--bytes-max: objects are from 1 to {} bytes long",
            crate::press::OBJECT_BYTES_MAX
        );
        let host = match &self.host {
            Some(name) if !self.as_is => {
                Host::ALL.into_iter().find(|host| host.name() == name).with_context(|| {
                    format!("--host {name}: objects are of available.test, strict.test, stale.test")
                })?
            }
            _ => Host::Available,
        };
        let shape = Shape {
            seed: self.seed,
            host,
            bytes: self.bytes,
            bytes_max: self.bytes_max,
            h2: self.h2,
            ranges: self.ranges,
            clients: self.clients,
        };
        let read = Arc::default();
        Ok(match (&self.log, &self.trace, self.zipf) {
            (Some(path), _, _) => {
                let log = LogShape { methods: self.methods.clone(), as_is: self.as_is };
                (source::log(path, &shape, &log, Arc::clone(&read))?, Some(read))
            }
            (_, Some(path), _) => (source::trace(path, &shape, Arc::clone(&read))?, Some(read)),
            (_, _, Some(exponent)) => (source::zipf(exponent, self.objects, &shape)?, None),
            _ => bail!("one of --log, --trace, --zipf says what is asked for"),
        })
    }

    fn pace(&self) -> Pace {
        match (self.rate, self.speed, &self.log) {
            (Some(rate), _, _) => Pace::Rate(rate),
            (None, Some(speed), _) => Pace::Logged(speed),
            (None, None, Some(_)) => Pace::Logged(1.0),
            (None, None, None) => Pace::Rate(RATE),
        }
    }

    fn what(&self) -> String {
        let source = match (&self.log, &self.trace, self.zipf) {
            (Some(path), _, _) | (_, Some(path), _) => path.display().to_string(),
            (_, _, exponent) => {
                format!("Zipf {} over {} objects", exponent.unwrap_or_default(), self.objects)
            }
        };
        match self.pace() {
            Pace::Rate(rate) => format!("{source} at {rate}/s"),
            Pace::Logged(speed) => format!("{source} at {speed} times its speed"),
        }
    }
}
