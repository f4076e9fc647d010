//! HTTP/1.1 as a server, RFC 9112.
//!
//! This is our own, because the server of hyper settles what it should refuse: it takes a bare LF for a line
//! end and resolves a request with both `Transfer-Encoding` and `Content-Length`, so that the next server
//! on the way may see another request than we did (RFC 9112 section 11.2); and it cannot send interim
//! responses. Here a request that can be read in two ways is answered 400 and its connection is closed.
//!
//! | file | what it does |
//! | --- | --- |
//! | [`head`] | finds and reads a request head, strictly; pure |
//! | [`body`] | decodes request bodies; pure |
//! | [`incoming`] | carries a request body from the connection to whoever reads it |
//! | [`wire`] | the transport with its two buffers |
//! | [`write`] | encodes response heads; pure |
//! | [`date`] | the `Date` field |
//! | [`connection`] | the loop: one request at a time |
//! | [`respond`] | writes one response |

mod body;
mod connection;
mod date;
mod head;
mod incoming;
mod respond;
mod wire;
mod write;

pub(crate) use connection::{Ended, serve};
pub(crate) use date::now as date_now;
