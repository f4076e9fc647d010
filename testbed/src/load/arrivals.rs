//! When requests are due: fixed before anything is asked, whatever becomes of it (open loop).

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    iter::Peekable,
    time::Duration,
};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp};

use super::source::{Source, Wanted};

/// Requests of a log that wait to be put in order; beyond, the earliest is taken as it stands.
const WAITING_MAX: usize = 1 << 16;

/// How arrival times are fixed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// So many a second, independent of each other (Poisson).
    Rate(f64),
    /// By the times of the log, so many times as fast.
    Logged(f64),
}

/// A request and when it is due, from the beginning on.
pub type Due = (Duration, Wanted);

/// Gives each request its time; times never step back.
pub fn arrivals(
    source: Source,
    pace: Pace,
    seed: u64,
) -> Box<dyn Iterator<Item = anyhow::Result<Due>> + Send> {
    match pace {
        Pace::Rate(rate) => {
            let mut times = poisson(rate, seed);
            Box::new(source.map(move |wanted| Ok((times.next().unwrap_or(Duration::MAX), wanted?))))
        }
        Pace::Logged(speed) => Box::new(Logged::new(source, speed, seed)),
    }
}

/// Times of a Poisson process of this rate.
pub fn poisson(rate: f64, seed: u64) -> impl Iterator<Item = Duration> + Send {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let gaps = Exp::new(rate).expect("a rate is greater than 0");
    let mut at = 0.0;
    std::iter::repeat_with(move || {
        at += gaps.sample(&mut random);
        Duration::from_secs_f64(at)
    })
}

/// A log tells whole seconds, and not always in order. Each request gets a fraction of its second, so that they
/// do not come all at once; a request that the log tells too late is due at once.
struct Logged {
    source: Peekable<Source>,
    speed: f64,
    random: ChaCha8Rng,
    first_s: Option<i64>,
    /// The latest second that was read.
    newest_s: i64,
    waiting: BinaryHeap<Reverse<Waiting>>,
    number: u64,
    last: Duration,
}

/// A request that waits for its turn.
struct Waiting {
    /// Seconds after the first one of the log.
    at_s: f64,
    /// Among equals, the order of the log.
    number: u64,
    wanted: Wanted,
}

impl Logged {
    fn new(source: Source, speed: f64, seed: u64) -> Self {
        Self {
            source: source.peekable(),
            speed,
            random: ChaCha8Rng::seed_from_u64(seed),
            first_s: None,
            newest_s: i64::MIN,
            waiting: BinaryHeap::new(),
            number: 0,
            last: Duration::ZERO,
        }
    }

    /// Whether the earliest that waits may still be overtaken by a line that was not read.
    fn may_go(&self) -> bool {
        let Some(Reverse(earliest)) = self.waiting.peek() else { return false };
        let first_s = self.first_s.unwrap_or(0);
        // A second is whole when a line two seconds later was seen: logs are out of order by little.
        earliest.at_s.floor() as i64 + first_s < self.newest_s.saturating_sub(1)
            || self.waiting.len() >= WAITING_MAX
    }
}

impl Iterator for Logged {
    type Item = anyhow::Result<Due>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.may_go() && self.source.peek().is_some_and(Result::is_ok) {
            let Some(Ok(wanted)) = self.source.next() else { break };
            let logged_s = wanted.logged_s.unwrap_or(self.newest_s);
            let first_s = *self.first_s.get_or_insert(logged_s);
            self.newest_s = self.newest_s.max(logged_s);
            self.number += 1;
            let at_s = (logged_s - first_s).max(0) as f64 + self.random.random::<f64>();
            self.waiting.push(Reverse(Waiting { at_s, number: self.number, wanted }));
        }
        let Some(Reverse(next)) = self.waiting.pop() else {
            return self.source.next().map(|item| item.map(|wanted| (self.last, wanted)));
        };
        let at = Duration::try_from_secs_f64(next.at_s / self.speed).unwrap_or(Duration::MAX);
        self.last = self.last.max(at);
        Some(Ok((self.last, next.wanted)))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at_s.total_cmp(&other.at_s).then(self.number.cmp(&other.number))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Waiting {}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::{client::Protocol, load::source::What};

    fn at(logged_s: i64, name: &str) -> anyhow::Result<Wanted> {
        Ok(Wanted {
            logged_s: Some(logged_s),
            client: 0,
            method: Method::GET,
            what: What::Path(name.to_owned()),
            range: None,
            protocol: Protocol::H1,
        })
    }

    fn logged(items: Vec<anyhow::Result<Wanted>>, speed: f64) -> Vec<anyhow::Result<(f64, String)>> {
        arrivals(Box::new(items.into_iter()), Pace::Logged(speed), 3)
            .map(|item| {
                item.map(|(due, wanted)| {
                    let What::Path(name) = wanted.what else { panic!("no path") };
                    (due.as_secs_f64(), name)
                })
            })
            .collect()
    }

    #[test]
    fn poisson_arrivals_are_of_the_seed_and_have_the_rate() {
        let times: Vec<Duration> = poisson(200.0, 5).take(20_000).collect();
        assert_eq!(times, poisson(200.0, 5).take(20_000).collect::<Vec<_>>());
        assert_ne!(times[..10], poisson(200.0, 6).take(10).collect::<Vec<_>>()[..]);
        assert!(times.is_sorted());
        let whole_s = times[19_999].as_secs_f64();
        assert!((97.0..103.0).contains(&whole_s), "{whole_s}");
        // The gaps of a Poisson process are not even: their deviation is their mean.
        let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((0.9..1.1).contains(&(variance.sqrt() / mean)));
    }

    #[test]
    fn times_of_a_log_are_kept_and_spread_over_their_second() {
        let mut items: Vec<_> = (0..100).map(|_| at(1_000, "early")).collect();
        items.extend((0..100).map(|_| at(1_010, "late")));
        let all: Vec<(f64, String)> = logged(items, 2.0).into_iter().map(Result::unwrap).collect();
        assert_eq!(all.len(), 200);
        assert!(all.is_sorted_by(|one, other| one.0 <= other.0));
        for (due_s, name) in &all {
            let second = if name == "early" { 0.0..0.5 } else { 5.0..5.5 };
            assert!(second.contains(due_s), "{name} at {due_s}");
        }
        assert!(all[99].0 - all[0].0 > 0.4, "they are spread over it");
    }

    #[test]
    fn lines_out_of_order_are_put_in_order_and_those_far_too_late_are_due_at_once() {
        let items = vec![at(10, "a"), at(12, "c"), at(11, "b"), at(20, "d"), at(30, "e"), at(9, "late")];
        let all: Vec<(f64, String)> = logged(items, 1.0).into_iter().map(Result::unwrap).collect();
        let names: Vec<&str> = all.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c", "d", "late", "e"]);
        assert!(all[4].0 >= all[3].0, "times never step back");
    }

    #[test]
    fn an_error_of_the_source_comes_after_all_that_was_read_before_it() {
        let all = logged(vec![at(1, "a"), at(2, "b"), Err(anyhow::anyhow!("torn"))], 1.0);
        assert_eq!(all.len(), 3);
        assert!(all[0].is_ok() && all[1].is_ok() && all[2].is_err());
    }

    #[test]
    fn a_second_of_any_number_of_lines_takes_bounded_memory() {
        let source: Source = Box::new((0..3 * WAITING_MAX).map(|_| at(5, "x")));
        let mut logged = Logged::new(source, 1.0, 1);
        for _ in 0..2 * WAITING_MAX {
            logged.next().unwrap().unwrap();
            assert!(logged.waiting.len() <= WAITING_MAX);
        }
    }
}
