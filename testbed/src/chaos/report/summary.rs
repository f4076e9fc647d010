//! What came of a run, for people: the verdict first.

use std::{collections::BTreeMap, fmt::Write};

use crate::chaos::{
    checker::{Index, Judged, Judgement, Spread},
    history::{By, Ended, Event, Micros, Outcome, Read},
};

/// So many violations are told in full; all that were kept are in the judgement.
const TOLD_MAX: usize = 10;
/// So many lines of faults are told.
const FAULTS_MAX: usize = 200;

/// The summary, as it is printed.
pub fn summary(events: &[Event], judged: &Judged) -> String {
    let index = Index::new(events);
    let mut out = String::new();
    // A String takes everything.
    _ = verdict(&mut out, &index, judged);
    _ = violations(&mut out, judged);
    _ = reads(&mut out, &index, judged);
    _ = purges(&mut out, &index, judged);
    _ = faults(&mut out, events);
    _ = coverage(&mut out, judged);
    out
}

fn verdict(out: &mut String, index: &Index<'_>, judged: &Judged) -> std::fmt::Result {
    let count = |name: &str| count(judged, name);
    match judged.judgement {
        Judgement::Passed => writeln!(out, "PASSED: nothing is wrong, and enough has happened.")?,
        Judgement::Failed => writeln!(out, "FAILED: violations: {}.", count("violations"))?,
        Judgement::Inconclusive => {
            writeln!(out, "INCONCLUSIVE: nothing is wrong, but too little has happened:")?
        }
    }
    if judged.judgement == Judgement::Inconclusive {
        for lack in &judged.coverage.lacks {
            writeln!(out, "  {lack}")?;
        }
    }
    match index.run {
        Some(run) => {
            let how = if run.netns { "in namespaces" } else { "on loopback" };
            let (nodes, seed) = (run.nodes.len(), run.seed);
            writeln!(out, "seed {seed}: {} s on {nodes} nodes of {} {how}", run.seconds, run.topology)?;
            writeln!(out, "again: {}", run.again)
        }
        None => writeln!(out, "the history does not tell what run it is of"),
    }
}

fn violations(out: &mut String, judged: &Judged) -> std::fmt::Result {
    if judged.violations.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nViolations")?;
    let by_rule = judged.coverage.counts.iter();
    for (rule, count) in by_rule.filter_map(|(name, count)| Some((name.strip_prefix("violations_")?, count)))
    {
        writeln!(out, "  {rule}: {count}")?;
    }
    // Each rule has its say, however often another is broken.
    let mut told = BTreeMap::<&str, usize>::new();
    let each = TOLD_MAX.div_ceil(3);
    let mut left_out = 0;
    for violation in &judged.violations {
        let told = told.entry(&violation.rule).or_default();
        *told += 1;
        if *told > each {
            left_out += 1;
            continue;
        }
        writeln!(out, "  {} [{}] {}", at(violation.at_us), violation.rule, violation.what)?;
    }
    if left_out > 0 {
        writeln!(out, "  and {left_out} more in the judgement")?;
    }
    Ok(())
}

