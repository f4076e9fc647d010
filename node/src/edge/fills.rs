//! One fill per object: who leads, who follows.
//!
//! A flight is a fill that waits for its response head. While it does, requests for the same thing join it
//! instead of asking the origin. When the head is there the flight lands: the object is findable in the
//! store, followers read its body while it arrives, and the flight leaves the table.
//!
//! A flight stands at the hop from which it asks, and what it waits for stands above that. A request joins no
//! flight that stands below itself: two nodes whose rings disagree each ask the other, and never wait for each
//! other.
//!
//! A key whose last answer could not be shared is remembered for a moment: its requests do not wait for
//! each other only to learn that they should not have.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use http::HeaderValue;
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use starling_proto::{
    Key, UnixMs,
    cache::{NoStoreReason, reuse::StaleReason},
    ring::Hop,
};
use tokio::sync::watch;

use super::upward::Upper;
use crate::{origin::FetchError, store::Object};

/// How long a key is remembered as not shareable.
const UNSHAREABLE_MS: u64 = 2_000;
/// How many such keys are remembered.
const UNSHAREABLE_KEYS_MAX: usize = 65_536;

/// What a fill asks the origin for. Requests with equal wants can share one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// Which part of the representation.
    pub part: Part,
    /// The values of the fields that select a variant, where an earlier answer told which those are
    /// (RFC 9111 section 4.1).
    pub selecting: Option<Selecting>,
}

/// Lower-case names and normalised values of the fields that select a variant.
pub type Selecting = Vec<(String, Option<String>)>;

/// Which part of a representation a fill brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The range of this `Range` field.
    Range(HeaderValue),
}

/// How a flight ended, as all its followers see it.
#[derive(Clone)]
pub enum Landing {
    /// It has not yet.
    Asking,
    /// The origin's answer can be shared.
    Object(Arc<Object>, Answered),
    /// The origin failed, and this stale object may stand in; or it is what the node above serves.
    Stale(Arc<Object>, StaleReason, Upper),
    /// The answer is for the leader alone: everybody asks for themselves.
    Unshareable(NoStoreReason),
    /// No origin gave an answer.
    Failed(Arc<FetchError>),
}

/// What the origin answered to a fill.
#[derive(Clone)]
pub struct Answered {
    /// The status it sent.
    pub status: u16,
    /// Whether it said that the stored object still holds.
    pub validated: bool,
    /// Whether the object is in the store.
    pub stored: bool,
    /// Which origin it was, or which node.
    pub origin: Arc<str>,
    /// What the nodes above say of themselves.
    pub upper: Upper,
}

/// A fill that waits for its response head.
pub struct Flight {
    /// Flights are numbered in the order in which they begin.
    number: u64,
    /// What it brings for all who join it; `None` for a fill that one request makes for itself.
    want: Option<Want>,
    /// Where it stands: what it waits for stands above.
    hop: Hop,
    landing: watch::Sender<Landing>,
    /// Set when the key was invalidated after the origin was asked: the answer may be older than that.
    outdated: AtomicBool,
}

/// A place in a flight.
pub enum Seat {
    /// The one who asks the origin.
    Leader(Arc<Flight>),
    /// One who waits for the leader's answer, and the flight's number.
    Follower(watch::Receiver<Landing>, u64),
}

/// All flights of the node.
pub struct Fills {
    flights: Mutex<HashMap<Key, Vec<Arc<Flight>>>>,
    unshareable: Cache<Key, UnixMs>,
    /// Flights that have begun.
    begun: AtomicU64,
}

impl Default for Fills {
    fn default() -> Self {
        Self {
            flights: Mutex::default(),
            unshareable: Cache::new(UNSHAREABLE_KEYS_MAX),
            begun: AtomicU64::new(0),
        }
    }
}

impl Fills {
    /// Joins the flight that brings `want` of `key`, or becomes its leader. The request stands at `at`; its own
    /// flight would stand at `hop`.
    pub fn join(&self, key: Key, want: &Want, at: Hop, hop: Hop) -> Seat {
        let mut flights = self.flights.lock();
        let at_key = flights.entry(key).or_default();
        let joinable = |flight: &&Arc<Flight>| {
            flight.want.as_ref() == Some(want) && flight.hop >= at && !flight.is_outdated()
        };
        if let Some(flight) = at_key.iter().find(joinable) {
            return Seat::Follower(flight.landing(), flight.number);
        }
        let flight = self.begin(Some(want.clone()), hop);
        at_key.push(Arc::clone(&flight));
        Seat::Leader(flight)
    }

