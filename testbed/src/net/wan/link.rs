//! What is done to packets between PoPs, apart from the devices and the clock: it takes packets with the time and
//! says which are due.
//!
//! Each direction of a way between two PoPs is a line of its own. A packet that is not lost first waits for its
//! turn at the line's rate, then is on its way for the delay. Both queues have a bound; what does not fit is dropped
//! and counted. Nobody is told of a packet that does not arrive.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
    net::Ipv4Addr,
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::talk::{Counts, LinePlan, LineStats, Plan, Stats};
use crate::topology::Quality;

/// What a line sends at once after it was idle.
const BURST_BYTES: f64 = 3_000.0;
/// What may wait for its turn: so much of the line's rate, but at least [`QUEUE_BYTES_MIN`].
const QUEUE_MS: f64 = 100.0;
const QUEUE_BYTES_MIN: f64 = 15_000.0;
/// What may be on its way on one line.
const LINE_BYTES_MAX: usize = 16 << 20;
/// What may be on its way in all.
const ALL_BYTES_MAX: usize = 128 << 20;
/// How many pairs of addresses can be cut.
const CUTS_MAX: usize = 100_000;
/// Nothing is on its way for longer.
const DELAY_MS_MAX: f64 = 60_000.0;

/// All lines, and the packets that are on their way.
pub struct Link {
    pops: Vec<String>,
    /// The PoP of a subnet, which is a /24.
    subnets: HashMap<[u8; 3], usize>,
    /// The line from `from` to `to` is number `from * pops + to`.
    lines: Vec<Line>,
    cuts: HashSet<(Ipv4Addr, Ipv4Addr)>,
    held: BinaryHeap<Reverse<Held>>,
    held_bytes: usize,
    taken: u64,
    strays: u64,
    late_max: Duration,
}

struct Line {
    /// What `heal` gives back.
    usual: Quality,
    /// `None` carries nothing.
    quality: Option<Quality>,
    random: ChaCha8Rng,
    /// When the last packet taken has had its turn at the rate.
    free_at: Duration,
    /// When the last packet taken is due; later ones do not overtake it.
    last_due: Duration,
    held_bytes: usize,
    counts: Counts,
}

/// A packet on its way; the first to be due is the least.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    due: Duration,
    /// Those of one time are due in the order in which they came.
    number: u64,
    line: usize,
    packet: Vec<u8>,
}

impl Link {
    /// Lines that are as the plan says.
    pub fn new(plan: &Plan) -> Result<Self> {
        let pops: Vec<String> = plan.pops.iter().map(|pop| pop.name.clone()).collect();
        let mut subnets = HashMap::new();
        for (number, pop) in plan.pops.iter().enumerate() {
            let [first, second, third, _] = pop.subnet.octets();
            let other = subnets.insert([first, second, third], number);
            ensure!(other.is_none(), "two PoPs have the subnet {}", pop.subnet);
        }
        let line = |number| Line::new(plan.seed.wrapping_add(number));
        let lines = (0..(pops.len() * pops.len()) as u64).map(line).collect();
        let mut link = Self {
            pops,
            subnets,
            lines,
            cuts: HashSet::new(),
            held: BinaryHeap::new(),
            held_bytes: 0,
            taken: 0,
            strays: 0,
            late_max: Duration::ZERO,
        };
        for LinePlan { from, to, quality } in &plan.lines {
            check(quality)?;
            let number = link.line(from, to)?;
            link.lines[number].usual = *quality;
            link.lines[number].change(Some(*quality));
        }
        Ok(link)
    }

