//! What the nodes of a small mesh do: one shield, one or two edges under it, one object, an origin.
//!
//! One object is enough: objects meet only in the purge table, where a purge that does not name the object stands
//! for those of others. The origin is the worst there can be: it may answer 304 to any condition, so what is known
//! of a body is when the origin gave it (`born`) and when it last said that it holds (`validated`), in events of
//! the script. These two are what the promises are held against; nodes do not see them.
//!
//! Serving is no step: a state in which a node *would* serve what it must not is wrong.

use std::{
    collections::BTreeSet,
    hash::{Hash, Hasher},
    sync::{Arc, LazyLock},
};

use starling_proto::purge::{
    Change, Entry, Mode, Purge, PurgeTable, Purged, Region, Selector, Stamp, Subject, Version, Versions,
};
use stateright::{Model, Property};

/// What happens to the logs, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A purge of the object is committed.
    Purge(usize, Mode),
    /// A purge of something else is.
    Other(usize),
    /// What was committed so far is no longer sent to who lacks it: that steps over it.
    Compact(usize),
    /// The log is lost and begins anew.
    Reborn(usize),
}

/// What the mesh consists of, and what may happen to it.
#[derive(Clone, Debug)]
pub struct Mesh {
    pub edges: usize,
    pub script: Vec<Event>,
    /// Restarts, of any nodes.
    pub crashes: u8,
    /// The node whose disk is copied once, and put back once.
    pub copied: Option<usize>,
    pub rules: Rules,
    /// Where each event stands in its log; where a log stands once it is compacted or reborn.
    versions: Vec<Version>,
}

/// What nodes hold to. Each is broken once.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The stamp is taken before the origin is asked.
    pub stamp_first: bool,
    /// Who joins a body that still arrives looks into the table.
    pub followers_look: bool,
    /// A hit looks into the table.
    pub hits_look: bool,
    /// What a 304 validates is looked up again when it has come.
    pub validated_look: bool,
    /// What a peer's 304 validates is stamped with no more than what is applied here.
    pub validated_meet: bool,
    /// Who is asked catches up with who asks.
    pub upper_catches_up: bool,
    /// What was stepped over is remembered.
    pub floors: bool,
    /// And is still remembered after a restart.
    pub floors_on_disk: bool,
    /// Lives of a log are told apart.
    pub lives: bool,
    /// Purges are put back at a restart.
    pub purges_on_disk: bool,
    /// Who restarts trusts what it stored when it is level with another node.
    pub rejoin: bool,
}

impl Rules {
    pub const ALL: Self = Self {
        stamp_first: true,
        followers_look: true,
        hits_look: true,
        validated_look: true,
        validated_meet: true,
        upper_catches_up: true,
        floors: true,
        floors_on_disk: true,
        lives: true,
        purges_on_disk: true,
        rejoin: true,
    };
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// Events that have happened.
    pub past: usize,
    /// The edges, and the shield as the last one.
    pub nodes: Vec<Node>,
    copy: Option<Disk>,
    crashes: u8,
    is_put_back: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    pub disk: Disk,
    /// Whether it is level with another node since it started.
    pub is_level: bool,
    /// Events that all others had applied when it last started.
    pub owes: BTreeSet<usize>,
    pub fill: Option<Fill>,
}

/// What survives a restart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Disk {
    pub known: Known,
    pub object: Option<Object>,
}

/// What is known of the logs: the table, and the entries in it.
#[derive(Clone, Debug)]
pub struct Known {
    pub entries: BTreeSet<usize>,
    pub table: Arc<PurgeTable>,
}

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        let (here, there) = (&self.table, &other.table);
        self.entries == other.entries && here.applied() == there.applied() && here.floors() == there.floors()
    }
}

impl Eq for Known {}

impl Hash for Known {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.entries, self.table.applied(), self.table.floors()).hash(state);
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Object {
    pub stamp: Stamp,
    pub born: usize,
    pub validated: usize,
    /// Purges that it was validated after by who had stepped over them, and so could not know that they were hard.
    pub softened: BTreeSet<usize>,
}

/// How far the fill of a node is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Fill {
    /// An edge asked the shield, with its versions.
    Asked { versions: Stamp, conditional: bool },
    /// The origin is asked.
    Origin { stamp: Stamp, conditional: bool },
    /// The answer is on its way; a 304 has no body.
    Answered { stamp: Stamp, body: Option<Body>, validated: usize },
    /// The body arrives, and who asks for it now reads it meanwhile.
    Arriving(Object),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Body {
    born: usize,
    softened: BTreeSet<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The next event of the script.
    Next,
    /// The node applies the next entry of a log, of this life or the next.
    Apply(usize, usize),
    /// The node steps over what is no longer sent.
    StepOver(usize, usize),
    /// The node asks the shield, because of a miss, or of its object's age.
    AskShield(usize),
    AskOrigin(usize),
    /// The shield answers an edge with what it has, by a 304 or not.
    ShieldAnswers(usize, bool),
    OriginAnswers(usize, bool),
    Land(usize),
    Store(usize),
    Crash(usize),
    Copy,
    PutBack,
    /// The node hears from another that it lacks nothing.
    Level(usize, usize),
}

