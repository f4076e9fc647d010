//! How fast a peer may ask.

use std::time::Instant;

/// A second's worth of questions, refilled as time goes by.
#[derive(Debug)]
pub(super) struct Pace {
    per_s: f64,
    left: f64,
    at: Instant,
}

impl Pace {
    pub(super) fn new(per_s: u32, now: Instant) -> Self {
        Self { per_s: f64::from(per_s), left: f64::from(per_s), at: now }
    }

    /// Whether one more is within the pace.
    pub(super) fn allows(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.left = (self.left + since * self.per_s).min(self.per_s);
        let allowed = self.left >= 1.0;
        if allowed {
            self.left -= 1.0;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_second_holds_so_many_and_no_more() {
        let start = Instant::now();
        let mut pace = Pace::new(10, start);
        let allowed = (0..20).filter(|_| pace.allows(start)).count();
        assert_eq!(allowed, 10);
        let later = start + Duration::from_millis(300);
        assert_eq!((0..20).filter(|_| pace.allows(later)).count(), 3);
        assert_eq!((0..20).filter(|_| pace.allows(start)).count(), 0, "time does not run backwards");
        let much_later = start + Duration::from_secs(60);
        assert_eq!((0..20).filter(|_| pace.allows(much_later)).count(), 10);
    }
}
