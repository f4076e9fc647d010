//! Rules of the regions' logs.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::chaos::{
    checker::{
        Coverage, Index,
        findings::Findings,
        index::{Committed, Node},
        knowledge::{Evidence, Id, Place, Source, Span},
    },
    history::Ended,
};

use super::{demands::told, seconds};

/// **Recorded.** Ids are `REGION/EPOCH/INDEX`, versions `EPOCH/INDEX`. What cannot be read cannot be judged, and would
/// make every other rule hold.
pub fn recorded(index: &Index<'_>, findings: &mut Findings) {
    for (at_us, what) in &index.unreadable {
        findings.add("recorded", *at_us, || what.clone());
    }
}

/// **One key, one purge.** All acknowledgements of a key by one region, in one epoch of its log, name one id; and no id
/// is named under two keys.
///
/// Why no right mesh breaks it: who leads a region looks a key up before it writes. Logs of different regions do not
/// know each other's keys: a key that was sent on to another region, because the own one had no quorum or the client
/// asked elsewhere, may be committed in both, which is harmless and counted. So is a key in two epochs: the later log
/// need not remember it.
pub fn one_purge(index: &Index<'_>, findings: &mut Findings, coverage: &mut Coverage) {
    let mut by_key: HashMap<(&str, &str, u64), (u64, u64)> = HashMap::new();
    let mut by_id: HashMap<Id<'_>, &str> = HashMap::new();
    let mut logs: HashMap<&str, BTreeSet<(&str, u64)>> = HashMap::new();
    for purge in &index.attempts {
        let Ended::Acknowledged { id, .. } = &purge.ended else { continue };
        let Some(id) = Id::parse(id) else { continue };
        let Place { epoch, index } = id.place;
        logs.entry(&purge.key).or_default().insert((id.region, epoch));
        let (first, at_us) = *by_key.entry((&purge.key, id.region, epoch)).or_insert((index, purge.done_us));
        if first != index {
            findings.add("one-purge", purge.done_us, || {
                let (region, key, node) = (id.region, &purge.key, &purge.node);
                let first = Id { region, place: Place { epoch, index: first } };
                let at = seconds(at_us);
                format!("key {key} is {id} at {node} by {}, but was {first} at {at}", seconds(purge.done_us))
            });
        }
        let key = *by_id.entry(id).or_insert(&purge.key);
        if key != purge.key {
            findings.add("one-purge", purge.done_us, || {
                format!("{id} is said to be of key {} by {}, but was of key {key}", purge.key, purge.node)
            });
        }
    }
    let twice = logs.values().filter(|logs| logs.len() > 1).count();
    coverage.counts.insert("keys_in_several_logs".to_owned(), twice as u64);
}

/// **Order.** The versions that a node tells are, region by region, no less than what was known of it before it was
/// asked: the same epoch and no lesser index, or a greater epoch. A region that is not named any more counts as less.
///
/// Why no right mesh breaks it: a log is applied in its order, and how far is synced before it is told. Answers that
/// were under way at the same time prove nothing of each other. An old disk takes a node back, so nothing from before
/// is demanded after it. A power cut may take from a node what was not synced, but nothing that was acknowledged: what
/// is demanded after it is the last acknowledged purge that the node was known to have.
pub fn in_order(index: &Index<'_>, findings: &mut Findings) {
    for (name, node) in &index.nodes {
        let acknowledged = |known: Place, region: &str, until_us: u64| {
            let first = Id { region, place: Place { epoch: known.epoch, index: 0 } };
            let last = Id { region, place: known };
            let purges = index.committed.range(first..=last).rev();
            let mut kept = purges.filter(|(_, purge)| purge.purge.done_us <= until_us);
            kept.next().map(|(id, _)| id.place)
        };
        let mut known: BTreeMap<&str, Evidence<'_>> = BTreeMap::new();
        let (mut life, mut evidence, mut cuts) =
            (0, node.evidence.iter().peekable(), node.power_cuts.iter().peekable());
        for told in &node.told {
            let Some(lives) = node.lives.of(told.span) else { continue };
            // Cuts and evidence are taken in by time; a cut takes back what was known before it was over.
            loop {
                let cut = cuts.peek().filter(|cut| cut.from_us <= told.span.from_us);
                let next = evidence.peek().filter(|next| next.span.to_us <= told.span.from_us);
                match (cut, next) {
                    (Some(cut), next) if next.is_none_or(|next| cut.from_us <= next.span.to_us) => {
                        let cut = **cut;
                        cuts.next();
                        known = after_cut(&known, |place, region| acknowledged(place, region, cut.from_us));
                    }
                    (_, Some(_)) => {
                        let Some(next) = evidence.next() else { break };
                        let Some(lives) = node.lives.of(next.span) else { continue };
                        if lives > life {
                            (life, known) = (lives, BTreeMap::new());
                        }
                        let lost = cut_in(node, next.span).map(|cut| cut.from_us);
                        let kept =
                            lost.map_or(Some(next.place), |at| acknowledged(next.place, next.region, at));
                        let Some(place) = kept else { continue };
                        if known.get(next.region).is_none_or(|stands| stands.place < place) {
                            known.insert(next.region, Evidence { place, ..*next });
                        }
                    }
                    (_, None) => break,
                }
            }
            if lives > life {
                (life, known) = (lives, BTreeMap::new());
            }
            let during = cut_in(node, told.span);
            for (region, before) in &known {
                let least = match during {
                    Some(cut) => acknowledged(before.place, region, cut.from_us),
                    None => Some(before.place),
                };
                let now = told.versions.iter().find(|(named, _)| named == region).map(|(_, place)| *place);
                if least.is_some_and(|least| now.is_none_or(|now| now < least)) {
                    findings.add("order", told.span.from_us, || {
                        stepped_back(name, region, before, now, told.span)
                    });
                }
            }
        }
    }
}

