//! `starling-testbed origin`: the process that `up` starts; see [`crate::origin`] and [`crate::press`].

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::origin::{Origin, Settings};

/// What is served when nothing is named, where it is there.
const ROOT: &str = "/usr/share/doc";

/// How the origin is started.
#[derive(clap::Args)]
pub struct OriginCommand {
    /// Where to listen
    #[arg(long, value_name = "ADDR")]
    listen: SocketAddr,
    /// The directory to serve beside objects [default: /usr/share/doc, if it is there]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Keep editions in this file, so that an origin that is killed and started again goes on with them
    #[arg(long, value_name = "FILE")]
    editions: Option<PathBuf>,
}

impl OriginCommand {
    pub async fn run(self) -> anyhow::Result<u8> {
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
        let (root, _empty) = match self.root {
            Some(root) => (root, None),
            None if Path::new(ROOT).is_dir() => (PathBuf::from(ROOT), None),
            None => {
                let empty = tempfile::tempdir().context("cannot make an empty directory to serve")?;
                (empty.path().to_owned(), Some(empty))
            }
        };
        let settings = Settings { listen: self.listen, root, editions: self.editions, ..Settings::default() };
        let origin = Origin::start(settings).await?;
        eprintln!("the origin serves on http://{}", origin.addr());
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        origin.stop().await;
        Ok(0)
    }
}
