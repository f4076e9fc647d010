//! Clients come in here: listeners, TLS, HTTP/1.1 and HTTP/2.
//!
//! A request leaves this room for the edge checked and in one form, whatever version it came in; a request
//! that could be read in two ways does not leave it. What a client may cost is limited here: connections,
//! bytes of a head, streams, time without progress.
//!
//! The edges of the room: it knows nothing of services, caches or origins. It hands
//! [`crate::edge::door::ClientRequest`]s to a [`Handler`] and writes what comes back.
//!
//! | file | what it does |
//! | --- | --- |
//! | [`settings`] | what an operator may set |
//! | [`accept`] | listeners, connections and their end |
//! | [`census`] | how many connections there may be |
//! | [`tls`] | handshakes, certificates by name |
//! | [`h1`] | HTTP/1.1; says why it is our own |
//! | [`h2`] | HTTP/2, on the `h2` crate |
//! | [`authority`], [`target`] | the host and the path of a request, the same for both |
//! | [`refusal`] | why a request is answered here |
//! | [`counters`] | what is counted |

mod accept;
mod authority;
mod census;
mod client;
pub mod counters;
mod h1;
mod h2;
mod pace;
pub mod refusal;
mod respond;
pub mod settings;
mod target;
#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test's tasks end with its runtime")]
mod tests;
mod timer;
pub mod tls;
mod transport;

use std::{io, net::SocketAddr, sync::Arc};

use tokio_util::sync::CancellationToken;

pub use accept::Drained;
pub use counters::Counters;
pub use refusal::Refusal;
pub use settings::{CertificateSettings, Limits, Settings};

use self::{
    accept::{Acceptor, Listener},
    client::Shared,
    tls::{TlsError, certificates::CertificateError},
};
use crate::edge::door::Handler;

/// The listeners of a node, bound and not yet accepting.
pub struct Front {
    listeners: Vec<Listener>,
    tls: Option<tls::Tls>,
    shared: Arc<Shared>,
}

/// Why the front cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Front {
    /// Binds all listeners and loads all certificates; on failure nothing is left bound. It is to be called
    /// inside a runtime.
    pub fn bind(settings: Settings) -> Result<Self, BindError> {
        let tls = match settings.https.is_empty() {
            true => None,
            false => Some(tls::Tls::new(settings.certificates)?),
        };
        let mut listeners = Vec::new();
        for (addresses, is_tls) in [(&settings.http, false), (&settings.https, true)] {
            for &address in addresses {
                let listener = Listener::bind(address, is_tls)
                    .map_err(|source| BindError::Listen { address, source })?;
                listeners.push(listener);
            }
        }
        let shared = Arc::new(Shared::new(settings.limits, Arc::default()));
        Ok(Self { listeners, tls, shared })
    }

    /// The addresses bound, with the ports that the system chose for port 0: cleartext first, in the order
    /// of the settings.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(Listener::address).collect()
    }

    /// What is counted, for as long as it is wanted.
    pub fn counters(&self) -> Arc<Counters> {
        self.shared.counters.clone()
    }

    /// A handle that loads the certificates again, also while [`Self::run`] runs.
    pub fn certificates(&self) -> Certificates {
        Certificates(self.tls.clone())
    }

    /// Loads all certificates again; see [`Certificates::reload`].
    pub fn reload_certificates(&self) -> Result<(), CertificateError> {
        self.certificates().reload()
    }

    /// Serves until `shutdown`, then drains: no new connections, idle ones close, requests under way have
    /// `drain_timeout` to finish.
    pub async fn run<H: Handler>(self, handler: H, shutdown: CancellationToken) -> Drained {
        let acceptor = Acceptor::new(handler, self.tls, self.shared);
        acceptor.run(self.listeners, shutdown).await
    }
}

/// Loads the certificates again.
#[derive(Clone)]
pub struct Certificates(Option<tls::Tls>);

impl Certificates {
    /// Reads all certificate files and, if all of them are good, uses them for new connections; else the
    /// old ones stay in use. Without TLS there is nothing to do.
    pub fn reload(&self) -> Result<(), CertificateError> {
        self.0.as_ref().map_or(Ok(()), tls::Tls::reload)
    }
}
