//! How a node leaves: it says so, and gives the word a moment to get out.

use std::{collections::BTreeSet, time::Duration};

use futures_util::StreamExt;
use tokio::time::{Instant, timeout_at};

use super::{super::errands::Sake, Task};

/// For the good-bye to reach the neighbours.
const GOOD_BYE: Duration = Duration::from_millis(150);

/// Until the last connection is closed, from the first word on.
const CLOSING: Duration = Duration::from_millis(300);

impl Task {
    /// Says good-bye and closes all connections; takes no longer than [`CLOSING`].
    pub(super) async fn leave(mut self) {
        let started = Instant::now();
        self.good_bye();
        self.greet_with_good_bye();
        // What comes in meanwhile is of no use any more. The swarm does not tell when a message is out.
        let _ = timeout_at(started + GOOD_BYE, self.until_all_was_said()).await;
        let peers: Vec<_> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            // An error says that it is closed already.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let _ = timeout_at(started + CLOSING, self.until_nobody_is_connected()).await;
    }

    /// Greets the neighbours once more, with the last word about this node: who has joined a moment ago may have
    /// nobody in the swarm to tell.
    fn greet_with_good_bye(&mut self) {
        self.publish_hello();
        let neighbours = self.members.greet_candidates(&BTreeSet::new(), 0, self.clock.now_ms());
        for (node, address) in neighbours {
            if !self.errands.greet(Sake::Tie(node), address) {
                return;
            }
        }
    }

    async fn until_all_was_said(&mut self) {
        loop {
            tokio::select! {
                _ = self.swarm.select_next_some() => {}
                _ = self.errands.next() => {}
            }
        }
    }

    async fn until_nobody_is_connected(&mut self) {
        while self.swarm.network_info().num_peers() > 0 {
            self.swarm.select_next_some().await;
        }
    }
}
