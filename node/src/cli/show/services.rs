//! Services, for people.

use std::fmt::Write;

use serde_json::Value;

use super::read;
use crate::admin::{ServiceSet, ServiceSource, ServiceStatus};

/// One line for each.
pub(in crate::cli) fn services(answer: &Value) -> String {
    read(&answer["services"], |services: Vec<ServiceStatus>| {
        services.iter().map(line).collect::<Vec<_>>().join("\n")
    })
}

/// One, with its definition.
pub(in crate::cli) fn service(answer: &Value) -> String {
    read(answer, |service: ServiceStatus| {
        let mut text = line(&service);
        if let Some(definition) = &service.definition {
            let _ = write!(text, "\n\n{definition}");
        }
        text
    })
}

/// What became of a change.
pub(in crate::cli) fn service_set(answer: &Value) -> String {
    read(answer, |set: ServiceSet| {
        let mut text = format!("{}: committed as {}", set.name, set.id);
        if let Some(problem) = &set.problem {
            let _ = write!(text, "\n  problem: {problem}");
        }
        text
    })
}

fn line(service: &ServiceStatus) -> String {
    let source = match service.source {
        ServiceSource::File => "file",
        ServiceSource::Mesh => "mesh",
    };
    let (hosts, origins) = (service.hosts.join(", "), service.origins.join(", "));
    let mut text = match hosts.is_empty() {
        true => format!("{} ({source}): not served", service.name),
        false => format!("{} ({source}): {hosts} -> {origins}", service.name),
    };
    if let Some(problem) = &service.problem {
        let _ = write!(text, "\n  problem: {problem}");
    }
    text
}