    /// Requests that wait for a flight to land.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        let flights = self.flights.lock();
        flights.values().flatten().map(|flight| flight.landing.receiver_count()).sum()
    }

    /// How many flights have begun: later ones have greater numbers.
    pub fn begun(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    fn begin(&self, want: Option<Want>, hop: Hop) -> Arc<Flight> {
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let landing = watch::Sender::new(Landing::Asking);
        Arc::new(Flight { number, want, hop, landing, outdated: AtomicBool::new(false) })
    }

    /// A flight that nobody joins, so that an invalidation finds what is under way.
    pub fn alone(&self, key: Key) -> Arc<Flight> {
        let flight = self.begin(None, Hop::Client);
        self.flights.lock().entry(key).or_default().push(Arc::clone(&flight));
        flight
    }

    /// Ends a flight. What it brought must be findable in the store before this is called, so that a
    /// request finds it either here or there.
    pub fn land(&self, key: Key, flight: &Arc<Flight>, landing: Landing) {
        {
            let mut flights = self.flights.lock();
            if let Some(at_key) = flights.get_mut(&key) {
                at_key.retain(|other| !Arc::ptr_eq(other, flight));
                if at_key.is_empty() {
                    flights.remove(&key);
                }
            }
        }
        flight.landing.send_replace(landing);
    }

    /// Marks what is under way for `key` as older than an invalidation.
    pub fn outdate(&self, key: &Key) {
        if let Some(at_key) = self.flights.lock().get(key) {
            for flight in at_key {
                flight.outdated.store(true, Ordering::Release);
            }
        }
    }

    /// Remembers that answers for `key` cannot be shared.
    pub fn remember_unshareable(&self, key: Key, now: UnixMs) {
        self.unshareable.insert(key, now + UNSHAREABLE_MS);
    }

    /// Whether requests for `key` should ask for themselves at once.
    pub fn is_unshareable(&self, key: &Key, now: UnixMs) -> bool {
        self.unshareable.get(key).is_some_and(|until| now < until)
    }

    /// The number of keys with a flight.
    pub fn len(&self) -> usize {
        self.flights.lock().len()
    }
}

impl Flight {
    /// Where its end is told.
    pub fn landing(&self) -> watch::Receiver<Landing> {
        self.landing.subscribe()
    }

    /// Whether the key was invalidated after this flight asked.
    pub fn is_outdated(&self) -> bool {
        self.outdated.load(Ordering::Acquire)
    }
}

/// Waits for the end of a flight; `None` if its task was lost.
pub async fn landed(mut flight: watch::Receiver<Landing>) -> Option<Landing> {
    let landing = flight.wait_for(|landing| !matches!(landing, Landing::Asking)).await.ok()?;
    Some(landing.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Want {
        Want { part: Part::Whole, selecting: None }
    }

    /// A node alone: everything is its own.
    fn join(fills: &Fills, key: Key, want: &Want) -> Seat {
        fills.join(key, want, Hop::Client, Hop::Owner)
    }

    /// Two rings that disagree: this node's client waits for a peer, whose own client waits for this node.
    #[tokio::test]
    async fn nobody_waits_for_a_flight_that_stands_below() {
        let fills = Fills::default();
        let key = Key::of("k");
        let Seat::Leader(low) = fills.join(key, &whole(), Hop::Client, Hop::Client) else {
            panic!("the first leads")
        };
        let Seat::Leader(high) = fills.join(key, &whole(), Hop::Owner, Hop::Owner) else {
            panic!("a peer's request joined a flight that may wait for that peer")
        };
        assert!(matches!(fills.join(key, &whole(), Hop::Owner, Hop::Owner), Seat::Follower(..)));
        fills.land(key, &low, Landing::Asking);
        let joined = fills.join(key, &whole(), Hop::Client, Hop::Client);
        assert!(matches!(joined, Seat::Follower(..)), "a client may wait for what stands above it");
        fills.land(key, &high, Landing::Asking);
    }

    #[tokio::test]
    async fn one_leads_and_the_others_follow() {
        let fills = Fills::default();
        let key = Key::of("k");
        let Seat::Leader(flight) = join(&fills, key, &whole()) else { panic!("the first leads") };
        let Seat::Follower(follower, _) = join(&fills, key, &whole()) else { panic!("the second follows") };
        let middle = Want { part: Part::Range(HeaderValue::from_static("bytes=5-9")), selecting: None };
        assert!(matches!(join(&fills, key, &middle), Seat::Leader(_)), "another range is another fill");
        let variant = Want { selecting: Some(vec![("cookie".to_owned(), None)]), ..whole() };
        assert!(matches!(join(&fills, key, &variant), Seat::Leader(_)), "another variant is another fill");
        fills.land(key, &flight, Landing::Unshareable(NoStoreReason::Partial));
        assert!(matches!(landed(follower).await, Some(Landing::Unshareable(_))));
        assert!(matches!(join(&fills, key, &whole()), Seat::Leader(_)));
    }

    #[tokio::test]
    async fn nobody_joins_a_fill_that_is_older_than_an_invalidation() {
        let fills = Fills::default();
        let key = Key::of("k");
        let Seat::Leader(old) = join(&fills, key, &whole()) else { panic!("the first leads") };
        fills.outdate(&key);
        assert!(old.is_outdated());
        assert!(matches!(join(&fills, key, &whole()), Seat::Leader(_)));
    }

    #[tokio::test]
    async fn a_lost_leader_frees_its_followers() {
        let fills = Fills::default();
        let key = Key::of("k");
        let Seat::Leader(flight) = join(&fills, key, &whole()) else { panic!("the first leads") };
        let Seat::Follower(follower, _) = join(&fills, key, &whole()) else { panic!("the second follows") };
        fills.land(key, &flight, Landing::Asking);
        drop(flight);
        assert!(landed(follower).await.is_none());
    }

    #[test]
    fn an_unshareable_key_is_remembered_for_a_moment() {
        let fills = Fills::default();
        let key = Key::of("k");
        fills.remember_unshareable(key, 1_000);
        assert!(fills.is_unshareable(&key, 1_500));
        assert!(!fills.is_unshareable(&key, 1_000 + UNSHAREABLE_MS));
    }
}
