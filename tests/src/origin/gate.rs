//! A gate at which a scripted answer waits until the test opens it.

use std::sync::Arc;

use tokio::{sync::watch, time::timeout};

use crate::PATIENCE;

/// Clones are the same gate. It opens once and stays open.
#[derive(Clone, Debug)]
pub struct Gate {
    state: Arc<watch::Sender<State>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    open: bool,
    arrived: usize,
}

impl Default for Gate {
    fn default() -> Self {
        Self { state: Arc::new(watch::Sender::new(State::default())) }
    }
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets everybody through, now and later.
    pub fn open(&self) {
        self.state.send_modify(|state| state.open = true);
    }

    /// Waits until the gate is open.
    pub async fn pass(&self) {
        let mut changed = self.state.subscribe();
        self.state.send_modify(|state| state.arrived += 1);
        // The sender is held by `self`, so the channel cannot close under the wait.
        let _ = changed.wait_for(|state| state.open).await;
    }

    /// Waits until `count` answers have come to the gate, whether they had to wait or not.
    pub async fn reached(&self, count: usize) {
        let mut changed = self.state.subscribe();
        let waited = timeout(PATIENCE, changed.wait_for(|state| state.arrived >= count)).await;
        assert!(waited.is_ok(), "{} answers came to the gate, not {count}", self.state.borrow().arrived);
    }
}
