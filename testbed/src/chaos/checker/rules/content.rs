//! Rules of what is answered.

use std::collections::HashMap;

use crate::{
    chaos::{
        checker::{
            Coverage, Index,
            findings::Findings,
            index::{Committed, Node},
            knowledge::{Evidence, Id, Place, Source, Span},
        },
        history::{Ended, Kind, Outcome, Read},
    },
    press::{Host, Scope},
};

use super::{
    demands::{Demand, Demands, Since, told},
    seconds,
};

/// The edition that a client has after an answer with content: that of the head, and after a 304 the one that it
/// asked with, since it was told that this is the one to use. None where there was no such answer.
pub fn shown(read: &Read) -> Option<u64> {
    match (&read.outcome, &read.kind) {
        (Outcome::Answered { status: 200 | 206, edition, .. }, _) => *edition,
        (Outcome::Answered { status: 304, .. }, Kind::Unless(edition)) => Some(*edition),
        (Outcome::Answered { status: 304, edition, .. }, _) => *edition,
        _ => None,
    }
}

/// **P1, no way back.** Once a node is known to have applied the entry of a hard purge, or a later one of that log in
/// the same epoch, no read that begins then at that node brings less than what the purge covers (see
/// [`super::demands`]).
///
/// Why no right mesh breaks it: an object in a cache carries what was applied before the origin was asked for it. If
/// that includes the purge, the origin was asked after the commit, hence after the publication that is demanded, and
/// gave that edition or a later one. If it does not, the node must not use it. Whose cache it was, or which way the
/// bytes came, is no matter: the node that answers has applied the purge, and takes nothing from others that it knows
/// to be purged.
///
/// A node is known to have applied an entry when it has told versions with that epoch and that index or more, or when
/// the acknowledgement of that very entry, or of a later one of that log, lists it: logs are applied in their order.
/// Versions of another epoch prove nothing. What was proven holds until the node gets an old disk: nothing proven
/// before, or while that was under way, is demanded after it, and reads during it are left out. A node that forgets by
/// a kill, a power cut or a new epoch is not excused.
pub fn purged_at_the_node(index: &Index<'_>, findings: &mut Findings, coverage: &mut Coverage) {
    let (mut judged, mut left_out) = (0, 0);
    for node in index.nodes.values() {
        let mut knowing = Knowing::new(index, node);
        for read in &node.reads {
            let span = Span { from_us: read.at_us, to_us: read.done_us };
            let Some(edition) = shown(read) else { continue };
            let Some(life) = node.lives.of(span) else {
                left_out += 1;
                continue;
            };
            knowing.learn_until(read.at_us);
            let Some(demand) = knowing.demands_in(life).and_then(|demands| demands.of(&read.object)) else {
                continue;
            };
            judged += 1;
            let least = index.editions.had(&read.object, demand.purge.first_us);
            if edition < least {
                findings.add("P1", read.at_us, || {
                    let source = match demand.why.source {
                        Source::Told => {
                            format!("told versions with {}/{}", demand.why.region, demand.why.place)
                        }
                        Source::Listed(by) => {
                            format!("was listed as having applied it by the receipt of {}", by.key)
                        }
                    };
                    let known = seconds(demand.why.span.to_us);
                    let why = format!("the node knew, since it {source} by {known}");
                    too_old(read, edition, least, &demand.purge, &why)
                });
            }
        }
    }
    coverage.counts.insert("reads_after_known".to_owned(), judged);
    coverage.counts.insert("reads_during_old_disk".to_owned(), left_out);
}

/// What one node knows, as time goes on.
struct Knowing<'i, 'a> {
    index: &'i Index<'a>,
    node: &'i Node<'a>,
    /// How much of the evidence is learnt.
    learnt: usize,
    /// In which life.
    life: usize,
    demands: Demands<'a, Evidence<'a>>,
    /// How far each log is taken into the demands.
    taken: HashMap<(&'a str, u64), u64>,
}

impl<'i, 'a> Knowing<'i, 'a> {
    fn new(index: &'i Index<'a>, node: &'i Node<'a>) -> Self {
        Self { index, node, learnt: 0, life: 0, demands: Demands::default(), taken: HashMap::new() }
    }

    /// Takes in all that was known by this time.
    fn learn_until(&mut self, at_us: u64) {
        while let Some(evidence) = self.node.evidence.get(self.learnt) {
            if evidence.span.to_us > at_us {
                return;
            }
            self.learnt += 1;
            if let Some(life) = self.node.lives.of(evidence.span) {
                self.begin(life);
                self.learn(*evidence);
            }
        }
    }

