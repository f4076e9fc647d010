//! Purges: one request to one admin API, and what its answer means.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    chaos::history::{By, Ended, Purge},
    client::{Answer, AskFailed},
    cluster::Admin,
    press::{Object, Scope},
};

use super::Clock;

/// A node answers so long after the time it was given, or does not answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// One purge to ask for.
#[derive(Clone, Debug)]
pub struct Purging {
    /// Its idempotency key.
    pub key: String,
    /// See [`Purge::attempt`].
    pub attempt: u32,
    /// What it names.
    pub scope: Scope,
    /// How; must fit the scope.
    pub by: By,
    /// How long the object is, if the scope is one object that is purged by URL.
    pub bytes: u64,
    /// See [`Purge::soft`].
    pub soft: bool,
    /// See [`Purge::wait`].
    pub wait: String,
    /// What the node is given for it.
    pub timeout: Duration,
}

/// Asks a node for a purge, once.
pub async fn purge(clock: Clock, node: &str, admin: &Admin, purging: &Purging) -> Purge {
    let at_us = clock.now_us();
    let ended = match purging.body() {
        Err(why) => Ended::Refused { why },
        Ok(body) => {
            let asked = admin.post("/v1/purge", &body);
            match tokio::time::timeout(purging.timeout + PATIENCE, asked).await {
                Ok(answer) => ended(answer),
                Err(_) => Ended::Unknown {
                    why: format!("no answer within {:?} of {:?}", PATIENCE, purging.timeout),
                },
            }
        }
    };
    Purge {
        key: purging.key.clone(),
        attempt: purging.attempt,
        node: node.to_owned(),
        scope: purging.scope.clone(),
        by: purging.by,
        soft: purging.soft,
        wait: purging.wait.clone(),
        at_us,
        done_us: clock.now_us(),
        ended,
    }
}

impl Purging {
    /// What is sent; the error tells why its way does not fit its scope.
    pub(super) fn body(&self) -> Result<Value, String> {
        let (host, field, named) = match (&self.scope, self.by) {
            (Scope::Object(host, group, name), By::Url) => {
                let object = Object { host: *host, group: *group, name: *name, bytes: self.bytes };
                (*host, "urls", Some(object.url()))
            }
            (Scope::Object(host, _, name), By::Tag) => (*host, "tags", Some(format!("k-{name}"))),
            (Scope::Object(host, group, name), By::Prefix) => {
                (*host, "prefixes", Some(format!("{}/o/{group}/{name}", host.name())))
            }
            (Scope::Group(host, group), By::Tag) => (*host, "tags", Some(format!("g-{group}"))),
            (Scope::Group(host, group), By::Prefix) => {
                (*host, "prefixes", Some(format!("{}/o/{group}/", host.name())))
            }
            (Scope::All(host), By::Tag) => (*host, "tags", Some("all".to_owned())),
            (Scope::All(host), By::Prefix) => (*host, "prefixes", Some(format!("{}/o/", host.name()))),
            (Scope::All(host), By::Host) => (*host, "hosts", Some(host.name().to_owned())),
            (Scope::All(host), By::All) => (*host, "all", None),
            (scope, by) => return Err(format!("{scope:?} cannot be named by {by:?}")),
        };
        Ok(json!({
            "service": host.service(),
            field: named.map_or(Value::Bool(true), |named| json!([named])),
            "soft": self.soft,
            "wait": self.wait,
            "timeout_ms": u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX),
            "idempotency_key": self.key,
        }))
    }
}

/// The part of a receipt that counts here.
#[derive(Deserialize)]
struct Receipt {
    id: Option<String>,
    complete: bool,
    fenced: bool,
    applied: Vec<Applied>,
}

#[derive(Deserialize)]
struct Applied {
    node: String,
}

#[derive(Deserialize)]
struct Failure {
    error: Reason,
}

#[derive(Deserialize)]
struct Reason {
    code: String,
    message: String,
}

/// What an answer, or none, says about the purge. Only what says for sure that nothing is committed counts as
/// refused: whoever retries may take that for granted, the others for nothing.
pub(super) fn ended(answer: Result<Answer, AskFailed>) -> Ended {
    let answer = match answer {
        Ok(answer) => answer,
        Err(failed) if failed.is_unsent => {
            return Ended::Refused { why: format!("not sent: {}", failed.what) };
        }
        Err(failed) => return Ended::Unknown { why: failed.what },
    };
    let text = || String::from_utf8_lossy(&answer.body[..answer.body.len().min(300)]).into_owned();
    let status = answer.status.as_u16();
    if status == 200 {
        return match serde_json::from_slice::<Receipt>(&answer.body) {
            Ok(Receipt { id: Some(id), complete, fenced, applied }) => Ended::Acknowledged {
                id,
                complete,
                fenced,
                applied: applied.into_iter().map(|Applied { node }| node).collect(),
            },
            Ok(_) => Ended::Unknown { why: format!("a 200 without an id: {}", text()) },
            Err(error) => Ended::Unknown { why: format!("a 200 that is no receipt ({error}): {}", text()) },
        };
    }
    let Ok(Failure { error: Reason { code, message } }) = serde_json::from_slice(&answer.body) else {
        let why = format!("{status}: {}", text());
        return if (400..500).contains(&status) { Ended::Refused { why } } else { Ended::Unknown { why } };
    };
    let why = format!("{status} {code}: {message}");
    match (status, code.as_str()) {
        (400..=499, _) | (500, "failed") | (503, "no-quorum" | "unavailable") => Ended::Refused { why },
        _ => Ended::Unknown { why },
    }
}
