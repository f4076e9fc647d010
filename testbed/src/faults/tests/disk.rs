//! The library between a process and its disk and clock, under programs that everybody has.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::faults::{
    DiskHow,
    disk::{self, Lost, Wrong},
    library,
};

/// The directory of a node that is no node.
struct Place {
    dir: tempfile::TempDir,
    library: PathBuf,
}

impl Place {
    /// `None` where there is no C compiler.
    fn new() -> Option<Self> {
        if Command::new("cc").arg("--version").output().is_err() {
            println!("skipped: no C compiler");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let library = library(dir.path()).unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        Some(Self { dir, library })
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn data(&self, name: &str) -> PathBuf {
        self.path().join("data").join(name)
    }

    fn goes(&self, disk: DiskHow, clock_ms: i64) {
        Wrong { disk, clock_ms }.write(self.path()).unwrap();
    }

    /// Runs a program under the library.
    fn run(&self, words: &[&str]) -> Output {
        Command::new(words[0])
            .args(&words[1..])
            .current_dir(self.path().join("data"))
            .env("LC_ALL", "C")
            .env("LD_PRELOAD", &self.library)
            .env("STARLING_FAULT", self.path().join("fault"))
            .output()
            .unwrap()
    }

    /// `dd` of some bytes, appended to a file.
    fn append(&self, name: &str, bytes: u64, is_synced: bool) -> Output {
        let conv = if is_synced { "conv=notrunc,fsync" } else { "conv=notrunc" };
        let (of, count) = (format!("of={name}"), format!("count={bytes}"));
        self.run(&["dd", "if=/dev/zero", &of, &count, "bs=1", "oflag=append", conv, "status=none"])
    }

    fn lengths(&self) -> Vec<(String, u64)> {
        let of = |entry: std::io::Result<fs::DirEntry>| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len())
        };
        let mut found: Vec<_> = fs::read_dir(self.path().join("data")).unwrap().map(of).collect();
        found.sort();
        found
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_full_disk_takes_no_bytes_and_a_failing_one_syncs_none() {
    let Some(place) = Place::new() else { return };
    assert!(place.append("a", 10, true).status.success(), "nothing is wrong yet");
    place.goes(DiskHow::Full, 0);
    let full = place.append("a", 10, false);
    assert!(!full.status.success() && said(&full).contains("No space left"), "{}", said(&full));
    place.goes(DiskHow::Failing, 0);
    let failing = place.append("a", 10, true);
    assert!(!failing.status.success() && said(&failing).contains("Input/output error"), "{}", said(&failing));
    assert!(place.append("a", 10, false).status.success(), "who does not sync does not learn of it");
    place.goes(DiskHow::Well, 0);
    assert!(place.append("a", 10, true).status.success(), "it is well again");
}

#[test]
fn a_clock_is_off_by_as_much_as_it_is_told() {
    let Some(place) = Place::new() else { return };
    let now = || place.run(&["date", "+%s"]);
    let seconds = |output: Output| said(&output).trim().parse::<i64>().unwrap();
    for offset_ms in [3_600_000, -3_600_000, 0] {
        place.goes(DiskHow::Well, offset_ms);
        let before = std::time::SystemTime::now();
        let before = before.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs().cast_signed();
        let off = seconds(now()) - before - offset_ms / 1000;
        // A slow machine may take a while between the two.
        assert!((0..600).contains(&off), "{offset_ms} ms: {off} s beside it");
    }
}

#[test]
fn a_process_that_runs_learns_of_a_fault_and_of_its_end() {
    let Some(place) = Place::new() else { return };
    // Writes until it cannot, makes the disk well, and tries until it can.
    let script = "until ! echo x >> a; do :; done 2> /dev/null; mv ../fault.well ../fault; \
                  until echo x >> a; do :; done 2> /dev/null; echo well";
    place.goes(DiskHow::Well, 0);
    fs::rename(place.path().join("fault"), place.path().join("fault.well")).unwrap();
    let path = place.path().to_owned();
    let breaks = std::thread::spawn(move || {
        while !path.join("data/a").exists() {
            std::thread::yield_now();
        }
        Wrong { disk: DiskHow::Full, clock_ms: 0 }.write(&path).unwrap();
    });
    let ran = place.run(&["timeout", "60", "sh", "-c", script]);
    breaks.join().unwrap();
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "well\n", "{}", said(&ran));
}

#[test]
fn a_power_cut_takes_what_was_not_synced_and_nothing_else() {
    let Some(place) = Place::new() else { return };
    // Before the library was there, as a ticket that was put there by hand.
    fs::write(place.data("before"), "12345").unwrap();
    place.append("synced", 100, true);
    place.append("later", 100, true);
    place.append("later", 23, false);
    place.append("never", 50, false);
    place.append("renamed.tmp", 7, true);
    fs::rename(place.data("renamed.tmp"), place.data("renamed")).unwrap();
    place.append("gone", 900, true);
    fs::remove_file(place.data("gone")).unwrap();
    // It may have been given the inode of the one that is gone.
    place.append("reborn", 400, false);
    let lost = disk::cut_power(place.path()).unwrap();
    let left = [("before", 5), ("later", 100), ("renamed", 7), ("synced", 100)];
    let left = left.map(|(name, bytes)| (name.to_owned(), bytes));
    assert_eq!(place.lengths(), left);
    assert_eq!(lost, Lost { cut: 1, removed: 2, bytes: 23 + 50 + 400 });
    // What is left is safe, and what comes after it is not.
    place.append("later", 5, false);
    assert_eq!(disk::cut_power(place.path()).unwrap(), Lost { cut: 1, removed: 0, bytes: 5 });
    assert_eq!(place.lengths(), left);
    place.append("later", 5, true);
    assert_eq!(disk::cut_power(place.path()).unwrap(), Lost::default());
}

#[test]
fn the_record_of_a_process_that_was_killed_at_it_is_read() {
    let Some(place) = Place::new() else { return };
    place.append("a", 10, true);
    let mut record = File::options().append(true).open(place.path().join("fault.synced")).unwrap();
    record.write_all(b"12 3").unwrap();
    assert_eq!(disk::cut_power(place.path()).unwrap(), Lost::default());
    assert_eq!(place.lengths(), [("a".to_owned(), 10)]);
}

#[test]
fn an_old_disk_comes_back_as_it_was_and_survives_a_power_cut() {
    let Some(place) = Place::new() else { return };
    place.append("a", 10, false);
    fs::create_dir(place.data("inner")).unwrap();
    assert!(!disk::is_kept(place.path()));
    assert_eq!(disk::keep(place.path()).unwrap(), 10);
    place.append("a", 10, true);
    place.append("b", 10, true);
    fs::remove_dir(place.data("inner")).unwrap();
    assert_eq!(disk::keep(place.path()).unwrap(), 30, "another copy takes the place of the first");
    place.append("b", 1, true);
    place.append("c", 1, true);
    // Twice: the copy stays.
    for _ in 0..2 {
        disk::put_back(place.path()).unwrap();
        assert_eq!(disk::cut_power(place.path()).unwrap(), Lost::default());
        assert_eq!(place.lengths(), [("a".to_owned(), 20), ("b".to_owned(), 10)]);
    }
}

#[test]
fn what_is_wrong_is_read_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let well = Wrong { disk: DiskHow::Well, clock_ms: 0 };
    assert_eq!(Wrong::read(dir.path()).unwrap(), well);
    for disk in [DiskHow::Full, DiskHow::Failing, DiskHow::Well] {
        for clock_ms in [-3_600_000, 0, 1] {
            let wrong = Wrong { disk, clock_ms };
            wrong.write(dir.path()).unwrap();
            assert_eq!(Wrong::read(dir.path()).unwrap(), wrong);
            assert_eq!(wrong.is_well(), wrong == well);
        }
    }
    fs::write(dir.path().join("fault"), "disk broken\n").unwrap();
    assert!(Wrong::read(dir.path()).unwrap_err().to_string().contains("disk broken"));
}
