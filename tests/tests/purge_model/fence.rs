//! Leases and time: a region that answers for its head, a node that asks it, and one that asks that node.
//!
//! Any message may be late for ever, which is what a partition is. All clocks are one here: that they are not, and
//! run at rates of their own, is tried by the property tests of `proto::fence`.

use starling_proto::{
    fence::Fence,
    purge::{Region, Version, Versions},
    wire::Lease,
};
use stateright::{Model, Property};

pub const FENCED: &str =
    "P5: when a purge was committed a fence ago, no strict node that lacks it trusts its cache";

const TICK_MS: u64 = 1_000;
const FENCE_MS: u64 = 2 * TICK_MS;
const END_MS: u64 = 4 * TICK_MS;
const PURGES: u64 = 1;

#[derive(Clone, Copy, Debug)]
pub struct Leases {
    /// A lease is counted from when its question was sent.
    pub from_question: bool,
    /// What is handed on is the time that remains.
    pub hands_on_rest: bool,
    /// A lease holds for who has applied its head.
    pub head_applied: bool,
    /// A quorum says that the head is the head.
    pub quorum: bool,
}

impl Leases {
    pub const ALL: Self = Self { from_question: true, hands_on_rest: true, head_applied: true, quorum: true };
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    now_ms: u64,
    /// When each purge was committed.
    committed_ms: Vec<u64>,
    /// The one that asks the region, and the one that asks it.
    nodes: [Node; 2],
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Node {
    applied: u64,
    fence: Fence,
    question: Option<Question>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Question {
    asked_ms: u64,
    /// The head and how long it may be trusted.
    answer: Option<(u64, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Tick,
    Commit,
    Apply(usize),
    Ask(usize),
    /// A region's answer, of this head; or that of the node before.
    Answer(usize, u64),
    Receive(usize),
}

fn region() -> Region {
    Region::new("eu")
}

fn version(index: u64) -> Version {
    Version { epoch: 1, index }
}

fn versions(index: u64) -> Versions {
    let mut versions = Versions::default();
    versions.set(region(), version(index));
    versions
}

impl Node {
    fn is_fenced(&self, rules: &Leases, now_ms: u64) -> bool {
        let applied = versions(if rules.head_applied { self.applied } else { PURGES });
        self.fence.until_ms(&applied, [region()].iter()).is_some_and(|until_ms| now_ms < until_ms)
    }
}

impl State {
    fn head(&self) -> u64 {
        self.committed_ms.len() as u64
    }

    /// Whether a node trusts its cache at this time, and lacks a purge.
    fn errs(&self, rules: &Leases, node: &Node) -> bool {
        node.is_fenced(rules, self.now_ms) && node.applied < self.head()
    }
}

impl Model for Leases {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State { now_ms: 0, committed_ms: Vec::new(), nodes: Default::default() }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.now_ms < END_MS {
            actions.push(Action::Tick);
        }
        if state.head() < PURGES {
            actions.push(Action::Commit);
        }
        for (id, node) in state.nodes.iter().enumerate() {
            if node.applied < state.head() {
                actions.push(Action::Apply(id));
            }
            match &node.question {
                None => actions.push(Action::Ask(id)),
                Some(Question { answer: Some(_), .. }) => actions.push(Action::Receive(id)),
                Some(Question { answer: None, .. }) if id == 0 => {
                    let first = if self.quorum { state.head() } else { 0 };
                    actions.extend((first..=state.head()).map(|head| Action::Answer(id, head)));
                }
                Some(Question { answer: None, .. }) => actions.push(Action::Answer(id, 0)),
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Tick => state.now_ms += TICK_MS,
            Action::Commit => state.committed_ms.push(last.now_ms),
            Action::Apply(id) => state.nodes[id].applied += 1,
            Action::Ask(id) => {
                state.nodes[id].question = Some(Question { asked_ms: last.now_ms, answer: None });
            }
            Action::Answer(0, head) => state.nodes[0].question.as_mut()?.answer = Some((head, FENCE_MS)),
            Action::Answer(id, _) => {
                let above = &last.nodes[id - 1];
                let leases = above.fence.hand_on(&versions(above.applied), last.now_ms);
                let Lease { head, remaining_ms, .. } = leases.into_iter().next()?;
                let remaining_ms = if self.hands_on_rest { remaining_ms } else { FENCE_MS };
                state.nodes[id].question.as_mut()?.answer = Some((head.index, remaining_ms));
            }
            Action::Receive(id) => {
                let Question { asked_ms, answer } = state.nodes[id].question.take()?;
                let (head, remaining_ms) = answer?;
                let from_ms = if self.from_question { asked_ms } else { last.now_ms };
                let lease = Lease { region: region(), head: version(head), remaining_ms };
                state.nodes[id].fence.granted(from_ms, &[lease]);
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(FENCED, |rules: &Self, state: &State| {
                state.nodes.iter().all(|node| {
                    let complete =
                        state.committed_ms.iter().filter(|at_ms| **at_ms + FENCE_MS <= state.now_ms);
                    !node.is_fenced(rules, state.now_ms) || node.applied >= complete.count() as u64
                })
            }),
            Property::sometimes("both are fenced", |rules, state: &State| {
                state.nodes.iter().all(|node| node.is_fenced(rules, state.now_ms))
            }),
            Property::sometimes(
                "a node trusts its cache while it may still lack a purge",
                |rules, state: &State| state.errs(rules, &state.nodes[1]),
            ),
            Property::sometimes(
                "a node is fenced by an older lease than the one it cannot use",
                |_, state: &State| {
                    let until_ms =
                        |node: &Node, applied| node.fence.until_ms(&versions(applied), [region()].iter());
                    state.nodes.iter().any(|node| {
                        until_ms(node, node.applied)
                            .is_some_and(|here| until_ms(node, PURGES).is_some_and(|there| here < there))
                    })
                },
            ),
        ]
    }
}
