//! The timeline as a picture: one SVG file that needs nothing else, runs no script, and is readable in the light and
//! in the dark. What it shows is binned, so it does not grow with the history.

mod bars;
mod bins;

use std::fmt::Write;

use crate::chaos::{
    checker::{Index, Judged, Judgement},
    history::{Event, Micros},
};

use super::summary::{everywhere_after_us, quantiles};

use bars::{Bar, Tick};
use bins::Bins;

/// The left edge of the axis, and its length.
const LEFT: f64 = 130.0;
const WIDE: f64 = 1080.0;
const ROW: f64 = 18.0;
/// So many nodes have a row.
const ROWS_MAX: usize = 64;
/// So many bars, and so many ticks of faults, are drawn.
const MARKS_MAX: usize = 1500;
/// So many purges are drawn, in so many lanes.
const PURGES_MAX: usize = 400;
const LANES: usize = 10;
/// So many violations have a line of their own.
const LINES_MAX: usize = 100;

const STYLE: &str = "
  svg { --ink: #1d2433; --soft: #6b7385; --line: #d9dde5; --ground: #ffffff; --bad: #d0021b; --old: #e8a33d;
    --fine: #4c9f70; --purge: #3b6fd4; --down: #49506a; --slow: #9b6bd3; --cut: #d9822b; --disk: #a8324a;
    --clock: #1f9aa5; --lost: #8a6d3b; font: 11px system-ui, sans-serif; background: var(--ground); }
  @media (prefers-color-scheme: dark) { svg { --ink: #e6e9f0; --soft: #9aa3b5; --line: #343b4a; --ground: #151922;
    --bad: #ff5468; --old: #f0b95c; --fine: #6cc494; --purge: #7ba4f5; --down: #a4adc4; --slow: #c3a0ef;
    --cut: #f0a55a; --disk: #e36b82; --clock: #55c8d2; --lost: #cfae76; } }
  text { fill: var(--ink); } .soft { fill: var(--soft); } .grid { stroke: var(--line); stroke-width: 1; }
  .bad { fill: var(--bad); stroke: var(--bad); } .old { fill: var(--old); } .fine { fill: var(--fine); }
  .purge { fill: var(--purge); } .purge-late { fill: none; stroke: var(--purge); } .down { fill: var(--down); }
  .slow { fill: var(--slow); } .cut { fill: var(--cut); } .disk { fill: var(--disk); } .clock { fill: var(--clock); }
  .lost { fill: var(--lost); } .tick { fill: var(--soft); }
";

/// What colours mean.
const LEGEND: [(&str, &str); 10] = [
    ("down", "down"),
    ("slow", "paused, frozen or slow"),
    ("cut", "cut off, or a bad way"),
    ("disk", "bad disk"),
    ("clock", "wrong clock"),
    ("purge", "purge: sent → known at all nodes"),
    ("old", "older than the newest edition: allowed"),
    ("bad", "violation"),
    ("lost", "failed reads"),
    ("fine", "reads"),
];

/// The timeline: faults by node, purges, reads by how stale they were.
pub fn timeline(events: &[Event], judged: &Judged) -> String {
    let index = Index::new(events);
    let mut picture = Picture { out: String::new(), over_us: over_us(events, &index), y: 64.0 };
    // A String takes everything.
    _ = picture.rows(events, &index);
    _ = picture.purges(&index);
    _ = picture.reads(&index, judged);
    let grid_to = picture.y;
    // The grid lies behind everything.
    let drawn = std::mem::take(&mut picture.out);
    _ = picture.axis(grid_to);
    picture.out.push_str(&drawn);
    _ = picture.violations(judged, grid_to);
    _ = picture.legend();
    picture.finish(&index, judged)
}

struct Picture {
    out: String,
    over_us: Micros,
    /// Where the next row begins.
    y: f64,
}

type Drawn = Result<(), std::fmt::Error>;

impl Picture {
    fn x(&self, at_us: Micros) -> f64 {
        LEFT + WIDE * (at_us.min(self.over_us) as f64 / self.over_us as f64)
    }

    /// What went wrong, row by row.
    fn rows(&mut self, events: &[Event], index: &Index<'_>) -> Drawn {
        let names = index.names();
        let (bars, ticks) = bars::of(events, self.over_us);
        let regions = index.run.map(|run| &run.nodes);
        let mut rows: Vec<&str> = names.iter().copied().take(ROWS_MAX).collect();
        rows.extend([bars::ORIGIN, bars::WAYS]);
        for row in &rows {
            let region = regions.and_then(|nodes| nodes.get(*row)).map(|region| format!(" ({region})"));
            self.label(row, &region.unwrap_or_default())?;
            let y = self.y;
            self.line(y + ROW / 2.0)?;
            self.y += ROW;
        }
        let top = self.y - ROW * rows.len() as f64;
        let y_of = |row: &str| rows.iter().position(|name| *name == row).map(|at| top + ROW * at as f64);
        for Bar { row, class, from_us, to_us, what } in bars.iter().take(MARKS_MAX) {
            let Some(y) = y_of(row) else { continue };
            let (from, to) = (self.x(*from_us), self.x(*to_us));
            self.rect(class, (from, y + 3.0), ((to - from).max(1.5), ROW - 6.0), what)?;
        }
        for Tick { row, at_us, what } in ticks.iter().take(MARKS_MAX) {
            let Some(y) = y_of(row) else { continue };
            let x = self.x(*at_us);
            self.rect("tick", (x - 0.75, y), (1.5, ROW), what)?;
        }
        let hidden = names.len().saturating_sub(ROWS_MAX)
            + bars.len().saturating_sub(MARKS_MAX)
            + ticks.len().saturating_sub(MARKS_MAX);
        if hidden > 0 {
            self.note(&format!("{hidden} more rows and marks are not drawn"))?;
        }
        Ok(())
    }

    /// From the first word of each purge until all nodes were known to have it.
    fn purges(&mut self, index: &Index<'_>) -> Drawn {
        let mut spreads = index.spreads();
        spreads.sort_by_key(|spread| (spread.first_us, spread.id));
        let every = spreads.len().div_ceil(PURGES_MAX).max(1);
        let mut times: Vec<Micros> = spreads.iter().filter_map(everywhere_after_us).collect();
        times.sort_unstable();
        self.y += 14.0;
        let which = if every > 1 { format!(", one of {every} is drawn") } else { String::new() };
        self.title(&format!(
            "purges: {}{which}; known at all nodes after {}",
            spreads.len(),
            quantiles(&times)
        ))?;
        let top = self.y;
        let mut free_us = [0; LANES];
        for spread in spreads.iter().step_by(every) {
            let to_us = spread.everywhere_us.unwrap_or(self.over_us);
            let lanes = free_us.iter().enumerate();
            let lane = lanes.min_by_key(|(_, free_us)| **free_us).map_or(0, |(lane, _)| lane);
            // Where all lanes are taken they lie above each other.
            free_us[lane] = free_us[lane].max(to_us);
            let (from, to) = (self.x(spread.first_us), self.x(to_us));
            let class = if spread.everywhere_us.is_some() { "purge" } else { "purge-late" };
            let known = match everywhere_after_us(spread) {
                Some(after_us) => format!("known at all nodes after {:.1} ms", after_us as f64 / 1e3),
                None => "never known at all nodes".to_owned(),
            };
            let (key, node) = (&spread.purge.key, &spread.purge.node);
            let acknowledged = seconds(spread.purge.done_us);
            let what = format!(
                "{}: key {key}, sent at {}, acknowledged by {node} at {acknowledged}, {known}",
                spread.id,
                seconds(spread.first_us)
            );
            self.rect(class, (from, top + 5.0 * lane as f64), ((to - from).max(1.5), 3.5), &what)?;
        }
        self.y = top + 5.0 * LANES as f64;
        Ok(())
    }

    /// How many reads there were, how many were stale, and how many failed.
    fn reads(&mut self, index: &Index<'_>, judged: &Judged) -> Drawn {
        let bins = Bins::new(index, judged, self.over_us);
        let width = WIDE / bins.all.len() as f64;
        let each = bins.bin_us as f64 / 1e6;
        let most = bins.all.iter().map(|bin| bin.reads).max().unwrap_or(0).max(1);
        let most_failed = bins.all.iter().map(|bin| bin.failed).max().unwrap_or(0).max(1);
        let charts: [(String, f64); 3] = [
            (
                format!("answers older than the newest edition, share of those in {each:.1} s (top: 100 %)"),
                60.0,
            ),
            (format!("failed reads in {each:.1} s (top: {most_failed})"), 36.0),
            (format!("reads in {each:.1} s (top: {most})"), 30.0),
        ];
        for (chart, (title, high)) in charts.iter().enumerate() {
            self.y += 14.0;
            self.title(title)?;
            let floor = self.y + high;
            for (at, bin) in bins.all.iter().enumerate() {
                let x = LEFT + width * at as f64;
                let from = seconds(bins.bin_us * at as u64);
                let parts: [(&str, f64); 2] = match chart {
                    0 => {
                        let of = bin.answered.max(1) as f64;
                        [("bad", bin.violations as f64 / of), ("old", bin.stale as f64 / of)]
                    }
                    1 => [("lost", bin.failed as f64 / most_failed as f64), ("lost", 0.0)],
                    _ => [("fine", bin.reads as f64 / most as f64), ("fine", 0.0)],
                };
                let mut y = floor;
                for (class, share) in parts.into_iter().filter(|(_, share)| *share > 0.0) {
                    // What is there is seen, however little it is.
                    let tall = (high * share.min(1.0)).max(1.5);
                    y -= tall;
                    let what = format!(
                        "from {from}: {} reads, {} answered, {} of them older than the newest, {} too old, {} failed",
                        bin.reads, bin.answered, bin.stale, bin.violations, bin.failed
                    );
                    self.rect(class, (x, y.max(floor - high)), ((width - 0.4).max(0.6), tall), &what)?;
                }
            }
            self.line(floor)?;
            self.y = floor;
        }
        Ok(())
    }

    fn axis(&mut self, to: f64) -> Drawn {
        let whole = self.over_us as f64 / 1e6;
        let steps =
            [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];
        let step = steps.into_iter().find(|step| whole / step <= 16.0).unwrap_or(whole / 10.0);
        let mut at = 0.0;
        while at <= whole {
            let x = LEFT + WIDE * at / whole;
            let text = if step < 1.0 { format!("{at:.1} s") } else { format!("{at:.0} s") };
            writeln!(
                self.out,
                r#"<line class="grid" opacity="0.6" x1="{x:.1}" y1="60" x2="{x:.1}" y2="{to:.1}"/>"#
            )?;
            writeln!(
                self.out,
                r#"<text class="soft" x="{x:.1}" y="{:.1}" text-anchor="middle">{text}</text>"#,
                to + 14.0
            )?;
            at += step;
        }
        self.y = to + 20.0;
        Ok(())
    }

    fn violations(&mut self, judged: &Judged, to: f64) -> Drawn {
        for violation in judged.violations.iter().take(LINES_MAX) {
            let x = self.x(violation.at_us);
            let what = escaped(&short(&format!("{}: {}", violation.rule, violation.what)));
            writeln!(
                self.out,
                r#"<line class="bad" opacity="0.7" x1="{x:.1}" y1="58" x2="{x:.1}" y2="{to:.1}"><title>{what}</title></line>"#
            )?;
        }
        Ok(())
    }

    fn legend(&mut self) -> Drawn {
        let mut x = LEFT;
        self.y += 8.0;
        for (class, text) in LEGEND {
            let wide = 26.0 + 6.0 * text.chars().count() as f64;
            if x + wide > LEFT + WIDE {
                (x, self.y) = (LEFT, self.y + 18.0);
            }
            let y = self.y;
            self.rect(class, (x, y), (12.0, 10.0), text)?;
            writeln!(self.out, r#"<text x="{:.1}" y="{:.1}">{}</text>"#, x + 17.0, y + 9.0, escaped(text))?;
            x += wide;
        }
        self.y += 24.0;
        Ok(())
    }

    fn finish(self, index: &Index<'_>, judged: &Judged) -> String {
        let (class, verdict) = match judged.judgement {
            Judgement::Passed => ("fine", "passed"),
            Judgement::Failed => ("bad", "FAILED"),
            Judgement::Inconclusive => ("old", "inconclusive"),
        };
        let violations = judged.coverage.counts.get("violations").copied().unwrap_or(0);
        let (wide, high) = (LEFT + WIDE + 30.0, self.y);
        let told = index.run.map_or("a run that is not told".to_owned(), |run| {
            format!("seed {}, {} s on {} nodes of {}", run.seed, run.seconds, run.nodes.len(), run.topology)
        });
        let again = index.run.map_or(String::new(), |run| short(&run.again));
        let Self { out, .. } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {wide:.0} {high:.0}\" role=\"img\">\n\
             <title>{told}: {verdict}</title>\n<style>{STYLE}</style>\n\
             <rect width=\"100%\" height=\"100%\" style=\"fill: var(--ground)\"/>\n\
             <rect class=\"{class}\" x=\"12\" y=\"12\" width=\"14\" height=\"14\" rx=\"3\"/>\n\
             <text x=\"34\" y=\"24\" font-size=\"15\" font-weight=\"600\">{verdict}: {violations} violations; {told}</text>\n\
             <text class=\"soft\" x=\"34\" y=\"42\">again: {again}</text>\n{out}</svg>\n",
            told = escaped(&told),
            again = escaped(&again),
        )
    }

    fn label(&mut self, row: &str, more: &str) -> Drawn {
        let text: String = row.chars().take(18).collect();
        let (text, what, y) = (escaped(&text), escaped(&format!("{row}{more}")), self.y + 13.0);
        writeln!(
            self.out,
            r#"<text x="{:.0}" y="{y:.1}" text-anchor="end">{text}<title>{what}</title></text>"#,
            LEFT - 8.0
        )
    }

    fn title(&mut self, text: &str) -> Drawn {
        let y = self.y + 4.0;
        self.y += 10.0;
        writeln!(self.out, r#"<text class="soft" x="{LEFT:.0}" y="{y:.1}">{}</text>"#, escaped(text))
    }

    fn note(&mut self, text: &str) -> Drawn {
        self.y += 14.0;
        self.title(text)
    }

    fn line(&mut self, y: f64) -> Drawn {
        let to = LEFT + WIDE;
        writeln!(self.out, r#"<line class="grid" x1="{LEFT:.0}" y1="{y:.1}" x2="{to:.0}" y2="{y:.1}"/>"#)
    }

    fn rect(&mut self, class: &str, (x, y): (f64, f64), (wide, high): (f64, f64), what: &str) -> Drawn {
        let what = escaped(&short(what));
        writeln!(
            self.out,
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{wide:.1}" height="{high:.1}"><title>{what}</title></rect>"#
        )
    }
}

/// The end of the axis: of everything that is drawn.
fn over_us(events: &[Event], index: &Index<'_>) -> Micros {
    let faults = events.iter().filter_map(|event| match event {
        Event::Fault { done_us, .. } => Some(*done_us),
        _ => None,
    });
    faults.chain([index.over_us()]).max().unwrap_or(0).max(1000)
}

fn seconds(at_us: Micros) -> String {
    format!("{:.3} s", at_us as f64 / 1e6)
}

/// No text is longer than a tooltip can be.
fn short(text: &str) -> String {
    match text.char_indices().nth(400) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text.to_owned(),
    }
}

/// Text as XML: names come from topologies, and errors from anywhere.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'.. => out.push(char),
            _ => out.push('\u{fffd}'),
        }
    }
    out
}
