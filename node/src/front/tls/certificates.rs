//! Which certificate a client is shown, by the name it asks for (RFC 6066 section 3).

use std::{
    collections::HashMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::RwLock;
use rustls::{
    crypto::CryptoProvider,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject};

use crate::front::settings::CertificateSettings;

/// Why a certificate cannot be used. Every message names the file.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A listener for TLS was set, and no certificate.
    #[error("HTTPS needs at least one certificate and its key")]
    None,
    /// A file cannot be read as PEM.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// There is no certificate in the file.
    #[error("{} holds no certificate", .0.display())]
    Empty(PathBuf),
    /// What is in the file is no X.509 certificate for servers.
    #[error("{} holds no usable certificate: {reason}", file.display())]
    Malformed {
        /// Which.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// The key is of a kind that is not supported, or belongs to another certificate.
    #[error("the key in {} does not fit the certificate in {}: {source}", key_file.display(), cert_file.display())]
    Key {
        /// The key.
        key_file: PathBuf,
        /// The certificate.
        cert_file: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// One certificate with its key and the names it is for.
pub(crate) struct Certificate {
    key: Arc<CertifiedKey>,
    /// Lower case; `*.example.org` is a wildcard.
    names: Vec<String>,
}

impl Certificate {
    fn load(settings: &CertificateSettings, provider: &CryptoProvider) -> Result<Self, CertificateError> {
        let CertificateSettings { cert_file, key_file } = settings;
        let unreadable = |file: &Path| {
            let file = file.to_owned();
            move |source| CertificateError::Read { file, source }
        };
        let malformed = |reason: String| CertificateError::Malformed { file: cert_file.clone(), reason };
        let chain = CertificateDer::pem_file_iter(cert_file)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(unreadable(cert_file))?;
        let leaf = chain.first().ok_or_else(|| CertificateError::Empty(cert_file.clone()))?;
        let parsed = webpki::EndEntityCert::try_from(leaf).map_err(|error| malformed(error.to_string()))?;
        let names = parsed.valid_dns_names().map(str::to_ascii_lowercase).collect();
        let key = PrivateKeyDer::from_pem_file(key_file).map_err(unreadable(key_file))?;
        let key = CertifiedKey::from_der(chain.clone(), key, provider).map_err(|source| {
            CertificateError::Key { key_file: key_file.clone(), cert_file: cert_file.clone(), source }
        })?;
        Ok(Self { key: Arc::new(key), names })
    }

    /// Whether the certificate is for this host, by RFC 9525 section 6.3: a wildcard stands for one label.
    pub(crate) fn covers(&self, host: &str) -> bool {
        let parent = host.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            Some(suffix) => parent == Some(suffix),
            None => name == host,
        })
    }
}

/// All certificates, by name.
struct Loaded {
    by_name: HashMap<String, Arc<Certificate>>,
    default: Arc<Certificate>,
}

impl Loaded {
    fn load(settings: &[CertificateSettings], provider: &CryptoProvider) -> Result<Self, CertificateError> {
        let mut by_name = HashMap::new();
        let mut default = None;
        for settings in settings {
            let certificate = Arc::new(Certificate::load(settings, provider)?);
            for name in &certificate.names {
                // The first that is for a name wins, as the first of all is the default.
                by_name.entry(name.clone()).or_insert_with(|| certificate.clone());
            }
            default.get_or_insert(certificate);
        }
        Ok(Self { by_name, default: default.ok_or(CertificateError::None)? })
    }

    fn choose(&self, name: Option<&str>) -> &Arc<Certificate> {
        let wildcard = |name: &str| {
            let (_, parent) = name.split_once('.')?;
            self.by_name.get(&format!("*.{parent}"))
        };
        name.and_then(|name| self.by_name.get(name).or_else(|| wildcard(name))).unwrap_or(&self.default)
    }
}

/// Chooses a certificate; the set can be loaded again while it is in use.
pub(crate) struct Chooser {
    settings: Vec<CertificateSettings>,
    provider: Arc<CryptoProvider>,
    loaded: RwLock<Arc<Loaded>>,
}

impl Chooser {
    pub(crate) fn load(
        settings: Vec<CertificateSettings>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, CertificateError> {
        let loaded = Loaded::load(&settings, &provider)?;
        Ok(Self { settings, provider, loaded: RwLock::new(Arc::new(loaded)) })
    }

    /// Reads all files again. On failure everything stays as it was.
    pub(crate) fn reload(&self) -> Result<(), CertificateError> {
        let loaded = Loaded::load(&self.settings, &self.provider)?;
        *self.loaded.write() = Arc::new(loaded);
        Ok(())
    }

    pub(crate) fn choose(&self, name: Option<&str>) -> Arc<Certificate> {
        self.loaded.read().choose(name).clone()
    }
}

impl fmt::Debug for Chooser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chooser").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Chooser {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.choose(hello.server_name()).key.clone())
    }
}
