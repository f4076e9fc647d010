//! Simulates a mesh of many nodes, and prints what membership costs in it and how fast it notices things.

use clap::Parser;
use starling_benches::mesh::{self, PHASES, Plan};
use starling_proto::sim::membership::TownSettings;

/// Simulates the membership of a mesh, by a seed: the same seed prints the same figures.
///
/// Prints Markdown. Ten thousand nodes take some minutes on one core.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Nodes of the mesh
    #[arg(long, default_value_t = 1_000)]
    nodes: u32,
    /// Nodes of one PoP
    #[arg(long, default_value_t = 50)]
    pop_size: u32,
    /// Regions, over which the PoPs are spread; there are ten
    #[arg(long, default_value_t = 10)]
    regions: u8,
    /// Of all chance in it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Simulated seconds of each phase in which nobody dies
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// PoPs that keep what other PoPs say of themselves; the rest only pass it on
    #[arg(long, default_value_t = 20)]
    listening_pops: u16,
    /// Only these phases
    #[arg(value_parser = PHASES)]
    phases: Vec<String>,
}

fn main() {
    let Arguments { nodes, pop_size, regions, seed, seconds, listening_pops, phases } = Arguments::parse();
    let pop_size = pop_size.clamp(4, 640);
    let town = TownSettings {
        nodes: nodes.max(2 * pop_size),
        pop_size,
        regions,
        pops_that_listen: listening_pops,
        ..TownSettings::default()
    };
    mesh::run(&Plan { town, seed, seconds: seconds.max(1), phases });
}
