//! Frees, in the background, what no request may use any more.
//!
//! It walks the index in small batches and removes records that a hard purge names or that are older than any
//! object may be; then it drops purges that no object can match. A walk begins when purges came since the last,
//! or after an hour. Correctness does not wait for it: lookups check what they find.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use starling_proto::{
    Key, UnixMs,
    purge::{Purged, Subject},
};
use tokio_util::sync::CancellationToken;

use super::{errors::IndexError, purges::Purges, tiers::Tiers};

/// How often it is looked whether there is something to do.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A walk begins after this time in any case.
const WALK_EVERY: Duration = Duration::from_secs(3600);

/// Between two batches others have the disk.
const PAUSE: Duration = Duration::from_millis(20);

/// Records read at one time.
const BATCH: usize = 128;

pub(super) struct Sweeper {
    pub tiers: Arc<Tiers>,
    pub purges: Arc<Purges>,
}

impl Sweeper {
    /// Sweeps until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let work = async {
            let mut seen = self.purges.seq();
            let mut walked_at = Instant::now();
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                let seq = self.purges.seq();
                if seq == seen && walked_at.elapsed() < WALK_EVERY {
                    continue;
                }
                (seen, walked_at) = (seq, Instant::now());
                if let Err(error) = self.walk(now_ms(), PAUSE).await {
                    tracing::warn!(%error, "sweeping stopped early; the next walk begins anew");
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = stop.cancelled() => {}
        }
    }

    /// One walk over the index.
    pub async fn walk(&self, now: UnixMs, pause: Duration) -> Result<(), IndexError> {
        let oldest_ms = now.saturating_sub(self.tiers.settings.object_lifetime_max_ms);
        let mut from = Some(Vec::new());
        while let Some(begin) = from {
            let (gone, next) = self.batch(begin, oldest_ms).await?;
            for (key, body) in gone {
                self.tiers.remove_record(key, body).await;
            }
            from = next;
            tokio::time::sleep(pause).await;
        }
        let (tiers, purges) = (self.tiers.clone(), self.purges.clone());
        blocking(move || purges.sweep(&tiers.index, oldest_ms).map(drop)).await.unwrap_or(Ok(()))
    }

    /// Reads a batch of records: those that may go, and where the next batch begins.
    async fn batch(&self, begin: Vec<u8>, oldest_ms: UnixMs) -> Result<Found, IndexError> {
        let (tiers, purges) = (self.tiers.clone(), self.purges.clone());
        let find = move || {
            let (records, next) = tiers.index.page(&begin, BATCH)?;
            let gone = records.into_iter().filter(|(_, _, record)| {
                let subject = Subject { service: &record.service, url: &record.url, tags: &record.head.tags };
                record.head.response_ms < oldest_ms
                    || purges.check_subject(subject, &record.stamp) == Purged::Hard
            });
            Ok((gone.map(|(key, id, _)| (key, id)).collect(), next))
        };
        blocking(find).await.unwrap_or(Ok((Vec::new(), None)))
    }
}

type Found = (Vec<(Key, u64)>, Option<Vec<u8>>);

/// Runs what blocks; None when the runtime is stopping.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

fn now_ms() -> UnixMs {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as UnixMs)
}
