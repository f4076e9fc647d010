//! Those who ask: for objects, and for purges. Each attempt becomes a line of the history.

mod purges;
mod reads;
#[cfg(test)]
mod tests;

use std::time::Instant;

pub use purges::{Purging, purge};
pub use reads::{Reader, Wanted};

use super::history::Micros;

/// The clock of a run: microseconds since it began.
#[derive(Clone, Copy, Debug)]
pub struct Clock(pub Instant);

impl Clock {
    /// Now.
    pub fn now_us(&self) -> Micros {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}
