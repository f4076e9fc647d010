//! Plays a story: a testbed of its own, the run, the judge, what was expected; and nothing is left of it but what
//! it came to.

use std::{
    io::{Read as _, Seek as _, SeekFrom},
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use crate::{
    chaos::{checker, report, run},
    cluster::{self, Cluster, Tell},
    press::Press,
};

use super::{Found, Seen, Story, hold};

/// What a mesh may take to be ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// What ending a testbed may take.
const DOWN_TIMEOUT: Duration = Duration::from_secs(60);

/// What a run may take beside its own time and the time to settle: faults that last, and the last reads.
const RUN_PATIENCE: Duration = Duration::from_secs(60);

/// Of a node's log so much is kept, from its end.
const LOG_BYTES_MAX: u64 = 8 << 20;

/// Plays stories.
#[derive(Clone, Debug)]
pub struct Player {
    /// The binary `starling`.
    pub node_binary: PathBuf,
    /// Where the testbed is kept while it stands.
    pub dir: PathBuf,
    /// What a story came to goes to a directory of its name here.
    pub out: PathBuf,
    /// See [`cluster::Settings::first_port`].
    pub first_port: u16,
    /// In a network, also where the story needs none.
    pub netns: bool,
    /// `--log-level` of the nodes.
    pub log_level: String,
    /// Cancelled, what is played is broken off, and its testbed ended.
    pub enough: CancellationToken,
}

/// What a story came to.
#[derive(Clone, Debug)]
pub struct Played {
    /// The story's name.
    pub name: String,
    /// In one word, and why.
    pub verdict: Verdict,
    /// What was expected, and seen.
    pub found: Vec<Found>,
    /// How long it took, with the testbed's start and end.
    pub took: Duration,
}

/// What a story came to, in one word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All that was expected holds.
    Passed,
    /// Something does not hold.
    Failed,
    /// It could not be played to its end.
    Broken(String),
    /// It was not played.
    Skipped(String),
}

impl Player {
    /// Plays one story. Also where that fails, nothing is left running.
    pub async fn play(&self, story: &Story, seed: u64, tell: Tell<'_>) -> Played {
        let begun = Instant::now();
        let netns = self.netns || story.stage.network;
        let (verdict, found) = if netns && !nix::unistd::geteuid().is_root() {
            (Verdict::Skipped("needs root, for a network of namespaces".to_owned()), Vec::new())
        } else {
            match self.stage(story, seed, netns, tell).await {
                Ok(found) if found.iter().all(|found| found.holds) => (Verdict::Passed, found),
                Ok(found) => (Verdict::Failed, found),
                Err(error) => (Verdict::Broken(format!("{error:#}")), Vec::new()),
            }
        };
        let played = Played { name: story.name.clone(), verdict, found, took: begun.elapsed() };
        if !matches!(played.verdict, Verdict::Skipped(_)) {
            self.keep(story, "result.txt", &played.to_string(), tell);
        }
        played
    }

    /// Where what came of a story is.
    pub fn out_of(&self, story: &Story) -> PathBuf {
        self.out.join(&story.name)
    }

