//! What `/metrics` tells of the mesh. A peer is labelled by its name, and by its id once it is forgotten.

use prometheus_client::registry::Unit;
use starling_proto::members::View;

use crate::{
    edge::{PeerCounts, UpwardCounts},
    gossip,
    link::{LinkStats, PeerStats},
    metrics::Exposition,
};

/// What was asked of others for clients, and what was answered to peers.
pub(super) fn ways(out: &mut Exposition<'_>, upward: &UpwardCounts, peers: &PeerCounts) {
    let labels: Vec<_> = upward
        .ways
        .iter()
        .flat_map(|way| {
            [("asked", way.asked), ("answered", way.answered), ("failed", way.failed)]
                .map(|(result, count)| ([("way", way.way), ("result", result)], count))
        })
        .collect();
    let values: Vec<_> = labels.iter().map(|(labels, count)| (&labels[..], *count)).collect();
    out.counters("ways", "Questions for content by whom they went to, and how they went.", None, &values);
    let help = "Ways taken in the place of one that failed.";
    out.counter("ways_failed_over", help, None, upward.failed_over);
    let help = "Bodies of peers that were held back, because they could not be resumed.";
    out.counter("ways_held_back", help, None, upward.held_back);
    let help = "Answers of peers that were older than a purge or a change known here.";
    out.counter("ways_unusable", help, None, upward.unusable);
    out.counters(
        "peer_fetches",
        "Fetches of peers by what became of them.",
        None,
        &[
            (&[("outcome", "hit")], peers.hits),
            (&[("outcome", "miss")], peers.misses),
            (&[("outcome", "refused")], peers.refused),
        ],
    );
    let help = "Body bytes handed to peers.";
    out.counter("peer_fetches_body", help, Some(Unit::Bytes), peers.body_bytes);
    out.gauge("peer_fetches_in_flight", "Fetches of peers under way.", None, peers.in_flight as f64);
}

/// Who is there, and what is said in the swarm.
pub(super) fn gossip(out: &mut Exposition<'_>, stats: &gossip::Stats, view: &View) {
    let by_status =
        [("alive", stats.alive), ("suspect", stats.suspect), ("dead", stats.dead), ("left", stats.left)];
    let labels = by_status.map(|(status, _)| [("status", status)]);
    let values: Vec<_> =
        labels.iter().zip(&by_status).map(|(label, (_, count))| (&label[..], *count as f64)).collect();
    out.gauges("mesh_members", "Nodes known, this one included, by how they stand.", None, &values);
    out.gauge("mesh_ring_nodes", "Nodes in the ring of the PoP.", None, view.ring.nodes().len() as f64);
    out.gauge("gossip_connections", "Connections of the swarm.", None, stats.connections as f64);
    out.counter(
        "gossip_connections_refused",
        "Connections of strangers, or of too many, that were refused.",
        None,
        stats.connections_refused,
    );
    let in_out = |heard, said| [(&[("direction", "in")][..], heard), (&[("direction", "out")][..], said)];
    let messages = in_out(stats.messages_in, stats.messages_out);
    out.counters("gossip_messages", "Messages heard, each once, and said.", None, &messages);
    let bytes = in_out(stats.bytes_in, stats.bytes_out);
    out.counters("gossip", "Bytes of these messages.", Some(Unit::Bytes), &bytes);
    out.counters(
        "gossip_messages_refused",
        "Messages that were not believed, by reason.",
        None,
        &[(&[("reason", "invalid")], stats.invalid), (&[("reason", "rate")], stats.rate_limited)],
    );
    out.counter("gossip_barred", "Neighbours shut out because they flooded.", None, stats.barred);
    let help = "Greetings and probes that were not made because too many were under way.";
    out.counter("gossip_errands_dropped", help, None, stats.errands_dropped);
}

/// What went over the link, by peer, and who was turned away.
pub(super) fn link(out: &mut Exposition<'_>, peers: &[PeerStats], totals: &LinkStats, view: &View) {
    let name = |stats: &PeerStats| match view.members.get(&stats.id) {
        Some(member) => member.profile.ticket.claim.name.clone(),
        None => stats.id.to_string(),
    };
    let names: Vec<String> = peers.iter().map(name).collect();
    let named = || names.iter().map(String::as_str).zip(peers);

    let labels: Vec<_> = names.iter().map(|name| [("peer", name.as_str())]).collect();
    let counts = |value: fn(&PeerStats) -> u64| -> Vec<_> {
        labels.iter().zip(peers).map(|(label, stats)| (&label[..], value(stats))).collect()
    };
    out.counters("peer_requests", "Questions sent to a peer.", None, &counts(|stats| stats.asked));
    out.counters("peer_requests_received", "Questions of a peer.", None, &counts(|stats| stats.answered));
    out.counters("peer_connects", "Connections opened to a peer.", None, &counts(|stats| stats.connects));
    let failures: Vec<_> = named()
        .flat_map(|(name, stats)| {
            stats.failed.iter().map(move |(kind, count)| ([("peer", name), ("kind", *kind)], *count))
        })
        .collect();
    let values: Vec<_> = failures.iter().map(|(labels, count)| (&labels[..], *count)).collect();
    out.counters("peer_failures", "Questions to a peer that failed, by what happened.", None, &values);

    let bytes: Vec<_> = named()
        .flat_map(|(name, stats)| {
            [("in", stats.bytes_in), ("out", stats.bytes_out)]
                .map(|(direction, bytes)| ([("peer", name), ("direction", direction)], bytes))
        })
        .collect();
    let values: Vec<_> = bytes.iter().map(|(labels, count)| (&labels[..], *count)).collect();
    out.counters("peer", "Bytes exchanged with a peer, without TLS.", Some(Unit::Bytes), &values);

    let under_way: Vec<_> = named()
        .flat_map(|(name, stats)| {
            [("out", stats.asking), ("in", stats.answering)]
                .map(|(direction, count)| ([("peer", name), ("direction", direction)], count))
        })
        .collect();
    let values: Vec<_> = under_way.iter().map(|(labels, count)| (&labels[..], *count as f64)).collect();
    out.gauges("peer_requests_in_flight", "Fetches to and from a peer under way.", None, &values);

    let acks: Vec<_> = labels
        .iter()
        .zip(peers)
        .filter_map(|(label, stats)| Some((&label[..], stats.ack?.as_secs_f64())))
        .collect();
    let help = "The time a peer takes to take a question on, smoothed.";
    out.gauges("peer_ack", help, Some(Unit::Seconds), &acks);

    let turned_away = [
        (&[("reason", "stranger")][..], totals.strangers),
        (&[("reason", "total")][..], totals.connections_refused),
        (&[("reason", "cut-off")][..], totals.cut_off),
    ];
    out.counters("link_refused", "Connections of nodes that were closed, by reason.", None, &turned_away);
    out.counter("link_busy", "Fetches of peers refused because there was too much to do.", None, totals.busy);
}
