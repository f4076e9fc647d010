//! The command `ip`, and what is done inside a namespace.

use std::{
    fs::File,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    thread,
};

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, setns};

/// Where `ip netns` keeps the names.
const NAMES: &str = "/var/run/netns";

/// Whether namespaces and TUN devices can be had here. Makes a namespace, and takes it away: root in a container
/// may not be allowed to.
pub fn is_possible() -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "a network of namespaces needs root");
    let answer = Command::new("ip").arg("-Version").output();
    ensure!(answer.is_ok_and(|output| output.status.success()), "the command ip (iproute2) is not to be had");
    ensure!(Path::new("/dev/net/tun").exists(), "there is no /dev/net/tun");
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let probe = format!("sltb-probe-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
    run(&["netns", "add", &probe]).context("namespaces are not to be had")?;
    run(&["netns", "delete", &probe]).map(drop)
}

/// Runs `ip`; what it printed.
pub fn run(arguments: &[&str]) -> Result<String> {
    let output = Command::new("ip").args(arguments).stdin(Stdio::null()).output().context("ip")?;
    if !output.status.success() {
        bail!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs many commands, one a line, in a namespace or here. It goes on after errors, and those that say one of
/// `harmless` are none.
pub fn batch(namespace: Option<&str>, commands: &str, harmless: &[&str]) -> Result<()> {
    if commands.is_empty() {
        return Ok(());
    }
    let mut command = Command::new("ip");
    if let Some(namespace) = namespace {
        command.args(["-n", namespace]);
    }
    command.args(["-force", "-batch", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut ip = command.spawn().context("ip")?;
    let mut stdin = ip.stdin.take().context("it was asked for")?;
    let output = thread::scope(|scope| {
        // Both sides could be waiting for each other if one thread did both.
        scope.spawn(move || stdin.write_all(commands.as_bytes()));
        ip.wait_with_output()
    })?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let is_harmless = |line: &str| {
        line.trim().is_empty()
            || line.starts_with("Command failed")
            || harmless.iter().any(|known| line.contains(known))
    };
    let harmful: Vec<&str> = errors.lines().filter(|line| !is_harmless(line)).collect();
    if !harmful.is_empty() || (!output.status.success() && errors.trim().is_empty()) {
        bail!("ip in {}: {}; of:\n{commands}", namespace.unwrap_or("the root namespace"), harmful.join("; "));
    }
    Ok(())
}

/// Does something on a thread that stands in a namespace. Sockets and devices made there stay there.
///
/// # Errors
///
/// When there is no such namespace, or it may not be entered.
pub fn inside<T: Send>(namespace: &str, act: impl FnOnce() -> T + Send) -> Result<T> {
    let file =
        File::open(Path::new(NAMES).join(namespace)).with_context(|| format!("namespace {namespace}"))?;
    let entered = thread::scope(|scope| {
        let act = || setns(&file, CloneFlags::CLONE_NEWNET).map(|()| act());
        scope.spawn(act).join()
    });
    match entered {
        Ok(result) => result.with_context(|| format!("cannot enter namespace {namespace}")),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// The names of all namespaces.
pub fn namespaces() -> Vec<String> {
    let names = std::fs::read_dir(NAMES).into_iter().flatten().flatten();
    names.filter_map(|name| name.file_name().into_string().ok()).collect()
}

/// The processes in a namespace; none if there is no such namespace.
pub fn pids(namespace: &str) -> Result<Vec<i32>> {
    if !Path::new(NAMES).join(namespace).exists() {
        return Ok(Vec::new());
    }
    let pids = run(&["netns", "pids", namespace])?;
    Ok(pids.lines().filter_map(|line| line.trim().parse().ok()).collect())
}

/// The names of the links of this namespace.
pub fn links() -> Vec<String> {
    let links = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    links.filter_map(|link| link.file_name().into_string().ok()).collect()
}
