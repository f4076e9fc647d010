//! How much has happened, and what was too little: a run in which nothing was tried proves nothing.

use std::collections::{BTreeMap, HashMap};

use crate::{
    chaos::history::{By, Ended, Event, Kind, Outcome, Purge, Read},
    client::Protocol,
    faults::{DiskHow, Fault, OriginHow},
};

use super::{Coverage, index::Index};

/// What a run must have at the least: the name of a count, how many of it in a minute, and how many however short the
/// run was. A tenth or less of what the usual workload brings, so that no usual run is inconclusive by chance.
pub const LEAST: [(&str, u64, u64); 19] = [
    ("reads", 600, 20),
    ("reads_answered", 300, 10),
    ("reads_h2", 30, 1),
    ("reads_after_known", 60, 5),
    ("reads_after_fenced", 3, 0),
    ("reads_last", 0, 1),
    ("ranges_answered", 10, 0),
    ("not_modified", 3, 0),
    ("purges", 10, 2),
    ("purges_acknowledged", 6, 1),
    ("purges_by_url", 1, 0),
    ("purges_by_tag", 1, 0),
    ("purges_by_prefix", 1, 0),
    ("purges_by_all", 1, 0),
    ("purges_soft", 1, 0),
    ("purge_retries", 1, 0),
    ("editions", 10, 2),
    ("faults", 1, 0),
    ("logged_found", 6, 1),
];

/// Counts everything that rules do not count themselves.
pub fn count(events: &[Event], index: &Index<'_>) -> Coverage {
    let mut counts = Counts::default();
    for (name, _, _) in LEAST {
        counts.add(name, 0);
    }
    let mut wants: HashMap<u64, Want<'_>> = HashMap::new();
    for event in events {
        match event {
            Event::Read(read) => {
                counts.read(read);
                wants.entry(read.wanted).or_default().attempt(read);
            }
            Event::Purge(purge) => counts.purge(purge),
            Event::Published { .. } => counts.one("editions"),
            Event::Knows { caught_up, .. } => {
                counts.one("knows");
                counts.add("knows_not_caught_up", u64::from(!caught_up));
            }
            Event::Fault { error: Some(_), .. } => counts.one("faults_not_possible"),
            Event::Fault { fault, .. } => {
                let (kind, is_harm) = kind(fault);
                counts.add("faults", u64::from(is_harm));
                counts.one(&format!("faults_{kind}"));
            }
            Event::Logged { .. } => counts.one("logged"),
            Event::Run(_) | Event::Healed { .. } | Event::End { .. } => {}
        }
    }
    for want in wants.values() {
        counts.one("wants");
        if !want.is_served {
            counts.one("wants_failed");
            counts.one(&format!("wants_failed_at_{}", want.last_at));
        } else if want.attempts > 1 {
            counts.one("wants_moved");
        }
    }
    counts.add("purges", index.first_us.len() as u64);
    counts.add("purges_committed", index.committed.len() as u64);
    Coverage { counts: counts.0, lacks: Vec::new() }
}

/// Says what was too little.
pub fn lacks(index: &Index<'_>, coverage: &mut Coverage) {
    let Coverage { counts, lacks } = coverage;
    let count = |name: &str| counts.get(name).copied().unwrap_or(0);
    match index.run {
        None => lacks.push("the history does not begin with what the run was to be".to_owned()),
        Some(run) => {
            for (name, by_minute, least) in LEAST {
                let least = least.max(by_minute.saturating_mul(run.seconds) / 60);
                if count(name) < least {
                    let so_long = run.seconds;
                    lacks.push(format!("{name}: {} of at least {least} in {so_long} s", count(name)));
                }
            }
            let silent = |name: &&String| {
                index
                    .nodes
                    .get(name.as_str())
                    .is_none_or(|node| node.reads.is_empty() || node.told.is_empty())
            };
            let silent: Vec<&str> = run.nodes.keys().filter(silent).map(String::as_str).collect();
            if !silent.is_empty() {
                lacks.push(format!("never read from, or never told its versions: {}", silent.join(", ")));
            }
        }
    }
    if index.healed_us.is_none() {
        lacks.push("all was never well again".to_owned());
    }
    if index.ended_us.is_none() {
        lacks.push("the history does not come to its end".to_owned());
    }
    if count("logged_unasked") > 0 {
        lacks.push(format!(
            "{} times a node was not asked for an acknowledged purge after healing",
            count("logged_unasked")
        ));
    }
    if count("logged_in_another_epoch") > 0 {
        lacks.push(format!(
            "{} times a node could not be asked for an acknowledged purge: that log began a new epoch",
            count("logged_in_another_epoch")
        ));
    }
}