static REGIONS: LazyLock<[Region; 2]> = LazyLock::new(|| [Region::new("eu"), Region::new("us")]);
const SUBJECT: Subject<'static> = Subject { service: "shop", url: "shop.org/", tags: &[] };

/// A life of a log is before those with a greater epoch.
pub fn place(version: Option<Version>) -> Option<(u64, u64)> {
    version.map(|version| (version.epoch, version.index))
}

/// Whether who is at `here` knows all that who is at `there` knows.
pub fn is_level(here: &Versions, there: &Versions) -> bool {
    there.iter().all(|(region, there)| place(here.get(region)) >= place(Some(there)))
}

impl Event {
    pub fn log(self) -> usize {
        match self {
            Self::Purge(log, _) | Self::Other(log) | Self::Compact(log) | Self::Reborn(log) => log,
        }
    }

    pub fn is_entry(self) -> bool {
        matches!(self, Self::Purge(..) | Self::Other(_))
    }
}

impl Mesh {
    pub fn new(edges: usize, script: &[Event]) -> Self {
        let mut heads = [Version { epoch: 1, index: 0 }; 2];
        let mut versions = Vec::new();
        for event in script {
            let head = &mut heads[event.log()];
            match event {
                Event::Purge(..) | Event::Other(_) => head.index += 1,
                Event::Compact(_) => {}
                Event::Reborn(_) => *head = Version { epoch: head.epoch + 1, index: 0 },
            }
            versions.push(*head);
        }
        Self { edges, script: script.to_vec(), crashes: 0, copied: None, rules: Rules::ALL, versions }
    }

    pub fn crashing(self, crashes: u8) -> Self {
        Self { crashes, ..self }
    }

    pub fn copying(self, node: usize) -> Self {
        Self { copied: Some(node), ..self }
    }

    pub fn breaking(mut self, rule: impl Fn(&mut Rules)) -> Self {
        rule(&mut self.rules);
        self
    }

    pub fn restarts(&self) -> bool {
        self.crashes > 0 || self.copied.is_some()
    }

