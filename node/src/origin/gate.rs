//! The door of one origin: so many requests are inside, so many wait, each for so long.

use super::error::FetchErrorKind;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// Bounds the requests at one origin.
#[derive(Debug)]
pub(super) struct Gate {
    places: Arc<Semaphore>,
    places_max: usize,
    waiting: AtomicUsize,
    waiting_max: usize,
    wait_max: Duration,
}

/// A place at an origin; dropping it lets the next in.
pub(super) type Place = OwnedSemaphorePermit;

/// One who waits; counted off however the wait ends.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Gate {
    pub(super) fn new(places_max: usize, waiting_max: usize, wait_max: Duration) -> Self {
        let places_max = places_max.clamp(1, Semaphore::MAX_PERMITS);
        let places = Arc::new(Semaphore::new(places_max));
        Self { places, places_max, waiting: AtomicUsize::new(0), waiting_max, wait_max }
    }

    /// Takes a place, first come first served. A caller that gives up by dropping the future loses its turn.
    pub(super) async fn enter(&self) -> Result<Place, FetchErrorKind> {
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return Ok(place);
        }
        // Counted before it is compared, so that no two take the last seat.
        let before = self.waiting.fetch_add(1, Relaxed);
        let _waiting = Waiting(&self.waiting);
        if before >= self.waiting_max {
            return Err(FetchErrorKind::QueueFull);
        }
        match timeout(self.wait_max, self.places.clone().acquire_owned()).await {
            Ok(place) => Ok(place.expect("the semaphore is never closed")),
            Err(_) => Err(FetchErrorKind::QueueTimeout),
        }
    }

    /// Requests inside.
    pub(super) fn inside(&self) -> usize {
        self.places_max - self.places.available_permits()
    }

    /// Requests that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test's tasks end with its runtime")]
mod tests {
    use super::*;
    use tokio::task::yield_now;

    #[tokio::test]
    async fn one_inside_one_waiting_the_third_refused() {
        let gate = Arc::new(Gate::new(1, 1, Duration::from_secs(60)));
        let place = gate.enter().await.expect("free");
        let second = tokio::spawn({
            let gate = gate.clone();
            async move { gate.enter().await.map(drop) }
        });
        yield_now().await;
        assert_eq!((gate.inside(), gate.waiting()), (1, 1));
        assert_eq!(gate.enter().await.map(drop), Err(FetchErrorKind::QueueFull));
        drop(place);
        assert_eq!(second.await.expect("joined"), Ok(()));
        assert_eq!((gate.inside(), gate.waiting()), (0, 0));
    }

    #[tokio::test]
    async fn a_wait_ends_in_time() {
        let gate = Gate::new(1, 1, Duration::from_millis(1));
        let _place = gate.enter().await.expect("free");
        assert_eq!(gate.enter().await.map(drop), Err(FetchErrorKind::QueueTimeout));
        assert_eq!(gate.waiting(), 0);
    }

    #[tokio::test]
    async fn who_gives_up_frees_its_seat() {
        let gate = Arc::new(Gate::new(1, 1, Duration::from_secs(60)));
        let place = gate.enter().await.expect("free");
        let waits = tokio::spawn({
            let gate = gate.clone();
            async move { gate.enter().await.map(drop) }
        });
        yield_now().await;
        waits.abort();
        assert!(waits.await.is_err());
        assert_eq!(gate.waiting(), 0);
        drop(place);
        assert!(gate.enter().await.is_ok());
    }
}
