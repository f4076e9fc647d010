//! Faults, carried out.

use std::{
    fs,
    net::IpAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, bail, ensure};
use futures_util::future::join_all;

use super::{
    DiskHow, Done, Fault, Faults, Nodes, OriginHow, Worse, between,
    disk::{self, TAKES_EFFECT, Wrong},
    nodes::Life,
};
use crate::{
    cluster::{Node, Process, State},
    net,
    press::{Behaviour, Press},
    topology::Quality,
};

/// Longer than a node takes to drain (`drain_timeout_ms`) and to write down what it has.
const STOP_PATIENCE: Duration = Duration::from_secs(60);
/// A file in the directory of a node whose namespace stands still.
const FROZEN: &str = "frozen";
/// A thread in the middle of a call to a slow disk stands still only after it.
const PAUSE_TIMEOUT: Duration = Duration::from_secs(10);

impl Faults {
    /// Whether this testbed can have this fault; the error says what it lacks.
    ///
    /// # Errors
    ///
    /// When it has no network, no faulty nodes, or nothing of such a name.
    pub fn is_possible(&self, fault: &Fault) -> anyhow::Result<()> {
        let state = self.cluster.state();
        is_possible(&state, fault).with_context(|| format!("`{fault}`"))
    }

    /// Carries one out, and returns when it has taken effect.
    ///
    /// # Errors
    ///
    /// When the testbed cannot have it, or something of it failed; what was done until then stays.
    pub async fn inflict(&self, fault: &Fault) -> anyhow::Result<Done> {
        self.is_possible(fault)?;
        self.carry_out(fault).await.with_context(|| format!("`{fault}`"))
    }

    async fn carry_out(&self, fault: &Fault) -> anyhow::Result<Done> {
        match fault {
            Fault::Kill(nodes) => self.kill(nodes).await,
            Fault::Stop(nodes) => self.stop(nodes).await,
            Fault::Restart(nodes) => self.restart(nodes).await,
            Fault::Start(nodes) => self.start(nodes).await,
            Fault::Pause(nodes) => self.pause(nodes, true).await,
            Fault::Resume(nodes) => self.pause(nodes, false).await,
            Fault::Freeze(nodes) => self.freeze(nodes, true).await,
            Fault::Thaw(nodes) => self.freeze(nodes, false).await,
            Fault::PowerCut(nodes) => self.power_cut(nodes).await,
            Fault::KeepDisk(nodes) => self.keep_disk(nodes).await,
            Fault::OldDisk(nodes) => self.old_disk(nodes).await,
            Fault::Clock(nodes, offset_ms) => {
                let done = self.go_wrong(nodes, |wrong| wrong.clock_ms = *offset_ms).await?;
                let (told, offset) = (done.join(", "), super::text::Offset(*offset_ms));
                Ok(Done { told: format!("the clock is {offset} at {told}"), nodes: done })
            }
            Fault::Disk(nodes, how) => {
                let done = self.go_wrong(nodes, |wrong| wrong.disk = *how).await?;
                Ok(Done { told: format!("the disk is {how} at {}", done.join(", ")), nodes: done })
            }
            Fault::Cut { from, to, one_way } => self.cut(from, to, *one_way).await,
            Fault::Way { from, to, worse } => self.way(from, to, worse).await,
            Fault::Flap { from, to } => {
                self.flap(from, to).await?;
                Ok(Done::without_nodes(format!("the way between {from} and {to} comes and goes")))
            }
            Fault::Heal => self.heal().await,
            Fault::Origin(how) => self.origin(*how).await,
        }
    }

    /// The nodes that are meant, as they are known now.
    async fn meant(&self, nodes: &Nodes) -> anyhow::Result<Vec<Node>> {
        let names = self.resolve(nodes).await?;
        names.iter().map(|name| self.cluster.node(name)).collect()
    }

    /// The same, apart by whether they are still to be done something to.
    async fn apart(&self, nodes: &Nodes, is_wanted: impl Fn(Life) -> bool) -> anyhow::Result<Apart> {
        let (wanted, others) =
            self.meant(nodes).await?.into_iter().partition(|node| is_wanted(Life::of(node)));
        Ok(Apart { wanted, others })
    }

