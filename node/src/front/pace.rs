//! How fast a client takes what is written to it.

use std::time::Duration;

use super::settings::Limits;

/// The pace of one response. Only the time in which the client kept us waiting counts; the time that the
/// origin took does not.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    bytes: u64,
    waited: Duration,
}

impl Pace {
    /// The client took `bytes`.
    pub(crate) fn took(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// The client kept us waiting for so long.
    pub(crate) fn waited(&mut self, time: Duration) {
        self.waited += time;
    }

    /// Whether the client was behind for `write_idle_timeout` and read slower than `write_rate_min` meanwhile.
    pub(crate) fn is_too_slow(&self, limits: &Limits) -> bool {
        let due = u128::from(limits.write_rate_min) * self.waited.as_millis() / 1000;
        self.waited > limits.write_idle_timeout && u128::from(self.bytes) < due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_client_that_keeps_us_waiting_is_slow() {
        let limits =
            Limits { write_idle_timeout: Duration::from_secs(30), write_rate_min: 1000, ..Limits::default() };
        let mut pace = Pace::default();
        assert!(!pace.is_too_slow(&limits));
        pace.waited(Duration::from_secs(30));
        assert!(!pace.is_too_slow(&limits), "not behind for longer than the timeout yet");
        pace.waited(Duration::from_secs(10));
        assert!(pace.is_too_slow(&limits));
        pace.took(40_000);
        assert!(!pace.is_too_slow(&limits));
    }
}
