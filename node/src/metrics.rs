//! Metrics as they are read: each room keeps plain atomics and a `Stats` struct, and `app.rs` registers one
//! closure that writes them into an [`Exposition`] whenever they are scraped.
//!
//! Names begin with `starling_` and end with their unit (`_bytes`, `_seconds`); counters also end with
//! `_total`, which is added here. A metric with labels is written once, with all its label sets together, as
//! the format demands.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, text},
    metrics::MetricType,
    registry::{Registry, Unit},
};

/// The content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The labels of one value.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// A distribution.
#[derive(Clone, Copy, Debug)]
pub struct Histogram<'a> {
    /// Its labels.
    pub labels: Labels<'a>,
    /// The sum of all values.
    pub sum: f64,
    /// For each upper bound, in rising order, how many values fell between the bound before and it. The last
    /// bound is [`f64::INFINITY`].
    pub buckets: &'a [(f64, u64)],
}

/// All metrics of a node.
#[derive(Debug)]
pub struct Metrics(Registry);

/// Where one scrape is written.
pub struct Exposition<'a> {
    encoder: DescriptorEncoder<'a>,
    result: fmt::Result,
}

impl Metrics {
    /// No metrics yet.
    pub fn new() -> Self {
        Self(Registry::with_prefix("starling"))
    }

    /// Has `write` called at every scrape. Names are given without the prefix.
    pub fn register(&mut self, write: impl Fn(&mut Exposition<'_>) + Send + Sync + 'static) {
        self.0.register_collector(Box::new(Closure(write)));
    }

    /// The OpenMetrics text of now.
    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.0)?;
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Exposition<'_> {
    /// A count that only grows: one value without labels.
    pub fn counter(&mut self, name: &str, help: &str, unit: Option<Unit>, value: u64) {
        self.counters(name, help, unit, &[(&[], value)]);
    }

    /// A count that only grows, by labels.
    pub fn counters(&mut self, name: &str, help: &str, unit: Option<Unit>, values: &[(Labels<'_>, u64)]) {
        self.write(name, help, unit, MetricType::Counter, |metric| {
            values.iter().try_for_each(|(labels, value)| {
                if labels.is_empty() {
                    metric.encode_counter::<NoLabels, u64, u64>(value, None)
                } else {
                    metric.encode_family(labels)?.encode_counter::<NoLabels, u64, u64>(value, None)
                }
            })
        });
    }

    /// A value that goes up and down, without labels.
    pub fn gauge(&mut self, name: &str, help: &str, unit: Option<Unit>, value: f64) {
        self.gauges(name, help, unit, &[(&[], value)]);
    }

    /// A value that goes up and down, by labels.
    pub fn gauges(&mut self, name: &str, help: &str, unit: Option<Unit>, values: &[(Labels<'_>, f64)]) {
        self.write(name, help, unit, MetricType::Gauge, |metric| {
            values.iter().try_for_each(|(labels, value)| {
                if labels.is_empty() {
                    metric.encode_gauge(value)
                } else {
                    metric.encode_family(labels)?.encode_gauge(value)
                }
            })
        });
    }

    /// Distributions, by labels.
    pub fn histograms(&mut self, name: &str, help: &str, unit: Option<Unit>, values: &[Histogram<'_>]) {
        self.write(name, help, unit, MetricType::Histogram, |metric| {
            values.iter().try_for_each(|Histogram { labels, sum, buckets }| {
                let count = buckets.iter().map(|(_, count)| count).sum();
                if labels.is_empty() {
                    metric.encode_histogram::<NoLabels>(*sum, count, buckets, None)
                } else {
                    metric.encode_family(labels)?.encode_histogram::<NoLabels>(*sum, count, buckets, None)
                }
            })
        });
    }

    fn write(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        kind: MetricType,
        values: impl FnOnce(&mut prometheus_client::encoding::MetricEncoder<'_>) -> fmt::Result,
    ) {
        if self.result.is_ok() {
            self.result = self
                .encoder
                .encode_descriptor(name, help, unit.as_ref(), kind)
                .and_then(|mut metric| values(&mut metric));
        }
    }
}

type NoLabels = [(&'static str, &'static str); 0];

struct Closure<F>(F);

impl<F> fmt::Debug for Closure<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Closure")
    }
}

impl<F: Fn(&mut Exposition<'_>) + Send + Sync + 'static> Collector for Closure<F> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut exposition = Exposition { encoder, result: Ok(()) };
        (self.0)(&mut exposition);
        exposition.result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_prefix_unit_and_kind() {
        let mut metrics = Metrics::new();
        metrics.register(|to| {
            to.counters(
                "requests",
                "Requests",
                None,
                &[(&[("cache", "hit")], 3), (&[("cache", "a\"b\n")], 1)],
            );
            to.counter("sent", "Sent", Some(Unit::Bytes), 10);
            to.gauge("store_memory", "Memory", Some(Unit::Bytes), 7.0);
            let histogram = Histogram { labels: &[], sum: 1.5, buckets: &[(0.1, 2), (f64::INFINITY, 1)] };
            to.histograms("request", "Time", Some(Unit::Seconds), &[histogram]);
        });
        let text = metrics.render().unwrap();
        assert!(text.contains("# TYPE starling_requests counter\n"), "{text}");
        assert!(text.contains("starling_requests_total{cache=\"hit\"} 3\n"), "{text}");
        assert!(text.contains("starling_requests_total{cache=\"a\\\"b\\n\"} 1\n"), "{text}");
        assert!(text.contains("starling_sent_bytes_total 10\n"), "{text}");
        assert!(text.contains("starling_store_memory_bytes 7.0\n"), "{text}");
        assert!(text.contains("starling_request_seconds_bucket{le=\"0.1\"} 2\n"), "{text}");
        assert!(text.contains("starling_request_seconds_bucket{le=\"+Inf\"} 3\n"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
