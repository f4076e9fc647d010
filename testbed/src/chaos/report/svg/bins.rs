//! Reads by time.

use crate::chaos::{
    checker::{Index, Judged, rules::shown},
    history::Micros,
    report::summary::is_failed,
};

/// So many bins at the most; of a second each in a run of less.
const BINS_MAX: u64 = 270;

/// The rules that say when a read was too old.
const READ_RULES: [&str; 3] = ["P1", "P5", "fresh"];

/// All of a run.
pub struct Bins {
    /// How long each is.
    pub bin_us: Micros,
    /// In their order.
    pub all: Vec<Bin>,
}

/// What began in one of them.
#[derive(Clone, Default)]
pub struct Bin {
    /// All reads.
    pub reads: u64,
    /// Those that brought content.
    pub answered: u64,
    /// Those that brought less than the newest edition that was published before they began, and break no rule.
    pub stale: u64,
    /// Those that brought less than they had to, as far as they are told.
    pub violations: u64,
    /// Reads that failed.
    pub failed: u64,
}

impl Bins {
    /// Counts the reads.
    pub fn new(index: &Index<'_>, judged: &Judged, over_us: Micros) -> Self {
        let bin_us = 1_000_000.max(over_us.div_ceil(BINS_MAX));
        let count = usize::try_from(over_us / bin_us + 1).expect("few bins");
        let mut bins = Self { bin_us, all: vec![Bin::default(); count] };
        for read in index.reads() {
            let newest = index.editions.had(&read.object, read.at_us);
            let bin = bins.at(read.at_us);
            bin.reads += 1;
            bin.failed += u64::from(is_failed(read));
            if let Some(edition) = shown(read) {
                bin.answered += 1;
                bin.stale += u64::from(edition < newest);
            }
        }
        // A read may break several rules at once; they are in the order of time.
        let of_reads = judged.violations.iter().filter(|violation| READ_RULES.contains(&&*violation.rule));
        let mut times: Vec<Micros> = of_reads.map(|violation| violation.at_us).collect();
        times.dedup();
        for at_us in times {
            let bin = bins.at(at_us);
            bin.violations += 1;
            bin.stale = bin.stale.saturating_sub(1);
        }
        bins
    }

    fn at(&mut self, at_us: Micros) -> &mut Bin {
        let at = usize::try_from(at_us / self.bin_us).unwrap_or(usize::MAX);
        let last = self.all.len() - 1;
        &mut self.all[at.min(last)]
    }
}