/// The word of a fault, and whether it harms: the others make things well.
pub fn kind(fault: &Fault) -> (&'static str, bool) {
    match fault {
        Fault::Kill(_) => ("kill", true),
        Fault::Stop(_) => ("stop", true),
        Fault::Restart(_) => ("restart", true),
        Fault::Start(_) => ("start", false),
        Fault::Pause(_) => ("pause", true),
        Fault::Resume(_) => ("resume", false),
        Fault::Freeze(_) => ("freeze", true),
        Fault::Thaw(_) => ("thaw", false),
        Fault::PowerCut(_) => ("power_cut", true),
        Fault::KeepDisk(_) => ("keep_disk", false),
        Fault::OldDisk(_) => ("old_disk", true),
        Fault::Clock(_, 0) => ("clock_right", false),
        Fault::Clock(..) => ("clock", true),
        Fault::Disk(_, DiskHow::Full) => ("disk_full", true),
        Fault::Disk(_, DiskHow::Failing) => ("disk_failing", true),
        Fault::Disk(_, DiskHow::Well) => ("disk_well", false),
        Fault::Cut { one_way: true, .. } => ("cut_one_way", true),
        Fault::Cut { .. } => ("cut", true),
        Fault::Way { .. } => ("way", true),
        Fault::Flap { .. } => ("flap", true),
        Fault::Heal => ("heal", false),
        Fault::Origin(OriginHow::Dead) => ("origin_dead", true),
        Fault::Origin(OriginHow::Slow(_)) => ("origin_slow", true),
        Fault::Origin(OriginHow::Errors) => ("origin_errors", true),
        Fault::Origin(OriginHow::Well) => ("origin_well", false),
    }
}

/// Whether a client got what it wanted.
pub fn is_served(read: &Read) -> bool {
    matches!(read.outcome, Outcome::Answered { status: 200 | 206 | 304, .. })
}

/// All attempts of a client at one thing.
#[derive(Default)]
struct Want<'a> {
    attempts: u64,
    is_served: bool,
    /// Which attempt was the last seen, and who was asked in it.
    last: u32,
    last_at: &'a str,
}

impl<'a> Want<'a> {
    fn attempt(&mut self, read: &'a Read) {
        self.attempts += 1;
        self.is_served |= is_served(read);
        if read.attempt >= self.last {
            (self.last, self.last_at) = (read.attempt, &read.node);
        }
    }
}

#[derive(Default)]
struct Counts(BTreeMap<String, u64>);

impl Counts {
    fn add(&mut self, name: &str, more: u64) {
        match self.0.get_mut(name) {
            Some(count) => *count += more,
            None => {
                self.0.insert(name.to_owned(), more);
            }
        }
    }

    fn one(&mut self, name: &str) {
        self.add(name, 1);
    }

    fn read(&mut self, read: &Read) {
        self.one("reads");
        self.add("reads_last", u64::from(read.is_last));
        self.one(match read.protocol {
            Protocol::H1 => "reads_h1",
            Protocol::H2 => "reads_h2",
        });
        self.one(match read.kind {
            Kind::Whole => "wholes",
            Kind::Range(..) => "ranges",
            Kind::Unless(_) => "conditionals",
        });
        match &read.outcome {
            Outcome::Answered { status, .. } => {
                self.one(&format!("reads_status_{status}"));
                if is_served(read) {
                    self.one("reads_answered");
                }
                match status {
                    206 => self.one("ranges_answered"),
                    304 => self.one("not_modified"),
                    _ => {}
                }
            }
            Outcome::Failed { is_unanswered: true, .. } => self.one("reads_unanswered"),
            Outcome::Failed { .. } => self.one("reads_broken"),
        }
        if !is_served(read) {
            self.one("reads_failed");
            self.one(&format!("reads_failed_at_{}", read.node));
        }
    }

    fn purge(&mut self, purge: &Purge) {
        self.one("purge_attempts");
        if purge.attempt > 1 {
            self.one("purge_retries");
        } else {
            self.one(match purge.by {
                By::Url => "purges_by_url",
                By::Tag => "purges_by_tag",
                By::Prefix => "purges_by_prefix",
                By::Host => "purges_by_host",
                By::All => "purges_by_all",
            });
            self.add("purges_soft", u64::from(purge.soft));
        }
        match &purge.ended {
            Ended::Acknowledged { complete, fenced, .. } => {
                self.one("purges_acknowledged");
                self.add("purges_complete", u64::from(*complete));
                self.add("purges_fenced", u64::from(*fenced));
            }
            Ended::Refused { .. } => self.one("purges_refused"),
            Ended::Unknown { .. } => self.one("purges_unknown"),
        }
    }
}
