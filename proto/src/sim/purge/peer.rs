//! A node: its replica, and what it does for it.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashSet},
    rc::Rc,
    sync::Arc,
};

use super::{Flaw, MS, Object, Said, disk::Disk, fills::Fill, truth::Truth};
use crate::{
    NodeId,
    members::{Member, Status, View},
    purge::{Batch, Entry, Input, Output, Region, Replica, ReplicaSettings, Version, Versions},
    ring::Ring,
    sim::{Chance, Effect, Machine, Micros, Node, REGIONS, Topic, membership::Book},
};

/// How long a call, and one that relays, is waited for.
const CALL: Micros = 400 * MS;
const RELAYED: Micros = 200 * MS;
const BEAT: Micros = 250 * MS;
const TICK: Micros = 100 * MS;
const SUSPECT_AFTER: Micros = 800 * MS;
const DEAD_AFTER: Micros = 2_000 * MS;

pub(super) type Effects = Vec<Effect<Said>>;

/// A simulated node.
pub(super) struct Peer {
    pub me: Node,
    pub book: Rc<Book>,
    pub truth: Rc<RefCell<Truth>>,
    pub flaw: Option<Flaw>,
    pub disk: Disk,
    pub replica: Replica,
    pub chance: Chance,
    pub fills: BTreeMap<Object, Fill>,
    topic: Topic,
    incarnation: u64,
    heard: BTreeMap<Node, Heard>,
    shown: BTreeMap<Node, (Status, u64, Versions)>,
    /// What was asked and is not answered, by number.
    pub asked: BTreeMap<u32, (Node, Why)>,
    next_number: u32,
    /// Fetches of peers that wait until this node has caught up with who asks.
    pub waiting: Vec<(Node, u32, Object, u8, Versions)>,
}

struct Heard {
    at: Micros,
    incarnation: u64,
    versions: Versions,
}

/// Why something was asked, or a timer set.
#[derive(Clone, Debug)]
pub(super) enum Why {
    Beat,
    Tick,
    Push(Region),
    /// A push is told on, to so many still; the answer to the asker.
    Relay {
        asker: Node,
        number: u32,
        waits: BTreeSet<Node>,
        nodes: Vec<(Node, Option<Version>)>,
        region: Region,
    },
    /// One of those told: which relay it belongs to.
    Told(u32),
    Compare,
    /// For peers that wait.
    Level,
    Fetch(Object),
    /// The origin looks at what it has, then its answer arrives.
    Origin(Object),
    Given(Object, u64, u64),
}

impl Peer {
    pub fn new(
        me: Node,
        (book, truth): (Rc<Book>, Rc<RefCell<Truth>>),
        topic: Topic,
        disk: Disk,
        flaw: Option<Flaw>,
        now: Micros,
    ) -> Self {
        let settings = ReplicaSettings { compare_ms: 400, retry_ms: 400, pushes_max: 16, relays_per_pop: 2 };
        let mut replica = Replica::new(book.id(me), settings);
        let disk = disk.reopened(flaw);
        let mut chance = Chance::new(u64::from(me) << 40 | now);
        replica.handle(Input::Applied(Arc::new(disk.applied().clone())), now / MS);
        Self {
            me,
            replica,
            disk,
            flaw,
            topic,
            truth,
            incarnation: Book::unix_ms(now),
            book,
            heard: BTreeMap::new(),
            shown: BTreeMap::new(),
            fills: BTreeMap::new(),
            asked: BTreeMap::new(),
            // Answers to questions of an earlier life find no question of this one.
            next_number: chance.below(1 << 31) as u32,
            chance,
            waiting: Vec::new(),
        }
    }

    /// The region whose log is written where this node stands.
    pub fn region(&self) -> Region {
        region_of(&self.book, self.me)
    }

    /// It leads its region's group now, or no more.
    pub fn lead(&mut self, leads: bool, now: Micros, out: &mut Effects) {
        let region = leads.then(|| self.region());
        self.tell(Input::Leads(region), now, out);
    }

    /// An entry of its region is committed, and this node is one of those who have it.
    pub fn commit(&mut self, entry: &Entry, now: Micros, out: &mut Effects) {
        self.truth.borrow_mut().applies(self.me, self.disk.applied().get(&entry.region), entry);
        self.disk.write(entry);
        self.applied(now, out);
    }

    pub fn ask(
        &mut self,
        to: Node,
        why: Why,
        waits: Micros,
        out: &mut Effects,
        said: impl FnOnce(u32) -> Said,
    ) {
        let number = self.timer(to, why, waits, out);
        send(to, said(number), out);
    }

    pub fn timer(&mut self, to: Node, why: Why, after: Micros, out: &mut Effects) -> u32 {
        self.next_number += 1;
        self.asked.insert(self.next_number, (to, why));
        out.push(Effect::Timer { after, token: self.next_number });
        self.next_number
    }

