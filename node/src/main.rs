//! `starling`: one node, or a command to one.

use std::process::ExitCode;

use clap::Parser;
use starling::{
    app,
    cli::{self, Cli, Command},
    config::{self, LogFormat, LogSettings},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let options = match Cli::parse().command {
        Command::Node(options) => options,
        client => return cli::run(client),
    };
    let config = match config::load(&options.sources()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    announce_to_stderr(&config.log);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("starling: the runtime cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(app::run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("starling: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn announce_to_stderr(log: &LogSettings) {
    // openraft tells its every step as information; who wants that names it.
    let filter = tracing_subscriber::EnvFilter::new(format!("openraft=warn,{}", log.level));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().flatten_event(true).init(),
    }
}