/// What is known of a node after a power cut.
fn after_cut<'a>(
    known: &BTreeMap<&'a str, Evidence<'a>>,
    acknowledged: impl Fn(Place, &str) -> Option<Place>,
) -> BTreeMap<&'a str, Evidence<'a>> {
    let kept = |(region, before): (&&'a str, &Evidence<'a>)| {
        Some((*region, Evidence { place: acknowledged(before.place, region)?, ..*before }))
    };
    known.iter().filter_map(kept).collect()
}

/// A power cut that was under way meanwhile.
fn cut_in(node: &Node<'_>, span: Span) -> Option<Span> {
    node.power_cuts.iter().copied().find(|cut| cut.meets(span))
}

fn stepped_back(name: &str, region: &str, before: &Evidence<'_>, now: Option<Place>, span: Span) -> String {
    let source = match before.source {
        Source::Told => "it had told".to_owned(),
        Source::Listed(by) => format!("the receipt of {} had said", by.key),
    };
    let now = now.map_or("nothing".to_owned(), |now| now.to_string());
    format!(
        "{name} told {now} for {region} between {} and {}, but {source} {} by {}",
        seconds(span.from_us),
        seconds(span.to_us),
        before.place,
        seconds(before.span.to_us)
    )
}

/// **Level.** When all is well again, all nodes become level in the time that they are given to settle. A run that waited
/// for it in vain says so by a `heal` after healing that was not possible.
///
/// Why no right mesh breaks it: nothing is wrong any more, and logs are compared every second. A machine that is too
/// slow for that within a minute and more is too slow to try anything on.
pub fn level(index: &Index<'_>, findings: &mut Findings) {
    for (at_us, why) in &index.unlevel {
        findings.add("level", *at_us, || why.lines().map(str::trim).collect::<Vec<_>>().join("; "));
    }
}

/// **Logged.** After healing each node, asked for each acknowledged purge, has it, and what it names is the same at all
/// of them.
///
/// Why no right mesh breaks it: what is acknowledged survives every fault of this testbed, and in the time to settle
/// all nodes become level. A log that began a new epoch need not tell of the old one: if that is where the node
/// stands, the purge is counted and lacking. So is what was never looked up.
pub fn logged(index: &Index<'_>, findings: &mut Findings, coverage: &mut Coverage) {
    let names = index.names();
    let epochs: HashMap<&str, BTreeMap<&str, u64>> = names
        .iter()
        .filter_map(|name| {
            let told = index.nodes.get(name)?.told.last()?;
            Some((*name, told.versions.iter().map(|(region, place)| (*region, place.epoch)).collect()))
        })
        .collect();
    let (mut found, mut named_at, mut unasked, mut elsewhere) = (0, 0, 0, 0);
    let at_us = index.healed_us.unwrap_or_else(|| index.over_us());
    for purge in index.committed.values() {
        let Committed { id, purge: attempt, .. } = purge;
        let Ended::Acknowledged { id: text, .. } = &attempt.ended else { continue };
        let mut selectors: Option<(&str, Vec<&str>)> = None;
        for name in &names {
            let Some((status, named)) = index.logged.get(&(text.as_str(), *name)) else {
                unasked += 1;
                continue;
            };
            if *status != 200 {
                let stands = epochs.get(name).and_then(|epochs| epochs.get(id.region));
                if stands.is_some_and(|epoch| *epoch != id.place.epoch) {
                    elsewhere += 1;
                    continue;
                }
                findings.add("logged", at_us, || format!("{name} answers {status} for {}", told(purge)));
                continue;
            }
            found += 1;
            if named.is_empty() {
                continue;
            }
            named_at += 1;
            let mut named: Vec<&str> = named.iter().map(String::as_str).collect();
            named.sort_unstable();
            match &selectors {
                None => selectors = Some((name, named)),
                Some((first, other)) if *other != named => findings.add("logged", at_us, || {
                    let purge = told(purge);
                    format!("{purge} names {named:?} at {name}, but {other:?} at {first}")
                }),
                Some(_) => {}
            }
        }
    }
    coverage.counts.insert("logged_found".to_owned(), found);
    // Nodes whose receipts do not tell what a purge names cannot be compared in that.
    coverage.counts.insert("logged_with_selectors".to_owned(), named_at);
    coverage.counts.insert("logged_unasked".to_owned(), unasked);
    coverage.counts.insert("logged_in_another_epoch".to_owned(), elsewhere);
}