    /// Whether requests go to a node.
    pub fn is_alive(&self, node: Node) -> bool {
        self.shown.get(&node).is_some_and(|(status, ..)| *status == Status::Alive)
    }

    fn tell(&mut self, input: Input, now: Micros, out: &mut Effects) {
        let outputs = self.replica.handle(input, now / MS);
        for output in outputs {
            match output {
                Output::Push { to, region, after, relay } => {
                    let Some(to) = self.book.node(&to) else { continue };
                    let batch = match after {
                        Some(_) => self.disk.after(&region, after),
                        None => None,
                    };
                    let here = self.disk.applied().get(&region).unwrap_or_default();
                    let nothing = Version { index: 0, ..here };
                    let ask = Batch {
                        region: region.clone(),
                        since: 0,
                        after: nothing,
                        base: None,
                        entries: Vec::new(),
                    };
                    let relay = relay.iter().filter_map(|id| self.book.node(id)).collect();
                    let batch = batch.unwrap_or(ask);
                    self.ask(to, Why::Push(region), CALL, out, |number| Said::Push { number, batch, relay });
                }
                Output::Compare { with } if self.flaw != Some(Flaw::NobodyCompares) => {
                    let Some(with) = self.book.node(&with) else { continue };
                    self.compare(with, Why::Compare, out);
                }
                Output::Compare { .. } => {}
            }
        }
    }

    pub fn compare(&mut self, with: Node, why: Why, out: &mut Effects) {
        let versions = self.disk.applied().clone();
        self.ask(with, why, CALL, out, |number| Said::Missing { number, versions });
    }

    fn apply(&mut self, batch: &Batch, now: Micros, out: &mut Effects) -> bool {
        let news = self.disk.apply(self.me, batch, self.flaw, &mut self.truth.borrow_mut());
        if news {
            self.applied(now, out);
        }
        news
    }

    fn applied(&mut self, now: Micros, out: &mut Effects) {
        self.tell(Input::Applied(Arc::new(self.disk.applied().clone())), now, out);
        self.answer_waiting(out);
    }

    fn beat(&mut self, out: &mut Effects) {
        let versions = self.disk.applied().clone();
        let message = Rc::new(Said::State { node: self.me, incarnation: self.incarnation, versions });
        out.push(Effect::Publish { topic: self.topic, message, bytes: 200 });
        self.timer(self.me, Why::Beat, BEAT, out);
    }

    /// Shows the replica the mesh, if it is other than before.
    fn look(&mut self, now: Micros, out: &mut Effects) {
        let status = |heard: &Heard| match now - heard.at {
            silent if silent >= DEAD_AFTER => Status::Dead,
            silent if silent >= SUSPECT_AFTER => Status::Suspect,
            _ => Status::Alive,
        };
        let shown = |(node, heard): (&Node, &Heard)| {
            (*node, (status(heard), heard.incarnation, heard.versions.clone()))
        };
        let shown: BTreeMap<_, _> = self.heard.iter().map(shown).collect();
        if shown == self.shown {
            return self.tell(Input::Tick, now, out);
        }
        self.shown = shown;
        let mut members: BTreeMap<NodeId, Member> = BTreeMap::new();
        let me = (Status::Alive, self.incarnation, self.disk.applied().clone());
        for (node, (status, incarnation, versions)) in self.shown.iter().chain([(&self.me, &me)]) {
            let mut profile = self.book.profile(*node, 0);
            profile.incarnation = *incarnation;
            let member = Member { versions: versions.clone(), ..Member::new(profile, *status) };
            members.insert(self.book.id(*node), member);
        }
        let view = View {
            me: self.book.id(self.me),
            members,
            ring: Arc::new(Ring::new(&[])),
            previous: None,
            hot: Arc::new(HashSet::new()),
        };
        self.tell(Input::View(Arc::new(view)), now, out);
    }

    fn told(&mut self, node: Node, region: &Region, at: Option<Version>, now: Micros, out: &mut Effects) {
        let node = self.book.id(node);
        self.tell(Input::Told { node, region: region.clone(), at }, now, out);
    }

    /// A relay heard of one of those it told, or waited long enough.
    fn relayed(&mut self, relay: u32, by: Option<(Node, Option<Version>)>, out: &mut Effects) {
        let Some((_, Why::Relay { asker, number, waits, nodes, region })) = self.asked.get_mut(&relay) else {
            return;
        };
        if let Some((node, at)) = by {
            waits.remove(&node);
            nodes.push((node, at));
        }
        if by.is_none() || waits.is_empty() {
            nodes.push((self.me, self.disk.applied().get(region)));
            let (asker, reached) = (*asker, Said::Reached { number: *number, nodes: std::mem::take(nodes) });
            self.asked.remove(&relay);
            send(asker, reached, out);
        }
    }

