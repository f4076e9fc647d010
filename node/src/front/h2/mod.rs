//! HTTP/2 as a server (RFC 9113), directly on the `h2` crate.
//!
//! Directly, because the server of hyper hides interim responses and the flow control of single streams,
//! by which slow readers are found.
//!
//! | file | what it does |
//! | --- | --- |
//! | [`connection`] | a connection: its limits, its streams, its end |
//! | [`request`] | checks a request head |
//! | [`body`] | a request body |
//! | [`stream`] | one stream: request in, response out |

mod body;
mod connection;
mod request;
mod stream;

pub(crate) use connection::serve;
