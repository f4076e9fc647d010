//! Anti-entropy: a node is asked for what is missing here.

use std::{collections::BTreeSet, sync::atomic::Ordering::Relaxed};

use starling_proto::{
    NodeId,
    purge::{Region, Versions},
    wire::{Call, Reply},
};

use super::{CALL_TIMEOUT, PASSED_OVER, ROUNDS_MAX, Spread, push::last};
use crate::link::Peer;

impl Spread {
    /// Applies what a node knows and this one does not; answers whether nothing is left of that.
    pub async fn pull(&self, with: NodeId) -> bool {
        // Logs that are not taken up here; the node is told so, that it sends others.
        let mut passed_over = BTreeSet::new();
        for _ in 0..ROUNDS_MAX {
            let Some(peer) = Peer::of(&self.0.parts.view.borrow(), with) else { return false };
            let mut here = Versions::clone(&self.0.parts.store.stamp());
            passed_over.iter().for_each(|region: &Region| here.set(region.clone(), PASSED_OVER));
            let batches = match self.0.parts.link.call(peer, Call::Missing(here), CALL_TIMEOUT).await {
                Ok(Reply::Batches(batches)) => batches,
                Ok(other) => {
                    tracing::debug!(?other, node = %with, "a comparison was not answered");
                    return false;
                }
                Err(error) => {
                    tracing::debug!(%error, node = %with, "a comparison was not answered");
                    return false;
                }
            };
            if batches.is_empty() {
                return true;
            }
            let mut news = false;
            for batch in batches {
                let (region, at) = (batch.region.clone(), last(&batch));
                if !self.takes(&region) {
                    self.pass_over(&region);
                    news |= passed_over.insert(region);
                    continue;
                }
                match self.0.parts.store.apply(batch).await {
                    Ok(new) => {
                        self.0.counts.batches_applied.fetch_add(u64::from(new), Relaxed);
                        // What came by another way meanwhile was not asked for in vain.
                        news |= new || self.0.parts.store.stamp().get(&region) == Some(at);
                    }
                    Err(error) => {
                        self.0.counts.batches_refused.fetch_add(1, Relaxed);
                        tracing::debug!(%error, node = %with, %region, "a batch could not be applied");
                        self.tell(with, &region, Some(at));
                    }
                }
            }
            if !news {
                return false;
            }
        }
        false
    }
}
