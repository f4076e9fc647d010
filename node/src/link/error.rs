//! Why a question got no answer.

use starling_proto::{NodeId, wire::Refusal};

/// The asker has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer that asked has gone")]
pub struct Gone;

/// Why a peer gave no answer, or not all of it. Questions are idempotent: another may be asked after any of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct AskError {
    /// Who was asked; unknown when nobody was expected at an address, and nobody showed.
    pub peer: Option<NodeId>,
    /// What happened.
    pub kind: AskErrorKind,
}

/// What happened to a question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskErrorKind {
    /// No connection: refused, no route, or not in time.
    #[error("could not connect")]
    Connect,
    /// It is not who it should be, or does not let this node in.
    #[error("not admitted: {0}")]
    NotAdmitted(String),
    /// It did not take the question on in time, or stopped saying that it works on it.
    #[error("silent too long")]
    Silent,
    /// The connection broke.
    #[error("the connection broke")]
    Broken,
    /// It says no.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// It broke the protocol.
    #[error("broke the protocol: {0}")]
    Protocol(String),
    /// Too many questions to this peer are under way here.
    #[error("too many questions are under way")]
    Full,
}

impl AskErrorKind {
    /// The names of all kinds, as metrics label them.
    pub const NAMES: [&'static str; 7] =
        ["connect", "not_admitted", "silent", "broken", "refused", "protocol", "full"];

    /// The name of this kind.
    pub fn as_str(&self) -> &'static str {
        Self::NAMES[self.index()]
    }

    pub(super) fn index(&self) -> usize {
        match self {
            Self::Connect => 0,
            Self::NotAdmitted(_) => 1,
            Self::Silent => 2,
            Self::Broken => 3,
            Self::Refused(_) => 4,
            Self::Protocol(_) => 5,
            Self::Full => 6,
        }
    }

    pub(super) fn of(self, peer: NodeId) -> AskError {
        AskError { peer: Some(peer), kind: self }
    }
}
