//! Who speaks to the origins: the shields of each region, as rings.

use std::{collections::BTreeMap, sync::Arc};

use super::Ring;
use crate::{
    Key, NodeId,
    purge::{Catalog, Region, Version},
};

/// The shield rings of all regions, as this node knows them.
#[derive(Clone, Debug)]
pub struct ShieldRings {
    mine: Region,
    rings: BTreeMap<Region, ShieldRing>,
}

/// The shields of one region. At one epoch exactly one of them speaks to the origin for an object.
#[derive(Clone, Debug)]
pub struct ShieldRing {
    /// The entry of the region's log that named them.
    pub epoch: Version,
    /// Them.
    pub ring: Arc<Ring>,
}

impl ShieldRings {
    /// The rings that the logs came to, seen from a node of the region `mine`.
    pub fn of(mine: Region, catalog: &Catalog) -> Self {
        let ring = |(region, epoch, shields): (&Region, Version, &crate::purge::Shields)| {
            let nodes: Vec<_> = shields.0.iter().map(|shield| (shield.node, shield.weight)).collect();
            (region.clone(), ShieldRing { epoch, ring: Arc::new(Ring::new(&nodes)) })
        };
        Self { mine, rings: catalog.shields().map(ring).collect() }
    }

    /// This node's region.
    pub fn mine(&self) -> &Region {
        &self.mine
    }

    /// The ring of a region.
    pub fn get(&self, region: &Region) -> Option<&ShieldRing> {
        self.rings.get(region)
    }

    /// The node that shields a key of a service when all are well: in `shield_region`, or in this node's region
    /// where the service names none. None where that region has no shields.
    pub fn shield(&self, shield_region: Option<&Region>, key: &Key) -> Option<NodeId> {
        self.get(shield_region.unwrap_or(&self.mine))?.ring.owner(key)
    }

    /// All rings, by region.
    pub fn iter(&self) -> impl Iterator<Item = (&Region, &ShieldRing)> {
        self.rings.iter()
    }
}