    /// Takes a packet that comes from a PoP. Is the next packet due earlier now than before?
    pub fn take(&mut self, now: Duration, from: usize, packet: &[u8]) -> bool {
        let Some((source, target)) = ends(packet) else {
            self.strays += 1;
            return false;
        };
        let [first, second, third, _] = target.octets();
        let to = self.subnets.get(&[first, second, third]).copied();
        let Some(to) = to.filter(|to| *to != from) else {
            self.strays += 1;
            return false;
        };
        let number = from * self.pops.len() + to;
        let line = &mut self.lines[number];
        line.counts.packets += 1;
        line.counts.bytes += packet.len() as u64;
        if self.cuts.contains(&(source, target)) {
            line.counts.cut += 1;
            return false;
        }
        let before = self.next_due();
        let line = &mut self.lines[number];
        let Some(due) = line.due(now, packet.len()) else { return false };
        let copies = if line.happens(|quality| quality.duplicate_percent) { 2 } else { 1 };
        for copy in 0..copies {
            if line.held_bytes + packet.len() > LINE_BYTES_MAX
                || self.held_bytes + packet.len() > ALL_BYTES_MAX
            {
                line.counts.overflowed += 1;
                break;
            }
            line.counts.duplicated += copy;
            line.held_bytes += packet.len();
            self.held_bytes += packet.len();
            let held = Held { due, number: self.taken, line: number, packet: packet.to_vec() };
            self.held.push(Reverse(held));
            self.taken += 1;
        }
        before != self.next_due()
    }

    /// When [`Self::give`] will have something: ask again after each packet taken.
    pub fn next_due(&self) -> Option<Duration> {
        self.held.peek().map(|Reverse(held)| held.due)
    }

    /// The next packet that is due, with the number of the PoP it goes to. What was cut or went down while it was
    /// on its way does not arrive.
    pub fn give(&mut self, now: Duration) -> Option<(usize, Vec<u8>)> {
        while self.next_due().is_some_and(|due| due <= now) {
            let Reverse(held) = self.held.pop()?;
            self.held_bytes -= held.packet.len();
            let line = &mut self.lines[held.line];
            line.held_bytes -= held.packet.len();
            if ends(&held.packet).is_some_and(|ends| self.cuts.contains(&ends)) {
                line.counts.cut += 1;
            } else if line.quality.is_none() {
                line.counts.down += 1;
            } else {
                line.counts.delivered += 1;
                self.late_max = self.late_max.max(now - held.due);
                return Some((held.line % self.pops.len(), held.packet));
            }
        }
        None
    }

    /// Gives a line another quality, for packets from now on; `None` has it carry nothing.
    pub fn change(&mut self, from: &str, to: &str, quality: Option<Quality>) -> Result<()> {
        quality.as_ref().map_or(Ok(()), check)?;
        let number = self.line(from, to)?;
        self.lines[number].change(quality);
        Ok(())
    }

    /// From now on nothing from one of `from` arrives at one of `to`.
    pub fn cut(&mut self, from: &[Ipv4Addr], to: &[Ipv4Addr]) -> Result<()> {
        let more = from.len().saturating_mul(to.len());
        ensure!(self.cuts.len().saturating_add(more) <= CUTS_MAX, "more than {CUTS_MAX} pairs would be cut");
        self.cuts.extend(from.iter().flat_map(|from| to.iter().map(|to| (*from, *to))));
        Ok(())
    }

    /// Ends all cuts, and all lines are as they were at first.
    pub fn heal(&mut self) {
        self.cuts.clear();
        for line in &mut self.lines {
            if line.quality != Some(line.usual) {
                line.change(Some(line.usual));
            }
        }
    }

    /// What was done so far.
    pub fn stats(&self) -> Stats {
        let pops = self.pops.len();
        let line = |(number, line): (usize, &Line)| {
            let (from, to) = (self.pops[number / pops].clone(), self.pops[number % pops].clone());
            LineStats { from, to, quality: line.quality, counts: line.counts }
        };
        let lines = self.lines.iter().enumerate().map(line).filter(|line| line.from != line.to);
        Stats {
            lines: lines.collect(),
            strays: self.strays,
            cuts: self.cuts.len(),
            held: self.held.len(),
            held_bytes: self.held_bytes,
            late_max_us: self.late_max.as_micros() as u64,
        }
    }

    fn line(&self, from: &str, to: &str) -> Result<usize> {
        let number = |name: &str| match self.pops.iter().position(|pop| pop == name) {
            Some(number) => Ok(number),
            None => bail!("no PoP {name:?}; there are {}", self.pops.join(", ")),
        };
        ensure!(from != to, "no way leads from {from:?} to itself");
        Ok(number(from)? * self.pops.len() + number(to)?)
    }
}

