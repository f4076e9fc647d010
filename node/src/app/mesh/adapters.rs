//! What crosses between link and gossip, in the words of each; and the small questions of peers.

use std::{future::Future, sync::Arc, time::Duration};

use starling_proto::{
    NodeId,
    members::{Addresses, View},
    wire::{Call, Refusal, Reply},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::super::{fence::Fencing, receipts::Witness, spread::Spread};
use crate::{
    gossip::{Errand, Heard, LinkNews},
    link::{AskErrorKind, Greeting, IncomingCall, Link, Peer, Report},
    region::Group,
};

/// Errands under way; more wait in their channel.
const ERRANDS_MAX: usize = 128;
/// Probes on behalf of peers under way; more are refused, so that nobody makes this node flood another.
const PROBES_MAX: usize = 32;

/// Messages of the region's group under way: they wait for nothing but the disk.
const GROUP_CALLS_MAX: usize = 512;
/// Pushes and comparisons of peers under way.
const LOG_CALLS_MAX: usize = 256;
/// Proposals of peers under way.
const PROPOSALS_MAX: usize = 512;
/// Questions for the region's head under way.
const HEADS_MAX: usize = 256;
/// Questions for receipts under way; each may wait a second.
const RECEIPTS_MAX: usize = 256;
/// There was no place here for a ping: it is tried again after this.
const PING_AGAIN: Duration = Duration::from_millis(20);

/// What the adapters need.
#[derive(Clone)]
pub(super) struct Adapters {
    pub link: Link,
    pub spread: Spread,
    pub group: Group,
    pub fence: Fencing,
    pub witness: Witness,
    pub view: watch::Receiver<Arc<View>>,
    /// How long a node may take to say that it is there.
    pub ping_timeout: Duration,
    pub stop: CancellationToken,
}

/// The ends of all channels.
pub(super) struct Ends {
    pub greetings: mpsc::Receiver<Greeting>,
    pub heard: mpsc::Sender<Heard>,
    pub reports: mpsc::Receiver<Report>,
    pub news: mpsc::Sender<LinkNews>,
    pub calls: mpsc::Receiver<IncomingCall>,
    pub errands: mpsc::Receiver<Errand>,
}

impl Adapters {
    /// Runs all adapters until they are stopped.
    pub fn spawn_on(self, tasks: &TaskTracker, ends: Ends) {
        let until = |stop: &CancellationToken| stop.clone();
        tasks.spawn(until(&self.stop).run_until_cancelled_owned(pass_greetings(ends.greetings, ends.heard)));
        tasks.spawn(until(&self.stop).run_until_cancelled_owned(pass_reports(ends.reports, ends.news)));
        tasks.spawn(until(&self.stop).run_until_cancelled_owned(self.clone().run_errands(ends.errands)));
        tasks.spawn(until(&self.stop).run_until_cancelled_owned(self.clone().take_calls(ends.calls)));
    }

    async fn run_errands(self, mut errands: mpsc::Receiver<Errand>) {
        let mut under_way = JoinSet::new();
        loop {
            tokio::select! {
                Some(_) = under_way.join_next() => {}
                errand = errands.recv(), if under_way.len() < ERRANDS_MAX => match errand {
                    Some(errand) => drop(under_way.spawn(self.clone().run_errand(errand))),
                    // Gossip has ended, and nobody waits for what is under way.
                    None => return,
                },
            }
        }
    }

    /// Whoever sent the errand may have stopped waiting: its answer is news for nobody then.
    async fn run_errand(self, errand: Errand) {
        match errand {
            Errand::Greet { address, expected, reply } => {
                let heard = match self.link.greet(address, expected).await {
                    Ok(Greeting { from, hello, .. }) => Ok(Heard { from, hello }),
                    Err(error) => Err(error.to_string()),
                };
                let _ = reply.send(heard);
            }
            // A probe that was not sent says nothing of its target: then the errand is dropped without an answer.
            Errand::Probe { target, via: None, addresses, reply } => {
                if let Ok(took) = self.ping(target, addresses).await {
                    let _ = reply.send(took);
                }
            }
            Errand::Probe { target, via: Some((through, at)), reply, .. } => {
                if let Ok(took) = self.ping_through(target, through, at).await {
                    let _ = reply.send(took);
                }
            }
        }
    }

    /// How long the node took to say that it is there; none when it did not.
    async fn ping(&self, node: NodeId, at: Addresses) -> Result<Option<Duration>, NoPlace> {
        let (reply, took) = self.ask(self.peer(node, at), Call::Ping, self.ping_timeout).await?;
        Ok((reply == Some(Reply::Pong)).then_some(took))
    }

    /// As [`Self::ping`], by way of another node, which is given time for its own ping.
    async fn ping_through(
        &self,
        node: NodeId,
        through: NodeId,
        at: Addresses,
    ) -> Result<Option<Duration>, NoPlace> {
        let call = Call::PingFor(node);
        let (reply, took) = self.ask(self.peer(through, at), call, 2 * self.ping_timeout).await?;
        Ok((reply == Some(Reply::PongOf(node, true))).then_some(took))
    }

    /// The answer, and how long it took. While there is no place for a call here it is tried again.
    async fn ask(
        &self,
        peer: Peer,
        call: Call,
        timeout: Duration,
    ) -> Result<(Option<Reply>, Duration), NoPlace> {
        let give_up = Instant::now() + timeout;
        loop {
            let asked = Instant::now();
            match self.link.call(peer, call.clone(), timeout).await {
                Ok(reply) => return Ok((Some(reply), asked.elapsed())),
                Err(error) if error.kind != AskErrorKind::Full => return Ok((None, asked.elapsed())),
                Err(_) if Instant::now() >= give_up => return Err(NoPlace),
                Err(_) => tokio::time::sleep(PING_AGAIN).await,
            }
        }
    }

    async fn take_calls(self, mut calls: mpsc::Receiver<IncomingCall>) {
        let mut probes = Lane::new(PROBES_MAX);
        // The group's messages have a lane of their own, so that they wait behind nothing else.
        let (mut group, mut proposals) = (Lane::new(GROUP_CALLS_MAX), Lane::new(PROPOSALS_MAX));
        let (mut heads, mut logs) = (Lane::new(HEADS_MAX), Lane::new(LOG_CALLS_MAX));
        let mut receipts = Lane::new(RECEIPTS_MAX);
        while let Some(IncomingCall { from, call, reply }) = calls.recv().await {
            let this = self.clone();
            match call {
                // A peer that has gone needs no answer.
                Call::Ping => drop(reply.send(Reply::Pong)),
                Call::Leases => drop(reply.send(this.fence.answer())),
                Call::Group(_) => group.take(reply, async move { this.group.answer(from, call).await }),
                Call::Propose(_) => proposals.take(reply, async move { this.group.answer(from, call).await }),
                Call::Head => heads.take(reply, async move { this.group.answer(from, call).await }),
                Call::Push { .. } | Call::Missing(_) => {
                    logs.take(reply, async move { this.spread.answer(from, call).await });
                }
                Call::Receipt { id, wait_ms } => {
                    receipts.take(reply, async move { this.witness.answer(from, id, wait_ms).await });
                }
                Call::PingFor(node) => match self.addresses_of(node) {
                    Where::Here => drop(reply.send(Reply::PongOf(node, true))),
                    Where::Unknown => drop(reply.send(Reply::PongOf(node, false))),
                    Where::At(addresses) => probes.take(reply, async move {
                        match this.ping(node, addresses).await {
                            Ok(took) => Reply::PongOf(node, took.is_some()),
                            Err(NoPlace) => Reply::Refused(Refusal::Busy),
                        }
                    }),
                },
            }
        }
    }

    fn addresses_of(&self, node: NodeId) -> Where {
        let view = self.view.borrow();
        match view.members.get(&node) {
            _ if node == view.me => Where::Here,
            Some(member) => Where::At(member.profile.addresses),
            None => Where::Unknown,
        }
    }

    fn peer(&self, id: NodeId, at: Addresses) -> Peer {
        Peer::at(&self.view.borrow(), id, at)
    }
}

/// Too many calls to the peer were under way here: it was not asked.
struct NoPlace;

/// Answers of one kind under way.
struct Lane {
    under_way: JoinSet<()>,
    max: usize,
}

impl Lane {
    fn new(max: usize) -> Self {
        Self { under_way: JoinSet::new(), max }
    }

    /// Answers beside the others, or says that there is too much to do.
    fn take(&mut self, reply: oneshot::Sender<Reply>, answer: impl Future<Output = Reply> + Send + 'static) {
        while self.under_way.try_join_next().is_some() {}
        if self.under_way.len() >= self.max {
            return drop(reply.send(Reply::Refused(Refusal::Busy)));
        }
        self.under_way.spawn(async move { drop(reply.send(answer.await)) });
    }
}

enum Where {
    Here,
    At(Addresses),
    Unknown,
}

async fn pass_greetings(mut greetings: mpsc::Receiver<Greeting>, heard: mpsc::Sender<Heard>) {
    while let Some(Greeting { from, hello, .. }) = greetings.recv().await {
        // Gossip ends before the link: who greets a node that leaves is not told on.
        let _ = heard.send(Heard { from, hello }).await;
    }
}

async fn pass_reports(mut reports: mpsc::Receiver<Report>, news: mpsc::Sender<LinkNews>) {
    while let Some(report) = reports.recv().await {
        if let Some(said) = said_of(&report) {
            // The next report says the same: one that finds no place may be lost.
            let _ = news.try_send(said);
        }
    }
}

/// What a report says of its peer; nothing when this node asked too much at a time.
fn said_of(report: &Report) -> Option<LinkNews> {
    let took = match &report.outcome {
        Ok(took) => Some(*took),
        // It answered, if only to say no.
        Err(AskErrorKind::Refused(_)) => Some(Duration::ZERO),
        Err(AskErrorKind::Full) => return None,
        Err(_) => None,
    };
    Some(LinkNews { peer: report.peer, took })
}