    fn hear(&mut self, from: Node, said: &Said, now: Micros, out: &mut Effects) {
        match said {
            Said::State { .. } => {}
            Said::Push { number, batch, relay } => {
                self.apply(batch, now, out);
                let waits = relay.iter().copied().collect();
                let why = Why::Relay {
                    asker: from,
                    number: *number,
                    waits,
                    nodes: Vec::new(),
                    region: batch.region.clone(),
                };
                let errand = self.timer(self.me, why, RELAYED, out);
                for to in relay {
                    let batch = batch.clone();
                    let push = |number| Said::Push { number, batch, relay: Vec::new() };
                    self.ask(*to, Why::Told(errand), RELAYED, out, push);
                }
                if relay.is_empty() {
                    self.relayed(errand, None, out);
                }
            }
            Said::Reached { number, nodes } => match self.asked.remove(number) {
                Some((to, Why::Push(region))) => {
                    nodes.iter().for_each(|(node, at)| self.told(*node, &region, *at, now, out));
                    let to = self.book.id(to);
                    self.tell(Input::Pushed { to, region, answered: true }, now, out);
                }
                Some((_, Why::Told(errand))) => {
                    nodes.iter().for_each(|(node, at)| self.relayed(errand, Some((*node, *at)), out));
                }
                _ => {}
            },
            Said::Missing { number, versions } => {
                let batches = self.disk.missing(versions);
                send(from, Said::Batches { number: *number, batches }, out);
            }
            Said::Batches { number, batches } => {
                let Some((with, why)) = self.asked.remove(number) else { return };
                let mut news = false;
                for batch in batches {
                    news |= self.apply(batch, now, out);
                }
                if news {
                    self.compare(with, why, out);
                } else if matches!(why, Why::Compare) {
                    let with = self.book.id(with);
                    self.tell(Input::Compared { with, level: batches.is_empty() }, now, out);
                }
            }
            Said::Fetch { number, object, hop, versions } => {
                self.fetched_by((from, *number, *object, *hop, versions.clone()), out);
            }
            Said::Fetched { number, body } => {
                if let Some((_, Why::Fetch(object))) = self.asked.remove(number) {
                    self.fetched(object, body.clone(), out);
                }
            }
        }
    }

    /// What was asked has failed, or a time has come.
    fn over(&mut self, number: u32, now: Micros, out: &mut Effects) {
        if let Some((_, Why::Relay { .. })) = self.asked.get(&number) {
            return self.relayed(number, None, out);
        }
        let Some((to, why)) = self.asked.remove(&number) else { return };
        let id = self.book.id(to);
        match why {
            Why::Beat => self.beat(out),
            Why::Tick => {
                self.look(now, out);
                self.timer(self.me, Why::Tick, TICK, out);
            }
            Why::Push(region) => self.tell(Input::Pushed { to: id, region, answered: false }, now, out),
            Why::Compare => self.tell(Input::Compared { with: id, level: false }, now, out),
            Why::Fetch(object) => self.ask_origin(object, out),
            Why::Origin(object) => self.origin_answers(object, out),
            Why::Given(object, content, given) => self.given(object, content, given, out),
            Why::Relay { .. } | Why::Told(_) | Why::Level => {}
        }
    }
}

impl Machine for Peer {
    type Message = Said;

    fn handle(&mut self, input: crate::sim::Input<Said>, now: Micros, out: &mut Effects) {
        match input {
            crate::sim::Input::Start => {
                self.beat(out);
                self.timer(self.me, Why::Tick, TICK, out);
            }
            crate::sim::Input::Timer { token } => self.over(token, now, out),
            crate::sim::Input::Refused { by } => {
                let waits = |(_, (to, why)): &(&u32, &(Node, Why))| {
                    let is_call = matches!(
                        why,
                        Why::Push(_) | Why::Told(_) | Why::Compare | Why::Level | Why::Fetch(_)
                    );
                    *to == by && is_call
                };
                let refused: Vec<u32> = self.asked.iter().filter(waits).map(|(number, _)| *number).collect();
                refused.into_iter().for_each(|number| self.over(number, now, out));
            }
            crate::sim::Input::Direct { from, message } => self.hear(from, &message, now, out),
            crate::sim::Input::Gossip { message, .. } => {
                if let Said::State { node, incarnation, versions } = &*message {
                    let known = self.heard.get(node).map_or(0, |heard| heard.incarnation);
                    if known <= *incarnation && *node != self.me {
                        let heard = Heard { at: now, incarnation: *incarnation, versions: versions.clone() };
                        self.heard.insert(*node, heard);
                    }
                }
            }
        }
    }
}

pub(super) fn send(to: Node, said: Said, out: &mut Effects) {
    out.push(Effect::Send { to, message: Rc::new(said), bytes: 200 });
}

pub(super) fn region_of(book: &Book, node: Node) -> Region {
    Region::new(REGIONS[book.world().sites()[node as usize].region as usize])
}
