//! An origin whose every byte tells of which edition it is.
//!
//! Objects are `/o/GROUP/NAME`, `?bytes=N` long (1024 when it is not said, 64 MiB at most). Each has an edition: the
//! greatest that was given to it, to its group, or to all, by `POST /press/next`. The body is the
//! [pattern](crate::origin::pattern) of host, path, length and edition, so whoever has any range of it knows whether
//! it is what the edition in the head says, all of it.
//!
//! Fields of an answer: `ETag: "EDITION"`, `X-Edition: EDITION`, `Surrogate-Key: all g-GROUP k-NAME`,
//! `Cache-Control` by host (see [`Host`]), `Accept-Ranges`, strong conditional requests and ranges.
//!
//! A request gets the edition of the moment at which it came, also when its answer has to wait ([`Behaviour`]): so
//! slow answers are old ones, and a cache must know that it asked before it heard of a purge.
//!
//! | command | answer |
//! | --- | --- |
//! | `POST /press/next` with a [`Scope`] as JSON | `{"edition": N}`, the new one |
//! | `GET /press/editions` | the editions of all scopes ([`Editions`]) |
//! | `PUT /press/editions` | sets them, after a restart |
//! | `POST /press/behave` with [`Behaviour`] | 204 |
//! | `GET /press/stats` | `{"requests", "by_object": {"HOST/GROUP/NAME": N}, "by_asker": {"ADDRESS": N}, "body_bytes"}` |
//! | `POST /press/stats/reset` | 204 |
//! | everything else, such as `/demo/` | as the demo origin ([`crate::origin`]) |

mod book;
mod client;
mod editions;
mod object;
mod server;

pub use book::BookError;
pub use client::Press;
pub use editions::Editions;
pub use object::{Host, Object, Scope, Verdict};
pub use server::{Behaviour, Stats};

pub(crate) use server::Server;

/// Longer objects are not printed.
pub const OBJECT_BYTES_MAX: u64 = 64 << 20;

/// More scopes than this do not get editions of their own.
pub const SCOPES_MAX: usize = 100_000;

/// What all editions as JSON may take, and so any answer or command of the press.
const JSON_BYTES_MAX: usize = 16 << 20;

#[cfg(test)]
mod tests;
