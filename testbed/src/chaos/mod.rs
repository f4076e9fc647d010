//! Chaos: requests, purges and faults by a seed; a history of all that was seen; and a judge of it.
//!
//! [`run`] makes the history, [`checker`] reads it and nothing else, [`report`] tells what came of it. So a history
//! can be judged again, and a judge can be tried on histories that nobody lived through.

pub mod checker;
pub mod clients;
pub mod history;
pub mod report;
pub mod run;
pub mod schedule;
