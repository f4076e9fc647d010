//! Varnish with `malloc` storage. It speaks no TLS by itself.

use std::{path::Path, process::Command};

use anyhow::Result;

use super::{Listening, Setup, free_addr, wait_until_listening};
use crate::process::Process;

pub(super) fn start(setup: &Setup, dir: &Path) -> Result<Listening> {
    let http = free_addr()?;
    let vcl = dir.join("side-by-side.vcl");
    let (host, port) = (setup.origin.ip(), setup.origin.port());
    let text = format!("vcl 4.1;\nbackend origin {{ .host = \"{host}\"; .port = \"{port}\"; }}\n");
    std::fs::write(&vcl, text)?;
    let mut command = Command::new(&setup.programs.varnishd);
    // No jail: it would hand the working directory to users that may not exist.
    command.args(["-F", "-j", "none", "-p", "thread_pools=1", "-a", &http.to_string()]);
    command.arg("-n").arg(dir.join("work")).arg("-f").arg(&vcl);
    command.args(["-s", &format!("malloc,{}", setup.memory_bytes)]);
    let mut process = Process::start("varnish", setup.cores.server, &command, dir)?;
    wait_until_listening(&mut process, http)?;
    Ok(Listening { process, http, https: None })
}
