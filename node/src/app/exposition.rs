//! What `/metrics` tells of each room.

mod mesh;
mod region;

use std::sync::Arc;

use prometheus_client::registry::Unit;

use super::{mesh::Mesh, purging::Purging};
use crate::{
    access_log::AccessLog,
    edge::{Edge, LATENCY_BOUNDS_MS},
    front,
    metrics::{Exposition, Histogram, Metrics},
    origin::{LATENCY_BUCKETS_MS, OriginHealth, OriginStats},
    store::Store,
    trust::Trust,
};

/// Has all rooms read at every scrape.
pub fn register(
    metrics: &mut Metrics,
    edge: &Edge,
    store: &Store,
    front: Arc<front::Counters>,
    access_log: AccessLog,
) {
    let (edge_of_requests, edge_of_origins, store) = (edge.clone(), edge.clone(), store.clone());
    metrics.register(move |out| requests(out, &edge_of_requests));
    metrics.register(move |out| tiers(out, &store));
    metrics.register(move |out| origins(out, &edge_of_origins));
    metrics.register(move |out| clients(out, &front));
    metrics.register(move |out| {
        let (written, dropped) = access_log.counts();
        out.counter("access_log_lines", "Lines written to the access log.", None, written);
        out.counter("access_log_dropped", "Records dropped because the log was behind.", None, dropped);
    });
}

/// Has purges that were asked of this node read at every scrape.
pub fn register_purging(metrics: &mut Metrics, purging: &Purging) {
    let purging = purging.clone();
    metrics.register(move |out| region::proposals(out, &purging.counts()));
}

/// Has the mesh read at every scrape.
pub fn register_mesh(metrics: &mut Metrics, edge: &Edge, mesh: &Mesh, trust: Trust) {
    let (edge, link, gossip) = (edge.clone(), mesh.link.clone(), mesh.gossip.clone());
    metrics.register(move |out| {
        let view = Arc::clone(&gossip.view().borrow());
        let counters = edge.counters();
        mesh::ways(out, &counters.upward, &counters.peers);
        mesh::gossip(out, &gossip.stats(), &view);
        mesh::link(out, &link.stats(), &link.totals(), &view);
    });
    let (standing, spread) = (mesh.group.standing(), mesh.spread.clone());
    let (fence, witness) = (mesh.fence.clone(), mesh.witness.clone());
    metrics.register(move |out| {
        region::group(out, &standing.borrow());
        region::spread(out, &spread.counts());
        region::fence(out, &fence.counts(), fence.remaining_ms(), trust.is_caught_up());
        region::receipts(out, &witness.counts());
    });
}

fn requests(out: &mut Exposition<'_>, edge: &Edge) {
    let counters = edge.counters();
    let labels: Vec<_> = counters.outcomes.iter().map(|count| [("outcome", count.outcome)]).collect();
    let by_outcome = |value: fn(&crate::edge::OutcomeCount) -> u64| -> Vec<_> {
        labels.iter().zip(&counters.outcomes).map(|(label, count)| (&label[..], value(count))).collect()
    };
    out.counters("requests", "Finished requests by what became of them.", None, &by_outcome(|c| c.requests));
    out.counters(
        "response_body",
        "Body bytes handed to clients, by what became of the request.",
        Some(Unit::Bytes),
        &by_outcome(|c| c.body_bytes),
    );
    let classes: Vec<_> = (1..=5).map(|digit| (digit, format!("{digit}xx"))).collect();
    let labels: Vec<_> = classes.iter().map(|(_, class)| [("class", class.as_str())]).collect();
    let values: Vec<_> = labels
        .iter()
        .zip(&classes)
        .map(|(label, (digit, _))| (&label[..], counters.statuses[*digit]))
        .collect();
    out.counters("responses", "Finished requests by class of status.", None, &values);
    out.counter(
        "responses_aborted",
        "Responses that did not reach the client whole.",
        None,
        counters.aborted,
    );
    out.counter("requests_collapsed", "Requests answered from another's fill.", None, counters.collapsed);
    out.gauge("requests_in_flight", "Requests that are not over.", None, counters.in_flight as f64);
    out.gauge(
        "fills_waiting",
        "Keys whose fill waits for a response head.",
        None,
        edge.fills_waiting() as f64,
    );
    let buckets = buckets(&LATENCY_BOUNDS_MS, &counters.latency);
    let sum = counters.latency_sum_us as f64 / 1e6;
    let help = "From a request's head to its response's end.";
    let durations = [Histogram { labels: &[], sum, buckets: &buckets }];
    out.histograms("request_duration", help, Some(Unit::Seconds), &durations);
}

