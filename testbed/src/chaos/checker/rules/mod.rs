//! What must hold, rule by rule.

mod content;
mod demands;
mod logs;

pub use content::{fenced_everywhere, fresh_at_last, of_its_time, purged_at_the_node, shown, undamaged};
pub use logs::{in_order, level, logged, one_purge, recorded};

use crate::chaos::history::Micros;

/// A time of the run, for people.
pub fn seconds(at_us: Micros) -> String {
    format!("{}.{:06} s", at_us / 1_000_000, at_us % 1_000_000)
}
