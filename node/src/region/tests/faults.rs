//! Disks that fail.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use parking_lot::Mutex;

static BROKEN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Whether writes to this directory fail.
pub(in super::super) fn check(path: &Path) -> io::Result<()> {
    match BROKEN.lock().contains(path) {
        true => Err(io::Error::other("no space left on device")),
        false => Ok(()),
    }
}

/// Every write to this directory fails from now on.
pub(super) fn break_disk(path: &Path) {
    BROKEN.lock().insert(path.to_owned());
}

/// Writes succeed again.
pub(super) fn heal_disk(path: &Path) {
    BROKEN.lock().remove(path);
}
