//! Messages on their way: each is kept once, however many copies of it travel.

use std::rc::Rc;

use super::{Micros, Topic};

/// Names a parcel; used again when the parcel is gone.
pub(super) type ParcelId = u32;

pub(super) struct Parcels<T>(Vec<Parcel<T>>, Vec<ParcelId>);

pub(super) struct Parcel<T> {
    /// None when the slot is free.
    body: Option<Rc<T>>,
    pub bytes: u32,
    /// When it was published.
    pub at: Micros,
    /// Copies and questions under way that name it.
    in_flight: u32,
    /// Which subscribers of its topic have seen it, one bit each: what every one of them would keep in a cache of
    /// its own, laid out by message. A node only ever looks at its own bit, but for the IHAVE of another.
    seen: Vec<u64>,
    /// Held by its topic, for those who ask later.
    topic: Option<Topic>,
}

impl<T> Parcels<T> {
    pub fn new() -> Self {
        Self(Vec::new(), Vec::new())
    }

    /// Takes a message in. One with a topic and its number of subscribers stays until [`Parcels::let_go`].
    pub fn put(&mut self, body: Rc<T>, bytes: u32, at: Micros, topic: Option<(Topic, usize)>) -> ParcelId {
        let id = self.1.pop().unwrap_or_else(|| {
            self.0.push(Parcel { body: None, bytes: 0, at: 0, in_flight: 0, seen: Vec::new(), topic: None });
            (self.0.len() - 1) as ParcelId
        });
        let parcel = &mut self.0[id as usize];
        parcel.seen.clear();
        parcel.seen.resize(topic.map_or(0, |(_, subscribers)| subscribers.div_ceil(64)), 0);
        (parcel.body, parcel.bytes, parcel.at) = (Some(body), bytes, at);
        (parcel.in_flight, parcel.topic) = (0, topic.map(|(topic, _)| topic));
        id
    }

    pub fn get(&self, id: ParcelId) -> &Parcel<T> {
        &self.0[id as usize]
    }

    pub fn sent(&mut self, id: ParcelId) {
        self.0[id as usize].in_flight += 1;
    }

    pub fn arrived(&mut self, id: ParcelId) {
        self.0[id as usize].in_flight -= 1;
        self.free_if_unused(id);
    }

    /// Frees a message that nothing under way names and no topic holds.
    pub fn free_if_unused(&mut self, id: ParcelId) {
        let parcel = &mut self.0[id as usize];
        if parcel.in_flight == 0 && parcel.topic.is_none() && parcel.body.take().is_some() {
            self.1.push(id);
        }
    }

    /// Its topic holds it no more; true if it is gone. While copies are under way it stays, or they would be taken
    /// for new.
    pub fn let_go(&mut self, id: ParcelId) -> bool {
        let parcel = &mut self.0[id as usize];
        if parcel.in_flight == 0 {
            parcel.topic = None;
            self.free_if_unused(id);
            return true;
        }
        false
    }

    /// Marks it seen by a subscriber; false if it was before.
    pub fn see(&mut self, id: ParcelId, subscriber: u32) -> bool {
        let word = &mut self.0[id as usize].seen[subscriber as usize / 64];
        let bit = 1 << (subscriber % 64);
        let is_first = *word & bit == 0;
        *word |= bit;
        is_first
    }

    pub fn forget(&mut self, id: ParcelId, subscriber: u32) {
        self.0[id as usize].seen[subscriber as usize / 64] &= !(1 << (subscriber % 64));
    }

    pub fn has_seen(&self, id: ParcelId, subscriber: u32) -> bool {
        self.0[id as usize].seen[subscriber as usize / 64] & (1 << (subscriber % 64)) != 0
    }
}

impl<T> Parcel<T> {
    pub fn body(&self) -> Rc<T> {
        self.body.clone().expect("what an event names is not freed: it is counted as in flight")
    }

    pub fn topic(&self) -> Topic {
        self.topic.expect("gossip has a topic, which it keeps while it is in flight")
    }
}
