//! A node: its cache, its fills, and what it answers.

use std::sync::Arc;

use super::{
    Body, Flaw, MS, Object, Said,
    peer::{Effects, Peer, Why, send},
};
use crate::{
    purge::{Purged, Stamp, Versions},
    sim::{Micros, Node},
};

/// A peer that does not answer in this time is passed over.
const PATIENCE: Micros = 600 * MS;

/// The hops of a fetch; they only increase.
const CLIENT: u8 = 0;
const OWNER: u8 = 1;
const SHIELD: u8 = 2;

/// A fill under way, and who waits for it.
pub(super) struct Fill {
    /// What was applied before the origin was asked, if it is.
    stamp: Stamp,
    clients: usize,
    /// Peers, with the number of their question and what they had applied.
    peers: Vec<(Node, u32, Versions)>,
}

impl Peer {
    /// A client reads here.
    pub fn read(&mut self, object: Object, out: &mut Effects) {
        if let Some(fill) = self.fills.get_mut(&object) {
            fill.clients += 1;
        } else if let Some(body) = self.stored(object) {
            self.truth.borrow_mut().serves(self.me, object, &body, &self.disk, true);
        } else {
            self.fill(object, CLIENT, out);
            self.fills.get_mut(&object).into_iter().for_each(|fill| fill.clients += 1);
        }
    }

    /// A peer fetches: it is answered once this node has applied what it has (promise P2).
    pub fn fetched_by(&mut self, fetch: (Node, u32, Object, u8, Versions), out: &mut Effects) {
        let is_behind = !self.disk.applied().covers(&fetch.4);
        if is_behind && self.flaw != Some(Flaw::PeersAnswerWithoutCatchingUp) {
            let from = fetch.0;
            self.waiting.push(fetch);
            return self.compare(from, Why::Level, out);
        }
        let (from, number, object, hop, versions) = fetch;
        if let Some(fill) = self.fills.get_mut(&object) {
            fill.peers.push((from, number, versions));
        } else if let Some(body) = self.stored(object) {
            self.answer(from, number, object, &versions, body, out);
        } else {
            self.fill(object, hop, out);
            let fill = self.fills.get_mut(&object);
            fill.into_iter().for_each(|fill| fill.peers.push((from, number, versions.clone())));
        }
    }

    /// This node has applied more: fetches may go on that waited for it.
    pub fn answer_waiting(&mut self, out: &mut Effects) {
        let applied = self.disk.applied().clone();
        let (ready, waiting) =
            std::mem::take(&mut self.waiting).into_iter().partition(|fetch| applied.covers(&fetch.4));
        self.waiting = waiting;
        for fetch in Vec::from_iter::<Vec<_>>(ready) {
            self.fetched_by(fetch, out);
        }
    }

    /// What is stored, if it may be used as it is.
    fn stored(&self, object: Object) -> Option<Body> {
        let body = self.disk.objects.get(&object)?;
        let is_trusted = self.replica.is_caught_up() || self.flaw == Some(Flaw::ServesBeforeItCaughtUp);
        let is_purged = self.disk.check(object, &body.stamp, self.flaw) != Purged::No;
        (is_trusted && !is_purged).then(|| body.clone())
    }

    fn fill(&mut self, object: Object, hop: u8, out: &mut Effects) {
        let stamp = Arc::new(self.disk.applied().clone());
        self.fills.insert(object, Fill { stamp, clients: 0, peers: Vec::new() });
        let sites = self.book.world().sites();
        let site = sites[self.me as usize];
        let owners = self.book.world().pop(site.pop);
        let shields = self.book.world().region(site.region);
        let owner = owners[object as usize % owners.len()];
        let shield = shields[object as usize % shields.len()];
        // What is stored and cannot be trusted is revalidated with the origin.
        let revalidates = self.disk.objects.contains_key(&object) && !self.replica.is_caught_up();
        let next = [(owner, OWNER), (shield, SHIELD)]
            .into_iter()
            .find(|(node, level)| *level > hop && *node != self.me && self.is_alive(*node));
        match next.filter(|_| !revalidates) {
            Some((node, hop)) => {
                let versions = self.disk.applied().clone();
                let fetch = |number| Said::Fetch { number, object, hop, versions };
                self.ask(node, Why::Fetch(object), PATIENCE, out, fetch);
            }
            None => self.ask_origin(object, out),
        }
    }

    /// Asks the origin; the stamp is taken before.
    pub fn ask_origin(&mut self, object: Object, out: &mut Effects) {
        let Some(fill) = self.fills.get_mut(&object) else { return };
        fill.stamp = Arc::new(self.disk.applied().clone());
        let after = 5 * MS + self.chance.below(300 * MS);
        self.timer(self.me, Why::Origin(object), after, out);
    }

    /// The origin looks at what it has; its answer takes a while to come.
    pub fn origin_answers(&mut self, object: Object, out: &mut Effects) {
        let (content, given) = {
            let mut truth = self.truth.borrow_mut();
            (truth.contents[object as usize], truth.next())
        };
        let after = 5 * MS + self.chance.below(500 * MS);
        self.timer(self.me, Why::Given(object, content, given), after, out);
    }

    /// The origin's answer is here.
    pub fn given(&mut self, object: Object, content: u64, given: u64, out: &mut Effects) {
        let Some(fill) = self.fills.get(&object) else { return };
        let stamp = match self.flaw {
            Some(Flaw::StampTakenAfterAsking) => Arc::new(self.disk.applied().clone()),
            _ => fill.stamp.clone(),
        };
        self.filled(object, Body { content, stamp, given }, out);
    }

    /// A peer's answer is here; it carries the stamp of who asked the origin.
    pub fn fetched(&mut self, object: Object, mut body: Body, out: &mut Effects) {
        if self.flaw == Some(Flaw::StampedByWhoStores) {
            body.stamp = Arc::new(self.disk.applied().clone());
        }
        if self.flaw == Some(Flaw::BodiesOfPeersAreNotChecked) {
            return self.deliver(object, body, out);
        }
        self.filled(object, body, out);
    }

    /// The bytes are here: they are used if no purge came meanwhile.
    fn filled(&mut self, object: Object, body: Body, out: &mut Effects) {
        let is_purged = self.disk.check(object, &body.stamp, self.flaw) != Purged::No;
        if is_purged && self.flaw != Some(Flaw::FollowersAreNotChecked) {
            return self.ask_origin(object, out);
        }
        self.deliver(object, body, out);
    }

    fn deliver(&mut self, object: Object, body: Body, out: &mut Effects) {
        let Some(fill) = self.fills.remove(&object) else { return };
        for _ in 0..fill.clients {
            self.truth.borrow_mut().serves(self.me, object, &body, &self.disk, false);
        }
        for (to, number, versions) in fill.peers {
            self.answer(to, number, object, &versions, body.clone(), out);
        }
        self.disk.objects.insert(object, body);
    }

    fn answer(
        &mut self,
        to: Node,
        number: u32,
        object: Object,
        asker: &Versions,
        body: Body,
        out: &mut Effects,
    ) {
        self.truth.borrow_mut().answers(self.me, object, &body, asker);
        send(to, Said::Fetched { number, body }, out);
    }
}
