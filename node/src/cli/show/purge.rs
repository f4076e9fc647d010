//! Purges and who has applied them, for people.

use serde_json::Value;

use super::{
    read,
    table::{Column, table},
};
use crate::admin::{PurgeReceipt, PurgesReport};

/// One purge: every node on a line, those that have not applied it last.
pub(in crate::cli) fn receipt(answer: &Value) -> String {
    read(answer, |receipt: PurgeReceipt| {
        let Some(id) = &receipt.id else {
            return "accepted: the node goes on with it, and it may yet fail".to_owned();
        };
        let mut text = format!("purged {id}");
        if let Some(at) = &receipt.committed_at {
            text.push_str(&format!(", committed at {at}"));
        }
        if !nodes(&receipt).is_empty() {
            text.push_str(&format!(", applied by {}", nodes(&receipt)));
        }
        text.push_str(if receipt.fenced { ", fenced\n" } else { "\n" });
        let applied = receipt.applied.iter().map(|at| [at.node.clone(), format!("{} ms", at.after_ms)]);
        let missing = receipt.missing.iter().map(|node| [node.clone(), "not yet".to_owned()]);
        let rows: Vec<_> = applied.chain(missing).collect();
        if !rows.is_empty() {
            text.push_str(&table([Column::Left("NODE"), Column::Right("APPLIED AFTER")], &rows));
        }
        text
    })
}

/// The last purges, one line each.
pub(in crate::cli) fn receipts(answer: &Value) -> String {
    read(answer, |report: PurgesReport| {
        if report.purges.is_empty() {
            return "no purge was sent to this node since it started".to_owned();
        }
        let none = || "-".to_owned();
        let row = |receipt: &PurgeReceipt| {
            [
                receipt.id.clone().unwrap_or_else(none),
                receipt.committed_at.clone().unwrap_or_else(none),
                Some(nodes(receipt)).filter(|nodes| !nodes.is_empty()).unwrap_or_else(none),
                if receipt.fenced { "yes".to_owned() } else { none() },
                Some(receipt.missing.join(", ")).filter(|missing| !missing.is_empty()).unwrap_or_else(none),
            ]
        };
        let rows: Vec<_> = report.purges.iter().map(row).collect();
        let columns = [
            Column::Left("ID"),
            Column::Left("COMMITTED"),
            Column::Left("APPLIED"),
            Column::Left("FENCED"),
            Column::Left("MISSING"),
        ];
        table(columns, &rows)
    })
}

/// `8 of 9 nodes`; empty when no node is known to be asked.
fn nodes(receipt: &PurgeReceipt) -> String {
    match receipt.applied.len() + receipt.missing.len() {
        0 => String::new(),
        1 => format!("{} of 1 node", receipt.applied.len()),
        all => format!("{} of {all} nodes", receipt.applied.len()),
    }
}
