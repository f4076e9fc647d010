//! What many threads count at once. (`proto` itself has no threads; who holds a [`Heat`] has.)

use std::thread;

use starling_proto::{
    Key,
    heat::{Heat, Sketch, TOP_KEYS},
};

fn key(number: u32) -> Key {
    Key::of(&number.to_string())
}

#[test]
fn threads_that_touch_at_once_leave_no_key_uncounted() {
    let heat = Heat::default();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..10_000).for_each(|number| _ = heat.touch(&key(number % 50))));
        }
    });
    // 800 touches each: far more than a counter holds, and fewer than make the sketch forget.
    assert!((0..50).all(|number| heat.estimate(&key(number)) == u8::MAX));
    assert_eq!(heat.hottest(TOP_KEYS, 1).len(), 50);
}

/// Threads that touch keys of their own lose no count to each other, though eight counters share a word.
#[test]
fn threads_do_not_take_each_others_counts() {
    let sketch = Sketch::new(16);
    thread::scope(|scope| {
        for thread in 0..4 {
            let sketch = &sketch;
            scope.spawn(move || (0..3).for_each(|_| _ = sketch.touch(&key(thread))));
        }
    });
    assert!((0..4).all(|thread| sketch.estimate(&key(thread)) >= 3));
}
