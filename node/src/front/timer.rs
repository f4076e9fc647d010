//! One timer for all deadlines of a connection or stream.
//!
//! A deadline moves with every request; registering each with the runtime would cost more than the request.
//! So the runtime's timer is only touched when it would fire too late. When it fires too early, it is set
//! again to the deadline that holds by then.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

/// A deadline that is cheap to move.
#[derive(Default)]
pub(crate) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    deadline: Option<Instant>,
}

impl Timer {
    /// Expires `after` from now.
    pub(crate) fn set(&mut self, after: Duration) {
        self.deadline = Some(Instant::now() + after);
    }

    /// Expires `after` from now unless a deadline is set already.
    pub(crate) fn set_if_clear(&mut self, after: Duration) {
        if self.deadline.is_none() {
            self.set(after);
        }
    }

    /// Never expires.
    pub(crate) fn clear(&mut self) {
        self.deadline = None;
    }

    /// Ready when the deadline has passed; then it is clear. Pending for ever when none is set.
    pub(crate) fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if sleep.deadline() >= deadline {
                self.deadline = None;
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn is_pending(timer: &mut Timer) -> bool {
        timer.poll_expired(&mut Context::from_waker(std::task::Waker::noop())).is_pending()
    }

    #[tokio::test]
    async fn a_deadline_may_move_both_ways() {
        const LATER: Duration = Duration::from_secs(3600);
        let mut timer = Timer::default();
        timer.set(LATER);
        assert!(is_pending(&mut timer));
        timer.set(Duration::ZERO);
        poll_fn(|cx| timer.poll_expired(cx)).await;
        assert!(is_pending(&mut timer), "it is clear");
        timer.set(Duration::from_millis(1));
        assert!(is_pending(&mut timer));
        timer.set(LATER);
        let sleep = tokio::time::sleep(Duration::from_millis(2));
        tokio::select! {
            () = poll_fn(|cx| timer.poll_expired(cx)) => panic!("it expired at a deadline that was moved"),
            () = sleep => {}
        }
    }
}
