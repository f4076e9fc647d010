//! The command line: `starling node`, and the commands that talk to a node's admin API.
//!
//! Exit codes are a contract: 0 done, 1 failed, 2 usage, 3 timed out.

mod client;
mod cluster;
mod node;
mod purge;
mod services;
mod show;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand};

use self::client::{Client, ClientError};
pub use self::{
    cluster::{AdmitOptions, ClusterCommand, Expiry, InitOptions},
    node::NodeOptions,
    purge::{PurgeOptions, ReceiptWait, ReceiptsOptions, WaitFor},
    services::{ServicesCommand, ServicesOptions},
};
use crate::config::{self, Sources};

/// Everything a person can ask of `starling`.
#[derive(Debug, Parser)]
#[command(
    name = "starling",
    version,
    about = "A CDN in one binary: an edge cache for HTTP, and the commands to run it",
    after_help = "Try it:\n  starling node --origin https://example.com\n  curl -i -H 'Host: example.com' http://127.0.0.1:8080/\n  starling purge --all\n\nExit codes: 0 done, 1 failed, 2 usage, 3 timed out."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a node
    Node(Box<NodeOptions>),
    /// Purge cached objects, by URL, tag, host, prefix or all of a service
    Purge(PurgeOptions),
    /// Show who has applied a purge, when, and who has not; or the last purges that were sent to a node
    Receipts(ReceiptsOptions),
    /// Show a node's state: store, hit ratio, origins, mesh, its region's group
    Status(ClientOptions),
    /// List the nodes of the mesh as a node sees them
    Peers(ClientOptions),
    /// Show the ring of a node's PoP, and who owns an object
    Ring(RingOptions),
    /// List the services, show one, or change them in all of the mesh
    Services(ServicesOptions),
    /// Have a node fetch URLs, so that the first client finds them there
    Warm(WarmOptions),
    /// Have `/readyz` say no, so that balancers send clients elsewhere; the node goes on serving
    Drain(ClientOptions),
    /// End a drain
    Undrain(ClientOptions),
    /// Make the key of a cluster, and let nodes in
    Cluster {
        /// What to do.
        #[command(subcommand)]
        command: ClusterCommand,
    },
    /// Work with configuration files
    Config {
        /// What to do with them.
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Print the version
    Version,
}

/// Commands about configuration files.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check a file: `ok` with a summary, or every problem with its line
    Check {
        /// The file.
        file: PathBuf,
    },
}

/// How to reach a node.
#[derive(Args, Debug)]
pub struct ClientOptions {
    /// The node's admin API
    #[arg(long, value_name = "URL", env = "STARLING_ADMIN", default_value = "http://127.0.0.1:9000")]
    pub admin: String,
    /// Its bearer token, when it wants one
    #[arg(long, value_name = "TOKEN", env = "STARLING_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Print the node's answer as JSON
    #[arg(long)]
    pub json: bool,
}

/// What to ask of the ring.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  starling ring\n  starling ring https://example.org/style.css\n  starling ring 00112233445566778899aabbccddeeff"
)]
pub struct RingOptions {
    /// An object: its key (32 hexadecimal digits, as in Starling-Debug), or its URL
    #[arg(value_name = "KEY|URL")]
    pub object: Option<String>,
    /// How to reach the node.
    #[command(flatten)]
    pub client: ClientOptions,
}

/// What to warm.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  starling warm https://example.org/ https://example.org/style.css")]
pub struct WarmOptions {
    /// What to fetch
    #[arg(required = true, value_name = "URL")]
    pub urls: Vec<String>,
    /// How to reach the node.
    #[command(flatten)]
    pub client: ClientOptions,
}

const DONE: u8 = 0;
const FAILED: u8 = 1;
const TIMED_OUT: u8 = 3;
/// For the way there and back, beyond the time that the node may take itself.
const WAY: Duration = Duration::from_secs(10);
const WARM_TIMEOUT: Duration = Duration::from_secs(310);

/// Runs any command but `node`, which needs a runtime of another kind.
pub fn run(command: Command) -> ExitCode {
    let code = match command {
        Command::Version => {
            println!("starling {}", env!("CARGO_PKG_VERSION"));
            Ok(DONE)
        }
        Command::Config { command: ConfigCommand::Check { file } } => Ok(check(&file)),
        Command::Cluster { command } => return cluster::run(command),
        command => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ClientError::Runtime)
            .and_then(|runtime| runtime.block_on(ask(command))),
    };
    ExitCode::from(code.unwrap_or_else(|error| {
        eprintln!("starling: {error}");
        error.exit_code()
    }))
}

fn check(file: &std::path::Path) -> u8 {
    match config::load(&Sources::file(file)) {
        Ok(config) => {
            println!("{}: ok\n{}", file.display(), show::config(&config));
            DONE
        }
        Err(error) => {
            let count = error.problems.len();
            eprintln!("{error}\n{}: {count} problem{}", file.display(), if count == 1 { "" } else { "s" });
            FAILED
        }
    }
}

async fn ask(command: Command) -> Result<u8, ClientError> {
    match command {
        Command::Purge(options) => purge::purge(options).await,
        Command::Receipts(options) => purge::receipts(options).await,
        Command::Warm(options) => {
            let body = serde_json::json!({ "urls": options.urls });
            let answer = Client::new(&options.client)?.post("/v1/warm", &body, WARM_TIMEOUT).await?;
            show::print(&answer, options.client.json, show::warmed);
            Ok(if show::all_warm(&answer) { DONE } else { FAILED })
        }
        Command::Status(options) => tell(&options, "/v1/status", show::status).await,
        Command::Peers(options) => tell(&options, "/v1/peers", show::peers).await,
        Command::Ring(options) => {
            let path = ring_path(options.object.as_deref());
            tell(&options.client, &path, show::ring).await
        }
        Command::Services(options) => services::run(options).await,
        Command::Drain(options) => set_draining(&options, "/v1/drain", "draining").await,
        Command::Undrain(options) => set_draining(&options, "/v1/undrain", "ready for clients").await,
        Command::Node(_) | Command::Cluster { .. } | Command::Config { .. } | Command::Version => {
            unreachable!("these commands ask no node")
        }
    }
}

async fn tell(
    options: &ClientOptions,
    path: &str,
    human: fn(&serde_json::Value) -> String,
) -> Result<u8, ClientError> {
    let answer = Client::new(options)?.get(path, WAY).await?;
    show::print(&answer, options.json, human);
    Ok(DONE)
}

/// What is not a key is taken for a URL: the node says what is wrong with it.
fn ring_path(object: Option<&str>) -> String {
    let is_key = |text: &str| text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match object {
        None => "/v1/ring".to_owned(),
        Some(key) if is_key(key) => format!("/v1/ring?key={key}"),
        Some(url) => {
            let url = percent_encoding::utf8_percent_encode(url, percent_encoding::NON_ALPHANUMERIC);
            format!("/v1/ring?url={url}")
        }
    }
}

async fn set_draining(options: &ClientOptions, path: &str, state: &str) -> Result<u8, ClientError> {
    let answer = Client::new(options)?.post(path, &serde_json::json!({}), WAY).await?;
    show::print(&answer, options.json, |_| format!("the node is {state}"));
    Ok(DONE)
}
