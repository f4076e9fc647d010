//! What there is of networks on this machine, how one is taken away, and which nobody can want any more.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::{State, freeze, ip, process};
use crate::cluster::Process;

/// Where the records are, one file each, and the lock.
pub const DIR: &str = "/run/starling-testbed";

/// How long another testbed may hold the lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(120);
/// How long processes of a namespace may take to be gone once they are killed.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(20);

/// One network.
#[derive(Debug, Serialize, Deserialize)]
pub struct Record {
    /// The testbed's directory.
    pub dir: PathBuf,
    /// The process that laid it.
    pub layer: Process,
    /// What it is made of; the link's process is number 0 while there is none.
    pub state: State,
}

impl Record {
    /// Writes it whole or not at all.
    pub fn write(&self) -> Result<()> {
        let path = path(&self.state.prefix);
        let new = path.with_extension("new");
        fs::write(&new, serde_json::to_vec_pretty(self)?).with_context(|| format!("{}", new.display()))?;
        fs::rename(&new, &path).with_context(|| format!("{}", path.display()))
    }

    /// Nobody can want it: who laid it is dead, and no testbed stands that names it.
    fn is_left_over(&self) -> bool {
        let named = || fs::read_to_string(self.dir.join("cluster.json")).unwrap_or_default();
        !self.layer.is_alive() && !named().contains(&format!("\"{}\"", self.state.prefix))
    }
}

/// Held while networks come and go. It is free again when its holder is dead.
pub fn lock() -> Result<File> {
    fs::create_dir_all(DIR).context(DIR)?;
    let path = Path::new(DIR).join("lock");
    let file = File::create(&path).with_context(|| format!("{}", path.display()))?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_TIMEOUT => thread::sleep(STEP),
            Err(TryLockError::WouldBlock) => {
                bail!("another testbed has held {} for {LOCK_TIMEOUT:?}", path.display())
            }
            Err(TryLockError::Error(error)) => return Err(error).context("cannot lock"),
        }
    }
}

/// See [`super::sweep`].
pub fn sweep() -> Result<()> {
    if !Path::new(DIR).exists() {
        return Ok(());
    }
    let _lock = lock()?;
    sweep_locked(None)
}

/// The same, by who holds the lock and is about to lay a network for a testbed in `dir`.
pub fn sweep_locked(dir: Option<&Path>) -> Result<()> {
    for record in records()? {
        let same = dir == Some(&record.dir);
        if same && record.layer.is_alive() {
            bail!("process {} has a network for {} already", record.layer.pid, record.dir.display());
        }
        if same || record.is_left_over() {
            take_away(&record.state).with_context(|| format!("what {} left behind", record.dir.display()))?;
        }
    }
    Ok(())
}

/// Takes this network away, unless it is gone and another one has got its names.
pub fn remove(state: &State) -> Result<()> {
    let _lock = lock()?;
    let is_other = |record: &Record| {
        record.state.prefix == state.prefix
            && (&record.state.wan_socket, record.state.wan) != (&state.wan_socket, state.wan)
    };
    if records()?.iter().any(is_other) {
        return Ok(());
    }
    take_away(state)
}

/// Takes a network away, with all processes in it. The record goes last, and stays if something else did.
pub fn take_away(state: &State) -> Result<()> {
    let mut errors = Vec::new();
    let mut note = |result: Result<()>| errors.extend(result.err().map(|error| format!("{error:#}")));
    let socket = state.wan_socket.to_string_lossy();
    // By its arguments, too: who laid the network may have died before it wrote the number down.
    let links = process::with_arguments(&["wan", "--socket", &socket]);
    for process in links.iter().chain([&state.wan]).filter(|process| process.pid > 0) {
        note(process::end(*process));
    }
    for namespace in ip::namespaces().iter().filter(|name| name.starts_with(&state.prefix)) {
        note(kill_all(namespace));
        note(freeze::forget(namespace));
        note(ip::run(&["netns", "delete", namespace]).map(drop));
    }
    for link in ip::links().iter().filter(|name| name.starts_with(&state.prefix)) {
        // Gone already, if the kernel has got to the namespace of its other end.
        let deleted = ip::run(&["link", "delete", link]);
        if ip::links().contains(link) {
            note(deleted.map(drop));
        }
    }
    let _ = fs::remove_file(&state.wan_socket);
    if errors.is_empty() {
        let _ = fs::remove_file(path(&state.prefix));
        if records().is_ok_and(|records| records.is_empty()) {
            freeze::unmount();
        }
        return Ok(());
    }
    bail!("{}", errors.join("; "))
}

/// Kills what is in a namespace, until nothing is.
fn kill_all(namespace: &str) -> Result<()> {
    let began = Instant::now();
    loop {
        let pids = ip::pids(namespace)?;
        if pids.is_empty() {
            return Ok(());
        }
        if began.elapsed() > KILL_TIMEOUT {
            bail!("processes of {namespace} were killed and are still there: {pids:?}");
        }
        for process in pids.into_iter().filter_map(Process::of) {
            process::end(process)?;
        }
    }
}

fn records() -> Result<Vec<Record>> {
    let mut records = Vec::new();
    for entry in fs::read_dir(DIR).context(DIR)? {
        let path = entry.context(DIR)?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let text = fs::read(&path).with_context(|| format!("{}", path.display()))?;
            let record = serde_json::from_slice(&text);
            records.push(record.with_context(|| format!("{} makes no sense", path.display()))?);
        }
    }
    Ok(records)
}

fn path(prefix: &str) -> PathBuf {
    Path::new(DIR).join(format!("{prefix}net.json"))
}
