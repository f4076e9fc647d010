//! The logs in the store, as the region's group sees them.

use std::{sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, FutureExt};
use starling_proto::{
    UnixMs,
    members::View,
    purge::{Base, Batch, Region, Version},
};
use tokio::{sync::watch, time::timeout};

use super::{mesh::nearest, spread::Spread};
use crate::{region::Log, store::Store};

/// Longest time that entries are fetched from others for the group.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(10);
/// Nodes that are asked for them.
const ASKED_MAX: usize = 5;

/// The own region's log.
pub struct Logs {
    /// Where it is.
    pub store: Store,
    /// Who fetches what is missing.
    pub spread: Spread,
    /// Who may have it.
    pub view: watch::Receiver<Arc<View>>,
    /// The own region.
    pub region: Region,
}

impl Log for Logs {
    fn apply(&self, batch: Batch) -> BoxFuture<'static, Result<(), String>> {
        let store = self.store.clone();
        async move { store.apply(batch).await.map(drop).map_err(|error| error.to_string()) }.boxed()
    }

    fn applied(&self) -> Option<Version> {
        self.store.stamp().get(&self.region)
    }

    fn find(&self, key: u128) -> Option<(Version, UnixMs)> {
        self.store.find(&self.region, key)
    }

    fn base(&self) -> Base {
        self.store.catalog().borrow().base(&self.region)
    }

    fn catch_up(&self, to: Version) -> BoxFuture<'static, ()> {
        let (spread, region) = (self.spread.clone(), self.region.clone());
        let mut nodes = nearest(&self.view.borrow(), |_| true);
        // Those that are known to have it first, then those of the region, which may have it and not have said so.
        let is_ahead = |node: &_| spread.reached(node, &region).is_some_and(|at| at >= to);
        nodes.sort_by_cached_key(|node| !is_ahead(node));
        async move {
            let fetch = async {
                for node in nodes.into_iter().take(ASKED_MAX) {
                    if spread.applied(&region).is_some_and(|at| at >= to) {
                        return;
                    }
                    spread.pull(node).await;
                }
            };
            if timeout(CATCH_UP_TIMEOUT, fetch).await.is_err() {
                tracing::debug!("entries for the group were not fetched in time");
            }
        }
        .boxed()
    }
}
