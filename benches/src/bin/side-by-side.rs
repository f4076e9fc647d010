//! Holds a node against nginx and Varnish: hits per second, CPU per hit, memory per object.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use starling_benches::{
    machine::{Cores, Programs},
    origin::Behind,
    report::Report,
    rounds::{self, Plan},
    servers::{Identity, Setup},
    wrk::Pressure,
};

/// Measures Starling, nginx and Varnish side by side, each on one core, with the load on another.
///
/// Prints Markdown. The node is STARLING_BIN, or `starling` beside this program.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Few and short rounds, to see that all of it works
    #[arg(long)]
    quick: bool,
    /// Also write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Rounds, of which the median counts [default: 5, quick: 3]
    #[arg(long)]
    rounds: Option<u32>,
    /// Seconds for each server and case in a round [default: 5, quick: 2]
    #[arg(long)]
    seconds: Option<u32>,
    /// Objects stored to learn what one costs [default: 500000, quick: 50000]
    #[arg(long)]
    objects: Option<u64>,
    /// Connections of the load generator
    #[arg(long, default_value_t = 64)]
    connections: u32,
}

impl Arguments {
    fn plan(&self, cores: Cores) -> Plan {
        let (rounds, seconds, objects) = if self.quick { (3, 2, 50_000) } else { (5, 5, 500_000) };
        Plan {
            rounds: self.rounds.unwrap_or(rounds).max(1),
            pressure: Pressure {
                core: cores.generator,
                connections: self.connections.max(1),
                seconds: self.seconds.unwrap_or(seconds).max(1),
            },
            objects: self.objects.unwrap_or(objects).max(1),
        }
    }
}

/// Room for all that is stored here, many times over: nothing is evicted while it is measured.
const MEMORY_BYTES: u64 = 6 << 30;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let (programs, cores) = (Programs::find()?, Cores::choose()?);
    let plan = arguments.plan(cores);
    let scratch = tempfile::Builder::new().prefix("side-by-side-").tempdir()?;
    let behind = Behind::start(scratch.path())?;
    let identity = Identity::make(scratch.path())?;
    let setup = Setup { programs, cores, origin: behind.addr(), identity, memory_bytes: MEMORY_BYTES };

    let hits = rounds::hits(&setup, plan, &behind)?;
    let memory = rounds::memory(&setup, plan, &behind)?;

    let command = std::env::args().skip(1).fold("side-by-side".to_owned(), |line, word| line + " " + &word);
    let report = Report { command, versions: setup.programs.versions(), hits, memory };
    println!("{}", report.markdown());
    if let Some(file) = &arguments.json {
        let text = format!("{:#}\n", report.json());
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}