    async fn kill(&self, nodes: &Nodes) -> anyhow::Result<Done> {
        // Also those that crashed: they count as ended from now on.
        let apart = self.apart(nodes, |life| life != Life::Ended).await?;
        self.kill_these(&apart.wanted).await?;
        Ok(apart.done("killed"))
    }

    async fn kill_these(&self, nodes: &[Node]) -> anyhow::Result<()> {
        let with_process = nodes.iter().filter(|node| node.process.is_some());
        let names: Vec<String> = with_process.map(|node| node.name.clone()).collect();
        match names.is_empty() {
            true => Ok(()),
            false => self.cluster.kill(&names).await,
        }
    }

    async fn stop(&self, nodes: &Nodes) -> anyhow::Result<Done> {
        let apart = self.apart(nodes, Life::runs).await?;
        all(apart.wanted.iter().map(async |node| self.cluster.stop(&node.name, STOP_PATIENCE).await)).await?;
        Ok(apart.done("stopped"))
    }

    async fn restart(&self, nodes: &Nodes) -> anyhow::Result<Done> {
        let apart = self.apart(nodes, |_| true).await?;
        for node in &apart.wanted {
            if Life::of(node).runs() {
                self.cluster.stop(&node.name, STOP_PATIENCE).await?;
            }
            self.cluster.start(&node.name).await?;
        }
        Ok(apart.done("restarted"))
    }

    async fn start(&self, nodes: &Nodes) -> anyhow::Result<Done> {
        let apart = self.apart(nodes, |life| !life.runs()).await?;
        all(apart.wanted.iter().map(async |node| self.cluster.start(&node.name).await)).await?;
        Ok(apart.done("started"))
    }

    async fn pause(&self, nodes: &Nodes, paused: bool) -> anyhow::Result<Done> {
        let from = if paused { Life::Runs } else { Life::Paused };
        let apart = self.apart(nodes, |life| life == from).await?;
        for node in &apart.wanted {
            self.cluster.pause(&node.name, paused)?;
        }
        for node in apart.wanted.iter().filter(|_| paused) {
            stands_still(node).await?;
        }
        Ok(apart.done(if paused { "paused" } else { "resumed" }))
    }

    async fn freeze(&self, nodes: &Nodes, frozen: bool) -> anyhow::Result<Done> {
        let apart = self.apart(nodes, |_| true).await?;
        let (wanted, others) = apart.wanted.into_iter().partition(|node| is_marked(node, FROZEN) != frozen);
        let apart = Apart { wanted, others };
        self.freeze_these(&apart.wanted, frozen).await?;
        Ok(apart.done(if frozen { "frozen" } else { "thawed" }))
    }

    async fn freeze_these(&self, nodes: &[Node], frozen: bool) -> anyhow::Result<()> {
        let net = self.net()?;
        for node in nodes {
            let namespace = node.namespace.as_ref();
            let namespace = namespace.with_context(|| format!("{} has no namespace", node.name))?;
            // Marked before, so that whoever is interrupted here leaves nothing frozen that nobody knows of.
            if frozen {
                mark(node, FROZEN, true)?;
            }
            let done = net.freeze(namespace, frozen).await;
            if !frozen || done.is_err() {
                mark(node, FROZEN, false)?;
            }
            done?;
        }
        Ok(())
    }

    async fn power_cut(&self, nodes: &Nodes) -> anyhow::Result<Done> {
        let nodes = self.meant(nodes).await?;
        self.kill_these(&nodes).await?;
        let mut told = Vec::new();
        for node in &nodes {
            let disk::Lost { cut, removed, bytes } = blocking(node, |dir| disk::cut_power(&dir)).await?;
            told.push(format!("{} lost {bytes} bytes ({removed} files, ends of {cut} others)", node.name));
        }
        Ok(Done { nodes: names(&nodes), told: format!("power was cut: {}", told.join(", ")) })
    }