fn tiers(out: &mut Exposition<'_>, store: &Store) {
    let stats = store.stats();
    let bytes = Some(Unit::Bytes);
    out.gauge(
        "memory",
        "What the memory tier holds, with its overhead.",
        bytes.clone(),
        stats.memory_bytes as f64,
    );
    out.gauge("memory_entries", "Heads and slices in memory.", None, stats.memory_entries as f64);
    out.counter("memory_evictions", "Entries memory gave up for others.", None, stats.memory_evictions);
    out.gauge("disk", "What the segments on disk hold.", bytes.clone(), stats.disk_bytes as f64);
    out.gauge("disk_objects", "Objects in the index, estimated.", None, stats.disk_objects as f64);
    out.gauge("disk_segments", "Segments on disk.", None, stats.segments as f64);
    out.counter("disk_segments_evicted", "Segments given up for new ones.", None, stats.segments_evicted);
    out.counter("disk_write_errors", "Writes to disk that failed.", None, stats.disk_write_errors);
    let failing = f64::from(u8::from(stats.index_problem.is_some()));
    let help = "Whether the index on disk cannot be written: no purge is applied here.";
    out.gauge("index_failing", help, None, failing);
    let help = "How often the index was opened anew after a write that failed.";
    out.counter("index_reopened", help, None, stats.index_reopened);
    out.gauge("dirty", "Bytes that wait to be written to disk.", bytes, stats.dirty_bytes as f64);
    out.gauge("fills", "Bodies that arrive now.", None, stats.fills as f64);
    out.counters(
        "lookups",
        "Lookups by the tier that was asked and its answer.",
        None,
        &[
            (&[("tier", "memory"), ("found", "yes")], stats.memory_hits),
            (&[("tier", "memory"), ("found", "no")], stats.memory_misses),
            (&[("tier", "disk"), ("found", "yes")], stats.disk_hits),
            (&[("tier", "disk"), ("found", "no")], stats.disk_misses),
        ],
    );
    out.counters(
        "slices_read",
        "Slices of large bodies read, by tier.",
        None,
        &[(&[("tier", "memory")], stats.slices_from_memory), (&[("tier", "disk")], stats.slices_from_disk)],
    );
    out.counter(
        "slices_damaged",
        "Slices dropped because their bytes were wrong.",
        None,
        stats.slices_damaged,
    );
    out.counter("slices_evicted", "Slices that went with their segment.", None, stats.slices_evicted);
    out.counter(
        "slices_reinserted",
        "Slices kept, being hot, when their segment went.",
        None,
        stats.slices_reinserted,
    );
    out.counter("records_damaged", "Index records that could not be read.", None, stats.records_damaged);
    out.gauge("purge_selectors", "Selectors in the purge table.", None, stats.purge_selectors as f64);
    let places: Vec<_> = stats.versions.iter().map(|(region, at)| (region.to_string(), at.index)).collect();
    let labels: Vec<_> = places.iter().map(|(region, _)| [("region", region.as_str())]).collect();
    let values: Vec<_> =
        labels.iter().zip(&places).map(|(label, (_, index))| (&label[..], *index as f64)).collect();
    out.gauges("purge_log_index", "The last purge applied of each region's log.", None, &values);
}