    pub fn region(log: usize) -> &'static Region {
        &REGIONS[log]
    }

    pub fn version(&self, event: usize) -> Version {
        self.versions[event]
    }

    fn logs(&self) -> usize {
        self.script.iter().map(|event| event.log()).max().unwrap_or(0) + 1
    }

    fn entry(&self, event: usize) -> Entry {
        let change = match self.script[event] {
            Event::Purge(_, mode) => {
                Change::Purge(Purge { service: "shop".to_owned(), selectors: vec![Selector::Service], mode })
            }
            _ => Change::Nothing,
        };
        let region = Self::region(self.script[event].log()).clone();
        Entry { region, version: self.version(event), at_ms: 0, key: 0, change }
    }

    /// The next entry of a log for who stands here: of this life while any is left, or the first of the next life.
    fn next_entries(&self, past: usize, log: usize, at: Version) -> Vec<usize> {
        let follows = |version: Version| match version.epoch == at.epoch {
            true => version.index == at.index + 1,
            false => version.epoch > at.epoch && version.index == 1,
        };
        (0..past)
            .filter(|event| self.script[*event].log() == log && self.script[*event].is_entry())
            .filter(|event| follows(self.version(*event)))
            .collect()
    }

    /// Where who stands here may step over to: what was compacted or begun anew.
    fn next_step(&self, past: usize, log: usize, at: Version) -> Option<Version> {
        let is_step = |event: &usize| {
            self.script[*event].log() == log
                && matches!(self.script[*event], Event::Compact(_) | Event::Reborn(_))
        };
        let last = (0..past).rev().find(is_step).map(|event| self.version(event))?;
        (place(Some(last)) > place(Some(at))).then_some(last)
    }

    /// What the table says of an object.
    pub fn purged(&self, known: &Known, stamp: &Stamp) -> Purged {
        if self.rules.lives {
            return known.table.check(SUBJECT, stamp);
        }
        let mut blind = Versions::default();
        for (region, at) in stamp.iter() {
            let epoch = known.table.applied().get(region).map_or(at.epoch, |now| now.epoch);
            blind.set(region.clone(), Version { epoch, ..at });
        }
        known.table.check(SUBJECT, &blind)
    }

    /// What a node would serve now: from its store, and to who joins its fill.
    pub fn served<'a>(&self, node: &'a Node) -> impl Iterator<Item = &'a Object> {
        let is_clean = |object: &Object, looks: bool| {
            !looks || self.purged(&node.disk.known, &object.stamp) == Purged::No
        };
        let stored = node
            .disk
            .object
            .as_ref()
            .filter(|object| node.is_level && is_clean(object, self.rules.hits_look));
        let arriving = match &node.fill {
            Some(Fill::Arriving(object)) if is_clean(object, self.rules.followers_look) => Some(object),
            _ => None,
        };
        stored.into_iter().chain(arriving)
    }

    /// Whether the shield may answer this edge.
    pub fn may_answer(&self, shield: &Node, versions: &Versions) -> bool {
        !self.rules.upper_catches_up || is_level(shield.applied(), versions)
    }

    fn has_old_body(&self, node: &Node) -> bool {
        node.disk.object.as_ref().is_some_and(|old| self.purged(&node.disk.known, &old.stamp) != Purged::Hard)
    }

    /// What comes of an answer.
    fn land(&self, node: &Node, stamp: &Stamp, body: Option<&Body>, validated: usize) -> Option<Fill> {
        let applied = node.applied();
        let stamp = if self.rules.stamp_first { stamp.clone() } else { Arc::new(applied.clone()) };
        if let Some(Body { born, softened }) = body.cloned() {
            return Some(Fill::Arriving(Object { stamp, born, validated, softened }));
        }
        let old = node.disk.object.as_ref()?;
        if self.rules.validated_look && !self.has_old_body(node) {
            return None;
        }
        let stamp = if self.rules.validated_meet { Arc::new(stamp.meet(applied)) } else { stamp };
        let stepped_over = (old.born..validated).filter(|event| {
            let at = applied.get(Self::region(self.script[*event].log()));
            place(at) >= place(Some(self.version(*event))) && !node.disk.known.entries.contains(event)
        });
        let softened = old.softened.iter().copied().chain(stepped_over).collect();
        Some(Fill::Arriving(Object { stamp, born: old.born, validated, softened }))
    }

    /// The node stops and starts again from this disk.
    fn restart(&self, state: &mut State, node: usize, disk: Disk) {
        let owes = (0..state.past).filter(|event| {
            let at = self.version(*event);
            let region = Self::region(self.script[*event].log());
            let others = state.nodes.iter().enumerate().filter(|(other, _)| *other != node);
            let mut has = others.map(|(_, other)| place(other.applied().get(region)) >= place(Some(at)));
            self.script[*event].is_entry() && has.all(|has| has)
        });
        let owes = owes.collect();
        let floors = match self.rules.floors_on_disk {
            true => disk.known.table.floors().clone(),
            false => Versions::default(),
        };
        let mut table = PurgeTable::new(disk.known.table.applied().clone(), floors);
        if self.rules.purges_on_disk {
            disk.known.entries.iter().rev().for_each(|event| table.restore(&self.entry(*event)));
        }
        let known = Known { table: Arc::new(table), ..disk.known };
        let disk = Disk { known, ..disk };
        state.nodes[node] = Node { disk, is_level: !self.rules.rejoin, owes, fill: None };
    }
}

impl State {
    pub fn has_restarted(&self) -> bool {
        self.crashes > 0 || self.is_put_back
    }
}

impl Node {
    pub fn applied(&self) -> &Versions {
        self.disk.known.table.applied()
    }

    /// Changes the table as the store does: over to `after` first, where the node stands elsewhere.
    fn apply(&mut self, mesh: &Mesh, region: &Region, after: Version, event: Option<usize>) {
        let known = &mut self.disk.known;
        let mut table = PurgeTable::clone(&known.table);
        if table.applied().get(region) != Some(after) {
            table.skip(region, after).expect("it is not behind");
            if !mesh.rules.floors {
                let mut bare = PurgeTable::new(table.applied().clone(), Versions::default());
                known.entries.iter().for_each(|event| bare.restore(&mesh.entry(*event)));
                table = bare;
            }
        }
        if let Some(event) = event {
            table.apply(&mesh.entry(event)).expect("it is the next one");
            known.entries.insert(event);
        }
        known.table = Arc::new(table);
    }
}

