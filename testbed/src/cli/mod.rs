//! The commands of `starling-testbed`, which the scripts of `testbed/` call.

/// Prints a line. That nobody reads it (`| head`) is no reason to leave work half done, so it is no error.
macro_rules! say {
    ($($arg:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($arg)*);
    }};
}

mod chaos;
mod fault;
mod load;
mod origin;
mod scenario;
mod up;
mod wan;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// A mesh of many nodes on this machine, to try and to break.
#[derive(Parser)]
#[command(name = "starling-testbed", version)]
pub struct Arguments {
    /// Where the testbed is kept
    #[arg(
        long,
        global = true,
        env = "STARLING_TESTBED",
        default_value = "/tmp/starling-testbed",
        value_name = "DIR"
    )]
    dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a testbed
    Up(up::Up),
    /// Tell how the testbed stands
    Status(up::Status),
    /// End the testbed; nothing of it is left
    Down(up::Down),
    /// Do something to a node
    Node(up::NodeCommand),
    /// Have something go wrong; see `--help`
    Fault(fault::FaultCommand),
    /// Requests, purges and faults by a seed; then a judgement
    Chaos(chaos::Chaos),
    /// Play stories
    Scenario(scenario::Scenario),
    /// Replay a log or a mix
    Load(load::Load),
    /// The testbed's origin
    #[command(hide = true)]
    Origin(origin::OriginCommand),
    /// The link between PoPs of a network
    #[command(hide = true)]
    Wan(wan::WanCommand),
}

/// Runs one; answers the exit code: 0 done, 1 failed, 2 usage, 3 inconclusive or timed out.
pub async fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let dir = arguments.dir;
    match arguments.command {
        Command::Up(command) => command.run(&dir).await,
        Command::Status(command) => command.run(&dir).await,
        Command::Down(command) => command.run(&dir).await,
        Command::Node(command) => command.run(&dir).await,
        Command::Fault(command) => command.run(&dir).await,
        Command::Chaos(command) => command.run(&dir).await,
        Command::Scenario(command) => command.run(&dir).await,
        Command::Load(command) => command.run(&dir).await,
        Command::Origin(command) => command.run().await,
        Command::Wan(command) => command.run().await,
    }
}
