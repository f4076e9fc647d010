//! The peers that the operator named: greeted until they answer, and again when who answered is lost.

use std::net::SocketAddr;

use starling_proto::{NodeId, UnixMs};

/// Between two tries at first; doubled at each failure.
const RETRY_MIN_MS: u64 = 100;

/// Between two tries at most, as long as this node is alone.
const RETRY_MAX_MS: u64 = 2_000;

/// Between two tries at most, once it has company.
const RETRY_IN_COMPANY_MAX_MS: u64 = 10_000;

/// The named peers.
pub(super) struct Seeds {
    me: NodeId,
    seeds: Vec<Seed>,
}

struct Seed {
    /// As the operator wrote it.
    name: String,
    is_asked: bool,
    failures: u32,
    next_ms: UnixMs,
    /// Who answered there last.
    found: Option<NodeId>,
}

impl Seeds {
    pub fn new(me: NodeId, names: &[String]) -> Self {
        let seed = |name: &String| Seed {
            name: name.clone(),
            is_asked: false,
            failures: 0,
            next_ms: 0,
            found: None,
        };
        Self { me, seeds: names.iter().map(seed).collect() }
    }

    /// The seeds to resolve and greet now, each with its name; they count as asked until [`answered`](Self::answered)
    /// or [`failed`](Self::failed). `is_there` tells whether a node is in the mesh and not dead.
    pub fn due(
        &mut self,
        is_alone: bool,
        is_there: impl Fn(NodeId) -> bool,
        now: UnixMs,
    ) -> Vec<(usize, String)> {
        let longest = if is_alone { RETRY_MAX_MS } else { RETRY_IN_COMPANY_MAX_MS };
        let mut due = Vec::new();
        for (index, seed) in self.seeds.iter_mut().enumerate() {
            let is_found = seed.found.is_some_and(|node| node == self.me || is_there(node));
            let at = seed.next_ms.min(now + longest);
            if !seed.is_asked && !is_found && now >= at {
                seed.is_asked = true;
                due.push((index, seed.name.clone()));
            }
        }
        due
    }

    /// The address to greet of those behind its name: another one after each failure.
    pub fn pick(&self, index: usize, found: &[SocketAddr]) -> SocketAddr {
        found[self.seeds[index].failures as usize % found.len()]
    }

    /// Somebody answered there. Whether that is this node itself.
    pub fn answered(&mut self, index: usize, by: NodeId, now: UnixMs) -> bool {
        let seed = &mut self.seeds[index];
        seed.is_asked = false;
        seed.failures = 0;
        seed.found = Some(by);
        // If it is lost again, or never joins, it is not asked in a hot loop.
        seed.next_ms = now + RETRY_MAX_MS;
        by == self.me
    }

    /// Nobody answered there, or not as it should.
    pub fn failed(&mut self, index: usize, is_alone: bool, now: UnixMs) {
        let seed = &mut self.seeds[index];
        seed.is_asked = false;
        let longest = if is_alone { RETRY_MAX_MS } else { RETRY_IN_COMPANY_MAX_MS };
        seed.next_ms = now + (RETRY_MIN_MS << seed.failures.min(16)).min(longest);
        seed.failures += 1;
    }

    /// As the operator wrote it.
    pub fn name(&self, index: usize) -> &str {
        &self.seeds[index].name
    }
}

/// The addresses behind a name, at most [`ADDRESSES_MAX`].
pub(super) async fn resolve(name: &str) -> Result<Vec<SocketAddr>, String> {
    let found =
        tokio::net::lookup_host(name).await.map_err(|error| format!("cannot be resolved: {error}"))?;
    let found: Vec<_> = found.take(ADDRESSES_MAX).collect();
    if found.is_empty() { Err("has no address".to_owned()) } else { Ok(found) }
}

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 32])
    }

    #[test]
    fn a_seed_is_asked_ever_slower_and_once_at_a_time() {
        let mut seeds = Seeds::new(node(1), &["a:1".to_owned()]);
        let mut tries = Vec::new();
        for now in (0..10_000).step_by(10) {
            for (index, name) in seeds.due(true, |_| false, now) {
                assert_eq!(name, "a:1");
                assert!(seeds.due(true, |_| false, now).is_empty(), "it is being asked");
                seeds.failed(index, true, now);
                tries.push(now);
            }
        }
        assert_eq!(tries, [0, 100, 300, 700, 1_500, 3_100, 5_100, 7_100, 9_100]);
    }

    #[test]
    fn a_seed_that_was_found_is_asked_again_only_when_it_is_lost() {
        let mut seeds = Seeds::new(node(1), &["a:1".to_owned()]);
        assert_eq!(seeds.due(true, |_| false, 0).len(), 1);
        assert!(!seeds.answered(0, node(2), 0));
        assert!(seeds.due(false, |id| id == node(2), 60_000).is_empty());
        assert_eq!(seeds.due(true, |_| false, 60_000).len(), 1);
    }

    #[test]
    fn a_seed_that_is_this_node_is_left_alone() {
        let mut seeds = Seeds::new(node(1), &["a:1".to_owned()]);
        assert_eq!(seeds.due(true, |_| false, 0).len(), 1);
        assert!(seeds.answered(0, node(1), 0));
        assert!(seeds.due(true, |_| false, 1_000_000).is_empty());
    }
}