    fn begin(&mut self, life: usize) {
        if life > self.life {
            self.life = life;
            self.demands.clear();
            self.taken.clear();
        }
    }

    /// Each entry is taken in once in a life: logs are applied in their order.
    fn learn(&mut self, evidence: Evidence<'a>) {
        let Place { epoch, index } = evidence.place;
        let region = evidence.region;
        let taken = self.taken.entry((region, epoch)).or_insert(0);
        if index <= *taken {
            return;
        }
        let from = Id { region, place: Place { epoch, index: *taken + 1 } };
        let to = Id { region, place: evidence.place };
        *taken = index;
        for purge in self.index.committed.range(from..=to).map(|(_, purge)| purge) {
            self.demands.add(*purge, evidence);
        }
    }

    /// What is demanded in this life; nothing if it is another.
    fn demands_in(&mut self, life: usize) -> Option<&Demands<'a, Evidence<'a>>> {
        self.begin(life);
        (life == self.life).then_some(&self.demands)
    }
}

/// **P5, fenced.** Once a hard purge of a strict service was acknowledged as fenced, no read of what it names that
/// begins then, at any node, brings less than what the purge covers; an error is no breach.
///
/// Why no right mesh breaks it: *fenced* says that each node has applied the purge, or knows that it must not trust its
/// cache for strict services, and then asks the origin, which has what is demanded. It is said of all nodes and for
/// ever, so old disks, cuts and pauses excuse nobody.
pub fn fenced_everywhere(index: &Index<'_>, findings: &mut Findings, coverage: &mut Coverage) {
    let is_strict = |scope: &Scope| matches!(scope, Scope::Object(host, ..) | Scope::Group(host, _) | Scope::All(host) if *host == Host::Strict);
    let fenced = |ended: &Ended| matches!(ended, Ended::Acknowledged { fenced: true, .. });
    let purges = acknowledged(index, |purge| fenced(&purge.purge.ended) && is_strict(&purge.purge.scope));
    let reads = sorted(index.reads().filter(|read| read.object.host == Host::Strict));
    let mut judged = 0;
    sweep(&purges, &reads, |read, demand| {
        let Some(edition) = shown(read) else { return };
        judged += 1;
        let least = index.editions.had(&read.object, demand.purge.first_us);
        if edition < least {
            findings.add("P5", read.at_us, || {
                let why = format!("it was fenced everywhere by {}", seconds(demand.why));
                too_old(read, edition, least, &demand.purge, &why)
            });
        }
    });
    coverage.counts.insert("reads_after_fenced".to_owned(), judged);
}

/// **Fresh at last.** After healing and the time to settle each last read brings content, and no less than what the hard
/// purges cover that were acknowledged before it, whichever node it asks.
///
/// Why no right mesh breaks it: the time to settle is long enough for every node to apply every log; then it is P1.
pub fn fresh_at_last(index: &Index<'_>, findings: &mut Findings) {
    let purges = acknowledged(index, |_| true);
    let reads = sorted(index.reads().filter(|read| read.is_last));
    for read in &reads {
        let why = match (&read.outcome, shown(read)) {
            (Outcome::Failed { why, .. }, _) => format!("it failed: {why}"),
            (Outcome::Answered { status, .. }, None) => format!("its status was {status}"),
            _ => continue,
        };
        findings.add("fresh", read.at_us, || {
            format!("{} after all was well again brought no content: {why}", asked(read))
        });
    }
    sweep(&purges, &reads, |read, demand| {
        let Some(edition) = shown(read) else { return };
        let least = index.editions.had(&read.object, demand.purge.first_us);
        if edition < least {
            findings.add("fresh", read.at_us, || {
                too_old(read, edition, least, &demand.purge, "all was well again for the time to settle")
            });
        }
    });
}

/// **Of its time.** No answer is of an edition that was not asked for before the answer was whole, and each is of one that
/// the object really had.
///
/// Why no right mesh breaks it: editions come from the origin alone, which gives one when it is asked to publish, and an
/// object's edition is always 1 or one that was given to itself, its group or its host.
pub fn of_its_time(index: &Index<'_>, findings: &mut Findings) {
    for read in index.reads() {
        let Outcome::Answered { status: 200 | 206 | 304, edition: Some(edition), .. } = read.outcome else {
            continue;
        };
        let most = index.editions.may_have(&read.object, read.done_us);
        if edition > most {
            findings.add("future", read.at_us, || {
                format!("{} brought edition {edition}, but it could not be more than {most} yet", asked(read))
            });
        } else if !index.editions.was(&read.object, edition) {
            findings.add("future", read.at_us, || {
                format!("{} brought edition {edition}, which this object never was", asked(read))
            });
        }
    }
}

/// **Undamaged.** Bytes are those of the edition in the head (the reader has looked at each); content tells its edition;
/// 206 answers a range, 304 a condition, and that only for the edition that was named in it.
///
/// Why no right mesh breaks it: RFC 9110 sections 13.1.2, 14.2 and 15.4.5.
pub fn undamaged(index: &Index<'_>, findings: &mut Findings) {
    for read in index.reads() {
        let Outcome::Answered { status, edition, damaged, .. } = &read.outcome else { continue };
        let wrong = match (status, &read.kind, edition, damaged) {
            (200 | 206 | 304, _, _, Some(damaged)) => damaged.clone(),
            (200, _, Some(_), None) | (206, Kind::Range(..), Some(_), None) => continue,
            (304, Kind::Unless(named), Some(edition), None) if named == edition => continue,
            (200 | 206, _, None, None) => format!("a {status} that does not tell its edition"),
            (304, Kind::Unless(named), Some(edition), None) => {
                format!("a 304 for edition {edition}, but {named} was named")
            }
            (304, Kind::Unless(named), None, None) => {
                format!("a 304 that does not tell its edition; {named} was named")
            }
            (206 | 304, kind, ..) => format!("a {status} to {kind:?}"),
            _ => continue,
        };
        findings.add("damaged", read.at_us, || format!("{} brought {wrong}", asked(read)));
    }
}

/// A purge, and when it was acknowledged.
type Acknowledged<'a> = (Since, Committed<'a>);

