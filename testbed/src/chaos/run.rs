//! A run: what is asked, purged and broken, by a seed; and afterwards, when all is well again, what nodes say.
//!
//! Requests and purges come by an open loop: when, what and through whom is the seed's, and nobody waits for anybody
//! else's answer. Beside them each node is asked all the time what it knows, and right after it says that it has
//! applied a purge it is asked for what was purged: so the promise is looked at where it is hardest to keep.

mod after;
mod mesh;
mod pollers;
mod purgers;
mod recorder;
mod requests;
mod steps;
#[cfg(test)]
mod tests;

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use anyhow::ensure;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{
    cluster::{Cluster, State, Tell},
    faults::{Faults, Nodes},
    press::Host,
};

use super::{
    clients::Clock,
    history::{Event, Run},
    schedule::Schedule,
};

use mesh::Mesh;
use requests::{Objects, PurgePlan, Purges, Request, Requests};
use steps::Steps;

/// What nodes have when their configuration does not say.
const FENCE_MS: u64 = 5000;
/// How often a run tells how it stands.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// What a run is to be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Everything random is of it.
    pub seed: u64,
    /// How long, without the time to settle.
    pub time: Duration,
    /// What is asked.
    pub workload: Workload,
    /// How long nodes may take after healing until all must be level and fresh.
    pub settle: Duration,
    /// The command that does it again.
    pub again: String,
    /// Where the history goes, line by line.
    pub history: PathBuf,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// Requests per second, to all nodes together; they do not wait for each other.
    pub reads_per_s: f64,
    /// Purges per second. Each is of something that got a new edition right before.
    pub purges_per_s: f64,
    /// The hosts whose objects are asked for.
    pub hosts: Vec<Host>,
    /// How many groups of objects each host has.
    pub groups: u32,
    /// How many objects each group has.
    pub names: u32,
    /// Objects are up to so long; most are short.
    pub bytes_max: u64,
    /// How unequal objects are asked for: the exponent of Zipf's law.
    pub zipf: f64,
    /// The part of requests that are ranges, from 0 to 1.
    pub ranges: f64,
    /// The part of requests that are conditional.
    pub conditionals: f64,
    /// The part of requests over HTTP/2.
    pub h2: f64,
    /// The part of purges that are soft.
    pub soft: f64,
    /// The nodes that are asked.
    pub through: Nodes,
    /// Whether a client that found nobody, or was left in the middle of an answer, asks another node of these, up
    /// to twice: what anycast and browsers do.
    pub moves: bool,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            reads_per_s: 60.0,
            purges_per_s: 3.0,
            hosts: Host::ALL.to_vec(),
            groups: 4,
            names: 8,
            bytes_max: 256 << 10,
            zipf: 0.9,
            ranges: 0.15,
            conditionals: 0.15,
            h2: 0.3,
            soft: 0.1,
            through: Nodes("all".to_owned()),
            moves: true,
        }
    }
}

/// What is asked for at this time.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rates {
    reads_per_s: f64,
    purges_per_s: f64,
}

/// Runs it on a testbed that is up and settled; answers the history, which is in the file as well.
///
/// # Errors
///
/// When the testbed itself fails, when a node ended that nobody had ended, or when nodes are not level after the time
/// to settle: the error names them. What nodes do wrong otherwise is not an error but a line of the history, which is
/// in the file all the same.
pub async fn run(
    cluster: &Cluster,
    schedule: &Schedule,
    settings: &Settings,
    tell: Tell<'_>,
) -> anyhow::Result<Vec<Event>> {
    let Settings { seed, workload, .. } = settings;
    let objects = Objects::new(workload, *seed)?;
    let faults = Faults::new(cluster.clone(), *seed);
    let through = faults.resolve(&workload.through).await?;
    let clock = Clock(std::time::Instant::now());
    let (recorder, writer) = recorder::begin(&settings.history)?;
    let mesh = Mesh::new(cluster, clock, recorder, objects, &through, workload.moves)?;
    let mesh = Arc::new(mesh);
    mesh.recorder.record(Event::Run(line(&cluster.state(), settings))).await;
    let tell = Mutex::new(tell);
    let say = |text: &str| {
        let seconds = clock.now_us() as f64 / 1e6;
        (tell.lock())(&format!("{seconds:6.1} s  {text}"));
    };
    let whole = async {
        during(&mesh, &faults, schedule, settings, &say).await?;
        after::settle(&mesh, cluster, &faults, settings.settle, &say).await
    };
    let settled = tokio::select! {
        settled = whole => settled,
        () = pollers::poll(&mesh) => Ok(Vec::new()),
    };
    let outcome = match settled {
        Ok(crashed) => after::last_words(&mesh, &say).await.map(|()| crashed),
        Err(error) => Err(error),
    };
    let written = writer.finish().await;
    let crashed = outcome?;
    ensure!(crashed.is_empty(), "nobody had ended these nodes, and they were gone: {}", crashed.join(", "));
    written
}

