//! Where nodes and keys come to stand on the circle.
//!
//! All nodes must agree on it whatever they run on, so nothing is left to `derive(Hash)`: that writes integers
//! in the machine's byte order and slices behind a `usize`. What is hashed here is one run of bytes of a fixed
//! length, a letter for its kind in front. The golden values in the tests hold it.

use std::{
    hash::{BuildHasher, Hash, Hasher},
    sync::LazyLock,
};

use crate::{Key, NodeId};

/// Names the layout of the circle. Another text is another ring: nodes that differ in it agree on nothing.
const RING_CONTEXT: &str = "starling ring v1";
/// Names how shards get their keys.
const SHARD_CONTEXT: &str = "starling shard v1";

static RING_SEED: LazyLock<[u8; 32]> = LazyLock::new(|| blake3::derive_key(RING_CONTEXT, b""));
static SHARD_SEED: LazyLock<[u8; 32]> = LazyLock::new(|| blake3::derive_key(SHARD_CONTEXT, b""));

/// One of the points at which a node stands on the circle.
#[derive(Clone, Copy, Debug)]
pub(super) struct VNode {
    /// Whose it is, as an index into the ring's nodes.
    pub(super) node: u32,
    /// Its owner's id.
    pub(super) id: NodeId,
    /// Which of the node's points it is.
    pub(super) number: u32,
}

impl Hash for VNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut bytes = [b'n'; 37];
        bytes[1..33].copy_from_slice(self.id.as_bytes());
        bytes[33..].copy_from_slice(&self.number.to_le_bytes());
        state.write(&bytes);
    }
}

/// A key, as it is placed on the circle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot<'a>(pub(super) &'a Key);

impl Hash for Spot<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut bytes = [b'k'; 17];
        bytes[1..].copy_from_slice(self.0.as_bytes());
        state.write(&bytes);
    }
}

/// Makes [`RingHasher`]s.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RingHash;

impl BuildHasher for RingHash {
    type Hasher = RingHasher;

    fn build_hasher(&self) -> RingHasher {
        RingHasher { bytes: [0; 64], filled: 0 }
    }
}

/// BLAKE3 keyed by [`RING_CONTEXT`], over at most one of its blocks: a spot or a point is far shorter.
pub(super) struct RingHasher {
    bytes: [u8; 64],
    filled: usize,
}

impl Hasher for RingHasher {
    fn write(&mut self, bytes: &[u8]) {
        let end = self.filled + bytes.len();
        let free = self.bytes.get_mut(self.filled..end).expect("what stands on the circle fits into a block");
        free.copy_from_slice(bytes);
        self.filled = end;
    }

    fn finish(&self) -> u64 {
        let hash = blake3::keyed_hash(&RING_SEED, &self.bytes[..self.filled]);
        let (head, _) = hash.as_bytes().split_first_chunk().expect("a BLAKE3 hash has 32 bytes");
        u64::from_le_bytes(*head)
    }
}

/// The piece of a large object that is owned as one: `shard` 0 is owned with the key itself.
pub fn shard_key(key: Key, shard: u64) -> Key {
    if shard == 0 {
        return key;
    }
    let mut bytes = [0; 24];
    bytes[..16].copy_from_slice(key.as_bytes());
    bytes[16..].copy_from_slice(&shard.to_le_bytes());
    let hash = blake3::keyed_hash(&SHARD_SEED, &bytes);
    let (head, _) = hash.as_bytes().split_first_chunk().expect("a BLAKE3 hash has 32 bytes");
    Key::from_bytes(*head)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A change of these values splits a mesh in two while it is being upgraded: each half would have its own
    /// owners. They were computed once and are the same on every platform.
    #[test]
    fn keys_and_nodes_stand_where_they_always_stood() {
        let spots = ["", "a", "http://example.com/"].map(|text| RingHash.hash_one(Spot(&Key::of(text))));
        assert_eq!(spots, [5484898941292954687, 437916188866290899, 14444685924499343554]);
        const POINTS: [u64; 4] =
            [14877651266290177055, 14176694702379552566, 13516087550793274667, 105495875262139075];
        let point =
            |byte, number| RingHash.hash_one(VNode { node: 9, id: NodeId::from_bytes([byte; 32]), number });
        assert_eq!([point(0, 0), point(0, 1), point(7, 0), point(7, 0x0102_0304)], POINTS);
    }

    #[test]
    fn shards_have_keys_of_their_own_and_the_first_has_the_objects() {
        let key = Key::of("film");
        assert_eq!(shard_key(key, 0), key);
        assert_eq!(shard_key(key, 1).to_string(), "8abdc16018eed1a8837ea05356a58bdb");
        assert_eq!(shard_key(key, 1 << 40).to_string(), "a5ace440a146041488f605f9b8c297bd");
        let keys: BTreeSet<Key> = (0..1000).map(|shard| shard_key(key, shard)).collect();
        assert_eq!(keys.len(), 1000);
    }
}
