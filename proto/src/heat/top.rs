//! The most frequent keys by name: the space-saving algorithm (Metwally, Agrawal, El Abbadi: "Efficient
//! Computation of Frequent and Top-k Elements in Data Streams", 2005).
//!
//! A fixed number of keys is counted. A key that is not among them takes the place of the one that was counted
//! least, and its count too, remembered as what may be too much. A key that has more than a 64th of all touches
//! is therefore always among them, and its true count lies between its count less that error and its count.

use crate::Key;

/// Keys counted by name.
pub const TOP_KEYS: usize = 64;

/// A key that is asked for often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hot {
    /// The key.
    pub key: Key,
    /// Its requests, at least.
    pub requests: u32,
}

/// Counts the keys that are touched most, up to [`TOP_KEYS`] of them.
#[derive(Clone, Debug, Default)]
pub struct Top {
    counted: Vec<Counted>,
}

#[derive(Clone, Copy, Debug)]
struct Counted {
    key: Key,
    count: u32,
    /// What of the count may have been another's.
    error: u32,
}

impl Top {
    /// Counts one touch.
    pub fn touch(&mut self, key: &Key) {
        if let Some(counted) = self.counted.iter_mut().find(|counted| counted.key == *key) {
            counted.count = counted.count.saturating_add(1);
        } else if self.counted.len() < TOP_KEYS {
            self.counted.push(Counted { key: *key, count: 1, error: 0 });
        } else if let Some(least) = self.counted.iter_mut().min_by_key(|counted| counted.count) {
            *least = Counted { key: *key, count: least.count.saturating_add(1), error: least.count };
        }
    }

    /// The keys touched most, the most touched first: at most `count`, each at least `requests_min` times.
    pub fn hottest(&self, count: usize, requests_min: u32) -> Vec<Hot> {
        let certain = |counted: &Counted| Hot { key: counted.key, requests: counted.count - counted.error };
        let mut hot: Vec<Hot> =
            self.counted.iter().map(certain).filter(|hot| hot.requests >= requests_min).collect();
        hot.sort_unstable_by_key(|hot| (std::cmp::Reverse(hot.requests), hot.key));
        hot.truncate(count);
        hot
    }

    /// Halves all counts; who has none left is forgotten.
    pub fn age(&mut self) {
        for counted in &mut self.counted {
            counted.count /= 2;
            counted.error /= 2;
        }
        self.counted.retain(|counted| counted.count > 0);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn key(number: u32) -> Key {
        Key::of(&number.to_string())
    }

    proptest! {
        #[test]
        fn what_it_says_is_true_and_who_has_much_is_named(
            touches in vec(prop_oneof![0..4_u32, 0..200_u32], 0..3_000),
        ) {
            let (mut top, mut truth) = (Top::default(), HashMap::<Key, u32>::new());
            for number in &touches {
                top.touch(&key(*number));
                *truth.entry(key(*number)).or_default() += 1;
            }
            prop_assert!(top.counted.len() <= TOP_KEYS);
            for counted in &top.counted {
                let true_count = truth[&counted.key];
                prop_assert!((counted.count - counted.error..=counted.count).contains(&true_count));
            }
            for (key, count) in truth {
                let is_counted = top.counted.iter().any(|counted| counted.key == key);
                prop_assert!(is_counted || count as usize <= touches.len() / TOP_KEYS);
            }
        }
    }

    #[test]
    fn the_hottest_come_first_and_the_lukewarm_not_at_all() {
        let mut top = Top::default();
        for number in 1..=10_u32 {
            (0..number).for_each(|_| top.touch(&key(number)));
        }
        let named = |count, requests_min| -> Vec<u32> {
            top.hottest(count, requests_min).into_iter().map(|hot| hot.requests).collect()
        };
        assert_eq!(named(3, 0), [10, 9, 8]);
        assert_eq!(named(64, 8), [10, 9, 8]);
        assert_eq!(top.hottest(1, 0)[0].key, key(10));
    }

    #[test]
    fn age_halves_and_forgets() {
        let mut top = Top::default();
        (0..5).for_each(|_| top.touch(&key(1)));
        top.touch(&key(2));
        top.age();
        assert_eq!(top.hottest(64, 0), [Hot { key: key(1), requests: 2 }]);
    }
}
