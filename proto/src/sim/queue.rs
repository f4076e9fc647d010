//! What is to happen, in order of time; what was put in first comes first among equals.
//!
//! A calendar: a wheel of buckets, each a short span of time, covers the near future; a heap holds what lies
//! beyond. A bucket is sorted when its time comes, by a sort that keeps equals in the order they were put in.
//! What moves from the heap into a bucket moves at the moment the wheel reaches that far, before anything can be
//! put into that bucket directly, so it keeps its place too.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::Micros;

/// A bucket spans 2^7 = 128 microseconds: below the shortest way between two nodes.
const BUCKET_BITS: u32 = 7;
/// The wheel reaches 2.1 seconds ahead: deliveries and most timers.
const BUCKETS: u64 = 1 << 14;

/// Something that happens at a time.
pub(super) trait Timed: Copy {
    fn at(&self) -> Micros;
}

pub(super) struct Queue<E> {
    wheel: Vec<Vec<E>>,
    /// The bucket being emptied, sorted, and how much of it is done.
    today: Vec<E>,
    done: usize,
    /// Its number since time began.
    day: u64,
    far: BinaryHeap<Reverse<Far<E>>>,
    far_seq: u64,
    /// Emptied buckets, to be used again: the wheel's memory follows what is in flight, not its size.
    spare: Vec<Vec<E>>,
    len: usize,
}

struct Far<E> {
    at: Micros,
    seq: u64,
    event: E,
}

impl<E: Timed> Queue<E> {
    pub fn new() -> Self {
        Self {
            wheel: (0..BUCKETS).map(|_| Vec::new()).collect(),
            today: Vec::new(),
            done: 0,
            day: 0,
            far: BinaryHeap::new(),
            far_seq: 0,
            spare: Vec::new(),
            len: 0,
        }
    }

    /// Puts an event in. Its time must not lie before that of the event popped last.
    pub fn push(&mut self, event: E) {
        self.len += 1;
        let day = event.at() >> BUCKET_BITS;
        if day <= self.day {
            let place = self.done + self.today[self.done..].partition_point(|other| other.at() <= event.at());
            self.today.insert(place, event);
        } else if day < self.day + BUCKETS {
            self.bucket(day).push(event);
        } else {
            self.far.push(Reverse(Far { at: event.at(), seq: self.far_seq, event }));
            self.far_seq += 1;
        }
    }

    /// The next event, if it happens before `end`.
    pub fn pop_before(&mut self, end: Micros) -> Option<E> {
        loop {
            if let Some(event) = self.today.get(self.done) {
                if event.at() >= end {
                    return None;
                }
                self.done += 1;
                self.len -= 1;
                return Some(*event);
            }
            if self.len == 0 || (self.day + 1) << BUCKET_BITS >= end {
                return None;
            }
            self.next_day();
        }
    }

    fn next_day(&mut self) {
        self.day += 1;
        let last = self.day + BUCKETS - 1;
        while self.far.peek().is_some_and(|far| far.0.at >> BUCKET_BITS <= last) {
            if let Some(Reverse(far)) = self.far.pop() {
                self.bucket(far.at >> BUCKET_BITS).push(far.event);
            }
        }
        self.today.clear();
        self.done = 0;
        let place = (self.day % BUCKETS) as usize;
        if !self.wheel[place].is_empty() {
            let mut bucket = std::mem::take(&mut self.wheel[place]);
            self.sort_into_today(&bucket);
            bucket.clear();
            self.spare.push(bucket);
        }
    }

    /// Counting sort: a bucket holds no more than 128 different times, and equals keep their order.
    fn sort_into_today(&mut self, bucket: &[E]) {
        let slot = |event: &E| (event.at() & ((1 << BUCKET_BITS) - 1)) as usize;
        let mut starts = [0_u32; (1 << BUCKET_BITS) + 1];
        bucket.iter().for_each(|event| starts[slot(event) + 1] += 1);
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        self.today.extend_from_slice(bucket);
        for event in bucket {
            let place = &mut starts[slot(event)];
            self.today[*place as usize] = *event;
            *place += 1;
        }
    }

    fn bucket(&mut self, day: u64) -> &mut Vec<E> {
        let bucket = &mut self.wheel[(day % BUCKETS) as usize];
        if bucket.capacity() == 0
            && let Some(spare) = self.spare.pop()
        {
            *bucket = spare;
        }
        bucket
    }
}

impl<E> PartialEq for Far<E> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.seq) == (other.at, other.seq)
    }
}

impl<E> Eq for Far<E> {}

impl<E> PartialOrd for Far<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Far<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.seq).cmp(&(other.at, other.seq))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Chance, *};

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Planned(Micros, u32);

    impl Timed for Planned {
        fn at(&self) -> Micros {
            self.0
        }
    }

    /// The queue is held against the plainest one there is: a list, searched for its least (time, seq).
    #[test]
    fn it_gives_out_by_time_and_then_by_order_of_arrival() {
        for seed in 0..20 {
            let mut chance = Chance::new(seed);
            let (mut queue, mut plain, mut now) = (Queue::new(), Vec::new(), 0);
            for seq in 0..3_000 {
                let span = [1, 100, 5_000, 400_000, 9_000_000][chance.below(5) as usize];
                let event = Planned(now + chance.below(span) / 50 * 50, seq);
                queue.push(event);
                plain.push(event);
                while chance.below(3) == 0 && !plain.is_empty() {
                    let least = (0..plain.len()).min_by_key(|at| (plain[*at].0, plain[*at].1)).expect("some");
                    let expected = plain.remove(least);
                    assert_eq!(queue.pop_before(expected.0), None);
                    assert_eq!(queue.pop_before(expected.0 + 1), Some(expected), "seed {seed}");
                    now = expected.0;
                }
            }
        }
    }
}
