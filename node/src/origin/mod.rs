//! The HTTP client to a service's origins: which one is asked, how it is protected, and what is believed
//! of its answer.
//!
//! The way of a request through this room:
//!
//! 1. [`Pool::fetch`] picks an origin: the lowest priority with a healthy member, by weight and load
//!    (`selection`), among those whose circuit lets it through (`breaker`).
//! 2. The request takes a place at that origin (`gate`): a bounded number run, a bounded number wait.
//! 3. It is sent on a connection that is idle and provably usable, or on a new one (`connections`, `dial`,
//!    `tls`).
//! 4. The head is believed only when its framing has one reading (`framing`); the body is handed on chunk
//!    by chunk, and an early end is an error, never a short body ([`ResponseBody`]).
//!
//! # When a request is sent again
//!
//! A request reaches an origin at most once, except where that is provably harmless:
//!
//! - *Nothing of it was sent* (no connection, no place, circuit open, or the connection had ended before the
//!   first byte was written): any method goes on to a new connection or to the next origin.
//! - *The peer says it did nothing* (HTTP/2 REFUSED_STREAM, RFC 9113 section 8.7) and the request has no
//!   body: once more.
//! - *It was sent, and the connection ended before any byte of an answer*: only a safe method without a
//!   body, only while the retry budget lasts, and either to another origin, or once to the same one if the
//!   connection was a reused one whose end is put down to its age. It is put down to age only if the origin
//!   had not promised to keep the connection that long (`Keep-Alive: timeout=N`) and it had been idle for
//!   seconds. An origin that ends a connection it had promised to keep did so because of the request, and is
//!   not asked again.
//! - After a timeout, or after the first byte of an answer: never.
//!
//! To make the third case rare, an idle connection is not used once `N` seconds less a margin are over, nor
//! after its end was seen.
//!
//! # Edges
//!
//! Fields arrive here end-to-end: the caller strips hop-by-hop fields, adds `Via`, `CDN-Loop` and
//! `X-Forwarded-*`; this room sets `Host` and the framing fields. Response fields leave as received. Nothing
//! here knows of caching. Interim responses (RFC 9110 section 15.2) are handed on from HTTP/1.1 origins;
//! over HTTP/2 the client library drops them.

mod breaker;
mod budget;
mod check;
mod connections;
mod dial;
mod error;
mod framing;
mod gate;
mod member;
mod pool;
mod request;
mod response;
mod selection;
mod settings;
mod stats;
mod stream;
mod target;
#[cfg(test)]
mod tests;
mod tls;

pub use error::{BadResponse, BoxError, FetchError, FetchErrorKind, PoolError};
pub use pool::{OriginHealth, Pool};
pub use request::{Interim, Request, RequestBody};
pub use response::{Response, ResponseBody};
pub use settings::{HealthSettings, OriginSettings, PoolSettings};
pub use stats::{LATENCY_BUCKETS_MS, OriginStats};
