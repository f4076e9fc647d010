//! The origin behind all three servers: it makes bodies of any length, and counts what it was asked.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context, Result};
use starling_testbed::origin::{Origin, Settings, pattern};
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};

/// The seed of the pattern that the origin makes its large bodies of.
const SEED: u64 = 0;

/// A running origin, on threads of its own.
pub struct Behind {
    origin: Origin,
    interrupted: Arc<AtomicBool>,
    _runtime: Runtime,
}

impl Behind {
    /// Starts it on a free port of loopback, and begins to listen for SIGINT and SIGTERM.
    pub fn start(root: &std::path::Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let settings = Settings { root: root.to_owned(), ..Settings::default() };
        let origin = runtime.block_on(Origin::start(settings))?;
        let interrupted = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&interrupted);
        let _inside = runtime.enter();
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
        runtime.spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            flag.store(true, Ordering::Relaxed);
        });
        drop(_inside);
        Ok(Self { origin, interrupted, _runtime: runtime })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.origin.addr()
    }

    /// How many requests have reached it: a hit adds none.
    pub fn requests(&self) -> u64 {
        self.origin.stats().requests
    }

    /// An error once somebody wants this to end; asked between the steps, so that all is put away in order.
    pub fn go_on(&self) -> Result<()> {
        anyhow::ensure!(!self.interrupted.load(Ordering::Relaxed), "interrupted");
        Ok(())
    }
}

/// The path of a cacheable resource of this length.
pub fn path(bytes: usize) -> String {
    format!("/demo/large?bytes={bytes}")
}

/// The path of one of many resources of this length, each a cache entry of its own.
pub fn numbered(bytes: usize, number: u64) -> String {
    format!("/demo/large?bytes={bytes}&n={number}")
}

/// The bytes of every resource of this length.
pub fn body(bytes: usize) -> Vec<u8> {
    pattern(SEED, 0, bytes)
}
