//! One node: its `Members`, and what the node does for it.

use std::{collections::BTreeMap, rc::Rc, sync::Arc};

use super::{
    Book, Greeting, Said,
    said::{bytes_of, state_bytes, summary_bytes},
};
use crate::{
    NodeId, UnixMs,
    members::{self, Health, Load, Members, NodeState, Output, Own, Status},
    sim::{Chance, Effect, Input, Machine, Micros, Node},
    wire::{Call, Hello, Reply},
};

/// What a node does by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSettings {
    /// The bounds of silence.
    pub members: members::Settings,
    /// Requests that each node sends to others of its PoP, per second: what notices a bad path first.
    pub requests_per_s: u32,
    /// A question that is not answered in this time has failed, in milliseconds.
    pub ack_timeout_ms: u64,
    /// Whether it listens to what other PoPs say of themselves. What does not listen still passes it on.
    pub hears_world: bool,
}

impl Default for PeerSettings {
    fn default() -> Self {
        Self {
            members: members::Settings::default(),
            requests_per_s: 10,
            ack_timeout_ms: 1_000,
            hears_world: true,
        }
    }
}

/// A change of mind of one node about another of its PoP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// When.
    pub at: Micros,
    /// About whom.
    pub about: Node,
    /// What it thinks now.
    pub to: Status,
}

/// A simulated node.
pub struct Peer {
    me: Node,
    book: Rc<Book>,
    settings: Rc<PeerSettings>,
    members: Members,
    chance: Chance,
    state_bytes: u32,
    /// Encoded length of summaries with as many roster entries.
    summary_bytes: BTreeMap<usize, u32>,
    next_summary_ms: UnixMs,
    /// Whom it greets when it starts: its `--peer`.
    seed: Option<Node>,
    /// The nodes of its PoP, as it sees them.
    shown: BTreeMap<Node, Status>,
    turns: Vec<Turn>,
    asked: BTreeMap<u32, Asked>,
    next_number: u32,
    is_leaving: bool,
}

/// A question under way.
#[derive(Clone, Copy)]
struct Asked {
    to: Node,
    at: Micros,
    why: Why,
}

#[derive(Clone, Copy)]
enum Why {
    /// In place of a request.
    Request,
    /// For `Members`.
    Probe { target: NodeId, via: Option<NodeId> },
    /// For another node, which asked with this number.
    Errand { asker: Node, number: u32, target: NodeId },
}

/// Nodes that a greeting tells of.
const ROSTER_MAX: usize = 1_000;
const BEAT: u32 = 0;
const REQUEST: u32 = 1;
/// Tokens from here on are the timeouts of questions.
const QUESTIONS: u32 = 16;

type Effects = Vec<Effect<Said>>;

impl Peer {
    /// A node that starts now, and greets `seed` if it is named one.
    pub fn new(
        me: Node,
        book: Rc<Book>,
        settings: Rc<PeerSettings>,
        seed: Option<Node>,
        now: Micros,
    ) -> Self {
        let members = Members::new(book.profile(me, now), settings.members.clone(), Book::unix_ms(now));
        Self {
            me,
            members,
            chance: Chance::new(u64::from(me) << 32 | now),
            book,
            settings,
            state_bytes: 0,
            summary_bytes: BTreeMap::new(),
            next_summary_ms: 0,
            seed,
            shown: BTreeMap::new(),
            turns: Vec::new(),
            asked: BTreeMap::new(),
            next_number: QUESTIONS,
            is_leaving: false,
        }
    }

    /// Its view of the mesh.
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// How it sees the nodes of its PoP that it knows.
    pub fn shown(&self) -> &BTreeMap<Node, Status> {
        &self.shown
    }

    /// All changes of its mind about nodes of its PoP, in order.
    pub fn turns(&self) -> &[Turn] {
        &self.turns
    }

    /// It says good-bye.
    pub fn leave(&mut self, out: &mut Effects) {
        self.is_leaving = true;
        let state = self.members.leave();
        self.publish_state(state, out);
    }