impl Line {
    fn new(seed: u64) -> Self {
        Self {
            usual: Quality::default(),
            quality: Some(Quality::default()),
            random: ChaCha8Rng::seed_from_u64(seed),
            free_at: Duration::ZERO,
            last_due: Duration::ZERO,
            held_bytes: 0,
            counts: Counts::default(),
        }
    }

    /// What is on its way stays on it, but what comes now does not wait behind it: this is another way.
    fn change(&mut self, quality: Option<Quality>) {
        self.quality = quality;
        self.free_at = Duration::ZERO;
        self.last_due = Duration::ZERO;
    }

    /// When a packet that comes now arrives; or it does not, and is counted.
    fn due(&mut self, now: Duration, bytes: usize) -> Option<Duration> {
        let Some(quality) = self.quality else {
            self.counts.down += 1;
            return None;
        };
        if self.happens(|quality| quality.loss_percent) {
            self.counts.lost += 1;
            return None;
        }
        let sent = self.turn(now, bytes, quality.rate_mbit)?;
        if self.happens(|quality| quality.reorder_percent) {
            // Before what is on its way, but not in no time: nothing would think that a way of this length.
            self.counts.reordered += 1;
            return Some(sent + milliseconds(quality.delay_ms * self.random.random_range(0.25..0.75)));
        }
        let mut delay_ms = quality.delay_ms;
        if quality.jitter_ms > 0.0 {
            let deviation: f64 = StandardNormal.sample(&mut self.random);
            delay_ms += deviation * quality.jitter_ms;
        }
        self.last_due = self.last_due.max(sent + milliseconds(delay_ms));
        Some(self.last_due)
    }

    /// When a packet has had its turn. The bucket is kept as the time at which it is full again: `free_at` in the
    /// past are tokens, in the future are bytes that wait.
    fn turn(&mut self, now: Duration, bytes: usize, rate_mbit: f64) -> Option<Duration> {
        if rate_mbit <= 0.0 {
            return Some(now);
        }
        let takes = |bytes: f64| milliseconds(bytes * 8.0 / (rate_mbit * 1_000.0));
        let queue_bytes = (rate_mbit * 1_000.0 / 8.0 * QUEUE_MS).max(QUEUE_BYTES_MIN);
        let free_at = self.free_at.max(now.saturating_sub(takes(BURST_BYTES))) + takes(bytes as f64);
        if free_at > now + takes(queue_bytes) {
            self.counts.overflowed += 1;
            return None;
        }
        self.free_at = free_at;
        Some(free_at.max(now))
    }

    fn happens(&mut self, percent: impl Fn(&Quality) -> f64) -> bool {
        let percent = self.quality.as_ref().map_or(0.0, percent);
        percent > 0.0 && self.random.random_bool((percent / 100.0).min(1.0))
    }
}

/// Source and destination of an IPv4 packet (RFC 791 section 3.1).
fn ends(packet: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let head = packet.first_chunk::<20>().filter(|head| head[0] >> 4 == 4)?;
    let address = |at: usize| Ipv4Addr::new(head[at], head[at + 1], head[at + 2], head[at + 3]);
    Some((address(12), address(16)))
}

fn milliseconds(ms: f64) -> Duration {
    // At most a day: a rate of next to nothing must not overflow.
    Duration::from_secs_f64(ms.clamp(0.0, 86_400_000.0) / 1_000.0)
}

/// Does this quality make sense?
pub fn check(quality: &Quality) -> Result<()> {
    let Quality { delay_ms, jitter_ms, loss_percent, reorder_percent, duplicate_percent, rate_mbit } =
        *quality;
    for (name, value, max) in [
        ("delay_ms", delay_ms, DELAY_MS_MAX),
        ("jitter_ms", jitter_ms, DELAY_MS_MAX),
        ("loss_percent", loss_percent, 100.0),
        ("reorder_percent", reorder_percent, 100.0),
        ("duplicate_percent", duplicate_percent, 100.0),
        ("rate_mbit", rate_mbit, 1e6),
    ] {
        ensure!((0.0..=max).contains(&value), "{name} is {value}: it goes from 0 to {max}");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
