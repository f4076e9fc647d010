//! TLS with the node's own key: what either side shows is a libp2p certificate, from which its node id is read.
//!
//! The configurations are made here, around libp2p-tls's certificates, instead of with its
//! `make_client_config`: those prefer ChaCha20-Poly1305, which costs more than AES with the instructions that
//! servers have, and want a configuration of their own for each peer. Here every valid certificate passes the
//! handshake, and the one who dials compares the id before it says anything.

use std::sync::Arc;

use libp2p_identity::Keypair;
use libp2p_tls::certificate;
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::{CertifiedKey, SingleCertAndKey},
};
use starling_proto::NodeId;

/// The protocol, as TLS names it; anything else is a stranger.
pub(super) const ALPN: &[u8] = b"starling-link/1";

/// The configurations of both sides.
pub(super) struct Configs {
    pub(super) client: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
}

impl Configs {
    pub(super) fn new(keypair: &Keypair) -> Result<Self, String> {
        let (certificate, key) = certificate::generate(keypair).map_err(|error| error.to_string())?;
        let provider = Arc::new(CryptoProvider {
            cipher_suites: vec![
                aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
                aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
                aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
            ],
            ..aws_lc_rs::default_provider()
        });
        let key = provider.key_provider.load_private_key(key).map_err(|error| error.to_string())?;
        // Unlike the builders' ways that take the two, this does not read the certificate as a web server's,
        // which its libp2p extension would make invalid.
        let shown = Arc::new(SingleCertAndKey::from(CertifiedKey::new(vec![certificate], key)));
        let verifier = Arc::new(NodeCertificates);
        let text = |error: Error| error.to_string();
        let mut client = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(text)?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone())
            .with_client_cert_resolver(shown.clone());
        client.alpn_protocols = vec![ALPN.to_vec()];
        // Connections live long; a ticket would only be one more thing to steal.
        client.resumption = Resumption::disabled();
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(text)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(shown);
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(Self { client: Arc::new(client), server: Arc::new(server) })
    }
}

/// Who showed these certificates, in a handshake that succeeded and agreed on `protocol`.
pub(super) fn shown_by(
    certificates: Option<&[CertificateDer<'_>]>,
    protocol: Option<&[u8]>,
) -> Result<NodeId, String> {
    if protocol != Some(ALPN) {
        return Err("it does not speak the link's protocol".to_owned());
    }
    let [certificate] = certificates.unwrap_or_default() else {
        return Err("it showed no certificate".to_owned());
    };
    let parsed = certificate::parse(certificate).map_err(|error| error.to_string())?;
    NodeId::of_peer(&parsed.peer_id()).map_err(|error| error.to_string())
}

/// For tests that dial without being a node.
#[cfg(test)]
pub(super) fn any_node() -> Arc<dyn ServerCertVerifier> {
    Arc::new(NodeCertificates)
}

/// Takes every well-formed libp2p certificate; whose it is, is looked at after the handshake.
#[derive(Debug)]
struct NodeCertificates;

impl NodeCertificates {
    fn verify(end_entity: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> Result<(), Error> {
        if !intermediates.is_empty() {
            return Err(Error::General("a node shows exactly one certificate".to_owned()));
        }
        certificate::parse(end_entity)?;
        Ok(())
    }

    fn verify_signature(
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        certificate::parse(certificate)?.verify_signature(signed.scheme, message, signed.signature())?;
        Ok(HandshakeSignatureValid::assertion())
    }

    fn schemes() -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::ED25519,
        ]
    }
}

impl ServerCertVerifier for NodeCertificates {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Self::verify(end_entity, intermediates).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("the link speaks TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::verify_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Self::schemes()
    }
}

impl ClientCertVerifier for NodeCertificates {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Self::verify(end_entity, intermediates).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("the link speaks TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::verify_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Self::schemes()
    }
}