    fn beat(&mut self, now: Micros, out: &mut Effects) {
        let now_ms = Book::unix_ms(now);
        self.tell(members::Input::Tick, now, out);
        if !self.is_leaving {
            let load =
                Load { in_flight: 12, requests_per_s: 900, bytes_per_s: 80_000_000, ..Load::default() };
            let health = Health { ready: true, draining: false, origins_ok: true, disk_ok: true };
            let state = self.members.heartbeat(Own { load, health, ..Own::default() }, now_ms);
            self.publish_state(state, out);
        }
        if now_ms >= self.next_summary_ms && self.members.is_speaker() {
            self.next_summary_ms = now_ms + self.settings.members.summary_ms;
            let summary = Arc::new(self.members.summary(false));
            let bytes =
                *self.summary_bytes.entry(summary.roster.len()).or_insert_with(|| summary_bytes(&summary));
            let message = Rc::new(Said::Summary(self.book.id(self.me), summary));
            out.push(Effect::Publish { topic: self.book.world_topic, message, bytes });
        }
        out.push(Effect::Timer { after: self.settings.members.heartbeat_ms * 1_000, token: BEAT });
    }

    fn publish_state(&mut self, state: NodeState, out: &mut Effects) {
        if self.state_bytes == 0 {
            self.state_bytes = state_bytes(&state);
        }
        let topic = self.book.pop_topic(self.me);
        out.push(Effect::Publish {
            topic,
            message: Rc::new(Said::State(Box::new(state))),
            bytes: self.state_bytes,
        });
    }

    fn request(&mut self, now: Micros, out: &mut Effects) {
        let there: Vec<Node> = self
            .shown
            .iter()
            .filter(|(_, status)| **status == Status::Alive)
            .map(|(node, _)| *node)
            .collect();
        if !there.is_empty() {
            let to = there[self.chance.below(there.len() as u64) as usize];
            self.ask(to, Call::Ping, Why::Request, now, out);
        }
        let after = 1_000_000 / Micros::from(self.settings.requests_per_s.max(1));
        out.push(Effect::Timer { after: after / 2 + self.chance.below(after), token: REQUEST });
    }

    /// Greets a node. Whom it knows it tells only who asks for that.
    fn greet(&self, to: Node, why: Greeting, tells_roster: bool, now: Micros, out: &mut Effects) {
        let roster = match tells_roster {
            true => self.members.roster(ROSTER_MAX, Book::unix_ms(now)),
            false => Vec::new(),
        };
        let hello = Hello { state: self.members.state().clone(), roster };
        let bytes = bytes_of(&hello);
        out.push(Effect::Send { to, message: Rc::new(Said::Hello(Box::new(hello), why)), bytes });
    }

    fn tell(&mut self, input: members::Input, now: Micros, out: &mut Effects) {
        for output in self.members.handle(input, Book::unix_ms(now)) {
            self.carry_out(output, now, out);
        }
    }

    fn carry_out(&mut self, output: Output, now: Micros, out: &mut Effects) {
        match output {
            Output::Probe { target, via: None } => {
                if let Some(to) = self.book.node(&target) {
                    self.ask(to, Call::Ping, Why::Probe { target, via: None }, now, out);
                }
            }
            Output::Probe { target, via: Some(via) } => {
                if let Some(to) = self.book.node(&via) {
                    self.ask(to, Call::PingFor(target), Why::Probe { target, via: Some(via) }, now, out);
                }
            }
            Output::Greet { node, .. } => {
                if let Some(to) = self.book.node(&node) {
                    self.greet(to, Greeting::Meeting, false, now, out);
                }
            }
            Output::Turned { node, to, .. } => {
                let about = self.book.node(&node).filter(|about| self.book.are_neighbours(self.me, *about));
                if let Some(about) = about {
                    self.shown.insert(about, to);
                    self.turns.push(Turn { at: now, about, to });
                }
            }
            Output::Forgotten(node) => {
                self.book.node(&node).map(|node| self.shown.remove(&node));
            }
            Output::Changed | Output::Notice(_) => {}
        }
    }

