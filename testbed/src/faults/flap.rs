//! A way that comes and goes.

use std::time::Duration;

use anyhow::Context;
use rand::Rng;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Faults;
use crate::{cluster::Cluster, topology::Quality};

/// A flap that nobody heals ends by itself.
pub(super) const FLAP_MAX: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Short outages go unnoticed, longer ones are suspected; the longest are still no deaths.
const DOWN_MS: std::ops::Range<u64> = 200..4_000;
const UP_MS: std::ops::Range<u64> = 500..5_000;

/// A task that takes a way down and up, and leaves it up.
pub(super) struct Flap {
    ended: DropGuard,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Faults {
    /// Begins one; the way is down when this returns.
    pub(super) async fn flap(&self, from: &str, to: &str) -> anyhow::Result<()> {
        let mut random = ChaCha8Rng::seed_from_u64(self.random.lock().random());
        let ended = CancellationToken::new();
        let way = Way {
            cluster: self.cluster.clone(),
            ways: self.ways.clone(),
            between: [from.to_owned(), to.to_owned()],
        };
        way.carry(false).await?;
        let until = ended.clone();
        let task = tokio::spawn(async move {
            let flapping = async {
                loop {
                    tokio::time::sleep(Duration::from_millis(random.random_range(DOWN_MS))).await;
                    way.carry(true).await?;
                    tokio::time::sleep(Duration::from_millis(random.random_range(UP_MS))).await;
                    way.carry(false).await?;
                }
            };
            let flapped = tokio::select! {
                () = until.cancelled() => Ok(()),
                () = tokio::time::sleep(FLAP_MAX) => Ok(()),
                failed = flapping => failed,
            };
            way.carry(true).await.and(flapped)
        });
        self.flaps.lock().push(Flap { ended: ended.drop_guard(), task });
        Ok(())
    }

    /// Whether a way comes and goes.
    pub fn is_flapping(&self) -> bool {
        self.flaps.lock().iter().any(|flap| !flap.task.is_finished())
    }

    /// Waits until all flaps have ended by themselves.
    pub async fn flapped(&self) {
        while self.is_flapping() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Ends all flaps, and returns when their ways are up.
    pub async fn end_flaps(&self) -> anyhow::Result<()> {
        let flaps = std::mem::take(&mut *self.flaps.lock());
        for Flap { ended, task } in flaps {
            drop(ended);
            task.await.context("a flap broke")??;
        }
        Ok(())
    }
}

struct Way {
    cluster: Cluster,
    ways: super::Ways,
    between: [String; 2],
}

impl Way {
    /// Has it carry what it is given, as well as it does otherwise, or nothing.
    async fn carry(&self, carries: bool) -> anyhow::Result<()> {
        let state = self.cluster.state();
        let net = state.net.context("there is no network")?;
        let [from, to] = &self.between;
        let own = || state.topology.quality(from, to);
        let quality: Option<Quality> =
            carries.then(|| self.ways.lock().get(&super::between(from, to)).copied().unwrap_or_else(own));
        net.degrade(from, to, quality).await?;
        net.degrade(to, from, quality).await
    }
}
