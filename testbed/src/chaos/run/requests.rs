//! What is asked for, and what is purged: all of it by the seed, whatever comes back.

use std::collections::BTreeSet;

use anyhow::ensure;
use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1, Zipf};

use crate::{
    chaos::history::By,
    client::Protocol,
    press::{Host, Object, Scope},
};

use super::Workload;

/// More objects than this are not one workload.
const OBJECTS_MAX: usize = 100_000;
/// The shortest object.
const BYTES_MIN: u64 = 64;

/// Parts of the seed's randomness that do not disturb each other.
const SIZES: u64 = 0;
const READS: u64 = 1;
const PURGES: u64 = 2;

/// The objects of a workload, the one that is asked for most first.
pub(super) struct Objects {
    by_rank: Vec<Object>,
    zipf: Zipf<f64>,
}

impl Objects {
    pub fn new(workload: &Workload, seed: u64) -> anyhow::Result<Self> {
        let hosts: BTreeSet<Host> = workload.hosts.iter().copied().collect();
        let each = (workload.groups as usize).saturating_mul(workload.names as usize);
        let count = each.saturating_mul(hosts.len());
        ensure!(
            (1..=OBJECTS_MAX).contains(&count),
            "a workload of {count} objects; it has 1 to {OBJECTS_MAX}"
        );
        let mut rng = random(seed, SIZES);
        let longest = workload.bytes_max.max(BYTES_MIN + 1) as f64;
        let mut by_rank = Vec::with_capacity(count);
        for host in hosts {
            for group in 0..workload.groups {
                for name in 0..workload.names {
                    // As many between one kilobyte and two as between ten and twenty.
                    let part: f64 = rng.random();
                    let bytes = (BYTES_MIN as f64) * (longest / BYTES_MIN as f64).powf(part);
                    by_rank.push(Object { host, group, name, bytes: bytes as u64 });
                }
            }
        }
        by_rank.shuffle(&mut rng);
        let zipf = Zipf::new(count as f64, workload.zipf)?;
        Ok(Self { by_rank, zipf })
    }

    pub fn all(&self) -> &[Object] {
        &self.by_rank
    }

    /// Those that a scope names, the one that is asked for most first.
    pub fn named_by<'a>(&'a self, scope: &'a Scope) -> impl Iterator<Item = &'a Object> {
        self.by_rank.iter().filter(move |object| object.is_in(scope))
    }

    fn pick(&self, rng: &mut ChaCha8Rng) -> &Object {
        // The distribution counts from 1.
        let rank = (self.zipf.sample(rng) as usize).clamp(1, self.by_rank.len());
        &self.by_rank[rank - 1]
    }
}

/// One request of a client.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    /// The time since the last one, in units of the mean.
    pub gap: f64,
    pub object: Object,
    pub wish: Wish,
    pub protocol: Protocol,
    /// Who is asked, and who next: a number to be taken modulo those there are.
    pub pick: u64,
}

/// What of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Whole,
    Range(u64, u64),
    /// Only if it is not the edition that was seen last, or the one before that.
    Conditional {
        is_older: bool,
    },
}

/// The requests of a run, without end.
pub(super) struct Requests {
    rng: ChaCha8Rng,
    workload: Workload,
}

impl Requests {
    pub fn new(workload: &Workload, seed: u64) -> Self {
        Self { rng: random(seed, READS), workload: workload.clone() }
    }

    pub fn next(&mut self, objects: &Objects) -> Request {
        let Self { rng, workload } = self;
        let gap = Exp1.sample(rng);
        let object = objects.pick(rng).clone();
        let kind: f64 = rng.random();
        let wish = if kind < workload.ranges {
            let from = rng.random_range(0..object.bytes);
            Wish::Range(from, rng.random_range(from + 1..=object.bytes))
        } else if kind < workload.ranges + workload.conditionals {
            Wish::Conditional { is_older: rng.random_bool(0.3) }
        } else {
            Wish::Whole
        };
        let protocol = if rng.random::<f64>() < workload.h2 { Protocol::H2 } else { Protocol::H1 };
        Request { gap, object, wish, protocol, pick: rng.random() }
    }
}

/// A purge of something that got a new edition right before.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PurgePlan {
    /// As [`Request::gap`].
    pub gap: f64,
    pub scope: Scope,
    pub by: By,
    pub bytes: u64,
    pub soft: bool,
    pub wait: &'static str,
    /// As [`Request::pick`].
    pub pick: u64,
    /// Whether it is sent once more after it was acknowledged, as by a client that lost the answer.
    pub repeats: bool,
    /// So many clients ask for what is purged while it is purged.
    pub racers: u64,
}

/// The purges of a run, without end.
pub(super) struct Purges {
    rng: ChaCha8Rng,
    workload: Workload,
}

impl Purges {
    pub fn new(workload: &Workload, seed: u64) -> Self {
        Self { rng: random(seed, PURGES), workload: workload.clone() }
    }

    pub fn next(&mut self, objects: &Objects) -> PurgePlan {
        let Self { rng, workload } = self;
        let gap = Exp1.sample(rng);
        let Object { host, group, name, bytes } = *objects.pick(rng);
        let part: f64 = rng.random();
        let (scope, ways): (Scope, &[By]) = match rng.random_range(0..100) {
            0..60 => (Scope::Object(host, group, name), &[By::Url, By::Url, By::Tag, By::Prefix]),
            60..88 => (Scope::Group(host, group), &[By::Tag, By::Prefix]),
            _ => (Scope::All(host), &[By::Host, By::All, By::Tag]),
        };
        let by = ways[((part * ways.len() as f64) as usize).min(ways.len() - 1)];
        let soft = rng.random::<f64>() < workload.soft;
        // What is strict is what `fenced` is for.
        let fenced = if host == Host::Strict { 60 } else { 20 };
        let wait = match rng.random_range(0..100) {
            number if number < fenced => "fenced",
            number if number % 2 == 0 => "applied",
            _ => "committed",
        };
        let repeats = rng.random_bool(0.1);
        let racers = if rng.random_bool(0.5) { rng.random_range(1..=3) } else { 0 };
        PurgePlan { gap, scope, by, bytes, soft, wait, pick: rng.random(), repeats, racers }
    }
}

fn random(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}
