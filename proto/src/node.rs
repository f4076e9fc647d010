//! Who a node is.

use std::{fmt, str::FromStr};

use libp2p_identity::{PeerId, PublicKey, ed25519};
use serde::{Deserialize, Serialize};

/// A node, by its ed25519 public key. It is written as a libp2p peer id (`12D3KooW…`).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodeId([u8; 32]);

/// Why a text or a key names no node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no node id: it is the peer id of an ed25519 key, and begins with 12D3KooW")]
pub struct NodeIdError(String);

impl NodeId {
    /// The node with this ed25519 public key; whether it is a point of the curve is not checked here.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The public key.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The node that holds the secret half of `key`; only ed25519 keys name nodes.
    pub fn of(key: &PublicKey) -> Result<Self, NodeIdError> {
        let key = key.clone().try_into_ed25519().map_err(|_| NodeIdError(key.to_peer_id().to_base58()))?;
        Ok(Self(key.to_bytes()))
    }

    /// The node behind a peer id. An ed25519 peer id holds its whole key (identity multihash).
    pub fn of_peer(peer: &PeerId) -> Result<Self, NodeIdError> {
        let wrong = || NodeIdError(peer.to_base58());
        // multihash: code 0 (identity), length 36, then the key in protobuf: 08 01 12 20 and 32 bytes.
        let bytes = peer.to_bytes();
        let key = bytes.strip_prefix(&[0, 36, 8, 1, 18, 32]).ok_or_else(wrong)?;
        key.try_into().map(Self).map_err(|_| wrong())
    }

    /// Its public key, if the bytes are one.
    pub fn public_key(&self) -> Result<PublicKey, NodeIdError> {
        let key = ed25519::PublicKey::try_from_bytes(&self.0);
        key.map(PublicKey::from).map_err(|_| NodeIdError(self.to_string()))
    }

    /// As libp2p names it.
    pub fn peer_id(&self) -> PeerId {
        let mut bytes = vec![0, 36, 8, 1, 18, 32];
        bytes.extend_from_slice(&self.0);
        PeerId::from_bytes(&bytes).expect("an identity multihash of 36 bytes is a peer id")
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.peer_id().to_base58())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.to_string();
        f.write_str(&text[text.len() - 8..])
    }
}

impl FromStr for NodeId {
    type Err = NodeIdError;

    fn from_str(text: &str) -> Result<Self, NodeIdError> {
        let peer: PeerId = text.parse().map_err(|_| NodeIdError(text.to_owned()))?;
        Self::of_peer(&peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_peer_id_of_its_key() {
        let mut secret = [7; 32];
        let keypair =
            libp2p_identity::Keypair::ed25519_from_bytes(&mut secret).expect("any 32 bytes will do");
        let id = NodeId::of(&keypair.public()).expect("an ed25519 key");
        assert_eq!(id.peer_id(), keypair.public().to_peer_id());
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(NodeId::of_peer(&id.peer_id()), Ok(id));
        assert_eq!(id.public_key().map(|key| key.to_peer_id()), Ok(id.peer_id()));
        assert!("12D3KooW".parse::<NodeId>().is_err());
    }
}
