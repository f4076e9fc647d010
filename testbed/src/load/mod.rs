//! Load: request logs replayed, or made-up mixes, at times that do not wait for answers.
//!
//! A [source](source) tells what is wanted, [arrivals](arrivals) when each request is due, the [player](player)
//! sends it then and judges the answer, the [tally](tally) counts, and the [report](report) says what was seen.
//!
//! What becomes of a line:
//!
//! | source | asked for | when |
//! | --- | --- | --- |
//! | a log in [common or combined format](access) | the object whose place is the hash of its path, as long as the first whole answer that the log tells of; or the path as it is | at the log's times, or at a rate |
//! | a [trace](trace) of `id size` or `id` | the object of that id, so long | at a rate |
//! | a Zipf mix | objects 0, 1 and so on, the `k`th as often as `1 / k^exponent` | at a rate |
//!
//! Objects are the [press](crate::press)'s, so every body is checked. Latencies are those of good answers; each
//! request without one is counted by its reason.

pub mod access;
pub mod arrivals;
pub mod lines;
pub mod player;
pub mod report;
mod run;
pub mod source;
pub mod tally;
pub mod tiers;
pub mod trace;
pub mod units;

pub use run::{Plan, run};