fn reads(out: &mut String, index: &Index<'_>, judged: &Judged) -> std::fmt::Result {
    let count = |name: &str| count(judged, name);
    writeln!(
        out,
        "\nReads: {}, {} answered, {} failed",
        count("reads"),
        count("reads_answered"),
        count("reads_failed")
    )?;
    let kinds = ["wholes", "ranges", "conditionals", "reads_h1", "reads_h2", "not_modified", "reads_last"];
    writeln!(out, "  {}", told(judged, &kinds))?;
    writeln!(out, "  {}", told(judged, &["reads_after_known", "reads_after_fenced"]))?;
    let (mut places, mut failures) = (BTreeMap::<&str, u64>::new(), BTreeMap::<String, u64>::new());
    let mut latencies = Vec::new();
    for read in index.reads() {
        match &read.outcome {
            Outcome::Answered { status: 200 | 206 | 304, cache, .. } => {
                *places.entry(place(cache)).or_default() += 1;
                latencies.push(read.done_us.saturating_sub(read.at_us));
            }
            Outcome::Answered { status, .. } => *failures.entry(format!("status {status}")).or_default() += 1,
            Outcome::Failed { is_unanswered: true, .. } => {
                *failures.entry("no answer".to_owned()).or_default() += 1
            }
            Outcome::Failed { .. } => *failures.entry("broken off".to_owned()).or_default() += 1,
        }
    }
    let all: u64 = places.values().sum();
    for (place, count) in &places {
        writeln!(out, "  {place}: {count} ({})", percent(*count, all))?;
    }
    latencies.sort_unstable();
    writeln!(out, "  answered after {}", quantiles(&latencies))?;
    if !failures.is_empty() {
        let failures: Vec<String> = failures.iter().map(|(why, count)| format!("{why} {count}")).collect();
        writeln!(out, "  failed: {}", failures.join(", "))?;
        writeln!(out, "  failed at: {}", by_node(judged, "reads_failed_at_"))?;
    }
    let (wants, moved, failed) = (count("wants"), count("wants_moved"), count("wants_failed"));
    writeln!(
        out,
        "  clients wanted {wants} things, {moved} of them were got elsewhere, {failed} not at all"
    )?;
    if failed > 0 {
        writeln!(out, "  not at all, asked last at: {}", by_node(judged, "wants_failed_at_"))?;
    }
    Ok(())
}

fn purges(out: &mut String, index: &Index<'_>, judged: &Judged) -> std::fmt::Result {
    let count = |name: &str| count(judged, name);
    let (purges, committed) = (count("purges"), count("purges_committed"));
    writeln!(
        out,
        "\nPurges: {purges}, {committed} known to be committed, {} retries",
        count("purge_retries")
    )?;
    let ways =
        [(By::Url, "URL"), (By::Tag, "tag"), (By::Prefix, "prefix"), (By::Host, "host"), (By::All, "all")];
    for (by, name) in ways {
        let mut outcomes = [0_u64; 3];
        for purge in index.attempts.iter().filter(|purge| purge.by == by) {
            outcomes[match purge.ended {
                Ended::Acknowledged { .. } => 0,
                Ended::Refused { .. } => 1,
                Ended::Unknown { .. } => 2,
            }] += 1;
        }
        let [acknowledged, refused, unknown] = outcomes;
        if outcomes != [0; 3] {
            writeln!(
                out,
                "  by {name}: {acknowledged} attempts acknowledged, {refused} refused, {unknown} not known"
            )?;
        }
    }
    writeln!(out, "  {}", told(judged, &["purges_soft", "purges_fenced", "keys_in_several_logs"]))?;
    let spreads = index.spreads();
    let mut acknowledged: Vec<Micros> =
        spreads.iter().map(|spread| spread.purge.done_us.saturating_sub(spread.first_us)).collect();
    acknowledged.sort_unstable();
    writeln!(out, "  sent → acknowledged: {}", quantiles(&acknowledged))?;
    let mut everywhere: Vec<Micros> = spreads.iter().filter_map(everywhere_after_us).collect();
    everywhere.sort_unstable();
    let quantiles = quantiles(&everywhere);
    writeln!(out, "  sent → known to be at all nodes: {quantiles} (as seen by asking them now and then)")?;
    let nowhere = spreads.len() - everywhere.len();
    if nowhere > 0 {
        writeln!(out, "  {nowhere} never came to be known of all nodes")?;
    }
    Ok(())
}