/// The hard purges whose acknowledgements are of this kind, each attempt by itself, in the order in which they came.
fn acknowledged<'a>(index: &Index<'a>, is_it: impl Fn(&Committed<'a>) -> bool) -> Vec<Acknowledged<'a>> {
    let mut purges = Vec::new();
    for purge in index.attempts.iter().filter(|purge| !purge.soft) {
        let Ended::Acknowledged { id, .. } = &purge.ended else { continue };
        let Some(id) = Id::parse(id) else { continue };
        let committed = Committed { id, purge, first_us: index.first_us[purge.key.as_str()] };
        if is_it(&committed) {
            purges.push((purge.done_us, committed));
        }
    }
    purges.sort_by_key(|(since, _)| *since);
    purges
}

fn sorted<'a>(reads: impl Iterator<Item = &'a Read>) -> Vec<&'a Read> {
    let mut reads: Vec<_> = reads.collect();
    reads.sort_by_key(|read| (read.at_us, read.wanted, read.attempt));
    reads
}

/// Calls `judge` for each read that begins after something that is demanded of it; both in the order of time.
fn sweep<'a>(
    purges: &[Acknowledged<'a>],
    reads: &[&'a Read],
    mut judge: impl FnMut(&'a Read, &Demand<'a, Since>),
) {
    let mut demands = Demands::default();
    let mut purges = purges.iter().peekable();
    for read in reads {
        while let Some((since, purge)) = purges.next_if(|(since, _)| *since <= read.at_us) {
            demands.add(*purge, *since);
        }
        if let Some(demand) = demands.of(&read.object) {
            judge(read, demand);
        }
    }
}

/// A read, for people: so that its line is found in the history.
fn asked(read: &Read) -> String {
    let kind = match read.kind {
        Kind::Whole => String::new(),
        Kind::Range(from, to) => format!(", bytes {from}..{to}"),
        Kind::Unless(edition) => format!(", unless edition {edition}"),
    };
    let last = if read.is_last { ", a last one" } else { "" };
    format!(
        "read {}.{} at {} of {} ({:?}{kind}{last}, from {} to {})",
        read.wanted,
        read.attempt,
        read.node,
        read.object.url(),
        read.protocol,
        seconds(read.at_us),
        seconds(read.done_us)
    )
}

fn too_old(read: &Read, edition: u64, least: u64, purge: &Committed<'_>, why: &str) -> String {
    let cache = match &read.outcome {
        Outcome::Answered { status, cache, .. } if !cache.is_empty() => {
            format!(" {status}, Cache-Status: {cache}.")
        }
        Outcome::Answered { status, .. } => format!(" {status}."),
        Outcome::Failed { .. } => String::new(),
    };
    let read = asked(read);
    format!(
        "{read} brought edition {edition}, but {} covers what is older than {least}; {why}.{cache}",
        told(purge)
    )
}
