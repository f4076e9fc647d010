//! HTTP caching as pure functions over parsed heads: RFC 9111, RFC 9110 sections 13 and 14, RFC 5861,
//! RFC 8246, RFC 9211, RFC 9213, RFC 9875.
//!
//! The way of a request through this module:
//!
//! 1. [`key::primary_key`] names the object; [`vary`] picks the variant among those stored.
//! 2. [`reuse::decide`] says whether the stored response may be served, must be validated, or is no use.
//! 3. On a fetch, [`storing::admit`] says whether the answer may be stored, and for how long;
//!    [`validate::freshen`] merges a 304 into the stored head.
//! 4. [`reuse::serve_stale_on`] says whether a stale response may stand in for a failed origin.
//! 5. [`precondition::evaluate`] and [`range::select`] turn the stored 200 into 304, 412, 206 or 416.
//!
//! Every decision names its reason; the reason is what `Cache-Status`, logs and metrics say.

mod dates;
pub mod directives;
pub mod encoding;
pub mod fields;
pub mod freshness;
mod head;
pub mod invalidate;
pub mod key;
mod locations;
pub mod policy;
pub mod precondition;
pub mod range;
pub mod reuse;
pub mod status;
pub mod storing;
pub mod tags;
#[cfg(test)]
mod testing;
pub mod validate;
pub mod vary;

pub use policy::Policy;
pub use reuse::Decision;
pub use storing::{NoStoreReason, StoredHead};
