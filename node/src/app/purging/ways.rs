//! Which regions are asked to commit a change, and in which order.
//!
//! The own region first, with half of the time; then the others, the nearest first; then all over again, for as long
//! as there is time: a region without a leader may have one in a moment. It is the same proposal with the same key
//! each time, so one region commits it once. Two regions may both commit it, when the first does not answer: purging
//! twice is harmless, and a service is set to the same.

use std::time::Duration;

use futures_util::future::BoxFuture;
use starling_proto::{
    NodeId, UnixMs,
    purge::Change,
    wire::{Committed, NotCommitted, Proposal},
};
use tokio::time::{Instant, sleep, timeout};

use crate::admin::CommandError;

/// Between two rounds.
const PAUSE: Duration = Duration::from_millis(100);
/// Less time than this is not worth a question.
const SLICE_MIN: Duration = Duration::from_millis(20);
/// An answer is on its way for so long, at most: the one asked is to give up earlier.
pub(super) const MARGIN: Duration = Duration::from_millis(100);
/// Nodes of other regions that are asked in one round.
const OTHERS_MAX: usize = 6;

/// How regions are asked.
pub trait Ways: Send + Sync + 'static {
    /// The name of this node.
    fn name(&self) -> String;
    /// Asks the own region.
    fn here(&self, proposal: Proposal) -> BoxFuture<'_, Result<Committed, NotCommitted>>;
    /// Nodes of other regions: one of each, the nearest first, then a second of each.
    fn others(&self) -> Vec<NodeId>;
    /// Asks a node of another region.
    fn there(&self, node: NodeId, proposal: Proposal) -> BoxFuture<'_, Result<Committed, NotCommitted>>;
}

/// Why a change is not known to be committed, after all ways were tried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No region has a quorum.
    #[error("failed, nothing was committed: {0}")]
    NoQuorum(String),
    /// The disk of this node failed.
    #[error("failed, nothing was acknowledged: {0}")]
    NotDurable(String),
    /// It may be committed, or may be later.
    #[error("unknown whether it was committed: {0}")]
    Unknown(String),
    /// It can never be committed.
    #[error("failed: {0}")]
    Refused(String),
}

impl From<Failure> for CommandError {
    fn from(failure: Failure) -> Self {
        let text = failure.to_string();
        match failure {
            Failure::NoQuorum(_) => Self::NoQuorum(text),
            Failure::NotDurable(_) => Self::NotDurable(text),
            Failure::Unknown(_) => Self::Unknown(text),
            Failure::Refused(_) => Self::Failed(text),
        }
    }
}

/// A change on its way into a log.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// By which it is recognised; never 0.
    pub key: u128,
    /// When it was asked for.
    pub at_ms: UnixMs,
    /// It.
    pub change: Change,
    /// When nobody waits for it any more.
    pub deadline: Instant,
}

/// Has a change committed by the first region that can. Answers who did: none is the own region.
pub async fn commit(ways: &dyn Ways, wanted: &Wanted) -> Result<(Committed, Option<NodeId>), Failure> {
    let mut failures = Failures::default();
    loop {
        let others: Vec<NodeId> = ways.others().into_iter().take(OTHERS_MAX).collect();
        let tries = std::iter::once(None).chain(others.into_iter().map(Some));
        let count = tries.size_hint().0;
        for (tried, whom) in tries.enumerate() {
            let left = wanted.left();
            // The last one has all the time that is left, the own region half of it.
            let slice = if tried + 1 == count { left } else { left / 2 };
            if slice < SLICE_MIN {
                break;
            }
            let proposal = wanted.proposal(slice);
            let asked = match whom {
                None => ways.here(proposal),
                Some(node) => ways.there(node, proposal),
            };
            let answer = timeout(slice, asked).await.unwrap_or_else(|_| {
                let text = whom.map_or_else(|| "the own region".to_owned(), |node| node.to_string());
                Err(NotCommitted::Unknown(format!("{text} did not answer in {} ms", slice.as_millis())))
            });
            match answer {
                Ok(committed) => return Ok((committed, whom)),
                Err(NotCommitted::Refused(why)) => return Err(Failure::Refused(why)),
                Err(why) => failures.add(why, |node| whom.is_none() && node == ways.name()),
            }
        }
        // A disk that failed does not heal in a moment, and whoever waits should know.
        let is_hopeless = failures.is_disk;
        if is_hopeless || wanted.left() < PAUSE + SLICE_MIN {
            return Err(failures.sum());
        }
        sleep(PAUSE).await;
        failures.next_round();
    }
}

impl Wanted {
    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn proposal(&self, slice: Duration) -> Proposal {
        let slice = slice - MARGIN.min(slice / 4);
        let deadline_ms = u32::try_from(slice.as_millis()).unwrap_or(u32::MAX);
        Proposal { key: self.key, at_ms: self.at_ms, change: self.change.clone(), deadline_ms }
    }
}

/// What the ways said.
#[derive(Default)]
struct Failures {
    /// Of this round.
    texts: Vec<String>,
    /// Whether the disk of this node failed.
    is_disk: bool,
    /// Of any round: what may be committed may be so although it failed later.
    unknown: Option<String>,
}

impl Failures {
    fn add(&mut self, why: NotCommitted, is_me: impl Fn(&str) -> bool) {
        let text = why.to_string();
        match why {
            NotCommitted::NotDurable { node, .. } if is_me(&node) => self.is_disk = true,
            // The disk of another node failed: it may have sent the change to others before.
            NotCommitted::Unknown(_) | NotCommitted::NotDurable { .. } => self.unknown = Some(text.clone()),
            NotCommitted::NoQuorum { .. } | NotCommitted::Refused(_) => {}
        }
        if !self.texts.contains(&text) {
            self.texts.push(text);
        }
    }

    fn next_round(&mut self) {
        self.texts.clear();
    }

    fn sum(mut self) -> Failure {
        if let Some(unknown) = &self.unknown
            && !self.texts.contains(unknown)
        {
            self.texts.push(unknown.clone());
        }
        let text = match self.texts.is_empty() {
            true => "no time was left to ask any region".to_owned(),
            false => self.texts.join("; "),
        };
        match (&self.unknown, self.is_disk) {
            (Some(_), _) => Failure::Unknown(text),
            (None, true) => Failure::NotDurable(text),
            (None, false) => Failure::NoQuorum(text),
        }
    }
}

#[cfg(test)]
mod tests;
