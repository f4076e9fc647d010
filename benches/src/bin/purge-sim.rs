//! Simulates purges on their way through a world of many nodes, and prints how long they take.

use clap::Parser;
use starling_benches::push::{self, Plan};

/// Simulates the push of purges from the leaders of six regions to all nodes, by a seed: the same seed prints the
/// same figures.
///
/// Prints Markdown.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Nodes of the world
    #[arg(long, default_value_t = 1_000)]
    nodes: u16,
    /// Nodes of one PoP; there is one PoP in each of twenty cities before there is a second in any
    #[arg(long, default_value_t = 50)]
    pop_size: u16,
    /// Purges, one at a time
    #[arg(long, default_value_t = 120)]
    purges: u32,
    /// Of all chance in it
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() {
    let Arguments { nodes, pop_size, purges, seed } = Arguments::parse();
    push::run(&Plan { nodes: nodes.max(2), pop_size: pop_size.max(2), purges: purges.max(1), seed });
}
