//! Whom to ask, and how the link behaves.

use std::{net::SocketAddr, time::Duration};

use starling_proto::{
    NodeId,
    members::{Addresses, View},
};

/// A node that is to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Who it is; a connection to anybody else fails.
    pub id: NodeId,
    /// Where it is.
    pub address: SocketAddr,
    /// How it is reached.
    pub carrier: Carrier,
}

impl Peer {
    /// How a node of the view is reached: over TCP inside the PoP, over QUIC elsewhere. None when it is not known.
    pub fn of(view: &View, id: NodeId) -> Option<Self> {
        Some(Self::at(view, id, view.members.get(&id)?.profile.addresses))
    }

    /// The same for a node that is said to be at `addresses`; one that is not known yet is taken for a neighbour.
    pub fn at(view: &View, id: NodeId, addresses: Addresses) -> Self {
        let claim = |id: &NodeId| Some(&view.members.get(id)?.profile.ticket.claim);
        let is_far =
            claim(&id).is_some_and(|there| claim(&view.me).is_some_and(|here| !here.shares_pop(there)));
        match is_far {
            true => Self { id, address: addresses.link_quic, carrier: Carrier::Quic },
            false => Self { id, address: addresses.mesh, carrier: Carrier::Tcp },
        }
    }
}

/// What carries the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Carrier {
    /// Pooled TCP with TLS 1.3: inside a PoP.
    Tcp,
    /// QUIC: between PoPs.
    Quic,
}

/// How the link behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// TCP listener.
    pub listen: SocketAddr,
    /// UDP socket of the QUIC carrier; port 0 takes any.
    pub listen_quic: SocketAddr,
    /// Longest wait for a connection with its greeting.
    pub connect_timeout: Duration,
    /// Longest wait for a peer to take a question on.
    pub ack_timeout: Duration,
    /// Longest silence of a peer that works on a question; it speaks up four times as often.
    pub silence_timeout: Duration,
    /// Idle connections are closed after this.
    pub idle_timeout: Duration,
    /// Connections that peers may have open to this node.
    pub connections_max: usize,
    /// Questions under way to one peer, and from one peer.
    pub questions_max: usize,
}

/// Limits that are no operator's business; tests tighten them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Questions that one peer may ask in a second; above that it is cut off. A node's cores are busy long
    /// before.
    pub(super) questions_per_s_max: u32,
    /// An answer of which nothing can be sent for this long is cut: the asker is there, and does not read.
    pub(super) stall_timeout: Duration,
    /// A peer unheard of for this long is forgotten, with what was counted of it.
    pub(super) forget_after: Duration,
    /// Peers remembered at most.
    pub(super) peers_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            questions_per_s_max: 100_000,
            stall_timeout: Duration::from_secs(60),
            forget_after: Duration::from_secs(600),
            peers_max: 20_000,
        }
    }
}

/// Why the link cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// A listener cannot be had.
    #[error("cannot listen for peers on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The TLS configuration cannot be made from the node's key.
    #[error("no TLS configuration can be made from the node's key: {0}")]
    Tls(String),
}
