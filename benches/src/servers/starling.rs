//! The node, with its memory tier alone.

use std::{net::SocketAddr, path::Path, process::Command};

use anyhow::Result;

use super::{Listening, Setup};
use crate::process::Process;

pub(super) fn start(setup: &Setup, dir: &Path) -> Result<Listening> {
    let config = dir.join("starling.toml");
    std::fs::write(&config, text(setup, dir))?;
    let mut command = Command::new(&setup.programs.starling);
    command.arg("node").arg("--config").arg(&config);
    let mut process = Process::start("starling", setup.cores.server, &command, dir)?;
    let (http, https) = process.wait_for(|process| {
        let said = process.said();
        let is_ready = said.lines().any(|line| line == "ready");
        is_ready.then(|| Some((listening(&said, "http")?, listening(&said, "https")?))).flatten()
    })?;
    Ok(Listening { process, http, https: Some(https) })
}

fn text(setup: &Setup, dir: &Path) -> String {
    format!(
        r#"[node]
name = "side-by-side"
data = {data:?}
http = ["127.0.0.1:0"]
https = ["127.0.0.1:0"]
admin = ["127.0.0.1:0"]
cert = {cert:?}
key = {key:?}

[limits]
requests_per_connection_max = 1_000_000_000

[store]
memory_bytes_max = {memory}
disk_bytes_max = 0

[log]
level = "warn"
access = "off"

[[services]]
name = "side-by-side"
hosts = ["*"]
origins = ["http://{origin}"]
"#,
        data = dir.join("data"),
        cert = setup.identity.cert_file,
        key = setup.identity.key_file,
        memory = setup.memory_bytes,
        origin = setup.origin,
    )
}

/// The address in the line `listening KIND=ADDRESS`.
fn listening(said: &str, kind: &str) -> Option<SocketAddr> {
    let address =
        said.lines().find_map(|line| line.strip_prefix("listening ")?.strip_prefix(kind)?.strip_prefix('='));
    address?.parse().ok()
}
