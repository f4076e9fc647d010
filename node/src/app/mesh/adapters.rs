//! What crosses between link and gossip, in the words of each; and the small questions of peers.

use std::{sync::Arc, time::Duration};

use starling_proto::{
    NodeId,
    members::{Addresses, View},
    wire::{Call, Refusal, Reply},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::super::spread::Spread;
use crate::{
    gossip::{Errand, Heard, LinkNews},
    link::{AskErrorKind, Carrier, Greeting, IncomingCall, Link, Peer, Report},
};

/// Errands under way; more wait in their channel.
const ERRANDS_MAX: usize = 128;
/// Probes on behalf of peers under way; more are refused, so that nobody makes this node flood another.
const PROBES_MAX: usize = 32;

/// Purge calls of peers under way.
const PURGE_CALLS_MAX: usize = 64;

/// What the adapters need.
#[derive(Clone)]
pub(super) struct Adapters {
    pub link: Link,
    pub spread: Spread,
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
            Errand::Probe { target, via: None, addresses, reply } => {
                let _ = reply.send(self.ping(target, addresses).await);
            }
            Errand::Probe { target, via: Some((through, at)), reply, .. } => {
                let _ = reply.send(self.ping_through(target, through, at).await);
            }
        }
    }

    /// How long the node took to say that it is there.
    async fn ping(&self, node: NodeId, at: Addresses) -> Option<Duration> {
        let asked = Instant::now();
        let reply = self.link.call(self.peer(node, at), Call::Ping, self.ping_timeout).await.ok()?;
        (reply == Reply::Pong).then(|| asked.elapsed())
    }

    /// As [`Self::ping`], by way of another node, which is given time for its own ping.
    async fn ping_through(&self, node: NodeId, through: NodeId, at: Addresses) -> Option<Duration> {
        let asked = Instant::now();
        let call = Call::PingFor(node);
        let reply = self.link.call(self.peer(through, at), call, 2 * self.ping_timeout).await.ok()?;
        (reply == Reply::PongOf(node, true)).then(|| asked.elapsed())
    }

    async fn take_calls(self, mut calls: mpsc::Receiver<IncomingCall>) {
        let (mut probes, mut purges) = (JoinSet::new(), JoinSet::new());
        loop {
            let IncomingCall { from, call, reply } = tokio::select! {
                Some(_) = probes.join_next() => continue,
                Some(_) = purges.join_next() => continue,
                call = calls.recv() => match call {
                    Some(call) => call,
                    None => return,
                },
            };
            let at_once = match call {
                Call::Ping => Reply::Pong,
                Call::Apply(_) | Call::Missing(_) if purges.len() >= PURGE_CALLS_MAX => {
                    Reply::Refused(Refusal::Busy)
                }
                call @ (Call::Apply(_) | Call::Missing(_)) => {
                    let spread = self.spread.clone();
                    purges.spawn(async move {
                        let _ = reply.send(spread.answer(from, call).await);
                    });
                    continue;
                }
                Call::PingFor(_) if probes.len() >= PROBES_MAX => Reply::Refused(Refusal::Busy),
                Call::PingFor(node) => match self.addresses_of(node) {
                    Where::Here => Reply::PongOf(node, true),
                    Where::Unknown => Reply::PongOf(node, false),
                    Where::At(addresses) => {
                        let adapters = self.clone();
                        probes.spawn(async move {
                            let is_there = adapters.ping(node, addresses).await.is_some();
                            let _ = reply.send(Reply::PongOf(node, is_there));
                        });
                        continue;
                    }
                },
            };
            // A peer that has gone needs no answer.
            let _ = reply.send(at_once);
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
        peer(&self.view.borrow(), id, at)
    }
}

enum Where {
    Here,
    At(Addresses),
    Unknown,
}

/// TCP inside the PoP, and to who is not known yet; QUIC to all others.
pub(super) fn peer(view: &View, id: NodeId, at: Addresses) -> Peer {
    let place = |id: &NodeId| {
        let claim = &view.members.get(id)?.profile.ticket.claim;
        Some((&claim.region, &claim.pop))
    };
    let is_far = place(&id).is_some_and(|there| place(&view.me).is_some_and(|here| here != there));
    match is_far {
        true => Peer { id, address: at.link_quic, carrier: Carrier::Quic },
        false => Peer { id, address: at.mesh, carrier: Carrier::Tcp },
    }
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
