//! What the front counts; the admin room reads it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::refusal::Refusal;

/// One number that only the front writes.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn increment(&self) {
        self.add(1);
    }

    pub(crate) fn decrement(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counters of all listeners together. All but `connections_open` only grow.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections there are now.
    pub connections_open: Counter,
    /// Connections accepted, those closed at once included.
    pub connections_accepted: Counter,
    /// Connections closed at once because there were too many in total.
    pub refused_total: Counter,
    /// Connections closed at once because there were too many from one address.
    pub refused_address: Counter,
    /// Failures of `accept` itself, such as too many open files.
    pub accept_errors: Counter,
    /// Requests handed to the edge, HTTP/1.0.
    pub requests_http10: Counter,
    /// Requests handed to the edge, HTTP/1.1.
    pub requests_http11: Counter,
    /// Requests handed to the edge, HTTP/2.
    pub requests_http2: Counter,
    /// Connections closed because they were idle.
    pub timeout_idle: Counter,
    /// Responses cut because the client took nothing for too long.
    pub timeout_write: Counter,
    /// Responses cut because the client read too slowly.
    pub timeout_write_rate: Counter,
    /// TLS handshakes that took too long.
    pub timeout_handshake: Counter,
    /// TLS handshakes that failed.
    pub handshake_failures: Counter,
    /// Responses that the client did not wait for.
    pub client_aborts: Counter,
    /// Responses reset by us because their body ended early.
    pub response_resets: Counter,
    /// HTTP/2 connections closed for their behaviour (rapid reset, floods, protocol errors).
    pub http2_errors: Counter,
    /// Bytes read from clients, after TLS.
    pub bytes_in: Counter,
    /// Bytes written to clients, before TLS.
    pub bytes_out: Counter,
    refusals: [Counter; Refusal::ALL.len()],
}

impl Counters {
    /// Requests refused for this reason.
    pub fn refusals(&self, refusal: Refusal) -> u64 {
        self.refusals[refusal as usize].get()
    }

    pub(crate) fn refuse(&self, refusal: Refusal) {
        self.refusals[refusal as usize].increment();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_own_counter_and_name() {
        for (index, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(index, refusal as usize);
            let namesakes = Refusal::ALL.into_iter().filter(|other| other.as_str() == refusal.as_str());
            assert_eq!(namesakes.count(), 1);
        }
    }
}
