//! The node's status, as `/v1/status` and `starling status` tell it.

use std::{net::SocketAddr, sync::Arc};

use starling_proto::members::{Status, View};
use tokio::sync::watch;

use super::fence::Fencing;
use crate::{
    admin::{CacheStatus, MeshStatus, OriginStatus, RegionStatus, ServiceView, StatusReport, StoreStatus},
    clock::Clock,
    config::NodeSettings,
    edge::Edge,
    region::Standing,
    store::Store,
    trust::Trust,
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
    /// The services, and what is wrong with them.
    pub services: watch::Receiver<Arc<Vec<ServiceView>>>,
    /// Whether the node is being emptied.
    pub draining: watch::Receiver<bool>,
    /// How far it trusts what is stored.
    pub trust: Trust,
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
    /// How the region's group stands.
    pub standing: watch::Receiver<Standing>,
    /// For how long it knows the regions' heads.
    pub fence: Fencing,
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

    fn group(&self, is_caught_up: bool) -> RegionStatus {
        let (view, standing) = (Arc::clone(&self.view.borrow()), self.standing.borrow().clone());
        let names = |nodes: &[_]| nodes.iter().map(|node| view.name_of(node)).collect();
        let behind =
            "this node has not caught up with any other since it came: what it has stored is revalidated";
        RegionStatus {
            role: standing.role.to_owned(),
            leader: standing.leader.map(|leader| view.name_of(&leader)),
            term: standing.term,
            epoch: format!("{:016x}", standing.epoch),
            voters: names(&standing.voters),
            learners: names(&standing.learners),
            committed: standing.committed.map(|at| at.to_string()),
            problem: standing.problem.or_else(|| (!is_caught_up).then(|| behind.to_owned())),
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
                .map(|(region, at)| (region.to_string(), at.to_string()))
                .collect(),
            caught_up: self.trust.is_caught_up(),
            fence_valid: self.trust.is_fenced(self.clock.up_ms()),
            // A node that stands alone needs no lease.
            fence_remaining_ms: self.mesh.as_ref().map_or(0, |mesh| mesh.fence.remaining_ms()),
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
            problems: self.problems(stats.index_problem),
            group: self.mesh.as_ref().map(|mesh| mesh.group(self.trust.is_caught_up())),
        }
    }

    fn problems(&self, of_index: Option<String>) -> Vec<String> {
        let services = self.services.borrow();
        let told = |service: &ServiceView| {
            service.problem.as_ref().map(|problem| format!("service {}: {problem}", service.name))
        };
        let of_group = self.mesh.as_ref().and_then(|mesh| {
            let standing = mesh.standing.borrow();
            let problem = standing.problem.as_ref().filter(|_| standing.role == "failed")?;
            let region = &self.identity.region;
            Some(format!("this node is out of the group of region {region}, and tries again: {problem}"))
        });
        of_index.into_iter().chain(of_group).chain(services.iter().filter_map(told)).collect()
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
