//! Certificates of a test's own authority, and clients that trust it alone.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::RawConn;

/// A certificate authority that lives as long as its test.
pub struct TestCa {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate chain and its key as PEM files.
#[derive(Clone, Debug)]
pub struct CertFiles {
    /// The chain.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl Default for TestCa {
    fn default() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are good names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key can be made");
        Self { issuer: CertifiedIssuer::self_signed(params, key).expect("an authority can sign itself") }
    }
}

impl TestCa {
    /// A new authority.
    pub fn new() -> Self {
        Self::default()
    }

    /// The authority's own certificate, for who is to trust it.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Writes `NAME.pem` and `NAME.key` for these host names into `dir`, over what was there.
    pub fn issue(&self, dir: &Path, name: &str, hosts: &[&str]) -> CertFiles {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let key = KeyPair::generate().expect("a key can be made");
        let params = CertificateParams::new(hosts).expect("a test names well-formed hosts");
        let cert = params.signed_by(&key, &self.issuer).expect("the authority can sign");
        let files = CertFiles { cert: dir.join(format!("{name}.pem")), key: dir.join(format!("{name}.key")) };
        fs::write(&files.cert, cert.pem()).expect("the certificate can be written");
        fs::write(&files.key, key.serialize_pem()).expect("the key can be written");
        files
    }

    /// Opens a TLS connection for `server_name`, offering the protocols of `alpn`. Answers the connection,
    /// the protocol chosen and the DER of the server's certificate.
    pub async fn connect(
        &self,
        address: SocketAddr,
        server_name: &str,
        alpn: &[&str],
    ) -> io::Result<(RawConn, Option<String>, Vec<u8>)> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.as_ref().der().clone()).map_err(io::Error::other)?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(server_name.to_owned()).map_err(io::Error::other)?;
        let tcp = TcpStream::connect(address).await?;
        let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
        let session = tls.get_ref().1;
        let chosen = session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
        let leaf = session.peer_certificates().and_then(|chain| chain.first());
        let leaf = leaf.map(|cert| cert.to_vec()).unwrap_or_default();
        Ok((RawConn::over(tls, server_name), chosen, leaf))
    }
}
