//! What was wrong when, by the faults of a history.

use std::collections::BTreeSet;

use crate::{
    chaos::history::{Event, Micros},
    faults::{DiskHow, Fault, OriginHow},
};

/// What can be wrong for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nobody answers at the origin's.
    OriginDead,
    /// The origin takes its time.
    OriginSlow,
    /// The origin answers 503.
    OriginFails,
    /// Nodes were killed or stopped and do not run.
    NodesDead,
    /// Nodes stand still.
    NodesPaused,
    /// Nodes do not hear each other.
    NodesCut,
    /// A way between PoPs is worse than it was.
    WaysBad,
    /// A wall clock is off.
    ClockWrong,
    /// A disk is full or fails.
    DiskBad,
    /// Not a trouble at all: none of the others.
    None,
}

impl Trouble {
    /// All of them, as stories name them.
    pub const ALL: [(Self, &'static str); 10] = [
        (Self::OriginDead, "the origin is dead"),
        (Self::OriginSlow, "the origin is slow"),
        (Self::OriginFails, "the origin fails"),
        (Self::NodesDead, "nodes are dead"),
        (Self::NodesPaused, "nodes are paused"),
        (Self::NodesCut, "nodes are cut off"),
        (Self::WaysBad, "ways are bad"),
        (Self::ClockWrong, "a clock is wrong"),
        (Self::DiskBad, "a disk is bad"),
        (Self::None, "all is well"),
    ];

    /// As stories name it.
    pub fn text(self) -> &'static str {
        Self::ALL.iter().find(|(trouble, _)| *trouble == self).map_or("", |(_, text)| text)
    }

    /// Whether a fault begins this or ends it, and whether for each node by itself; none when it does neither.
    fn changed(self, fault: &Fault) -> Option<(bool, bool)> {
        use Fault as F;
        let (begins, by_node) = match (self, fault) {
            (Self::OriginDead, F::Origin(how)) => (*how == OriginHow::Dead, false),
            (Self::OriginSlow, F::Origin(how)) => (matches!(how, OriginHow::Slow(_)), false),
            (Self::OriginFails, F::Origin(how)) => (*how == OriginHow::Errors, false),
            (Self::NodesDead, F::Kill(_) | F::Stop(_) | F::PowerCut(_) | F::OldDisk(_)) => (true, true),
            (Self::NodesDead, F::Start(_) | F::Restart(_)) => (false, true),
            (Self::NodesPaused, F::Pause(_) | F::Freeze(_)) => (true, true),
            (Self::NodesPaused, F::Resume(_) | F::Thaw(_)) => (false, true),
            (Self::NodesCut, F::Cut { .. } | F::Flap { .. }) => (true, false),
            (Self::WaysBad, F::Way { .. }) => (true, false),
            (Self::NodesCut | Self::WaysBad, F::Heal) => (false, false),
            (Self::ClockWrong, F::Clock(_, offset_ms)) => (*offset_ms != 0, true),
            (Self::DiskBad, F::Disk(_, how)) => (*how != DiskHow::Well, true),
            _ => return None,
        };
        Some((begins, by_node))
    }

    /// From when to when it was so: from what began it was done, to what ended it was begun.
    pub fn spans(self, events: &[Event]) -> Vec<(Micros, Micros)> {
        if self == Self::None {
            return well(events);
        }
        self.spans_of(events, false)
    }

    /// With `wide`, the time in which it began and ended counts as well.
    fn spans_of(self, events: &[Event], wide: bool) -> Vec<(Micros, Micros)> {
        let (mut spans, mut wrong, mut since) = (Vec::new(), BTreeSet::new(), 0);
        for event in events {
            match event {
                Event::Fault { at_us, done_us, fault, nodes, error: None } => {
                    let Some((begins, by_node)) = self.changed(fault) else { continue };
                    let about = if by_node { nodes.iter().map(String::as_str).collect() } else { vec!["*"] };
                    let was_well = wrong.is_empty();
                    for node in about {
                        if begins {
                            wrong.insert(node)
                        } else {
                            wrong.remove(node)
                        };
                    }
                    match (was_well, wrong.is_empty()) {
                        (true, false) => since = if wide { *at_us } else { *done_us },
                        (false, true) => spans.push((since, if wide { *done_us } else { *at_us })),
                        _ => {}
                    }
                }
                Event::Healed { at_us } if !wrong.is_empty() => {
                    spans.push((since, *at_us));
                    wrong.clear();
                }
                _ => {}
            }
        }
        if !wrong.is_empty() {
            spans.push((since, Micros::MAX));
        }
        spans
    }
}

/// The times between all troubles.
fn well(events: &[Event]) -> Vec<(Micros, Micros)> {
    let mut troubles: Vec<(Micros, Micros)> = Vec::new();
    for (trouble, _) in Trouble::ALL.iter().filter(|(trouble, _)| *trouble != Trouble::None) {
        troubles.extend(trouble.spans_of(events, true));
    }
    // What is over at once was no trouble before and is none after; while it lasts, it may be one.
    troubles.extend(events.iter().filter_map(|event| match event {
        Event::Fault { at_us, done_us, .. } => Some((*at_us, *done_us)),
        _ => None,
    }));
    troubles.sort_unstable();
    let (mut spans, mut from) = (Vec::new(), 0);
    for (begun, ended) in troubles {
        if from < begun {
            spans.push((from, begun));
        }
        from = from.max(ended);
    }
    if from < Micros::MAX {
        spans.push((from, Micros::MAX));
    }
    spans
}
