//! What nobody in the mesh knows: the committed logs, the origin, and whether the promises hold.

use std::collections::BTreeMap;

use super::{Body, Object, disk::Disk};
use crate::{
    purge::{Entry, Region, Selector, Version, Versions},
    sim::Node,
};

/// The committed logs, the origin, and what was broken.
#[derive(Debug, Default)]
pub(super) struct Truth {
    /// Every life of every log.
    pub logs: BTreeMap<(Region, u64), Vec<Entry>>,
    /// The present life of each.
    pub epochs: BTreeMap<Region, u64>,
    purges: Vec<Issued>,
    /// What the origin has of each object.
    pub contents: Vec<u64>,
    order: u64,
    /// What a node that rejoined must have applied before it trusts its store (promise P4).
    musts: BTreeMap<Node, Versions>,
    /// The first promise that was broken.
    pub broken: Option<String>,
    pub served: u64,
    pub stored_served: u64,
}

#[derive(Debug)]
struct Issued {
    region: Region,
    version: Version,
    object: Option<Object>,
    order: u64,
}

impl Truth {
    /// The next place in the order of all that happens.
    pub fn next(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    /// How far each log is committed.
    pub fn heads(&self) -> Versions {
        let mut heads = Versions::default();
        for (region, epoch) in &self.epochs {
            let index = self.logs.get(&(region.clone(), *epoch)).map_or(0, |log| log.len() as u64);
            heads.set(region.clone(), Version { epoch: *epoch, index });
        }
        heads
    }

    /// An entry is committed; it purges this object, or all of them.
    pub fn commit(&mut self, entry: &Entry, object: Option<Object>) {
        let Entry { region, version, .. } = entry;
        self.logs.entry((region.clone(), version.epoch)).or_default().push(entry.clone());
        let order = self.next();
        if entry.purge().is_some() {
            self.purges.push(Issued { region: region.clone(), version: *version, object, order });
        }
    }

    /// A node applies an entry: the one that was committed there, once, after the one before it.
    pub fn applies(&mut self, node: Node, before: Option<Version>, entry: &Entry) {
        let Version { epoch, index } = entry.version;
        let follows = match before {
            Some(at) if at.epoch == epoch => index == at.index + 1,
            Some(at) => at.epoch < epoch && index == 1,
            None => index == 1,
        };
        if !follows {
            self.broke(format!("order: {node} applies {:?} after {before:?}", entry.version));
        }
        let log = self.logs.get(&(entry.region.clone(), epoch));
        if log.and_then(|log| log.get(index as usize - 1)) != Some(entry) {
            self.broke(format!("{node} applies what was not committed at {}", entry.id()));
        }
    }

    /// A node begins again, with a disk, while the others are as given.
    pub fn rejoins<'a>(&mut self, node: Node, disk: &Disk, others: impl Iterator<Item = &'a Disk>) {
        let all = others.map(|disk| disk.applied().clone()).reduce(|one, other| meet(&one, &other));
        // Who is level with this one from now on is level with little.
        self.musts.values_mut().for_each(|must| *must = meet(must, disk.applied()));
        self.musts.insert(node, all.unwrap_or_default());
    }

    /// A node serves bytes, as stored or as they came.
    pub fn serves(&mut self, node: Node, object: Object, body: &Body, disk: &Disk, stored: bool) {
        self.served += 1;
        self.stored_served += u64::from(stored);
        if let Some(purge) = self.purged(object, body, |region, epoch| disk.reached(region, epoch)) {
            self.broke(format!("P1: {node} has applied {purge} and serves {object}, given before"));
        }
        let is_reborn = |(region, at): (&Region, Version)| {
            disk.applied().get(region).is_some_and(|now| now.epoch > at.epoch)
        };
        if body.stamp.iter().any(is_reborn) {
            self.broke(format!("P6: {node} serves {object} of another life of a log"));
        }
        let lacks = |must: &Versions| must.iter().any(|(region, at)| !disk.has(region, at));
        if stored && self.musts.get(&node).is_some_and(lacks) {
            self.broke(format!("P4: {node} serves {object} from its store before it has caught up"));
        }
    }

    /// A node answers another, which has applied this much.
    pub fn answers(&mut self, node: Node, object: Object, body: &Body, asker: &Versions) {
        let reached = |region: &Region, epoch| {
            asker.get(region).filter(|at| at.epoch == epoch).map_or(0, |at| at.index)
        };
        if let Some(purge) = self.purged(object, body, reached) {
            self.broke(format!(
                "P2: {node} answers {object}, given before {purge}, which the asker has applied"
            ));
        }
    }

    pub fn broke(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    /// A purge of the object, among those reached, that came after the origin gave the body.
    fn purged(&self, object: Object, body: &Body, reached: impl Fn(&Region, u64) -> u64) -> Option<String> {
        let names = |purge: &&Issued| {
            purge.object.is_none_or(|purged| purged == object)
                && purge.order > body.given
                && reached(&purge.region, purge.version.epoch) >= purge.version.index
        };
        self.purges.iter().find(names).map(|purge| format!("{}{:?}", purge.region, purge.version))
    }
}

/// What both have applied.
fn meet(one: &Versions, other: &Versions) -> Versions {
    let mut both = Versions::default();
    for (region, at) in one.iter() {
        if let Some(there) = other.get(region).filter(|there| there.epoch == at.epoch) {
            both.set(region.clone(), Version { index: at.index.min(there.index), ..at });
        }
    }
    both
}

/// What a purge of an object names.
pub(super) fn selector(object: Option<Object>, by_tag: bool) -> Selector {
    match object {
        None => Selector::Service,
        Some(object) if by_tag => Selector::Tag(tag(object)),
        Some(object) => Selector::Url(url(object)),
    }
}

pub(super) fn url(object: Object) -> String {
    format!("shop.org/{object}")
}

pub(super) fn tag(object: Object) -> String {
    format!("tag-{object}")
}
