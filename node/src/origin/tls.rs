//! TLS to origins: verified against the system's roots and the operator's, unless switched off.

use super::{error::PoolError, settings::PoolSettings};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use std::{
    path::Path,
    sync::{Arc, LazyLock},
};
use tracing::warn;

/// The system's roots, read once: there may be hundreds, and every pool trusts them.
static SYSTEM_ROOTS: LazyLock<RootCertStore> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        warn!(%error, "a system certificate store could not be read");
    }
    roots.add_parsable_certificates(found.certs);
    roots
});

/// The TLS configuration of a pool: HTTP/2 if the origin can, else HTTP/1.1.
pub(super) fn client_config(settings: &PoolSettings) -> Result<Arc<ClientConfig>, PoolError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let mut config = if settings.tls_verify {
        let mut roots = SYSTEM_ROOTS.clone();
        if let Some(path) = &settings.ca_file {
            add_file(&mut roots, path)?;
        }
        config.with_root_certificates(roots).with_no_client_auth()
    } else {
        warn!("certificates of origins are not verified (tls_verify = false)");
        let unverified = Arc::new(Unverified(provider));
        config.dangerous().with_custom_certificate_verifier(unverified).with_no_client_auth()
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), PoolError> {
    let failed = |why: String| PoolError::CaFile { path: path.display().to_string(), why };
    let mut added = 0;
    for certificate in CertificateDer::pem_file_iter(path).map_err(|e| failed(e.to_string()))? {
        let certificate = certificate.map_err(|e| failed(e.to_string()))?;
        roots.add(certificate).map_err(|e| failed(e.to_string()))?;
        added += 1;
    }
    if added == 0 { Err(failed("no certificate in it".to_owned())) } else { Ok(()) }
}

/// Takes any certificate; the peer must still hold its key.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