    async fn keep_disk(&self, nodes: &Nodes) -> anyhow::Result<Done> {
        let nodes = self.meant(nodes).await?;
        let mut told = Vec::new();
        for node in &nodes {
            // A copy of files that change meanwhile is none of any moment: no disk ever held that.
            let runs = Life::of(node) == Life::Runs && !is_marked(node, FROZEN);
            if runs {
                self.cluster.pause(&node.name, true)?;
            }
            let still = if runs { stands_still(node).await } else { Ok(()) };
            let kept = match still {
                Ok(()) => blocking(node, |dir| disk::keep(&dir)).await,
                Err(error) => Err(error),
            };
            if runs {
                self.cluster.pause(&node.name, false)?;
            }
            told.push(format!("{} ({} bytes)", node.name, kept?));
        }
        Ok(Done { nodes: names(&nodes), told: format!("a copy is kept of the disk of {}", told.join(", ")) })
    }

    async fn old_disk(&self, nodes: &Nodes) -> anyhow::Result<Done> {
        let nodes = self.meant(nodes).await?;
        if let Some(node) = nodes.iter().find(|node| !disk::is_kept(&node.dir)) {
            bail!("there is no copy of the disk of {0}: first `keep-disk {0}`", node.name);
        }
        self.kill_these(&nodes).await?;
        for node in &nodes {
            blocking(node, |dir| disk::put_back(&dir)).await?;
        }
        Ok(Apart::all(nodes).done("killed, with the old disk in its place:"))
    }

    /// Changes the files of faults; answers the names.
    async fn go_wrong(&self, nodes: &Nodes, change: impl Fn(&mut Wrong)) -> anyhow::Result<Vec<String>> {
        let nodes = self.meant(nodes).await?;
        self.change(&nodes, change).await?;
        Ok(names(&nodes))
    }

    async fn change(&self, nodes: &[Node], change: impl Fn(&mut Wrong)) -> anyhow::Result<()> {
        for node in nodes {
            let mut wrong = Wrong::read(&node.dir)?;
            change(&mut wrong);
            wrong.write(&node.dir)?;
        }
        tokio::time::sleep(TAKES_EFFECT).await;
        Ok(())
    }

    async fn cut(&self, from: &Nodes, to: &Nodes, one_way: bool) -> anyhow::Result<Done> {
        let (from, mut to) = (self.meant(from).await?, self.meant(to).await?);
        // `cut lon-1 from all` means all others.
        to.retain(|node| from.iter().all(|other| other.name != node.name));
        ensure!(!from.is_empty() && !to.is_empty(), "there is nothing to cut it from");
        let addresses = |nodes: &[Node]| nodes.iter().map(|node| node.mesh.ip()).collect::<Vec<IpAddr>>();
        let (here, there) = (addresses(&from), addresses(&to));
        let net = self.net()?;
        net.cut(&here, &there).await?;
        if !one_way {
            net.cut(&there, &here).await?;
        }
        let (from, to) = (names(&from), names(&to));
        let told = match one_way {
            true => format!("nothing passes from {} to {}", from.join(", "), to.join(", ")),
            false => format!("nothing passes between {} and {}", from.join(", "), to.join(", ")),
        };
        Ok(Done { nodes: [from, to].concat(), told })
    }

    async fn way(&self, from: &str, to: &str, worse: &Worse) -> anyhow::Result<Done> {
        let quality = worse.than(self.cluster.state().topology.quality(from, to));
        let net = self.net()?;
        net.degrade(from, to, Some(quality)).await?;
        net.degrade(to, from, Some(quality)).await?;
        self.ways.lock().insert(between(from, to), quality);
        Ok(Done::without_nodes(format!("the way between {from} and {to} has{worse}")))
    }

    async fn heal(&self) -> anyhow::Result<Done> {
        self.end_flaps().await?;
        self.ways.lock().clear();
        match self.cluster.state().net {
            Some(net) => {
                net.heal().await?;
                Ok(Done::without_nodes("all ways are as they were".to_owned()))
            }
            None => Ok(Done::without_nodes("there is no network to heal".to_owned())),
        }
    }

