//! An origin to put a cache in front of: a real tree of files, and `/demo/`.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::{Context, Result};
use clap::Parser;
use starling_testbed::origin::{Origin, Settings};
use tokio::signal::unix::{SignalKind, signal};

/// Serves a tree of files, and below /demo/ resources that are large, slow, tagged, private or broken.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8081")]
    listen: SocketAddr,
    /// The directory to serve.
    #[arg(long, default_value = "/usr/share/doc")]
    root: PathBuf,
    /// Write no line for each request.
    #[arg(long)]
    quiet: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let settings = Settings {
        listen: arguments.listen,
        root: arguments.root.clone(),
        log: !arguments.quiet,
        ..Settings::default()
    };
    let origin = Origin::start(settings).await?;
    eprintln!("serving {} on http://{}, see http://{1}/demo/", arguments.root.display(), origin.addr());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    origin.stop().await;
    Ok(())
}
