//! Processes that outlive who started them, and are told apart from those that got their number after them.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, waitpid},
    },
    unistd::Pid,
};

use super::Process;

/// In the environment of all processes of a testbed: its directory. So `down` finds also one that was started
/// the moment before who started it was killed, and could not note it.
const MARK: &str = "TESTBED_DIR";

/// A process that got SIGKILL is gone in milliseconds; one in the middle of a write to a slow disk, later.
const KILL_PATIENCE: Duration = Duration::from_secs(20);

/// How often is looked whether it is gone.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How long is waited for a process in the middle of an execve to have its environment.
const EXEC_PATIENCE: Duration = Duration::from_millis(50);

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It runs, or waits for something.
    Running,
    /// It got SIGSTOP.
    Paused,
    /// It is not there any more.
    Gone,
}

impl Process {
    /// The process that has this number now.
    pub fn of(pid: i32) -> Option<Self> {
        Some(Self { pid, began: stat(pid)?.began })
    }

    /// What it does now. One that has ended and waits for its parent to notice is gone.
    pub fn life(self) -> Life {
        let Some(stat) = stat(self.pid).filter(|stat| stat.began == self.began) else { return Life::Gone };
        match stat.state {
            'T' | 't' => Life::Paused,
            // While other threads of it remain, so do the files and sockets that it has open.
            'Z' | 'X' | 'x' if stat.threads <= 1 => {
                self.reap();
                Life::Gone
            }
            _ => Life::Running,
        }
    }

    /// Whether it is there, running or paused.
    pub fn is_alive(self) -> bool {
        self.life() != Life::Gone
    }

    /// Sends a signal; answers whether it was there to get it. Never sent to a later process of its number.
    ///
    /// # Errors
    ///
    /// When it is there, and may not be signalled.
    pub fn signal(self, signal: Signal) -> anyhow::Result<bool> {
        if !self.is_alive() {
            return Ok(false);
        }
        match kill(Pid::from_raw(self.pid), signal) {
            Ok(()) => Ok(true),
            Err(Errno::ESRCH) => Ok(false),
            Err(error) => Err(error).with_context(|| format!("cannot send {signal} to process {}", self.pid)),
        }
    }

    /// Waits until it is gone; answers whether it is, after that patience.
    pub async fn gone(self, patience: Duration) -> bool {
        let begun = Instant::now();
        while self.is_alive() {
            if begun.elapsed() >= patience {
                return false;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        true
    }

    /// SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    ///
    /// When it is still there long after.
    pub async fn end(self) -> anyhow::Result<()> {
        self.signal(Signal::SIGKILL)?;
        if !self.gone(KILL_PATIENCE).await {
            bail!("process {} does not end: SIGKILL was sent {} s ago", self.pid, KILL_PATIENCE.as_secs());
        }
        Ok(())
    }

    /// Takes note of its end, if it is a child of this process and has ended: nobody else will.
    fn reap(self) {
        // That it is somebody else's child is no error: they will.
        let _ = waitpid(Pid::from_raw(self.pid), Some(WaitPidFlag::WNOHANG));
    }
}

/// A process that is to be started.
#[derive(Debug)]
pub struct Launch<'a> {
    /// Directory of the testbed it belongs to.
    pub testbed: &'a Path,
    /// The namespace it runs in, if any.
    pub namespace: Option<&'a str>,
    /// What runs.
    pub binary: PathBuf,
    /// With what.
    pub arguments: Vec<OsString>,
    /// Added to an environment without any variable of Starling's.
    pub environment: BTreeMap<&'static str, OsString>,
    /// Its working directory.
    pub dir: PathBuf,
    /// What it prints is added to this file.
    pub log: PathBuf,
}

impl Launch<'_> {
    /// Starts it, in a session of its own: neither the end of this process nor Ctrl-C reaches it.
    ///
    /// # Errors
    ///
    /// When it cannot be started. That a binary is not there is found by the log only: look before.
    pub fn start(&self) -> anyhow::Result<Process> {
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("cannot open {}", self.log.display()))?;
        // Each of these becomes the next: the process id stays.
        let mut command = Command::new("setsid");
        if let Some(namespace) = self.namespace {
            command.args(["ip", "netns", "exec", namespace]);
        }
        command.arg("env");
        for (name, value) in &self.environment {
            let mut pair = OsString::from(format!("{name}="));
            pair.push(value);
            command.arg(pair);
        }
        command.arg(&self.binary).args(&self.arguments).current_dir(&self.dir);
        // What somebody has set for a node of theirs is not meant for these.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("STARLING_") {
                command.env_remove(name);
            }
        }
        command.env(MARK, self.testbed).env("NO_COLOR", "1");
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().context("cannot run setsid (package util-linux)")?;
        let pid = i32::try_from(child.id()).context("a process id")?;
        // It is a child of this process: even if it has ended it is there until it is waited for.
        Process::of(pid).with_context(|| format!("process {pid} is not in /proc"))
    }
}

