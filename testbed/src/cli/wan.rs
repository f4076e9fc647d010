//! The link between the PoPs of a network, as a process: [`crate::net::wan`].

use std::path::PathBuf;

/// Carries packets between the PoPs of a network
#[derive(clap::Args)]
pub struct WanCommand {
    /// Where it takes commands
    #[arg(long, value_name = "FILE")]
    socket: PathBuf,
    /// Which PoPs there are and what is between them
    #[arg(long, value_name = "FILE")]
    plan: PathBuf,
}

impl WanCommand {
    pub async fn run(self) -> anyhow::Result<u8> {
        // It outlives the command that started it, and its terminal.
        let _ = nix::unistd::setsid();
        crate::net::wan::run(&self.plan, &self.socket).await?;
        Ok(0)
    }
}