/// The time of requests, purges and faults.
async fn during(
    mesh: &Arc<Mesh>,
    faults: &Faults,
    schedule: &Schedule,
    settings: &Settings,
    say: &(dyn Fn(&str) + Sync),
) -> anyhow::Result<()> {
    let Settings { seed, workload, time, .. } = settings;
    let (rates, now) =
        watch::channel(Rates { reads_per_s: workload.reads_per_s, purges_per_s: workload.purges_per_s });
    let begun = Instant::now();
    let broken = Mutex::new(None);
    let broken = Arc::new(broken);
    let reads = async {
        let mut requests = Requests::new(workload, *seed);
        let mut pace = Pace::new(now.clone(), |rates| rates.reads_per_s);
        loop {
            let request = requests.next(&mesh.objects);
            pace.wait(request.gap).await;
            ask(mesh, request);
        }
    };
    let purges = async {
        let mut purges = Purges::new(workload, *seed);
        let mut pace = Pace::new(now.clone(), |rates| rates.purges_per_s);
        for number in 0_u64.. {
            let plan = purges.next(&mesh.objects);
            pace.wait(plan.gap).await;
            purge(mesh, format!("{seed}-{number}"), plan, &broken);
        }
    };
    let progress = async {
        let mut at = begun;
        loop {
            at += TELL_EVERY;
            sleep_until(at).await;
            say(&progress(mesh));
        }
    };
    let steps = Steps { mesh, faults, rates: &rates, tell: say, seed: *seed };
    let scheduled = async {
        steps.carry_out(schedule, begun).await?;
        sleep_until(begun + *time).await;
        anyhow::Ok(())
    };
    tokio::select! {
        ended = scheduled => ended?,
        () = reads => {}
        () = purges => {}
        () = progress => {}
    }
    let broken = broken.lock().take();
    broken.map_or(Ok(()), Err)
}

/// Sends a client's request on its way, unless too many wait already.
fn ask(mesh: &Arc<Mesh>, request: Request) {
    let Ok(permit) = Arc::clone(&mesh.reads).try_acquire_owned() else {
        mesh.counts.reads_left_out.fetch_add(1, Relaxed);
        return;
    };
    let asking = Arc::clone(mesh);
    mesh.tasks.spawn(async move {
        asking.request(request).await;
        drop(permit);
    });
}

/// The same for a purge.
fn purge(mesh: &Arc<Mesh>, key: String, plan: PurgePlan, broken: &Arc<Mutex<Option<anyhow::Error>>>) {
    let Ok(permit) = Arc::clone(&mesh.purges).try_acquire_owned() else {
        mesh.counts.purges_left_out.fetch_add(1, Relaxed);
        return;
    };
    let (purging, broken) = (Arc::clone(mesh), Arc::clone(broken));
    mesh.tasks.spawn(async move {
        let through = |number| purging.through_nth(number);
        if let Err(error) = purgers::carry_out(&purging, key, plan, &through).await {
            broken.lock().get_or_insert(error);
        }
        drop(permit);
    });
}

fn progress(mesh: &Mesh) -> String {
    let counts = &mesh.counts;
    let mut text = format!(
        "{} requests ({} failed), {} looks, {} purges ({} acknowledged)",
        counts.reads.load(Relaxed),
        counts.reads_failed.load(Relaxed),
        counts.looks.load(Relaxed),
        counts.purges.load(Relaxed),
        counts.purges_acknowledged.load(Relaxed),
    );
    for (count, what) in [
        (&counts.reads_left_out, "requests left out: too many waited"),
        (&counts.purges_left_out, "purges left out: too many waited"),
        (&counts.without_edition, "purges left out: no origin"),
    ] {
        let count = count.load(Relaxed);
        if count > 0 {
            text += &format!(", {count} {what}");
        }
    }
    text
}

/// When the next one comes: the time is the seed's, and does not depend on how long anything takes.
struct Pace {
    rates: watch::Receiver<Rates>,
    of: fn(&Rates) -> f64,
    last: Instant,
}

impl Pace {
    fn new(rates: watch::Receiver<Rates>, of: fn(&Rates) -> f64) -> Self {
        Self { rates, of, last: Instant::now() }
    }

    async fn wait(&mut self, gap: f64) {
        loop {
            let per_s = (self.of)(&self.rates.borrow_and_update());
            if per_s > 0.0 {
                let seconds = (gap / per_s).min(3600.0);
                let next = self.last + Duration::from_secs_f64(seconds);
                tokio::select! {
                    () = sleep_until(next) => {
                        self.last = next;
                        return;
                    }
                    // Another rate counts from now on.
                    Ok(()) = self.rates.changed() => self.last = Instant::now(),
                }
            } else if self.rates.changed().await.is_ok() {
                self.last = Instant::now();
            } else {
                std::future::pending::<()>().await;
            }
        }
    }
}

fn line(state: &State, settings: &Settings) -> Run {
    let nodes = state.nodes.iter().map(|node| (node.name.clone(), node.region.clone())).collect();
    Run {
        seed: settings.seed,
        topology: state.topology.name.clone(),
        netns: state.netns,
        nodes,
        seconds: settings.time.as_secs(),
        again: settings.again.clone(),
        fence_ms: fence_ms(&state.topology.node).unwrap_or(FENCE_MS),
    }
}

/// `region.fence_ms` of a configuration: milliseconds, or text such as `"2s"`.
fn fence_ms(node: &toml::Table) -> Option<u64> {
    match node.get("region")?.get("fence_ms")? {
        toml::Value::Integer(ms) => u64::try_from(*ms).ok(),
        toml::Value::String(text) => {
            let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let factor = match &text[number.len()..] {
                "ms" => 1,
                "s" => 1000,
                "m" => 60_000,
                "h" => 3_600_000,
                _ => return None,
            };
            number.trim().parse::<u64>().ok()?.checked_mul(factor)
        }
        _ => None,
    }
}