/// All processes that were started for a testbed and are there.
pub fn of_testbed(dir: &Path) -> Vec<Process> {
    let mut mark = OsString::from(format!("{MARK}="));
    mark.push(dir);
    let mark = mark.into_encoded_bytes();
    let own = std::process::id().to_string();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str().map(str::to_owned))
        .filter(|name| *name != own)
        .filter_map(|name| name.parse().ok())
        .filter(|pid: &i32| environment(*pid).split(|byte| *byte == 0).any(|variable| variable == mark))
        .filter_map(Process::of)
        .filter(|process| process.is_alive())
        .collect()
}

/// The environment of a process, as `NAME=VALUE`s that end with a zero.
fn environment(pid: i32) -> Vec<u8> {
    let begun = Instant::now();
    loop {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        // In the middle of an execve it is empty, as it always is of the kernel's own threads.
        let is_between = environment.is_empty() && stat(pid).is_some_and(|stat| !stat.is_kernel);
        if !is_between || begun.elapsed() >= EXEC_PATIENCE {
            return environment;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

struct Stat {
    state: char,
    /// Whether it is a thread of the kernel, which never was a program.
    is_kernel: bool,
    threads: u64,
    /// In ticks since boot.
    began: u64,
}

/// The fields 3, 9, 20 and 22 of a process's `stat` (proc_pid_stat(5)).
fn stat(pid: i32) -> Option<Stat> {
    /// `PF_KTHREAD`.
    const KERNEL: u64 = 0x0020_0000;
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in brackets, which can hold anything.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        is_kernel: number(9)? & KERNEL != 0,
        threads: number(20)?,
        began: number(22)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(testbed: &Path) -> Process {
        let launch = Launch {
            testbed,
            namespace: None,
            binary: "sleep".into(),
            arguments: vec!["300".into()],
            environment: BTreeMap::new(),
            dir: testbed.to_owned(),
            log: testbed.join("log"),
        };
        launch.start().expect("sleep starts")
    }

    #[tokio::test]
    async fn a_process_is_paused_and_ended_and_its_zombie_does_not_look_alive() {
        let dir = tempfile::tempdir().expect("a directory");
        let process = sleeper(dir.path());
        assert!(process.is_alive());
        assert_eq!(Process::of(process.pid), Some(process));
        process.signal(Signal::SIGSTOP).expect("it may be signalled");
        let begun = Instant::now();
        while process.life() != Life::Paused {
            assert!(begun.elapsed() < Duration::from_secs(20), "it is never paused");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        assert!(!process.gone(Duration::ZERO).await);
        process.end().await.expect("it ends");
        assert_eq!(process.life(), Life::Gone);
        assert!(!process.signal(Signal::SIGKILL).expect("nobody to signal is no error"));
        assert_eq!(Process::of(process.pid), None, "its parent, this process, has taken note of its end");
    }

    #[tokio::test]
    async fn a_number_that_was_used_again_is_not_signalled() {
        let dir = tempfile::tempdir().expect("a directory");
        let process = sleeper(dir.path());
        let former = Process { began: process.began - 1, ..process };
        assert_eq!(former.life(), Life::Gone);
        assert!(!former.signal(Signal::SIGKILL).expect("no error"));
        former.end().await.expect("it is gone already");
        assert!(process.is_alive());
        process.end().await.expect("it ends");
    }

    #[tokio::test]
    async fn the_processes_of_a_testbed_are_found_without_its_notes() {
        let (dir, other) =
            (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let (ours, theirs) = (sleeper(dir.path()), sleeper(other.path()));
        // `setsid` and `env` go before it, with the same number.
        let found = of_testbed(dir.path());
        assert_eq!(found, [ours]);
        assert!(theirs.is_alive());
        for process in [ours, theirs] {
            process.end().await.expect("it ends");
        }
        assert_eq!(of_testbed(dir.path()), []);
    }

    #[test]
    fn this_process_is_running() {
        let pid = i32::try_from(std::process::id()).expect("a process id");
        assert_eq!(Process::of(pid).expect("it is there").life(), Life::Running);
    }
}
