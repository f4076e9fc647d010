//! Histories by hand: one line for each event, times in microseconds.
//!
//! ```text
//! 10..20 publish strict/1/2 5            an object; strict/1 is a group, strict all of a host
//! 30..40 purge KEY NODE strict/1 -> eu/1/7 fenced soft applied a b
//! 30..40 purge KEY NODE strict/1 -> unknown          or refused
//! 50..60 knows NODE eu/1/7 us/1/3
//! 70..80 read NODE strict/1/2 = 5        an edition; or a status such as 503!, or broken, or damaged 5
//! 70..80 read NODE strict/1/2 unless 5 = 304 5       or range = 5; or range = whole 5
//! 70..80 last NODE strict/1/2 = 5
//! 80..90 old-disk NODE                   power-cut, kill, keep-disk; old-disk alone is one of which nodes are not known
//! 95 healed
//! 96..97 unlevel                         the run waited in vain
//! 0 logged NODE eu/1/7 200 SELECTOR...
//! 99 end
//! ```

use crate::{
    chaos::history::{By, Ended, Event, Kind, Outcome, Purge, Read, Run},
    client::Protocol,
    faults::{Fault, Nodes},
    press::{Host, Object, Scope},
};

/// The nodes of each history: `a` and `b` in `eu`, `c` in `us`.
pub const NODES: [(&str, &str); 3] = [("a", "eu"), ("b", "eu"), ("c", "us")];

/// The first line.
pub fn run(seconds: u64) -> Event {
    Event::Run(Run {
        seed: 7,
        topology: "laptop".to_owned(),
        netns: false,
        nodes: NODES.iter().map(|(node, region)| ((*node).to_owned(), (*region).to_owned())).collect(),
        seconds,
        again: "testbed/chaos --seed 7".to_owned(),
        fence_ms: 1000,
    })
}

/// Reads a history; its first line is the usual [`run`].
pub fn history(text: &str) -> Vec<Event> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let read = |(number, line)| event(number, line).unwrap_or_else(|| panic!("no such line: {line}"));
    std::iter::once(run(0)).chain((1..).zip(lines).map(read)).collect()
}

fn event(number: u64, line: &str) -> Option<Event> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (at, done) = words[0].split_once("..").unwrap_or((words[0], words[0]));
    let (at_us, done_us) = (at.parse().ok()?, done.parse().ok()?);
    let rest = words.get(2..).unwrap_or_default();
    let text = |word: &str| word.to_owned();
    Some(match words[1] {
        "publish" => {
            Event::Published { at_us, done_us, scope: scope(rest[0])?, edition: rest[1].parse().ok()? }
        }
        "purge" => {
            let [key, node, named, "->", ended, more @ ..] = rest else { return None };
            let applied = more.iter().skip_while(|word| **word != "applied").skip(1);
            let ended = match *ended {
                "unknown" => Ended::Unknown { why: text("it timed out") },
                "refused" => Ended::Refused { why: text("no quorum") },
                id => Ended::Acknowledged {
                    id: text(id),
                    complete: true,
                    fenced: more.contains(&"fenced"),
                    applied: applied.map(|node| text(node)).collect(),
                },
            };
            Event::Purge(Purge {
                key: text(key),
                attempt: 1,
                node: text(node),
                scope: scope(named)?,
                by: By::Tag,
                soft: more.contains(&"soft"),
                wait: text("applied"),
                at_us,
                done_us,
                ended,
            })
        }
        "knows" => Event::Knows {
            node: text(rest[0]),
            at_us,
            done_us,
            versions: rest[1..]
                .iter()
                .filter_map(|version| version.split_once('/'))
                .map(|(region, version)| (text(region), text(version)))
                .collect(),
            caught_up: true,
        },
        "read" | "last" => {
            let at = rest.iter().position(|word| *word == "=")?;
            let kind = match rest[2..at] {
                [] => Kind::Whole,
                ["range"] => Kind::Range(10, 20),
                ["unless", edition] => Kind::Unless(edition.parse().ok()?),
                _ => return None,
            };
            let Scope::Object(host, group, name) = scope(rest[1])? else { return None };
            let object = Object { host, group, name, bytes: 100 };
            let outcome = outcome(&kind, &rest[at + 1..])?;
            let is_last = words[1] == "last";
            let (node, protocol) = (text(rest[0]), Protocol::H1);
            let wanted = number;
            Event::Read(Read {
                wanted,
                attempt: 1,
                node,
                object,
                protocol,
                kind,
                at_us,
                done_us,
                is_last,
                outcome,
            })
        }
        "unlevel" => {
            let error = Some(text("not level:\n  a is behind"));
            Event::Fault { at_us, done_us, fault: Fault::Heal, nodes: Vec::new(), error }
        }
        "healed" => Event::Healed { at_us },
        "end" => Event::End { at_us },
        "logged" => Event::Logged {
            node: text(rest[0]),
            id: text(rest[1]),
            status: rest[2].parse().ok()?,
            selectors: rest[3..].iter().map(|word| text(word)).collect(),
        },
        fault => {
            let nodes = Nodes(text("random"));
            let fault = match fault {
                "old-disk" => Fault::OldDisk(nodes),
                "power-cut" => Fault::PowerCut(nodes),
                "kill" => Fault::Kill(nodes),
                "keep-disk" => Fault::KeepDisk(nodes),
                _ => return None,
            };
            let nodes = rest.iter().map(|node| text(node)).collect();
            Event::Fault { at_us, done_us, fault, nodes, error: None }
        }
    })
}

fn outcome(kind: &Kind, words: &[&str]) -> Option<Outcome> {
    let usual = match kind {
        Kind::Range(..) => 206,
        Kind::Whole | Kind::Unless(_) => 200,
    };
    let (status, edition, damaged) = match words {
        ["broken"] => {
            return Some(Outcome::Failed { why: "the body broke".to_owned(), is_unanswered: false });
        }
        ["damaged", edition] => (usual, Some(edition), Some("byte 3 is wrong".to_owned())),
        ["whole", edition] => (200, Some(edition), None),
        [status, edition] => (status.parse().ok()?, Some(edition), None),
        [word] => match word.strip_suffix('!') {
            Some(status) => (status.parse().ok()?, None, None),
            None => (usual, Some(word), None),
        },
        _ => return None,
    };
    let edition = edition.map(|edition| edition.parse()).transpose().ok()?;
    Some(Outcome::Answered { status, edition, damaged, cache: "a; hit".to_owned() })
}

fn scope(text: &str) -> Option<Scope> {
    let parts: Vec<&str> = text.split('/').collect();
    let host = match parts[0] {
        "available" => Host::Available,
        "strict" => Host::Strict,
        "stale" => Host::Stale,
        _ => return None,
    };
    Some(match parts[1..] {
        [] => Scope::All(host),
        [group] => Scope::Group(host, group.parse().ok()?),
        [group, name] => Scope::Object(host, group.parse().ok()?, name.parse().ok()?),
        _ => return None,
    })
}
