//! The binary, and commands that run it.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::{process::Command, time::timeout};

use crate::PATIENCE;

/// Where the workspace lies.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a member of the workspace")
}

/// The built binary: beside this test in `target/release`, or where `STARLING_BINARY` says.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("STARLING_BINARY") {
        return path.into();
    }
    let test = std::env::current_exe().expect("a running test has a path");
    let profile = test.parent().and_then(Path::parent).expect("tests are built into target/PROFILE/deps");
    let path = profile.join("starling");
    assert!(
        path.exists(),
        "{} is not there; build it first: cargo build --release -p starling",
        path.display()
    );
    path
}

/// What a finished command left.
#[derive(Debug)]
pub struct Output {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Runs `starling` with these arguments to its end.
pub async fn starling(arguments: &[&str]) -> Output {
    let mut command = command();
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("starling {arguments:?} came to no end"));
    let output = output.unwrap_or_else(|error| panic!("starling {arguments:?}: {error}"));
    Output {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The binary with no setting of the surroundings leaking in.
pub(super) fn command() -> Command {
    without_settings(Command::new(binary()))
}

/// The binary, run in a network namespace; it takes the place of `ip`, so that signals reach it.
pub(super) fn command_in(namespace: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).arg(binary());
    without_settings(command)
}

fn without_settings(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("STARLING_")) {
        command.env_remove(name);
    }
    command
}
