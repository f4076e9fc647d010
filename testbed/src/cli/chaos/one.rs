//! One seed: a testbed comes up, goes through it, goes down, and what was seen is judged.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::{
    chaos::{
        checker::{Judgement, judge},
        report, run,
        schedule::{self, Schedule},
    },
    cluster::{self, Cluster, testbed_binary},
    topology::Topology,
};

use super::{Chaos, FAILED, INTERRUPTED, code, keep, read};

/// All nodes of a testbed are ready and see each other within this time.
const READY_TIMEOUT: Duration = Duration::from_secs(180);

/// One run.
pub(super) struct One<'a> {
    pub seed: u64,
    pub topology: &'a Topology,
    /// Where the testbed is while it is up.
    pub mesh: PathBuf,
    /// What stays.
    pub out: PathBuf,
    /// Whether the testbed stays, too.
    pub keep: bool,
    pub again: String,
    pub chaos: &'a Chaos,
}

impl One<'_> {
    /// Answers what it came to, as an exit code. An error is one of the testbed.
    pub async fn run(&self, interrupted: &CancellationToken) -> anyhow::Result<u8> {
        let Self { seed, chaos, .. } = self;
        let place = if chaos.netns { "in namespaces" } else { "on loopback" };
        say!("seed {seed}: {} {place}, {} s", self.topology.name, chaos.seconds);
        say!("again: {}", self.again);
        fs::create_dir_all(&self.out).with_context(|| format!("cannot make {}", self.out.display()))?;
        let cluster = match self.up(interrupted).await {
            Ok(cluster) => cluster,
            // What was begun of it is ended already.
            Err(_) if interrupted.is_cancelled() => return Ok(INTERRUPTED),
            Err(error) => return Err(error),
        };
        let schedule = match chaos.calm {
            true => Schedule::new(),
            false => schedule::by_seed(&cluster, *seed, Duration::from_secs(chaos.seconds)),
        };
        let told = schedule::told(&schedule);
        say!("schedule of seed {seed}:\n{}", told.trim_end());
        let history = self.out.join("history.jsonl");
        let done = async {
            fs::write(self.out.join("schedule.txt"), &told).context("the schedule")?;
            run::run(&cluster, &schedule, &self.settings(&history), &mut |text| say!("{text}")).await
        };
        let done = tokio::select! {
            done = done => Some(done),
            () = interrupted.cancelled() => None,
        };
        let Some(done) = done else {
            cluster.down(&mut |_| ()).await?;
            return Ok(INTERRUPTED);
        };
        let came_to = self.judge(&history, done);
        if !matches!(came_to, Ok(super::PASSED)) {
            self.keep_logs(&cluster);
        }
        if self.keep {
            say!("the testbed is left as it is: testbed/down --dir {}", self.mesh.display());
        } else {
            cluster.down(&mut |_| ()).await?;
        }
        came_to
    }

    async fn up(&self, interrupted: &CancellationToken) -> anyhow::Result<Cluster> {
        let settings = cluster::Settings {
            topology: self.topology.clone(),
            dir: self.mesh.clone(),
            node_binary: match &self.chaos.node_binary {
                Some(named) => named.clone(),
                None => testbed_binary()?.with_file_name("starling"),
            },
            netns: self.chaos.netns,
            faulty: true,
            first_port: self.chaos.first_port,
            log_level: self.chaos.log_level.clone(),
            ready_timeout: READY_TIMEOUT,
        };
        Cluster::up_unless(&settings, &mut |step| say!("{step}"), interrupted).await
    }

    fn settings(&self, history: &Path) -> run::Settings {
        let chaos = self.chaos;
        run::Settings {
            seed: self.seed,
            time: Duration::from_secs(chaos.seconds),
            workload: run::Workload {
                reads_per_s: chaos.reads_per_s,
                purges_per_s: chaos.purges_per_s,
                ..run::Workload::default()
            },
            settle: Duration::from_secs(chaos.settle),
            again: self.again.clone(),
            history: history.to_owned(),
        }
    }

    /// Judges what was recorded, also of a run that could not go on: that is a failure at the least.
    fn judge(
        &self,
        history: &Path,
        done: anyhow::Result<Vec<crate::chaos::history::Event>>,
    ) -> anyhow::Result<u8> {
        let (events, error) = match done {
            Ok(events) => (events, None),
            Err(error) => (read(history).with_context(|| format!("{error:#}"))?, Some(error)),
        };
        let judged = judge(&events);
        keep(&self.out, &events, &judged)?;
        say!("{}", report::summary(&events, &judged).trim_end());
        let out = self.out.display();
        let is_soak = self.chaos.hours.is_some();
        if is_soak && error.is_none() && judged.judgement == Judgement::Passed {
            // Days of histories would fill a disk.
            for name in ["history.jsonl", "timeline.svg", "judged.json"] {
                fs::remove_file(self.out.join(name)).with_context(|| format!("cannot remove {name}"))?;
            }
            say!("kept: {out}/summary.txt");
        } else {
            say!("history: {out}/history.jsonl\nsummary: {out}/summary.txt\ntimeline: {out}/timeline.svg");
        }
        let word = match (&error, &judged.judgement) {
            (Some(_), _) | (None, Judgement::Failed) => "failed",
            (None, Judgement::Passed) => "passed",
            (None, Judgement::Inconclusive) => "inconclusive",
        };
        say!("seed {}: {word}; again: {}", self.seed, self.again);
        Ok(match error {
            Some(error) => {
                say!("the run did not come to its end: {error:#}");
                FAILED
            }
            None => code(judged.judgement),
        })
    }

    /// The logs of the nodes, for who asks why.
    fn keep_logs(&self, cluster: &Cluster) {
        for node in cluster.state().nodes {
            let to = self.out.join(format!("{}.log", node.name));
            if let Err(error) = fs::copy(node.dir.join("node.log"), &to) {
                eprintln!("the log of {} is lost: {error}", node.name);
            }
        }
    }
}
