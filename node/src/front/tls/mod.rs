//! TLS toward clients: 1.2 and 1.3 by rustls, HTTP/2 and HTTP/1.1 by ALPN, certificates by name.

pub mod certificates;

use std::sync::Arc;

use rustls::{ServerConfig, crypto::aws_lc_rs};
use tokio::{net::TcpStream, sync::Semaphore, time::timeout};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use self::certificates::{Certificate, CertificateError, Chooser};
use super::{client::Shared, settings::CertificateSettings};

/// Handshakes at a time. They are the costliest thing a stranger can ask for; more of them would only make
/// all of them late.
const HANDSHAKES_MAX: usize = 512;
/// What rustls holds for a client that does not read, in bytes.
const BUFFER_BYTES_MAX: usize = 32 << 10;

/// Why TLS cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate or key cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The library refuses the configuration.
    #[error("TLS cannot be set up: {0}")]
    Library(#[from] rustls::Error),
}

/// The name a client asked for, and what it was shown for it.
pub(crate) type Shown = (String, Arc<Certificate>);

/// Accepts TLS connections.
#[derive(Clone)]
pub(crate) struct Tls {
    acceptor: TlsAcceptor,
    chooser: Arc<Chooser>,
    handshakes: Arc<Semaphore>,
}

/// A connection after its handshake.
pub(crate) struct Accepted {
    pub(crate) stream: TlsStream<TcpStream>,
    pub(crate) is_http2: bool,
    pub(crate) shown: Option<Shown>,
}

impl Tls {
    pub(crate) fn new(certificates: Vec<CertificateSettings>) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chooser = Arc::new(Chooser::load(certificates, provider.clone())?);
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(chooser.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            chooser,
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
        })
    }

    pub(crate) fn reload(&self) -> Result<(), CertificateError> {
        self.chooser.reload()
    }

    /// Does the handshake; `None` when it failed, which is counted.
    pub(crate) async fn accept(&self, stream: TcpStream, shared: &Shared) -> Option<Accepted> {
        let handshake = async {
            let _turn = self.handshakes.acquire().await;
            self.acceptor.accept(stream).await
        };
        let mut stream = match timeout(shared.limits.handshake_timeout, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                shared.counters.handshake_failures.increment();
                return None;
            }
            Err(_) => {
                shared.counters.timeout_handshake.increment();
                return None;
            }
        };
        let (_, session) = stream.get_mut();
        session.set_buffer_limit(Some(BUFFER_BYTES_MAX));
        let is_http2 = session.alpn_protocol() == Some(b"h2");
        let shown = session.server_name().map(|name| (name.to_owned(), self.chooser.choose(Some(name))));
        Some(Accepted { stream, is_http2, shown })
    }
}
