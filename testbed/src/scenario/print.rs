//! From story to text, which parses to the same story.

use std::fmt::{Display, Formatter, Result};

use crate::{chaos::schedule::Step, faults::Fault};

use super::{Amount, Bound, Counted, Expect, Per, Story, When, words};

impl Display for Story {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        let (stage, workload) = (&self.stage, &self.workload);
        writeln!(out, "story {}", self.title)?;
        writeln!(out, "topology {}", stage.topology)?;
        for (name, region, nodes) in &stage.pops {
            writeln!(out, "pop {name} of {region}, {nodes} nodes")?;
        }
        for (from, to, worse) in &stage.ways {
            writeln!(out, "{}", Fault::Way { from: from.clone(), to: to.clone(), worse: *worse })?;
        }
        for set in &stage.set {
            writeln!(out, "set {set}")?;
        }
        if stage.network {
            writeln!(out, "network")?;
        }
        let hosts: Vec<&str> = workload.hosts.iter().map(|host| host.service()).collect();
        writeln!(
            out,
            "reads {}/s of {} objects, hosts {}, up to {}, zipf {}, {} over h2, {} ranges, {} conditional, through {}",
            workload.reads_per_s,
            workload.groups * workload.names,
            hosts.join("+"),
            words::size_text(workload.bytes_max),
            workload.zipf,
            words::part_text(workload.h2),
            words::part_text(workload.ranges),
            words::part_text(workload.conditionals),
            workload.through.0,
        )?;
        writeln!(out, "purges {}/s, {} soft", workload.purges_per_s, words::part_text(workload.soft))?;
        if workload.moves {
            writeln!(out, "clients move")?;
        }
        for (at, step) in &self.schedule {
            writeln!(out, "at {} {}", words::time_text(*at), step_text(step))?;
        }
        writeln!(out, "lasts {}", words::time_text(self.lasts))?;
        writeln!(out, "settles within {}", words::time_text(self.settles))?;
        for expect in &self.expects {
            writeln!(out, "expect {expect}")?;
        }
        Ok(())
    }
}

/// A step as it stands behind its time.
pub(super) fn step_text(step: &Step) -> String {
    match step {
        Step::Fault(fault) => fault.to_string(),
        Step::Rates { reads_per_s, purges_per_s } => {
            format!("reads {reads_per_s}/s, purges {purges_per_s}/s")
        }
        Step::Storm { purges, at_once, wait, through } => {
            format!("storm of {purges} purges, {at_once} at once, waiting for {wait}, through {}", through.0)
        }
        Step::Warm(nodes) => format!("warm {}", nodes.0),
    }
}

impl Display for Expect {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        match self {
            Self::Count { bound, of, at, when } => {
                write!(out, "{bound} {}", of.name(*bound))?;
                if let Some(at) = at {
                    write!(out, " at {}", at.0)?;
                }
                write!(out, "{when}")
            }
            Self::Only { of, at, when } => write!(out, "{} only at {}{when}", of.many(), at.0),
            Self::Level(time) => write!(out, "all nodes level within {}", words::time_text(*time)),
            Self::Origin { most, per } => {
                let times = if *most == 1 { "time" } else { "times" };
                write!(out, "origin asked at most {most} {times}")?;
                out.write_str(match per {
                    Per::Run => "",
                    Per::ObjectRegion => " per object and region",
                    Per::ObjectRegionPurge => " per object, region and purge",
                })
            }
            Self::Coverage => out.write_str("coverage"),
        }
    }
}

impl Display for Bound {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        match self {
            Self::AtMost(Amount::Number(0)) => out.write_str("no"),
            Self::AtLeast(Amount::Number(1)) => out.write_str("some"),
            Self::AtMost(amount) => write!(out, "at most {amount}"),
            Self::AtLeast(amount) => write!(out, "at least {amount}"),
        }
    }
}

impl Display for Amount {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        match self {
            Self::Number(number) => write!(out, "{number}"),
            Self::Percent(percent) => write!(out, "{percent}%"),
        }
    }
}

impl Display for When {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        match self {
            Self::Always => Ok(()),
            Self::Between(from, to) => {
                write!(out, " between {} and {}", words::time_text(*from), words::time_text(*to))
            }
            Self::Before(time) => write!(out, " before {}", words::time_text(*time)),
            Self::After(time) => write!(out, " after {}", words::time_text(*time)),
            Self::While(trouble) => write!(out, " while {}", trouble.text()),
        }
    }
}

impl Counted {
    /// Several of them.
    pub(super) fn many(self) -> &'static str {
        Self::ALL.iter().find(|(counted, ..)| *counted == self).map_or("", |(_, many, _)| many)
    }

    /// As many as that.
    fn name(self, bound: Bound) -> &'static str {
        let is_one = matches!(bound, Bound::AtMost(Amount::Number(1)) | Bound::AtLeast(Amount::Number(1)));
        let names = Self::ALL.iter().find(|(counted, ..)| *counted == self);
        names.map_or("", |(_, many, single)| if is_one { single } else { many })
    }
}
