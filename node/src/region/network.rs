//! Raft's messages to other members.

use std::{sync::Arc, time::Duration};

use openraft::{
    error::{InstallSnapshotError, NetworkError, RPCError, RaftError, Unreachable},
    network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
        VoteRequest, VoteResponse,
    },
};
use starling_proto::NodeId;
use tokio::sync::watch;

use super::{
    types::{Seat, Types},
    wire::{Ask, Lost, Told, Wire, ask},
};

/// Between two attempts to reach a member that cannot be reached.
const PAUSE: Duration = Duration::from_millis(200);
/// A vote is on two disks before it is answered.
const VOTE_TIMEOUT_MIN: Duration = Duration::from_millis(500);

type Failed<E = RaftError<NodeId>> = RPCError<NodeId, Seat, E>;

/// Makes the connections of a group's members.
pub(super) struct Network {
    pub wire: Arc<dyn Wire>,
    /// The birth of a group that outlived this one, when somebody told of it.
    pub outlived: watch::Sender<u64>,
}

/// The way to one member.
pub(super) struct Way {
    to: NodeId,
    birth: u64,
    /// The life of the log here when the way was made.
    epoch: u64,
    wire: Arc<dyn Wire>,
    outlived: watch::Sender<u64>,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Way;

    async fn new_client(&mut self, to: NodeId, seat: &Seat) -> Way {
        let (wire, outlived) = (Arc::clone(&self.wire), self.outlived.clone());
        Way { to, birth: seat.birth, epoch: seat.epoch, wire, outlived }
    }
}

impl Way {
    async fn ask<E: std::error::Error>(&self, question: &Ask, timeout: Duration) -> Result<Told, Failed<E>> {
        match ask(&*self.wire, self.to, question, timeout).await {
            Ok(Told::Outlived(by)) => {
                self.outlived.send_if_modified(|known| std::mem::replace(known, by.max(*known)) < by);
                Err(unreachable(format!("a later group, born {by}, is in its place")))
            }
            Ok(Told::No(why)) => Err(unreachable(why)),
            Ok(told) => Ok(told),
            Err(lost @ Lost { may_have_arrived: false, .. }) => Err(unreachable(lost.why)),
            Err(lost) => Err(RPCError::Network(NetworkError::new(&lost))),
        }
    }
}

impl RaftNetwork<Types> for Way {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<NodeId>, Failed> {
        match self.ask(&Ask::Append(self.birth, rpc), option.hard_ttl()).await? {
            Told::Append(response) => Ok(response),
            _ => Err(unreachable("it answered something else".to_owned())),
        }
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<Types>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<NodeId>, Failed<RaftError<NodeId, InstallSnapshotError>>> {
        match self.ask(&Ask::Snapshot(self.birth, rpc), option.hard_ttl()).await? {
            Told::Snapshot(response) => Ok(response),
            _ => Err(unreachable("it answered something else".to_owned())),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<NodeId>,
        option: RPCOption,
    ) -> Result<VoteResponse<NodeId>, Failed> {
        let timeout = option.hard_ttl().max(VOTE_TIMEOUT_MIN);
        match self.ask(&Ask::Vote(self.birth, self.epoch, rpc), timeout).await? {
            Told::Vote(response) => Ok(response),
            _ => Err(unreachable("it answered something else".to_owned())),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(PAUSE))
    }
}

fn unreachable<E: std::error::Error>(why: String) -> Failed<E> {
    let lost = Lost { may_have_arrived: false, why };
    RPCError::Unreachable(Unreachable::new(&lost))
}
