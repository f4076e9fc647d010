//! The servers: each configured as its operator would for this work, on one core, with its access log off.
//!
//! | | tier that is measured | what is set beyond defaults |
//! | --- | --- | --- |
//! | Starling | memory, disk tier off | memory budget |
//! | nginx | files in the page cache | one worker, large output buffers, open file cache, upstream keep-alive |
//! | Varnish | `malloc` storage | one thread pool, storage size; its shared memory log stays on, as in practice |

mod nginx;
mod starling;
mod varnish;

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rustls::pki_types::CertificateDer;

use crate::{
    client,
    machine::{Cores, Programs},
    process::Process,
};

/// The servers, in the order of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The node.
    Starling,
    /// nginx with `proxy_cache`.
    Nginx,
    /// Varnish, which speaks no TLS.
    Varnish,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Starling, Self::Nginx, Self::Varnish];

    /// As it stands in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starling => "Starling",
            Self::Nginx => "nginx",
            Self::Varnish => "Varnish",
        }
    }
}

/// What every server is started with.
#[derive(Debug)]
pub struct Setup {
    /// The programs.
    pub programs: Programs,
    /// Which core is whose.
    pub cores: Cores,
    /// The origin behind them.
    pub origin: SocketAddr,
    /// The certificate of those that speak TLS.
    pub identity: Identity,
    /// How much each may keep in memory.
    pub memory_bytes: u64,
}

/// A certificate for [`client::HOST`] and its key.
#[derive(Debug)]
pub struct Identity {
    /// The certificate, to be trusted by the client.
    pub certificate: CertificateDer<'static>,
    cert_file: PathBuf,
    key_file: PathBuf,
}

impl Identity {
    /// Makes one (ECDSA P-256) and writes both parts to `dir`.
    pub fn make(dir: &Path) -> Result<Self> {
        let made = rcgen::generate_simple_self_signed([client::HOST.to_owned()])?;
        let (cert_file, key_file) = (dir.join("cert.pem"), dir.join("key.pem"));
        std::fs::write(&cert_file, made.cert.pem())?;
        std::fs::write(&key_file, made.signing_key.serialize_pem())?;
        Ok(Self { certificate: made.cert.der().clone(), cert_file, key_file })
    }
}

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    /// Which it is.
    pub kind: Kind,
    /// Its process.
    pub process: Process,
    /// Where it answers in clear.
    pub http: SocketAddr,
    /// Where it answers over TLS, if it does.
    pub https: Option<SocketAddr>,
    /// Its files; they go when it has ended, as fields are dropped in this order.
    dir: tempfile::TempDir,
}

impl Server {
    /// Starts a server and waits until it listens.
    pub fn start(kind: Kind, setup: &Setup) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("side-by-side-").tempdir()?;
        let started = match kind {
            Kind::Starling => starling::start(setup, dir.path()),
            Kind::Nginx => nginx::start(setup, dir.path()),
            Kind::Varnish => varnish::start(setup, dir.path()),
        };
        let Listening { process, http, https } =
            started.with_context(|| format!("{} does not run", kind.name()))?;
        Ok(Self { kind, process, http, https, dir })
    }

    /// What its files take on disk, and so in the page cache, in bytes.
    pub fn disk_bytes(&self) -> u64 {
        tree_bytes(self.dir.path())
    }
}

/// A process, and where it listens.
struct Listening {
    process: Process,
    http: SocketAddr,
    https: Option<SocketAddr>,
}

/// A port that was free a moment ago, for servers that cannot say which one they took.
fn free_addr() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Waits until something listens there.
fn wait_until_listening(process: &mut Process, addr: SocketAddr) -> Result<()> {
    process.wait_for(|_| std::net::TcpStream::connect(addr).ok().map(drop))
}

/// Blocks that are taken, of files below `dir`; those that vanish meanwhile take none.
fn tree_bytes(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => tree_bytes(&entry.path()),
            Ok(metadata) => metadata.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}