    /// Builds the testbed, has the story played there, and takes it away again.
    async fn stage(
        &self,
        story: &Story,
        seed: u64,
        netns: bool,
        tell: Tell<'_>,
    ) -> anyhow::Result<Vec<Found>> {
        let out = self.out_of(story);
        // What an earlier run came to would be taken for this one's.
        if out.exists() {
            std::fs::remove_dir_all(&out).with_context(|| format!("cannot clear {}", out.display()))?;
        }
        std::fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
        self.keep(story, "story.txt", &story.to_string(), tell);
        let settings = cluster::Settings {
            topology: story.topology()?,
            dir: self.dir.clone(),
            node_binary: self.node_binary.clone(),
            netns,
            faulty: true,
            first_port: self.first_port,
            log_level: self.log_level.clone(),
            ready_timeout: READY_TIMEOUT,
        };
        let begun = Instant::now();
        let cluster = Cluster::up_unless(&settings, &mut |_| {}, &self.enough)
            .await
            .context("the testbed did not start")?;
        tell(&format!(
            "{} nodes ready after {:.1} s",
            cluster.state().nodes.len(),
            begun.elapsed().as_secs_f64()
        ));
        let limit = story.lasts + story.settles + RUN_PATIENCE;
        let acting = async {
            tokio::select! {
                acted = tokio::time::timeout(limit, self.act(&cluster, story, seed, &mut *tell)) => {
                    acted.unwrap_or_else(|_| Err(anyhow!("it was not over after {} s", limit.as_secs())))
                }
                () = self.enough.cancelled() => Err(anyhow!("interrupted")),
            }
        };
        // Somebody's mistake in a judgement must not leave a mesh behind.
        let found = match AssertUnwindSafe(acting).catch_unwind().await {
            Ok(found) => found,
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                Err(anyhow!("a panic: {}", text.unwrap_or_default()))
            }
        };
        if !found.as_ref().is_ok_and(|found| found.iter().all(|found| found.holds)) {
            for node in cluster.state().nodes {
                if let Err(error) = keep_log(&node.log(), &out.join(format!("{}.log", node.name))) {
                    tell(&format!("the log of {} is lost: {error}", node.name));
                }
            }
        }
        let down = tokio::time::timeout(DOWN_TIMEOUT, cluster.down(&mut |_| {})).await;
        let ended =
            down.unwrap_or_else(|_| Err(anyhow!("it takes longer than {} s", DOWN_TIMEOUT.as_secs())));
        let found = found?;
        ended.with_context(|| format!("the testbed in {} did not end", self.dir.display()))?;
        Ok(found)
    }

    /// The story itself, on a testbed that stands.
    async fn act(
        &self,
        cluster: &Cluster,
        story: &Story,
        seed: u64,
        tell: Tell<'_>,
    ) -> anyhow::Result<Vec<Found>> {
        let state = cluster.state();
        let names: Vec<String> = state.nodes.iter().map(|node| node.name.clone()).collect();
        cluster.settled(&names, READY_TIMEOUT).await.context("the mesh did not settle")?;
        let press = Press::at(state.origin.address);
        press.reset_stats().await.context("the origin's counters")?;
        let settings = run::Settings {
            seed,
            time: story.lasts,
            workload: story.workload.clone(),
            settle: story.settles,
            again: format!(
                "testbed/scenario run {} --seed {seed}{}",
                story.name,
                if state.netns && !story.stage.network { " --netns" } else { "" }
            ),
            history: self.out_of(story).join("history.jsonl"),
        };
        let events = run::run(cluster, &story.schedule, &settings, &mut *tell).await.context("the run")?;
        let stats = press.stats().await.context("the origin's counters")?;
        let judged = checker::judge(&events);
        self.keep(story, "summary.txt", &report::summary(&events, &judged), tell);
        self.keep(story, "timeline.svg", &report::timeline(&events, &judged), tell);
        Ok(hold(story, &Seen { events: &events, stats: &stats, judged: &judged }))
    }

    /// What cannot be written is told, and changes nothing about the story.
    fn keep(&self, story: &Story, name: &str, text: &str, tell: Tell<'_>) {
        let file = self.out_of(story).join(name);
        if let Err(error) = std::fs::write(&file, text) {
            tell(&format!("cannot write {}: {error}", file.display()));
        }
    }
}

/// Copies a log's end.
fn keep_log(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut log = std::fs::File::open(from)?;
    let begin = log.metadata()?.len().saturating_sub(LOG_BYTES_MAX);
    log.seek(SeekFrom::Start(begin))?;
    std::io::copy(&mut log.take(LOG_BYTES_MAX), &mut std::fs::File::create(to)?)?;
    Ok(())
}

impl std::fmt::Display for Played {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let took = format!("after {:.1} s", self.took.as_secs_f64());
        match &self.verdict {
            Verdict::Passed => write!(out, "passed: {} {took}", self.name)?,
            Verdict::Failed => write!(out, "FAILED: {} {took}", self.name)?,
            Verdict::Broken(why) => write!(out, "FAILED: {} {took}: {why}", self.name)?,
            Verdict::Skipped(why) => write!(out, "skipped: {}: {why}", self.name)?,
        }
        for found in &self.found {
            write!(out, "\n  {found}")?;
        }
        Ok(())
    }
}
