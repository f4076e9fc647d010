//! Who may join a mesh: tickets, signed by the cluster key.
//!
//! A cluster has one ed25519 key, kept by its operator. For each node the operator signs a [`Claim`]: this node
//! id has this name, stands in this PoP of this region, until then. A node shows its [`Ticket`] as the first
//! thing on every connection; whoever sees it checks it against the cluster's public key alone. A stolen ticket
//! is of no use without the node's secret key, which the transport proves.
//!
//! What is signed is `starling ticket v1`, a zero byte and the claim in bincode, so that no signature made for
//! another purpose passes for a ticket, and none of this version for one of the next. In a file a ticket is one
//! line: `starling-ticket-v1` and the hexadecimal bincode of the whole. The public key of a cluster is written
//! `starling-cluster-v1` and its peer id.
//!
//! Without a cluster key a mesh is open: tickets say who a node is but prove nothing, so they are taken from
//! loopback addresses only.

use core::{fmt, net::IpAddr, str::FromStr};

use libp2p_identity::Keypair;
use serde::{Deserialize, Serialize};

use crate::{NodeId, UnixMs};

/// Stands before the claim in what is signed.
const SIGNED: &[u8] = b"starling ticket v1\0";

/// The first word of a ticket's text.
const TICKET_WORD: &str = "starling-ticket-v1";

/// The first word of the text of a cluster's public key.
const CLUSTER_WORD: &str = "starling-cluster-v1";

/// The longest text that is looked at; three names of 64 letters make some 800.
const TEXT_BYTES_MAX: usize = 2_048;

/// The longest name of a node, region or PoP.
pub const NAME_BYTES_MAX: usize = 64;

/// What a ticket says of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The node.
    pub node: NodeId,
    /// How its operator calls it.
    pub name: String,
    /// The region it stands in.
    pub region: String,
    /// Its PoP.
    pub pop: String,
    /// Whether it may be a member of the region's Raft group.
    pub may_shield: bool,
    /// The ticket is void from here on; `u64::MAX` never.
    pub expires_ms: UnixMs,
}

impl Claim {
    /// Whether both stand in one PoP: the same name in two regions is two PoPs.
    pub fn shares_pop(&self, other: &Self) -> bool {
        (&self.region, &self.pop) == (&other.region, &other.pop)
    }
}

/// A claim and the cluster key's word for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// What is claimed.
    pub claim: Claim,
    /// The cluster key's ed25519 signature (64 bytes); none in an open mesh.
    pub signature: Option<Vec<u8>>,
}

/// Whose tickets a node takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Anybody's on this machine: the ticket need not be signed (a signature is not looked at), but must come
    /// from a loopback address.
    Open,
    /// Those signed by the cluster with this public key, from anywhere.
    Cluster(NodeId),
}

/// Why a node is not let in, or a text or claim is no ticket. Always the fault of who shows it; showing the same
/// ticket again changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// The mesh is closed, and nobody signed this ticket.
    #[error("the ticket of {name} is not signed, and this cluster takes signed ones only")]
    Unsigned {
        /// Whom it names.
        name: String,
    },
    /// The signature is not the cluster's, or not of this claim.
    #[error("the ticket of {name} was signed by another cluster, or changed since")]
    NotOurs {
        /// Whom it names.
        name: String,
    },
    /// It was good once.
    #[error("the ticket of {name} expired at {expires_ms} (Unix milliseconds)")]
    Expired {
        /// Whom it names.
        name: String,
        /// When it ended.
        expires_ms: UnixMs,
    },
    /// It was given to another node than the one that shows it.
    #[error("the ticket is that of {claimed}, but {shown_by} shows it")]
    OtherNode {
        /// To whom it was given.
        claimed: NodeId,
        /// Who came with it.
        shown_by: NodeId,
    },
    /// An open mesh does not reach beyond the machine.
    #[error("{from} is not a loopback address, and without a cluster key only those are let in")]
    NotLoopback {
        /// Where it came from.
        from: IpAddr,
    },
    /// A name in the claim is none.
    #[error("the {part} {text:?} is no name: 1 to 64 letters, digits, dots, hyphens and underscores")]
    Name {
        /// `name`, `region` or `pop`.
        part: &'static str,
        /// What stands there, cut to a length that fits a log.
        text: String,
    },
    /// The key that shall sign is none that can.
    #[error("a cluster key is an ed25519 key")]
    Key,
    /// A text is not a ticket's.
    #[error("this is no ticket: it begins with {TICKET_WORD} and goes on in hexadecimal")]
    Text,
    /// A text is not that of a cluster's public key.
    #[error("this is no public key of a cluster: it begins with {CLUSTER_WORD} and goes on with a peer id")]
    ClusterText,
}

