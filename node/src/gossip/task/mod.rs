//! The one task of gossip: waits for an event, handles it, carries out the outputs.

mod greetings;
mod heartbeat;
mod leaving;
mod network;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::StreamExt;
use libp2p::Swarm;
use starling_proto::{
    NodeId, UnixMs,
    members::{Input, Members, Notice, Output, Profile, RosterEntry, Status, View},
    wire,
};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    GossipError, Heard, LinkNews, Local, Settings, Wires,
    errands::{Done, Errands},
    gate::Gate,
    hearing::Ear,
    pace::Pace,
    say::Said,
    seeds::Seeds,
    stats::Counts,
    swarm::{self, Behaviour, Topics},
    ties::Ties,
};
use crate::{clock::Clock, identity::Identity};

/// Nodes that a greeting tells of.
const ROSTER_MAX: usize = 1_000;

/// Everything gossip knows; owned by the task.
pub(super) struct Task {
    settings: Settings,
    identity: Arc<Identity>,
    clock: Clock,
    listening: SocketAddr,
    topics: Topics,
    swarm: Swarm<Behaviour>,
    members: Members,
    ear: Ear,
    gate: Gate,
    pace: Pace,
    seeds: Seeds,
    ties: Ties,
    errands: Errands,
    said: Said,
    counts: Arc<Counts>,
    incoming: Incoming,
    hello: watch::Sender<Arc<wire::Hello>>,
    local: Arc<dyn Fn() -> Local + Send + Sync>,
    view: watch::Sender<Arc<View>>,
    /// Who a newcomer is told of; made anew with the neighbours.
    roster: Vec<RosterEntry>,
    /// Somebody connected since this PoP's roster was told last.
    has_newcomers: bool,
    /// The members or connections changed since neighbours were chosen.
    is_changed: bool,
    beats: heartbeat::Beats,
}

/// The queues that others fill.
struct Incoming {
    greetings: tokio::sync::mpsc::Receiver<Heard>,
    link_news: tokio::sync::mpsc::Receiver<LinkNews>,
}

impl Task {
    /// Takes the port. Returns the view that others will watch.
    pub fn new(
        settings: Settings,
        identity: Arc<Identity>,
        wires: Wires,
    ) -> Result<(Self, watch::Receiver<Arc<View>>), GossipError> {
        let clock = Clock::start();
        let now = clock.now_ms();
        let home = identity.ticket.claim.clone();
        let topics = Topics::of(&home);
        let mut swarm = swarm::build(&identity.keypair, &topics, &settings)?;
        let listening = swarm::listen(&mut swarm, settings.listen)?;
        let mut addresses = settings.addresses;
        if addresses.mesh.port() == 0 {
            addresses.mesh.set_port(listening.port());
        }
        let weight = settings.weight;
        let profile =
            Profile { ticket: identity.ticket.clone(), incarnation: settings.incarnation, addresses, weight };
        let members = Members::new(profile, settings.members.clone(), now);
        let (view, watched) = watch::channel(Arc::new(members.view(now)));
        let Wires { greetings, link_news, errands, hello, local } = wires;
        let members_max = settings.members.members_max;
        let mut task = Self {
            ear: Ear { home, pop: topics.pop.hash(), world: topics.world.hash() },
            gate: Gate::new(identity.clone(), members_max),
            pace: Pace::new(settings.messages_per_s_max, members_max),
            seeds: Seeds::new(identity.id, &settings.peers),
            ties: Ties::new(identity.id, (2 * settings.members.heartbeat_ms).clamp(100, 1_000)),
            errands: Errands::new(errands),
            said: Said::default(),
            counts: Arc::default(),
            incoming: Incoming { greetings, link_news },
            roster: Vec::new(),
            has_newcomers: false,
            is_changed: true,
            beats: heartbeat::Beats::default(),
            settings,
            identity,
            clock,
            listening,
            topics,
            swarm,
            members,
            hello,
            local,
            view,
        };
        // Its own ticket is looked at as those of others are, so that a wrong one is found out here.
        task.gate.check(task.members.profile(), task.identity.id, now)?;
        task.publish_hello();
        Ok((task, watched))
    }

    pub fn counts(&self) -> Arc<Counts> {
        self.counts.clone()
    }

