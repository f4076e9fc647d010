//! What a purge is, and how a node knows that an object is purged.
//!
//! A purge is an entry of a region's log. Applying it writes `(region, epoch, index)` beside each of its
//! selectors in the [`PurgeTable`]; that is O(1) in the number of cached objects. An object carries a
//! [`Stamp`]: the [`Versions`] its node had applied *before* the origin was asked. The object is purged iff
//! one of its selectors carries, for some region, an index above the stamp's. No clock is compared.

mod catalog;
mod entry;
mod replica;
mod table;
mod versions;

pub use catalog::{Base, Catalog, Hlc, ServiceChange, Shield, Shields};
pub use entry::{Batch, Change, Entry, EntryId, EntryIdError, Mode, Purge, Selector};
pub use replica::{Input, Output, Replica, ReplicaSettings};
pub use table::{ApplyError, PurgeTable, Purged, Subject};
pub use versions::{Region, Stamp, Version, Versions};
