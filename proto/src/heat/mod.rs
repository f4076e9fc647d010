//! What is asked for most, in fixed memory.
//!
//! | file | what is in it |
//! | --- | --- |
//! | `sketch` | [`Sketch`]: about how often any key was asked for lately |
//! | `top` | [`Top`]: the few keys that are asked for most, by name |
//!
//! [`Heat`] puts them together: every touch counts in the sketch, and only keys that the sketch calls frequent
//! reach the list of names, so that a scan over a million cold objects does not wash it out.
//!
//! Nothing here reads a clock. Who holds a [`Heat`] calls [`Heat::age`] at a steady beat: that is its window.

mod sketch;
mod top;

use std::sync::{Mutex, PoisonError};

pub use sketch::{COUNTERS, Sketch};
pub use top::{Hot, TOP_KEYS, Top};

use crate::Key;

/// From this estimate on a key is worth remembering by name.
const FREQUENT: u8 = 8;

/// Counts requests and names the hottest; shared by all who serve.
///
/// A touch takes some ten nanoseconds and never waits: counting is by relaxed atomics, and who finds the list
/// of names in use leaves its one touch out of it.
#[derive(Debug, Default)]
pub struct Heat {
    sketch: Sketch,
    top: Mutex<Top>,
}

impl Heat {
    /// Counts one request for the key, and tells about how many there were lately, this one included.
    pub fn touch(&self, key: &Key) -> u8 {
        let estimate = self.sketch.touch(key);
        if estimate >= FREQUENT
            && let Ok(mut top) = self.top.try_lock()
        {
            top.touch(key);
        }
        estimate
    }

    /// About how many requests there were lately: never too few, save what was forgotten by age.
    pub fn estimate(&self, key: &Key) -> u8 {
        self.sketch.estimate(key)
    }

    /// The keys that are asked for most, the hottest first, at most `count` and [`TOP_KEYS`], each with at
    /// least `requests_min` requests for certain.
    ///
    /// Under a steady rate of r requests in a window, a key's count swings between r, just after
    /// [`Heat::age`], and 2r, just before.
    pub fn hottest(&self, count: usize, requests_min: u32) -> Vec<Hot> {
        self.with_top(|top| top.hottest(count, requests_min))
    }

    /// Ends a window: all counts are halved, so that what was hot cools in a few windows.
    pub fn age(&self) {
        self.sketch.age();
        self.with_top(Top::age);
    }

    fn with_top<T>(&self, act: impl FnOnce(&mut Top) -> T) -> T {
        // Its lists are sound between any two steps of a touch, so a panic elsewhere spoils nothing.
        act(&mut self.top.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> Key {
        Key::of(&number.to_string())
    }

    #[test]
    fn the_hottest_are_named_in_order_beside_a_crowd_of_cold_keys() {
        let heat = Heat::default();
        for round in 0..200 {
            heat.touch(&key(1));
            (round % 2 == 0).then(|| heat.touch(&key(2)));
            (round % 4 == 0).then(|| heat.touch(&key(3)));
            (0..100).for_each(|cold| _ = heat.touch(&key(1_000 + round * 100 + cold)));
        }
        let named: Vec<Key> = heat.hottest(3, 1).into_iter().map(|hot| hot.key).collect();
        assert_eq!(named, [key(1), key(2), key(3)]);
        let often: Vec<Key> = heat.hottest(32, 60).into_iter().map(|hot| hot.key).collect();
        assert_eq!(often, [key(1), key(2)], "the third was asked for 50 times");
    }

    #[test]
    fn what_was_hot_cools_window_by_window() {
        let heat = Heat::default();
        (0..107).for_each(|_| _ = heat.touch(&key(1)));
        assert_eq!(heat.hottest(1, 1), [Hot { key: key(1), requests: 100 }], "named from the eighth on");
        heat.age();
        assert_eq!((heat.estimate(&key(1)), heat.hottest(1, 1)[0].requests), (53, 50));
        (0..7).for_each(|_| heat.age());
        assert_eq!((heat.estimate(&key(1)), heat.hottest(1, 0)), (0, vec![]));
    }
}
