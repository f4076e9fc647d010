//! Which slices are read often: a count-min sketch that forgets.

use std::sync::atomic::{
    AtomicU8, AtomicU32,
    Ordering::{AcqRel, Relaxed},
};

/// Counters; a power of two.
const WIDTH: usize = 1 << 16;

/// After so many reads every counter is halved.
const READS_PER_AGE: u32 = 1 << 17;

/// Counts reads of slices in 64 KiB, however many slices there are; may count too high, seldom too low.
pub(super) struct Sketch {
    counters: Box<[AtomicU8]>,
    reads: AtomicU32,
}

impl Sketch {
    pub fn new() -> Self {
        Self { counters: (0..WIDTH).map(|_| AtomicU8::new(0)).collect(), reads: AtomicU32::new(0) }
    }

    /// Counts one read.
    pub fn count(&self, body: u64, start: u64) {
        for index in Self::indexes(body, start) {
            let _ = self.counters[index].fetch_update(Relaxed, Relaxed, |count| count.checked_add(1));
        }
        if self.reads.fetch_add(1, AcqRel) == READS_PER_AGE {
            self.reads.store(0, Relaxed);
            for counter in &self.counters {
                let _ = counter.fetch_update(Relaxed, Relaxed, |count| Some(count / 2));
            }
        }
    }

    /// How often it was read lately.
    pub fn reads(&self, body: u64, start: u64) -> u8 {
        let counts = Self::indexes(body, start).map(|index| self.counters[index].load(Relaxed));
        counts.into_iter().min().unwrap_or_default()
    }

    fn indexes(body: u64, start: u64) -> [usize; 2] {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&body.to_le_bytes());
        key[8..].copy_from_slice(&start.to_le_bytes());
        let hash = xxhash_rust::xxh3::xxh3_64(&key);
        [hash as usize % WIDTH, (hash >> 32) as usize % WIDTH]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_counted_and_forgotten() {
        let sketch = Sketch::new();
        (0..9).for_each(|_| sketch.count(1, 0));
        assert_eq!((sketch.reads(1, 0), sketch.reads(2, 0)), (9, 0));
        (0..READS_PER_AGE).for_each(|_| sketch.count(3, 0));
        assert!(sketch.reads(1, 0) <= 4, "halved with age");
    }
}