    async fn origin(&self, how: OriginHow) -> anyhow::Result<Done> {
        let origin = self.cluster.state().origin;
        let runs = origin.process.is_some_and(Process::is_alive);
        let press = Press::at(origin.address);
        let well = Behaviour::default();
        match how {
            OriginHow::Dead if runs => self.cluster.origin(false).await?,
            OriginHow::Dead => {}
            // It keeps its editions in a file.
            OriginHow::Well if !runs => self.cluster.origin(true).await?,
            OriginHow::Well => press.behave(well).await?,
            _ if !runs => bail!("the origin is dead: `origin well` starts it"),
            OriginHow::Slow(wait) => {
                let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                press.behave(Behaviour { wait_ms, ..well }).await?;
            }
            OriginHow::Errors => press.behave(Behaviour { fails: true, ..well }).await?,
        }
        Ok(Done::without_nodes(format!(
            "the origin is {}",
            match how {
                OriginHow::Slow(wait) => format!("slow: each answer waits {wait:?}"),
                OriginHow::Errors => "there, with a 503 for every answer".to_owned(),
                how => how.to_string(),
            }
        )))
    }

    /// Makes all well again: ways, clocks, disks, the origin; wakes what stands still and starts what does not run.
    /// Tells what was done.
    ///
    /// # Errors
    ///
    /// When some of it failed; all the rest was done.
    pub async fn recover(&self) -> anyhow::Result<Vec<Done>> {
        let mut told = Vec::new();
        let mut failed = Vec::new();
        let mut note = |what: &str, done: anyhow::Result<Option<Done>>| match done {
            Ok(done) => told.extend(done),
            Err(error) => failed.push(format!("{what}: {error:#}")),
        };
        note("frozen nodes", self.recover_frozen().await);
        note("ways", self.recover_ways().await);
        note("paused nodes", self.recover_paused().await);
        note("clocks and disks", self.recover_wrong().await);
        note("origin", self.origin(OriginHow::Well).await.map(Some));
        note("nodes", self.recover_ended().await);
        match failed.is_empty() {
            true => Ok(told),
            false => Err(anyhow!("not all is well again: {}", failed.join("; "))),
        }
    }

    async fn recover_frozen(&self) -> anyhow::Result<Option<Done>> {
        let mut frozen = self.cluster.state().nodes;
        frozen.retain(|node| is_marked(node, FROZEN));
        if !frozen.is_empty() {
            self.freeze_these(&frozen, false).await?;
        }
        Ok(Apart::all(frozen).some("thawed"))
    }

    async fn recover_ways(&self) -> anyhow::Result<Option<Done>> {
        match self.cluster.state().net {
            Some(_) => self.heal().await.map(Some),
            None => Ok(None),
        }
    }

    async fn recover_paused(&self) -> anyhow::Result<Option<Done>> {
        let mut paused = self.cluster.state().nodes;
        paused.retain(|node| Life::of(node) == Life::Paused);
        for node in &paused {
            self.cluster.pause(&node.name, false)?;
        }
        Ok(Apart::all(paused).some("resumed"))
    }

    async fn recover_wrong(&self) -> anyhow::Result<Option<Done>> {
        let mut wrong = Vec::new();
        for node in self.cluster.state().nodes {
            if !Wrong::read(&node.dir)?.is_well() {
                wrong.push(node);
            }
        }
        if wrong.is_empty() {
            return Ok(None);
        }
        self.change(&wrong, |wrong| *wrong = Wrong { disk: DiskHow::Well, clock_ms: 0 }).await?;
        Ok(Apart::all(wrong).some("clock and disk are well at"))
    }

    async fn recover_ended(&self) -> anyhow::Result<Option<Done>> {
        let mut ended = self.cluster.state().nodes;
        ended.retain(|node| !Life::of(node).runs());
        let crashed = names(ended.iter().filter(|node| Life::of(node) == Life::Crashed));
        all(ended.iter().map(async |node| self.cluster.start(&node.name).await)).await?;
        let mut done = Apart::all(ended).some("started");
        if let Some(done) = done.as_mut().filter(|_| !crashed.is_empty()) {
            done.told += &format!(" (nobody had ended {})", crashed.join(", "));
        }
        Ok(done)
    }

