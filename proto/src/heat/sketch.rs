//! A count-min sketch that forgets: TinyLFU's (Einziger, Friedman, Manes: "TinyLFU: A Highly Efficient Cache
//! Admission Policy", 2017), shared by threads without a lock.
//!
//! Each row has a counter for every key, many keys to one counter. A key's estimate is the least of its
//! counters, so it is too high only when every one of them is shared with others, and never too low. Only the
//! least counters are raised (conservative update), which leaves those alone that others have raised already.
//!
//! A sketch that only counts fills up. After as many touches as a row has counters all counts are halved, so
//! that a counter holds one or two touches of strangers on average, and one key in some thousands is taken for
//! a frequent one by mistake.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::Key;

/// Counters of a row, unless told otherwise.
pub const COUNTERS: usize = 64 << 10;
/// Rows: a key's counters. A key is 128 bits of BLAKE3, of which each row takes 32.
const ROWS: usize = 4;
/// Counters of eight bits in one atomic word.
const PER_WORD: usize = 8;
/// The lower seven bits of each counter of a word.
const HALVED: u64 = 0x7f7f_7f7f_7f7f_7f7f;

/// Counts how often keys are touched, in fixed memory: [`ROWS`](self) bytes per counter, 256 KiB by default.
#[derive(Debug)]
pub struct Sketch {
    words: Box<[AtomicU64]>,
    counters: usize,
    touches: AtomicU64,
}

impl Default for Sketch {
    fn default() -> Self {
        Self::new(COUNTERS)
    }
}

impl Sketch {
    /// A sketch of at least so many counters a row, rounded up to a power of two.
    pub fn new(counters: usize) -> Self {
        let counters = counters.next_power_of_two().max(PER_WORD);
        let words = (0..counters * ROWS / PER_WORD).map(|_| AtomicU64::new(0)).collect();
        Self { words, counters, touches: AtomicU64::new(0) }
    }

    /// The memory it takes, in bytes; it never takes more.
    pub fn bytes(&self) -> usize {
        self.words.len() * size_of::<AtomicU64>()
    }

    /// Counts a touch and tells the estimate, this touch included, up to 255.
    ///
    /// Two threads that touch the same key at the same moment may count as one: whoever is touched like that is
    /// frequent anyway.
    pub fn touch(&self, key: &Key) -> u8 {
        let places = self.places(key);
        let estimate = self.least(&places).saturating_add(1);
        for place in &places {
            // A failure means that the counter is there already.
            _ = self.words[place.word].fetch_update(Relaxed, Relaxed, |word| place.raised(word, estimate));
        }
        if self.touches.fetch_add(1, Relaxed) + 1 == self.counters as u64 {
            self.age();
        }
        estimate
    }

    /// How often the key was touched: never too low but for what [`Sketch::age`] took, at times too high.
    pub fn estimate(&self, key: &Key) -> u8 {
        self.least(&self.places(key))
    }

    /// Halves all counts. Touches that happen meanwhile may be lost.
    pub fn age(&self) {
        for word in &self.words {
            word.store((word.load(Relaxed) >> 1) & HALVED, Relaxed);
        }
        self.touches.store(0, Relaxed);
    }

    fn least(&self, places: &[Place; ROWS]) -> u8 {
        let counts = places.each_ref().map(|place| place.count(self.words[place.word].load(Relaxed)));
        counts.into_iter().fold(u8::MAX, u8::min)
    }

    fn places(&self, key: &Key) -> [Place; ROWS] {
        let (parts, _) = key.as_bytes().as_chunks::<4>();
        std::array::from_fn(|row| {
            let counter = u32::from_le_bytes(parts[row]) as usize & (self.counters - 1);
            let at = row * self.counters + counter;
            Place { word: at / PER_WORD, shift: (at % PER_WORD * 8) as u32 }
        })
    }
}

/// Where a counter is.
struct Place {
    word: usize,
    shift: u32,
}

impl Place {
    fn count(&self, word: u64) -> u8 {
        (word >> self.shift) as u8
    }

    /// The word with this counter raised to `count`, unless it is there already.
    fn raised(&self, word: u64, count: u8) -> Option<u64> {
        let cleared = word & !(0xff << self.shift);
        (self.count(word) < count).then_some(cleared | u64::from(count) << self.shift)
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

    #[test]
    fn its_memory_is_fixed() {
        let sketch = Sketch::default();
        assert_eq!(sketch.bytes(), 256 << 10);
        (0..200_000).for_each(|number| _ = sketch.touch(&key(number)));
        assert_eq!(sketch.bytes(), 256 << 10);
        assert_eq!([0, 1, 9, 1000].map(|counters| Sketch::new(counters).bytes()), [32, 32, 64, 4096]);
    }

    #[test]
    fn a_counter_stays_at_its_end_and_spills_into_none_beside_it() {
        let sketch = Sketch::new(1 << 20);
        (0..1000).for_each(|_| _ = sketch.touch(&key(1)));
        assert_eq!(sketch.estimate(&key(1)), u8::MAX);
        let all: u64 = sketch.words.iter().map(|word| u64::from(word.load(Relaxed).count_ones())).sum();
        assert_eq!(all, 4 * 8, "four counters are all ones, all others zero");
    }

    #[test]
    fn age_halves_every_count() {
        let sketch = Sketch::new(1 << 16);
        for number in 0..100_u32 {
            (0..number * 2).for_each(|_| _ = sketch.touch(&key(number)));
        }
        let before: Vec<u8> = (0..100).map(|number| sketch.estimate(&key(number))).collect();
        sketch.age();
        let after: Vec<u8> = (0..100).map(|number| sketch.estimate(&key(number))).collect();
        assert_eq!(after, before.iter().map(|count| count / 2).collect::<Vec<_>>());
    }

    /// A scan of keys that are asked for once each: hardly any may pass for one that is asked for often.
    #[test]
    fn a_scan_makes_nothing_frequent() {
        let sketch = Sketch::default();
        let mistaken = (0..1_000_000).filter(|number| sketch.touch(&key(*number)) >= 3).count();
        assert!(mistaken < 1_000, "{mistaken} of a million keys passed for frequent");
    }

    #[test]
    fn a_key_that_stays_popular_stays_frequent_through_a_scan() {
        let sketch = Sketch::default();
        for number in 0..500_000 {
            sketch.touch(&key(number));
            if number % 1_000 == 0 {
                sketch.touch(&Key::of("popular"));
            }
        }
        assert!(sketch.estimate(&Key::of("popular")) >= 30);
    }

    proptest! {
        /// As long as nothing was forgotten; a small sketch is crowded enough to be wrong in the other way.
        #[test]
        fn it_never_counts_too_few(touches in vec(0..40_u32, 0..64)) {
            let sketch = Sketch::new(64);
            let mut truth = HashMap::<u32, u8>::new();
            for number in touches.iter().take(63) {
                let count = truth.entry(*number).or_default();
                *count += 1;
                prop_assert!(sketch.touch(&key(*number)) >= *count);
            }
            for (number, count) in truth {
                prop_assert!(sketch.estimate(&key(number)) >= count);
            }
        }
    }
}
