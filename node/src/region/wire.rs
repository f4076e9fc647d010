//! What members of a group say to each other, and how it reaches them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};
use starling_proto::{
    NodeId,
    members::View,
    purge::Version,
    wire::{Call, Reply},
};
use tokio::sync::watch;

use super::{codec, types::Types};
use crate::link::{AskErrorKind, Link, Peer};

/// A question to a member.
#[derive(Serialize, Deserialize)]
pub(super) enum Ask {
    /// A message of Raft, to a member of the group with this birth.
    Append(u64, AppendEntriesRequest<Types>),
    /// With the life of the candidate's log.
    Vote(u64, u64, VoteRequest<NodeId>),
    Snapshot(u64, InstallSnapshotRequest<Types>),
    /// How do you stand?
    State,
    /// Be of the group that I form, and of no other until it is formed or I say that it is not.
    Promise(Promise),
    /// Stand for election: I want to leave.
    Elect(u64),
}

/// Its answer.
#[derive(Serialize, Deserialize)]
pub(super) enum Told {
    Append(AppendEntriesResponse<NodeId>),
    Vote(VoteResponse<NodeId>),
    Snapshot(InstallSnapshotResponse<NodeId>),
    State(State),
    /// It is promised, or done.
    Yes,
    /// No, and why.
    No(String),
    /// The group is outlived by one with this birth.
    Outlived(u64),
}

/// What a node says of itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct State {
    /// The birth of the group that it is of.
    pub birth: Option<u64>,
    /// The epoch of the group that it asks others to form.
    pub forming: Option<u64>,
    /// How far the region's log is applied there.
    pub applied: Option<Version>,
    /// Up to where its Raft log goes.
    pub last: Option<Version>,
    /// It is of no group that is formed later with this birth, or a lower one.
    pub promised: u64,
}

/// That a node will be of one group, and of no other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Promise {
    /// Who forms it.
    pub by: NodeId,
    /// Its birth.
    pub epoch: u64,
    /// Who is asked, in order.
    pub set: Vec<NodeId>,
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{why}")]
pub(super) struct Lost {
    /// Whether the question may have been answered all the same.
    pub may_have_arrived: bool,
    pub why: String,
}

/// How other nodes are asked. Tests have one that can be cut.
pub(super) trait Wire: Send + Sync + 'static {
    fn call(&self, to: NodeId, call: Call, timeout: Duration) -> BoxFuture<'static, Result<Reply, Lost>>;
}

/// The link, to the addresses of the view.
pub(super) struct Linked {
    pub link: Link,
    pub view: watch::Receiver<Arc<View>>,
}

impl Wire for Linked {
    fn call(&self, to: NodeId, call: Call, timeout: Duration) -> BoxFuture<'static, Result<Reply, Lost>> {
        let peer = Peer::of(&self.view.borrow(), to);
        let link = self.link.clone();
        Box::pin(async move {
            let unknown = || Lost { may_have_arrived: false, why: format!("nobody knows where {to} is") };
            let peer = peer.ok_or_else(unknown)?;
            link.call(peer, call, timeout).await.map_err(|error| Lost {
                may_have_arrived: !matches!(
                    error.kind,
                    AskErrorKind::Connect
                        | AskErrorKind::NotAdmitted(_)
                        | AskErrorKind::Full
                        | AskErrorKind::Refused(_)
                ),
                why: error.to_string(),
            })
        })
    }
}

/// Asks a member.
pub(super) async fn ask(
    wire: &dyn Wire,
    to: NodeId,
    question: &Ask,
    timeout: Duration,
) -> Result<Told, Lost> {
    let unfit = |why| Lost { may_have_arrived: false, why };
    let bytes = Bytes::from(codec::encode(question).map_err(unfit)?);
    match wire.call(to, Call::Group(bytes), timeout).await? {
        Reply::Group(bytes) => codec::decode(&bytes).map_err(|why| Lost { may_have_arrived: true, why }),
        other => Err(unfit(format!("{to} answered {other:?}"))),
    }
}