    fn net(&self) -> anyhow::Result<net::State> {
        self.cluster.state().net.context("there is no network")
    }
}

/// See [`Faults::is_possible`].
pub(super) fn is_possible(state: &State, fault: &Fault) -> anyhow::Result<()> {
    ensure!(
        !fault.needs_network() || (state.netns && state.net.is_some()),
        "it needs a network of namespaces: a testbed of `up --netns`"
    );
    ensure!(
        !fault.needs_faulty() || state.faulty,
        "its nodes are not faulty: it needs a testbed of `up --faulty`"
    );
    for nodes in fault.nodes() {
        nodes.parts().try_for_each(|part| part.standing(state).map(drop))?;
    }
    let there: Vec<&str> = state.topology.pops.iter().map(|pop| &*pop.name).collect();
    let lacking = fault.pops().into_iter().find(|pop| !there.contains(pop));
    lacking.map_or(Ok(()), |pop| Err(anyhow!("{pop:?} is no PoP; there are {}", there.join(", "))))
}

impl Done {
    fn without_nodes(told: String) -> Self {
        Self { nodes: Vec::new(), told }
    }
}

/// The nodes that something is done to, and those that are that way already.
struct Apart {
    wanted: Vec<Node>,
    others: Vec<Node>,
}

impl Apart {
    fn all(wanted: Vec<Node>) -> Self {
        Self { wanted, others: Vec::new() }
    }

    fn done(&self, did: &str) -> Done {
        let (wanted, others) = (names(&self.wanted), names(&self.others));
        let mut told = match wanted.is_empty() {
            true => format!("{did} nobody"),
            false => format!("{did} {}", wanted.join(", ")),
        };
        if !others.is_empty() {
            told += &format!("; nothing to do with {}", others.join(", "));
        }
        Done { nodes: [wanted, others].concat(), told }
    }

    /// The same, unless nothing was done.
    fn some(&self, did: &str) -> Option<Done> {
        (!self.wanted.is_empty()).then(|| self.done(did))
    }
}

impl Worse {
    /// What a way becomes that was like this.
    fn than(&self, own: Quality) -> Quality {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        Quality {
            delay_ms: self.delay.map_or(own.delay_ms, ms),
            jitter_ms: self.jitter.map_or(own.jitter_ms, ms),
            loss_percent: self.loss_percent.unwrap_or(own.loss_percent),
            reorder_percent: self.reorder_percent.unwrap_or(own.reorder_percent),
            rate_mbit: self.rate_mbit.unwrap_or(own.rate_mbit),
            ..own
        }
    }
}

fn names<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> Vec<String> {
    nodes.into_iter().map(|node| node.name.clone()).collect()
}

/// Does all of it at once; the error has all that failed.
async fn all(work: impl Iterator<Item = impl Future<Output = anyhow::Result<()>>>) -> anyhow::Result<()> {
    let failed: Vec<String> =
        join_all(work).await.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    ensure!(failed.is_empty(), "{}", failed.join("; "));
    Ok(())
}

/// Whether a node has a mark of this name.
fn is_marked(node: &Node, name: &str) -> bool {
    node.dir.join(name).exists()
}

fn mark(node: &Node, name: &str, marked: bool) -> anyhow::Result<()> {
    let path = node.dir.join(name);
    let done = if marked { fs::write(&path, "") } else { fs::remove_file(&path) };
    done.with_context(|| format!("cannot mark {}", path.display()))
}

/// Waits until none of its threads goes on: a signal takes a moment.
async fn stands_still(node: &Node) -> anyhow::Result<()> {
    let begun = Instant::now();
    while Life::of(node) == Life::Runs {
        ensure!(begun.elapsed() < PAUSE_TIMEOUT, "{} still runs {PAUSE_TIMEOUT:?} after SIGSTOP", node.name);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// Work with the files of a node.
async fn blocking<T: Send + 'static>(
    node: &Node,
    work: impl FnOnce(PathBuf) -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let dir = node.dir.clone();
    let done =
        tokio::task::spawn_blocking(move || work(dir)).await.context("the work with the disk broke")?;
    done.with_context(|| node.name.clone())
}
