//! `starling-testbed scenario`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::ensure;
use clap::Subcommand;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::scenario::{Played, Player, Story, Verdict};

#[derive(clap::Args)]
pub struct Scenario {
    /// Where the stories are
    #[arg(long, global = true, default_value = "testbed/scenarios", value_name = "DIR")]
    stories: PathBuf,
    #[command(subcommand)]
    command: What,
}

#[derive(Subcommand)]
enum What {
    /// Tell which stories there are
    List,
    /// Play stories one after the other, each on a testbed of its own
    Run(Run),
}

#[derive(clap::Args)]
struct Run {
    /// Names of stories, or files
    #[arg(required_unless_present_any = ["all", "default"], conflicts_with_all = ["all", "default"])]
    names: Vec<String>,
    /// All stories; those that need a network are skipped where there cannot be one
    #[arg(long, conflicts_with = "default")]
    all: bool,
    /// Those that need no root and last less than half a minute
    #[arg(long)]
    default: bool,
    /// With --default: also those of them that need a network
    #[arg(long, requires = "default")]
    netns_too: bool,
    /// In a network of namespaces, also where a story needs none; needs root
    #[arg(long)]
    netns: bool,
    /// Where histories, summaries and timelines go
    #[arg(long, default_value = "target/stories", value_name = "DIR")]
    out: PathBuf,
    /// The first port on loopback
    #[arg(long, default_value_t = 25_000, value_name = "PORT")]
    first_port: u16,
    /// Everything random is of it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Each story so often, each time with the next seed
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    times: u64,
    /// The binary of the nodes; else that beside this one
    #[arg(long, env = "STARLING_BINARY", value_name = "FILE")]
    node_binary: Option<PathBuf>,
    /// `--log-level` of the nodes
    #[arg(long, default_value = "info", value_name = "LEVEL")]
    log_level: String,
}

impl Scenario {
    pub async fn run(self, dir: &Path) -> anyhow::Result<u8> {
        match self.command {
            What::List => match Story::load_all(&self.stories) {
                Ok(stories) => {
                    list(&stories);
                    Ok(0)
                }
                Err(error) => Ok(usage(&error)),
            },
            What::Run(run) => match run.stories(&self.stories) {
                Ok(stories) => run.play(&stories, dir).await,
                Err(error) => Ok(usage(&error)),
            },
        }
    }
}

/// Tells what is wrong with what was asked for; answers the exit code.
fn usage(error: &anyhow::Error) -> u8 {
    eprintln!("starling-testbed: {error:#}");
    2
}

fn list(stories: &[Story]) {
    let width = stories.iter().map(|story| story.name.len()).max().unwrap_or(0);
    for story in stories {
        let needs = match (story.is_default(), story.stage.network) {
            (true, _) => "default",
            (_, true) => "network",
            _ => "",
        };
        let seconds = story.lasts.as_secs();
        say!("{:width$}  {needs:7}  {seconds:3} s  {}", story.name, story.title);
    }
}

impl Run {
    /// Those that are asked for.
    fn stories(&self, dir: &Path) -> anyhow::Result<Vec<Story>> {
        if !self.all && !self.default {
            return self.names.iter().map(|name| named(name, dir)).collect();
        }
        let mut stories = Story::load_all(dir)?;
        if self.default {
            stories.retain(|story| story.is_default() || (self.netns_too && story.stage.network));
        }
        ensure!(!stories.is_empty(), "there is no story in {}", dir.display());
        Ok(stories)
    }

    async fn play(&self, stories: &[Story], dir: &Path) -> anyhow::Result<u8> {
        let player = Player {
            node_binary: self.node_binary()?,
            // Beside a testbed that may stand there, not in it.
            dir: PathBuf::from(format!("{}-story", dir.display())),
            out: self.out.clone(),
            first_port: self.first_port,
            netns: self.netns,
            log_level: self.log_level.clone(),
            enough: CancellationToken::new(),
        };
        watch(&player.enough)?;
        let begun = Instant::now();
        let mut all = Vec::new();
        for story in stories {
            for seed in (self.seed..).take(usize::try_from(self.times)?) {
                say!("{}, seed {seed}: {}", story.name, story.title);
                let played_since = Instant::now();
                let mut tell =
                    move |line: &str| say!("  {:6.1} s  {line}", played_since.elapsed().as_secs_f64());
                let played = player.play(story, seed, &mut tell).await;
                say!("{played}\n");
                if matches!(played.verdict, Verdict::Failed | Verdict::Broken(_)) {
                    say!("  history, summary, timeline and logs: {}\n", player.out_of(story).display());
                }
                all.push((seed, played));
                if player.enough.is_cancelled() {
                    return Ok(told(&all, begun));
                }
            }
        }
        Ok(told(&all, begun))
    }

    fn node_binary(&self) -> anyhow::Result<PathBuf> {
        let file = match &self.node_binary {
            Some(file) => file.clone(),
            None => std::env::current_exe()?.with_file_name("starling"),
        };
        ensure!(
            file.is_file(),
            "there is no {}: build it, or name another with --node-binary",
            file.display()
        );
        Ok(file)
    }
}

/// A story by its name or its file.
fn named(name: &str, dir: &Path) -> anyhow::Result<Story> {
    let file = match name.ends_with(".story") {
        true => PathBuf::from(name),
        false => dir.join(format!("{name}.story")),
    };
    if !file.is_file() {
        let known: Vec<String> = Story::load_all(dir)?.into_iter().map(|story| story.name).collect();
        anyhow::bail!("there is no story {name:?}; there are {}", known.join(", "));
    }
    Story::load(&file)
}

/// Has the player break off when somebody has had enough.
fn watch(enough: &CancellationToken) -> anyhow::Result<()> {
    let enough = enough.clone();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        say!("interrupted: the testbed is ended");
        enough.cancel();
    });
    Ok(())
}

/// Tells how all of them went; answers the exit code.
fn told(all: &[(u64, Played)], begun: Instant) -> u8 {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (seed, played) in all {
        let word = match played.verdict {
            Verdict::Passed => "passed",
            Verdict::Failed | Verdict::Broken(_) => "failed",
            Verdict::Skipped(_) => "skipped",
        };
        *counts.entry(word).or_default() += 1;
        if all.len() > 1 {
            say!("{word:7}  {:5.1} s  {}, seed {seed}", played.took.as_secs_f64(), played.name);
        }
    }
    let counts: Vec<String> = counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
    say!("stories: {} in {:.0} s", counts.join(", "), begun.elapsed().as_secs_f64());
    u8::from(all.iter().any(|(_, played)| matches!(played.verdict, Verdict::Failed | Verdict::Broken(_))))
}
