//! Who gets which name and which address.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use anyhow::{Result, ensure};

use super::{
    Place, Router,
    wan::talk::{self, LinePlan, PopPlan},
};
use crate::topology::Topology;

/// `10.B.NUMBER.0/24` is the `NUMBER`th PoP; 0 is the host.
const POPS_MAX: usize = 250;
const NODES_MAX: usize = 200;
const ORIGIN: u8 = 253;
const ROUTER: u8 = 254;

/// Names and addresses of one network.
pub struct Plan {
    /// All addresses are of `10.SECOND.0.0/16`.
    pub second: u8,
    pub prefix: String,
    pub routers: Vec<Router>,
    /// Each place with the router it stands at; the origin has no name.
    pub places: Vec<(Option<String>, usize, Place)>,
    lines: Vec<LinePlan>,
}

impl Plan {
    pub fn new(topology: &Topology, second: u8) -> Result<Self> {
        let pops = &topology.pops;
        ensure!(!pops.is_empty(), "a network needs a PoP");
        ensure!(pops.len() <= POPS_MAX, "a network has room for {POPS_MAX} PoPs, not {}", pops.len());
        let prefix = prefix(second);
        let mut plan = Self { second, prefix, routers: Vec::new(), places: Vec::new(), lines: Vec::new() };
        for (number, pop) in pops.iter().enumerate() {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            ensure!(
                !pop.name.is_empty() && pop.name.len() <= 64 && pop.name.bytes().all(is_plain),
                "the PoP {:?} cannot be a namespace: letters, digits, - and _ can",
                pop.name
            );
            ensure!(
                pop.nodes <= NODES_MAX,
                "{} has {} nodes; a PoP has room for {NODES_MAX}",
                pop.name,
                pop.nodes
            );
            ensure!(
                plan.routers.iter().all(|router| router.pop != pop.name),
                "two PoPs are named {}",
                pop.name
            );
            let subnet = Ipv4Addr::new(10, second, number as u8 + 1, 0);
            let namespace = format!("{}{}-router", plan.prefix, pop.name);
            plan.routers.push(Router { pop: pop.name.clone(), namespace, subnet });
            for node in 1..=pop.nodes {
                plan.place(Some(format!("{}-{node}", pop.name)), number, node as u8);
            }
        }
        let beside = topology.origin.pop.as_deref().unwrap_or(&pops[0].name);
        let number = pops.iter().position(|pop| pop.name == beside);
        let Some(number) = number else { anyhow::bail!("the origin stands in {beside:?}, which is no PoP") };
        plan.place(None, number, ORIGIN);
        for from in pops {
            for to in pops.iter().filter(|to| to.name != from.name) {
                let quality = topology.quality(&from.name, &to.name);
                plan.lines.push(LinePlan { from: from.name.clone(), to: to.name.clone(), quality });
            }
        }
        Ok(plan)
    }

    fn place(&mut self, name: Option<String>, router: usize, last: u8) {
        let namespace = format!("{}{}", self.prefix, name.as_deref().unwrap_or("origin"));
        let [first, second, third, _] = self.routers[router].subnet.octets();
        let address = IpAddr::V4(Ipv4Addr::new(first, second, third, last));
        self.places.push((name, router, Place { namespace, address }));
    }

    /// All addresses.
    pub fn all(&self) -> String {
        format!("10.{}.0.0/16", self.second)
    }

    /// Who asks from outside the namespaces.
    pub fn host(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.second, 0, 1)
    }

    /// The router's own address.
    pub fn gateway(&self, router: usize) -> Ipv4Addr {
        let [first, second, third, _] = self.routers[router].subnet.octets();
        Ipv4Addr::new(first, second, third, ROUTER)
    }

    /// The cable from the host to a router: at most 15 bytes.
    pub fn cable(&self, router: usize) -> String {
        format!("{}h{}", self.prefix, router + 1)
    }

    pub fn namespaces(&self) -> Vec<String> {
        let routers = self.routers.iter().map(|router| router.namespace.clone());
        routers.chain(self.places.iter().map(|(_, _, place)| place.namespace.clone())).collect()
    }

    /// For the link's process.
    pub fn link(&self) -> talk::Plan {
        let pop = |router: &Router| PopPlan {
            name: router.pop.clone(),
            namespace: router.namespace.clone(),
            subnet: router.subnet,
        };
        let pops = self.routers.iter().map(pop).collect();
        talk::Plan { seed: u64::from(self.second), pops, lines: self.lines.clone() }
    }

    /// The nodes by name, and the origin.
    pub fn placed(&self) -> (BTreeMap<String, Place>, Place) {
        let mut places = BTreeMap::new();
        let mut origin = None;
        for (name, _, place) in &self.places {
            match name {
                Some(name) => drop(places.insert(name.clone(), place.clone())),
                None => origin = Some(place.clone()),
            }
        }
        (places, origin.expect("every plan places an origin"))
    }
}

