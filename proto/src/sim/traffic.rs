//! What it costs: messages and bytes, per node and second.

use super::{Micros, Node};

const SECOND: Micros = 1_000_000;

/// What went through one node in one second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerSecond {
    /// Messages it sent: each copy to each neighbour is one.
    pub messages_out: u32,
    /// Messages that reached it, those it knew already included.
    pub messages_in: u32,
    /// Bytes it sent, with framing.
    pub bytes_out: u32,
    /// Bytes that reached it, with framing.
    pub bytes_in: u32,
}

/// The mean and the tail of some figures.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// How many figures.
    pub count: usize,
    /// Their mean.
    pub mean: f64,
    /// Half are not above.
    pub p50: u64,
    /// All but one in a hundred are not above.
    pub p99: u64,
    /// The greatest.
    pub max: u64,
}

impl Spread {
    /// Of these figures.
    pub fn of(mut figures: Vec<u64>) -> Self {
        figures.sort_unstable();
        let Some(max) = figures.last().copied() else { return Self::default() };
        let rank = |permille: usize| figures[(figures.len() * permille / 1_000).min(figures.len() - 1)];
        let mean = figures.iter().map(|figure| *figure as f64).sum::<f64>() / figures.len() as f64;
        Self { count: figures.len(), mean, p50: rank(500), p99: rank(990), max }
    }
}

/// The account of all nodes, second by second.
#[derive(Clone, Debug)]
pub struct Traffic {
    now: Vec<PerSecond>,
    ends: Micros,
    samples: Vec<PerSecond>,
    /// Gossip that brought something new, and all gossip.
    pub(super) gossip_first: u64,
    pub(super) gossip_all: u64,
}

impl Traffic {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            now: vec![PerSecond::default(); nodes],
            ends: SECOND,
            samples: Vec::new(),
            gossip_first: 0,
            gossip_all: 0,
        }
    }

    pub(super) fn at(&mut self, now: Micros) {
        while now >= self.ends {
            self.samples.append(&mut self.now.clone());
            self.now.fill(PerSecond::default());
            self.ends += SECOND;
        }
    }

    pub(super) fn sent(&mut self, node: Node, bytes: u32) {
        let account = &mut self.now[node as usize];
        account.messages_out += 1;
        account.bytes_out += bytes;
    }

    pub(super) fn received(&mut self, node: Node, bytes: u32) {
        let account = &mut self.now[node as usize];
        account.messages_in += 1;
        account.bytes_in += bytes;
    }

    /// Forgets what was counted: the account begins anew, for what follows.
    pub fn clear(&mut self) {
        self.samples.clear();
        self.gossip_first = 0;
        self.gossip_all = 0;
    }

    /// One figure of every node in every full second since the last [`Traffic::clear`].
    pub fn spread(&self, figure: impl Fn(&PerSecond) -> u32) -> Spread {
        Spread::of(self.samples.iter().map(|sample| u64::from(figure(sample))).collect())
    }

    /// How often a node is told by gossip what it knows already, for each time it is told something new.
    pub fn copies(&self) -> f64 {
        self.gossip_all as f64 / self.gossip_first.max(1) as f64
    }
}