fn origins(out: &mut Exposition<'_>, edge: &Edge) {
    let mut all: Vec<(String, OriginHealth, OriginStats)> = Vec::new();
    for service in edge.services().iter() {
        let stats = service.pool.stats();
        for (health, (_, stats)) in service.pool.health().into_iter().zip(stats) {
            all.push((service.settings.name.clone(), health, stats));
        }
    }
    let labels: Vec<_> = all
        .iter()
        .map(|(service, health, _)| [("service", service.as_str()), ("origin", &*health.url)])
        .collect();
    let counts = |value: fn(&OriginStats) -> u64| -> Vec<_> {
        labels.iter().zip(&all).map(|(label, (_, _, stats))| (&label[..], value(stats))).collect()
    };
    let gauges = |value: fn(&OriginHealth) -> f64| -> Vec<_> {
        labels.iter().zip(&all).map(|(label, (_, health, _))| (&label[..], value(health))).collect()
    };
    out.counters("origin_requests", "Requests sent to an origin.", None, &counts(|s| s.requests));
    out.counters("origin_retries", "Requests sent after another had failed.", None, &counts(|s| s.retries));
    out.counters("origin_connects", "Connections opened.", None, &counts(|s| s.connects));
    out.counters("origin_reuses", "Requests sent on a used connection.", None, &counts(|s| s.reuses));
    out.counters("origin_body", "Body bytes received.", Some(Unit::Bytes), &counts(|s| s.body_bytes));
    out.gauges(
        "origin_healthy",
        "Whether health checks pass.",
        None,
        &gauges(|h| f64::from(u8::from(h.healthy))),
    );
    out.gauges("origin_in_flight", "Requests under way.", None, &gauges(|h| h.in_flight as f64));
    out.gauges("origin_waiting", "Requests that wait for a place.", None, &gauges(|h| h.waiting as f64));
    let failures: Vec<_> = all
        .iter()
        .flat_map(|(service, health, stats)| {
            let of_kind = move |(kind, count): &(&'static str, u64)| {
                ([("service", service.as_str()), ("origin", &*health.url), ("kind", *kind)], *count)
            };
            stats.failures.iter().map(of_kind)
        })
        .collect();
    let values: Vec<_> = failures.iter().map(|(label, count)| (&label[..], *count)).collect();
    out.counters("origin_failures", "Failed requests by what happened.", None, &values);
    let heads: Vec<_> =
        all.iter().map(|(_, _, stats)| buckets(&LATENCY_BUCKETS_MS, &stats.latency_buckets)).collect();
    let durations: Vec<_> = labels
        .iter()
        .zip(&all)
        .zip(&heads)
        .map(|((labels, (_, _, stats)), buckets)| Histogram {
            labels: &labels[..],
            sum: stats.latency_us as f64 / 1e6,
            buckets,
        })
        .collect();
    out.histograms(
        "origin_head_duration",
        "From a request to an origin to its response head.",
        Some(Unit::Seconds),
        &durations,
    );
}

/// Counts by their upper bounds in seconds, and the rest.
fn buckets(bounds_ms: &[u64], counts: &[u64]) -> Vec<(f64, u64)> {
    let bounds = bounds_ms.iter().map(|bound| *bound as f64 / 1_000.0).chain([f64::INFINITY]);
    bounds.zip(counts.iter().copied()).collect()
}

fn clients(out: &mut Exposition<'_>, counters: &front::Counters) {
    let open = counters.connections_open.get() as f64;
    out.gauge("connections_open", "Client connections there are now.", None, open);
    out.counter("connections", "Client connections accepted.", None, counters.connections_accepted.get());
    out.counters(
        "connections_refused",
        "Client connections closed at once, by reason.",
        None,
        &[
            (&[("reason", "total")], counters.refused_total.get()),
            (&[("reason", "address")], counters.refused_address.get()),
            (&[("reason", "accept")], counters.accept_errors.get()),
        ],
    );
    out.counters(
        "requests_received",
        "Requests handed to the edge, by version.",
        None,
        &[
            (&[("version", "1.0")], counters.requests_http10.get()),
            (&[("version", "1.1")], counters.requests_http11.get()),
            (&[("version", "2")], counters.requests_http2.get()),
        ],
    );
    out.counters(
        "client_timeouts",
        "Connections closed or responses cut because time ran out, by what was waited for.",
        None,
        &[
            (&[("kind", "idle")], counters.timeout_idle.get()),
            (&[("kind", "write")], counters.timeout_write.get()),
            (&[("kind", "write-rate")], counters.timeout_write_rate.get()),
            (&[("kind", "handshake")], counters.timeout_handshake.get()),
        ],
    );
    let refusals: Vec<_> = front::Refusal::ALL.iter().map(|refusal| [("reason", refusal.as_str())]).collect();
    let values: Vec<_> = refusals
        .iter()
        .zip(front::Refusal::ALL)
        .map(|(label, refusal)| (&label[..], counters.refusals(refusal)))
        .collect();
    out.counters("requests_refused", "Requests refused before the edge, by reason.", None, &values);
    out.counter(
        "tls_handshake_failures",
        "TLS handshakes that failed.",
        None,
        counters.handshake_failures.get(),
    );
    out.counter(
        "client_aborts",
        "Responses the client did not wait for.",
        None,
        counters.client_aborts.get(),
    );
    out.counter(
        "response_resets",
        "Responses reset because their body ended early.",
        None,
        counters.response_resets.get(),
    );
    out.counter(
        "http2_errors",
        "HTTP/2 connections closed for their behaviour.",
        None,
        counters.http2_errors.get(),
    );
    let bytes = [
        (&[("direction", "in")][..], counters.bytes_in.get()),
        (&[("direction", "out")][..], counters.bytes_out.get()),
    ];
    out.counters("client", "Bytes exchanged with clients, without TLS.", Some(Unit::Bytes), &bytes);
}
