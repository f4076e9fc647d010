//! Answers of a node, for people.

mod mesh;
mod purge;
mod services;
mod table;

use std::fmt::Write;

use serde_json::Value;

pub(super) use self::{
    mesh::{peers, ring},
    purge::{receipt, receipts},
    services::{service, service_set, services},
};
use crate::{
    admin::{StatusReport, WarmResult},
    config::Config,
};

/// Prints `answer` as JSON, or as `human` tells it.
pub(super) fn print(answer: &Value, json: bool, human: impl FnOnce(&Value) -> String) {
    if json { println!("{answer:#}") } else { println!("{}", human(answer).trim_end()) }
}

/// An answer of another version of the node is shown as it came.
fn read<T: serde::de::DeserializeOwned>(answer: &Value, tell: impl FnOnce(T) -> String) -> String {
    serde_json::from_value(answer.clone()).map_or_else(|_| format!("{answer:#}"), tell)
}

pub(super) fn warmed(answer: &Value) -> String {
    read(&answer["results"], |results: Vec<WarmResult>| {
        let line = |result: &WarmResult| match (&result.error, result.status) {
            (Some(error), _) => format!("failed  {}: {error}", result.url),
            (None, status) => {
                let status = status.map_or_else(|| "-".to_owned(), |status| status.to_string());
                format!("{status} {:7} {:>9} {}", result.cache, size(result.body_bytes), result.url)
            }
        };
        results.iter().map(line).collect::<Vec<_>>().join("\n")
    })
}

pub(super) fn all_warm(answer: &Value) -> bool {
    serde_json::from_value::<Vec<WarmResult>>(answer["results"].clone())
        .is_ok_and(|results| results.iter().all(|r| r.error.is_none() && r.status.is_some_and(|s| s < 400)))
}

pub(super) fn status(answer: &Value) -> String {
    read(answer, |s: StatusReport| {
        let state = match (s.draining, s.ready) {
            (true, _) => "draining",
            (false, true) => "ready",
            (false, false) => "starting",
        };
        let ratio = match s.cache.requests {
            0 => "no requests yet".to_owned(),
            all => format!("{:.1} % hits of {all} requests", 100.0 * s.cache.hits as f64 / all as f64),
        };
        let mut text = format!(
            "{} ({}/{}) is {state}, {}, up {} s\n",
            s.node,
            s.region,
            s.pop,
            s.version,
            s.uptime_ms / 1000
        );
        let _ =
            writeln!(text, "cache   {ratio}, {} errors, {} sent", s.cache.errors, size(s.cache.sent_bytes));
        let tier = |objects, bytes, max| format!("{objects} objects, {} of {}", size(bytes), size(max));
        let _ = writeln!(
            text,
            "memory  {}",
            tier(s.store.memory_objects, s.store.memory_bytes, s.store.memory_bytes_max)
        );
        let _ = writeln!(
            text,
            "disk    {}",
            tier(s.store.disk_objects, s.store.disk_bytes, s.store.disk_bytes_max)
        );
        for (region, version) in &s.versions {
            let _ = writeln!(text, "purges  {region} at {version}");
        }
        if let Some(mesh) = &s.mesh {
            let _ = writeln!(text, "mesh    {}", mesh::line(mesh));
        }
        if let Some(group) = &s.group {
            for line in mesh::group(group) {
                let _ = writeln!(text, "region  {line}");
            }
            let _ = writeln!(text, "trust   {}", mesh::trust(&s));
        }
        for problem in &s.problems {
            let _ = writeln!(text, "problem {problem}");
        }
        for origin in &s.origins {
            let health =
                if origin.healthy { "healthy" } else { origin.reason.as_deref().unwrap_or("unhealthy") };
            let _ = writeln!(
                text,
                "origin  {} {}: {health}, {} under way",
                origin.service, origin.url, origin.in_flight
            );
        }
        text
    })
}

/// What a configuration amounts to.
pub(super) fn config(config: &Config) -> String {
    let mut text = format!(
        "node {} ({}/{}), data in {}",
        config.node.name,
        config.node.region,
        config.node.pop,
        config.node.data.display()
    );
    let list = |addresses: &[std::net::SocketAddr]| {
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    for (what, addresses) in
        [("http", &config.front.http), ("https", &config.front.https), ("admin", &config.admin.listen)]
    {
        if !addresses.is_empty() {
            let _ = write!(text, "\n{what} {}", list(addresses));
        }
    }
    if let Some(mesh) = &config.mesh {
        let admission = if mesh.is_open() { "open, this machine only" } else { "by ticket" };
        let _ = write!(text, "\nmesh {} ({admission})", mesh.link.listen);
        if !mesh.peers.is_empty() {
            let _ = write!(text, ", peers {}", mesh.peers.join(", "));
        }
        let group = &mesh.region;
        let formed = match group.expect {
            Some(1) => "by one node".to_owned(),
            Some(nodes) => format!("by {nodes} nodes"),
            None => "by whoever is there".to_owned(),
        };
        let _ = write!(
            text,
            "\nregion {} (formed {formed}), {} voters at most, fence {} ms",
            config.node.region,
            group.voters_max,
            group.fence.as_millis()
        );
    }
    for service in &config.services {
        let origins: Vec<&str> = service.pool.origins.iter().map(|origin| origin.url.as_str()).collect();
        let _ = write!(
            text,
            "\nservice {}: {} -> {}",
            service.name,
            service.hosts.join(", "),
            origins.join(", ")
        );
    }
    text
}

fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}
