//! How long a peer usually takes to take a question on.

use std::time::Duration;

/// Mean and deviation of the times, as TCP keeps them of round trips (RFC 6298 section 2).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AckTimes {
    /// None before the first.
    times: Option<(f64, f64)>,
}

impl AckTimes {
    pub(super) fn add(&mut self, took: Duration) {
        let took = took.as_secs_f64();
        self.times = Some(match self.times {
            None => (took, took / 2.0),
            Some((mean, deviation)) => {
                let off = (took - mean).abs();
                (mean + (took - mean) / 8.0, deviation + (off - deviation) / 4.0)
            }
        });
    }

    /// The time within which nearly all of the last ones were.
    pub(super) fn usual(&self) -> Option<Duration> {
        self.times.map(|(mean, deviation)| Duration::from_secs_f64(mean + 4.0 * deviation))
    }

    pub(super) fn mean(&self) -> Option<Duration> {
        self.times.map(|(mean, _)| Duration::from_secs_f64(mean))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_lies_above_nearly_all_and_follows_change() {
        let mut acks = AckTimes::default();
        assert_eq!(acks.usual(), None);
        let ms = Duration::from_millis;
        acks.add(ms(10));
        assert_eq!(acks.usual(), Some(ms(30)), "the first alone says little");
        for nth in 0..100 {
            acks.add(ms(8 + nth % 5));
        }
        let usual = acks.usual().expect("asked");
        assert!(usual > ms(12) && usual < ms(20), "{usual:?}");
        for _ in 0..50 {
            acks.add(ms(100));
        }
        let usual = acks.usual().expect("asked");
        assert!(usual > ms(99) && usual < ms(130), "{usual:?}");
    }
}
