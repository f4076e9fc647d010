//! What nodes say to each other, and how it is written.
//!
//! | file | what is in it |
//! | --- | --- |
//! | `codec` | [`encode`] and [`decode`]: version byte, bincode, limits |
//! | `greeting` | [`Hello`]: the first thing on every connection |
//! | `fetch` | [`Fetch`], its [`Answer`] or [`Refusal`] |
//! | `head` | the heads of requests and answers to and from the types of `http` |
//! | `call` | small questions: [`Call`], [`Reply`] |
//! | `gossip` | [`Gossip`]: what is spread to many |
//!
//! Bytes from a peer are hostile until they are decoded: whatever they are, decoding ends in a message within
//! its limits or in a [`WireError`], it does not panic, and a length that is a lie buys no more memory than
//! its kind of message may have. Framing, and reading no more than `BYTES_MAX` in the first place, is the
//! link's.
//!
//! Messages are serde types without attributes of format; the order of their fields *is* the format. A change of
//! it is a change of [`VERSION`], and the golden bytes in `proto/fuzz/seeds` tell when one was made.

mod bounded;
mod call;
mod codec;
mod fetch;
mod gossip;
mod greeting;
mod head;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

pub use call::{Call, Committed, Lease, NotCommitted, Proposal, Reach, Receipt, Reply};
pub use codec::{Message, VERSION, WireError, decode, encode};
pub use fetch::{Answer, Fetch, HttpRequest, Provenance, Refusal};
pub use gossip::Gossip;
pub use greeting::{Hello, ROSTER_MAX};
pub use head::{AnswerParts, FIELDS_MAX, HeadError, RequestParts};