    fn ask(&mut self, to: Node, call: Call, why: Why, now: Micros, out: &mut Effects) {
        let number = self.next_number;
        self.next_number = self.next_number.checked_add(1).unwrap_or(QUESTIONS);
        self.asked.insert(number, Asked { to, at: now, why });
        // Who asks through another waits for two answers.
        let waits = if matches!(call, Call::PingFor(_)) { 2 } else { 1 };
        let bytes = bytes_of(&call);
        out.push(Effect::Send { to, message: Rc::new(Said::Call(number, call)), bytes });
        out.push(Effect::Timer { after: waits * self.settings.ack_timeout_ms * 1_000, token: number });
    }

    /// A question is over: answered (by the one who was asked), refused, or out of time.
    fn asked(&mut self, number: u32, answer: Option<&Reply>, refused: bool, now: Micros, out: &mut Effects) {
        let Some(Asked { to, at, why }) = self.asked.remove(&number) else { return };
        let took_us = answer.map(|_| (now - at) as u32);
        let input = match why {
            Why::Request => match took_us {
                Some(took_us) => members::Input::LinkOk { node: self.book.id(to), took_us },
                None => members::Input::LinkFailed { node: self.book.id(to), refused },
            },
            Why::Probe { target, via } => {
                let was_there = via.is_none() || matches!(answer, Some(Reply::PongOf(_, true)));
                members::Input::Probed { target, via, took_us: took_us.filter(|_| was_there) }
            }
            Why::Errand { asker, number, target } => {
                return reply(asker, number, Reply::PongOf(target, answer.is_some()), out);
            }
        };
        self.tell(input, now, out);
    }

    fn hear(&mut self, from: Node, said: &Said, now: Micros, out: &mut Effects) {
        match said {
            Said::State(state) => self.tell(members::Input::Heard(state.clone()), now, out),
            Said::Summary(by, summary) => {
                if self.settings.hears_world {
                    self.tell(members::Input::Summary { from: *by, summary: summary.clone() }, now, out);
                }
            }
            Said::Hello(hello, why) => {
                self.tell(members::Input::Greeted(Box::new(hello.state.clone())), now, out);
                if !hello.roster.is_empty() {
                    self.tell(members::Input::Roster(hello.roster.clone()), now, out);
                }
                if *why != Greeting::Answer {
                    self.greet(from, Greeting::Answer, *why == Greeting::Joining, now, out);
                }
            }
            Said::Call(number, Call::PingFor(target)) => {
                if let Some(to) = self.book.node(target) {
                    let why = Why::Errand { asker: from, number: *number, target: *target };
                    self.ask(to, Call::Ping, why, now, out);
                }
            }
            Said::Call(number, _) => reply(from, *number, Reply::Pong, out),
            Said::Reply(number, answer) => self.asked(*number, Some(answer), false, now, out),
        }
    }
}

fn reply(to: Node, number: u32, reply: Reply, out: &mut Effects) {
    let bytes = bytes_of(&reply);
    out.push(Effect::Send { to, message: Rc::new(Said::Reply(number, reply)), bytes });
}

impl Machine for Peer {
    type Message = Said;

    fn handle(&mut self, input: Input<Said>, now: Micros, out: &mut Effects) {
        match input {
            Input::Start => {
                let heartbeat = self.settings.members.heartbeat_ms * 1_000;
                out.push(Effect::Timer { after: self.chance.below(heartbeat), token: BEAT });
                if self.settings.requests_per_s > 0 {
                    out.push(Effect::Timer { after: heartbeat, token: REQUEST });
                }
                if let Some(seed) = self.seed {
                    self.greet(seed, Greeting::Joining, false, now, out);
                }
            }
            Input::Timer { token: BEAT } => self.beat(now, out),
            Input::Timer { token: REQUEST } => self.request(now, out),
            Input::Timer { token } => self.asked(token, None, false, now, out),
            Input::Refused { by } => {
                let refused: Vec<u32> = self
                    .asked
                    .iter()
                    .filter(|(_, asked)| asked.to == by)
                    .map(|(number, _)| *number)
                    .collect();
                refused.into_iter().for_each(|number| self.asked(number, None, true, now, out));
            }
            Input::Direct { from, message } => self.hear(from, &message, now, out),
            Input::Gossip { message, .. } => self.hear(self.me, &message, now, out),
        }
    }
}
