//! The node's status, as `/v1/status` and `starling status` tell it.

use std::{net::SocketAddr, sync::Arc};

use starling_proto::members::{Status, View};
use tokio::sync::watch;

use crate::{
    admin::{CacheStatus, MeshStatus, OriginStatus, StatusReport, StoreStatus},
    clock::Clock,
    config::NodeSettings,
    edge::Edge,
    store::Store,
};

/// What a status is put together from.
pub struct Reporter {
    /// Who the node is.
    pub identity: NodeSettings,
    /// The node's clock.
    pub clock: Clock,
    /// What is stored.
    pub store: Store,
    /// The budgets of memory and disk, in bytes.
    pub store_limits: (u64, u64),
    /// What was served.
    pub edge: Edge,
    /// Whether the node is being emptied.
    pub draining: watch::Receiver<bool>,
    /// Its part in a mesh.
    pub mesh: Option<MeshReporter>,
}

/// What the status of the mesh is put together from.
pub struct MeshReporter {
    /// Where other nodes are told to come.
    pub address: SocketAddr,
    /// Whether it lets in whoever reaches it.
    pub is_open: bool,
    /// The mesh as the node sees it.
    pub view: watch::Receiver<Arc<View>>,
}

impl MeshReporter {
    fn report(&self) -> MeshStatus {
        let view = Arc::clone(&self.view.borrow());
        let count = |status| view.members.values().filter(|member| member.status == status).count();
        MeshStatus {
            id: view.me.to_string(),
            address: self.address.to_string(),
            open: self.is_open,
            alive: count(Status::Alive),
            suspect: count(Status::Suspect),
            dead: count(Status::Dead),
            left: count(Status::Left),
            ring_nodes: view.ring.nodes().len(),
        }
    }
}

impl Reporter {
    /// The status of now.
    pub fn report(&self) -> StatusReport {
        let draining = *self.draining.borrow();
        let stats = self.store.stats();
        StatusReport {
            node: self.identity.name.clone(),
            region: self.identity.region.clone(),
            pop: self.identity.pop.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_ms: self.clock.up_ms(),
            ready: !draining,
            draining,
            versions: stats
                .versions
                .iter()
                .map(|(region, at)| (region.to_string(), format!("{:016x}/{}", at.epoch, at.index)))
                .collect(),
            // No purge comes from elsewhere: the node cannot miss one.
            fence_valid: true,
            cache: self.cache(),
            store: StoreStatus {
                memory_objects: stats.memory_entries,
                memory_bytes: stats.memory_bytes,
                memory_bytes_max: self.store_limits.0,
                disk_objects: stats.disk_objects,
                disk_bytes: stats.disk_bytes,
                disk_bytes_max: self.store_limits.1,
                evictions: stats.memory_evictions + stats.slices_evicted,
                damaged_slices: stats.slices_damaged,
                purge_selectors: stats.purge_selectors,
            },
            origins: self.origins(),
            mesh: self.mesh.as_ref().map(MeshReporter::report),
        }
    }

    fn cache(&self) -> CacheStatus {
        let counters = self.edge.counters();
        let of = |words: &[&str]| {
            let chosen = counters.outcomes.iter().filter(|count| words.contains(&count.outcome));
            chosen.map(|count| count.requests).sum()
        };
        CacheStatus {
            requests: counters.outcomes.iter().map(|count| count.requests).sum(),
            hits: of(&["hit", "stale"]),
            stale: of(&["stale"]),
            misses: of(&["miss", "revalidated", "uncacheable", "pass"]),
            errors: counters.statuses[5],
            sent_bytes: counters.outcomes.iter().map(|count| count.body_bytes).sum(),
        }
    }

    fn origins(&self) -> Vec<OriginStatus> {
        let of_service = |service: &Arc<crate::edge::Service>| {
            let name = service.settings.name.clone();
            service.pool.health().into_iter().map(move |origin| OriginStatus {
                service: name.clone(),
                url: origin.url.to_string(),
                healthy: origin.healthy && origin.circuit != "open",
                reason: match (origin.healthy, origin.circuit) {
                    (false, _) => Some("health check".to_owned()),
                    (true, "closed") => None,
                    (true, circuit) => Some(format!("circuit {circuit}")),
                },
                in_flight: origin.in_flight as u64,
            })
        };
        self.edge.services().iter().flat_map(of_service).collect()
    }
}
