//! Ties to other nodes: whom to greet over the link, whom to dial in the swarm, and when.
//!
//! The swarm lets in only who is known, so a tie is made in two steps: a greeting over the link, by which each
//! side learns of the other, then the dial. Of two nodes that want each other the one with the lower id
//! begins; the other waits for [`grace_ms`](Ties::new) and then does the same, for the way may be open in its
//! direction only. A tie that broke is made anew from the greeting on, for the other may have lost its memory.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::SocketAddr,
};

use starling_proto::{NodeId, UnixMs};

/// Between two tries at first; doubled at each failure.
const RETRY_MIN_MS: u64 = 100;

/// Between two tries at most.
const RETRY_MAX_MS: u64 = 2_000;

/// A connection that ended sooner was refused by the other side.
const REFUSED_WITHIN_MS: u64 = 1_000;

/// The next step of a tie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Greet(NodeId, SocketAddr),
    Dial(NodeId, SocketAddr),
}

/// All ties, wanted and had.
pub(super) struct Ties {
    me: NodeId,
    grace_ms: u64,
    ties: HashMap<NodeId, Tie>,
}

#[derive(Default)]
struct Tie {
    /// Where it is; none when it is not wanted.
    wanted: Option<SocketAddr>,
    /// A greeting or dial is under way.
    is_busy: bool,
    /// It knows this node since the tie broke last.
    is_greeted: bool,
    connected_ms: Option<UnixMs>,
    failures: u32,
    next_ms: UnixMs,
}

impl Tie {
    fn fail(&mut self, now: UnixMs) {
        self.is_busy = false;
        self.is_greeted = false;
        self.next_ms = now + (RETRY_MIN_MS << self.failures.min(16)).min(RETRY_MAX_MS);
        self.failures += 1;
    }
}

impl Ties {
    /// No ties yet. `grace_ms` is how long the node with the higher id waits for the other to begin.
    pub fn new(me: NodeId, grace_ms: u64) -> Self {
        Self { me, grace_ms, ties: HashMap::new() }
    }

    /// These are wanted from now on beside those that are connected, and no others.
    pub fn want(&mut self, wanted: &[(NodeId, SocketAddr)], now: UnixMs) {
        let all: HashSet<_> = wanted.iter().map(|(node, _)| *node).collect();
        for (node, tie) in &mut self.ties {
            if tie.connected_ms.is_none() && !all.contains(node) {
                tie.wanted = None;
            }
        }
        for (node, address) in wanted {
            let tie = self.ties.entry(*node).or_default();
            if tie.wanted.replace(*address) != Some(*address) {
                tie.failures = 0;
                tie.next_ms = now + if self.me < *node { 0 } else { self.grace_ms };
            }
        }
        self.ties.retain(|_, tie| tie.wanted.is_some() || tie.connected_ms.is_some() || tie.is_busy);
    }

    /// What to do now, at most `room` steps; each is busy until its outcome is told.
    pub fn due(&mut self, room: usize, now: UnixMs) -> Vec<Step> {
        let mut due = Vec::new();
        for (node, tie) in &mut self.ties {
            let Some(address) = tie.wanted else { continue };
            if due.len() >= room {
                break;
            }
            if tie.is_busy || tie.connected_ms.is_some() || now < tie.next_ms {
                continue;
            }
            tie.is_busy = true;
            due.push(if tie.is_greeted { Step::Dial(*node, address) } else { Step::Greet(*node, address) });
        }
        due
    }

    /// It greeted, or answered a greeting: it knows this node.
    pub fn greeted(&mut self, node: NodeId, now: UnixMs) {
        let grace = if self.me < node { 0 } else { self.grace_ms };
        if let Some(tie) = self.ties.get_mut(&node)
            && !tie.is_greeted
        {
            tie.is_greeted = true;
            tie.is_busy = false;
            tie.next_ms = now + grace;
        }
    }

    /// A step failed.
    pub fn failed(&mut self, node: NodeId, now: UnixMs) {
        if let Some(tie) = self.ties.get_mut(&node) {
            tie.fail(now);
        }
    }

    /// The swarm has a connection.
    pub fn connected(&mut self, node: NodeId, now: UnixMs) {
        let tie = self.ties.entry(node).or_default();
        tie.is_busy = false;
        tie.connected_ms.get_or_insert(now);
    }

