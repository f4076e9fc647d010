//! Reads the Prometheus text of a node.

use std::collections::BTreeMap;

/// The samples of one scrape.
#[derive(Clone, Debug)]
pub struct Metrics {
    samples: Vec<Sample>,
}

#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Metrics {
    /// Reads the text exposition format; panics on a line that is none.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self { samples: lines.map(Sample::parse).collect() }
    }

    /// The sum over all samples of this name that carry all these labels; `None` when there is none.
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let carries = |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|(key, value)| sample.labels.get(*key).is_some_and(|held| held == value))
        };
        let found: Vec<f64> = self.samples.iter().filter(carries).map(|sample| sample.value).collect();
        (!found.is_empty()).then(|| found.iter().sum())
    }

    /// The sum over all samples whose name contains `part`; for what is named by more than one metric.
    pub fn sum_where(&self, part: &str) -> f64 {
        self.samples.iter().filter(|sample| sample.name.contains(part)).map(|sample| sample.value).sum()
    }

    /// The names that occur.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.samples.iter().map(|sample| sample.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl Sample {
    fn parse(line: &str) -> Self {
        let bad = || -> ! { panic!("not a sample of the Prometheus text format: {line:?}") };
        let (series, value) = match line.rfind('}') {
            Some(end) => line.split_at(end + 1),
            None => line.split_once(' ').unwrap_or_else(|| bad()),
        };
        let value = value.split_whitespace().next().and_then(|value| value.parse().ok());
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.trim_end_matches('}')),
            None => (series.trim(), ""),
        };
        let labels = labels
            .split("\",")
            .filter(|label| !label.is_empty())
            .map(|label| {
                let (key, value) = label.split_once("=\"").unwrap_or_else(|| bad());
                (key.trim().to_owned(), value.trim_end_matches('"').to_owned())
            })
            .collect();
        Self { name: name.to_owned(), labels, value: value.unwrap_or_else(|| bad()) }
    }
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    #[test]
    fn samples_are_summed_by_label() {
        let text = "# HELP a b\n# TYPE a counter\na_total{k=\"x\",l=\"1, 2\"} 2\na_total{k=\"y\"} 3\nb 1.5\n";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.get("a_total", &[]), Some(5.0));
        assert_eq!(metrics.get("a_total", &[("k", "x")]), Some(2.0));
        assert_eq!(metrics.get("a_total", &[("l", "1, 2")]), Some(2.0));
        assert_eq!(metrics.get("b", &[]), Some(1.5));
        assert_eq!(metrics.get("c", &[]), None);
    }
}
