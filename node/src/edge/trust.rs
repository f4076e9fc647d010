//! How far what is stored at this node may be trusted.
//!
//! Who follows the region logs tells [`crate::trust::Trust`]; here that is put beside what the service wants:
//!
//! | the node | `freshness = "available"` | `freshness = "strict"` |
//! | --- | --- | --- |
//! | has a valid fence | as far as it has caught up | as far as it has caught up |
//! | has none | the same, and hits are marked `unfenced` | revalidates, and nothing stands in |
//!
//! **Whose word is good (promise P5).** A node without a fence asks upward as for any miss, and the node above
//! judges by its own fence. Its answer is good: whoever holds a fence when it looks into its store has applied
//! every purge that was complete before, and whoever holds none asks on, at last the origin. So, by induction over
//! the hops, each answer was judged after the client's request came, by a node that knew all purges that were
//! complete then, or came from the origin after that. Three things keep it so:
//!
//! - what is given only where it is stored (a hedge, a previous owner) is judged in the same way;
//! - a request joins no flight that began before it came, but waits for the next
//!   ([`Life::since`](super::life::Life)): what that flight brings may have left the origin before a purge that was
//!   complete when the request came;
//! - where nobody can be asked, a strict service answers with an error.

use starling_proto::{
    cache::reuse::Trust,
    purge::{Purged, Versions},
};

use super::{Shared, service::Service, settings::Freshness};
use crate::store::Object;

impl Shared {
    /// How far what is stored of a service may be trusted now.
    pub(super) fn trust(&self, service: &Service) -> Trust {
        if service.settings.freshness == Freshness::Strict && !self.is_fenced() {
            return Trust::Unfenced;
        }
        if self.trust.is_caught_up() { Trust::Full } else { Trust::Unsure }
    }

    /// How far a stored response may be used: trust first, then its purges, so that a purge that was complete before
    /// the trust was given is seen. What a strict service cannot tell to be unpurged counts as purged.
    pub(super) fn look(&self, service: &Service, object: &Object) -> (Trust, Purged) {
        let trust = self.trust(service);
        match self.store.purged(object) {
            Purged::Unknown if service.settings.freshness == Freshness::Strict => (trust, Purged::Hard),
            purged => (trust, purged),
        }
    }

    /// Whether bytes that came with this stamp may stand beside those of the object: they are of the same
    /// representation, and no purge names it that came between the two, as far as this node knows; and it knows all
    /// that the object's stamp speaks for.
    pub(super) fn may_join(&self, object: &Object, stamp: &Versions) -> bool {
        self.has_applied(&object.stamp) && self.store.purged_subject(object.subject(), stamp) == Purged::No
    }

    /// Whether this node can prove that it knows every purge. A node without a mesh need not.
    pub(super) fn is_fenced(&self) -> bool {
        self.mesh.is_none() || self.trust.is_fenced(self.clock.up_ms())
    }

    /// Whether this node has applied all purges that a stamp speaks for, so that it can tell whether they name what
    /// is stored here. A log without an entry speaks for none.
    pub(super) fn has_applied(&self, stamp: &Versions) -> bool {
        let applied = self.store.stamp();
        stamp.iter().filter(|(_, at)| at.index > 0).all(|(region, at)| {
            applied.get(region).is_some_and(|here| here.epoch == at.epoch && here.index >= at.index)
        })
    }

    /// What `Starling-Debug` says of it.
    pub(super) fn trust_word(&self) -> &'static str {
        match (self.trust.is_caught_up(), self.is_fenced()) {
            (true, true) => "fenced",
            (true, false) => "unfenced",
            (false, _) => "not-caught-up",
        }
    }
}
