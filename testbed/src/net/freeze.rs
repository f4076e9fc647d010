//! All processes of a namespace stand still at once: the freezer of cgroup v2, with a group for each namespace.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::{ip, record};

const PATIENCE: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(5);
/// New processes can appear while the others are put into the group; after so many rounds something is wrong.
const ROUNDS_MAX: usize = 100;

/// Freezes or thaws, and returns when it is so.
pub fn freeze(namespace: &str, frozen: bool) -> Result<()> {
    let hierarchy = match hierarchy() {
        Some(hierarchy) => hierarchy,
        // Nothing was ever frozen.
        None if !frozen => return Ok(()),
        None => mount()?,
    };
    let group = group(&hierarchy, namespace);
    if !frozen {
        return if group.exists() { change(&group, false) } else { Ok(()) };
    }
    fs::create_dir_all(&group).with_context(|| format!("{}", group.display()))?;
    change(&group, true)?;
    // Who joins a frozen group freezes.
    for _ in 0..ROUNDS_MAX {
        let members = members(&group)?;
        let outside: Vec<i32> =
            ip::pids(namespace)?.into_iter().filter(|pid| !members.contains(pid)).collect();
        if outside.is_empty() {
            return wait(&group, true);
        }
        for pid in outside {
            match fs::write(group.join("cgroup.procs"), pid.to_string()) {
                // It is no more.
                Err(error) if error.raw_os_error() == Some(nix::errno::Errno::ESRCH as i32) => {}
                result => result.with_context(|| format!("process {pid} into {}", group.display()))?,
            }
        }
    }
    bail!("{namespace} has ever new processes")
}

/// Removes the group of a namespace whose processes are gone.
pub fn forget(namespace: &str) -> Result<()> {
    let Some(hierarchy) = hierarchy() else { return Ok(()) };
    let group = group(&hierarchy, namespace);
    let began = Instant::now();
    loop {
        match fs::remove_dir(&group) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            // A dead process is counted until nobody needs to know of it.
            Err(error) if began.elapsed() > PATIENCE => {
                return Err(error).with_context(|| format!("cannot remove {}", group.display()));
            }
            Err(_) => thread::sleep(STEP),
        }
    }
}

/// Takes away what [`freeze`] mounted, if it did.
pub fn unmount() {
    if own_mount().is_dir() {
        let _ = Command::new("umount").arg(own_mount()).output();
        let _ = fs::remove_dir(own_mount());
    }
}

fn change(group: &Path, frozen: bool) -> Result<()> {
    let file = group.join("cgroup.freeze");
    let value = if frozen { "1" } else { "0" };
    fs::write(&file, value).with_context(|| format!("{}", file.display()))?;
    if frozen { Ok(()) } else { wait(group, false) }
}

fn wait(group: &Path, frozen: bool) -> Result<()> {
    let file = group.join("cgroup.events");
    let wanted = if frozen { "frozen 1" } else { "frozen 0" };
    let began = Instant::now();
    loop {
        let events = fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
        if events.lines().any(|line| line == wanted) {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            bail!("{} was not {wanted:?} within {PATIENCE:?}", group.display());
        }
        thread::sleep(STEP);
    }
}

fn members(group: &Path) -> Result<Vec<i32>> {
    let text = fs::read_to_string(group.join("cgroup.procs")).context("who is frozen")?;
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

fn group(hierarchy: &Path, namespace: &str) -> PathBuf {
    hierarchy.join(format!("starling-{namespace}"))
}

/// Where cgroup v2 is mounted.
fn hierarchy() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mut found = mounts.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    found.find(|fields| fields.get(2) == Some(&"cgroup2")).map(|fields| PathBuf::from(fields[1]))
}

fn mount() -> Result<PathBuf> {
    let dir = own_mount();
    fs::create_dir_all(&dir).with_context(|| format!("{}", dir.display()))?;
    let mounted =
        Command::new("mount").args(["-t", "cgroup2", "none"]).arg(&dir).output().context("mount")?;
    let said = String::from_utf8_lossy(&mounted.stderr);
    ensure!(mounted.status.success(), "cgroup v2 is not to be had: {}", said.trim());
    Ok(dir)
}

fn own_mount() -> PathBuf {
    Path::new(record::DIR).join("cgroup2")
}