    /// The swarm's last connection to it is gone. Whether it was refused, rather than lost.
    pub fn closed(&mut self, node: NodeId, now: UnixMs) -> bool {
        let Some(tie) = self.ties.get_mut(&node) else { return false };
        let since = tie.connected_ms.take().unwrap_or(now);
        let is_refused = now.saturating_sub(since) < REFUSED_WITHIN_MS;
        if !is_refused {
            tie.failures = 0;
        }
        tie.fail(now);
        is_refused
    }

    /// Whether a greeting or dial is under way.
    pub fn is_busy(&self, node: NodeId) -> bool {
        self.ties.get(&node).is_some_and(|tie| tie.is_busy)
    }

    /// Those the swarm has a connection to.
    pub fn all_connected(&self) -> BTreeSet<NodeId> {
        let connected = self.ties.iter().filter(|(_, tie)| tie.connected_ms.is_some());
        connected.map(|(node, _)| *node).collect()
    }

    /// Whether the swarm has a connection to it.
    pub fn is_connected(&self, node: NodeId) -> bool {
        self.ties.get(&node).is_some_and(|tie| tie.connected_ms.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 32])
    }

    fn wanted(n: u8) -> (NodeId, SocketAddr) {
        (node(n), SocketAddr::from(([127, 0, 0, 1], n.into())))
    }

    fn steps(ties: &mut Ties, until: UnixMs) -> Vec<(UnixMs, Step)> {
        (0..until)
            .step_by(10)
            .flat_map(|now| ties.due(9, now).into_iter().map(move |step| (now, step)))
            .collect()
    }

    #[test]
    fn the_lower_id_begins_and_the_other_after_a_grace() {
        let mut low = Ties::new(node(1), 300);
        low.want(&[wanted(2)], 0);
        assert_eq!(steps(&mut low, 1_000), [(0, Step::Greet(node(2), wanted(2).1))]);
        let mut high = Ties::new(node(2), 300);
        high.want(&[wanted(1)], 0);
        assert_eq!(steps(&mut high, 1_000), [(300, Step::Greet(node(1), wanted(1).1))]);
    }

    #[test]
    fn a_greeting_comes_before_the_dial_whoever_greeted() {
        let mut ties = Ties::new(node(1), 300);
        ties.want(&[wanted(2), wanted(3)], 0);
        ties.greeted(node(2), 0);
        let due = ties.due(9, 0);
        assert!(due.contains(&Step::Dial(node(2), wanted(2).1)), "{due:?}");
        assert!(due.contains(&Step::Greet(node(3), wanted(3).1)), "{due:?}");
        ties.greeted(node(3), 10);
        assert_eq!(ties.due(9, 10), [Step::Dial(node(3), wanted(3).1)]);
    }

    #[test]
    fn who_refuses_is_asked_ever_slower_and_greeted_again() {
        let mut ties = Ties::new(node(1), 300);
        ties.want(&[wanted(2)], 0);
        let mut tries = Vec::new();
        for now in (0..8_000).step_by(10) {
            for step in ties.due(9, now) {
                match step {
                    Step::Greet(..) => ties.greeted(node(2), now),
                    Step::Dial(..) => {
                        ties.connected(node(2), now);
                        assert!(ties.closed(node(2), now));
                        tries.push(now);
                    }
                }
            }
        }
        assert!(tries.len() < 10, "{tries:?}");
        assert!(tries.windows(2).all(|pair| pair[1] - pair[0] <= 2_020), "{tries:?}");
    }

    #[test]
    fn a_lost_connection_is_made_again_unless_it_is_no_longer_wanted() {
        let mut ties = Ties::new(node(1), 300);
        ties.want(&[wanted(2), wanted(3)], 0);
        for n in [2, 3] {
            ties.connected(node(n), 0);
        }
        assert_eq!(ties.due(9, 5_000), []);
        assert!(!ties.closed(node(2), 5_000) && !ties.closed(node(3), 5_000));
        ties.want(&[wanted(2)], 5_000);
        assert_eq!(ties.due(9, 5_100), [Step::Greet(node(2), wanted(2).1)]);
    }
}
