//! The name of an object inside the mesh.

use std::fmt;

use serde::{Deserialize, Serialize};

/// 128 bits of BLAKE3 over the text of a cache key.
///
/// Nodes place objects on the ring and on disk by it. The text itself is kept in every stored head and
/// compared on lookup, so that a collision is a miss and never a wrong body.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key([u8; 16]);

impl Key {
    /// The key for `text`, which is the same on every node and platform.
    pub fn of(text: &str) -> Self {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..16]);
        Self(bytes)
    }

    /// The 16 bytes of the key, big end first where an order matters.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The key with these bytes, as read back from disk or the wire.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}
