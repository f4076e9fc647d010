//! Faults as bars: each from what began it to what ended it.

use std::collections::BTreeMap;

use crate::{
    chaos::history::{Event, Micros},
    faults::{DiskHow, Fault, OriginHow},
};

/// The row of the origin.
pub const ORIGIN: &str = "origin";
/// The row of ways between PoPs.
pub const WAYS: &str = "ways";

/// Something lasted.
#[derive(Debug, PartialEq, Eq)]
pub struct Bar {
    /// A node, or one of the rows above.
    pub row: String,
    /// Its colour.
    pub class: &'static str,
    /// When it was begun.
    pub from_us: Micros,
    /// When it was over.
    pub to_us: Micros,
    /// What it was, for people.
    pub what: String,
}

/// Something was done that does not last, or that could not be done.
#[derive(Debug, PartialEq, Eq)]
pub struct Tick {
    /// As of bars.
    pub row: String,
    /// When.
    pub at_us: Micros,
    /// What.
    pub what: String,
}

/// What lasts, by row and colour: since when, and the command.
type Open = BTreeMap<(String, &'static str), (Micros, String)>;

/// All that a history tells, in the order of its lines.
pub fn of(events: &[Event], over_us: Micros) -> (Vec<Bar>, Vec<Tick>) {
    let (mut open, mut bars, mut ticks): (Open, Vec<Bar>, Vec<Tick>) = Default::default();
    for event in events {
        match event {
            Event::Fault { at_us, done_us, fault, nodes, error } => {
                let (begins, ends) = change(fault);
                let rows: Vec<&str> = match (fault, nodes.as_slice()) {
                    (Fault::Origin(_), _) => vec![ORIGIN],
                    (_, []) => vec![WAYS],
                    (_, nodes) => nodes.iter().map(String::as_str).collect(),
                };
                if let Some(error) = error {
                    let what = format!("{fault}: not possible: {error}");
                    let tick = |row: &str| Tick { row: row.to_owned(), at_us: *at_us, what: what.clone() };
                    ticks.extend(rows.into_iter().map(tick));
                    continue;
                }
                if *fault == Fault::Heal {
                    close(&mut open, &mut bars, *done_us, |_, class| class == "cut");
                }
                if begins.is_none() || matches!(fault, Fault::Restart(_)) {
                    let what = fault.to_string();
                    let tick =
                        |row: &&str| Tick { row: (*row).to_owned(), at_us: *at_us, what: what.clone() };
                    ticks.extend(rows.iter().map(tick));
                }
                for row in rows {
                    close(&mut open, &mut bars, *done_us, |other, class| {
                        other == row && ends.contains(&class)
                    });
                    if let Some(begins) = begins {
                        let place = (row.to_owned(), begins);
                        let (_, what) = open.entry(place).or_insert_with(|| (*at_us, String::new()));
                        // However often it gets worse, it is one bar.
                        if what.len() < 200 {
                            what.push_str(if what.is_empty() { "" } else { ", " });
                            what.push_str(&fault.to_string());
                        }
                    }
                }
            }
            Event::Healed { at_us } => close(&mut open, &mut bars, *at_us, |_, _| true),
            _ => {}
        }
    }
    close(&mut open, &mut bars, over_us, |_, _| true);
    bars.sort_by(|one, other| (one.from_us, &one.row).cmp(&(other.from_us, &other.row)));
    (bars, ticks)
}

fn close(open: &mut Open, bars: &mut Vec<Bar>, to_us: Micros, is_it: impl Fn(&str, &str) -> bool) {
    open.retain(|(row, class), (from_us, what)| {
        let is_over = is_it(row, class);
        if is_over {
            let lasted = to_us.saturating_sub(*from_us) as f64 / 1e6;
            let what = format!("{what}: {lasted:.3} s from {:.3} s", *from_us as f64 / 1e6);
            bars.push(Bar { row: row.clone(), class, from_us: *from_us, to_us: to_us.max(*from_us), what });
        }
        !is_over
    });
}

/// The colour of what a command begins, and the colours of what it ends.
fn change(fault: &Fault) -> (Option<&'static str>, &'static [&'static str]) {
    match fault {
        Fault::Kill(_) | Fault::Stop(_) | Fault::PowerCut(_) | Fault::OldDisk(_) => (Some("down"), &["slow"]),
        Fault::Start(_) | Fault::Restart(_) => (None, &["down"]),
        Fault::Pause(_) | Fault::Freeze(_) => (Some("slow"), &[]),
        Fault::Resume(_) | Fault::Thaw(_) => (None, &["slow"]),
        Fault::Clock(_, 0) => (None, &["clock"]),
        Fault::Clock(..) => (Some("clock"), &[]),
        Fault::Disk(_, DiskHow::Well) => (None, &["disk"]),
        Fault::Disk(..) => (Some("disk"), &[]),
        Fault::Cut { .. } | Fault::Way { .. } | Fault::Flap { .. } => (Some("cut"), &[]),
        // It does one thing at a time.
        Fault::Origin(OriginHow::Well) => (None, &["down", "slow"]),
        Fault::Origin(OriginHow::Slow(_)) => (Some("slow"), &["down"]),
        Fault::Origin(OriginHow::Dead | OriginHow::Errors) => (Some("down"), &["slow"]),
        Fault::KeepDisk(_) | Fault::Heal => (None, &[]),
    }
}