impl Claim {
    /// Whether its names are names.
    pub fn check_names(&self) -> Result<(), TicketError> {
        for (part, text) in [("name", &self.name), ("region", &self.region), ("pop", &self.pop)] {
            if !is_name(text) {
                let text = text.chars().take(NAME_BYTES_MAX).collect();
                return Err(TicketError::Name { part, text });
            }
        }
        Ok(())
    }

    fn signed_bytes(&self) -> Vec<u8> {
        let mut bytes = SIGNED.to_vec();
        bytes.extend(encode(self));
        bytes
    }
}

impl Ticket {
    /// The cluster's word for a claim.
    pub fn issue(claim: Claim, cluster: &Keypair) -> Result<Self, TicketError> {
        claim.check_names()?;
        NodeId::of(&cluster.public()).map_err(|_| TicketError::Key)?;
        let signature = cluster.sign(&claim.signed_bytes()).map_err(|_| TicketError::Key)?;
        Ok(Self { claim, signature: Some(signature) })
    }

    /// A claim without anybody's word for it, for an open mesh.
    pub fn open(claim: Claim) -> Result<Self, TicketError> {
        claim.check_names()?;
        Ok(Self { claim, signature: None })
    }

    /// Whether it is void at `now`.
    pub fn has_expired(&self, now: UnixMs) -> bool {
        self.claim.expires_ms != UnixMs::MAX && self.claim.expires_ms <= now
    }

    /// As one line for a file; [`str::parse`] reads it back.
    pub fn to_text(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{TICKET_WORD} ")?;
        encode(self).iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Ticket {
    type Err = TicketError;

    /// Reads the line, with or without white space around it. The names are checked, the signature is not.
    fn from_str(text: &str) -> Result<Self, TicketError> {
        let hex = after_word(text, TICKET_WORD).ok_or(TicketError::Text)?;
        let bytes = from_hex(hex).ok_or(TicketError::Text)?;
        let (ticket, read): (Self, usize) =
            bincode::serde::decode_from_slice(&bytes, format()).map_err(|_| TicketError::Text)?;
        if read != bytes.len() {
            return Err(TicketError::Text);
        }
        ticket.claim.check_names()?;
        Ok(ticket)
    }
}

impl Admission {
    /// Whether the node that proved to be `shown_by`, calling from `from`, may join with this ticket.
    ///
    /// For a ticket that another node passes on (in a roster), `shown_by` is the node in the claim and `from` the
    /// address it is told to have.
    pub fn check(
        &self,
        ticket: &Ticket,
        shown_by: NodeId,
        from: IpAddr,
        now: UnixMs,
    ) -> Result<(), TicketError> {
        let claim = &ticket.claim;
        claim.check_names()?;
        if claim.node != shown_by {
            return Err(TicketError::OtherNode { claimed: claim.node, shown_by });
        }
        match self {
            Self::Open if !from.to_canonical().is_loopback() => Err(TicketError::NotLoopback { from }),
            Self::Open => Ok(()),
            Self::Cluster(cluster) => check_signature(ticket, *cluster),
        }?;
        if ticket.has_expired(now) {
            return Err(TicketError::Expired { name: claim.name.clone(), expires_ms: claim.expires_ms });
        }
        Ok(())
    }
}

/// The public key of a cluster, as one line for a file.
pub fn cluster_key_to_text(cluster: NodeId) -> String {
    format!("{CLUSTER_WORD} {cluster}")
}

/// The public key of a cluster, as [`cluster_key_to_text`] writes it or as the peer id alone.
pub fn cluster_key_from_text(text: &str) -> Result<NodeId, TicketError> {
    let id = after_word(text, CLUSTER_WORD).unwrap_or_else(|| text.trim());
    let cluster: NodeId = id.parse().map_err(|_| TicketError::ClusterText)?;
    cluster.public_key().map_err(|_| TicketError::ClusterText)?;
    Ok(cluster)
}

fn check_signature(ticket: &Ticket, cluster: NodeId) -> Result<(), TicketError> {
    let name = || ticket.claim.name.clone();
    let signature = ticket.signature.as_deref().ok_or_else(|| TicketError::Unsigned { name: name() })?;
    let key = cluster.public_key().map_err(|_| TicketError::Key)?;
    match key.verify(&ticket.claim.signed_bytes(), signature) {
        true => Ok(()),
        false => Err(TicketError::NotOurs { name: name() }),
    }
}

fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

fn format() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<TEXT_BYTES_MAX>()
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, bincode::config::standard())
        .expect("numbers, byte strings and short texts can always be encoded")
}

/// What follows the word that a text must begin with.
fn after_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let text = text.trim();
    let rest = text.strip_prefix(word)?;
    (text.len() <= TEXT_BYTES_MAX && rest.starts_with(char::is_whitespace)).then(|| rest.trim_start())
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("all were seen to be hexadecimal digits");
    let byte = |pair: &[u8]| (digit(pair[0]) << 4 | digit(pair[1])) as u8;
    Some(text.as_bytes().chunks_exact(2).map(byte).collect())
}

#[cfg(test)]
mod tests;
