//! A process that is bound to one core: what it and its children cost, and its end.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// How long a server may take to end by itself.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Ticks per second in `/proc/PID/stat`; Linux reports user time in this unit on every architecture that has it
/// as ABI, whatever the kernel's own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process, its children, and the file that takes what they say.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    log: std::path::PathBuf,
}

impl Process {
    /// Starts `command` on `core`. Its output goes to `NAME.log` in `dir`. It ends with this process, also
    /// when this one is killed.
    pub fn start(name: &'static str, core: usize, command: &Command, dir: &Path) -> Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let output = fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut pinned = Command::new("setpriv");
        pinned.args(["--pdeathsig", "TERM", "taskset", "-c", &core.to_string()]);
        pinned.arg(command.get_program()).args(command.get_args());
        // A group of its own: Ctrl-C reaches the comparison alone, which then ends the servers in order, and
        // a server that leaves children behind is ended with them.
        pinned.process_group(0).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = pinned.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name, child, log })
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until `ready` gives something; an error, with the log, when the process ends or takes too long.
    pub fn wait_for<T>(&mut self, mut ready: impl FnMut(&Self) -> Option<T>) -> Result<T> {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(found) = ready(self) {
                return Ok(found);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}) before it was ready:\n{}", self.name, self.said());
            }
            if Instant::now() > until {
                bail!("{} was not ready in 30 s:\n{}", self.name, self.said());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// CPU time so far, in microseconds: user and system, of the process and all below it.
    pub fn cpu_us(&self) -> Result<f64> {
        let stats = self.tree();
        anyhow::ensure!(!stats.is_empty(), "{} is gone:\n{}", self.name, self.said());
        let ticks: u64 = stats.iter().map(|stat| stat.ticks).sum();
        Ok(ticks as f64 * 1e6 / TICKS_PER_SECOND)
    }

    /// Resident memory of the process and all below it, in bytes; pages that several of them share count once
    /// (the sum of their proportional set sizes).
    pub fn resident_bytes(&self) -> u64 {
        self.tree().iter().filter_map(|stat| pss_bytes(stat.pid)).sum()
    }

    fn tree(&self) -> Vec<Stat> {
        let all: Vec<Stat> = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
            .filter_map(|pid| Stat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?))
            .collect();
        let mut pids = vec![self.child.id()];
        let mut next = 0;
        while let Some(parent) = pids.get(next).copied() {
            pids.extend(all.iter().filter(|stat| stat.parent == parent).map(|stat| stat.pid));
            next += 1;
        }
        all.into_iter().filter(|stat| pids.contains(&stat.pid)).collect()
    }

    fn signal(&self, signal: &str) {
        // A group that is gone already is what was wanted.
        let _ = Command::new("kill")
            .args([signal, "--", &format!("-{}", self.child.id())])
            .stderr(Stdio::null())
            .status();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal("-TERM");
        let until = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(20));
        }
        self.signal("-KILL");
        let _ = self.child.wait();
    }
}

/// CPU time of the children of this process that have ended, in microseconds.
pub fn ended_children_cpu_us() -> f64 {
    let own = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    fields(&own).map_or(0.0, |fields| ticks(&fields, 13..15) as f64 * 1e6 / TICKS_PER_SECOND)
}

fn pss_bytes(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
}

/// One line of `/proc/PID/stat`.
#[derive(Debug, PartialEq)]
struct Stat {
    pid: u32,
    parent: u32,
    /// User and system time, that of children that have been waited for included.
    ticks: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        let pid = text.split_whitespace().next()?.parse().ok()?;
        let fields = fields(text)?;
        let parent = fields.get(1)?.parse().ok()?;
        Some(Self { pid, parent, ticks: ticks(&fields, 11..15) })
    }
}

/// The fields after the name, which may itself hold spaces and parentheses: state, parent, ...
fn fields(text: &str) -> Option<Vec<&str>> {
    Some(text.rsplit_once(')')?.1.split_whitespace().collect())
}

/// `utime`, `stime`, `cutime` and `cstime` are 11 to 14, counted from the state.
fn ticks(fields: &[&str], which: std::ops::Range<usize>) -> u64 {
    fields.get(which).unwrap_or_default().iter().filter_map(|field| field.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_with_spaces_and_brackets_does_not_shift_the_fields() {
        let line = "42 (a) R (b) S 7 42 42 0 -1 0 1 2 3 4 100 20 3 1 20 0 1 0 5";
        assert_eq!(Stat::parse(line), Some(Stat { pid: 42, parent: 7, ticks: 124 }));
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut command = Command::new("sleep");
        command.arg("60");
        let process = Process::start("sleeper", 0, &command, dir.path()).expect("starts");
        let pid = process.child.id();
        assert!(process.cpu_us().is_ok());
        drop(process);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}
