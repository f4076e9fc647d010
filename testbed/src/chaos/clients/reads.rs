//! Reads: one request, and a look at every byte of its answer.

use std::net::SocketAddr;

use crate::{
    chaos::history::{Kind, Outcome, Read},
    client::{Answer, Ask, Client, Protocol},
    press::{Object, Verdict},
};

use super::Clock;

/// Asks nodes for objects.
#[derive(Clone)]
pub struct Reader {
    /// The time of its lines.
    pub clock: Clock,
    /// How it asks.
    pub client: Client,
}

/// One thing to read.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// See [`Read::wanted`].
    pub wanted: u64,
    /// See [`Read::attempt`].
    pub attempt: u32,
    /// The object.
    pub object: Object,
    /// What of it.
    pub kind: Kind,
    /// How it is carried.
    pub protocol: Protocol,
    /// See [`Read::is_last`].
    pub is_last: bool,
}

impl Reader {
    /// Asks a node once, and looks at every byte that comes.
    pub async fn read(&self, node: &str, http: SocketAddr, wanted: &Wanted) -> Read {
        let mut ask = Ask::get(http, wanted.object.host.name(), &wanted.object.target());
        ask.protocol = wanted.protocol;
        ask = match wanted.kind {
            Kind::Whole => ask,
            Kind::Range(from, to) => ask.field("range", format!("bytes={from}-{}", to.saturating_sub(1))),
            Kind::Unless(edition) => ask.field("if-none-match", format!("\"{edition}\"")),
        };
        let at_us = self.clock.now_us();
        let outcome = match self.client.ask(&ask).await {
            Ok(answer) => answered(wanted, &answer),
            Err(failed) => Outcome::Failed { why: failed.what, is_unanswered: failed.is_unanswered },
        };
        Read {
            wanted: wanted.wanted,
            attempt: wanted.attempt,
            node: node.to_owned(),
            object: wanted.object.clone(),
            protocol: wanted.protocol,
            kind: wanted.kind.clone(),
            at_us,
            done_us: self.clock.now_us(),
            is_last: wanted.is_last,
            outcome,
        }
    }
}

/// What a whole answer is, and what is wrong with it.
pub(super) fn answered(wanted: &Wanted, answer: &Answer) -> Outcome {
    let status = answer.status.as_u16();
    let cache = answer.field("cache-status").unwrap_or_default().to_owned();
    // Everything else is no answer of the press, or none that has content.
    if !matches!(status, 200 | 206 | 304) {
        return Outcome::Answered { status, edition: None, damaged: None, cache };
    }
    let (edition, damaged) = match edition(answer) {
        Ok(edition) => (Some(edition), wrong(wanted, answer, edition).err()),
        Err(why) => (None, Some(why)),
    };
    Outcome::Answered { status, edition, damaged, cache }
}

/// The edition that the head tells, by both of its fields.
fn edition(answer: &Answer) -> Result<u64, String> {
    let tag = answer.field("etag");
    let by_tag = tag
        .map(|tag| {
            let bare = tag.strip_prefix("W/").unwrap_or(tag);
            bare.trim_matches('"').parse::<u64>().map_err(|_| format!("the ETag {tag} is none of the press"))
        })
        .transpose()?;
    let field = answer.field("x-edition");
    let by_field = field
        .map(|field| field.parse::<u64>().map_err(|_| format!("the X-Edition {field:?} is no number")))
        .transpose()?;
    match (by_field, by_tag) {
        (Some(one), Some(other)) if one != other => {
            Err(format!("the head tells edition {one} by X-Edition and {other} by ETag"))
        }
        (Some(edition), _) | (None, Some(edition)) => Ok(edition),
        (None, None) => Err(format!("a {} that tells no edition", answer.status.as_u16())),
    }
}

fn wrong(wanted: &Wanted, answer: &Answer, edition: u64) -> Result<(), String> {
    let Object { bytes, .. } = wanted.object;
    let body = &answer.body;
    let from = match (answer.status.as_u16(), &wanted.kind) {
        (200, _) => {
            if body.len() as u64 != bytes {
                return Err(format!("{} bytes of {bytes}", body.len()));
            }
            0
        }
        (206, Kind::Range(from, to)) => {
            let to = (*to).min(bytes);
            let expected = format!("bytes {from}-{}/{bytes}", to.saturating_sub(1));
            let found = answer.field("content-range").unwrap_or_default();
            if found != expected {
                return Err(format!("the Content-Range is {found:?}, not {expected:?}"));
            }
            if body.len() as u64 != to.saturating_sub(*from) {
                return Err(format!("{} bytes of the range {from}..{to}", body.len()));
            }
            *from
        }
        (304, Kind::Unless(_)) => {
            return if body.is_empty() { Ok(()) } else { Err("a 304 with a body".to_owned()) };
        }
        (status, kind) => return Err(format!("a {status} to a request for {kind:?}")),
    };
    match wanted.object.check(edition, from, body) {
        Verdict::Good => Ok(()),
        Verdict::Damaged(what) => Err(what),
    }
}
