//! What `/metrics` tells of the region's log, and of how the logs of all regions are spread and trusted.

use crate::{
    app::{fence::FenceCounts, purging::PurgingCounts, receipts::WitnessCounts, spread::SpreadCounts},
    metrics::Exposition,
    region::Standing,
};

/// What became of changes that were asked of this node.
pub(super) fn proposals(out: &mut Exposition<'_>, counts: &PurgingCounts) {
    out.counters(
        "proposals",
        "Changes asked of this node, purges mostly, by what became of them.",
        None,
        &[
            (&[("outcome", "committed")], counts.committed),
            (&[("outcome", "committed-elsewhere")], counts.committed_elsewhere),
            (&[("outcome", "failed")], counts.failed),
            (&[("outcome", "unknown")], counts.unknown),
        ],
    );
}

/// How the group stands, as this node sees it.
pub(super) fn group(out: &mut Exposition<'_>, standing: &Standing) {
    let is_leader = f64::from(u8::from(standing.role == "leader"));
    out.gauge("region_leader", "Whether this node leads its region's group.", None, is_leader);
    out.gauge("region_term", "The term of the region's group.", None, standing.term as f64);
    let members = [
        (&[("kind", "voter")][..], standing.voters.len() as f64),
        (&[("kind", "learner")][..], standing.learners.len() as f64),
    ];
    out.gauges("region_members", "Members of the region's group.", None, &members);
    let committed = standing.committed.map_or(0, |at| at.index);
    out.gauge("region_committed_index", "The last entry known to be committed.", None, committed as f64);
}

/// Pushes and comparisons.
pub(super) fn spread(out: &mut Exposition<'_>, counts: &SpreadCounts) {
    let answered = |yes, no| [(&[("answered", "yes")][..], yes), (&[("answered", "no")][..], no)];
    let pushes = answered(counts.pushes, counts.pushes_failed);
    out.counters("log_pushes", "Pushes of log entries to a node.", None, &pushes);
    let help = "Entries pushed, those passed on to neighbours among them.";
    out.counter("log_entries_pushed", help, None, counts.entries_pushed);
    let comparisons =
        [(&[("level", "yes")][..], counts.comparisons), (&[("level", "no")][..], counts.comparisons_failed)];
    let help = "Comparisons of the logs with a node, by whether nothing was missing here at the end.";
    out.counters("log_comparisons", help, None, &comparisons);
    let batches =
        [(&[("taken", "yes")][..], counts.batches_applied), (&[("taken", "no")][..], counts.batches_refused)];
    out.counters("log_batches", "Batches of entries that came from others.", None, &batches);
}

/// The lease on the heads of all regions.
pub(super) fn fence(out: &mut Exposition<'_>, counts: &FenceCounts, remaining_ms: u64, is_caught_up: bool) {
    let leases = [
        (&[("from", "delegate")][..], counts.by_delegate),
        (&[("from", "region")][..], counts.by_regions),
        (&[("from", "nobody")][..], counts.unanswered),
    ];
    out.counters("leases", "Leases on regions' heads, by who gave them.", None, &leases);
    let remaining = remaining_ms as f64 / 1_000.0;
    let unit = Some(prometheus_client::registry::Unit::Seconds);
    out.gauge("fence_remaining", "For how long every region's head is known.", unit, remaining);
    let help = "Whether the node has caught up with the mesh since it came.";
    out.gauge("caught_up", help, None, f64::from(u8::from(is_caught_up)));
}

/// Receipts asked for, and told.
pub(super) fn receipts(out: &mut Exposition<'_>, counts: &WitnessCounts) {
    let asked =
        [(&[("from", "leader")][..], counts.from_leader), (&[("from", "here")][..], counts.from_here)];
    out.counters("receipts", "Receipts put together, by who knew of the nodes.", None, &asked);
    out.counter("receipts_told", "Receipts that others asked for.", None, counts.answered);
}