/// With which all names of one network begin.
pub fn prefix(second: u8) -> String {
    format!("sltb{second}-")
}

/// The first of 10.x.0.0/16 that nobody uses: no route and no address lies in it, it lies in no route but the
/// default, and no name begins like its names. `taken` are networks with their length, as `ip route` tells them.
pub fn free(taken: &[(Ipv4Addr, u8)], names: &[String]) -> Option<u8> {
    // Small numbers are what people choose.
    (64..=254).rev().find(|second| {
        let own = Ipv4Addr::new(10, *second, 0, 0);
        let overlaps = |(network, length): &(Ipv4Addr, u8)| {
            let mask = u32::MAX.checked_shl(32 - u32::from((*length).min(16))).unwrap_or(0);
            *length > 0 && u32::from(own) & mask == u32::from(*network) & mask
        };
        let prefix = prefix(*second);
        !taken.iter().any(overlaps) && !names.iter().any(|name| name.starts_with(&prefix))
    })
}

/// The networks of `ip route list table all`.
pub fn networks(routes: &str) -> Vec<(Ipv4Addr, u8)> {
    let network = |line: &str| {
        // A route that is not unicast begins with its type.
        let word =
            line.split_whitespace().find(|word| word.starts_with(|first: char| first.is_ascii_digit()))?;
        let (address, length) = word.split_once('/').unwrap_or((word, "32"));
        Some((address.parse().ok()?, length.parse().ok().filter(|length| *length <= 32)?))
    };
    routes.lines().filter(|line| !line.starts_with("default")).filter_map(network).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{OriginPlace, Pop};

    fn topology() -> Topology {
        let pop = |name: &str, nodes| Pop { name: name.to_owned(), region: "eu".to_owned(), nodes };
        Topology {
            name: String::new(),
            title: String::new(),
            origin: OriginPlace { pop: Some("fra".to_owned()) },
            pops: vec![pop("lon", 2), pop("fra", 1)],
            paths: Vec::new(),
            default_path: crate::topology::Quality { delay_ms: 7.0, ..Default::default() },
            node: toml::Table::new(),
        }
    }

    #[test]
    fn everybody_has_an_address_of_the_own_pop() {
        let plan = Plan::new(&topology(), 200).unwrap();
        let (places, origin) = plan.placed();
        let told: Vec<_> = places.iter().map(|(name, place)| format!("{name} {}", place.address)).collect();
        assert_eq!(told, ["fra-1 10.200.2.1", "lon-1 10.200.1.1", "lon-2 10.200.1.2"]);
        assert_eq!(
            (origin.address.to_string(), origin.namespace),
            ("10.200.2.253".into(), "sltb200-origin".into())
        );
        assert_eq!(plan.namespaces().len(), 6);
        assert!(plan.namespaces().iter().all(|name| name.starts_with(&plan.prefix)));
        assert_eq!(plan.link().lines.len(), 2, "one way each");
        assert!(plan.cable(249).len() <= 15);
    }

    #[test]
    fn a_pop_that_has_no_room_or_no_good_name_is_refused() {
        let mut large = topology();
        large.pops[0].nodes = 201;
        let mut bad = topology();
        bad.pops[0].name = "a/b".to_owned();
        let mut nowhere = topology();
        nowhere.origin.pop = Some("mars".to_owned());
        let mut twice = topology();
        twice.pops[0].name = "fra".to_owned();
        for topology in [large, bad, nowhere, twice] {
            assert!(Plan::new(&topology, 64).is_err());
        }
    }

    #[test]
    fn addresses_are_free_of_routes_both_wide_and_narrow() {
        let taken = |routes: &str| free(&networks(routes), &[]);
        assert_eq!(taken("default via 192.0.2.1 dev eth0\n"), Some(254));
        assert_eq!(taken("10.254.7.0/24 dev a\nlocal 10.253.0.9 dev b table local\n"), Some(252));
        assert_eq!(taken("10.128.0.0/9 dev vpn\n"), Some(127));
        assert_eq!(taken("10.0.0.0/8 dev vpn\n"), None);
        assert_eq!(taken("blackhole 10.254.0.0/16\nbroadcast 10.253.255.255 dev x table local\n"), Some(252));
        assert_eq!(free(&[], &["sltb254-lon-1".to_owned(), "sltb25-x".to_owned()]), Some(253));
    }
}