fn faults(out: &mut String, events: &[Event]) -> std::fmt::Result {
    let mut lines = Vec::new();
    let mut faults = 0;
    for event in events {
        match event {
            Event::Fault { at_us, done_us, fault, nodes, error } => {
                faults += 1;
                let took_ms = done_us.saturating_sub(*at_us) / 1000;
                let nodes =
                    if nodes.is_empty() { String::new() } else { format!(" → {}", nodes.join(", ")) };
                let error =
                    error.as_ref().map(|error| format!(": not possible: {error}")).unwrap_or_default();
                lines.push((*at_us, format!("{fault}{nodes} ({took_ms} ms){error}")));
            }
            Event::Healed { at_us } => lines.push((*at_us, "all is well again".to_owned())),
            _ => {}
        }
    }
    lines.sort();
    writeln!(out, "\nFaults: {faults}")?;
    for (at_us, line) in lines.iter().take(FAULTS_MAX) {
        writeln!(out, "  {} {line}", at(*at_us))?;
    }
    let more = lines.len().saturating_sub(FAULTS_MAX);
    if more > 0 {
        writeln!(out, "  and {more} more")?;
    }
    Ok(())
}

fn coverage(out: &mut String, judged: &Judged) -> std::fmt::Result {
    writeln!(out, "\nCoverage")?;
    let counts: Vec<String> =
        judged.coverage.counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
    for line in counts.chunks(6) {
        writeln!(out, "  {}", line.join(", "))?;
    }
    match judged.coverage.lacks.as_slice() {
        [] => writeln!(out, "  nothing lacks"),
        lacks => lacks.iter().try_for_each(|lack| writeln!(out, "  lacks {lack}")),
    }
}

/// How long a purge took to be known of all nodes.
pub fn everywhere_after_us(spread: &Spread<'_>) -> Option<Micros> {
    Some(spread.everywhere_us?.saturating_sub(spread.first_us))
}

/// Where an answer came from, by its `Cache-Status` (RFC 9211): its last member is the node that was asked.
fn place(cache: &str) -> &'static str {
    let is_hit = |member: &str| member.split(';').skip(1).any(|parameter| parameter.trim() == "hit");
    let is_revalidated = |member: &str| member.contains("fwd-status=304");
    let mut members: Vec<&str> =
        cache.split(',').map(str::trim).filter(|member| !member.is_empty()).collect();
    let Some(last) = members.pop() else { return "no Cache-Status" };
    match () {
        () if is_hit(last) => "hit at the node",
        () if members.iter().any(|member| is_hit(member)) => "hit at another node",
        () if is_revalidated(last) || members.iter().any(|member| is_revalidated(member)) => "revalidated",
        () => "miss",
    }
}

/// Whether it failed a client, for the timeline.
pub fn is_failed(read: &Read) -> bool {
    !matches!(read.outcome, Outcome::Answered { status: 200 | 206 | 304, .. })
}

fn count(judged: &Judged, name: &str) -> u64 {
    judged.coverage.counts.get(name).copied().unwrap_or(0)
}

fn told(judged: &Judged, names: &[&str]) -> String {
    let told: Vec<String> =
        names.iter().map(|name| format!("{} {}", name.replace('_', " "), count(judged, name))).collect();
    told.join(", ")
}

fn by_node(judged: &Judged, prefix: &str) -> String {
    let counts = judged.coverage.counts.iter();
    let mut nodes: Vec<(&str, u64)> =
        counts.filter_map(|(name, count)| Some((name.strip_prefix(prefix)?, *count))).collect();
    nodes.sort_by_key(|(node, count)| (std::cmp::Reverse(*count), *node));
    let nodes: Vec<String> = nodes.iter().map(|(node, count)| format!("{node} {count}")).collect();
    nodes.join(", ")
}

fn at(at_us: Micros) -> String {
    format!("{:>9.3} s", at_us as f64 / 1e6)
}

/// The middle one and the slowest of a hundred, of sorted times.
pub fn quantiles(sorted_us: &[Micros]) -> String {
    let of = |quantile: usize| sorted_us[(sorted_us.len() - 1) * quantile / 100] as f64 / 1e3;
    match sorted_us.last() {
        None => "never".to_owned(),
        Some(last) => {
            let worst = *last as f64 / 1e3;
            format!("p50 {:.1} ms, p99 {:.1} ms, at most {worst:.1} ms", of(50), of(99))
        }
    }
}

fn percent(part: u64, of: u64) -> String {
    format!("{:.1} %", 100.0 * part as f64 / of.max(1) as f64)
}
