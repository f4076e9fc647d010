//! The one clock of a node: wall time for HTTP dates and ages, which never runs backwards.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use starling_proto::UnixMs;

/// Wall time as it was at start, carried on by the monotonic clock.
///
/// A step of the machine's clock while the node runs changes no age and no lifetime; it is seen at the
/// next start.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    started_ms: UnixMs,
}

impl Clock {
    /// Reads the machine's clocks.
    pub fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), started_ms: millis(since_epoch) }
    }

    /// Milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> UnixMs {
        self.started_ms + self.up_ms()
    }

    /// Milliseconds since the node started.
    pub fn up_ms(&self) -> u64 {
        millis(self.started.elapsed())
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
