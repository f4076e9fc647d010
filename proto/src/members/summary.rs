//! What a PoP says of itself to the world.

use serde::{Deserialize, Serialize};

use super::{Load, Profile, Status};

/// Entries of one roster that are looked at: what fits in one gossip message. A PoP should have no more nodes.
pub const ROSTER_MAX: usize = 640;

/// What a PoP says of itself to the world, by one of its nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PopSummary {
    /// The region.
    pub region: String,
    /// The PoP.
    pub pop: String,
    /// Grows with every summary of one speaker.
    pub seq: u64,
    /// The sum over its nodes (permille: the mean).
    pub load: Load,
    /// Its nodes that are not dead, each with its status; empty when unchanged since a summary that had it.
    pub roster: Vec<RosterEntry>,
    /// Identifies the roster, so that who has it need not be told again.
    pub roster_hash: u64,
}

/// A node, as one that knows it tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterEntry {
    /// Who it is.
    pub profile: Profile,
    /// How it stands.
    pub status: Status,
}

impl RosterEntry {
    /// Identifies a roster in the order it is written.
    pub(super) fn hash_of(roster: &[Self]) -> u64 {
        let mut hasher = blake3::Hasher::new();
        for entry in roster {
            let bytes = bincode::serde::encode_to_vec(entry, bincode::config::standard())
                .expect("numbers, byte strings and short texts can always be encoded");
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(&bytes);
        }
        let mut first = [0; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        u64::from_le_bytes(first)
    }
}

impl Load {
    /// The sum of these; where a thousandth says how full something is, the mean.
    pub(super) fn sum<'a>(loads: impl Iterator<Item = &'a Self>) -> Self {
        let mut sum = Self::default();
        let (mut cpu, mut memory, mut count) = (0_u64, 0_u64, 0_u64);
        for load in loads {
            cpu += u64::from(load.cpu_permille);
            memory += u64::from(load.memory_permille);
            count += 1;
            sum.in_flight = sum.in_flight.saturating_add(load.in_flight);
            sum.peer_in_flight = sum.peer_in_flight.saturating_add(load.peer_in_flight);
            sum.requests_per_s = sum.requests_per_s.saturating_add(load.requests_per_s);
            sum.bytes_per_s = sum.bytes_per_s.saturating_add(load.bytes_per_s);
        }
        let mean = |total: u64| u16::try_from(total / count.max(1)).unwrap_or(u16::MAX);
        (sum.cpu_permille, sum.memory_permille) = (mean(cpu), mean(memory));
        sum
    }
}
