//! What was measured, as Markdown for people and JSON for machines.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::{
    machine,
    rounds::{Case, Cell, Figures, Hits, Memory},
    servers::Kind,
};

const HEADER: &str = "Starling | nginx | Varnish | Starling ÷ nginx | Starling ÷ Varnish |";

/// All that was measured, and on what.
#[derive(Debug)]
pub struct Report {
    /// Command line that brings the like.
    pub command: String,
    /// What was compared.
    pub versions: Vec<String>,
    /// Hits.
    pub hits: Hits,
    /// Many small objects.
    pub memory: Vec<Memory>,
}

impl Report {
    /// Tables, each with the ratio to nginx and to Varnish.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        let mut line =
            |args: std::fmt::Arguments<'_>| writeln!(text, "{args}").expect("a string takes all text");
        line(format_args!("`{}`\n", self.command));
        for fact in machine::facts().iter().chain(&self.versions) {
            line(format_args!("- {fact}"));
        }
        for (kind, suite) in &self.hits.suites {
            line(format_args!("- {}: {suite}", kind.name()));
        }
        type Measure = (&'static str, usize, fn(&Figures) -> f64);
        let measures: [Measure; 4] = [
            ("hits per second, one core (more is better)", 0, |figures| figures.requests_per_s),
            ("server CPU per hit, us (less is better)", 2, |figures| figures.cpu_us),
            ("99th percentile of latency, us, at full load", 0, |figures| figures.p99_us),
            ("how busy the load generator's core was, %", 0, |figures| figures.generator_percent),
        ];
        for (title, decimals, figure) in measures {
            line(format_args!("\n| {title} | {HEADER}\n|---|---:|---:|---:|---:|---:|"));
            for case in Case::all() {
                let of = |kind| self.figures(case, kind).map(|figures| figure(&figures));
                line(format_args!("| {} | {}", case.name(), row(Kind::ALL.map(of), decimals)));
            }
        }
        line(format_args!("\n| memory | {HEADER}\n|---|---:|---:|---:|---:|---:|"));
        let resident = Kind::ALL.map(|kind| {
            let held = self.hits.resident_max_bytes.iter().find(|(of, _)| *of == kind);
            held.map(|(_, bytes)| mib(*bytes as f64))
        });
        line(format_args!("| highest while serving hits, MiB | {}", row(resident, 0)));
        let grown = |bytes: fn(&Memory) -> f64| {
            Kind::ALL.map(|kind| {
                let memory = self.memory.iter().find(|memory| memory.kind == kind);
                memory.map(|memory| mib(bytes(memory) * 1e6))
            })
        };
        line(format_args!(
            "| resident for 10^6 objects of 1 KiB, MiB | {}",
            row(grown(|memory| memory.resident_bytes_per_object), 0)
        ));
        line(format_args!(
            "| files for 10^6 objects of 1 KiB, MiB | {}",
            row(grown(|memory| memory.disk_bytes_per_object), 0)
        ));
        text
    }

    /// Everything in the tables, and what they were made from.
    pub fn json(&self) -> Value {
        let cell = |cell: &Cell| {
            let figures = cell.figures?;
            Some(json!({
                "server": cell.kind.name(),
                "body_bytes": cell.case.bytes,
                "tls": cell.case.tls,
                "requests_per_s": figures.requests_per_s,
                "cpu_us_per_request": figures.cpu_us,
                "p99_us": figures.p99_us,
                "generator_percent": figures.generator_percent,
            }))
        };
        let resident = self.hits.resident_max_bytes.iter();
        let memory = self.memory.iter().map(|memory| {
            json!({
                "server": memory.kind.name(),
                "resident_bytes_per_object": memory.resident_bytes_per_object,
                "disk_bytes_per_object": memory.disk_bytes_per_object,
            })
        });
        json!({
            "command": self.command,
            "machine": machine::facts(),
            "versions": self.versions,
            "hits": self.hits.cells.iter().filter_map(cell).collect::<Vec<_>>(),
            "resident_max": resident
                .map(|(kind, bytes)| json!({ "server": kind.name(), "bytes": bytes }))
                .collect::<Vec<_>>(),
            "objects": memory.collect::<Vec<_>>(),
        })
    }

    fn figures(&self, case: Case, kind: Kind) -> Option<Figures> {
        self.hits.cells.iter().find(|cell| cell.case == case && cell.kind == kind)?.figures
    }
}

fn mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

/// The values of the three servers and the two ratios of the first.
fn row([starling, nginx, varnish]: [Option<f64>; 3], decimals: usize) -> String {
    let value =
        |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.decimals$}"));
    let ratio = |to: Option<f64>| {
        let ratio = starling.zip(to).filter(|(_, to)| *to != 0.0).map(|(own, to)| own / to);
        ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"))
    };
    let cells = [value(starling), value(nginx), value(varnish), ratio(nginx), ratio(varnish)];
    format!("{} |", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_both_ratios_and_a_dash_for_what_there_is_not() {
        assert_eq!(row([Some(10.0), Some(4.0), None], 1), "10.0 | 4.0 | – | 2.50 | – |");
        assert_eq!(row([Some(10.0), Some(0.0), Some(5.0)], 0), "10 | 0 | 5 | – | 2.00 |");
    }
}
