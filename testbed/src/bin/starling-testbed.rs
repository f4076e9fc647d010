//! See [`starling_testbed::cli`].

use std::process::ExitCode;

use clap::Parser;
use starling_testbed::cli::{Arguments, run};

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("starling-testbed: {error:#}");
            ExitCode::FAILURE
        }
    }
}
