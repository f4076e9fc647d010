//! Processes of a network: found by their arguments, and ended.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use nix::sys::signal::Signal;

use crate::cluster::Process;

/// How long a killed process may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(5);

/// This process.
pub fn own() -> Process {
    let pid = std::process::id() as i32;
    Process::of(pid).unwrap_or(Process { pid, began: 0 })
}

/// Kills it if it runs, and waits until it is gone.
pub fn end(process: Process) -> Result<()> {
    process.signal(Signal::SIGKILL)?;
    let began = Instant::now();
    while process.is_alive() {
        if began.elapsed() > PATIENCE {
            bail!("process {} was killed and is still there after {PATIENCE:?}", process.pid);
        }
        thread::sleep(STEP);
    }
    Ok(())
}

/// All processes with exactly these arguments, in this order, somewhere in their command line.
pub fn with_arguments(arguments: &[&str]) -> Vec<Process> {
    let mut wanted = Vec::new();
    for argument in arguments {
        wanted.push(0);
        wanted.extend_from_slice(argument.as_bytes());
    }
    wanted.push(0);
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let has = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.windows(wanted.len()).any(|window| window == wanted)
    };
    pids.filter(has).filter_map(Process::of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_by_its_arguments_and_ended() {
        let mut child = std::process::Command::new("sleep").args(["1000", "0.5", "0.25"]).spawn().unwrap();
        let process = Process::of(child.id() as i32).unwrap();
        // Until it is `sleep`, the child is this process's copy.
        let began = Instant::now();
        while !with_arguments(&["1000", "0.5", "0.25"]).contains(&process) {
            assert!(began.elapsed() < PATIENCE, "it was not found");
            thread::sleep(STEP);
        }
        assert!(!with_arguments(&["1000", "0.25"]).contains(&process), "the order counts");
        assert!(!with_arguments(&["00", "0.5"]).contains(&process), "whole arguments count");
        assert!(own().is_alive());
        end(process).unwrap();
        assert!(!process.is_alive());
        // It was asked about already, so this fails.
        let _ = child.wait();
    }
}
