//! Takes the index into use again after a write that failed, when the disk is well.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::{index::Index, purges::Purges, tiers::Tiers};

/// After a failed write the index is opened anew after this, then after twice as long.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// A disk that held for so long is a good one.
const HEALED: Duration = Duration::from_secs(60);

pub(super) struct Healer {
    pub tiers: Arc<Tiers>,
    pub purges: Arc<Purges>,
}

impl Healer {
    /// Watches over the index until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let work = async {
            let mut failure = self.tiers.index.failure();
            let mut pause = RETRY_MIN;
            loop {
                let since = Instant::now();
                if failure.wait_for(Option::is_some).await.is_err() {
                    return;
                }
                if since.elapsed() >= HEALED {
                    pause = RETRY_MIN;
                }
                tokio::time::sleep(pause).await;
                pause = (2 * pause).min(RETRY_MAX);
                let (tiers, purges) = (self.tiers.clone(), self.purges.clone());
                // What becomes of it is logged, and said in the status.
                let _ = tokio::task::spawn_blocking(move || purges.reopen(&tiers.index)).await;
            }
        };
        tokio::select! {
            () = work => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Why the index cannot be written, and what that means, for people; none when it can.
pub(super) fn problem(index: &Index) -> Option<String> {
    let failure = index.failure().borrow().clone()?;
    let reopening = failure.reopening.map(|why| format!(", the last time: {why}")).unwrap_or_default();
    Some(format!(
        "the index {} cannot be written: {}; no purge is applied here until it can: what others purge meanwhile is \
         revalidated by services whose freshness is strict, and still served by the others; what is fetched is kept \
         in memory only; it is opened anew when the disk is well{reopening}",
        index.path().display(),
        failure.error
    ))
}
