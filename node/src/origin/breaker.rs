//! The circuit breaker of one origin: after failures in a row it refuses for a while, then lets one request
//! through to see. Pure: `now` is an argument.
//!
//! ```text
//!            failures in a row                 time over, one request
//!  closed ─────────────────────▶ open ────────────────────────────────▶ half-open
//!    ▲                            ▲                                        │  │
//!    │                            └───────────────── it failed ────────────┘  │
//!    └──────────────────────────────────────── it succeeded ─────────────────┘
//! ```

use std::time::Duration;
use tokio::time::Instant;

/// Where a circuit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Circuit {
    /// Requests pass.
    Closed {
        /// Failures since the last success.
        failures: u32,
    },
    /// Requests are refused until then.
    Open {
        /// When one request may try.
        until: Instant,
    },
    /// One request is trying; others are refused.
    HalfOpen,
}

impl Circuit {
    /// The name used in status and metrics.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Closed { .. } => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

/// How a request may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// As any other.
    Pass,
    /// As the one that decides whether the circuit closes: its end must be reported with
    /// [`Breaker::succeeded`], [`Breaker::failed`] or [`Breaker::abandoned`].
    Probe,
    /// Not at all.
    Refused,
}

/// The breaker of one origin.
#[derive(Debug)]
pub(super) struct Breaker {
    circuit: Circuit,
    failures_max: u32,
    open_for: Duration,
}

impl Breaker {
    /// A closed circuit that opens after `failures_max` failures in a row, for `open_for`.
    pub(super) fn new(failures_max: u32, open_for: Duration) -> Self {
        Self { circuit: Circuit::Closed { failures: 0 }, failures_max: failures_max.max(1), open_for }
    }

    /// Where the circuit stands.
    pub(super) fn circuit(&self) -> Circuit {
        self.circuit
    }

    /// Whether [`Breaker::admit`] would let a request pass.
    pub(super) fn would_admit(&self, now: Instant) -> bool {
        match self.circuit {
            Circuit::Closed { .. } => true,
            Circuit::Open { until } => now >= until,
            Circuit::HalfOpen => false,
        }
    }

    /// Lets a request pass, or not.
    pub(super) fn admit(&mut self, now: Instant) -> Admission {
        match self.circuit {
            Circuit::Closed { .. } => Admission::Pass,
            Circuit::Open { until } if now >= until => {
                self.circuit = Circuit::HalfOpen;
                Admission::Probe
            }
            Circuit::Open { .. } | Circuit::HalfOpen => Admission::Refused,
        }
    }

    /// The origin answered. A request from before the circuit opened does not close it: only the probe does.
    pub(super) fn succeeded(&mut self, admission: Admission) {
        match self.circuit {
            Circuit::Closed { .. } => self.circuit = Circuit::Closed { failures: 0 },
            Circuit::HalfOpen if admission == Admission::Probe => {
                self.circuit = Circuit::Closed { failures: 0 };
            }
            Circuit::Open { .. } | Circuit::HalfOpen => {}
        }
    }

    /// The origin could not be reached, was silent too long, or broke off.
    pub(super) fn failed(&mut self, admission: Admission, now: Instant) {
        match self.circuit {
            Circuit::Closed { failures } if failures + 1 < self.failures_max => {
                self.circuit = Circuit::Closed { failures: failures + 1 };
            }
            Circuit::Closed { .. } => self.circuit = Circuit::Open { until: now + self.open_for },
            Circuit::HalfOpen if admission == Admission::Probe => {
                self.circuit = Circuit::Open { until: now + self.open_for };
            }
            Circuit::Open { .. } | Circuit::HalfOpen => {}
        }
    }

    /// The request ended without telling anything of the origin (its client left): the next may probe.
    pub(super) fn abandoned(&mut self, admission: Admission, now: Instant) {
        if admission == Admission::Probe && self.circuit == Circuit::HalfOpen {
            self.circuit = Circuit::Open { until: now };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Duration = Duration::from_secs(2);

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::new(2, OPEN);
        breaker.failed(Admission::Pass, now);
        breaker.failed(Admission::Pass, now);
        breaker
    }

    #[test]
    fn only_failures_in_a_row_open_the_circuit() {
        let now = Instant::now();
        let mut breaker = Breaker::new(2, OPEN);
        breaker.failed(Admission::Pass, now);
        breaker.succeeded(Admission::Pass);
        breaker.failed(Admission::Pass, now);
        assert_eq!(breaker.admit(now), Admission::Pass);
        breaker.failed(Admission::Pass, now);
        assert_eq!(breaker.admit(now), Admission::Refused);
    }

    #[test]
    fn an_open_circuit_lets_exactly_one_request_probe() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert!(!breaker.would_admit(now + OPEN - Duration::from_millis(1)));
        assert_eq!(breaker.admit(now + OPEN), Admission::Probe);
        assert_eq!(breaker.admit(now + OPEN), Admission::Refused);
        breaker.succeeded(Admission::Probe);
        assert_eq!(breaker.admit(now + OPEN), Admission::Pass);
    }

    #[test]
    fn a_failed_probe_opens_the_circuit_again() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert_eq!(breaker.admit(now + OPEN), Admission::Probe);
        breaker.failed(Admission::Probe, now + OPEN);
        assert_eq!(breaker.admit(now + OPEN), Admission::Refused);
        assert_eq!(breaker.admit(now + OPEN * 2), Admission::Probe);
    }

    #[test]
    fn an_abandoned_probe_leaves_its_place_to_the_next() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert_eq!(breaker.admit(now + OPEN), Admission::Probe);
        breaker.abandoned(Admission::Probe, now + OPEN);
        assert_eq!(breaker.admit(now + OPEN), Admission::Probe);
    }

    #[test]
    fn a_straggler_neither_closes_nor_prolongs_an_open_circuit() {
        let now = Instant::now();
        let mut breaker = opened(now);
        breaker.succeeded(Admission::Pass);
        breaker.failed(Admission::Pass, now + OPEN);
        assert_eq!(breaker.admit(now + OPEN), Admission::Probe);
        breaker.succeeded(Admission::Pass);
        assert_eq!(breaker.circuit(), Circuit::HalfOpen);
    }
}
