//! Where nodes stand, and how far apart that is.

use super::{Chance, Micros, Node};

/// Ten regions of the world, by the usual three letters of their city.
pub const REGIONS: [&str; 10] = ["iad", "pdx", "gru", "lhr", "fra", "cpt", "bom", "sin", "nrt", "syd"];

/// Round-trip times between them in milliseconds: typical medians as public latency tables of the big clouds'
/// regions show them (cloudping.co for AWS, rounded to what holds over months). One way is taken as half of it.
const RTT_MS: [[u32; 10]; 10] = [
    [1, 66, 114, 77, 92, 226, 190, 215, 148, 200],
    [66, 1, 176, 128, 142, 276, 218, 162, 97, 140],
    [114, 176, 1, 186, 203, 338, 300, 325, 256, 312],
    [77, 128, 186, 1, 16, 153, 114, 167, 212, 265],
    [92, 142, 203, 16, 1, 155, 123, 158, 224, 252],
    [226, 276, 338, 153, 155, 1, 270, 320, 360, 410],
    [190, 218, 300, 114, 123, 270, 1, 58, 128, 152],
    [215, 162, 325, 167, 158, 320, 58, 1, 70, 93],
    [148, 97, 256, 212, 224, 360, 128, 70, 1, 105],
    [200, 140, 312, 265, 252, 410, 152, 93, 105, 1],
];

/// One way between nodes of one PoP.
const IN_POP: Micros = 200;
/// One way between PoPs of one region.
const IN_REGION: Micros = 5_000;

/// Where a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// Its region: a place in [`REGIONS`].
    pub region: u8,
    /// Its PoP, numbered through the whole world.
    pub pop: u16,
}

/// The places of all nodes.
#[derive(Clone, Debug)]
pub struct World {
    sites: Vec<Site>,
}

impl World {
    /// `nodes` nodes in PoPs of `pop_size` each (the last may be smaller), PoPs dealt out over `regions` regions.
    pub fn new(nodes: u32, pop_size: u32, regions: u8) -> Self {
        let regions = regions.clamp(1, REGIONS.len() as u8);
        let site = |node: u32| {
            let pop = (node / pop_size.max(1)) as u16;
            Site { region: (pop % u16::from(regions)) as u8, pop }
        };
        Self { sites: (0..nodes).map(site).collect() }
    }

    /// Where every node stands.
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// The nodes of a PoP.
    pub fn pop(&self, pop: u16) -> Vec<Node> {
        self.nodes(|site| site.pop == pop)
    }

    /// The nodes of a region.
    pub fn region(&self, region: u8) -> Vec<Node> {
        self.nodes(|site| site.region == region)
    }

    /// The nodes at such sites.
    pub fn nodes(&self, wanted: impl Fn(&Site) -> bool) -> Vec<Node> {
        let nodes = self.sites.iter().enumerate().filter(|(_, site)| wanted(site));
        nodes.map(|(node, _)| node as Node).collect()
    }

    /// How many PoPs there are.
    pub fn pops(&self) -> u16 {
        self.sites.last().map_or(0, |site| site.pop + 1)
    }

    /// The usual time one way.
    pub fn one_way(&self, from: Node, to: Node) -> Micros {
        let (from, to) = (self.sites[from as usize], self.sites[to as usize]);
        if from.pop == to.pop {
            IN_POP
        } else if from.region == to.region {
            IN_REGION
        } else {
            Micros::from(RTT_MS[from.region as usize][to.region as usize]) * 500
        }
    }

    /// Who is connected to whom: each node to its whole PoP, and to `others` nodes elsewhere, half of them in its
    /// own region where there are such. Connections go both ways, so that a node may have more than it asked for.
    pub(super) fn connections(&self, others: usize, chance: &mut Chance) -> Vec<Vec<Node>> {
        let pops: Vec<Vec<Node>> = (0..self.pops()).map(|pop| self.pop(pop)).collect();
        let regions: Vec<Vec<Node>> = (0..REGIONS.len() as u8).map(|region| self.region(region)).collect();
        let all: Vec<Node> = (0..self.sites.len() as Node).collect();
        let mut connections: Vec<Vec<Node>> = Vec::with_capacity(all.len());
        for node in &all {
            let pop = &pops[self.sites[*node as usize].pop as usize];
            connections.push(pop.iter().copied().filter(|other| other != node).collect());
        }
        for node in all.iter().copied() {
            let site = self.sites[node as usize];
            for at in 0..others {
                let from = if at % 2 == 0 { &regions[site.region as usize] } else { &all };
                let other = from[chance.below(from.len() as u64) as usize];
                let elsewhere = self.sites[other as usize].pop != site.pop;
                if elsewhere && !connections[node as usize].contains(&other) {
                    connections[node as usize].push(other);
                    connections[other as usize].push(node);
                }
            }
        }
        connections
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_there_is_as_long_as_the_way_back() {
        for (a, row) in RTT_MS.iter().enumerate() {
            for (b, rtt) in row.iter().enumerate() {
                assert_eq!(*rtt, RTT_MS[b][a], "{} to {}", REGIONS[a], REGIONS[b]);
            }
        }
    }
}