impl Model for Mesh {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut applied = Versions::default();
        (0..self.logs())
            .for_each(|log| applied.set(Self::region(log).clone(), Version { epoch: 1, index: 0 }));
        let table = Arc::new(PurgeTable::new(applied, Versions::default()));
        let disk = Disk { known: Known { entries: BTreeSet::new(), table }, object: None };
        let node = Node { disk, is_level: true, owes: BTreeSet::new(), fill: None };
        let nodes = vec![node; self.edges + 1];
        vec![State { past: 0, nodes, copy: None, crashes: 0, is_put_back: false }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.past < self.script.len() {
            actions.push(Action::Next);
        }
        let shield = &state.nodes[self.edges];
        let mut is_asked = false;
        for (id, node) in state.nodes.iter().enumerate() {
            for log in 0..self.logs() {
                let at = node.applied().get(Self::region(log)).expect("all logs are known");
                let entries = self.next_entries(state.past, log, at);
                actions.extend(entries.into_iter().map(|event| Action::Apply(id, event)));
                if self.next_step(state.past, log, at).is_some() {
                    actions.push(Action::StepOver(id, log));
                }
            }
            match &node.fill {
                None if id < self.edges => actions.extend([Action::AskShield(id), Action::AskOrigin(id)]),
                None if is_asked => actions.push(Action::AskOrigin(id)),
                None => {}
                Some(Fill::Asked { versions, conditional }) if self.may_answer(shield, versions) => {
                    is_asked = true;
                    if self.served(shield).next().is_some() {
                        actions.push(Action::ShieldAnswers(id, false));
                        actions.extend(conditional.then_some(Action::ShieldAnswers(id, true)));
                    }
                }
                Some(Fill::Asked { .. }) => {}
                Some(Fill::Origin { conditional, .. }) => {
                    actions.push(Action::OriginAnswers(id, false));
                    actions.extend(conditional.then_some(Action::OriginAnswers(id, true)));
                }
                Some(Fill::Answered { .. }) => actions.push(Action::Land(id)),
                Some(Fill::Arriving(_)) => actions.push(Action::Store(id)),
            }
            if state.crashes < self.crashes {
                actions.push(Action::Crash(id));
            }
            if !node.is_level {
                let others = (0..state.nodes.len()).filter(|other| *other != id);
                let level = others.filter(|other| is_level(node.applied(), state.nodes[*other].applied()));
                actions.extend(level.map(|other| Action::Level(id, other)));
            }
        }
        if self.copied.is_some() && !state.is_put_back {
            actions.push(if state.copy.is_some() { Action::PutBack } else { Action::Copy });
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Next => state.past += 1,
            Action::Apply(id, event) => {
                let version = self.version(event);
                let after = Version { index: version.index - 1, ..version };
                let region = Self::region(self.script[event].log());
                state.nodes[id].apply(self, region, after, Some(event));
            }
            Action::StepOver(id, log) => {
                let at = last.nodes[id].applied().get(Self::region(log))?;
                let to = self.next_step(last.past, log, at)?;
                state.nodes[id].apply(self, Self::region(log), to, None);
            }
            Action::AskShield(id) => {
                let versions = Arc::new(last.nodes[id].applied().clone());
                let conditional = self.has_old_body(&last.nodes[id]);
                state.nodes[id].fill = Some(Fill::Asked { versions, conditional });
            }
            Action::AskOrigin(id) => {
                let stamp = Arc::new(last.nodes[id].applied().clone());
                let conditional = self.has_old_body(&last.nodes[id]);
                state.nodes[id].fill = Some(Fill::Origin { stamp, conditional });
            }
            Action::ShieldAnswers(id, not_modified) => {
                let Object { stamp, born, validated, softened } =
                    self.served(&last.nodes[self.edges]).last()?.clone();
                let body = (!not_modified).then_some(Body { born, softened });
                state.nodes[id].fill = Some(Fill::Answered { stamp, body, validated });
            }
            Action::OriginAnswers(id, not_modified) => {
                let Some(Fill::Origin { stamp, .. }) = &last.nodes[id].fill else { return None };
                let body = (!not_modified).then_some(Body { born: last.past, softened: BTreeSet::new() });
                let answered = Fill::Answered { stamp: stamp.clone(), body, validated: last.past };
                state.nodes[id].fill = Some(answered);
            }
            Action::Land(id) => {
                let node = &last.nodes[id];
                let Some(Fill::Answered { stamp, body, validated }) = &node.fill else { return None };
                state.nodes[id].fill = self.land(node, stamp, body.as_ref(), *validated);
            }
            Action::Store(id) => {
                let Some(Fill::Arriving(object)) = state.nodes[id].fill.take() else { return None };
                state.nodes[id].disk.object = Some(object);
            }
            Action::Crash(id) => {
                state.crashes += 1;
                self.restart(&mut state, id, last.nodes[id].disk.clone());
            }
            Action::Copy => state.copy = Some(last.nodes[self.copied?].disk.clone()),
            Action::PutBack => {
                state.is_put_back = true;
                let disk = state.copy.take()?;
                self.restart(&mut state, self.copied?, disk);
            }
            Action::Level(id, _) => state.nodes[id].is_level = true,
        }
        for node in &mut state.nodes {
            let applied = node.disk.known.table.applied();
            node.owes.retain(|event| {
                let region = Self::region(self.script[*event].log());
                place(applied.get(region)) < place(Some(self.version(*event)))
            });
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        super::properties::of(self)
    }
}
