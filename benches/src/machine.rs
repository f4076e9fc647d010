//! Which core serves and which asks, and what the machine is.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};

/// The cores that this process may use, split between the two sides.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    /// The server under test, and nothing else of ours.
    pub server: usize,
    /// The load generator.
    pub generator: usize,
}

impl Cores {
    /// The first two cores that this process may run on.
    pub fn choose() -> Result<Self> {
        let status = fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let allowed = core_list(line.unwrap_or_default());
        match allowed.as_slice() {
            [server, generator, ..] => Ok(Self { server: *server, generator: *generator }),
            _ => bail!(
                "needs two cores, one for the server and one for the load; this process has {allowed:?}"
            ),
        }
    }
}

/// The programs that are run beside the node's own binary.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The node.
    pub starling: PathBuf,
    /// nginx, with TLS.
    pub nginx: PathBuf,
    /// Varnish.
    pub varnishd: PathBuf,
    /// The load generator.
    pub wrk: PathBuf,
}

impl Programs {
    /// Finds all of them, or tells what is missing and how to get it. Installs nothing.
    pub fn find() -> Result<Self> {
        for tool in ["taskset", "setpriv", "kill"] {
            which(tool).with_context(|| format!("needs `{tool}`: apt-get install util-linux procps"))?;
        }
        let starling = match std::env::var_os("STARLING_BIN") {
            Some(path) => PathBuf::from(path),
            None => std::env::current_exe()?.with_file_name("starling"),
        };
        if !starling.is_file() {
            bail!(
                "there is no {}: cargo build --release -p starling, or set STARLING_BIN",
                starling.display()
            );
        }
        let found = [which("nginx"), which("varnishd"), which("wrk")];
        let [Some(nginx), Some(varnishd), Some(wrk)] = found else {
            let packages = [("nginx", "nginx-light"), ("varnishd", "varnish"), ("wrk", "wrk")];
            let missing: Vec<&str> = packages
                .iter()
                .filter(|(name, _)| which(name).is_none())
                .map(|(_, package)| *package)
                .collect();
            bail!("missing: {0}. Install with: testbed/setup {0}, or apt-get install {0}", missing.join(" "));
        };
        Ok(Self { starling, nginx, varnishd, wrk })
    }

    /// What is compared: the first line in which each says its version.
    pub fn versions(&self) -> Vec<String> {
        let asked =
            [(&self.starling, "--version"), (&self.nginx, "-v"), (&self.varnishd, "-V"), (&self.wrk, "-v")];
        asked.iter().filter_map(|(program, flag)| first_line(program, flag)).collect()
    }
}

/// What the machine is, one fact per line; nothing that names its owner.
pub fn facts() -> Vec<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = field(&cpuinfo, "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let memory_kib = field(&read("/proc/meminfo"), "MemTotal")
        .and_then(|value| value.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()));
    vec![
        format!("{model}, {cores} cores, {} MiB", memory_kib.unwrap_or(0) / 1024),
        format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
        format!("load average at the end: {}", read("/proc/loadavg").trim()),
    ]
}

fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

fn first_line(program: &PathBuf, flag: &str) -> Option<String> {
    let output = Command::new(program).arg(flag).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    text.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

/// Debian keeps servers in directories that are not on the path of every user.
fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// `0-2,5` as the kernel writes it.
fn core_list(text: &str) -> Vec<usize> {
    let mut cores = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) {
            cores.extend(first..=last);
        }
    }
    cores
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_list_is_read_with_its_ranges() {
        assert_eq!(core_list("\t0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(core_list("3"), [3]);
        assert!(core_list("").is_empty());
    }
}