    pub fn listening(&self) -> SocketAddr {
        self.listening
    }

    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut ticks =
            interval(Duration::from_millis((self.settings.members.heartbeat_ms / 5).clamp(10, 100)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut greetings_open = true;
        let mut news_open = true;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                event = self.swarm.select_next_some() => self.on_swarm(event),
                heard = self.incoming.greetings.recv(), if greetings_open => match heard {
                    Some(heard) => self.on_greeting(heard),
                    None => greetings_open = false,
                },
                news = self.incoming.link_news.recv(), if news_open => match news {
                    Some(news) => self.on_link_news(news),
                    None => news_open = false,
                },
                done = self.errands.next() => self.on_done(done),
                _ = ticks.tick() => self.on_tick(),
            }
        }
        self.leave().await;
    }

    /// Has the members decide, and carries out what they decide.
    fn tell(&mut self, input: Input) {
        let now = self.clock.now_ms();
        let mut view = None;
        for output in self.members.handle(input, now) {
            match output {
                Output::Changed => view = Some(self.members.view(now)),
                Output::Probe { target, via } => self.probe(target, via),
                Output::Greet { node, address } => self.greet(node, address),
                Output::Turned { node, from, to } => self.on_turned(node, from, to),
                Output::Forgotten(node) => self.shut_out(node),
                Output::Notice(notice) => self.on_notice(&notice, now),
            }
        }
        if let Some(view) = view {
            self.is_changed = true;
            self.view.send_replace(Arc::new(view));
        }
    }

    fn probe(&mut self, target: NodeId, via: Option<NodeId>) {
        let addresses = |node| self.view.borrow().members.get(&node).map(|member| member.profile.addresses);
        let Some(of_target) = addresses(target) else { return };
        let through = match via.map(|via| (via, addresses(via))) {
            None => None,
            Some((via, Some(of_via))) => Some((via, of_via)),
            Some((_, None)) => return,
        };
        if !self.errands.probe(target, of_target, through) {
            self.counts.errands_dropped.add(1);
        }
    }

    /// What an operator wants to read of the mesh.
    fn on_turned(&mut self, node: NodeId, from: Option<Status>, to: Status) {
        let name = self.gate.name(node);
        match (from, to) {
            (None, Status::Alive) => info!(node = name, id = %node, "joined the mesh"),
            (_, Status::Alive) => info!(node = name, "is alive again"),
            (_, Status::Suspect) => info!(node = name, "is suspected: silent, or not reached from here"),
            (_, Status::Dead) => warn!(node = name, "is dead: silent on every path"),
            (_, Status::Left) => info!(node = name, "left the mesh"),
        }
        if to == Status::Left && self.ties.is_connected(node) {
            // An error says that there is no connection.
            let _ = self.swarm.disconnect_peer_id(node.peer_id());
        }
    }

    fn on_notice(&mut self, notice: &Notice, now: UnixMs) {
        let text = notice.to_string();
        if self.said.is_news("notice", &text, "", now) {
            warn!("{text}");
        }
    }

    fn on_link_news(&mut self, LinkNews { peer, took }: LinkNews) {
        self.tell(match took {
            Some(took) => Input::LinkOk { node: peer, took_us: micros(took) },
            None => Input::LinkFailed { node: peer, refused: false },
        });
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Resolved { seed, found } => self.on_resolved(seed, found),
            Done::Greeted { sake, address, heard } => self.on_greeted(sake, address, heard),
            Done::Probed { target, via, took } => {
                self.tell(Input::Probed { target, via, took_us: took.map(micros) });
            }
            Done::Unsent => {}
        }
    }

    fn on_tick(&mut self) {
        let now = self.clock.now_ms();
        self.beat(now);
        if std::mem::take(&mut self.is_changed) {
            let connected = self.ties.all_connected();
            let target = self.settings.connections_target;
            self.ties.want(&self.members.greet_candidates(&connected, target, now), now);
            self.roster = self.members.roster(ROSTER_MAX, now);
            self.publish_hello();
        }
        self.greet_and_dial(now);
    }

    /// Lets `node` in from now on.
    fn let_in(&mut self, node: NodeId) {
        let now = self.clock.now_ms();
        if node != self.identity.id && !self.pace.is_barred(node, now) {
            self.swarm.behaviour_mut().allowed.allow_peer(node.peer_id());
        }
    }

    /// Ends all connections with `node`, and takes no more of it until it greets again.
    fn shut_out(&mut self, node: NodeId) {
        self.swarm.behaviour_mut().allowed.disallow_peer(node.peer_id());
        self.gate.forget(node);
    }
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}
